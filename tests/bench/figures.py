"""Statistics of rounds, and progress messages."""

import statistics
import sys
from collections.abc import Sequence


def low_and_middle(rounds: Sequence[float]) -> dict[str, float]:
    """Return minimum and median of the rounds.

    On a machine with other load, the minimum is closest to the true value.
    """
    return {"min": min(rounds), "median": statistics.median(rounds)}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the three quartiles."""
    first, median, third = statistics.quantiles(values, method="inclusive")
    return {"first": first, "median": median, "third": third}


def say(text: str) -> None:
    """Write a progress message to stderr; stdout has only the figures."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
