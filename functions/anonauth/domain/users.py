"""Users, their sessions, devices and API keys.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Literal

from anonauth.domain.expiry import utc_day
from anonauth.domain.identities import Identity, IdentityRecord
from anonauth.domain.providers import ANONYMOUS, API_KEY, USERPASS

NO_DEVICE = "0" * 24
"""The device id that means "none" (client-api.md §2.2)."""

MOST_SESSIONS = 32
"""Of a permanent user; an anonymous one has exactly one by construction."""

MOST_API_KEY_SESSIONS = 8
"""Of a permanent user's sessions, those opened with API keys."""

MOST_IDENTITIES = 10
"""Of a user, the anonymous one included."""

MOST_API_KEYS = 20
"""Of a permanent user (client-api.md §2.7)."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a client says of its device at login.

    `id` is 24 hex digits, or `NO_DEVICE`; `info` holds short strings such as platform
    and sdkVersion. A session of a client that said anything has an id: the client's
    own, or one that was made for it.
    """

    id: str = NO_DEVICE
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as its user lists it; of the key itself only `hash` is stored."""

    id: str
    name: str
    hash: str
    created_at: datetime
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One login on one client.

    `token_hash` is the hash of the refresh token's `jti` (see `tokens`), the only
    trace of the token that is stored. `expires_at` is None in the session of an
    anonymous user, which lives as long as its user. The session dies with the identity
    or API key that opened it: `identity_key` is the identity's `key` or the API key's
    `hash`, and with `provider` it names that one and no other. It is empty for the
    anonymous identity, as that identity's own `key` is.
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
        """Tell whether the session's own time has passed."""
        return self.expires_at is not None and self.expires_at <= now

    def was_opened_by(self, opener: "Identity | ApiKey") -> bool:
        """Tell whether this identity or API key opened the session."""
        named = (self.provider, self.identity_key)
        if isinstance(opener, ApiKey):
            return named == (API_KEY, opener.hash)
        return named == (opener.provider, opener.key)


MadeAgain = Literal["open", "closed"]
"""A user whose item was lost and made again, under the id that its identity names.

The other identities still name it in their records. `open`: each is added back at its
next login. `closed`: a reset has taken the user from whoever else was in it, so that
each makes a user of its own.
"""


@dataclass(frozen=True, slots=True)
class User:
    """A user of one app; anonymous until an identity of another provider is linked.

    `identities` are in the order in which they were added, the anonymous one
    first. `version` rises on every change but a login or a refresh. `expires_at`
    is set if and only if the user is anonymous. `made_again` is None unless the user's
    item was lost; `created_at` is then when it was made again, and there is no
    anonymous identity.
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

    def is_expired(self, now: datetime) -> bool:
        """Tell whether 90 days of silence have passed; expired is final."""
        return self.expires_at is not None and self.expires_at <= now

    def live_session(self, session_id: str, now: datetime) -> Session | None:
        """Return the session if both it and its user are alive at `now`."""
        session = self.sessions.get(session_id)
        if session is None or session.is_expired(now) or self.is_expired(now):
            return None
        # The user's own list is the authority: what opened a session must still be
        # there, whatever raced with its removal.
        opener = self.opener_of(session)
        if opener is None or (isinstance(opener, ApiKey) and opener.disabled):
            return None
        return session

    def opener_of(self, session: Session) -> Identity | ApiKey | None:
        """Return what opened a session, if the user still has it."""
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
        """Return those that can log in: all but the anonymous one."""
        return [i for i in self.identities if i.provider != ANONYMOUS]

    def sessions_to_end(self, opening: Session, now: datetime) -> list[Session]:
        """Return the sessions that have to end for this one to be opened.

        Those that are dead anyway; and at a limit the least recently used. Sessions
        of API keys end only each other, so that a program in a loop cannot log out a
        person (but if there are none yet, a first one takes its place).
        """
        live = sorted(
            (s for s in self.sessions.values() if self.live_session(s.id, now)),
            key=lambda s: (s.used_day, s.created_at),
        )
        of_keys = [s for s in live if s.provider == API_KEY]
        of_people = [s for s in live if s.provider != API_KEY]
        ended = [s for s in self.sessions.values() if s not in live]
        by_key = opening.provider == API_KEY
        # Logins at the same moment do not count each other: there may be more.
        too_many = max(len(of_keys) + by_key - MOST_API_KEY_SESSIONS, 0)
        ended += of_keys[:too_many]
        of_keys = of_keys[too_many:]
        candidates = of_keys + of_people if by_key else of_people + of_keys
        excess = len(self.sessions) - len(ended) - MOST_SESSIONS + 1
        return ended + candidates[: max(excess, 0)]


def user_after_reset(user: User, record: IdentityRecord) -> User:
    """Return the user once the password of one of its identities was reset by mail.

    All that the old password may have opened has ended. The other identities stay only
    if the address was verified before, and nobody else had set a password for it: else
    they may be of somebody who only squatted the address.

    A user that was made again may not list the identity. If it does not come back by
    this either, it is none of the user's any more, and changes nothing of it.

    Args:
        record: Of that identity, as it was before.
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
    """Return the user whose item was lost, with the one identity that is proven.

    Args:
        record: Of that identity; it names the user. Its version is the one that the
            identity has once this user is written.
        session: The one that the identity opens now, if any.
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


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users are meant; None: whatever it is.

    `created_from` is the earliest moment at which they were made. `with_owners` asks
    also for whom the records of identities name, whatever the others say.
    """

    app: str | None = None
    anonymous: bool | None = None
    created_from: datetime | None = None
    with_owners: bool = False


@dataclass(frozen=True, slots=True)
class UserPage:
    """What one read of a scan over users brought.

    `users` are without their sessions and API keys. `position` is where to go on, None
    at the end of the segment. So many items of any kind were `read`, for so many read
    `units`; so many were `unreadable`, and are left out. `owners` are app and user id
    of each record of an identity that is bound, API keys left out.
    """

    users: tuple[User, ...]
    position: str | None
    read: int
    units: float = 0
    unreadable: int = 0
    owners: tuple[tuple[str, str], ...] = ()
