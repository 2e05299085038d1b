"""What every route has in common: refusals, trouble on our side, and the log."""

import importlib
import inspect
import io
import itertools
import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import jwt
import pytest

from anonauth import errors, wiring
from anonauth.handlers import _http
from anonauth.settings import SettingsError
from support.contracts.error_contract import is_contract_error
from support.project import sam_template
from support.project.tools import ROOT
from support.service.harness import (
    APP,
    CONFIGURATION,
    END_SESSION,
    HANDLERS,
    HEADS,
    JWKS,
    LINK,
    LOCATION,
    LOGIN,
    LOGOUT,
    MODULE,
    OPENAPI,
    OTHER_APP,
    PROFILE,
    ROUTES,
    SESSION,
    UNLINK,
    Context,
    Deployment,
    Reply,
)
from support.service.token_routes import (
    KEY_ROUTES,
    NEEDED_OPTIONS,
    REFRESH_ROUTES,
    TOKEN_ROUTES,
)
from support.service.wire import FAULTS

TABLE_ROUTES = [*TOKEN_ROUTES, LOGIN, JWKS]

REFUSED_TO_A_GUEST = dict.fromkeys([*KEY_ROUTES, END_SESSION, UNLINK, LINK], 404)
"""The status that such a request gets when all is well; 200 where none is named."""


def send(service: Deployment, route: str, **options: Any) -> Reply:
    return service.send(route, **{**NEEDED_OPTIONS.get(route, {}), **options})


def test_given_the_errors_when_listed_then_each_has_a_status() -> None:
    classes = {
        thing
        for _, thing in inspect.getmembers(errors, inspect.isclass)
        if issubclass(thing, errors.AuthError)
    }

    assert set(_http.STATUS) == classes


def test_given_trouble_on_our_side_when_mapped_then_never_401_or_403() -> None:
    for error, status in _http.STATUS.items():
        may_log_out = issubclass(error, errors.InvalidSession | errors.BadCredential)
        assert (status == HTTPStatus.UNAUTHORIZED) == may_log_out
        forbids = {
            errors.CredentialRefused,
            errors.PasswordRefused,
            errors.PermanentUsersOnly,
            errors.ApiKeySessionRefused,
        }
        assert (status == HTTPStatus.FORBIDDEN) == (error in forbids)
        if issubclass(error, errors.Unavailable):
            assert status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("function", sorted(set(ROUTES.values())))
@pytest.mark.parametrize(
    "event",
    [
        pytest.param({}, id="nothing"),
        pytest.param(None, id="null"),
        pytest.param("warm", id="a string"),
        pytest.param([1], id="an array"),
        pytest.param({"source": "serverless-plugin-warmup"}, id="a warm-up"),
        pytest.param(
            {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
            id="a schedule",
        ),
        pytest.param({"Records": []}, id="a stream"),
    ],
)
def test_given_no_request_when_a_function_is_called_then_it_does_nothing(
    log: io.StringIO, function: str, event: Any
) -> None:
    """The environment is empty: a function that asked for its table would raise."""
    module, _, name = HANDLERS[function].rpartition(".")
    handler = getattr(importlib.import_module(module), name)

    answer = handler(event, Context(function, "request"))

    assert answer == {}
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("base_url", "told"),
    [
        pytest.param("", "max-age=31536000", id="API Gateway"),
        pytest.param("https://auth.example.com", "max-age=31536000", id="a domain"),
        pytest.param("http://127.0.0.1:8080", None, id="a developer's machine"),
    ],
)
@pytest.mark.parametrize("route", [LOGIN, SESSION, JWKS, "$default"])
def test_given_an_answer_when_sent_then_browsers_come_back_by_https_only(
    service: Deployment, route: str, base_url: str, told: str | None
) -> None:
    """A success, a 401, what is cacheable, and a 404."""
    service.restart(BASE_URL=base_url)

    reply = service.send(route)

    assert reply.headers.get("strict-transport-security") == told
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("route", HEADS)
def test_given_a_document_when_asked_for_by_head_then_headers_are_those_of_get(
    service: Deployment, route: str
) -> None:
    head, get = service.send(route), service.send(route.replace("HEAD ", "GET "))

    assert (head.status, head.headers) == (200, get.headers)
    # For the gateway to count: what reaches the client, test_serve shows.
    assert head.text == get.text


@pytest.mark.parametrize("written", ["authorization", "Authorization", "AUTHORIZATION"])
def test_given_a_header_when_its_name_is_capitalised_then_it_is_the_same(
    service: Deployment, written: str
) -> None:
    """As `sam local` hands it over."""
    session = service.log_in()

    reply = service.send(
        PROFILE, headers={written: f"Bearer {session['access_token']}"}
    )

    assert (reply.status, reply.json["user_id"]) == (200, session["user_id"])


def test_given_the_routes_when_tested_here_then_none_is_left_out() -> None:
    elsewhere = {route for route in ROUTES if "local-userpass" in route}
    assert set(ROUTES) - elsewhere == {
        *TABLE_ROUTES,
        LINK.replace("POST", "GET"),
        LOCATION,
        CONFIGURATION,
        OPENAPI,
        MODULE,
        *HEADS,
        "$default",
    }


@pytest.mark.parametrize("route", TOKEN_ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no header"),
        pytest.param({"authorization": ""}, id="empty"),
        pytest.param({"authorization": "Bearer"}, id="scheme only"),
        pytest.param({"authorization": "Bearer "}, id="no token"),
        pytest.param({"authorization": "Bearer null"}, id="Bearer null"),
        pytest.param({"authorization": "Bearer undefined"}, id="Bearer undefined"),
        pytest.param({"authorization": "Basic dXNlcjpwdw=="}, id="Basic"),
        pytest.param({"authorization": "Token TOKEN"}, id="other scheme"),
        pytest.param({"authorization": "TOKEN"}, id="bare token"),
        pytest.param({"authorization": "Bearer TOKEN,Bearer TOKEN"}, id="twice"),
        pytest.param({"authorization": "Bearer TOKEN TOKEN"}, id="two tokens"),
        pytest.param({"authorization": "Bearer TOKEN\u00a0"}, id="no-break space"),
        pytest.param({"authorization": "Bearer TOKEN\x1f"}, id="unit separator"),
        pytest.param({"authorization": "Bearer " + "x" * 9000}, id="oversized"),
        pytest.param({"authorization": "Bearer \u00e9\u2603"}, id="not ASCII"),
        pytest.param({"authorization": "Bearer \x00"}, id="NUL"),
        pytest.param({"cookie": "token=TOKEN"}, id="in a cookie"),
    ],
)
def test_given_a_bad_header_when_calling_then_a_clear_401(
    service: Deployment, route: str, headers: dict[str, str]
) -> None:
    body = service.log_in()
    kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"
    sent = {k: v.replace("TOKEN", body[kind]) for k, v in headers.items()}

    reply = send(service, route, headers=sent)

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert is_contract_error(reply)
    assert service.user_item(body["user_id"]) is not None


@pytest.mark.parametrize("route", TOKEN_ROUTES)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_given_a_scheme_in_any_case_when_calling_then_it_is_taken(
    service: Deployment, route: str, scheme: str
) -> None:
    """RFC 9110 §11.1."""
    body = service.log_in()
    kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"

    reply = send(service, route, headers={"authorization": f"{scheme} {body[kind]}"})

    assert reply.status == REFUSED_TO_A_GUEST.get(route, 200)


@pytest.mark.parametrize("route", TOKEN_ROUTES)
def test_given_the_other_kind_of_token_when_calling_then_401(
    service: Deployment, route: str
) -> None:
    body = service.log_in()
    kind = "access_token" if route in REFRESH_ROUTES else "refresh_token"

    reply = send(service, route, token=body[kind])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.user_item(body["user_id"]) is not None


@pytest.mark.parametrize("route", TOKEN_ROUTES)
def test_given_a_token_of_an_app_that_was_dropped_when_calling_then_404_not_401(
    service: Deployment, route: str
) -> None:
    body = service.log_in(app=OTHER_APP)
    kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"

    service.restart(APP_IDS=APP)
    dropped = send(service, route, token=body[kind], app=OTHER_APP)
    service.restart()
    restored = send(service, route, token=body[kind], app=OTHER_APP)

    assert (dropped.status, dropped.json["error_code"]) == (404, "AppNotFound")
    assert restored.status == REFUSED_TO_A_GUEST.get(route, 200)


@pytest.mark.parametrize("route", TOKEN_ROUTES)
def test_given_a_clock_behind_when_calling_then_no_session_is_lost(
    service: Deployment, route: str
) -> None:
    """One function's clock is behind the one's that signed the token.

    A 401 to a refresh is the end of a guest. Access tokens get 503, and are as good as
    before once the clock is right.
    """
    service.advance(timedelta(hours=2))  # the keys are older than any difference
    body = service.log_in()
    takes_refresh = route in REFRESH_ROUTES
    token = body["refresh_token" if takes_refresh else "access_token"]
    before, healthy = service.items(), REFUSED_TO_A_GUEST.get(route, 200)

    service.now -= timedelta(seconds=61)
    behind = send(service, route, token=token)

    if takes_refresh:
        assert behind.status == healthy
        return
    assert behind.status == 503
    assert behind.headers["retry-after"] == "2"
    assert is_contract_error(behind)
    assert service.items() == before
    service.now += timedelta(seconds=1)  # as much as is granted
    assert send(service, route, token=token).status == healthy


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("start", ["cold", "warm"])
@pytest.mark.parametrize("route", TABLE_ROUTES)
def test_given_aws_is_failing_when_calling_then_503_and_afterwards_all_is_well(
    service: Deployment, route: str, start: str, fault: Any
) -> None:
    """DynamoDB and KMS alike. The client's tokens work again after the outage."""
    body = service.log_in()
    kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"
    ends_it = route == LOGOUT and start == "warm" and "effect" in f"{fault.__doc__}"
    if start == "cold":
        service.restart()
    service.wire.always = fault

    reply = send(service, route, token=body[kind])

    if route == JWKS and start == "warm":
        assert reply.status == 200  # five minutes of a ring need no table
    else:
        assert reply.status == 503
        assert reply.headers["retry-after"] == "2"
        assert reply.headers["cache-control"] == "no-store"
        assert is_contract_error(reply)

    service.wire.always = None
    again = send(service, route, token=body[kind])
    if ends_it:
        assert again.json["error"] == "invalid session: failed to find refresh token"
        assert service.user_item(body["user_id"]) is None
    else:
        assert again.status == REFUSED_TO_A_GUEST.get(route, 200)


@pytest.mark.parametrize("route", [LOCATION, CONFIGURATION, OPENAPI])
def test_given_aws_is_failing_when_discovering_then_it_does_not_matter(
    service: Deployment, route: str
) -> None:
    service.wire.always = FAULTS["no_connection"]
    del service.wire.calls[:]

    assert service.send(route).status == 200
    assert service.wire.calls == []


@pytest.mark.parametrize("route", [LOGIN, *TOKEN_ROUTES, JWKS])
def test_given_no_ring_yet_when_calling_then_503_and_no_user_is_made(
    new_service: Deployment, route: str
) -> None:
    reply = send(new_service, route, token="a.b.c")

    unreadable = reply.status == 401 and route in TOKEN_ROUTES
    assert unreadable or reply.status == 503
    assert new_service.items() == {}


def test_given_no_ring_yet_when_a_good_token_comes_then_503_not_401(
    service: Deployment,
) -> None:
    body = service.log_in()
    ring = service.items()["KEY#ring"]
    service.db.delete_item(TableName=service.table, Key={"pk": ring["pk"]})
    service.restart()

    for route in TOKEN_ROUTES:
        kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"
        assert send(service, route, token=body[kind]).status == 503


def test_given_a_bug_when_it_strikes_then_503_and_the_client_learns_nothing(
    service: Deployment, log: io.StringIO
) -> None:
    class Broken(wiring.Services):
        @property
        def store(self) -> Any:
            raise RuntimeError("secret detail")

    body = service.log_in()
    service.services = Broken(service.services.settings, service.services.clock)

    reply = service.send(PROFILE, token=body["access_token"])

    assert reply.status == 503
    assert reply.headers["retry-after"] == "2"
    assert is_contract_error(reply)
    assert "secret" not in reply.text
    line = json.loads(log.getvalue().splitlines()[-1])
    assert line["level"] == "ERROR"
    assert line["trace"][0].endswith("RuntimeError")
    assert any("wiring" in place or "test_refusals" in place for place in line["trace"])
    assert "secret" not in json.dumps(line)


def test_given_settings_that_are_wrong_when_called_then_503_as_for_any_bug(
    service: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> wiring.Services:
        raise SettingsError("TABLE_NAME: not set")

    monkeypatch.setattr(wiring, "services", fail)

    reply = service.send(LOGIN)

    assert reply.status == 503
    assert is_contract_error(reply)


def test_given_a_refusal_when_logged_then_by_code_and_with_the_links_id(
    service: Deployment, log: io.StringIO
) -> None:
    reply = service.send(PROFILE, token="a.b.c")

    line = json.loads(log.getvalue().splitlines()[-1])
    assert line["level"] == "INFO"
    assert line["message"] == "InvalidSession"
    assert line["error_code"] == "InvalidSession"
    assert reply.json["link"].endswith(line["co_id"])
    assert line["correlation_id"] == "Xq3kGhT2liAEJ8g="


def test_given_canaries_when_pushed_through_every_route_then_no_log_line_has_one(
    service: Deployment,
    log: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Powertools would log whole events. It reads this when a handler is made.
    monkeypatch.setenv("POWERTOOLS_LOGGER_LOG_EVENT", "true")
    for named in HANDLERS.values():
        importlib.reload(importlib.import_module(named.rpartition(".")[0]))
    body = service.log_in()
    canary = "canary-5f0c3b2a"
    fields = json.dumps({"password": canary, "options": {"device": {"sdk": canary}}})
    tokens = (body["access_token"], body["refresh_token"], f"{canary}.{canary}.x")
    for always in (FAULTS["no_connection"], FAULTS["throttled"], None):
        service.restart()
        service.wire.always = always
        for token, route in itertools.product(tokens, TABLE_ROUTES):
            send(
                service,
                route,
                token=token,
                body=fields,
                headers={"x-forwarded-for": "203.0.113.9", "cookie": canary},
                query={"device": canary},
            )

    logged = log.getvalue()
    claims = jwt.decode(body["refresh_token"], options={"verify_signature": False})
    assert logged.count("\n") > 40
    for secret in (
        canary,
        "203.0.113.9",
        claims["jti"],
        body["access_token"].rpartition(".")[2],
        body["refresh_token"].rpartition(".")[2],
    ):
        assert secret not in logged


@pytest.mark.parametrize("function", HANDLERS)
def test_given_a_function_when_named_then_one_word_runs_through_all(
    function: str,
) -> None:
    """One word: LoginFunction, handlers/login.py, events/login.json."""
    word = sam_template.word_of(function)

    importlib.import_module(f"anonauth.handlers.{word}")
    assert HANDLERS[function] == f"anonauth.handlers.{word}.handler"
    assert (ROOT / "events" / f"{word}.json").exists()
