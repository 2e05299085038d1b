"""Cold starts: a function's process from its start to its first answer, on one core.

Rounds are interleaved, and each has an empty handler. Other load on the machine then
hits all functions alike; compare machines by the ratio to the empty handler. It makes
no calls, so it is the same with TLS and without.
"""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.figures import low_and_middle, say
from bench.operations import People
from bench.stage import EMPTY_HANDLER, Stage, on_one_core
from runtime.client import request
from support.project.sam_template import Json, event

EMPTY = "empty handler"
NO_TLS = ", without TLS"

_PLAIN = ("LoginFunction", "LinkFunction")  # also measured without bytecode

_READING = ("ready_cpu", "ready_wall", "cpu", "wall")


@dataclass(frozen=True)
class _Start:
    name: str
    function: str
    event: Callable[[], Json]
    bundle: Path
    handler: str | None = None
    has_tls: bool = True


def measure(stage: Stage, rounds: int) -> Json:
    """Return seconds and bytes of each function's cold start.

    `ready_cpu` and `ready_wall` end at the request for the first event (Lambda's Init),
    `cpu` and `wall` at its answer.
    """
    readings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        starts = list(_starts(stage, People(stage, stack)))
        for number in range(rounds):
            say(f"cold starts, round {number + 1} of {rounds}")
            for start in starts:
                for reading, value in _measure(stage, start).items():
                    readings[start.name][reading].append(value)
    empty = low_and_middle(readings[EMPTY]["cpu"])["min"]
    return {
        name: {reading: low_and_middle(values) for reading, values in found.items()}
        | {
            "cpu_ratio": min(found["cpu"]) / empty,
            "ready_ratio": min(found["ready_cpu"]) / empty,
        }
        for name, found in readings.items()
    }


def _measure(stage: Stage, start: _Start) -> dict[str, float]:
    sent = start.event()
    with ExitStack() as stack:
        began = time.perf_counter()
        with on_one_core():
            function = stack.enter_context(
                stage.running(
                    start.function,
                    bundle=start.bundle,
                    handler=start.handler,
                    has_tls=start.has_tls,
                )
            )
        function.await_ready()
        ready = (function.cpu_seconds(), time.perf_counter() - began)
        function.invoke(sent)
        done = (function.cpu_seconds(), time.perf_counter() - began)
        return dict(zip(_READING, ready + done, strict=True)) | {
            "memory": function.peak_memory()
        }


def _starts(stage: Stage, people: People) -> Iterator[_Start]:
    user = people.guest()
    refresh, access = user["refresh_token"], user["access_token"]
    events: dict[str, Callable[[], Json]] = {
        "LoginFunction": people.login,
        "SessionFunction": lambda: request("session", refresh),
        "LogoutFunction": lambda: request("logout", people.guest()["refresh_token"]),
        "ProfileFunction": lambda: request("profile", access),
        "AuthorizerFunction": lambda: request("authorizer", access),
        "DiscoveryFunction": lambda: request("discovery-jwks"),
        "LinkFunction": lambda: people.attempt(
            "custom-token",
            people.credential("custom-token"),
            people.guest()["access_token"],
        ),
        "UserpassFunction": people.register,
        "ApiKeysFunction": lambda: request("api_keys-list", permanent["refresh_token"]),
        "LifecycleFunction": lambda: event("lifecycle"),
        "ExpiringFunction": lambda: event("expiring"),
        "KeysFunction": lambda: event("key_ring"),
    }
    permanent, _ = people.permanent()
    # Any function of the template: only its environment variables are used.
    yield _Start(EMPTY, "DiscoveryFunction", dict, stage.empty, EMPTY_HANDLER)
    for name, made in events.items():
        yield _Start(name, name, made, stage.bundle)
        yield _Start(f"{name}{NO_TLS}", name, made, stage.bundle, has_tls=False)
    plain = _without_bytecode(stage.bundle, stage.directory / "plain")
    for name in _PLAIN:
        yield _Start(f"{name}, no bytecode", name, events[name], plain)


def _without_bytecode(bundle: Path, directory: Path) -> Path:
    """Return a copy of a bundle without bytecode, as SAM's own builder makes it."""
    compiled = shutil.ignore_patterns("__pycache__", "compiled.bin")
    shutil.copytree(bundle, directory, ignore=compiled)
    for folder, _, _ in os.walk(directory):
        # Python would write bytecode. A file in place of the folder prevents that, as
        # Lambda's read-only file system does.
        (Path(folder) / "__pycache__").touch()
    return directory
