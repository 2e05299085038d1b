import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anonauth.local.server import LocalServer
from support.service.calls import APP, OTHER_APP


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """One service for the tests of a module, which leave its clock alone."""
    with LocalServer(app_ids=(APP, OTHER_APP)) as running:
        yield running


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], str]]:
    """Starts a server that gives the same answer to every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, body = answer[0]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    answer: list[tuple[int, str]] = []

    def url_of(status: int, body: str) -> str:
        answer[:] = [(status, body)]
        return f"http://127.0.0.1:{server.server_port}"

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield url_of
        server.shutdown()
