"""The cost of calls to the local service as users grow: counted, never timed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table

from anonauth.local.server import LocalServer
from support.service.served import (
    MOST_BYTES,
    Direct,
    calls_by_operation,
    calls_of,
    crowd,
    kept,
    link,
    log_in,
    log_out,
    refresh,
    register,
    serving,
)

USERS = 400


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving() as running:
        yield running


def test_given_logins_when_counted_then_little_but_the_users_is_kept(
    server: LocalServer,
) -> None:
    client = Direct(server)

    assert kept(server, lambda: log_in(client)) < MOST_BYTES


@pytest.mark.long
def test_given_sessions_that_end_when_counted_then_nothing_is_kept(
    server: LocalServer,
) -> None:
    client = Direct(server)

    def come_and_go() -> None:
        guest = log_in(client)
        refresh(client, guest)
        log_out(client, guest)

    # New entries in botocore's caches, which hold a hundred, look as if they stayed.
    assert kept(server, come_and_go, times=20) < 6_000


def test_given_more_users_when_calls_are_counted_then_each_costs_the_same(
    server: LocalServer,
) -> None:
    client = Direct(server)

    calls_by_operation(client)  # the first calls load botocore's service models
    few = calls_by_operation(client)
    crowd(server, USERS)
    many = calls_by_operation(client)

    grown = {name: many[name] / few[name] for name in few}
    assert max(grown.values()) < 1.1, grown


def test_given_more_users_when_the_clock_jumps_then_only_due_users_are_read(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(Direct(server))
    server.advance(timedelta(days=1))

    few = calls_of(lambda: server.advance(timedelta(days=30)))
    crowd(server, USERS)
    many = calls_of(lambda: server.advance(timedelta(days=30)))

    assert many / few < 1.1


def test_given_more_users_when_one_links_then_only_its_items_are_copied(
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
    monkeypatch.setattr(Table, "scan", None)  # no call may scan the table

    link(client, guest, address)

    assert copied
    assert len(copied) < 10, copied
