"""`OriginSecretHashes`: a call that bypasses the CDN is a 404, and reads nothing."""

import hashlib
import logging
from typing import Any

import pytest

from support.service.harness import (
    HEADS,
    HOST,
    JWKS,
    LOCATION,
    LOGIN,
    MODULE,
    OPENAPI,
    PROFILE,
    ROUTES,
    Deployment,
    Reply,
)

CDN = "https://auth.example.com"
OLD, NEW = "0" * 64, "f" * 64  # as `openssl rand -hex 32` makes them
HEADER = "x-origin-verify"

OF_DISCOVERY = sorted(
    route for route, function in ROUTES.items() if function == "DiscoveryFunction"
)
BEHIND = sorted(set(ROUTES) - set(OF_DISCOVERY))


def hash_of(secret: str) -> str:
    """As `printf %s "$SECRET" | sha256sum` prints it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def close(service: Deployment, *secrets: str, **environment: str) -> None:
    """Start cold with these secrets, and with counters that a login would write."""
    hashes = ",".join(map(hash_of, secrets))
    service.restart(
        ORIGIN_SECRET_HASHES=hashes,
        BASE_URL=CDN,
        LOGINS_PER_NETWORK="10",
        MAILS_PER_NETWORK="10",
        **environment,
    )


def options_of(route: str) -> dict[str, Any]:
    """Return a request that would be read if it were not refused first."""
    options: dict[str, Any] = {"parameters": {}}
    if "{provider}" in route:
        options["parameters"]["provider"] = "local-userpass"
    if "{id}" in route:
        options["parameters"]["id"] = "0" * 24
    if route.startswith(("POST", "PUT")):
        options["body"] = '{"username": "ada@example.com", "password": "secret1"}'
    return options


def without_log_id(reply: Reply) -> tuple[int, Any, dict[str, Any]]:
    body = reply.json
    body["link"] = body["link"].partition("?")[0]
    return reply.status, dict(reply.headers), body


def test_given_the_routes_when_counted_then_discovery_has_its_documents_only() -> None:
    assert len(BEHIND) > 20
    assert "$default" in OF_DISCOVERY
    assert set(OF_DISCOVERY) - {"$default"} == {
        f"{method} {path}"
        for method in ("GET", "HEAD")
        for path in (
            "/api/client/v2.0/app/{appId}/location",
            "/api/client/v2.0/app/{appId}/.well-known/openid-configuration",
            "/api/client/v2.0/app/{appId}/.well-known/jwks.json",
            "/openapi.json",
            "/anonauth.mjs",
        )
    }


@pytest.mark.parametrize(
    "sent", [pytest.param(None, id="none"), pytest.param(NEW, id="another")]
)
@pytest.mark.parametrize("route", BEHIND)
def test_given_a_call_past_the_cdn_when_any_route_is_asked_then_404_and_nothing_is_read(
    service: Deployment, route: str, sent: str | None
) -> None:
    """With a good token, and exactly as a path without a route is answered."""
    token = service.log_in()["access_token"]
    close(service, OLD)
    headers = {} if sent is None else {HEADER: sent}
    unknown = service.send("$default", headers=headers, token=token)
    before = service.items()
    replies: list[Reply] = []

    calls = service.counted(
        lambda: replies.append(
            service.send(route, headers=headers, token=token, **options_of(route))
        )
    )

    assert without_log_id(replies[0]) == without_log_id(unknown)
    assert (replies[0].status, replies[0].json["error"]) == (404, "no such endpoint")
    assert calls == []
    assert service.items() == before


@pytest.mark.parametrize(
    ("sent", "is_taken"),
    [
        pytest.param({HEADER: OLD}, True, id="the first secret"),
        pytest.param({HEADER: NEW}, True, id="the second secret"),
        pytest.param({"X-Origin-Verify": NEW}, True, id="name in capitals"),
        pytest.param({}, False, id="no header"),
        pytest.param({HEADER: ""}, False, id="empty"),
        pytest.param({HEADER: "1" * 64}, False, id="a third secret"),
        pytest.param({HEADER: hash_of(OLD)}, False, id="the hash of a secret"),
        pytest.param({HEADER: OLD[:-1]}, False, id="a shorter secret"),
        pytest.param({HEADER: f"{OLD}0"}, False, id="a longer secret"),
        pytest.param({HEADER: f" {OLD}"}, False, id="a blank before it"),
        pytest.param({HEADER: NEW.upper()}, False, id="a secret in capitals"),
        pytest.param({HEADER: f"{OLD},{NEW}"}, False, id="both, as of two headers"),
        pytest.param({HEADER: "\ud800"}, False, id="half of a surrogate pair"),
        pytest.param({HEADER: "ü"}, False, id="not ASCII"),
        pytest.param({"x-origin": OLD}, False, id="another header"),
    ],
)
def test_given_two_secrets_when_a_guest_is_made_then_either_of_them_does(
    service: Deployment, sent: dict[str, str], *, is_taken: bool
) -> None:
    close(service, OLD, NEW)

    reply = service.send(LOGIN, headers=sent)

    assert reply.status == (200 if is_taken else 404)
    assert len(service.items("USER#")) == int(is_taken)


def test_given_no_secret_when_called_without_or_with_a_header_then_it_is_answered(
    service: Deployment,
) -> None:
    without = service.send(LOGIN)
    with_any = service.send(LOGIN, headers={HEADER: OLD})

    assert (without.status, with_any.status) == (200, 200)


def test_given_the_secret_when_a_session_is_used_then_it_names_the_cdn(
    service: Deployment,
) -> None:
    close(service, OLD)
    session = service.log_in(headers={HEADER: OLD})

    profile = service.send(
        PROFILE, token=session["access_token"], headers={HEADER: OLD}
    )
    location = service.send(LOCATION).json
    refused = service.send(PROFILE)

    assert profile.status == 200
    assert location["hostname"] == CDN
    assert location["ws_hostname"] == "wss://auth.example.com"
    assert refused.json["link"].startswith(f"{CDN}/logs?co_id=")
    assert HOST not in refused.text


@pytest.mark.parametrize("route", [LOCATION, JWKS, OPENAPI, MODULE, *HEADS])
def test_given_a_document_when_asked_for_past_the_cdn_then_it_is_answered(
    service: Deployment, route: str
) -> None:
    """API Gateway's JWT authorizers cannot send the header."""
    close(service, OLD)

    assert service.send(route).status == 200


def test_given_a_preflight_when_it_comes_past_the_cdn_then_it_is_answered(
    service: Deployment,
) -> None:
    event = {
        "routeKey": "$default",
        "rawPath": "/api/client/v2.0/auth/session",
        "headers": {"origin": "https://app.example.com"},
        "requestContext": {
            "domainName": HOST,
            "requestId": "Xq3kGhT2liAEJ8g=",
            "http": {"method": "OPTIONS", "sourceIp": "203.0.113.9"},
        },
    }
    close(service, OLD)

    assert service.invoke("DiscoveryFunction", event)["statusCode"] == 200


def test_given_a_call_past_the_cdn_when_logged_then_neither_secret_nor_hash_is(
    service: Deployment,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The operator can tell such calls from those of a wrong path."""
    caplog.set_level(logging.INFO)
    close(service, OLD, NEW, METRICS="true")

    service.send(LOGIN, headers={HEADER: "1" * 64})

    logged = "\n".join(str(vars(record)) for record in caplog.records)
    told = logged + capsys.readouterr().out
    assert caplog.messages[-1] == "CdnBypassed"
    assert '"Refusals"' in told
    for secret in (OLD, NEW, "1" * 64):
        assert secret not in told
        assert hash_of(secret) not in told
    assert "203.0.113.9" not in told
