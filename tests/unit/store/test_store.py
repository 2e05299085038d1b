"""The store on moto: its contract, the items it writes, and unclear outcomes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain.budgets import Counter
from anonauth.domain.identities import Identity, MailToken
from anonauth.domain.providers import USERPASS
from anonauth.domain.signing_keys import (
    Ring,
    RingKey,
)
from anonauth.domain.users import UserFilter
from anonauth.errors import StoreUnavailable
from anonauth.store import Store
from anonauth.store.conditions import record_in_time
from anonauth.store.items import IdentityItem, user_in
from anonauth.store.table import ATTEMPTS, WriteRefused
from anonauth.store.users import MOST_CONFLICTS
from support.contracts.identity_contract import (
    IdentityContract,
    a_foreign_identity,
    a_linked_user,
    a_pending_account,
    a_reset,
    a_stored_guest,
    a_user_with_account,
    an_account,
    an_api_key,
    changed,
    link,
    record_of,
    reset,
    verified,
)
from support.contracts.identity_contract import read as stored
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
    a_permanent_user,
    a_session,
    claims_of,
    note_activity,
    only_session,
)
from support.project import sam_template
from support.service.harness import TABLE, Clients
from support.service.wire import (
    FAULTS,
    Wire,
    lost_reply,
    no_connection,
    preceded_by,
    server_error,
    throttled,
    transaction_conflict,
)


@pytest.fixture
def wire(clients: Clients) -> Wire:
    return clients.wire


ReadItem = Callable[[str], dict[str, Any] | None]


@pytest.fixture
def raw_item(db: DynamoDBClient) -> ReadItem:
    def read(pk: str) -> Any:
        return db.get_item(TableName=TABLE, Key={"pk": {"S": pk}}).get("Item")

    return read


class TestStoreOnMoto(
    StoreContract,
    IdentityContract,
    MergeContract,
    OverviewContract,
    RestoreContract,
):
    """The contract, and moto is the engine."""


def test_given_a_guest_when_written_then_the_templates_ttl_follows_its_expiry(
    store: Store, raw_item: ReadItem
) -> None:
    user = a_guest()
    store.create_user(user)
    table = sam_template.load()["Resources"]["Table"]["Properties"]
    ttl = table["TimeToLiveSpecification"]["AttributeName"]

    for now in (NOW, NOW + DAY):
        if now > NOW:
            note_activity(store, user, only_session(user), now)
        item = raw_item(f"USER#{APP}#{user.id}")
        assert item is not None
        assert int(item[ttl]["N"]) - int(item["expires_at"]["N"]) == 24 * 3600


def test_given_a_permanent_user_when_written_then_it_has_neither_expiry_nor_ttl(
    store: Store, raw_item: ReadItem
) -> None:
    session = a_session()
    user = a_permanent_user(session)
    store.create_user(user)
    note_activity(store, user, session, NOW + DAY)

    item = raw_item(f"USER#{APP}#{user.id}")

    assert item is not None
    assert not {"ttl", "expires_at"} & item.keys()


def test_given_a_guest_when_linked_then_nothing_of_it_has_a_ttl(
    store: Store, raw_item: ReadItem
) -> None:
    """The sweep asks for nothing else, and would delete what says it is permanent."""
    account = an_account()
    assert store.register(account, NOW)
    guest = a_stored_guest(store)

    assert link(store, guest, verified(account))

    for pk in (f"USER#{APP}#{guest.id}", f"IDENT#{APP}#{USERPASS}#{account.key}"):
        item = raw_item(pk)
        assert item is not None
        assert not {"ttl", "expires_at"} & item.keys()


@pytest.mark.parametrize("state", ["pending", "confirmed", "reset"])
def test_given_an_account_without_a_user_when_written_then_its_ttl_follows_its_expiry(
    store: Store, raw_item: ReadItem, state: str
) -> None:
    account = a_pending_account()
    assert store.register(account, NOW)
    assert account.confirmation is not None
    if state == "confirmed":
        assert store.confirm(
            APP, account.key, account.confirmation.hash, NOW + DAY / 50
        )
    if state == "reset":
        account, token_hash = a_reset(store, account)
        assert reset(store, account, None, token_hash)

    item = raw_item(f"IDENT#{APP}#{USERPASS}#{account.key}")

    assert item is not None
    assert int(item["ttl"]["N"]) - int(item["expires_at"]["N"]) == 24 * 3600
    assert not {"reset_hash", "reset_expires_at"} & item.keys()


def test_given_a_counter_when_counted_then_it_goes_with_its_window(
    store: Store, raw_item: ReadItem
) -> None:
    store.count(Counter("name", 1, NOW + DAY))

    assert raw_item("RATE#name") == {
        "pk": {"S": "RATE#name"},
        "number": {"N": "1"},
        "ttl": {"N": str(int((NOW + DAY).timestamp()))},
    }


def test_given_no_counter_when_cleared_or_given_back_then_no_item_comes_of_it(
    store: Store, raw_item: ReadItem
) -> None:
    """It would have no TTL, and stay for good."""
    store.clear(Counter("name", 1, NOW))
    store.give_back(Counter("name", 1, NOW, {"0:a": 1}))

    assert raw_item("RATE#name") is None


def test_given_a_counter_of_parts_when_counted_then_all_are_in_one_item(
    store: Store, raw_item: ReadItem
) -> None:
    counter = Counter("name", 2, NOW, {"0:a": 1}, kept_until=NOW + DAY)
    store.count(counter)
    store.count(counter, over={"0:b"})

    assert raw_item("RATE#name") == {
        "pk": {"S": "RATE#name"},
        "number": {"N": "2"},
        "0:a": {"N": "2"},
        "ttl": {"N": str(int((NOW + DAY).timestamp()))},
    }


def test_given_a_requested_deletion_when_done_then_a_mark_stays_for_30_days(
    store: Store, raw_item: ReadItem
) -> None:
    user = a_guest()
    store.create_user(user)
    store.delete_user(user, only_session(user), NOW)

    mark = raw_item(f"GONE#{APP}#{user.id}")

    assert mark == {
        "pk": {"S": f"GONE#{APP}#{user.id}"},
        "reason": {"S": "requested"},
        "ttl": {"N": str(int((NOW + 30 * DAY).timestamp()))},
    }


def test_given_a_clock_behind_when_logging_out_then_a_guest_keeps_its_session(
    store: Store, wire: Wire
) -> None:
    """The delete would see it expired and the update alive: no user would have it."""
    guest = a_guest()
    store.create_user(guest)
    assert guest.expires_at is not None
    late, session = guest.expires_at - SECOND, only_session(guest)
    wire.faults = [
        None,
        preceded_by(lambda: note_activity(store, guest, session, late)),
    ]

    assert not store.end_session(claims_of(guest), guest.expires_at)

    after = stored(store, guest)
    assert after.expires_at != guest.expires_at
    assert after.sessions.keys() == guest.sessions.keys()


def test_given_a_user_that_is_not_active_when_read_then_it_is_not_there(
    store: Store, db: DynamoDBClient
) -> None:
    user = a_guest()
    store.create_user(user)
    db.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"USER#{APP}#{user.id}"}},
        UpdateExpression="SET #s = :d",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":d": {"S": "disabled"}},
    )

    assert store.get_user(APP, user.id) is None
    assert not note_activity(store, user, only_session(user), NOW + DAY)
    assert not store.end_session(claims_of(user), NOW)
    assert not store.delete_user(user, only_session(user), NOW)


Operation = Callable[[Store], Any]


def existing(store: Store) -> Any:
    user = a_guest()
    assert store.create_user(user)
    return user


def create(store: Store) -> bool:
    return store.create_user(a_guest())


def record(store: Store) -> bool:
    user = existing(store)
    return note_activity(store, user, only_session(user), NOW + DAY)


def end(store: Store) -> bool:
    return store.end_session(claims_of(existing(store)), NOW)


def end_permanent(store: Store) -> bool:
    session = a_session()
    user = a_permanent_user(session)
    store.create_user(user)
    return store.end_session(claims_of(user), NOW)


def delete(store: Store) -> bool:
    user = existing(store)
    return store.delete_user(user, only_session(user), NOW)


def save(store: Store) -> bool:
    before = store.load_ring() or Ring(0, ())
    return store.save_ring(Ring(before.version + 1, ()))


def first_login(store: Store) -> bool:
    identity = a_foreign_identity()
    entry = Identity(identity.id, identity.provider, identity.key)
    user = replace(a_permanent_user(a_session()), identities=(entry,))
    return store.create_linked_user(user, identity, NOW)


def open_session(store: Store) -> bool:
    return store.open_session(a_linked_user(store), a_session(), [], NOW)


def unlink(store: Store) -> bool:
    user = a_linked_user(store, a_foreign_identity(), a_foreign_identity())
    return store.unlink_identity(user, only_session(user), user.identities[1], NOW)


def delete_linked(store: Store) -> bool:
    user = a_linked_user(store)
    return store.delete_user(user, only_session(user), NOW)


def register(store: Store) -> bool:
    return store.register(a_pending_account(), NOW)


def resend(store: Store) -> bool:
    account = a_pending_account()
    assert store.register(account, NOW)
    return store.set_confirmation(account, MailToken("t", NOW + DAY), NOW)


def confirm(store: Store) -> bool:
    account = a_pending_account()
    assert store.register(account, NOW)
    assert account.confirmation is not None
    return store.confirm(APP, account.key, account.confirmation.hash, NOW)


def send_reset(store: Store) -> bool:
    account = a_pending_account()
    assert store.register(account, NOW)
    return store.set_reset(account, MailToken("t", NOW + DAY), NOW)


def reset_password(store: Store) -> bool:
    user, account = a_user_with_account(store)
    account, token_hash = a_reset(store, account)
    return reset(store, account, user, token_hash)


def contest(store: Store) -> bool:
    account = a_pending_account()
    assert store.register(account, NOW)
    return store.contest(APP, account.key, NOW)


def spend(store: Store) -> bool:
    counter = Counter("name", 1, NOW + DAY)
    return store.spend(counter)


def create_key(store: Store) -> bool:
    user = a_linked_user(store)
    return store.create_api_key(user, only_session(user), an_api_key(), NOW)


def delete_key(store: Store) -> bool:
    user, key = a_linked_user(store), an_api_key()
    assert store.create_api_key(user, only_session(user), key, NOW)
    user = stored(store, user)
    return store.delete_api_key(user, only_session(user), key, NOW)


# Each with the calls that come before the write in question.
WRITES = [
    pytest.param(create, 0, id="create"),
    pytest.param(end, 1, id="end session"),
    pytest.param(end_permanent, 1, id="end session, first try: delete"),
    pytest.param(end_permanent, 2, id="end session, second try: update"),
    pytest.param(delete, 1, id="delete"),
    pytest.param(delete_linked, 3, id="delete a linked user"),
    pytest.param(save, 1, id="save ring"),
    pytest.param(first_login, 0, id="first login"),
    pytest.param(open_session, 3, id="open session"),
    pytest.param(unlink, 5, id="unlink"),
    pytest.param(register, 0, id="register"),
    pytest.param(resend, 1, id="confirm token"),
    pytest.param(confirm, 1, id="confirm"),
    pytest.param(contest, 1, id="contest"),
    pytest.param(send_reset, 1, id="reset token"),
    pytest.param(reset_password, 6, id="reset"),
    pytest.param(spend, 0, id="spend"),
    pytest.param(create_key, 3, id="make an API key"),
    pytest.param(delete_key, 5, id="delete an API key"),
]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize(("operation", "before"), WRITES)
def test_given_one_fault_when_writing_then_the_store_repeats_and_succeeds(
    store: Store, wire: Wire, operation: Operation, before: int, fault: Any
) -> None:
    """However unclear the outcome of the first attempt, ours is not refused."""
    wire.faults = [None] * before + [fault]

    assert operation(store) is True


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_one_fault_when_noting_activity_then_it_is_noted(
    store: Store, wire: Wire, fault: Any
) -> None:
    """After a lost reply the store cannot know. Its caller reads the item again."""
    user = existing(store)
    wire.faults = [fault]

    note_activity(store, user, only_session(user), NOW + DAY)

    after = store.get_user(APP, user.id)
    assert after is not None
    assert only_session(after).used_day == (NOW + DAY).date()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_one_fault_when_linking_then_it_is_linked(
    store: Store, wire: Wire, fault: Any
) -> None:
    """After a lost reply the store cannot know. Its caller reads the item again."""
    guest = a_stored_guest(store)
    identity = a_foreign_identity()
    wire.faults = [fault]

    link(store, guest, identity)

    assert stored(store, guest).find_identity(identity.provider, identity.key)


LASTING = pytest.mark.parametrize(
    "fault",
    [no_connection, lost_reply, server_error, throttled, transaction_conflict],
    ids=lambda fault: fault.__name__,
)


@LASTING
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda s: s.get_user(APP, "a" * 24), id="get"),
        pytest.param(lambda s: s.create_user(a_guest()), id="create"),
        pytest.param(
            lambda s: note_activity(s, u := a_guest(), only_session(u), NOW),
            id="activity",
        ),
        pytest.param(
            lambda s: s.delete_user(u := a_guest(), only_session(u), NOW), id="delete"
        ),
        pytest.param(lambda s: s.get_identity(APP, USERPASS, "k"), id="get identity"),
        pytest.param(
            lambda s: s.get_account_and_counts(APP, "k", []), id="get account"
        ),
        pytest.param(
            lambda s: s.get_identity_data(APP, [Identity("i", "p", "k")]),
            id="get identity data",
        ),
        pytest.param(lambda s: link(s, a_guest(), a_foreign_identity()), id="link"),
        pytest.param(
            lambda s: s.open_session(a_guest(), a_session(), [], NOW), id="open"
        ),
        pytest.param(lambda s: s.register(an_account(), NOW), id="register"),
        pytest.param(lambda s: s.confirm(APP, "k", "t", NOW), id="confirm"),
        pytest.param(lambda s: s.count(Counter("n", 1, NOW)), id="count"),
        pytest.param(lambda s: s.spend(Counter("n", 1, NOW)), id="spend"),
        pytest.param(lambda s: s.replace_password_hash(an_account(), "h"), id="rehash"),
        pytest.param(lambda s: s.delete_account(an_account()), id="delete account"),
        pytest.param(lambda s: s.load_ring(), id="load ring"),
        pytest.param(lambda s: s.save_ring(Ring(1, ())), id="save ring"),
    ],
)
def test_given_a_lasting_fault_when_calling_then_unavailable_after_three_attempts(
    store: Store, wire: Wire, operation: Operation, fault: Any
) -> None:
    if fault is lost_reply:
        # Refused on repetition, and the read that would tell is lost as well.
        wire.faults = [no_connection] * ATTEMPTS
    wire.always = fault

    with pytest.raises(StoreUnavailable):
        operation(store)

    assert len(wire.calls) == ATTEMPTS


@LASTING
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda s: reset(s, an_account(), a_guest(), "t"), id="reset"),
        pytest.param(
            lambda s: s.end_session(claims_of(a_guest()), NOW), id="end session"
        ),
        pytest.param(lambda s: s.end_sessions(APP, "a" * 24, NOW), id="end sessions"),
    ],
)
def test_given_a_lasting_fault_when_ending_sessions_then_only_conflicts_wait_longer(
    store: Store, wire: Wire, operation: Operation, fault: Any
) -> None:
    """An intruder that keeps the user in transactions does not delay the end."""
    if fault is lost_reply:
        wire.faults = [no_connection] * ATTEMPTS
    wire.always = fault

    with pytest.raises(StoreUnavailable):
        operation(store)

    more = MOST_CONFLICTS if fault is transaction_conflict else 0
    assert len(wire.calls) == ATTEMPTS + more


def test_given_a_throttled_write_when_refused_then_it_is_not_taken_for_ours(
    store: Store, wire: Wire
) -> None:
    """After throttling nothing was written. Only unclear outcomes are read back."""
    user = existing(store)
    wire.faults = [throttled]
    del wire.calls[:]

    assert not store.create_user(user)

    assert wire.calls == ["PutItem", "PutItem"]


def test_given_an_id_taken_by_another_when_the_reply_is_lost_then_it_is_refused(
    store: Store, wire: Wire
) -> None:
    user = existing(store)
    wire.faults = [no_connection]

    assert not store.create_user(replace(a_guest(), id=user.id))

    assert store.get_user(APP, user.id) == user


def test_given_a_racing_writer_when_a_ring_save_is_unclear_then_it_is_refused(
    store: Store, wire: Wire
) -> None:
    ours, theirs = (
        Ring(1, (RingKey(kid, "refresh", b"w", None, NOW, NOW, None),))
        for kid in ("ours", "theirs")
    )
    assert store.save_ring(theirs)
    wire.faults = [no_connection]

    assert store.save_ring(ours) is False
    assert store.load_ring() == theirs


def test_given_a_rival_that_moved_the_same_key_when_a_save_is_unclear_then_refused(
    store: Store, wire: Wire
) -> None:
    """Not only keys are written, times too: the same ids are not the same ring."""
    sooner, later = (
        Ring(1, (RingKey("a", "access", b"w", b"p", NOW, NOW + days * DAY, None),))
        for days in (1, 90)
    )
    assert store.save_ring(later)
    wire.faults = [no_connection]

    assert store.save_ring(sooner) is False
    assert store.load_ring() == later


def test_given_a_ring_when_written_then_a_key_has_what_it_has_and_no_more(
    store: Store, raw_item: ReadItem
) -> None:
    access = RingKey("a", "access", b"w", b"p", NOW, NOW, NOW + 97 * DAY)
    refresh = RingKey("r", "refresh", b"w", None, NOW, NOW, None)
    assert store.save_ring(Ring(1, (access, refresh)))

    item = raw_item("KEY#ring")

    assert item is not None
    of_both = {"kid", "use", "wrapped", "published_at", "signs_from"}
    first, second = (key["M"].keys() for key in item["keys"]["L"])
    assert first == of_both | {"public", "stops_at"}
    assert second == of_both


def test_given_an_image_that_is_no_users_when_read_then_it_says_which() -> None:
    pk = f"USER#{APP}#{'a' * 24}"

    with pytest.raises(ValueError, match=pk):
        user_in({"pk": {"S": pk}, "anonymous": {"BOOL": True}}, pk)


def test_given_an_unknown_state_when_read_then_it_is_no_record(
    store: Store, db: DynamoDBClient, table: str
) -> None:
    account = an_account()
    assert store.register(account, NOW)
    db.update_item(
        TableName=table,
        Key={"pk": {"S": f"IDENT#{APP}#{USERPASS}#{account.key}"}},
        UpdateExpression="SET #state = :other",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":other": {"S": "blocked"}},
    )

    with pytest.raises(ValueError, match="blocked"):
        store.get_identity(APP, USERPASS, account.key)


def test_given_no_record_when_one_in_time_is_asked_for_then_nothing_is_written(
    store: Store,
) -> None:
    """To have no expiry is not enough: what is not there has none, either."""
    account = an_account()
    item = store._record_item(account)
    action = IdentityItem.verified.set(True)

    with pytest.raises(WriteRefused):
        store._send(lambda: item.update([action], record_in_time(NOW)))

    assert record_of(store, account) is None


def test_given_a_user_that_changed_when_a_delete_is_unclear_then_it_is_not_done(
    store: Store, wire: Wire
) -> None:
    user = existing(store)
    read = replace(user, version=user.version - 1)
    wire.faults = [no_connection]

    assert store.delete_user(read, only_session(user), NOW) is False
    assert store.get_user(APP, user.id) == user


Stale = Callable[[Store], Callable[[], bool]]


def open_in_vain(store: Store) -> Callable[[], bool]:
    user = changed(store, a_linked_user(store))
    return lambda: store.open_session(user, a_session(), [], NOW)


def open_for_no_user(store: Store) -> Callable[[], bool]:
    user = a_permanent_user(a_session())
    return lambda: store.open_session(user, a_session(), [], NOW)


def first_login_in_vain(store: Store) -> Callable[[], bool]:
    guest, identity, session = a_stored_guest(store), a_foreign_identity(), a_session()
    user = replace(
        guest, anonymous=False, expires_at=None, sessions={session.id: session}
    )
    return lambda: store.create_linked_user(user, identity, NOW)


def first_login_of_an_identity_that_is_taken(store: Store) -> Callable[[], bool]:
    identity = a_foreign_identity()
    a_linked_user(store, identity)
    return lambda: store.create_linked_user(
        a_permanent_user(a_session()), identity, NOW
    )


def unlink_in_vain(store: Store) -> Callable[[], bool]:
    user = a_linked_user(store, a_foreign_identity(), a_foreign_identity())
    session, identity = only_session(user), user.identities[1]
    changed(store, user)
    return lambda: store.unlink_identity(user, session, identity, NOW)


def unlink_of_a_new_version(store: Store) -> Callable[[], bool]:
    user, account = a_user_with_account(store, a_foreign_identity(), verified=True)
    session, identity = only_session(user), user.identities[1]
    account, token_hash = a_reset(store, account)
    assert reset(store, account, user, token_hash)
    return lambda: store.unlink_identity(user, session, identity, NOW)


def register_in_vain(store: Store) -> Callable[[], bool]:
    account = an_account()
    assert store.register(account, NOW)
    return lambda: store.register(a_pending_account(key=account.key), NOW)


def resend_in_vain(store: Store) -> Callable[[], bool]:
    account = a_pending_account()
    assert store.register(account, NOW)
    stale, token = replace(account, version=9), MailToken("t", NOW + DAY)
    return lambda: store.set_confirmation(stale, token, NOW)


def resend_for_no_record(store: Store) -> Callable[[], bool]:
    account, token = a_pending_account(), MailToken("t", NOW + DAY)
    return lambda: store.set_confirmation(account, token, NOW)


def send_reset_in_vain(store: Store) -> Callable[[], bool]:
    account = a_pending_account(reset=MailToken("other", NOW + DAY))
    assert store.register(account, NOW)
    stale, token = replace(account, version=9), MailToken("t", NOW + DAY)
    return lambda: store.set_reset(stale, token, NOW)


def send_first_reset_in_vain(store: Store) -> Callable[[], bool]:
    account = a_pending_account()
    assert store.register(account, NOW)
    stale, token = replace(account, version=9), MailToken("t", NOW + DAY)
    return lambda: store.set_reset(stale, token, NOW)


def reset_in_vain(store: Store) -> Callable[[], bool]:
    user, account = a_user_with_account(store)
    account, token_hash = a_reset(store, account)
    changed(store, user)
    return lambda: reset(store, account, user, token_hash)


def create_key_in_vain(store: Store) -> Callable[[], bool]:
    user = changed(store, a_linked_user(store))
    session = only_session(user)
    return lambda: store.create_api_key(user, session, an_api_key(), NOW)


def delete_key_in_vain(store: Store) -> Callable[[], bool]:
    user, key = a_linked_user(store), an_api_key()
    session = only_session(user)
    assert store.create_api_key(user, session, key, NOW)
    user = changed(store, stored(store, user))
    return lambda: store.delete_api_key(user, session, key, NOW)


@pytest.mark.parametrize(
    "stale",
    [
        open_in_vain,
        open_for_no_user,
        first_login_in_vain,
        first_login_of_an_identity_that_is_taken,
        unlink_in_vain,
        unlink_of_a_new_version,
        register_in_vain,
        resend_in_vain,
        resend_for_no_record,
        send_reset_in_vain,
        send_first_reset_in_vain,
        reset_in_vain,
        create_key_in_vain,
        delete_key_in_vain,
    ],
)
def test_given_a_change_in_between_when_a_write_is_unclear_then_it_is_not_done(
    store: Store, wire: Wire, stale: Stale
) -> None:
    """Only what is there afterwards makes a refusal after an unclear attempt ours."""
    write = stale(store)
    wire.faults = [no_connection]

    assert write() is False


def test_given_a_session_that_was_written_when_its_user_changes_then_it_is_ours(
    store: Store, wire: Wire
) -> None:
    user, session = a_linked_user(store), a_session()
    wire.faults = [lost_reply, preceded_by(lambda: changed(store, user))]

    assert store.open_session(user, session, [], NOW)

    after = stored(store, user)
    assert session.id in after.sessions
    assert len(after.identities) == 3


def test_given_a_pending_account_when_confirmed_then_one_call_does_it(
    store: Store, wire: Wire
) -> None:
    account = a_pending_account(confirmation=MailToken("t", NOW + DAY))
    assert store.register(account, NOW)
    del wire.calls[:]

    assert store.confirm(APP, account.key, "t", NOW)

    assert wire.calls == ["UpdateItem"]


def test_given_a_confirmed_account_when_its_token_is_replaced_then_it_is_refused(
    store: Store,
) -> None:
    account = a_pending_account(confirmation=MailToken("t", NOW + DAY))
    assert store.register(account, NOW)
    assert store.confirm(APP, account.key, "t", NOW)

    assert not store.set_confirmation(account, MailToken("new", NOW + DAY), NOW)


def test_given_a_confirm_token_that_was_written_when_it_is_used_then_it_is_ours(
    store: Store, wire: Wire
) -> None:
    account, token = a_pending_account(), MailToken("t", NOW + DAY)
    assert store.register(account, NOW)
    opened = preceded_by(lambda: store.confirm(APP, account.key, token.hash, NOW))
    wire.faults = [lost_reply, opened]

    assert store.set_confirmation(account, token, NOW)

    after = record_of(store, account)
    assert after is not None
    assert (after.state, after.confirmation) == ("confirmed", token)


def test_given_an_account_with_a_reset_token_when_another_is_set_then_it_is_replaced(
    store: Store,
) -> None:
    account = a_pending_account(reset=MailToken("t", NOW + DAY))
    assert store.register(account, NOW)

    assert store.set_reset(account, MailToken("new", NOW + DAY), NOW)

    after = record_of(store, account)
    assert after is not None
    assert after.reset == MailToken("new", NOW + DAY)


def test_given_a_contested_account_when_it_is_confirmed_meanwhile_then_it_is_ours(
    store: Store, wire: Wire
) -> None:
    account = a_pending_account(confirmation=MailToken("t", NOW + DAY))
    assert store.register(account, NOW)
    opened = preceded_by(lambda: store.confirm(APP, account.key, "t", NOW))
    wire.faults = [lost_reply, opened]

    assert store.contest(APP, account.key, NOW)

    after = record_of(store, account)
    assert after is not None
    assert (after.state, after.contested) == ("confirmed", True)


@pytest.mark.parametrize("fault", [throttled, transaction_conflict])
@pytest.mark.parametrize(
    ("stale", "call"),
    [(open_in_vain, "UpdateItem"), (create_key_in_vain, "TransactWriteItems")],
)
def test_given_a_conflict_when_refused_then_it_is_not_taken_for_ours(
    store: Store, wire: Wire, stale: Stale, call: str, fault: Any
) -> None:
    """Nothing was written: there is nothing of ours to look for."""
    write = stale(store)
    wire.faults = [fault]
    del wire.calls[:]

    assert write() is False
    assert wire.calls == [call, call]


def test_given_the_wait_between_attempts_when_repeating_then_it_is_short_and_jittered(
    table: str,
) -> None:
    waits: list[float] = []
    store = Store(table, region="eu-central-1", pause=waits.append)
    wire = Wire()
    wire.attach(store._connection.client)
    wire.always = no_connection

    for _ in range(40):
        with pytest.raises(StoreUnavailable):
            store.get_user(APP, "a" * 24)

    assert len(waits) == 40 * (ATTEMPTS - 1)
    assert len(set(waits)) > len(waits) / 2
    # The longest of 40 is longer than half of what they may be, but for one run in a
    # million millions.
    assert min(waits) >= 0
    assert 0.05 < max(waits[::2]) <= 0.1
    assert 0.1 < max(waits[1::2]) <= 0.2


def test_given_a_store_when_connected_then_its_client_is_made(table: str) -> None:
    """Before threads share it: to make one is not safe among them."""
    store = Store(table, region="eu-central-1")
    assert store._connection._client is None

    store.connect()

    assert store._connection._client is not None


@pytest.mark.parametrize(
    "read",
    [
        # A replica that lags would show a session that has ended, or none at all.
        pytest.param(lambda s: s.get_user(APP, "a" * 24), id="a user"),
        # A revoked key is refused everywhere within five minutes, and not ten.
        pytest.param(lambda s: s.load_ring(), id="the ring"),
        pytest.param(lambda s: s.load_expiry_scan(), id="the scan"),
        pytest.param(lambda s: s.get_identity(APP, USERPASS, "k"), id="a record"),
        pytest.param(lambda s: s.get_account_and_counts(APP, "k", []), id="an account"),
        # Every SDK asks for the profile right after a link.
        pytest.param(
            lambda s: s.get_identity_data(APP, [Identity("i", "p", "k")]),
            id="display data",
        ),
        pytest.param(lambda s: s.marks_of([a_guest()]), id="marks"),
        pytest.param(lambda s: s.get_user_id_of_key(APP, "k", NOW), id="a login key"),
    ],
)
def test_given_an_item_when_read_then_consistently(
    store: Store, wire: Wire, read: Callable[[Store], object]
) -> None:
    read(store)

    (sent,) = wire.bodies
    asked = sent["RequestItems"][TABLE] if "RequestItems" in sent else sent
    assert asked["ConsistentRead"] is True


def test_given_identities_when_displayed_then_only_what_has_a_record_is_read(
    store: Store, wire: Wire
) -> None:
    linked = a_linked_user(store).identities
    del wire.calls[:], wire.bodies[:]

    assert store.get_identity_data(APP, linked[:1]) == [{}]
    assert wire.calls == []

    assert store.get_identity_data(APP, linked) == [{}, {"name": "Ada"}]
    (sent,) = wire.bodies
    assert len(sent["RequestItems"][TABLE]["Keys"]) == 1


def test_given_a_transaction_when_repeated_then_dynamodb_can_tell(
    store: Store, wire: Wire
) -> None:
    for fault in (lost_reply, None):
        wire.faults = [None, fault]
        delete(store)

    first, again, other = (
        body["ClientRequestToken"] for body in wire.bodies if "TransactItems" in body
    )
    assert first == again != other


def test_given_the_client_when_made_then_its_own_retries_are_off(table: str) -> None:
    """botocore would repeat a conditional write and call its own success a failure."""
    store = Store(table, region="eu-north-1", endpoint_url="http://127.0.0.1:8000")

    client = store._connection.client

    assert client.meta.region_name == "eu-north-1"
    assert client.meta.endpoint_url == "http://127.0.0.1:8000"
    config: Any = client.meta.config

    assert config.retries["total_max_attempts"] == 1
    assert (config.connect_timeout, config.read_timeout) == (0.5, 2.0)


def test_given_identities_when_owners_are_asked_for_then_a_scan_tells_them(
    store: Store,
) -> None:
    """Those that are bound, and no API key."""
    user, _ = a_user_with_account(store, a_foreign_identity())
    assert store.register(an_account(), NOW)
    assert store.create_api_key(user, only_session(user), an_api_key(), NOW)

    told = store.scan_users(0, 1, "", UserFilter(with_owners=True))
    plain = store.scan_users(0, 1, "", UserFilter())

    assert sorted(told.owners) == sorted(
        (APP, user.id, each.provider, each.key) for each in user.usable_identities()
    )
    assert (told.users, told.unreadable) == (plain.users, 0)
    assert plain.owners == ()
