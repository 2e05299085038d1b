"""Tests of every `RestoreStore`: reading users and records, and writing them back.

They run on moto, on real engines and in memory. Each test makes its own users.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from anonauth.domain.identities import IdentityRecord
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import DeletionMark, User, UserFilter
from anonauth.ports import RestoreStore
from anonauth.store import Store
from anonauth.store.items import gone_pk
from support.contracts.identity_contract import (
    a_foreign_identity,
    a_linked_user,
    a_pending_account,
    a_stored_guest,
    a_user_with_account,
    an_account,
    an_api_key,
    changed,
    lose,
    read,
)
from support.contracts.merge_contract import a_user_with_guests
from support.contracts.overview_contract import found
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    SECOND,
    AnyStore,
    a_guest,
    only_session,
)
from support.memory_store import MemoryStore


class AnyRestoreStore(AnyStore, RestoreStore):
    """A store of every kind, and what a restore needs."""


def a_bound_record(user: User, **fields: object) -> IdentityRecord:
    record = an_account(state="bound", user_id=user.id, expires_at=None)
    return replace(record, **fields)  # type: ignore[arg-type]


def name_of(record: IdentityRecord) -> tuple[str, str, str]:
    return (record.app, record.provider, record.key)


def a_lost_user(user: User | None = None) -> User:
    """Return a user that is not stored, as a restore writes it."""
    return replace(user or a_guest(), restored_at=NOW)


def put(store: AnyRestoreStore, record: IdentityRecord) -> IdentityRecord:
    """Store a bound record, as of a live user."""
    owner = a_lost_user(replace(a_guest(), id=record.user_id or ""))
    assert store.restore_user(owner, [record], [], NOW)
    lose(store, owner)
    return record


def remove_mark(store: AnyRestoreStore, user_id: str) -> None:
    if isinstance(store, Store):
        store._gone_item(gone_pk(APP, user_id)).delete()
    else:
        assert isinstance(store, MemoryStore)
        del store.gone[APP, user_id]


class RestoreContract:
    """Inherit, and provide `store`."""

    def test_given_a_whole_scan_when_users_are_read_then_they_have_everything(
        self, store: AnyRestoreStore
    ) -> None:
        guest, linked = a_stored_guest(store), a_linked_user(store)
        key = an_api_key()
        assert store.create_api_key(linked, only_session(linked), key, NOW)

        scanned = found(store, UserFilter(whole=True), 1)

        assert scanned[guest.id] == guest
        assert scanned[linked.id] == read(store, linked)
        assert scanned[linked.id].api_keys == {key.id: key}
        assert scanned[linked.id].sessions == linked.sessions

    def test_given_names_when_users_are_read_then_only_those_there_are_returned(
        self, store: AnyRestoreStore
    ) -> None:
        expired = a_guest(NOW - 200 * DAY)
        store.create_user(expired)
        guests = [a_stored_guest(store) for _ in range(3)]
        missing = [(APP, f"{number:024x}") for number in range(120)]
        there = [(user.app, user.id) for user in (expired, *guests)]

        told = store.get_users([*missing, *there, ("other-fghij", guests[0].id)])

        assert told == dict(zip(there, (expired, *guests), strict=True))
        assert store.get_users([]) == {}

    def test_given_names_when_records_are_read_then_only_those_there_are_returned(
        self, store: AnyRestoreStore
    ) -> None:
        user, account = a_user_with_account(store, a_foreign_identity())
        key = an_api_key()
        assert store.create_api_key(user, only_session(user), key, NOW)
        pending = a_pending_account()
        assert store.register(pending, NOW)
        others = [
            (APP, each.provider, each.key)
            for each in user.usable_identities()
            if each.key != account.key
        ]

        told = store.get_records(
            [
                *[(APP, "custom-token", str(number)) for number in range(120)],
                *[name_of(account), name_of(pending), (APP, API_KEY, key.hash)],
                *others,
            ]
        )

        assert len(told) == 4
        assert told[name_of(account)] == account
        assert told[name_of(pending)] == pending
        of_key = told[APP, API_KEY, key.hash]
        assert of_key is not None
        assert (of_key.id, of_key.user_id) == (key.id, user.id)
        assert store.get_records([]) == {}

    def test_given_a_lost_user_when_restored_then_it_is_there_with_its_records(
        self, store: AnyRestoreStore
    ) -> None:
        user = a_lost_user()
        records = [a_bound_record(user), a_bound_record(user, provider=API_KEY)]

        assert store.restore_user(user, records, [], NOW)

        assert store.get_user(APP, user.id) == user
        assert store.get_records([name_of(each) for each in records]) == {
            name_of(each): each for each in records
        }

    def test_given_a_user_that_is_there_when_restored_then_nothing_is_written(
        self, store: AnyRestoreStore
    ) -> None:
        user = a_stored_guest(store)
        record = a_bound_record(user)

        assert not store.restore_user(
            replace(a_lost_user(user), restored_at=NOW + SECOND), [record], [], NOW
        )

        assert store.get_user(APP, user.id) == user
        assert store.get_records([name_of(record)]) == {}

    def test_given_a_user_with_former_ids_when_restored_then_their_marks_are_back(
        self, store: AnyRestoreStore
    ) -> None:
        """One mark was lost with the table, and one is still there."""
        user = a_user_with_guests(store, 2)
        lost, kept = user.former_ids
        remove_mark(store, lost)
        before = store.get_mark(APP, kept)
        lose(store, user)

        assert store.restore_user(a_lost_user(user), [a_bound_record(user)], [], NOW)

        assert read(store, user).former_ids == user.former_ids
        assert store.get_mark(APP, lost) == DeletionMark("merged", into=user.id)
        assert store.get_mark(APP, kept) == before

    def test_given_a_former_id_of_a_live_user_when_restored_then_nothing_is_written(
        self, store: AnyRestoreStore
    ) -> None:
        user = a_lost_user(replace(a_guest(), former_ids=(a_stored_guest(store).id,)))

        assert not store.restore_user(user, [a_bound_record(user)], [], NOW)

        assert store.get_user(APP, user.id) is None
        assert store.get_mark(APP, user.former_ids[0]) is None

    def test_given_a_deletion_mark_when_restored_then_the_user_stays_gone(
        self, store: AnyRestoreStore
    ) -> None:
        user = a_linked_user(store)
        assert store.delete_user(user, only_session(user), NOW)
        record = a_bound_record(user)

        assert not store.restore_user(a_lost_user(user), [record], [], NOW)

        assert store.get_user(APP, user.id) is None
        assert store.get_records([name_of(record)]) == {}
        assert store.marks_of([user]).keys() == {(APP, user.id)}

    @pytest.mark.parametrize(
        "record",
        [
            pytest.param(an_account, id="unclaimed"),
            pytest.param(lambda: an_account(expires_at=NOW + SECOND), id="in time"),
            pytest.param(a_pending_account, id="pending"),
        ],
    )
    def test_given_a_record_that_is_there_when_restored_then_nothing_is_written(
        self, store: AnyRestoreStore, record: Callable[[], IdentityRecord]
    ) -> None:
        there, user = record(), a_lost_user()
        assert store.register(there, NOW)
        other = a_bound_record(user)

        assert not store.restore_user(
            user, [other, a_bound_record(user, key=there.key)], [], NOW
        )

        assert store.get_user(APP, user.id) is None
        assert store.get_records([name_of(there), name_of(other)]) == {
            name_of(there): there
        }

    def test_given_a_record_of_another_user_when_restored_then_it_stays(
        self, store: AnyRestoreStore
    ) -> None:
        _, account = a_user_with_account(store)
        user = a_lost_user()

        assert not store.restore_user(
            user, [a_bound_record(user, key=account.key)], [], NOW
        )

        assert store.get_records([name_of(account)]) == {name_of(account): account}

    def test_given_an_expired_record_when_restored_then_it_is_replaced(
        self, store: AnyRestoreStore
    ) -> None:
        there, user = an_account(expires_at=NOW), a_lost_user()
        assert store.register(there, NOW - SECOND)
        record = a_bound_record(user, key=there.key)

        assert store.restore_user(user, [record], [], NOW)

        assert store.get_records([name_of(record)]) == {name_of(record): record}

    @pytest.mark.parametrize(
        ("fields", "is_restored"),
        [
            pytest.param({}, True, id="as read"),
            pytest.param({"version": 2}, False, id="another version"),
            pytest.param({"id": "another"}, False, id="made again"),
            pytest.param({"key": "another"}, False, id="gone"),
        ],
    )
    def test_given_a_kept_record_when_a_user_is_restored_then_it_must_be_as_read(
        self, store: AnyRestoreStore, fields: dict[str, object], is_restored: bool
    ) -> None:
        user = a_lost_user()
        kept = put(store, a_bound_record(user))

        done = store.restore_user(user, [], [replace(kept, **fields)], NOW)  # type: ignore[arg-type]

        assert done is is_restored
        assert store.get_user(APP, user.id) == (user if is_restored else None)
        assert store.get_records([name_of(kept)]) == {name_of(kept): kept}

    def test_given_a_kept_record_of_another_user_when_restored_then_nothing_is_written(
        self, store: AnyRestoreStore
    ) -> None:
        kept, user = put(store, a_bound_record(a_guest())), a_lost_user()

        assert not store.restore_user(user, [], [kept], NOW)

        assert store.get_user(APP, user.id) is None

    def test_given_a_live_user_when_its_record_is_restored_then_it_is_there(
        self, store: AnyRestoreStore
    ) -> None:
        user = a_linked_user(store)
        record = a_bound_record(user)

        assert store.restore_records(user, [record], NOW)

        assert store.get_user(APP, user.id) == user
        assert store.get_records([name_of(record)]) == {name_of(record): record}

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(changed, id="linked again"),
            pytest.param(
                lambda store, user: store.delete_user(user, only_session(user), NOW),
                id="deleted",
            ),
        ],
    )
    def test_given_a_user_that_has_changed_when_its_record_is_restored_then_it_is_not(
        self,
        store: AnyRestoreStore,
        change: Callable[[AnyRestoreStore, User], object],
    ) -> None:
        user = a_linked_user(store)
        change(store, user)
        record = a_bound_record(user)

        assert not store.restore_records(user, [record], NOW)

        assert store.get_records([name_of(record)]) == {}

    def test_given_a_record_that_came_meanwhile_when_restored_then_it_stays(
        self, store: AnyRestoreStore
    ) -> None:
        user, there = a_linked_user(store), an_account()
        assert store.register(there, NOW)
        other = a_bound_record(user)
        records = [other, a_bound_record(user, key=there.key)]

        assert not store.restore_records(user, records, NOW)

        assert store.get_records([name_of(there), name_of(other)]) == {
            name_of(there): there
        }
