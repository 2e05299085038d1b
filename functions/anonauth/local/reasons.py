"""Why a call was refused or has failed: what the functions log of it.

Their log has neither tokens nor passwords nor addresses, and quotes no client.
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
    """Why, in the functions' words.

    `name` is the error's, in the code; `co_id` that in the answer's `link`; `place`
    where the last exception of `cause` came from, as far as it was in this package.
    """

    name: str
    co_id: str = ""
    error_code: str = ""
    reason: str = ""
    detail: str = ""
    cause: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Return it for the terminal."""
        text = ": ".join(filter(None, (self.name, self.reason or self.detail)))
        where = " at ".join(filter(None, (self.cause, self.place)))
        return f"{text} ({where})" if where else text


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that was refused or has failed; `ms` is how long it took."""

    at: datetime
    route: str
    function: str
    status: int
    ms: int
    why: Reason

    def body(self) -> dict[str, Any]:
        """Return it as JSON has it, without what is not known."""
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
    """Return the last exception's name and the last place of ours.

    Args:
        trace: As `handlers._http.trace_of` has it.
    """
    names = [line for line in trace if " " not in line]
    ours = [line for line in trace if "/anonauth/" in line and " " in line]
    place = ours[-1].rpartition("/anonauth/")[2] if ours else ""
    return names[-1] if names else "", place


@dataclass(slots=True)
class CallNotes:
    """What was noted of a call; `waited` are the seconds it waited for other calls."""

    reasons: list[Reason] = field(default_factory=list)
    waited: float = 0


_notes: ContextVar[CallNotes | None] = ContextVar("notes", default=None)


@contextmanager
def collect_notes() -> Iterator[CallNotes]:
    """Yield what is noted in a `with` block, by this thread."""
    notes = CallNotes()
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def note_reason(reason: Reason) -> None:
    """Tell whoever listens."""
    notes = _notes.get()
    if notes is not None:
        notes.reasons.append(reason)


def note_wait(seconds: float) -> None:
    """Tell whoever listens that other calls came first."""
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
_watching: list[ExitStack] = []  # for each block, what to do at the end of the last one


@contextmanager
def watch_log() -> Iterator[None]:
    """Hear the functions' log for the time of a `with` block; blocks may overlap.

    What is printed of it stays the same, but goes where the service's own log does.
    """
    # Its level is that of the environment at its import.
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
                    # Whose first line is for programs: the address of the service.
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
