"""How long users, sessions and addresses live. The 90-day rule is here.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

ANONYMOUS_LIFETIME = timedelta(days=90)
"""An anonymous user dies after this much silence, and not before."""

# The last access token of a day may be used for some minutes past midnight, and
# clocks differ: one hour covers both.
_GRACE = timedelta(hours=1)

PENDING_LIFETIME = timedelta(hours=24)
"""A registered e-mail address that nobody confirms is free again after this time."""

UNBOUND_LIFETIME = timedelta(days=30)
"""So is a confirmed one that nobody has logged in with or linked."""

SWEEP_DELAY = timedelta(hours=24)
"""From expiry, which every read and write checks, to the table's own deletion (TTL).

DynamoDB's sweep goes by its own clock; a day between the two means that it can
never meet a legal write.
"""


def expiry_after(now: datetime) -> datetime:
    """Return when an anonymous user that is active at `now` expires.

    Counted from the end of the UTC day, so that one write a day is enough and
    nobody dies before 90 full days of silence (design.md §4).
    """
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC) + ANONYMOUS_LIFETIME + _GRACE


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long the session of a permanent user lives: idle, and in all.

    The session of an anonymous user has neither: it lives as long as its user.
    """

    idle: timedelta
    total: timedelta

    def expiry(self, created_at: datetime, now: datetime) -> datetime:
        """Return when a session expires that is used at `now`.

        The idle time counts from the end of the UTC day, as for anonymous users: one
        write a day is enough, whatever the hour of the next day's use.
        """
        tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
        idle = datetime.combine(tomorrow, time(), UTC) + self.idle + _GRACE
        return min(idle, created_at + self.total)


def utc_day(now: datetime) -> date:
    """Return the UTC calendar day of an aware instant."""
    return now.astimezone(UTC).date()
