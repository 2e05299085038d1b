"""Cost of a million of each operation, computed from the measurements and counts."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.operations import AUTHORIZE
from support.project.sam_template import Json

MILLION = 1_000_000
ONE_CORE = 1769
"""Megabytes at which a function has one full core (AWS Lambda Developer Guide)."""

SIZES = (10_000, 100_000, 1_000_000)
"""Monthly active users for which the price lists are compared."""

# Events that Lifecycle publishes for operations whose names begin so (design.md §6).
_EVENTS = {"login": 1, "log in": 1, "logout": 1, "link": 1, "merge": 2, "delete": 1}
_SILENT = "logout, permanent user"  # the user remains, so there is no event


def prices() -> Json:
    """Return the price lists and their date."""
    loaded: Json = json.loads((Path(__file__).parent / "prices.json").read_text())
    return loaded


def measure(warm: Json, counted: Json) -> Json:
    """Return USD per million of each operation, and per month by number of users.

    Not included: cold starts, storage, the free tiers of AWS, and Lifecycle's own
    invocations, each of which handles up to a hundred records.
    """
    listed = prices()
    operations = {
        name: _per_million(name, warm[name], found, listed)
        for name, found in counted["operations"].items()
        if name in warm
    }
    a_month = sum(
        often * sum(operations[name].values()) / MILLION
        for name, often in listed["month_of_a_user"].items()
    )
    return {
        "as_of": listed["as_of"],
        "per_million": operations,
        "by_memory": {
            name: {
                str(size): _computing(warm[name], found, size, listed)
                for size in listed["assumed"]["memory_sizes"]
            }
            for name, found in counted["operations"].items()
            if name in warm
        },
        "per_month": {
            "anonauth": {str(users): users * a_month for users in SIZES},
            **{
                name: {str(users): bill(other, users) for users in SIZES}
                for name, other in listed["others"].items()
            },
        },
    }


def bill(other: Mapping[str, Any], users: int) -> float | None:
    """Return the cost of a month with this many active users, None if it is not listed.

    Args:
        other: A price list. `tiers` has upper ends, the last of them None if it is
            open, and the price of each user within them.
    """
    total, lower = float(other["base"]), 0
    for upper, price in other["tiers"]:
        within = users if upper is None else min(users, upper)
        total += (within - lower) * price
        lower = within
    return total if lower == users else None


def _per_million(name: str, warm: Json, counted: Json, listed: Json) -> Json:
    aws, assumed = listed["aws"], listed["assumed"]
    computing = _computing(warm, counted, assumed["memory_megabytes"], listed)
    units = (
        counted["read_units"] * aws["dynamodb_read_unit"]
        + counted["write_units"] * aws["dynamodb_write_unit"]
    )
    events = sum(n for start, n in _EVENTS.items() if name.startswith(start))
    if name == _SILENT:
        events = 0
    logged = counted["log_bytes"] + assumed["log_bytes_of_lambda_itself"]
    # The API that asks is another one. Its call costs the same without an authorizer.
    is_of_this_api = name != AUTHORIZE
    each = {
        "API Gateway": is_of_this_api * aws["http_api_request"],
        "Lambda": aws["lambda_request"] + computing["usd"],
        "DynamoDB": units,
        "events": events * aws["eventbridge_event"],
        "logs": logged / 1e9 * aws["logs_gigabyte"],
    }
    return {part: MILLION * price for part, price in each.items()}


def _computing(warm: Json, counted: Json, megabytes: int, listed: Json) -> Json:
    """Return seconds and USD that Lambda bills for one operation."""
    share = min(1, megabytes / ONE_CORE)
    waiting = len(counted["calls"]) * listed["assumed"]["seconds_per_aws_call"]
    seconds = math.ceil((warm["cpu"]["min"] / share + waiting) * 1000) / 1000
    price = listed["aws"]["lambda_arm64_gigabyte_second"]
    return {"seconds": seconds, "usd": seconds * megabytes / 1024 * price}
