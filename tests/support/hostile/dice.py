"""Dice for random tests: a new seed each time, or the seed in a variable."""

import os
import random
import secrets


def dice_of(variable: str) -> tuple[random.Random, str]:
    """Return dice, and the setting that repeats their throws."""
    seed = os.environ.get(variable) or secrets.token_hex(4)
    return random.Random(seed), f"{variable}={seed}"  # noqa: S311 - no secrets
