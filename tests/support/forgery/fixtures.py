"""Fixtures of the foreign providers: real key servers on loopback."""

from collections.abc import Iterator

import pytest

from anonauth.issuers.fetch import Fetcher
from anonauth.issuers.key_sets import KeySets
from support.forgery.key_server import KeyServer, Signer


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with KeyServer() as server:
        yield server


@pytest.fixture
def fetcher() -> Fetcher:
    """As in the local stack: it may fetch from loopback, by http."""
    return Fetcher(allow_private=True)


@pytest.fixture
def key_sets(fetcher: Fetcher) -> KeySets:
    return KeySets(fetcher)


@pytest.fixture(scope="session")
def signer() -> Signer:
    """An RS256 key; making one is slow."""
    return Signer()


@pytest.fixture(scope="session")
def stranger() -> Signer:
    """Somebody else's key, under the same key id."""
    return Signer()
