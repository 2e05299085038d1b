"""Example apps of the pages, each started as its reader starts it."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.project.pages import block
from support.project.tools import ROOT, require_tool

SDK = ROOT / "tests/sdk"
"""Where npm has installed what the examples in JavaScript import."""

_DJANGO = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line

middleware = "django.middleware.csrf.CsrfViewMiddleware"
settings.configure(ROOT_URLCONF="main", ALLOWED_HOSTS=["*"], MIDDLEWARE=[middleware])
execute_from_command_line(["", "runserver", "--noreload", sys.argv[1]])
"""


def _python(*arguments: str) -> list[str]:
    return [str(require_tool("frameworks")), *arguments]


def _express(code: str, port: int) -> list[str]:
    node = str(require_tool("node"))
    require_tool("express")
    code = code.replace("app.listen(3000,", f"app.listen({port},")
    return [node, "--input-type=module", "--eval", code]


COMMANDS: dict[str, Callable[[str, int], list[str]]] = {
    "FastAPI": lambda _, port: _python("-m", "uvicorn", "main:app", f"--port={port}"),
    "Flask": lambda _, port: _python("-m", "flask", "--app=main", "run", f"-p{port}"),
    "Django": lambda _, port: _python("serve.py", str(port)),
    "Express": _express,
}
"""The command that starts each app, from its code and a free port."""


@contextmanager
def running(name: str, service: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an example app while it runs.

    Args:
        name: Name of the framework, as in `COMMANDS`.
        service: Base URL of the service whose tokens the app checks.
        folder: Where the app's files are written. Its output is in `log` there.
    """
    code, port = block(f"the {name} app", service), _free_port()
    command = COMMANDS[name](code, port)
    folder.mkdir()
    (folder / "main.py").write_text(code)
    (folder / "serve.py").write_text(_DJANGO)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - an example of ours
            command,
            cwd=SDK if name == "Express" else folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(port, process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the app did not start: {log.read_text()}")
