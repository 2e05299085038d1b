"""Users, their sessions, devices and API keys.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Literal, NamedTuple

from anonauth.domain.expiry import utc_day
from anonauth.domain.identities import Identity, IdentityRecord
from anonauth.domain.providers import ANONYMOUS, API_KEY, USERPASS

NO_DEVICE = "0" * 24
"""The device id that means "none" (client-api.md §2.2)."""

MOST_SESSIONS = 32
"""Sessions a permanent user may have at once. An anonymous user always has one."""

MOST_API_KEY_SESSIONS = 8
"""Sessions opened with API keys that a permanent user may have at once."""

MOST_IDENTITIES = 10
"""Identities a user may have, the anonymous one included."""

MOST_API_KEYS = 20
"""API keys a permanent user may have (client-api.md §2.7)."""

MOST_FORMER_IDS = 20
"""Former ids a permanent user may have. One more makes the oldest fall off."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a client tells about its device at login.

    `id` is 24 hex digits, or `NO_DEVICE`. `info` has short strings such as platform and
    sdkVersion. If the client told anything, the session has an id: the client's own, or
    an id that was made for it.
    """

    id: str = NO_DEVICE
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as its user lists it. Only the `hash` of the key itself is stored."""

    id: str
    name: str
    hash: str
    created_at: datetime
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One login on one client.

    `token_hash` is the hash of the refresh token's `jti` (see `tokens`). Nothing else
    of the token is stored. `expires_at` is None in the session of an anonymous user,
    which lives as long as its user.

    The session ends with the identity or API key that opened it. `provider` and
    `identity_key` name that opener and no other: `identity_key` is the identity's `key`
    or the API key's `hash`. It is empty for the anonymous identity, as that identity's
    own `key` is.
    """

    id: str
    token_hash: str
    provider: str
    created_at: datetime
    used_day: date
    device: Device = field(default_factory=Device)
    expires_at: datetime | None = None
    identity_key: str = ""

    def is_expired(self, now: datetime) -> bool:
        """Tell whether the session itself has expired."""
        return self.expires_at is not None and self.expires_at <= now

    def was_opened_by(self, opener: "Identity | ApiKey") -> bool:
        """Tell whether this identity or API key opened the session."""
        named = (self.provider, self.identity_key)
        if isinstance(opener, ApiKey):
            return named == (API_KEY, opener.hash)
        return named == (opener.provider, opener.key)


MadeAgain = Literal["open", "closed"]
"""The state of a user whose item was lost and made again, with the id from a record.

The records of its other identities still name the user. In state `open`, each of them
is added back at its next login. In state `closed`, a reset has taken the user from all
others, so each of them makes a user of its own.
"""


@dataclass(frozen=True, slots=True)
class User:
    """A user of one app, anonymous until another provider's identity is linked.

    `identities` are in the order in which they were added, the anonymous one first.
    `version` rises on every change but a login or a refresh. `expires_at` is set if and
    only if the user is anonymous. `made_again` is None unless the user's item was lost.
    In that case `created_at` is the time at which it was made again, and the user has
    no anonymous identity. `restored_at` is set if an operator restored the user from a
    backup, or imported it. `former_ids` are the ids of the guests that were merged into
    the user, the newest last.
    """

    app: str
    id: str
    anonymous: bool
    version: int
    created_at: datetime
    last_active_day: date
    expires_at: datetime | None
    sessions: Mapping[str, Session]
    identities: tuple[Identity, ...]
    api_keys: Mapping[str, ApiKey] = field(default_factory=dict)
    made_again: MadeAgain | None = None
    restored_at: datetime | None = None
    former_ids: tuple[str, ...] = ()

    def is_expired(self, now: datetime) -> bool:
        """Tell whether 90 days without activity have passed. This is final."""
        return self.expires_at is not None and self.expires_at <= now

    def live_session(self, session_id: str, now: datetime) -> Session | None:
        """Return the session if both it and its user are alive at `now`."""
        session = self.sessions.get(session_id)
        if session is None or session.is_expired(now) or self.is_expired(now):
            return None
        # The user's own list decides: the opener of a session must still be in it,
        # whatever raced with its removal.
        opener = self.opener_of(session)
        if opener is None or (isinstance(opener, ApiKey) and opener.disabled):
            return None
        return session

    def opener_of(self, session: Session) -> Identity | ApiKey | None:
        """Return the identity or API key that opened a session, if the user has it."""
        openers: tuple[Identity | ApiKey, ...] = (
            *self.identities,
            *self.api_keys.values(),
        )
        return next((each for each in openers if session.was_opened_by(each)), None)

    def find_identity(self, provider: str, key: str) -> Identity | None:
        """Return the user's entry for an identity."""
        for identity in self.identities:
            if identity.provider == provider and identity.key == key:
                return identity
        return None

    def usable_identities(self) -> list[Identity]:
        """Return the identities that can log in: all but the anonymous one."""
        return [i for i in self.identities if i.provider != ANONYMOUS]

    def sessions_to_end(self, opening: Session, now: datetime) -> list[Session]:
        """Return the sessions that have to end before this one can be opened.

        These are the expired ones and, at a limit, the least recently used. Sessions of
        API keys end only each other, so that a program in a loop cannot log out a
        person. If the user has no such session yet, the first one may end a person's.
        """
        live = sorted(
            (s for s in self.sessions.values() if self.live_session(s.id, now)),
            key=lambda s: (s.used_day, s.created_at),
        )
        of_keys = [s for s in live if s.provider == API_KEY]
        of_people = [s for s in live if s.provider != API_KEY]
        ended = [s for s in self.sessions.values() if s not in live]
        by_key = opening.provider == API_KEY
        # Simultaneous logins do not count each other, so there may be more sessions.
        too_many = max(len(of_keys) + by_key - MOST_API_KEY_SESSIONS, 0)
        ended += of_keys[:too_many]
        of_keys = of_keys[too_many:]
        candidates = of_keys + of_people if by_key else of_people + of_keys
        excess = len(self.sessions) - len(ended) - MOST_SESSIONS + 1
        return ended + candidates[: max(excess, 0)]


def user_after_merge(user: User, guest_id: str) -> tuple[User, str]:
    """Return the user after a guest was merged into it, and the id that fell off.

    The id is empty if all former ids have room. The sessions are not changed.
    """
    former = (*user.former_ids, guest_id)
    dropped = former[0] if len(former) > MOST_FORMER_IDS else ""
    merged = replace(
        user,
        version=user.version + 1,
        former_ids=former[-MOST_FORMER_IDS:],
    )
    return merged, dropped


def user_after_reset(user: User, record: IdentityRecord) -> User:
    """Return the user after the password of one of its identities was reset by mail.

    Everything that the old password may have opened has ended. The other identities
    stay only if the address was verified before, and nobody else had set a password for
    it. Otherwise they may belong to an attacker who squatted the address.

    A user that was made again may not list the identity. If the reset does not add it
    back, the identity is no longer the user's, and the user only loses its sessions.

    Args:
        record: The record of that identity, as it was before.
    """
    renewed = Identity(record.id, USERPASS, record.key, record.version + 1)
    keeps_others = record.verified and not record.contested
    own = (USERPASS, record.key)
    is_listed = user.find_identity(*own) is not None
    identities = [
        renewed if (i.provider, i.key) == own else i
        for i in user.identities
        if keeps_others or i.provider == ANONYMOUS or (i.provider, i.key) == own
    ]
    has_address = any(i.provider == USERPASS for i in identities)
    has_room = not has_address and len(identities) < MOST_IDENTITIES
    if not is_listed:
        if user.made_again != "open" or not has_room:
            return replace(user, version=user.version + 1, sessions={})
        identities.append(renewed)
    return replace(
        user,
        version=user.version + 1,
        sessions={},
        identities=tuple(identities),
        api_keys={},
        made_again=user.made_again if keeps_others else user.made_again and "closed",
    )


def user_made_again(
    record: IdentityRecord,
    session: Session | None,
    now: datetime,
    *,
    made_again: MadeAgain = "open",
) -> User:
    """Return the user whose item was lost, with the one identity that was verified.

    Args:
        record: The record of that identity, which names the user. Its version is the
            identity's version after this user is written.
        session: The session that the identity opens now, if any.
    """
    assert record.user_id is not None  # noqa: S101 - for the type  # nosec B101
    return User(
        app=record.app,
        id=record.user_id,
        anonymous=False,
        version=1,
        created_at=now,
        last_active_day=utc_day(now),
        expires_at=None,
        sessions={} if session is None else {session.id: session},
        identities=(Identity(record.id, record.provider, record.key, record.version),),
        made_again=made_again,
    )


class DeletionMark(NamedTuple):
    """What is left of a user that was deleted on request, or merged into another.

    The fields after `reason` are empty unless the user was a guest that was merged.

    Args:
        into: Id of the user that the guest was merged into.
        provider: Provider of the identity that logged in when the guest was merged.
        token_hash: Hash of the guest's refresh token, see `Session`. It is empty if
            the mark was lost and written again.
        dropped: The id that fell off the user's former ids then, if one did.
    """

    reason: Literal["requested", "merged"]
    into: str = ""
    provider: str = ""
    token_hash: str = ""
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Selects users for a scan. A field that is None does not restrict it.

    `created_from` is the earliest time of creation. `with_owners` also asks for the
    users that the records of identities and the marks of merged guests name, whatever
    the other fields say. `whole` asks for the users' sessions and API keys too.
    """

    app: str | None = None
    anonymous: bool | None = None
    created_from: datetime | None = None
    with_owners: bool = False
    whole: bool = False


class OwnedIdentity(NamedTuple):
    """The name of an identity's record, and the user that the record names."""

    app: str
    user_id: str
    provider: str
    key: str


class MergedGuest(NamedTuple):
    """The id of a guest that was merged, and of the user that it was merged into."""

    app: str
    guest_id: str
    into: str


@dataclass(frozen=True, slots=True)
class UserPage:
    """The result of one read of a scan over users.

    `users` come without their sessions and API keys, unless these were asked for.
    `position` is the key after which to go on, None at the end of the segment. `read`
    counts the items of any kind, `units` the read units that they cost, and
    `unreadable` the items that are left out. `owners` has each bound identity and its
    user, API keys left out. `merges` has each guest whose mark says that a user lists
    it.
    """

    users: tuple[User, ...]
    position: str | None
    read: int
    units: float = 0
    unreadable: int = 0
    owners: tuple[OwnedIdentity, ...] = ()
    merges: tuple[MergedGuest, ...] = ()
