"""The providers of all apps, made from the settings document when first needed."""

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from anonauth.ports import (
    AccountStore,
    IdentityStore,
    NetworkHashing,
    Passwords,
    Provider,
)
from anonauth.provider_settings.schema import (
    ApiKeySettings,
    AppleSettings,
    AppSettings,
    CustomTokenSettings,
    FacebookSettings,
    GoogleSettings,
    LocalUserpassSettings,
    ProviderSettings,
    SettingsDocument,
)
from anonauth.provider_settings.ssm import SettingsSource

if TYPE_CHECKING:
    from anonauth.issuers.fetch import Fetcher
    from anonauth.issuers.key_sets import KeySets
    from anonauth.providers.failures import Asking

# ruff: noqa: PLC0415 - PyJWT, argon2 and the rest are imported where they are used: no
# request needs more than one provider, and UserpassFunction and ApiKeysFunction fetch
# no keys.


class Records(IdentityStore, AccountStore, Protocol):
    """The part of the store that providers need."""


class Registry:
    """`Providers` from the settings document that is in effect.

    Args:
        failures_per_network: Failed logins per network and hour that ask a provider; 0
            allows any number.
        passwords: Makes the password hashing, which not every function imports.
        allow_private: Key servers may have private addresses and no TLS.
    """

    def __init__(
        self,
        source: SettingsSource,
        *,
        store: Records,
        networks: NetworkHashing,
        passwords: Callable[[], Passwords],
        clock: Callable[[], datetime],
        allow_private: bool = False,
        failures_per_network: int = 0,
    ) -> None:
        self._source = source
        self._store = store
        self._networks = networks
        self._passwords = passwords
        self._clock = clock
        self._allow_private = allow_private
        self._failures_per_network = failures_per_network
        self._document: SettingsDocument | None = None
        self._made: dict[tuple[str, str], Provider] = {}

    def settings(self, app: str) -> AppSettings:
        """Return an app's provider settings; None in it means that a provider is off.

        Raises:
            SettingsUnavailable: The settings cannot be read.
        """
        return self._load().app(app)

    def find(self, app: str, provider: str) -> Provider | None:
        """Return a provider, or None if the app has it off; see `Providers`."""
        document = self._load()
        if document is not self._document:
            self._document = document
            self._made.clear()
        made = self._made.get((app, provider))
        if made is None:
            settings = document.app(app).provider(provider)
            if settings is None:
                return None
            made = self._made[app, provider] = self._make(app, settings)
        return made

    def _load(self) -> SettingsDocument:
        return self._source.document(self._clock())

    def _make(self, app: str, settings: ProviderSettings) -> Provider:
        match settings:
            case LocalUserpassSettings():
                from anonauth.providers.local_userpass import LocalUserpass

                return LocalUserpass(
                    app,
                    settings,
                    accounts=self._store,
                    passwords=self._passwords(),
                    networks=self._networks,
                )
            case ApiKeySettings():
                from anonauth.providers.api_key import ApiKeyProvider

                return ApiKeyProvider(app, identities=self._store)
            case CustomTokenSettings():
                from anonauth.providers.custom_token import CustomToken

                return CustomToken(app, settings, self._key_sets)
            case GoogleSettings():
                from anonauth.providers.oauth2_google import Google

                return Google(settings, self._key_sets, self._fetcher, self._asking)
            case AppleSettings():
                from anonauth.providers.oauth2_apple import Apple

                return Apple(settings, self._key_sets)
            case FacebookSettings():
                from anonauth.providers.oauth2_facebook import Facebook

                return Facebook(settings, self._key_sets, self._fetcher, self._asking)

    @functools.cached_property
    def _fetcher(self) -> "Fetcher":
        from anonauth.issuers.fetch import Fetcher

        return Fetcher(allow_private=self._allow_private)

    @functools.cached_property
    def _asking(self) -> "Asking":
        from anonauth.providers.failures import FailureLimit

        limit = FailureLimit(self._failures_per_network, self._store, self._networks)
        return limit.asking

    @functools.cached_property
    def _key_sets(self) -> "KeySets":
        # The cached keys of issuers outlive the document they were fetched for.
        from anonauth.issuers.key_sets import KeySets

        return KeySets(self._fetcher)
