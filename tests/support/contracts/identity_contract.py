"""Tests of every store of identities, accounts and API keys; see `store_contract`.

They run on moto, on real engines and in memory. Each test makes its own users and
identities.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from anonauth.domain.budgets import Count, Counter
from anonauth.domain.encoding import hash_secret, identity_key
from anonauth.domain.expiry import PENDING_LIFETIME, UNBOUND_LIFETIME
from anonauth.domain.identities import (
    Identity,
    IdentityRecord,
    MailToken,
    VerifiedIdentity,
)
from anonauth.domain.providers import ANONYMOUS, API_KEY, USERPASS
from anonauth.domain.users import MOST_SESSIONS, ApiKey, User, user_made_again
from anonauth.store import Store
from anonauth.store.items import user_pk
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    SECOND,
    AnyStore,
    a_guest,
    a_session,
    claims_of,
    note_activity,
    only_session,
)
from support.memory_store import MemoryStore

IN_30_MINUTES = NOW + 1800 * SECOND
IN_60_DAYS = NOW + 60 * DAY


def a_foreign_identity(**fields: Any) -> VerifiedIdentity:
    """Return a new identity that a provider has verified."""
    subject = secrets.token_hex(8)
    return VerifiedIdentity(
        "custom-token", identity_key(subject), subject, {"name": "Ada"}, **fields
    )


def an_account(**fields: Any) -> IdentityRecord:
    """Return the record of a new, confirmed e-mail address without a user."""
    record = IdentityRecord(
        app=APP,
        provider=USERPASS,
        key=identity_key(secrets.token_hex(8)),
        id=secrets.token_hex(12),
        state="confirmed",
        data={"email": "ada@example.org"},
        password_hash="$argon2id$old",
        expires_at=NOW + UNBOUND_LIFETIME,
    )
    return replace(record, **fields)


def a_pending_account(**fields: Any) -> IdentityRecord:
    token = MailToken(hash_secret(secrets.token_urlsafe()), IN_30_MINUTES)
    pending = an_account(
        state="pending", confirmation=token, expires_at=NOW + PENDING_LIFETIME
    )
    return replace(pending, **fields)


def an_api_key(name: str = "ci") -> ApiKey:
    return ApiKey(secrets.token_hex(12), name, hash_secret(secrets.token_hex()), NOW)


def verified(record: IdentityRecord) -> VerifiedIdentity:
    return VerifiedIdentity(USERPASS, record.key, record.id, record.data, record)


def read(store: AnyStore, user: User) -> User:
    found = store.get_user(user.app, user.id)
    assert found is not None
    return found


def count_of(store: "AnyStore", counter: Counter) -> Count:
    return store.get_account_and_counts(APP, "nobody", [counter])[1][0]


def record_of(
    store: AnyStore, identity: VerifiedIdentity | IdentityRecord
) -> IdentityRecord | None:
    return store.get_identity(APP, identity.provider, identity.key)


def link(
    store: AnyStore, user: User, identity: VerifiedIdentity, now: datetime = NOW
) -> bool:
    session = next(iter(user.sessions.values()))
    return store.link_identity(user, session, identity, now, expires_at=IN_60_DAYS)


def a_stored_guest(store: AnyStore) -> User:
    guest = a_guest()
    assert store.create_user(guest)
    return guest


def a_linked_user(store: AnyStore, *identities: VerifiedIdentity) -> User:
    """Return a user that was a guest and has these identities."""
    user = a_stored_guest(store)
    for identity in identities or (a_foreign_identity(),):
        assert link(store, user, identity)
        user = read(store, user)
    return user


def a_user_with_account(
    store: AnyStore, *others: VerifiedIdentity, **fields: Any
) -> tuple[User, IdentityRecord]:
    """Return a user with an e-mail address and password, and its record."""
    account = an_account(**fields)
    assert store.register(account, NOW)
    user = a_linked_user(store, verified(account), *others)
    record = record_of(store, account)
    assert record is not None
    return user, record


def a_reset(store: AnyStore, record: IdentityRecord) -> tuple[IdentityRecord, str]:
    """Return the record with a reset token in it, and the token's hash."""
    token = MailToken(hash_secret(secrets.token_urlsafe()), IN_30_MINUTES)
    assert store.set_reset(record, token, NOW)
    return replace(record, reset=token), token.hash


def reset(
    store: AnyStore,
    record: IdentityRecord,
    user: User | None,
    token_hash: str,
    now: datetime = NOW,
) -> bool:
    return store.reset_password(
        record, user, token_hash=token_hash, password_hash="$argon2id$new", now=now
    )


def gone(store: AnyStore, user: User) -> User:
    assert store.delete_user(user, only_session(user), NOW)
    return user


def entry_of(identity: VerifiedIdentity) -> Identity:
    return Identity(identity.id, identity.provider, identity.key)


def lose(store: AnyStore, user: User) -> None:
    """Remove a permanent user's item, and nothing else."""
    if isinstance(store, Store):
        store._user_item(user_pk(user.app, user.id)).delete()
    else:
        assert isinstance(store, MemoryStore)
        del store.users[user.app, user.id]


def a_lost_user(
    store: AnyStore, *identities: VerifiedIdentity
) -> tuple[User, IdentityRecord]:
    """Return a user as its first identity makes it again, and its record."""
    lose(store, a_linked_user(store, *identities))
    record = record_of(store, identities[0])
    assert record is not None
    session = replace(
        a_session(expires_at=IN_60_DAYS),
        provider=record.provider,
        identity_key=record.key,
    )
    return user_made_again(record, session, NOW), record


def changed(store: AnyStore, user: User) -> User:
    """Return a user as it was before another identity was linked."""
    assert link(store, user, a_foreign_identity())
    return user


def logged_out(store: AnyStore, user: User) -> User:
    session = only_session(user)
    assert store.end_session(claims_of(user, session), NOW)
    return user


STALE: list[Callable[[AnyStore, User], User]] = [gone, changed, logged_out]
"""Changes that can happen to a permanent user after it was read."""


class IdentityContract:
    """Inherit, and provide `store`."""

    def test_given_a_guest_when_linked_then_it_is_permanent_with_its_session(
        self, store: AnyStore
    ) -> None:
        guest = a_stored_guest(store)
        identity = a_foreign_identity()

        assert link(store, guest, identity)

        session = replace(only_session(guest), expires_at=IN_60_DAYS)
        entry = Identity(identity.id, identity.provider, identity.key)
        assert read(store, guest) == replace(
            guest,
            anonymous=False,
            expires_at=None,
            version=2,
            sessions={session.id: session},
            identities=(*guest.identities, entry),
        )
        assert record_of(store, identity) == IdentityRecord(
            app=APP,
            provider=identity.provider,
            key=identity.key,
            id=identity.id,
            state="bound",
            user_id=guest.id,
            data={"name": "Ada"},
        )

    def test_given_an_old_guest_when_linked_then_its_session_begins_anew(
        self, store: AnyStore
    ) -> None:
        """The session's limits count from the link, also at later refreshes."""
        guest = a_stored_guest(store)

        assert link(store, guest, a_foreign_identity(), NOW + 50 * DAY)
        assert only_session(read(store, guest)).created_at == NOW + 50 * DAY
        user = read(store, guest)
        assert link(store, user, a_foreign_identity(), NOW + 51 * DAY)
        assert only_session(read(store, guest)).created_at == NOW + 50 * DAY

    def test_given_an_identity_of_another_when_linked_then_nothing_changes(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        owner = a_linked_user(store, identity)
        guest = a_stored_guest(store)

        assert not link(store, guest, identity)

        assert read(store, guest) == guest
        assert read(store, owner) == owner
        record = record_of(store, identity)
        assert record is not None
        assert record.user_id == owner.id

    @pytest.mark.parametrize("happen", STALE)
    def test_given_a_stale_read_when_linked_then_nothing_is_written(
        self, store: AnyStore, happen: Callable[[AnyStore, User], User]
    ) -> None:
        stale = happen(store, a_linked_user(store))
        identity = a_foreign_identity()
        before = store.get_user(APP, stale.id)

        assert not link(store, stale, identity)

        assert record_of(store, identity) is None
        assert store.get_user(APP, stale.id) == before

    def test_given_an_expired_guest_when_linked_then_it_is_refused(
        self, store: AnyStore
    ) -> None:
        guest = a_stored_guest(store)
        assert guest.expires_at is not None

        assert not link(store, guest, a_foreign_identity(), guest.expires_at)
        assert link(store, guest, a_foreign_identity(), guest.expires_at - SECOND)

    def test_given_a_confirmed_account_when_linked_then_it_is_bound(
        self, store: AnyStore
    ) -> None:
        account = an_account(version=3)
        store.register(account, NOW)
        guest = a_stored_guest(store)

        assert link(store, guest, verified(account))

        bound = replace(account, state="bound", user_id=guest.id, expires_at=None)
        assert record_of(store, account) == bound
        assert read(store, guest).identities[-1] == Identity(
            account.id, USERPASS, account.key, version=3
        )

    @pytest.mark.parametrize(
        ("state", "now", "version"),
        [
            pytest.param("pending", NOW, 1, id="never confirmed"),
            pytest.param("confirmed", NOW + UNBOUND_LIFETIME, 1, id="expired"),
            pytest.param("confirmed", NOW, 2, id="another password"),
        ],
    )
    def test_given_an_account_that_is_not_ready_when_linked_then_nothing_changes(
        self, store: AnyStore, state: Any, now: datetime, version: int
    ) -> None:
        account = an_account(state=state)
        store.register(account, NOW)
        guest = a_stored_guest(store)

        stale = verified(replace(account, version=version))

        assert not link(store, guest, stale, now)
        assert record_of(store, account) == account
        assert read(store, guest) == guest

    def test_given_an_account_when_linked_in_the_last_second_then_it_is_in_time(
        self, store: AnyStore
    ) -> None:
        account = an_account()
        store.register(account, NOW)
        guest = a_stored_guest(store)

        assert link(store, guest, verified(account), NOW + UNBOUND_LIFETIME - SECOND)

    def test_given_a_new_identity_when_it_logs_in_then_user_and_record_are_made(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        session = a_session(expires_at=IN_60_DAYS)
        entry = Identity(identity.id, identity.provider, identity.key)
        user = replace(
            a_guest(),
            anonymous=False,
            expires_at=None,
            sessions={session.id: session},
            identities=(entry,),
        )

        assert store.create_linked_user(user, identity, NOW)
        second = replace(user, id=secrets.token_hex(12))
        assert not store.create_linked_user(second, identity, NOW)

        assert read(store, user) == user
        assert store.get_user(APP, second.id) is None
        record = record_of(store, identity)
        assert record is not None
        assert record.user_id == user.id

    def test_given_an_account_of_nobody_when_it_logs_in_then_only_while_it_lasts(
        self, store: AnyStore
    ) -> None:
        account = an_account()
        store.register(account, NOW)
        entry = Identity(account.id, USERPASS, account.key)
        user = replace(a_guest(), anonymous=False, expires_at=None, identities=(entry,))
        end = NOW + UNBOUND_LIFETIME

        assert not store.create_linked_user(user, verified(account), end)
        assert store.get_user(APP, user.id) is None
        assert record_of(store, account) == account

        assert store.create_linked_user(user, verified(account), end - SECOND)
        assert read(store, user) == user
        bound = replace(account, state="bound", user_id=user.id, expires_at=None)
        assert record_of(store, account) == bound

    def test_given_an_account_made_anew_when_the_old_one_was_read_then_it_stays(
        self, store: AnyStore
    ) -> None:
        """Versions start again with a new record, so its id must be the same, too."""
        user, old = a_user_with_account(store)
        gone(store, user)
        anew = an_account(key=old.key)
        assert store.register(anew, NOW)
        assert anew.version == old.version
        guest = a_stored_guest(store)

        assert not store.set_reset(old, MailToken("hash", IN_30_MINUTES), NOW)
        assert not link(store, guest, verified(old))

        assert record_of(store, anew) == anew
        assert read(store, guest) == guest

    def test_given_a_user_id_that_is_taken_when_it_logs_in_then_no_record_is_made(
        self, store: AnyStore
    ) -> None:
        guest = a_stored_guest(store)
        identity = a_foreign_identity()
        user = replace(guest, anonymous=False, expires_at=None)

        assert not store.create_linked_user(user, identity, NOW)

        assert read(store, guest) == guest
        assert record_of(store, identity) is None

    def test_given_a_permanent_user_when_a_session_opens_then_it_is_added(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        session = replace(
            a_session(NOW + DAY, IN_60_DAYS), provider="custom-token", identity_key="k"
        )

        assert store.open_session(user, session, [], NOW + DAY)

        after = read(store, user)
        assert after.sessions == {**user.sessions, session.id: session}
        assert after.last_active_day == (NOW + DAY).date()
        assert after.version == user.version

    @pytest.mark.parametrize("happen", [gone, changed])
    def test_given_a_stale_read_when_a_session_opens_then_it_does_not(
        self, store: AnyStore, happen: Callable[[AnyStore, User], User]
    ) -> None:
        stale = happen(store, a_linked_user(store))
        before = store.get_user(APP, stale.id)

        assert not store.open_session(stale, a_session(), [], NOW)

        assert store.get_user(APP, stale.id) == before

    def test_given_as_many_sessions_as_can_be_when_one_more_opens_then_one_must_end(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        for _ in range(MOST_SESSIONS - 1):
            assert store.open_session(user, a_session(), [], NOW)
        full = read(store, user)
        oldest, *_ = full.sessions.values()
        one_more, another = a_session(), a_session()

        assert not store.open_session(full, one_more, [], NOW)
        assert store.open_session(full, one_more, [oldest], NOW)
        assert not store.open_session(full, another, [oldest], NOW)

        after = read(store, user).sessions
        assert len(after) == MOST_SESSIONS
        assert one_more.id in after
        assert oldest.id not in after

    def test_given_display_data_when_replaced_then_only_of_an_identity_as_read(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        a_linked_user(store, identity)
        record = record_of(store, identity)
        assert record is not None

        store.update_identity_data(replace(record, user_id="0" * 24), {"name": "Eve"})
        assert record_of(store, identity) == record
        store.update_identity_data(replace(record, version=2), {"name": "Eve"})
        assert record_of(store, identity) == record
        store.update_identity_data(record, {"name": "Ada L."})
        assert record_of(store, identity) == replace(record, data={"name": "Ada L."})

    def test_given_identities_when_displayed_then_each_has_its_data_in_order(
        self, store: AnyStore
    ) -> None:
        first = a_foreign_identity()
        second = replace(a_foreign_identity(), data={"email": "x@example.org"})
        user = a_linked_user(store, first, second)

        data = store.get_identity_data(APP, user.identities)

        assert data == [{}, {"name": "Ada"}, {"email": "x@example.org"}]
        assert store.get_identity_data(APP, user.identities[:1]) == [{}]

    def test_given_a_lost_user_when_made_again_then_it_is_there_under_its_id(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        again, record = a_lost_user(store, identity)

        assert store.make_user_again(again, record)

        assert read(store, again) == again
        assert again.id == record.user_id
        assert record_of(store, identity) == record
        assert not store.make_user_again(again, record)

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"version": 2}, id="another version"),
            pytest.param({"id": "another"}, id="registered anew"),
            pytest.param({"key": identity_key("nobody")}, id="no record"),
        ],
    )
    def test_given_another_record_when_its_user_is_made_again_then_it_is_not(
        self, store: AnyStore, changes: dict[str, Any]
    ) -> None:
        again, record = a_lost_user(store, a_foreign_identity())

        assert not store.make_user_again(again, replace(record, **changes))
        assert not store.make_user_again(replace(again, id="f" * 24), record)

        assert store.get_user(APP, again.id) is None
        assert store.get_user(APP, "f" * 24) is None

    def test_given_a_mark_of_deletion_when_a_user_is_made_again_then_it_is_not(
        self, store: AnyStore
    ) -> None:
        """This happens after a partial restore that brought back the record."""
        user = gone(store, a_linked_user(store))
        assert store.get_mark(APP, user.id) is not None
        identity, account = a_foreign_identity(), an_account(verified=True)
        assert store.register(account, NOW)
        back = replace(user, identities=(*user.identities, entry_of(identity)))
        assert store.create_linked_user(back, identity, NOW)
        assert link(store, read(store, back), verified(account))
        lose(store, back)
        record, of_account = record_of(store, identity), record_of(store, account)
        assert record is not None
        assert of_account is not None
        of_account, token_hash = a_reset(store, of_account)

        again = user_made_again(record, a_session(), NOW)
        assert again.id == user.id
        assert not store.make_user_again(again, record)
        assert not store.reset_password(
            of_account,
            user_made_again(of_account, None, NOW),
            token_hash=token_hash,
            password_hash="$argon2id$new",
            now=NOW,
            is_lost=True,
        )

        assert store.get_user(APP, user.id) is None
        assert record_of(store, account) == of_account

    def test_given_a_user_that_was_made_again_when_deleted_then_the_mark_stays(
        self, store: AnyStore
    ) -> None:
        """An identity that has not come back may name the user for ever."""
        again, record = a_lost_user(store, a_foreign_identity())
        assert store.make_user_again(again, record)

        assert store.delete_user(again, only_session(again), NOW)

        assert store.get_mark(APP, again.id) is not None
        assert record_of(store, record) is None

    def test_given_a_user_that_was_made_again_when_another_comes_back_then_it_is_listed(
        self, store: AnyStore
    ) -> None:
        first, other = a_foreign_identity(), a_foreign_identity()
        again, record = a_lost_user(store, first, other)
        assert store.make_user_again(again, record)
        of_other = record_of(store, other)
        assert of_other is not None
        session = replace(
            a_session(NOW + DAY, IN_60_DAYS),
            provider=other.provider,
            identity_key=other.key,
        )

        assert store.add_back_identity(again, of_other, session, [], NOW + DAY)
        assert not store.add_back_identity(again, of_other, session, [], NOW + DAY)

        entry = Identity(other.id, other.provider, other.key)
        assert read(store, again) == replace(
            again,
            version=2,
            last_active_day=(NOW + DAY).date(),
            identities=(*again.identities, entry),
            sessions={**again.sessions, session.id: session},
        )

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"version": 2}, id="another version"),
            pytest.param({"key": identity_key("nobody")}, id="no record"),
        ],
    )
    def test_given_another_record_when_it_comes_back_then_nothing_is_written(
        self, store: AnyStore, changes: dict[str, Any]
    ) -> None:
        first, other = a_foreign_identity(), a_foreign_identity()
        again, record = a_lost_user(store, first, other)
        assert store.make_user_again(again, record)
        of_other = record_of(store, other)
        assert of_other is not None
        wrong = replace(of_other, **changes)

        assert not store.add_back_identity(again, wrong, a_session(), [], NOW)
        stranger = a_linked_user(store)
        assert not store.add_back_identity(stranger, of_other, a_session(), [], NOW)

        assert read(store, again) == again
        assert read(store, stranger) == stranger

    def test_given_as_many_sessions_as_can_be_when_one_comes_back_then_one_must_end(
        self, store: AnyStore
    ) -> None:
        first, other = a_foreign_identity(), a_foreign_identity()
        again, record = a_lost_user(store, first, other)
        most = {s.id: s for s in (a_session() for _ in range(MOST_SESSIONS))}
        again = replace(again, sessions=most)
        assert store.make_user_again(again, record)
        of_other = record_of(store, other)
        assert of_other is not None
        session, ended = a_session(), next(iter(most.values()))

        assert not store.add_back_identity(again, of_other, session, [], NOW)
        assert store.add_back_identity(again, of_other, session, [ended], NOW)

        after = read(store, again)
        assert set(after.sessions) == {*most, session.id} - {ended.id}

    def test_given_its_own_record_when_a_user_links_it_then_it_is_listed_again(
        self, store: AnyStore
    ) -> None:
        first, other = a_foreign_identity(), a_foreign_identity()
        again, record = a_lost_user(store, first, other)
        assert store.make_user_again(again, record)
        of_other = record_of(store, other)
        known = replace(other, record=of_other)

        assert not link(store, a_stored_guest(store), replace(other, record=None))
        assert link(store, again, known)

        entry = Identity(other.id, other.provider, other.key)
        assert read(store, again).identities == (*again.identities, entry)
        assert record_of(store, other) == of_other

    def test_given_a_user_that_is_gone_when_its_identity_logs_in_then_it_is_taken_over(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        again, record = a_lost_user(store, identity)
        other = replace(again, id=secrets.token_hex(12), made_again=None)
        known = replace(identity, record=record)

        assert store.create_linked_user(other, known, NOW)
        assert not store.create_linked_user(
            replace(other, id=secrets.token_hex(12)), known, NOW
        )

        assert read(store, other) == other
        assert record_of(store, identity) == replace(record, user_id=other.id)

    @pytest.mark.parametrize(
        ("fields", "made_again"),
        [
            pytest.param({"verified": True}, "open", id="verified"),
            pytest.param({}, "closed", id="never verified"),
        ],
    )
    def test_given_a_lost_user_when_reset_then_it_is_made_again(
        self, store: AnyStore, fields: dict[str, Any], made_again: Any
    ) -> None:
        user, record = a_user_with_account(store, **fields)
        lose(store, user)
        record, token_hash = a_reset(store, record)
        newer = replace(record, version=record.version + 1)
        again = user_made_again(newer, None, NOW, made_again=made_again)

        def reset_lost(token_hash: str) -> bool:
            return store.reset_password(
                record,
                again,
                token_hash=token_hash,
                password_hash="$argon2id$new",
                now=NOW,
                is_lost=True,
            )

        assert not reset_lost("another")
        assert store.get_user(APP, user.id) is None
        assert reset_lost(token_hash)
        assert not reset_lost(token_hash)

        assert read(store, again) == again
        after = record_of(store, record)
        assert after is not None
        assert (after.state, after.user_id, after.version) == (
            "bound",
            user.id,
            newer.version,
        )
        assert after.password_hash == "$argon2id$new"

    def test_given_a_user_that_is_there_when_reset_as_lost_then_nothing_changes(
        self, store: AnyStore
    ) -> None:
        user, record = a_user_with_account(store)
        record, token_hash = a_reset(store, record)
        again = user_made_again(record, None, NOW)

        assert not store.reset_password(
            record,
            again,
            token_hash=token_hash,
            password_hash="$argon2id$new",
            now=NOW,
            is_lost=True,
        )

        assert read(store, user) == user
        assert record_of(store, record) == record

    @pytest.mark.parametrize("is_verified", [True, False], ids=["verified", "not"])
    def test_given_an_address_that_is_not_back_when_reset_then_it_is_listed_again(
        self, store: AnyStore, is_verified: bool
    ) -> None:
        """Other identities of the user stay only if the address was verified."""
        jwt = a_foreign_identity()
        user, account = a_user_with_account(store, jwt, verified=is_verified)
        of_jwt = record_of(store, jwt)
        assert of_jwt is not None
        lose(store, user)
        again = user_made_again(of_jwt, a_session(), NOW)
        assert store.make_user_again(again, of_jwt)
        record, token_hash = a_reset(store, account)

        assert reset(store, record, again, token_hash)

        after = read(store, again)
        renewed = Identity(record.id, USERPASS, record.key, record.version + 1)
        kept = again.identities if is_verified else ()
        assert after.identities == (*kept, renewed)
        assert after.made_again == ("open" if is_verified else "closed")
        assert (record_of(store, jwt) is not None) == is_verified

    def test_given_a_linked_identity_when_unlinked_then_it_and_its_sessions_are_gone(
        self, store: AnyStore
    ) -> None:
        """Sessions of another issuer's subject with the same id remain."""
        kept = a_foreign_identity()
        removed = replace(a_foreign_identity(), id=kept.id)
        user = a_linked_user(store, kept, removed)
        asking = only_session(user)
        of_removed, of_kept = (
            replace(a_session(), provider=identity.provider, identity_key=identity.key)
            for identity in (removed, kept)
        )
        for session in (of_removed, of_kept):
            assert store.open_session(user, session, [], NOW)
        user = read(store, user)

        assert store.unlink_identity(user, asking, user.identities[2], NOW)

        after = read(store, user)
        assert after == replace(
            user,
            version=user.version + 1,
            identities=user.identities[:2],
            sessions={asking.id: asking, of_kept.id: of_kept},
        )
        assert record_of(store, removed) is None
        assert record_of(store, kept) is not None
        assert not store.unlink_identity(user, asking, user.identities[2], NOW)

    def test_given_a_session_of_the_identity_when_it_unlinks_it_then_it_ends_too(
        self, store: AnyStore
    ) -> None:
        kept, removed = a_foreign_identity(), a_foreign_identity()
        user = a_linked_user(store, kept, removed)
        asking = replace(
            a_session(), provider=removed.provider, identity_key=removed.key
        )
        assert store.open_session(user, asking, [], NOW)
        before = read(store, user)

        assert store.unlink_identity(before, asking, before.identities[2], NOW)

        assert read(store, user).sessions == user.sessions

    @pytest.mark.parametrize("happen", STALE)
    def test_given_a_stale_read_when_unlinked_then_nothing_changes(
        self, store: AnyStore, happen: Callable[[AnyStore, User], User]
    ) -> None:
        identity = a_foreign_identity()
        user = a_linked_user(store, a_foreign_identity(), identity)
        stale = happen(store, user)
        before = store.get_user(APP, user.id)
        record = record_of(store, identity)

        session = only_session(user)

        assert not store.unlink_identity(stale, session, user.identities[2], NOW)
        assert store.get_user(APP, user.id) == before
        assert record_of(store, identity) == record

    def test_given_a_user_when_deleted_then_its_identities_and_keys_are_free(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        user, account = a_user_with_account(store, identity)
        key = an_api_key()
        assert store.create_api_key(user, only_session(user), key, NOW)
        user = read(store, user)

        assert store.delete_user(user, only_session(user), NOW)

        assert record_of(store, identity) is None
        assert record_of(store, account) is None
        assert store.get_identity(APP, API_KEY, key.hash) is None
        assert link(store, a_stored_guest(store), identity)

    def test_given_a_session_that_ended_when_its_user_is_deleted_then_it_is_not(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        session = only_session(user)
        logged_out(store, user)

        assert not store.delete_user(user, session, NOW)

        assert store.get_user(APP, user.id) is not None

    def test_given_a_record_of_another_when_it_would_be_deleted_then_it_stays(
        self, store: AnyStore
    ) -> None:
        identity = a_foreign_identity()
        owner, user = a_linked_user(store, identity), a_linked_user(store)
        wrong = replace(user, identities=(*user.identities, owner.identities[1]))

        assert not store.delete_user(wrong, only_session(user), NOW)

        assert record_of(store, identity) is not None

    def test_given_a_record_that_is_missing_when_its_user_is_deleted_then_it_is(
        self, store: AnyStore
    ) -> None:
        """After a partial restore, a missing record must not block the deletion."""
        user = a_linked_user(store)
        listed = Identity("nowhere", "custom-token", identity_key("nowhere"))
        wrong = replace(user, identities=(*user.identities, listed))

        assert store.delete_user(wrong, only_session(user), NOW)

    def test_given_a_login_that_raced_with_an_unlink_when_linked_again_then_it_is_dead(
        self, store: AnyStore
    ) -> None:
        """A login raises no version, so the unlink has not seen its session."""
        kept, identity = a_foreign_identity(), a_foreign_identity()
        read_before = a_linked_user(store, kept, identity)
        asking = only_session(read_before)
        late = replace(a_session(), provider="custom-token", identity_key=identity.key)
        assert store.open_session(read_before, late, [], NOW)
        entry = read_before.identities[2]
        assert store.unlink_identity(read_before, asking, entry, NOW)
        assert read(store, read_before).live_session(late.id, NOW) is None

        assert link(store, read(store, read_before), identity)

        assert read(store, read_before).live_session(late.id, NOW) is None

    def test_given_a_login_that_raced_with_a_disabled_key_when_enabled_then_it_is_dead(
        self, store: AnyStore
    ) -> None:
        user, key = a_linked_user(store), an_api_key()
        asking = only_session(user)
        assert store.create_api_key(user, asking, key, NOW)
        read_before = read(store, user)
        late = replace(a_session(), provider=API_KEY, identity_key=key.hash)
        assert store.open_session(read_before, late, [], NOW)
        for disabled in (True, False):
            user = read_before if disabled else read(store, user)
            assert store.set_api_key_disabled(user, asking, key, NOW, disabled=disabled)

        assert read(store, user).live_session(late.id, NOW) is None

    def test_given_two_keys_when_one_is_deleted_then_the_others_session_lives(
        self, store: AnyStore
    ) -> None:
        user, deleted, other = a_linked_user(store), an_api_key("a"), an_api_key("b")
        asking = only_session(user)
        opened = replace(a_session(), provider=API_KEY, identity_key=other.hash)
        for key in (deleted, other):
            assert store.create_api_key(read(store, user), asking, key, NOW)
        assert store.open_session(read(store, user), opened, [], NOW)

        assert store.delete_api_key(read(store, user), asking, deleted, NOW)

        assert read(store, user).live_session(opened.id, NOW) == opened

    def test_given_a_key_whose_hash_is_there_when_made_then_nothing_is_written(
        self, store: AnyStore
    ) -> None:
        owner, user, key = a_linked_user(store), a_linked_user(store), an_api_key()
        assert store.create_api_key(owner, only_session(owner), key, NOW)

        assert not store.create_api_key(user, only_session(user), key, NOW)

        assert read(store, user) == user

    def test_given_two_that_must_end_when_one_is_gone_then_no_session_opens(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        first, second = a_session(), a_session()
        for session in (first, second):
            assert store.open_session(user, session, [], NOW)
        assert store.end_session(claims_of(user, second), NOW)

        assert not store.open_session(user, a_session(), [first, second], NOW)

    def test_given_a_free_address_when_registered_then_it_reads_back_whole(
        self, store: AnyStore
    ) -> None:
        account = a_pending_account(verified=True, contested=True, version=7)

        assert store.register(account, NOW)

        assert record_of(store, account) == account
        assert store.get_account_and_counts(APP, account.key, []) == (account, [])
        nobody = identity_key(secrets.token_hex())
        assert store.get_account_and_counts(APP, nobody, []) == (None, [])
        assert not store.register(account, NOW)

    def test_given_fractions_of_a_second_when_registered_then_they_are_dropped(
        self, store: AnyStore
    ) -> None:
        fraction = 0.9 * SECOND
        token = MailToken("t", IN_30_MINUTES)
        account = a_pending_account(confirmation=token, reset=token)

        late = MailToken("t", IN_30_MINUTES + fraction)
        assert store.register(
            replace(
                account,
                confirmation=late,
                reset=late,
                expires_at=NOW + PENDING_LIFETIME + fraction,
            ),
            NOW,
        )

        assert record_of(store, account) == account

    @pytest.mark.parametrize(
        ("first", "now", "replaced"),
        [
            pytest.param(a_pending_account(), NOW, True, id="pending"),
            pytest.param(an_account(), NOW, False, id="confirmed"),
            pytest.param(
                an_account(),
                NOW + UNBOUND_LIFETIME - SECOND,
                False,
                id="confirmed, last second",
            ),
            pytest.param(
                an_account(), NOW + UNBOUND_LIFETIME, True, id="confirmed, expired"
            ),
            pytest.param(
                an_account(state="bound", user_id="u", expires_at=None),
                NOW + 9999 * DAY,
                False,
                id="bound",
            ),
        ],
    )
    def test_given_a_registered_address_when_registered_again_then_by_its_state(
        self, store: AnyStore, first: IdentityRecord, now: datetime, replaced: bool
    ) -> None:
        first = replace(first, key=identity_key(secrets.token_hex()))
        second = a_pending_account(key=first.key, password_hash="second", version=2)
        stale = replace(second, version=1)
        store.register(first, NOW)

        assert not store.register(stale, now)
        assert store.register(second, now) is replaced

        assert record_of(store, first) == (second if replaced else first)

    def test_given_a_confirm_token_when_used_then_the_address_is_confirmed(
        self, store: AnyStore
    ) -> None:
        account = a_pending_account()
        store.register(account, NOW)
        assert account.confirmation is not None
        token_hash = account.confirmation.hash

        assert store.confirm(APP, account.key, token_hash, NOW)

        after = replace(
            account,
            state="confirmed",
            verified=True,
            expires_at=NOW + UNBOUND_LIFETIME,
        )
        assert record_of(store, account) == after
        assert store.confirm(APP, account.key, token_hash, NOW + SECOND)
        assert store.confirm(APP, account.key, token_hash, NOW + DAY)
        assert not store.confirm(APP, account.key, "another", NOW)
        assert record_of(store, account) == after

    def test_given_an_account_that_is_over_when_confirmed_again_then_it_is_refused(
        self, store: AnyStore
    ) -> None:
        """The sweep will delete it; the answer must not depend on when that happens."""
        account = a_pending_account()
        store.register(account, NOW)
        assert account.confirmation is not None
        token_hash = account.confirmation.hash
        assert store.confirm(APP, account.key, token_hash, NOW)
        expiry = NOW + UNBOUND_LIFETIME

        assert store.confirm(APP, account.key, token_hash, expiry - SECOND)
        assert not store.confirm(APP, account.key, token_hash, expiry)

    def test_given_a_confirmed_account_when_its_token_comes_again_then_it_stays_bound(
        self, store: AnyStore
    ) -> None:
        """A mail scanner or an impatient reader does so; a bound account never ends."""
        account = a_pending_account()
        store.register(account, NOW)
        assert account.confirmation is not None
        token_hash = account.confirmation.hash
        assert store.confirm(APP, account.key, token_hash, NOW)
        confirmed = record_of(store, account)
        assert confirmed is not None
        guest = a_stored_guest(store)
        assert link(store, guest, verified(confirmed))
        bound = record_of(store, account)

        assert store.confirm(APP, account.key, token_hash, NOW + SECOND)

        assert record_of(store, account) == bound
        assert bound is not None
        assert bound.state == "bound"

    def test_given_an_account_without_a_token_when_confirmed_by_one_then_it_is_refused(
        self, store: AnyStore
    ) -> None:
        account = an_account()
        store.register(account, NOW)

        assert not store.confirm(APP, account.key, "token", NOW)

        assert record_of(store, account) == account

    def test_given_a_confirm_token_when_wrong_or_late_then_it_stays_pending(
        self, store: AnyStore
    ) -> None:
        account = a_pending_account()
        store.register(account, NOW)
        assert account.confirmation is not None
        token_hash = account.confirmation.hash

        assert not store.confirm(APP, account.key, "another", NOW)
        assert not store.confirm(APP, account.key, token_hash, IN_30_MINUTES)
        assert record_of(store, account) == account
        assert store.confirm(APP, account.key, token_hash, IN_30_MINUTES - SECOND)
        nobody = identity_key(secrets.token_hex())
        assert not store.confirm(APP, nobody, token_hash, NOW)

    def test_given_a_token_that_outlives_its_record_when_used_then_it_is_refused(
        self, store: AnyStore
    ) -> None:
        late = MailToken("t", NOW + 9999 * DAY)
        account = a_pending_account(confirmation=late, reset=late)
        store.register(account, NOW)
        expiry = NOW + PENDING_LIFETIME

        assert not store.confirm(APP, account.key, "t", expiry)
        assert not reset(store, account, None, "t", expiry)
        assert not store.set_confirmation(account, late, expiry)
        assert not store.set_reset(replace(account, version=9), late, NOW)
        assert not store.set_reset(account, late, expiry)
        assert record_of(store, account) == account
        assert reset(store, account, None, "t", expiry - SECOND)

    def test_given_a_pending_account_when_contested_then_only_that_is_noted(
        self, store: AnyStore
    ) -> None:
        account = a_pending_account()
        store.register(account, NOW)
        assert account.expires_at is not None
        last = account.expires_at - SECOND

        assert store.contest(APP, account.key, NOW)
        assert store.contest(APP, account.key, last)

        assert record_of(store, account) == replace(account, contested=True)

    @pytest.mark.parametrize("state", ["confirmed", "expired", "nobody's"])
    def test_given_no_pending_account_when_contested_then_nothing_is_written(
        self, store: AnyStore, state: str
    ) -> None:
        account = a_pending_account()
        now = NOW
        if state == "confirmed":
            account = an_account()
        if state == "expired":
            assert account.expires_at is not None
            now = account.expires_at
        if state != "nobody's":
            store.register(account, NOW)
        before = record_of(store, account)

        assert not store.contest(APP, account.key, now)

        assert record_of(store, account) == before

    def test_given_a_pending_account_when_mailed_again_then_the_first_token_is_dead(
        self, store: AnyStore
    ) -> None:
        account = a_pending_account()
        store.register(account, NOW)
        token = MailToken("second", IN_30_MINUTES + SECOND)

        assert store.set_confirmation(account, token, NOW)

        assert record_of(store, account) == replace(account, confirmation=token)
        assert not store.set_confirmation(replace(account, version=9), token, NOW)
        assert account.confirmation is not None
        assert not store.confirm(APP, account.key, account.confirmation.hash, NOW)
        assert store.confirm(APP, account.key, "second", NOW)
        assert not store.set_confirmation(account, token, NOW)

    def test_given_a_newer_token_when_an_older_request_comes_late_then_it_is_refused(
        self, store: AnyStore
    ) -> None:
        """Otherwise the mail that was sent would have a token that does not work."""
        account = a_pending_account()
        store.register(account, NOW)
        newer = MailToken("newer", IN_30_MINUTES)
        older = MailToken("older", IN_30_MINUTES)
        assert store.set_confirmation(account, newer, NOW)
        assert store.set_reset(account, newer, NOW)

        assert not store.set_confirmation(account, older, NOW)
        assert not store.set_reset(account, older, NOW)

        after = replace(account, confirmation=newer, reset=newer)
        assert record_of(store, account) == after

    def test_given_a_reset_token_when_used_then_all_that_was_open_is_closed(
        self, store: AnyStore
    ) -> None:
        other = a_foreign_identity()
        user, account = a_user_with_account(store, other, verified=True)
        key = an_api_key()
        assert store.create_api_key(user, only_session(user), key, NOW)
        user = read(store, user)
        account, token_hash = a_reset(store, account)

        assert reset(store, account, user, token_hash)

        entry = Identity(account.id, USERPASS, account.key, version=2)
        assert read(store, user) == replace(
            user,
            version=user.version + 1,
            sessions={},
            api_keys={},
            identities=(user.identities[0], entry, user.identities[2]),
        )
        assert record_of(store, account) == replace(
            account, version=2, password_hash="$argon2id$new", reset=None
        )
        assert store.get_identity(APP, API_KEY, key.hash) is None
        assert record_of(store, other) is not None
        assert not reset(store, account, user, token_hash)

    def test_given_a_reset_when_done_then_sessions_and_keys_can_be_made_again(
        self, store: AnyStore
    ) -> None:
        """Their maps are then empty: a path into a missing map is an error."""
        user, account = a_user_with_account(store, verified=True)
        account, token_hash = a_reset(store, account)
        assert reset(store, account, user, token_hash)

        session, key = a_session(), an_api_key()
        assert store.open_session(read(store, user), session, [], NOW)
        assert store.create_api_key(read(store, user), session, key, NOW)

        after = read(store, user)
        assert (set(after.sessions), set(after.api_keys)) == ({session.id}, {key.id})

    def test_given_an_expired_user_when_its_password_is_reset_then_it_is_not(
        self, store: AnyStore
    ) -> None:
        """Even for a user that should have no expiry: each write checks it."""
        bound = an_account(state="bound", user_id=secrets.token_hex(12))
        account = replace(bound, expires_at=None)
        entry = Identity(account.id, USERPASS, account.key)
        user = replace(
            a_guest(), id=bound.user_id or "", anonymous=False, identities=(entry,)
        )
        assert user.expires_at is not None
        assert store.create_user(user)
        assert store.register(account, NOW)
        token = MailToken("hash", user.expires_at + DAY)
        assert store.set_reset(account, token, NOW)
        account = replace(account, reset=token)

        assert not reset(store, account, user, token.hash, user.expires_at)

        assert read(store, user) == user
        assert record_of(store, account) == account
        assert reset(store, account, user, token.hash, user.expires_at - SECOND)

    def test_given_an_address_never_verified_when_reset_then_others_are_detached(
        self, store: AnyStore
    ) -> None:
        first, second = a_foreign_identity(), a_foreign_identity()
        user, account = a_user_with_account(store, first, second, verified=False)
        account, token_hash = a_reset(store, account)

        assert reset(store, account, user, token_hash)

        after = read(store, user)
        assert [i.provider for i in after.identities] == [ANONYMOUS, USERPASS]
        assert record_of(store, first) is None
        assert record_of(store, second) is None
        renewed = record_of(store, account)
        assert renewed is not None
        assert renewed.verified

    def test_given_an_address_that_was_contested_when_reset_then_others_are_detached(
        self, store: AnyStore
    ) -> None:
        """The address was verified, but perhaps with another person's password."""
        other = a_foreign_identity()
        user, account = a_user_with_account(store, other, verified=True, contested=True)
        account, token_hash = a_reset(store, account)

        assert reset(store, account, user, token_hash)

        assert len(read(store, user).identities) == 2
        assert record_of(store, other) is None
        renewed = record_of(store, account)
        assert renewed is not None
        assert not renewed.contested

    @pytest.mark.parametrize("account", [an_account(), a_pending_account()])
    def test_given_an_account_of_nobody_when_reset_then_it_is_confirmed(
        self, store: AnyStore, account: IdentityRecord
    ) -> None:
        account = replace(account, key=identity_key(secrets.token_hex()))
        store.register(account, NOW)
        account, token_hash = a_reset(store, account)

        assert reset(store, account, None, token_hash)

        assert record_of(store, account) == replace(
            account,
            state="confirmed",
            version=2,
            password_hash="$argon2id$new",
            verified=True,
            reset=None,
            expires_at=NOW + UNBOUND_LIFETIME,
        )

    def test_given_a_reset_when_token_time_or_owner_are_wrong_then_nothing_changes(
        self, store: AnyStore
    ) -> None:
        user, account = a_user_with_account(store)
        account, token_hash = a_reset(store, account)
        stale = replace(user, version=user.version - 1)
        stranger = a_linked_user(store)

        assert not reset(store, account, user, "another")
        assert not reset(store, account, user, token_hash, IN_30_MINUTES)
        assert not reset(store, account, None, token_hash)
        assert not reset(store, account, stale, token_hash)
        assert not reset(store, account, stranger, token_hash)
        assert not reset(store, replace(account, version=9), user, token_hash)

        assert record_of(store, account) == account
        assert read(store, user) == user
        assert read(store, stranger) == stranger
        assert reset(store, account, user, token_hash, IN_30_MINUTES - SECOND)

    def test_given_a_bind_in_between_when_reset_then_it_is_decided_anew(
        self, store: AnyStore
    ) -> None:
        """The user that has just got the identity must lose its sessions, too."""
        account = an_account()
        store.register(account, NOW)
        unbound, token_hash = a_reset(store, account)
        guest = a_stored_guest(store)
        assert link(store, guest, verified(account))

        assert not reset(store, unbound, None, token_hash)

        assert read(store, guest).sessions

    def test_given_a_hash_that_is_out_of_date_when_replaced_then_only_as_read(
        self, store: AnyStore
    ) -> None:
        _, account = a_user_with_account(store)

        assert store.replace_password_hash(account, "anew")
        assert not store.replace_password_hash(account, "again")

        assert record_of(store, account) == replace(account, password_hash="anew")

    def test_given_an_account_of_nobody_when_deleted_then_only_as_read(
        self, store: AnyStore
    ) -> None:
        account = an_account()
        store.register(account, NOW)

        assert not store.delete_account(replace(account, version=2))
        assert not store.delete_account(replace(account, id="0" * 24))
        assert not store.delete_account(replace(account, user_id="0" * 24))
        kept = store.get_identity(APP, USERPASS, account.key)
        assert store.delete_account(account)

        assert kept == account
        assert store.get_identity(APP, USERPASS, account.key) is None

    def test_given_an_account_when_a_user_has_it_meanwhile_then_it_is_not_deleted(
        self, store: AnyStore
    ) -> None:
        account = an_account()
        store.register(account, NOW)
        user = a_linked_user(store, verified(account))

        assert not store.delete_account(account)
        assert store.delete_account(replace(account, user_id=user.id))

        assert store.get_identity(APP, USERPASS, account.key) is None

    def test_given_a_budget_when_spent_then_it_is_refused_until_the_window_is_over(
        self, store: AnyStore
    ) -> None:
        name = secrets.token_hex()
        counter = Counter(name, 2, IN_30_MINUTES)
        key = identity_key(name)

        assert store.spend(counter)
        assert store.spend(counter)
        assert not store.spend(counter)
        assert store.get_account_and_counts(APP, key, [counter]) == (None, [Count(2)])

        store.give_back(counter)
        assert store.spend(counter)
        assert not store.spend(counter)

        for _ in range(3):
            store.give_back(counter)
        assert store.get_account_and_counts(APP, key, [counter]) == (None, [Count(0)])
        store.count(counter)
        store.count(counter)

        store.count(counter)
        other = Counter(f"{name}-other", 2, IN_30_MINUTES)
        store.give_back(other)  # there is no counter, and none is made
        counts = store.get_account_and_counts(APP, key, [other, counter])[1]
        assert counts == [Count(0), Count(3)]

    def test_given_a_counter_of_parts_when_one_is_spent_then_all_wait(
        self, store: AnyStore
    ) -> None:
        name = secrets.token_hex()
        wide = Counter(name, 3, IN_30_MINUTES, {"0:a": 1, "1:b": 2})
        beside = Counter(name, 3, IN_30_MINUTES, {"0:c": 1, "1:b": 2})
        elsewhere = Counter(name, 3, IN_30_MINUTES, {"0:d": 1, "1:e": 2})

        assert store.spend(wide)
        assert not store.spend(wide)
        assert store.spend(beside)
        assert not store.spend(beside)
        assert store.spend(elsewhere)
        assert not store.spend(Counter(name, 3, IN_30_MINUTES, {"0:f": 1, "1:g": 2}))
        counted = {"0:a": 1, "0:c": 1, "0:d": 1, "1:b": 2, "1:e": 1}
        assert count_of(store, wide) == Count(3, counted)

        store.give_back(wide)
        assert count_of(store, wide) == Count(2, {**counted, "0:a": 0, "1:b": 1})
        assert store.spend(wide)

    def test_given_a_counter_when_a_part_is_over_then_counting_removes_it(
        self, store: AnyStore
    ) -> None:
        name = secrets.token_hex()
        early = Counter(name, 9, IN_30_MINUTES, {"q#1": 9})
        late = Counter(name, 9, IN_30_MINUTES, {"q#2": 9})

        store.count(early)
        store.count(early)
        store.count(late, over={"q#1"})

        assert count_of(store, late) == Count(3, {"q#2": 1})

    def test_given_a_counter_when_cleared_then_it_begins_anew(
        self, store: AnyStore
    ) -> None:
        counter = Counter(secrets.token_hex(), 9, IN_30_MINUTES, {"q#1": 9})
        whole = replace(counter, parts={})
        store.clear(counter)  # there is no counter, and none is made
        assert count_of(store, counter) == Count()
        store.count(counter)
        store.count(counter)

        store.clear(whole)
        assert count_of(store, counter) == Count(0, {"q#1": 2})
        store.count(counter)
        assert count_of(store, counter) == Count(1, {"q#1": 3})

        store.clear(counter)
        assert count_of(store, counter) == Count()

    def test_given_networks_when_remembered_then_only_with_that_password(
        self, store: AnyStore
    ) -> None:
        networks = {"one": NOW.date(), "two": (NOW - DAY).date()}
        account = an_account()
        store.register(account, NOW)

        store.remember_networks(replace(account, version=9), {"bad": NOW.date()})
        store.remember_networks(replace(account, id="other"), {"bad": NOW.date()})
        store.remember_networks(account, networks)

        known = replace(account, networks=networks)
        assert record_of(store, account) == known
        store.remember_networks(known, {"three": NOW.date()})
        assert record_of(store, account) == replace(
            account, networks={"three": NOW.date()}
        )

    def test_given_nobody_when_networks_are_remembered_then_no_record_comes_of_it(
        self, store: AnyStore
    ) -> None:
        account = an_account()

        store.remember_networks(account, {"one": NOW.date()})

        assert store.get_identity(APP, account.provider, account.key) is None

    def test_given_a_network_of_a_first_login_when_bound_then_it_comes_along(
        self, store: AnyStore
    ) -> None:
        account = an_account()
        store.register(account, NOW)
        guest = a_stored_guest(store)
        networks = {"one": NOW.date()}

        assert link(store, guest, verified(replace(account, networks=networks)))

        record = record_of(store, account)
        assert record is not None
        assert record.networks == networks

    def test_given_networks_when_the_password_is_reset_then_they_are_forgotten(
        self, store: AnyStore
    ) -> None:
        user, account = a_user_with_account(store)
        store.remember_networks(account, {"one": NOW.date()})
        account, token_hash = a_reset(store, account)

        assert reset(store, account, user, token_hash)

        record = record_of(store, account)
        assert record is not None
        assert record.networks == {}

    def test_given_a_permanent_user_when_a_key_is_made_then_it_is_listed_and_found(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        key = an_api_key()

        assert store.create_api_key(user, only_session(user), key, NOW)

        assert read(store, user) == replace(
            user, version=user.version + 1, api_keys={key.id: key}
        )
        record = store.get_identity(APP, API_KEY, key.hash)
        assert record is not None
        assert (record.id, record.user_id, record.state) == (key.id, user.id, "bound")
        assert not store.create_api_key(user, only_session(user), key, NOW)

    def test_given_a_key_when_disabled_or_deleted_then_its_sessions_end(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        asking = only_session(user)
        key = an_api_key()
        assert store.create_api_key(user, asking, key, NOW)

        def with_session_of_key() -> User:
            opened = replace(a_session(), provider=API_KEY, identity_key=key.hash)
            assert store.open_session(read(store, user), opened, [], NOW)
            return read(store, user)

        user = with_session_of_key()
        assert store.set_api_key_disabled(user, asking, key, NOW, disabled=True)
        disabled = read(store, user)
        assert disabled.api_keys == {key.id: replace(key, disabled=True)}
        assert set(disabled.sessions) == {asking.id}
        assert disabled.version == user.version + 1
        assert store.set_api_key_disabled(disabled, asking, key, NOW, disabled=False)

        user = with_session_of_key()
        assert store.delete_api_key(user, asking, key, NOW)
        after = read(store, user)
        assert after.api_keys == {}
        assert set(after.sessions) == {asking.id}
        assert after.version == user.version + 1
        assert store.get_identity(APP, API_KEY, key.hash) is None
        assert not store.delete_api_key(user, asking, key, NOW)

    @pytest.mark.parametrize("happen", STALE)
    def test_given_a_stale_read_when_keys_change_then_nothing_is_written(
        self, store: AnyStore, happen: Callable[[AnyStore, User], User]
    ) -> None:
        user = a_linked_user(store)
        session = only_session(user)
        key, other = an_api_key(), an_api_key("other")
        assert store.create_api_key(user, session, key, NOW)
        stale = happen(store, read(store, user))
        before = store.get_user(APP, user.id)

        assert not store.create_api_key(stale, session, other, NOW)
        assert not store.set_api_key_disabled(stale, session, key, NOW, disabled=True)
        assert not store.delete_api_key(stale, session, key, NOW)

        assert store.get_user(APP, user.id) == before
        assert store.get_identity(APP, API_KEY, other.hash) is None

    def test_given_a_linked_guest_when_active_then_its_session_is_pushed(
        self, store: AnyStore
    ) -> None:
        user = a_linked_user(store)
        session = only_session(user)

        assert note_activity(store, user, session, NOW + DAY)

        after = only_session(read(store, user))
        assert after.expires_at == NOW.replace(hour=1) + 62 * DAY
        assert after.used_day == (NOW + DAY).date()
