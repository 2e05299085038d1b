"""How long a test may take, and how the long run distributes tests to workers."""

from collections.abc import Sequence

# It ships no types.
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# About ten times what the slowest test takes on a busy machine. A test that exceeds it
# fails, and prints the stacks of all threads.
LIMIT = 300
"""Seconds for each test, fixtures included."""

LONG_LIMIT = 1800
"""Seconds for each test in the long run: `pytest -m long`."""

WHOLE = (
    "tests/runtime/test_deployed.py",
    "tests/samlocal/test_samlocal.py",
    "tests/engine/test_restore.py",
    "tests/runtime/test_upgrade.py",
)
"""Modules that take minutes and have expensive fixtures, so each has one worker.

They begin first. While they wait for containers, the other workers compute.
"""

SLOWEST = (
    "tests/unit/service/fuzz/test_generated_calls.py",
    "tests/engine/test_mix_races.py",
    "tests/unit/service/test_model.py",
    "tests/engine/test_faults.py",
    "tests/unit/service/test_mutations.py",
    "tests/unit/service/test_forgery.py",
    "tests/unit/service/test_time_machine.py",
    "tests/engine/test_login_key_races.py",
    "tests/engine/test_link_races.py",
    "tests/engine/test_races.py",
    "tests/engine/test_power.py",
    "tests/engine/test_lifetimes.py",
    "tests/engine/test_time_machine.py",
)
"""Modules that take minutes, the longest first. Their tests share no expensive fixture,
so any worker may run any of them."""


def slowest_first(modules: Sequence[str]) -> list[int]:
    """Return the order in which to run tests, given the module of each.

    Otherwise a test of minutes could start when the other workers are about to end.
    """
    ranks = {module: rank for rank, module in enumerate((*WHOLE, *SLOWEST))}
    return sorted(
        range(len(modules)), key=lambda at: ranks.get(modules[at], len(ranks))
    )


class Balanced(LoadScopeScheduling):  # type: ignore[misc] # it is untyped
    """Distributes modules like `--dist=loadscope`, and those of `SLOWEST` by test.

    A module stays with one worker because its tests share fixtures. A module of minutes
    would keep one core busy while the others are idle.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.partition("::")[0] in SLOWEST:
            return nodeid
        scope: str = super()._split_scope(nodeid)
        return scope
