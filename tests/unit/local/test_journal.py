"""The data directory of `anonauth serve --data`, without a service."""

import errno
import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from anonauth.local.command_error import CommandError
from anonauth.local.journal import DataDirectory, SavedState, StateNotSaved

AWS = {"keys": [], "parameters": {"/settings": {"type": "String", "value": "{}"}}}


def record(number: int, pk: str, item: dict[str, Any] | None) -> dict[str, Any]:
    change: dict[str, Any] = {
        "Keys": {"pk": {"S": pk}},
        "SequenceNumber": str(number),
    }
    if item is not None:
        change["NewImage"] = {"pk": {"S": pk}, **item}
    return {"eventID": f"e{number}", "dynamodb": change}


ADA = record(7, "USER#app#ada", {"n": {"N": "1"}})
BOB = record(8, "USER#app#bob", {"n": {"N": "2"}})
ADA_GONE = record(9, "USER#app#ada", None)


def write(path: Path, *entries: dict[str, Any]) -> None:
    """Make a data directory with these lines in its journal."""
    with DataDirectory(path) as directory:
        directory.read()
        for entry in entries:
            directory.append(entry)


def read(path: Path) -> SavedState:
    with DataDirectory(path) as directory:
        return directory.read()


def test_given_entries_of_all_kinds_when_read_again_then_they_give_the_state(
    tmp_path: Path,
) -> None:
    write(
        tmp_path / "data",
        {"aws": {"keys": []}},
        {"records": [ADA, BOB]},
        {"told": 1},
        {"ahead": 7862400.25},
        {"records": [ADA_GONE]},
        {"aws": AWS},
    )

    found = read(tmp_path / "data")

    assert found == SavedState(
        items={"USER#app#bob": '{"pk":{"S":"USER#app#bob"},"n":{"N":"2"}}'},
        sequence=10,
        undelivered=[BOB, ADA_GONE],
        ahead=timedelta(days=91, milliseconds=250),
        aws=AWS,
    )


def test_given_an_incomplete_last_line_when_read_then_it_is_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data"
    write(path, {"records": [ADA]}, {"records": [BOB, ADA_GONE]})
    journal = path / "journal-1"
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1

    for length in range(first, len(whole)):
        journal.write_bytes(whole[:length])

        with DataDirectory(path) as directory:
            found = directory.read()
            directory.append({"told": 1})

        assert list(found.items) == ["USER#app#ada"], length
        assert journal.read_bytes() == whole[:first] + b'{"told":1}\n'


def test_given_a_directory_in_use_when_taken_again_then_refused_until_it_is_free(
    tmp_path: Path,
) -> None:
    with DataDirectory(tmp_path), pytest.raises(CommandError) as refused:
        DataDirectory(tmp_path).__enter__()
    with DataDirectory(tmp_path):
        pass

    assert str(refused.value) == (
        f"--data {tmp_path} is in use by another service (process {os.getpid()})"
    )


def _snapshot(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        write(path)
        file = path / "snapshot"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def _damaged_snapshot(path: Path) -> None:
    write(path)
    (path / "snapshot").write_text("{")


def _damaged_journal(path: Path) -> None:
    write(path, {"records": [ADA]}, {"records": [BOB]})
    journal = path / "journal-1"
    journal.write_bytes(b"\0" + journal.read_bytes()[1:])


def _other_files(path: Path) -> None:
    path.mkdir()
    (path / "letter.txt").write_text("Dear Ada")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            _snapshot(format=2),
            "has format 2, but this anonauth reads 1; name a new directory",
            id="newer format",
        ),
        pytest.param(
            _snapshot(format=None),
            "has format None, but this anonauth reads 1; name a new directory",
            id="no format",
        ),
        pytest.param(_damaged_snapshot, "its snapshot is damaged", id="snapshot"),
        pytest.param(_snapshot(ahead=""), "its snapshot is damaged", id="its clock"),
        pytest.param(
            _snapshot(items=1), "its snapshot is damaged", id="a missing item"
        ),
        pytest.param(
            _damaged_journal, "line 1 of journal-1 is damaged", id="a line before last"
        ),
        pytest.param(
            _other_files,
            "has files that are not anonauth's; name a new directory",
            id="another directory",
        ),
        pytest.param(Path.touch, os.strerror(errno.EEXIST), id="a file"),
    ],
)
def test_given_other_files_when_read_then_one_line_says_so_and_they_stay_unchanged(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    make(path)
    before = {each.name: each.read_bytes() for each in path.glob("[!l]*")}

    with pytest.raises(CommandError) as refused:
        read(path)

    assert str(refused.value).startswith(f"--data {path}")
    assert str(refused.value).endswith(message)
    assert "\n" not in str(refused.value)
    assert {each.name: each.read_bytes() for each in path.glob("[!l]*")} == before


def test_given_a_directory_that_all_may_read_when_used_then_only_its_owner_may(
    tmp_path: Path,
) -> None:
    path = tmp_path / "above" / "data"
    write(path)
    for each in (path, *path.iterdir()):
        each.chmod(0o777)

    with DataDirectory(path) as directory:
        directory.read()
        modes = {stat.S_IMODE(each.stat().st_mode) for each in path.glob("[jl]*")}
        directory.write_snapshot()
        modes |= {stat.S_IMODE(each.stat().st_mode) for each in path.iterdir()}

    assert modes == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_given_a_journal_at_its_bound_when_it_is_replaced_then_nothing_is_lost(
    tmp_path: Path,
) -> None:
    line = len(json.dumps({"told": 0}, separators=(",", ":"))) + 1
    write(tmp_path, {"records": [ADA, BOB]}, {"ahead": 60})
    before = read(tmp_path)
    with DataDirectory(tmp_path, longest_journal=2 * line) as directory:
        directory.read()
        directory.write_snapshot()
        size = (tmp_path / "snapshot").stat().st_size
        lines = size // line  # as much again as the snapshot

        for _ in range(lines):
            directory.append({"told": 0})
        is_long_before = directory.needs_snapshot
        directory.append({"told": 0})
        needs_snapshot = directory.needs_snapshot
        directory.write_snapshot()

        assert (is_long_before, needs_snapshot, directory.needs_snapshot) == (
            False,
            True,
            False,
        )
    assert sorted(os.listdir(tmp_path)) == ["journal-3", "lock", "snapshot"]
    assert (tmp_path / "journal-3").stat().st_size == 0
    assert read(tmp_path) == before


def test_given_a_kill_between_snapshot_and_journal_when_read_then_nothing_is_doubled(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"records": [ADA]})
    old = (tmp_path / "journal-1").read_bytes()
    with DataDirectory(tmp_path) as directory:
        remembered = directory.read()
        directory.write_snapshot()

    (tmp_path / "journal-1").write_bytes(old)  # not removed yet
    (tmp_path / "journal-3").touch()  # made for the next snapshot
    (tmp_path / "snapshot.new").write_text('{"form')

    assert read(tmp_path) == remembered
    assert len(remembered.undelivered) == 1
    assert not list(tmp_path.glob("journal-[13]"))


def test_given_a_full_disk_when_written_then_no_call_passes_until_all_is_saved(
    tmp_path: Path,
) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.read()
        directory.append({"records": [ADA]})
        good = directory._journal
        directory._journal = os.open(tmp_path / "journal-1", os.O_RDONLY)

        with pytest.raises(StateNotSaved):
            directory.append({"records": [BOB]})
        with pytest.raises(StateNotSaved):  # a call that changes nothing
            directory.flush()
        os.close(directory._journal)
        directory._journal = good
        os.pwrite(good, b'{"rec', directory._length)  # half a line of the attempt
        directory.append({"told": 1})

    found = read(tmp_path)
    assert list(found.items) == ["USER#app#ada", "USER#app#bob"]
    assert found.undelivered == [BOB]


@pytest.mark.parametrize(
    ("users", "ahead", "text"),
    [
        pytest.param(0, timedelta(), "0 users", id="none"),
        pytest.param(1, timedelta(seconds=1), "1 user, clock a moment ahead", id="1"),
        pytest.param(2, timedelta(minutes=1), "2 users, clock 1 minute ahead", id="2"),
        pytest.param(
            2, timedelta(minutes=59), "2 users, clock 59 minutes ahead", id="minutes"
        ),
        pytest.param(2, timedelta(hours=23), "2 users, clock 23 hours ahead", id="hrs"),
        pytest.param(
            465, timedelta(days=91), "465 users, clock 91 days ahead", id="days"
        ),
    ],
)
def test_given_a_saved_state_when_printed_then_a_few_words_sum_it_up(
    users: int, ahead: timedelta, text: str
) -> None:
    items = {f"USER#app#{number}": "{}" for number in range(users)}

    told = str(SavedState(items={**items, "KEY#ring": "{}"}, ahead=ahead))

    assert told == text
