"""The use cases on one store, called as the handlers call them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from anonauth.domain.encoding import identity_key
from anonauth.domain.expiry import SessionLimits
from anonauth.domain.identities import IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.users import ApiKey, User
from anonauth.errors import InvalidSession, WrongPassword
from anonauth.ports import AccountStore, Provider, TokenIssuer
from anonauth.providers.api_key import ApiKeyProvider
from anonauth.usecases.api_keys import create_api_key
from anonauth.usecases.link import (
    Attempt,
    LinkedSession,
    Parts,
    link_identity,
    log_in,
)
from anonauth.usecases.login import OpenedSession, log_in_anonymously
from anonauth.usecases.logout import log_out
from anonauth.usecases.profile import delete_user, read_profile, unlink_identity
from anonauth.usecases.session import refresh
from support.contracts.store_contract import APP, NOW, AnyStore

T = TypeVar("T")

HOST = "https://anonauth.example"
LIMITS = SessionLimits(idle=timedelta(days=60), total=timedelta(days=1825))


class Vouching:
    """A `Provider` whose credentials are the subjects themselves: `{"token": sub}`.

    Whatever else is in them is display data.
    """

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        subject = credential["token"]
        data = {name: text for name, text in credential.items() if name != "token"}
        return VerifiedIdentity("custom-token", identity_key(subject), subject, data)


class Passwords:
    """A `Provider` of `local-userpass` whose hashes are the passwords in clear.

    It reads the record as the real one does; what it leaves out takes 40 ms.
    """

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        key = identity_key(credential["username"])
        record, _ = self._store.get_account_and_counts(APP, key, [])
        if record is None or record.password_hash != credential["password"]:
            raise WrongPassword
        return VerifiedIdentity(USERPASS, key, record.id, record.data, record)


@dataclass(frozen=True)
class UseCases:
    """What clients can do, on one store, and with providers that are easy to please."""

    store: AnyStore
    tokens: TokenIssuer

    def find(self, app: str, provider: str) -> Provider | None:
        """Return a provider, as `Providers` does."""
        providers: dict[str, Provider] = {
            "custom-token": Vouching(),
            USERPASS: Passwords(self.store),
            API_KEY: ApiKeyProvider(app, identities=self.store),
        }
        return providers.get(provider)

    def log_in(self, now: datetime = NOW) -> OpenedSession:
        return log_in_anonymously(
            APP,
            link=False,
            device=None,
            base_url=HOST,
            users=self.store,
            tokens=self.tokens,
            admission=None,
            now=now,
        )

    @property
    def parts(self) -> Parts:
        """What logins and links are decided with."""
        return Parts(self.store, self.store, self, self.tokens, LIMITS)

    def log_in_by(
        self, provider: str, credential: Mapping[str, str], now: datetime = NOW
    ) -> OpenedSession:
        return log_in(_attempt(provider, credential), parts=self.parts, now=now)

    def link(
        self,
        opened: OpenedSession,
        provider: str,
        credential: Mapping[str, str],
        now: datetime = NOW,
    ) -> LinkedSession:
        attempt = _attempt(provider, credential)
        return self._repeating(
            lambda token: link_identity(token, attempt, parts=self.parts, now=now),
            opened,
            now,
        )

    def unlink(
        self,
        opened: OpenedSession,
        provider: str,
        identity_id: str,
        now: datetime = NOW,
        *,
        key: str | None = None,
    ) -> None:
        unlink_identity(
            opened.refresh_token,
            provider,
            identity_id,
            key,
            users=self.store,
            identities=self.store,
            tokens=self.tokens,
            now=now,
        )

    def create_api_key(
        self, opened: OpenedSession, name: str, now: datetime
    ) -> tuple[ApiKey, str]:
        return create_api_key(
            opened.refresh_token,
            name,
            users=self.store,
            api_keys=self.store,
            providers=self,
            tokens=self.tokens,
            now=now,
        )

    def refresh(self, opened: OpenedSession, now: datetime) -> str:
        return refresh(
            opened.refresh_token,
            base_url=HOST,
            users=self.store,
            tokens=self.tokens,
            limits=LIMITS,
            now=now,
        )

    def log_out(self, opened: OpenedSession, now: datetime) -> None:
        log_out(opened.refresh_token, users=self.store, tokens=self.tokens, now=now)

    def read(self, opened: OpenedSession, now: datetime) -> User:
        return self.read_by(self.access_token(opened, now), now)

    def read_by(self, access_token: str, now: datetime) -> User:
        return read_profile(
            access_token,
            users=self.store,
            identities=self.store,
            tokens=self.tokens,
            now=now,
        ).user

    def delete(self, opened: OpenedSession, now: datetime) -> None:
        self._repeating(
            lambda token: delete_user(
                token, users=self.store, tokens=self.tokens, now=now
            ),
            opened,
            now,
        )

    def record(self, provider: str, subject: str) -> IdentityRecord | None:
        return self.store.get_identity(APP, provider, identity_key(subject))

    def access_token(self, opened: OpenedSession, now: datetime) -> str:
        """Return an access token of a session, whether or not it still lives."""
        return self.tokens.access_token(
            opened.user, opened.session, base_url=HOST, now=now
        )

    def _repeating(
        self, call: Callable[[str], T], opened: OpenedSession, now: datetime
    ) -> T:
        """Make a call as SDKs do: refused with a 401 it is repeated by a better token.

        That says what a refresh would: that a link has made the user permanent.
        """
        try:
            return call(self.access_token(opened, now))
        except InvalidSession:
            linked = replace(opened, user=replace(opened.user, anonymous=False))
            return call(self.access_token(linked, now))


def _attempt(provider: str, credential: Mapping[str, str]) -> Attempt:
    return Attempt(APP, provider, credential, None, "203.0.113.9", HOST)
