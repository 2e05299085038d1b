"""Why calls were refused or failed, collected from the functions' log.

The log has neither tokens nor passwords nor addresses, and no text from clients.
"""

import importlib
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import rfc3339


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason for a refusal or failure, as the functions log it.

    `name` is the error's class. `co_id` is also in the `link` of the answer. `cause` is
    the last exception. `place` is where it passed through this package last.
    """

    name: str
    co_id: str = ""
    error_code: str = ""
    reason: str = ""
    detail: str = ""
    cause: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Return the reason as a phrase for the terminal."""
        text = ": ".join(filter(None, (self.name, self.reason or self.detail)))
        where = " at ".join(filter(None, (self.cause, self.place)))
        return f"{text} ({where})" if where else text


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that was refused or failed. `ms` is how long it took."""

    at: datetime
    route: str
    function: str
    status: int
    ms: int
    why: Reason

    def body(self) -> dict[str, Any]:
        """Return the call as a JSON object, without unknown fields."""
        why = self.why
        told = {
            "co_id": why.co_id,
            "at": rfc3339(self.at),
            "route": self.route,
            "function": self.function,
            "status": self.status,
            "ms": self.ms,
            "error": why.name,
            "error_code": why.error_code,
            "reason": why.reason,
            "detail": why.detail,
            "cause": why.cause,
            "place": why.place,
        }
        return {name: value for name, value in told.items() if value != ""}


def last_place(trace: Sequence[str]) -> tuple[str, str]:
    """Return the last exception's name, and its last place in this package.

    Args:
        trace: The trace in the form of `handlers._http.trace_of`.
    """
    names = [line for line in trace if " " not in line]
    ours = [line for line in trace if "/anonauth/" in line and " " in line]
    place = ours[-1].rpartition("/anonauth/")[2] if ours else ""
    return names[-1] if names else "", place


@dataclass(slots=True)
class CallNotes:
    """Notes about a call. `waited` is in seconds: how long other calls delayed it."""

    reasons: list[Reason] = field(default_factory=list)
    waited: float = 0


_notes: ContextVar[CallNotes | None] = ContextVar("notes", default=None)


@contextmanager
def collect_notes() -> Iterator[CallNotes]:
    """Context manager: yield the notes that this thread makes while the block runs."""
    notes = CallNotes()
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def note_reason(reason: Reason) -> None:
    """Add a reason to the notes about the current call, if they are collected."""
    notes = _notes.get()
    if notes is not None:
        notes.reasons.append(reason)


def note_wait(seconds: float) -> None:
    """Add a delay by other calls to the notes about the current call."""
    notes = _notes.get()
    if notes is not None:
        notes.waited += seconds


class _ReasonHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        if "co_id" not in fields:
            return
        cause, place = last_place(fields.get("trace", ()))
        known = {
            name: str(fields.get(name, ""))
            for name in ("co_id", "error_code", "reason", "detail")
        }
        note_reason(Reason(record.getMessage(), **known, cause=cause, place=place))


_reason_handler = _ReasonHandler(logging.INFO)
_watching_lock = threading.Lock()
_watching: list[ExitStack] = []  # one per block; the same clean-up, for the last to end


@contextmanager
def watch_log() -> Iterator[None]:
    """Context manager: collect reasons from the functions' log. Blocks may overlap.

    The log prints the same lines as before, but to stderr, like the service's own log.
    """
    # The logger takes its level from the environment when it is imported.
    wrapped = importlib.import_module("anonauth.handlers._http").logger
    logger = logging.getLogger(wrapped.name)
    with _watching_lock:
        after = _watching[0] if _watching else ExitStack()
        if not _watching:
            level = logger.level
            for handler in logger.handlers:
                after.callback(handler.setLevel, handler.level)
                handler.setLevel(max(handler.level, level))
                if not isinstance(handler, logging.StreamHandler):
                    continue
                if handler.stream is sys.stdout:
                    # The first line on stdout is for programs: the service's address.
                    after.callback(handler.setStream, sys.stdout)
                    handler.setStream(sys.stderr)
            after.callback(logger.setLevel, level)
            logger.setLevel(min(level, logging.INFO))
            after.callback(logger.removeHandler, _reason_handler)
            logger.addHandler(_reason_handler)
        _watching.append(after)
    try:
        yield
    finally:
        with _watching_lock:
            _watching.pop()
            if not _watching:
                after.close()
