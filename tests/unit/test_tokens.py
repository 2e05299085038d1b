"""What is in the tokens, and every way in which a token can be wrong."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from anonauth.domain.claims import AccessClaims, RefreshClaims
from anonauth.domain.identities import Identity
from anonauth.domain.users import ApiKey
from anonauth.errors import AppNotFound, ClockBehind, InvalidSession
from support.forgery.forgeries import ACCESS_CLAIMS, REFRESH_CLAIMS, Target, forgeries
from support.forgery.own_tokens import (
    BASE_URL,
    NOW,
    SESSION,
    USER,
    OwnTokens,
    decode,
)
from support.service.harness import APP

ISSUED = int(NOW.timestamp())
SECOND = timedelta(seconds=1)
MALFORMED = "invalid session: malformed token"
BAD_SIGNATURE = "signature is invalid"
NOT_ACCESS = "invalid session: not an access token"
NOT_REFRESH = "invalid session: not a refresh token"
ACCESS_EXPIRED = "invalid session: access token expired"
REFRESH_EXPIRED = "invalid session: refresh token expired"


def refusal(read: Callable[[str, datetime], object], token: str, now: datetime) -> str:
    """Return the text that a client is told."""
    with pytest.raises(InvalidSession) as refused:
        read(token, now)
    return str(refused.value)


@pytest.fixture
def world() -> OwnTokens:
    return OwnTokens()


def test_given_an_anonymous_user_when_signed_then_the_access_token_says_so(
    world: OwnTokens,
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
    assert len(bytes.fromhex(jti)) == 16
    assert jti != decode(world.access())["jti"]


def test_given_a_session_when_signed_then_the_refresh_token_names_no_host(
    world: OwnTokens,
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


def test_given_a_session_of_an_identity_when_signed_then_the_refresh_token_names_it(
    world: OwnTokens,
) -> None:
    """By its id, also where two issuers have given one: what differs is the key."""
    first, second = (Identity("1001", "custom-token", key) for key in ("k1", "k2"))
    email = Identity("l" * 24, "local-userpass", "k3")
    user = replace(USER, identities=(*USER.identities, first, second, email))
    by_second = replace(SESSION, provider="custom-token", identity_key="k2")
    by_email = replace(SESSION, provider="local-userpass", identity_key="k3")

    ids = [
        decode(world.tokens.refresh_token(user, session, jti="jti", now=NOW))[
            "baas_identity"
        ]["id"]
        for session in (SESSION, by_second, by_email)
    ]

    assert ids == [USER.identities[0].id, "1001", "l" * 24]


def test_given_a_session_of_an_api_key_when_signed_then_the_refresh_token_names_it(
    world: OwnTokens,
) -> None:
    """A token is named by its id. The hash in the session is not told."""
    key = ApiKey("f" * 24, "ci", "hash", NOW)
    user = replace(USER, api_keys={key.id: key})
    session = replace(SESSION, provider="api-key", identity_key="hash")

    token = world.tokens.refresh_token(user, session, jti="jti", now=NOW)

    identity = decode(token)["baas_identity"]
    assert (identity["id"], identity["provider_type"]) == ("f" * 24, "api-key")
    assert "hash" not in str(decode(token))


def test_given_a_token_without_kid_when_read_then_the_ring_is_not_asked(
    world: OwnTokens,
) -> None:
    """A kid that is unknown may be of a new key, and costs a read of the table."""
    other = rsa.generate_private_key(65537, 2048)
    token = jwt.encode(decode(world.access()), other, "RS256")
    later, loads = NOW + timedelta(minutes=2), world.rings.loads

    assert refusal(world.tokens.read_access_token, token, later) == BAD_SIGNATURE

    assert world.rings.loads == loads


def test_given_good_tokens_when_read_then_they_say_whose_they_are(
    world: OwnTokens,
) -> None:
    assert world.tokens.read_access_token(world.access(), NOW) == AccessClaims(
        APP, USER.id, SESSION.id, anonymous=True, issued_at=NOW.replace(microsecond=0)
    )
    assert world.tokens.read_refresh_token(world.refresh(), NOW) == RefreshClaims(
        APP, USER.id, SESSION.id, SESSION.token_hash
    )


def test_given_another_host_in_iss_when_read_then_the_token_is_good(
    world: OwnTokens,
) -> None:
    issuer = f"https://old.example/api/client/v2.0/app/{APP}"

    world.tokens.read_access_token(world.resign_access(iss=issuer), NOW)


AFTER_ACCESS = timedelta(minutes=30, seconds=60)
AFTER_REFRESH = timedelta(days=5 * 365, seconds=60)


def test_given_an_access_token_when_its_time_is_over_then_a_minute_is_granted(
    world: OwnTokens,
) -> None:
    token, read = world.access(), world.tokens.read_access_token

    read(token, NOW + AFTER_ACCESS - SECOND)
    assert refusal(read, token, NOW + AFTER_ACCESS) == ACCESS_EXPIRED


def test_given_a_refresh_token_when_its_time_is_over_then_a_minute_is_granted(
    world: OwnTokens,
) -> None:
    token, read = world.refresh(), world.tokens.read_refresh_token

    read(token, NOW + AFTER_REFRESH - SECOND)
    assert refusal(read, token, NOW + AFTER_REFRESH) == REFRESH_EXPIRED


def test_given_an_access_token_when_it_is_from_the_future_then_our_clock_is_blamed(
    world: OwnTokens,
) -> None:
    """Not the token: only a key of ours signs such a one."""
    token, read = world.access(), world.tokens.read_access_token

    read(token, NOW - 60 * SECOND)
    with pytest.raises(ClockBehind) as trouble:
        read(token, NOW - 61 * SECOND)
    assert trouble.value.detail == "issued 61 s after this function's time"


@pytest.mark.parametrize("ahead", [60, 61, 86_400 * 365 * 4])
def test_given_a_refresh_token_when_it_is_from_the_future_then_it_is_good(
    ahead: int, world: OwnTokens
) -> None:
    """The user's item decides. A 401 would cost a guest its user for good."""
    token = world.resign_refresh(iat=ISSUED + ahead)

    assert world.takes_refresh(token)


def test_given_an_app_that_is_gone_when_read_then_it_is_not_an_invalid_session(
    world: OwnTokens,
) -> None:
    """An operator that forgets an app id must not lose the app's users."""
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


FIRST_SECOND = int(datetime.min.replace(tzinfo=UTC).timestamp())
LAST_SECOND = int(datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp())
"""The dates that there are."""


def test_given_the_last_date_of_all_when_a_token_expires_then_it_is_one(
    world: OwnTokens,
) -> None:
    world.tokens.read_access_token(world.resign_access(exp=LAST_SECOND), NOW)
    assert world.takes_refresh(world.resign_refresh(exp=LAST_SECOND))


BAD_CLAIMS: list[Any] = [
    pytest.param({"typ": ...}, NOT_ACCESS, id="no typ"),
    pytest.param({"typ": "refresh", "baas_id": "5" * 24}, NOT_ACCESS, id="typ refresh"),
    pytest.param({"aud": ...}, MALFORMED, id="no aud"),
    pytest.param({"aud": [APP]}, MALFORMED, id="aud in a list"),
    pytest.param({"aud": "other-fghij"}, MALFORMED, id="aud is not the app in iss"),
    pytest.param({"iss": ...}, MALFORMED, id="no iss"),
    pytest.param({"iss": BASE_URL}, MALFORMED, id="iss without app"),
    pytest.param(
        {"iss": f"{BASE_URL}/api/client/v2.0/app/{APP}/"},
        MALFORMED,
        id="iss with a slash",
    ),
    pytest.param({"sub": ...}, MALFORMED, id="no sub"),
    pytest.param({"sub": 5}, MALFORMED, id="sub is a number"),
    pytest.param({"sid": ...}, MALFORMED, id="no sid"),
    pytest.param({"sid": None}, MALFORMED, id="sid is null"),
    pytest.param({"sid": ""}, MALFORMED, id="sid is empty"),
    pytest.param({"exp": ...}, MALFORMED, id="no exp"),
    pytest.param({"exp": str(ISSUED + 1800)}, MALFORMED, id="exp is text"),
    pytest.param({"exp": ISSUED + 1800.5}, MALFORMED, id="exp is a fraction"),
    pytest.param({"exp": True}, MALFORMED, id="exp is true"),
    pytest.param({"exp": -1}, ACCESS_EXPIRED, id="exp is negative"),
    pytest.param({"exp": (ISSUED + 1800) * 1000}, MALFORMED, id="exp in milliseconds"),
    pytest.param({"exp": LAST_SECOND + 1}, MALFORMED, id="exp in the year 10000"),
    pytest.param({"exp": 10**400}, MALFORMED, id="exp is huge"),
    pytest.param({"exp": 1e300}, MALFORMED, id="exp is a huge fraction"),
    pytest.param({"exp": FIRST_SECOND - 1}, MALFORMED, id="exp before the year 1"),
    pytest.param({"exp": FIRST_SECOND}, ACCESS_EXPIRED, id="exp in the year 1"),
    pytest.param({"iat": ...}, MALFORMED, id="no iat"),
    pytest.param({"iat": None}, MALFORMED, id="iat is null"),
    pytest.param({"iat": True}, MALFORMED, id="iat is true"),
    pytest.param({"iat": ISSUED * 1000}, MALFORMED, id="iat in milliseconds"),
    pytest.param({"iat": -(10**18)}, MALFORMED, id="iat is before all dates"),
]


@pytest.mark.parametrize(("changes", "text"), BAD_CLAIMS)
def test_given_a_bad_claim_when_signed_by_our_own_key_then_it_is_refused(
    changes: dict[str, Any], text: str, world: OwnTokens
) -> None:
    token = world.resign_access(**changes)

    assert refusal(world.tokens.read_access_token, token, NOW) == text


URN = f"urn:anonauth:{APP}:session"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"typ": ...}, NOT_REFRESH, id="no typ"),
        pytest.param({"typ": "access"}, NOT_REFRESH, id="typ access"),
        pytest.param({"aud": ...}, MALFORMED, id="no aud"),
        pytest.param({"aud": APP, "iss": APP}, NOT_REFRESH, id="aud is the bare app"),
        pytest.param({"aud": [URN]}, MALFORMED, id="aud in a list"),
        pytest.param({"iss": ...}, NOT_REFRESH, id="no iss"),
        pytest.param({"iss": BASE_URL}, NOT_REFRESH, id="iss is a host"),
        pytest.param(
            {"iss": "urn:anonauth:other-fghij:session"},
            NOT_REFRESH,
            id="iss of another",
        ),
        pytest.param({"sub": ...}, MALFORMED, id="no sub"),
        pytest.param({"baas_id": ...}, MALFORMED, id="no session"),
        pytest.param({"baas_id": 5}, MALFORMED, id="session is a number"),
        pytest.param({"baas_id": ""}, MALFORMED, id="session is empty"),
        pytest.param({"jti": ...}, MALFORMED, id="no jti"),
        pytest.param({"jti": ["jti"]}, MALFORMED, id="jti in a list"),
        pytest.param({"exp": ...}, MALFORMED, id="no exp"),
        pytest.param({"exp": ISSUED * 1000}, MALFORMED, id="exp in milliseconds"),
        pytest.param({"exp": LAST_SECOND + 1}, MALFORMED, id="exp in the year 10000"),
        pytest.param({"iat": ...}, MALFORMED, id="no iat"),
        pytest.param({"iat": ISSUED * 1000}, MALFORMED, id="iat in milliseconds"),
    ],
)
def test_given_a_bad_claim_when_a_refresh_token_has_it_then_it_is_refused(
    changes: dict[str, Any], text: str, world: OwnTokens
) -> None:
    token = world.resign_refresh(**changes)

    assert refusal(world.tokens.read_refresh_token, token, NOW) == text


def test_given_a_forged_access_token_when_read_then_it_is_refused(
    world: OwnTokens,
) -> None:
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
    world: OwnTokens,
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


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(lambda t: "", MALFORMED, id="empty"),
        pytest.param(lambda t: "null", MALFORMED, id="null"),
        pytest.param(lambda t: "..", MALFORMED, id="two dots"),
        pytest.param(lambda t: t.partition(".")[0], MALFORMED, id="header alone"),
        pytest.param(lambda t: f"{t}.x", MALFORMED, id="four parts"),
        pytest.param(lambda t: f"{t}=", MALFORMED, id="padded"),
        pytest.param(lambda t: f"é{t}", MALFORMED, id="header not ASCII"),
        pytest.param(lambda t: f"\udc80{t}", MALFORMED, id="half a character"),
        pytest.param(lambda t: f"{t}\udc80", MALFORMED, id="and at the end"),
        pytest.param(
            lambda t: f"e30.{t.partition('.')[2]}", BAD_SIGNATURE, id="empty header"
        ),
        pytest.param(
            lambda t: f"{t.rpartition('.')[0]}.", BAD_SIGNATURE, id="no signature"
        ),
    ],
)
def test_given_a_token_that_was_changed_when_read_then_its_client_is_told_how(
    change: Callable[[str], str], text: str, world: OwnTokens
) -> None:
    access, refresh = change(world.access()), change(world.refresh())

    assert refusal(world.tokens.read_access_token, access, NOW) == text
    assert refusal(world.tokens.read_refresh_token, refresh, NOW) == text


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="an array"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_given_no_claims_when_a_key_of_ours_has_signed_them_then_it_is_malformed(
    payload: bytes, world: OwnTokens
) -> None:
    token = jwt.PyJWS().encode(
        payload, world.shared, "HS256", headers={"kid": world.refresh_kid}
    )

    assert refusal(world.tokens.read_refresh_token, token, NOW) == MALFORMED


def test_given_one_kind_of_token_when_read_as_the_other_then_it_is_refused(
    world: OwnTokens,
) -> None:
    access, refresh = world.access(), world.refresh()

    assert refusal(world.tokens.read_access_token, refresh, NOW) == BAD_SIGNATURE
    assert refusal(world.tokens.read_refresh_token, access, NOW) == BAD_SIGNATURE


def test_given_a_token_of_the_old_service_when_read_then_it_is_refused(
    world: OwnTokens,
) -> None:
    """Header and claims as App Services made them (client-api.md §3)."""
    old = jwt.encode(
        {"typ": "refresh", "baas_id": "5" * 24, "exp": 2**33, "iat": ISSUED},
        b"a key that only MongoDB knew, long",
        "HS256",
    )

    for read in (world.tokens.read_access_token, world.tokens.read_refresh_token):
        assert refusal(read, old, NOW) == BAD_SIGNATURE
