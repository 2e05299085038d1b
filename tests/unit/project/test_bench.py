"""The benchmark's arithmetic. CI runs the benchmark itself in its short form."""

import copy
from typing import Any

import pytest

from bench import background, growth
from bench.cost import bill, measure, prices
from bench.counted import BESIDE, EVERYWHERE, EXPECTED, differences
from bench.figures import quartiles
from bench.meter import item_bytes
from bench.report import report
from support.project.bundle_size import MAX_BYTES, MAX_ZIPPED
from support.service.served import MOST_BYTES


def as_expected() -> dict[str, Any]:
    return {
        "operations": {
            name: {
                "calls": list(calls),
                "read_units": reads,
                "write_units": writes,
                "log_bytes": 200,
                "cold_calls": ["Decrypt", *calls],
            }
            for name, (calls, reads, writes) in EXPECTED.items()
        },
        "imports": {
            name: {"packages": sorted(EVERYWHERE | beside), "modules": 300}
            for name, beside in BESIDE.items()
        },
        "sizes": {"bundle": MAX_BYTES, "zipped": MAX_ZIPPED},
        "local": {
            "0": {"calls": {"login": 1_000}, "copies": 4},
            "1000": {"calls": {"login": 1_100}, "copies": 4},
            "bytes of a login": MOST_BYTES,
        },
    }


def test_given_counts_as_expected_when_compared_then_there_is_no_difference() -> None:
    assert differences(as_expected()) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param(
            ("operations", "refresh", "calls"),
            ["GetItem", "GetItem"],
            "calls and units of refresh: (['GetItem', 'GetItem'], 1, 0), "
            "not (['GetItem'], 1, 0)",
            id="one call more",
        ),
        pytest.param(
            ("operations", "logout", "write_units"),
            2,
            "calls and units of logout: (['DeleteItem'], 0, 2), "
            "not (['DeleteItem'], 0, 1)",
            id="one unit more",
        ),
        pytest.param(
            ("sizes", "zipped"),
            MAX_ZIPPED + 1,
            f"zipped: {MAX_ZIPPED + 1} bytes, {MAX_ZIPPED} at most",
            id="a byte too many",
        ),
        pytest.param(
            ("local", "1000", "calls", "login"),
            1_101,
            "local login: 1101 calls with 1,000 users, 1000 with none",
            id="a local login that grows",
        ),
        pytest.param(
            ("local", "1000", "copies"),
            5,
            "local link: 5 items are copied with 1,000 users, 4 with none",
            id="a copy more",
        ),
        pytest.param(
            ("local", "bytes of a login"),
            MOST_BYTES + 1,
            f"local login: {MOST_BYTES + 1} bytes are kept, {MOST_BYTES} at most",
            id="a byte more that is kept",
        ),
    ],
)
def test_given_another_count_when_compared_then_a_line_says_which(
    path: tuple[str, ...], value: object, said: str
) -> None:
    counted = as_expected()
    part = counted
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value

    assert differences(counted) == [said]


def test_given_one_more_import_when_compared_then_a_line_says_which() -> None:
    counted = as_expected()
    counted["imports"]["LoginFunction"]["packages"].append("requests")

    (line,) = differences(counted)

    assert line.startswith("imports of LoginFunction: ")
    assert "requests" in line


def test_given_an_unexpected_operation_when_compared_then_a_line_names_it() -> None:
    counted = as_expected()
    counted["operations"]["teleport"] = counted["operations"]["login"]

    (line,) = differences(counted)

    assert line.startswith("calls and units of teleport: ")
    assert line.endswith("not None")


def test_given_a_call_more_in_a_larger_table_when_compared_then_a_line_says_which() -> (
    None
):
    few = {"calls": ["GetItem"], "read_units": 1.0, "write_units": 0}
    many = few | {"calls": ["GetItem", "Scan"], "read_units": 9.0}
    by_size = {"1000": few, "100000": few, "1000000": many}

    found = growth.differences(
        {"users in the table": {"login": {"1000": few}, "refresh": by_size}}
    )

    assert list(found) == [
        (
            "refresh: [['GetItem', 'Scan'], 9.0, 0] with 1000000 users, "
            "[['GetItem'], 1.0, 0] with 1000"
        )
    ]


def in_the_background() -> dict[str, Any]:
    def scanned(size: int) -> dict[str, Any]:
        pages = size * 475 // 2**20 + 4
        return {
            "pages": pages,
            "warned": size // 61,
            "events": size // 61,
            "calls": size // 610 + pages,
            "units_of_page": 128.0,
            "item_bytes": 475,
            "memory": 48_000_000,
        }

    def published(events: int) -> dict[str, Any]:
        calls = events // 10
        return {"events": events, "calls": calls, "failed": 0, "memory": 54_000_000}

    sizes = (20_000, 200_000)
    return {
        "scan": {str(size): scanned(size) for size in sizes},
        "new guests": {str(size): published(size) for size in sizes},
        "refreshes": {str(size): published(0) for size in sizes},
    }


def test_given_counts_that_grow_with_the_items_when_compared_then_all_is_well() -> None:
    assert list(background.differences(in_the_background())) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param(
            ("scan", "200000", "warned"),
            3_277,
            "scan of 200000: 3277 warned by 3278 events, not 3278",
            id="a warning too few",
        ),
        pytest.param(
            ("scan", "200000", "events"),
            3_279,
            "scan of 200000: 3278 warned by 3279 events, not 3278",
            id="an event too many",
        ),
        pytest.param(
            ("scan", "200000", "pages"),
            99,
            "scan of 200000: 99 pages, 98 at most",
            id="a page too many",
        ),
        pytest.param(
            ("scan", "200000", "units_of_page"),
            128.5,
            "scan of 200000: a page of 128.5 units",
            id="half a unit too many",
        ),
        pytest.param(
            ("scan", "200000", "calls"),
            3_278,
            "scan of 200000: 3278 calls of PutEvents, 421 at most",
            id="a call for each event",
        ),
        pytest.param(
            ("new guests", "200000", "calls"),
            20_001,
            "new guests, 200000 records: (200000, 20001, 0) instead of "
            "(200000, 20000, 0)",
            id="a call too many",
        ),
        pytest.param(
            ("refreshes", "20000", "failed"),
            1,
            "refreshes, 20000 records: (0, 0, 1) instead of (0, 0, 0)",
            id="a record that fails",
        ),
        pytest.param(
            ("refreshes", "200000", "memory"),
            60_000_000,
            "refreshes: the memory grows from 54000000 to 60000000 bytes",
            id="memory that grows",
        ),
    ],
)
def test_given_another_count_in_the_background_when_compared_then_a_line_says_which(
    path: tuple[str, str, str], value: int, said: str
) -> None:
    found = in_the_background()
    what, size, name = path
    found[what][size][name] = value

    assert list(background.differences(found)) == [said]


def test_given_times_when_quartiles_are_taken_then_all_three_are_returned() -> None:
    found = quartiles([5.0, 1.0, 3.0, 2.0, 4.0])

    assert found == {"first": 2.0, "median": 3.0, "third": 4.0}


@pytest.mark.parametrize(
    ("item", "size"),
    [
        pytest.param({}, 0, id="nothing"),
        pytest.param({"pk": {"S": "é"}}, 2 + 2, id="text, in UTF-8"),
        pytest.param({"n": {"N": "1795487400"}}, 1 + 6, id="ten digits"),
        pytest.param({"n": {"N": "-15"}}, 1 + 2, id="a sign is no digit"),
        pytest.param({"b": {"B": "AAAA"}}, 1 + 3, id="bytes"),
        pytest.param({"t": {"BOOL": False}}, 1 + 1, id="truth"),
        pytest.param({"m": {"M": {}}}, 1 + 3, id="an empty map"),
        pytest.param({"m": {"M": {"a": {"S": "b"}}}}, 1 + 3 + 1 + 2, id="a map"),
        pytest.param(
            {"l": {"L": [{"S": "b"}, {"S": "c"}]}}, 1 + 3 + 2 + 2, id="a list"
        ),
    ],
)
def test_given_an_item_when_measured_then_its_size_is_by_the_rules_of_dynamodb(
    item: dict[str, Any], size: int
) -> None:
    assert item_bytes(item) == size


@pytest.mark.parametrize(
    ("users", "cost"),
    [
        pytest.param(10, 5, id="within what is free"),
        pytest.param(11, 5 + 2, id="one more"),
        pytest.param(20, 5 + 20, id="to the end of a tier"),
        pytest.param(22, 5 + 20 + 2, id="in the last one"),
    ],
)
def test_given_tiers_when_billed_then_each_user_costs_what_its_own_tier_says(
    users: int, cost: float
) -> None:
    other = {"base": 5, "tiers": [[10, 0], [20, 2], [None, 1]]}

    assert bill(other, users) == cost


def test_given_a_price_list_that_ends_when_billed_beyond_then_there_is_no_price() -> (
    None
):
    other = {"base": 0, "tiers": [[10, 0]]}

    assert (bill(other, 10), bill(other, 11)) == (0, None)


def test_given_measured_figures_when_priced_then_the_parts_are_those_of_the_list() -> (
    None
):
    spent = {"min": 0.0025, "median": 0.003}
    warm = {name: {"cpu": spent, "wall": spent, "shares": {}} for name in EXPECTED}

    cost = measure(warm, as_expected())

    parts = cost["per_million"]["login"]
    aws = prices()["aws"]
    assert parts["API Gateway"] == pytest.approx(1e6 * aws["http_api_request"])
    assert parts["DynamoDB"] == pytest.approx(2e6 * aws["dynamodb_write_unit"])
    # 2.5 ms of work and two calls of 4 ms are billed as 11 ms.
    computing = 0.011 * 1769 / 1024 * aws["lambda_arm64_gigabyte_second"]
    assert parts["Lambda"] == pytest.approx(1e6 * (aws["lambda_request"] + computing))
    assert parts["events"] == pytest.approx(1)
    assert cost["per_million"]["logout, permanent user"]["events"] == 0
    # `user.logged_in` of the user and `user.merged` of the guest.
    assert cost["per_million"]["merge a guest"]["events"] == pytest.approx(2)
    # At 256 MB the same 2.5 ms take seven times as long, rounded up to a full ms.
    assert cost["by_memory"]["login"]["256"]["seconds"] == pytest.approx(0.026)
    assert cost["per_month"]["Supabase Pro"]["1000000"] == pytest.approx(2950)


def quartiles_of(*seconds: float) -> dict[str, dict[str, float]]:
    found = dict(zip(("first", "median", "third"), seconds, strict=True))
    return {"cpu": found, "wall": found}


def test_given_figures_when_reported_then_each_part_has_its_table() -> None:
    spent = {"min": 0.0025, "median": 0.003}
    start = dict.fromkeys(("cpu", "wall", "ready_cpu"), spent)
    grown = {"cpu": spent, "wall": {"min": 0.01, "median": 0.02}}
    measured = {"memory": {"min": 6e7}, "cpu_ratio": 5.94, "ready_ratio": 5.01}
    counted = as_expected()
    warm = {
        name: {"cpu": spent, "wall": spent, "shares": {"ours": 1}} for name in EXPECTED
    }
    figures = {
        "cold": {"LoginFunction": start | measured},
        "warm": warm,
        "counted": counted,
        "checks": {"1": {"bytes": 404, "seconds": 7.25e-06}},
        "growth": {"users": {"login": {"1000": grown, "100000": copy.deepcopy(grown)}}},
        "background": {
            "scan": {
                "20000": {"pages": 12, "calls": 38, "cpu": 0.2, "wall": 6.3}
                | {"memory": 48e6},
                "200000": {"pages": 92, "calls": 380, "cpu": 1.1, "wall": 20}
                | {"memory": 48e6},
            }
        },
        "enumeration": {
            "log in": {
                "unknown": quartiles_of(0.040, 0.042, 0.05),
                "confirmed": quartiles_of(0.0399, 0.0441, 0.063),
            }
        },
        "cost": measure(warm, counted),
        "local": {
            "ready": 1.44,
            "calls": {"login": {"0": spent, "10000": {"min": 0.003, "median": 1}}},
            "load": {
                size: {"passwords": {"a second": 25.4, "longest": 0.71, "lost": 0}}
                for size in ("0", "10000")
            },
        },
    }

    lines = [" ".join(line.split()) for line in report(figures).splitlines()]

    assert "LoginFunction 2.5 (3.0) 2.5 (3.0) 60 5.0 5.9 6.0" in lines
    assert "login 2.5 (3.0) 2.5 (3.0) 1.8" in lines
    assert "login 100" in lines
    assert "login 0 2 200 UpdateItem PutItem Decrypt" in lines
    assert "1 404 7.2 20" in lines
    assert "login 2.50 2.50 +0 % +0 %" in lines
    assert "20,000 12 38 0.2 6 48" in lines
    assert "200,000 92 380 1.1 5.0 20 48" in lines
    assert "login 26 (0.09) 17 (0.11) 13 (0.17) 11 (0.25)" in lines
    assert "confirmed 44.1 1.05 (0.95 to 1.50) 44.1 1.05 (0.95 to 1.50)" in lines
    assert "login 2.5 (1.00) 3.0 (1.20) 8" in lines
    assert "passwords 25 (0.7 s, 0) 25 (0.7 s, 0)" in lines
    assert "Ready in 1.4 s" in lines
    assert "login 1000 1100" in lines
    assert "Auth0 (B2C) 0.00 by contract by contract" in lines
