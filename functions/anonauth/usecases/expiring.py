"""Warn of anonymous users that will soon expire, by a scan of the table once a day."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from anonauth.domain.events import ExpiryScan, UserEvent
from anonauth.domain.expiry import utc_day
from anonauth.domain.users import User
from anonauth.ports import EventBus, ExpiringStore
from anonauth.usecases._event_detail import make_event

SEGMENTS = 4
"""Parts of the table, read in turn, so that no partition of it bears all the load."""

# One partition serves 3,000 read units a second, most of them to those who wait.
_UNITS_PER_SECOND = 500


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a run did, and whether the day's scan is at its end.

    So many users were `unreadable`: whoever wrote their items, it was none of ours.
    """

    day: date
    pages: int
    warned: int
    unreadable: int
    is_done: bool


def warn_of_expiry(
    *,
    users: ExpiringStore,
    bus: EventBus,
    notice_days: Collection[int],
    now: datetime,
    pause: Callable[[float], None],
    has_time: Callable[[], bool],
) -> ScanReport:
    """Publish `user.expiring` for each user whose notice falls due.

    The request path knows nothing of it: a login stays one write, a refresh one a day
    at most. May be called as often as one likes: a call goes on where the one before
    ran out of time, and once a day's scan is done reads one item. After days without
    calls no notice is left out. At least once, as all events: who is warned again by a
    call that goes on is so by an event of the same id.

    Args:
        notice_days: How many days before its last day a user is warned; not empty.
        now: Aware UTC time. Of the users read, those count that expire after it.
        pause: Waits that many seconds, so that the scan leaves room for others.
        has_time: Tells whether there is time for another page.

    Raises:
        EventsUnavailable, StoreUnavailable: The next call goes on.
    """
    scan = _begin(users.load_expiry_scan(), utc_day(now))
    last_day = scan.day + timedelta(days=max(notice_days))
    until = datetime.combine(last_day + timedelta(days=1), time(), UTC)
    pages = warned = unreadable = 0
    while scan.positions and has_time():
        # The one that has waited longest: dictionaries keep the order.
        segment, after = next(iter(scan.positions.items()))
        page = users.scan_expiring(segment, SEGMENTS, after, now=now, until=until)
        notices = list(_notices(page.users, scan, notice_days, now))
        bus.publish(notices)
        pages, warned = pages + 1, warned + len(notices)
        unreadable += page.unreadable
        scan = _went_on(scan, segment, page.position)
        # What else would be read again is one page.
        if notices or page.position or not scan.positions:
            scan = replace(scan, version=scan.version + 1)
            if not users.save_expiry_scan(scan):  # another run has it now
                return ScanReport(scan.day, pages, warned, unreadable, is_done=False)
        pause(page.units / _UNITS_PER_SECOND)
    return ScanReport(scan.day, pages, warned, unreadable, is_done=not scan.positions)


def _went_on(scan: ExpiryScan, segment: int, position: str | None) -> ExpiryScan:
    others = {s: after for s, after in scan.positions.items() if s != segment}
    ahead = {} if position is None else {segment: position}
    return replace(scan, positions=others | ahead)


def _begin(before: ExpiryScan | None, today: date) -> ExpiryScan:
    whole_table = dict.fromkeys(range(SEGMENTS), "")
    if before is None:
        return ExpiryScan(version=0, since=None, day=today, positions=whole_table)
    # One of an earlier day comes to its end first, however late it is.
    if before.positions or before.day >= today:
        return before
    return replace(before, since=before.day, day=today, positions=whole_table)


def _notices(
    found: Iterable[User], scan: ExpiryScan, notice_days: Collection[int], now: datetime
) -> Iterable[UserEvent]:
    for user in found:
        expires_at = user.expires_at
        days = expires_at and scan.due_notice(expires_at, notice_days)
        if expires_at is None or days is None:
            continue
        yield make_event(
            # Who is active in between will be warned of another end.
            f"{user.app}:{user.id}:{expires_at:%Y-%m-%d}:{days}",
            "user.expiring",
            user,
            now,
            notice_days=days,
            days_left=(expires_at.date() - utc_day(now)).days,
        )
