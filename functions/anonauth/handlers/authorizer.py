"""The Lambda authorizer for an app's own APIs: checks the access token of each call.

No route of this service calls it. API Gateway does, for an HTTP, REST or WebSocket API
of another stack (authorizer.md). An access token alone is good until it expires. This
check also ends with the session, because it reads the user's item.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from anonauth import wiring
from anonauth.domain.encoding import rfc3339
from anonauth.domain.users import Session, User
from anonauth.errors import InvalidSession, Unavailable
from anonauth.handlers._http import logger, read_bearer, trace_of
from anonauth.usecases.sessions import SessionManagement

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class NotDecided(Exception):
    """It is unknown whether the call may pass. The log says why."""


def _with_tokens(handler: _Handler) -> _Handler:
    """Import at the start what the first call would otherwise wait for."""
    wiring.preload("anonauth.tokens")
    return handler


@_with_tokens
@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(event: dict[str, Any], _context: "LambdaContext") -> dict[str, Any]:
    """Answer whether a call may pass and whose it is, as its API expects the answer.

    Raises:
        Exception: The call may not pass. A REST or WebSocket API turns exactly the text
            "Unauthorized" into a 401.
        NotDecided: The table or the keys are unavailable, or this is a bug. Every API
            answers 500.
    """
    try:
        request = event.get("requestContext") or {}
        logger.set_correlation_id(request.get("requestId"))
        services = wiring.services()
        sessions = SessionManagement(users=services.store, tokens=services.tokens)
        user, session = sessions.find(_access_token(event), services.clock())
        return _allow(event, user, session)
    except InvalidSession as refusal:
        reason = {"error_code": refusal.code, "reason": str(refusal)}
        logger.info(type(refusal).__name__, extra=reason)
    except Exception as exc:  # noqa: BLE001 - neither a 401 nor a way in
        detail = exc.detail if isinstance(exc, Unavailable) else ""
        told = {"detail": detail, "trace": trace_of(exc)}
        logger.error(type(exc).__name__, extra=told)
        # Lambda logs the text of what is raised, which could quote the event.
        raise NotDecided from None
    return _refuse(event)


def _access_token(event: dict[str, Any]) -> str:
    if event["type"] == "TOKEN":
        return read_bearer(event["authorizationToken"])
    authorization = _header(event, "authorization")
    if not authorization and event["requestContext"].get("eventType") == "CONNECT":
        return _token_in_subprotocols(_header(event, "sec-websocket-protocol"))
    return read_bearer(authorization)


def _header(event: dict[str, Any], wanted: str) -> str:
    # `headers` of a REST API has only the last value of a name. Two tokens joined by a
    # comma are none (RFC 9110 §5.3). Otherwise the gateway could keep the answer for
    # the one token in its cache, and this function check the other.
    lists = event.get("multiValueHeaders") or {
        name: [value] for name, value in (event.get("headers") or {}).items()
    }
    named = (found for name, found in lists.items() if name.lower() == wanted)
    return ", ".join(value for found in named for value in found)


def _token_in_subprotocols(offered: str) -> str:
    """Return the token of `new WebSocket(url, ["bearer", token])`.

    Browsers can set no other header of a WebSocket's handshake. A query string could
    carry the token, too, but servers and proxies log it (RFC 9700 §4.3.2).
    """
    names = [name.strip() for name in offered.split(",")]
    if "bearer" not in names[:-1]:
        raise InvalidSession("expected an Authorization header, or subprotocols")
    return names[names.index("bearer") + 1]


def _allow(event: dict[str, Any], user: User, session: Session) -> dict[str, Any]:
    # A REST API takes no lists and no objects here, so all values are texts.
    context = {
        "sub": user.id,
        "app": user.app,
        "sid": session.id,
        "anonymous": "true" if user.anonymous else "false",
        "provider": session.provider,
        "former_ids": " ".join(user.former_ids),
        "expires_at": rfc3339(user.expires_at) if user.expires_at else "",
    }
    if event.get("version") == "2.0":
        return {"isAuthorized": True, "context": context}
    return _policy(event, "Allow", user.id) | {"context": context}


def _refuse(event: dict[str, Any]) -> dict[str, Any]:
    match event.get("version"):
        case "2.0":
            return {"isAuthorized": False}
        case "1.0":  # an HTTP API, which knows no "Unauthorized"
            return _policy(event, "Deny", "unauthorized")
    raise Exception("Unauthorized")  # noqa: TRY002 - the gateway looks for this text


def _policy(event: dict[str, Any], effect: str, principal: str) -> dict[str, Any]:
    # For all of the stage: a gateway that caches the policy of one method uses it for
    # every other, and a WebSocket API uses that of `$connect` for all messages.
    api, stage = event["methodArn"].split("/")[:2]
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": effect,
        "Resource": f"{api}/{stage}/*",
    }
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": principal, "policyDocument": document}
