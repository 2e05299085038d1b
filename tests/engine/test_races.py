"""Many callers and one guest: who wins is open, what may be left behind is not.

A failure says what everyone did, and with `RACE_SEED` set they do it again; not always
in the order in which it happened.
"""

import os
import random
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain import Device, User, expiry_after
from anonauth.errors import AuthError, InvalidSession, SessionNotFound
from anonauth.keys import KeyMaker
from anonauth.store import Store
from anonauth.tokens import Tokens
from anonauth.usecases.keys import rotate_keys
from anonauth.usecases.login import OpenedSession, log_in_anonymously
from anonauth.usecases.logout import log_out
from anonauth.usecases.profile import delete_user, read_profile
from anonauth.usecases.session import refresh
from engine.engines import Engine
from rings import RingInMemory, TaggedWrapping
from store_contract import APP, DAY, NOW

HOST = "https://anonauth.example"
CALLERS = 8
LONG_AGO = NOW - 90 * DAY  # who logged in then expires within a day of NOW

KEEPING = ("refresh", "refresh", "read")
ENDING = ("log out", "delete", "sweep")

T = TypeVar("T")
Item = dict[str, Any]


@dataclass(frozen=True)
class Act:
    """What a caller does, and what its clock says then."""

    name: str
    now: datetime

    def __repr__(self) -> str:
        return f"{self.name} on {self.now:%m-%d}"


@dataclass(frozen=True)
class Service:
    """The use cases on one table; `db` looks at the items behind them."""

    store: Store
    tokens: Tokens
    db: DynamoDBClient
    table: str

    def log_in(self, now: datetime = NOW) -> OpenedSession:
        return log_in_anonymously(
            APP,
            link=False,
            device=Device(),
            base_url=HOST,
            users=self.store,
            tokens=self.tokens,
            now=now,
        )

    def refresh(self, guest: OpenedSession, now: datetime) -> str:
        return refresh(
            guest.refresh_token,
            base_url=HOST,
            users=self.store,
            tokens=self.tokens,
            now=now,
        )

    def log_out(self, guest: OpenedSession, now: datetime) -> None:
        log_out(guest.refresh_token, users=self.store, tokens=self.tokens, now=now)

    def read(self, guest: OpenedSession, now: datetime) -> User:
        token = self._access_token(guest, now)
        return read_profile(token, users=self.store, tokens=self.tokens, now=now)

    def delete(self, guest: OpenedSession, now: datetime) -> None:
        token = self._access_token(guest, now)
        delete_user(token, users=self.store, tokens=self.tokens, now=now)

    def sweep(self, guest: OpenedSession, now: datetime) -> bool:
        """Delete as DynamoDB's TTL does; tell whether it was time."""
        return self._written(
            self.db.delete_item,
            guest,
            ConditionExpression="#ttl < :now",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={":now": {"N": str(int(now.timestamp()))}},
        )

    def link(self, guest: OpenedSession) -> bool:
        """Make the user permanent as a link will (design §4), identities aside."""
        return self._written(
            self.db.update_item,
            guest,
            UpdateExpression=(
                "SET anonymous = :no, version = :next REMOVE expires_at, #ttl"
            ),
            ConditionExpression="anonymous = :yes AND version = :read",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={
                ":yes": {"BOOL": True},
                ":no": {"BOOL": False},
                ":read": {"N": "1"},
                ":next": {"N": "2"},
            },
        )

    def perform(self, act: Act, guest: OpenedSession) -> bool:
        """Act; True if it took effect, False if there was nothing to sweep yet."""
        match act.name:
            case "refresh":
                self.refresh(guest, act.now)
            case "read":
                assert self.read(guest, act.now).id == guest.user.id
            case "log out":
                self.log_out(guest, act.now)
            case "delete":
                self.delete(guest, act.now)
            case "sweep":
                return self.sweep(guest, act.now)
            case _:
                raise AssertionError(act)
        return True

    def item(self, guest: OpenedSession, kind: str = "USER") -> Item | None:
        answer = self.db.get_item(
            TableName=self.table,
            Key={"pk": {"S": f"{kind}#{APP}#{guest.user.id}"}},
            ConsistentRead=True,
        )
        return answer.get("Item")

    def users(self) -> list[Item]:
        """Return the item of every user, and whatever else claims to be one."""
        pages = self.db.get_paginator("scan").paginate(
            TableName=self.table, ConsistentRead=True
        )
        return [
            item
            for page in pages
            for item in page["Items"]
            if item["pk"]["S"].startswith("USER#")
        ]

    def _access_token(self, guest: OpenedSession, now: datetime) -> str:
        return self.tokens.access_token(
            guest.user, guest.session, base_url=HOST, now=now
        )

    def _written(
        self, operation: Callable[..., Any], guest: OpenedSession, **how: Any
    ) -> bool:
        key = {"pk": {"S": f"USER#{APP}#{guest.user.id}"}}
        try:
            operation(TableName=self.table, Key=key, **how)
        except self.db.exceptions.ConditionalCheckFailedException:
            return False
        return True


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    ring = RingInMemory()
    ring.rotate(LONG_AGO)
    return Tokens(
        ring.open(), app_ids=frozenset({APP}), access_lifetime=timedelta(minutes=30)
    )


@pytest.fixture
def service(
    engine: Engine, table: str, store: Store, tokens: Tokens
) -> Iterator[Service]:
    """The service; after the test, no user of it may be broken."""
    served = Service(store, tokens, engine.db, table)
    yield served
    for item in served.users():
        assert_whole(item)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    seed = os.environ.get("RACE_SEED") or secrets.token_hex(4)
    request.node.add_report_section("call", "dice", f"RACE_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - deals out roles, not secrets


def race(*calls: Callable[[], T]) -> list[T | AuthError]:
    """Make these calls at the same moment; return what each gets, or its refusal."""
    line = Barrier(len(calls), timeout=10)

    def run(call: Callable[[], T]) -> T | AuthError:
        line.wait()
        try:
            return call()
        except AuthError as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def assert_whole(item: Item) -> None:
    """Check the invariants of design §4 that one user's item can break."""
    assert item.keys() >= {"state", "anonymous", "version", "sessions"}, item
    if item["anonymous"]["BOOL"]:
        day_after_expiry = int(item["expires_at"]["N"]) + 24 * 3600
        assert int(item["ttl"]["N"]) == day_after_expiry, item
    else:
        assert not {"ttl", "expires_at"} & item.keys(), item


def roles(dice: random.Random, *, expiring: bool) -> list[Act]:
    """Deal out what the callers of a round do.

    Their clocks are up to two days apart, but agree on whether the guest has expired.
    The sweeper's is ahead of all: where it should be, it would never meet the others
    (design §4, TTL).
    """
    enders = dice.choice((0, 1, 2, CALLERS))
    names = dice.choices(ENDING, k=enders) + dice.choices(KEEPING, k=CALLERS - enders)
    dice.shuffle(names)
    days = (0,) if expiring else (0, 1, 2)
    return [
        Act(name, NOW + (2 if name == "sweep" else dice.choice(days)) * DAY)
        for name in names
    ]


def test_given_callers_of_all_kinds_when_they_race_then_the_guest_is_whole_or_gone(
    service: Service, engine: Engine, dice: random.Random
) -> None:
    for _ in range(engine.rounds):
        expiring = dice.random() < 0.5
        guest = service.log_in(LONG_AGO if expiring else NOW)
        acts = roles(dice, expiring=expiring)

        outcomes = race(*[partial(service.perform, act, guest) for act in acts])

        played = list(zip(acts, outcomes, strict=True))
        try:
            assert_legal(service, guest, played)
        except AssertionError as broken:
            broken.add_note(f"logged in at {guest.user.created_at}, then {played}")
            raise


def assert_legal(
    service: Service, guest: OpenedSession, played: list[tuple[Act, bool | AuthError]]
) -> None:
    """Check that some order of these acts explains all that came of them."""
    took_effect = [act for act, outcome in played if outcome is True]
    refusals = [outcome for _, outcome in played if isinstance(outcome, AuthError)]
    ends = [act.name for act in took_effect if act.name in ENDING]
    item = service.item(guest)
    mark = service.item(guest, "GONE")

    # A second end would mean that the guest had been there again.
    assert len(ends) == (0 if item else 1)
    assert bool(mark) == (ends == ["delete"])
    assert all(isinstance(refusal, InvalidSession) for refusal in refusals)
    assert ends or not refusals
    if item is None:
        assert_refused(service, guest)
        assert service.item(guest) is None
        return
    assert_whole(item)
    refreshes = [act.now for act in took_effect if act.name == "refresh"]
    last_use = max([guest.user.created_at, *refreshes])
    assert int(item["expires_at"]["N"]) == expiry_after(last_use).timestamp()
    assert item["last_active_day"]["S"] == f"{last_use:%Y-%m-%d}"
    assert service.refresh(guest, NOW)


def assert_refused(service: Service, guest: OpenedSession) -> None:
    with pytest.raises(SessionNotFound):
        service.refresh(guest, NOW)
    with pytest.raises(InvalidSession):
        service.read(guest, NOW)


def test_given_a_new_day_when_64_refresh_at_once_then_one_write_takes_effect(
    service: Service,
) -> None:
    for _ in range(10):
        guest = service.log_in()

        with counted_updates(service.store) as statuses:
            outcomes = race(*[partial(service.refresh, guest, NOW + DAY)] * 64)

        assert all(isinstance(outcome, str) for outcome in outcomes), outcomes
        assert statuses.count(200) == 1
        after = service.item(guest)
        assert after is not None
        expiry = expiry_after(NOW + DAY).timestamp()
        assert int(after["expires_at"]["N"]) == expiry


@contextmanager
def counted_updates(store: Store) -> Iterator[list[int]]:
    """Collect the HTTP status of each UpdateItem."""
    statuses: list[int] = []

    def note(http_response: Any, **_: Any) -> None:
        statuses.append(http_response.status_code)

    client: Any = store._connection.client
    client.meta.events.register("after-call.dynamodb.UpdateItem", note)
    try:
        yield statuses
    finally:
        client.meta.events.unregister("after-call.dynamodb.UpdateItem", note)


def test_given_one_guest_when_all_log_out_at_once_then_one_of_them_has_done_it(
    service: Service,
) -> None:
    for _ in range(20):
        guest = service.log_in()

        outcomes = race(*[partial(service.log_out, guest, NOW)] * CALLERS)

        refusals = [outcome for outcome in outcomes if outcome is not None]
        assert len(refusals) == CALLERS - 1
        assert all(type(refusal) is SessionNotFound for refusal in refusals)
        assert service.item(guest) is None


def test_given_no_ring_when_all_rotate_at_once_then_all_have_the_same_one(
    service: Service,
) -> None:
    keys = KeyMaker(TaggedWrapping())
    for _ in range(5):
        service.db.delete_item(TableName=service.table, Key={"pk": {"S": "KEY#ring"}})

        rings = race(
            *[partial(rotate_keys, rings=service.store, keys=keys, now=NOW)] * CALLERS
        )

        kept = service.store.load_ring(consistent=True)
        assert kept is not None
        assert kept.version == 1
        assert [key.use for key in kept.keys] == ["refresh", "access"]
        assert rings == [kept] * CALLERS


def link_while_refreshing(service: Service) -> tuple[OpenedSession, list[object]]:
    """Refresh on a new day while the guest becomes permanent."""
    guest = service.log_in()
    refreshing: Callable[[], object] = partial(service.refresh, guest, NOW + DAY)
    linking: Callable[[], object] = partial(service.link, guest)
    return guest, race(*[refreshing] * (CALLERS - 1), linking)


def test_given_a_link_when_stale_readers_refresh_then_the_user_stays_permanent(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds):
        guest, outcomes = link_while_refreshing(service)

        assert all(isinstance(token, str) for token in outcomes[:-1]), outcomes
        assert outcomes[-1] is True
        item = service.item(guest)
        assert item is not None
        assert item["anonymous"] == {"BOOL": False}
        assert item["last_active_day"]["S"] == f"{NOW + DAY:%Y-%m-%d}"
        assert_whole(item)


class WithoutTheGuard:
    """An update that leaves out what `record_activity` puts last in its condition."""

    def update(self, actions: Any, condition: Any) -> Any:
        others, guard = condition.values
        assert str(guard).startswith("anonymous = ")
        return super().update(actions, others)  # type: ignore[misc]


def test_given_a_store_without_the_guard_when_the_same_race_is_run_then_it_is_seen(
    engine: Engine, table: str, store: Store, tokens: Tokens
) -> None:
    """The test above can fail: stale readers do come, and too late."""
    store._user_item = type("UserItem", (WithoutTheGuard, store._user_item), {})
    unguarded = Service(store, tokens, engine.db, table)

    def is_undone() -> bool:
        guest, _ = link_while_refreshing(unguarded)
        item = unguarded.item(guest)
        assert item is not None
        return not item["anonymous"]["BOOL"] and "ttl" in item

    assert any(is_undone() for _ in range(150))
