"""Growth: operations on tables with more users, and on users with more parts.

The tables of all sizes exist at once, each in its own engine, and take turns. Other
load on the machine then hits all of them alike.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from bench import counted
from bench.crowd import crowded
from bench.figures import low_and_middle, say
from bench.meter import item_bytes
from bench.operations import Operation, People, operations, yesterday
from bench.stage import APP, Stage
from bench.warm import overlay, start
from runtime.client import claims, request
from runtime.runtime_api import Function
from support.project.sam_template import Json

USERS = (1_000, 100_000, 1_000_000)
SESSIONS = (1, 8, 16, 32)
IDENTITIES = (1, 4, 10)

_OPERATIONS = (
    "login",
    "refresh",
    "refresh, first of a day",
    "profile",
    "logout",
    "link custom-token",
    "log in custom-token",
)

_TABLES = "users in the table"

_ROUNDS = 7
_REPEATS = 3  # within a round, of operations that are measured singly

_Rounds = dict[str, dict[str, dict[str, list[float]]]]


def measure(stage: Stage, most_users: int) -> Json:
    """Return seconds and units of operations by what has grown.

    Args:
        most_users: Larger tables are left out.
    """
    return {
        _TABLES: _by_users(stage, [users for users in USERS if users <= most_users]),
        "sessions of the user": _by_parts(
            stage, {number: (number, 1) for number in SESSIONS}
        ),
        "identities of the user": _by_parts(
            stage, {number: (1, number) for number in IDENTITIES}
        ),
    }


def differences(found: Json) -> Iterator[str]:
    """Yield a line for each operation that needs more in a larger table."""
    for name, by_size in found[_TABLES].items():
        fewest, *others = (
            (size, [each[count] for count in ("calls", "read_units", "write_units")])
            for size, each in by_size.items()
        )
        for size, needed in others:
            if needed != fewest[1]:
                yield (
                    f"{name}: {needed} with {size} users, {fewest[1]} with {fewest[0]}"
                )


def _by_users(stage: Stage, sizes: list[int]) -> Json:
    rounds = _rounds()
    wanted = [each for each in operations() if each.name in _OPERATIONS]
    with ExitStack() as stack:
        founders = People(stage, stack)
        turns: list[tuple[Operation, int, Function, People]] = []
        counts: Json = {operation.name: {} for operation in wanted}
        for size in sizes:
            say(f"a table of {size:,} users")
            grown = stack.enter_context(crowded(stage, founders, size))
            people = People(grown, stack)
            for operation in wanted:
                count = counted.count(grown, people, operation)
                counts[operation.name][str(size)] = count
                function = start(grown, stack, operation, overlay(grown))
                turns.append((operation, size, function, people))
        for number in range(1 + _ROUNDS):
            say(f"growth of the table, round {number} of {_ROUNDS}")
            for operation, size, function, people in turns:
                events = operation.events(people, operation.batch)
                answer = function.invoke({"events": events, "how": "time"})
                if number:  # the first round warms up
                    _note(rounds, operation.name, size, answer)
    figures = _figures(rounds)
    for name, by_size in counts.items():
        for at, count in by_size.items():
            figures[name][at] |= count
    return figures


def _by_parts(stage: Stage, sizes: Mapping[int, tuple[int, int]]) -> Json:
    rounds = _rounds()
    with ExitStack() as stack:
        people = People(stage, stack)
        users = {
            size: _Grown.made(people, sessions, identities)
            for size, (sessions, identities) in sizes.items()
        }
        functions = {
            sent: start(stage, stack, sent.operation, overlay(stage))
            for sent in _REQUESTS
        }
        for number in range(1 + _ROUNDS):
            say(f"growth of a user, round {number} of {_ROUNDS}")
            for sent, function in functions.items():
                for size, user in users.items():
                    for _ in range(_REPEATS):
                        answer = _send(function, sent, user)
                        if number:
                            _note(rounds, sent.name, size, answer)
        figures = _figures(rounds)
        for sent in _REQUESTS:
            probe = overlay(stage)
            metered = start(stage, stack, sent.operation, probe, is_metered=True)
            for size, user in users.items():
                units = _units(stage, metered, sent, user)
                figures[sent.name][str(size)] |= units
    return figures


def _send(function: Function, sent: "_Request", user: "_Grown") -> Json:
    user.restore(is_idle=sent.is_idle)
    answer: Json = function.invoke({"events": [sent.event(user)], "how": "time"})
    return answer


def _units(stage: Stage, function: Function, sent: "_Request", user: "_Grown") -> Json:
    _send(function, sent, user)  # reads the keys
    del stage.meter.calls[:]
    _send(function, sent, user)
    return {
        "read_units": sum(call.read_units for call in stage.meter.calls),
        "write_units": sum(call.write_units for call in stage.meter.calls),
        "item_bytes": item_bytes(user.item),
    }


def _rounds() -> _Rounds:
    return defaultdict(lambda: defaultdict(lambda: defaultdict(list)))


def _note(rounds: _Rounds, name: str, size: int, answer: Json) -> None:
    for clock, spent in answer.items():
        rounds[name][str(size)][clock].append(sum(spent) / len(spent) / 1e9)


def _figures(rounds: _Rounds) -> Json:
    return {
        name: {
            size: {clock: low_and_middle(spent) for clock, spent in found.items()}
            for size, found in by_size.items()
        }
        for name, by_size in rounds.items()
    }


@dataclass(frozen=True)
class _Grown:
    """A permanent user with a given number of sessions and identities."""

    people: People
    item: Json
    opened: Json
    credential: Json

    @classmethod
    def made(cls, people: People, sessions: int, identities: int) -> "_Grown":
        opened, credential = people.permanent()
        for _ in range(identities - 1):
            further = people.credential("custom-token")
            link = people.attempt("custom-token", further, opened["access_token"])
            people.send("LinkFunction", link)
        for _ in range(sessions - 1):
            people.log_in("custom-token", credential)
        stage = people.stage
        pk = {"S": f"USER#{APP}#{opened['user_id']}"}
        found = stage.engine.db.get_item(TableName=stage.table, Key={"pk": pk})
        return cls(people, dict(found["Item"]), opened, credential)

    def restore(self, *, is_idle: bool) -> None:
        """Restore the item, with its session last used today or before."""
        item = copy.deepcopy(self.item)
        if is_idle:
            used = item["sessions"]["M"][claims(self.opened["access_token"])["sid"]]
            used["M"]["used_day"] = {"S": yesterday()}
        stage = self.people.stage
        stage.engine.db.put_item(TableName=stage.table, Item=item)


@dataclass(frozen=True)
class _Request:
    """A request that is sent for a grown user repeatedly."""

    name: str
    function: str
    event: Callable[[_Grown], Json]
    is_idle: bool = False

    @property
    def operation(self) -> Operation:
        return Operation(self.name, self.function, People.login)


def _refresh(user: _Grown) -> Json:
    return request("session", user.opened["refresh_token"])


_REQUESTS = (
    _Request("refresh", "SessionFunction", _refresh),
    _Request("refresh, first of a day", "SessionFunction", _refresh, is_idle=True),
    _Request(
        "profile",
        "ProfileFunction",
        lambda user: request("profile", user.opened["access_token"]),
    ),
    _Request(
        "log in",
        "LinkFunction",
        lambda user: user.people.attempt("custom-token", user.credential),
    ),
    _Request(
        "logout",
        "LogoutFunction",
        lambda user: request("logout", user.opened["refresh_token"]),
    ),
)
