"""API keys: with them a permanent user's programs log in as the user itself.

Every call takes a refresh token (client-api.md §2.7).
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.encoding import hash_secret
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import MOST_API_KEYS, ApiKey, User
from anonauth.errors import (
    ApiKeyNameTaken,
    ApiKeyNotFound,
    InvalidParameter,
    PermanentUsersOnly,
    ProviderNotFound,
)
from anonauth.ports import ApiKeyStore, Providers, TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator
from anonauth.usecases._retry import decisions

LONGEST_NAME = 64
"""The longest name of an API key, in characters."""


@dataclass(frozen=True, slots=True)
class ApiKeyManagement:
    """Creates, lists, switches and deletes the API keys of a user."""

    users: UserStore
    api_keys: ApiKeyStore
    providers: Providers
    tokens: TokenIssuer

    def create(
        self, refresh_token: str, name: str, now: datetime
    ) -> tuple[ApiKey, str]:
        """Create a key. Return its entry, and the key itself.

        The key itself is not stored, so this answer is the only one with it.

        Args:
            name: At most `LONGEST_NAME` characters, unique within the user.
            now: Aware UTC time of the request, as for every method.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            ProviderNotFound: The app has API keys switched off.
            PermanentUsersOnly: The user is anonymous.
            ApiKeySessionRefused: An API key has opened the session of the token.
            InvalidParameter: The name is ill-formed, or the user has 20 keys already.
            ApiKeyNameTaken: The user has another key of this name.
            StoreUnavailable: A key of this name may exist now that nobody knows.
        """
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            id=_key_id(now),
            name=name,
            hash=hash_secret(secret),
            created_at=now,
        )
        for _ in decisions():
            user, session = self._authenticator().to_change(refresh_token, now)
            self._require_api_keys(user)
            _check_name(name)
            if any(other.name == name for other in user.api_keys.values()):
                raise ApiKeyNameTaken
            if len(user.api_keys) >= MOST_API_KEYS:
                raise InvalidParameter(
                    f"this user has {MOST_API_KEYS} API keys, the most there can be"
                )
            if self.api_keys.create_api_key(user, session, key, now):
                break
        return key, secret

    def list_all(self, refresh_token: str, now: datetime) -> list[ApiKey]:
        """Return the user's keys, the oldest first.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            ProviderNotFound: The app has API keys switched off.
            PermanentUsersOnly: The user is anonymous.
            StoreUnavailable: Nothing is wrong with the token, so retry.
        """
        user, _ = self._authenticator().refresh(refresh_token, now)
        self._require_api_keys(user)
        return sorted(user.api_keys.values(), key=lambda key: key.id)

    def get(self, refresh_token: str, key_id: str, now: datetime) -> ApiKey:
        """Return one of the user's keys.

        Raises:
            ApiKeyNotFound: The user has no key of this id.
            AuthError: As `list_all`.
        """
        user, _ = self._authenticator().refresh(refresh_token, now)
        self._require_api_keys(user)
        return _find_key(user, key_id)

    def delete(self, refresh_token: str, key_id: str, now: datetime) -> None:
        """Delete a key, and end the sessions that it opened.

        Raises:
            ApiKeySessionRefused: An API key has opened the session of the token.
            ApiKeyNotFound: The user has no key of this id. A client that repeats a
                successful call gets this error, too.
            StoreUnavailable: The key may still be good, so retry.
            AuthError: As `list_all`.
        """
        for _ in decisions():
            user, session = self._authenticator().to_change(refresh_token, now)
            self._require_api_keys(user)
            key = _find_key(user, key_id)
            if self.api_keys.delete_api_key(user, session, key, now):
                return

    def switch(
        self, refresh_token: str, key_id: str, now: datetime, *, disabled: bool
    ) -> None:
        """Enable a key, or disable it and end the sessions that it opened.

        A key that is already in that state is left alone (client-api.md §2.7).

        Raises:
            ApiKeySessionRefused: An API key has opened the session of the token.
            ApiKeyNotFound: The user has no key of this id.
            StoreUnavailable: The key may be in either state, so retry.
            AuthError: As `list_all`.
        """
        for _ in decisions():
            user, session = self._authenticator().to_change(refresh_token, now)
            self._require_api_keys(user)
            key = _find_key(user, key_id)
            if key.disabled == disabled or self.api_keys.set_api_key_disabled(
                user, session, key, now, disabled=disabled
            ):
                return

    def _authenticator(self) -> Authenticator:
        return Authenticator(self.users, self.tokens)

    def _require_api_keys(self, user: User) -> None:
        if self.providers.find(user.app, API_KEY) is None:
            raise ProviderNotFound(API_KEY)
        if user.anonymous:
            raise PermanentUsersOnly


def _key_id(now: datetime) -> str:
    # It begins with the time, as an ObjectId does, so that keys sort by their age. A
    # map in DynamoDB has no order. The time is in milliseconds here.
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}"


def _check_name(name: str) -> None:
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise InvalidParameter(
            "can only contain ASCII letters, numbers, underscores, and hyphens"
        )
    if len(name) > LONGEST_NAME:
        raise InvalidParameter(f"can have at most {LONGEST_NAME} characters")


def _find_key(user: User, key_id: str) -> ApiKey:
    key = user.api_keys.get(key_id)
    if key is None:
        raise ApiKeyNotFound
    return key
