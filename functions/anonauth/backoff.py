"""How long to wait before a call to AWS is repeated."""

import math
import random


def jittered_pause(attempt: int, first: float, longest: float = math.inf) -> float:
    """Return how many seconds to wait after an attempt that failed.

    Full jitter: the pause is random, below a limit that doubles with each attempt, so
    that callers in step fall out of it.

    Args:
        attempt: How many attempts have failed, at least 1.
        first: Seconds to wait after the first one, on average.
        longest: Seconds that no pause is longer than.
    """
    # Nothing secret depends on it.
    return random.uniform(0, min(first * 2**attempt, longest))  # noqa: S311  # nosec B311
