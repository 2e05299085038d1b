"""What an operator restores from a backup, and what stays as it is in the live table.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from anonauth.domain.identities import Identity, IdentityRecord
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.users import MOST_FORMER_IDS, MOST_IDENTITIES, ApiKey, User

UserName = tuple[str, str]
"""App and id of a user."""

RecordName = tuple[str, str, str]
"""App, provider and key of an identity's record. For an API key, its hash is the key.
"""

RestoreOutcome = Literal[
    "restored",
    "restored_guest",
    "completed",
    "present",
    "gone",
    "deleted",
    "expired",
    "guest_left_out",
    "unreachable",
]
"""What becomes of a user of the backup.

A `completed` user is in the live table and gets back records that it has lost. A `gone`
user has a deletion mark. A `deleted` user was deleted after the backup, according to
the archived events. An `unreachable` user has no identity left to log in with.
"""

ConflictReason = Literal[
    "another user has it",
    "registered again",
    "not in the backup",
    "the password was reset later",
    "no room",
]
"""Why an identity or API key is not restored.

A `registered again` e-mail address has no user yet. A record is `not in the backup` if
it is missing there, or is of another user or an earlier version. After a reset of the
password nothing more comes from the backup, because a reset ends what an intruder had.
"""


@dataclass(frozen=True, slots=True)
class Conflict:
    """An identity or API key that a user does not get back."""

    app: str
    user_id: str
    provider: str
    identity_id: str
    reason: ConflictReason


class Merges:
    """The guests that were merged into users, as an archive or the live table says.

    What is added later replaces what was known of a guest.
    """

    def __init__(self) -> None:
        self._into: dict[UserName, str] = {}
        self._guests: dict[UserName, list[str]] = {}

    def add(self, app: str, guest_id: str, into: str) -> None:
        """Note that a guest was merged into a user."""
        before = self._into.get((app, guest_id))
        if before is not None:
            self._guests[app, before].remove(guest_id)
        self._into[app, guest_id] = into
        self._guests.setdefault((app, into), []).append(guest_id)

    def has(self, guest: UserName) -> bool:
        """Tell whether a guest was merged."""
        return guest in self._into

    def former_ids(self, user: User) -> list[str]:
        """Return the guests that were merged into a user, the newest last."""
        own = [
            each
            for each in user.former_ids
            if self._into.get((user.app, each), user.id) == user.id
        ]
        later = self._guests.get((user.app, user.id), [])
        return list(dict.fromkeys([*own, *later]))


@dataclass(frozen=True, slots=True)
class RestoreRules:
    """Who may come back.

    `guests` says whether anonymous users may. `deletions` has the time of the last
    `user.deleted` of each user that an archive of events names. `tells_created` is for
    users that are new to the apps: their `user.created` is published.
    """

    guests: bool = False
    tells_created: bool = False
    deletions: Mapping[UserName, datetime] = field(default_factory=dict)
    merges: Merges = field(default_factory=Merges)


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the live table has of a user.

    `user` is None if it is not there, or if `is_there` is true and its item cannot be
    read. The same holds for a record whose name is in `records`. `guests` are the ids
    of those former ids of the user that are users of the table.
    """

    is_there: bool = False
    user: User | None = None
    is_gone: bool = False
    records: Mapping[RecordName, IdentityRecord | None] = field(default_factory=dict)
    guests: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What becomes of one user, and what is written for it.

    `user` is written if the outcome is that it is restored. If it is `completed`, it is
    the live user. `records` are written with it, and `kept` ones must stay as read.
    """

    outcome: RestoreOutcome
    user: User | None = None
    records: tuple[IdentityRecord, ...] = ()
    kept: tuple[IdentityRecord, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def record_names(user: User) -> list[RecordName]:
    """Return the names of the records that a user lists."""
    return [
        *[(user.app, i.provider, i.key) for i in user.usable_identities()],
        *[(user.app, API_KEY, key.hash) for key in user.api_keys.values()],
    ]


def plan_restore(
    old: User,
    records: Mapping[RecordName, IdentityRecord | None],
    live: LiveState,
    rules: RestoreRules,
    now: datetime,
) -> RestorePlan:
    """Decide what becomes of a user of the backup.

    The live table wins wherever it has something. A record that names another user
    stays that user's, and the password of a record that is there stays as it is.

    Args:
        old: The user as the backup has it.
        records: The backup's records, by name.
        live: What the live table has. Its records are those that either user lists,
            and those that name the user although no user is there.
        now: Time of the restore, which the user's item keeps.
    """
    if live.is_there:
        return _complete(live, records, now)
    if live.is_gone:
        return RestorePlan("gone")
    deleted_at = rules.deletions.get((old.app, old.id))
    # An earlier deletion is of an item that was lost and came back before the backup.
    if deleted_at is not None and deleted_at >= (old.restored_at or old.created_at):
        return RestorePlan("deleted")
    if rules.merges.has((old.app, old.id)):
        return RestorePlan("gone")
    return _Draft(old, records, live, now).plan(rules)


class _Draft:
    """A user of the backup, compared with the live table record by record."""

    def __init__(
        self,
        old: User,
        records: Mapping[RecordName, IdentityRecord | None],
        live: LiveState,
        now: datetime,
    ) -> None:
        self._old = old
        self._records = records
        self._live = live
        self._now = now
        self._put: list[IdentityRecord] = []
        self._kept: list[IdentityRecord] = []
        self._conflicts: list[Conflict] = []
        self._was_reset = any(map(self._is_renewed, old.usable_identities()))

    def plan(self, rules: RestoreRules) -> RestorePlan:
        old = self._old
        listed = [self._entry(each) for each in old.usable_identities()]
        identities = [each for each in listed if each is not None]
        is_complete = self._add_linked_later(identities)
        if not identities and old.anonymous:
            if old.is_expired(self._now):
                return RestorePlan("expired")
            if not rules.guests:
                return RestorePlan("guest_left_out")
            guest = replace(old, restored_at=self._now)
            return RestorePlan("restored_guest", guest)
        if not identities:
            return RestorePlan("unreachable", conflicts=tuple(self._conflicts))
        keys = {key.id: key for key in old.api_keys.values() if self._keeps(key)}
        user = replace(
            old,
            anonymous=False,
            expires_at=None,
            sessions={},
            identities=(*_anonymous_identities(old), *identities),
            api_keys=keys,
            made_again=old.made_again or (None if is_complete else "open"),
            restored_at=None if rules.tells_created else self._now,
            former_ids=self._former_ids(rules),
        )
        return RestorePlan(
            "restored",
            user,
            tuple(self._put),
            tuple(self._kept),
            tuple(self._conflicts),
        )

    def _former_ids(self, rules: RestoreRules) -> tuple[str, ...]:
        ids = rules.merges.former_ids(self._old)
        # A guest that came back from an older backup is its own user again.
        absent = [each for each in ids if each not in self._live.guests]
        return tuple(absent[-MOST_FORMER_IDS:])

    def _entry(self, identity: Identity) -> Identity | None:
        """Return the entry of an identity that the user keeps or gets back."""
        found = self._take(identity.provider, identity.key, identity)
        if found is None:
            return None
        return Identity(found.id, found.provider, found.key, found.version)

    def _keeps(self, key: ApiKey) -> bool:
        entry = Identity(key.id, API_KEY, key.hash)
        return self._take(API_KEY, key.hash, entry) is not None

    def _take(self, provider: str, key: str, entry: Identity) -> IdentityRecord | None:
        name = (self._old.app, provider, key)
        if _is_free(self._live, name, self._now):
            if self._was_reset:
                self._refuse(entry, "the password was reset later")
                return None
            record = _backed_up(self._records.get(name), self._old, entry)
            if record is None:
                self._refuse(entry, "not in the backup")
                return None
            self._put.append(record)
            return record
        found = self._live.records[name]
        if found is None or found.user_id != self._old.id:
            is_unclaimed = found is not None and found.user_id is None
            self._refuse(
                entry, "registered again" if is_unclaimed else "another user has it"
            )
            return None
        self._kept.append(found)
        return found

    def _is_renewed(self, entry: Identity) -> bool:
        record = self._live.records.get((self._old.app, entry.provider, entry.key))
        return (
            record is not None
            and record.user_id == self._old.id
            and record.version > entry.version
        )

    def _add_linked_later(self, identities: list[Identity]) -> bool:
        """Add the identities that were linked after the backup, if there is room.

        Return False if there was no room for one.
        """
        listed = set(record_names(self._old))
        is_complete = True
        for name, record in self._live.records.items():
            if name in listed or record is None or record.user_id != self._old.id:
                continue
            entry = Identity(record.id, record.provider, record.key, record.version)
            if _has_room(self._old, identities, entry):
                identities.append(entry)
                self._kept.append(record)
            else:
                self._refuse(entry, "no room")
                is_complete = False
        return is_complete

    def _refuse(self, entry: Identity, reason: ConflictReason) -> None:
        self._conflicts.append(_conflict(self._old, entry, reason))


def _complete(
    live: LiveState,
    records: Mapping[RecordName, IdentityRecord | None],
    now: datetime,
) -> RestorePlan:
    user = live.user
    if user is None or user.is_expired(now):
        return RestorePlan("present")
    entries = [
        *user.usable_identities(),
        *[Identity(key.id, API_KEY, key.hash) for key in user.api_keys.values()],
    ]
    put: list[IdentityRecord] = []
    conflicts: list[Conflict] = []
    for entry in entries:
        name = (user.app, entry.provider, entry.key)
        if not _is_free(live, name, now):
            continue
        record = _backed_up(records.get(name), user, entry)
        if record is None:
            conflicts.append(_conflict(user, entry, "not in the backup"))
        else:
            put.append(record)
    outcome: RestoreOutcome = "completed" if put else "present"
    return RestorePlan(outcome, user, tuple(put), conflicts=tuple(conflicts))


def _is_free(live: LiveState, name: RecordName, now: datetime) -> bool:
    if name not in live.records:
        return True
    record = live.records[name]
    return record is not None and record.is_expired(now)


def _backed_up(
    record: IdentityRecord | None, user: User, entry: Identity
) -> IdentityRecord | None:
    """Return the record that belongs to an entry, without tokens of old mails."""
    if record is None or record.state != "bound" or record.user_id != user.id:
        return None
    if (record.id, record.version) != (entry.id, entry.version):
        return None
    # The token of a reset that was completed after the backup would be good again.
    return replace(record, confirmation=None, reset=None)


def _has_room(old: User, identities: list[Identity], entry: Identity) -> bool:
    has_address = any(each.provider == USERPASS for each in identities)
    if entry.provider == USERPASS and has_address:
        return False
    return len(_anonymous_identities(old)) + len(identities) < MOST_IDENTITIES


def _anonymous_identities(user: User) -> list[Identity]:
    usable = user.usable_identities()
    return [each for each in user.identities if each not in usable]


def _conflict(user: User, entry: Identity, reason: ConflictReason) -> Conflict:
    # The id of an issuer may be an e-mail address, and the key would reveal a guess.
    return Conflict(user.app, user.id, entry.provider, entry.id, reason)
