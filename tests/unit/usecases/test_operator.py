"""What an operator does to a user, on moto's store, and the calls of the scan."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain.users import User, UserFilter
from anonauth.errors import StoreUnavailable
from anonauth.store import Store
from anonauth.store.table import ATTEMPTS
from anonauth.store.users import MOST_CONFLICTS
from anonauth.usecases.operator import (
    AnonymousUser,
    OperatorActions,
    UnknownUser,
    UserChanged,
)
from support.contracts.identity_contract import a_linked_user, an_api_key, changed
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    a_guest,
    a_permanent_user,
    a_session,
    only_session,
)
from support.service.harness import TABLE, Clients
from support.service.wire import (
    Wire,
    lost_reply,
    no_connection,
    preceded_by,
    throttled,
    transaction_conflict,
)


@pytest.fixture
def wire(clients: Clients) -> Iterator[Wire]:
    yield clients.wire
    clients.wire.reset()


def revoke(store: Store, user: User) -> User:
    return OperatorActions(store).revoke_sessions(user.app, user.id, NOW)


def test_given_a_permanent_user_when_revoked_then_it_has_no_session(
    store: Store, wire: Wire
) -> None:
    user = a_permanent_user(a_session(), a_session())
    store.create_user(user)
    del wire.calls[:]

    assert revoke(store, user) == user

    assert wire.calls == ["GetItem", "UpdateItem"]
    ended = replace(user, sessions={}, version=user.version + 1)
    assert store.get_user(APP, user.id) == ended


def test_given_a_login_in_between_when_revoked_then_its_session_ends_too(
    store: Store, wire: Wire
) -> None:
    user = a_permanent_user(a_session())
    store.create_user(user)
    first = preceded_by(lambda: store.open_session(user, a_session(), [], NOW))
    wire.faults = [None, first]

    revoke(store, user)

    after = store.get_user(APP, user.id)
    assert after is not None
    assert not after.sessions


def test_given_a_link_in_between_when_revoked_then_it_is_decided_anew(
    store: Store, wire: Wire
) -> None:
    user = a_linked_user(store)
    wire.faults = [None, preceded_by(lambda: changed(store, user))]

    revoke(store, user)

    after = store.get_user(APP, user.id)
    assert after is not None
    assert (len(after.identities), len(after.sessions)) == (3, 0)


def test_given_keys_that_change_when_revoked_then_it_is_one_write(
    store: Store, wire: Wire
) -> None:
    """An attacker with a session cannot delay its end."""
    user = a_linked_user(store)
    make = partial(store.create_api_key, user, only_session(user), an_api_key(), NOW)
    wire.faults = [None, preceded_by(make)]
    del wire.calls[:]

    revoke(store, user)

    after = store.get_user(APP, user.id)
    assert after is not None
    assert (len(after.api_keys), len(after.sessions)) == (1, 0)
    assert wire.calls.count("UpdateItem") == 1


def test_given_transactions_in_the_way_when_revoked_then_it_waits_for_them(
    store: Store, wire: Wire
) -> None:
    user = a_linked_user(store)
    wire.faults = [None, *[transaction_conflict] * (MOST_CONFLICTS + ATTEMPTS - 1)]

    revoke(store, user)

    after = store.get_user(APP, user.id)
    assert after is not None
    assert not after.sessions


def test_given_transactions_that_never_end_when_revoked_then_it_gives_up(
    store: Store, wire: Wire
) -> None:
    user = a_linked_user(store)
    wire.faults = [None, *[transaction_conflict] * (MOST_CONFLICTS + ATTEMPTS)]

    with pytest.raises(StoreUnavailable):
        revoke(store, user)

    assert store.get_user(APP, user.id) == user


def test_given_a_deletion_in_between_when_revoked_then_it_says_so(
    store: Store, wire: Wire
) -> None:
    user = a_linked_user(store)
    wire.faults = [None, preceded_by(lambda: store.delete_user(user, None, NOW))]

    with pytest.raises(UnknownUser):
        revoke(store, user)


def test_given_a_lost_reply_when_revoked_then_it_is_done(
    store: Store, wire: Wire
) -> None:
    user = a_permanent_user(a_session())
    store.create_user(user)
    wire.faults = [None, lost_reply]

    revoke(store, user)

    after = store.get_user(APP, user.id)
    assert after is not None
    assert not after.sessions


def test_given_a_guest_when_revoked_then_it_is_refused(store: Store) -> None:
    user = a_guest()
    store.create_user(user)

    with pytest.raises(AnonymousUser):
        revoke(store, user)

    assert store.get_user(APP, user.id) == user


def test_given_an_unknown_user_when_revoked_or_deleted_then_unknown_user(
    store: Store,
) -> None:
    expired = a_guest(NOW - 200 * DAY)
    store.create_user(expired)

    for user in (a_permanent_user(), expired):
        with pytest.raises(UnknownUser):
            revoke(store, user)
    with pytest.raises(UnknownUser):
        OperatorActions(store).delete_as_shown(a_guest(), NOW)


def test_given_no_answer_when_revoked_then_it_is_not_known(
    store: Store, wire: Wire
) -> None:
    user = a_permanent_user(a_session())
    store.create_user(user)
    wire.always = no_connection

    with pytest.raises(StoreUnavailable):
        revoke(store, user)


@pytest.mark.parametrize("sessions", [0, 1], ids=["without a session", "with one"])
def test_given_a_user_when_deleted_then_it_has_asked_for_it(
    store: Store, sessions: int
) -> None:
    user = a_permanent_user(*[a_session() for _ in range(sessions)])
    store.create_user(user)

    OperatorActions(store).delete_as_shown(user, NOW)

    assert store.get_user(APP, user.id) is None
    assert store.marks_of([user]).keys() == {(APP, user.id)}


def test_given_a_user_that_changed_when_deleted_then_it_stays(store: Store) -> None:
    shown = changed(store, a_linked_user(store))

    with pytest.raises(UserChanged):
        OperatorActions(store).delete_as_shown(shown, NOW)

    assert store.get_user(APP, shown.id) is not None


def test_given_keys_that_change_when_deleted_then_it_is_not_delayed(
    store: Store, wire: Wire
) -> None:
    shown = a_linked_user(store)

    def make_key() -> None:
        now_there = store.get_user(APP, shown.id)
        assert now_there is not None
        session = only_session(shown)
        store.create_api_key(now_there, session, an_api_key(), NOW)

    wire.faults = [preceded_by(make_key), None, preceded_by(make_key)]

    OperatorActions(store).delete_as_shown(shown, NOW)

    assert store.get_user(APP, shown.id) is None
    assert store.marks_of([shown]).keys() == {(APP, shown.id)}


def test_given_a_link_while_sessions_end_when_deleted_then_it_stays(
    store: Store, wire: Wire
) -> None:
    """An identity that was linked since the operator looked is not deleted unseen."""
    shown = a_linked_user(store)
    stale = replace(shown, version=0)
    wire.faults = [None, None, preceded_by(lambda: changed(store, shown))]

    with pytest.raises(UserChanged):
        OperatorActions(store).delete_as_shown(stale, NOW)

    assert store.get_user(APP, shown.id) is not None


def test_given_a_deletion_in_between_when_deleted_then_it_says_so(
    store: Store, wire: Wire
) -> None:
    shown = a_linked_user(store)
    stale = replace(shown, version=0)
    wire.faults = [
        None,
        None,
        preceded_by(lambda: store.delete_user(shown, None, NOW)),
    ]

    with pytest.raises(UnknownUser):
        OperatorActions(store).delete_as_shown(stale, NOW)


def test_given_a_user_that_always_changes_when_deleted_then_it_gives_up(
    store: Store,
) -> None:
    shown = a_linked_user(store)

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def delete_user(self, *_: object) -> bool:
            return False

    with pytest.raises(StoreUnavailable):
        OperatorActions(Overtaken()).delete_as_shown(shown, NOW)


def test_given_a_page_when_scanned_then_it_is_one_call_without_secrets(
    store: Store, wire: Wire
) -> None:
    store.create_user(a_guest())
    del wire.calls[:], wire.bodies[:]

    page = store.scan_users(0, 1, "", UserFilter(APP, anonymous=True, created_from=NOW))

    assert wire.calls == ["Scan"]
    (sent,) = wire.bodies
    names = set(sent["ExpressionAttributeNames"].values())
    assert not names & {"sessions", "api_keys"}
    assert "ProjectionExpression" in sent
    assert "ConsistentRead" not in sent  # a consistent read costs twice as much
    assert (page.read, len(page.users), page.position) == (1, 1, None)


def test_given_an_unreadable_item_when_scanned_then_other_users_are_found(
    store: Store, db: DynamoDBClient
) -> None:
    user = a_guest()
    store.create_user(user)
    broken = {"pk": {"S": f"USER#{APP}#broken"}, "state": {"S": "active"}}
    db.put_item(TableName=TABLE, Item=broken)

    page = store.scan_users(0, 1, "", UserFilter())

    assert [found.id for found in page.users] == [user.id]
    assert (page.read, page.unreadable) == (2, 1)


def test_given_throttling_when_read_then_it_is_repeated(
    store: Store, wire: Wire
) -> None:
    user = a_linked_user(store)
    wire.faults = [throttled] * (ATTEMPTS - 1)
    assert len(store.scan_users(0, 1, "", UserFilter()).users) == 1

    wire.faults = [throttled] * (ATTEMPTS - 1)
    assert dict(store.get_data_of([user])[0][1]) == {"name": "Ada"}
    assert only_session(user)
