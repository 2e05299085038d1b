"""The ways in which a call to AWS can fail, and how long each takes.

All but the waiting happens on a socket. A time-out waits only a moment, and the time
that it would have taken is added up (`Trouble.seconds`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from support.service.socket_wire import (
    Act,
    Answer,
    Asked,
    Break,
    Said,
    Upstream,
    answer,
    pass_on,
)

CONNECT_TIMEOUT = 0.5
READ_TIMEOUT = 2.0
"""Our clients' read time-out in seconds; `test_faults` checks that it is theirs."""

TRANSACTIONS = {"TransactWriteItems"}
SINGLE_WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
WRITES = TRANSACTIONS | SINGLE_WRITES
TABLE = WRITES | {"GetItem", "BatchGetItem", "Scan"}

PAGE = b"<!DOCTYPE html><html><body><h1>Welcome to our network</h1></body></html>"

_SILENCE = Said(b"", "silence")
_CUT_AT = "cut at "


def never_sent(asked: Asked, upstream: Upstream) -> Said:
    """Stand in for a call that is never sent: a connection that is refused."""
    raise AssertionError(asked, upstream)


def lost_reply(asked: Asked, upstream: Upstream) -> Said:
    """Let the call take effect, and answer nothing."""
    upstream(asked)
    return _SILENCE


def lost_on_the_way(_: Asked, __: Upstream) -> Said:
    """Answer nothing, before any effect; the request may still arrive."""
    return _SILENCE


def forgotten_after_effect(asked: Asked, upstream: Upstream) -> Said:
    """Lose the reply of a transaction that AWS takes for a new one when repeated.

    This happens after ten minutes, when DynamoDB forgets the token, and with moto.
    """
    body = asked.json
    del body["ClientRequestToken"]
    return lost_reply(_with_body(asked, body), upstream)


def reset_before_effect(_: Asked, __: Upstream) -> Said:
    """Reset the connection (RST) without an answer."""
    return Said(b"", "reset")


def reset_after_effect(asked: Asked, upstream: Upstream) -> Said:
    """Reset the connection (RST) in the middle of the answer."""
    whole = bytes(upstream(asked))
    return Said(whole[: len(whole) // 2], "reset")


def closed_after_effect(asked: Asked, upstream: Upstream) -> Said:
    """Let the call take effect, then close the connection (FIN)."""
    upstream(asked)
    return Said(b"", "close")


def cut(place: Callable[[Answer], int]) -> Act:
    """Return a fault that closes (FIN) after some bytes of the answer, never all."""

    def act(asked: Asked, upstream: Upstream) -> Said:
        whole = upstream(asked)
        # A client that has the whole answer would reuse this connection.
        return Said(bytes(whole)[:-1][: place(whole)], "close")

    return act


def other_body(change: Callable[[bytes], bytes]) -> Act:
    """Return a fault that changes the body, and its length in the header."""

    def act(asked: Asked, upstream: Upstream) -> Said:
        whole = upstream(asked)
        return Said(bytes(whole.with_body(change(whole.body))))

    return act


def page_of_html(_: Asked, __: Upstream) -> Said:
    """Answer 200 with a page, like a network that asks its visitors to log in."""
    return Said(bytes(answer(200, PAGE, "text/html")))


def server_error(_: Asked, __: Upstream) -> Said:
    """Answer 500."""
    return _error(500, "InternalServerError")


def server_error_after_effect(asked: Asked, upstream: Upstream) -> Said:
    """Let the call take effect, then answer 500."""
    upstream(asked)
    return _error(500, "InternalServerError")


def proxy_error(_: Asked, __: Upstream) -> Said:
    """Answer 503 as a proxy in front of a service does: not in JSON."""
    page = b"<html><b>Http/1.1 Service Unavailable</b></html>"
    return Said(bytes(answer(503, page, "text/html")))


def refused(code: str) -> Act:
    """Return a fault that answers 400 before any effect."""
    return lambda _, __: _error(400, code)


def unreadable_refusal(_: Asked, __: Upstream) -> Said:
    """Answer 400 with half of the explanation."""
    whole = answer(400, {"__type": "ConditionalCheckFailedException"})
    return Said(bytes(whole.with_body(whole.body[:-9])))


def cancelled_by(code: str) -> Act:
    """Return a fault that answers that one item cancelled the transaction."""

    def act(asked: Asked, _: Upstream) -> Said:
        items = asked.json["TransactItems"]
        reasons: list[Any] = [{"Code": "None"}] * (len(items) - 1)
        body = {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": "Transaction cancelled",
            "CancellationReasons": [{"Code": code, "Message": "injected"}, *reasons],
        }
        return Said(bytes(answer(400, body)))

    return act


def in_progress(asked: Asked, upstream: Upstream) -> Said:
    """Answer that the same request is in progress, which then takes effect."""
    upstream(asked)
    return _error(400, "TransactionInProgressException")


def only_first_key(asked: Asked, upstream: Upstream) -> Said:
    """Read one key of a batch, and return the others as unprocessed."""
    body = asked.json
    ((table, wanted),) = body["RequestItems"].items()
    first, *others = wanted["Keys"]
    only_first = {table: {**wanted, "Keys": [first]}}
    whole = upstream(_with_body(asked, {**body, "RequestItems": only_first}))
    left = {table: {**wanted, "Keys": others}} if others else {}
    read = {**json.loads(whole.body), "UnprocessedKeys": left}
    return Said(bytes(whole.with_body(json.dumps(read).encode())))


def no_entry_taken(asked: Asked, _: Upstream) -> Said:
    """Answer 200 to events, although none was accepted."""
    entries = asked.json["Entries"]
    failed = [{"ErrorCode": "ThrottlingException", "ErrorMessage": "injected"}]
    body = {"FailedEntryCount": len(entries), "Entries": failed * len(entries)}
    return Said(bytes(answer(200, body)))


def _error(status: int, code: str) -> Said:
    body = {"__type": f"com.amazonaws#{code}", "message": "injected"}
    return Said(bytes(answer(status, body)))


def _with_body(asked: Asked, body: Any) -> Asked:
    raw = json.dumps(body).encode()
    headers = {**asked.headers, "content-length": str(len(raw))}
    return replace(asked, body=raw, headers=headers)


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    Args:
        calls: Operations of AWS that can fail like this; None means all.
        seconds: The time it takes beyond that of a normal call.
        is_refused: The connection is refused.
        is_silent: There is no answer, and the connection stays open.
        arrives: When a call takes effect after its caller has given up: after the
            "next" call, or "last", after everything that the client does.
        is_harmless: The caller gets its answer, only late or in parts.
        is_variant: Another form of a kind that is tried; one case shows that it is
            understood.
    """

    act: Act
    calls: frozenset[str] | None = None
    seconds: float = 0.0
    is_refused: bool = False
    is_silent: bool = False
    arrives: Literal["next", "last"] | None = None
    is_harmless: bool = False
    is_variant: bool = False

    def fits(self, call: str) -> bool:
        return self.calls is None or call in self.calls


def _kind(act: Act, calls: set[str] | None = None, **more: Any) -> Kind:
    return Kind(act, None if calls is None else frozenset(calls), **more)


def _lost(act: Act, calls: set[str] | None = None, **more: Any) -> Kind:
    return _kind(act, calls, seconds=READ_TIMEOUT, is_silent=True, **more)


KINDS = {
    "no connection": _kind(never_sent, seconds=CONNECT_TIMEOUT, is_refused=True),
    "time-out after effect": _lost(lost_reply),
    "time-out, then effect": _lost(lost_on_the_way, TABLE, arrives="next"),
    "time-out, effect at last": _lost(lost_on_the_way, WRITES, arrives="last"),
    "time-out, token forgotten": _lost(forgotten_after_effect, TRANSACTIONS),
    "reset": _kind(reset_before_effect, is_variant=True),
    "reset after effect": _kind(reset_after_effect, is_variant=True),
    "hung up after effect": _kind(closed_after_effect, is_variant=True),
    "half a status line": _kind(cut(lambda _: 11), is_variant=True),
    "half a head": _kind(cut(lambda whole: len(whole.head) // 2)),
    "no body": _kind(cut(lambda whole: len(whole.head)), is_variant=True),
    "half a body": _kind(cut(lambda whole: len(whole.head) + len(whole.body) // 2)),
    "a byte too few": _kind(cut(lambda whole: len(bytes(whole)) - 1), is_variant=True),
    "half a body, length right": _kind(
        other_body(lambda body: body[: len(body) // 2]), is_variant=True
    ),
    "empty body, length right": _kind(other_body(lambda _: b"")),
    "page of HTML": _kind(page_of_html),
    "unreadable refusal": _kind(unreadable_refusal, is_variant=True),
    "500": _kind(server_error),
    "500 after effect": _kind(server_error_after_effect),
    "503 of a proxy": _kind(proxy_error, is_variant=True),
    "throttled": _kind(refused("ThrottlingException")),
    "no throughput": _kind(
        refused("ProvisionedThroughputExceededException"), TABLE, is_variant=True
    ),
    "conflict": _kind(refused("TransactionConflictException"), SINGLE_WRITES),
    "cancelled by conflict": _kind(cancelled_by("TransactionConflict"), TRANSACTIONS),
    "cancelled by throttling": _kind(
        cancelled_by("ThrottlingError"), TRANSACTIONS, is_variant=True
    ),
    "in progress": _kind(in_progress, TRANSACTIONS),
    "slow": _kind(pass_on, seconds=READ_TIMEOUT, is_harmless=True),
    "read in parts": _kind(only_first_key, {"BatchGetItem"}, is_harmless=True),
    "no event taken": _kind(no_entry_taken, {"PutEvents"}),
}


def kind_of(name: str) -> Kind:
    """Return the kind with that name; "cut at 7" sends seven bytes and closes."""
    if name.startswith(_CUT_AT):
        length = int(name.removeprefix(_CUT_AT))
        return _kind(cut(lambda _: length))
    return KINDS[name]


def cuts(length: int, number: int) -> list[str]:
    """Return names of this many cuts of an answer, from no byte to all but one.

    Args:
        length: The approximate number of bytes of the answer.
    """
    places = {length * place // number for place in range(number)} | {length - 1}
    return [f"{_CUT_AT}{place}" for place in sorted(places)]


@dataclass
class Trouble:
    """The faults of one case; `struck` are those that occurred, by name of kind."""

    seconds: float = 0.0
    struck: list[str] = field(default_factory=list)
    _next: list[Callable[[], object]] = field(default_factory=list)
    _last: list[Callable[[], object]] = field(default_factory=list)

    def once(self, name: str) -> list[Break | None]:
        """Return the fault of a call, and what is left of it for the next call."""
        rest: list[Break | None] = (
            [Break(self._arrive_after)] if kind_of(name).arrives == "next" else []
        )
        return [self._strike(name), *rest]

    def always(self, name: str) -> Callable[[str], Break | None]:
        """Return the fault of all calls from now on that can fail like this."""
        kind = kind_of(name)
        return lambda call: self._strike(name) if kind.fits(call) else None

    def _strike(self, name: str) -> Break:
        kind = kind_of(name)

        def note() -> None:
            self.struck.append(name)
            self.seconds += kind.seconds

        def act(asked: Asked, upstream: Upstream) -> Said:
            if kind.arrives:
                late = self._next if kind.arrives == "next" else self._last
                late.append(lambda: upstream(asked))
            return kind.act(asked, upstream)

        return Break(act, kind.is_refused, kind.is_silent, note)

    def arrive(self) -> None:
        """Let a late call take effect, before the client asks again."""
        _deliver(self._next)

    def arrive_at_last(self) -> bool:
        """Let a very late call take effect; tell whether there was one."""
        return _deliver(self._last)

    def _arrive_after(self, asked: Asked, upstream: Upstream) -> Said:
        said = pass_on(asked, upstream)
        self.arrive()
        return said


def _deliver(late: list[Callable[[], object]]) -> bool:
    for forward in late:
        forward()
    was_late = bool(late)
    late.clear()
    return was_late
