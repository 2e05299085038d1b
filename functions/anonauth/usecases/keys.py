"""Keep the key ring supplied: the first keys, the next ones, and no spent ones."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from anonauth.domain import (
    Ring,
    first_signing_period,
    standby_signing_period,
    without_gap,
)
from anonauth.errors import StoreUnavailable
from anonauth.ports import KeyMaking, RingStore

_DECISIONS = 4  # a deployment, the daily schedule and an operator may meet


def rotate_keys(*, rings: RingStore, keys: KeyMaking, now: datetime) -> Ring:
    """Bring the key ring up to date and return it; write only if something is due.

    Safe to repeat at any time and from several places: it makes the ring if there is
    none, sees to it that there is a standby, and drops spent keys. The refresh key is
    made once and stays (design §5).

    Raises:
        KeysUnavailable: KMS did not answer; the ring is as it was.
        StoreUnavailable: The ring is either as it was or up to date; repeat.
    """
    now = now.replace(microsecond=0)
    return _decide(rings, lambda ring: _supplied(ring, keys, now))


def _decide(rings: RingStore, change: Callable[[Ring], Ring]) -> Ring:
    for _ in range(_DECISIONS):
        ring = rings.load_ring(consistent=True) or Ring(version=0, keys=())
        changed = change(ring)
        if changed.keys == ring.keys:
            return ring
        renewed = replace(changed, version=ring.version + 1)
        if rings.save_ring(renewed):
            return renewed
    raise StoreUnavailable


def _supplied(ring: Ring, keys: KeyMaking, now: datetime) -> Ring:
    ring = replace(ring, keys=tuple(k for k in ring.keys if not k.is_spent(now)))
    if ring.signing_key("refresh", now) is None:
        ring = ring.added(keys.make_refresh_key(published_at=now, signs_from=now))
    for due in (first_signing_period, standby_signing_period):
        period = due(ring, now)
        if period is not None:
            signs_from, stops_at = period
            key = keys.make_access_key(
                published_at=now, signs_from=signs_from, stops_at=stops_at
            )
            ring = ring.added(key)
    return without_gap(ring, now)
