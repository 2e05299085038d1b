"""Keep the key ring supplied: the first keys, the next ones, and no spent ones."""

from datetime import datetime

from anonauth.domain import Ring, next_signing_period
from anonauth.errors import StoreUnavailable
from anonauth.ports import KeyMaking, RingStore

_DECISIONS = 4  # a deployment and the daily schedule may meet


def rotate_keys(*, rings: RingStore, keys: KeyMaking, now: datetime) -> Ring:
    """Bring the key ring up to date and return it; write only if something is due.

    Safe to repeat at any time and from several places: it makes the ring if there is
    none, adds the next access key a day ahead of its use, and drops spent keys. The
    refresh key is made once and stays (design §5).

    Raises:
        KeysUnavailable: KMS did not answer; the ring is as it was.
        StoreUnavailable: The ring is either as it was or up to date; repeat.
    """
    now = now.replace(microsecond=0)
    for _ in range(_DECISIONS):
        ring = rings.load_ring(consistent=True) or Ring(version=0, keys=())
        kept = [key for key in ring.keys if not key.is_spent(now)]
        if ring.signing_key("refresh", now) is None:
            kept.append(keys.make_refresh_key(signs_from=now))
        period = next_signing_period(ring, now)
        if period is not None:
            signs_from, stops_at = period
            kept.append(keys.make_access_key(signs_from=signs_from, stops_at=stops_at))
        if tuple(kept) == ring.keys:
            return ring
        renewed = Ring(ring.version + 1, tuple(kept))
        if rings.save_ring(renewed):
            return renewed
    raise StoreUnavailable
