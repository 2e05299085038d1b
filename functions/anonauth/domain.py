"""Users, identities, sessions, the 90-day rule and the life of a key.

Pure: no clock, no input or output. Instants are aware UTC datetimes and end in
`_at`; days are UTC dates.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

ANONYMOUS = "anon-user"
"""The provider of an anonymous identity, as routes and tokens spell it."""

NO_DEVICE = "0" * 24
"""The device id that means "none" (client API contract §2.2)."""

ANONYMOUS_LIFETIME = timedelta(days=90)
"""An anonymous user dies after this much silence, and not before."""

# The last access token of a day may be used for some minutes past midnight, and
# clocks differ: one hour covers both.
_GRACE = timedelta(hours=1)

SWEEP_DELAY = timedelta(hours=24)
"""From expiry, which every read and write checks, to the table's own deletion (TTL).

DynamoDB's sweep goes by its own clock; a day between the two means that it can
never meet a legal write.
"""


def expiry_after(now: datetime) -> datetime:
    """Return when an anonymous user that is active at `now` expires.

    Counted from the end of the UTC day, so that one write a day is enough and
    nobody dies before 90 full days of silence (design §4).
    """
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC) + ANONYMOUS_LIFETIME + _GRACE


def utc_day(now: datetime) -> date:
    """Return the UTC calendar day of an aware instant."""
    return now.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Device:
    """What a client said of its device at login.

    `id` is 24 hex digits, `NO_DEVICE` where none was sent; `info` holds short
    strings such as platform and sdkVersion.
    """

    id: str = NO_DEVICE
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """A pair of a provider and that provider's subject, linked to one user."""

    id: str
    provider: str


@dataclass(frozen=True, slots=True)
class Session:
    """One login on one client.

    `token_hash` is the hash of the refresh token's `jti` (see `tokens`), the only
    trace of the token that is stored. `expires_at` is None in the session of an
    anonymous user, which lives as long as its user.
    """

    id: str
    token_hash: str
    provider: str
    created_at: datetime
    used_day: date
    device: Device = field(default_factory=Device)
    expires_at: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        """Tell whether the session's own time has passed."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class User:
    """A user of one app; anonymous until an identity of another provider is linked.

    `identities` are in the order in which they were added, the anonymous one
    first. `version` rises on every change but a login or a refresh. `expires_at`
    is set if and only if the user is anonymous.
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

    def is_expired(self, now: datetime) -> bool:
        """Tell whether 90 days of silence have passed; expired is final."""
        return self.expires_at is not None and self.expires_at <= now

    def live_session(self, session_id: str, now: datetime) -> Session | None:
        """Return the session if both it and its user are alive at `now`."""
        session = self.sessions.get(session_id)
        if session is None or session.is_expired(now) or self.is_expired(now):
            return None
        return session


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says: whose it is and of which session."""

    app: str
    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a verified refresh token says; `token_hash` is that of its `jti`."""

    app: str
    user_id: str
    session_id: str
    token_hash: str


def issuer_of(base_url: str, app: str) -> str:
    """Return the issuer (`iss`) of an app's access tokens, also its URL prefix."""
    return f"{base_url}/api/client/v2.0/app/{app}"


def hash_token_id(jti: str) -> str:
    """Return the stored form of a refresh token's `jti`: base64url(SHA-256), 43 chars.

    A plain hash is enough: the `jti` carries 256 random bits (OWASP ASVS 5.0 §11.4).
    """
    digest = hashlib.sha256(jti.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


KeyUse = Literal["access", "refresh"]
"""Which tokens a key signs: access tokens (RS256) or refresh tokens (HS256)."""

KEY_LIFETIME = timedelta(days=90)
"""A signing key is replaced by the next one after this time."""

PUBLISHED_AHEAD = timedelta(hours=24)
"""From publication to first use; authorizers cache the JWK Set for 2 h (design §5)."""

PUBLISHED_AFTER = timedelta(hours=24)
"""From the last possible use to the end of publication."""

# How long a key may go on signing if its successor is late: a week of failed daily
# rotations passes unnoticed by users.
_SPARE_TIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring: the secret half wrapped by KMS, the public half in clear.

    `public` is the DER SubjectPublicKeyInfo of an access key and None for a refresh
    key. The times never change once written, so that a stale copy of the ring knows
    them too. `stops_at` None: signs until it is replaced.
    """

    kid: str
    use: KeyUse
    wrapped: bytes
    public: bytes | None
    signs_from: datetime
    stops_at: datetime | None

    def signs(self, now: datetime) -> bool:
        """Tell whether the key may sign at `now`."""
        stopped = self.stops_at is not None and self.stops_at <= now
        return self.signs_from <= now and not stopped

    def is_spent(self, now: datetime) -> bool:
        """Tell whether nothing that the key signed can still be in use."""
        return self.stops_at is not None and self.stops_at + PUBLISHED_AFTER <= now


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys of the service. `version` rises with every write of the item."""

    version: int
    keys: tuple[RingKey, ...]

    def signing_key(self, use: KeyUse, now: datetime) -> RingKey | None:
        """Return the youngest key that may sign at `now`."""
        able = [key for key in self.keys if key.use == use and key.signs(now)]
        return max(able, key=lambda key: key.signs_from, default=None)

    def find(self, use: KeyUse, kid: str) -> RingKey | None:
        """Return the key of that id; the id of another use does not count."""
        for key in self.keys:
            if key.kid == kid and key.use == use:
                return key
        return None


def next_signing_period(ring: Ring, now: datetime) -> tuple[datetime, datetime] | None:
    """Return (`signs_from`, `stops_at`) of the access key to add now, if one is due.

    The first key signs at once, as does one that comes after all others have stopped:
    nobody could sign otherwise. For the same reason a rotation that is days late
    starts its key no later than the last one stops.
    """
    working = [
        key.stops_at
        for key in ring.keys
        if key.use == "access" and key.stops_at is not None and key.stops_at > now
    ]
    if not working:
        return now, now + KEY_LIFETIME + _SPARE_TIME
    last_stop = max(working)
    due = last_stop - _SPARE_TIME
    if due - PUBLISHED_AHEAD > now:
        return None
    signs_from = min(max(due, now + PUBLISHED_AHEAD), last_stop)
    return signs_from, signs_from + KEY_LIFETIME + _SPARE_TIME
