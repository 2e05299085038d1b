"""stdin, stdout and stderr as a command finds them, made such that it can go on."""

import io
import os
import sys
from typing import TextIO

from anonauth.local.command_error import CommandError


class _OutputStream(io.TextIOWrapper):
    """What is written to; whoever reads it may leave.

    Then all else goes nowhere: what a command does, and its exit code, are the same
    whether `head` has seen enough of it or not.
    """

    has_lost_reader = False

    def write(self, text: str, /) -> int:
        """Write, as far as somebody is there.

        Raises:
            CommandError: The disk does not take what a command prints.
        """
        try:
            return super().write(text)
        except OSError as exc:
            self._discard_rest(exc)
        return len(text)

    def flush(self) -> None:
        """Write what is left; raises as `write` does."""
        try:
            super().flush()
        except OSError as exc:
            self._discard_rest(exc)

    def _discard_rest(self, exc: OSError) -> None:
        number = self.fileno()
        # What is still in a buffer has to go somewhere, when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        self.has_lost_reader = True
        if not isinstance(exc, BrokenPipeError) and number == 1:
            raise CommandError(f"cannot write the output: {exc.strerror}") from exc


def prepare_streams() -> None:
    """Make no character, no closed stream and no full disk end in a traceback."""
    sys.stdout = _wrap_output(sys.stdout)
    sys.stderr = _wrap_output(sys.stderr)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - as long as the process
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def has_reader() -> bool:
    """Say whether somebody may still read what is printed."""
    return not (isinstance(sys.stdout, _OutputStream) and sys.stdout.has_lost_reader)


def _wrap_output(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed by whoever started the command
        return open(os.devnull, "w")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return _OutputStream(
        # The other one would close the descriptor when it is forgotten.
        open(stream.fileno(), "wb", closefd=False),
        encoding=stream.encoding,
        errors="backslashreplace",  # U+2192 is not in every code page
        line_buffering=stream.line_buffering or stream.write_through,
    )
