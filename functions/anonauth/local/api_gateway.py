"""An API Gateway HTTP API: turns requests into Lambda events, and answers back.

It has no sockets; those are in `http`. It reproduces what AWS documents about payload
format 2.0, routes, CORS and quotas, and the bodies of the gateway's own answers.
"""

import base64
import binascii
import json
import logging
import secrets
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from anonauth.local import reasons
from anonauth.local.journal import StateNotSaved
from anonauth.local.outbox import RecentItems
from anonauth.local.template import ACCOUNT, DEFAULT_ROUTE, Cors, Template, Throttling

LONGEST_PAYLOAD = 10 * 1024 * 1024
"""Bytes in a payload; not adjustable (AWS, "Quotas for HTTP APIs")."""

logger = logging.getLogger("anonauth.serve")

# Bodies of these types arrive as text. All others arrive as base64, including
# form-urlencoded bodies and bodies without a type. (AWS does not list the types. They
# were measured there for ministack's pull request 766.)
_TEXT_TYPES = ("application/json", "application/xml", "application/javascript")

# These headers concern one connection, and the gateway has its own to the function.
_HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)
_SET_BY_GATEWAY = _HOP_BY_HOP | {"content-length", "date"}

SLOW_CALL_MS = 1_000
"""Milliseconds. The log line of a call that takes this long names its function."""

InvokeFunction = Callable[[str, dict[str, Any]], Any]


class FunctionTimedOut(Exception):
    """A function took longer than its Timeout."""


class FunctionStopped(Exception):
    """The service is ending and runs no more functions."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it was received.

    `target` is from the request line, with percent-encoding and query. `too_large`
    means that the body is over `LONGEST_PAYLOAD` and was dropped.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    peer: str = "127.0.0.1"
    protocol: str = "HTTP/1.1"
    too_large: bool = False

    def header(self, name: str) -> str | None:
        """Return a header's values, joined by commas; None if it is absent."""
        values = [value for key, value in self.headers if key.lower() == name]
        return ",".join(values) if values else None

    @property
    def path(self) -> str:
        """The decoded path. The gateway decodes it before it matches routes."""
        return urllib.parse.unquote(self._parts[0])

    @property
    def query(self) -> str:
        """The query string without its question mark, as it was sent."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        target = self.target
        if target.lower().startswith(("http://", "https://")):
            _, _, rest = target.partition("://")
            target = "/" + rest.partition("/")[2]
        path, _, query = target.partition("#")[0].partition("?")
        return path, query


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer. The server adds Date, Content-Length and the connection's headers."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def json_response(status: int, body: Any) -> HttpResponse:
    """Return an answer with a JSON body."""
    headers = (("content-type", "application/json"),)
    return HttpResponse(
        status, headers, json.dumps(body, separators=(",", ":")).encode()
    )


class Gateway:
    """The HTTP API of a template.

    Args:
        invoke: Runs a function of the template on an event.
        clock: Returns the time for events.
        domain_name: The API's domain name in events.
        refused_calls: List that records refused and failed calls.
        ticks: Returns seconds of a steady clock, for throttling and durations.
    """

    def __init__(
        self,
        template: Template,
        *,
        invoke: InvokeFunction,
        clock: Callable[[], datetime],
        domain_name: str,
        refused_calls: RecentItems[reasons.RefusedCall] | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._invoke = invoke
        self._clock = clock
        self._domain_name = domain_name
        self._ticks = ticks
        self._refused_calls = RecentItems() if refused_calls is None else refused_calls
        self._cors = template.cors
        functions = template.functions.values()
        self._routes = {key: f.name for f in functions for key in f.routes}
        limits = {
            key: template.route_throttling.get(key, template.throttling)
            for key in self._routes
        }
        self._buckets = {
            key: _TokenBucket(throttling, ticks)
            for key, throttling in limits.items()
            if throttling
        }

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request as API Gateway would, and log one line. Never raises."""
        started = self._ticks()
        route, parameters = self.match(request.method, request.path)
        with reasons.collect_notes() as notes:
            response = self._respond(request, route, parameters)
        response = self._with_cors(request, response)
        ms = round((self._ticks() - started) * 1000)
        # The route, not the path: text that clients choose does not belong in a log.
        label = route or DEFAULT_ROUTE
        if label == DEFAULT_ROUTE:
            known = request.method in _METHODS
            label = f"{request.method if known else '?'} {DEFAULT_ROUTE}"
        line = f"{label}  {response.status}  {ms} ms"
        function = self._routes.get(route or "", "")
        failed = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if function and (failed or ms >= SLOW_CALL_MS):
            line += f"  {function}"
            if notes.waited * 1000 >= SLOW_CALL_MS / 2:  # other calls caused the delay
                line += f" (waited {notes.waited * 1000:.0f} ms for other calls)"
        for reason in notes.reasons[-1:]:
            line += f"  {reason}"
            self._refused_calls.add(
                reasons.RefusedCall(
                    self._clock(), label, function, response.status, ms, reason
                )
            )
        logger.info("%s", line)
        return response

    def match(self, method: str, path: str) -> tuple[str | None, dict[str, str]]:
        """Return route key and path parameters; None if not even `$default` exists.

        The most specific route wins, as on AWS: a path without variables before a path
        with variables, then a method before ANY.
        """
        best: tuple[tuple[int, bool], str, dict[str, str]] | None = None
        for key in self._routes:
            route_method, _, route_path = key.partition(" ")
            if route_method not in {method, "ANY"}:
                continue
            parameters = _match_path(route_path, path)
            if parameters is None:
                continue
            rank = (len(parameters), route_method == "ANY")
            if best is None or rank < best[0]:
                best = rank, key, parameters
        if best is not None:
            return best[1], best[2]
        return (DEFAULT_ROUTE if DEFAULT_ROUTE in self._routes else None), {}

    def _respond(
        self, request: HttpRequest, route: str | None, parameters: dict[str, str]
    ) -> HttpResponse:
        if request.too_large:
            return _gateway_message(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if route is None:
            # A `$default` route takes preflights like all other requests. Without one
            # the gateway answers them itself (AWS, "Configure CORS for HTTP APIs").
            if self._cors is not None and _is_preflight(request):
                return HttpResponse(HTTPStatus.NO_CONTENT)
            return _gateway_message(HTTPStatus.NOT_FOUND)
        if route in self._buckets and not self._buckets[route].take():
            return _gateway_message(HTTPStatus.TOO_MANY_REQUESTS)
        return self._call_function(request, route, parameters)

    def _call_function(
        self, request: HttpRequest, route: str, parameters: dict[str, str]
    ) -> HttpResponse:
        event = make_request_event(
            request,
            route=route,
            parameters=parameters,
            now=self._clock(),
            domain_name=self._domain_name,
        )
        try:
            answer = self._invoke(self._routes[route], event)
        except (FunctionTimedOut, FunctionStopped, StateNotSaved) as exc:
            reasons.note_reason(reasons.Reason(type(exc).__name__))
            return _gateway_message(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception as exc:  # noqa: BLE001 - a function may raise anything
            # Without the exception's text, which may quote a token.
            trace = "".join(traceback.format_tb(exc.__traceback__)).rstrip()
            logger.error("%s raised %s\n%s", route, type(exc).__name__, trace)  # noqa: TRY400
            return _gateway_message(HTTPStatus.INTERNAL_SERVER_ERROR)
        response = _read_function_answer(answer)
        if response is None:
            logger.error("%s returned no valid answer for a gateway", route)
            return _gateway_message(HTTPStatus.INTERNAL_SERVER_ERROR)
        request_id = event["requestContext"]["requestId"]
        headers = (*response.headers, ("apigw-requestid", request_id))
        return HttpResponse(response.status, headers, response.body)

    def _with_cors(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        cors = self._cors
        if cors is None:
            return response
        # Once CORS is configured, the gateway drops the CORS headers of a function.
        kept = [
            (name, value)
            for name, value in response.headers
            if not name.lower().startswith("access-control-")
        ]
        kept += _cors_headers(cors, request)
        return HttpResponse(response.status, tuple(kept), response.body)


def make_request_event(
    request: HttpRequest,
    *,
    route: str,
    parameters: Mapping[str, str],
    now: datetime,
    domain_name: str,
) -> dict[str, Any]:
    """Return the event that a function gets for a request, in payload format 2.0.

    Source: AWS, "Create AWS Lambda proxy integrations for HTTP APIs".
    """
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == "cookie":
            cookies += [part.strip() for part in value.split(";") if part.strip()]
        elif lower not in _HOP_BY_HOP:
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    if request.body or request.method in {"POST", "PUT", "PATCH", "DELETE"}:
        headers["content-length"] = str(len(request.body))
    query: dict[str, str] = {}
    for name, value in urllib.parse.parse_qsl(request.query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    body, is_base64 = _encode_body(request.body, headers.get("content-type", ""))
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "cookies": cookies,
        "headers": headers,
        "queryStringParameters": query,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": domain_name.partition(".")[0],
            "domainName": domain_name,
            "domainPrefix": domain_name.partition(".")[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.peer,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": base64.b64encode(secrets.token_bytes(11)).decode(),
            "routeKey": route,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "body": body,
        "pathParameters": dict(parameters),
        "isBase64Encoded": is_base64,
    }
    # These fields are absent rather than empty.
    optional = ("cookies", "queryStringParameters", "body", "pathParameters")
    return {k: v for k, v in event.items() if v or k not in optional}


def _encode_body(body: bytes, content_type: str) -> tuple[str, bool]:
    media_type = content_type.partition(";")[0].strip().lower()
    if not body:
        return "", False
    if media_type.startswith("text/") or media_type in _TEXT_TYPES:
        return body.decode(errors="replace"), False
    return base64.b64encode(body).decode(), True


def _match_path(route: str, path: str) -> dict[str, str] | None:
    wanted, given = route.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    parameters = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{") and want.endswith("}"):
            if not have:
                return None
            parameters[want[1:-1]] = have
        elif want != have:
            return None
    return parameters


def _read_function_answer(answer: Any) -> HttpResponse | None:
    try:
        if not isinstance(answer, dict) or "statusCode" not in answer:
            # In format 2.0 any other JSON is the body (AWS, "Lambda function response
            # for format 2.0").
            return json_response(HTTPStatus.OK, answer)
        status = int(answer["statusCode"])
        text = answer.get("body") or ""
        encoded = answer.get("isBase64Encoded", False)
        body = base64.b64decode(text, validate=True) if encoded else text.encode()
        headers = [
            (name.lower(), str(value))
            for name, value in (answer.get("headers") or {}).items()
        ]
        headers += [("set-cookie", cookie) for cookie in answer.get("cookies") or ()]
        for name, value in headers:
            name.encode("ascii")
            value.encode("latin-1")
    except (TypeError, ValueError, AttributeError, binascii.Error):
        return None
    broken = any(set("\r\n\0") & {*name, *value} for name, value in headers)
    if broken or not 200 <= status <= 599:
        return None
    headers = [(name, value) for name, value in headers if name not in _SET_BY_GATEWAY]
    if body and "content-type" not in dict(headers):
        headers.append(("content-type", "text/plain; charset=utf-8"))
    return HttpResponse(status, tuple(headers), body)


def _is_preflight(request: HttpRequest) -> bool:
    return (
        request.method == "OPTIONS"
        and request.header("origin") is not None
        and request.header("access-control-request-method") is not None
    )


def _cors_headers(cors: Cors, request: HttpRequest) -> list[tuple[str, str]]:
    origin = cors.allowed_origin(request.header("origin"))
    if origin is None:
        return []
    headers = [("access-control-allow-origin", origin)]
    if origin != "*":
        headers.append(("vary", "origin"))
    if cors.allow_credentials:
        headers.append(("access-control-allow-credentials", "true"))
    if cors.expose_headers:
        names = ",".join(cors.expose_headers)
        headers.append(("access-control-expose-headers", names))
    if _is_preflight(request):
        if cors.allow_methods:
            methods = ",".join(cors.allow_methods)
            headers.append(("access-control-allow-methods", methods))
        if cors.allow_headers:
            names = ",".join(cors.allow_headers)
            headers.append(("access-control-allow-headers", names))
        if cors.max_age is not None:
            headers.append(("access-control-max-age", str(cors.max_age)))
    return headers


def _gateway_message(status: HTTPStatus) -> HttpResponse:
    return json_response(status, {"message": _PHRASES.get(status, status.phrase)})


# Status texts that differ between AWS and Python.
_PHRASES = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Request Entity Too Large"}

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _TokenBucket:
    """The token bucket of one route."""

    def __init__(self, throttling: Throttling, ticks: Callable[[], float]) -> None:
        self._limits = throttling
        self._ticks = ticks
        self._tokens = float(throttling.burst)
        self._filled_at = ticks()
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            now = self._ticks()
            gained = (now - self._filled_at) * self._limits.rate
            self._tokens = min(self._limits.burst, self._tokens + gained)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
