"""Warn of anonymous users that will soon expire, by a scan of the table once a day."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from anonauth.domain.events import ExpiryScan, UserEvent
from anonauth.domain.expiry import utc_day
from anonauth.domain.users import User
from anonauth.ports import EventBus, ExpiringStore
from anonauth.usecases._event_detail import make_user_event

SEGMENTS = 4
"""Parts of the table. They are read in turn, so that the load is spread over its
partitions."""

# One partition serves 3,000 read units a second. Most of them are left to requests.
_UNITS_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a run did, and whether the day's scan is complete.

    `unreadable` counts the users whose items this service has not written and cannot
    read.
    """

    day: date
    pages: int
    warned: int
    unreadable: int
    is_done: bool


@dataclass(frozen=True, slots=True)
class ExpiryWarnings:
    """Publishes `user.expiring` for each user whose notice falls due.

    The request path is not involved: a login stays one write, a refresh at most one a
    day.

    Args:
        notice_days: How many days before its last day a user is warned. At least one.
        stack: The deployment's name, which every event shows.
        pause: Waits that many seconds, so that the scan leaves room for requests.
    """

    users: ExpiringStore
    bus: EventBus
    notice_days: Collection[int]
    stack: str
    pause: Callable[[float], None]

    def publish_due(self, now: datetime, *, has_time: Callable[[], bool]) -> ScanReport:
        """Go on with the day's scan, and publish the notices of the users it finds.

        The method may be called as often as one likes. It goes on where the call before
        ran out of time. Once the day's scan is complete, it reads one item. After days
        without calls no notice is left out. Events are published at least once: if a
        call that goes on warns a user again, the event has the same id.

        Args:
            now: Aware UTC time. Users that have expired by then are skipped.
            has_time: Tells whether there is time for another page.

        Raises:
            EventsUnavailable, StoreUnavailable: The next call goes on.
        """
        scan = _begin(self.users.load_expiry_scan(), utc_day(now))
        last_day = scan.day + timedelta(days=max(self.notice_days))
        until = datetime.combine(last_day + timedelta(days=1), time(), UTC)
        pages = warned = unreadable = 0
        while scan.positions and has_time():
            # The segment that has waited longest: dictionaries keep the order.
            segment, after = next(iter(scan.positions.items()))
            page = self.users.scan_expiring(
                segment, SEGMENTS, after, now=now, until=until
            )
            notices = list(self._notices(page.users, scan, now))
            self.bus.publish(notices)
            pages, warned = pages + 1, warned + len(notices)
            unreadable += page.unreadable
            scan = _went_on(scan, segment, page.position)
            # The other pages are not worth a write: one of them may be read again.
            if notices or page.position or not scan.positions:
                scan = replace(scan, version=scan.version + 1)
                if not self.users.save_expiry_scan(scan):  # another run has it now
                    return ScanReport(
                        scan.day, pages, warned, unreadable, is_done=False
                    )
            self.pause(page.units / _UNITS_PER_SECOND)
        is_done = not scan.positions
        return ScanReport(scan.day, pages, warned, unreadable, is_done=is_done)

    def _notices(
        self, found: Iterable[User], scan: ExpiryScan, now: datetime
    ) -> Iterable[UserEvent]:
        for user in found:
            expires_at = user.expires_at
            days = expires_at and scan.due_notice(expires_at, self.notice_days)
            if expires_at is None or days is None:
                continue
            yield make_user_event(
                # A user that is active in between gets a notice for another last day.
                f"{user.app}:{user.id}:{expires_at:%Y-%m-%d}:{days}",
                "user.expiring",
                user,
                now,
                stack=self.stack,
                notice_days=days,
                days_left=(expires_at.date() - utc_day(now)).days,
            )


def _went_on(scan: ExpiryScan, segment: int, position: str | None) -> ExpiryScan:
    others = {s: after for s, after in scan.positions.items() if s != segment}
    ahead = {} if position is None else {segment: position}
    return replace(scan, positions=others | ahead)


def _begin(before: ExpiryScan | None, today: date) -> ExpiryScan:
    whole_table = dict.fromkeys(range(SEGMENTS), "")
    if before is None:
        return ExpiryScan(version=0, since=None, day=today, positions=whole_table)
    # A scan of an earlier day is completed first, however late it is.
    if before.positions or before.day >= today:
        return before
    return replace(before, since=before.day, day=today, positions=whole_table)
