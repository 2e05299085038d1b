"""Many callers and one guest: who wins is open, what may be left behind is not.

A failure says what everyone did, and with `RACE_SEED` set they do it again; not always
in the order in which it happened.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pytest

from anonauth.domain import expiry_after
from anonauth.errors import AuthError, InvalidSession, SessionNotFound
from anonauth.keys import KeyMaker
from anonauth.usecases.keys import rotate_keys
from anonauth.usecases.link import LinkedSession
from anonauth.usecases.login import OpenedSession
from engine.engines import Engine
from engine.racing import (
    CALLERS,
    Service,
    a_subject,
    assert_whole,
    counted_updates,
    race,
)
from rings import TaggedWrapping
from store_contract import DAY, NOW

LONG_AGO = NOW - 90 * DAY  # who logged in then expires within a day of NOW

KEEPING = ("refresh", "refresh", "read")
ENDING = ("log out", "delete", "sweep")


@dataclass(frozen=True)
class Act:
    """What a caller does, and what its clock says then."""

    name: str
    now: datetime

    def __repr__(self) -> str:
        return f"{self.name} on {self.now:%m-%d}"


def perform(service: Service, act: Act, guest: OpenedSession) -> bool:
    """Act; True if it took effect, False if there was nothing to sweep yet."""
    match act.name:
        case "refresh":
            service.refresh(guest, act.now)
        case "read":
            assert service.read(guest, act.now).id == guest.user.id
        case "log out":
            service.log_out(guest, act.now)
        case "delete":
            service.delete(guest, act.now)
        case "sweep":
            return service.sweep(guest, act.now)
        case _:
            raise AssertionError(act)
    return True


def roles(dice: random.Random, *, expiring: bool) -> list[Act]:
    """Deal out what the callers of a round do.

    Their clocks are up to two days apart, but agree on whether the guest has expired.
    The sweeper's is ahead of all: where it should be, it would never meet the others
    (design §4, TTL).
    """
    enders = dice.choice((0, 1, 2, CALLERS))
    names = dice.choices(ENDING, k=enders) + dice.choices(KEEPING, k=CALLERS - enders)
    dice.shuffle(names)
    days = (0,) if expiring else (0, 1, 2)
    return [
        Act(name, NOW + (2 if name == "sweep" else dice.choice(days)) * DAY)
        for name in names
    ]


def test_given_callers_of_all_kinds_when_they_race_then_the_guest_is_whole_or_gone(
    service: Service, engine: Engine, dice: random.Random
) -> None:
    for _ in range(engine.rounds):
        expiring = dice.random() < 0.5
        guest = service.log_in(LONG_AGO if expiring else NOW)
        acts = roles(dice, expiring=expiring)

        outcomes = race(*[partial(perform, service, act, guest) for act in acts])

        played = list(zip(acts, outcomes, strict=True))
        try:
            assert_legal(service, guest, played)
        except AssertionError as broken:
            broken.add_note(f"logged in at {guest.user.created_at}, then {played}")
            raise


def assert_legal(
    service: Service, guest: OpenedSession, played: list[tuple[Act, bool | AuthError]]
) -> None:
    """Check that some order of these acts explains all that came of them."""
    took_effect = [act for act, outcome in played if outcome is True]
    refusals = [outcome for _, outcome in played if isinstance(outcome, AuthError)]
    ends = [act.name for act in took_effect if act.name in ENDING]
    item = service.item(guest)
    mark = service.item(guest, "GONE")

    # A second end would mean that the guest had been there again.
    assert len(ends) == (0 if item else 1)
    assert bool(mark) == (ends == ["delete"])
    assert all(isinstance(refusal, InvalidSession) for refusal in refusals)
    assert ends or not refusals
    if item is None:
        assert_refused(service, guest)
        assert service.item(guest) is None
        return
    assert_whole(item)
    refreshes = [act.now for act in took_effect if act.name == "refresh"]
    last_use = max([guest.user.created_at, *refreshes])
    assert int(item["expires_at"]["N"]) == expiry_after(last_use).timestamp()
    assert item["last_active_day"]["S"] == f"{last_use:%Y-%m-%d}"
    assert service.refresh(guest, NOW)


def assert_refused(service: Service, guest: OpenedSession) -> None:
    with pytest.raises(SessionNotFound):
        service.refresh(guest, NOW)
    with pytest.raises(InvalidSession):
        service.read(guest, NOW)


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(5, id="5 times"),
        pytest.param(100, id="100 times", marks=pytest.mark.long),
    ],
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
    service: Service,
) -> None:
    keys = KeyMaker(TaggedWrapping())
    for _ in range(5):
        service.db.delete_item(TableName=service.table, Key={"pk": {"S": "KEY#ring"}})

        rings = race(
            *[partial(rotate_keys, rings=service.store, keys=keys, now=NOW)] * CALLERS
        )

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
