"""Runs every test against a mutated constructor.

mutmut notes which functions each test reaches. An object that several tests share is
constructed for the first of them only, so mutmut would run that test alone.
"""

from typing import Any

from mutmut import __main__ as mutmut
from mutmut.state import state


def ask_all_tests() -> None:
    """Make mutmut run all tests for constructors from now on."""
    collect_or_load = mutmut.collect_or_load_stats

    def collect_or_load_and_add(*args: Any, **options: Any) -> None:
        collect_or_load(*args, **options)
        for function, asked in state().tests_by_mangled_function_name.items():
            if function.endswith("ǁ__init__"):
                asked.update(state().duration_by_test)

    mutmut.collect_or_load_stats = collect_or_load_and_add
