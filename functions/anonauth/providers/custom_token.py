"""`custom-token`: JWTs from the app's own issuers (client-api.md §2.2)."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import identity_key, shown
from anonauth.domain.identities import VerifiedIdentity
from anonauth.errors import ProviderUnavailable, SettingsUnavailable
from anonauth.issuers.key_sets import Configuration, Key, KeySets, load_pem, load_secret
from anonauth.issuers.tokens import Claims, ForeignToken
from anonauth.provider_settings.schema import CustomTokenSettings, IssuerSettings
from anonauth.providers.credential_fields import credential_field

PROVIDER = "custom-token"
"""The provider's name, as routes spell it."""

MAX_FIELDS = 32
"""Metadata fields that one identity shows; further configured fields are dropped."""


class CustomToken:
    """`Provider` of one app. The same subject of two issuers is two identities.

    Args:
        app: Client app id, the audience if an issuer has none configured.
        settings: The issuers, with their secrets in clear.
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
            BadRequest: There is no `token`.
            BadCredential: The reason begins with `invalid custom auth token`.
            ProviderUnavailable: The issuer's keys could not be fetched.
            SettingsUnavailable: The issuer's key does not fit its algorithm.
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
            # An issuer has no space in it, so the pair can be read in one way only.
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
        # An entry without a name gets it from the configuration. A token of another
        # issuer should not cost a request for keys.
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
        # The issuer may have moved its keys since their URL was last read.
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
    # Issuers like dots in their own claim names (`https://example.com/role`).
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
