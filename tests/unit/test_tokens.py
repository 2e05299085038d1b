"""What is in the tokens, and every way in which a token can be wrong."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from anonauth.domain import (
    ANONYMOUS,
    AccessClaims,
    Device,
    Identity,
    RefreshClaims,
    Session,
    User,
    expiry_after,
    hash_token_id,
)
from anonauth.errors import AppNotFound, InvalidSession
from anonauth.tokens import Tokens
from rings import RingInMemory

NOW = datetime(2026, 3, 10, 12, 0, 0, 500_000, tzinfo=UTC)
ISSUED = int(NOW.timestamp())
SECOND = timedelta(seconds=1)
APP = "myapp-abcde"
BASE_URL = "https://auth.example.com"
SESSION = Session(
    id="5" * 24,
    token_hash=hash_token_id("jti"),
    provider=ANONYMOUS,
    created_at=NOW,
    used_day=NOW.date(),
    device=Device("d" * 24),
)
USER = User(
    app=APP,
    id="a" * 24,
    anonymous=True,
    version=1,
    created_at=NOW,
    last_active_day=NOW.date(),
    expires_at=expiry_after(NOW),
    sessions={SESSION.id: SESSION},
    identities=(Identity("i" * 24 + "-" + "x" * 24, ANONYMOUS),),
)
decode = partial(  # as SDKs do: without verifying
    jwt.decode, options={"verify_signature": False}
)


class World:
    """A ring and its tokens, and what a forger has of them."""

    def __init__(self) -> None:
        ring = RingInMemory()
        ring.rotate(NOW)
        self.ring = ring.open()
        self.tokens = Tokens(
            self.ring, app_ids=frozenset({APP}), access_lifetime=timedelta(minutes=30)
        )
        self.access_kid, self.private = self.ring.access_signing_key(NOW)
        self.refresh_kid, self.shared = self.ring.refresh_signing_key(NOW)

    def access(self) -> str:
        return self.tokens.access_token(USER, SESSION, base_url=BASE_URL, now=NOW)

    def refresh(self) -> str:
        return self.tokens.refresh_token(USER, SESSION, jti="jti", now=NOW)

    def resign_access(self, **changes: Any) -> str:
        claims = _changed(decode(self.access()), changes)
        return jwt.encode(
            claims, self.private, "RS256", headers={"kid": self.access_kid}
        )

    def resign_refresh(self, **changes: Any) -> str:
        claims = _changed(decode(self.refresh()), changes)
        return jwt.encode(
            claims, self.shared, "HS256", headers={"kid": self.refresh_kid}
        )


def _changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = claims | changes
    return {name: value for name, value in merged.items() if value is not ...}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_given_an_anonymous_user_when_signed_then_the_access_token_says_so(
    world: World,
) -> None:
    token = world.access()

    assert jwt.get_unverified_header(token) == {
        "alg": "RS256",
        "typ": "at+jwt",
        "kid": world.access_kid,
    }
    claims = decode(token)
    jti = claims.pop("jti")
    domain = claims.pop("baas_domain_id")
    assert claims == {
        "iss": f"{BASE_URL}/api/client/v2.0/app/{APP}",
        "aud": APP,
        "client_id": APP,
        "sub": USER.id,
        "sid": SESSION.id,
        "iat": ISSUED,
        "exp": ISSUED + 1800,
        "typ": "access",
        "anonymous": True,
        "provider": "anon-user",
        "baas_device_id": "d" * 24,
        "stitch_devId": "d" * 24,
        "stitch_domainId": domain,
    }
    assert len(domain) == 24
    assert jti != decode(world.access())["jti"]


def test_given_a_session_when_signed_then_the_refresh_token_names_no_host(
    world: World,
) -> None:
    token = world.refresh()

    assert jwt.get_unverified_header(token) == {
        "alg": "HS256",
        "typ": "JWT",
        "kid": world.refresh_kid,
    }
    claims = decode(token)
    identity = claims.pop("baas_identity")
    domain = claims.pop("baas_domain_id")
    assert claims == {
        "iss": f"urn:anonauth:{APP}:session",
        "aud": f"urn:anonauth:{APP}:session",
        "sub": USER.id,
        "jti": "jti",
        "iat": ISSUED,
        "exp": ISSUED + 5 * 365 * 86400,
        "typ": "refresh",
        "baas_id": SESSION.id,
        "stitch_id": SESSION.id,
        "stitch_ident": identity,
        "baas_data": None,
        "stitch_data": None,
        "baas_device_id": "d" * 24,
        "stitch_devId": "d" * 24,
        "stitch_domainId": domain,
    }
    assert identity["id"] == USER.identities[0].id
    assert identity["provider_type"] == "anon-user"
    assert len(identity["provider_id"]) == 24


def test_given_good_tokens_when_read_then_they_say_whose_they_are(world: World) -> None:
    assert world.tokens.read_access_token(world.access(), NOW) == AccessClaims(
        APP, USER.id, SESSION.id, anonymous=True
    )
    assert world.tokens.read_refresh_token(world.refresh(), NOW) == RefreshClaims(
        APP, USER.id, SESSION.id, SESSION.token_hash
    )


def test_given_another_host_in_iss_when_read_then_the_token_is_good(
    world: World,
) -> None:
    issuer = f"https://old.example/api/client/v2.0/app/{APP}"

    world.tokens.read_access_token(world.resign_access(iss=issuer), NOW)


AFTER_ACCESS = timedelta(minutes=30, seconds=60)
AFTER_REFRESH = timedelta(days=5 * 365, seconds=60)


def test_given_an_access_token_when_its_time_is_over_then_a_minute_is_granted(
    world: World,
) -> None:
    token = world.access()

    world.tokens.read_access_token(token, NOW + AFTER_ACCESS - SECOND)
    with pytest.raises(InvalidSession, match="access token expired"):
        world.tokens.read_access_token(token, NOW + AFTER_ACCESS)


def test_given_a_refresh_token_when_its_time_is_over_then_a_minute_is_granted(
    world: World,
) -> None:
    token = world.refresh()

    world.tokens.read_refresh_token(token, NOW + AFTER_REFRESH - SECOND)
    with pytest.raises(InvalidSession, match="refresh token expired"):
        world.tokens.read_refresh_token(token, NOW + AFTER_REFRESH)


def test_given_a_clock_behind_ours_when_read_then_a_minute_is_granted(
    world: World,
) -> None:
    for token, read in (
        (world.access(), world.tokens.read_access_token),
        (world.refresh(), world.tokens.read_refresh_token),
    ):
        read(token, NOW - 60 * SECOND)
        with pytest.raises(InvalidSession, match="issued in the future"):
            read(token, NOW - 61 * SECOND)


def test_given_an_app_that_is_gone_when_read_then_it_is_not_an_invalid_session(
    world: World,
) -> None:
    """An operator who forgets an app id must not throw its users away."""
    other = "other-fghij"
    access = world.resign_access(
        aud=other, iss=f"{BASE_URL}/api/client/v2.0/app/{other}"
    )
    urn = f"urn:anonauth:{other}:session"
    refresh = world.resign_refresh(aud=urn, iss=urn)

    with pytest.raises(AppNotFound, match=other):
        world.tokens.read_access_token(access, NOW)
    with pytest.raises(AppNotFound, match=other):
        world.tokens.read_refresh_token(refresh, NOW)


BAD_CLAIMS: list[Any] = [
    pytest.param({"typ": ...}, id="no typ"),
    pytest.param({"typ": "refresh", "baas_id": "5" * 24}, id="typ refresh"),
    pytest.param({"aud": ...}, id="no aud"),
    pytest.param({"aud": [APP]}, id="aud in a list"),
    pytest.param({"aud": "other-fghij"}, id="aud is not the app in iss"),
    pytest.param({"iss": ...}, id="no iss"),
    pytest.param({"iss": BASE_URL}, id="iss without app"),
    pytest.param(
        {"iss": f"{BASE_URL}/api/client/v2.0/app/{APP}/"}, id="iss with a slash"
    ),
    pytest.param({"sub": ...}, id="no sub"),
    pytest.param({"sub": 5}, id="sub is a number"),
    pytest.param({"sid": ...}, id="no sid"),
    pytest.param({"sid": None}, id="sid is null"),
    pytest.param({"sid": ""}, id="sid is empty"),
    pytest.param({"exp": ...}, id="no exp"),
    pytest.param({"exp": str(ISSUED + 1800)}, id="exp is text"),
    pytest.param({"exp": ISSUED + 1800.5}, id="exp is a fraction"),
    pytest.param({"exp": True}, id="exp is true"),
    pytest.param({"exp": -1}, id="exp is negative"),
    pytest.param({"iat": ...}, id="no iat"),
    pytest.param({"iat": None}, id="iat is null"),
    pytest.param({"iat": True}, id="iat is true"),
    pytest.param({"iat": ISSUED + 3600, "exp": ISSUED + 7200}, id="future iat"),
]


@pytest.mark.parametrize("changes", BAD_CLAIMS)
def test_given_a_bad_claim_when_signed_by_our_own_key_then_it_is_refused(
    changes: dict[str, Any], world: World
) -> None:
    token = world.resign_access(**changes)

    with pytest.raises(InvalidSession):
        world.tokens.read_access_token(token, NOW)


URN = f"urn:anonauth:{APP}:session"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"typ": ...}, id="no typ"),
        pytest.param({"typ": "access"}, id="typ access"),
        pytest.param({"aud": ...}, id="no aud"),
        pytest.param({"aud": APP, "iss": APP}, id="aud is the bare app"),
        pytest.param({"aud": [URN]}, id="aud in a list"),
        pytest.param({"iss": ...}, id="no iss"),
        pytest.param({"iss": BASE_URL}, id="iss is a host"),
        pytest.param({"iss": "urn:anonauth:other-fghij:session"}, id="iss of another"),
        pytest.param({"sub": ...}, id="no sub"),
        pytest.param({"baas_id": ...}, id="no session"),
        pytest.param({"baas_id": 5}, id="session is a number"),
        pytest.param({"baas_id": ""}, id="session is empty"),
        pytest.param({"jti": ...}, id="no jti"),
        pytest.param({"jti": ["jti"]}, id="jti in a list"),
        pytest.param({"exp": ...}, id="no exp"),
        pytest.param({"iat": ISSUED + 3600}, id="future iat"),
    ],
)
def test_given_a_bad_claim_when_a_refresh_token_has_it_then_it_is_refused(
    changes: dict[str, Any], world: World
) -> None:
    token = world.resign_refresh(**changes)

    with pytest.raises(InvalidSession):
        world.tokens.read_refresh_token(token, NOW)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _tampered(token: str, **changes: Any) -> str:
    head, _, signature = token.split(".")
    claims = json.dumps(decode(token) | changes).encode()
    return f"{head}.{_b64(claims)}.{signature}"


def _with_header(token: str, header: Any) -> str:
    return ".".join([_b64(json.dumps(header).encode()), *token.split(".")[1:]])


def _signed(token: str, key: Any, alg: str, **header: Any) -> str:
    return jwt.encode(decode(token), key, alg, headers=header)


def _flipped(token: str, at: int) -> str:
    old = token[at]
    return token[:at] + ("A" if old != "A" else "B") + token[at + 1 :]


def _public_pem(world: World) -> bytes:
    return world.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


def _hs_by_public_key(world: World) -> str:
    # PyJWT refuses to sign with a PEM, so the forger does it by hand.
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    header = _b64(json.dumps({"alg": "HS256", "kid": world.access_kid}).encode())
    signed = f"{header}.{world.access().split('.')[1]}"
    mac = hmac.new(_public_pem(world), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_b64(mac)}"


OTHER_RSA = rsa.generate_private_key(65537, 2048)
OTHER_EC = ec.generate_private_key(ec.SECP256R1())

Forge = Callable[[World, str], str]
FORGERIES: list[Any] = [
    pytest.param(lambda w, t: "", id="empty"),
    pytest.param(lambda w, t: "null", id="null"),
    pytest.param(lambda w, t: "undefined", id="undefined"),
    pytest.param(lambda w, t: "..", id="two dots"),
    pytest.param(lambda w, t: "a.b", id="two parts"),
    pytest.param(lambda w, t: t + ".x", id="four parts"),
    pytest.param(lambda w, t: t + "x" * 9000, id="huge"),
    pytest.param(lambda w, t: "é" + t, id="not ASCII"),
    pytest.param(lambda w, t: "\udc80" + t, id="half a character"),
    pytest.param(lambda w, t: _b64(b"[" * 6000) + ".e30.x", id="deep header"),
    pytest.param(lambda w, t: _with_header(t, []), id="header is an array"),
    pytest.param(lambda w, t: _with_header(t, {}), id="empty header"),
    pytest.param(
        lambda w, t: _with_header(t, {"alg": "RS256", "kid": [1]}), id="kid is a list"
    ),
    pytest.param(
        lambda w, t: _with_header(t, {"alg": 5, "kid": w.access_kid}), id="alg is 5"
    ),
    pytest.param(lambda w, t: _signed(t, None, "none"), id="alg none"),
    pytest.param(
        lambda w, t: _signed(t, None, "none", kid=w.access_kid), id="alg none, our kid"
    ),
    pytest.param(
        lambda w, t: _with_header(t, {"alg": "nOnE", "kid": w.access_kid}), id="nOnE"
    ),
    pytest.param(lambda w, t: t.rpartition(".")[0] + ".", id="no signature"),
    pytest.param(lambda w, t: _flipped(t, -20), id="signature edited"),
    pytest.param(lambda w, t: t[:-20], id="signature cut"),
    pytest.param(lambda w, t: t + "=" * (-len(t.split(".")[2]) % 4), id="padded"),
    pytest.param(lambda w, t: _flipped(t, t.index(".") + 9), id="claims edited"),
    pytest.param(lambda w, t: _tampered(t, sub="b" * 24), id="another user"),
    pytest.param(lambda w, t: _tampered(t, exp=2**40), id="longer life"),
    pytest.param(
        lambda w, t: _signed(t, OTHER_RSA, "RS256", kid=w.access_kid), id="other RSA"
    ),
    pytest.param(lambda w, t: _signed(t, OTHER_RSA, "RS256"), id="no kid"),
    pytest.param(
        lambda w, t: _signed(t, OTHER_RSA, "RS256", kid="unknown"), id="unknown kid"
    ),
    pytest.param(
        lambda w, t: _signed(t, OTHER_RSA, "RS512", kid=w.access_kid), id="RS512"
    ),
    pytest.param(
        lambda w, t: _signed(t, OTHER_RSA, "PS256", kid=w.access_kid), id="PS256"
    ),
    pytest.param(
        lambda w, t: _signed(t, OTHER_EC, "ES256", kid=w.access_kid), id="ES256"
    ),
    pytest.param(
        lambda w, t: _signed(t, b"k" * 32, "HS256", kid=w.refresh_kid), id="other HMAC"
    ),
    pytest.param(
        lambda w, t: _signed(t, b"k" * 64, "HS512", kid=w.refresh_kid), id="HS512"
    ),
    pytest.param(lambda w, t: _hs_by_public_key(w), id="HMAC by the public key"),
    pytest.param(
        lambda w, t: _signed(t, w.private, "RS256", kid=w.refresh_kid),
        id="RSA under the HMAC kid",
    ),
    pytest.param(
        lambda w, t: _signed(
            t, OTHER_RSA, "RS256", jwk={"kty": "RSA"}, jku="https://evil.example"
        ),
        id="key in the header",
    ),
    pytest.param(
        lambda w, t: (
            _signed(t, w.shared, "HS256", kid=w.refresh_kid, crit=["exp"], exp=1)
            if w.refresh_kid in json.dumps(jwt.get_unverified_header(t))
            else _signed(t, w.private, "RS256", kid=w.access_kid, crit=["exp"], exp=1)
        ),
        id="unknown crit",
    ),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_given_a_forged_token_when_read_then_it_is_refused(
    forge: Forge, world: World
) -> None:
    with pytest.raises(InvalidSession):
        world.tokens.read_access_token(forge(world, world.access()), NOW)
    with pytest.raises(InvalidSession):
        world.tokens.read_refresh_token(forge(world, world.refresh()), NOW)


def test_given_one_kind_of_token_when_read_as_the_other_then_it_is_refused(
    world: World,
) -> None:
    with pytest.raises(InvalidSession, match="signature is invalid"):
        world.tokens.read_access_token(world.refresh(), NOW)
    with pytest.raises(InvalidSession, match="signature is invalid"):
        world.tokens.read_refresh_token(world.access(), NOW)


def test_given_a_token_of_the_old_service_when_read_then_it_is_refused(
    world: World,
) -> None:
    """Header and claims as App Services made them (contract §3)."""
    old = jwt.encode(
        {"typ": "refresh", "baas_id": "5" * 24, "exp": 2**33, "iat": ISSUED},
        b"a key that only MongoDB knew, long",
        "HS256",
    )

    for read in (world.tokens.read_access_token, world.tokens.read_refresh_token):
        with pytest.raises(InvalidSession, match="signature is invalid"):
            read(old, NOW)
