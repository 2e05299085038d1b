"""The local service's own endpoints: `/`, `/logs` and `/_local/*`, for this machine."""

import json
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qs

# It ships no types.
import isodate  # type: ignore[import-untyped]

from anonauth.domain.encoding import rfc3339
from anonauth.domain.events import UserEvent
from anonauth.domain.providers import ANONYMOUS
from anonauth.errors import AuthError
from anonauth.event_bus import SOURCE
from anonauth.local import playground
from anonauth.local.api_gateway import HttpRequest, HttpResponse, json_response
from anonauth.local.guard import host_name, is_forwarded, is_loopback
from anonauth.local.journal import StateNotSaved
from anonauth.local.lambdas import LocalDeployment
from anonauth.local.outbox import MOST_RECENT_ITEMS, RecentItems, SentMail
from anonauth.local.settings_file import enabled_providers

LOCAL_PREFIX = "/_local/"
LOGS_PATH = "/logs"
"""Path in the `link` of an error answer (client-api.md §1.5)."""

_T = TypeVar("_T")

_LONGEST_DURATION = 64  # characters


class LocalApi:
    """The endpoints for this machine's operator: playground, clock, outbox and events.

    Every request from a page of another origin is refused, and no answer has CORS
    headers. A Host that is not a loopback address is refused too: it may be the name of
    a page, rebound to this machine.
    """

    def __init__(self, deployment: LocalDeployment) -> None:
        self._deployment = deployment

    @staticmethod
    def takes(request: HttpRequest) -> bool:
        """Return whether a request is for these endpoints, not for the API."""
        is_ours = request.path == LOGS_PATH or request.path.startswith(LOCAL_PREFIX)
        return is_ours or playground.is_page_request(request)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer a request for which `takes` is true."""
        if not _is_from_here(request):
            return _error_response(
                HTTPStatus.FORBIDDEN,
                "the playground, /logs and /_local/ answer this machine only, at "
                "127.0.0.1",
            )
        if request.path in playground.PAGE_FILES:
            return self._file(request)
        answers = {
            LOCAL_PREFIX + "clock": self._clock,
            LOCAL_PREFIX + "events": self._events,
            LOCAL_PREFIX + "outbox": self._outbox,
            LOCAL_PREFIX + "stack": self._describe_apps,
            LOGS_PATH: self._explain_refusal,
        }
        if request.path in answers:
            try:
                return answers[request.path](request)
            except StateNotSaved:
                return _error_response(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "the data directory cannot be written; the terminal says why",
                )
        return _error_response(
            HTTPStatus.NOT_FOUND,
            "no such endpoint; try /_local/clock, /_local/outbox or /_local/events",
        )

    def _file(self, request: HttpRequest) -> HttpResponse:
        if request.method in playground.PAGE_METHODS:
            return playground.file_response(request.path)
        return _error_response(HTTPStatus.METHOD_NOT_ALLOWED, "GET reads it")

    def _describe_apps(self, request: HttpRequest) -> HttpResponse:
        if request.method != "GET":
            return _error_response(HTTPStatus.METHOD_NOT_ALLOWED, "GET reads it")
        apps = [self._app_body(app) for app in self._deployment.template.app_ids]
        return json_response(HTTPStatus.OK, {"apps": apps})

    def _app_body(self, app: str) -> dict[str, Any]:
        settings = self._deployment.settings
        accounts = settings.app(app).local_userpass
        mail = accounts.mail if accounts else None
        return {
            "id": app,
            "providers": [ANONYMOUS, *enabled_providers(settings, app)],
            # A page of the app. None if every address counts as confirmed.
            "confirm_url": mail.confirm_url if mail else None,
            # Whether an anonymous login needs `options.challenge`.
            "challenge": settings.app(app).challenge is not None,
        }

    def _clock(self, request: HttpRequest) -> HttpResponse:
        if request.method == "GET":
            return self._now(self._deployment.clock())
        if request.method == "POST":
            return self._advance(request)
        return _error_response(
            HTTPStatus.METHOD_NOT_ALLOWED, "GET reads it, POST moves it"
        )

    def _outbox(self, request: HttpRequest) -> HttpResponse:
        return _list_or_clear(request, self._deployment.outbox, _mail_body)

    def _events(self, request: HttpRequest) -> HttpResponse:
        if not self._deployment.publishes_events:
            return _error_response(
                HTTPStatus.NOT_IMPLEMENTED, "the DynamoDB engine has no streams"
            )
        self._deployment.deliver_changes()  # other programs may write to the table
        return _list_or_clear(request, self._deployment.events, _event_body)

    def _explain_refusal(self, request: HttpRequest) -> HttpResponse:
        if request.method != "GET":
            return _error_response(HTTPStatus.METHOD_NOT_ALLOWED, "GET reads it")
        asked = parse_qs(request.query).get("co_id", [""])[-1]
        for refused in self._deployment.refused_calls.entries():
            if asked and refused.why.co_id == asked:
                return json_response(HTTPStatus.OK, refused.body())
        return _error_response(
            HTTPStatus.NOT_FOUND,
            f"no such co_id among the last {MOST_RECENT_ITEMS} refusals since the "
            "start",
        )

    def _advance(self, request: HttpRequest) -> HttpResponse:
        try:
            duration = _read_duration(request)
            return self._now(self._deployment.advance(duration))
        except (ValueError, ArithmeticError, RecursionError):
            return _error_response(
                HTTPStatus.BAD_REQUEST,
                'expected {"advance": "P91D"}: an ISO 8601 duration, forward, of 5 '
                "years at most, that ends before the year 10000",
            )
        except AuthError as exc:
            return _error_response(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the clock stopped at {rfc3339(self._deployment.clock())}, because a "
                f"scheduled function failed there: {exc}",
            )

    def _now(self, now: datetime) -> HttpResponse:
        return json_response(HTTPStatus.OK, {"now": rfc3339(now)})


def _list_or_clear(
    request: HttpRequest, recent_items: RecentItems[_T], body_of: Callable[[_T], Any]
) -> HttpResponse:
    if request.method == "GET":
        return json_response(
            HTTPStatus.OK, [body_of(e) for e in recent_items.entries()]
        )
    if request.method == "DELETE":
        recent_items.clear()
        return json_response(HTTPStatus.OK, {})
    return _error_response(
        HTTPStatus.METHOD_NOT_ALLOWED, "GET lists it, DELETE empties it"
    )


def _event_body(event: UserEvent) -> dict[str, Any]:
    # The event as a rule's target gets it, without the fields that EventBridge adds.
    return {
        "source": SOURCE,
        "detail-type": event.type,
        "time": rfc3339(event.at),
        "detail": event.detail,
    }


def _mail_body(mail: SentMail) -> dict[str, str]:
    return {
        "to": mail.recipient,
        "from": mail.sender,
        "subject": mail.subject,
        "text": mail.text,
        "sent_at": rfc3339(mail.sent_at),
    }


def _read_duration(request: HttpRequest) -> Any:
    body = json.loads(request.body)
    duration = body.get("advance") if isinstance(body, dict) else None
    if not isinstance(duration, str) or len(duration) > _LONGEST_DURATION:
        raise ValueError
    return isodate.parse_duration(duration)


def _is_from_here(request: HttpRequest) -> bool:
    host = request.header("host")
    origin = request.header("origin")
    if is_forwarded(name for name, _ in request.headers):
        return False
    return (
        is_loopback(request.peer)
        and host is not None
        and is_loopback(host_name(host))
        and origin in {None, f"http://{host}"}
    )


def _error_response(status: HTTPStatus, error: str) -> HttpResponse:
    return json_response(status, {"error": error})
