"""`anonauth users export` on real engines: parallel segments, and a real kill."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.store import Store
from support.contracts.store_contract import APP, a_guest
from support.engine import engines
from support.project.tools import ROOT
from support.service.ctrl_c import COMMAND, ended, in_the_background

USERS = 2000
# A page has 1 MB, so each of four segments has several pages.
PADDING = "x" * 4000

pytestmark = pytest.mark.parametrize(
    "engine", ["dynoxide"], indirect=True, scope="package"
)


@pytest.fixture(scope="module")
def crowd(engine: engines.Engine) -> Iterator[tuple[str, set[str]]]:
    """A table with thousands of users; its name, and their ids."""
    with engine.table() as table, engine.store(table) as store:
        ids = _fill(engine, store, table)
        yield table, ids


def _fill(engine: engines.Engine, store: Store, table: str) -> set[str]:
    model = a_guest()
    assert store.create_user(model)
    (item,) = engine.db.scan(TableName=table)["Items"]
    item = {**item, "padding": {"S": PADDING}}
    ids = {model.id, *[secrets.token_hex(12) for _ in range(USERS - 1)]}
    left: list[Any] = [
        {"PutRequest": {"Item": {**item, "pk": {"S": f"USER#{APP}#{each}"}}}}
        for each in ids
    ]
    while left:
        batch, left = left[:25], left[25:]
        answer = engine.db.batch_write_item(RequestItems={table: batch})
        left += answer["UnprocessedItems"].get(table, [])
    return ids


def uids(file: Path) -> list[str]:
    return [json.loads(line)["uid"] for line in file.read_text().splitlines()]


def options(engine: engines.Engine, table: str) -> list[str]:
    return ["--table", table, "--endpoint-url", engine.endpoint_url]


@pytest.mark.parametrize("segments", [pytest.param(1, marks=pytest.mark.long), 4])
def test_given_thousands_of_users_when_exported_then_each_is_there_once(
    engine: engines.Engine,
    crowd: tuple[str, set[str]],
    tmp_path: Path,
    segments: int,
) -> None:
    table, ids = crowd
    file = tmp_path / "users.jsonl"
    command = ["users", "export", str(file), "--json", "--segments", str(segments)]

    result = CliRunner().invoke(app, [*command, *options(engine, table)])

    assert result.exit_code == 0, result
    assert json.loads(result.stdout)["users"] == USERS
    assert sorted(uids(file)) == sorted(ids)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        pytest.param(signal.SIGKILL, -9, "", id="killed"),
        pytest.param(signal.SIGTERM, -15, "", id="told to end"),
        pytest.param(
            signal.SIGINT, 130, "not complete; run it again to continue\n", id="Ctrl-C"
        ),
    ],
)
def test_given_a_process_that_is_ended_when_run_again_then_the_file_is_whole(
    engine: engines.Engine,
    crowd: tuple[str, set[str]],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    told: str,
) -> None:
    table, ids = crowd
    file, checkpoint = tmp_path / "users.jsonl", tmp_path / "users.jsonl.resume"
    # So slow that it cannot have finished.
    command = ["users", "export", str(file), "--rate", "100", *options(engine, table)]
    with in_the_background():
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT / "functions")},
            stderr=subprocess.PIPE,
            text=True,
        )
    with ended(process):
        assert process.stderr is not None
        while not checkpoint.exists() or not _users(checkpoint):
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it has ended: {process.wait(0.02)}")
        process.send_signal(number)
        assert (process.wait(10), process.stderr.read()) == (code, told)
    before = _users(checkpoint)

    result = CliRunner().invoke(
        app, ["users", "export", str(file), "--json", *options(engine, table)]
    )

    assert 0 < before < USERS
    body = json.loads(result.stdout)
    assert (body["users"], body["resumed"]) == (USERS, True)
    assert sorted(uids(file)) == sorted(ids)
    assert not checkpoint.exists()


def _users(checkpoint: Path) -> int:
    return int(json.loads(checkpoint.read_text())["progress"]["users"])
