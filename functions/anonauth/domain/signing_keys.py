"""The key ring, and the life of a key: published, signing, stopped, dropped.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

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

    def first_signing_period(self, now: datetime) -> tuple[datetime, datetime] | None:
        """Return (`signs_from`, `stops_at`) of an access key that has to sign at once.

        None if there is one that can sign, now or later. This is the first key of all,
        and the only one whose publication does not come a day before its use: if it is
        not the first, then nobody can have cached a key set that is still good.
        """
        if any(not key.has_stopped(now) for key in self.of("access")):
            return None
        return _signing_period(now)

    def standby_signing_period(self, now: datetime) -> tuple[datetime, datetime] | None:
        """Return (`signs_from`, `stops_at`) of a standby, or None if there is one."""
        if self.standby("access", now) is not None:
            return None
        youngest = max((key.signs_from for key in self.of("access")), default=now)
        return _signing_period(max(youngest + KEY_LIFETIME, now + PUBLISHED_AHEAD))

    def cover_gap(self, now: datetime) -> "Ring":
        """Return the ring with somebody to sign until the standby may.

        Only a rotation that has failed for three months leaves such a gap. The last key
        then signs for longer: a copy that does not know of it stops earlier.
        """
        standby = self.standby("access", now)
        able = [key for key in self.of("access") if key.signs(now)]
        last = max(able, key=_stop, default=None)
        if standby is None or last is None or _stop(last) >= standby.signs_from:
            return self
        return self.replaced(last, replace(last, stops_at=standby.signs_from))

    def refresh_signing_start(self, now: datetime) -> datetime:
        """Return when a refresh key that is made now begins to sign."""
        if not self.keys:  # the first of all: nobody has a copy without it
            return now
        nobody = self.signing_key("refresh", now) is None
        return now + (FOUND_AHEAD if nobody else KNOWN_AHEAD)

    def advance_standby(self, now: datetime) -> "Ring":
        """Return the ring whose standby signs now, or once it is public for a day."""
        standby = self.standby("access", now)
        if standby is None:
            return self
        signs_from = max(now - CLOCK_MARGIN, standby.published_at + PUBLISHED_AHEAD)
        signer = self.signing_key("access", now)
        if signer is not None:
            # Or it would not be the youngest, which signs.
            signs_from = max(signs_from, signer.signs_from)
        if signs_from >= standby.signs_from:
            return self
        return self.replaced(standby, replace(standby, signs_from=signs_from))

    def ensure_signer(self, use: KeyUse, now: datetime) -> "Ring":
        """Return the ring whose standby takes over at once if nobody else can sign.

        However young it is: verifiers with a cached key set refuse its tokens for a
        while, but the alternative is none at all. Only a refresh key has to be known
        first (see `FOUND_AHEAD`). So it is after a revocation; and when one was made by
        a clock that is ahead of this one.
        """
        standby = self.standby(use, now)
        if standby is None or self.signing_key(use, now) is not None:
            return self
        if use == "access":
            signs_from = now - CLOCK_MARGIN
        else:
            made_at = min(standby.published_at, now)
            signs_from = max(now, made_at + FOUND_AHEAD)
        if signs_from >= standby.signs_from:
            return self
        return self.replaced(standby, replace(standby, signs_from=signs_from))

    def revoke(self, revoked: RingKey, now: datetime) -> "Ring":
        """Return the ring without a key. Its successor takes over at once if it may.

        If nobody else can sign, then it must: see `ensure_signer`.
        """
        rest = replace(self, keys=tuple(key for key in self.keys if key != revoked))
        if not revoked.signs(now):
            return rest
        if rest.signing_key(revoked.use, now) is None:
            return rest.ensure_signer(revoked.use, now)
        if revoked == self.signing_key("access", now):
            # The one before it is able to, but has been replaced, perhaps with reason.
            return rest.advance_standby(now)
        return rest


def _signing_period(signs_from: datetime) -> tuple[datetime, datetime]:
    return signs_from, signs_from + KEY_LIFETIME + _SPARE_TIME


def _stop(key: RingKey) -> datetime:
    return _NEVER if key.stops_at is None else key.stops_at
