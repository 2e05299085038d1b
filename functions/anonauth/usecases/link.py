"""Linking an identity to a user, which makes an anonymous user permanent.

The same route logs in by an identity (see `provider_login`). The query `?link=true`
tells the two apart (client-api.md §2.2, §2.3, §7).
"""

from dataclasses import dataclass, replace
from datetime import datetime

from anonauth.domain.expiry import SessionLimits
from anonauth.domain.identities import IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import MOST_IDENTITIES, Session, User
from anonauth.errors import (
    ApiKeyLinkRefused,
    BadCredential,
    CredentialRefused,
    IdentityTaken,
    PasswordRefused,
    ProviderNotFound,
    WrongApp,
    WrongPassword,
)
from anonauth.ports import IdentityStore, Provider, Providers, TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator, refuse_before_link
from anonauth.usecases._retry import decisions
from anonauth.usecases.credential import CredentialRequest, require_room


@dataclass(frozen=True, slots=True)
class LinkedSession:
    """The result of a link: the same session, and a fresh access token."""

    user: User
    session: Session
    access_token: str


@dataclass(frozen=True, slots=True)
class IdentityLinking:
    """Links identities. `limits` are those of the sessions of permanent users."""

    users: UserStore
    identities: IdentityStore
    providers: Providers
    tokens: TokenIssuer
    limits: SessionLimits

    def link(
        self, access_token: str, request: CredentialRequest, now: datetime
    ) -> LinkedSession:
        """Add the identity that a credential proves to the user of an access token.

        An anonymous user becomes permanent, and keeps its id and its session. A link
        never makes one user of two. If the user has the identity already, nothing is
        written and the call succeeds.

        An anonymous user links with any good token. A permanent user needs a young
        token to link a further identity. The token is checked before the credential: an
        authorization code works once, and a refused token must not count against a
        limit.

        An anonymous user's token whose user is permanent by now can only repeat a link.
        The credential tells whether it does, so it is checked, but only if the user has
        an identity of that provider. A bad credential then gets the usual error and
        counts against the usual limits. An attacker gains no more by it than by a
        login, which needs no token.

        Args:
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The access token is bad, or its session or user no longer
                exists. Or the token must not do this, see above: a refresh gets a
                better one.
            ApiKeySessionRefused: An API key has opened the session.
            WrongApp, ProviderNotFound, ApiKeyLinkRefused, BadRequest: The request
                makes no sense.
            CredentialRefused: The credential proves nothing. Never a 401 (client-api.md
                §7).
            IdentityTaken: The identity belongs to another user.
            SecondUserpassRefused, TooManyIdentities: The user has no room for it.
            BudgetSpent: There were too many wrong passwords.
            Unavailable: The identity may have been linked. Repeating the call is safe.
        """
        authenticator = Authenticator(self.users, self.tokens)
        user, session, only_repeats = authenticator.to_link(access_token, now)
        if user.app != request.app:
            raise WrongApp
        provider = self.providers.find(request.app, request.provider)
        if provider is None:
            raise ProviderNotFound(request.provider)
        if request.provider == API_KEY:
            raise ApiKeyLinkRefused
        providers = {identity.provider for identity in user.identities}
        if only_repeats and request.provider not in providers:
            raise refuse_before_link()
        proven = verified = _verify(provider, request, now)
        is_listed = _check_owner(
            user, verified, verified.record, only_repeats=only_repeats
        )
        # Each round of a race has a winner, and a user has so many identities at most.
        for _ in decisions(MOST_IDENTITIES):
            permanent = replace(user, anonymous=False, expires_at=None)
            # Signed first: a client that gets an error must not have been linked, since
            # it may have no credential to repeat the call with.
            fresh_token = self.tokens.access_token(
                permanent, session, base_url=request.base_url, now=now
            )
            linked = LinkedSession(permanent, session, fresh_token)
            if is_listed:
                break
            require_room(user, verified)
            # A guest's session had no limits. They begin now, with the permanent user.
            begun = now if user.anonymous else session.created_at
            expires_at = self.limits.expiry(begun, now)
            if self.identities.link_identity(
                user, session, verified, now, expires_at=expires_at
            ):
                break
            user, session, only_repeats = authenticator.to_link(access_token, now)
            record = self.identities.get_identity(
                request.app, proven.provider, proven.key
            )
            is_listed = _check_owner(user, proven, record, only_repeats=only_repeats)
            verified = _unchanged(proven, record)
        return linked


def _verify(
    provider: Provider, request: CredentialRequest, now: datetime
) -> VerifiedIdentity:
    try:
        return request.verify(provider, now)
    except WrongPassword as exc:
        raise PasswordRefused(exc.reason) from exc
    except BadCredential as exc:
        raise CredentialRefused(exc.reason) from exc


def _check_owner(
    user: User,
    verified: VerifiedIdentity,
    record: IdentityRecord | None,
    *,
    only_repeats: bool,
) -> bool:
    """Tell whether the user has the identity already.

    Raises:
        InvalidSession: The user does not, and the token may only repeat a link.
        IdentityTaken: Another user has it.
    """
    is_listed = user.find_identity(verified.provider, verified.key) is not None
    if only_repeats and not is_listed:
        raise refuse_before_link()
    if record is not None and record.user_id not in {None, user.id}:
        raise IdentityTaken
    return is_listed


def _unchanged(
    verified: VerifiedIdentity, record: IdentityRecord | None
) -> VerifiedIdentity:
    """Return the identity as it can be linked now, if its verification still holds."""
    if verified.record is None:
        # Such a record always names a user. If it names this user, which does not list
        # it, then the user was made again.
        return replace(verified, record=record)
    if (
        record is None
        or record.id != verified.record.id
        or record.version != verified.record.version
    ):
        # A reset in between has won: the old password is no longer valid.
        raise PasswordRefused(WrongPassword().reason)
    # The record as verified, which has the network of this link.
    return verified
