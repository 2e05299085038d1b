"""TLS in front of the engine and of the other services, as AWS's endpoints have it."""

import http.client
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from runtime.runtime_api import QuietServer
from support.forgery.key_server import tls_contexts

_HOST = "localhost"
_OF_A_CONNECTION = {"connection", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class TlsFront:
    """Addresses with TLS, and the certificate of their authority (PEM)."""

    table_url: str
    cloud_url: str
    authority: str


@contextmanager
def serving(table_url: str, cloud_url: str, directory: Path) -> Iterator[TlsFront]:
    """Serve two plain endpoints over TLS.

    Args:
        directory: For the server's certificate.
    """
    server, client = tls_contexts([_HOST], directory)
    (authority,) = client.get_ca_certs(binary_form=True)
    with ExitStack() as stack:
        table, cloud = (
            stack.enter_context(_front(url, server)) for url in (table_url, cloud_url)
        )
        yield TlsFront(table, cloud, ssl.DER_cert_to_PEM_cert(authority))


@contextmanager
def _front(url: str, context: ssl.SSLContext) -> Iterator[str]:
    server = QuietServer(("127.0.0.1", 0), _handler(urlsplit(url).netloc))
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.start()
    try:
        yield f"https://{_HOST}:{server.server_port}"
    finally:
        server.stop()


def _handler(plain: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # Connections stay open, as AWS's do, even if the plain endpoint closes its own.
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            connection = http.client.HTTPConnection(plain, timeout=10)
            try:
                connection.request("POST", self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                answer = response.read()
            finally:
                connection.close()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _OF_A_CONNECTION:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
