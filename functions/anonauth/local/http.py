"""The HTTP server: Werkzeug's, with requests in the form that the gateway expects."""

import errno
import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from anonauth.local.api_gateway import LONGEST_PAYLOAD, HttpRequest, HttpResponse
from anonauth.local.command_error import CommandError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


_JSON_TYPE = "application/json"


class HttpServer:
    """A server on a port of this machine. It answers nothing before `serve`.

    Args:
        host: An address of this machine.
        port: 0 for any free port.
        option: The command's option for the port, for the message if it is taken.

    Raises:
        CommandError: The port is taken, or this machine does not have the address.
    """

    def __init__(self, host: str, port: int, *, option: str = "--port") -> None:
        self._host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # Werkzeug would print and exit if this failed.
            self._socket = socket.create_server((host, port), family=family)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise CommandError(
                    f"port {port} is taken; name another, or {option} 0 for a free one"
                ) from exc
            raise CommandError(
                f"cannot listen on {host} port {port}: {exc.strerror}"
            ) from exc
        self.port: int = self._socket.getsockname()[1]
        self._stop: Callable[[], None] = self._socket.close

    def serve(self, application: "WSGIApplication") -> None:
        """Answer requests until `close`, each in a thread of its own."""
        server = make_server(
            self._host,
            self.port,
            application,
            threaded=True,
            request_handler=_QuietRequestHandler,
            fd=self._socket.fileno(),
        )
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()
            self._socket.close()

        self._stop = stop

    def close(self) -> None:
        """Stop the server and free the port."""
        self._stop()


def wsgi_application(
    answer: Callable[[HttpRequest], HttpResponse],
) -> "WSGIApplication":
    """Return a WSGI application around a function that answers requests."""

    @Request.application
    def respond(request: Request) -> Response:
        # One byte over the limit: Werkzeug cuts a longer chunked body here silently.
        request.max_content_length = LONGEST_PAYLOAD + 1
        try:
            body = request.get_data(cache=False)
            too_large = len(body) > LONGEST_PAYLOAD
        except RequestEntityTooLarge:
            too_large = True
        except HTTPException as exc:  # malformed chunks
            return Response(_message_body(exc.name), exc.code, content_type=_JSON_TYPE)
        response = answer(
            HttpRequest(
                method=request.method,
                target=request.environ["REQUEST_URI"],
                headers=tuple(request.headers.items()),
                body=b"" if too_large else body,
                peer=request.remote_addr or "",
                protocol=request.environ["SERVER_PROTOCOL"],
                too_large=too_large,
            )
        )
        return _UntypedResponse(response.body, response.status, list(response.headers))

    return respond


def _message_body(text: str) -> str:
    return json.dumps({"message": text}, separators=(",", ":"))


class _UntypedResponse(Response):
    """A response without a default content type: on a 204, SDKs would expect a body."""

    default_mimetype = None


class _QuietRequestHandler(WSGIRequestHandler):
    """A request handler that logs nothing: the gateway logs, without secrets."""

    default_request_version = (
        "HTTP/1.0"  # a 0.9 client would get bodies without headers
    )
    error_content_type = _JSON_TYPE

    def parse_request(self) -> bool:
        """Read a request's head, and keep its target as it was sent.

        Python folds leading slashes into one, to protect servers that redirect. API
        Gateway does not: `//api/…` is another path than `/api/…`.
        """
        is_good = super().parse_request()
        if is_good:
            self.path = self.requestline.split()[1]
        return is_good

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Refuse a malformed request with a body like the gateway's."""
        self.error_message_format = _message_body(HTTPStatus(code).phrase)
        super().send_error(code, message, explain)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        pass
