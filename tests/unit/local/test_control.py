"""`/_local/`: which callers may use it, and which requests it refuses."""

from datetime import timedelta

import pytest

from anonauth.local.api_gateway import HttpRequest
from anonauth.local.control import LocalApi
from anonauth.local.server import LocalServer
from support.service.calls import call

CLOCK = "/_local/clock"
HOST = ("Host", "127.0.0.1:8080")


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        pytest.param("127.0.0.1", (HOST,), 200, id="this machine"),
        pytest.param("127.8.9.1", (HOST,), 200, id="another loopback address"),
        pytest.param("::1", (HOST,), 200, id="IPv6"),
        pytest.param("127.0.0.1", (("Host", "localhost"),), 200, id="localhost"),
        pytest.param("127.0.0.1", (("Host", "LOCALHOST:1"),), 200, id="upper case"),
        pytest.param("127.0.0.1", (("Host", "[::1]:8080"),), 200, id="IPv6 Host"),
        pytest.param("203.0.113.7", (HOST,), 403, id="another machine"),
        pytest.param("::ffff:203.0.113.7", (HOST,), 403, id="mapped"),
        pytest.param("127.0.0.1", (("Host", "evil.example"),), 403, id="rebound name"),
        pytest.param("127.0.0.1", (("Host", "10.0.0.5:8080"),), 403, id="own address"),
        pytest.param(
            "127.0.0.1", (("Host", "localhost.evil.example"),), 403, id="longer name"
        ),
        pytest.param("127.0.0.1", (("Host", "127.0.0.1@evil"),), 403, id="user info"),
        pytest.param("127.0.0.1", (("Host", "[::1"),), 403, id="malformed"),
        pytest.param("127.0.0.1", (("Host", ""),), 403, id="empty Host"),
        pytest.param("127.0.0.1", (), 403, id="no Host"),
        pytest.param(
            "127.0.0.1", (HOST, ("Origin", "http://127.0.0.1:8080")), 200, id="own page"
        ),
        pytest.param(
            "127.0.0.1",
            (HOST, ("Origin", "http://127.0.0.1:3000")),
            403,
            id="other port",
        ),
        pytest.param(
            "127.0.0.1",
            (HOST, ("Origin", "https://evil.example")),
            403,
            id="other page",
        ),
        pytest.param("127.0.0.1", (HOST, ("Origin", "null")), 403, id="null origin"),
    ],
)
def test_given_a_caller_when_asking_then_only_this_machine_is_answered(
    peer: str,
    headers: tuple[tuple[str, str], ...],
    status: int,
    server: LocalServer,
) -> None:
    request = HttpRequest("GET", CLOCK, headers, peer=peer)

    answer = LocalApi(server.deployment).answer(request)

    assert answer.status == status
    assert (b'"error"' in answer.body) == (status != 200)
    assert dict(answer.headers) == {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/_local/clocks", 404, id="path"),
        pytest.param("GET", "/_local/", 404, id="no path"),
        pytest.param("GET", "/_local/clock/", 404, id="trailing slash"),
        pytest.param("GET", "/_local/outbox/", 404, id="outbox, trailing slash"),
        pytest.param("DELETE", CLOCK, 405, id="method"),
        pytest.param("OPTIONS", CLOCK, 405, id="preflight"),
        pytest.param("GET", "/_local", 404, id="the service's own 404"),
    ],
)
def test_given_an_unknown_request_when_sent_then_refused_without_cors(
    method: str, path: str, status: int, server: LocalServer
) -> None:
    answer = call(server.base_url, method, path)

    assert answer.status == status
    assert answer.json()["error"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="no body"),
        pytest.param(b"P1D", id="not JSON"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b'["P1D"]', id="list"),
        pytest.param(b"{}", id="nothing"),
        pytest.param(b'{"advance": 5}', id="number"),
        pytest.param(b'{"advance": null}', id="null"),
        pytest.param(b'{"advance": ""}', id="empty"),
        pytest.param(b'{"advance": "91 days"}', id="words"),
        pytest.param(b'{"advance": "P"}', id="no part"),
        pytest.param(b'{"advance": "PT0S"}', id="zero"),
        pytest.param(b'{"advance": "-P1D"}', id="backward"),
        pytest.param(b'{"advance": "-P1Y"}', id="years backward"),
        pytest.param(b'{"advance": "P1.5Y"}', id="part of a year"),
        pytest.param(b'{"advance": "P1830DT1S"}', id="5 years and a second"),
        pytest.param(b'{"advance": "P20Y"}', id="20 years"),
        pytest.param(b'{"advance": "P9000Y"}', id="past the year 9999"),
        pytest.param(b'{"advance": "P99999999999D"}', id="too many days"),
        pytest.param(b'{"advance": "P99999999999999999999Y"}', id="too many years"),
        pytest.param(b'{"advance": "P' + b"1" * 100 + b'D"}', id="too long"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_given_no_duration_forward_when_posted_then_400_and_the_clock_stays(
    body: bytes, server: LocalServer
) -> None:
    api = LocalApi(server.deployment)
    before = server.deployment.clock()

    answer = api.answer(HttpRequest("POST", CLOCK, (HOST,), body))

    assert answer.status == 400
    assert b'{"error":' in answer.body
    assert server.deployment.clock() - before < timedelta(minutes=1)
