"""`custom-token`: JWTs of an app's own issuers, and every way they can be wrong."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import (
    BadCredential,
    BadRequest,
    ProviderUnavailable,
    SettingsUnavailable,
)
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import CustomTokenSettings
from anonauth.providers.custom_token import MAX_FIELDS, PROVIDER, CustomToken
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
from support.forgery.custom_tokens import AT, CLAIMS, ISSUER, NOW, verified
from support.forgery.forgeries import forgeries, of_issuer
from support.forgery.key_server import KeyServer, Signer, changed
from support.service.harness import APP

SECRET = "2k66QfKeTRk3MdZ5vpDYgZCu" * 2  # of realm-web's integration tests
UNCHANGED: dict[str, Any] = {}


class World:
    """One app with one issuer, as its settings describe it."""

    def __init__(self, server: KeyServer, key_sets: KeySets, signer: Signer) -> None:
        self.server = server
        self.key_sets = key_sets
        self.signer = signer
        self.url = server.publish("/jwks", {"keys": [signer.jwk()]})

    def provider(self, *issuers: Mapping[str, Any]) -> CustomToken:
        settings = msgspec.convert({"issuers": issuers}, CustomTokenSettings)
        return CustomToken(APP, settings, self.key_sets)

    def by_jwks(self, **changes: Any) -> CustomToken:
        return self.provider(changed({"issuer": ISSUER, "jwks_url": self.url}, changes))

    def token(self, changes: Mapping[str, Any] = UNCHANGED, **headers: Any) -> str:
        return self.signer.sign(changed(CLAIMS, changes), **headers)


@pytest.fixture
def world(server: KeyServer, key_sets: KeySets, signer: Signer) -> World:
    return World(server, key_sets, signer)


def reason_of(provider: CustomToken, token: str, now: datetime = NOW) -> str:
    with pytest.raises(BadCredential) as refusal:
        verified(provider, token, now)
    assert type(refusal.value) is BadCredential
    assert str(refusal.value) == "unauthorized"
    return refusal.value.reason.removeprefix("invalid custom auth token: ")


def refuses(provider: CustomToken, token: str) -> bool:
    """Tell whether a token is refused as a bad one, or as none at all."""
    try:
        verified(provider, token)
    except (BadCredential, BadRequest):
        return True
    return False


def test_given_a_token_when_verified_then_its_subject_is_the_identity(
    world: World,
) -> None:
    identity = verified(world.by_jwks(), world.token())

    assert identity == VerifiedIdentity(
        PROVIDER, identity_key(f"{ISSUER} user-1"), "user-1", {}
    )
    assert identity.provider == "custom-token"


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_given_a_public_key_when_verified_then_jwks_pem_and_discovery_agree(
    algorithm: str, server: KeyServer, key_sets: KeySets
) -> None:
    world = World(server, key_sets, Signer(algorithm))
    configuration = server.publish(
        "/configuration", {"issuer": ISSUER, "jwks_uri": world.url}
    )
    settings = {"issuer": ISSUER, "algorithm": algorithm}

    identities = [
        verified(world.provider(settings | keys), world.token())
        for keys in (
            {"jwks_url": world.url},
            {"pem": world.signer.pem},
            {"openid_configuration": configuration},
        )
    ]

    assert identities[0] == identities[1] == identities[2]


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("secret", [SECRET, SECRET[:24]])
def test_given_a_secret_when_verified_then_even_a_short_one_counts(
    algorithm: str, secret: str, world: World, recwarn: pytest.WarningsRecorder
) -> None:
    provider = world.provider(
        {"issuer": ISSUER, "algorithm": algorithm, "secret": secret}
    )
    token = hmac_signed(CLAIMS, secret.encode(), algorithm)

    identity = verified(provider, token)

    assert identity.id == "user-1"
    assert len(recwarn) == 0


def test_given_a_secret_that_is_not_loaded_when_verified_then_the_settings_are_wrong(
    world: World,
) -> None:
    provider = world.provider(
        {"issuer": ISSUER, "algorithm": "HS256", "secret": {"ssm": "jwt"}}
    )

    with pytest.raises(SettingsUnavailable):
        verified(provider, world.token())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"pem": "x"}, id="no PEM"),
        pytest.param({"secret": SECRET}, id="secret for RS256"),
        pytest.param({"jwks_url": "x", "algorithm": "HS256"}, id="HMAC by URL"),
        pytest.param({}, id="no key at all"),
    ],
)
def test_given_settings_that_cannot_work_when_verified_then_it_is_unavailable(
    settings: dict[str, Any], world: World
) -> None:
    with pytest.raises(SettingsUnavailable):
        verified(world.provider({"issuer": ISSUER} | settings), world.token())


@pytest.mark.parametrize("token", NOT_TOKENS.values(), ids=NOT_TOKENS)
def test_given_no_jwt_when_verified_then_it_is_refused_as_malformed(
    token: str, world: World
) -> None:
    assert reason_of(world.by_jwks(), token) == "malformed"
    assert world.server.asked == []


@pytest.mark.parametrize(
    ("credential", "id_"),
    [
        ({}, "missing"),
        ({"token": None}, "null"),
        ({"token": 1}, "number"),
        ({"token": {"$oid": "x"}}, "object"),
        ({"token": ""}, "empty"),
        ({"token": "x" * 8193}, "overlong"),
        ({"token": "é"}, "not ASCII"),
        ({"token": "\ud800"}, "half a character"),
    ],
)
def test_given_no_token_when_verified_then_the_field_is_named(
    credential: dict[str, Any], id_: str, world: World
) -> None:
    with pytest.raises(BadRequest, match="'token'"):
        world.by_jwks().verify(credential, network="", now=NOW)


BAD_CLAIMS: list[Any] = [
    *[
        pytest.param({"sub": value}, "no usable subject", id=f"sub {name}")
        for name, value in WRONG_SUBJECTS
    ],
    pytest.param({"aud": ...}, "wrong audience", id="no aud"),
    pytest.param({"aud": None}, "wrong audience", id="aud null"),
    pytest.param({"aud": "other-fghij"}, "wrong audience", id="aud another app"),
    pytest.param({"aud": APP.upper()}, "wrong audience", id="aud in capitals"),
    pytest.param({"aud": APP + " "}, "wrong audience", id="aud with a space"),
    pytest.param({"aud": []}, "wrong audience", id="aud empty"),
    pytest.param({"aud": ["x", "y"]}, "wrong audience", id="aud others"),
    pytest.param({"aud": [APP, 1]}, "wrong audience", id="aud mixed"),
    pytest.param({"aud": [[APP]]}, "wrong audience", id="aud nested"),
    pytest.param({"aud": {APP: 1}}, "wrong audience", id="aud object"),
    pytest.param({"iss": ...}, "wrong issuer", id="no iss"),
    pytest.param({"iss": None}, "wrong issuer", id="iss null"),
    pytest.param({"iss": ""}, "wrong issuer", id="iss empty"),
    pytest.param({"iss": [ISSUER]}, "wrong issuer", id="iss list"),
    pytest.param({"iss": ISSUER + "/"}, "wrong issuer", id="iss with a slash"),
    pytest.param({"iss": "https://evil.example"}, "wrong issuer", id="iss another"),
    pytest.param({"exp": ...}, "no expiry", id="no exp"),
    pytest.param({"exp": 0}, "expired", id="exp zero"),
    pytest.param({"exp": -1}, "expired", id="exp negative"),
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
    # As bytes: PyJWT would not make most of these.
    token = with_payload(world.signer, json.dumps(changed(CLAIMS, changes)).encode())

    assert reason_of(world.by_jwks(), token) == reason


@pytest.mark.parametrize(
    ("claim", "offset", "reason"),
    [
        pytest.param("exp", -60, "expired", id="exp 60 s ago"),
        pytest.param("exp", -59, None, id="exp 59 s ago"),
        pytest.param("exp", -59.5, "expired", id="exp 60 s ago, with a fraction"),
        pytest.param("exp", -59.25, None, id="exp less than 60 s ago"),
        pytest.param("nbf", 60, None, id="nbf in 60 s"),
        pytest.param("nbf", 61, "not yet valid", id="nbf in 61 s"),
        pytest.param("iat", 60, None, id="iat in 60 s"),
        pytest.param("iat", 61, "issued in the future", id="iat in 61 s"),
        pytest.param("iat", -9_999_999, None, id="iat long ago"),
        pytest.param("exp", 10**10, None, id="exp in centuries"),
        pytest.param("exp", 253_402_300_799 - AT, None, id="exp in the year 9999"),
        pytest.param(
            "exp", 253_402_300_799.5 - AT, "malformed exp", id="and a fraction"
        ),
        pytest.param(
            "nbf", -62_135_596_800 - AT, None, id="nbf at the beginning of the year 1"
        ),
    ],
)
def test_given_clocks_that_differ_when_verified_then_a_minute_is_tolerated(
    claim: str, offset: float, reason: str | None, world: World
) -> None:
    token = world.token({claim: AT + offset})

    if reason is None:
        assert verified(world.by_jwks(), token).id == "user-1"
    else:
        assert reason_of(world.by_jwks(), token) == reason


def test_given_a_token_without_iat_and_nbf_when_verified_then_it_is_taken(
    world: World,
) -> None:
    assert verified(world.by_jwks(), world.token({"iat": ...})).id == "user-1"


@pytest.mark.parametrize("subject", ["x" * 256, "auth0|é 漢字", "a b", " "])
def test_given_an_unusual_subject_when_verified_then_it_is_taken_as_it_is(
    subject: str, world: World
) -> None:
    identity = verified(world.by_jwks(), world.token({"sub": subject}))

    assert identity.id == subject
    assert identity.key == identity_key(f"{ISSUER} {subject}")


@pytest.mark.parametrize(
    ("audience", "configured"),
    [
        pytest.param([APP, "other"], [], id="one of several is ours"),
        pytest.param("api", ["api", "web"], id="the first of ours"),
        pytest.param(["x", "web"], ["api", "web"], id="the second of ours"),
    ],
)
def test_given_several_audiences_when_verified_then_one_in_common_will_do(
    audience: object, configured: list[str], world: World
) -> None:
    provider = world.by_jwks(audience=configured)

    assert verified(provider, world.token({"aud": audience})).id == "user-1"


def test_given_a_configured_audience_when_verified_then_the_app_id_is_none(
    world: World,
) -> None:
    assert reason_of(world.by_jwks(audience=["api"]), world.token()) == "wrong audience"


def _bad_signatures(signer: Signer, stranger: Signer) -> dict[str, tuple[str, str]]:
    good = signer.sign(CLAIMS)
    evil = stranger.jwk()
    pem = signer.pem.encode()
    jwk = json.dumps(signer.jwk()).encode()
    return {
        "claims edited": (edited(good), "bad signature"),
        "signature edited": (other_signature(good), "bad signature"),
        "signature padded": (good + "==", "malformed"),
        "no signature": (good.rpartition(".")[0] + ".", "bad signature"),
        "another key": (stranger.sign(CLAIMS), "bad signature"),
        "its own key in jwk": (stranger.sign(CLAIMS, jwk=evil), "bad signature"),
        "its own key in jku": (
            stranger.sign(CLAIMS, jku="https://evil.example/jwks"),
            "bad signature",
        ),
        "unknown kid": (signer.sign(CLAIMS, kid="key-2"), "unknown key"),
        "kid a path": (signer.sign(CLAIMS, kid="../../dev/null"), "unknown key"),
        "kid empty": (signer.sign(CLAIMS, kid=""), "unknown key"),
        "none": (unsigned(CLAIMS, alg="none", kid="key-1"), "wrong algorithm"),
        "None": (unsigned(CLAIMS, alg="None", kid="key-1"), "wrong algorithm"),
        "no alg": (unsigned(CLAIMS, kid="key-1"), "wrong algorithm"),
        "alg null": (unsigned(CLAIMS, alg=None, kid="key-1"), "wrong algorithm"),
        "alg a list": (unsigned(CLAIMS, alg=["RS256"], kid="key-1"), "wrong algorithm"),
        "HS256 by the PEM": (hmac_signed(CLAIMS, pem, kid="key-1"), "wrong algorithm"),
        "HS256 by the JWK": (hmac_signed(CLAIMS, jwk, kid="key-1"), "wrong algorithm"),
        "HS256 by nothing": (hmac_signed(CLAIMS, b"", kid="key-1"), "wrong algorithm"),
        "RS512": (signer.sign(CLAIMS, alg="RS512"), "wrong algorithm"),
        "PS256": (signer.sign(CLAIMS, alg="PS256"), "wrong algorithm"),
        "critical header": (
            with_payload(signer, json.dumps(CLAIMS).encode(), crit=["exp"], exp=1),
            "malformed",
        ),
        "critical header that PyJWT knows": (
            with_payload(signer, json.dumps(CLAIMS).encode(), crit=["b64"], b64=True),
            "unsupported critical header",
        ),
    }


def test_given_a_signature_that_proves_nothing_when_verified_then_it_is_refused(
    world: World, stranger: Signer
) -> None:
    table = _bad_signatures(world.signer, stranger)

    by_url = {
        name: reason_of(world.by_jwks(), token) for name, (token, _) in table.items()
    }
    pem = world.provider({"issuer": ISSUER, "pem": world.signer.pem})
    by_pem = {
        name: reason_of(pem, token)
        for name, (token, reason) in table.items()
        if reason != "unknown key"  # a PEM has no id
    }

    assert by_url == {name: reason for name, (_, reason) in table.items()}
    assert by_pem == {name: by_url[name] for name in by_pem}


@pytest.mark.parametrize("where", ["by URL", "by PEM"])
def test_given_forged_tokens_when_verified_then_none_is_taken(
    where: str, world: World
) -> None:
    target = of_issuer(world.signer, CLAIMS, {})
    forged = forgeries(target)
    pem = {"issuer": ISSUER, "pem": world.signer.pem}
    provider = world.by_jwks() if where == "by URL" else world.provider(pem)

    taken = [name for name, token in forged.items() if not refuses(provider, token)]

    assert taken == []
    assert len(forged) > 300
    assert not refuses(provider, target.token)


def test_given_a_secret_when_the_token_says_rs256_then_it_is_refused(
    world: World,
) -> None:
    provider = world.provider(
        {"issuer": ISSUER, "algorithm": "HS256", "secret": SECRET}
    )

    assert reason_of(provider, world.token()) == "wrong algorithm"
    forged = hmac_signed(CLAIMS, b"guess")
    assert reason_of(provider, forged) == "bad signature"


def test_given_an_issuer_with_es256_when_the_token_is_of_es384_then_it_is_refused(
    server: KeyServer, key_sets: KeySets
) -> None:
    world = World(server, key_sets, Signer("ES256"))

    provider = world.by_jwks(algorithm="ES256")

    assert reason_of(provider, Signer("ES384").sign(CLAIMS)) == "wrong algorithm"
    assert reason_of(provider, Signer("ES256").sign(CLAIMS)) == "bad signature"


@pytest.mark.parametrize(
    "kids",
    [
        pytest.param(("key-1", "key-2"), id="other ids"),
        pytest.param(("key-1", "key-1"), id="one id for both"),
        pytest.param((..., ...), id="no ids"),
    ],
)
def test_given_a_token_without_kid_when_the_issuer_has_two_keys_then_both_are_tried(
    kids: tuple[Any, Any], world: World, stranger: Signer
) -> None:
    one, other = world.signer.jwk(kid=kids[0]), stranger.jwk(kid=kids[1])
    world.server.publish("/jwks", {"keys": [one, other]})
    provider = world.by_jwks()

    taken = [
        verified(provider, signer.sign(CLAIMS, kid=...)).id
        for signer in (world.signer, stranger)
    ]

    assert taken == ["user-1", "user-1"]
    forged = edited(world.token(kid=...))
    assert reason_of(provider, forged) == "bad signature"
    assert world.server.count("/jwks") == 1


def test_given_two_keys_under_one_kid_when_verified_then_both_are_tried(
    world: World, stranger: Signer
) -> None:
    keys = [world.signer.jwk(), stranger.jwk()]
    world.server.publish("/jwks", {"keys": keys})
    provider = world.by_jwks()

    taken = [
        verified(provider, signer.sign(CLAIMS)).id
        for signer in (world.signer, stranger)
    ]

    assert taken == ["user-1", "user-1"]


LATER = {"exp": AT + 9999}
PAUSE = timedelta(minutes=1)


def test_given_a_new_key_under_the_old_kid_when_verified_then_it_is_fetched(
    world: World, stranger: Signer
) -> None:
    provider = world.by_jwks()
    verified(provider, world.token())
    world.server.publish("/jwks", {"keys": [stranger.jwk()]})

    identity = verified(provider, stranger.sign({**CLAIMS, **LATER}), NOW + PAUSE)

    assert identity.id == "user-1"
    assert world.server.count("/jwks") == 2
    # the old one is withdrawn by that
    assert reason_of(provider, world.token(LATER), NOW + PAUSE) == "bad signature"
    assert world.server.count("/jwks") == 2


def test_given_many_bad_signatures_when_verified_then_the_issuer_is_asked_once(
    world: World, stranger: Signer
) -> None:
    provider, forged = world.by_jwks(), stranger.sign({**CLAIMS, **LATER})
    verified(provider, world.token())

    times = [NOW + PAUSE + n * timedelta(seconds=2) for n in range(30)]
    reasons = {reason_of(provider, forged, now) for now in times}

    assert reasons == {"bad signature"}
    assert world.server.count("/jwks") == 2


def test_given_an_issuer_that_is_down_when_a_signature_is_bad_then_no_client_is_blamed(
    world: World, stranger: Signer
) -> None:
    provider = world.by_jwks()
    verified(provider, world.token())
    world.server.down = True

    with pytest.raises(ProviderUnavailable):
        verified(provider, stranger.sign({**CLAIMS, **LATER}), NOW + PAUSE)

    assert verified(provider, world.token(LATER), NOW + PAUSE).id == "user-1"


def test_given_a_token_of_another_algorithm_when_verified_then_no_request_is_sent(
    world: World,
) -> None:
    token = world.signer.sign(CLAIMS, alg="RS512")

    assert reason_of(world.by_jwks(), token) == "wrong algorithm"
    assert world.server.asked == []


@pytest.mark.parametrize("old", ["withdrawn", "down", "still there"])
def test_given_an_issuer_that_moves_its_keys_when_verified_then_they_are_found(
    old: str, world: World, stranger: Signer
) -> None:
    configuration = {"issuer": ISSUER, "jwks_uri": world.url}
    url = world.server.publish("/configuration", configuration)
    provider = world.provider({"issuer": ISSUER, "openid_configuration": url})
    verified(provider, world.token())
    moved = world.server.publish("/moved", {"keys": [stranger.jwk()]})
    world.server.publish("/configuration", {"issuer": ISSUER, "jwks_uri": moved})
    if old == "withdrawn":
        world.server.publish("/jwks", {"keys": []})
    elif old == "down":
        del world.server.answers["/jwks"]

    identity = verified(provider, stranger.sign({**CLAIMS, **LATER}), NOW + PAUSE)

    assert identity.id == "user-1"
    asked = [each.path for each in world.server.asked]
    assert asked == ["/configuration", "/jwks", "/jwks", "/configuration", "/moved"]


@pytest.mark.parametrize(
    ("now", "refusal"),
    [
        pytest.param(NOW, BadCredential, id="just asked"),
        pytest.param(NOW + PAUSE, ProviderUnavailable, id="down since"),
    ],
)
def test_given_discovered_keys_when_none_is_right_then_it_is_as_with_others(
    now: datetime,
    refusal: type[Exception],
    world: World,
    stranger: Signer,
) -> None:
    configuration = {"issuer": ISSUER, "jwks_uri": world.url}
    url = world.server.publish("/configuration", configuration)
    provider = world.provider({"issuer": ISSUER, "openid_configuration": url})
    verified(provider, world.token())
    del world.server.answers["/jwks"]

    with pytest.raises(refusal):
        verified(provider, stranger.sign({**CLAIMS, **LATER}), now)

    assert verified(provider, world.token(LATER), now).id == "user-1"


def test_given_two_issuers_when_they_have_one_subject_then_they_are_two_identities(
    world: World, stranger: Signer
) -> None:
    other = "https://other.example.com"
    provider = world.provider(
        {"issuer": ISSUER, "jwks_url": world.url},
        {"issuer": other, "pem": stranger.pem},
    )

    mine = verified(provider, world.token())
    theirs = verified(provider, stranger.sign({**CLAIMS, "iss": other}))

    assert mine.key != theirs.key
    assert mine.id == theirs.id == "user-1"
    # and neither can sign for the other
    assert reason_of(provider, stranger.sign(CLAIMS)) == "bad signature"
    assert reason_of(provider, world.token({"iss": other})) == "bad signature"


@pytest.mark.parametrize("issuer", [..., None, "https://any.example.com", 7])
def test_given_an_entry_without_issuer_when_verified_then_any_issuer_will_do(
    issuer: object, world: World
) -> None:
    provider = world.by_jwks(issuer=...)
    claims = json.dumps(changed(CLAIMS, {"iss": issuer})).encode()

    identity = verified(provider, with_payload(world.signer, claims))

    assert identity.key == identity_key(" user-1")


def test_given_named_and_nameless_entries_when_verified_then_the_name_decides(
    world: World, stranger: Signer
) -> None:
    provider = world.provider(
        {"pem": stranger.pem}, {"issuer": ISSUER, "jwks_url": world.url}
    )

    named = verified(provider, world.token())
    nameless = verified(provider, stranger.sign({**CLAIMS, "iss": "x"}))

    assert named.key == identity_key(f"{ISSUER} user-1")
    assert nameless.key == identity_key(" user-1")
    assert reason_of(provider, stranger.sign(CLAIMS)) == "bad signature"


def test_given_two_entries_of_one_issuer_when_verified_then_the_first_counts(
    world: World, stranger: Signer
) -> None:
    provider = world.provider(
        {"issuer": ISSUER, "jwks_url": world.url},
        {"issuer": ISSUER, "pem": stranger.pem},
    )

    assert verified(provider, world.token()).id == "user-1"


def test_given_discovery_without_issuer_when_verified_then_it_says_the_issuer(
    world: World,
) -> None:
    configuration = world.server.publish(
        "/configuration", {"issuer": ISSUER, "jwks_uri": world.url}
    )
    provider = world.provider({"openid_configuration": configuration})

    assert reason_of(provider, world.token({"iss": "x"})) == "wrong issuer"
    assert reason_of(provider, world.token({"iss": ...})) == "wrong issuer"
    assert world.server.count("/jwks") == 0  # a stranger costs no request for keys
    identity = verified(provider, world.token())

    assert identity.key == identity_key(f"{ISSUER} user-1")


def test_given_discovery_of_another_issuer_when_verified_then_it_is_unavailable(
    world: World,
) -> None:
    configuration = world.server.publish(
        "/configuration", {"issuer": "https://evil.example", "jwks_uri": world.url}
    )
    provider = world.provider({"issuer": ISSUER, "openid_configuration": configuration})

    with pytest.raises(ProviderUnavailable):
        verified(provider, world.token())


def test_given_an_issuer_that_is_down_when_verified_then_it_is_unavailable(
    world: World,
) -> None:
    world.server.down = True

    with pytest.raises(ProviderUnavailable):
        verified(world.by_jwks(), world.token())


def test_given_a_stranger_when_verified_then_no_keys_are_fetched(
    world: World,
) -> None:
    assert reason_of(world.by_jwks(), world.token({"iss": "x"})) == "wrong issuer"
    assert world.server.asked == []


def _field(name: str, field_name: str = "", *, required: bool = False) -> Any:
    return changed(
        {"name": name, "required": required}, {"field_name": field_name or ...}
    )


@pytest.mark.parametrize(
    ("field", "claims", "data"),
    [
        pytest.param(_field("name"), {"name": "Ada"}, {"name": "Ada"}, id="text"),
        pytest.param(
            _field("mySecretField", "secret"),
            {"mySecretField": "hi"},
            {"secret": "hi"},
            id="renamed",
        ),
        pytest.param(_field("age"), {"age": 5}, {"age": "5"}, id="number"),
        pytest.param(_field("age"), {"age": 5.5}, {"age": "5.5"}, id="fraction"),
        pytest.param(_field("ok"), {"ok": True}, {"ok": "true"}, id="bool"),
        pytest.param(_field("x"), {"x": ""}, {"x": ""}, id="empty"),
        pytest.param(_field("x"), {"x": None}, {}, id="null"),
        pytest.param(_field("x"), {"x": ["a"]}, {}, id="list"),
        pytest.param(_field("x"), {"x": {"y": 1}}, {}, id="object"),
        pytest.param(_field("x"), {}, {}, id="missing"),
        pytest.param(
            _field("user.name.first", "first_name"),
            {"user": {"name": {"first": "Ada"}}},
            {"first_name": "Ada"},
            id="nested",
        ),
        pytest.param(_field("a.b"), {"a": {"b": "x"}}, {"a.b": "x"}, id="dotted"),
        pytest.param(_field("a.b.c"), {"a": {"b": "x"}}, {}, id="too far"),
        pytest.param(_field("a."), {"a": {"": "x"}}, {"a.": "x"}, id="empty part"),
        pytest.param(
            _field("a.b"), {"a.b": "y", "a": {"b": "x"}}, {"a.b": "y"}, id="literal"
        ),
        pytest.param(
            _field("https://x.example/role", "role"),
            {"https://x.example/role": "admin"},
            {"role": "admin"},
            id="URL",
        ),
        pytest.param(_field("x"), {"x": "y" * 1025}, {"x": "y" * 1024}, id="cut"),
        pytest.param(_field("x"), {"x": "a\ud800"}, {"x": "a?"}, id="half a character"),
        pytest.param(
            _field("x", required=True), {"x": "a"}, {"x": "a"}, id="required, there"
        ),
    ],
)
def test_given_a_metadata_field_when_verified_then_it_becomes_text_of_the_profile(
    field: Any, claims: dict[str, Any], data: dict[str, str], world: World
) -> None:
    identity = verified(world.by_jwks(metadata_fields=[field]), world.token(claims))

    assert identity.data == data


@pytest.mark.parametrize("value", [..., None, [], {}])
def test_given_a_required_field_when_it_is_missing_then_the_token_is_refused(
    value: object, world: World
) -> None:
    provider = world.by_jwks(metadata_fields=[_field("x", required=True)])

    reason = reason_of(provider, world.token({"x": value}))

    assert reason == "a required metadata field is missing"


def test_given_many_metadata_fields_when_verified_then_32_are_kept(
    world: World,
) -> None:
    names = [f"field{n}" for n in range(40)]
    provider = world.by_jwks(metadata_fields=[_field(name) for name in names])

    identity = verified(provider, world.token(dict.fromkeys(names, "x")))

    assert list(identity.data) == names[:MAX_FIELDS]


def test_given_a_refusal_when_worded_then_it_quotes_nothing_of_the_token(
    world: World, stranger: Signer
) -> None:
    marked = {"sub": "MARK", "iss": ISSUER, "aud": "MARK", "exp": AT, "x": "MARK"}
    tokens = [
        world.signer.sign(marked),
        world.signer.sign(marked, kid="MARK"),
        stranger.sign(marked),
        unsigned(marked, alg="MARK"),
        f"MARK.{encoded(marked)}.MARK",
    ]

    for token in tokens:
        with pytest.raises(BadCredential) as refusal:
            verified(world.by_jwks(), token)
        assert "MARK" not in f"{refusal.value!r} {refusal.value.reason}"
