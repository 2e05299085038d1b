"""A command that Ctrl-C reaches, wherever the tests run."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Python itself does this at its start, unless SIGINT is ignored. Processes that a shell
# starts in the background ignore it, and so do their children. Ctrl-C would then not
# end the command, and its test would wait for ever.
_CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from anonauth.cli.main import main
main()
"""

COMMAND = (sys.executable, "-c", _CODE)
"""`anonauth` in its own interpreter, as a terminal's shell starts it."""


@contextmanager
def in_the_background() -> Iterator[None]:
    """Context manager: ignore SIGINT in the block, as a background job does.

    A child that is started in the block shows that its test passes there, too.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Context manager: kill a process at the end of the block if it still runs.

    Popen's own block would wait for it, for ever if the test finds it hanging.
    """
    with process:
        try:
            yield
        finally:
            process.kill()
