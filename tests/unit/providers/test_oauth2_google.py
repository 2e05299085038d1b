"""`oauth2-google`: what is shown, and auth codes. ID tokens: see test_id_tokens."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from anonauth.errors import (
    BadCredential,
    BadRequest,
    ProviderUnavailable,
    SettingsUnavailable,
)
from anonauth.issuers.fetch import Fetcher
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import GoogleSettings, Secret, SecretReference
from anonauth.providers.oauth2_google import PROVIDER, Google
from support.forgery.key_server import Answer, KeyServer, Signer, unlimited

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
SECRET = "GOCSPX-secret"
CLAIMS: Mapping[str, Any] = {
    "iss": "https://accounts.google.com",
    "aud": "web.apps.example.com",
    "sub": "10769",
    "exp": AT + 3600,
}


class World:
    def __init__(self, server: KeyServer, signer: Signer) -> None:
        self.server = server
        self.signer = signer
        self.certs = server.publish("/certs", {"keys": [signer.jwk()]})
        self.token_url = server.publish("/token", {"id_token": signer.sign(CLAIMS)})

    def google(self, client_secret: Secret | None = SECRET) -> Google:
        settings = GoogleSettings(
            client_ids=("web.apps.example.com", "ios.apps.example.com"),
            client_secret=client_secret,
            redirect_uri="postmessage",
            jwks_url=self.certs,
            token_url=self.token_url,
        )
        fetcher = Fetcher(allow_private=True)
        return Google(settings, KeySets(fetcher), fetcher, unlimited)


@pytest.fixture
def world(server: KeyServer, signer: Signer) -> World:
    return World(server, signer)


def test_given_a_profile_when_verified_then_it_has_the_names_that_sdks_read(
    world: World,
) -> None:
    token = world.signer.sign(
        {
            **CLAIMS,
            "name": "Ada Lovelace",
            "given_name": "Ada",
            "family_name": "L" * 1025,
            "email": "ada@example.com",
            "email_verified": False,
            "picture": "https://lh3.example.com/a",
            "hd": "example.com",
            "locale": "en",
        }
    )

    identity = world.google().verify({"id_token": token}, network="", now=NOW)

    assert (identity.provider, identity.id) == (PROVIDER, "10769")
    assert identity.data == {
        "name": "Ada Lovelace",
        "first_name": "Ada",
        "last_name": "L" * 1024,
        "email": "ada@example.com",
        "picture": "https://lh3.example.com/a",
        "picture_url": "https://lh3.example.com/a",
    }


def test_given_an_auth_code_when_verified_then_its_id_token_is_the_credential(
    world: World,
) -> None:
    google = world.google()

    by_code = google.verify({"authCode": "4/0Ab_x&y"}, network="", now=NOW)

    by_token = google.verify(
        {"id_token": world.signer.sign(CLAIMS)}, network="", now=NOW
    )
    assert by_code == by_token
    (exchange,) = (asked for asked in world.server.asked if asked.path == "/token")
    assert exchange.method == "POST"
    assert exchange.form == {
        "grant_type": "authorization_code",
        "code": "4/0Ab_x&y",
        "client_id": "web.apps.example.com",
        "client_secret": SECRET,
        "redirect_uri": "postmessage",
    }


def test_given_both_when_verified_then_the_id_token_saves_the_exchange(
    world: World,
) -> None:
    world.google().verify(
        {"id_token": world.signer.sign(CLAIMS), "authCode": "x"}, network="", now=NOW
    )

    assert world.server.count("/token") == 0


@pytest.mark.parametrize("status", [400, 401, 200])
def test_given_a_bad_auth_code_when_exchanged_then_it_is_refused(
    status: int, world: World
) -> None:
    world.server.answers["/token"] = Answer(
        {"error": "invalid_grant", "error_description": "Malformed auth code."}, status
    )

    with pytest.raises(BadCredential) as refusal:
        world.google().verify({"authCode": "x"}, network="", now=NOW)

    assert refusal.value.reason == "invalid auth code"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer({"error": "invalid_client"}, 401), id="our secret"),
        pytest.param(Answer({"error": "redirect_uri_mismatch"}, 400), id="our URI"),
        pytest.param(Answer({"error": ["invalid_grant"]}, 400), id="error a list"),
        pytest.param(Answer(b"<html>", 403), id="no JSON"),
        pytest.param(Answer({"id_token": "x"}, 400), id="refusal with a token"),
        pytest.param(Answer({}, 200), id="no ID token"),
        pytest.param(Answer({"id_token": None}, 200), id="ID token null"),
        pytest.param(Answer({}, 500), id="500"),
        pytest.param(Answer({"error": "invalid_grant"}, 503), id="503"),
        pytest.param(Answer({}, 429), id="too many requests"),
        pytest.param(Answer({}, 302, {"Location": "/certs"}), id="redirect"),
    ],
)
def test_given_another_failure_when_exchanged_then_it_is_unavailable(
    answer: Answer, world: World
) -> None:
    world.server.answers["/token"] = answer

    with pytest.raises(ProviderUnavailable):
        world.google().verify({"authCode": "x"}, network="", now=NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"aud": "evil.example"}, "wrong audience", id="aud"),
        pytest.param({"exp": AT - 60}, "expired", id="exp"),
        pytest.param({"iss": "https://evil.example"}, "wrong issuer", id="iss"),
    ],
)
def test_given_an_exchanged_token_when_it_is_bad_then_it_is_refused_as_any_other(
    changes: dict[str, Any], reason: str, world: World
) -> None:
    token = world.signer.sign({**CLAIMS, **changes})
    world.server.publish("/token", {"id_token": token})

    with pytest.raises(BadCredential) as refusal:
        world.google().verify({"authCode": "x"}, network="", now=NOW)

    assert refusal.value.reason == f"invalid ID token: {reason}"


def test_given_no_client_secret_when_a_code_comes_then_the_request_is_refused(
    world: World,
) -> None:
    with pytest.raises(BadRequest, match="'authCode' is not accepted"):
        world.google(None).verify({"authCode": "x"}, network="", now=NOW)

    assert world.server.asked == []


def test_given_a_secret_that_is_not_loaded_when_a_code_comes_then_it_is_unavailable(
    world: World,
) -> None:
    google = world.google(SecretReference(ssm="google"))

    with pytest.raises(SettingsUnavailable):
        google.verify({"authCode": "x"}, network="", now=NOW)

    assert world.server.asked == []


@pytest.mark.parametrize("code", [None, 1, "", "x" * 8193, ["x"], "\ud800"])
def test_given_no_auth_code_when_verified_then_the_field_is_named(
    code: object, world: World
) -> None:
    with pytest.raises(BadRequest, match="'authCode'"):
        world.google().verify({"authCode": code}, network="", now=NOW)

    assert world.server.asked == []
