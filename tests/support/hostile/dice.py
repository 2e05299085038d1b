"""Dice for random tests: thrown anew each time, or again as a variable says."""

import os
import random
import secrets


def dice_of(variable: str) -> tuple[random.Random, str]:
    """Return dice, and the setting with which they are thrown the same again."""
    seed = os.environ.get(variable) or secrets.token_hex(4)
    return random.Random(seed), f"{variable}={seed}"  # noqa: S311 - no secrets
