"""`oauth2-facebook`: access tokens and ID tokens, with Facebook on loopback."""

import hashlib
import hmac
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import (
    BadCredential,
    BadRequest,
    ProviderUnavailable,
    SettingsUnavailable,
)
from anonauth.issuers.fetch import Fetcher
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import FacebookSettings, Secret, SecretReference
from anonauth.providers.oauth2_facebook import PROVIDER, Facebook
from support.forgery.bad_tokens import edited, hmac_signed, unsigned, with_payload
from support.forgery.key_server import Answer, KeyServer, Signer, changed, unlimited

NOW = datetime(2026, 3, 10, 12, 0, 0, 500_000, tzinfo=UTC)
AT = int(NOW.timestamp())
APP_ID, APP_SECRET = "138483919580948", "app-secret"
TOKEN = "EAAB|token&x"
INSPECTED: dict[str, Any] = {
    "app_id": APP_ID,
    "type": "USER",
    "application": "Social Cafe",
    "expires_at": AT + 3600,
    "is_valid": True,
    "scopes": ["email", "public_profile"],
    "user_id": "1207059",
}
PROFILE: dict[str, Any] = {"id": "1207059", "name": "Ada Lovelace"}


class World:
    def __init__(self, server: KeyServer) -> None:
        self.server = server
        self.inspects()
        self.shows()

    def inspects(self, **changes: Any) -> None:
        self.server.publish("/v21.0/debug_token", {"data": changed(INSPECTED, changes)})

    def shows(self, **changes: Any) -> None:
        self.server.publish("/v21.0/me", changed(PROFILE, changes))

    def facebook(self, app_secret: Secret = APP_SECRET) -> Facebook:
        settings = FacebookSettings(
            app_id=APP_ID,
            app_secret=app_secret,
            graph_url=self.server.url + "/v21.0",
            jwks_url=self.server.url + "/jwks/",
        )
        fetcher = Fetcher(allow_private=True)
        return Facebook(settings, KeySets(fetcher), fetcher, unlimited)

    def verified(self, token: object = TOKEN) -> VerifiedIdentity:
        return self.facebook().verify({"accessToken": token}, network="", now=NOW)

    def reason(self) -> str:
        with pytest.raises(BadCredential) as refusal:
            self.verified()
        assert type(refusal.value) is BadCredential
        return refusal.value.reason.removeprefix("invalid Facebook access token: ")


@pytest.fixture
def world(server: KeyServer) -> World:
    return World(server)


def test_given_a_token_of_our_app_when_verified_then_its_user_is_the_identity(
    world: World,
) -> None:
    identity = world.verified()

    assert identity == VerifiedIdentity(
        PROVIDER, identity_key("1207059"), "1207059", {"name": "Ada Lovelace"}
    )
    inspected, shown = world.server.asked
    assert inspected.method == shown.method == "GET"
    assert inspected.query == {
        "input_token": TOKEN,
        "access_token": f"{APP_ID}|{APP_SECRET}",
    }
    proof = hmac.digest(APP_SECRET.encode(), TOKEN.encode(), hashlib.sha256)
    assert shown.query == {
        "fields": "id,name,first_name,last_name,email,picture",
        "access_token": TOKEN,
        "appsecret_proof": proof.hex(),
    }


def test_given_a_profile_when_verified_then_it_has_the_names_that_sdks_read(
    world: World,
) -> None:
    world.shows(
        first_name="Ada",
        last_name="L" * 1025,
        email="ada@example.com",
        picture={"data": {"url": "https://cdn.example.com/a.jpg", "height": 50}},
        birthday="12/10/1815",
    )

    assert world.verified().data == {
        "name": "Ada Lovelace",
        "first_name": "Ada",
        "last_name": "L" * 1024,
        "email": "ada@example.com",
        "picture": "https://cdn.example.com/a.jpg",
        "picture_url": "https://cdn.example.com/a.jpg",
    }


@pytest.mark.parametrize("value", [..., None, 1, ["x"], {"data": 1}, {"data": {}}])
def test_given_fields_of_other_types_when_verified_then_they_are_not_shown(
    value: object, world: World
) -> None:
    world.shows(name=value, email=value, picture=value)

    assert world.verified().data == {}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"expires_at": 0}, id="never expires"),
        pytest.param({"expires_at": ...}, id="no expiry"),
        pytest.param({"expires_at": AT + 1}, id="expires in a moment"),
        pytest.param({"type": ...}, id="no type"),
        pytest.param({"app_id": int(APP_ID), "user_id": 1207059}, id="ids as numbers"),
    ],
)
def test_given_a_token_that_facebook_vouches_for_when_verified_then_it_is_taken(
    changes: dict[str, Any], world: World
) -> None:
    world.inspects(**changes)

    assert world.verified().id == "1207059"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"is_valid": False}, "not valid", id="not valid"),
        pytest.param({"is_valid": ...}, "not valid", id="validity missing"),
        pytest.param({"is_valid": "true"}, "not valid", id="validity a text"),
        pytest.param({"is_valid": 1}, "not valid", id="validity a number"),
        pytest.param({"app_id": "7"}, "wrong app", id="another app"),
        pytest.param({"app_id": ...}, "wrong app", id="no app"),
        pytest.param({"app_id": None}, "wrong app", id="app null"),
        pytest.param({"app_id": [APP_ID]}, "wrong app", id="app a list"),
        pytest.param({"app_id": True}, "wrong app", id="app a bool"),
        pytest.param({"type": "PAGE"}, "not of a user", id="of a page"),
        pytest.param({"type": "APP"}, "not of a user", id="of an app"),
        pytest.param({"type": None}, "not of a user", id="type null"),
        pytest.param({"expires_at": AT}, "expired", id="expired now"),
        pytest.param({"expires_at": AT - 1}, "expired", id="expired"),
        pytest.param({"expires_at": -1}, "expired", id="expiry negative"),
        pytest.param({"expires_at": True}, "expired", id="expiry a bool"),
        pytest.param({"expires_at": "0"}, "expired", id="expiry a text"),
        pytest.param({"expires_at": None}, "expired", id="expiry null"),
        pytest.param({"expires_at": float("nan")}, "expired", id="expiry NaN"),
        pytest.param({"user_id": ...}, "no user", id="no user"),
        pytest.param({"user_id": None}, "no user", id="user null"),
        pytest.param({"user_id": ""}, "no user", id="user empty"),
        pytest.param({"user_id": "x y"}, "no user", id="user not digits"),
        pytest.param({"user_id": "²"}, "no user", id="user not ASCII digits"),
        pytest.param({"user_id": "1" * 65}, "no user", id="user overlong"),
        pytest.param({"user_id": True}, "no user", id="user a bool"),
        pytest.param({"user_id": ["1"]}, "no user", id="user a list"),
    ],
)
def test_given_a_token_that_proves_nothing_when_verified_then_it_is_refused(
    changes: dict[str, Any], reason: str, world: World
) -> None:
    world.inspects(**changes)

    assert world.reason() == reason
    assert world.server.count("/v21.0/me") == 0


def test_given_a_profile_with_the_id_as_a_number_when_verified_then_it_is_taken(
    world: World,
) -> None:
    world.shows(id=1207059)

    assert world.verified().id == "1207059"


@pytest.mark.parametrize("id_", ["7", None, ..., 7, True, 1207059.0, ["1207059"]])
def test_given_the_profile_of_another_user_when_verified_then_it_is_refused(
    id_: object, world: World
) -> None:
    world.shows(id=id_)

    assert world.reason() == "another user"


def _error(code: object, status: int = 400) -> Answer:
    return Answer({"error": {"message": "…", "type": "x", "code": code}}, status)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("debug_token", _error(100), id="a token of another app"),
        pytest.param("me", _error(190), id="withdrawn since"),
        pytest.param("me", _error(190, 401), id="expired since"),
    ],
)
def test_given_an_error_about_the_token_when_verified_then_it_is_refused(
    path: str, answer: Answer, world: World
) -> None:
    world.server.answers[f"/v21.0/{path}"] = answer

    assert world.reason() == "not valid"


@pytest.mark.parametrize("path", ["debug_token", "me"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_error(1), id="unknown error"),
        pytest.param(_error(2), id="service error"),
        pytest.param(_error(4), id="too many calls of the app"),
        pytest.param(_error(101), id="our app id"),
        pytest.param(_error([100]), id="code a list"),
        pytest.param(_error(100, 500), id="500"),
        pytest.param(_error(190, 429), id="429"),
        pytest.param(Answer({"error": "x"}, 400), id="error a text"),
        pytest.param(Answer({}, 403), id="403"),
        pytest.param(Answer(b"<html>", 404), id="404"),
        pytest.param(Answer(b"", 200), id="empty"),
        pytest.param(Answer([], 200), id="a list"),
        pytest.param(Answer({}, 302, {"Location": "/v21.0/me"}), id="redirect"),
    ],
)
def test_given_any_other_error_when_verified_then_it_is_unavailable(
    path: str, answer: Answer, world: World
) -> None:
    world.server.answers[f"/v21.0/{path}"] = answer

    with pytest.raises(ProviderUnavailable):
        world.verified()


def test_given_a_wrong_app_secret_when_verified_then_it_is_unavailable(
    world: World,
) -> None:
    """To debug_token, 190 is about the token that we authenticate with."""
    world.server.answers["/v21.0/debug_token"] = _error(190)

    with pytest.raises(ProviderUnavailable):
        world.verified()


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": []}, {"is_valid": True}])
def test_given_no_data_when_verified_then_it_is_unavailable(
    body: object, world: World
) -> None:
    world.server.publish("/v21.0/debug_token", body)

    with pytest.raises(ProviderUnavailable):
        world.verified()


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param({}, id="missing"),
        pytest.param({"accessToken": None}, id="null"),
        pytest.param({"accessToken": 1}, id="number"),
        pytest.param({"accessToken": {}}, id="object"),
        pytest.param({"accessToken": ""}, id="empty"),
        pytest.param({"accessToken": "x" * 8193}, id="overlong"),
        pytest.param({"accessToken": "\ud800"}, id="half a character"),
        pytest.param({"access_token": TOKEN}, id="another name"),
    ],
)
def test_given_no_token_when_verified_then_the_field_is_named(
    credential: dict[str, Any], world: World
) -> None:
    with pytest.raises(BadRequest, match="'accessToken'"):
        world.facebook().verify(credential, network="", now=NOW)

    assert world.server.asked == []


def test_given_a_secret_that_is_not_loaded_when_verified_then_it_is_unavailable(
    world: World,
) -> None:
    facebook = world.facebook(SecretReference(ssm="facebook"))

    with pytest.raises(SettingsUnavailable):
        facebook.verify({"accessToken": TOKEN}, network="", now=NOW)

    assert world.server.asked == []


@pytest.mark.parametrize("path", ["debug_token", "me"])
def test_given_trouble_when_verified_then_no_log_line_has_token_or_secret(
    path: str,
    world: World,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{"
    world.server.answers[f"/v21.0/{path}"] = lambda write: write(broken)

    with pytest.raises(ProviderUnavailable) as refusal:
        world.verified()

    told = caplog.text + "".join(capfd.readouterr())
    error: BaseException | None = refusal.value
    while error is not None:
        told += repr(error)
        error = error.__cause__ or error.__context__
    assert "EAAB" not in told
    assert APP_SECRET not in told


# As Facebook's iOS library gets it (its issues 1701 and 2365; social-core issue 904).
CLAIMS: dict[str, Any] = {
    "iss": "https://www.facebook.com",
    "aud": APP_ID,
    "sub": "1207059",
    "iat": AT,
    "exp": AT + 3600,
    "jti": "V4qN.f10c46d1",
    "nonce": "65AFDF5A-B0CE-49B8-8CA9-43ADC855F30B",
}
HOSTS = ["https://www.facebook.com", "https://facebook.com"]


class LimitedLogin(World):
    """Facebook with the keys of its ID tokens."""

    def __init__(self, server: KeyServer, signer: Signer) -> None:
        super().__init__(server)
        self.signer = signer
        server.publish("/jwks/", {"keys": [signer.jwk()]})

    def token(self, **changes: Any) -> str:
        claims = json.dumps(changed(CLAIMS, changes)).encode()
        return with_payload(self.signer, claims)

    def reason_of(self, token: str) -> str:
        with pytest.raises(BadCredential) as refusal:
            self.verified(token)
        assert type(refusal.value) is BadCredential
        return refusal.value.reason.removeprefix("invalid ID token: ")


@pytest.fixture
def limited(server: KeyServer, signer: Signer) -> LimitedLogin:
    return LimitedLogin(server, signer)


@pytest.mark.parametrize("issuer", [*HOSTS, "https://limited.facebook.com"])
def test_given_an_id_token_when_verified_then_it_is_the_user_of_the_access_token(
    issuer: str, limited: LimitedLogin
) -> None:
    by_id_token = limited.verified(limited.token(iss=issuer, name="Ada Lovelace"))

    assert [each.path for each in limited.server.asked] == ["/jwks/"]
    assert by_id_token == limited.verified(TOKEN)


def test_given_no_app_secret_when_an_id_token_comes_then_it_is_not_needed(
    limited: LimitedLogin,
) -> None:
    facebook = limited.facebook(SecretReference(ssm="facebook"))

    identity = facebook.verify(
        {"accessToken": limited.token()}, network="203.0.113.9", now=NOW
    )

    assert identity.id == "1207059"


def test_given_an_id_tokens_profile_when_verified_then_it_has_the_names_of_sdks(
    limited: LimitedLogin,
) -> None:
    token = limited.token(
        name="Ada Lovelace",
        given_name="Ada",
        family_name="Lovelace",
        email="ada@example.com",
        picture="https://cdn.example.com/a.jpg",
        user_friends=["7"],
    )

    assert limited.verified(token).data == {
        "name": "Ada Lovelace",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@example.com",
        "picture": "https://cdn.example.com/a.jpg",
        "picture_url": "https://cdn.example.com/a.jpg",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"iss": "https://evil.example"}, "wrong issuer", id="issuer"),
        pytest.param({"iss": "https://www.facebook.com/"}, "wrong issuer", id="slash"),
        pytest.param({"iss": ...}, "wrong issuer", id="no issuer"),
        pytest.param({"aud": "7"}, "wrong audience", id="another app"),
        pytest.param({"aud": ...}, "wrong audience", id="no app"),
        pytest.param({"azp": "7"}, "wrong authorized party", id="party"),
        pytest.param({"exp": AT - 61}, "expired", id="expired"),
        pytest.param({"exp": ...}, "no expiry", id="no expiry"),
        pytest.param({"iat": AT + 62}, "issued in the future", id="future"),
        pytest.param({"sub": ...}, "no usable subject", id="no user"),
        pytest.param({"sub": ""}, "no usable subject", id="user empty"),
        pytest.param({"sub": "ada"}, "no usable subject", id="user not digits"),
        pytest.param({"sub": True}, "no usable subject", id="user a bool"),
    ],
)
def test_given_an_id_token_that_proves_nothing_when_verified_then_it_is_refused(
    changes: dict[str, Any], reason: str, limited: LimitedLogin
) -> None:
    assert limited.reason_of(limited.token(**changes)) == reason
    assert limited.server.count("/v21.0/debug_token") == 0


def test_given_a_forged_id_token_when_verified_then_it_is_refused(
    limited: LimitedLogin, stranger: Signer
) -> None:
    pem = limited.signer.pem.encode()
    table = {
        "edited": (edited(limited.token()), "bad signature"),
        "another key": (stranger.sign(CLAIMS), "bad signature"),
        "unknown key": (stranger.sign(CLAIMS, kid="key-2"), "unknown key"),
        "none": (unsigned(CLAIMS, alg="none", kid="key-1"), "wrong algorithm"),
        "HS256": (hmac_signed(CLAIMS, pem, kid="key-1"), "wrong algorithm"),
        "no JWT": ("eyJ.eyJ.x", "malformed"),
    }

    reasons = {name: limited.reason_of(token) for name, (token, _) in table.items()}

    assert reasons == {name: reason for name, (_, reason) in table.items()}
    assert {each.path for each in limited.server.asked} == {"/jwks/"}


@pytest.mark.parametrize("token", ["EAAB.x.y", "eyJ", "eyJhbGciOi.x", "eyJ.a.b.c"])
def test_given_a_token_that_only_looks_like_a_jwt_when_verified_then_facebook_is_asked(
    token: str, limited: LimitedLogin
) -> None:
    assert limited.verified(token).id == "1207059"
    assert limited.server.count("/v21.0/debug_token") == 1


def test_given_facebooks_keys_are_not_to_be_had_when_verified_then_it_is_unavailable(
    limited: LimitedLogin,
) -> None:
    limited.server.down = True

    with pytest.raises(ProviderUnavailable):
        limited.verified(limited.token())
