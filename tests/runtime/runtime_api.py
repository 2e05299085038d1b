"""Runs a function of the built bundle in AWS's own runtime client, `awslambdaric`.

In place of Lambda, a Runtime API (AWS Lambda Developer Guide, "Using the Lambda runtime
API") hands out one event at a time.
"""

import json
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.project.tools import require_tool

_CLOSED = b""

# Bundle first and runtime client last, as on Lambda. -I and -S hide all other packages
# that are installed, and the working directory. -B, since a bundle is read-only there.
ISOLATED = ["-I", "-S", "-B", "-W", "error", "-c"]
_PATHS = "import sys; sys.path[:0] = [sys.argv.pop(1)]; sys.path += [sys.argv.pop(1)]\n"
_BOOT = f"{_PATHS}from awslambdaric.__main__ import main; main(sys.argv)"


class LambdaError(Exception):
    """The function raised or did not start; the text comes from the function."""


class QuietServer(ThreadingHTTPServer):
    """A server for functions, which end without closing their connections."""

    daemon_threads = True
    block_on_close = False

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()

    def stop(self) -> None:
        """End the thread, and close the port."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, except closed connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _RuntimeApi(QuietServer):
    def __init__(self, timeout: int) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiHandler)
        self.seconds = timeout
        self.events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.asked = threading.Event()


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _RuntimeApi

    def do_GET(self) -> None:
        self.server.asked.set()
        event = self.server.events.get()
        if event == _CLOSED:
            self.close_connection = True
            return
        now = datetime.now(UTC).timestamp()  # noqa: TID251 - Lambda's own clock
        deadline = now + self.server.seconds
        self._answer(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": (
                    "arn:aws:lambda:eu-central-1:123456789012:function:it"
                ),
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((self.path.rpartition("/")[2], json.loads(body)))
        self._answer(202, b"{}", {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


class Function:
    """An execution environment of a function."""

    def __init__(self, api: _RuntimeApi, process: "subprocess.Popen[bytes]", log: Path):
        self._api = api
        self._process = process
        self._log = log

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Hand over an event and return the answer.

        Raises:
            LambdaError: The function raised, or its process has ended.
        """
        self._api.events.put(json.dumps(event).encode())
        while True:
            try:
                outcome, answer = self._api.answers.get(timeout=0.5)
            except queue.Empty:
                if self._process.poll() is not None:
                    raise LambdaError(self.log()) from None
                continue
            if outcome == "error":
                raise LambdaError(json.dumps(answer, indent=1) + self.log())
            return answer

    def await_ready(self) -> None:
        """Return when the function asks for its first event: all imports are done.

        Raises:
            LambdaError: Its process has ended.
        """
        while not self._api.asked.wait(timeout=0.5):
            if self._process.poll() is not None:
                raise LambdaError(self.log())

    def log(self) -> str:
        """Return what the function has written so far."""
        return self._log.read_text()

    def cpu_seconds(self) -> float:
        """Return the processor time since the start, imports included."""
        # The CPU clock of another process, as clock_getcpuclockid(3) names it. It
        # counts nanoseconds, /proc only hundredths of a second.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def peak_memory(self) -> int:
        """Return the peak resident memory, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        kilobytes = status.partition("VmHWM:")[2].split()[0]
        return int(kilobytes) * 1024


@contextmanager
def running(
    handler: str,
    *,
    bundle: Path,
    environment: Mapping[str, str],
    timeout: int,
    log: Path,
) -> Iterator[Function]:
    """Start a function as Lambda does; it ends with the block.

    Args:
        timeout: Seconds that the function is told it has for each event.
    """
    ric = require_tool("awslambdaric")
    api = _RuntimeApi(timeout)
    api.start()
    lambda_variables = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": handler,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "AWS_LAMBDA_LOG_GROUP_NAME": "group",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "LAMBDA_TASK_ROOT": str(bundle),
        "TZ": ":UTC",
        "_HANDLER": handler,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [require_tool("python3.13"), *ISOLATED, _BOOT, bundle, ric, handler],
            cwd=bundle,
            env={**lambda_variables, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Function(api, process, log)
    finally:
        process.kill()
        process.wait()
        api.events.put(_CLOSED)
        api.stop()


def importable(modules: list[str], *, bundle: Path) -> list[str]:
    """Return the modules of this list that a function could import."""
    code = (
        "import importlib.util, sys\n"
        "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    )
    return run(code, *modules, bundle=bundle).split()


def run(code: str, *arguments: str, bundle: Path) -> str:
    """Return what code prints that runs with a function's modules only."""
    ric = require_tool("awslambdaric")
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [require_tool("python3.13"), *ISOLATED, _PATHS + code, bundle, ric, *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class ResponseUrl(ThreadingHTTPServer):
    """A server that receives the answer of a custom resource."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ResponseUrlHandler)
        self.answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    @property
    def url(self) -> str:
        """The address, with a query as in signed URLs."""
        return f"http://127.0.0.1:{self.server_port}/response?signature=s"


class _ResponseUrlHandler(BaseHTTPRequestHandler):
    server: ResponseUrl

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""
