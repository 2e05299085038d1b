"""`anonauth users import` on real engines: races, a real kill, and a round trip."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.cli.users.import_file import read_lines
from anonauth.cli.users.import_forms import ImportForm
from anonauth.cli.users.import_run import ImportCounts, ImportRun
from anonauth.domain.encoding import identity_key
from anonauth.domain.restoring import RestoreRules
from anonauth.email_addresses import EmailSyntax
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP, NOW
from support.engine import engines
from support.engine.racing import Service, a_subject, assert_items_whole, race
from support.project.tools import ROOT
from support.service.ctrl_c import COMMAND, ended, in_the_background

CUSTOM = "custom-token"
USERS = 1_200

ROUNDS = pytest.mark.parametrize(
    ("engine", "rounds"),
    [
        *[pytest.param(name, 5, id=f"{name}, 5 times") for name in engines.names()],
        *[
            pytest.param(name, 100, id=f"{name}, 100 times", marks=pytest.mark.long)
            for name in engines.names()
        ],
    ],
    indirect=["engine"],
)


def a_line(number: int, *subjects: str) -> dict[str, Any]:
    """Return a line of an export, of a user with these JWT identities."""
    return {
        "app": APP,
        "uid": f"{number:024x}",
        "anonymous": False,
        "created_at": "2024-11-24T12:00:00Z",
        "last_active_day": "2025-11-24",
        "expires_at": None,
        "identities": [
            {"provider": CUSTOM, "id": subject, "key": identity_key(subject)}
            for subject in subjects
        ],
    }


def write(file: Path, *lines: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def importing(
    service: Service, file: Path, *, tells: bool = False
) -> Callable[[], ImportCounts]:
    form = ImportForm(None, None, EmailSyntax(), verified_emails=False, now=NOW)
    rules = RestoreRules(tells_created=tells)
    run = ImportRun(
        file, read_lines, form.of_export, service.store, rules, {}, NOW, threads=1
    )
    return lambda: run.run(is_dry=False)


@ROUNDS
@pytest.mark.parametrize("logins", [1, 3])
def test_given_an_import_and_logins_at_once_then_the_identity_has_one_user(
    service: Service, tmp_path: Path, rounds: int, logins: int
) -> None:
    for number in range(rounds):
        subject = a_subject()
        line = a_line(number, subject)
        file = write(tmp_path / "users", line)

        counts, *opened = race(
            importing(service, file),
            *[lambda: service.log_in_by(CUSTOM, {"token": subject})] * logins,  # noqa: B023 - called at once
        )

        assert isinstance(counts, ImportCounts)
        again = service.log_in_by(CUSTOM, {"token": subject}).user.id
        for each in opened:
            assert isinstance(each, OpenedSession)
            assert each.user.id == again
        is_imported = again == line["uid"]
        assert counts["imported"] == is_imported
        assert counts["unreachable"] == (not is_imported)
        items = service.items()
        assert_items_whole(items)
        assert len([i for i in items if i["pk"]["S"].startswith("USER#")]) == 1
        service.drop(items)


@ROUNDS
def test_given_a_guest_that_links_meanwhile_then_the_rest_of_the_user_is_imported(
    service: Service, tmp_path: Path, rounds: int
) -> None:
    for number in range(rounds):
        taken, kept = a_subject(), a_subject()
        file = write(tmp_path / "users", a_line(number, taken, kept))
        guest = service.log_in()

        counts, linked = race(
            importing(service, file),
            lambda: service.link(guest, CUSTOM, {"token": taken}),  # noqa: B023 - called at once
        )

        assert isinstance(counts, ImportCounts)
        assert counts["imported"] == 1
        owner = service.log_in_by(CUSTOM, {"token": kept}).user.id
        assert owner == f"{number:024x}"
        first = service.log_in_by(CUSTOM, {"token": taken}).user.id
        is_linked = not isinstance(linked, Exception)
        assert first == (guest.user.id if is_linked else owner)
        assert counts.dropped_total == is_linked
        assert_items_whole(items := service.items())
        service.drop(items)


@ROUNDS
@pytest.mark.parametrize("tells", [False, True])
def test_given_two_imports_at_once_then_each_user_is_written_once_and_whole(
    service: Service, tmp_path: Path, rounds: int, *, tells: bool
) -> None:
    for number in range(rounds):
        subject = a_subject()
        files = [
            write(tmp_path / name, a_line(number * 2 + n, subject, a_subject()))
            for n, name in enumerate("ab")
        ]
        runs = [importing(service, file, tells=tells) for file in [*files, files[0]]]

        counts = race(*runs)

        items = service.items()
        assert_items_whole(items)
        written = [
            each["imported"] for each in counts if isinstance(each, ImportCounts)
        ]
        assert sum(written) in {2, 3}  # the same file: both may count it as their own
        assert len([i for i in items if i["pk"]["S"].startswith("USER#")]) == 2
        assert len([i for i in items if i["pk"]["S"].startswith("IDENT#")]) == 3
        service.drop(items)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        pytest.param(signal.SIGKILL, -9, "", id="killed"),
        pytest.param(
            signal.SIGINT,
            130,
            r"not complete; users written: [0-9,]+; run it again to continue\n",
            id="Ctrl-C",
        ),
    ],
)
def test_given_an_import_that_is_ended_when_run_again_then_the_export_is_the_same(
    service: Service,
    engine: engines.Engine,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    said: str,
) -> None:
    lines = [a_line(n, a_subject(), a_subject()) for n in range(USERS)]
    file = write(tmp_path / "users.jsonl", *lines)
    where = ["--table", service.table, "--endpoint-url", engine.endpoint_url]
    command = ["users", "import", str(file), *where, "--yes", "--json"]
    with in_the_background():
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT / "functions")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    with ended(process):
        while len(service.items("USER#")) < USERS // 10:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                assert process.stderr is not None
                pytest.fail(f"it has ended: {process.stderr.read()}")
        process.send_signal(number)
        assert process.stderr is not None
        assert process.wait(10) == code
        assert re.search(said, process.stderr.read())
    killed = service.items()

    result = CliRunner().invoke(app, command)
    told = json.loads(result.stdout)
    again = json.loads(CliRunner().invoke(app, command).stdout)
    copy = tmp_path / "copy.jsonl"
    exported = CliRunner().invoke(app, ["users", "export", str(copy), *where])

    assert_items_whole(killed)
    there = sum(item["pk"]["S"].startswith("USER#") for item in killed)
    assert 0 < there < USERS
    assert (told["imported"], told["present"]) == (USERS - there, there)
    assert (again["imported"], again["present"]) == (0, USERS)
    assert exported.exit_code == 0
    found = [json.loads(line) for line in copy.read_text().splitlines()]
    assert sorted(found, key=lambda line: line["uid"]) == lines
    for line in (lines[0], lines[-1]):
        token = {"token": line["identities"][1]["id"]}
        assert service.log_in_by(CUSTOM, token).user.id == line["uid"]
