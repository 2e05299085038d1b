"""Warm operations: a handler's processor time, and how it divides among parts.

The handler runs in the runtime client, and a probe beside it reads the clocks. An empty
handler measures the runtime client's own share. Operations take turns.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.figures import low_and_middle, say
from bench.operations import Operation, People, operations
from bench.stage import EMPTY_HANDLER, Stage, on_one_core
from runtime.client import request
from runtime.runtime_api import Function
from support.project.sam_template import Json, resources, translated

CLIENT = "empty handler, with its runtime client"

_EMPTY_EVENTS = 20

_SETTLING = 2  # batches that are not counted: keys, connections, caches


def measure(stage: Stage, rounds: int, profiles: Path) -> Json:
    """Return seconds of each operation, and shares of its processor time.

    Args:
        profiles: Directory for cProfile's files, one for each operation.
    """
    probe = overlay(stage)
    with ExitStack() as stack:
        people = People(stage, stack)
        benches = [
            _Bench(operation, start(stage, stack, operation, probe), people)
            for operation in operations()
        ]
        client = _Client(stage, stack)
        for number in range(rounds):
            say(f"warm operations, round {number + 1} of {rounds}")
            client.time()
            for bench in benches:
                bench.time()
        say("warm operations, shares of the time")
        for _ in range(3):
            for bench in benches:
                bench.divide()
        profiles.mkdir(parents=True, exist_ok=True)
        for bench in benches:
            bench.profile(profiles)
        figures = {bench.operation.name: bench.figures() for bench in benches}
        return {CLIENT: client.figures(), **figures}


def start(
    stage: Stage,
    stack: ExitStack,
    operation: Operation,
    probe: Path,
    *,
    is_metered: bool = False,
) -> Function:
    """Start an operation's function on one core, under the probe."""
    handlers = resources(translated(), "AWS::Lambda::Function")
    variables = {"PROBED_HANDLER": handlers[operation.function]["Handler"]}
    with on_one_core():
        return stack.enter_context(
            stage.running(
                operation.function,
                bundle=probe,
                handler="probe.handler",
                is_metered=is_metered,
                variables={**variables, **operation.variables},
            )
        )


def overlay(stage: Stage) -> Path:
    """Return a copy of the bundle with the probe beside it."""
    directory = stage.directory / "probed"
    if not directory.exists():
        directory.mkdir()
        for each in stage.bundle.iterdir():
            (directory / each.name).symlink_to(each)
        (directory / "probe.py").symlink_to(Path(__file__).parent / "probe.py")
    return directory


class _Client:
    """The runtime client's own share: getting an event and sending an answer."""

    def __init__(self, stage: Stage, stack: ExitStack) -> None:
        with on_one_core():
            self._function = stack.enter_context(
                # Any function of the template: only its environment variables count.
                stage.running(
                    "DiscoveryFunction", bundle=stage.empty, handler=EMPTY_HANDLER
                )
            )
        self._rounds: list[float] = []

    def time(self) -> None:
        event = request("login")
        cpu = self._function.cpu_seconds()
        for _ in range(_EMPTY_EVENTS):
            self._function.invoke(event)
        # Not the wall time, which is that of our own Runtime API.
        spent = self._function.cpu_seconds() - cpu
        self._rounds.append(spent / _EMPTY_EVENTS)

    def figures(self) -> Json:
        return {"cpu": low_and_middle(self._rounds)}


class _Bench:
    def __init__(
        self, operation: Operation, function: Function, people: People
    ) -> None:
        self.operation = operation
        self._function = function
        self._people = people
        self._rounds: dict[str, list[float]] = defaultdict(list)
        self._parts: Counter[str] = Counter()
        for _ in range(_SETTLING):
            self._send("time")

    def time(self) -> None:
        for clock, spent in self._send("time").items():
            self._rounds[clock].append(_mean(spent))

    def divide(self) -> None:
        self._parts.update(self._send("parts"))

    def profile(self, directory: Path) -> None:
        name = self.operation.name.replace(",", "").replace(" ", "-")
        self._send("profile", to=str(directory / f"{name}.pstats"))

    def figures(self) -> Json:
        total = sum(self._parts.values())
        figures: Json = {
            clock: low_and_middle(rounds) for clock, rounds in self._rounds.items()
        }
        shares = {part: spent / total for part, spent in self._parts.most_common()}
        return figures | {"shares": shares}

    def _send(self, how: str, **more: str) -> Json:
        events = self.operation.events(self._people, self.operation.batch)
        answer: Json = self._function.invoke({"events": events, "how": how, **more})
        return answer


def _mean(nanoseconds: Sequence[int]) -> float:
    return sum(nanoseconds) / len(nanoseconds) / 1e9
