"""What a check of `anonauth doctor` finds."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed", "unknown"]
"""As it should be; works, but look at it; does not do what it should; not to be seen
with these credentials, or not in this kind of AWS."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it; `name` is that of the check."""

    state: State
    says: str
    advice: str = ""
    name: str = ""


def ok(says: str) -> Finding:
    """Return that all is as it should be."""
    return Finding("ok", says)


def warning(says: str, advice: str) -> Finding:
    """Return that it works, and what to look at."""
    return Finding("warning", says, advice)


def failed(says: str, advice: str) -> Finding:
    """Return that it does not do what it should, and how to mend it."""
    return Finding("failed", says, advice)
