"""The stream and the sweep of `anonauth serve`, on engines that have streams.

The store reads the stream's records back, as Lifecycle does.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.events import Change
from anonauth.domain.expiry import expiry_after
from anonauth.domain.users import User
from anonauth.errors import InvalidSession
from anonauth.local.dynamodb.live_table import LiveTable, Record
from anonauth.store import Store
from anonauth.tokens import Tokens
from anonauth.usecases.events import events_of
from support.contracts.identity_contract import a_foreign_identity, link, read
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    SECOND,
    a_guest,
    claims_of,
    note_activity,
    only_session,
)
from support.engine import engines
from support.engine.racing import Service, a_subject, assert_all_whole
from support.service.rings import RingInMemory

# DynamoDB itself reports a change a moment later, and not to this region's streams.
pytestmark = pytest.mark.parametrize(
    "engine", ["dynoxide", "ministack"], indirect=True, scope="package"
)


class Clock:
    """The service's clock, which a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(engine: engines.Engine) -> Iterator[str]:
    """An empty table with a stream, for each test."""
    with engine.table(has_stream=True) as name:
        yield name


@pytest.fixture
def store(engine: engines.Engine, table: str) -> Iterator[Store]:
    with engine.store(table) as connected:
        yield connected


@pytest.fixture
def live(engine: engines.Engine, table: str, clock: Clock) -> LiveTable:
    opened = LiveTable(table, engine.endpoint_url, clock)
    assert opened.has_stream
    return opened


@pytest.fixture
def ring() -> RingInMemory:
    """A key ring that a test rotates when time passes."""
    made = RingInMemory()
    made.rotate(NOW)
    return made


@pytest.fixture
def tokens(ring: RingInMemory) -> Tokens:
    return Tokens(
        ring.open(), app_ids=frozenset({APP}), access_lifetime=timedelta(minutes=30)
    )


@pytest.fixture
def service(
    engine: engines.Engine, table: str, store: Store, tokens: Tokens
) -> Iterator[Service]:
    served = Service(store, tokens, engine.db, table)
    yield served
    assert_all_whole(served)


def told(live: LiveTable, store: Store) -> list[Change]:
    """Return the changes of users since the last call, as Lifecycle reads them."""
    changes = map(store.read_change, live.changes())
    return [change for change in changes if change is not None]


def events(live: LiveTable, store: Store, user: User) -> list[str]:
    """Return the events of one user, with the reason if there is one."""
    return [
        " ".join([event.type, *filter(None, [event.detail.get("reason")])])
        for change in told(live, store)
        for event in events_of(change, {}, stack="anonauth")
        if event.user_id == user.id
    ]


def pass_90_days(ring: RingInMemory) -> None:
    for days in (30, 60, 90):
        ring.rotate(NOW + days * DAY)


def expire(engine: engines.Engine, table: str, user: User, at: datetime) -> None:
    """Change an item's `ttl` behind the store's back."""
    engine.db.update_item(
        TableName=table,
        Key={"pk": {"S": f"USER#{APP}#{user.id}"}},
        UpdateExpression="SET #ttl = :at",
        ExpressionAttributeNames={"#ttl": "ttl"},
        ExpressionAttributeValues={":at": {"N": str(int(at.timestamp()))}},
    )


def test_given_a_users_life_when_told_then_each_change_reads_back_in_order(
    live: LiveTable, store: Store
) -> None:
    guest = a_guest()
    store.create_user(guest)
    store_says = [read(store, guest)]
    assert note_activity(store, guest, only_session(guest), NOW + DAY)
    store_says.append(read(store, guest))
    assert link(store, read(store, guest), a_foreign_identity(), NOW + DAY)
    store_says.append(read(store, guest))
    linked = store_says[-1]
    assert store.delete_user(linked, only_session(linked), NOW + DAY)

    changes = told(live, store)

    # The link and the deletion are transactions, whose other items are not reported.
    assert [(change.before, change.after) for change in changes] == [
        (before, after)
        for before, after in zip([None, *store_says], [*store_says, None], strict=True)
    ]
    assert [change.swept for change in changes] == [False] * 4
    numbers = [change.sequence for change in changes]
    assert numbers == sorted(set(numbers))
    assert len({change.record_id for change in changes}) == 4


def test_given_a_record_when_told_then_it_is_as_lambda_hands_it_over(
    live: LiveTable, store: Store, clock: Clock
) -> None:
    guest = a_guest()
    store.create_user(guest)

    (record,) = live.changes()

    assert record["eventSource"] == "aws:dynamodb"
    assert record["eventName"] == "INSERT"
    assert isinstance(record["eventID"], str)
    stream = record["dynamodb"]
    assert stream["Keys"] == {"pk": {"S": f"USER#{APP}#{guest.id}"}}
    assert stream["NewImage"]["expires_at"] == {
        "N": str(int(expiry_after(NOW).timestamp()))
    }
    assert "OldImage" not in stream
    assert stream["SequenceNumber"].isdecimal()
    assert stream["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert stream["ApproximateCreationDateTime"] == int(clock().timestamp())
    assert "/stream/" in record["eventSourceARN"]


def test_given_other_items_when_told_then_they_are_no_changes_of_users(
    live: LiveTable, store: Store
) -> None:
    guest = a_guest()
    store.create_user(guest)
    store.delete_user(guest, only_session(guest), NOW)

    records = live.changes()

    kinds = [record["dynamodb"]["Keys"]["pk"]["S"].split("#")[0] for record in records]
    assert sorted(kinds) == ["GONE", "USER", "USER"]
    assert len([c for c in map(store.read_change, records) if c is not None]) == 2


def test_given_changes_that_were_told_when_asked_again_then_only_news_are(
    live: LiveTable, store: Store, engine: engines.Engine, table: str, clock: Clock
) -> None:
    first, second = a_guest(), a_guest()
    store.create_user(first)

    assert [c.after for c in told(live, store)] == [first]
    assert told(live, store) == []

    store.create_user(second)
    late = LiveTable(table, engine.endpoint_url, clock)
    assert [c.after for c in told(live, store)] == [second]
    assert told(late, store) == []  # nothing from before it was made


def test_given_many_changes_when_told_then_none_is_missing(
    live: LiveTable, store: Store
) -> None:
    """A call for records takes 1,000, and a batch of Lifecycle 100."""
    guests = [a_guest() for _ in range(130)]
    for guest in guests:
        store.create_user(guest)

    changes = told(live, store)

    assert [change.after for change in changes] == guests


def test_given_expired_guests_when_swept_then_only_those_deletions_are_the_sweepers(
    live: LiveTable, store: Store, clock: Clock
) -> None:
    expired, leaving, staying = a_guest(), a_guest(), a_guest(NOW + 5 * DAY)
    for guest in (expired, leaving, staying):
        store.create_user(guest)
    store.end_session(claims_of(leaving), NOW)
    live.changes()
    assert expired.expires_at is not None
    clock.now = expired.expires_at + DAY

    assert live.sweep() == 1

    (change,) = told(live, store)
    assert (change.before, change.after, change.swept) == (expired, None, True)
    assert store.get_user(APP, staying.id) == staying


@pytest.mark.parametrize(
    ("late", "swept"),
    [
        pytest.param(-SECOND, 0, id="a second before its ttl"),
        pytest.param(0 * SECOND, 1, id="at its ttl"),
    ],
)
def test_given_a_ttl_when_swept_then_the_services_clock_decides(
    live: LiveTable, store: Store, clock: Clock, late: Any, swept: int
) -> None:
    guest = a_guest()
    store.create_user(guest)
    assert guest.expires_at is not None
    clock.now = guest.expires_at + DAY + late  # `ttl` is a day after the expiry

    assert live.sweep() == swept

    assert (store.get_user(APP, guest.id) is None) == bool(swept)


def test_given_a_new_ttl_in_between_when_swept_then_the_user_stays(
    live: LiveTable, store: Store, engine: engines.Engine, table: str, clock: Clock
) -> None:
    """As on AWS. Its later deletion does not count as the sweep's."""
    guest = a_guest()
    store.create_user(guest)
    live.changes()
    clock.now = NOW + 200 * DAY

    def renew(**_: Any) -> None:
        expire(engine, table, guest, NOW + 300 * DAY)

    source: Any = live._source
    hooks = source._dynamodb.meta.events
    hooks.register("before-call.dynamodb.DeleteItem", renew)
    assert live.sweep() == 0
    hooks.unregister("before-call.dynamodb.DeleteItem", renew)

    assert store.get_user(APP, guest.id) == guest
    store.end_session(claims_of(guest), NOW)
    *_, deletion = told(live, store)
    assert (deletion.before, deletion.after) == (guest, None)
    assert not deletion.swept


def test_given_what_else_expires_when_swept_then_it_is_gone_too(
    live: LiveTable, store: Store, clock: Clock
) -> None:
    guest = a_guest()
    store.create_user(guest)
    store.delete_user(guest, only_session(guest), NOW)
    live.changes()
    clock.now = NOW + 31 * DAY  # a mark lives for 30

    assert live.sweep() == 1

    records: list[Record] = live.changes()
    assert [record["eventName"] for record in records] == ["REMOVE"]
    assert records[0]["userIdentity"]["principalId"] == "dynamodb.amazonaws.com"
    assert store.marks_of([guest]) == {}


def test_given_items_that_expire_when_asked_then_their_days_are_due(
    live: LiveTable, store: Store
) -> None:
    guest = a_guest()
    store.create_user(guest)
    assert guest.expires_at is not None

    due = live.due_days()

    assert due == {guest.expires_at.date(), (guest.expires_at + DAY).date()}


def test_given_a_table_without_a_stream_then_there_is_nothing_to_tell(
    engine: engines.Engine, clock: Clock
) -> None:
    with engine.table() as table, engine.store(table) as store:
        live = LiveTable(table, engine.endpoint_url, clock)
        guest = a_guest()
        store.create_user(guest)
        clock.now = NOW + 200 * DAY

        assert not live.has_stream
        assert live.changes() == []
        assert live.sweep() == 1  # the sweep needs no stream
        assert live.changes() == []
        assert store.get_user(APP, guest.id) is None


def test_given_a_link_in_the_last_second_when_swept_days_later_then_the_user_stays(
    live: LiveTable, store: Store, service: Service, clock: Clock, ring: RingInMemory
) -> None:
    """The worst case for an app: to clean up after a user that still exists."""
    guest = service.log_in()
    assert guest.user.expires_at is not None
    pass_90_days(ring)

    service.link(
        guest, "custom-token", {"token": a_subject()}, guest.user.expires_at - SECOND
    )
    clock.now = guest.user.expires_at + 3 * DAY

    assert live.sweep() == 0
    assert not service.sweep(guest, clock.now)
    assert events(live, store, guest.user) == ["user.created", "user.linked"]
    user = read(store, guest.user)
    assert (user.anonymous, user.expires_at) == (False, None)


def test_given_a_link_that_comes_too_late_when_swept_then_the_user_has_expired(
    live: LiveTable, store: Store, service: Service, clock: Clock, ring: RingInMemory
) -> None:
    guest = service.log_in()
    assert guest.user.expires_at is not None
    pass_90_days(ring)

    with pytest.raises(InvalidSession):
        service.link(
            guest, "custom-token", {"token": a_subject()}, guest.user.expires_at
        )
    clock.now = guest.user.expires_at + 3 * DAY

    assert live.sweep() == 1
    assert events(live, store, guest.user) == ["user.created", "user.deleted expired"]


def test_given_a_logout_when_the_sweep_comes_then_it_is_told_once_and_as_a_logout(
    live: LiveTable, store: Store, service: Service, clock: Clock
) -> None:
    guest = service.log_in()
    assert guest.user.expires_at is not None
    service.log_out(guest, guest.user.expires_at - SECOND)
    clock.now = guest.user.expires_at + 3 * DAY

    assert live.sweep() == 0
    assert events(live, store, guest.user) == ["user.created", "user.deleted logout"]
