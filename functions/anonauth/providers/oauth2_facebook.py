"""`oauth2-facebook`: user access tokens, checked with the Graph API, and ID tokens.

Facebook's iOS library gets an ID token from Limited Login. It has no other token when
the user does not consent to tracking. The Graph API does not know ID tokens.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from anonauth.domain.encoding import identity_key, shown
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import BadCredential, ProviderUnavailable, SettingsUnavailable
from anonauth.issuers.fetch import AnswerRefused, Fetcher, Reply, UnclearRefusal
from anonauth.issuers.id_tokens import verify_id_token
from anonauth.issuers.key_sets import KeySets
from anonauth.provider_settings.schema import FacebookSettings
from anonauth.providers.credential_fields import credential_field, shown_claims
from anonauth.providers.failures import Asking

PROVIDER = "oauth2-facebook"
"""The provider's name, as routes spell it."""

# Graph API, "Handling Errors": the only codes that are about the client's token. Other
# codes are limits, outages, and mistakes in our app id or secret. 190 to debug_token is
# such a mistake; a bad input token has status 200 and `is_valid` false there.
_INVALID_PARAMETER = 100  # to debug_token: a token of another app
_INVALID_TOKEN = 190  # to me: expired or withdrawn since

# Facebook's names in its ID tokens: today's, that of 2021 (issue 1701 of its iOS
# library), and the host that has the keys ("OIDC Token for Limited Login").
_ISSUERS = (
    "https://www.facebook.com",
    "https://facebook.com",
    "https://limited.facebook.com",
)

# Claims for display, from the Graph API and from an ID token. The picture is there
# twice, since the SDKs differ in its name (client-api.md §2.4).
_SHOWN = {name: name for name in ("name", "email", "first_name", "last_name")}
_SHOWN_OF_ID_TOKEN = {
    "name": "name",
    "email": "email",
    "first_name": "given_name",
    "last_name": "family_name",
    "picture": "picture",
    "picture_url": "picture",
}


class Facebook:
    """`Provider` of one app; the subject is Facebook's user id within that app.

    Both kinds of token carry the same id, so a person is the same user with either.
    """

    def __init__(
        self,
        settings: FacebookSettings,
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
        """Return the identity that `accessToken` proves; see `Provider`.

        An ID token is verified here. An access token is shown to `debug_token` first,
        which tells the app it was issued for: the Graph API also accepts a token that
        another app got from the same person.

        Raises:
            BadRequest: There is no `accessToken`.
            BadCredential: The reason begins with `invalid Facebook access token` or
                `invalid ID token`.
            BudgetSpent: Facebook has refused too many of them.
            ProviderUnavailable: Facebook could not be asked, or refused us.
            SettingsUnavailable: The app secret has not been loaded.
        """
        token = credential_field(credential, "accessToken")
        if _is_jwt(token):
            return self._by_id_token(token, now)
        secret = self._settings.app_secret
        if not isinstance(secret, str):
            raise SettingsUnavailable
        with self._asking(network, now):
            return self._by_graph(token, secret, now)

    def _by_id_token(self, token: str, now: datetime) -> VerifiedIdentity:
        claims = verify_id_token(
            token,
            issuers=_ISSUERS,
            client_ids=(self._settings.app_id,),
            jwks_url=self._settings.jwks_url,
            key_sets=self._key_sets,
            now=now,
        )
        user_id = _digits(claims.values.get("sub"))
        if user_id is None:
            raise claims.token.refusal("no usable subject")
        data = shown_claims(claims.values, _SHOWN_OF_ID_TOKEN)
        return VerifiedIdentity(PROVIDER, identity_key(user_id), user_id, data)

    def _by_graph(self, token: str, secret: str, now: datetime) -> VerifiedIdentity:
        user_id = self._inspect(token, secret, now)
        profile = self._profile(token, secret)
        if _digits(profile.get("id")) != user_id:
            raise _refusal("another user")
        data = dict(shown_claims(profile, _SHOWN))
        picture = _nested(profile, "picture", "data", "url")
        if isinstance(picture, str):
            data["picture"] = data["picture_url"] = shown(picture)
        return VerifiedIdentity(PROVIDER, identity_key(user_id), user_id, data)

    def _inspect(self, token: str, secret: str, now: datetime) -> str:
        reply = self._fetcher.get(
            self._url("debug_token"),
            {
                "input_token": token,
                "access_token": f"{self._settings.app_id}|{secret}",
            },
        )
        data = _body(reply, _INVALID_PARAMETER).get("data")
        if not isinstance(data, dict):
            raise ProviderUnavailable from AnswerRefused("no data")
        if data.get("is_valid") is not True:
            raise _refusal("not valid")
        if _digits(data.get("app_id")) != self._settings.app_id:
            raise _refusal("wrong app")
        # Page and system tokens name a user too, but not the person who holds them.
        if data.get("type", "USER") != "USER":
            raise _refusal("not of a user")
        expires = data.get("expires_at", 0)  # 0: never
        if type(expires) is not int or 0 != expires <= now.timestamp():
            raise _refusal("expired")
        user_id = _digits(data.get("user_id"))
        if user_id is None:
            raise _refusal("no user")
        return user_id

    def _profile(self, token: str, secret: str) -> Mapping[str, Any]:
        proof = hmac.new(secret.encode(), token.encode(), hashlib.sha256)
        reply = self._fetcher.get(
            self._url("me"),
            {
                "fields": "id,name,first_name,last_name,email,picture",
                "access_token": token,
                "appsecret_proof": proof.hexdigest(),
            },
        )
        return _body(reply, _INVALID_TOKEN)

    def _url(self, edge: str) -> str:
        return f"{self._settings.graph_url.rstrip('/')}/{edge}"


def _is_jwt(token: str) -> bool:
    # RFC 7515 §3.1: a JWT has two dots, and begins with JSON's `{"`. Facebook calls its
    # access tokens opaque; none has had a dot so far.
    return token.startswith("eyJ") and token.count(".") == 2


def _refusal(reason: str) -> BadCredential:
    return BadCredential(f"invalid Facebook access token: {reason}")


def _body(reply: Reply, code_of_bad_token: int) -> Mapping[str, Any]:
    if reply.status == HTTPStatus.OK:
        return reply.body
    if _nested(reply.body, "error", "code") == code_of_bad_token:
        raise _refusal("not valid")
    raise ProviderUnavailable from UnclearRefusal("error of the Graph API")


def _nested(value: object, *path: str) -> object:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _digits(value: object) -> str | None:
    # Ids are strings of digits; older versions of the Graph API sent numbers.
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 64:
        return text
    return None
