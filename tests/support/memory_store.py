"""A store in memory that keeps the same contracts as the real one, and is fast.

It serves simulations of years, for which DynamoDB engines are too slow. It is not made
for threads.
"""

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zlib import crc32

from anonauth.domain.budgets import Count, Counter
from anonauth.domain.claims import RefreshClaims
from anonauth.domain.expiry import SWEEP_DELAY, UNBOUND_LIFETIME, utc_day
from anonauth.domain.identities import (
    Identity,
    IdentityRecord,
    MailToken,
    VerifiedIdentity,
)
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.signing_keys import (
    Ring,
    RingKey,
)
from anonauth.domain.users import (
    MOST_SESSIONS,
    ApiKey,
    DeletionMark,
    MergedGuest,
    OwnedIdentity,
    Session,
    User,
    UserFilter,
    UserPage,
    user_after_merge,
    user_after_reset,
)

_NEVER = datetime.max.replace(tzinfo=UTC)
_GONE_FOR = timedelta(days=30)
_MERGED_FOR = timedelta(days=100)

UserKey = tuple[str, str]
RecordKey = tuple[str, str, str]


class MemoryStore:
    """All ports of a store, with `domain` objects in dictionaries.

    Like the table it stores whole seconds, checks every condition at the write itself,
    and keeps expired items until a sweep. `ttl_writes` counts the writes that set a
    user's TTL; a scan reads `page_size` users at a time.
    """

    def __init__(self) -> None:
        self.users: dict[UserKey, User] = {}
        self.records: dict[RecordKey, IdentityRecord] = {}
        self.counts: dict[str, tuple[Count, datetime]] = {}
        self.gone: dict[UserKey, tuple[DeletionMark, datetime]] = {}
        self.once: dict[tuple[str, str], tuple[str, datetime]] = {}
        self.ring: Ring | None = None
        self.ttl_writes = 0
        self.page_size = 1000

    # DynamoDB's part

    def sweep(self, now: datetime) -> None:
        """Delete all items that the table's TTL would have deleted by `now`."""
        for app, user_id in list(self.users):
            self.sweep_user(app, user_id, now)
        for key, record in list(self.records.items()):
            if _is_due(record.expires_at, now):
                del self.records[key]
        for name, (_, ends_at) in list(self.counts.items()):
            if ends_at < _whole(now):
                del self.counts[name]
        for user, (_, ttl) in list(self.gone.items()):
            if ttl < _whole(now):
                del self.gone[user]
        for login_key, (_, until) in list(self.once.items()):
            if until < _whole(now):
                del self.once[login_key]

    def sweep_user(self, app: str, user_id: str, now: datetime) -> bool:
        """Delete a user if its TTL is over at `now`; tell whether it was."""
        user = self.users.get((app, user_id))
        if user is None or not _is_due(user.expires_at, now):
            return False
        del self.users[app, user_id]
        return True

    # UserStore

    def create_user(self, user: User) -> bool:
        if (user.app, user.id) in self.users:
            return False
        self._put_user(user)
        return True

    def create_user_once(
        self, user: User, key_hash: str, now: datetime, *, until: datetime
    ) -> bool:
        if self.get_user_id_of_key(user.app, key_hash, now) is not None:
            return False
        if not self.create_user(user):
            return False
        self.once[user.app, key_hash] = (user.id, _whole(until))
        return True

    def get_user_id_of_key(self, app: str, key_hash: str, now: datetime) -> str | None:
        user_id, until = self.once.get((app, key_hash), (None, now))
        return user_id if until > _whole(now) else None

    def get_user(self, app: str, user_id: str) -> User | None:
        return self.users.get((app, user_id))

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        stored = self._alive(user, now)
        if stored is None or stored.anonymous != user.anonymous:
            return False
        used = _mine(stored, session.id, session.token_hash, now)
        today = utc_day(now)
        if used is None or used.used_day >= today:
            return False
        expires_at = _whole(expires_at)
        if stored.anonymous:
            used = replace(used, used_day=today)
            self.ttl_writes += 1
        else:
            used = replace(used, used_day=today, expires_at=expires_at)
        self.users[user.app, user.id] = replace(
            stored,
            last_active_day=today,
            expires_at=expires_at if stored.anonymous else None,
            sessions={**stored.sessions, used.id: used},
        )
        return True

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        key = (claims.app, claims.user_id)
        stored = self.users.get(key)
        if stored is None or stored.is_expired(now):
            return False
        if _mine(stored, claims.session_id, claims.token_hash, now) is None:
            return False
        if stored.anonymous:
            del self.users[key]
        else:
            sessions = _without(stored.sessions, [claims.session_id])
            self.users[key] = replace(stored, sessions=sessions)
        return True

    def delete_user(self, user: User, session: Session | None, now: datetime) -> bool:
        records = [
            *[(user.app, i.provider, i.key) for i in user.usable_identities()],
            *[(user.app, API_KEY, key.hash) for key in user.api_keys.values()],
        ]
        asked = (
            self._as_read(user, now)
            if session is None
            else self._asked_by(user, session, now)
        )
        if asked is None or not self._are_of(user, records):
            return False
        self._drop(records)
        del self.users[user.app, user.id]
        self.gone[user.app, user.id] = (
            DeletionMark("requested"),
            _NEVER if user.made_again else _whole(now + _GONE_FOR),
        )
        for former_id in user.former_ids:
            self._release_mark(user, former_id, now)
        return True

    def _release_mark(self, user: User, former_id: str, now: datetime) -> None:
        key = (user.app, former_id)
        known, _ = self.gone.get(key, (DeletionMark("merged"), now))
        mark = known._replace(reason="merged", into=user.id)
        self.gone[key] = (mark, _whole(now + _MERGED_FOR))

    def get_mark(self, app: str, user_id: str) -> DeletionMark | None:
        mark, _ = self.gone.get((app, user_id), (None, None))
        return mark

    def end_sessions(self, app: str, user_id: str, now: datetime) -> User | None:
        stored = self.users.get((app, user_id))
        if stored is None or stored.anonymous or stored.is_expired(now):
            return None
        ended = replace(stored, sessions={}, version=stored.version + 1)
        self.users[app, user_id] = ended
        return ended

    # OverviewStore

    def connect(self) -> None:
        pass

    def scan_users(
        self, segment: int, segments: int, after: str, wanted: UserFilter
    ) -> UserPage:
        pks = {
            f"USER#{app}#{user_id}": user for (app, user_id), user in self.users.items()
        }
        ahead = [
            pk
            for pk in sorted(pks)
            if crc32(pk.encode()) % segments == segment and pk > after
        ]
        page = ahead[: self.page_size]
        return UserPage(
            users=tuple(
                pks[pk] if wanted.whole else replace(pks[pk], sessions={}, api_keys={})
                for pk in page
                if _is_wanted(pks[pk], wanted)
            ),
            position=page[-1] if len(ahead) > len(page) else None,
            read=len(page),
            owners=self._owners() if wanted.with_owners and not after else (),
            merges=self._merges() if wanted.with_owners and not after else (),
        )

    def _merges(self) -> tuple[MergedGuest, ...]:
        return tuple(
            MergedGuest(app, guest_id, mark.into)
            for (app, guest_id), (mark, ttl) in self.gone.items()
            if mark.into and ttl == _NEVER
        )

    def _owners(self) -> tuple[OwnedIdentity, ...]:
        # All are on the first page: tests scan one segment when they ask for it.
        return tuple(
            OwnedIdentity(record.app, record.user_id, record.provider, record.key)
            for record in self.records.values()
            if record.user_id is not None and record.provider != API_KEY
        )

    def get_data_of(self, users: Sequence[User]) -> list[list[Mapping[str, str]]]:
        return [self.get_identity_data(user.app, user.identities) for user in users]

    # IdentityStore

    def get_identity(self, app: str, provider: str, key: str) -> IdentityRecord | None:
        return self.records.get((app, provider, key))

    def link_identity(
        self,
        user: User,
        session: Session,
        identity: VerifiedIdentity,
        now: datetime,
        *,
        expires_at: datetime,
    ) -> bool:
        stored = self._asked_by(user, session, now)
        bound = self._bound(user, identity, now)
        if stored is None or bound is None:
            return False
        asking = replace(stored.sessions[session.id], expires_at=_whole(expires_at))
        if user.anonymous:
            asking = replace(asking, created_at=_whole(now))
        dead = [s for s in user.sessions if user.live_session(s, now) is None]
        version = 1 if identity.record is None else identity.record.version
        entry = Identity(identity.id, identity.provider, identity.key, version)
        self.users[user.app, user.id] = replace(
            stored,
            anonymous=False,
            expires_at=None,
            version=stored.version + 1,
            sessions=_without({**stored.sessions, asking.id: asking}, dead),
            identities=(*stored.identities, entry),
        )
        self._put_record(bound)
        return True

    def create_linked_user(
        self, user: User, identity: VerifiedIdentity, now: datetime
    ) -> bool:
        bound = self._bound(user, identity, now)
        if bound is None or (user.app, user.id) in self.users:
            return False
        self._put_user(user)
        self._put_record(bound)
        return True

    def make_user_again(self, user: User, record: IdentityRecord) -> bool:
        if not self._can_put_again(user) or not self._is_bound(user, record):
            return False
        self._put_user(user)
        return True

    def add_back_identity(
        self,
        user: User,
        record: IdentityRecord,
        session: Session,
        ended: Sequence[Session],
        now: datetime,
    ) -> bool:
        if not self._is_bound(user, record):
            return False
        if not self.open_session(user, session, ended, now):
            return False
        stored = self.users[user.app, user.id]
        entry = Identity(record.id, record.provider, record.key, record.version)
        self.users[user.app, user.id] = replace(
            stored,
            version=stored.version + 1,
            identities=(*stored.identities, entry),
        )
        return True

    def open_session(
        self, user: User, session: Session, ended: Sequence[Session], now: datetime
    ) -> bool:
        stored = self._as_read(user, now)
        if stored is None:
            return False
        room = (
            all(old.id in stored.sessions for old in ended)
            if ended
            else len(stored.sessions) < MOST_SESSIONS
        )
        if not room:
            return False
        sessions = _without(stored.sessions, [old.id for old in ended])
        self.users[user.app, user.id] = replace(
            stored,
            last_active_day=utc_day(now),
            sessions={**sessions, session.id: _whole_session(session)},
        )
        return True

    def update_identity_data(
        self, record: IdentityRecord, data: Mapping[str, str]
    ) -> None:
        stored = self._same_version(record)
        if stored is not None and stored.user_id == record.user_id:
            self._put_record(replace(stored, data=dict(data)))

    def get_identity_data(
        self, app: str, identities: Sequence[Identity]
    ) -> list[Mapping[str, str]]:
        records = [self.records.get((app, i.provider, i.key)) for i in identities]
        return [{} if record is None else record.data for record in records]

    def unlink_identity(
        self, user: User, session: Session, identity: Identity, now: datetime
    ) -> bool:
        stored = self._asked_by(user, session, now)
        record = (user.app, identity.provider, identity.key)
        if stored is None or not self._are_of(user, [record]):
            return False
        opened_by_it = [
            s.id
            for s in user.sessions.values()
            if (s.provider, s.identity_key) == (identity.provider, identity.key)
        ]
        place = user.identities.index(identity)
        self.users[user.app, user.id] = replace(
            stored,
            version=stored.version + 1,
            identities=stored.identities[:place] + stored.identities[place + 1 :],
            sessions=_without(stored.sessions, opened_by_it),
        )
        self._drop([record])
        return True

    def absorb_guest(
        self,
        user: User,
        session: Session,
        ended: Sequence[Session],
        guest: User,
        guest_session: Session,
        now: datetime,
    ) -> bool:
        absorbed = self._alive(guest, now)
        if absorbed is None or not absorbed.anonymous or user.anonymous:
            return False
        if not _mine(absorbed, guest_session.id, guest_session.token_hash, now):
            return False
        if not self.open_session(user, session, ended, now):
            return False
        stored = self.users[user.app, user.id]
        self.users[user.app, user.id], dropped = user_after_merge(stored, guest.id)
        del self.users[guest.app, guest.id]
        mark = DeletionMark(
            "merged", user.id, session.provider, guest_session.token_hash, dropped
        )
        self.gone[guest.app, guest.id] = (mark, _NEVER)
        if dropped:
            self._release_mark(user, dropped, now)
        return True

    # AccountStore

    def count(self, counter: Counter, *, over: Collection[str] = ()) -> None:
        self._add(counter, 1, counter.kept_until or counter.ends_at, over)

    def spend(self, counter: Counter) -> bool:
        # The first is always allowed, as by the table's condition.
        if counter.name in self.counts and counter.is_spent(self._count(counter)):
            return False
        self.count(counter)
        return True

    def give_back(self, counter: Counter) -> None:
        if self._count(counter).number:
            self._add(counter, -1, self.counts[counter.name][1])

    def clear(self, counter: Counter) -> None:
        if counter.name in self.counts:
            count, kept_until = self.counts[counter.name]
            parts = {n: p for n, p in count.parts.items() if n not in counter.parts}
            self.counts[counter.name] = (Count(0, parts), kept_until)

    def _count(self, counter: Counter) -> Count:
        return self.counts[counter.name][0] if counter.name in self.counts else Count()

    def _add(
        self,
        counter: Counter,
        number: int,
        kept_until: datetime,
        over: Collection[str] = (),
    ) -> None:
        count = self._count(counter)
        parts = {
            **count.parts,
            **{name: count.parts.get(name, 0) + number for name in counter.parts},
        }
        parts = {name: part for name, part in parts.items() if name not in over}
        self.counts[counter.name] = (Count(count.number + number, parts), kept_until)

    def get_account_and_counts(
        self, app: str, key: str, counters: Sequence[Counter]
    ) -> tuple[IdentityRecord | None, list[Count]]:
        counts = [self._count(counter) for counter in counters]
        return self.get_identity(app, USERPASS, key), counts

    def remember_networks(
        self, record: IdentityRecord, networks: Mapping[str, date]
    ) -> None:
        stored = self._same_version(record)
        if stored is not None:
            self._put_record(replace(stored, networks=dict(networks)))

    def register(self, record: IdentityRecord, now: datetime) -> bool:
        stored = self.records.get(_key_of(record))
        if stored is not None:
            replaceable = stored.state == "pending" or stored.is_expired(now)
            if not replaceable or stored.version != record.version - 1:
                return False
        self._put_record(record)
        return True

    def contest(self, app: str, key: str, now: datetime) -> bool:
        stored = self.get_identity(app, USERPASS, key)
        if stored is None or stored.is_expired(now) or stored.state != "pending":
            return False
        self._put_record(replace(stored, contested=True))
        return True

    def set_confirmation(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        stored = self._same_version(record)
        if stored is None or stored.is_expired(now) or stored.state != "pending":
            return False
        if stored.confirmation != record.confirmation:
            return False
        self._put_record(replace(stored, confirmation=token))
        return True

    def confirm(self, app: str, key: str, token_hash: str, now: datetime) -> bool:
        stored = self.get_identity(app, USERPASS, key)
        if stored is None or not _has(stored.confirmation, token_hash):
            return False
        if stored.is_expired(now):
            return False
        if stored.state != "pending":
            return True  # confirmed before, by this very token
        if not _in_time(stored.confirmation, now):
            return False
        self._put_record(
            replace(
                stored,
                state="confirmed",
                verified=True,
                expires_at=now + UNBOUND_LIFETIME,
            )
        )
        return True

    def set_reset(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        stored = self._same_version(record)
        if stored is None or stored.is_expired(now) or stored.reset != record.reset:
            return False
        self._put_record(replace(stored, reset=token))
        return True

    def reset_password(
        self,
        record: IdentityRecord,
        user: User | None,
        *,
        token_hash: str,
        password_hash: str,
        now: datetime,
        is_lost: bool = False,
    ) -> bool:
        stored = self._same_version(record)
        if (
            stored is None
            or stored.is_expired(now)
            or stored.user_id != (user and user.id)
            or not _has(stored.reset, token_hash)
            or not _in_time(stored.reset, now)
        ):
            return False
        if user is not None and is_lost:
            if not self._can_put_again(user):
                return False
            self._put_user(user)
        elif user is not None and not self._end_all(user, record, now):
            return False
        renewed = replace(
            stored,
            password_hash=password_hash,
            version=record.version + 1,
            verified=True,
            contested=False,
            reset=None,
            networks={},
        )
        if user is None:
            expires_at = now + UNBOUND_LIFETIME
            renewed = replace(renewed, state="confirmed", expires_at=expires_at)
        self._put_record(renewed)
        return True

    def replace_password_hash(self, record: IdentityRecord, password_hash: str) -> bool:
        stored = self.records.get(_key_of(record))
        if stored is None or stored.password_hash != record.password_hash:
            return False
        self._put_record(replace(stored, password_hash=password_hash))
        return True

    def delete_account(self, record: IdentityRecord) -> bool:
        stored = self._same_version(record)
        if stored is None or stored.user_id != record.user_id:
            return False
        self._drop([_key_of(record)])
        return True

    # ApiKeyStore

    def create_api_key(
        self, user: User, session: Session, key: ApiKey, now: datetime
    ) -> bool:
        stored = self._asked_by(user, session, now)
        if stored is None or (user.app, API_KEY, key.hash) in self.records:
            return False
        entry = replace(key, created_at=_whole(key.created_at))
        self.users[user.app, user.id] = replace(
            stored,
            version=stored.version + 1,
            api_keys={**stored.api_keys, key.id: entry},
        )
        self._put_record(
            IdentityRecord(
                app=user.app,
                provider=API_KEY,
                key=key.hash,
                id=key.id,
                state="bound",
                user_id=user.id,
            )
        )
        return True

    def delete_api_key(
        self, user: User, session: Session, key: ApiKey, now: datetime
    ) -> bool:
        stored = self._asked_by(user, session, now)
        record = (user.app, API_KEY, key.hash)
        if stored is None or not self._are_of(user, [record]):
            return False
        self.users[user.app, user.id] = replace(
            stored,
            version=stored.version + 1,
            api_keys={i: k for i, k in stored.api_keys.items() if i != key.id},
            sessions=_without(stored.sessions, _opened_by_key(user, key)),
        )
        self._drop([record])
        return True

    def set_api_key_disabled(
        self,
        user: User,
        session: Session,
        key: ApiKey,
        now: datetime,
        *,
        disabled: bool,
    ) -> bool:
        stored = self._asked_by(user, session, now)
        if stored is None:
            return False
        entry = replace(stored.api_keys[key.id], disabled=disabled)
        self.users[user.app, user.id] = replace(
            stored,
            version=stored.version + 1,
            api_keys={**stored.api_keys, key.id: entry},
            sessions=_without(stored.sessions, _opened_by_key(user, key)),
        )
        return True

    # RestoreStore

    def get_users(self, names: Collection[UserKey]) -> dict[UserKey, User | None]:
        return {name: self.users[name] for name in names if name in self.users}

    def get_records(
        self, names: Collection[RecordKey]
    ) -> dict[RecordKey, IdentityRecord | None]:
        return {name: self.records[name] for name in names if name in self.records}

    def marks_of(self, users: Sequence[User]) -> dict[UserKey, DeletionMark]:
        names = {(user.app, user.id) for user in users}
        return {name: self.gone[name][0] for name in names & self.gone.keys()}

    def restore_user(
        self,
        user: User,
        records: Sequence[IdentityRecord],
        kept: Sequence[IdentityRecord],
        now: datetime,
    ) -> bool:
        if not self._can_put_again(user) or not self._are_free(records, now):
            return False
        if not all(self._is_bound(user, record) for record in kept):
            return False
        if any((user.app, each) in self.users for each in user.former_ids):
            return False
        self._put_user(user)
        for record in records:
            self._put_record(record)
        for former_id in user.former_ids:
            known = self.get_mark(user.app, former_id) or DeletionMark("merged")
            mark = known._replace(reason="merged", into=user.id)
            self.gone[user.app, former_id] = (mark, _NEVER)
        return True

    def restore_records(
        self, user: User, records: Sequence[IdentityRecord], now: datetime
    ) -> bool:
        if self._as_read(user, now) is None or not self._are_free(records, now):
            return False
        for record in records:
            self._put_record(record)
        return True

    # RingStore

    def load_ring(self) -> Ring | None:
        return self.ring

    def save_ring(self, new: Ring) -> bool:
        if self.ring is not None and self.ring.version != new.version - 1:
            return False
        self.ring = replace(new, keys=tuple(_whole_ring_key(key) for key in new.keys))
        return True

    # The conditions of `store.conditions`: the stored item if they hold, else None.

    def _alive(self, user: User, now: datetime) -> User | None:
        stored = self.users.get((user.app, user.id))
        return None if stored is None or stored.is_expired(now) else stored

    def _as_read(self, user: User, now: datetime) -> User | None:
        stored = self._alive(user, now)
        return stored if stored and stored.version == user.version else None

    def _asked_by(self, user: User, session: Session, now: datetime) -> User | None:
        stored = self._as_read(user, now)
        if stored is None:
            return None
        asking = _mine(stored, session.id, session.token_hash, now)
        return None if asking is None else stored

    def _same_version(self, record: IdentityRecord) -> IdentityRecord | None:
        stored = self.records.get(_key_of(record))
        if stored is None:
            return None
        same = (stored.id, stored.version) == (record.id, record.version)
        return stored if same else None

    def _are_of(self, user: User, records: Iterable[RecordKey]) -> bool:
        # A missing record does not count.
        found = (self.records.get(key) for key in records)
        return all(record.user_id == user.id for record in found if record)

    def _bound(
        self, user: User, identity: VerifiedIdentity, now: datetime
    ) -> IdentityRecord | None:
        """Return the record as the user's own, if the user can have it."""
        if identity.record is not None:
            stored = self._same_version(identity.record)
            owner = identity.record.user_id
            if owner is not None:
                if stored is None or stored.user_id != owner:
                    return None
                return replace(stored, user_id=user.id)
            if stored is None or stored.is_expired(now) or stored.state != "confirmed":
                return None
            return replace(
                stored,
                user_id=user.id,
                state="bound",
                expires_at=None,
                networks=identity.record.networks or stored.networks,
            )
        record = IdentityRecord(
            app=user.app,
            provider=identity.provider,
            key=identity.key,
            id=identity.id,
            state="bound",
            user_id=user.id,
            data=identity.data,
        )
        return None if _key_of(record) in self.records else record

    def _are_free(self, records: Iterable[IdentityRecord], now: datetime) -> bool:
        stored = [self.records.get(_key_of(record)) for record in records]
        return all(record is None or record.is_expired(now) for record in stored)

    def _can_put_again(self, user: User) -> bool:
        name = (user.app, user.id)
        return name not in self.users and name not in self.gone

    def _is_bound(self, user: User, record: IdentityRecord) -> bool:
        stored = self._same_version(record)
        return stored is not None and stored.user_id == user.id

    # Writes

    def _put_user(self, user: User) -> None:
        if user.expires_at is not None:
            self.ttl_writes += 1
        self.users[user.app, user.id] = replace(
            user,
            created_at=_whole(user.created_at),
            expires_at=_whole_or_none(user.expires_at),
            sessions={i: _whole_session(s) for i, s in user.sessions.items()},
        )

    def _put_record(self, record: IdentityRecord) -> None:
        self.records[_key_of(record)] = replace(
            record,
            confirmation=_whole_token(record.confirmation),
            reset=_whole_token(record.reset),
            expires_at=_whole_or_none(record.expires_at),
        )

    def _drop(self, records: Iterable[RecordKey]) -> None:
        for key in records:
            self.records.pop(key, None)

    def _end_all(self, user: User, record: IdentityRecord, now: datetime) -> bool:
        after = user_after_reset(user, record)
        kept = {(i.provider, i.key) for i in after.identities}
        detached = [
            (user.app, i.provider, i.key)
            for i in user.identities
            if (i.provider, i.key) not in kept
        ]
        if not after.api_keys:
            keys = user.api_keys.values()
            detached += [(user.app, API_KEY, key.hash) for key in keys]
        stored = self._as_read(user, now)
        if stored is None or not self._are_of(user, detached):
            return False
        self._drop(detached)
        self.users[user.app, user.id] = after
        return True


def _is_due(expires_at: datetime | None, now: datetime) -> bool:
    # "Older than the current time", in whole seconds (DynamoDB's guide on TTL).
    return expires_at is not None and expires_at + SWEEP_DELAY < _whole(now)


def _is_wanted(user: User, wanted: UserFilter) -> bool:
    return (
        wanted.app in {None, user.app}
        and wanted.anonymous in {None, user.anonymous}
        and (wanted.created_from is None or user.created_at >= wanted.created_from)
    )


def _mine(
    stored: User, session_id: str, token_hash: str, now: datetime
) -> Session | None:
    session = stored.sessions.get(session_id)
    if session is None or session.is_expired(now):
        return None
    return session if session.token_hash == token_hash else None


def _has(token: MailToken | None, token_hash: str) -> bool:
    return token is not None and hmac.compare_digest(token.hash, token_hash)


def _in_time(token: MailToken | None, now: datetime) -> bool:
    return token is not None and token.expires_at > now


def _opened_by_key(user: User, key: ApiKey) -> list[str]:
    return [
        session.id
        for session in user.sessions.values()
        if (session.provider, session.identity_key) == (API_KEY, key.hash)
    ]


def _without(
    sessions: Mapping[str, Session], ended: Sequence[str]
) -> dict[str, Session]:
    return {i: session for i, session in sessions.items() if i not in ended}


def _key_of(record: IdentityRecord) -> RecordKey:
    return record.app, record.provider, record.key


def _whole(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _whole_or_none(instant: datetime | None) -> datetime | None:
    return None if instant is None else _whole(instant)


def _whole_token(token: MailToken | None) -> MailToken | None:
    return token and replace(token, expires_at=_whole(token.expires_at))


def _whole_session(session: Session) -> Session:
    return replace(
        session,
        created_at=_whole(session.created_at),
        expires_at=_whole_or_none(session.expires_at),
    )


def _whole_ring_key(key: RingKey) -> RingKey:
    return replace(
        key,
        signs_from=_whole(key.signs_from),
        stops_at=_whole_or_none(key.stops_at),
    )
