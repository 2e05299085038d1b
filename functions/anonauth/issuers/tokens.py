"""JWTs of other issuers: PyJWT checks the signature, this module the claims."""

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning

from anonauth.domain.encoding import is_timestamp
from anonauth.errors import BadCredential
from anonauth.issuers.key_sets import Key

CLOCK_SKEW = timedelta(seconds=60)
"""Tolerance for `exp`, `nbf` and `iat`: clocks differ (RFC 7519 §4.1.4)."""

MAX_SUBJECT_LENGTH = 256
"""Characters; OpenID Connect Core §2 stays within 255."""

_NOT_BY_THE_LIBRARY: Any = {
    f"verify_{claim}": False
    for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}

# Control characters, and lone surrogates, which cannot be encoded.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class ForeignToken:
    """A JWT as received. Nothing in it is trusted before `verify`.

    Args:
        text: The token in compact form.
        kind: What refusals call it, such as `ID token`.

    Raises:
        BadCredential: The text is not a signed JWT, or has a critical header that we
            do not know.
    """

    def __init__(self, text: str, *, kind: str) -> None:
        self._text = text
        self._kind = kind
        if "=" in text:  # PyJWT takes padding; RFC 7515 §2 has none
            raise self.refusal("malformed")
        try:
            unverified = jwt.decode_complete(text, options={"verify_signature": False})
        except (jwt.PyJWTError, RecursionError, UnicodeError) as exc:
            raise self.refusal("malformed") from exc
        header: Mapping[str, Any] = unverified["header"]
        if "crit" in header:  # RFC 7515 §4.1.11: none is understood here
            raise self.refusal("unsupported critical header")
        self.kid: str | None = header.get("kid")
        self._algorithm: object = header.get("alg")
        issuer = unverified["payload"].get("iss")
        self.unverified_issuer = issuer if isinstance(issuer, str) else None

    def refusal(self, reason: str) -> BadCredential:
        """Return the error for this token; the reason is a constant text."""
        return BadCredential(f"invalid {self._kind}: {reason}")

    def verify(self, keys: Iterable[Key], algorithm: str) -> "Claims":
        """Return the claims if one of the keys verifies the signature.

        Args:
            keys: Taken one by one until the right one, because the next may mean a
                request to the issuer. None is taken if the token's algorithm differs.
            algorithm: The keys' algorithm, which the token must name.

        Raises:
            BadCredential: The algorithm differs, or no key verifies the signature.
        """
        if self._algorithm != algorithm:
            raise self.refusal("wrong algorithm")
        reason = "unknown key"
        for key in keys:
            values = self._values_by(key, algorithm)
            if values is not None:
                return Claims(values, self)
            reason = "bad signature"
        raise self.refusal(reason)

    def _values_by(self, key: Key, algorithm: str) -> dict[str, Any] | None:
        try:
            # A short HMAC secret is the operator's choice; do not log it every time.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InsecureKeyLengthWarning)
                values: dict[str, Any] = jwt.decode(
                    self._text,
                    key,
                    algorithms=[algorithm],
                    options=_NOT_BY_THE_LIBRARY,
                )
        except jwt.PyJWTError:
            return None
        return values


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a token with a good signature; their values are still to be checked."""

    values: Mapping[str, Any]
    token: ForeignToken

    def check_issuer(self, issuers: Collection[str]) -> None:
        """Refuse tokens of any other issuer."""
        issuer = self.values.get("iss")
        if not isinstance(issuer, str) or issuer not in issuers:
            raise self.token.refusal("wrong issuer")

    def audience(self) -> list[str]:
        """Return `aud` as a list; it is a string or a list (RFC 7519 §4.1.3)."""
        audience = self.values.get("aud")
        if isinstance(audience, str):
            return [audience]
        if not isinstance(audience, list) or not all(
            isinstance(each, str) for each in audience
        ):
            raise self.token.refusal("wrong audience")
        return audience

    def check_audience(self, accepted: Collection[str]) -> None:
        """Refuse tokens that were issued for none of these audiences."""
        if not set(self.audience()) & set(accepted):
            raise self.token.refusal("wrong audience")

    def check_times(self, now: datetime) -> None:
        """Refuse tokens that have expired (`exp` is required) or are not valid yet."""
        at, skew = now.timestamp(), CLOCK_SKEW.total_seconds()
        expires = self._seconds("exp")
        if expires is None:
            raise self.token.refusal("no expiry")
        if expires + skew <= at:
            raise self.token.refusal("expired")
        for claim, reason in (
            ("nbf", "not yet valid"),
            ("iat", "issued in the future"),
        ):
            since = self._seconds(claim)
            if since is not None and since - skew > at:
                raise self.token.refusal(reason)

    def subject(self) -> str:
        """Return `sub`, the issuer's id of the user."""
        subject = self.values.get("sub")
        if (
            not isinstance(subject, str)
            or not 0 < len(subject) <= MAX_SUBJECT_LENGTH
            or _UNFIT.search(subject)
        ):
            raise self.token.refusal("no usable subject")
        return subject

    def _seconds(self, claim: str) -> float | None:
        if claim not in self.values:
            return None
        value = self.values[claim]
        # A NumericDate may have a fraction (RFC 7519 §2). Python's JSON also accepts
        # NaN, Infinity and integers of any size, and bool is an int.
        if type(value) in {int, float} and is_timestamp(value):
            seconds: float = value
            return seconds
        raise self.token.refusal(f"malformed {claim}")
