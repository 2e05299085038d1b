"""A run of `anonauth restore`: killed, throttled, and how far it tells it has come."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.cli.restore.actions import Backup, RestoreRun, RingPlan, describe_restore
from anonauth.domain.restoring import RestoreRules
from anonauth.errors import StoreUnavailable
from anonauth.store import Store
from support.contracts.identity_contract import a_linked_user, a_stored_guest
from support.contracts.store_contract import NOW, SECOND, a_guest
from support.memory_store import MemoryStore
from support.service.harness import Clients, Deployment, make_table
from support.service.wire import (
    Fault,
    Forward,
    access_denied,
    lost_reply,
    no_connection,
    server_error,
    throttled,
    transaction_conflict,
)

BACKUP = "anonauth-restored"
GUESTS = RestoreRules(guests=True)
USERS = 6


class Killed(BaseException):
    """Stands for Ctrl-C or another end of the process."""


@pytest.fixture
def backup(db: DynamoDBClient, clients: Clients) -> Iterator[Store]:
    """A table of a few guests and permanent users."""
    make_table(db, BACKUP, has_stream=False)
    store = clients.store(BACKUP)
    for number in range(USERS):
        if number % 2:
            a_linked_user(store)
        else:
            a_stored_guest(store)
    clients.wire.reset()
    yield store
    db.delete_table(TableName=BACKUP)


def on_write(clients: Clients, fault: Fault, numbers: range) -> None:
    """Make the transactions with these numbers fail."""
    count = iter(range(10_000))

    def maybe(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
        if clients.wire.calls[-1] != "TransactWriteItems" or next(count) not in numbers:
            return forward()
        return fault(request, forward)

    clients.wire.always = maybe


@pytest.mark.parametrize("takes_effect", [True, False])
@pytest.mark.parametrize("at", range(USERS))
def test_given_a_run_that_is_killed_when_run_again_then_it_restores_the_others(
    store: Store,
    backup: Store,
    clients: Clients,
    capsys: pytest.CaptureFixture[str],
    at: int,
    takes_effect: bool,
) -> None:
    def kill(_: AWSPreparedRequest, forward: Forward) -> None:
        if takes_effect:
            forward()
        raise Killed

    on_write(clients, kill, range(at, at + 1))
    run = RestoreRun(store, backup, GUESTS, NOW, segments=1)
    with pytest.raises(Killed):
        run.run(run.find_lost_users(), is_dry=False)
    told = capsys.readouterr().err
    clients.wire.reset()

    later = replace(run, now=NOW + SECOND)
    counts = later.run(later.find_lost_users(), is_dry=False)

    assert told == f"not complete; users written: {at}; run it again to continue\n"
    done = at + takes_effect
    assert (counts.outcomes["present"], counts.written) == (done, USERS - done)
    taken = [name for name, _ in clients.wire.taken]
    assert taken.count("TransactWriteItems") == USERS - done
    assert counts.conflicts == []


@pytest.mark.parametrize(
    "fault", [throttled, no_connection, lost_reply, server_error, transaction_conflict]
)
@pytest.mark.parametrize("fails", ["TransactWriteItems", "BatchGetItem", "Scan"])
def test_given_a_table_that_fails_for_a_while_when_run_then_it_waits_and_goes_on(
    store: Store, backup: Store, clients: Clients, fails: str, fault: Fault
) -> None:
    left = [fault] * 10

    def maybe(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
        if clients.wire.calls[-1] == fails and left:
            return left.pop()(request, forward)
        return forward()

    clients.wire.always = maybe
    pauses: list[float] = []
    run = RestoreRun(store, backup, GUESTS, NOW, segments=1, pause=pauses.append)

    counts = run.run({}, is_dry=False)

    assert counts.written == USERS
    has_own_patience = (fault, fails) == (transaction_conflict, "TransactWriteItems")
    # Three attempts each, and the fourth has one.
    assert len(pauses) == (0 if has_own_patience else 3)
    assert all(0 <= pause <= 5 for pause in pauses)


def test_given_a_table_that_throttles_for_ever_when_run_then_it_ends(
    store: Store, backup: Store, clients: Clients
) -> None:
    on_write(clients, throttled, range(10_000))
    pauses: list[float] = []
    run = RestoreRun(store, backup, GUESTS, NOW, segments=1, pause=pauses.append)

    with pytest.raises(StoreUnavailable):
        run.run({}, is_dry=False)

    assert len(pauses) == 39


def test_given_a_policy_that_forbids_when_run_then_it_ends_at_once(
    store: Store, backup: Store, clients: Clients
) -> None:
    on_write(clients, access_denied, range(10_000))
    pauses: list[float] = []
    run = RestoreRun(store, backup, GUESTS, NOW, segments=1, pause=pauses.append)

    with pytest.raises(StoreUnavailable):
        run.run({}, is_dry=False)

    assert pauses == []


@pytest.mark.parametrize(
    ("users", "told"),
    [
        pytest.param(999, "", id="few"),
        pytest.param(1000, "users: 1,000, written: 1,000\n", id="a thousand"),
    ],
)
def test_given_many_users_when_run_then_a_line_tells_of_each_thousand(
    capsys: pytest.CaptureFixture[str], users: int, told: str
) -> None:
    backup, live = MemoryStore(), MemoryStore()
    backup.page_size = 300
    for _ in range(users):
        backup.create_user(a_guest())
    run = RestoreRun(live, backup, GUESTS, NOW, segments=1)

    dry = run.run({}, is_dry=True)
    assert (dry.written, live.users) == (users, {})
    assert capsys.readouterr().err == ""

    assert run.run({}, is_dry=False).written == users
    assert len(live.users) == users
    assert capsys.readouterr().err == told


def test_given_several_threads_when_run_then_each_user_is_restored_once() -> None:
    backup, live = MemoryStore(), MemoryStore()
    backup.page_size = 7
    for _ in range(100):
        backup.create_user(a_guest())

    counts = RestoreRun(live, backup, GUESTS, NOW, segments=5).run({}, is_dry=False)

    assert (counts.written, counts.outcomes.total()) == (100, 100)
    assert live.users.keys() == backup.users.keys()


def described(
    new_service: Deployment,
    *,
    age: timedelta,
    verifies: bool = True,
    guests: bool = True,
) -> str:
    backup = Backup(new_service.services, BACKUP, 0, NOW - age)
    ring = RingPlan(makes_ring=False, former=(), verifies=verifies, notes=())
    return "\n".join(
        describe_restore(
            backup, ring, place="table 't'", guests=guests, archive=None, now=NOW
        )
    )


@pytest.mark.parametrize(
    ("age", "is_warned"),
    [
        pytest.param(timedelta(days=30), False, id="30 days"),
        pytest.param(timedelta(days=30, seconds=1), True, id="a second more"),
    ],
)
def test_given_an_old_backup_when_described_then_it_warns_of_deleted_users(
    new_service: Deployment, age: timedelta, is_warned: bool
) -> None:
    """A deletion mark lasts for 30 days, and point-in-time recovery for 35."""
    told = described(new_service, age=age)

    assert ("USERS DELETED EARLIER COME BACK" in told) is is_warned
    assert "as of 2026-0" in told


@pytest.mark.parametrize(
    ("verifies", "guests", "is_told"),
    [(True, True, False), (False, True, True), (False, False, False)],
)
def test_given_no_refresh_key_when_described_then_it_says_that_guests_stay_out(
    new_service: Deployment, verifies: bool, guests: bool, is_told: bool
) -> None:
    told = described(new_service, age=timedelta(), verifies=verifies, guests=guests)

    assert ("Guests stay out all the same" in told) is is_told
