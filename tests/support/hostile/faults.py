"""Faults for tests of tests: a line of a function is replaced for a while."""

import inspect
import textwrap
from types import FunctionType

import pytest


def replace_line(
    monkeypatch: pytest.MonkeyPatch, function: FunctionType, line: str, instead: str
) -> None:
    """Make a function run with another text, for every module that has imported it.

    Args:
        line: Part of the function's source, in it exactly once. Otherwise the source
            has changed, and the fault is no longer the intended one.
    """
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(line) == 1, f"{line} in {function.__qualname__}"
    made: dict[str, FunctionType] = {}
    exec(source.replace(line, instead), function.__globals__, made)  # noqa: S102
    monkeypatch.setattr(function, "__code__", made[function.__name__].__code__)
