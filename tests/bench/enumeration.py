"""Measures whether the time of an answer shows which addresses are registered.

All cases of a call take turns in one function, in a new order each round. Only their
differences matter. `tests/unit/service/test_enumeration.py` compares their answers and
their work.
"""

import random
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from urllib.parse import parse_qs, urlsplit

from bench.figures import quartiles, say
from bench.operations import Operation, People
from bench.stage import MAILING_APP, Stage
from bench.warm import overlay, start
from runtime.client import request
from runtime.runtime_api import Function
from support.project.sam_template import Json

UNKNOWN = "unknown"
"""The case that the other cases are compared to."""

_PASSWORD = "correct horse battery staple"
_BATCH = 5  # calls of each case in a round

# For each call its function, and its cases by the state of the address.
_CASES = (UNKNOWN, "pending", "confirmed", "with a user")
_CALLS = {
    "log in, wrong password": "LinkFunction",
    "ask for a reset": "UserpassFunction",
}


def measure(stage: Stage, rounds: int) -> Json:
    """Return quartiles of the seconds that each case of each call takes."""
    probe = overlay(stage)
    with ExitStack() as stack:
        people = People(stage, stack)
        addresses = _accounts(people)
        return {
            call: _measured(
                start(stage, stack, Operation(call, function, lambda _: {}), probe),
                {case: _EVENTS[call](address) for case, address in addresses.items()},
                rounds,
                call,
            )
            for call, function in _CALLS.items()
        }


def _measured(
    function: Function, events: Mapping[str, Json], rounds: int, call: str
) -> Json:
    order = random.Random(call)  # noqa: S311 - only the order of turns
    spent: dict[str, dict[str, list[float]]] = {
        case: defaultdict(list) for case in events
    }
    for number in range(rounds + 1):
        say(f"enumeration, {call}: round {number} of {rounds}")
        turns = [*events] * _BATCH
        order.shuffle(turns)
        batch = [events[case] for case in turns]
        found = function.invoke({"events": batch, "how": "time"})
        if number == 0:
            continue  # the first round loads keys, connections, caches
        for clock, nanoseconds in found.items():
            for case, each in zip(turns, nanoseconds, strict=True):
                spent[case][clock].append(each / 1e9)
    return {
        case: {clock: quartiles(seconds) for clock, seconds in clocks.items()}
        for case, clocks in spent.items()
    }


def _accounts(people: People) -> Mapping[str, str]:
    numbers = people.stage.numbers
    addresses = {case: f"case-{next(numbers)}@example.com" for case in _CASES}
    for case, address in addresses.items():
        if case != UNKNOWN:
            body = {"email": address, "password": _PASSWORD}
            people.send("UserpassFunction", _request("userpass", body))
        if case in ("confirmed", "with a user"):
            data = _mailed(people.stage, address)
            people.send("UserpassFunction", _request("userpass-confirm", data))
    people.send("LinkFunction", _login(addresses["with a user"], _PASSWORD))
    return addresses


def _mailed(stage: Stage, address: str) -> Json:
    (text,) = stage.cloud.mails_to(address)
    (link,) = re.findall(r"https://\S+", text)
    query = parse_qs(urlsplit(link).query)
    return {name: query[name][0] for name in ("token", "tokenId")}


def _request(name: str, body: Json) -> Json:
    return request(name, body=body, pathParameters={"appId": MAILING_APP})


def _login(address: str, password: str) -> Json:
    parameters = {"appId": MAILING_APP, "provider": "local-userpass"}
    body = {"username": address, "password": password}
    return request("link-login", body=body, pathParameters=parameters)


_EVENTS = {
    "log in, wrong password": lambda address: {
        **_login(address, "wrong password"),
        "expected_status": 401,
    },
    "ask for a reset": lambda address: _request(
        "userpass-reset-send", {"email": address}
    ),
}
