"""Handling of Ctrl-C and SIGTERM at any moment."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def catch_stop_signals() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that calls its argument, then waits for Ctrl-C or SIGTERM.

    Before the wait, while the service starts, either signal raises. After the wait,
    while the service ends, either signal ends the process at once.

    A handler in Python runs when the main thread wakes up, which may be never: on
    Linux another thread can take the signal off the queue while the main thread sleeps
    on (seen in 1 of 15 runs). The function therefore waits for a socket, to which the
    interpreter writes below Python. The socket also keeps a signal whose exception
    other code has swallowed.

    Raises:
        KeyboardInterrupt: A signal came before the service was ready.
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
    """Keep threads that start in a `with` block from taking Ctrl-C off the queue."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt in a `with` block, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _set_handlers(
    handler: "Callable[[int, FrameType | None], None] | signal.Handlers",
) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing. Without this handler the signal would end the process."""
