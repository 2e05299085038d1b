"""The store in memory: the real store's contracts, and its own sweep."""

from datetime import timedelta

import pytest

from anonauth.domain.budgets import Counter
from anonauth.domain.users import DeletionMark
from support.contracts.identity_contract import (
    IdentityContract,
    a_linked_user,
    a_pending_account,
    an_account,
    record_of,
)
from support.contracts.merge_contract import MergeContract
from support.contracts.overview_contract import OverviewContract
from support.contracts.restore_contract import RestoreContract
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    SECOND,
    StoreContract,
    a_guest,
    note_activity,
    only_session,
)
from support.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class TestStoreInMemory(
    StoreContract,
    IdentityContract,
    MergeContract,
    OverviewContract,
    RestoreContract,
):
    """The store's contracts, with dictionaries as the engine."""


def test_given_a_guest_when_swept_then_it_is_removed_a_day_after_its_expiry(
    store: MemoryStore,
) -> None:
    user = a_guest()
    store.create_user(user)
    assert user.expires_at is not None
    ttl = user.expires_at + DAY

    store.sweep(ttl + 0.9 * SECOND)
    assert store.get_user(APP, user.id) == user
    store.sweep(ttl + SECOND)
    assert store.get_user(APP, user.id) is None


def test_given_one_user_when_swept_then_others_stay(store: MemoryStore) -> None:
    swept, other, permanent = a_guest(), a_guest(), a_linked_user(store)
    for user in (swept, other):
        store.create_user(user)
    late = NOW + 200 * DAY

    assert store.sweep_user(APP, swept.id, late)
    assert not store.sweep_user(APP, swept.id, late)
    assert not store.sweep_user(APP, permanent.id, late)

    assert set(store.users) == {(APP, other.id), (APP, permanent.id)}


def test_given_all_kinds_of_items_when_swept_then_each_is_removed_by_its_own_ttl(
    store: MemoryStore,
) -> None:
    pending, confirmed = a_pending_account(), an_account()
    for account in (pending, confirmed):
        store.register(account, NOW)
    store.count(Counter("c", 1, NOW + timedelta(hours=1)))
    guest, permanent = a_guest(), a_linked_user(store)
    store.create_user(guest)
    store.delete_user(guest, only_session(guest), NOW)

    store.sweep(NOW + 3 * DAY)
    assert record_of(store, pending) is None
    assert record_of(store, confirmed) == confirmed
    assert not store.counts
    assert store.gone == {(APP, guest.id): (DeletionMark("requested"), NOW + 30 * DAY)}

    store.sweep(NOW + 40 * DAY)
    assert record_of(store, confirmed) is None
    assert not store.gone

    store.sweep(NOW + 9999 * DAY)
    assert store.get_user(APP, permanent.id) == permanent
    assert store.get_identity(APP, "custom-token", permanent.identities[1].key)


def test_given_writes_when_counted_then_those_that_set_a_users_ttl(
    store: MemoryStore,
) -> None:
    user = a_guest()

    store.create_user(user)
    store.create_user(user)
    note_activity(store, user, only_session(user), NOW)
    assert store.ttl_writes == 1
    note_activity(store, user, only_session(user), NOW + DAY)
    assert store.ttl_writes == 2

    linked = a_linked_user(store)  # this user was created with a TTL
    note_activity(store, linked, only_session(linked), NOW + DAY)
    assert store.ttl_writes == 3
