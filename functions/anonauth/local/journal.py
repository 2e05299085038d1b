"""`anonauth serve --data DIR`: what survives a restart, and `kill -9`.

The directory has a snapshot, each item a line, and a journal of what has happened
since: one line for all that one call changed, written before its answer goes out.
Nothing waits for the disk, so a power cut may cost what was not on it yet.
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
"""Of the files; one of another number is not read."""

LONGEST_JOURNAL = 16 * 1024 * 1024
"""Bytes, or as many as the snapshot has: then there is a new one. Reads in 0.3 s."""

_SNAPSHOT = "snapshot"
_UNFINISHED = "snapshot.new"
_LOCK = "lock"
_JOURNAL = "journal-"
_BEFORE_THE_FIRST = {_LOCK, f"{_JOURNAL}1", _UNFINISHED}

# Users, their keys and mail addresses are in there, and the keys that sign tokens.
_OWNER_ONLY = 0o600

logger = logging.getLogger("anonauth.serve")


class StateNotSaved(Exception):
    """What has happened cannot be written down, so it must not be answered yet."""


@dataclass(slots=True)
class SavedState:
    """All that survives.

    `items` are the table's by their `pk`, as text, in DynamoDB's JSON; `sequence` is
    the number that the next record of the stream has; `undelivered` are records that
    the function on the stream has not taken; `ahead` is by how much the clock was
    moved; `aws` is what else is in the built-in AWS (see `moto_state`).
    """

    items: dict[str, str] = field(default_factory=dict)
    sequence: int | None = None
    undelivered: list[dict[str, Any]] = field(default_factory=list)
    ahead: timedelta = timedelta()
    aws: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what a person may want to know of it."""
        users = sum(pk.startswith(USER_PREFIX) for pk in self.items)
        told = f"{users} user{'' if users == 1 else 's'}"
        return (
            f"{told}, clock {_duration_text(self.ahead)} ahead" if self.ahead else told
        )

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Change it as a line of the journal says."""
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
    """The directory, for one service at a time; a context manager.

    Args:
        path: Made if it is not there.
        longest_journal: In bytes; see `LONGEST_JOURNAL`.
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
        """Take the directory.

        Raises:
            CommandError: Another service has it, or it has other files, or cannot be
            used.
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
        """Return what it remembers, and go on from there.

        A last line without its end is cut: its call was never answered.

        Raises:
            CommandError: It is of another format, or damaged.
        """
        try:
            return self._read()
        except OSError as exc:
            raise CommandError(f"--data {self._path}: {exc.strerror}") from exc

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write down what has happened; see `SavedState.apply`.

        Raises:
            StateNotSaved: See `flush`.
        """
        self._unwritten += _json_text(entry).encode() + b"\n"
        self._saved.apply(entry)
        self.flush()

    def flush(self) -> None:
        """Write what could not be written before, if there is any.

        Raises:
            StateNotSaved: The file still cannot be written. No call may be answered
                until it can: an answer could show what a restart would forget.
        """
        rest = memoryview(self._unwritten)
        at = self._length
        try:
            while rest:  # what a failed attempt has left of a line is overwritten
                written = os.pwrite(self._journal, rest, at)
                rest, at = rest[written:], at + written
        except OSError as exc:
            logger.error("cannot write to %s: %s", self._path, exc.strerror)  # noqa: TRY400
            raise StateNotSaved from exc
        self._length = at
        self._unwritten = b""

    @property
    def is_long(self) -> bool:
        """Whether it is time for a snapshot."""
        return self._length > self._bound

    def write_snapshot(self) -> None:
        """Write all that is saved, and begin the journal anew."""
        try:
            self._write_snapshot()
        except OSError as exc:
            # The old ones still say it all.
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
            # The system lets go of it when this process ends in any way.
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
                f"--data {self._path} has format {found}, and this anonauth reads "
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
    """Return a duration, to its largest unit."""
    for unit, length in (
        ("day", timedelta(days=1)),
        ("hour", timedelta(hours=1)),
        ("minute", timedelta(minutes=1)),
    ):
        number = round(duration / length)
        if duration >= length:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "a moment"
