"""The scan for users that will soon expire. No request waits for it."""

from datetime import date, datetime

from pynamodb.exceptions import DoesNotExist

from anonauth.domain.events import ExpiryScan
from anonauth.domain.users import UserPage
from anonauth.store.items import SCAN_PK, ScanItem, UserItem
from anonauth.store.scans import Scans, active_users


class Expiring(Scans):
    """`ExpiringStore`."""

    def load_expiry_scan(self) -> ExpiryScan | None:
        """Read the scan's item, in one consistent GetItem; see `ExpiringStore`."""
        try:
            item = self._send(
                lambda: self._scan_item.get(SCAN_PK, consistent_read=True)
            )
        except DoesNotExist:
            return None
        return ExpiryScan(
            version=int(item.version),
            since=None if item.since is None else date.fromisoformat(item.since),
            day=date.fromisoformat(item.day),
            positions={
                int(segment): after
                for segment, after in item.positions.as_dict().items()  # type: ignore[no-untyped-call]
            },
        )

    def save_expiry_scan(self, new: ExpiryScan) -> bool:
        """Write the scan's item, in one PutItem; see `ExpiringStore`."""
        item = self._scan_item(
            SCAN_PK,
            version=new.version,
            since=None if new.since is None else new.since.isoformat(),
            day=new.day.isoformat(),
            positions={str(segment): after for segment, after in new.positions.items()},
        )
        none_yet = ScanItem.pk.does_not_exist()
        one_before = ScanItem.version == new.version - 1
        return self._try_write(
            lambda: item.save(condition=none_yet | one_before),
            # Perhaps another run has written it. At worst a few users are warned
            # twice, by events with the same id.
            is_written=lambda: True,
        )

    def scan_expiring(
        self, segment: int, segments: int, after: str, *, now: datetime, until: datetime
    ) -> UserPage:
        """Read one page, in one Scan; see `ExpiringStore`."""
        wanted = (
            active_users()
            & (UserItem.anonymous == True)  # noqa: E712 - an expression
            & (UserItem.expires_at > now)
            & (UserItem.expires_at < until)
        )
        return self._scan_page(segment, segments, after, wanted)
