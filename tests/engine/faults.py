"""What can go wrong with a call to AWS: the kinds, and how long each takes.

Nothing here sleeps: a time-out is the exception that the transport raises, and what a
call would have taken is added up (`Trouble.seconds`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from wire import (
    Fault,
    Forward,
    error,
    lost_reply,
    no_connection,
    reply,
    server_error,
    server_error_after_effect,
    throttled,
    transaction_conflict,
)

CONNECT_TIMEOUT = 0.5
READ_TIMEOUT = 2.0
"""Of our clients, in seconds; `test_faults` holds them to it."""

TRANSACTIONS = {"TransactWriteItems"}
SINGLE_WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
WRITES = TRANSACTIONS | SINGLE_WRITES
TABLE = WRITES | {"GetItem", "BatchGetItem", "Scan"}


def closed_after_effect(request: AWSPreparedRequest, forward: Forward) -> AWSResponse:
    """Let the call take effect, then hang up."""
    forward()
    raise ConnectionClosedError(endpoint_url=request.url)


def proxy_error(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer 503 as what stands in front of a service does: not in JSON."""
    return reply(request, 503, b"<html><b>Http/1.1 Service Unavailable</b></html>")


def lost_on_the_way(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Time out before anything has happened; what is sent may still arrive."""
    raise ReadTimeoutError(endpoint_url=request.url)


def no_throughput(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer that the table, or a partition of it, has no room now."""
    return error(request, 400, "ProvisionedThroughputExceededException")


def cancelled_by_conflict(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer that another transaction has one of the items."""
    return _cancelled(request, "TransactionConflict")


def cancelled_by_throttling(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer that there is no room for one of the items."""
    return _cancelled(request, "ThrottlingError")


def in_progress(request: AWSPreparedRequest, forward: Forward) -> AWSResponse:
    """Answer that the same request is under way, which then takes effect."""
    forward()
    return error(request, 400, "TransactionInProgressException")


def forgotten_after_effect(
    request: AWSPreparedRequest, forward: Forward
) -> AWSResponse:
    """Lose the reply of a transaction that cannot be told from its repetition.

    As after ten minutes, when DynamoDB forgets the token, or with moto.
    """
    body = _body(request)
    del body["ClientRequestToken"]
    return lost_reply(_with_body(request, body), forward)


def only_first_key(request: AWSPreparedRequest, forward: Forward) -> AWSResponse:
    """Read one of the keys of a batch, and have the others asked for again."""
    body = _body(request)
    ((table, wanted),) = body["RequestItems"].items()
    first, *others = wanted["Keys"]
    only_first = {table: {**wanted, "Keys": [first]}}
    _with_body(request, {**body, "RequestItems": only_first})
    answer = forward()
    assert answer is not None
    left = {table: {**wanted, "Keys": others}} if others else {}
    read = json.loads(answer.content)
    return reply(request, 200, {**read, "UnprocessedKeys": left})


def no_entry_taken(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer 200 to events, and that none was taken."""
    entries = _body(request)["Entries"]
    failed = [{"ErrorCode": "ThrottlingException", "ErrorMessage": "injected"}]
    return reply(
        request,
        200,
        {"FailedEntryCount": len(entries), "Entries": failed * len(entries)},
    )


def pass_on(_: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
    """Answer as AWS does."""
    return forward()


def _body(request: AWSPreparedRequest) -> Any:
    return json.loads(cast("bytes", request.body))


def _with_body(request: AWSPreparedRequest, body: Any) -> AWSPreparedRequest:
    request.body = json.dumps(body).encode()
    request.headers["Content-Length"] = str(len(request.body))
    return request


def _cancelled(request: AWSPreparedRequest, code: str) -> AWSResponse:
    items = _body(request)["TransactItems"]
    reasons: list[Any] = [{"Code": "None"}] * (len(items) - 1)
    return reply(
        request,
        400,
        {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": "Transaction cancelled",
            "CancellationReasons": [{"Code": code, "Message": "injected"}, *reasons],
        },
    )


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    Args:
        calls: Operations of AWS that can fail like that; None: all.
        seconds: That it takes, beside what a call takes anyway.
        arrives: When a call takes effect that its caller has given up on: after the
            "next" call, or "last", after all that the client has done.
        is_harmless: The caller gets what it wants, only late or in parts.
        is_variant: Another form of a kind that is tried; it is enough to see once
            that it is understood.
    """

    fault: Fault
    calls: frozenset[str] | None = None
    seconds: float = 0.0
    arrives: Literal["next", "last"] | None = None
    is_harmless: bool = False
    is_variant: bool = False

    def fits(self, call: str) -> bool:
        return self.calls is None or call in self.calls


def _kind(fault: Fault, calls: set[str] | None = None, **more: Any) -> Kind:
    return Kind(fault, None if calls is None else frozenset(calls), **more)


KINDS = {
    "no connection": _kind(no_connection, seconds=CONNECT_TIMEOUT),
    "time-out after effect": _kind(lost_reply, seconds=READ_TIMEOUT),
    "time-out, then effect": _kind(
        lost_on_the_way, TABLE, seconds=READ_TIMEOUT, arrives="next"
    ),
    "time-out, effect at last": _kind(
        lost_on_the_way, WRITES, seconds=READ_TIMEOUT, arrives="last"
    ),
    "time-out, token forgotten": _kind(
        forgotten_after_effect, TRANSACTIONS, seconds=READ_TIMEOUT
    ),
    "hung up after effect": _kind(closed_after_effect, is_variant=True),
    "500": _kind(server_error),
    "500 after effect": _kind(server_error_after_effect),
    "503 of a proxy": _kind(proxy_error, is_variant=True),
    "throttled": _kind(throttled),
    "no throughput": _kind(no_throughput, TABLE, is_variant=True),
    "conflict": _kind(transaction_conflict, SINGLE_WRITES),
    "cancelled by conflict": _kind(cancelled_by_conflict, TRANSACTIONS),
    "cancelled by throttling": _kind(
        cancelled_by_throttling, TRANSACTIONS, is_variant=True
    ),
    "in progress": _kind(in_progress, TRANSACTIONS),
    "slow": _kind(pass_on, seconds=READ_TIMEOUT, is_harmless=True),
    "read in parts": _kind(only_first_key, {"BatchGetItem"}, is_harmless=True),
    "no event taken": _kind(no_entry_taken, {"PutEvents"}),
}


@dataclass
class Trouble:
    """Faults of one case; `struck` are those that were met, by the kind's name."""

    seconds: float = 0.0
    struck: list[str] = field(default_factory=list)
    _next: list[Forward] = field(default_factory=list)
    _last: list[Forward] = field(default_factory=list)

    def once(self, name: str) -> list[Fault | None]:
        """Return the fault of a call, and of the next one what is left of it."""
        rest: list[Fault | None] = (
            [self._arrive_after] if KINDS[name].arrives == "next" else []
        )
        return [self._strike(name), *rest]

    def always(self, name: str, call_of: Callable[[], str]) -> Fault:
        """Return the fault of all calls from now on that can fail like that."""
        strike = self._strike(name)

        def fault(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
            fits = KINDS[name].fits(call_of())
            return (strike if fits else pass_on)(request, forward)

        return fault

    def arrive(self) -> None:
        """Let what is late take effect, before the client asks again."""
        _deliver(self._next)

    def arrive_at_last(self) -> bool:
        """Let what is very late take effect; tell whether anything was."""
        return _deliver(self._last)

    def _strike(self, name: str) -> Fault:
        kind = KINDS[name]

        def fault(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
            self.struck.append(name)
            self.seconds += kind.seconds
            if kind.arrives:
                (self._next if kind.arrives == "next" else self._last).append(forward)
            return kind.fault(request, forward)

        return fault

    def _arrive_after(
        self, _: AWSPreparedRequest, forward: Forward
    ) -> AWSResponse | None:
        answer = forward()
        self.arrive()
        return answer


def _deliver(late: list[Forward]) -> bool:
    for forward in late:
        forward()
    was_late = bool(late)
    late.clear()
    return was_late
