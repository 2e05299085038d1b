"""The store's part in events, on moto. `tests/engine` has it on real engines."""

from dataclasses import replace

import pytest

from anonauth.errors import StoreUnavailable
from anonauth.store import Store
from anonauth.store.scans import SCANNED
from anonauth.store.table import ATTEMPTS
from support.contracts.events_contract import (
    UNTIL,
    ExpiringContract,
    RequestedContract,
    a_guest_until,
    next_scan,
)
from support.contracts.store_contract import DAY, NOW, a_guest
from support.service.harness import Clients
from support.service.wire import (
    Wire,
    lost_reply,
    no_connection,
    server_error,
    throttled,
)


class TestExpiringOnMoto(ExpiringContract):
    """`conftest` provides `store`, on moto."""


class TestRequestedOnMoto(RequestedContract):
    """The same."""


@pytest.fixture
def wire(clients: Clients) -> Wire:
    return clients.wire


def test_given_no_scan_yet_when_loaded_then_there_is_none(store: Store) -> None:
    assert store.load_expiry_scan() is None


def test_given_a_page_when_scanned_then_it_is_one_call_for_what_may_be_seen(
    store: Store, wire: Wire
) -> None:
    store.create_user(a_guest_until(NOW + DAY))
    del wire.calls[:], wire.bodies[:]

    store.scan_expiring(0, 1, "", now=NOW, until=UNTIL)

    assert wire.calls == ["Scan"]
    (sent,) = wire.bodies
    names = sent["ExpressionAttributeNames"]
    shown = [names[name.strip()] for name in sent["ProjectionExpression"].split(",")]
    assert set(shown) == set(SCANNED)
    assert set(names.values()) <= set(SCANNED)  # nor may it filter by others
    assert "ConsistentRead" not in sent  # that costs twice as much


def test_given_many_users_when_asked_for_marks_then_it_is_one_call(
    store: Store, wire: Wire
) -> None:
    users = [a_guest() for _ in range(100)]
    del wire.calls[:]

    store.marks_of(users)

    assert wire.calls == ["BatchGetItem"]


def test_given_no_users_when_asked_for_marks_then_there_is_no_call(
    store: Store, wire: Wire
) -> None:
    del wire.calls[:]

    store.marks_of([])

    assert wire.calls == []


def test_given_a_lost_reply_when_a_scan_is_saved_then_it_counts_as_saved(
    store: Store, wire: Wire
) -> None:
    scan = next_scan(store)
    wire.faults = [lost_reply]

    assert store.save_expiry_scan(scan)

    assert store.load_expiry_scan() == scan


def test_given_no_answer_when_a_scan_is_saved_then_it_is_not_known(
    store: Store, wire: Wire
) -> None:
    scan = next_scan(store)
    wire.always = no_connection

    with pytest.raises(StoreUnavailable):
        store.save_expiry_scan(scan)

    wire.always = None
    assert store.load_expiry_scan() is None


def test_given_another_that_saved_in_between_when_repeated_then_it_may_be_ours(
    store: Store, wire: Wire
) -> None:
    """At worst a few users are warned twice, by one id."""
    scan = next_scan(store)
    assert store.save_expiry_scan(replace(scan, positions={}))
    wire.faults = [server_error]

    assert store.save_expiry_scan(scan)

    assert store.load_expiry_scan() == replace(scan, positions={})


def test_given_throttling_when_scanned_then_the_page_is_repeated(
    store: Store, wire: Wire
) -> None:
    guest = a_guest_until(NOW + DAY)
    store.create_user(guest)
    wire.faults = [throttled] * (ATTEMPTS - 1)

    page = store.scan_expiring(0, 1, "", now=NOW, until=UNTIL)

    assert [user.id for user in page.users] == [guest.id]
    assert page.position is None
