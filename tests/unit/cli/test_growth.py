"""The local service with more and more users: counted, never timed."""

import cProfile
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table

from anonauth.cli.serve import LocalServer
from served import (
    Direct,
    crowd,
    delete,
    link,
    log_in,
    log_out,
    refresh,
    register,
    serving,
)

USERS = 400

MOST_BYTES = 8_000
"""Of a guest: 5 KB are moto's item. It was 25 KB with all that was never dropped."""


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving() as running:
        yield running


def kept(server: LocalServer, act: Callable[[], Any], *, times: int = 40) -> float:
    """Return the bytes that stay of an act that is done again and again."""
    for _ in range(10):
        act()
    tracemalloc.start()
    try:
        before = _traced(server)
        for _ in range(times):
            act()
        return (_traced(server) - before) / times
    finally:
        tracemalloc.stop()


def _traced(server: LocalServer) -> int:
    server.stack.events.clear()  # of which the newest are kept, to be looked at
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def calls_of(act: Callable[[], Any]) -> int:
    """Return how many calls Python makes."""
    profile = cProfile.Profile()
    profile.runcall(act)
    return sum(each.callcount for each in profile.getstats())


def test_given_logins_when_counted_then_little_but_the_users_is_kept(
    server: LocalServer,
) -> None:
    client = Direct(server)

    assert kept(server, lambda: log_in(client)) < MOST_BYTES


def test_given_sessions_that_end_when_counted_then_nothing_of_them_is_kept(
    server: LocalServer,
) -> None:
    client = Direct(server)
    guest = log_in(client)

    # botocore's caches fill, up to a hundred entries.
    assert kept(server, lambda: log_out(client, log_in(client))) < 4_000
    assert kept(server, lambda: refresh(client, guest)) < 4_000


def test_given_more_users_when_calls_are_counted_then_each_costs_what_it_did(
    server: LocalServer,
) -> None:
    client = Direct(server)

    def counted() -> dict[str, int]:
        guests = [log_in(client) for _ in range(4)]
        address = register(client)
        return {
            "login": calls_of(lambda: log_in(client)),
            "refresh": calls_of(lambda: refresh(client, guests[0])),
            "logout": calls_of(lambda: log_out(client, guests[1])),
            "delete": calls_of(lambda: delete(client, guests[2])),
            "link": calls_of(lambda: link(client, guests[3], address)),
        }

    counted()  # the first calls read what botocore knows of AWS
    few = counted()
    crowd(server, USERS)
    many = counted()

    grown = {name: many[name] / few[name] for name in few}
    assert max(grown.values()) < 1.1, grown


def test_given_more_users_when_the_clock_jumps_then_none_is_read_that_is_not_due(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(Direct(server))
    server.advance(timedelta(days=1))

    few = calls_of(lambda: server.advance(timedelta(days=30)))
    crowd(server, USERS)
    many = calls_of(lambda: server.advance(timedelta(days=30)))

    assert many / few < 1.1


def test_given_more_users_when_one_links_then_nothing_is_copied_but_its_items(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Direct(server)
    crowd(server, USERS)
    guest, address = log_in(client), register(client)
    copied: list[str] = []
    copy_item = Item.__deepcopy__

    def note(self: Any, memo: Any) -> Any:
        copied.append(self.hash_key.value)
        return copy_item(self, memo)

    monkeypatch.setattr(Item, "__deepcopy__", note)
    monkeypatch.setattr(Table, "scan", None)  # nobody looks for anything

    link(client, guest, address)

    assert copied
    assert len(copied) < 10, copied
