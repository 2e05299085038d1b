"""Habits that people expect of any command."""

import os
import pty
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.cli.keys.actions import KeyList
from anonauth.cli.stats.counts import DayRange, UserStock, make_day_table
from anonauth.domain.users import UserPage
from anonauth.local.server import LocalServer
from support.contracts.store_contract import DAY, NOW, a_guest
from support.project.tools import ROOT
from support.service.calls import APP, OTHER_APP, log_in
from support.service.command import environment, run
from support.service.ctrl_c import COMMAND
from support.service.rings import NumberedKeys, RingInMemory

COMMANDS = [
    *(
        [],
        ["serve"],
        ["sample"],
        ["doctor"],
        ["restore"],
        ["stats"],
        ["keys"],
        ["users"],
        ["events"],
    ),
    *(["keys", name] for name in ("list", "rotate", "revoke")),
    *(["users", name] for name in ("show", "list", "delete", "revoke")),
    *(["users", name] for name in ("export", "import")),
    *(["events", name] for name in ("replay", "tail")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_given_help_when_read_then_types_have_the_usual_names(
    command: list[str],
) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100"})

    assert result.exit_code == 0
    assert re.findall(r"<\w+[ \[|>]", result.stdout) == []


def test_given_help_when_an_option_has_a_value_then_its_type_is_named() -> None:
    text = CliRunner().invoke(app, ["stats", "--help"], env={"COLUMNS": "100"}).stdout
    serve = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "100"}).stdout

    assert re.search(r"--days +INTEGER \[1<=x<=455\]", text)
    assert re.search(r"--rate +FLOAT \[x>=1\]", text)
    assert re.search(r"--app-id +TEXT ", serve)
    assert re.search(r"--template +PATH ", serve)


# Prints how the command ended, and what it had imported by then.
_CODE = """
import sys
from anonauth.cli.main import main
try:
    main()
except SystemExit as exc:
    print(exc)
heavy = {"botocore", "pynamodb", "rich", "yaml", "anonauth.domain"}
print(sorted(heavy & {*sys.modules}))
"""


def at_once(*arguments: str) -> list[str]:
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", _CODE, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return ended.stdout.splitlines()


START = (
    "start `anonauth serve --aws-port 4566` and give "
    "--endpoint-url http://127.0.0.1:4566"
)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            [],
            "which deployment? Give --stack NAME, or --table NAME; for a local one "
            f"{START}",
            id="no deployment",
        ),
        pytest.param(
            ["--endpoint-url", "http://127.0.0.1:1"],
            "nothing answers at http://127.0.0.1:1 (Connection refused); for a local "
            f"service {START}",
            id="no --aws-port",
        ),
        pytest.param(
            ["--endpoint-url", "http://[::1"],
            "--endpoint-url: 'http://[::1' is not a URL",
            id="no URL",
        ),
        pytest.param(
            ["--endpoint-url", "127.0.0.1:4566"],
            "--endpoint-url: '127.0.0.1:4566' is not a URL",
            id="no scheme",
        ),
        pytest.param(
            ["--endpoint-url", "http://127.0.0.1:port"],
            "--endpoint-url: 'http://127.0.0.1:port' is not a URL",
            id="no port",
        ),
    ],
)
def test_given_no_way_to_a_deployment_when_run_then_it_says_so_at_once(
    arguments: list[str], told: str
) -> None:
    line, imported = at_once("keys", "list", *arguments)

    assert line == f"anonauth: {told}"
    assert imported == "[]"


def test_given_a_plain_service_when_its_keys_are_listed_then_it_says_what_is_missing(
    server: LocalServer,
) -> None:
    line, imported = at_once("keys", "list", "--endpoint-url", server.base_url)

    assert line == (
        f"anonauth: {server.base_url} is the API of a local service, not its AWS port: "
        f"{START}; the service prints that address in its line `AWS:`"
    )
    assert imported == "[]"


@pytest.mark.parametrize(
    ("apps", "is_asked"),
    [
        pytest.param((APP,), False, id="one app"),
        pytest.param((APP, OTHER_APP), True, id="two apps"),
    ],
)
def test_given_a_local_service_when_a_user_is_shown_then_an_app_is_only_asked_of_two(
    apps: tuple[str, ...], is_asked: bool
) -> None:
    with LocalServer(app_ids=apps, aws_port=0) as server:
        user = log_in(server.base_url)["user_id"]
        result = CliRunner().invoke(
            app, ["users", "show", user, "--endpoint-url", str(server.aws_url)]
        )

    if is_asked:
        told = f"which app? Give --app ID. It is one of {APP}, {OTHER_APP}"
        assert str(result.exception) == told
    else:
        assert result.stdout.startswith(f"user {user} of app {APP}\n")


def test_given_days_with_nothing_when_stats_are_shown_then_they_are_left_out() -> None:
    days = DayRange.until(NOW, 30)
    stock = UserStock(days, NOW)
    stock.add(
        UserPage(
            users=(a_guest(NOW), a_guest(NOW - 3 * DAY)), position=None, read=2, units=1
        )
    )

    table = make_day_table(days, stock, None)
    (shown, counts) = (list(column.cells) for column in table.columns)

    today = days.first + timedelta(days=29)
    assert shown == [
        (today - timedelta(days=3)).isoformat(),
        date.isoformat(today),
        "all",
    ]
    assert counts == ["1", "1", "2"]
    assert table.title == "Days are UTC; of 30 days, empty ones are left out"


def columns(keys: KeyList) -> dict[str, tuple[str, str, str]]:
    """Return the state of each key, and from and until when it signs."""
    kid, _, state, _, start, end, _ = (list(c.cells) for c in keys.as_table().columns)
    return {
        str(k): (str(s), str(a), str(z))
        for k, s, a, z in zip(kid, state, start, end, strict=True)
    }


def test_given_a_rotation_and_a_revocation_when_listed_then_the_columns_agree() -> None:
    made = RingInMemory(keys=NumberedKeys())
    made.rotate(NOW)
    now, ring = NOW + 2 * DAY, made.ring
    first, second = ring.of("access")

    rotated = ring.advance_standby(now)
    by_rotation = columns(KeyList(rotated, now))
    successor = rotated.of("access")[1]
    revoked = columns(KeyList(rotated.revoke(successor, now), now))

    start = f"{successor.signs_from:%Y-%m-%d %H:%M}"
    assert by_rotation[first.kid][0] == "verifying"
    assert by_rotation[first.kid][2] == start
    assert by_rotation[second.kid][:2] == ("signing", start)
    assert revoked[first.kid][0] == "signing"
    assert revoked[first.kid][2] == f"{first.stops_at:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    "command", [["serve", "--port", "0"], ["sample", "login"]], ids=" ".join
)
def test_given_no_checkout_when_run_then_one_line_says_what_is_needed(
    command: list[str], tmp_path: Path
) -> None:
    installed = tmp_path / "site"
    shutil.copytree(ROOT / "functions/anonauth", installed / "anonauth")
    env = environment(PYTHONPATH=str(installed))

    missing = run(*command, env=env, cwd=tmp_path)
    given = run("sample", "login", "--template", str(ROOT / "template.yaml"), env=env)

    assert missing.returncode == 1
    assert missing.stdout == b""
    assert missing.stderr.decode() == (
        f"anonauth: no template.yaml of anonauth in {tmp_path} or above: run it in a "
        "clone of anonauth, or name the file with --template\n"
    )
    assert given.returncode == 0


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "GITHUB_ACTIONS", "CI"])
def test_given_no_terminal_when_help_is_printed_then_it_has_no_colour(
    variable: str,
) -> None:
    ended = run("keys", "--help", env=environment(**{variable: "1"}))

    assert ended.returncode == 0
    assert b"\x1b" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("no_color", "has_colour"),
    [
        pytest.param("1", False, id="NO_COLOR"),
        pytest.param("", True, id="an empty one counts for none"),
    ],
)
def test_given_a_terminal_when_help_is_printed_then_no_color_counts(
    no_color: str, has_colour: bool
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "--help"],
        env=environment(NO_COLOR=no_color, TERM="xterm-256color"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # how Linux ends it
            pass
    os.close(ours)

    assert b"serve" in text
    assert (b"\x1b[" in text) is has_colour
