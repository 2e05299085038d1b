"""Tests of every `OverviewStore`: all users, page by page, and their display data.

They run on moto, on real engines and in memory. Each test makes its own users, in its
own app.
"""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from anonauth.domain.budgets import Counter
from anonauth.domain.signing_keys import (
    Ring,
)
from anonauth.domain.users import User, UserFilter, UserPage
from support.contracts.identity_contract import (
    a_linked_user,
    a_pending_account,
    a_user_with_account,
)
from support.contracts.store_contract import (
    DAY,
    NOW,
    SECOND,
    AnyStore,
    a_guest,
    a_key_hash,
    a_permanent_user,
    a_session,
    claims_of,
    only_session,
)

SEGMENTS = 3


def pages(
    store: AnyStore, wanted: UserFilter, segments: int = SEGMENTS
) -> Iterator[UserPage]:
    """Yield all pages, segment by segment."""
    for segment in range(segments):
        after: str | None = ""
        while after is not None:
            page = store.scan_users(segment, segments, after, wanted)
            assert page.position is None or page.position > ""
            assert page.position != after  # else the scan would never end
            assert page.read >= len(page.users)
            assert page.unreadable == 0
            after = page.position
            yield page


def found(
    store: AnyStore, wanted: UserFilter, segments: int = SEGMENTS
) -> dict[str, User]:
    users = [u for page in pages(store, wanted, segments) for u in page.users]
    assert len({(user.app, user.id) for user in users}) == len(users)  # each once
    return {user.id: user for user in users}


class OverviewContract:
    """Inherit, and provide `store`."""

    @pytest.fixture
    def app(self) -> str:
        return f"app-{secrets.token_hex(4)}"

    def test_given_users_when_scanned_then_each_is_there_without_its_sessions(
        self, store: AnyStore, app: str
    ) -> None:
        users = [replace(a_guest(), app=app) for _ in range(7)]
        users.append(replace(a_permanent_user(a_session()), app=app))
        for user in users:
            store.create_user(user)

        scanned = found(store, UserFilter(app=app))

        assert scanned == {user.id: replace(user, sessions={}) for user in users}
        assert found(store, UserFilter(app=app), segments=1) == scanned

    def test_given_no_filter_when_scanned_then_users_of_every_app_are_there(
        self, store: AnyStore, app: str
    ) -> None:
        """An app whose name begins with another app's name is a different app."""
        guests = [replace(a_guest(), app=name) for name in (app, f"{app}2")]
        for guest in guests:
            store.create_user(guest)

        assert {guest.id for guest in guests} <= found(store, UserFilter()).keys()
        assert list(found(store, UserFilter(app=app))) == [guests[0].id]

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            pytest.param({"anonymous": True}, {"old", "new"}, id="anonymous"),
            pytest.param({"anonymous": False}, {"linked"}, id="permanent"),
            pytest.param({"created_from": NOW}, {"new", "linked"}, id="from their day"),
            pytest.param({"created_from": NOW + SECOND}, set(), id="a second later"),
            pytest.param(
                {"anonymous": True, "created_from": NOW}, {"new"}, id="both at once"
            ),
        ],
    )
    def test_given_a_filter_when_scanned_then_only_those_are_there(
        self,
        store: AnyStore,
        app: str,
        wanted: dict[str, object],
        expected: set[str],
    ) -> None:
        users = {
            "old": replace(a_guest(NOW - SECOND), app=app),
            "new": replace(a_guest(), app=app),
            "linked": replace(a_permanent_user(), app=app),
        }
        for user in users.values():
            store.create_user(user)

        scanned = found(store, UserFilter(app=app, **wanted))  # type: ignore[arg-type]

        assert {n for n, user in users.items() if user.id in scanned} == expected

    def test_given_an_expired_guest_when_scanned_then_it_waits_for_the_sweep(
        self, store: AnyStore, app: str
    ) -> None:
        guest = replace(a_guest(NOW - 200 * DAY), app=app)
        store.create_user(guest)

        assert found(store, UserFilter(app=app))[guest.id].is_expired(NOW)

    def test_given_items_of_other_kinds_when_scanned_then_only_users_are_there(
        self, store: AnyStore
    ) -> None:
        linked, gone = a_linked_user(store), a_guest()
        store.create_user(gone)
        store.delete_user(gone, only_session(gone), NOW)
        assert store.register(a_pending_account(), NOW)
        by_key, key_hash = a_guest(), a_key_hash()
        assert store.create_user_once(by_key, key_hash, NOW, until=NOW + DAY)
        assert store.end_session(claims_of(by_key), NOW)
        store.count(Counter(f"USER#{gone.id}", 1, NOW + DAY))
        if store.load_ring() is None:
            store.save_ring(Ring(0, ()))

        scanned = found(store, UserFilter())

        assert scanned[linked.id] == replace(linked, sessions={}, api_keys={})
        assert not {gone.id, by_key.id} & scanned.keys()
        wanted = UserFilter(with_owners=True)
        owners = {
            owner[1]
            for page in pages(store, wanted, segments=1)
            for owner in page.owners
        }
        assert linked.id in owners
        assert by_key.id not in owners
        assert all(len(user_id) == 24 for user_id in scanned)

    def test_given_users_when_their_data_is_read_then_it_is_in_their_order(
        self, store: AnyStore
    ) -> None:
        guest, linked = a_guest(), a_linked_user(store)
        with_account, account = a_user_with_account(store)
        missing = replace(linked, app="other-fghij")

        data = store.get_data_of([guest, linked, with_account, missing])

        assert [list(map(dict, of_user)) for of_user in data] == [
            [{}],
            [{}, {"name": "Ada"}],
            [{}] * (len(with_account.identities) - 1) + [dict(account.data)],
            [{}, {}],
        ]
        assert store.get_data_of([]) == []

    def test_given_more_than_a_batch_when_data_is_read_then_nothing_is_left_out(
        self, store: AnyStore
    ) -> None:
        """DynamoDB takes 100 keys in a call."""
        linked = a_linked_user(store)
        missing = [replace(linked, app=f"app-{number}") for number in range(100)]

        data = store.get_data_of([*missing, linked])

        assert [dict(of_user[1]) for of_user in data] == [*[{}] * 100, {"name": "Ada"}]
