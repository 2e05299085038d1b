"""`anonauth serve --data DIR`: data that survives a restart and `kill -9`.

The directory has a snapshot, one line per item, and a journal of the changes since. All
changes of a call are one line, written before its answer is sent. No write waits for
the disk, so a power cut may lose the latest changes.
"""

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anonauth.local.command_error import CommandError
from anonauth.store.items import USER_PREFIX

FILE_FORMAT = 1
"""Version of the file format. Files of another version are refused."""

LONGEST_JOURNAL = 16 * 1024 * 1024
"""Bytes. A journal longer than this, and than its snapshot, leads to a new snapshot.
Reading such a journal takes 0.3 s."""

_SNAPSHOT = "snapshot"
_UNFINISHED = "snapshot.new"
_LOCK = "lock"
_JOURNAL = "journal-"
_BEFORE_THE_FIRST = {_LOCK, f"{_JOURNAL}1", _UNFINISHED}

# The files have users, their keys and mail addresses, and the keys that sign tokens.
_OWNER_ONLY = 0o600

logger = logging.getLogger("anonauth.serve")


class StateNotSaved(Exception):
    """The data directory cannot be written, so the call must not be answered yet."""


@dataclass(slots=True)
class SavedState:
    """The state that survives a restart.

    `items` are the table's items by their `pk`, as text in DynamoDB's JSON. `sequence`
    is the number of the stream's next record. `undelivered` are records that the
    function on the stream has not taken. `ahead` is how far the clock was moved. `aws`
    is the rest of the built-in AWS (see `moto_state`).
    """

    items: dict[str, str] = field(default_factory=dict)
    sequence: int | None = None
    undelivered: list[dict[str, Any]] = field(default_factory=list)
    ahead: timedelta = timedelta()
    aws: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return a summary for the terminal."""
        users = sum(pk.startswith(USER_PREFIX) for pk in self.items)
        told = f"{users} user{'' if users == 1 else 's'}"
        return (
            f"{told}, clock {_duration_text(self.ahead)} ahead" if self.ahead else told
        )

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Apply the changes in a line of the journal."""
        for record in entry.get("records", ()):
            change = record["dynamodb"]
            pk = change["Keys"]["pk"]["S"]
            if "NewImage" in change:
                self.items[pk] = _json_text(change["NewImage"])
            else:
                self.items.pop(pk, None)
            self.sequence = int(change["SequenceNumber"]) + 1
            self.undelivered.append(record)
        del self.undelivered[: entry.get("told", 0)]
        if "ahead" in entry:
            self.ahead = timedelta(seconds=entry["ahead"])
        self.aws = entry.get("aws", self.aws)


class DataDirectory:
    """The data directory, used by one service at a time; a context manager.

    Args:
        path: The directory. It is made if it does not exist.
        longest_journal: Bytes; see `LONGEST_JOURNAL`.
    """

    def __init__(self, path: Path, *, longest_journal: int = LONGEST_JOURNAL) -> None:
        self._path = path
        self._shortest_bound = longest_journal
        self._bound = longest_journal
        self._generation = 0
        self._length = 0
        self._unwritten = b""
        self._saved = SavedState()
        self._lock = -1
        self._journal = -1
        self.is_new = False

    def __enter__(self) -> Self:
        """Lock the directory for this service.

        Raises:
            CommandError: Another service uses the directory, it has other files, or it
                cannot be read and written.
        """
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = set(os.listdir(self._path))
            if _SNAPSHOT not in names and names - _BEFORE_THE_FIRST:
                raise CommandError(
                    f"--data {self._path} has files that are not anonauth's; name a "
                    "new directory"
                )
            self._path.chmod(0o700)
            self._take_lock()
        except OSError as exc:
            raise CommandError(f"--data {self._path}: {exc.strerror}") from exc
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for descriptor in (self._journal, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._journal = self._lock = -1

    def read(self) -> SavedState:
        """Return the saved state, and continue the journal from there.

        A last line without its end is removed: its call was never answered.

        Raises:
            CommandError: The files have another format, or are damaged.
        """
        try:
            return self._read()
        except OSError as exc:
            raise CommandError(f"--data {self._path}: {exc.strerror}") from exc

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write changes to the journal; see `SavedState.apply`.

        Raises:
            StateNotSaved: See `flush`.
        """
        self._unwritten += _json_text(entry).encode() + b"\n"
        self._saved.apply(entry)
        self.flush()

    def flush(self) -> None:
        """Write the lines that could not be written before, if there are any.

        Raises:
            StateNotSaved: The journal still cannot be written. No call may be answered
                until it can: an answer could show changes that a restart would forget.
        """
        rest = memoryview(self._unwritten)
        at = self._length
        try:
            while rest:  # overwrites the part of a line that a failed attempt has left
                written = os.pwrite(self._journal, rest, at)
                rest, at = rest[written:], at + written
        except OSError as exc:
            logger.error("cannot write to %s: %s", self._path, exc.strerror)  # noqa: TRY400
            raise StateNotSaved from exc
        self._length = at
        self._unwritten = b""

    @property
    def needs_snapshot(self) -> bool:
        """Whether the journal is long enough for a new snapshot."""
        return self._length > self._bound

    def write_snapshot(self) -> None:
        """Write a snapshot of the state, and start a new journal."""
        try:
            self._write_snapshot()
        except OSError as exc:
            # The old snapshot and journal still have everything.
            self._bound = 2 * self._length
            logger.error("no snapshot in %s: %s", self._path, exc.strerror)  # noqa: TRY400

    def _take_lock(self) -> None:
        try:
            import fcntl  # noqa: PLC0415 - not on Windows
        except ImportError as exc:
            raise CommandError(
                "--data needs a system with flock, such as Linux"
            ) from exc
        self._lock = self._open(_LOCK)
        try:
            # The system releases the lock when this process ends in any way.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            owner = os.pread(self._lock, 20, 0).decode(errors="replace")
            os.close(self._lock)
            self._lock = -1
            raise CommandError(
                f"--data {self._path} is in use by another service (process {owner})"
            ) from exc
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _read(self) -> SavedState:
        try:
            text = (self._path / _SNAPSHOT).read_text()
        except FileNotFoundError:
            self.is_new = True
            self._write_snapshot()
            return self._saved
        try:
            first, *lines = text.splitlines()
            header = json.loads(first)
            found = header["format"]
            if found == FILE_FORMAT:
                self._saved = _parse_snapshot(header, lines)
                self._generation = header["generation"]
        except (ValueError, KeyError, TypeError) as exc:
            raise CommandError(
                f"--data {self._path}: its {_SNAPSHOT} is damaged"
            ) from exc
        if found != FILE_FORMAT:
            raise CommandError(
                f"--data {self._path} has format {found}, but this anonauth reads "
                f"{FILE_FORMAT}; name a new directory"
            )
        self._bound = max(self._shortest_bound, len(text))
        self._replay()
        self._remove_others()
        return self._saved

    def _replay(self) -> None:
        name = f"{_JOURNAL}{self._generation}"
        whole, end, _ = (self._path / name).read_bytes().rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self._saved.apply(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise CommandError(
                    f"--data {self._path}: line {number} of {name} is damaged"
                ) from exc
        self._length = len(whole + end)
        self._journal = self._open(name)
        os.ftruncate(self._journal, self._length)

    def _write_snapshot(self) -> None:
        saved = self._saved
        generation = self._generation + 1
        journal = self._open(f"{_JOURNAL}{generation}", os.O_TRUNC)
        try:
            header = {
                "format": FILE_FORMAT,
                "generation": generation,
                "items": len(saved.items),
                "sequence": saved.sequence,
                "untold": saved.undelivered,
                "ahead": saved.ahead.total_seconds(),
                "aws": saved.aws,
            }
            text = "\n".join((_json_text(header), *saved.items.values()))
            unfinished = self._open(_UNFINISHED, os.O_TRUNC)
            with os.fdopen(unfinished, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            (self._path / _UNFINISHED).rename(self._path / _SNAPSHOT)
        except OSError:
            os.close(journal)
            raise
        if self._journal >= 0:
            os.close(self._journal)
        self._journal = journal
        self._generation = generation
        self._length = 0
        self._unwritten = b""
        self._bound = max(self._shortest_bound, len(text))
        self._remove_others()

    def _remove_others(self) -> None:
        own = f"{_JOURNAL}{self._generation}"
        for path in self._path.glob(f"{_JOURNAL}*"):
            if path.name != own:
                with suppress(OSError):
                    path.unlink()

    def _open(self, name: str, flags: int = 0) -> int:
        path = self._path / name
        opened = os.open(path, os.O_RDWR | os.O_CREAT | flags, _OWNER_ONLY)
        os.fchmod(opened, _OWNER_ONLY)  # a copy may have had another mode
        return opened


def _json_text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _parse_snapshot(header: Mapping[str, Any], lines: list[str]) -> SavedState:
    items = {json.loads(line)["pk"]["S"]: line for line in lines}
    if len(items) != header["items"]:
        raise ValueError(header["items"])
    return SavedState(
        items,
        header["sequence"],
        header["untold"],
        timedelta(seconds=header["ahead"]),
        header["aws"],
    )


def _duration_text(duration: timedelta) -> str:
    """Return a duration, rounded to its largest unit."""
    for unit, length in (
        ("day", timedelta(days=1)),
        ("hour", timedelta(hours=1)),
        ("minute", timedelta(minutes=1)),
    ):
        number = round(duration / length)
        if duration >= length:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "a moment"
