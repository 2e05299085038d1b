"""What a check of `anonauth doctor` finds."""

from dataclasses import dataclass
from typing import Literal

CheckState = Literal["ok", "warning", "failed", "unknown"]
"""As it should be; works, but look at it; does not do what it should; not to be seen
with these credentials, or not in this kind of AWS."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found, and what to do about it; `name` is that of the check."""

    state: CheckState
    says: str
    advice: str = ""
    name: str = ""


def ok(says: str) -> CheckResult:
    """Return that all is as it should be."""
    return CheckResult("ok", says)


def warning(says: str, advice: str) -> CheckResult:
    """Return that it works, and what to look at."""
    return CheckResult("warning", says, advice)


def failure(says: str, advice: str) -> CheckResult:
    """Return that it does not do what it should, and how to mend it."""
    return CheckResult("failed", says, advice)
