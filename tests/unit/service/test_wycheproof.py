"""Project Wycheproof's vectors, by our own verifiers.

They sign texts such as `foo`, not claims. So PyJWT reads any payload here as good
claims once the signature is good. Everything else is as deployed. A table lists where
this service differs from Wycheproof's opinion, with the reason.
"""

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from anonauth import tokens
from anonauth.domain.signing_keys import (
    KeyUse,
    Ring,
    RingKey,
)
from anonauth.errors import (
    AuthError,
    BadCredential,
    BadRequest,
    InvalidSession,
    SettingsUnavailable,
)
from anonauth.issuers.key_sets import KeySets
from anonauth.issuers.tokens import ForeignToken
from anonauth.keys import KeyRing
from anonauth.provider_settings.document import DocumentError, parse
from anonauth.provider_settings.schema import CustomTokenSettings
from anonauth.providers.custom_token import CustomToken
from anonauth.tokens import Tokens
from support.forgery.wycheproof import Vector, vectors
from support.service.rings import MemoryRings, TaggedWrapping

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
APP = "myapp-abcde"
ISSUER = "https://issuer.example.com"
URL = f"{ISSUER}/jwks"
LATER = {"iat": AT, "exp": AT + 300, "sub": "user-1"}
FOREIGN = {**LATER, "iss": ISSUER, "aud": APP}
ACCESS = {
    **LATER,
    "typ": "access",
    "aud": APP,
    "iss": f"https://auth.example.com/api/client/v2.0/app/{APP}",
    "sid": "s",
}
URN = f"urn:anonauth:{APP}:session"
REFRESH = {
    **LATER,
    "typ": "refresh",
    "aud": URN,
    "iss": URN,
    "baas_id": "s",
    "jti": "j",
}
PUBLIC = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES512"}
SHORTEST = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes

Record = Callable[[str, object], None]
Verify = Callable[[Vector], object]

REFUSED_THOUGH_VALID = {
    # RFC 7517 §4.4: a key is for the algorithm that it says, and for no other.
    **dict.fromkeys(
        ("signature 346", "signature 350"), "a key for PS256, a JWS of PS384"
    ),
    **dict.fromkeys(("signature 347", "signature 351"), "`ES521` is no algorithm"),
    # RFC 7515 §2: base64url has no such character.
    **dict.fromkeys(("signature 372", "signature 373"), "`?` in what is signed"),
}
ACCEPTED_THOUGH_INVALID = {
    # To the letter the JWS of vector 357, which is valid.
    **dict.fromkeys(("signature 367", "signature 370"), "valid elsewhere"),
}
ONLY_THE_JWK_IS_WRONG = {"key 1", "key 4", "key 25", "key 26"}
"""Secrets whose JWK does not fit. Our settings hold text without `alg` or `kid`."""


@pytest.fixture
def payload(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The claims that any payload is read as: theirs are texts, and no objects."""
    claims: dict[str, Any] = {}
    monkeypatch.setattr(tokens, "_claims_in", lambda payload: dict(claims))
    # PyJWT means this to be overridden.
    monkeypatch.setattr(
        jwt.PyJWT, "_decode_payload", lambda self, decoded: dict(claims)
    )
    return claims


def differing(
    chosen: list[Vector], verify: Verify, record: Record, only: str = ""
) -> Mapping[str, str]:
    """Return the outcomes that differ from what Wycheproof and the tables say.

    A refusal is clean if it is 400 or 401, and no exception of a library.

    Args:
        only: The one algorithm that is offered. Valid vectors of others are refused.
    """
    told: Counter[str] = Counter()
    wrong = {}
    for vector in chosen:
        try:
            verify(vector)
            outcome = "accepted"
        except (BadCredential, BadRequest, InvalidSession):
            outcome = "refused"
        good = vector.valid and vector.id not in REFUSED_THOUGH_VALID
        offered = only in ("", vector.said)
        expected = (good and offered) or vector.id in ACCEPTED_THOUGH_INVALID
        told[outcome] += 1
        if outcome != ("accepted" if expected else "refused"):
            wrong[vector.name] = outcome
    record("vectors", dict(told))
    assert told["accepted"]
    assert told["refused"]
    return wrong


def public(chosen: list[Vector]) -> list[Vector]:
    return [vector for vector in chosen if vector.keys[0]["kty"] != "oct"]


def secret(chosen: list[Vector]) -> list[Vector]:
    return [vector for vector in chosen if vector.keys[0]["kty"] == "oct"]


class Documents:
    """A JWK Set, without the fetching."""

    def __init__(self, vector: Vector) -> None:
        self._keys = list(vector.keys)

    def document(self, url: str) -> Mapping[str, Any]:
        return {"keys": self._keys}


def custom_token(vector: Vector, algorithm: str, **keys: str) -> object:
    """Present the vector to the custom-token provider, with its issuer's keys."""
    issuer = {"issuer": ISSUER, "algorithm": algorithm, **keys}
    settings = msgspec.convert({"issuers": [issuer]}, CustomTokenSettings)
    provider = CustomToken(APP, settings, KeySets(Documents(vector)))
    return provider.verify({"token": vector.jws}, network="", now=NOW)


def by_key_set(vector: Vector) -> object:
    algorithm = vector.keys[0].get("alg")
    if algorithm not in PUBLIC:
        algorithm = vector.said
    return custom_token(vector, algorithm, jwks_url=URL)


def by_pem(vector: Vector) -> object:
    key = jwt.PyJWK({**vector.keys[0], "alg": vector.said}).key
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return custom_token(vector, vector.said, pem=pem.decode())


def by_secret(vector: Vector) -> object:
    """The provider's own check: the keys are bytes, which no settings can have."""
    token = ForeignToken(vector.jws, kind="token")
    return token.verify((key_of(vector),), vector.keys[0]["alg"])


def key_of(vector: Vector) -> bytes:
    return base64.urlsafe_b64decode(vector.keys[0]["k"] + "==")


def least(vector: Vector) -> int:
    return SHORTEST.get(vector.keys[0]["alg"], 0)


def is_sound(vector: Vector) -> bool:
    """Tell whether the secret could be one of ours, or of the settings."""
    return vector.id not in ONLY_THE_JWK_IS_WRONG and (
        len(key_of(vector)) >= least(vector)
    )


def test_given_the_vectors_when_read_then_none_is_left_out() -> None:
    """Each is of a public key or of a secret, and the tests below have both."""
    found = vectors()

    assert len(found) == 427
    assert len({vector.id for vector in found}) == len(found)
    assert len(public(found)) + len(secret(found)) == len(found)


def test_given_a_vector_when_it_is_a_custom_jwt_then_only_a_valid_one_is_taken(
    payload: dict[str, Any], record_property: Record
) -> None:
    payload |= FOREIGN

    assert differing(public(vectors()), by_key_set, record_property) == {}


@pytest.mark.parametrize("id_", ["346", "347", "350", "351"])
def test_given_a_jwk_of_another_algorithm_when_its_pem_is_configured_then_it_is_taken(
    id_: str, payload: dict[str, Any]
) -> None:
    """The signature is good. The JWK does not fit the algorithm."""
    payload |= FOREIGN
    (vector,) = (each for each in vectors() if each.id == f"signature {id_}")

    by_pem(vector)


def test_given_a_vector_when_it_is_signed_by_a_secret_then_only_a_valid_one_is_taken(
    payload: dict[str, Any], record_property: Record
) -> None:
    payload |= FOREIGN
    chosen = [each for each in secret(vectors()) if is_sound(each)]

    assert differing(chosen, by_secret, record_property) == {}


def test_given_a_weak_secret_when_configured_then_the_settings_are_refused() -> None:
    """Short or empty: vectors `key 10` to `12` and `16` to `18`."""
    weak = [each for each in secret(vectors()) if len(key_of(each)) < least(each)]

    for vector in weak:
        text = "x" * len(key_of(vector))
        issuer = {"algorithm": vector.keys[0]["alg"], "secret": text}
        apps = {APP: {"custom-token": {"issuers": [issuer]}}}
        with pytest.raises(DocumentError, match="secret"):
            parse(json.dumps({"apps": apps}))
    assert len(weak) == 6


def test_given_a_secret_in_a_key_set_when_verified_then_it_is_never_used(
    payload: dict[str, Any],
) -> None:
    """What is published is no secret: valid vectors are refused as well."""
    payload |= FOREIGN

    for vector in secret(vectors()):
        if vector.jws and vector.jws.isascii():
            with pytest.raises((SettingsUnavailable, BadCredential)):
                custom_token(vector, "HS256", jwks_url=URL)
        for algorithm in PUBLIC:
            with pytest.raises((BadCredential, BadRequest)):
                custom_token(vector, algorithm, jwks_url=URL)


def tokens_of(use: KeyUse, keys: Mapping[str, bytes]) -> Tokens:
    """Return our own verifier, with a ring of these keys by id."""
    rings, wrapping = MemoryRings(), TaggedWrapping()
    long_ago = NOW - timedelta(days=1)
    rings.ring = Ring(
        1,
        tuple(
            RingKey(
                kid,
                use,
                wrapping.wrap(key, {"ring": use, "kid": kid}),
                key if use == "access" else None,
                long_ago,
                long_ago,
                None,
            )
            for kid, key in keys.items()
        ),
    )
    return Tokens(
        KeyRing(rings, wrapping),
        app_ids=frozenset({APP}),
        access_lifetime=timedelta(minutes=30),
    )


def test_given_a_vector_when_it_is_an_access_token_then_only_valid_rs256_is_taken(
    payload: dict[str, Any], record_property: Record
) -> None:
    """RSA vectors only. Our ring has no other keys, and none of the three weak ones."""
    payload |= ACCESS
    chosen = [
        vector
        for vector in public(vectors())
        if vector.keys[0]["kty"] == "RSA"
        and (vector.valid or vector.keys[0].get("alg") == "RS256")
        and vector.id not in {"key 7", "key 8", "key 9"}
    ]

    def read(vector: Vector) -> object:
        key = jwt.PyJWK({**vector.keys[0], "alg": "RS256"}).key
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        tokens = tokens_of("access", {vector.keys[0]["kid"]: der})
        return tokens.read_access_token(vector.jws, NOW)

    # Our keys do RS256, whatever a token says, and though the key could do more.
    assert differing(chosen, read, record_property, only="RS256") == {}


def test_given_a_vector_when_it_is_a_refresh_token_then_only_valid_hs256_is_taken(
    payload: dict[str, Any], record_property: Record
) -> None:
    """Whole secrets only. Those of our ring are 32 bytes that we generate."""
    payload |= REFRESH
    chosen = [each for each in secret(vectors()) if is_sound(each)]

    def read(vector: Vector) -> object:
        keys = {
            key["kid"]: base64.urlsafe_b64decode(key["k"] + "==") for key in vector.keys
        }
        return tokens_of("refresh", keys).read_refresh_token(vector.jws, NOW)

    assert differing(chosen, read, record_property, only="HS256") == {}


@pytest.mark.parametrize("verify", [by_key_set, by_secret])
def test_given_a_valid_vector_when_its_text_is_read_as_it_is_then_it_is_no_token(
    verify: Verify,
) -> None:
    """Without the other payload: each is a clean refusal."""
    chosen = public(vectors()) if verify is by_key_set else secret(vectors())

    for vector in (each for each in chosen if each.valid):
        with pytest.raises(AuthError) as refusal:
            verify(vector)
        assert isinstance(refusal.value, BadCredential)
        assert refusal.value.reason.endswith("malformed")
