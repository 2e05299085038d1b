"""Runs the `anonauth` command like a shell, in any environment or on a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.project.tools import ROOT
from support.service.ctrl_c import COMMAND, ended


def environment(**changes: str | None) -> dict[str, str]:
    """Return this process's environment with changes; None removes a variable."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "functions"), **changes}
    return {name: value for name, value in variables.items() if value is not None}


def run(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end; its output is bytes."""
    return subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, *arguments],
        env=environment() if env is None else env,
        cwd=cwd,
        capture_output=True,
        input=None if stdin is None else stdin.encode(),
        timeout=60,
        check=False,
    )


@contextmanager
def serving(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the running service and the address in its first line."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "serve", "--port", "0", *arguments],
        env=environment() if env is None else env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        match = re.fullmatch(r"anonauth is listening on (http://\S+)\n", first)
        assert match, first + process.stderr.read()
        yield process, match[1]


def stop(process: subprocess.Popen[str]) -> tuple[int, str]:
    """End it by Ctrl-C; return its exit code, and what it wrote on stderr."""
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    process.wait(10)
    return process.returncode, process.stderr.read()


def run_on_terminal(*arguments: str, answer: str) -> tuple[int, str]:
    """Run the command on a terminal and type an answer.

    Returns:
        The exit code, and all that the terminal showed.
    """
    terminal, inside = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [
            sys.executable,
            "-c",
            "from anonauth.cli.main import main; main()",
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "functions"), "COLUMNS": "200"},
        cwd=ROOT,
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    os.write(terminal, answer.encode())
    seen = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # as Linux says that the other end is closed
            read = b""
        if not read:
            break
        seen += read
    os.close(terminal)
    return process.wait(10), seen.decode()
