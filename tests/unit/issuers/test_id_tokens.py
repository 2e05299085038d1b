"""ID tokens of Google and Apple: one set of rules, two issuers."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import BadCredential, BadRequest, ProviderUnavailable
from anonauth.issuers.fetch import Fetcher
from anonauth.issuers.key_sets import KeySets
from anonauth.ports import Provider
from anonauth.provider_settings.schema import AppleSettings, GoogleSettings
from anonauth.providers.oauth2_apple import Apple
from anonauth.providers.oauth2_google import Google
from support.forgery.bad_tokens import (
    NOT_TOKENS,
    WRONG_SUBJECTS,
    WRONG_TIMES,
    edited,
    encoded,
    hmac_signed,
    other_signature,
    unsigned,
    with_payload,
)
from support.forgery.key_server import KeyServer, Signer, changed, unlimited

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
IOS, WEB = "ios.apps.example.com", "web.apps.example.com"
CLIENTS = (IOS, WEB)


class World:
    """One provider, and an issuer that signs what a test wants it to say."""

    def __init__(
        self, name: str, issuers: tuple[str, ...], server: KeyServer, signer: Signer
    ) -> None:
        self.name = name
        self.issuers = issuers
        self.server = server
        self.signer = signer
        self.claims: Mapping[str, Any] = {
            "iss": issuers[0],
            "aud": WEB,
            "sub": "10769150350006150715113082367",
            "iat": AT,
            "exp": AT + 3600,
            "nonce": "n-0S6",
            "email": "ada@example.com",
            "email_verified": True,
        }
        url = server.publish("/certs", {"keys": [signer.jwk()]})
        fetcher = Fetcher(allow_private=True)
        key_sets = KeySets(fetcher)
        self.provider: Provider
        if name == "oauth2-google":
            google = GoogleSettings(client_ids=CLIENTS, jwks_url=url)
            self.provider = Google(google, key_sets, fetcher, unlimited)
        else:
            apple = AppleSettings(client_ids=CLIENTS, jwks_url=url)
            self.provider = Apple(apple, key_sets)

    def token(self, **changes: Any) -> str:
        # As bytes: PyJWT would not make some of these.
        claims = json.dumps(changed(self.claims, changes)).encode()
        return with_payload(self.signer, claims)

    def verified(self, id_token: object) -> VerifiedIdentity:
        return self.provider.verify(
            {"id_token": id_token}, network="203.0.113.9", now=NOW
        )

    def reason_of(self, id_token: str) -> str:
        with pytest.raises(BadCredential) as refusal:
            self.verified(id_token)
        assert type(refusal.value) is BadCredential
        return refusal.value.reason.removeprefix("invalid ID token: ")


@pytest.fixture(params=["oauth2-google", "oauth2-apple"])
def world(request: Any, server: KeyServer, signer: Signer) -> World:
    issuers = {
        "oauth2-google": ("https://accounts.google.com", "accounts.google.com"),
        "oauth2-apple": ("https://appleid.apple.com", "https://account.apple.com"),
    }
    return World(request.param, issuers[request.param], server, signer)


def test_given_an_id_token_when_verified_then_its_subject_is_the_identity(
    world: World,
) -> None:
    identities = [world.verified(world.token(iss=issuer)) for issuer in world.issuers]

    assert identities[0] == identities[1]
    assert identities[0] == VerifiedIdentity(
        world.name,
        identity_key("10769150350006150715113082367"),
        "10769150350006150715113082367",
        {"email": "ada@example.com"},
    )


def test_given_two_subjects_with_one_address_when_verified_then_they_stay_two(
    world: World,
) -> None:
    one, other = (world.verified(world.token(sub=sub)) for sub in ("1", "2"))

    assert one.data == other.data
    assert one.key != other.key


@pytest.mark.parametrize("value", [..., None, 1, True, ["x"], {"x": 1}])
def test_given_an_address_that_is_no_text_when_verified_then_it_is_not_shown(
    value: object, world: World
) -> None:
    assert world.verified(world.token(email=value)).data == {}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": IOS}, id="the other client"),
        pytest.param({"aud": [WEB]}, id="a list"),
        pytest.param({"aud": WEB, "azp": WEB}, id="azp the same"),
        pytest.param({"aud": WEB, "azp": IOS}, id="azp another of ours"),
        pytest.param({"aud": [WEB, IOS], "azp": IOS}, id="both, and azp"),
        pytest.param({"aud": ["x", WEB], "azp": WEB}, id="a stranger too, azp ours"),
        pytest.param({"iat": ...}, id="no iat"),
        pytest.param({"nonce": ...}, id="no nonce"),
        pytest.param({"iat": AT + 60}, id="iat in 60 s"),
        pytest.param({"nbf": AT + 60}, id="nbf in 60 s"),
        pytest.param({"exp": AT - 59}, id="exp 59 s ago"),
        pytest.param({"exp": AT + 0.5}, id="exp with a fraction"),
    ],
)
def test_given_a_token_for_one_of_our_clients_when_verified_then_it_is_taken(
    changes: dict[str, Any], world: World
) -> None:
    assert world.verified(world.token(**changes)).id == world.claims["sub"]


BAD_CLAIMS: list[Any] = [
    pytest.param({"aud": "evil.example"}, "wrong audience", id="aud"),
    pytest.param({"aud": ...}, "wrong audience", id="no aud"),
    pytest.param({"aud": []}, "wrong audience", id="aud empty"),
    pytest.param({"aud": [1, WEB]}, "wrong audience", id="aud mixed"),
    pytest.param({"aud": {WEB: 1}}, "wrong audience", id="aud object"),
    pytest.param({"aud": "x", "azp": WEB}, "wrong audience", id="only azp is ours"),
    *[
        pytest.param({"aud": audience, "azp": party}, "wrong authorized party", id=name)
        for name, audience, party in (
            ("two aud without azp", [WEB, IOS], ...),
            ("two aud, azp a stranger", [WEB, "x"], "x"),
            ("azp a stranger", WEB, "evil.example"),
            ("azp null", WEB, None),
            ("azp a list", WEB, [WEB]),
            ("azp an object", WEB, {}),
            ("azp empty", WEB, ""),
        )
    ],
    *[
        pytest.param({"iss": issuer}, "wrong issuer", id=f"iss {name}")
        for name, issuer in (
            ("missing", ...),
            ("null", None),
            ("empty", ""),
            ("a list", ["https://accounts.google.com", "https://appleid.apple.com"]),
            ("by http", "http://accounts.google.com"),
            ("with a slash", "https://appleid.apple.com/"),
            ("a stranger", "https://evil.example"),
        )
    ],
    *[
        pytest.param({"sub": value}, "no usable subject", id=f"sub {name}")
        for name, value in WRONG_SUBJECTS
    ],
    pytest.param({"exp": ...}, "no expiry", id="no exp"),
    pytest.param({"exp": AT - 60}, "expired", id="exp 60 s ago"),
    pytest.param({"nbf": AT + 61}, "not yet valid", id="nbf in 61 s"),
    pytest.param({"iat": AT + 61}, "issued in the future", id="iat in 61 s"),
    *[
        pytest.param({claim: value}, f"malformed {claim}", id=f"{claim} {name}")
        for claim in ("exp", "nbf", "iat")
        for name, value in WRONG_TIMES
    ],
]


@pytest.mark.parametrize(("changes", "reason"), BAD_CLAIMS)
def test_given_a_bad_claim_when_verified_then_it_is_refused(
    changes: dict[str, Any], reason: str, world: World
) -> None:
    assert world.reason_of(world.token(**changes)) == reason


@pytest.mark.parametrize("token", NOT_TOKENS.values(), ids=NOT_TOKENS)
def test_given_no_jwt_when_verified_then_it_is_refused_as_malformed(
    token: str, world: World
) -> None:
    assert world.reason_of(token) == "malformed"
    assert world.server.asked == []


Forge = Callable[[World, Signer], str]
FORGERIES: list[tuple[str, Forge, str]] = [
    ("edited", lambda w, _: edited(w.token()), "bad signature"),
    ("signature edited", lambda w, _: other_signature(w.token()), "bad signature"),
    (
        "no signature",
        lambda w, _: w.token().rpartition(".")[0] + ".",
        "bad signature",
    ),
    ("another key", lambda w, s: s.sign(w.claims), "bad signature"),
    ("its own key", lambda w, s: s.sign(w.claims, jwk=s.jwk()), "bad signature"),
    ("kid", lambda w, _: w.signer.sign(w.claims, kid="key-2"), "unknown key"),
    (
        "none",
        lambda w, _: unsigned(w.claims, alg="none", kid="key-1"),
        "wrong algorithm",
    ),
    (
        "HS256 by the public key",
        lambda w, _: hmac_signed(w.claims, w.signer.pem.encode(), kid="key-1"),
        "wrong algorithm",
    ),
    ("RS512", lambda w, _: w.signer.sign(w.claims, alg="RS512"), "wrong algorithm"),
    ("PS256", lambda w, _: w.signer.sign(w.claims, alg="PS256"), "wrong algorithm"),
    (
        "ES256",
        lambda w, _: Signer("ES256").sign(w.claims),
        "wrong algorithm",
    ),
    (
        "critical header",
        lambda w, _: with_payload(
            w.signer, json.dumps(w.claims).encode(), crit=["b64"], b64=True
        ),
        "unsupported critical header",
    ),
    (
        "JWE around it",
        lambda w, _: ".".join(
            [encoded({"alg": "dir", "enc": "A128GCM"}), "", "eA", w.token()[:40], "eA"]
        ),
        "malformed",
    ),
]


@pytest.mark.parametrize(
    ("forge", "reason"),
    [row[1:] for row in FORGERIES],
    ids=[name for name, *_ in FORGERIES],
)
def test_given_a_forged_token_when_verified_then_it_is_refused(
    forge: Forge, reason: str, world: World, stranger: Signer
) -> None:
    assert world.reason_of(forge(world, stranger)) == reason


def test_given_a_new_key_under_the_old_kid_when_verified_then_it_is_fetched(
    world: World, stranger: Signer
) -> None:
    world.verified(world.token())
    world.server.publish("/certs", {"keys": [stranger.jwk()]})
    token = stranger.sign(world.claims)

    assert world.reason_of(token) == "bad signature"  # just asked
    later = NOW + timedelta(minutes=1)
    identity = world.provider.verify({"id_token": token}, network="", now=later)

    assert identity.id == world.claims["sub"]
    assert world.server.count("/certs") == 2


def test_given_the_other_providers_token_when_verified_then_it_is_refused(
    world: World,
) -> None:
    other = {
        "oauth2-google": "https://appleid.apple.com",
        "oauth2-apple": "accounts.google.com",
    }[world.name]

    assert world.reason_of(world.token(iss=other)) == "wrong issuer"
    assert world.server.asked == []  # a stranger costs no request


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param({"id_token": None}, id="null"),
        pytest.param({"id_token": 1}, id="number"),
        pytest.param({"id_token": ["x"]}, id="list"),
        pytest.param({"id_token": ""}, id="empty"),
        pytest.param({"id_token": "x" * 8193}, id="overlong"),
        pytest.param({"id_token": "é"}, id="not ASCII"),
        pytest.param({}, id="missing"),
        pytest.param({"token": "x"}, id="another name"),
    ],
)
def test_given_no_token_when_verified_then_the_field_is_named(
    credential: dict[str, Any], world: World
) -> None:
    with pytest.raises(BadRequest, match="'id_token'"):
        world.provider.verify(credential, network="", now=NOW)

    assert world.server.asked == []


def test_given_the_issuer_is_down_when_verified_then_it_is_unavailable(
    world: World,
) -> None:
    world.server.down = True

    with pytest.raises(ProviderUnavailable):
        world.verified(world.token())
