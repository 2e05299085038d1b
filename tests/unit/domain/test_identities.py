"""The networks that an account remembers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain.identities import MOST_NETWORKS, IdentityRecord
from anonauth.domain.providers import USERPASS

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def a_record(**networks: int) -> IdentityRecord:
    """Return a record that noted these networks so many days ago."""
    record = IdentityRecord("app", USERPASS, "key", "id", "bound", user_id="user")
    for network, days in networks.items():
        noted = record.networks_with(network, NOON - days * DAY)
        assert noted is not None
        record = replace(record, networks={**record.networks, **noted})
    return record


@pytest.mark.parametrize(
    ("days", "is_due"),
    [
        pytest.param(0, False, id="today"),
        pytest.param(6, False, id="six days ago"),
        pytest.param(7, True, id="seven days ago"),
    ],
)
def test_given_a_network_that_is_known_when_noted_then_once_a_week(
    days: int, is_due: bool
) -> None:
    record = a_record(home=days)

    networks = record.networks_with("home", NOON)

    assert record.knows("home")
    assert not record.knows("elsewhere")
    assert (networks is not None) == is_due
    if networks is not None:
        assert list(networks.values()) == [NOON.date()]


def test_given_the_most_networks_when_one_is_added_then_the_oldest_is_removed() -> None:
    known = {f"n{days}": days for days in range(1, MOST_NETWORKS + 1)}
    record = a_record(**dict(sorted(known.items(), key=lambda item: -item[1])))

    networks = record.networks_with("new", NOON)

    assert networks is not None
    after = replace(record, networks=networks)
    assert len(networks) == MOST_NETWORKS
    assert [name for name in (*known, "new") if not after.knows(name)] == ["n8"]
