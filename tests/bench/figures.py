"""Statistics of rounds, and progress for whoever waits."""

import statistics
import sys
from collections.abc import Sequence


def low_and_middle(rounds: Sequence[float]) -> dict[str, float]:
    """Return minimum and median of what each round has measured.

    On a machine that does other things too, the minimum is nearest to the truth.
    """
    return {"min": min(rounds), "median": statistics.median(rounds)}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the three quartiles."""
    first, median, third = statistics.quantiles(values, method="inclusive")
    return {"first": first, "median": median, "third": third}


def say(text: str) -> None:
    """Tell whoever waits, on stderr: stdout has the figures only."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
