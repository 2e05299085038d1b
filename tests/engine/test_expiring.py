"""The store's contracts for events, on engines that are no fakes of ours."""

from dataclasses import replace

from anonauth.store import Store
from support.contracts.events_contract import (
    ExpiringContract,
    RequestedContract,
    next_scan,
)
from support.engine import engines
from support.engine.racing import CALLERS, race


class TestExpiringOnEngines(ExpiringContract):
    """`conftest` provides `store`, on each engine."""


class TestRequestedOnEngines(RequestedContract):
    """`conftest` provides `store`, on each engine."""


def test_given_no_scan_yet_when_loaded_then_there_is_none(store: Store) -> None:
    assert store.load_expiry_scan() is None


def test_given_runs_at_the_same_moment_when_they_save_then_one_of_them_does(
    store: Store, engine: engines.Engine
) -> None:
    """EventBridge may start a schedule twice, and a slow run meets the next one."""
    for _ in range(engine.rounds):
        scan = next_scan(store)
        rivals = [replace(scan, positions={n: ""}) for n in range(CALLERS)]

        outcomes = race(
            *(lambda r=rival: store.save_expiry_scan(r) for rival in rivals)
        )

        assert outcomes.count(True) == 1
        assert store.load_expiry_scan() == rivals[outcomes.index(True)]
