"""Location, OpenID configuration, key set, and routes that do not exist."""

import json
import re
from typing import Any

import jwt
import pytest

from support.contracts.openapi_contract import require_documented
from support.service.harness import (
    APP,
    CONFIGURATION,
    HOST,
    JWKS,
    LOCATION,
    OTHER_APP,
    Deployment,
)


def test_given_the_gateways_domain_when_located_then_sdks_stay_there(
    service: Deployment,
) -> None:
    reply = service.send(LOCATION)

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {
        "deployment_model": "GLOBAL",
        "location": "eu-central-1",
        "hostname": f"https://{HOST}",
        "ws_hostname": f"wss://{HOST}",
    }


def test_given_a_custom_domain_when_located_then_it_is_the_one(
    service: Deployment,
) -> None:
    service.restart(BASE_URL="https://auth.example.com")

    location = service.send(LOCATION, headers={"host": "evil.example"}).json
    issuer = service.send(CONFIGURATION, domain=HOST).json["issuer"]

    assert location["hostname"] == "https://auth.example.com"
    assert location["ws_hostname"] == "wss://auth.example.com"
    assert issuer == f"https://auth.example.com/api/client/v2.0/app/{APP}"


def test_given_a_plain_address_when_located_then_its_socket_is_plain_too(
    service: Deployment,
) -> None:
    service.restart(BASE_URL="http://127.0.0.1:8080")

    assert service.send(LOCATION).json["ws_hostname"] == "ws://127.0.0.1:8080"


def test_given_a_host_header_when_located_then_it_is_ignored(
    service: Deployment,
) -> None:
    for route in (LOCATION, CONFIGURATION):
        reply = service.send(route, headers={"host": "evil.example"})
        assert "evil" not in reply.text


def test_given_an_app_when_configured_then_issuer_and_key_set_fit(
    service: Deployment,
) -> None:
    reply = service.send(CONFIGURATION, app=OTHER_APP)

    configuration = reply.json
    claims = jwt.decode(
        service.log_in(app=OTHER_APP)["access_token"],
        options={"verify_signature": False},
    )
    path = JWKS.removeprefix("GET ").replace("{appId}", OTHER_APP)
    assert configuration["issuer"] == claims["iss"]
    assert configuration["jwks_uri"] == f"https://{HOST}{path}"
    assert configuration["id_token_signing_alg_values_supported"] == ["RS256"]


def test_given_the_key_set_when_fetched_then_it_verifies_tokens(
    service: Deployment,
) -> None:
    reply = service.send(JWKS)

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "public, max-age=300"
    assert reply.headers["vary"] == "origin"
    token = service.log_in()["access_token"]
    keys = jwt.PyJWKSet.from_dict(reply.json)
    jwt.decode(
        token,
        keys[jwt.get_unverified_header(token)["kid"]],
        ["RS256"],
        audience=APP,
        issuer=f"https://{HOST}/api/client/v2.0/app/{APP}",
        # The tokens of this test are issued in another year than today.
        options={"verify_exp": False, "verify_iat": False},
    )
    assert all("d" not in key and key["kty"] == "RSA" for key in reply.json["keys"])


def test_given_no_ring_yet_when_the_key_set_is_fetched_then_503_and_never_empty(
    new_service: Deployment,
) -> None:
    reply = new_service.send(JWKS)

    assert reply.status == 503
    assert reply.headers["retry-after"] == "2"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("route", [LOCATION, CONFIGURATION, JWKS])
def test_given_an_unknown_app_when_asked_for_then_404(
    service: Deployment, route: str
) -> None:
    reply = service.send(route, app="unknown")

    assert (reply.status, reply.json["error_code"]) == (404, "AppNotFound")


def default_route(service: Deployment, method: str, path: str) -> dict[str, Any]:
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "headers": {},
        "requestContext": {
            "domainName": HOST,
            "requestId": "Xq3kGhT2liAEJ8g=",
            "http": {"method": method},
        },
        "isBase64Encoded": False,
    }
    return service.invoke("DiscoveryFunction", event)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/client/v2.0/auth/session"),
        ("HEAD", "/api/client/v2.0/auth/profile"),
        ("GET", "/api/client/v2.0/auth/profile/"),
        ("POST", f"/api/client/v2.0/app/{APP}/auth/providers/no-such/login"),
    ],
)
def test_given_a_route_that_is_not_there_when_called_then_the_contracts_404(
    service: Deployment, method: str, path: str
) -> None:
    answer = default_route(service, method, path)

    assert answer["statusCode"] == 404
    assert re.fullmatch(
        r'{"error":"no such endpoint","error_code":"NotFound",'
        rf'"link":"https://{HOST}/logs\?co_id=[0-9a-f]{{32}}"}}',
        str(answer["body"]),
    )


_IN_APP = f"/api/client/v2.0/app/{APP}"


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        pytest.param(
            f"{_IN_APP}/functions/call",
            "FunctionNotFound",
            "function not found: this service runs no functions",
            id="function",
        ),
        pytest.param(
            f"{_IN_APP}/push/providers/gcm/registration",
            "ServiceNotFound",
            "service not found: this service sends no push messages",
            id="push",
        ),
        *[
            pytest.param(path, "NotFound", "no such endpoint", id=name)
            for name, path in {
                "function of no app": "/api/client/v2.0/functions/call",
                "below a function": f"{_IN_APP}/functions/call/x",
                "before the API": f"/x{_IN_APP}/functions/call",
                "with a slash": f"{_IN_APP}/functions/call/",
                "with a line break": f"{_IN_APP}/functions/call\n",
                "push without a service": f"{_IN_APP}/push/providers/registration",
                "push to an empty service": f"{_IN_APP}/push/providers//registration",
            }.items()
        ],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_given_what_the_old_service_had_when_called_then_a_code_that_sdks_know(
    service: Deployment, method: str, path: str, code: str, text: str
) -> None:
    answer = default_route(service, method, path)

    assert answer["statusCode"] == 404
    body = json.loads(str(answer["body"]))
    assert (body["error"], body["error_code"]) == (text, code)
    require_documented("$default", 404, answer["headers"], str(answer["body"]))


def test_given_a_preflight_when_it_falls_to_the_default_route_then_200(
    service: Deployment,
) -> None:
    """API Gateway adds the CORS headers. The function sets the status."""
    answer = default_route(service, "OPTIONS", "/api/client/v2.0/auth/session")

    assert answer["statusCode"] == 200
