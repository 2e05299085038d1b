"""Tests of every store's part in events: the search for expiring users, and marks.

They run on moto and on real engines. A subclass provides the fixture `store`. Each test
makes its own users and ignores all others; only the scan's item is shared.
"""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from anonauth.domain.budgets import Counter
from anonauth.domain.events import ExpiryScan
from anonauth.domain.signing_keys import (
    Ring,
)
from anonauth.domain.users import DeletionMark, Device, User
from anonauth.store import Store
from anonauth.store.items import UserItem
from support.contracts.identity_contract import (
    a_foreign_identity,
    a_linked_user,
    a_pending_account,
    a_user_with_account,
    an_account,
    link,
)
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    SECOND,
    a_guest,
    a_permanent_user,
    a_session,
    claims_of,
    only_session,
)

UNTIL = NOW + 15 * DAY

SEGMENTS = 4

MOST_IN_PAGE = 1_000_000  # bytes; AWS reads 2**20, moto less
ITEM_BYTES = 300_000  # an item may have 400 KB


def a_guest_until(expires_at: datetime, **fields: object) -> User:
    return replace(a_guest(), expires_at=expires_at, **fields)  # type: ignore[arg-type]


def pages(
    store: Store,
    segment: int = 0,
    segments: int = 1,
    *,
    now: datetime = NOW,
    until: datetime = UNTIL,
) -> Iterator[list[User]]:
    """Yield the users found in one segment, page by page to the end."""
    after: str | None = ""
    been: set[str] = set()
    while after is not None:
        assert after not in been  # else the scan would never end
        been.add(after)
        page = store.scan_expiring(segment, segments, after, now=now, until=until)
        assert isinstance(page.units, float)
        assert page.units >= 0
        assert page.unreadable == 0
        after = page.position
        yield list(page.users)


def scan(
    store: Store,
    segments: int = 1,
    *,
    now: datetime = NOW,
    until: datetime = UNTIL,
) -> list[User]:
    return [
        user
        for segment in range(segments)
        for page in pages(store, segment, segments, now=now, until=until)
        for user in page
    ]


def ids(users: Iterable[User]) -> set[str]:
    return {user.id for user in users}


class ExpiringContract:
    """Inherit, and provide `store`."""

    @pytest.mark.parametrize(
        ("expires_at", "is_found"),
        [
            pytest.param(NOW - SECOND, False, id="has expired"),
            pytest.param(NOW, False, id="expires now"),
            pytest.param(NOW + SECOND, True, id="expires in a second"),
            pytest.param(UNTIL - SECOND, True, id="a second before the end"),
            pytest.param(UNTIL, False, id="at the end"),
            pytest.param(UNTIL + SECOND, False, id="after the end"),
        ],
    )
    def test_given_a_guest_when_scanned_then_its_expiry_decides(
        self, store: Store, expires_at: datetime, is_found: bool
    ) -> None:
        guest = a_guest_until(expires_at)
        store.create_user(guest)

        found = scan(store, SEGMENTS)

        assert (guest.id in ids(found)) == is_found

    def test_given_a_guest_when_scanned_then_it_is_whole_but_for_its_sessions(
        self, store: Store
    ) -> None:
        guest = a_guest_until(NOW + DAY)
        store.create_user(guest)

        found = {user.id: user for user in scan(store)}

        assert found[guest.id] == replace(guest, sessions={}, api_keys={})

    def test_given_two_apps_when_scanned_then_each_user_is_of_its_own(
        self, store: Store
    ) -> None:
        guest = a_guest_until(NOW + DAY)
        twin = replace(guest, app="other-fghij")
        store.create_user(guest)
        store.create_user(twin)

        found = [user.app for user in scan(store, SEGMENTS) if user.id == guest.id]

        assert sorted(found) == [APP, "other-fghij"]

    def test_given_permanent_users_when_scanned_then_none_is_found(
        self, store: Store
    ) -> None:
        session = a_session(expires_at=NOW + DAY)
        permanent = a_permanent_user(session)
        store.create_user(permanent)
        linked = a_linked_user(store)
        with_account, _ = a_user_with_account(store)

        found = ids(scan(store, until=NOW + 1000 * DAY))

        assert not found & ids([permanent, linked, with_account])

    def test_given_a_permanent_user_with_an_expiry_when_scanned_then_it_is_not_found(
        self, store: Store
    ) -> None:
        """It should have no expiry. If it has one, its user must not be alarmed."""
        broken = replace(a_permanent_user(a_session()), expires_at=NOW + DAY)
        store.create_user(broken)

        assert broken.id not in ids(scan(store))

    def test_given_a_guest_that_is_not_active_when_scanned_then_it_is_not_found(
        self, store: Store
    ) -> None:
        guest = a_guest_until(NOW + DAY)
        store.create_user(guest)
        item = store._user_item(f"USER#{APP}#{guest.id}")
        item.update([UserItem.state.set("disabled")])

        assert guest.id not in ids(scan(store))

    def test_given_a_guest_that_is_linked_when_scanned_then_it_is_not_found(
        self, store: Store
    ) -> None:
        guest = a_guest_until(NOW + DAY)
        store.create_user(guest)
        before = ids(scan(store))
        assert link(store, guest, a_foreign_identity())

        after = ids(scan(store))

        assert guest.id in before
        assert guest.id not in after

    def test_given_items_of_other_kinds_when_scanned_then_only_guests_are_found(
        self, store: Store
    ) -> None:
        """Some of these expire in the same days: pending accounts, counters, marks."""
        guest, requested = (a_guest_until(NOW + 2 * DAY) for _ in range(2))
        store.create_user(guest)
        store.create_user(requested)
        store.delete_user(requested, only_session(requested), NOW)
        pending = a_pending_account(expires_at=NOW + DAY)
        assert store.register(pending, NOW)
        assert store.register(an_account(expires_at=NOW + DAY), NOW)
        store.count(Counter(f"USER#{guest.id}", 1, NOW + DAY))
        store.save_ring(Ring(0, ()))
        store.save_expiry_scan(next_scan(store))

        found = scan(store, SEGMENTS)

        assert guest.id in ids(found)
        assert requested.id not in ids(found)
        assert all(user.anonymous and len(user.id) == 24 for user in found)
        assert all(user.app in {APP, "other-fghij"} for user in found)

    def test_given_more_than_a_page_when_scanned_then_segments_share_all_of_it(
        self, store: Store
    ) -> None:
        guests = [a_big_guest() for _ in range(16)]
        for guest in guests:
            store.create_user(guest)
        assert len(guests) * ITEM_BYTES > SEGMENTS * MOST_IN_PAGE

        read = [list(pages(store, number, SEGMENTS)) for number in range(SEGMENTS)]

        found = [
            user.id
            for segment in read
            for page in segment
            for user in page
            if user.id in ids(guests)
        ]
        assert sorted(found) == sorted(ids(guests))  # each once
        assert max(len(segment) for segment in read) > 1

    @pytest.mark.parametrize("since", [None, (NOW - 3 * DAY).date()])
    @pytest.mark.parametrize(
        "positions",
        [
            pytest.param({}, id="at its end"),
            pytest.param(dict.fromkeys(range(SEGMENTS), ""), id="at its beginning"),
            pytest.param(
                {0: f"USER#{APP}#{'0' * 24}", 3: "IDENT#a#b#c"}, id="in the middle"
            ),
        ],
    )
    def test_given_a_scan_when_saved_then_it_reads_back_whole(
        self, store: Store, since: date | None, positions: dict[int, str]
    ) -> None:
        scan = replace(next_scan(store), since=since, positions=positions)

        assert store.save_expiry_scan(scan)

        assert store.load_expiry_scan() == scan

    @pytest.mark.parametrize(
        "ahead", [pytest.param(0, id="the same"), pytest.param(2, id="one left out")]
    )
    def test_given_a_scan_that_moved_on_when_saved_then_it_stays(
        self, store: Store, ahead: int
    ) -> None:
        first = next_scan(store)
        assert store.save_expiry_scan(first)
        late = replace(first, version=first.version + ahead, positions={1: "USER#x"})

        assert not store.save_expiry_scan(late)

        assert store.load_expiry_scan() == first
        assert store.save_expiry_scan(next_scan(store))


def next_scan(store: Store) -> ExpiryScan:
    """Return the scan that may be saved next; all tests on a table share its item."""
    before = store.load_expiry_scan()
    version = 0 if before is None else before.version + 1
    return ExpiryScan(version, None, NOW.date(), {0: "", 1: f"USER#{APP}#a"})


def a_big_guest() -> User:
    guest = a_guest_until(NOW + timedelta(days=7))
    session = only_session(guest)
    device = Device("d" * 24, {"platform": "x" * ITEM_BYTES})
    return replace(guest, sessions={session.id: replace(session, device=device)})


class RequestedContract:
    """Inherit, and provide `store`."""

    def test_given_users_that_are_gone_then_the_marks_tell_who_asked_for_it(
        self, store: Store
    ) -> None:
        requested, logged_out = a_guest(), a_guest()
        for user in (requested, logged_out):
            store.create_user(user)
        store.delete_user(requested, only_session(requested), NOW)
        store.end_session(claims_of(logged_out), NOW)

        found = store.marks_of([logged_out, requested])

        assert found == {(APP, requested.id): DeletionMark("requested")}

    def test_given_a_permanent_user_that_asked_for_it_then_its_mark_is_found(
        self, store: Store
    ) -> None:
        user = a_linked_user(store)
        store.delete_user(user, only_session(user), NOW)

        assert store.marks_of([user]).keys() == {(APP, user.id)}

    def test_given_the_same_id_in_another_app_then_its_user_has_not_asked(
        self, store: Store
    ) -> None:
        user = a_guest()
        store.create_user(user)
        store.delete_user(user, only_session(user), NOW)
        twin = replace(user, app="other-fghij")

        assert store.marks_of([twin]) == {}
        assert store.marks_of([twin, user]).keys() == {(APP, user.id)}

    def test_given_nobody_then_nobody_has_asked(self, store: Store) -> None:
        assert store.marks_of([]) == {}

    def test_given_a_user_twice_then_one_call_is_enough(self, store: Store) -> None:
        """DynamoDB refuses a BatchGetItem that names a key twice."""
        user = a_guest()
        store.create_user(user)
        store.delete_user(user, only_session(user), NOW)

        assert store.marks_of([user, user]).keys() == {(APP, user.id)}

    def test_given_a_batch_of_a_hundred_then_all_marks_are_found(
        self, store: Store
    ) -> None:
        asked = [replace(a_guest(), id=secrets.token_hex(12)) for _ in range(3)]
        for user in asked:
            store.create_user(user)
            store.delete_user(user, only_session(user), NOW)
        others = [a_guest() for _ in range(97)]

        found = store.marks_of([*others, *asked])

        assert found.keys() == {(APP, user.id) for user in asked}
