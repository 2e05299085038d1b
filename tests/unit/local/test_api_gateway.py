"""API Gateway: events from requests, and responses from functions' answers."""

import base64
import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from anonauth.local.api_gateway import (
    FunctionTimedOut,
    Gateway,
    HttpRequest,
    HttpResponse,
    make_request_event,
)
from anonauth.local.template import Cors, LambdaFunction, Template, Throttling

NOW = datetime(2026, 11, 23, 13, 33, 20, 500_000, UTC)
ORIGIN = "https://www.example.com"
API = "/api/client/v2.0"

CORS = Cors(
    allow_origins=(ORIGIN,),
    allow_methods=("GET", "POST"),
    allow_headers=("authorization", "content-type"),
    expose_headers=("retry-after",),
    max_age=600,
    allow_credentials=False,
)
PREFLIGHT = (("Origin", ORIGIN), ("Access-Control-Request-Method", "POST"))


def function(name: str, *routes: str) -> LambdaFunction:
    return LambdaFunction(name, "", {}, routes, scheduled=False, timeout=1, memory=128)


def gateway(
    answer: Any = None,
    *,
    routes: tuple[str, ...] = ("GET /a", "$default"),
    cors: Cors | None = CORS,
    throttling: Throttling | None = None,
    route_throttling: Mapping[str, Throttling] | None = None,
    ticks: Callable[[], float] = lambda: 0.0,
) -> Gateway:
    template = Template(
        functions={"Function": function("Function", *routes)},
        cors=cors,
        throttling=throttling,
        table={},
        app_ids=(),
        route_throttling=route_throttling or {},
    )

    def invoke(_name: str, event: dict[str, Any]) -> Any:
        return answer(event) if callable(answer) else answer

    return Gateway(
        template,
        invoke=invoke,
        clock=lambda: NOW,
        domain_name="abcde.execute-api.example",
        ticks=ticks,
    )


def event_of(request: HttpRequest) -> dict[str, Any]:
    return make_request_event(
        request, route="$default", parameters={}, now=NOW, domain_name="abcde.example"
    )


def headers_of(response: HttpResponse) -> dict[str, str]:
    return dict(response.headers)


def test_given_a_request_when_made_an_event_then_it_has_every_field_of_format_2() -> (
    None
):
    request = HttpRequest(
        method="POST",
        target="/a/b?x=1",
        headers=(
            ("Host", "abcde.example"),
            ("User-Agent", "curl/8"),
            ("Content-Type", "application/json"),
            ("Cookie", "one=1; two=2"),
            ("Connection", "keep-alive"),
        ),
        body=b"{}",
        peer="203.0.113.7",
    )

    event = make_request_event(
        request,
        route="POST /a/{id}",
        parameters={"id": "b"},
        now=NOW,
        domain_name="abcde.example",
    )

    request_id = event["requestContext"].pop("requestId")
    assert event == {
        "version": "2.0",
        "routeKey": "POST /a/{id}",
        "rawPath": "/a/b",
        "rawQueryString": "x=1",
        "cookies": ["one=1", "two=2"],
        "headers": {
            "host": "abcde.example",
            "user-agent": "curl/8",
            "content-type": "application/json",
            "content-length": "2",
        },
        "queryStringParameters": {"x": "1"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcde",
            "domainName": "abcde.example",
            "domainPrefix": "abcde",
            "http": {
                "method": "POST",
                "path": "/a/b",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8",
            },
            "routeKey": "POST /a/{id}",
            "stage": "$default",
            "time": "23/Nov/2026:13:33:20 +0000",
            "timeEpoch": 1795440800500,
        },
        "body": "{}",
        "pathParameters": {"id": "b"},
        "isBase64Encoded": False,
    }
    assert len(request_id) == 16


def test_given_a_bare_request_when_made_an_event_then_empty_fields_are_absent() -> None:
    event = event_of(HttpRequest("GET", "/a"))

    absent = {"cookies", "queryStringParameters", "body", "pathParameters"}
    assert not absent & event.keys()
    assert event["rawQueryString"] == ""
    assert event["headers"] == {}
    assert event["isBase64Encoded"] is False


@pytest.mark.parametrize(
    ("content_type", "is_text"),
    [
        pytest.param("application/json", True, id="json"),
        pytest.param("application/json;charset=utf-8", True, id="json with charset"),
        pytest.param("Application/JSON", True, id="upper case"),
        pytest.param("text/plain", True, id="text"),
        pytest.param("application/xml", True, id="xml"),
        pytest.param("application/javascript", True, id="javascript"),
        pytest.param("application/octet-stream", False, id="octets"),
        pytest.param("application/x-www-form-urlencoded", False, id="form"),
        pytest.param("application/problem+json", False, id="json by suffix"),
        pytest.param("nonsense", False, id="no type at all"),
        pytest.param("", False, id="empty"),
        pytest.param(None, False, id="absent"),
    ],
)
def test_given_a_body_when_made_an_event_then_its_type_decides_its_encoding(
    content_type: str | None, *, is_text: bool
) -> None:
    headers = () if content_type is None else (("Content-Type", content_type),)

    event = event_of(HttpRequest("POST", "/", headers, '{"a":"ü"}'.encode()))

    assert event["isBase64Encoded"] is not is_text
    expected = (
        '{"a":"ü"}' if is_text else base64.b64encode(b'{"a":"\xc3\xbc"}').decode()
    )
    assert event["body"] == expected


def test_given_text_that_is_not_utf8_when_made_an_event_then_it_is_replaced() -> None:
    headers = (("Content-Type", "text/plain"),)

    event = event_of(HttpRequest("POST", "/", headers, b"a\xff"))

    assert event["body"] == "a\ufffd"


@pytest.mark.parametrize(
    ("target", "path", "raw_query", "query"),
    [
        pytest.param("/a?x=1&y=2", "/a", "x=1&y=2", {"x": "1", "y": "2"}, id="two"),
        pytest.param("/a?x=1&x=2", "/a", "x=1&x=2", {"x": "1,2"}, id="twice"),
        pytest.param("/a?x=%2B+%20", "/a", "x=%2B+%20", {"x": "+  "}, id="encoded"),
        pytest.param("/a?x&y=", "/a", "x&y=", {"x": "", "y": ""}, id="no value"),
        pytest.param("/a?x=1?2", "/a", "x=1?2", {"x": "1?2"}, id="question mark"),
        pytest.param("/a?", "/a", "", None, id="empty"),
        pytest.param("/a%20b%C3%BC", "/a bü", "", None, id="encoded path"),
        pytest.param("/a%FF", "/a\ufffd", "", None, id="path not UTF-8"),
        pytest.param("/a%", "/a%", "", None, id="half an escape"),
        pytest.param("http://h:1/a?x=1", "/a", "x=1", {"x": "1"}, id="absolute form"),
        pytest.param("http://h", "/", "", None, id="absolute form, no path"),
        pytest.param("*", "*", "", None, id="asterisk form"),
        pytest.param("//h/a", "//h/a", "", None, id="two slashes"),
    ],
)
def test_given_a_target_when_made_an_event_then_path_and_query_are_taken_apart(
    target: str, path: str, raw_query: str, query: dict[str, str] | None
) -> None:
    event = event_of(HttpRequest("GET", target))

    assert event["rawPath"] == event["requestContext"]["http"]["path"] == path
    assert event["rawQueryString"] == raw_query
    assert event.get("queryStringParameters") == query


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([("X-A", "1")], {"x-a": "1"}, id="lower case"),
        pytest.param([("x-a", "1"), ("X-A", "2")], {"x-a": "1,2"}, id="joined"),
        pytest.param([("X-A", "")], {"x-a": ""}, id="empty"),
        pytest.param([("Transfer-Encoding", "chunked")], {}, id="hop by hop"),
        pytest.param([("Expect", "100-continue")], {}, id="expect"),
        pytest.param([("Cookie", "a=1")], {}, id="cookies are elsewhere"),
    ],
)
def test_given_headers_when_made_an_event_then_names_are_lower_and_joined(
    headers: list[tuple[str, str]], expected: dict[str, str]
) -> None:
    assert event_of(HttpRequest("GET", "/", tuple(headers)))["headers"] == expected


LOGIN = f"POST {API}/app/{{appId}}/auth/providers/anon-user/login"
LOCATION = f"GET {API}/app/{{appId}}/location"
FIXED = f"GET {API}/app/fixed/location"


@pytest.mark.parametrize(
    ("method", "target", "route", "parameters"),
    [
        pytest.param(
            "GET", f"{API}/app/x/location", LOCATION, {"appId": "x"}, id="hit"
        ),
        pytest.param("GET", f"{API}/app/fixed/location", FIXED, {}, id="exact first"),
        pytest.param(
            "GET", f"{API}/app/a%20b/location", LOCATION, {"appId": "a b"}, id="decoded"
        ),
        pytest.param("GET", f"{API}/app/a%2Fb/location", "$default", {}, id="slash"),
        pytest.param("GET", f"{API}/app//location", "$default", {}, id="empty segment"),
        pytest.param("GET", f"{API}/app/x/location/", "$default", {}, id="trailing"),
        pytest.param("HEAD", f"{API}/app/x/location", "$default", {}, id="HEAD"),
        pytest.param("POST", f"{API}/app/x/location", "$default", {}, id="method"),
        pytest.param("get", f"{API}/app/x/location", "$default", {}, id="lower case"),
        pytest.param("GET", f"{API}/APP/x/location", "$default", {}, id="upper case"),
        pytest.param("PUT", "/any", "ANY /any", {}, id="ANY"),
        pytest.param("GET", "/any", "GET /any", {}, id="one method before ANY"),
        pytest.param("GET", "/", "$default", {}, id="root"),
        pytest.param("$default", "", "$default", {}, id="a method of that name"),
    ],
)
def test_given_a_request_when_matched_then_the_most_specific_route_wins(
    method: str, target: str, route: str, parameters: dict[str, str]
) -> None:
    api = gateway(routes=(LOGIN, LOCATION, FIXED, "ANY /any", "GET /any", "$default"))

    path = HttpRequest(method, target).path

    assert api.match(method, path) == (route, parameters)


PROVIDERS = f"{API}/app/{{appId}}/auth/providers"
LINK = f"POST {PROVIDERS}/{{provider}}/login"
BROWSER = f"GET {PROVIDERS}/{{provider}}/login"
REGISTER = f"POST {PROVIDERS}/local-userpass/register"
CONFIRM_SEND = f"POST {PROVIDERS}/local-userpass/confirm/send"
KEYS = f"GET {API}/auth/api_keys"
ONE_KEY = f"GET {API}/auth/api_keys/{{id}}"
ENABLE = f"PUT {API}/auth/api_keys/{{id}}/enable"
ID = "0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        pytest.param("POST", "/app/x/{}/anon-user/login", LOGIN, {}, id="literal"),
        pytest.param(
            "POST", "/app/x/{}/anon%2Duser/login", LOGIN, {}, id="literal, encoded"
        ),
        pytest.param(
            "POST",
            "/app/x/{}/custom-token/login",
            LINK,
            {"provider": "custom-token"},
            id="variable",
        ),
        pytest.param(
            "POST",
            "/app/x/{}/local-userpass/login",
            LINK,
            {"provider": "local-userpass"},
            id="literal of other routes",
        ),
        pytest.param(
            "POST",
            "/app/x/{}/a%20%C3%BC%2B+/login",
            LINK,
            {"provider": "a ü++"},
            id="variable, encoded",
        ),
        pytest.param(
            "POST", "/app/x/{}/anon-user/login?link=true", LOGIN, {}, id="query"
        ),
        pytest.param(
            "GET",
            "/app/x/{}/anon-user/login",
            BROWSER,
            {"provider": "anon-user"},
            id="a method that the literal lacks",
        ),
        pytest.param(
            "POST", "/app/x/{}/local-userpass/register", REGISTER, {}, id="register"
        ),
        pytest.param(
            "POST",
            "/app/x/{}/local-userpass/confirm/send",
            CONFIRM_SEND,
            {},
            id="one segment more",
        ),
        pytest.param(
            "POST", "/app/x/{}/custom-token/register", "$default", None, id="no route"
        ),
        pytest.param("POST", "/app/x/{}//login", "$default", None, id="empty variable"),
        pytest.param("GET", "/auth/api_keys", KEYS, None, id="collection"),
        pytest.param(
            "GET", "/auth/api_keys/", "$default", None, id="collection with a slash"
        ),
        pytest.param("GET", f"/auth/api_keys/{ID}", ONE_KEY, {"id": ID}, id="one"),
        pytest.param(
            "PUT", f"/auth/api_keys/{ID}/enable", ENABLE, {"id": ID}, id="PUT"
        ),
        pytest.param(
            "POST", f"/auth/api_keys/{ID}/enable", "$default", None, id="not PUT"
        ),
    ],
)
def test_given_a_route_that_a_variable_covers_when_matched_then_the_literal_wins(
    method: str, path: str, route: str, parameters: dict[str, str] | None
) -> None:
    """The order in which the routes were made does not matter."""
    routes = (LINK, BROWSER, LOGIN, REGISTER, CONFIRM_SEND, ENABLE, ONE_KEY, KEYS)
    of_app = {"appId": "x"} if "/app/" in path else {}
    expected = {} if parameters is None else of_app | parameters
    target = API + path.replace("{}", "auth/providers")
    events: list[dict[str, Any]] = []

    for order in (routes, routes[::-1]):
        gateway(events.append, routes=(*order, "$default")).answer(
            HttpRequest(method, target)
        )

    assert len(events) == 2
    for event in events:
        assert event["routeKey"] == route
        assert event["requestContext"]["routeKey"] == route
        assert event.get("pathParameters", {}) == expected


@pytest.mark.parametrize(
    ("answer", "status", "headers", "body"),
    [
        pytest.param(
            {"statusCode": 201, "headers": {"X-A": "1"}, "body": "ü"},
            201,
            {"x-a": "1", "content-type": "text/plain; charset=utf-8"},
            "ü".encode(),
            id="text",
        ),
        pytest.param(
            {"statusCode": 200, "body": "/w==", "isBase64Encoded": True},
            200,
            {"content-type": "text/plain; charset=utf-8"},
            b"\xff",
            id="base64",
        ),
        pytest.param({"statusCode": "204"}, 204, {}, b"", id="status as text"),
        pytest.param(
            {"statusCode": 200, "headers": {"content-length": "9", "date": "x"}},
            200,
            {},
            b"",
            id="the gateway's own headers",
        ),
        pytest.param(
            {"statusCode": 200, "cookies": ["a=1"]},
            200,
            {"set-cookie": "a=1"},
            b"",
            id="cookies",
        ),
        pytest.param(
            {"a": 1},
            200,
            {"content-type": "application/json"},
            b'{"a":1}',
            id="any JSON",
        ),
    ],
)
def test_given_an_answer_when_valid_then_it_becomes_a_response(
    answer: Any, status: int, headers: dict[str, str], body: bytes
) -> None:
    response = gateway(answer).answer(HttpRequest("GET", "/a"))

    got = headers_of(response)
    assert len(got.pop("apigw-requestid")) == 16
    assert (response.status, got, response.body) == (status, headers, body)


def raise_error(event: dict[str, Any]) -> Any:
    raise RuntimeError(event["rawQueryString"])


def raise_timeout(_event: dict[str, Any]) -> Any:
    raise FunctionTimedOut


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        pytest.param(raise_error, 500, "Internal Server Error", id="raises"),
        pytest.param(raise_timeout, 503, "Service Unavailable", id="too slow"),
        pytest.param(
            {"statusCode": "ok"}, 500, "Internal Server Error", id="status not a number"
        ),
        pytest.param({"statusCode": 99}, 500, "Internal Server Error", id="status low"),
        pytest.param(
            {"statusCode": None}, 500, "Internal Server Error", id="status null"
        ),
        pytest.param(
            {"statusCode": 200, "body": {"a": 1}},
            500,
            "Internal Server Error",
            id="body not text",
        ),
        pytest.param(
            {"statusCode": 200, "headers": ["a"]},
            500,
            "Internal Server Error",
            id="headers not a map",
        ),
        pytest.param(
            {"statusCode": 200, "body": "?", "isBase64Encoded": True},
            500,
            "Internal Server Error",
            id="not base64",
        ),
        pytest.param(
            {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
            500,
            "Internal Server Error",
            id="line break in a header",
        ),
        pytest.param({1, 2}, 500, "Internal Server Error", id="not JSON"),
    ],
)
def test_given_a_failing_function_when_answered_then_the_body_is_as_on_aws(
    answer: Any, status: int, message: str
) -> None:
    request = HttpRequest("GET", "/a", (("Origin", ORIGIN),))

    response = gateway(answer).answer(request)

    assert response.status == status
    assert response.body == f'{{"message":"{message}"}}'.encode()
    assert headers_of(response)["content-type"] == "application/json"
    assert headers_of(response)["access-control-allow-origin"] == ORIGIN


def test_given_a_function_that_raises_when_logged_then_its_text_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = HttpRequest("GET", "/a?token=secret", peer="203.0.113.7")

    with caplog.at_level(logging.INFO, "anonauth.serve"):
        gateway(raise_error).answer(request)

    assert "RuntimeError" in caplog.text
    assert "raise_error" in caplog.text
    assert "secret" not in caplog.text
    assert "203.0.113.7" not in caplog.text


@pytest.mark.parametrize(
    ("method", "target", "line"),
    [
        pytest.param("GET", "/a?token=secret", "GET /a  200", id="route"),
        pytest.param("GET", "/secret", "GET $default  200", id="unknown path"),
        pytest.param("SECRET", "/", "? $default  200", id="unknown method"),
    ],
)
def test_given_a_request_when_logged_then_the_line_has_route_and_status_only(
    method: str, target: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "anonauth.serve"):
        gateway({"statusCode": 200}).answer(HttpRequest(method, target))

    (message,) = caplog.messages
    assert re.fullmatch(rf"{re.escape(line)}  \d+ ms", message)


def test_given_a_body_that_is_too_large_when_answered_then_413_without_a_call() -> None:
    called: list[Any] = []
    request = HttpRequest("POST", "/a", (("Origin", ORIGIN),), too_large=True)

    response = gateway(called.append).answer(request)

    assert response.status == 413
    assert response.body == b'{"message":"Request Entity Too Large"}'
    assert headers_of(response)["access-control-allow-origin"] == ORIGIN
    assert not called


def test_given_no_default_route_when_unknown_then_404_as_on_aws() -> None:
    response = gateway(routes=("GET /a",)).answer(HttpRequest("GET", "/b"))

    assert response.status == 404
    assert response.body == b'{"message":"Not Found"}'


def test_given_a_limit_when_exceeded_then_429_until_tokens_come_back() -> None:
    now = 0.0
    api = gateway(
        {"statusCode": 200},
        routes=("GET /a", "GET /b"),
        throttling=Throttling(rate=2, burst=3),
        route_throttling={"GET /b": Throttling(rate=1, burst=1)},
        ticks=lambda: now,
    )

    def status(path: str) -> int:
        return api.answer(HttpRequest("GET", path)).status

    burst = [status("/a") for _ in range(4)]
    elsewhere = [status("/b"), status("/b")]
    now = 1.0
    later = [status("/a") for _ in range(3)]

    assert burst == [200, 200, 200, 429]
    assert elsewhere == [200, 429]  # a limit of its own
    assert later == [200, 200, 429]


def test_given_a_throttled_request_when_answered_then_cors_and_words_are_there() -> (
    None
):
    api = gateway({"statusCode": 200}, throttling=Throttling(rate=1, burst=0))

    response = api.answer(HttpRequest("GET", "/a", (("Origin", ORIGIN),)))

    assert response.status == 429
    assert response.body == b'{"message":"Too Many Requests"}'
    assert headers_of(response)["access-control-allow-origin"] == ORIGIN


def test_given_no_default_route_when_preflighted_then_the_gateway_answers() -> None:
    called: list[Any] = []
    api = gateway(called.append, routes=("POST /a",))

    response = api.answer(HttpRequest("OPTIONS", "/a", PREFLIGHT))

    assert not called
    assert response == HttpResponse(
        204,
        (
            ("access-control-allow-origin", ORIGIN),
            ("vary", "origin"),
            ("access-control-expose-headers", "retry-after"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "authorization,content-type"),
            ("access-control-max-age", "600"),
        ),
    )


def test_given_a_default_route_when_preflighted_then_it_answers_and_cors_is_added() -> (
    None
):
    api = gateway({"statusCode": 200})

    response = api.answer(HttpRequest("OPTIONS", "/a", PREFLIGHT))

    assert response.status == 200
    assert headers_of(response)["access-control-allow-methods"] == "GET,POST"


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        pytest.param((ORIGIN,), ORIGIN, ORIGIN, id="listed"),
        pytest.param((ORIGIN,), "https://evil.example", None, id="not listed"),
        pytest.param((ORIGIN,), ORIGIN + ".evil.example", None, id="longer"),
        pytest.param((ORIGIN,), "null", None, id="null"),
        pytest.param((ORIGIN,), None, None, id="no Origin"),
        pytest.param(("*",), "https://any.example", "*", id="all"),
        pytest.param(("*",), None, None, id="all, no Origin"),
    ],
)
def test_given_an_origin_when_answered_then_only_an_allowed_one_gets_cors(
    origins: tuple[str, ...], origin: str | None, allowed: str | None
) -> None:
    cors = Cors(origins, ("GET",), (), (), None, allow_credentials=True)
    headers = () if origin is None else (("Origin", origin),)
    answer = {
        "statusCode": 200,
        "headers": {"Access-Control-Allow-Origin": "https://f"},
    }

    got = headers_of(
        gateway(answer, cors=cors).answer(HttpRequest("GET", "/a", headers))
    )

    assert got.get("access-control-allow-origin") == allowed
    assert "access-control-allow-methods" not in got
    assert ("access-control-allow-credentials" in got) == (allowed is not None)


def test_given_no_cors_configuration_when_answered_then_the_functions_own_stays() -> (
    None
):
    answer = {
        "statusCode": 200,
        "headers": {"Access-Control-Allow-Origin": "https://f"},
    }
    request = HttpRequest("GET", "/a", (("Origin", ORIGIN),))

    got = headers_of(gateway(answer, cors=None).answer(request))

    assert got["access-control-allow-origin"] == "https://f"
