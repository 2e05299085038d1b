"""How long users, sessions and addresses live. The 90-day rule is here.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

ANONYMOUS_LIFETIME = timedelta(days=90)
"""An anonymous user expires after this time without activity, and not before."""

# The last access token of a day may be used for some minutes past midnight, and
# clocks differ. One hour covers both.
_GRACE = timedelta(hours=1)

PENDING_LIFETIME = timedelta(hours=24)
"""How long a registered address may stay unconfirmed before it is free again."""

UNBOUND_LIFETIME = timedelta(days=30)
"""How long a confirmed address may stay unused before it can be registered again."""

LOGIN_KEY_LIFETIME = timedelta(hours=24)
"""How long a login key gives back the session that it opened, and opens no other."""

SWEEP_DELAY = timedelta(hours=24)
"""Time from expiry, which every read and write checks, to the table's TTL deletion.

DynamoDB's sweep goes by its own clock. With a day between the two, it can never meet a
legal write.
"""


def expiry_after(now: datetime) -> datetime:
    """Return when an anonymous user that is active at `now` expires.

    The time counts from the end of the UTC day. So one write a day is enough, and no
    user expires before 90 full days without activity (design.md §4).
    """
    tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), UTC) + ANONYMOUS_LIFETIME + _GRACE


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long the session of a permanent user lives: idle, and in all.

    The session of an anonymous user has neither limit. It lives as long as its user.
    """

    idle: timedelta
    total: timedelta

    def expiry(self, created_at: datetime, now: datetime) -> datetime:
        """Return when a session that is used at `now` expires.

        The idle time counts from the end of the UTC day, as for anonymous users. So one
        write a day is enough, whatever the hour of the next day's use.
        """
        tomorrow = now.astimezone(UTC).date() + timedelta(days=1)
        idle = datetime.combine(tomorrow, time(), UTC) + self.idle + _GRACE
        return min(idle, created_at + self.total)


def utc_day(now: datetime) -> date:
    """Return the UTC calendar day of an aware instant."""
    return now.astimezone(UTC).date()
