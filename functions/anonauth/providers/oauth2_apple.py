"""`oauth2-apple`: identity tokens of Sign in with Apple."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.issuers.id_tokens import verify_id_token
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import AppleSettings
from anonauth.providers.credential_fields import credential_field, shown_claims

PROVIDER = "oauth2-apple"
"""The provider's name, as routes spell it."""

# Apple documents the first ("Verifying a user"). Its OpenID configuration changed to
# the second without notice in June 2025 (supabase/auth pull request 2050).
_ISSUERS = ("https://appleid.apple.com", "https://account.apple.com")


class Apple:
    """`Provider` of one app; the subject is `sub`, stable within a developer team."""

    def __init__(self, settings: AppleSettings, key_sets: KeySets) -> None:
        self._settings = settings
        self._key_sets = key_sets

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Return the identity that `id_token` proves; see `Provider`.

        Raises:
            BadRequest: There is no `id_token`.
            BadCredential: The reason begins with `invalid ID token`.
            ProviderUnavailable: Apple's keys could not be fetched.
        """
        del network
        claims = verify_id_token(
            credential_field(credential, "id_token"),
            issuers=_ISSUERS,
            client_ids=self._settings.client_ids,
            jwks_url=self._settings.jwks_url,
            key_sets=self._key_sets,
            now=now,
        )
        subject = claims.subject()
        return VerifiedIdentity(
            PROVIDER,
            identity_key(subject),
            subject,
            shown_claims(claims.values, {"email": "email"}),
        )
