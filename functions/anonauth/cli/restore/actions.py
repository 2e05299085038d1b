"""The work of `anonauth restore`: compare a backup with the live table, and restore."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, get_args

from anonauth import wiring
from anonauth.cli.deployment import Deployment, find_aws_error
from anonauth.cli.keys.actions import read_keys_to_change
from anonauth.cli.options import printable
from anonauth.cli.patience import aws_error_code, repeat_patiently
from anonauth.cli.restore.archive import EventArchive
from anonauth.cli.restore.lost_users import find_lost_users
from anonauth.cli.table_scan import ParallelScan, show_progress
from anonauth.domain.encoding import rfc3339
from anonauth.domain.restoring import (
    Conflict,
    RecordName,
    RestoreOutcome,
    RestorePlan,
    RestoreRules,
    UserName,
)
from anonauth.domain.signing_keys import Ring, RingKey
from anonauth.domain.users import User, UserFilter, UserPage
from anonauth.errors import KeysUnavailable
from anonauth.local.command_error import CommandError
from anonauth.ports import RestoreStore
from anonauth.usecases.key_ring import KeyRotation
from anonauth.usecases.restoring import UserRestore

_T = TypeVar("_T")

_MARK_LIFETIME = timedelta(days=30)

# Codes by which KMS says that a key cannot decrypt something, whatever comes later.
_LOST_KEY_CODES = {
    "AccessDenied",
    "Disabled",
    "IncorrectKey",
    "InvalidCiphertext",
    "InvalidKeyUsage",
    "KMSInvalidState",
    "NotFound",
}

_LINE_EACH = 1000  # users, without a terminal


@dataclass(frozen=True, slots=True)
class Backup:
    """The table that point-in-time recovery, or another backup, has restored.

    `items` is their number as far as DynamoDB knows it. `taken_at` is the time that the
    table shows, None if DynamoDB does not know it.
    """

    services: wiring.Services
    name: str
    items: int
    taken_at: datetime | None


def open_backup(deployment: Deployment, name: str) -> Backup:
    """Return the table of the backup.

    Raises:
        CommandError: There is no such table, it is not ready, or it is the live table.
    """
    client = deployment.connect("dynamodb")
    try:
        table = client.describe_table(TableName=name)["Table"]
    except client.exceptions.ResourceNotFoundException as exc:
        raise CommandError(
            f"no table '{printable(name)}' in {deployment.region}"
        ) from exc
    name = table["TableName"]
    if name == deployment.table:
        raise CommandError(f"'{name}' is the live table itself")
    if table["TableStatus"] != "ACTIVE":
        raise CommandError(
            f"table '{name}' is not ready: it is {table['TableStatus']}; wait until "
            "DynamoDB has restored it"
        )
    if [key["AttributeName"] for key in table["KeySchema"]] != ["pk"]:
        raise CommandError(f"table '{name}' is not a table of anonauth")
    return Backup(
        replace(deployment, table=name).services(),
        name,
        int(table.get("ItemCount", 0)),
        table.get("RestoreSummary", {}).get("RestoreDateTime"),
    )


@dataclass(frozen=True, slots=True)
class RingPlan:
    """What becomes of the backup's key ring.

    `former` are the refresh keys to take over, wrapped by the live KMS key. `verifies`
    says whether the refresh tokens of the backup's guests will be accepted.
    """

    makes_ring: bool
    former: Sequence[RingKey]
    verifies: bool
    notes: Sequence[str]

    @property
    def has_work(self) -> bool:
        """Whether the ring is written."""
        return self.makes_ring or bool(self.former)


def plan_ring(live: wiring.Services, backup: wiring.Services) -> RingPlan:
    """Decide what becomes of the key rings. Nothing is written.

    Keys of the backup never sign, and its access keys never verify either: one that was
    revoked would be good again. Its refresh keys verify, if the live ring is another
    one. If it is the same ring, a key that it no longer has was revoked.

    Raises:
        CommandError: This machine's clock is behind the live ring, which is to be
            written.
    """
    ring, old = live.store.load_ring(), backup.store.load_ring()
    makes_ring = ring is None
    notes = ["no key ring in the live table: new keys are made"] if makes_ring else []
    if old is None:
        notes.append("the backup has no key ring")
        return RingPlan(makes_ring, former=(), verifies=False, notes=notes)
    refresh_keys = old.of("refresh")
    if ring is not None and ring.is_same_ring(old):
        revoked = [k for k in refresh_keys if ring.find("refresh", k.kid) is None]
        notes += [
            f"refresh key {key.kid} was revoked after the backup, and stays revoked"
            for key in revoked
        ]
        verifies = len(revoked) < len(refresh_keys)
        return RingPlan(makes_ring, former=(), verifies=verifies, notes=notes)
    if ring is not None:
        read_keys_to_change(live)
    former: list[RingKey] = []
    for key in refresh_keys:
        try:
            former.append(live.key_maker.rewrap(key, backup.former_wrapping))
        except KeysUnavailable as exc:
            cause, code = find_aws_error(exc), aws_error_code(exc)
            # Trouble with the live KMS key must end the command.
            is_decryption = getattr(cause, "operation_name", "") == "Decrypt"
            if not is_decryption or code not in _LOST_KEY_CODES:
                raise
            notes.append(
                f"refresh key {key.kid} of the backup cannot be decrypted ({code}): "
                "its KMS key is lost, or you may not use it"
            )
        else:
            notes.append(
                f"refresh key {key.kid} of the backup is taken over. It verifies, and "
                "signs nothing. If you had revoked it, revoke it again"
            )
    return RingPlan(makes_ring, former, verifies=bool(former), notes=notes)


def take_over_keys(plan: RingPlan, live: wiring.Services) -> Ring:
    """Write the ring as planned, and return it."""
    return KeyRotation(live.store, live.key_maker).take_over(plan.former, live.clock())


class RestoreCounts:
    """What became of the users of a backup. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: Counter[RestoreOutcome] = Counter()
        self.conflicts: list[Conflict] = []
        self.unreadable = 0

    def add(self, plan: RestorePlan) -> int:
        """Count a user, and return the number of users so far."""
        with self._lock:
            self.outcomes[plan.outcome] += 1
            self.conflicts += plan.conflicts
            return self.outcomes.total()

    def add_unreadable(self, count: int) -> None:
        """Count items that could not be read."""
        with self._lock:
            self.unreadable += count

    @property
    def written(self) -> int:
        """Number of users that are written, or are to be."""
        done = self.outcomes
        return done["restored"] + done["restored_guest"] + done["completed"]

    def as_json(self) -> dict[str, Any]:
        """Return the counts, and each conflict, as JSON."""
        return {
            **{outcome: self.outcomes[outcome] for outcome in get_args(RestoreOutcome)},
            "unreadable": self.unreadable,
            "conflicts": [
                {
                    "app": each.app,
                    "uid": each.user_id,
                    "provider": each.provider,
                    "id": each.identity_id,
                    "reason": each.reason,
                }
                for each in self.conflicts
            ],
        }

    def lines(self) -> Iterator[str]:
        """Yield the counts in words, those that are 0 left out."""
        for outcome, words in _OUTCOME_WORDS.items():
            if count := self.outcomes[outcome]:
                yield f"{count:>11,}  {words}"
        if self.unreadable:
            yield f"{self.unreadable:>11,}  items that cannot be read"

    def conflict_lines(self) -> Iterator[str]:
        """Yield a line for each identity or API key that its user does not get back."""
        for each in self.conflicts:
            yield printable(
                f"user {each.user_id} of app {each.app} does not get back "
                f"{each.provider} {each.identity_id}: {each.reason}"
            )


_OUTCOME_WORDS: Mapping[RestoreOutcome, str] = {
    "restored": "permanent users: restored, without sessions",
    "restored_guest": "guests: restored, with their session",
    "completed": "users of the live table: lost identities or API keys restored",
    "present": "users of the live table: as they are",
    "gone": "deleted on request: stay deleted",
    "deleted": "deleted according to the archived events: stay deleted",
    "expired": "guests that have expired: left out",
    "guest_left_out": "guests: left out",
    "unreachable": "users whose identities other users have: left out",
}


@dataclass(frozen=True, slots=True)
class RestoreRun:
    """One run over a backup.

    Args:
        now: Time of the restore, in whole seconds.
        live_items: Number of the live table's items, as far as it is known.
        backup_items: The same of the backup.
        pause: Waits that many seconds while the table throttles.
    """

    live: RestoreStore
    backup: RestoreStore
    rules: RestoreRules
    now: datetime
    segments: int
    rate: float | None = None
    live_items: int = 0
    backup_items: int = 0
    pause: Callable[[float], None] = field(default=time.sleep)

    def find_lost_users(self) -> dict[UserName, list[RecordName]]:
        """Return the users that the live table has lost; see `find_lost_users`."""
        return find_lost_users(
            self.live,
            self.rules.merges,
            segments=self.segments,
            rate=self.rate,
            items=self.live_items,
            pause=self.pause,
        )

    def run(
        self, lost: Mapping[UserName, Sequence[RecordName]], *, is_dry: bool
    ) -> RestoreCounts:
        """Go through the backup, and return what becomes of its users.

        Args:
            lost: From `find_lost_users`.
            is_dry: Only count, and write nothing.
        """
        counts = RestoreCounts()
        restore = UserRestore(self.backup, self.live, self.rules, lost, self.now)
        scan = ParallelScan(
            self.backup,
            segments=self.segments,
            user_filter=UserFilter(whole=True),
            rate=self.rate,
            repeat=self._patiently,
        )
        with show_progress(self.backup_items) as advance:

            def take(_segment: int, page: UserPage) -> None:
                counts.add_unreadable(page.unreadable)
                for old, plan in self._patiently(lambda: restore.plan(page.users)):
                    if scan.is_stopped:
                        return
                    done = plan if is_dry else self._carry_out(restore, old, plan)
                    _tell_progress(counts.add(done), counts, is_dry=is_dry)
                advance(page.read)

            try:
                scan.run(dict.fromkeys(range(self.segments), ""), take)
            except BaseException:
                if not is_dry:
                    print(
                        f"not complete; users written: {counts.written:,}; run it "
                        "again to continue",
                        file=sys.stderr,
                    )
                raise
        return counts

    def _carry_out(
        self, restore: UserRestore, old: User, plan: RestorePlan
    ) -> RestorePlan:
        return self._patiently(lambda: restore.carry_out(old, plan))

    def _patiently(self, call: Callable[[], _T]) -> _T:
        # A restore may take hours. Everything in it can be repeated.
        return repeat_patiently(call, self.pause)


def describe_restore(
    backup: Backup,
    ring: RingPlan,
    *,
    place: str,
    guests: bool,
    archive: EventArchive | None,
    now: datetime,
) -> Iterator[str]:
    """Yield in words what a restore will do.

    Args:
        place: The live deployment.
        guests: Whether `--guests` was given.
    """
    of = f", as of {rfc3339(backup.taken_at)}" if backup.taken_at else ""
    yield f"Restoring from table '{printable(backup.name)}'{of}"
    yield f"to {place}."
    yield (
        "- The live table wins: users, passwords and identities that it has stay as "
        "they are."
    )
    yield (
        "- Permanent users that it has lost come back without sessions, and have to "
        "log in again. Passwords, identities and API keys that are missing come back "
        "as they were in the backup."
    )
    if archive is not None:
        yield (
            "- Guests come back, except those deleted in the archive: "
            f"{archive.line()}."
        )
    elif guests:
        yield (
            "- GUESTS COME BACK THAT HAD LOGGED OUT after the backup, since a logout "
            "leaves no mark. With --events they stay deleted."
        )
    else:
        yield "- Guests stay out. --guests or --events brings them back."
    if (guests or archive is not None) and not ring.verifies:
        yield (
            "- Guests stay out all the same: no refresh key of the backup can verify "
            "their tokens."
        )
    if backup.taken_at and backup.taken_at + _MARK_LIFETIME < now and archive is None:
        yield (
            "- The backup is older than 30 days, and so long the table remembers who "
            "asked to be deleted. USERS DELETED EARLIER COME BACK without --events."
        )
    for note in ring.notes:
        yield f"- {note[0].upper()}{note[1:]}."


def _tell_progress(users: int, counts: RestoreCounts, *, is_dry: bool) -> None:
    if not is_dry and users % _LINE_EACH == 0 and not sys.stderr.isatty():
        print(f"users: {users:,}, written: {counts.written:,}", file=sys.stderr)
