"""The live table's stream after an hour without a call: iterators live for 15 minutes.

On ministack, whose iterators say when they were issued; those of dynoxide do not end.
"""

import base64
import json
from collections.abc import Iterator

import pytest

from anonauth.cli.live_table import LiveTable
from anonauth.domain import User
from anonauth.store import Store
from engine import engines
from store_contract import NOW, a_guest

pytestmark = pytest.mark.parametrize(
    "engine", ["ministack"], indirect=True, scope="package"
)


@pytest.fixture
def table(engine: engines.Engine) -> Iterator[str]:
    with engine.table(has_stream=True) as name:
        yield name


@pytest.fixture
def store(engine: engines.Engine, table: str) -> Iterator[Store]:
    with engine.store(table) as connected:
        yield connected


def opened(engine: engines.Engine, table: str) -> LiveTable:
    return LiveTable(table, engine.endpoint_url, lambda: NOW)


def stored(store: Store, number: int) -> list[User]:
    guests = [a_guest() for _ in range(number)]
    for guest in guests:
        store.create_user(guest)
    return guests


def told(live: LiveTable, store: Store) -> list[User | None]:
    changes = map(store.read_change, live.changes())
    return [change.after for change in changes if change is not None]


def pass_an_hour(live: LiveTable) -> None:
    for shard in live._shards.values():
        issued = json.loads(base64.b64decode(shard.iterator or ""))
        issued["i"] -= 3600
        shard.iterator = base64.b64encode(json.dumps(issued).encode()).decode()


@pytest.mark.parametrize("told_before", [0, 2])
def test_given_an_idle_hour_when_users_come_then_each_is_told_once(
    engine: engines.Engine, table: str, store: Store, told_before: int
) -> None:
    live = opened(engine, table)
    before = stored(store, told_before)
    assert told(live, store) == before
    pass_an_hour(live)

    later = stored(store, 3)

    assert told(live, store) == later
    assert told(live, store) == []


def test_given_an_idle_hour_after_the_start_then_what_was_before_it_is_not_told(
    engine: engines.Engine, table: str, store: Store
) -> None:
    stored(store, 2)
    live = opened(engine, table)
    pass_an_hour(live)

    assert told(live, store) == []
