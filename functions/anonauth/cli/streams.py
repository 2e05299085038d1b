"""Standard streams that cope with closed pipes, full disks and any character."""

import io
import os
import sys
from typing import TextIO

from anonauth.local.command_error import CommandError


class _OutputStream(io.TextIOWrapper):
    """An output stream whose reader may leave.

    The rest of the output is then discarded. The command does the same work and has
    the same exit code, whether `head` has seen enough of its output or not.
    """

    has_lost_reader = False

    def write(self, text: str, /) -> int:
        """Write the text, unless the reader has left.

        Raises:
            CommandError: The output cannot be written, for example to a full disk.
        """
        try:
            return super().write(text)
        except OSError as exc:
            self._discard_rest(exc)
        return len(text)

    def flush(self) -> None:
        """Write the buffered text. Raises as `write` does."""
        try:
            super().flush()
        except OSError as exc:
            self._discard_rest(exc)

    def _discard_rest(self, exc: OSError) -> None:
        number = self.fileno()
        # At the end of the process the buffer still needs a place to go.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        self.has_lost_reader = True
        if not isinstance(exc, BrokenPipeError) and number == 1:
            raise CommandError(f"cannot write the output: {exc.strerror}") from exc


def prepare_streams() -> None:
    """Replace the standard streams, so that none of them causes a traceback."""
    sys.stdout = _wrap_output(sys.stdout)
    sys.stderr = _wrap_output(sys.stderr)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - open until the process ends
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def has_reader() -> bool:
    """Tell whether stdout may still have a reader."""
    return not (isinstance(sys.stdout, _OutputStream) and sys.stdout.has_lost_reader)


def _wrap_output(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed by the parent process
        return open(os.devnull, "w")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return _OutputStream(
        # The old stream closes its descriptor when it is garbage collected.
        open(stream.fileno(), "wb", closefd=False),
        encoding=stream.encoding,
        errors="backslashreplace",  # U+2192 is not in every code page
        line_buffering=stream.line_buffering or stream.write_through,
    )
