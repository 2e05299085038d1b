"""The claims of a good JWT for the provider `custom-token`, and its verification."""

from datetime import UTC, datetime
from typing import Any

from anonauth.domain.identities import VerifiedIdentity
from anonauth.providers.custom_token import CustomToken
from support.service.harness import APP

NOW = datetime(2026, 3, 10, 12, 0, 0, 500_000, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER = "https://issuer.example.com"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": APP,
    "sub": "user-1",
    "iat": AT,
    "exp": AT + 300,
}


def verified(
    provider: CustomToken, token: object, now: datetime = NOW
) -> VerifiedIdentity:
    """Return the identity that a provider finds in a token."""
    return provider.verify({"token": token}, network="203.0.113.9", now=now)
