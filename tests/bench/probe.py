"""Runs in a function's process, beside the bundle: calls the handler and times it.

Its event is `{"events": […], "how": …}`. An event whose answer is not 200 names it as
`expected_status`. `time` answers processor time and wall time of each event, in
nanoseconds. `parts` answers the processor time of all events by part of the code.
`profile` writes a cProfile file to the path `to`.
"""

import cProfile
import functools
import importlib
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

_MODULE, _, _NAME = os.environ["PROBED_HANDLER"].rpartition(".")
_HANDLE: Callable[[Any, Any], Any] = getattr(importlib.import_module(_MODULE), _NAME)

# Parts of the code. Time of a part within a part counts for the inner part alone.
_PARTS = {
    "store": [
        "anonauth.store.table:Table._send",
        "anonauth.store.table:Table._try_write",
    ],
    "botocore": ["botocore.client:BaseClient._make_api_call"],
    "SigV4": ["botocore.signers:RequestSigner.sign"],
    "HTTP": [
        "botocore.httpsession:URLLib3Session.send",
        "anonauth.issuers.fetch:Fetcher.get",
    ],
    "checked answers": ["anonauth.aws_answers:is_damaged"],
    "PyJWT": ["jwt:encode", "jwt:decode", "jwt:decode_complete"],
    "RSA, HMAC": [
        "jwt.algorithms:RSAAlgorithm.sign",
        "jwt.algorithms:RSAAlgorithm.verify",
        "jwt.algorithms:HMACAlgorithm.sign",
        "jwt.algorithms:HMACAlgorithm.verify",
    ],
    "argon2": ["argon2:PasswordHasher.hash", "argon2:PasswordHasher.verify"],
    "logs, metrics": [
        "anonauth.metrics:Metrics.start",
        "anonauth.metrics:Metrics.count",
        "aws_lambda_powertools.logging:Logger.structure_logs",
        "aws_lambda_powertools.logging:Logger.append_keys",
        "aws_lambda_powertools.logging:Logger.set_correlation_id",
        "aws_lambda_powertools.logging:Logger.info",
    ],
}


def handler(event: dict[str, Any], context: Any) -> Any:
    """Call the real handler on each event, and answer as `how` says."""
    how: str = event["how"]
    return _WAYS[how](event, context)


def _time(event: dict[str, Any], context: Any) -> Any:
    spent, passed = [], []
    for each in event["events"]:
        cpu, clock = time.process_time_ns(), time.perf_counter_ns()
        answer = _HANDLE(each, context)
        spent.append(time.process_time_ns() - cpu)
        passed.append(time.perf_counter_ns() - clock)
        _check(answer, each.get("expected_status", 200))
    return {"cpu": spent, "wall": passed}


def _parts(event: dict[str, Any], context: Any) -> Any:
    _install()
    _SPENT.clear()
    with _Part("ours"):
        for each in event["events"]:
            _check(_HANDLE(each, context))
    return dict(_SPENT)


def _profile(event: dict[str, Any], context: Any) -> Any:
    profile = cProfile.Profile()
    for each in event["events"]:
        _check(profile.runcall(_HANDLE, each, context))
    profile.dump_stats(event["to"])
    return {}


_WAYS = {"time": _time, "parts": _parts, "profile": _profile}


def _check(answer: Any, expected: int = 200) -> None:
    # The authorizer's answer has no status.
    status = 200 if answer.get("isAuthorized") else answer.get("statusCode")
    if status != expected:
        raise ValueError(answer)


_SPENT: Counter[str] = Counter()
_OPEN: list[str] = []
_SINCE = [0]


class _Part:
    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        _book()
        _OPEN.append(self._name)

    def __exit__(self, *_: object) -> None:
        _book()
        _OPEN.pop()


def _book() -> None:
    now = time.process_time_ns()
    if _OPEN:
        _SPENT[_OPEN[-1]] += now - _SINCE[0]
    _SINCE[0] = now


@functools.cache
def _install() -> None:
    for part, places in _PARTS.items():
        for place in places:
            module, _, path = place.partition(":")
            try:
                owner: Any = importlib.import_module(module)
            except ImportError:
                continue  # not in the bundle, so not called
            *outer, name = path.split(".")
            for each in outer:
                owner = getattr(owner, each)
            setattr(owner, name, _timed(getattr(owner, name), part))


def _timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        with _Part(part):
            return function(*args, **kwargs)

    return timed
