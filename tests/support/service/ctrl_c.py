"""A command that Ctrl-C reaches, wherever the tests run."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# What Python itself does at the start, unless SIGINT is ignored: whatever a shell
# starts in the background ignores it, and so do all its children. Then no Ctrl-C would
# end the command, and its test would wait for ever.
_CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from anonauth.cli.main import main
main()
"""

COMMAND = (sys.executable, "-c", _CODE)
"""`anonauth` in an interpreter of its own, as a terminal's shell starts it."""


@contextmanager
def in_the_background() -> Iterator[None]:
    """Ignore SIGINT for the time of a `with` block, as a job in the background does.

    A child that is started in it shows that its test passes there, too.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process at the end of a `with` block if it still runs.

    Popen's own block would wait for it, for ever if it is what the test finds wrong.
    """
    with process:
        try:
            yield
        finally:
            process.kill()
