"""All users, page by page, for an operator. No request waits for these scans."""

from collections.abc import Mapping, Sequence
from typing import Any

from pynamodb.expressions.condition import Condition

from anonauth.domain.providers import API_KEY
from anonauth.domain.users import User, UserFilter, UserPage
from anonauth.store.items import GoneItem, IdentityItem, UserItem, identity_pk
from anonauth.store.scans import Scans, active_users

_DISPLAYED = ["pk", "data"]

_MOST_IN_BATCH = 100  # keys in a BatchGetItem


class Overview(Scans):
    """`OverviewStore`."""

    def scan_users(
        self, segment: int, segments: int, after: str, wanted: UserFilter
    ) -> UserPage:
        """Read one page, in one Scan; see `OverviewStore`."""
        condition = _condition(wanted)
        if wanted.with_owners:
            is_key = UserItem.pk.contains(f"#{API_KEY}#")
            bound = IdentityItem.uid.exists() & ~is_key
            # A mark with a `ttl` is of a guest that no user lists any more.
            listed = GoneItem.into.exists() & GoneItem.ttl.does_not_exist()
            return self._scan_page(
                segment,
                segments,
                after,
                condition | bound | listed,
                *("uid", "into", "former_ids"),
            )
        return self._scan_page(
            segment, segments, after, condition, "former_ids", whole=wanted.whole
        )

    def get_data_of(self, users: Sequence[User]) -> list[list[Mapping[str, str]]]:
        """Read display data, 100 items per BatchGetItem; see `OverviewStore`."""
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


def _condition(wanted: UserFilter) -> Condition:
    condition = active_users(wanted.app)
    if wanted.anonymous is not None:
        condition &= UserItem.anonymous == wanted.anonymous
    if wanted.created_from is not None:
        condition &= UserItem.created_at >= wanted.created_from
    return condition
