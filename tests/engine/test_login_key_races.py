"""Logins with one login key, all at once: there is one guest, and it stays ended."""

import random

import pytest

from support.engine import engines, scenes
from support.engine.mix import Mix, PooledKeys
from support.engine.racing import Service
from support.engine.scenes import Stage

ROUNDS = pytest.mark.parametrize(
    ("engine", "rounds"),
    [
        *[pytest.param(name, 5, id=f"{name}, 5 times") for name in engines.names()],
        *[
            pytest.param(name, 100, id=f"{name}, 100 times", marks=pytest.mark.long)
            for name in engines.names()
        ],
    ],
    indirect=["engine"],
)


@pytest.fixture
def stage(service: Service, pooled_keys: PooledKeys, dice: random.Random) -> Stage:
    return Stage(service, Mix(service, pooled_keys), dice)


@ROUNDS
def test_given_one_login_key_when_all_log_in_at_once_then_there_is_one_guest(
    stage: Stage, rounds: int
) -> None:
    for _ in range(rounds):
        scenes.log_in_by_one_key(stage)
        stage.mix.clear()


@ROUNDS
@pytest.mark.parametrize("end", ["log out", "delete"])
def test_given_a_guest_that_ends_when_its_login_is_repeated_then_it_stays_ended(
    stage: Stage, rounds: int, end: str
) -> None:
    for _ in range(rounds):
        scenes.log_in_late_by_one_key(stage, end=end)
        stage.mix.clear()


@ROUNDS
def test_given_a_key_whose_day_ends_when_all_log_in_then_there_is_one_more_guest(
    stage: Stage, rounds: int
) -> None:
    for _ in range(rounds):
        scenes.log_in_by_one_key_as_it_ends(stage)
        stage.mix.clear()
