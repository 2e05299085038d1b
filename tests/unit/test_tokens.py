"""What is in the tokens, and every way in which a token can be wrong."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt
import pytest

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
from forgeries import ACCESS_CLAIMS, REFRESH_CLAIMS, Target, forgeries
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

    def refresh(self, jti: str = "jti") -> str:
        return self.tokens.refresh_token(USER, SESSION, jti=jti, now=NOW)

    def takes_access(self, token: str) -> bool:
        """Tell whether it is taken; it is refused by `InvalidSession` alone."""
        try:
            self.tokens.read_access_token(token, NOW)
        except InvalidSession:
            return False
        return True

    def takes_refresh(self, token: str) -> bool:
        """Tell whether it is taken; it is refused by `InvalidSession` alone."""
        try:
            self.tokens.read_refresh_token(token, NOW)
        except InvalidSession:
            return False
        return True

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


def test_given_a_forged_access_token_when_read_then_it_is_refused(world: World) -> None:
    forged = forgeries(
        Target(
            world.access(),
            {"": world.access(), "refresh": world.refresh()},
            key=world.private,
            other_key=(world.refresh_kid, world.shared),
            public=world.private.public_key(),
            required=ACCESS_CLAIMS,
        )
    )

    taken = [name for name, token in forged.items() if world.takes_access(token)]

    assert taken == []
    assert len(forged) > 300
    assert world.takes_access(world.access())


def test_given_a_forged_refresh_token_when_read_then_it_is_refused(
    world: World,
) -> None:
    forged = forgeries(
        Target(
            world.refresh(),
            {"": world.refresh(jti="another"), "access": world.access()},
            key=world.shared,
            other_key=(world.access_kid, world.private),
            public=world.private.public_key(),
            required=REFRESH_CLAIMS,
        )
    )

    taken = [name for name, token in forged.items() if world.takes_refresh(token)]

    assert taken == []
    assert len(forged) > 300
    assert world.takes_refresh(world.refresh())


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
