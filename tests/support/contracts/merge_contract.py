"""Tests of every store's part in merges: one write for user, guest and marks."""

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from anonauth.domain.users import (
    MOST_FORMER_IDS,
    MOST_SESSIONS,
    DeletionMark,
    Session,
    User,
    UserFilter,
)
from support.contracts.identity_contract import (
    IN_60_DAYS,
    a_foreign_identity,
    a_linked_user,
    a_stored_guest,
    changed,
    gone,
    link,
    read,
)
from support.contracts.store_contract import (
    APP,
    NOW,
    SECOND,
    AnyStore,
    a_session,
    claims_of,
    only_session,
)


def a_login_of(user: User) -> Session:
    """Return a session that the user's last identity is about to open."""
    identity = user.identities[-1]
    return replace(
        a_session(expires_at=IN_60_DAYS),
        provider=identity.provider,
        identity_key=identity.key,
    )


def absorb(
    store: AnyStore, user: User, guest: User, session: Session | None = None
) -> bool:
    opened = session or a_login_of(user)
    ended = user.sessions_to_end(opened, NOW)
    return store.absorb_guest(user, opened, ended, guest, only_session(guest), NOW)


def a_user_with_guests(store: AnyStore, number: int) -> User:
    """Return a permanent user that so many guests were merged into."""
    user = a_linked_user(store)
    for _ in range(number):
        assert absorb(store, user, a_stored_guest(store))
        user = read(store, user)
    return user


def logged_out(store: AnyStore, guest: User) -> None:
    assert store.end_session(claims_of(guest), NOW)


def linked(store: AnyStore, guest: User) -> None:
    assert link(store, guest, a_foreign_identity())


def merged_elsewhere(store: AnyStore, guest: User) -> None:
    assert absorb(store, a_linked_user(store), guest)


NO_LONGER_A_GUEST: list[Callable[[AnyStore, User], None]] = [
    logged_out,
    linked,
    merged_elsewhere,
]


class MergeContract:
    """Inherit, and provide `store`."""

    def test_given_a_guest_when_merged_then_only_its_id_and_its_mark_are_left(
        self, store: AnyStore
    ) -> None:
        user, guest = a_linked_user(store), a_stored_guest(store)
        session = a_login_of(user)

        assert absorb(store, user, guest, session)

        assert store.get_user(APP, guest.id) is None
        stored = read(store, user)
        assert stored == replace(
            user,
            version=user.version + 1,
            former_ids=(guest.id,),
            sessions={**user.sessions, session.id: session},
        )
        assert store.get_mark(APP, guest.id) == DeletionMark(
            "merged",
            into=user.id,
            provider="custom-token",
            token_hash=only_session(guest).token_hash,
        )
        assert store.get_mark(APP, user.id) is None

    @pytest.mark.parametrize("change", [gone, changed])
    def test_given_a_stale_read_of_the_user_when_merged_then_nothing_is_written(
        self, store: AnyStore, change: Callable[[AnyStore, User], User]
    ) -> None:
        guest = a_stored_guest(store)
        user = change(store, a_linked_user(store))

        assert not absorb(store, user, guest)

        assert read(store, guest) == guest
        assert store.get_mark(APP, guest.id) is None
        left = store.get_user(APP, user.id)
        assert left is None or not left.former_ids

    @pytest.mark.parametrize("change", NO_LONGER_A_GUEST)
    def test_given_a_guest_that_is_none_any_more_when_merged_then_nothing_is_written(
        self, store: AnyStore, change: Callable[[AnyStore, User], None]
    ) -> None:
        user, guest = a_linked_user(store), a_stored_guest(store)
        change(store, guest)
        left, mark = store.get_user(APP, guest.id), store.get_mark(APP, guest.id)

        assert not absorb(store, user, guest)

        assert read(store, user) == user
        assert store.get_user(APP, guest.id) == left
        assert store.get_mark(APP, guest.id) == mark

    def test_given_a_guest_when_merged_in_its_last_second_then_it_is_in_time(
        self, store: AnyStore
    ) -> None:
        guest = a_stored_guest(store)
        assert guest.expires_at is not None
        user = a_linked_user(store)
        session = only_session(guest)
        late = guest.expires_at

        def absorb_at(now: object) -> bool:
            return store.absorb_guest(user, a_login_of(user), [], guest, session, now)  # type: ignore[arg-type]

        assert not absorb_at(late)
        assert absorb_at(late - SECOND)

    def test_given_as_many_sessions_as_can_be_when_merged_then_one_must_end(
        self, store: AnyStore
    ) -> None:
        user, guest = a_linked_user(store), a_stored_guest(store)
        while len(user.sessions) < MOST_SESSIONS:
            assert store.open_session(user, a_login_of(user), [], NOW)
            user = read(store, user)
        session = a_login_of(user)

        assert not store.absorb_guest(
            user, session, [], guest, only_session(guest), NOW
        )
        assert absorb(store, user, guest, session)

        stored = read(store, user)
        assert len(stored.sessions) == MOST_SESSIONS
        assert session.id in stored.sessions
        assert stored.former_ids == (guest.id,)

    def test_given_as_many_former_ids_as_can_be_when_merged_then_the_oldest_falls_off(
        self, store: AnyStore
    ) -> None:
        user = a_user_with_guests(store, MOST_FORMER_IDS)
        oldest, *others = user.former_ids
        before = store.get_mark(APP, oldest)
        guest = a_stored_guest(store)

        assert absorb(store, user, guest)

        assert read(store, user).former_ids == (*others, guest.id)
        mark = store.get_mark(APP, guest.id)
        assert mark is not None
        assert mark.dropped == oldest
        assert store.get_mark(APP, oldest) == before  # it only expires from now on

    def test_given_a_user_with_former_ids_when_deleted_then_their_marks_stay(
        self, store: AnyStore
    ) -> None:
        user = a_user_with_guests(store, 2)
        before = [store.get_mark(APP, former) for former in user.former_ids]
        session = next(iter(user.sessions.values()))

        assert store.delete_user(user, session, NOW)

        assert store.get_mark(APP, user.id) == DeletionMark("requested")
        after = [store.get_mark(APP, former) for former in user.former_ids]
        assert after == before

    def test_given_a_lost_mark_of_a_former_id_when_its_user_is_deleted_then_it_is_back(
        self, store: AnyStore
    ) -> None:
        """This happens after a partial restore."""
        lost = secrets.token_hex(12)
        user = replace(a_linked_user(store), former_ids=(lost,))

        assert store.delete_user(user, only_session(user), NOW)

        assert store.get_mark(APP, lost) == DeletionMark("merged", into=user.id)

    def test_given_merges_when_scanned_then_each_guest_that_a_user_lists_is_told(
        self, store: AnyStore
    ) -> None:
        user = a_user_with_guests(store, MOST_FORMER_IDS + 1)
        requested = gone(store, a_linked_user(store))

        page = store.scan_users(0, 1, "", UserFilter(with_owners=True))

        told = {merge.guest_id: merge.into for merge in page.merges}
        assert {g for g, into in told.items() if into == user.id} == {*user.former_ids}
        assert requested.id not in told

    def test_given_a_user_that_is_gone_when_a_guest_is_merged_then_it_stays(
        self, store: AnyStore
    ) -> None:
        guest = a_stored_guest(store)

        assert not absorb(store, gone(store, a_linked_user(store)), guest)

        assert read(store, guest) == guest
