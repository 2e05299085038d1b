"""Turns an API Gateway event (payload format 2.0) into an answer, also for errors.

A function finds its route by the `routeKey` that the gateway has matched. A second
router could disagree with `template.yaml`, and would have to be imported: Powertools'
resolver costs 76 ms of cold start (design.md §10).
"""

import hashlib
import hmac
import ipaddress
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from anonauth import errors, wiring
from anonauth.handlers._body import parse_body
from anonauth.settings import SettingsError, origin_of

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()

STATUS: Mapping[type[errors.AuthError], HTTPStatus] = {
    errors.AuthError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.InvalidSession: HTTPStatus.UNAUTHORIZED,
    errors.SessionNotFound: HTTPStatus.UNAUTHORIZED,
    errors.AnonymousLinkRefused: HTTPStatus.BAD_REQUEST,
    errors.AppNotFound: HTTPStatus.NOT_FOUND,
    errors.RouteNotFound: HTTPStatus.NOT_FOUND,
    errors.CdnBypassed: HTTPStatus.NOT_FOUND,
    errors.FunctionNotFound: HTTPStatus.NOT_FOUND,
    errors.ServiceNotFound: HTTPStatus.NOT_FOUND,
    # Never 401 or 403: on those, clients throw their user away (design.md §7).
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.KeysUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ClockBehind: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ProviderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.MailUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.MailRefused: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EventsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SettingsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    # Plain logins: 401, as in the old service (client-api.md §4). They carry no token,
    # so no client refreshes, and no client forgets the user it has.
    errors.BadCredential: HTTPStatus.UNAUTHORIZED,
    errors.WrongPassword: HTTPStatus.UNAUTHORIZED,
    errors.NotConfirmed: HTTPStatus.UNAUTHORIZED,
    errors.ProviderUnsupported: HTTPStatus.UNAUTHORIZED,
    # Links: any status but 401 (client-api.md §7).
    errors.CredentialRefused: HTTPStatus.FORBIDDEN,
    errors.PasswordRefused: HTTPStatus.FORBIDDEN,
    errors.IdentityTaken: HTTPStatus.CONFLICT,
    errors.ProviderNotFound: HTTPStatus.NOT_FOUND,
    errors.BrowserLoginNotOffered: HTTPStatus.NOT_FOUND,
    errors.WrongApp: HTTPStatus.BAD_REQUEST,
    errors.SecondUserpassRefused: HTTPStatus.BAD_REQUEST,
    errors.ApiKeyLinkRefused: HTTPStatus.BAD_REQUEST,
    errors.TooManyIdentities: HTTPStatus.BAD_REQUEST,
    errors.IdentityNotFound: HTTPStatus.NOT_FOUND,
    errors.AmbiguousIdentity: HTTPStatus.BAD_REQUEST,
    errors.AnonymousUnlinkRefused: HTTPStatus.BAD_REQUEST,
    errors.LastIdentity: HTTPStatus.BAD_REQUEST,
    errors.AccountNameInUse: HTTPStatus.CONFLICT,
    errors.UserpassTokenInvalid: HTTPStatus.BAD_REQUEST,
    errors.AlreadyConfirmed: HTTPStatus.BAD_REQUEST,
    errors.UserNotFound: HTTPStatus.NOT_FOUND,
    errors.InvalidParameter: HTTPStatus.BAD_REQUEST,
    errors.ApiKeyNotFound: HTTPStatus.NOT_FOUND,
    errors.NoSuchSession: HTTPStatus.NOT_FOUND,
    errors.ApiKeyNameTaken: HTTPStatus.CONFLICT,
    errors.PermanentUsersOnly: HTTPStatus.FORBIDDEN,
    errors.ApiKeySessionRefused: HTTPStatus.FORBIDDEN,
    errors.BudgetSpent: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ChallengeFailed: HTTPStatus.BAD_REQUEST,
    errors.LoginKeySpent: HTTPStatus.CONFLICT,
}

# CloudFront's header. Its value ends in a colon and the port, for IPv6 too (Amazon
# CloudFront Developer Guide, "Add CloudFront request headers"). Only the name of the
# header tells: a port of four digits could be the last part of an IPv6 address.
_WITH_PORT = "cloudfront-viewer-address"

# The name that AWS uses in its examples ("Restricting access on HTTP API Gateway
# Endpoint with Lambda Authorizer").
_CDN_HEADER = "x-origin-verify"

_LONGEST_PARAMETER = 2048  # characters

_RETRY_AFTER = "2"  # seconds

_NOT_STORED = {"cache-control": "no-store"}  # for tokens, RFC 6749 §5.1

# A 401 has to name a scheme (RFC 9110 §15.5.2), and the SDKs know only this one (RFC
# 6750 §3). Browsers open no window for it, as they do for Basic. An HTTP API passes the
# header on. A REST API would rename it to x-amzn-remapped-www-authenticate (Amazon API
# Gateway Developer Guide, "Important notes": it lists remapped headers for REST APIs
# only).
_ASKS_FOR_TOKEN = {"www-authenticate": "Bearer"}

_NOT_SNIFFED = {"x-content-type-options": "nosniff"}

# For a year. Subdomains are left out, because they may be other services.
_ONLY_HTTPS = {"strict-transport-security": "max-age=31536000"}

# This is the whole value: the native SDKs compare it character by character
# (client-api.md §1.1).
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as a route function sees it."""

    event: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The HTTP method, in capitals."""
        method: str = self.event["requestContext"]["http"]["method"]
        return method

    @property
    def path(self) -> str:
        """The path that was asked for, without the query."""
        path: str = self.event["rawPath"]
        return path

    @property
    def base_url(self) -> str:
        """The public address: a setting, or the domain name of the gateway.

        It is never the Host header, which the client may forge.
        """
        configured = wiring.services().settings.base_url
        return configured or f"https://{self.event['requestContext']['domainName']}"

    @property
    def app_id(self) -> str:
        """The client app id in the path.

        Raises:
            AppNotFound: This deployment does not have the app.
        """
        app: str = self.event["pathParameters"]["appId"]
        if app not in wiring.services().settings.app_ids:
            raise errors.AppNotFound(app)
        return app

    @property
    def is_link(self) -> bool:
        """Whether the query asks to link: `?link=true`, in capitals or not.

        Without it the call is a login. A login instead of a link cannot be undone,
        since the identity then has a user of its own. So every other value is refused.

        Raises:
            BadRequest: The value is neither true nor false, or there are several.
        """
        return self._flag("link")

    @property
    def is_everywhere(self) -> bool:
        """Whether the query asks to end all sessions: `?everywhere=true`.

        Without it the call ends one session. A client that wanted all of them to end
        would not notice the difference. So every other value is refused, as in
        `is_link`.

        Raises:
            BadRequest: The value is neither true nor false, or there are several.
        """
        return self._flag("everywhere")

    def header(self, name: str) -> str | None:
        """Return the value of a header, None if the header is absent.

        API Gateway writes names in lower case, `sam local` writes them as the client
        did.

        Args:
            name: In lower case.
        """
        headers: Mapping[str, str] = self.event.get("headers") or {}
        if name in headers:
            return headers[name]
        return next((v for key, v in headers.items() if key.lower() == name), None)

    def path_parameter(self, name: str) -> str:
        """Return a parameter of the route's path, decoded and otherwise unchecked."""
        value: str = self.event["pathParameters"][name]
        return value

    def query_parameter(self, name: str) -> str:
        """Return a required parameter of the query.

        Raises:
            BadRequest: The parameter is missing, empty or too long.
        """
        value = self.optional_query_parameter(name)
        if value is None:
            raise errors.BadRequest(f"expected a query parameter '{name}'")
        return value

    def optional_query_parameter(self, name: str) -> str | None:
        """Return a parameter of the query, None if it is absent.

        Raises:
            BadRequest: The parameter is empty or too long.
        """
        query: Mapping[str, str] = self.event.get("queryStringParameters") or {}
        value = query.get(name)
        if value is not None and not 0 < len(value) <= _LONGEST_PARAMETER:
            raise errors.BadRequest(
                f"expected a query parameter '{name}' of 1 to {_LONGEST_PARAMETER} "
                "characters"
            )
        return value

    def _flag(self, wanted: str) -> bool:
        query: Mapping[str, str] = self.event.get("queryStringParameters") or {}
        # The gateway joins the values of one name by commas.
        said = [value for name, value in query.items() if name.lower() == wanted]
        if not said:
            return False
        text = ",".join(said).lower()
        if text not in {"true", "false"}:
            raise errors.BadRequest(f"expected '{wanted}' to be true or false, once")
        return text == "true"

    @property
    def network(self) -> str:
        """The client's IP address, as the gateway or a CDN in front of it saw it.

        A request without the CDN's header bypassed the CDN, so its sender is the
        client. If the header has no address, the request counts for the CDN's address.
        This is logged, since all clients then share the rate limit of one.
        """
        seen: str = self.event["requestContext"]["http"]["sourceIp"]
        name = wiring.services().settings.client_address_header
        sent = self.header(name) if name else None
        if sent is None:
            return seen
        told = _address(sent, with_port=name == _WITH_PORT)
        if told is None:
            logger.warning("no address in the header of ClientAddressHeader")
        return told or seen

    def body(self) -> dict[str, Any]:
        """Return the JSON object that the client sent, `{}` if the body is empty.

        Raises:
            BadRequest: See `parse_body`.
        """
        return parse_body(
            self.event.get("body"), is_base64=self.event.get("isBase64Encoded", False)
        )

    def bearer_token(self) -> str:
        """Return the token of the Authorization header, unchecked.

        Raises:
            InvalidSession: See `read_bearer`.
        """
        return read_bearer(self.header("authorization") or "")


def read_bearer(authorization: str) -> str:
    """Return the token in an Authorization header's value, unchecked.

    Raises:
        InvalidSession: The header is missing, has another scheme, or no token.
    """
    scheme, _, token = authorization.partition(" ")
    # RFC 9110 §5.5. Other characters that look blank are part of the token.
    token = token.strip(" \t")
    if scheme.lower() != "bearer" or not token:
        raise errors.InvalidSession(
            "expected Authorization header with JWT (Bearer schema)"
        )
    return token


def _require_origin_secret(request: Request) -> None:
    """Refuse a call that bypassed the CDN, before anything is read.

    Only hashes are known here, and comparing them takes the same time whatever the
    caller sent.

    Raises:
        CdnBypassed: The CDN's header is missing, or has none of the secrets.
    """
    hashes = wiring.services().settings.origin_secret_hashes
    if not hashes:
        return
    sent = request.header(_CDN_HEADER) or ""
    # JSON may hold half of a surrogate pair, which UTF-8 cannot.
    told = hashlib.sha256(sent.encode(errors="backslashreplace")).hexdigest()
    if True not in [hmac.compare_digest(told, known) for known in hashes]:
        raise errors.CdnBypassed


def _require_allowed_origin(request: Request) -> None:
    """Refuse a call by which a page of another origin would change something.

    CORS alone only keeps such a page from reading the answer. A POST of text/plain goes
    out without a preflight, and would still create an anonymous user. The method is
    taken from the route key, so `$default`, which changes nothing, answers its 404.

    Raises:
        BadRequest: The `Origin` is neither listed nor the service's own.
    """
    allowed = wiring.services().settings.allowed_origins
    origin = request.header("origin")
    if allowed is None or origin is None:  # without an origin, no web page sent it
        return
    changes = request.event["routeKey"].startswith(("POST ", "PUT ", "DELETE "))
    own = origin_of(request.base_url)
    if changes and origin_of(origin) not in {own, *allowed}:
        raise errors.BadRequest("pages of this origin are not allowed to call")


def _address(text: str, *, with_port: bool) -> str | None:
    text = text.strip()
    if with_port:
        text = text.rpartition(":")[0]
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. Clients must not store it, unless its headers allow it.

    A body that is text is sent as it is, with the `content-type` of the headers. Every
    other body is sent as JSON. An error is an `AuthError` instead.
    """

    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: _NOT_STORED)
    status: HTTPStatus = HTTPStatus.OK


RouteFunction = Callable[[Request], Answer]
HttpHandler = Callable[[Any, "LambdaContext"], dict[str, Any]]


def lambda_handler(
    routes: Mapping[str, RouteFunction],
    *,
    preload: tuple[str, ...] = (),
    only_by_cdn: bool = True,
) -> HttpHandler:
    """Make the handler of a Lambda function from its routes.

    Args:
        routes: Maps each route key, as in `template.yaml`, to its function.
        preload: Modules that `wiring` would otherwise import at the first request.
        only_by_cdn: Whether calls need the CDN's secret, if the deployment has one.
    """
    wiring.preload(*preload)

    @logger.inject_lambda_context(log_event=False, clear_state=True)
    def handler(event: Any, context: "LambdaContext") -> dict[str, Any]:
        if not isinstance(event, dict) or "requestContext" not in event:
            # No request: a schedule or a tool keeps the function warm. A KeyError would
            # set off the alarm on errors each time.
            return {}
        request = Request(event)
        logger.set_correlation_id(event["requestContext"]["requestId"])
        try:
            wiring.services().metrics.start(context.function_name)
            if only_by_cdn:
                _require_origin_secret(request)
            _require_allowed_origin(request)
            answer = routes[event["routeKey"]](request)
        except errors.AuthError as refusal:
            return _refuse(refusal, request, context)
        except Exception as exc:  # noqa: BLE001 - a bug answers 503, never 401
            return _refuse(errors.AuthError(), request, context, cause=exc)
        return _response(answer.status, answer.body, answer.headers, request.base_url)

    return handler


def _refuse(
    refusal: errors.AuthError,
    request: Request,
    context: "LambdaContext",
    cause: BaseException | None = None,
) -> dict[str, Any]:
    status = STATUS[type(refusal)]
    log_id = context.aws_request_id.replace("-", "")
    details: dict[str, Any] = {"error_code": refusal.code, "co_id": log_id}
    # In a link the cause of the refusal is a bad credential, in a logout a bad token.
    # Neither text quotes the request.
    for bad in (refusal, refusal.__cause__):
        if isinstance(bad, errors.BadCredential):
            details["reason"] = bad.reason
        elif isinstance(bad, errors.InvalidSession):
            details["reason"] = str(bad)
    if isinstance(refusal, errors.Unavailable) and refusal.detail:
        details["detail"] = refusal.detail
    headers = dict(_NOT_STORED)
    if status == HTTPStatus.UNAUTHORIZED:
        headers |= _ASKS_FOR_TOKEN
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = _RETRY_AFTER
        details["trace"] = trace_of(cause or refusal.__cause__)
        logger.error(type(refusal).__name__, extra=details)
    else:
        if isinstance(refusal, errors.BudgetSpent):
            headers["retry-after"] = str(refusal.retry_after)
        logger.info(type(refusal).__name__, extra=details)
    try:
        _count(refusal, status)
        base_url = request.base_url
    except SettingsError:  # perhaps the error that is being answered
        base_url = f"https://{request.event['requestContext']['domainName']}"
    body = {
        "error": str(refusal),
        "error_code": refusal.code,
        # Native SDKs' tests look for the base URL and "logs?co_id=" (client-api.md
        # §1.5).
        "link": f"{base_url}/logs?co_id={log_id}",
    }
    return _response(status, body, headers, base_url)


def _count(refusal: errors.AuthError, status: HTTPStatus) -> None:
    metrics = wiring.services().metrics
    metrics.count("Refusals", error_code=refusal.code)
    if status == HTTPStatus.CONFLICT:
        metrics.count("Conflicts")


def trace_of(cause: BaseException | None) -> list[str]:
    """Return an exception and its causes for the log: types and places only.

    The text of an exception may quote the request.
    """
    lines = []
    while cause is not None:
        lines.append(type(cause).__qualname__)
        for frame in traceback.extract_tb(cause.__traceback__):
            lines.append(f"{frame.filename}:{frame.lineno} {frame.name}")  # noqa: PERF401
        cause = cause.__cause__
    return lines


def _response(
    status: HTTPStatus, body: Any, headers: Mapping[str, str], base_url: str
) -> dict[str, Any]:
    # Left out over plain HTTP, as on a developer's machine: RFC 6797 §7.2 forbids to
    # send it there, and browsers have to ignore it.
    secure = _ONLY_HTTPS if base_url.startswith("https://") else {}
    return {
        "statusCode": int(status),
        "headers": {"content-type": _JSON, **_NOT_SNIFFED, **secure, **headers},
        "body": body
        if isinstance(body, str)
        else json.dumps(body, separators=(",", ":")),
        "isBase64Encoded": False,
    }
