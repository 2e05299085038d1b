"""JWTs that no parser likes, ours and those of other issuers."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from support.forgery.bad_tokens import encoded, hmac_signed
from support.hostile.fuzzing import HOSTILE, MEGABYTES, Body, Mutator, new_seed, timely
from support.hostile.routes import Caller, succeeded
from support.service.harness import APP, LINK, Deployment
from support.service.settings_documents import UNREACHABLE_PROVIDERS
from support.service.token_routes import REFRESH_ROUTES, TOKEN_ROUTES

Record = Callable[[str, object], None]

pytestmark = pytest.mark.long

REPETITIONS = pytest.mark.parametrize(
    "times", [100, pytest.param(2_000, marks=pytest.mark.long)]
)

LONGEST_HEADER = 10_240
"""Bytes of all headers (AWS, "Quotas for HTTP APIs")."""

# A JWT is shorter than megabytes wherever it may stand.
SHORT = {n: make for n, make in HOSTILE.items() if len(make({})) < MEGABYTES // 2}

NAMED = b'{"name": "ci"}'  # what there has to be beside the token

(ISSUER,) = UNREACHABLE_PROVIDERS["apps"][APP]["custom-token"]["issuers"]


def parts(token: str) -> list[Any]:
    return [
        json.loads(base64.urlsafe_b64decode(part + "=="))
        for part in token.split(".")[:2]
    ]


@pytest.mark.parametrize("make", SHORT.values(), ids=SHORT)
def test_given_a_hostile_jwt_when_it_is_the_bearer_then_401_within_50_ms(
    service: Deployment, make: Callable[[Body], bytes]
) -> None:
    """In its header, which is read before anything is verified, and in its claims."""
    caller, session = Caller(service), service.log_in()
    before = service.items()

    for route in TOKEN_ROUTES:
        kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"
        good = session[kind]
        header, claims = parts(good)
        _, payload, signature = good.split(".")
        for token in (
            f"{encoded(make(header))}.{payload}.{signature}",
            f"{encoded(header)}.{encoded(make(claims))}.{signature}",
            make({}).decode("latin-1"),
        ):
            request = caller.request(
                route,
                NAMED,
                name="custom-token",
                is_link=route == LINK,
                token=token[:LONGEST_HEADER],
            )
            reply = timely(request)
            assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")

    assert service.items() == before


@pytest.mark.parametrize("make", SHORT.values(), ids=SHORT)
def test_given_a_hostile_jwt_when_it_is_a_credential_then_refused_within_50_ms(
    service: Deployment, make: Callable[[Body], bytes]
) -> None:
    """Also if its issuer has signed it: the service must not stumble over it."""
    caller, claims = Caller(service), good_claims(service)
    header = {"alg": "RS256", "kid": "key-1"}
    before = service.items()

    for name, field in TOKEN_FIELDS.items():
        for token in (
            f"{encoded(make(header))}.{encoded(claims)}.eA",
            f"{encoded(header)}.{encoded(make(claims))}.eA",
            make({}).decode("latin-1"),
        ):
            for is_link, status in ((False, {400, 401}), (True, {400, 403})):
                body = json.dumps({field: token}).encode()
                request = caller.request(LINK, body, name=name, is_link=is_link)
                assert timely(request).status in status

    assert service.items() == before


TOKEN_FIELDS = {
    "custom-token": "token",
    "oauth2-google": "id_token",
    "oauth2-apple": "id_token",
}


def good_claims(service: Deployment) -> Body:
    at = int(service.now.timestamp())
    return {"sub": "grace", "aud": APP, "iat": at, "exp": at + 3600, "iss": "issuer"}


@pytest.mark.parametrize("make", SHORT.values(), ids=SHORT)
def test_given_a_hostile_jwt_when_its_issuer_signed_it_then_it_is_verified_or_refused(
    service: Deployment, make: Callable[[Body], bytes]
) -> None:
    caller = Caller(service)
    token = hmac_signed(make(good_claims(service)), ISSUER["secret"].encode())
    body = json.dumps({"token": token}).encode()

    reply = timely(caller.request(LINK, body, name="custom-token"), unless=succeeded)

    # Members that no check reads may have any value (RFC 7519 §4: of claims with
    # one name the last may count).
    assert reply.status in {200, 400, 401}


@REPETITIONS
def test_given_an_issuer_when_its_claims_are_changed_then_taken_or_refused(
    service: Deployment, times: int, record_property: Record
) -> None:
    seed, told = new_seed()
    mutator, caller, statuses = Mutator(seed), Caller(service), set()
    secret = ISSUER["secret"].encode()

    for number in range(times):
        claims = mutator.value(good_claims(service))
        raw = json.dumps(claims).encode()
        signed = hmac_signed(mutator.text(raw) if number % 4 == 0 else raw, secret)
        body = json.dumps({"token": signed}).encode()
        reply = timely(
            caller.request(LINK, body, name="custom-token"), unless=succeeded
        )
        assert reply.status in {200, 400, 401}, (told, claims)
        statuses.add(reply.status)

    record_property("seed", told)
    record_property("tokens of an issuer", f"{times}, answered {sorted(statuses)}")
    assert {200, 401} <= statuses


@REPETITIONS
def test_given_our_tokens_when_changed_then_they_are_refused(
    service: Deployment, times: int, record_property: Record
) -> None:
    """Header and claims as JSON, and the text: with our key ids, and unsigned."""
    seed, told = new_seed()
    mutator, caller, session = Mutator(seed), Caller(service), service.log_in()

    for number in range(times):
        route = TOKEN_ROUTES[number % len(TOKEN_ROUTES)]
        kind = "refresh_token" if route in REFRESH_ROUTES else "access_token"
        good: str = session[kind]
        header, claims = parts(good)
        _, payload, signature = good.split(".")
        token = mutator.choice(
            [
                f"{encoded(mutator.value(header))}.{payload}.{signature}",
                f"{encoded(header)}.{encoded(mutator.value(claims))}.{signature}",
                f"{encoded(mutator.text(json.dumps(header).encode()))}.{payload}.x",
                mutator.text(good.encode()).decode("latin-1"),
            ]
        )
        if token.strip(" \t") == good:  # blanks around it are no part of it
            continue
        reply = timely(
            caller.request(
                route,
                NAMED,
                name="custom-token",
                is_link=route == LINK,
                token=token[:LONGEST_HEADER],
            )
        )
        assert reply.status == 401, (told, token)

    record_property("seed", told)
    record_property("tokens of ours", times)
    assert service.user_item(session["user_id"]) is not None
