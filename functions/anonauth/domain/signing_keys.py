"""The key ring, and the life of a key: published, signing, stopped, dropped.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Iterable
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
"""Time from the last possible use to the end of publication."""

KNOWN_AHEAD = timedelta(minutes=10)
"""Time from the creation of a refresh key to its first use.

By then every function has it, since a copy of the ring is at most five minutes old. A
function without the key would refuse its tokens, and for an SDK that is the end of the
session.
"""

FOUND_AHEAD = timedelta(minutes=2)
"""Time from the creation of a refresh key to its first use if no other key can sign.

By then every function finds the key. A function that lacks a key reads the ring again,
at most once a minute. The rest of the time covers clocks that differ. Meanwhile logins
answer 503, which loses no user. A 401 would lose a new anonymous user for good.
"""

CLOCK_MARGIN = timedelta(minutes=5)
"""How far `signs_from` of a key that takes over at once is set back.

An operator's clock may be ahead of the functions' clocks. Without the margin, the
functions would wait until their own clocks reach that time, and no key could sign
meanwhile.
"""

MOST_RING_KEYS = 24
"""The most keys of a ring that an operator rotates by hand. The schedule needs 4.

A key has up to 2 KB and is dropped months after its use, if at all. An operator who
rotates every day would reach the 400 KB of an item, and then no write succeeds.
"""

# How long a key could go on signing after its successor has begun. If the successor is
# revoked in its first days, this key signs again.
_SPARE_TIME = timedelta(days=7)

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key of the ring: the secret half wrapped by KMS, the public half in clear.

    `public` is the DER SubjectPublicKeyInfo of an access key and None for a refresh
    key. `published_at` is when the key came into the ring, and an access key also into
    the JWK Set.

    Copies of the ring can be old, so `signs_from` only ever moves towards the past
    and `stops_at` towards the future. An old copy begins late and stops early. If
    `stops_at` is None, the key signs until it is replaced.
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
        """When no token of the key can be in use any more. None means never."""
        return None if self.stops_at is None else self.stops_at + PUBLISHED_AFTER

    def has_stopped(self, now: datetime) -> bool:
        """Tell whether the key may never sign again."""
        return self.stops_at is not None and self.stops_at <= now

    def signs(self, now: datetime) -> bool:
        """Tell whether the key may sign at `now`."""
        return self.signs_from <= now and not self.has_stopped(now)

    def is_spent(self, now: datetime) -> bool:
        """Tell whether no token of the key can be in use any more."""
        return self.dropped_at is not None and self.dropped_at <= now


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys of the service. `version` rises with every write of the item.

    There is always a standby: an access key that is published and does not sign yet.
    So the next key starts by itself even if the rotation fails for weeks. A leaked key
    can be revoked at any time, since verifiers already know its successor.
    """

    version: int
    keys: tuple[RingKey, ...]

    def signing_key(self, use: KeyUse, now: datetime) -> RingKey | None:
        """Return the youngest key that may sign at `now`.

        If several began at the same time, the key that was added last is returned.
        """
        able = [key for key in reversed(self.of(use)) if key.signs(now)]
        return max(able, key=lambda key: key.signs_from, default=None)

    def oldest_signing_key(self, use: KeyUse, now: datetime) -> RingKey | None:
        """Return the oldest key that may sign at `now`, even if a younger one signs."""
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
        """Return the key of that id and use. None if the ring has none."""
        for key in self.of(use):
            if key.kid == kid:
                return key
        return None

    def is_same_ring(self, other: "Ring") -> bool:
        """Tell whether both are the same ring at different times.

        A ring keeps each key for months, unless all its keys are revoked.
        """
        kids = {key.kid for key in self.keys}
        return any(key.kid in kids for key in other.keys)

    def with_verifying_keys(self, former: Iterable[RingKey]) -> "Ring":
        """Return the ring with refresh keys of a lost ring, which only verify.

        They are older than the ring's own refresh keys, and only the youngest signs.
        """
        first = min(key.signs_from for key in self.of("refresh"))
        latest = first - timedelta(seconds=1)
        older = [
            replace(key, signs_from=min(key.signs_from, latest), stops_at=None)
            for key in former
            if self.find("refresh", key.kid) is None
        ]
        return replace(self, keys=(*older, *self.keys))

    def added(self, key: RingKey) -> "Ring":
        """Return the ring with one more key."""
        return replace(self, keys=(*self.keys, key))

    def replaced(self, key: RingKey, other: RingKey) -> "Ring":
        """Return the ring with one key replaced by another."""
        return replace(self, keys=tuple(other if k == key else k for k in self.keys))

    def first_signing_period(self, now: datetime) -> tuple[datetime, datetime] | None:
        """Return (`signs_from`, `stops_at`) of an access key that has to sign at once.

        Returns None if a key can sign, now or later. The new key is usually the first
        of all. It is the only kind of key that is not published a day before its use.
        If it is not the first, all keys have stopped, and no verifier can have a cached
        key set that is still valid.
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
        """Return the ring in which a key signs until the standby may.

        Only a rotation that has failed for three months leaves such a gap. The last key
        then signs for longer. A copy of the ring from before that stops earlier.
        """
        standby = self.standby("access", now)
        able = [key for key in self.of("access") if key.signs(now)]
        last = max(able, key=_stop, default=None)
        if standby is None or last is None or _stop(last) >= standby.signs_from:
            return self
        return self.replaced(last, replace(last, stops_at=standby.signs_from))

    def refresh_signing_start(self, now: datetime) -> datetime:
        """Return when a refresh key that is made now begins to sign."""
        if not self.keys:  # the first of all: no function has a copy without it
            return now
        none_signs = self.signing_key("refresh", now) is None
        return now + (FOUND_AHEAD if none_signs else KNOWN_AHEAD)

    def advance_standby(self, now: datetime) -> "Ring":
        """Return the ring whose standby signs now, or after a day of publication."""
        standby = self.standby("access", now)
        if standby is None:
            return self
        signs_from = max(now - CLOCK_MARGIN, standby.published_at + PUBLISHED_AHEAD)
        signer = self.signing_key("access", now)
        if signer is not None:
            # Otherwise it would not be the youngest key, and only the youngest signs.
            signs_from = max(signs_from, signer.signs_from)
        if signs_from >= standby.signs_from:
            return self
        return self.replaced(standby, replace(standby, signs_from=signs_from))

    def ensure_signer(self, use: KeyUse, now: datetime) -> "Ring":
        """Return the ring whose standby takes over at once if no other key can sign.

        It does so however young it is. Verifiers with a cached key set refuse its
        tokens for a while, but otherwise there would be no tokens at all. Only a
        refresh key has to be known first (see `FOUND_AHEAD`). This happens after a
        revocation, and if a clock that is ahead of this one has made the key.
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

        If no other key can sign, the successor must: see `ensure_signer`.
        """
        rest = replace(self, keys=tuple(key for key in self.keys if key != revoked))
        if not revoked.signs(now):
            return rest
        if rest.signing_key(revoked.use, now) is None:
            return rest.ensure_signer(revoked.use, now)
        if revoked == self.signing_key("access", now):
            # The key before it could sign, but was replaced, perhaps for a reason.
            return rest.advance_standby(now)
        return rest


def _signing_period(signs_from: datetime) -> tuple[datetime, datetime]:
    return signs_from, signs_from + KEY_LIFETIME + _SPARE_TIME


def _stop(key: RingKey) -> datetime:
    return _NEVER if key.stops_at is None else key.stops_at
