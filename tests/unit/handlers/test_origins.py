"""`AllowedOrigins`: a page of another origin neither reads nor changes anything."""

import json

import pytest

from anonauth.settings import origin_of
from support.service.harness import (
    COMMON_HEADERS,
    CONFIGURATION,
    CREATE_KEY,
    DELETE,
    HEADS,
    HOST,
    JWKS,
    LINK,
    LIST_KEYS,
    LOCATION,
    LOGIN,
    LOGOUT,
    MODULE,
    OPENAPI,
    PROFILE,
    ROUTES,
    SESSION,
    Deployment,
    Reply,
)
from support.service.token_routes import NEEDED_OPTIONS

LISTED = "https://app.example.com"
TWO = f"{LISTED},http://localhost:3000"
STRANGER = "https://elsewhere.example"

CHANGES = [route for route in ROUTES if route.startswith(("POST", "PUT", "DELETE"))]
READS = [LOCATION, CONFIGURATION, JWKS, OPENAPI, MODULE, *HEADS, "$default"]


@pytest.mark.parametrize(
    ("allowed", "origin", "is_taken"),
    [
        pytest.param("*", STRANGER, True, id="all are allowed"),
        pytest.param("*", "null", True, id="all are, and a page without one"),
        pytest.param(TWO, LISTED, True, id="the first of a list"),
        pytest.param(TWO, "http://localhost:3000", True, id="the second of a list"),
        pytest.param(TWO, None, True, id="no page"),
        pytest.param(TWO, f"https://{HOST}", True, id="our own"),
        pytest.param(f"{LISTED}:443", LISTED, True, id="listed with the usual port"),
        pytest.param("https://APP.example.com", LISTED, True, id="listed in capitals"),
        pytest.param("", f"https://{HOST}", True, id="none is listed: our own"),
        pytest.param("", None, True, id="none is listed: no page"),
        pytest.param("", STRANGER, False, id="none is listed: another"),
        pytest.param(TWO, STRANGER, False, id="another"),
        pytest.param(TWO, "", False, id="empty"),
        pytest.param(TWO, "null", False, id="a page without one"),
        pytest.param(TWO, "http://app.example.com", False, id="another scheme"),
        pytest.param(TWO, f"{LISTED}:8443", False, id="another port"),
        pytest.param(TWO, f"{LISTED}.evil.example", False, id="a longer name"),
        pytest.param(TWO, "https://evil.app.example.com", False, id="a subdomain"),
        pytest.param(TWO, f"{LISTED},{STRANGER}", False, id="two at once"),
        pytest.param(TWO, f"http://{HOST}", False, id="our own over plain HTTP"),
    ],
)
def test_given_allowed_origins_when_a_page_makes_a_guest_then_only_those_can(
    service: Deployment, allowed: str, origin: str | None, *, is_taken: bool
) -> None:
    """As a form or `fetch` sends it without a preflight."""
    service.restart(ALLOWED_ORIGINS=allowed, LOGINS_PER_NETWORK="10")
    headers = {"content-type": "text/plain"}
    if origin is not None:
        headers["origin"] = origin

    reply = service.send(LOGIN, body="{}", headers=headers)

    if is_taken:
        assert reply.status == 200
        assert len(service.items("USER#")) == 1
    else:
        assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
        assert reply.headers == {**COMMON_HEADERS, "cache-control": "no-store"}
        # Neither a user nor a login of the network.
        assert set(service.items()) == {"KEY#ring"}


def test_given_a_domain_when_its_own_page_calls_then_it_is_taken(
    service: Deployment,
) -> None:
    service.restart(ALLOWED_ORIGINS=LISTED, BASE_URL="https://auth.example.com")

    own = service.send(LOGIN, headers={"origin": "https://auth.example.com"})
    gateways = service.send(LOGIN, headers={"origin": f"https://{HOST}"})

    assert (own.status, gateways.status) == (200, 400)


@pytest.mark.parametrize("name", ["origin", "Origin"])
@pytest.mark.parametrize("route", CHANGES)
def test_given_another_origin_when_it_would_change_something_then_400_and_no_call(
    service: Deployment, route: str, name: str
) -> None:
    """Any token is refused. The header is in capitals, as `sam local` sends it."""
    session = service.log_in()
    kind = "access" if route in {DELETE, LINK} else "refresh"
    service.restart(ALLOWED_ORIGINS=LISTED)
    options = {
        "parameters": {"provider": "api-key", "id": "0" * 24},
        **NEEDED_OPTIONS.get(route, {}),
        "token": session[f"{kind}_token"],
        "headers": {name: STRANGER},
    }
    before = service.items()
    replies: list[Reply] = []

    calls = service.counted(lambda: replies.append(service.send(route, **options)))

    (reply,) = replies
    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert calls == []
    assert service.items() == before


@pytest.mark.parametrize("route", [*READS, PROFILE, LIST_KEYS])
def test_given_another_origin_when_it_only_asks_then_it_is_answered(
    service: Deployment, route: str
) -> None:
    session = service.log_in()
    kind = "access" if route == PROFILE else "refresh"
    token = session[f"{kind}_token"]
    expected = service.send(route, token=token).status
    service.restart(ALLOWED_ORIGINS=LISTED)

    reply = service.send(route, token=token, headers={"origin": STRANGER})

    assert reply.status == expected


def test_given_a_listed_page_when_it_uses_a_session_then_all_of_it_works(
    service: Deployment,
) -> None:
    service.restart(ALLOWED_ORIGINS=LISTED)
    page = {"origin": LISTED}
    session = service.log_in(headers=page)

    replies = [
        service.send(SESSION, token=session["refresh_token"], headers=page),
        service.send(PROFILE, token=session["access_token"], headers=page),
        service.send(
            CREATE_KEY,
            token=session["refresh_token"],
            headers=page,
            body=json.dumps({"name": "ci"}),
        ),
        service.send(LOGOUT, token=session["refresh_token"], headers=page),
    ]

    assert [reply.status for reply in replies] == [200, 200, 404, 200]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        pytest.param("https://a.example", "https://a.example", id="as it is"),
        pytest.param("https://A.Example", "https://a.example", id="capitals"),
        pytest.param("https://a.example:443", "https://a.example", id="port of HTTPS"),
        pytest.param("http://a.example:80", "http://a.example", id="port of HTTP"),
        pytest.param("http://a.example:443", "http://a.example:443", id="other port"),
        pytest.param("http://a.example:8080", "http://a.example:8080", id="8080"),
        pytest.param("http://[::1]:80", "http://[::1]", id="IPv6"),
    ],
)
def test_given_an_address_when_read_then_its_origin_is_as_browsers_write_it(
    url: str, origin: str
) -> None:
    assert origin_of(url) == origin
