"""The key ring: kept supplied day by day, and what an operator does to its keys."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

from anonauth.domain.signing_keys import (
    MOST_KEYS,
    PUBLISHED_AHEAD,
    KeyUse,
    Ring,
    RingKey,
)
from anonauth.errors import StoreUnavailable
from anonauth.ports import KeyMaking, RingStore

_DECISIONS = 4  # a deployment, the daily schedule and an operator may meet


class UnknownKey(LookupError):
    """The ring has no key of that id. Only an operator names keys: not for clients."""


class TooManyKeys(Exception):
    """A rotation by hand would make one more key than `MOST_KEYS`. Not for clients."""


def rotate_keys(*, rings: RingStore, keys: KeyMaking, now: datetime) -> Ring:
    """Bring the key ring up to date and return it; write only if something is due.

    Safe to repeat at any time and from several places: it makes the ring if there is
    none, sees to it that somebody signs now and somebody stands by, and drops spent
    keys. The refresh key is made once and stays (design.md §5).

    Raises:
        KeysUnavailable: KMS did not answer; the ring is as it was.
        StoreUnavailable: The ring is either as it was or up to date; repeat.
    """
    now = now.replace(microsecond=0)
    return _decide(rings, lambda ring: _supplied(ring, keys, now))


def signing_key_age(ring: Ring, now: datetime) -> timedelta | None:
    """Return how long the access key that signs now has done so; None if none does.

    At most `KEY_LIFETIME` and a day, unless no rotation has made a standby in time.
    """
    key = ring.signing_key("access", now)
    return None if key is None else now - key.signs_from


def rotate_now(
    use: KeyUse, *, rings: RingStore, keys: KeyMaking, now: datetime
) -> Ring:
    """Have the next key take over before its time, and return the ring.

    The standby of the access keys signs from now on, or once it has been public for a
    day; the key that it replaces stops when it would have stopped. A new refresh key
    signs some minutes from now; those before it stay good, since the user's item has
    the last word (design.md §5). Repeated within a day this makes no further refresh
    key, and at most one more access key.

    Raises:
        TooManyKeys: Some have to go first; nothing was changed.
        KeysUnavailable: KMS did not answer; the ring is as it was.
        StoreUnavailable: Whether it was written is not known.
    """
    now = now.replace(microsecond=0)

    def rotated(ring: Ring) -> Ring:
        ring = _supplied(ring, keys, now)
        if use == "refresh":
            further = _with_new_refresh_key(ring, keys, now)
        else:
            further = _supplied(ring.advance_standby(now), keys, now)
        # What the daily rotation or a revocation adds is never too much.
        if len(further.keys) > max(len(ring.keys), MOST_KEYS):
            raise TooManyKeys(len(ring.keys))
        return further

    return _decide(rings, rotated)


def revoke_key(kid: str, *, rings: RingStore, keys: KeyMaking, now: datetime) -> Ring:
    """Take a key out of the ring, which ends all that it has signed; return the ring.

    Functions that run refuse its tokens within five minutes (`CachedCopy`), other
    verifiers as soon as their cached key set is renewed. Of a refresh key those tokens
    are sessions, and the anonymous users among them can never come back. In the same
    write whoever can sign takes over, made new if there is none; a new refresh key,
    if no older one is left, after two minutes in which nobody can log in.

    Raises:
        UnknownKey: No such key, perhaps no more; nothing was changed.
        KeysUnavailable: KMS did not answer; the ring is as it was.
        StoreUnavailable: Whether it was written is not known.
    """
    now = now.replace(microsecond=0)

    def revoked_from(ring: Ring) -> Ring:
        revoked = next((key for key in ring.keys if key.kid == kid), None)
        if revoked is None:
            raise UnknownKey(kid)
        rest = ring.revoke(revoked, now)
        if _was_youngest_refresh_key(revoked, rest, now):
            rest = rest.added(_new_refresh_key(rest, keys, now))
        return _supplied(rest, keys, now)

    return _decide(rings, revoked_from)


def _was_youngest_refresh_key(revoked: RingKey, rest: Ring, now: datetime) -> bool:
    # The ones before it can sign, but have been replaced, perhaps with reason.
    younger = [k for k in rest.of("refresh") if k.signs_from >= revoked.signs_from]
    return revoked.use == "refresh" and revoked.signs(now) and not younger


def _with_new_refresh_key(ring: Ring, keys: KeyMaking, now: datetime) -> Ring:
    _, *later = ring.of("refresh")
    if any(key.published_at + PUBLISHED_AHEAD > now for key in later):
        return ring
    return ring.added(_new_refresh_key(ring, keys, now))


def _new_refresh_key(ring: Ring, keys: KeyMaking, now: datetime) -> RingKey:
    return keys.make_refresh_key(
        published_at=now, signs_from=ring.refresh_signing_start(now)
    )


def _decide(rings: RingStore, change: Callable[[Ring], Ring]) -> Ring:
    for _ in range(_DECISIONS):
        ring = rings.load_ring() or Ring(version=0, keys=())
        changed = change(ring)
        if changed.keys == ring.keys:
            return ring
        renewed = replace(changed, version=ring.version + 1)
        if rings.save_ring(renewed):
            return renewed
    raise StoreUnavailable


def _supplied(ring: Ring, keys: KeyMaking, now: datetime) -> Ring:
    ring = replace(ring, keys=tuple(k for k in ring.keys if not k.is_spent(now)))
    for use in get_args(KeyUse):
        ring = ring.ensure_signer(use, now)
    if all(key.has_stopped(now) for key in ring.of("refresh")):
        ring = ring.added(_new_refresh_key(ring, keys, now))
    for due in (Ring.first_signing_period, Ring.standby_signing_period):
        period = due(ring, now)
        if period is not None:
            signs_from, stops_at = period
            key = keys.make_access_key(
                published_at=now, signs_from=signs_from, stops_at=stops_at
            )
            ring = ring.added(key)
    return ring.cover_gap(now)
