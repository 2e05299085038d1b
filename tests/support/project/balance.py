"""How long a test may take, and which worker gets which tests in the long run."""

from collections.abc import Sequence

# It ships no types.
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# Some ten times what the slowest test takes on a machine that is busy with other
# things. A test that strikes it fails, with the stacks of all threads.
LIMIT = 300
"""Seconds for each test, fixtures included."""

LONG_LIMIT = 1800
"""The same in the long run: `pytest -m long`."""

SLOWEST = (
    "tests/unit/service/test_model.py",
    "tests/unit/service/fuzz/test_generated_calls.py",
    "tests/unit/service/test_mutations.py",
    "tests/unit/service/test_forgery.py",
    "tests/unit/service/test_time_machine.py",
    "tests/engine/test_link_races.py",
    "tests/engine/test_mix_races.py",
    "tests/engine/test_races.py",
    "tests/engine/test_faults.py",
    "tests/engine/test_power.py",
    "tests/engine/test_lifetimes.py",
    "tests/engine/test_time_machine.py",
)
"""Modules of minutes, the longest first. Their tests share nothing that takes long to
make, so that any worker may have any of them."""


def slowest_first(modules: Sequence[str]) -> list[int]:
    """Return in which order to run tests, given the module of each.

    Else a test of minutes could begin when the other workers are about to end.
    """
    ranks = {module: rank for rank, module in enumerate(SLOWEST)}
    return sorted(
        range(len(modules)), key=lambda at: ranks.get(modules[at], len(SLOWEST))
    )


class Balanced(LoadScopeScheduling):  # type: ignore[misc] # it is untyped
    """Module by module, as `--dist=loadscope`, but those of `SLOWEST` test by test.

    A module stays with one worker for the fixtures that its tests share. One of minutes
    would keep one core busy while the others have nothing left to do.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.partition("::")[0] in SLOWEST:
            return nodeid
        scope: str = super()._split_scope(nodeid)
        return scope
