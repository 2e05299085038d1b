"""The key ring's upkeep: the daily rotation, and an operator's rotation by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import get_args

from anonauth.domain.signing_keys import (
    MOST_RING_KEYS,
    PUBLISHED_AHEAD,
    KeyUse,
    Ring,
    RingKey,
)
from anonauth.ports import KeyMaking, RingStore
from anonauth.usecases._retry import decisions


class UnknownKey(LookupError):
    """The ring has no key of that id. Only an operator names keys, never a client."""


class TooManyKeys(Exception):
    """A rotation by hand would exceed `MOST_RING_KEYS`. Only operators can cause it."""


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """Replaces the keys of the ring: when they are due, or when an operator says so."""

    rings: RingStore
    keys: KeyMaking

    def rotate(self, now: datetime) -> Ring:
        """Bring the key ring up to date and return it. Write only if something is due.

        The call can be repeated at any time and from several places. It makes the ring
        if there is none, ensures that one key signs and one stands by, and drops spent
        keys. The refresh key is made once and stays (design.md §5).

        Raises:
            KeysUnavailable: KMS did not answer. The ring is as it was.
            StoreUnavailable: The ring is either as it was or up to date. Repeat.
        """
        now = now.replace(microsecond=0)
        return self._change(lambda ring: self._supplied(ring, now))

    def rotate_now(self, use: KeyUse, now: datetime) -> Ring:
        """Let the next key take over before its time, and return the ring.

        The standby of the access keys signs from now on, or once it has been public for
        a day. The key that it replaces stops when it would have stopped. A new refresh
        key signs some minutes from now. The refresh keys before it stay good, since the
        user's item has the last word (design.md §5). Repeated within a day, this makes
        no further refresh key, and at most one more access key.

        Raises:
            TooManyKeys: Some keys have to be removed first. Nothing was changed.
            KeysUnavailable: KMS did not answer. The ring is as it was.
            StoreUnavailable: Whether the ring was written is not known.
        """
        now = now.replace(microsecond=0)

        def rotated(ring: Ring) -> Ring:
            ring = self._supplied(ring, now)
            if use == "refresh":
                further = self._with_new_refresh_key(ring, now)
            else:
                further = self._supplied(ring.advance_standby(now), now)
            # The keys that the daily rotation or a revocation adds are always allowed.
            if len(further.keys) > max(len(ring.keys), MOST_RING_KEYS):
                raise TooManyKeys(len(ring.keys))
            return further

        return self._change(rotated)

    def revoke(self, kid: str, now: datetime) -> Ring:
        """Take a key out of the ring, which ends all its tokens. Return the ring.

        Warm functions refuse the tokens within five minutes (`cached_copy.MAX_AGE`).
        Other verifiers do so when their cached key set is renewed. The tokens of a
        refresh key are sessions, and the anonymous users among them can never log in
        again.

        In the same write another key takes over. If there is none, a new one is made.
        A new refresh key, if no older one is left, signs after two minutes. Until then
        all logins fail.

        Raises:
            UnknownKey: The ring does not have the key, or no longer. Nothing was
                changed.
            KeysUnavailable: KMS did not answer. The ring is as it was.
            StoreUnavailable: Whether the ring was written is not known.
        """
        now = now.replace(microsecond=0)

        def revoked_from(ring: Ring) -> Ring:
            revoked = next((key for key in ring.keys if key.kid == kid), None)
            if revoked is None:
                raise UnknownKey(kid)
            rest = ring.revoke(revoked, now)
            if _was_youngest_refresh_key(revoked, rest, now):
                rest = rest.added(self._new_refresh_key(rest, now))
            return self._supplied(rest, now)

        return self._change(revoked_from)

    def take_over(self, former: Sequence[RingKey], now: datetime) -> Ring:
        """Add the refresh keys of a lost ring, and return the ring.

        They sign nothing from now on. They verify the refresh tokens of users that are
        restored from a backup (design.md §5). If there is no ring, it is made, with
        new keys of both uses.

        Args:
            former: The keys, wrapped by this ring's KMS key.

        Raises:
            KeysUnavailable: KMS did not answer. The ring is as it was.
            StoreUnavailable: Whether the ring was written is not known. Repeat.
        """
        now = now.replace(microsecond=0)
        return self._change(
            lambda ring: self._supplied(ring, now).with_verifying_keys(former)
        )

    def _change(self, change: Callable[[Ring], Ring]) -> Ring:
        # A deployment, the daily schedule and an operator may meet.
        for _ in decisions():
            ring = self.rings.load_ring() or Ring(version=0, keys=())
            changed = change(ring)
            if changed.keys == ring.keys:
                break
            ring = replace(changed, version=ring.version + 1)
            if self.rings.save_ring(ring):
                break
        return ring

    def _supplied(self, ring: Ring, now: datetime) -> Ring:
        ring = replace(ring, keys=tuple(k for k in ring.keys if not k.is_spent(now)))
        for use in get_args(KeyUse):
            ring = ring.ensure_signer(use, now)
        if not ring.of("refresh"):
            ring = ring.added(self._new_refresh_key(ring, now))
        for due in (Ring.first_signing_period, Ring.standby_signing_period):
            period = due(ring, now)
            if period is not None:
                signs_from, stops_at = period
                key = self.keys.make_access_key(
                    published_at=now, signs_from=signs_from, stops_at=stops_at
                )
                ring = ring.added(key)
        return ring.cover_gap(now)

    def _with_new_refresh_key(self, ring: Ring, now: datetime) -> Ring:
        _, *later = ring.of("refresh")
        if any(key.published_at + PUBLISHED_AHEAD > now for key in later):
            return ring
        return ring.added(self._new_refresh_key(ring, now))

    def _new_refresh_key(self, ring: Ring, now: datetime) -> RingKey:
        return self.keys.make_refresh_key(
            published_at=now, signs_from=ring.refresh_signing_start(now)
        )


def signing_key_age(ring: Ring, now: datetime) -> timedelta | None:
    """Return how long the current access key has been signing. None if none signs.

    The age is at most `KEY_LIFETIME` and a day, unless rotations have failed to make a
    standby in time.
    """
    key = ring.signing_key("access", now)
    return None if key is None else now - key.signs_from


def _was_youngest_refresh_key(revoked: RingKey, rest: Ring, now: datetime) -> bool:
    # The older keys can sign, but were replaced, perhaps for a reason.
    younger = [k for k in rest.of("refresh") if k.signs_from >= revoked.signs_from]
    return revoked.use == "refresh" and revoked.signs(now) and not younger
