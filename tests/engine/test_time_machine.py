"""The time machine with the real store and real tokens, on a fast engine.

It covers what `unit/service/test_time_machine.py` cannot: the conditions and the TTL
that are sent to DynamoDB, and keys that rotate.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anonauth.store import Store
from anonauth.tokens import Tokens
from support.contracts.store_contract import APP, NOW
from support.engine.racing import Service
from support.service.rings import RingInMemory
from support.time_machine import (
    TimeMachine,
    World,
    assert_kept,
    assert_not_vacuous,
    new_dice,
)

USERS = 100
DAYS = 400


@pytest.mark.long
@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
def test_given_users_of_all_habits_when_400_days_pass_then_each_dies_on_the_second(
    service: Service, record_property: Callable[[str, object], None]
) -> None:
    dice, seed = new_dice()
    record_property("seed", seed)
    ring = RingInMemory()
    ring.rotate(NOW)
    half_an_hour = timedelta(minutes=30)
    tokens = Tokens(ring.open(), app_ids=frozenset({APP}), access_lifetime=half_an_hour)

    with counted_ttl_writes(service.store) as ttl_writes:
        world = World(
            replace(service, tokens=tokens),
            sweep=service.sweep,
            ttl_writes=lambda: len(ttl_writes),
            each_day=ring.rotate,
        )
        figures = TimeMachine(world, dice, users=USERS, days=DAYS).run()

    record_property("figures", f"{USERS} at a time for {DAYS} days: {figures}")
    assert_kept(figures)
    assert_not_vacuous(figures, USERS)


@contextmanager
def counted_ttl_writes(store: Store) -> Iterator[list[str]]:
    """Record the operations that set a user's TTL, refused or not."""
    events = store._connection.client.meta.events
    written: list[str] = []

    def note(params: dict[str, Any], event_name: str, **_: Any) -> None:
        for write in _writes(params):
            key = write.get("Item") or write["Key"]
            if key["pk"]["S"].startswith("USER#") and _sets_ttl(write):
                written.append(event_name)

    for operation in ("PutItem", "UpdateItem", "TransactWriteItems"):
        events.register(f"provide-client-params.dynamodb.{operation}", note)
    try:
        yield written
    finally:
        for operation in ("PutItem", "UpdateItem", "TransactWriteItems"):
            events.unregister(f"provide-client-params.dynamodb.{operation}", note)


def _writes(params: dict[str, Any]) -> list[dict[str, Any]]:
    if "TransactItems" not in params:
        return [params]
    return [write for item in params["TransactItems"] for write in item.values()]


def _sets_ttl(write: dict[str, Any]) -> bool:
    if "Item" in write:
        return "ttl" in write["Item"]
    # "SET #0 = :0, … REMOVE …": a link only removes it.
    kept, _, _ = write.get("UpdateExpression", "").partition("REMOVE")
    names = write.get("ExpressionAttributeNames", {})
    return any(name == "ttl" and f"{place} =" in kept for place, name in names.items())
