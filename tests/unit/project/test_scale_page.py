"""The figures of scale.md and of the sampling table follow from what they assume."""

import math
import re

import pytest

from anonauth.handlers import expiring as handler
from anonauth.usecases import expiring
from bench.cost import prices
from support.project import sam_template
from support.project.pages import rows_of, section

GUESTS = (1_000_000, 10_000_000, 100_000_000)
MONTH = 30 * 86_400  # seconds
BUSIEST_HOUR = 2.4  # times the mean
LAUNCH = 50
ITEMS_OF_A_GUEST = 4.1
UNITS_OF_A_PAGE = 128  # eventually consistent, of 1 MB
UNITS_OF_AN_ITEM = 0.058
SECONDS_OF_A_PAGE = 0.1
SECONDS_OF_PUT_EVENTS = 0.02


def numbers_of(row: list[str]) -> list[float]:
    return [float(re.sub(r"[*,]| million", "", cell)) for cell in row[1:]]


def agree(told: float, computed: float, text: str) -> bool:
    """Tell whether a figure is the computed one, rounded to the digits that it has."""
    digits = len(text.strip("*").removesuffix(" million").partition(".")[2])
    return abs(told - computed) <= 0.5001 / 10.0**digits


def check(row: list[str], computed: list[float]) -> None:
    told = numbers_of(row)
    pairs = zip(told, computed, row[1:], strict=True)
    assert all(agree(*pair) for pair in pairs), (row, computed)


def test_given_the_model_when_computed_then_the_requests_are_those_of_the_page() -> (
    None
):
    month = prices()["month_of_a_user"]
    logins = [guests * month["login"] / MONTH for guests in GUESTS]
    refreshes = [
        guests * (month["refresh"] + month["refresh, first of a day"]) / MONTH
        for guests in GUESTS
    ]
    means = [guests * sum(month.values()) / MONTH for guests in GUESTS]

    rows = rows_of("scale.md", "## Requests a second")

    assert [row[0].split()[0] for row in rows] == [
        *("mean", "busiest", "refreshes", "logins", "logins")
    ]
    check(rows[0], means)
    check(rows[1], [BUSIEST_HOUR * mean for mean in means])
    check(rows[2], [BUSIEST_HOUR * each for each in refreshes])
    check(rows[3], [BUSIEST_HOUR * each for each in logins])
    check(rows[4], [LAUNCH * mean for mean in means])


def test_given_the_scan_when_computed_then_its_hours_are_those_of_the_page() -> None:
    function = sam_template.load()["Resources"]["ExpiringFunction"]["Properties"]
    run = function["Timeout"] - handler._RESERVE / 1000
    items = [ITEMS_OF_A_GUEST * guests for guests in GUESTS]
    units = [UNITS_OF_AN_ITEM * number for number in items]
    pauses = [each / expiring._UNITS_PER_SECOND for each in units]
    warnings = [2 * guests / 30 for guests in GUESTS]
    work = [
        pause
        + each / UNITS_OF_A_PAGE * SECONDS_OF_A_PAGE
        + number / 10 * SECONDS_OF_PUT_EVENTS
        for pause, each, number in zip(pauses, units, warnings, strict=True)
    ]

    def ends_after(every: float) -> list[float]:
        """Return the hours until the last run ends, with a run in so many hours."""
        return [s // run * every + s % run / 3600 for s in work]

    rows = rows_of("scale.md", "## The daily scan")

    check(rows[0], [number / 1e6 for number in items])
    check(rows[1], units)
    check(rows[2], [pause / 3600 for pause in pauses])
    check(rows[3], [seconds / 3600 for seconds in work])
    schedule = function["Events"]["QuarterHourly"]["Properties"]["Schedule"]
    assert schedule == "rate(15 minutes)"
    check(rows[4], ends_after(0.25))
    check(
        rows[5], [30 * each * prices()["aws"]["dynamodb_read_unit"] for each in units]
    )


def test_given_what_was_measured_when_extrapolated_then_it_is_as_the_page_says() -> (
    None
):
    heading = "### Measured with two million guests"
    rows = {row[0]: row[1:] for row in rows_of("scale.md", heading)}
    functions = sam_template.load()["Resources"]
    month = prices()["month_of_a_user"]
    whole_core = 1769  # MB
    text = " ".join(section("scale.md", heading).split())

    def seconds(row: str, records: float) -> float:
        """Return the seconds for so many records, by the largest measured size."""
        cells = [cell for cell in rows[row][:3] if cell[0].isdigit()]
        size = rows["The stream"][len(cells) - 1].removesuffix(" records")
        size = size.replace(",", "").replace(" million", "e6")
        return float(cells[-1]) * records / float(size)

    for row in ("pages", "calls of PutEvents", "CPU, seconds"):
        *_, measured, computed = numbers_of(rows[row])
        items = ITEMS_OF_A_GUEST * GUESTS[-1]
        assert computed == pytest.approx(measured * items / 2e6, rel=0.01), row
    day = GUESTS[-1] / 30
    news = seconds("new guests: CPU, seconds", day * month["login"])
    refreshes = seconds(
        "first refreshes of a day: CPU, seconds", day * month["refresh, first of a day"]
    )
    told = [
        float(rows[f"{what}: CPU, seconds"][-1].replace(",", ""))
        for what in ("new guests", "first refreshes of a day")
    ]
    assert told == [pytest.approx(each, rel=0.01) for each in (news, refreshes)]

    for name in ("ExpiringFunction", "LifecycleFunction"):
        assert functions[name]["Properties"]["MemorySize"] == 512
    share = 512 / whole_core
    assert f"{share:.2f} of a core" in text
    hours = numbers_of(rows["CPU, seconds"])[-1] / share / 3600
    assert f"takes {hours:.1f} hours of its own" in text
    batch = 1000 * seconds("new guests: CPU, seconds", 100)
    assert f"takes {batch:.0f} ms of a core, or {batch / share:.0f} ms" in text
    assert f"the rest, {(200 - batch / share) / 10:.0f} ms, for each" in text
    # A deletion takes as long as a new guest: one image and one event.
    busy = (2 * news + refreshes) / share / 86_400
    assert f"keep {busy:.1f} environments busy" in text


def test_given_the_costs_when_added_then_the_sum_is_right() -> None:
    rows = rows_of("scale.md", "## What it costs")
    end = next(place for place, row in enumerate(rows) if row[0].startswith("**"))
    parts = [numbers_of(row) for row in rows[:end]]

    check(rows[end], [sum(column) for column in zip(*parts, strict=True)])


def probability_of_at_least(least: int, *, of: int, each: float) -> float:
    """Return the upper tail of a binomial distribution."""
    log_factorial = math.lgamma  # of the number below
    return sum(
        math.exp(
            log_factorial(of + 1)
            - log_factorial(k + 1)
            - log_factorial(of - k + 1)
            + k * math.log(each)
            + (of - k) * math.log(1 - each)
        )
        for k in range(least, of + 1)
    )


def test_given_sampling_when_computed_then_honest_networks_are_refused_as_told() -> (
    None
):
    default = int(sam_template.load()["Parameters"]["LoginsPerNetwork"]["Default"])
    write = prices()["aws"]["dynamodb_write_unit"]
    exact, *rows = rows_of("performance.md", "### Why each login is counted")

    assert exact[4] == f"{default:,}"
    for row in rows:
        n = int(row[0].removeprefix("1 in "))
        limit = default // n
        refused = [
            10_000
            * probability_of_at_least(limit, of=round(load * default), each=1 / n)
            for load in (0.8, 0.9, 0.95)
        ]
        check(row[:4], refused)
        fewest, most = (int(number.replace(",", "")) for number in row[4].split(" to "))
        for number, share in ((fewest, 0.001), (most, 0.999)):
            reached, before = (
                probability_of_at_least(limit, of=each, each=1 / n)
                for each in (number, number - 1)
            )
            assert before < share <= reached, row
        check([row[0], row[5]], [1e6 * write * (1 - 1 / n)])
