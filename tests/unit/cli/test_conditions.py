"""Every command in any encoding, width and stream, and with Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    LoginRefreshRequired,
    ReadTimeoutError,
    SSOTokenLoadError,
    UnauthorizedSSOTokenError,
)
from rich.table import Table
from typer.testing import CliRunner

from anonauth.cli import streams, text_table
from anonauth.cli.commands import app
from anonauth.cli.deployment import explain_credentials_error, open_deployment
from anonauth.cli.options import DeploymentOptions, arrow
from anonauth.local.command_error import CommandError
from anonauth.local.server import LocalServer
from support.project.tools import ROOT
from support.service.calls import APP, call, log_in
from support.service.command import environment, run
from support.service.ctrl_c import COMMAND, ended
from support.service.harness import TABLE

# The arguments of each command. The last option takes the address of a deployment.
COMMANDS: dict[str, list[str]] = {
    "doctor": ["--endpoint-url"],
    "sample": ["logout", "--endpoint-url"],
    "events replay": ["--stack", "anonauth", "--endpoint-url"],
    "events tail": ["--base-url"],
    "keys list": ["--endpoint-url"],
    "keys revoke": ["none", "--yes", "--endpoint-url"],
    "keys rotate": ["--endpoint-url"],
    "restore": ["--from", "none", "--yes", "--endpoint-url"],
    "serve": ["--port", "0", "--endpoint-url"],
    "stats": ["--endpoint-url"],
    "users delete": ["none", "--yes", "--app", APP, "--endpoint-url"],
    "users export": ["out.jsonl", "--endpoint-url"],
    "users import": ["none.jsonl", "--endpoint-url"],
    "users list": ["--endpoint-url"],
    "users revoke": ["none", "--yes", "--app", APP, "--endpoint-url"],
    "users show": ["none", "--app", APP, "--endpoint-url"],
}
ENDS = [name for name in COMMANDS if name not in {"events tail", "serve"}]
GOOD = {"doctor", "sample", "keys list", "keys rotate", "stats", "users list"} | {
    "users export"
}


def line(name: str, url: str) -> list[str]:
    return [*name.split(), *COMMANDS[name], url]


def test_given_the_command_when_its_commands_are_listed_then_each_is_tried_here() -> (
    None
):
    def names(of: Any, before: str = "") -> Iterator[str]:
        for command in of.registered_commands:
            name = command.name or command.callback.__name__
            yield before + name
        for group in of.registered_groups:
            yield from names(group.typer_instance, f"{group.name} ")

    assert sorted(names(app)) == sorted(COMMANDS)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """The AWS of a local service, with a user whose device has an unusual name."""
    with LocalServer(app_ids=(APP,), aws_port=0) as server:
        log_in(server.base_url)
        yield str(server.aws_url)


def is_calm(stderr: bytes) -> bool:
    return not any(word in stderr for word in (b"Traceback", b"Exception ignored"))


@pytest.mark.long
@pytest.mark.parametrize("name", ENDS)
def test_given_another_encoding_when_run_then_each_command_ends_as_always(
    name: str, aws: str, tmp_path: Path
) -> None:
    env = environment(PYTHONIOENCODING="cp1252", COLUMNS="60")

    done = run(*line(name, aws), env=env, cwd=_within(tmp_path))
    teaching = run(*name.split(), "--help", env=env)

    assert done.returncode == (0 if name in GOOD else 1)
    assert is_calm(done.stderr)
    assert (teaching.returncode, is_calm(teaching.stderr)) == (0, True)
    assert b"\x1b" not in done.stdout + done.stderr + teaching.stdout


def _within(directory: Path) -> Path:
    """Return a directory in which `sample` finds its files."""
    (directory / "template.yaml").symlink_to(ROOT / "template.yaml")
    (directory / "events").symlink_to(ROOT / "events")
    return directory


@pytest.mark.long
def test_given_a_name_with_an_arrow_when_shown_in_another_encoding_then_it_is_told(
    tmp_path: Path,
) -> None:
    with LocalServer(app_ids=(APP,), aws_port=0) as server:
        providers = f"/api/client/v2.0/app/{APP}/auth/providers"
        options = {"options": {"device": {"appVersion": "1 → 2"}}}
        answer = call(
            server.base_url,
            "POST",
            f"{providers}/anon-user/login",
            headers={"content-type": "application/json"},
            body=json.dumps(options).encode(),
        )
        assert answer.status == 200, answer
        user = answer.json()["user_id"]
        shown = run(
            *("users", "show", user, "--app", APP),
            *("--endpoint-url", str(server.aws_url)),
            env=environment(PYTHONIOENCODING="cp1252"),
        )

    assert shown.returncode == 0
    assert rb"1 \u2192 2" in shown.stdout


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "→"), ("cp1252", "->"), ("ascii", "->")]
)
def test_given_an_encoding_when_advice_is_shown_then_its_arrow_can_be_encoded(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        pass

    Stream.encoding = encoding  # type: ignore[attr-defined]
    monkeypatch.setattr("sys.stdout", Stream())

    assert arrow() == shown


@pytest.mark.long
@pytest.mark.parametrize("name", ENDS)
def test_given_a_reader_that_has_left_when_run_then_each_command_ends_as_always(
    name: str, aws: str, tmp_path: Path
) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    with subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, *line(name, aws)],
        env=environment(),
        cwd=_within(tmp_path),
        stdout=writable,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writable)
        assert process.stderr is not None
        told = process.stderr.read()

    assert process.returncode == (0 if name in GOOD else 1)
    assert is_calm(told)


@pytest.mark.long
def test_given_a_reader_that_has_seen_enough_when_an_event_comes_then_tail_ends() -> (
    None
):
    with LocalServer(app_ids=(APP,)) as server:
        log_in(server.base_url)
        with subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, "events", "tail", "--base-url", server.base_url],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            process.stdout.close()
            log_in(server.base_url)
            process.wait(20)
            told = process.stderr.read()

    assert b"user.created" in first
    assert (process.returncode, told) == (0, b"")


def test_given_a_reader_that_has_left_when_told_much_then_it_ends_quietly() -> None:
    readable, writable = os.pipe()
    os.close(readable)

    done = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "serve", "--help"],
        env=environment(),
        stdout=writable,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writable)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("streams_closed", [(0, 1, 2), (1,), (2,)])
def test_given_streams_that_are_closed_when_run_then_the_exit_code_is_the_same(
    streams_closed: tuple[int, ...],
) -> None:
    closing = " ".join(f"{n}>&-" if n else "0<&-" for n in streams_closed)

    done = subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", f'"$@" {closing}', "sh", *COMMAND, "keys", "list"],
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 1
    assert is_calm(done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_given_a_full_disk_when_something_is_printed_then_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, "--help"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == (
        b"anonauth: cannot write the output: No space left on device\n"
    )


def test_given_a_reader_that_stays_when_asked_then_output_is_read() -> None:
    assert streams.has_reader()


@pytest.fixture(scope="module")
def hanging() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    taken = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(listening.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


# Python itself has started, and now runs our code.
_READY = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
os.write(int(os.environ["READY"]), b".")
from anonauth.cli.main import main
main()
"""


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("name", COMMANDS)
def test_given_any_moment_when_ctrl_c_is_pressed_then_each_command_ends_with_no_word(
    name: str, seconds: float, hanging: str, tmp_path: Path
) -> None:
    readable, writable = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", _READY, *line(name, hanging)],
        env=environment(READY=str(writable)),
        cwd=_within(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[writable],
    )
    os.close(writable)
    with ended(process):
        assert os.read(readable, 1) == b"."
        os.close(readable)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)

    # During the imports the command is not known yet.
    is_endless = name in {"events tail", "serve"}
    assert process.returncode in ({0, 130} if is_endless else {130}), (out, err)
    assert is_calm(err.encode()), err
    assert err in {"", "not complete; run it again to continue\n"}


CODES = {
    "ExpiredTokenException": "your AWS session has ended (ExpiredToken); run",
    "UnrecognizedClientException": "AWS does not know your credentials",
    "InvalidSignatureException": "AWS refuses your signature",
}


@pytest.fixture
def refusing(answering: Any) -> Any:
    def of(code: str) -> str:
        return str(answering(400, json.dumps({"__type": f"x#{code}"})))

    return of


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(
    "name",
    [n for n in ENDS if n not in {"sample", "events replay"}],
)
def test_given_credentials_that_are_refused_when_run_then_the_remedy_is_told_once(
    name: str, code: str, refusing: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    result = CliRunner().invoke(app, line(name, refusing(code)))

    assert isinstance(result.exception, CommandError), result.output
    told = str(result.exception)
    assert told.startswith(CODES[code])
    assert "\n" not in told
    assert "unknown" not in result.output


@pytest.mark.parametrize(
    ("exc", "told"),
    [
        pytest.param(SSOTokenLoadError(error_msg="x"), "aws sso login"),
        pytest.param(UnauthorizedSSOTokenError(), "aws sso login"),
        pytest.param(LoginRefreshRequired(), "aws login"),
        pytest.param(
            ClientError({"Error": {"Code": "ExpiredToken"}}, "Scan"),
            "aws sso login",
            id="code",
        ),
    ],
)
def test_given_a_profile_whose_session_has_ended_when_told_then_it_is_named(
    exc: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "my work")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)

    line_of_it = explain_credentials_error(exc)

    assert line_of_it is not None
    assert line_of_it.startswith("your AWS session has ended")
    assert line_of_it.endswith(f"run `{told} --profile 'my work'`")


def test_given_a_session_token_in_the_environment_when_expired_then_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    expired = ClientError({"Error": {"Code": "ExpiredTokenException"}}, "Scan")

    assert "AWS_SESSION_TOKEN is too old" in str(explain_credentials_error(expired))


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        pytest.param(
            "read", "DescribeTable changes nothing, so run the command again", id="read"
        ),
        pytest.param(
            "write", "check whether it took effect before you repeat it", id="write"
        ),
    ],
)
def test_given_a_call_that_times_out_when_told_then_only_a_write_may_have_happened(
    operation: str, told: str, table: str
) -> None:
    def late() -> None:
        with open_deployment(DeploymentOptions(table=TABLE)) as found:
            client = found.connect("dynamodb")
            if operation == "write":
                client.put_item(TableName=table, Item={"pk": {"S": "x"}})
            else:
                client.describe_table(TableName=table)
            raise ReadTimeoutError(endpoint_url="https://aws")

    with pytest.raises(CommandError) as refused:
        late()

    assert str(refused.value).endswith(f"; {told}")


@pytest.mark.parametrize(
    "name",
    ["doctor", "keys list", "stats", "users list", "users show", "users export"],
)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("AWS_MAX_ATTEMPTS", "zero", id="attempts"),
        pytest.param("AWS_RETRY_MODE", "nonsense", id="mode"),
        pytest.param("AWS_DEFAULTS_MODE", "nonsense", id="defaults"),
        pytest.param("AWS_ENDPOINT_URL", "nonsense", id="endpoint"),
        pytest.param("AWS_CA_BUNDLE", "/nowhere/ca.pem", id="bundle"),
    ],
)
def test_given_a_configuration_that_is_none_when_run_on_aws_then_one_line(
    name: str,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for each in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(each, "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv(variable, value)
    if variable == "AWS_CA_BUNDLE":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    arguments = [*name.split(), *COMMANDS[name][:-1], "--table", "none"]

    result = CliRunner().invoke(app, arguments)

    assert isinstance(result.exception, CommandError), result.output
    assert "\n" not in str(result.exception)


class _Screen:
    """A terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


IDS = [f"65f0c1d2e3a4b5c6d7e8f{n:03}" for n in range(3)]
PROVIDERS = ("anon-user", "local-userpass", "oauth2-facebook")


def users(width: int, monkeypatch: pytest.MonkeyPatch, **env: str) -> str:
    for name, value in {"COLUMNS": str(width), "TERM": "xterm-256color", **env}.items():
        monkeypatch.setenv(name, value)
    table = Table(title="Times are UTC", box=None)
    table.add_column("uid", no_wrap=True)
    table.add_column("app", overflow="fold")
    for name in ("state", "created", "last active", "providers"):
        table.add_column(name)
    for each in IDS:
        table.add_row(
            *(each, "myapp-abcde", "anonymous", "2026-11-01 12:00", "2026-11-02"),
            ", ".join(PROVIDERS),
        )
    table.add_row("all", "", "", "", "", "", style="bold")
    screen = _Screen()
    monkeypatch.setattr("sys.stdout", screen)
    text_table.print_table(table)
    return screen.text


@pytest.mark.parametrize("width", [20, 60, 79, 80, 100, 200])
def test_given_a_terminal_when_users_are_listed_then_ids_and_providers_are_whole(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = users(width, monkeypatch, NO_COLOR="1")

    words = text.replace(",", " ").split()
    assert [word for word in words if word in IDS] == IDS
    assert all(words.count(provider) == len(IDS) for provider in PROVIDERS)
    assert words.count("anonymous") == len(IDS)
    assert words.count("2026-11-01") == len(IDS)
    if width >= 60:
        assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_given_no_color_when_a_table_is_shown_then_it_has_no_escape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "\x1b" in users(100, monkeypatch)
    assert "\x1b" not in users(100, monkeypatch, NO_COLOR="1")
