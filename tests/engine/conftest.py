from collections.abc import Iterator

import pytest

from anonauth.store import Store
from engine import engines


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
    """An empty table, for one class of tests or one test outside of any."""
    with engine.table() as name:
        yield name


@pytest.fixture(scope="class")
def store(engine: engines.Engine, table: str) -> Iterator[Store]:
    """A store that threads may share."""
    with engine.store(table) as connected:
        yield connected
