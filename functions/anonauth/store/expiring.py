"""The search for users that will soon expire: a scan, off every request path."""

from contextlib import suppress
from datetime import date, datetime

from pynamodb.exceptions import DoesNotExist

from anonauth.domain import ExpiringPage, ExpiryScan, User
from anonauth.store.items import SCAN_PK, USER_PREFIX, ScanItem, UserItem, user_in
from anonauth.store.table import Refused, Table

SCANNED = (
    "pk",
    "state",
    "anonymous",
    "version",
    "created_at",
    "last_active_day",
    "expires_at",
    "identities",
)
"""All that the scan may see: no session, no password, no key (see `template.yaml`)."""


class Expiring(Table):
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
        try:
            self._send(lambda: item.save(condition=none_yet | one_before))
        except Refused as refused:
            # Ours or another's: at worst a few users are warned twice, by one id.
            return refused.perhaps_ours
        return True

    def scan_expiring(
        self, segment: int, segments: int, after: str, *, now: datetime, until: datetime
    ) -> ExpiringPage:
        """Read one page, in one Scan; see `ExpiringStore`.

        By the connection, since a model's scan reads on to the end by itself.
        """
        wanted = (
            UserItem.pk.startswith(USER_PREFIX)
            & (UserItem.state == "active")
            & (UserItem.anonymous == True)  # noqa: E712 - an expression
            & (UserItem.expires_at > now)
            & (UserItem.expires_at < until)
        )
        page = self._send(
            lambda: self._connection.scan(
                self._user_item.Meta.table_name,
                filter_condition=wanted,
                attributes_to_get=list(SCANNED),
                segment=segment,
                total_segments=segments,
                exclusive_start_key=after or None,
                return_consumed_capacity="TOTAL",
            )
        )
        last = page.get("LastEvaluatedKey")
        users: list[User] = []
        for raw in page["Items"]:
            # One item that cannot be read must not be the end of all warnings.
            with suppress(Exception):
                users.append(user_in(raw, raw["pk"]["S"]))
        return ExpiringPage(
            users=tuple(users),
            position=last["pk"]["S"] if last else None,
            units=float(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0)),
            unreadable=len(page["Items"]) - len(users),
        )
