"""Many callers and one guest: any of them may win, but the result has to be whole.

The acts are fixed here; `test_mix_races` draws them with dice.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from anonauth.domain.expiry import expiry_after
from anonauth.errors import SessionNotFound
from anonauth.usecases.key_ring import KeyRotation
from anonauth.usecases.link import LinkedSession
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import DAY, NOW
from support.engine import engines
from support.engine.engines import Engine
from support.engine.mix import PooledKeys
from support.engine.racing import (
    CALLERS,
    Service,
    a_subject,
    assert_whole,
    counted_updates,
    race,
)


@pytest.mark.parametrize(
    ("engine", "rounds"),
    [
        *[pytest.param(name, 5, id=f"{name}, 5 times") for name in engines.names()],
        pytest.param("dynoxide", 100, id="100 times", marks=pytest.mark.long),
    ],
    indirect=["engine"],
)
def test_given_a_new_day_when_64_refresh_at_once_then_one_write_takes_effect(
    service: Service, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    written: Counter[int] = Counter()
    for _ in range(rounds):
        guest = service.log_in()

        with counted_updates(service.store) as statuses:
            outcomes = race(*[partial(service.refresh, guest, NOW + DAY)] * 64)

        assert all(isinstance(outcome, str) for outcome in outcomes), outcomes
        written[statuses.count(200)] += 1
        after = service.item(guest)
        assert after is not None
        expiry = expiry_after(NOW + DAY).timestamp()
        assert int(after["expires_at"]["N"]) == expiry
    record_property("figures", f"{rounds} x 64 refreshes, by writes: {dict(written)}")
    assert written == {1: rounds}


def test_given_one_guest_when_all_log_out_at_once_then_one_of_them_has_done_it(
    service: Service,
) -> None:
    for _ in range(20):
        guest = service.log_in()

        outcomes = race(*[partial(service.log_out, guest, NOW)] * CALLERS)

        refusals = [outcome for outcome in outcomes if outcome is not None]
        assert len(refusals) == CALLERS - 1
        assert all(type(refusal) is SessionNotFound for refusal in refusals)
        assert service.item(guest) is None


def test_given_no_ring_when_all_rotate_at_once_then_all_have_the_same_one(
    service: Service, pooled_keys: PooledKeys
) -> None:
    for _ in range(5):
        service.db.delete_item(TableName=service.table, Key={"pk": {"S": "KEY#ring"}})

        rotation = KeyRotation(service.store, pooled_keys)
        rings = race(*[partial(rotation.rotate, NOW)] * CALLERS)

        kept = service.store.load_ring()
        assert kept is not None
        assert kept.version == 1
        assert [key.use for key in kept.keys] == ["refresh", "access", "access"]
        assert rings == [kept] * CALLERS


def link_while_refreshing(service: Service) -> tuple[OpenedSession, list[object]]:
    """Refresh on a new day while the guest becomes permanent."""
    guest = service.log_in()
    refreshing: Callable[[], object] = partial(service.refresh, guest, NOW + DAY)
    linking: Callable[[], object] = partial(
        service.link, guest, "custom-token", {"token": a_subject()}
    )
    return guest, race(*[refreshing] * (CALLERS - 1), linking)


def test_given_a_link_when_stale_readers_refresh_then_the_user_stays_permanent(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 3):
        guest, outcomes = link_while_refreshing(service)

        assert all(isinstance(token, str) for token in outcomes[:-1]), outcomes
        assert isinstance(outcomes[-1], LinkedSession)
        item = service.item(guest)
        assert item is not None
        assert item["anonymous"] == {"BOOL": False}
        assert item["last_active_day"]["S"] == f"{NOW + DAY:%Y-%m-%d}"
        assert_whole(item)
