"""Everything at once, round by round, on each engine.

`RACE_ROUNDS` sets the number of rounds. `RACE_SEED` repeats the acts of a run, not
always in the order in which they happened. Without them the default suite plays some
rounds, and CI's long step 2,000 on the first engine and 200 on the second.
"""

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from support.engine.engines import Engine
from support.engine.mix import ACTS, Mix, PooledKeys, deal_plan
from support.engine.oracle import assert_explained
from support.engine.racing import CALLERS, Service

SOME = 15
MANY = {"dynoxide": 2000}
MANY_ELSEWHERE = 200
ABSORBED = "guest absorbed"


def play_rounds(
    service: Service, keys: PooledKeys, dice: random.Random, rounds: int
) -> tuple[Counter[str], Counter[str]]:
    """Play this many rounds; count the acts that took effect, and the refusals.

    A merge may have been a plain login or a link, so the guests that were absorbed are
    counted as well.
    """
    mix = Mix(service, keys)
    acts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for number in range(rounds):
        played = mix.play(deal_plan(dice), dice)
        items = service.items()
        try:
            assert_explained(played, items)
        except AssertionError as broken:
            broken.add_note(f"in round {number}")
            raise
        acts.update(act.name for act, _ in played.effects)
        acts[ABSORBED] += sum("into" in item for item in items)
        refused.update(type(refusal).__name__ for _, refusal in played.refusals)
        mix.clear()
    return acts, refused


@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
def test_given_some_rounds_when_everything_races_then_all_is_explained(
    service: Service, pooled_keys: PooledKeys, dice: random.Random
) -> None:
    acts, refused = play_rounds(service, pooled_keys, dice, SOME)

    assert acts.total() > SOME
    assert refused.total() > SOME


@pytest.mark.long
def test_given_many_rounds_when_everything_races_then_all_is_explained(
    service: Service,
    engine: Engine,
    pooled_keys: PooledKeys,
    dice: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    usual = MANY.get(engine.name, MANY_ELSEWHERE)
    rounds = int(os.environ.get("RACE_ROUNDS") or usual)

    acts, refused = play_rounds(service, pooled_keys, dice, rounds)

    record_property(
        "figures",
        f"{engine.name}, {rounds} rounds of {CALLERS} calls, all explained; "
        f"took effect: {dict(acts)}; refused with a reason: {dict(refused)}",
    )
    if rounds >= MANY_ELSEWHERE:
        # Enough of every act, and enough of them in each other's way.
        assert acts.keys() == {*ACTS, ABSORBED}
        assert min(acts.values()) > rounds // 400
        assert refused["InvalidSession"] > rounds // 10
        assert refused["SessionNotFound"] > rounds // 10
        assert refused["IdentityTaken"] > rounds // 100
        assert refused["WrongPassword"] + refused["PasswordRefused"] > rounds // 200
