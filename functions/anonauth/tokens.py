"""Access and refresh tokens: their claims, and how they are checked.

PyJWT signs and verifies (JWS, RFC 7515). The claims are checked here, times against the
`now` of the request. Anyone can verify an access token (RS256, published keys). Only
this service can verify a refresh token (HS256, a key that never leaves it). design.md
§5 has the table.
"""

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from jwt import InvalidSignatureError, PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm

from anonauth.domain.claims import AccessClaims, RefreshClaims, issuer_of
from anonauth.domain.encoding import hash_token_id, internal_id, is_timestamp
from anonauth.domain.users import Session, User
from anonauth.errors import AppNotFound, ClockBehind, InvalidSession
from anonauth.keys import KeyRing

CLOCK_SKEW = timedelta(seconds=60)
"""Tolerance for `exp` and `iat`, since the clocks of two functions may differ."""

# The user's item decides how long a session lives. The SDKs only need a date.
_REFRESH_LIFETIME = timedelta(days=5 * 365)

_MALFORMED = "invalid session: malformed token"
_BAD_SIGNATURE = "signature is invalid"


class _RingKeyHMAC(HMACAlgorithm):
    """HMAC with a key of the ring, which is 256 random bits.

    PyJWT's own class checks each time that the secret is not a PEM file, a certificate
    or a JWK. For that it loads x509, which takes 20 ms of a cold start.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        assert isinstance(key, bytes)  # noqa: S101 - for the type  # nosec B101
        return key


def _new_jws() -> PyJWS:
    jws = PyJWS(algorithms=["RS256"])
    jws.register_algorithm("HS256", _RingKeyHMAC(HMACAlgorithm.SHA256))
    return jws


_JWS = _new_jws()


class Tokens:
    """`TokenIssuer` over the key ring, for the apps of this deployment."""

    def __init__(
        self, ring: KeyRing, *, app_ids: frozenset[str], access_lifetime: timedelta
    ) -> None:
        self._ring = ring
        self._app_ids = app_ids
        self._access_lifetime = access_lifetime

    def access_token(
        self, user: User, session: Session, *, base_url: str, now: datetime
    ) -> str:
        """Sign an access token: RFC 9068 claims plus the SDKs' own (client-api.md §3).

        `former_ids` tells an API whose data the user also owns, see linking.md. There
        is no `nbf`, since clocks differ. `client_id` repeats `aud`, since API
        Gateway's JWT authorizer takes either.
        """
        kid, key = self._ring.access_signing_key(now)
        issued = int(now.timestamp())
        claims = {
            "iss": issuer_of(base_url, user.app),
            "aud": user.app,
            "client_id": user.app,
            "sub": user.id,
            "sid": session.id,
            "jti": secrets.token_hex(16),
            "iat": issued,
            "exp": issued + int(self._access_lifetime.total_seconds()),
            "typ": "access",
            "anonymous": user.anonymous,
            "provider": session.provider,
            **({"former_ids": list(user.former_ids)} if user.former_ids else {}),
            **_sdk_claims(user, session),
        }
        return _sign(claims, key, "RS256", {"kid": kid, "typ": "at+jwt"})

    def refresh_token(
        self, user: User, session: Session, *, jti: str, now: datetime
    ) -> str:
        """Sign the refresh token of a session (client-api.md §3).

        It names no host, so that a later custom domain logs no user out.
        """
        kid, key = self._ring.refresh_signing_key(now)
        issued = int(now.timestamp())
        urn = _session_urn(user.app)
        identity = {
            "id": _opener_id(user, session),
            "provider_type": session.provider,
            "provider_id": internal_id(user.app, session.provider),
        }
        claims = {
            "iss": urn,
            "aud": urn,
            "sub": user.id,
            "jti": jti,
            "iat": issued,
            "exp": issued + int(_REFRESH_LIFETIME.total_seconds()),
            "typ": "refresh",
            "baas_id": session.id,
            "stitch_id": session.id,
            "baas_identity": identity,
            "stitch_ident": identity,
            "baas_data": None,
            "stitch_data": None,
            **_sdk_claims(user, session),
        }
        return _sign(claims, key, "HS256", {"kid": kid})

    def read_access_token(self, token: str, now: datetime) -> AccessClaims:
        """Verify an access token of this service. The host of its `iss` is not checked.

        Raises:
            InvalidSession: The text is not an access token that is valid at `now`.
            AppNotFound: The token is valid, but its app is no longer configured.
            ClockBehind: The token was issued after `now`, so one of our clocks is
                wrong. Retry.
            KeysUnavailable, StoreUnavailable: There is no ring to verify with. Retry.
        """
        claims = _verify(
            token,
            alg="RS256",
            key_of=lambda kid: self._ring.access_verifying_key(kid, now),
        )
        if claims.get("typ") != "access":
            raise InvalidSession("invalid session: not an access token")
        app = _text(claims, "aud")
        if not _text(claims, "iss").endswith(issuer_of("", app)):
            raise InvalidSession(_MALFORMED)
        _check_expiry(claims, now, expired="invalid session: access token expired")
        _check_clock(claims, now)
        self._check_app(app)
        return AccessClaims(
            app,
            _text(claims, "sub"),
            _text(claims, "sid"),
            anonymous=claims.get("anonymous") is True,
            issued_at=datetime.fromtimestamp(_seconds(claims, "iat"), UTC),
        )

    def read_refresh_token(self, token: str, now: datetime) -> RefreshClaims:
        """Verify a refresh token of this service. The user's item has the last word.

        Raises:
            InvalidSession: The text is not a refresh token that is valid at `now`.
            AppNotFound: The token is valid, but its app is no longer configured.
            KeysUnavailable, StoreUnavailable: There is no key to verify with. Retry.
        """
        claims = _verify(
            token,
            alg="HS256",
            key_of=lambda kid: self._ring.refresh_verifying_key(kid, now),
        )
        urn = _text(claims, "aud")
        app = urn.removeprefix("urn:anonauth:").removesuffix(":session")
        ours = urn == _session_urn(app) and claims.get("iss") == urn
        if not ours or claims.get("typ") != "refresh":
            raise InvalidSession("invalid session: not a refresh token")
        _check_expiry(claims, now, expired="invalid session: refresh token expired")
        # Only the form of `iat` is checked. The user's item decides, and the clock of
        # the function that signed the token may be wrong. A 401 here would lose an
        # anonymous user for good.
        _seconds(claims, "iat")
        self._check_app(app)
        return RefreshClaims(
            app,
            _text(claims, "sub"),
            _text(claims, "baas_id"),
            hash_token_id(_text(claims, "jti")),
        )

    def _check_app(self, app: str) -> None:
        if app not in self._app_ids:
            raise AppNotFound(app)


def _sign(
    claims: dict[str, Any],
    key: RSAPrivateKey | bytes,
    alg: str,
    headers: dict[str, Any],
) -> str:
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return _JWS.encode(payload, key, alg, headers)


def _verify(
    token: str, *, alg: str, key_of: Callable[[str], RSAPublicKey | bytes | None]
) -> dict[str, Any]:
    # PyJWT takes a padded signature, but base64url has no padding here (RFC 7515 §2). A
    # token must have exactly one form, since a verifier may keep a list of tokens.
    if "=" in token:
        raise InvalidSession(_MALFORMED)
    try:
        # Only the header, so that the whole token is not decoded twice.
        header = _JWS.get_unverified_header(f"{token.partition('.')[0]}..")
    except (PyJWTError, RecursionError, UnicodeError) as exc:
        raise InvalidSession(_MALFORMED) from exc
    kid = header.get("kid")
    key = key_of(kid) if isinstance(kid, str) else None
    if key is None:
        raise InvalidSession(_BAD_SIGNATURE)
    try:
        # The key in our ring decides the algorithm, never the token.
        payload = _JWS.decode(token, key, algorithms=[alg])
    except InvalidSignatureError as exc:
        raise InvalidSession(_BAD_SIGNATURE) from exc
    except (PyJWTError, UnicodeError) as exc:
        raise InvalidSession(_MALFORMED) from exc
    return _claims_in(payload)


def _claims_in(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise InvalidSession(_MALFORMED) from exc
    if not isinstance(claims, dict):
        raise InvalidSession(_MALFORMED)
    return claims


def _check_expiry(claims: dict[str, Any], now: datetime, *, expired: str) -> None:
    at, skew = int(now.timestamp()), int(CLOCK_SKEW.total_seconds())
    if _seconds(claims, "exp") + skew <= at:
        raise InvalidSession(expired)


def _check_clock(claims: dict[str, Any], now: datetime) -> None:
    # The signature is ours, so if the time is ahead of `now`, one of our own clocks is
    # wrong. That is no reason for a client to give up its session.
    ahead = _seconds(claims, "iat") - int(now.timestamp())
    if ahead > CLOCK_SKEW.total_seconds():
        raise ClockBehind(ahead)


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not is_timestamp(value):
        raise InvalidSession(_MALFORMED)
    return value


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    # An empty text would name no user, and no attribute of an item either.
    if not isinstance(value, str) or not value:
        raise InvalidSession(_MALFORMED)
    return value


def _session_urn(app: str) -> str:
    return f"urn:anonauth:{app}:session"


def _sdk_claims(user: User, session: Session) -> dict[str, str]:
    domain = internal_id(user.app)
    return {
        "baas_device_id": session.device.id,
        "stitch_devId": session.device.id,
        "baas_domain_id": domain,
        "stitch_domainId": domain,
    }


def _opener_id(user: User, session: Session) -> str:
    opener = user.opener_of(session)
    assert opener is not None  # noqa: S101 - for the type  # nosec B101
    return opener.id
