"""The local store's search for expiring users, compared with the real store's scan."""

from datetime import timedelta
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain.users import User
from anonauth.local.dynamodb.local_store import LocalStore
from anonauth.local.dynamodb.moto_table import MotoTable
from anonauth.store import Store
from support.contracts.events_contract import UNTIL, ExpiringContract, a_guest_until
from support.contracts.store_contract import APP, DAY, NOW, SECOND
from support.service.harness import Clients

SEGMENTS = 4


def local_store(table: str, clients: Clients) -> LocalStore:
    made = LocalStore(
        table, region="eu-central-1", expiring_between=MotoTable(table).expiring_between
    )
    made._connection._client = clients.store(table)._connection.client
    return made


class TestExpiringLocally(ExpiringContract):
    @pytest.fixture
    def store(self, table: str, clients: Clients) -> LocalStore:
        return local_store(table, clients)

    def test_given_more_than_a_page_when_scanned_then_segments_share_all_of_it(
        self, store: Store
    ) -> None:
        """The index has no pages: all users are on the first segment's only page."""
        guests = [a_guest_until(NOW + DAY) for _ in range(16)]
        for guest in guests:
            store.create_user(guest)

        first, *others = (
            store.scan_expiring(number, SEGMENTS, "", now=NOW, until=UNTIL)
            for number in range(SEGMENTS)
        )

        assert {user.id for user in first.users} == {guest.id for guest in guests}
        assert [page.users for page in others] == [()] * (SEGMENTS - 1)


def found(store: Store, **between: Any) -> tuple[list[User], int]:
    """Return the users of all segments, and the number of unreadable items."""
    users: list[User] = []
    unreadable = 0
    for segment in range(SEGMENTS):
        page = store.scan_expiring(segment, SEGMENTS, "", **between)
        users += page.users
        unreadable += page.unreadable
        assert page.position is None
    return sorted(users, key=lambda user: user.id), unreadable


def test_given_items_of_all_kinds_when_searched_then_a_scan_finds_the_same(
    store: Store, table: str, clients: Clients, db: DynamoDBClient
) -> None:
    local = local_store(table, clients)
    ends = [NOW - SECOND, NOW, NOW + SECOND, NOW + DAY, UNTIL - SECOND, UNTIL]
    for end in ends:
        store.create_user(a_guest_until(end))
    expires = {"N": str(int((NOW + DAY).timestamp()))}
    guest = {"state": {"S": "active"}, "anonymous": {"BOOL": True}}
    strangers: list[dict[str, Any]] = [
        {"pk": {"S": f"USER#{APP}#unreadable"}, "expires_at": expires, **guest},
        {"pk": {"S": "IDENT#other"}, "expires_at": expires, **guest},
        {
            "pk": {"S": f"USER#{APP}#permanent"},
            "expires_at": expires,
            **guest,
            "anonymous": {"BOOL": False},
        },
        {
            "pk": {"S": f"USER#{APP}#lost"},
            "expires_at": expires,
            **guest,
            "state": {"S": "lost"},
        },
        {"pk": {"S": f"USER#{APP}#bare"}, "expires_at": expires},
    ]
    for item in strangers:
        db.put_item(TableName=table, Item=item)

    for now, until in (
        (NOW, UNTIL),
        (NOW - timedelta(microseconds=1), UNTIL),
        (NOW + timedelta(microseconds=1), UNTIL),
        (NOW + DAY, UNTIL + DAY),
    ):
        by_index = found(local, now=now, until=until)
        assert by_index == found(store, now=now, until=until)

    users, unreadable = found(local, now=NOW, until=UNTIL)
    assert [user.expires_at for user in sorted(users, key=_end)] == ends[2:5]
    assert unreadable == 1


def _end(user: User) -> Any:
    return user.expires_at
