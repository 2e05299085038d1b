"""Builds the services of a function. Only here are environment and clock read."""

import functools
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from anonauth.domain.providers import ANONYMOUS
from anonauth.keys import KeyMaker, KeyRing, KmsWrapping
from anonauth.metrics import Metrics
from anonauth.settings import Settings
from anonauth.store import Store

if TYPE_CHECKING:
    from anonauth.ports import Challenges, EmailAddresses, EventBus, Mailer, Passwords
    from anonauth.provider_settings.ssm import SettingsSource
    from anonauth.providers.registry import Registry
    from anonauth.tokens import Tokens


def utc_now() -> datetime:
    """Return the current time. Nothing else reads the clock."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock


class Services:
    """The services that the handlers of a function share, each made on first use."""

    def __init__(
        self, settings: Settings, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.settings = settings
        self.clock = clock
        # Waits that many seconds, where an immediate repetition would harm others.
        self.pause: Callable[[float], None] = time.sleep

    @functools.cached_property
    def store(self) -> Store:
        """The store, on the table."""
        return Store(
            self.settings.table_name,
            region=self.settings.region,
            endpoint_url=self.settings.endpoint_url or None,
        )

    @functools.cached_property
    def wrapping(self) -> KmsWrapping:
        """Encryption of keys at rest."""
        return KmsWrapping(lambda: self._connect("kms"), self.settings.kms_key_id)

    @functools.cached_property
    def former_wrapping(self) -> KmsWrapping:
        """Decryption of the keys of a backup, which another KMS key may have wrapped.

        Only an operator's command uses it.
        """
        return KmsWrapping(lambda: self._connect("kms"), "")

    @functools.cached_property
    def ring(self) -> KeyRing:
        """The key ring, at most five minutes old."""
        return KeyRing(self.store, self.wrapping)

    @functools.cached_property
    def key_maker(self) -> KeyMaker:
        """The maker of new keys."""
        return KeyMaker(self.wrapping)

    @functools.cached_property
    def tokens(self) -> "Tokens":
        """Access and refresh tokens."""
        # PyJWT costs 60 ms of a cold start, and Discovery and Keys do not need it.
        from anonauth.tokens import Tokens  # noqa: PLC0415

        return Tokens(
            self.ring,
            app_ids=self.settings.app_ids,
            access_lifetime=self.settings.access_token_lifetime,
        )

    @functools.cached_property
    def bus(self) -> "EventBus":
        """The bus for events about users. Only Lifecycle and Expiring import it."""
        from anonauth.event_bus import EventBridgeBus  # noqa: PLC0415

        return EventBridgeBus(
            lambda: self._connect("events"), self.settings.event_bus, pause=self.pause
        )

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Metrics for CloudWatch."""
        return Metrics(self.settings.stack_name, on=self.settings.metrics)

    @functools.cached_property
    def challenges(self) -> "Challenges | None":
        """The challenges before an anonymous login, None if no app has one."""
        if not self.settings.anonymous_challenge:
            return None
        from anonauth.challenges import SettingsChallenges  # noqa: PLC0415

        return SettingsChallenges(
            # This login has to work even if the settings of other providers are wrong.
            self._settings_source(only=ANONYMOUS),
            allow_private=self.settings.allow_private_issuers,
        )

    def _settings_source(self, *, only: str | None = None) -> "SettingsSource":
        from anonauth.provider_settings.ssm import SettingsSource  # noqa: PLC0415

        return SettingsSource(
            lambda: self._connect("ssm"),
            self.settings.settings_parameter,
            allow_private=self.settings.allow_private_issuers,
            only=only,
        )

    # Only Link, Userpass and ApiKeys import the modules of the next four.

    @functools.cached_property
    def providers(self) -> "Registry":
        """The identity providers, as the settings document configures them."""
        from anonauth.providers.registry import Registry  # noqa: PLC0415

        return Registry(
            self._settings_source(),
            store=self.store,
            networks=self.ring,
            passwords=lambda: self.passwords,
            clock=self.clock,
            allow_private=self.settings.allow_private_issuers,
            failures_per_network=self.settings.provider_failures_per_network,
        )

    @functools.cached_property
    def passwords(self) -> "Passwords":
        """Password hashing."""
        from anonauth.passwords import Argon2Passwords  # noqa: PLC0415

        return Argon2Passwords()

    @functools.cached_property
    def addresses(self) -> "EmailAddresses":
        """The syntax of e-mail addresses."""
        from anonauth.email_addresses import EmailSyntax  # noqa: PLC0415

        return EmailSyntax()

    @functools.cached_property
    def mailer(self) -> "Mailer":
        """Sending of mail."""
        from anonauth.mailer import SesMailer  # noqa: PLC0415

        return SesMailer(lambda: self._connect("sesv2"))

    def _connect(self, service: str) -> Any:
        return self.store.aws_session.create_client(
            service,
            region_name=self.settings.region,
            endpoint_url=self.settings.endpoint_url or None,
            config=Config(
                connect_timeout=0.5,
                read_timeout=2,
                retries={"total_max_attempts": 2, "mode": "standard"},
            ),
        )


_installed: ContextVar[Services | None] = ContextVar("services", default=None)


def services() -> Services:
    """Return the services of this function, made once per execution environment.

    Raises:
        SettingsError: The environment is not as `template.yaml` makes it.
    """
    return _installed.get() or _from_environment()


@contextmanager
def using(stand_in: Services) -> Iterator[None]:
    """Make `services` return a stand-in, for the local server and for tests."""
    token = _installed.set(stand_in)
    try:
        yield
    finally:
        _installed.reset(token)


def preload(*modules: str) -> None:
    """Import modules now, for which the first request would otherwise wait.

    Lambda gives a function a full core while it starts, so moving imports into the
    first request gains nothing (design.md §10).
    """
    for module in modules:
        importlib.import_module(module)


@functools.cache
def _from_environment() -> Services:
    return Services(Settings.from_environment(os.environ))
