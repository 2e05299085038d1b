import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from anonauth.store import Store
from anonauth.tokens import Tokens
from support.contracts.store_contract import APP, DAY, NOW
from support.engine import engines
from support.engine.mix import PooledKeys
from support.engine.racing import Service, assert_all_whole
from support.hostile.dice import dice_of
from support.service.rings import RingInMemory


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A second engine takes as long as the first, so it runs in CI's long step.
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and callspec.params.get("engine") == "ministack":
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="package", params=engines.names())
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[engines.Engine]:
    """Each engine, running."""
    name = request.param
    with engines.running(name, tmp_path_factory.mktemp(name)) as started:
        yield started


@pytest.fixture(scope="class")
def table(engine: engines.Engine) -> Iterator[str]:
    """An empty table, for one class of tests or one test outside of classes."""
    with engine.table() as name:
        yield name


@pytest.fixture(scope="class")
def store(engine: engines.Engine, table: str) -> Iterator[Store]:
    """A store that threads may share."""
    with engine.store(table) as connected:
        yield connected


@pytest.fixture(scope="package")
def tokens() -> Tokens:
    ring = RingInMemory()
    ring.rotate(NOW - 90 * DAY)
    return Tokens(
        ring.open(), app_ids=frozenset({APP}), access_lifetime=timedelta(minutes=30)
    )


@pytest.fixture(scope="package")
def pooled_keys() -> PooledKeys:
    return PooledKeys()


@pytest.fixture
def service(
    engine: engines.Engine, table: str, store: Store, tokens: Tokens
) -> Iterator[Service]:
    """The service; after the test, all its users and identities must be whole."""
    served = Service(store, tokens, engine.db, table)
    yield served
    assert_all_whole(served)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    dice, seed = dice_of("RACE_SEED")
    request.node.add_report_section("call", "dice", seed)
    request.node.user_properties.append(("seed", seed))
    return dice
