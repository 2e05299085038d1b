"""Scans over all users, page by page. No request waits for them."""

from contextlib import suppress

from pynamodb.expressions.condition import Condition

from anonauth.domain.users import MergedGuest, OwnedIdentity, User, UserPage
from anonauth.store.items import USER_PREFIX, UserItem, user_in, user_pk
from anonauth.store.table import Table

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
"""All attributes that a function's scan may read (see `template.yaml`).

There is no session, password or key among them.
"""


class Scans(Table):
    """The page that `Expiring` and `Overview` scan."""

    def _scan_page(
        self,
        segment: int,
        segments: int,
        after: str,
        wanted: Condition,
        *more: str,
        whole: bool = False,
    ) -> UserPage:
        """Read one page, in one Scan.

        The connection does it, because the scan of a PynamoDB model reads on to the
        end of the table.

        Args:
            after: `position` of the page before, empty for the first page.
            wanted: Condition on the items, such as `active_users`.
            more: Attributes to read in addition to `SCANNED`.
            whole: Read all attributes.
        """
        page = self._send(
            lambda: self._connection.scan(
                self._user_item.Meta.table_name,
                filter_condition=wanted,
                attributes_to_get=None if whole else [*SCANNED, *more],
                segment=segment,
                total_segments=segments,
                exclusive_start_key=after or None,
                return_consumed_capacity="TOTAL",
            )
        )
        last = page.get("LastEvaluatedKey")
        users: list[User] = []
        owners: list[OwnedIdentity] = []
        merges: list[MergedGuest] = []
        for raw in page["Items"]:
            if "into" in raw:
                _, app, guest_id = raw["pk"]["S"].split("#")
                merges.append(MergedGuest(app, guest_id, raw["into"]["S"]))
                continue
            if "uid" in raw:
                _, app, provider, key = raw["pk"]["S"].split("#")
                owners.append(OwnedIdentity(app, raw["uid"]["S"], provider, key))
                continue
            # An item that cannot be read must not hide all others.
            with suppress(Exception):
                users.append(user_in(raw, raw["pk"]["S"]))
        return UserPage(
            users=tuple(users),
            position=last["pk"]["S"] if last else None,
            read=int(page["ScannedCount"]),
            units=float(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0)),
            unreadable=len(page["Items"]) - len(users) - len(owners) - len(merges),
            owners=tuple(owners),
            merges=tuple(merges),
        )


def active_users(app: str | None = None) -> Condition:
    """Return the condition for users of an app, or of all apps if it is None."""
    prefix = USER_PREFIX if app is None else user_pk(app, "")
    condition: Condition = UserItem.pk.startswith(prefix) & (UserItem.state == "active")
    return condition
