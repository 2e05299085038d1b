"""The result of a check by `anonauth doctor`."""

from dataclasses import dataclass
from typing import Literal

CheckState = Literal["ok", "warning", "failed", "unknown"]
"""ok: as it should be. warning: works, but needs attention. failed: does not work.
unknown: these credentials, or this kind of AWS, do not show it."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check has found, and what to do about it. `name` is the check's."""

    state: CheckState
    says: str
    advice: str = ""
    name: str = ""


def ok(says: str) -> CheckResult:
    """Return the result for a thing that is as it should be."""
    return CheckResult("ok", says)


def warning(says: str, advice: str) -> CheckResult:
    """Return the result for a thing that works but needs attention."""
    return CheckResult("warning", says, advice)


def failure(says: str, advice: str) -> CheckResult:
    """Return the result for a thing that does not work, and how to fix it."""
    return CheckResult("failed", says, advice)
