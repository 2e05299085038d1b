"""Changes to users, and the events and metrics that are made of them.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from anonauth.domain.users import User


@dataclass(frozen=True, slots=True)
class Change:
    """What one write did to one user, as the table's stream tells it.

    `before` is None when the user was made, `after` when it is gone; `swept` says that
    the table's own TTL deleted it. `record_id` is the same at each replay; a user's
    later changes have a higher `sequence`.
    """

    record_id: str
    sequence: int
    at: datetime
    before: User | None
    after: User | None
    swept: bool = False


EventType = Literal[
    "user.created",
    "user.linked",
    "user.unlinked",
    "user.logged_in",
    "user.deleted",
    "user.expiring",
]
"""What an app can hear of; `detail-type` on EventBridge."""


MetricName = Literal[
    "ColdStarts",  # function
    "Logins",  # provider
    "Refreshes",
    "Logouts",
    "Links",  # provider
    "Conflicts",
    "Refusals",  # error_code
    "UsersCreated",  # provider
    "UsersLinked",  # provider
    "UsersDeleted",  # reason
    "SigningKeyAgeDays",
]
"""What is counted, and the one dimension beside `service`: CloudWatch bills each
combination as a metric, so no user, app or route is among them."""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """Something that happened to a user, told to whom it may concern.

    `id` is the same each time the event is published: at least once, that is. `detail`
    is JSON, as `events.schema.json` describes it.
    """

    id: str
    type: EventType
    at: datetime
    app: str
    user_id: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExpiryScan:
    """How far the search for users that will soon expire has come.

    It looks for what falls due after `since` (None: ever) and up to `day`.
    `positions` has each segment of the table that is still to be read, with the key
    after which to go on ("": from its beginning); none is left at the end. `version`
    rises with every write of the item.
    """

    version: int
    since: date | None
    day: date
    positions: Mapping[int, str]

    def due_notice(
        self, expires_at: datetime, notice_days: Collection[int]
    ) -> int | None:
        """Return how many days ahead a user is to be warned now; None if it is not.

        Where several notices are due at once, as after days without a scan, it is the
        shortest, for one warning is enough.
        """
        for days in sorted(notice_days):
            falls_due = expires_at.date() - timedelta(days=days)
            is_new = self.since is None or falls_due > self.since
            if is_new and falls_due <= self.day:
                return days
        return None
