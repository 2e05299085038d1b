"""Ctrl-C, which works at any moment."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def catch_stop_signals() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield what waits for Ctrl-C or SIGTERM, after it has done something else.

    Before that, while the service starts, either of them raises. After it, while the
    service ends, they end the process at once.

    A handler in Python runs when the main thread wakes up, and that may be never: on
    Linux another thread can take the signal off the queue, and the main one sleeps
    on (seen in 1 of 15 runs). So it waits for a socket, to which the interpreter writes
    below Python; it also keeps a signal whose exception something has swallowed.

    Raises:
        KeyboardInterrupt: One of them came before the service was ready.
    """
    readable, writable = socket.socketpair()
    with readable, writable:
        writable.settimeout(0)  # as set_wakeup_fd needs it
        signal.set_wakeup_fd(writable.fileno())
        _set_handlers(_interrupt)

        def wait(first: Callable[[], None]) -> None:
            _set_handlers(_ignore)
            first()
            readable.recv(1)
            _set_handlers(signal.SIG_DFL)

        try:
            yield wait
        finally:
            signal.set_wakeup_fd(-1)


@contextmanager
def block_signals_in_new_threads() -> Iterator[None]:
    """Have threads that start in a `with` block never take Ctrl-C off the queue."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _set_handlers(
    handler: "Callable[[int, FrameType | None], None] | signal.Handlers",
) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """Handle a signal by nothing more, instead of by the end of the process."""
