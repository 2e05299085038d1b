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
from anonauth.usecases.api_keys import ApiKeyManagement
from anonauth.usecases.credential import CredentialRequest
from anonauth.usecases.delete import UserDeletion
from anonauth.usecases.link import IdentityLinking, LinkedSession
from anonauth.usecases.login import (
    AnonymousLogin,
    AnonymousLoginRequest,
    OpenedSession,
)
from anonauth.usecases.logout import Logout
from anonauth.usecases.profile import ProfileReader
from anonauth.usecases.provider_login import ProviderLogin
from anonauth.usecases.session import SessionRefresh
from anonauth.usecases.sessions import SessionManagement
from anonauth.usecases.unlink import IdentityUnlinking
from support.contracts.store_contract import APP, NOW, AnyStore

T = TypeVar("T")

HOST = "https://anonauth.example"
NETWORK = "203.0.113.9"
LIMITS = SessionLimits(idle=timedelta(days=60), total=timedelta(days=1825))


class Vouching:
    """A `Provider` whose credential is the subject itself: `{"token": sub}`.

    Its other fields are display data.
    """

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        subject = credential["token"]
        data = {name: text for name, text in credential.items() if name != "token"}
        return VerifiedIdentity("custom-token", identity_key(subject), subject, data)


class Passwords:
    """A `Provider` of `local-userpass` whose hashes are the passwords in clear.

    It reads the record as the real provider does, but leaves out 40 ms of hashing.
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
    """The clients' use cases on one store, with providers that verify very little."""

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

    def log_in(
        self, now: datetime = NOW, *, login_key: str | None = None
    ) -> OpenedSession:
        request = AnonymousLoginRequest(
            app=APP,
            is_link=False,
            device=None,
            base_url=HOST,
            network=NETWORK,
            answer=None,
            login_key=login_key,
        )
        return AnonymousLogin(self.store, self.tokens, None).log_in(request, now)

    def log_in_by(
        self,
        provider: str,
        credential: Mapping[str, str],
        now: datetime = NOW,
        *,
        guest: OpenedSession | None = None,
    ) -> OpenedSession:
        login = ProviderLogin(self.store, self.store, self, self.tokens, LIMITS)
        merge = None if guest is None else guest.refresh_token
        return login.log_in(_request(provider, credential), now, merge=merge)

    def link(
        self,
        opened: OpenedSession,
        provider: str,
        credential: Mapping[str, str],
        now: datetime = NOW,
    ) -> LinkedSession:
        linking = IdentityLinking(self.store, self.store, self, self.tokens, LIMITS)
        request = _request(provider, credential)
        return self._repeating(
            lambda token: linking.link(token, request, now), opened, now
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
        IdentityUnlinking(self.store, self.store, self.tokens).unlink(
            opened.refresh_token,
            provider=provider,
            identity_id=identity_id,
            key=key,
            now=now,
        )

    def create_api_key(
        self, opened: OpenedSession, name: str, now: datetime = NOW
    ) -> tuple[ApiKey, str]:
        return self._api_keys().create(opened.refresh_token, name, now)

    def delete_api_key(
        self, opened: OpenedSession, key_id: str, now: datetime = NOW
    ) -> None:
        self._api_keys().delete(opened.refresh_token, key_id, now)

    def disable_api_key(
        self, opened: OpenedSession, key_id: str, now: datetime = NOW
    ) -> None:
        self._api_keys().switch(opened.refresh_token, key_id, now, disabled=True)

    def _api_keys(self) -> ApiKeyManagement:
        return ApiKeyManagement(self.store, self.store, self, self.tokens)

    def refresh(self, opened: OpenedSession, now: datetime) -> str:
        refresh = SessionRefresh(self.store, self.tokens, LIMITS)
        return refresh.refresh(opened.refresh_token, base_url=HOST, now=now)

    def log_out(self, opened: OpenedSession, now: datetime) -> None:
        Logout(self.store, self.tokens).log_out(opened.refresh_token, now)

    def log_out_everywhere(self, opened: OpenedSession, now: datetime = NOW) -> None:
        Logout(self.store, self.tokens).log_out_everywhere(opened.refresh_token, now)

    def end(self, opened: OpenedSession, session_id: str, now: datetime = NOW) -> None:
        SessionManagement(self.store, self.tokens).end(
            opened.refresh_token, session_id, now
        )

    def read(self, opened: OpenedSession, now: datetime) -> User:
        return self.read_by(self.access_token(opened, now), now)

    def read_by(self, access_token: str, now: datetime) -> User:
        reader = ProfileReader(self.store, self.store, self.tokens)
        return reader.read(access_token, now).user

    def delete(self, opened: OpenedSession, now: datetime) -> None:
        deletion = UserDeletion(self.store, self.tokens)
        self._repeating(lambda token: deletion.delete(token, now), opened, now)

    def record(self, provider: str, subject: str) -> IdentityRecord | None:
        return self.store.get_identity(APP, provider, identity_key(subject))

    def access_token(self, opened: OpenedSession, now: datetime) -> str:
        """Return an access token of a session, whether or not the session is alive."""
        return self.tokens.access_token(
            opened.user, opened.session, base_url=HOST, now=now
        )

    def _repeating(
        self, call: Callable[[str], T], opened: OpenedSession, now: datetime
    ) -> T:
        """Repeat a call once after a 401 with a newer token, as SDKs do.

        The newer token has the user's present state: a link has made it permanent.
        """
        try:
            return call(self.access_token(opened, now))
        except InvalidSession:
            linked = opened._replace(user=replace(opened.user, anonymous=False))
            return call(self.access_token(linked, now))


def _request(provider: str, credential: Mapping[str, str]) -> CredentialRequest:
    return CredentialRequest(APP, provider, credential, None, NETWORK, HOST)
