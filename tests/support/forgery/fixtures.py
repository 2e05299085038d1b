"""Fixtures for providers with other issuers: real key servers on loopback."""

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
    """A fetcher that may use loopback and http, as in the local stack."""
    return Fetcher(allow_private=True)


@pytest.fixture
def key_sets(fetcher: Fetcher) -> KeySets:
    return KeySets(fetcher)


@pytest.fixture(scope="session")
def signer() -> Signer:
    """An issuer with an RS256 key, which is slow to make."""
    return Signer()


@pytest.fixture(scope="session")
def stranger() -> Signer:
    """An issuer with another key under the same key id."""
    return Signer()
