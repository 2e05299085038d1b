"""The local service: time of its calls with more users, and under many clients.

Services of all sizes run at once, each in its own process, and take turns. Other
load on the machine then hits all of them alike.
"""

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.figures import low_and_middle, say
from support.project.sam_template import Json
from support.project.tools import ROOT
from support.service.served import (
    MOST_BYTES,
    Connected,
    delete,
    link,
    log_in,
    log_in_with_password,
    log_out,
    refresh,
    register,
)

USERS = (0, 1_000, 10_000, 100_000)
CLIENTS = 16

MOST_GROWTH = 1.1
"""Allowed growth of the number of Python calls, from no users to 1,000."""

_ROUNDS = 7
_REPEATS = 10  # within a round
_LOAD_SECONDS = 4.0


@dataclass(frozen=True)
class _Service:
    port: int


def counted() -> Json:
    """Return the counts: Python calls, copies, bytes."""
    say("counting what the local service does")
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        _command("counted"), cwd=ROOT / "tests", capture_output=True, check=True
    )
    found: Json = json.loads(ran.stdout.splitlines()[-1])
    return found


def differences(found: Json) -> Iterator[str]:
    """Yield a line for each count that has grown."""
    few, many = (found[size] for size in ("0", "1000"))
    for name, calls in many["calls"].items():
        before = few["calls"][name]
        if calls > MOST_GROWTH * before:
            yield f"local {name}: {calls} calls with 1,000 users, {before} with none"
    if many["copies"] != few["copies"]:
        yield (
            f"local link: {many['copies']} items are copied with 1,000 users, "
            f"{few['copies']} with none"
        )
    if (kept := found["bytes of a login"]) > MOST_BYTES:
        yield f"local login: {kept} bytes are kept, {MOST_BYTES} at most"


def measure(most_users: int) -> Json:
    """Return seconds of calls by number of users, and the throughput of 16 clients.

    Args:
        most_users: Services with more users are left out.
    """
    sizes = [users for users in USERS if users <= most_users]
    rounds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        began = time.perf_counter()
        services = {0: stack.enter_context(_served(0))}
        ready = time.perf_counter() - began
        for size in sizes[1:]:
            say(f"a local service of {size:,} users")
            services[size] = stack.enter_context(_served(size))
        for number in range(1 + _ROUNDS):
            say(f"the local service, round {number} of {_ROUNDS}")
            for size, client in services.items():
                for name, seconds in _timed(client):
                    if number:  # the first round warms up
                        rounds[name][str(size)].append(seconds)
        load = {str(size): _load(client) for size, client in services.items()}
    return {
        "ready": ready,
        "calls": {
            name: {size: low_and_middle(taken) for size, taken in by_size.items()}
            for name, by_size in rounds.items()
        },
        "load": load,
    }


def _command(asked: str) -> list[str]:
    return [sys.executable, "-m", "bench.local_service", asked]


@contextmanager
def _served(users: int) -> Iterator[_Service]:
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        _command(str(users)),
        cwd=ROOT / "tests",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # The functions also log there.
            port = next(int(line) for line in process.stdout if line.strip().isdigit())
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield _Service(port)
        finally:
            process.stdin.close()


def _timed(service: _Service) -> Iterator[tuple[str, float]]:
    """Yield the fastest of several calls of each kind, on one connection."""
    client = Connected(service.port)
    try:
        guests = [log_in(client) for _ in range(3 * _REPEATS)]
        addresses = [register(client) for _ in range(3)]
        steps: dict[str, list[Callable[[], object]]] = {
            "login": [lambda: log_in(client)] * _REPEATS,
            "refresh": [lambda: refresh(client, guests[0])] * _REPEATS,
            "logout": [_with(log_out, client, each) for each in guests[1:11]],
            "delete": [_with(delete, client, each) for each in guests[11:21]],
            "link": [
                _with(link, client, guest, address)
                for guest, address in zip(guests[21:], addresses, strict=False)
            ],
            "jump of a day": [lambda: _jump(client)],
        }
        for name, acts in steps.items():
            yield name, min(_seconds(act) for act in acts)
    finally:
        client.close()


def _with(act: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: act(*arguments)


def _jump(client: Connected) -> None:
    client.send("POST", "/_local/clock", body={"advance": "P1D"})


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _load(service: _Service) -> Json:
    """Return answers per second for many clients, and how many were lost."""
    say(f"{CLIENTS} clients of a local service")
    opening = Connected(service.port)
    address = register(opening)
    opening.close()

    def come_back(client: Connected) -> int:
        refresh(client, log_in(client))
        return 2

    def with_password(client: Connected) -> int:
        log_in_with_password(client, address)
        return 1

    return {
        "logins and refreshes": _crowded(service, come_back),
        "passwords": _crowded(service, with_password),
    }


def _crowded(service: _Service, act: Callable[[Connected], int]) -> Json:
    answers, waits, lost = [0] * CLIENTS, [0.0] * CLIENTS, [0] * CLIENTS
    end = time.perf_counter() + _LOAD_SECONDS

    def run(number: int) -> None:
        client = Connected(service.port)
        while (began := time.perf_counter()) < end:
            try:
                answers[number] += act(client)
            except (OSError, AssertionError):
                lost[number] += 1
                client.close()
                client = Connected(service.port)
            waits[number] = max(waits[number], time.perf_counter() - began)
        client.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=run, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "a second": sum(answers) / (time.perf_counter() - began),
        "lost": sum(lost),
        "longest": max(waits),
    }
