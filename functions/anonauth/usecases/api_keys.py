"""API keys: a permanent user's programs log in with them, as the user itself.

All by refresh token (client-api.md §2.7).
"""

import re
import secrets
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
"""Of an API key, in characters."""


def create_api_key(
    refresh_token: str,
    name: str,
    *,
    users: UserStore,
    api_keys: ApiKeyStore,
    providers: Providers,
    tokens: TokenIssuer,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key; return its entry, and the key itself, which nobody can show again.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        ProviderNotFound: API keys are off for the app.
        PermanentUsersOnly: The user is anonymous.
        ApiKeySessionRefused: A key has opened the session that asks.
        InvalidParameter: The name is ill-formed, or there are 20 keys already.
        ApiKeyNameTaken: Names are unique within a user.
        StoreUnavailable: There may be a key of that name now that nobody knows.
    """
    secret = secrets.token_urlsafe(32)
    key = ApiKey(
        id=_key_id(now),
        name=name,
        hash=hash_secret(secret),
        created_at=now,
    )
    for _ in decisions():
        user, session = Authenticator(users, tokens).to_change(refresh_token, now)
        _require_api_keys(user, providers)
        _check_name(name)
        if any(other.name == name for other in user.api_keys.values()):
            raise ApiKeyNameTaken
        if len(user.api_keys) >= MOST_API_KEYS:
            raise InvalidParameter(
                f"this user has {MOST_API_KEYS} API keys, the most there can be"
            )
        if api_keys.create_api_key(user, session, key, now):
            break
    return key, secret


def list_api_keys(
    refresh_token: str,
    *,
    users: UserStore,
    providers: Providers,
    tokens: TokenIssuer,
    now: datetime,
) -> list[ApiKey]:
    """Return the user's keys in the order in which they were made.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        ProviderNotFound: API keys are off for the app.
        PermanentUsersOnly: The user is anonymous.
        StoreUnavailable: Nothing is wrong with the token; retry.
    """
    user, _ = Authenticator(users, tokens).refresh(refresh_token, now)
    _require_api_keys(user, providers)
    return sorted(user.api_keys.values(), key=lambda key: key.id)


def get_api_key(
    refresh_token: str,
    key_id: str,
    *,
    users: UserStore,
    providers: Providers,
    tokens: TokenIssuer,
    now: datetime,
) -> ApiKey:
    """Return one of the user's keys.

    Raises:
        ApiKeyNotFound: The user has none of that id.
        AuthError: As `list_api_keys`.
    """
    user, _ = Authenticator(users, tokens).refresh(refresh_token, now)
    _require_api_keys(user, providers)
    return _find_key(user, key_id)


def delete_api_key(
    refresh_token: str,
    key_id: str,
    *,
    users: UserStore,
    api_keys: ApiKeyStore,
    providers: Providers,
    tokens: TokenIssuer,
    now: datetime,
) -> None:
    """Delete a key, and with it the sessions that it opened.

    Raises:
        ApiKeySessionRefused: A key has opened the session that asks.
        ApiKeyNotFound: Also for a client that repeats itself after it succeeded.
        StoreUnavailable: The key may still be good, so retry.
        AuthError: As `list_api_keys`.
    """
    for _ in decisions():
        user, session = Authenticator(users, tokens).to_change(refresh_token, now)
        _require_api_keys(user, providers)
        key = _find_key(user, key_id)
        if api_keys.delete_api_key(user, session, key, now):
            return


def switch_api_key(
    refresh_token: str,
    key_id: str,
    *,
    disabled: bool,
    users: UserStore,
    api_keys: ApiKeyStore,
    providers: Providers,
    tokens: TokenIssuer,
    now: datetime,
) -> None:
    """Enable a key, or disable it and end the sessions that it opened.

    A key that is so already is left alone (client-api.md §2.7).

    Raises:
        ApiKeySessionRefused: A key has opened the session that asks.
        ApiKeyNotFound: The user has none of that id.
        StoreUnavailable: The key may be either, so retry.
        AuthError: As `list_api_keys`.
    """
    for _ in decisions():
        user, session = Authenticator(users, tokens).to_change(refresh_token, now)
        _require_api_keys(user, providers)
        key = _find_key(user, key_id)
        if key.disabled == disabled:
            return
        if api_keys.set_api_key_disabled(user, session, key, now, disabled=disabled):
            return


def _require_api_keys(user: User, providers: Providers) -> None:
    if providers.find(user.app, API_KEY) is None:
        raise ProviderNotFound(API_KEY)
    if user.anonymous:
        raise PermanentUsersOnly


def _key_id(now: datetime) -> str:
    # As an ObjectId does, it begins with the time, so that keys sort by their making:
    # a map in DynamoDB has no order. Here in milliseconds.
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
