"""Access and refresh tokens: what is in them, and how they are checked.

PyJWT signs and verifies (JWS, RFC 7515); the claims are checked here, times against the
`now` of the request. An access token is for anyone (RS256, published keys); a refresh
token is for this service alone (HS256, a key that never leaves it). design.md §5 has
the table.
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
"""Tolerance for `exp` and `iat`: two functions need not agree to the second."""

# The user's item decides how long a session lives; the SDKs only want a date.
_REFRESH_LIFETIME = timedelta(days=5 * 365)

_MALFORMED = "invalid session: malformed token"
_BAD_SIGNATURE = "signature is invalid"


class _RingKeyHMAC(HMACAlgorithm):
    """HMAC with a key of the ring, which is 256 random bits.

    PyJWT's own looks each time whether its caller took a PEM file, a certificate or a
    JWK for a secret; to do so it loads x509, 20 ms of a cold start.
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

        No `nbf`, since clocks differ; `aud` repeated as `client_id`, since API
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
            **_sdk_claims(user, session),
        }
        return _sign(claims, key, "RS256", {"kid": kid, "typ": "at+jwt"})

    def refresh_token(
        self, user: User, session: Session, *, jti: str, now: datetime
    ) -> str:
        """Sign the refresh token of a session (client-api.md §3).

        It names no host: a custom domain that comes later must log nobody out.
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
        """Verify an access token of this service; the host of its `iss` is free.

        Raises:
            InvalidSession: Not an access token that is good at `now`.
            AppNotFound: A good token of an app that is no longer configured.
            ClockBehind: It was issued after `now`: one of our clocks is wrong. Retry.
            KeysUnavailable, StoreUnavailable: No ring to verify against. Retry.
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
        """Verify a refresh token of this service; the user item has the last word.

        Raises:
            InvalidSession: Not a refresh token that is good at `now`.
            AppNotFound: A good token of an app that is no longer configured.
            KeysUnavailable, StoreUnavailable: No key to verify with. Retry.
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
        # Only its form: the user's item decides, whatever the clock of the function
        # was that signed it. A 401 here would cost a guest for good.
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
    # PyJWT takes a padded signature, but base64url has no padding here (RFC 7515 §2):
    # a token must be one string, for whoever keeps a list of them.
    if "=" in token:
        raise InvalidSession(_MALFORMED)
    try:
        # Of the header alone: else the whole token would be decoded twice.
        header = _JWS.get_unverified_header(f"{token.partition('.')[0]}..")
    except (PyJWTError, RecursionError, UnicodeError) as exc:
        raise InvalidSession(_MALFORMED) from exc
    kid = header.get("kid")
    key = key_of(kid) if isinstance(kid, str) else None
    if key is None:
        raise InvalidSession(_BAD_SIGNATURE)
    try:
        # The algorithm goes with the key in our ring, never with the token's word.
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
    # The signature is ours, so a time ahead of `now` is the mistake of one of our own
    # clocks, and no reason for a client to give up its session.
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
    # An empty one would name nobody, and no place in an item either.
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
