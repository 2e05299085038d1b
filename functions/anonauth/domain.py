"""Users, identities, sessions, the 90-day rule, budgets and the life of a key.

Pure: no clock, no input or output. Instants are aware UTC datetimes and end in
`_at`; days are UTC dates.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

ANONYMOUS = "anon-user"
"""The provider of an anonymous identity, as routes and tokens spell it."""

USERPASS = "local-userpass"
"""The provider of an identity by e-mail and password."""

API_KEY = "api-key"
"""The provider of a session that was opened with an API key."""

NO_DEVICE = "0" * 24
"""The device id that means "none" (client-api.md §2.2)."""

ANONYMOUS_LIFETIME = timedelta(days=90)
"""An anonymous user dies after this much silence, and not before."""

# The last access token of a day may be used for some minutes past midnight, and
# clocks differ: one hour covers both.
_GRACE = timedelta(hours=1)

MOST_SESSIONS = 32
"""Of a permanent user; an anonymous one has exactly one by construction."""

MOST_API_KEY_SESSIONS = 8
"""Of a permanent user's sessions, those opened with API keys."""

MOST_IDENTITIES = 10
"""Of a user, the anonymous one included."""

MOST_API_KEYS = 20
"""Of a permanent user (client-api.md §2.7)."""

PENDING_LIFETIME = timedelta(hours=24)
"""A registered e-mail address that nobody confirms is free again after this time."""

UNBOUND_LIFETIME = timedelta(days=30)
"""So is a confirmed one that nobody has logged in with or linked."""

SWEEP_DELAY = timedelta(hours=24)
"""From expiry, which every read and write checks, to the table's own deletion (TTL).

DynamoDB's sweep goes by its own clock; a day between the two means that it can
never meet a legal write.
"""


IPV6_PREFIXES = (64, 56, 48)
"""Bits of the networks that an IPv6 address counts for, from the narrowest on.

A household has a /64 at least and often a /56; whoever rents a /48 has 65,536 /64.
"""

MOST_NETWORKS = 8
"""Networks that an account remembers of those that it was logged in to from."""

NETWORK_NOTED_FOR = timedelta(days=7)
"""How long a login from a network that the account knows writes nothing about it."""

PASSWORD_WINDOW = timedelta(minutes=15)
"""The window in which wrong passwords are counted."""

MOST_CONSECUTIVE_FAILURES = 100
"""Wrong passwords since the last right one that NIST SP 800-63B allows at most."""

FAILURES_KEPT = timedelta(days=30)
"""How long the last wrong password is remembered.

Whoever waits for the end of it has a hundred guesses a month; whoever does not has one
an hour, which is seven times as many.
"""

NO_LIMIT = 10**9
"""The limit of what is counted and refuses nobody."""


def expiry_after(now: datetime) -> datetime:
    """Return when an anonymous user that is active at `now` expires.

    Counted from the end of the UTC day, so that one write a day is enough and
    nobody dies before 90 full days of silence (design.md §4).
    """
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC) + ANONYMOUS_LIFETIME + _GRACE


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long the session of a permanent user lives: idle, and in all.

    The session of an anonymous user has neither: it lives as long as its user.
    """

    idle: timedelta
    total: timedelta

    def expiry(self, created_at: datetime, now: datetime) -> datetime:
        """Return when a session expires that is used at `now`.

        The idle time counts from the end of the UTC day, as for anonymous users: one
        write a day is enough, whatever the hour of the next day's use.
        """
        tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
        idle = datetime.combine(tomorrow, time(), UTC) + self.idle + _GRACE
        return min(idle, created_at + self.total)


def utc_day(now: datetime) -> date:
    """Return the UTC calendar day of an aware instant."""
    return now.astimezone(UTC).date()


def rfc3339(instant: datetime) -> str:
    """Return an aware instant as `2026-11-23T13:33:20Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_timestamp(seconds: float) -> bool:
    """Tell whether a NumericDate (RFC 7519 §2) lies in the years 1 to 9999.

    No other number is a date: milliseconds lie thousands of years ahead, so that a
    token with such an `exp` would never expire.
    """
    return -62_135_596_800 <= seconds <= 253_402_300_799


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
class Identity:
    """A pair of a provider and that provider's subject, as its user lists it.

    `key` names the identity's own record (see `identity_key`) and is empty for the
    anonymous one, which has none. `version` is that of the credential: a reset
    password raises it here and in the record, and both must agree.
    """

    id: str
    provider: str
    key: str = ""
    version: int = 1

    @property
    def has_issuer(self) -> bool:
        """Whether an issuer gave the `id`, which is unique only within that issuer."""
        return self.provider not in {ANONYMOUS, USERPASS}


@dataclass(frozen=True, slots=True)
class MailToken:
    """A secret that was sent by mail: the hash of it, and until when it is good."""

    hash: str
    expires_at: datetime


IdentityState = Literal["pending", "confirmed", "bound"]
"""`pending`: an e-mail address nobody has confirmed; `confirmed`: it was, but no user
has it yet; `bound`: one user has it. Identities of other providers are always bound."""


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """An identity's own record: whose it is, and what is known of it.

    `data` is for display only (profile). What follows it is of `local-userpass`
    alone: `verified` says that a mail to the address has come back, ever; `contested`
    that several passwords were set before that, so that it is open whose has come back;
    `networks` are the names of networks that a right password came from, each with the
    day on which that was noted, in no form that tells the network.
    `expires_at` is set if and only if the identity is not bound.
    """

    app: str
    provider: str
    key: str
    id: str
    state: IdentityState
    user_id: str | None = None
    version: int = 1
    data: Mapping[str, str] = field(default_factory=dict)
    password_hash: str = ""
    verified: bool = False
    contested: bool = False
    confirmation: MailToken | None = None
    reset: MailToken | None = None
    networks: Mapping[str, date] = field(default_factory=dict)
    expires_at: datetime | None = None

    def knows(self, network: str) -> bool:
        """Tell whether a right password came from that network before.

        Args:
            network: The network's keyed hash.
        """
        return self._network_name(network) in self.networks

    def networks_with(self, network: str, now: datetime) -> Mapping[str, date] | None:
        """Return the networks to remember after a right password from this one.

        None if it was noted within the last week, so that few logins write it. The
        network that was noted the longest time ago makes room.

        Args:
            network: The network's keyed hash.
        """
        name, today = self._network_name(network), utc_day(now)
        noted = self.networks.get(name)
        if noted is not None and today < noted + NETWORK_NOTED_FOR:
            return None
        newest_first = sorted(
            (item for item in self.networks.items() if item[0] != name),
            key=lambda item: item[1],
            reverse=True,
        )
        return {name: today, **dict(newest_first[: MOST_NETWORKS - 1])}

    def _network_name(self, network: str) -> str:
        # Another one in each account: the table must not tell who shares a network.
        return _hash(f"{self.key}#{network}")[:22]

    def is_expired(self, now: datetime) -> bool:
        """Tell whether nobody confirmed it or bound it in time: it is free again."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """What a provider vouches for at this moment: the bearer is that subject.

    `id` is shown in profiles, `key` is what counts (see `identity_key`). `data` is for
    display. `record` is the identity's own record where the provider has read it to
    verify the credential (`local-userpass`, `api-key`), None where it has not.
    """

    provider: str
    key: str
    id: str
    data: Mapping[str, str] = field(default_factory=dict)
    record: IdentityRecord | None = None


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
class Change:
    """What one write did to one user, as the table's stream tells it.

    `before` is None when the user was made, `after` when it is gone; `swept` says that
    the table's own TTL deleted it. `record_id` is the same at each replay; a user's
    later changes have a higher `sequence`.
    """

    record_id: str
    sequence: int
    at: datetime
    before: User | None
    after: User | None
    swept: bool = False


EventType = Literal[
    "user.created",
    "user.linked",
    "user.unlinked",
    "user.logged_in",
    "user.deleted",
    "user.expiring",
]
"""What an app can hear of; `detail-type` on EventBridge."""


MetricName = Literal[
    "ColdStarts",  # function
    "Logins",  # provider
    "Refreshes",
    "Logouts",
    "Links",  # provider
    "Conflicts",
    "Refusals",  # error_code
    "UsersCreated",  # provider
    "UsersLinked",  # provider
    "UsersDeleted",  # reason
    "SigningKeyAgeDays",
]
"""What is counted, and the one dimension beside `service`: CloudWatch bills each
combination as a metric, so no user, app or route is among them."""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """Something that happened to a user, told to whom it may concern.

    `id` is the same each time the event is published: at least once, that is. `detail`
    is JSON, as `events.schema.json` describes it.
    """

    id: str
    type: EventType
    at: datetime
    app: str
    user_id: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExpiryScan:
    """How far the search for users that will soon expire has come.

    It looks for what falls due after `since` (None: ever) and up to `day`.
    `positions` has each segment of the table that is still to be read, with the key
    after which to go on ("": from its beginning); none is left at the end. `version`
    rises with every write of the item.
    """

    version: int
    since: date | None
    day: date
    positions: Mapping[int, str]

    def due_notice(
        self, expires_at: datetime, notice_days: Collection[int]
    ) -> int | None:
        """Return how many days ahead a user is to be warned now; None if it is not.

        Where several notices are due at once, as after days without a scan, it is the
        shortest, for one warning is enough.
        """
        for days in sorted(notice_days):
            falls_due = expires_at.date() - timedelta(days=days)
            is_new = self.since is None or falls_due > self.since
            if is_new and falls_due <= self.day:
                return days
        return None


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


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says: whose it is and of which session.

    `anonymous` is what the user was when it was signed, at `issued_at`.
    """

    app: str
    user_id: str
    session_id: str
    anonymous: bool
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a verified refresh token says; `token_hash` is that of its `jti`."""

    app: str
    user_id: str
    session_id: str
    token_hash: str


def identity_key(subject: str) -> str:
    """Return the key of a subject's record: base64url(SHA-256), 43 characters.

    Args:
        subject: As the provider has it, byte for byte; an e-mail address normalised.
    """
    return _hash(subject)


def internal_id(*names: str) -> str:
    """Return an id such as the old service had for each app and each of its providers.

    Tokens and profiles show them, 24 hex digits; ours need only be stable.

    Args:
        names: The app's id; for a provider its name after it.
    """
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:24]


def issuer_of(base_url: str, app: str) -> str:
    """Return the issuer (`iss`) of an app's access tokens, also its URL prefix."""
    return f"{base_url}/api/client/v2.0/app/{app}"


def hash_token_id(jti: str) -> str:
    """Return the stored form of a refresh token's `jti`: base64url(SHA-256), 43 chars.

    A plain hash is enough: the `jti` carries 256 random bits (OWASP ASVS 5.0 §11.4).
    """
    return _hash(jti)


def hash_secret(secret: str) -> str:
    """Return the stored form of an API key or a mail token, both of 256 random bits."""
    return _hash(secret)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Count:
    """What a counter has counted: in all, and in each of its parts."""

    number: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counter:
    """A budget's count in one window of time; over at `ends_at`.

    `parts` are the limits of what is counted with it, in one write, by their names. The
    table keeps the count until `kept_until`, the end of the window by default.
    """

    name: str
    limit: int
    ends_at: datetime
    parts: Mapping[str, int] = field(default_factory=dict)
    kept_until: datetime | None = None

    def is_spent(self, count: Count) -> bool:
        """Tell whether that many are too many for one more."""
        return count.number >= self.limit or any(
            count.parts.get(name, 0) >= limit for name, limit in self.parts.items()
        )

    def narrowest(self) -> "Counter":
        """Return the counter of networks with the limit of the narrowest one alone."""
        if not self.parts:
            return self
        first, *wider = self.parts
        parts = {first: self.parts[first], **dict.fromkeys(wider, NO_LIMIT)}
        return replace(self, limit=NO_LIMIT, parts=parts)


@dataclass(frozen=True, slots=True)
class Budget:
    """So many events of a kind within a fixed window of time."""

    kind: str
    limit: int
    window: timedelta

    def counter(self, *subject: str, now: datetime) -> Counter:
        """Return the counter of a subject in the window that `now` lies in."""
        window = int(self.window.total_seconds())
        number = int(now.timestamp()) // window
        return Counter(
            "#".join((self.kind, *subject, str(number))),
            self.limit,
            datetime.fromtimestamp((number + 1) * window, UTC),
        )

    def network_counter(
        self, *subject: str, networks: Sequence[str], now: datetime
    ) -> Counter:
        """Return the counter of a subject and a network, and of those it lies in.

        All are in the item of the widest, so that one write counts and decides. Each
        has a fifth of the limit more than the one within it: no household can use up
        what its neighbours have.

        Args:
            networks: Keyed hashes, from the narrowest on; an IPv4 address has one.
        """
        *within, widest = networks
        limits = [
            self.limit - (-self.limit * step // 5) for step in range(len(networks))
        ]
        counter = self.counter(*subject, widest, now=now)
        # Two of one item with the same letters, one in 16 million, count as one.
        parts = {
            f"{step}:{network[:4]}": limits[step] for step, network in enumerate(within)
        }
        return replace(counter, limit=limits[-1], parts=parts)


def failures_counter(
    app: str, key: str, now: datetime, *, limit: int = NO_LIMIT
) -> Counter:
    """Return the counter of an address's wrong passwords since the last right one.

    It has no window, a right password or a reset clears it. Its part is the quarter of
    an hour, which a right password leaves.

    Args:
        key: Of the address, registered or not.
        limit: Wrong passwords within a quarter of an hour.
    """
    quarter = Budget("q", limit, PASSWORD_WINDOW).counter(now=now)
    return Counter(
        f"password-account#{app}#{key}",
        NO_LIMIT,
        quarter.ends_at,
        parts={quarter.name: limit},
        kept_until=now + FAILURES_KEPT,
    )


KeyUse = Literal["access", "refresh"]
"""Which tokens a key signs: access tokens (RS256) or refresh tokens (HS256)."""

KEY_LIFETIME = timedelta(days=90)
"""A signing key is replaced by the next one after this time."""

PUBLISHED_AHEAD = timedelta(hours=24)
"""Time from publication to first use. Authorizers cache keys for 2 h (design.md §5)."""

PUBLISHED_AFTER = timedelta(hours=24)
"""From the last possible use to the end of publication."""

KNOWN_AHEAD = timedelta(minutes=10)
"""From the making of a refresh key to its first use: every function has it by then.

A copy of the ring is five minutes old at most. A function that does not have the key
would refuse its tokens, and to an SDK that is the end of the session.
"""

FOUND_AHEAD = timedelta(minutes=2)
"""The same where nobody can sign meanwhile: every function finds the key by then.

For a key that it does not have a function reads the ring again, once a minute at
most: it finds what was made before that, and differences of clocks take the rest.
Logins have a 503 for so long, which loses nobody; a 401 loses a new guest for good.
"""

CLOCK_MARGIN = timedelta(minutes=5)
"""A key that is to take over at once signs since so long ago.

Who says so may be an operator, whose clock is ahead of the functions': these would
wait until their own clock comes to that time, with nobody to sign meanwhile.
"""

MOST_KEYS = 24
"""In a ring that an operator rotates by hand; the schedule needs 4.

A key has up to 2 KB and goes months after its use, if at all: an operator who rotates
every day would come to the 400 KB of an item, and with it to the end of all writes.
"""

# How long a key could go on signing after its successor has begun: if that one is
# revoked in its first days, there is one to go back to.
_SPARE_TIME = timedelta(days=7)

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring: the secret half wrapped by KMS, the public half in clear.

    `public` is the DER SubjectPublicKeyInfo of an access key and None for a refresh
    key. `published_at` is when the key came into the ring, and with it, if it is an
    access key, into the JWK Set.

    Copies of the ring can be old, so `signs_from` only ever moves towards the past
    and `stops_at` towards the future: an old copy begins late and stops early.
    `stops_at` None: signs until it is replaced.
    """

    kid: str
    use: KeyUse
    wrapped: bytes
    public: bytes | None
    published_at: datetime
    signs_from: datetime
    stops_at: datetime | None

    @property
    def dropped_at(self) -> datetime | None:
        """When nothing that the key signed can still be in use; None: never."""
        return None if self.stops_at is None else self.stops_at + PUBLISHED_AFTER

    def has_stopped(self, now: datetime) -> bool:
        """Tell whether the key may never sign again."""
        return self.stops_at is not None and self.stops_at <= now

    def signs(self, now: datetime) -> bool:
        """Tell whether the key may sign at `now`."""
        return self.signs_from <= now and not self.has_stopped(now)

    def is_spent(self, now: datetime) -> bool:
        """Tell whether nothing that the key signed can still be in use."""
        return self.dropped_at is not None and self.dropped_at <= now


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys of the service. `version` rises with every write of the item.

    There is always a standby: an access key that is published and does not sign yet.
    So the next key starts by itself though the rotation may fail for weeks, and a
    leaked key can be revoked at any time: verifiers know its successor already.
    """

    version: int
    keys: tuple[RingKey, ...]

    def signing_key(self, use: KeyUse, now: datetime) -> RingKey | None:
        """Return the youngest key that may sign at `now`.

        Of several that began at the same time it is the one that was added last.
        """
        able = [key for key in reversed(self.of(use)) if key.signs(now)]
        return max(able, key=lambda key: key.signs_from, default=None)

    def oldest_signing_key(self, use: KeyUse, now: datetime) -> RingKey | None:
        """Return the oldest key that may sign at `now`, though a younger one does."""
        able = [key for key in self.of(use) if key.signs(now)]
        return min(able, key=lambda key: key.signs_from, default=None)

    def standby(self, use: KeyUse, now: datetime) -> RingKey | None:
        """Return the next key that is yet to sign."""
        waiting = [key for key in self.of(use) if key.signs_from > now]
        return min(waiting, key=lambda key: key.signs_from, default=None)

    def of(self, use: KeyUse) -> list[RingKey]:
        """Return all keys of one use."""
        return [key for key in self.keys if key.use == use]

    def find(self, use: KeyUse, kid: str) -> RingKey | None:
        """Return the key of that id; the id of another use does not count."""
        for key in self.of(use):
            if key.kid == kid:
                return key
        return None

    def added(self, key: RingKey) -> "Ring":
        """Return the ring with one more key."""
        return replace(self, keys=(*self.keys, key))

    def replaced(self, key: RingKey, other: RingKey) -> "Ring":
        """Return the ring with another entry in the place of a key's."""
        return replace(self, keys=tuple(other if k == key else k for k in self.keys))


def first_signing_period(ring: Ring, now: datetime) -> tuple[datetime, datetime] | None:
    """Return (`signs_from`, `stops_at`) of an access key that has to sign at once.

    None if there is one that can sign, now or later. This is the first key of all,
    and the only one whose publication does not come a day before its use: if it is
    not the first, then nobody can have cached a key set that is still good.
    """
    if any(not key.has_stopped(now) for key in ring.of("access")):
        return None
    return _signing_period(now)


def standby_signing_period(
    ring: Ring, now: datetime
) -> tuple[datetime, datetime] | None:
    """Return (`signs_from`, `stops_at`) of the standby to add; None if there is one."""
    if ring.standby("access", now) is not None:
        return None
    youngest = max((key.signs_from for key in ring.of("access")), default=now)
    return _signing_period(max(youngest + KEY_LIFETIME, now + PUBLISHED_AHEAD))


def without_gap(ring: Ring, now: datetime) -> Ring:
    """Return the ring with somebody to sign until the standby may.

    Only a rotation that has failed for three months leaves such a gap. The last key
    then signs for longer: a copy that does not know of it stops earlier.
    """
    standby = ring.standby("access", now)
    able = [key for key in ring.of("access") if key.signs(now)]
    last = max(able, key=_stop, default=None)
    if standby is None or last is None or _stop(last) >= standby.signs_from:
        return ring
    return ring.replaced(last, replace(last, stops_at=standby.signs_from))


def refresh_signing_start(ring: Ring, now: datetime) -> datetime:
    """Return when a refresh key that is made now begins to sign."""
    if not ring.keys:  # the first of all: nobody has a copy without it
        return now
    nobody = ring.signing_key("refresh", now) is None
    return now + (FOUND_AHEAD if nobody else KNOWN_AHEAD)


def brought_forward(ring: Ring, now: datetime) -> Ring:
    """Return the ring whose standby takes over now, or once it is public for a day."""
    standby = ring.standby("access", now)
    if standby is None:
        return ring
    signs_from = max(now - CLOCK_MARGIN, standby.published_at + PUBLISHED_AHEAD)
    signer = ring.signing_key("access", now)
    if signer is not None:
        # Or it would not be the youngest, which signs.
        signs_from = max(signs_from, signer.signs_from)
    if signs_from >= standby.signs_from:
        return ring
    return ring.replaced(standby, replace(standby, signs_from=signs_from))


def with_signer(ring: Ring, use: KeyUse, now: datetime) -> Ring:
    """Return the ring whose standby takes over at once if nobody else can sign.

    However young it is: verifiers with a cached key set refuse its tokens for a while,
    but the alternative is none at all. Only a refresh key has to be known first (see
    `FOUND_AHEAD`). So it is after a revocation; and when one was made by a clock that
    is ahead of this one.
    """
    standby = ring.standby(use, now)
    if standby is None or ring.signing_key(use, now) is not None:
        return ring
    if use == "access":
        signs_from = now - CLOCK_MARGIN
    else:
        made_at = min(standby.published_at, now)
        signs_from = max(now, made_at + FOUND_AHEAD)
    if signs_from >= standby.signs_from:
        return ring
    return ring.replaced(standby, replace(standby, signs_from=signs_from))


def without(ring: Ring, revoked: RingKey, now: datetime) -> Ring:
    """Return the ring without a key; who comes after it takes over at once if it may.

    If nobody else can sign, then it must: see `with_signer`.
    """
    rest = replace(ring, keys=tuple(key for key in ring.keys if key != revoked))
    if not revoked.signs(now):
        return rest
    if rest.signing_key(revoked.use, now) is None:
        return with_signer(rest, revoked.use, now)
    if revoked == ring.signing_key("access", now):
        # The one before it is able to, but has been replaced, perhaps with reason.
        return brought_forward(rest, now)
    return rest


def _signing_period(signs_from: datetime) -> tuple[datetime, datetime]:
    return signs_from, signs_from + KEY_LIFETIME + _SPARE_TIME


def _stop(key: RingKey) -> datetime:
    return _NEVER if key.stops_at is None else key.stops_at
