"""Who am I; unlink one identity; delete me.

Unlinking is by refresh token, the others by access token. All read the user's own item.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS, API_KEY
from anonauth.domain.users import ApiKey, User
from anonauth.errors import (
    AmbiguousIdentity,
    AnonymousUnlinkRefused,
    BadRequest,
    IdentityNotFound,
    LastIdentity,
)
from anonauth.ports import IdentityStore, TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator
from anonauth.usecases._retry import decisions


@dataclass(frozen=True, slots=True)
class ShownIdentity:
    """An identity with what its provider tells of the user.

    `key` is empty for the anonymous identity and for an API key, which no `key` names.
    """

    id: str
    provider: str
    data: Mapping[str, str]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A user as it sees itself.

    `identities` are in the order in which they were linked. In a session that an API
    key has opened (`by_api_key`) that key is the last of them (client-api.md §2.7).
    """

    user: User
    identities: tuple[ShownIdentity, ...]
    by_api_key: bool

    @property
    def data(self) -> Mapping[str, str]:
        """The union of all identities' data; the one linked first wins."""
        union: dict[str, str] = {}
        for identity in reversed(self.identities):
            union.update(identity.data)
        return union


def read_profile(
    access_token: str,
    *,
    users: UserStore,
    identities: IdentityStore,
    tokens: TokenIssuer,
    now: datetime,
) -> Profile:
    """Return the profile of an access token's user.

    An anonymous user costs one read, any other one more.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        StoreUnavailable: Nothing is wrong with the token; retry.
    """
    user, session = Authenticator(users, tokens).access(access_token, now)
    shown = _show_identities(user, identities)
    opener = user.opener_of(session)
    by_api_key = isinstance(opener, ApiKey)
    if isinstance(opener, ApiKey):
        shown += (ShownIdentity(opener.id, API_KEY, {"name": opener.name}),)
    return Profile(user, shown, by_api_key)


def unlink_identity(
    refresh_token: str,
    provider: str,
    identity_id: str,
    key: str | None,
    *,
    users: UserStore,
    identities: IdentityStore,
    tokens: TokenIssuer,
    now: datetime,
) -> None:
    """Remove an identity from its user, and with it the sessions that it opened.

    If the identity opened the session that asks, that session ends too. By refresh
    token, which this service alone receives: a stolen access token must not lock the
    user's owner out.

    Args:
        provider: As the profile lists it.
        identity_id: The same.
        key: The same. Needed only where two issuers have given one `sub`: an id is
            unique within its issuer alone.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        BadRequest: It is an API key.
        ApiKeySessionRefused: An API key has opened the session that asks.
        IdentityNotFound: Also for a client that repeats itself after it succeeded.
        AmbiguousIdentity: The id is that of several identities; none was removed.
        AnonymousUnlinkRefused, LastIdentity: It has to stay.
        StoreUnavailable: It may have been removed, so retry.
    """
    if provider == API_KEY:
        raise BadRequest("API keys are removed by DELETE …/auth/api_keys/{id}")
    for _ in decisions():
        user, session = Authenticator(users, tokens).to_change(refresh_token, now)
        identity = _find_identity(user, provider, identity_id, key)
        if provider == ANONYMOUS:
            raise AnonymousUnlinkRefused
        if user.usable_identities() == [identity]:
            raise LastIdentity
        if identities.unlink_identity(user, session, identity, now):
            return


def delete_user(
    access_token: str, *, users: UserStore, tokens: TokenIssuer, now: datetime
) -> None:
    """Delete the user of an access token; every token of it is refused from then on.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired; or the
            token is too old, or from before the link. A refresh gets a better one.
        ApiKeySessionRefused: An API key has opened the session that asks.
        StoreUnavailable: The user may still exist, so retry.
    """
    for _ in decisions():
        user, session = Authenticator(users, tokens).to_delete(access_token, now)
        if users.delete_user(user, session, now):
            return


def _find_identity(
    user: User, provider: str, identity_id: str, key: str | None
) -> Identity:
    found = [
        identity
        for identity in user.identities
        if identity.provider == provider
        and identity.id == identity_id
        and key in {None, identity.key}
    ]
    if not found:
        raise IdentityNotFound
    if len(found) > 1:
        raise AmbiguousIdentity
    return found[0]


def _show_identities(
    user: User, identities: IdentityStore
) -> tuple[ShownIdentity, ...]:
    data = identities.get_identity_data(user.app, user.identities)
    return tuple(
        ShownIdentity(identity.id, identity.provider, known, identity.key)
        for identity, known in zip(user.identities, data, strict=True)
    )
