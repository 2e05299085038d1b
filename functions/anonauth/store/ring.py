"""The item of the key ring."""

from pynamodb.exceptions import DoesNotExist

from anonauth.domain.signing_keys import Ring
from anonauth.store.items import RING_PK, RingItem, ring_key_map, ring_of
from anonauth.store.table import Table


class Rings(Table):
    """`RingStore`."""

    def load_ring(self) -> Ring | None:
        """Read the key ring in one GetItem; see `RingStore`.

        The read is consistent: a replica that lags could bring a revoked key back for
        five more minutes.
        """
        try:
            item = self._send(
                lambda: self._ring_item.get(RING_PK, consistent_read=True)
            )
        except DoesNotExist:
            return None
        return ring_of(item)

    def save_ring(self, new: Ring) -> bool:
        """Write the key ring in one PutItem; see `RingStore`."""
        item = self._ring_item(
            RING_PK, version=new.version, keys=[ring_key_map(k) for k in new.keys]
        )
        none_yet = RingItem.pk.does_not_exist()
        one_before = RingItem.version == new.version - 1
        return self._try_write(
            lambda: item.save(condition=none_yet | one_before),
            is_written=lambda: self.load_ring() == new,
        )
