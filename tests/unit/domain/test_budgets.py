"""Counters of rate limits: windows, networks within networks, and failures."""

from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain.budgets import Budget, Count, Counter, failures_counter

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def test_given_a_window_when_it_is_over_then_a_new_counter_begins() -> None:
    budget = Budget("kind", 3, timedelta(minutes=15))

    first = budget.counter("app", "who", now=NOON)
    last_second = budget.counter("app", "who", now=NOON + 900 * SECOND - SECOND)
    next_window = budget.counter("app", "who", now=NOON + 900 * SECOND)

    assert first == last_second
    assert first.limit == 3
    assert first.ends_at == NOON + timedelta(minutes=15)
    assert next_window.name != first.name
    assert budget.counter("app", "other", now=NOON).name != first.name


@pytest.mark.parametrize(
    ("limit", "limits"),
    [
        pytest.param(10, (10, 12, 14), id="10"),
        pytest.param(100, (100, 120, 140), id="100"),
        pytest.param(3, (3, 4, 5), id="rounded up"),
        pytest.param(1, (1, 2, 2), id="least"),
    ],
)
def test_given_networks_within_each_other_when_counted_then_limits_rise(
    limit: int, limits: tuple[int, int, int]
) -> None:
    budget = Budget("kind", limit, timedelta(minutes=15))
    networks = ["narrow", "wider", "widest"]

    counter = budget.network_counter("subject", networks=networks, now=NOON)

    assert counter.name.startswith("kind#subject#widest#")
    assert (*counter.parts.values(), counter.limit) == limits
    assert list(counter.parts) == ["0:narr", "1:wide"]


def test_given_one_network_when_counted_then_its_counter_has_no_parts() -> None:
    budget = Budget("kind", 3, timedelta(minutes=15))

    counter = budget.network_counter("subject", networks=["one"], now=NOON)

    assert counter == budget.counter("subject", "one", now=NOON)
    assert counter.narrowest() == counter


@pytest.mark.parametrize(
    ("count", "is_spent", "narrowest_is"),
    [
        pytest.param(Count(), False, False, id="nothing"),
        pytest.param(Count(13, {"0:a": 9, "1:b": 11}), False, False, id="one left"),
        pytest.param(Count(13, {"0:a": 10, "1:b": 11}), True, True, id="narrowest"),
        pytest.param(Count(13, {"0:a": 9, "1:b": 12}), True, False, id="wider"),
        pytest.param(Count(14, {"0:a": 9, "1:b": 11}), True, False, id="widest"),
        pytest.param(Count(13, {"0:other": 10}), False, False, id="another one"),
    ],
)
def test_given_counts_of_networks_when_one_is_spent_then_the_counter_is_spent(
    count: Count, is_spent: bool, narrowest_is: bool
) -> None:
    counter = Counter("name", 14, NOON, {"0:a": 10, "1:b": 12})

    assert counter.is_spent(count) == is_spent
    assert counter.narrowest().is_spent(count) == narrowest_is


def test_given_failures_when_15_minutes_are_over_then_only_the_part_is_new() -> None:
    first = failures_counter("app", "key", NOON, limit=100)
    last = failures_counter("app", "key", NOON + timedelta(minutes=15) - SECOND)
    other = failures_counter("app", "key", NOON + timedelta(minutes=15))

    assert first.name == other.name
    assert first.ends_at == NOON + timedelta(minutes=15)
    assert list(first.parts.values()) == [100]
    assert first.parts.keys() == last.parts.keys() != other.parts.keys()
    assert first.kept_until == NOON + 30 * DAY
