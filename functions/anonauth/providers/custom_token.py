"""`custom-token`: JWTs of the app's own issuers (client-api.md §2.2)."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import ProviderUnavailable, SettingsUnavailable
from anonauth.issuers.key_sets import Configuration, Key, KeySets, load_pem, load_secret
from anonauth.issuers.tokens import Claims, ForeignToken
from anonauth.provider_settings.schema import CustomTokenSettings, IssuerSettings
from anonauth.providers.credential_fields import credential_field, shown

PROVIDER = "custom-token"
"""The provider's name, as routes spell it."""

MAX_FIELDS = 32
"""Metadata fields that one identity shows; what is configured beyond is left out."""


class CustomToken:
    """`Provider` of one app; a subject is one of its issuer, never of another.

    Args:
        app: Client app id, the audience where an issuer has none configured.
        settings: The issuers, secrets in clear.
        key_sets: Shared by all apps.
    """

    def __init__(
        self, app: str, settings: CustomTokenSettings, key_sets: KeySets
    ) -> None:
        self._app = app
        self._issuers = {each.issuer: each for each in reversed(settings.issuers)}
        self._key_sets = key_sets

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Return the identity that the JWT in `token` proves; see `Provider`.

        Raises:
            BadRequest: No `token`.
            BadCredential: The reason begins with `invalid custom auth token`.
            ProviderUnavailable: Its issuer's keys could not be fetched.
            SettingsUnavailable: Its issuer's key is not one of its algorithm.
        """
        del network
        token = ForeignToken(
            credential_field(credential, "token"), kind="custom auth token"
        )
        settings = self._issuers.get(token.unverified_issuer or "") or (
            self._issuers.get(None)
        )
        if settings is None:
            raise token.refusal("wrong issuer")
        issuer, keys = self._keys(settings, token, now)
        claims = token.verify(keys, settings.algorithm)
        if issuer is not None:
            claims.check_issuer((issuer,))
        claims.check_audience(settings.audience or (self._app,))
        claims.check_times(now)
        subject = claims.subject()
        return VerifiedIdentity(
            PROVIDER,
            # An issuer has no space in it, so this is the only way to read the pair.
            identity_key(f"{issuer or ''} {subject}"),
            subject,
            _metadata(claims, settings),
        )

    def _keys(
        self, settings: IssuerSettings, token: ForeignToken, now: datetime
    ) -> tuple[str | None, Iterable[Key]]:
        issuer, algorithm = settings.issuer, settings.algorithm
        if settings.pem is not None:
            return issuer, (load_pem(settings.pem, algorithm),)
        if isinstance(settings.secret, str):
            return issuer, (load_secret(settings.secret, algorithm),)
        if settings.jwks_url is not None:
            return issuer, self._key_sets.keys(
                settings.jwks_url, kid=token.kid, algorithm=algorithm, now=now
            )
        url = settings.openid_configuration
        if url is None:
            raise SettingsUnavailable
        found = self._key_sets.discover(url, issuer, now)
        # A nameless entry has its name from there; spare a stranger's token the request
        # for keys.
        if token.unverified_issuer != found.issuer:
            raise token.refusal("wrong issuer")
        return found.issuer, self._discovered(url, found, token.kid, algorithm, now)

    def _discovered(
        self,
        url: str,
        found: Configuration,
        kid: str | None,
        algorithm: str,
        now: datetime,
    ) -> Iterator[Key]:
        failure: ProviderUnavailable | None = None
        try:
            yield from self._key_sets.keys(
                found.jwks_url, kid=kid, algorithm=algorithm, now=now
            )
        except ProviderUnavailable as exc:
            failure = exc
        # The issuer may have moved its keys since it was asked where they are.
        moved = self._key_sets.discover(url, found.issuer, now, again=True)
        if moved.jwks_url != found.jwks_url:
            yield from self._key_sets.keys(
                moved.jwks_url, kid=kid, algorithm=algorithm, now=now
            )
        elif failure is not None:
            raise failure


def _metadata(claims: Claims, settings: IssuerSettings) -> Mapping[str, str]:
    data: dict[str, str] = {}
    for field in settings.metadata_fields:
        text = _text(_find(claims.values, field.name))
        if text is None:
            if field.required:
                raise claims.token.refusal("a required metadata field is missing")
        elif len(data) < MAX_FIELDS:
            data[field.field_name or field.name] = shown(text)
    return data


def _find(claims: Mapping[str, Any], name: str) -> object:
    # Issuers like to put dots into names of their own (`https://example.com/role`).
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        # The native SDKs read every field of a profile as a string (client-api.md
        # §2.4).
        return json.dumps(value)
    return None
