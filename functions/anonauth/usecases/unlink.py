"""Unlinking an identity from its user."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS, API_KEY
from anonauth.domain.users import User
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
class IdentityUnlinking:
    """Removes identities from their users."""

    users: UserStore
    identities: IdentityStore
    tokens: TokenIssuer

    def unlink(
        self,
        refresh_token: str,
        *,
        provider: str,
        identity_id: str,
        key: str | None,
        now: datetime,
    ) -> None:
        """Remove an identity from its user, and end the sessions that it opened.

        The session of the refresh token may be one of those. Only this service receives
        refresh tokens. With a stolen access token, an attacker could otherwise lock the
        user's owner out.

        Args:
            provider: As the profile lists it.
            identity_id: As the profile lists it.
            key: As the profile lists it. An id is unique within its issuer only, so the
                key is needed where two issuers have given one `sub`.
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            BadRequest: The identity is an API key.
            ApiKeySessionRefused: An API key has opened the session of the token.
            IdentityNotFound: The user has no such identity. A client that repeats a
                successful call gets this error, too.
            AmbiguousIdentity: Several identities have this id. None was removed.
            AnonymousUnlinkRefused, LastIdentity: The identity cannot be removed.
            StoreUnavailable: The identity may have been removed, so retry.
        """
        if provider == API_KEY:
            raise BadRequest("API keys are removed by DELETE …/auth/api_keys/{id}")
        authenticator = Authenticator(self.users, self.tokens)
        for _ in decisions():
            user, session = authenticator.to_change(refresh_token, now)
            identity = _find_identity(user, provider, identity_id, key)
            if provider == ANONYMOUS:
                raise AnonymousUnlinkRefused
            if user.usable_identities() == [identity]:
                raise LastIdentity
            if self.identities.unlink_identity(user, session, identity, now):
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
