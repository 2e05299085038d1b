"""`oauth2-google`: Google's ID tokens, and auth codes exchanged for them."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import (
    BadCredential,
    BadRequest,
    ProviderUnavailable,
    SettingsUnavailable,
)
from anonauth.issuers.fetch import AnswerRefused, Fetcher, UnclearRefusal
from anonauth.issuers.id_tokens import verify_id_token
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import GoogleSettings
from anonauth.providers.credential_fields import credential_field, shown_claims
from anonauth.providers.failures import Asking

PROVIDER = "oauth2-google"
"""The provider's name, as routes spell it."""

# Google for Developers, "Verify the Google ID token on your server side": both occur.
_ISSUERS = ("https://accounts.google.com", "accounts.google.com")

# Claims for display. The picture is there twice, since the SDKs differ in its name
# (client-api.md §2.4).
_SHOWN = {
    "name": "name",
    "email": "email",
    "picture": "picture",
    "picture_url": "picture",
    "first_name": "given_name",
    "last_name": "family_name",
}


class Google:
    """`Provider` of one app. The subject is `sub`; an e-mail address proves nothing."""

    def __init__(
        self,
        settings: GoogleSettings,
        key_sets: KeySets,
        fetcher: Fetcher,
        asking: Asking,
    ) -> None:
        self._settings = settings
        self._key_sets = key_sets
        self._fetcher = fetcher
        self._asking = asking

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Return the identity that `id_token` or `authCode` proves; see `Provider`.

        Raises:
            BadRequest: Neither is given, or an auth code although the app cannot
                exchange it.
            BadCredential: The reason begins with `invalid ID token` or is `invalid auth
                code`.
            BudgetSpent: Google has refused too many auth codes.
            ProviderUnavailable: Google could not be asked, or refused us, not the code.
            SettingsUnavailable: The client secret has not been loaded.
        """
        if "id_token" in credential:
            return self._identity(credential_field(credential, "id_token"), now)
        if "authCode" not in credential:
            raise BadRequest("expected 'id_token' or 'authCode'")
        code = credential_field(credential, "authCode")
        secret = self._settings.client_secret
        if secret is None:
            raise BadRequest("'authCode' is not accepted by this app; send 'id_token'")
        if not isinstance(secret, str):
            raise SettingsUnavailable
        with self._asking(network, now):
            return self._identity(self._exchange(code, secret), now)

    def _identity(self, id_token: str, now: datetime) -> VerifiedIdentity:
        claims = verify_id_token(
            id_token,
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
            shown_claims(claims.values, _SHOWN),
        )

    def _exchange(self, code: str, secret: str) -> str:
        # RFC 6749 §4.1.3. The first attempt spends a code, so only one client is tried:
        # the first, which the secret belongs to.
        reply = self._fetcher.post(
            self._settings.token_url,
            {
                "grant_type": "authorization_code",
                "code": code,
                "client_id": self._settings.client_ids[0],
                "client_secret": secret,
                "redirect_uri": self._settings.redirect_uri,
            },
        )
        # Only this error of RFC 6749 §5.2 is about the code. The others are about our
        # client id, secret or redirect URI.
        if reply.body.get("error") == "invalid_grant":
            raise BadCredential("invalid auth code")
        if reply.status != HTTPStatus.OK:
            raise ProviderUnavailable from UnclearRefusal("error of the token endpoint")
        id_token = reply.body.get("id_token")
        if not isinstance(id_token, str):
            raise ProviderUnavailable from AnswerRefused("no ID token")
        return id_token
