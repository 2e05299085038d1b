"""A key ring without AWS: classes that satisfy the ports, for what is not about AWS."""

from collections.abc import Mapping
from datetime import datetime

from anonauth.domain import Ring
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.keys import KeyMaker, KeyRing
from anonauth.usecases.keys import rotate_keys


class MemoryRings:
    """`RingStore` in memory; `down` makes it unavailable."""

    def __init__(self) -> None:
        self.ring: Ring | None = None
        self.loads = 0
        self.down = False

    def load_ring(self, *, consistent: bool = False) -> Ring | None:
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
    """`KeyWrapping` that only notes the context; `down` makes it unavailable."""

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


class RingInMemory:
    """A key ring with its store and wrapping, and the daily rotation."""

    def __init__(self) -> None:
        self.rings = MemoryRings()
        self.wrapping = TaggedWrapping()

    def rotate(self, now: datetime) -> Ring:
        return rotate_keys(rings=self.rings, keys=KeyMaker(self.wrapping), now=now)

    def open(self) -> KeyRing:
        """Return the ring as a function that starts cold holds it."""
        return KeyRing(self.rings, self.wrapping)
