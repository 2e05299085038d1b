"""All users, page by page, for an operator: a scan, off every request path."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pynamodb.expressions.condition import Condition

from anonauth.domain import User, UserFilter, UserPage
from anonauth.store.conditions import all_of
from anonauth.store.items import (
    USER_PREFIX,
    UserItem,
    identity_pk,
    user_in,
    user_pk,
)
from anonauth.store.table import Table

# No session, no key: what an operator lists needs neither, and they are most of an
# item.
_SCANNED = [
    "pk",
    "state",
    "anonymous",
    "version",
    "created_at",
    "last_active_day",
    "expires_at",
    "identities",
]
_DISPLAYED = ["pk", "data"]

_MOST_IN_BATCH = 100  # keys in a BatchGetItem


class Overview(Table):
    """`OverviewStore`."""

    def scan_users(
        self, segment: int, segments: int, after: str, wanted: UserFilter
    ) -> UserPage:
        """Read one page, in one Scan; see `OverviewStore`.

        By the connection, since a model's scan reads on to the end by itself.
        """
        page = self._send(
            lambda: self._connection.scan(
                self._user_item.Meta.table_name,
                filter_condition=all_of(_conditions(wanted)),
                attributes_to_get=_SCANNED,
                segment=segment,
                total_segments=segments,
                exclusive_start_key=after or None,
                return_consumed_capacity="TOTAL",
            )
        )
        last = page.get("LastEvaluatedKey")
        users: list[User] = []
        for raw in page["Items"]:
            # One item that cannot be read must not hide all others.
            with suppress(Exception):
                users.append(user_in(raw, raw["pk"]["S"]))
        return UserPage(
            users=tuple(users),
            position=last["pk"]["S"] if last else None,
            read=int(page["ScannedCount"]),
            units=float(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0)),
            unreadable=len(page["Items"]) - len(users),
        )

    def get_data_of(self, users: Sequence[User]) -> list[list[Mapping[str, str]]]:
        """Read display data, in a BatchGetItem for a hundred; see `OverviewStore`."""
        pks = [
            [
                identity_pk(user.app, i.provider, i.key) if i.key else ""
                for i in user.identities
            ]
            for user in users
        ]
        wanted = sorted({pk for of_user in pks for pk in of_user if pk})
        found: dict[str, Any] = {}
        for start in range(0, len(wanted), _MOST_IN_BATCH):
            batch = wanted[start : start + _MOST_IN_BATCH]
            for item in self._send(lambda keys=batch: self._read_displayed(keys)):  # type: ignore[misc]
                found[item.pk] = item.data.as_dict()
        return [[found.get(pk, {}) for pk in of_user] for of_user in pks]

    def _read_displayed(self, pks: Sequence[str]) -> list[Any]:
        return list(self._identity_item.batch_get(pks, attributes_to_get=_DISPLAYED))


def _conditions(wanted: UserFilter) -> list[Condition]:
    prefix = USER_PREFIX if wanted.app is None else user_pk(wanted.app, "")
    conditions: list[Condition] = [
        UserItem.pk.startswith(prefix),
        UserItem.state == "active",
    ]
    if wanted.anonymous is not None:
        conditions.append(UserItem.anonymous == wanted.anonymous)
    if wanted.created_from is not None:
        conditions.append(UserItem.created_at >= wanted.created_from)
    return conditions
