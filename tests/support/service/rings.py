"""A key ring without AWS: small classes that satisfy its ports."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import combinations, islice
from math import comb

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from anonauth.domain.signing_keys import (
    MOST_RING_KEYS,
    KeyUse,
    Ring,
    RingKey,
)
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.keys import KeyMaker, KeyRing
from anonauth.ports import KeyMaking
from anonauth.usecases.key_ring import KeyRotation


class MemoryRings:
    """`RingStore` in memory; `down` makes it unavailable."""

    def __init__(self) -> None:
        self.ring: Ring | None = None
        self.loads = 0
        self.down = False

    def load_ring(self) -> Ring | None:
        self.loads += 1
        if self.down:
            raise StoreUnavailable
        return self.ring

    def save_ring(self, new: Ring) -> bool:
        if (self.ring.version if self.ring else 0) != new.version - 1:
            return False
        self.ring = new
        return True


class TaggedWrapping:
    """`KeyWrapping` that only records the context; `down` makes it unavailable."""

    def __init__(self) -> None:
        self.unwrapped = 0
        self.down = False

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        if self.down:
            raise KeysUnavailable
        return repr(sorted(context.items())).encode() + b"|" + key

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.unwrapped += 1
        tag, _, key = wrapped.partition(b"|")
        if self.down or tag != repr(sorted(context.items())).encode():
            raise KeysUnavailable
        return key


class NumberedKeys:
    """`KeyMaking` without real keys. An RSA key takes 0.1 s, too long for years."""

    def __init__(self) -> None:
        self.made = 0

    def make_access_key(
        self, *, published_at: datetime, signs_from: datetime, stops_at: datetime
    ) -> RingKey:
        kid = self._next_kid("access")
        return RingKey(kid, "access", b"", b"", published_at, signs_from, stops_at)

    def make_refresh_key(
        self, *, published_at: datetime, signs_from: datetime
    ) -> RingKey:
        kid = self._next_kid("refresh")
        return RingKey(kid, "refresh", b"", None, published_at, signs_from, None)

    def _next_kid(self, use: str) -> str:
        self.made += 1
        return f"{use}-{self.made}"


class RsaKeys:
    """Makes RSA keys, and reuses the same few within a process.

    There are more of them than a ring can have at once. A key takes 50 ms, nearly all
    of it for its two primes, so all keys are pairs of a few primes.
    """

    MOST = MOST_RING_KEYS + 8

    def __init__(self) -> None:
        self._made: deque[RSAPrivateKey] = deque()

    def generate(self, public_exponent: int, key_size: int) -> RSAPrivateKey:
        if not self._made:
            primes: list[int] = []
            while comb(len(primes), 2) < self.MOST:
                numbers = rsa.generate_private_key(
                    public_exponent, key_size
                ).private_numbers()
                primes += [numbers.p, numbers.q]
            pairs = islice(combinations(primes, 2), self.MOST)
            self._made.extend(_key_of(p, q, public_exponent) for p, q in pairs)
        self._made.rotate(-1)
        return self._made[-1]


def _key_of(p: int, q: int, exponent: int) -> RSAPrivateKey:
    private = rsa.rsa_recover_private_exponent(exponent, p, q)
    return rsa.RSAPrivateNumbers(
        p,
        q,
        private,
        rsa.rsa_crt_dmp1(private, p),
        rsa.rsa_crt_dmq1(private, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(exponent, p * q),
    ).private_key(unsafe_skip_rsa_key_validation=True)


class RingInMemory:
    """A key ring with its store and wrapping, and the use cases that write it."""

    def __init__(
        self, rings: MemoryRings | None = None, keys: KeyMaking | None = None
    ) -> None:
        self.rings = rings or MemoryRings()
        self.wrapping = TaggedWrapping()
        self.keys = keys or KeyMaker(self.wrapping)

    @property
    def ring(self) -> Ring:
        """The stored ring."""
        assert self.rings.ring is not None
        return self.rings.ring

    def rotate(self, now: datetime) -> Ring:
        return KeyRotation(self.rings, self.keys).rotate(now)

    def rotate_now(self, use: KeyUse, now: datetime) -> Ring:
        return KeyRotation(self.rings, self.keys).rotate_now(use, now)

    def revoke(self, kid: str, now: datetime) -> Ring:
        return KeyRotation(self.rings, self.keys).revoke(kid, now)

    def take_over(self, former: Sequence[RingKey], now: datetime) -> Ring:
        return KeyRotation(self.rings, self.keys).take_over(former, now)

    def open(self) -> KeyRing:
        """Return the ring as loaded by a function that starts cold."""
        return KeyRing(self.rings, self.wrapping)
