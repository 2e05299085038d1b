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
    """The change that one write made to one user, as the table's stream reports it.

    `before` is None if the user was created, `after` is None if it was deleted. `swept`
    says that the table's own TTL deleted it. `record_id` is the same at each replay.
    Later changes of a user have a higher `sequence`.
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
    "user.merged",
    "user.expiring",
]
"""The types of events that an app can receive: `detail-type` on EventBridge."""


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
    "UsersMerged",  # provider
    "SigningKeyAgeDays",
    "ExpiryScanDaysLate",
]
"""The metrics. A comment names a metric's one dimension beside `service`.

CloudWatch bills each combination as a metric, so no dimension is a user, app or route.
"""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """Something that happened to a user, as it is published for apps.

    An event is published at least once, each time with the same `id`. `detail` is JSON,
    as `events.schema.json` describes it.
    """

    id: str
    type: EventType
    at: datetime
    app: str
    user_id: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExpiryScan:
    """The progress of the scan for users that will soon expire.

    It looks for notices that fall due after `since` (None: ever) and up to `day`.
    `positions` has each segment of the table that is still to be read, with the key
    after which to go on ("": from its beginning). At the end it is empty. `version`
    rises with every write of the item.
    """

    version: int
    since: date | None
    day: date
    positions: Mapping[int, str]

    def due_notice(
        self, expires_at: datetime, notice_days: Collection[int]
    ) -> int | None:
        """Return the notice, in days, that a user is to get now. None if it gets none.

        If several notices are due at once, as after days without a scan, the shortest
        is returned. One warning is enough.
        """
        for days in sorted(notice_days):
            falls_due = expires_at.date() - timedelta(days=days)
            is_new = self.since is None or falls_due > self.since
            if is_new and falls_due <= self.day:
                return days
        return None
