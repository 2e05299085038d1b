"""Tests of every `UserStore` and `RingStore`, run on moto, real engines and in memory.

A subclass provides the fixture `store`. No test depends on other items in the table:
each makes its own users.
"""

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from anonauth.domain.claims import RefreshClaims
from anonauth.domain.expiry import SessionLimits, expiry_after
from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS
from anonauth.domain.signing_keys import (
    Ring,
    RingKey,
)
from anonauth.domain.users import Device, Session, User
from anonauth.ports import (
    AccountStore,
    ApiKeyStore,
    IdentityStore,
    OverviewStore,
    RingStore,
    UserStore,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
APP = "myapp-abcde"


class AnyStore(
    UserStore,
    IdentityStore,
    AccountStore,
    ApiKeyStore,
    OverviewStore,
    RingStore,
    Protocol,
):
    """The union of the ports that are stores: the real one, and the one in memory."""


def a_session(now: datetime = NOW, expires_at: datetime | None = None) -> Session:
    return Session(
        id=secrets.token_hex(12),
        token_hash=secrets.token_urlsafe(32),
        provider=ANONYMOUS,
        created_at=now,
        used_day=now.date(),
        device=Device("d" * 24, {"platform": "node"}),
        expires_at=expires_at,
    )


def a_guest(now: datetime = NOW) -> User:
    session = a_session(now)
    return User(
        app=APP,
        id=secrets.token_hex(12),
        anonymous=True,
        version=1,
        created_at=now,
        last_active_day=now.date(),
        expires_at=expiry_after(now),
        sessions={session.id: session},
        identities=(Identity("i-x", ANONYMOUS),),
    )


def a_key_hash() -> str:
    return secrets.token_urlsafe(32)


def a_permanent_user(*sessions: Session) -> User:
    return replace(
        a_guest(),
        anonymous=False,
        expires_at=None,
        sessions={session.id: session for session in sessions},
    )


def only_session(user: User) -> Session:
    (session,) = user.sessions.values()
    return session


def note_activity(store: AnyStore, user: User, session: Session, now: datetime) -> bool:
    """Record a use as a refresh does, with an idle time of 60 days."""
    limits = SessionLimits(idle=60 * DAY, total=1825 * DAY)
    expires_at = (
        expiry_after(now) if user.anonymous else limits.expiry(session.created_at, now)
    )
    return store.record_activity(user, session, now, expires_at=expires_at)


def claims_of(user: User, session: Session | None = None) -> RefreshClaims:
    session = session or only_session(user)
    return RefreshClaims(user.app, user.id, session.id, session.token_hash)


class StoreContract:
    """Inherit, and provide `store`."""

    def test_given_a_new_user_when_created_then_it_reads_back_whole(
        self, store: AnyStore
    ) -> None:
        user = a_guest()

        assert store.create_user(user)

        assert store.get_user(APP, user.id) == user

    def test_given_fractions_of_a_second_when_stored_then_they_are_dropped(
        self, store: AnyStore
    ) -> None:
        session = a_session(NOW, expires_at=NOW + 60 * DAY)
        user = a_permanent_user(session)
        fraction = 0.9 * SECOND
        exact = replace(
            session,
            created_at=NOW + fraction,
            expires_at=NOW + 60 * DAY + fraction,
        )

        assert store.create_user(
            replace(user, created_at=NOW + fraction, sessions={exact.id: exact})
        )

        assert store.get_user(APP, user.id) == user
        end = NOW + 60 * DAY
        assert not store.end_session(claims_of(user), end)
        assert store.end_session(claims_of(user), end - 0.1 * SECOND)

    def test_given_an_id_that_is_taken_when_created_then_the_first_one_stays(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert not store.create_user(replace(a_guest(), id=user.id))

        assert store.get_user(APP, user.id) == user

    def test_given_a_login_key_when_it_makes_a_user_then_it_names_that_user(
        self, store: AnyStore
    ) -> None:
        user, key_hash = a_guest(), a_key_hash()
        assert store.get_user_id_of_key(APP, key_hash, NOW) is None

        assert store.create_user_once(user, key_hash, NOW, until=NOW + DAY)

        assert store.get_user(APP, user.id) == user
        assert store.get_user_id_of_key(APP, key_hash, NOW) == user.id
        assert store.get_user_id_of_key("other-fghij", key_hash, NOW) is None
        assert store.get_user_id_of_key(APP, a_key_hash(), NOW) is None

    def test_given_a_login_key_that_made_a_user_when_used_again_then_no_other_is_made(
        self, store: AnyStore
    ) -> None:
        """Even if its user is deleted: the second call may be late."""
        first, second, key_hash = a_guest(), a_guest(), a_key_hash()
        store.create_user_once(first, key_hash, NOW, until=NOW + DAY)
        store.end_session(claims_of(first), NOW)

        made = store.create_user_once(
            second, key_hash, NOW + DAY - SECOND, until=NOW + 2 * DAY
        )

        assert not made
        assert store.get_user(APP, second.id) is None
        last_second = NOW + DAY - SECOND
        assert store.get_user_id_of_key(APP, key_hash, last_second) == first.id

    def test_given_a_login_key_when_its_time_is_over_then_it_makes_another_user(
        self, store: AnyStore
    ) -> None:
        first, second, key_hash = a_guest(), a_guest(), a_key_hash()
        store.create_user_once(first, key_hash, NOW, until=NOW + DAY)
        assert store.get_user_id_of_key(APP, key_hash, NOW + DAY) is None

        assert store.create_user_once(second, key_hash, NOW + DAY, until=NOW + 2 * DAY)

        assert store.get_user_id_of_key(APP, key_hash, NOW + DAY) == second.id
        assert store.get_user(APP, first.id) == first
        assert store.get_user(APP, second.id) == second

    def test_given_a_fraction_of_a_second_when_a_login_key_ends_then_reads_agree(
        self, store: AnyStore
    ) -> None:
        """Otherwise a call could find the key taken, and nobody that it names."""
        key_hash, fraction = a_key_hash(), 0.9 * SECOND
        until = NOW + DAY + fraction
        store.create_user_once(a_guest(), key_hash, NOW + fraction, until=until)
        last = NOW + DAY - 0.1 * SECOND

        assert store.get_user_id_of_key(APP, key_hash, last) is not None
        assert not store.create_user_once(a_guest(), key_hash, last, until=until)
        assert store.get_user_id_of_key(APP, key_hash, NOW + DAY) is None
        assert store.create_user_once(a_guest(), key_hash, NOW + DAY, until=until)

    def test_given_an_id_that_is_taken_when_created_by_a_login_key_then_it_is_free(
        self, store: AnyStore
    ) -> None:
        user, key_hash = a_guest(), a_key_hash()
        store.create_user(user)
        same_id = replace(a_guest(), id=user.id)

        assert not store.create_user_once(same_id, key_hash, NOW, until=NOW + DAY)

        assert store.get_user(APP, user.id) == user
        assert store.get_user_id_of_key(APP, key_hash, NOW) is None

    def test_given_an_app_when_reading_then_users_of_another_are_not_there(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert store.get_user("other-fghij", user.id) is None
        assert store.get_user(APP, "0" * 24) is None

    def test_given_a_guest_when_active_on_a_new_day_then_its_expiry_moves(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert note_activity(store, user, only_session(user), NOW + DAY)

        after = store.get_user(APP, user.id)
        assert after is not None
        assert after.expires_at == expiry_after(NOW + DAY)
        assert after.last_active_day == (NOW + DAY).date()
        assert only_session(after).used_day == (NOW + DAY).date()
        assert after.version == user.version

    def test_given_a_day_that_was_noted_when_noted_again_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert not note_activity(store, user, only_session(user), NOW)
        assert note_activity(store, user, only_session(user), NOW + DAY)
        assert not note_activity(store, user, only_session(user), NOW + DAY)

    def test_given_an_expired_guest_when_active_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)
        assert user.expires_at is not None

        assert not note_activity(store, user, only_session(user), user.expires_at)
        assert store.get_user(APP, user.id) == user
        assert note_activity(store, user, only_session(user), user.expires_at - SECOND)

    def test_given_a_link_in_between_when_a_guest_is_active_then_it_stays_permanent(
        self, store: AnyStore
    ) -> None:
        """A write based on a stale read must not give a permanent user a TTL again."""
        guest = a_guest()
        linked = replace(guest, anonymous=False, expires_at=None, version=2)
        store.create_user(linked)

        assert not note_activity(store, guest, only_session(guest), NOW + DAY)

        assert store.get_user(APP, guest.id) == linked

    def test_given_a_permanent_user_when_active_then_no_expiry_is_written(
        self, store: AnyStore
    ) -> None:
        session = a_session(expires_at=NOW + 60 * DAY)
        user = a_permanent_user(session)
        store.create_user(user)

        assert note_activity(store, user, session, NOW + DAY)

        after = store.get_user(APP, user.id)
        assert after is not None
        assert after.expires_at is None
        assert only_session(after).used_day == (NOW + DAY).date()

    def test_given_another_token_when_active_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)
        stranger = replace(only_session(user), token_hash="another")

        assert not note_activity(store, user, stranger, NOW + DAY)
        assert store.get_user(APP, user.id) == user

    def test_given_a_session_that_is_gone_when_active_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        user = a_guest()

        assert not note_activity(store, user, only_session(user), NOW + DAY)
        assert store.get_user(APP, user.id) is None

    def test_given_a_guest_when_its_session_ends_then_it_is_deleted(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert store.end_session(claims_of(user), NOW)

        assert store.get_user(APP, user.id) is None
        assert not store.end_session(claims_of(user), NOW)

    def test_given_a_permanent_user_when_a_session_ends_then_only_that_is_gone(
        self, store: AnyStore
    ) -> None:
        ended, other = a_session(), a_session()
        user = a_permanent_user(ended, other)
        store.create_user(user)

        assert store.end_session(claims_of(user, ended), NOW)

        after = store.get_user(APP, user.id)
        assert after == replace(user, sessions={other.id: other})
        assert not store.end_session(claims_of(user, ended), NOW)

    def test_given_another_token_when_a_session_ends_then_it_does_not(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        claims = claims_of(user)._replace(token_hash="another")

        assert not store.end_session(claims, NOW)
        assert store.get_user(APP, user.id) == user

    def test_given_an_expired_guest_when_its_session_ends_then_it_waits_for_the_sweep(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)
        assert user.expires_at is not None

        assert not store.end_session(claims_of(user), user.expires_at)
        assert store.get_user(APP, user.id) == user
        assert store.end_session(claims_of(user), user.expires_at - SECOND)

    def test_given_an_expired_session_when_it_ends_then_it_counts_as_gone(
        self, store: AnyStore
    ) -> None:
        session = a_session(expires_at=NOW)
        user = a_permanent_user(session)
        store.create_user(user)

        assert not store.end_session(claims_of(user), NOW)
        assert store.end_session(claims_of(user), NOW - SECOND)

    def test_given_a_user_when_deleted_on_request_then_it_is_gone(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert store.delete_user(user, only_session(user), NOW)

        assert store.get_user(APP, user.id) is None
        assert not store.delete_user(user, only_session(user), NOW)

    @pytest.mark.parametrize(
        "stale",
        [
            pytest.param({"version": 0}, id="version moved on"),
            pytest.param({"id": "0" * 24}, id="no such user"),
        ],
    )
    def test_given_a_stale_read_when_deleted_then_nothing_happens(
        self, store: AnyStore, stale: dict[str, object]
    ) -> None:
        user = a_guest()
        store.create_user(user)

        read = replace(user, **stale)  # type: ignore[arg-type]

        assert not store.delete_user(read, only_session(user), NOW)
        assert store.get_user(APP, user.id) == user

    def test_given_an_expired_guest_when_deleted_on_request_then_it_is_refused(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)
        assert user.expires_at is not None

        assert not store.delete_user(user, only_session(user), user.expires_at)
        assert store.delete_user(user, only_session(user), user.expires_at - SECOND)

    def test_given_nobody_that_asks_when_an_operator_deletes_then_the_user_is_gone(
        self, store: AnyStore
    ) -> None:
        """A permanent user may have no session at all."""
        user = a_permanent_user()
        store.create_user(user)

        assert not store.delete_user(replace(user, version=0), None, NOW)
        assert store.get_user(APP, user.id) == user
        assert store.delete_user(user, None, NOW)

        assert store.get_user(APP, user.id) is None
        assert not store.delete_user(user, None, NOW)

    def test_given_an_expired_guest_when_an_operator_deletes_then_the_sweep_will(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)
        assert user.expires_at is not None

        assert not store.delete_user(user, None, user.expires_at)
        assert store.delete_user(user, None, user.expires_at - SECOND)

    def test_given_a_permanent_user_when_all_sessions_end_then_it_has_none(
        self, store: AnyStore
    ) -> None:
        user = a_permanent_user(a_session(), a_session())
        store.create_user(user)

        after = store.end_sessions(APP, user.id, NOW)

        ended = replace(user, sessions={}, version=user.version + 1)
        assert after == ended
        assert store.get_user(APP, user.id) == ended
        again = store.end_sessions(APP, user.id, NOW)
        assert again == replace(ended, version=ended.version + 1)

    def test_given_a_login_that_has_read_the_user_when_all_end_then_it_starts_over(
        self, store: AnyStore
    ) -> None:
        user = a_permanent_user(a_session())
        store.create_user(user)
        store.end_sessions(APP, user.id, NOW)

        assert not store.open_session(user, a_session(), [], NOW)

        after = store.get_user(APP, user.id)
        assert after is not None
        assert not after.sessions
        assert store.open_session(after, a_session(), [], NOW)

    def test_given_nobody_when_all_sessions_would_end_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        assert store.end_sessions(APP, "0" * 24, NOW) is None

        assert store.get_user(APP, "0" * 24) is None

    def test_given_a_guest_when_all_sessions_would_end_then_it_keeps_its_own(
        self, store: AnyStore
    ) -> None:
        user = a_guest()
        store.create_user(user)

        assert store.end_sessions(APP, user.id, NOW) is None

        assert store.get_user(APP, user.id) == user

    def test_given_an_expired_user_when_sessions_open_or_end_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        """Even for a user that should have no expiry: each write checks it."""
        guest = a_guest()
        permanent = replace(a_permanent_user(a_session()), expires_at=guest.expires_at)
        store.create_user(guest)
        store.create_user(permanent)
        assert guest.expires_at is not None

        assert not store.open_session(guest, a_session(), [], guest.expires_at)
        assert store.end_sessions(APP, permanent.id, guest.expires_at) is None

        assert store.get_user(APP, guest.id) == guest
        assert store.get_user(APP, permanent.id) == permanent
        in_time = guest.expires_at - SECOND
        assert store.open_session(guest, a_session(), [], in_time)
        assert store.end_sessions(APP, permanent.id, in_time)

    def test_given_a_ring_when_saved_then_it_reads_back_whole(
        self, store: AnyStore
    ) -> None:
        before = store.load_ring() or Ring(0, ())
        ahead, stop = NOW + DAY, NOW + 98 * DAY
        access = RingKey("a", "access", b"\x00wrapped", b"\x30pub", NOW, ahead, stop)
        refresh = RingKey("r", "refresh", b"\xffwrapped", None, NOW, NOW, None)
        ring = Ring(before.version + 1, (access, refresh))

        assert store.save_ring(ring)

        assert store.load_ring() == ring

    def test_given_a_ring_that_moved_on_when_saved_then_it_stays(
        self, store: AnyStore
    ) -> None:
        before = store.load_ring() or Ring(0, ())
        newer = Ring(before.version + 1, ())
        store.save_ring(newer)

        assert not store.save_ring(Ring(before.version + 1, ()))
        assert not store.save_ring(Ring(before.version, ()))
        assert not store.save_ring(Ring(before.version + 3, ()))
        assert store.load_ring() == newer
        assert store.save_ring(next_one := Ring(before.version + 2, ()))
        assert store.load_ring() == next_one
