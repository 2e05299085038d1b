"""The forms of instants, subjects, secrets and shown texts.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

MAX_SHOWN_LENGTH = 1024
"""Characters of a text in a profile. One item of 400 KB holds all its texts."""


def rfc3339(instant: datetime) -> str:
    """Return an aware instant as `2026-11-23T13:33:20Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_timestamp(seconds: float) -> bool:
    """Tell whether a NumericDate (RFC 7519 §2) is in the years 1 to 9999.

    No other number is a date. Milliseconds would be thousands of years ahead, and a
    token with such an `exp` would never expire.
    """
    return -62_135_596_800 <= seconds <= 253_402_300_799


def identity_key(subject: str) -> str:
    """Return the key of a subject's record: base64url(SHA-256), 43 characters.

    Args:
        subject: The provider's subject, byte for byte, or a normalised e-mail address.
    """
    return sha256_base64url(subject)


def internal_id(*names: str) -> str:
    """Return the id of an app or of one of its providers, as the old service had them.

    Tokens and profiles show these ids of 24 hex digits. Ours only need to be stable.

    Args:
        names: The app's id. For a provider, the provider's name follows.
    """
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:24]


def hash_token_id(jti: str) -> str:
    """Return the stored form of a refresh token's `jti`: base64url(SHA-256), 43 chars.

    A plain hash is enough: the `jti` carries 256 random bits (OWASP ASVS 5.0 §11.4).
    """
    return sha256_base64url(jti)


def hash_secret(secret: str) -> str:
    """Return the stored form of an API key, a mail token or a login key.

    Each of them has 256 random bits.
    """
    return sha256_base64url(secret)


def token_id_of(login_key: str, app: str, user_id: str) -> str:
    """Return the `jti` of the refresh token that a login key opens: 43 characters.

    Whoever has the key can make it again, and nobody else can, with the hash of the key
    neither. User ids are equally long, so no two pairs of app and user make one text.
    """
    message = f"{app}#{user_id}".encode()
    return base64url(hmac.digest(login_key.encode(), message, "sha256"))


def sha256_base64url(text: str) -> str:
    """Return the SHA-256 of a text as base64url, 43 characters."""
    return base64url(hashlib.sha256(text.encode()).digest())


def base64url(octets: bytes) -> str:
    """Return octets as base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def shown(text: str) -> str:
    """Return a text for a profile: cut, without NUL and without lone surrogates.

    JSON can spell lone surrogates, which no store and no client can encode.
    """
    whole = text.replace("\0", "").encode(errors="replace").decode()
    return whole[:MAX_SHOWN_LENGTH]
