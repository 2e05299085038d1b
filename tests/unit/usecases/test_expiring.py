"""Warnings before a user expires: on the right day, once, whatever fails."""

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest

from anonauth.domain.events import ExpiryScan, UserEvent
from anonauth.domain.expiry import expiry_after
from anonauth.domain.users import UserPage
from anonauth.errors import EventsUnavailable
from anonauth.usecases.expiring import SEGMENTS, ExpiryWarnings, ScanReport
from support.contracts.store_contract import a_guest
from support.service.harness import APP, SESSION, START, Deployment
from support.service.linked import link
from support.service.story import Entry, Story
from support.service.wire import FAULTS

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LAST_DAY = date(2026, 6, 9)  # 01:00 is the expiry of a guest active on 10 March


@pytest.fixture
def story(service: Deployment) -> Story:
    service.restart(EXPIRY_NOTICE_DAYS="14,3")
    return Story(service)


def warn(story: Story) -> list[Entry]:
    """Run the schedule once, and return what it published."""
    story.service.wire.reset()
    report = story.service.invoke("ExpiringFunction", {"detail-type": "Scheduled"})
    assert report["is_done"]
    events = story.published()
    assert report["warned"] == len(events)
    return events


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


# -- When ----------------------------------------------------------------------------


def test_given_a_silent_guest_when_days_pass_then_it_is_warned_14_and_3_days_ahead(
    story: Story,
) -> None:
    body = story.service.log_in()
    told: dict[date, list[Entry]] = {}

    for _ in range(95):
        told[story.service.now.date()] = warn(story)
        story.service.now += DAY

    warned = {day: events for day, events in told.items() if events}
    assert list(warned) == [LAST_DAY - 14 * DAY, LAST_DAY - 3 * DAY]
    for (event,), days in zip(warned.values(), (14, 3), strict=True):
        detail = event["detail"]
        assert event["detail-type"] == "user.expiring"
        assert detail["stack"] == "anonauth-local"
        assert detail["uid"] == body["user_id"]
        assert (detail["notice_days"], detail["days_left"]) == (days, days)
        assert detail["expires_at"] == "2026-06-09T01:00:00Z"
        assert detail["id"].startswith(f"{APP}:{body['user_id']}:2026-06-09:{days}:")


@pytest.mark.parametrize("hour", [0, 23], ids=["first hour", "last hour"])
@pytest.mark.parametrize(
    ("days_before", "warned"),
    [
        pytest.param(15, [], id="15 days"),
        pytest.param(14, [14], id="14 days"),
        pytest.param(4, [14], id="4 days"),
        pytest.param(3, [3], id="3 days"),
        pytest.param(1, [3], id="the day before"),
    ],
)
def test_given_a_table_that_was_never_scanned_when_it_is_then_one_warning_each(
    story: Story, days_before: int, warned: list[int], hour: int
) -> None:
    """An update from a version without warnings is like this."""
    story.service.log_in()
    story.service.now = noon(LAST_DAY - days_before * DAY).replace(hour=hour)

    events = warn(story)

    assert [event["detail"]["notice_days"] for event in events] == warned
    assert [event["detail"]["days_left"] for event in events] == [days_before] * len(
        warned
    )


@pytest.mark.parametrize(
    ("now", "warned"),
    [
        pytest.param(expiry_after(START) - timedelta(seconds=1), 1, id="last second"),
        pytest.param(expiry_after(START), 0, id="expired, not swept yet"),
    ],
)
def test_given_the_end_when_scanned_then_expired_users_are_not_warned(
    story: Story, now: datetime, warned: int
) -> None:
    story.service.log_in()
    story.service.now = now

    assert len(warn(story)) == warned


def test_given_a_guest_that_comes_back_when_days_pass_then_its_new_end_counts(
    story: Story,
) -> None:
    token = story.service.log_in()["refresh_token"]
    story.service.now = noon(LAST_DAY - 14 * DAY)
    first = warn(story)

    assert story.service.send(SESSION, token=token).status == 200
    told = []
    for _ in range(100):
        story.service.now += DAY
        told += warn(story)

    later = [event["detail"]["expires_at"][:10] for event in told]
    assert len(first) == 1
    assert later == ["2026-08-25"] * 2  # the user was last active on 26 May
    assert len({event["detail"]["id"] for event in first + told}) == 3


def test_given_a_linked_user_when_days_pass_then_it_is_never_warned(
    story: Story,
) -> None:
    link(story.service, story.service.log_in(), "custom-token", "ada")

    for _ in range(12):
        assert warn(story) == []
        story.service.now += 10 * DAY


@pytest.mark.parametrize(
    ("back", "warned"),
    [
        pytest.param(13, [14], id="a day late"),
        pytest.param(4, [14], id="ten days late"),
        pytest.param(3, [3], id="both are due: the nearer one"),
        pytest.param(1, [3], id="on the last day"),
        pytest.param(-1, [], id="too late"),
    ],
)
def test_given_days_without_a_scan_when_it_comes_back_then_no_notice_is_left_out(
    story: Story, back: int, warned: list[int]
) -> None:
    story.service.log_in()
    story.service.now = noon(LAST_DAY - 20 * DAY)
    assert warn(story) == []

    story.service.now = noon(LAST_DAY - back * DAY)

    assert [e["detail"]["notice_days"] for e in warn(story)] == warned


@pytest.mark.parametrize(
    ("since", "day", "notice"),
    [
        pytest.param(None, date(2026, 5, 25), None, id="a day before the first"),
        pytest.param(None, date(2026, 5, 26), 14, id="on the first"),
        pytest.param(date(2026, 5, 25), date(2026, 5, 26), 14, id="as each day"),
        pytest.param(date(2026, 5, 26), date(2026, 5, 27), None, id="the day after"),
        pytest.param(date(2026, 5, 25), date(2026, 6, 5), 14, id="late"),
        pytest.param(date(2026, 5, 26), date(2026, 6, 6), 3, id="the second"),
        pytest.param(date(2026, 5, 25), date(2026, 6, 6), 3, id="both"),
        pytest.param(date(2026, 6, 6), date(2026, 6, 8), None, id="all were told"),
    ],
)
def test_given_a_scan_when_asked_for_a_user_then_it_knows_which_notice_is_due(
    since: date | None, day: date, notice: int | None
) -> None:
    scan = ExpiryScan(1, since, day, {})

    assert scan.due_notice(datetime(2026, 6, 9, 1, tzinfo=UTC), {3, 14}) == notice


# -- What it costs -------------------------------------------------------------------


def test_given_a_day_when_the_schedule_runs_each_hour_then_one_scan_is_made(
    story: Story,
) -> None:
    for _ in range(3):
        story.service.log_in()
    story.service.now = noon(LAST_DAY - 3 * DAY).replace(hour=0)

    def calls() -> list[str]:
        return story.service.counted(
            lambda: story.service.invoke("ExpiringFunction", {})
        )

    scan = calls()
    hours = []
    for _ in range(23):
        story.service.now += HOUR
        hours.append(calls())
    story.service.now += HOUR

    # Events are sent page by page, and moto distributes its items at random.
    found = Counter(scan)
    assert 1 <= found.pop("PutEvents") <= 3
    # Progress is saved only where there was some.
    assert 1 <= found.pop("PutItem") <= SEGMENTS
    assert found == {"GetItem": 1, "Scan": SEGMENTS}
    assert hours == [["GetItem"]] * 23
    assert calls() == ["GetItem", *["Scan"] * SEGMENTS, "PutItem"]
    story.service.now += DAY
    assert Counter(calls())["Scan"] == SEGMENTS


def test_given_the_scan_when_it_reads_then_it_asks_for_no_secret(story: Story) -> None:
    story.service.log_in()
    story.service.wire.reset()

    story.service.invoke("ExpiringFunction", {})

    wire = story.service.wire
    scans = [b for c, b in zip(wire.calls, wire.bodies, strict=True) if c == "Scan"]
    asked = {
        name for scan in scans for name in scan["ExpressionAttributeNames"].values()
    }
    assert len(scans) == SEGMENTS
    assert not asked & {"sessions", "api_keys", "password_hash", "keys"}
    assert all("ConsistentRead" not in scan for scan in scans)
    assert {scan["Segment"] for scan in scans} == set(range(SEGMENTS))


# -- What goes wrong -----------------------------------------------------------------


class PagedUsers:
    """An `ExpiringStore` with pages of two users. Each page costs 100 read units.

    Every page also has `unreadable` items that nobody can read.
    """

    def __init__(self, users: int, *, unreadable: int = 0) -> None:
        expires_at = datetime(2026, 6, 9, 1, tzinfo=UTC)
        self.users = [
            replace(a_guest(), id=f"{n:024x}", expires_at=expires_at)
            for n in range(users)
        ]
        self.scan: ExpiryScan | None = None
        self.reads: list[tuple[int, str]] = []
        self.until: set[datetime] = set()
        self.unreadable = unreadable
        self.before_save: Callable[[], object] = lambda: None

    def load_expiry_scan(self) -> ExpiryScan | None:
        return self.scan

    def save_expiry_scan(self, new: ExpiryScan) -> bool:
        self.before_save()
        if new.version - 1 != (self.scan.version if self.scan else 0):
            return False
        self.scan = new
        return True

    def scan_expiring(
        self, segment: int, segments: int, after: str, *, now: datetime, until: datetime
    ) -> UserPage:
        self.reads.append((segment, after))
        self.until.add(until)
        mine = self.users[segment::segments]
        start = int(after or 0)
        found = tuple(
            user
            for user in mine[start : start + 2]
            if user.expires_at and now < user.expires_at < until
        )
        position = str(start + 2) if start + 2 < len(mine) else None
        return UserPage(
            found, position, len(found), units=100.0, unreadable=self.unreadable
        )


class Bus:
    """An `EventBus` that keeps what it was sent, and raises what `trouble` raises."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.trouble: Callable[[], object] = lambda: None

    def publish(self, events: Sequence[UserEvent]) -> None:
        self.trouble()
        self.heard += [event.id for event in events]


def run(
    users: PagedUsers,
    bus: Bus,
    *,
    now: datetime = datetime(2026, 5, 26, 12, tzinfo=UTC),
    most: int = 999,
    pauses: list[float] | None = None,
) -> ScanReport:
    """Run the scan with time for so many pages."""
    clock = count()
    warnings = ExpiryWarnings(
        users=users,
        bus=bus,
        notice_days={14, 3},
        stack="anonauth",
        pause=(pauses if pauses is not None else []).append,
    )
    return warnings.publish_due(now, has_time=lambda: next(clock) < most)


def test_given_a_table_too_long_for_one_run_when_repeated_then_it_goes_on_there() -> (
    None
):
    users, bus = PagedUsers(50), Bus()

    reports = [run(users, bus, most=8) for _ in range(4)]

    assert [report.is_done for report in reports] == [False, False, False, True]
    assert len(bus.heard) == len(set(bus.heard)) == 50
    assert len(users.reads) == len(set(users.reads))
    assert sum(report.warned for report in reports) == 50
    read = len(users.reads)
    assert run(users, bus) == ScanReport(date(2026, 5, 26), 0, 0, 0, is_done=True)
    assert len(users.reads) == read


def test_given_no_time_when_run_then_nothing_is_begun() -> None:
    users, bus = PagedUsers(5), Bus()

    report = run(users, bus, most=0)

    assert (report.is_done, report.pages, users.reads) == (False, 0, [])


def test_given_a_scan_that_takes_days_when_it_ends_then_the_next_makes_up() -> None:
    users, bus = PagedUsers(50), Bus()
    day = datetime(2026, 5, 26, 12, tzinfo=UTC)

    reports = [run(users, bus, now=day + n * DAY, most=16) for n in range(6)]

    assert [report.day.day for report in reports] == [26, 26, 28, 28, 30, 30]
    assert [report.is_done for report in reports] == [False, True] * 3
    assert len(bus.heard) == len(set(bus.heard)) == 50


def test_given_a_run_that_is_killed_anywhere_when_repeated_then_all_are_warned() -> (
    None
):
    """The run is killed before each page's events are sent, and before each save."""

    def failing_at(place: int) -> Callable[[], None]:
        steps = count()

        def step() -> None:
            if next(steps) == place:
                raise EventsUnavailable

        return step

    killed = 0
    for place in count():
        users, bus = PagedUsers(30), Bus()
        bus.trouble = users.before_save = failing_at(place)
        try:
            run(users, bus)
            break  # the run has no more steps
        except EventsUnavailable:
            killed += 1
        run(users, bus)
        assert len(set(bus.heard)) == 30
        assert len(bus.heard) <= 30 + 2  # at most one page twice

    assert killed == 16 * 2  # pages, and one save each


def test_given_two_runs_at_once_when_one_has_saved_then_the_other_stops() -> None:
    users, bus = PagedUsers(50), Bus()

    def overtake() -> None:
        users.before_save = lambda: None
        run(users, bus, most=1)

    users.before_save = overtake

    report = run(users, bus)

    assert report == ScanReport(date(2026, 5, 26), 1, 2, 0, is_done=False)
    assert run(users, bus).is_done
    assert len(set(bus.heard)) == 50


def test_given_a_new_day_when_scanned_then_each_segment_is_read_from_its_start() -> (
    None
):
    """The store leaves out users whose first notice is due on a later day."""
    users = PagedUsers(SEGMENTS)

    run(users, Bus())

    assert users.reads == [(segment, "") for segment in range(SEGMENTS)]
    assert users.until == {datetime(2026, 6, 10, tzinfo=UTC)}


def test_given_a_page_with_a_user_that_is_not_due_then_the_others_are_warned() -> None:
    users, bus = PagedUsers(SEGMENTS + 1), Bus()
    users.scan = ExpiryScan(1, None, date(2026, 5, 25), {})
    in_10_days = datetime(2026, 6, 5, 1, tzinfo=UTC)
    users.users[0] = replace(users.users[0], expires_at=in_10_days)

    run(users, bus)

    assert len(bus.heard) == SEGMENTS
    assert users.users[0].id not in str(bus.heard)


def test_given_unreadable_items_on_several_pages_when_reported_then_all_count() -> None:
    users = PagedUsers(3 * SEGMENTS, unreadable=2)

    report = run(users, Bus())

    assert (report.pages, report.unreadable) == (2 * SEGMENTS, 4 * SEGMENTS)


def test_given_pages_when_read_then_most_of_the_table_is_left_to_others() -> None:
    pauses: list[float] = []

    run(PagedUsers(30), Bus(), pauses=pauses)

    assert pauses == [0.1] * 16  # 1,000 read units a second


@pytest.mark.parametrize("fault", FAULTS)
def test_given_failing_aws_when_the_schedule_runs_then_it_fails_and_later_goes_on(
    story: Story, fault: str
) -> None:
    """Fail at each call in turn, as often as that call is repeated."""
    story.service.log_in()
    for place in range(11):
        story.service.now = noon(LAST_DAY - 14 * DAY)
        story.service.db.delete_item(
            TableName=story.service.table, Key={"pk": {"S": "SCAN#expiring"}}
        )
        story.service.wire.reset()
        story.service.wire.faults = [*[None] * place, *[FAULTS[fault]] * 4]
        ended = "well"
        try:
            story.service.invoke("ExpiringFunction", {})
        except Exception as exc:  # noqa: BLE001 - the name is what is checked
            ended = type(exc).__name__
        told = story.published()
        assert ended in {"well", "StoreUnavailable", "EventsUnavailable"}

        story.service.invoke("ExpiringFunction", {})

        told += story.published()
        assert len({event["detail"]["id"] for event in told}) == 1
        item = story.service.items()["SCAN#expiring"]
        assert item["positions"]["M"] == {}
        assert item["day"]["S"] == "2026-05-26"


def test_given_an_unreadable_item_when_scanned_then_others_are_warned(
    story: Story, log: io.StringIO
) -> None:
    bad, good = (story.service.log_in()["user_id"] for _ in range(2))
    item = story.service.user_item(bad)
    assert item is not None
    for attribute in ("created_at", "version", "identities"):
        spoilt = {name: value for name, value in item.items() if name != attribute}
        story.service.db.put_item(TableName=story.service.table, Item=spoilt)
        story.service.db.delete_item(
            TableName=story.service.table, Key={"pk": {"S": "SCAN#expiring"}}
        )
        story.service.now = noon(LAST_DAY - 14 * DAY)

        (event,) = warn(story)

        assert event["detail"]["uid"] == good
        assert json.loads(log.getvalue().splitlines()[-1])["unreadable"] == 1


def test_given_a_report_when_logged_then_it_says_how_far_it_came(story: Story) -> None:
    report = story.service.invoke("ExpiringFunction", {})

    assert json.loads(json.dumps(report)) == {
        "day": "2026-03-10",
        "pages": SEGMENTS,
        "warned": 0,
        "unreadable": 0,
        "is_done": True,
    }
