"""The store's part in a restore, on moto: damaged items, lost replies, full batches."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain.users import UserFilter
from anonauth.errors import StoreUnavailable
from anonauth.store import Store
from support.contracts.identity_contract import (
    a_linked_user,
    a_stored_guest,
    a_user_with_account,
)
from support.contracts.restore_contract import a_bound_record, a_lost_user, name_of
from support.contracts.store_contract import APP, NOW, SECOND
from support.service.harness import TABLE, Clients
from support.service.wire import (
    Forward,
    Wire,
    lost_reply,
    no_connection,
    preceded_by,
    reply,
    throttled,
    transaction_conflict,
)


@pytest.fixture
def wire(clients: Clients) -> Wire:
    return clients.wire


def spoil(db: DynamoDBClient, pk: str) -> None:
    """Take from an item what every item of its kind has."""
    db.update_item(
        TableName=TABLE,
        Key={"pk": {"S": pk}},
        UpdateExpression="SET version = :none REMOVE identities",
        ExpressionAttributeValues={":none": {"S": "none"}},
    )


def test_given_damaged_items_when_read_then_they_are_there_and_unknown(
    store: Store, db: DynamoDBClient
) -> None:
    guest, (user, account) = a_stored_guest(store), a_user_with_account(store)
    spoil(db, f"USER#{APP}#{guest.id}")
    spoil(db, f"IDENT#{APP}#{account.provider}#{account.key}")
    names = [(APP, guest.id), (APP, user.id)]

    assert store.get_users(names) == {(APP, guest.id): None, (APP, user.id): user}
    assert store.get_records([name_of(account)]) == {name_of(account): None}


def test_given_a_restored_user_when_stored_then_its_item_says_when(
    store: Store, db: DynamoDBClient
) -> None:
    user = a_lost_user()
    assert store.restore_user(user, [], [], NOW)

    item = db.get_item(TableName=TABLE, Key={"pk": {"S": f"USER#{APP}#{user.id}"}})

    assert item["Item"]["restored_at"] == {"N": str(int(NOW.timestamp()))}
    guest = a_stored_guest(store)
    item = db.get_item(TableName=TABLE, Key={"pk": {"S": f"USER#{APP}#{guest.id}"}})
    assert "restored_at" not in item["Item"]


def test_given_a_full_answer_when_read_then_the_rest_is_asked_for(
    store: Store, wire: Wire
) -> None:
    """DynamoDB leaves out what is beyond 16 MB, or beyond a partition's capacity."""
    guests = [a_stored_guest(store) for _ in range(3)]

    def two_left_out(request: AWSPreparedRequest, forward: Forward) -> AWSResponse:
        keys = wire.bodies[-1]["RequestItems"][TABLE]["Keys"]
        left: dict[str, Any] = {TABLE: {"Keys": keys, "ConsistentRead": True}}
        return reply(request, 200, {"Responses": {}, "UnprocessedKeys": left})

    wire.reset()
    wire.faults = [two_left_out]

    found = store.get_users([(APP, guest.id) for guest in guests])

    assert len(found) == 3
    assert wire.calls == ["BatchGetItem", "BatchGetItem"]
    assert all(body["RequestItems"][TABLE]["ConsistentRead"] for body in wire.bodies)


def test_given_more_than_a_batch_when_read_then_each_call_has_a_hundred(
    store: Store, wire: Wire
) -> None:
    wire.reset()

    store.get_records([(APP, "custom-token", str(number)) for number in range(201)])

    assert [len(b["RequestItems"][TABLE]["Keys"]) for b in wire.bodies] == [100, 100, 1]


def test_given_a_user_when_restored_then_it_takes_one_transaction(
    store: Store, wire: Wire
) -> None:
    user = a_lost_user()
    wire.reset()

    store.restore_user(user, [a_bound_record(user)], [], NOW)

    assert wire.calls == ["TransactWriteItems"]


def test_given_a_lost_reply_when_a_user_is_restored_then_it_is_its_own_success(
    store: Store, wire: Wire
) -> None:
    user = a_lost_user()
    wire.faults = [lost_reply]

    assert store.restore_user(user, [a_bound_record(user)], [], NOW)


def test_given_a_lost_reply_when_another_restore_was_first_then_it_is_refused(
    store: Store, wire: Wire
) -> None:
    user = a_lost_user()
    other = replace(user, restored_at=NOW + SECOND)
    wire.faults = [
        no_connection,
        preceded_by(lambda: store.restore_user(other, [], [], NOW)),
    ]

    assert not store.restore_user(user, [], [], NOW)
    assert store.get_user(APP, user.id) == other


@pytest.mark.parametrize("is_ours", [True, False])
def test_given_a_lost_reply_when_records_are_restored_then_they_decide(
    store: Store, wire: Wire, is_ours: bool
) -> None:
    user = a_linked_user(store)
    record = a_bound_record(user)
    other = replace(record, id="another")
    if is_ours:
        wire.faults = [lost_reply]
    else:
        wire.faults = [
            no_connection,
            preceded_by(lambda: store.restore_records(user, [other], NOW)),
        ]

    assert store.restore_records(user, [record], NOW) is is_ours
    assert store.get_records([name_of(record)]) == {
        name_of(record): record if is_ours else other
    }


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(
            lambda store, user: store.restore_user(a_lost_user(), [], [], NOW),
            id="user",
        ),
        pytest.param(
            lambda store, user: store.restore_records(
                user, [a_bound_record(user)], NOW
            ),
            id="records",
        ),
    ],
)
def test_given_conflicts_with_other_writes_when_restored_then_it_waits_for_them(
    store: Store, wire: Wire, write: Callable[[Store, object], bool]
) -> None:
    user = a_linked_user(store)
    wire.faults = [transaction_conflict] * 14

    assert write(store, user)

    wire.faults = [throttled] * 3
    with pytest.raises(StoreUnavailable):
        write(store, user)


def test_given_a_restored_user_when_scanned_then_only_a_whole_scan_tells(
    store: Store,
) -> None:
    user = a_lost_user()
    assert store.restore_user(user, [], [], NOW)

    (whole,) = store.scan_users(0, 1, "", UserFilter(whole=True)).users
    (plain,) = store.scan_users(0, 1, "", UserFilter()).users

    assert whole == user
    assert plain == replace(user, sessions={}, restored_at=None)
