"""A copy of something that is stored elsewhere, good for five minutes.

The key ring and the settings document are read this way: once per execution
environment and five minutes, never once per request.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

MAX_AGE = timedelta(minutes=5)
"""How long a copy is used before it is read again.

So a revoked key stops verifying, and new settings take effect, within this time.
"""

RETRY_PAUSE = timedelta(seconds=10)
"""How long to wait after a failed reload, so that not every request pays for a
time-out."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class CachedCopy(Generic[_Value]):
    """A value as it was last read.

    Args:
        value: What was read.
        asked_at: When it was read, or when an attempt to read it again failed.
        is_current: False after a failed attempt.
    """

    value: _Value
    asked_at: datetime
    is_current: bool = True

    def is_due(self, now: datetime) -> bool:
        """Say whether it is time to read the value again."""
        reload_at = self.asked_at + (MAX_AGE if self.is_current else RETRY_PAUSE)
        # A copy "from the future" was made before the clock was set back.
        return not reload_at - MAX_AGE <= now < reload_at

    def kept(self, now: datetime) -> "CachedCopy[_Value]":
        """Return the copy to go on with after a failed attempt to read again.

        An outage of the place where the value is stored must not stop what works.
        """
        return CachedCopy(self.value, now, is_current=False)
