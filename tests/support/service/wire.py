"""The wire between the code under test and AWS: records calls, and makes them fail.

It sits in front of moto, or of an engine, in botocore's own `before-send` event. All
layers above are real: PynamoDB, botocore, signatures, parsing of answers and errors.
"""

import functools
import io
import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from moto.core.models import botocore_stubber

Forward = Callable[[], AWSResponse | None]
Fault = Callable[[AWSPreparedRequest, Forward], AWSResponse | None]
Send = Callable[[str, AWSPreparedRequest], AWSResponse | None]


def no_connection(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Fail before anything has happened."""
    raise ConnectTimeoutError(endpoint_url=request.url)


def lost_reply(request: AWSPreparedRequest, forward: Forward) -> AWSResponse:
    """Let the call take effect, then time out."""
    forward()
    raise ReadTimeoutError(endpoint_url=request.url)


def server_error(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer 500."""
    return error(request, 500, "InternalServerError")


def server_error_after_effect(
    request: AWSPreparedRequest, forward: Forward
) -> AWSResponse:
    """Let the call take effect, then answer 500."""
    forward()
    return error(request, 500, "InternalServerError")


def throttled(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer that the call is throttled."""
    return error(request, 400, "ThrottlingException")


def access_denied(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer that the role's policy does not allow the call."""
    return error(request, 400, "AccessDeniedException")


def transaction_conflict(request: AWSPreparedRequest, _: Forward) -> AWSResponse:
    """Answer as DynamoDB does to a write that meets a transaction."""
    return error(request, 400, "TransactionConflictException")


def preceded_by(change: Callable[[], object]) -> Fault:
    """Return a fault that makes a change just before the call takes effect."""

    def fault(_: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
        change()
        return forward()

    return fault


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        no_connection,
        lost_reply,
        server_error,
        server_error_after_effect,
        throttled,
        transaction_conflict,
    )
}

# The other faults are much like one of these two.
_USUAL = ("throttled", "lost_reply")

EACH_FAULT = [
    pytest.param(fault, id=name, marks=[] if name in _USUAL else [pytest.mark.long])
    for name, fault in FAULTS.items()
]
"""The faults as parameters of a test. The default suite runs two of them."""


def error(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    body = {"__type": f"com.amazonaws#{code}", "message": "injected"}
    return reply(request, status, body)


def reply(request: AWSPreparedRequest, status: int, body: Any) -> AWSResponse:
    """Return an answer of AWS; `body` is JSON unless it is bytes already."""
    raw = _Raw(body if isinstance(body, bytes) else json.dumps(body).encode())
    return AWSResponse(request.url, status, HTTPHeaders(), raw)


class Wire:
    """Records the operations of its clients in `calls`, and the requests' bodies in
    `bodies`. Operations that took effect are in `taken`, with their bodies.

    `faults` are the faults of the next calls, in order; `always` is that of all calls.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the calls and the faults."""
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault | None] = []
        self.always: Fault | None = None

    def attach(self, client: Any, send: Send = botocore_stubber) -> None:
        """Put the wire in front of a botocore client.

        Args:
            send: The upstream, by default moto.
        """
        client.meta.events.register_first(
            "before-send.*", functools.partial(self._send, send)
        )

    def _send(
        self, send: Send, request: AWSPreparedRequest, event_name: str, **_: Any
    ) -> AWSResponse | None:
        name, url = event_name.rpartition(".")[2], request.url
        body = json.loads(cast("bytes", request.body))
        self.calls.append(name)
        self.bodies.append(body)
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is None:
            self.taken.append((name, body))
            return None  # go on to the upstream

        def forward() -> AWSResponse | None:
            request.url = url  # a late request has lost it
            self.taken.append((name, body))
            return send(event_name, request)

        try:
            return fault(request, forward)
        finally:
            # botocore asks all handlers and takes the first answer. moto must not
            # know this address, or it would let the call take effect after all.
            request.url = "https://nowhere.invalid/"


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.read()
