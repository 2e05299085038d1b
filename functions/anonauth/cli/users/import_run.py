"""The work of `anonauth users import`: write the users of a file as a restore would."""

import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from anonauth.cli.options import printable
from anonauth.cli.patience import repeat_patiently
from anonauth.cli.signals import block_signals_in_new_threads
from anonauth.cli.table_scan import show_progress
from anonauth.cli.users.import_file import FileReader
from anonauth.cli.users.import_forms import BadUser, DroppedIdentity, FileUser, LeftOut
from anonauth.domain.identities import IdentityRecord
from anonauth.domain.restoring import (
    RecordName,
    RestoreOutcome,
    RestorePlan,
    RestoreRules,
    UserName,
)
from anonauth.ports import RestoreStore
from anonauth.usecases.restoring import UserRestore

_MOST_IN_BATCH = 100  # users whose items are read together
_MOST_LISTED = 1000  # problems and identities, so that the memory stays flat
_LINE_EACH = 1000  # users, without a terminal
_WAKE_SECONDS = 0.2  # as in `table_scan`

ImportOutcome = Literal["imported", "completed", "present", "gone", "unreachable"]
"""What becomes of a user of the file, as in a restore (see `RestoreOutcome`)."""

# The file has neither guests nor deletions, so a restore has no other outcome.
_OUTCOMES: Mapping[RestoreOutcome, ImportOutcome] = {
    "restored": "imported",
    "completed": "completed",
    "present": "present",
    "gone": "gone",
    "unreachable": "unreachable",
}

_WORDS: Mapping[str, str] = {
    "imported": "users: imported, without sessions",
    "completed": "users of the table: lost identities imported",
    "present": "users of the table: as they are",
    "gone": "deleted on request or merged: left out",
    "unreachable": "users whose identities other users have: left out",
    "guest": "guests: left out, since only the old service knows their credential",
    "disabled": "disabled users: left out, since this service disables nobody",
    "no_credential": "users without an identity that can log in here: left out",
    "other_app": "users of other apps: left out",
    "invalid": "users that the file does not describe right: left out",
}


class ImportCounts:
    """What becomes of the users of a file. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.problems: list[tuple[str, str]] = []
        self.dropped: list[DroppedIdentity] = []
        self.dropped_total = 0

    def add_plan(self, user: FileUser, plan: RestorePlan) -> None:
        """Count a user that was written or, in a dry run, would be."""
        taken = [
            DroppedIdentity(c.app, c.user_id, c.provider, c.identity_id, c.reason)
            for c in plan.conflicts
        ]
        with self._lock:
            self._counts[_OUTCOMES[plan.outcome]] += 1
            self._add_dropped([*user.dropped, *taken])

    def add_left_out(self, user: FileUser, why: LeftOut) -> None:
        """Count a user that cannot be imported."""
        with self._lock:
            self._counts[why] += 1
            self._add_dropped(user.dropped)

    def add_problem(self, place: str, told: str) -> None:
        """Count a user that the file does not describe right."""
        with self._lock:
            self._counts["invalid"] += 1
            if len(self.problems) < _MOST_LISTED:
                self.problems.append((place, told))

    def _add_dropped(self, dropped: Sequence[DroppedIdentity]) -> None:
        self.dropped_total += len(dropped)
        self.dropped += dropped[: _MOST_LISTED - len(self.dropped)]

    def __getitem__(self, name: str) -> int:
        """Return a count by its name in the JSON."""
        return self._counts[name]

    @property
    def total(self) -> int:
        """Number of users so far."""
        return self._counts.total()

    @property
    def written(self) -> int:
        """Number of users that are written, or are to be."""
        return self["imported"] + self["completed"]

    def as_json(self) -> dict[str, Any]:
        """Return the counts, and the first problems and identities, as JSON."""
        names = [*get_args(ImportOutcome), *get_args(LeftOut), "invalid"]
        return {
            **{name: self[name] for name in names},
            "identities_left_out": self.dropped_total,
            "problems": [
                {"place": place, "reason": told} for place, told in self.problems
            ],
            "dropped": [
                {
                    "app": each.app,
                    "uid": each.user_id,
                    "provider": each.provider,
                    "id": each.id,
                    "reason": each.reason,
                }
                for each in self.dropped
            ],
        }

    def lines(self) -> Iterator[str]:
        """Yield the counts in words, those that are 0 left out."""
        for name, words in _WORDS.items():
            if count := self[name]:
                yield f"{count:>11,}  {words}"

    def problem_lines(self) -> Iterator[str]:
        """Yield a line for each user and identity that the file has, but not the table.

        Identities that other users have are told by their provider and id.
        """
        for place, told in self.problems:
            yield printable(f"{place}: {told}")
        for each in self.dropped:
            yield printable(
                f"user {each.user_id} of app {each.app} comes without "
                f"{each.provider} {each.id}: {each.reason}"
            )
        more = self["invalid"] - len(self.problems)
        more += self.dropped_total - len(self.dropped)
        if more:
            yield f"and {more:,} more"


@dataclass(frozen=True, slots=True)
class ImportRun:
    """One run over a file.

    Args:
        read: Reads the file.
        interpret: Makes a user of what the file has. It can raise `BadUser`.
        lost: Users that the table has lost, and the identities that name them.
        now: Time of the import, in whole seconds.
        pause: Waits that many seconds while the table throttles.
    """

    path: Path
    read: FileReader
    interpret: Callable[[object], FileUser]
    live: RestoreStore
    rules: RestoreRules
    lost: Mapping[UserName, Sequence[RecordName]]
    now: datetime
    threads: int
    pause: Callable[[float], None] = field(default=time.sleep)

    def run(self, *, is_dry: bool, users: int = 0) -> ImportCounts:
        """Go through the file, and return what becomes of its users.

        Every user is written whole or not at all, whenever the run ends.

        Args:
            is_dry: Only count, and write nothing.
            users: Number of users in the file, as far as it is known.
        """
        counts = ImportCounts()
        stopped = threading.Event()
        with show_progress(users) as advance:

            def work(batch: Sequence[FileUser]) -> None:
                for user, restore, plan in self._plans(batch):
                    if stopped.is_set():
                        return
                    done = plan if is_dry else self._carry_out(restore, user, plan)
                    counts.add_plan(user, done)
                    advance(1)
                if not is_dry:
                    _tell_progress(counts, len(batch))

            try:
                self._spread(self._batches(counts, advance), work, stopped)
            except BaseException:
                if not is_dry:
                    print(
                        f"not complete; users written: {counts.written:,}; run it "
                        "again to continue",
                        file=sys.stderr,
                    )
                raise
        return counts

    def _spread(
        self,
        batches: Iterator[list[FileUser]],
        work: Callable[[Sequence[FileUser]], None],
        stopped: threading.Event,
    ) -> None:
        """Let threads work on the batches, and read the file no faster than that."""
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for batch in batches:
                    with block_signals_in_new_threads():
                        running.add(pool.submit(work, batch))
                    while len(running) > self.threads:
                        running = _wait(running)
                while running:
                    running = _wait(running)
            finally:
                stopped.set()

    def _batches(
        self, counts: ImportCounts, advance: Callable[[int], None]
    ) -> Iterator[list[FileUser]]:
        batch: list[FileUser] = []
        for user in self._users(counts):
            if user.left_out is not None:
                counts.add_left_out(user, user.left_out)
                advance(1)
                continue
            batch.append(user)
            if len(batch) == _MOST_IN_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _users(self, counts: ImportCounts) -> Iterator[FileUser]:
        with closing(_SeenNames()) as seen:
            for place, value, problem in self.read(self.path):
                if problem:
                    counts.add_problem(place, problem)
                    continue
                try:
                    user = self.interpret(value)
                    seen.add(place, user)
                except BadUser as exc:
                    counts.add_problem(place, str(exc))
                else:
                    yield user

    def _plans(
        self, batch: Sequence[FileUser]
    ) -> Iterator[tuple[FileUser, UserRestore, RestorePlan]]:
        records = _FileRecords()
        for each in batch:
            records.update(each.records_by_name())
        restore = UserRestore(records, self.live, self.rules, self.lost, self.now)
        users = [each.user for each in batch if each.user is not None]
        plans = repeat_patiently(lambda: restore.plan(users), self.pause)
        for user, (_, plan) in zip(batch, plans, strict=True):
            yield user, restore, plan

    def _carry_out(
        self, restore: UserRestore, user: FileUser, plan: RestorePlan
    ) -> RestorePlan:
        assert user.user is not None  # noqa: S101 - for the type  # nosec B101
        old = user.user
        return repeat_patiently(lambda: restore.carry_out(old, plan), self.pause)


class _FileRecords(dict[RecordName, IdentityRecord]):
    """`RecordSource`: the records of a batch of users of the file."""

    def get_records(self, names: Any) -> Mapping[RecordName, IdentityRecord | None]:
        return {name: self[name] for name in names if name in self}


class _SeenNames:
    """The ids and identities that the file had so far, and where.

    They are in a temporary file of SQLite, since the memory may be too small.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE seen (name TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID"
        )

    def add(self, place: str, user: FileUser) -> None:
        """Note all names of a user.

        Raises:
            BadUser: An earlier user of the file has one of them.
        """
        names = [f"{app} {name}" for app, name in user.names()]
        for name in names:
            found = self._database.execute(
                "SELECT place FROM seen WHERE name = ?", (name,)
            ).fetchone()
            if found:
                raise BadUser(f"its id or an identity of it is in {found[0]} already")
        self._database.executemany(
            "INSERT INTO seen VALUES (?, ?)", [(name, place) for name in names]
        )

    def close(self) -> None:
        self._database.close()


def _wait(running: set[Future[None]]) -> set[Future[None]]:
    # The main thread wakes up now and then, or it might never notice Ctrl-C.
    done, rest = wait(running, _WAKE_SECONDS, FIRST_COMPLETED)
    for each in done:
        each.result()
    return rest


def _tell_progress(counts: ImportCounts, added: int) -> None:
    total = counts.total
    if total // _LINE_EACH > (total - added) // _LINE_EACH and not sys.stderr.isatty():
        print(f"users: {total:,}, written: {counts.written:,}", file=sys.stderr)
