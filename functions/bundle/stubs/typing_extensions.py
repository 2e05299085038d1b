"""Takes everything from Python 3.13; the original has it for older versions."""

import collections.abc
import typing
import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    for module in (typing, warnings, collections.abc):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(name)
