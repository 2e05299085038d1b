"""Checks a token against the user's own item: whose it is, and what it may do.

Each use case that takes a token begins here. Only this module decides who may change a
user. A session that an API key has opened may not (`refuse_api_key`). An access token
may do so only while it is young (`FRESH_FOR`).
"""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from anonauth.domain.claims import AccessClaims
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import Session, User
from anonauth.errors import ApiKeySessionRefused, InvalidSession, SessionNotFound
from anonauth.ports import TokenIssuer, UserStore

FRESH_FOR = timedelta(minutes=6)
"""How old an access token may be to delete a user, or to link a further identity.

Every API of the app receives access tokens, and an old copy of one must not be enough
to take a user over. SDKs refresh after the 401 and repeat the call. The time covers a
credential that a person has to get from a provider first, and clocks that differ.
"""

_BEFORE_LINK = "invalid session: the token is from before the link"


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Returns the user and session of a token, as they are in the table now.

    Each method reads the user's item once. `AppNotFound`, `KeysUnavailable` and
    `StoreUnavailable` say nothing about the token, which may be good.
    """

    users: UserStore
    tokens: TokenIssuer

    def access(self, access_token: str, now: datetime) -> tuple[User, Session]:
        """Return the user and session of an access token.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
        """
        _, user, session = self._read_access(access_token, now)
        return user, session

    def to_delete(self, access_token: str, now: datetime) -> tuple[User, Session]:
        """Return the user and session of an access token that may delete the user.

        Raises:
            InvalidSession: As `access`. Or the token is too old, or from before the
                link that made the user permanent: a refresh gets a better one.
            ApiKeySessionRefused: An API key has opened the session.
            AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
        """
        claims, user, session = self._read_access(access_token, now)
        refuse_api_key(session)
        if _is_before_link(claims, user):
            raise InvalidSession(_BEFORE_LINK)
        _require_fresh(claims, now)
        return user, session

    def to_link(self, access_token: str, now: datetime) -> tuple[User, Session, bool]:
        """Return the user and session of an access token that may link an identity.

        The third value is true if the token may only repeat a link. This is a guest's
        token whose user is permanent by now. Its client may not have heard that the
        link succeeded, however old the token is, so the credential has to be looked
        at. Every other token of a permanent user has to be young. An old one is
        refused here, before the credential is looked at.

        Raises:
            InvalidSession: As `access`. Or the user is permanent and the token too
                old: a refresh gets a better one.
            ApiKeySessionRefused: An API key has opened the session.
            AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
        """
        claims, user, session = self._read_access(access_token, now)
        refuse_api_key(session)
        only_repeats = _is_before_link(claims, user)
        if not user.anonymous and not only_repeats:
            _require_fresh(claims, now)
        return user, session, only_repeats

    def refresh(self, refresh_token: str, now: datetime) -> tuple[User, Session]:
        """Return the user and session of a refresh token.

        Raises:
            InvalidSession: The token is bad, or not the current one of its session.
            SessionNotFound: Its session or user no longer exists. This is final.
            AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
        """
        claims = self.tokens.read_refresh_token(refresh_token, now)
        user = self.users.get_user(claims.app, claims.user_id)
        session = user.live_session(claims.session_id, now) if user else None
        if user is None or session is None:
            raise SessionNotFound
        if not hmac.compare_digest(session.token_hash, claims.token_hash):
            raise InvalidSession
        return user, session

    def to_change(self, refresh_token: str, now: datetime) -> tuple[User, Session]:
        """Return the user and session of a refresh token that may change credentials.

        Raises:
            ApiKeySessionRefused: An API key has opened the session.
            AuthError: As `refresh`.
        """
        user, session = self.refresh(refresh_token, now)
        refuse_api_key(session)
        return user, session

    def _read_access(
        self, access_token: str, now: datetime
    ) -> tuple[AccessClaims, User, Session]:
        claims = self.tokens.read_access_token(access_token, now)
        user = self.users.get_user(claims.app, claims.user_id)
        session = user.live_session(claims.session_id, now) if user else None
        if user is None or session is None:
            raise InvalidSession("invalid session: user or session not found")
        return claims, user, session


def refuse_before_link() -> InvalidSession:
    """Return the error for a guest's token that would do more than repeat a link."""
    return InvalidSession(_BEFORE_LINK)


def refuse_api_key(session: Session) -> None:
    """Refuse a session that an API key has opened.

    Raises:
        ApiKeySessionRefused: An API key has opened it.
    """
    # Before the token's age: a refresh could not help, and a 401 promises that it does.
    if session.provider == API_KEY:
        raise ApiKeySessionRefused


def _is_before_link(claims: AccessClaims, user: User) -> bool:
    return claims.anonymous and not user.anonymous


def _require_fresh(claims: AccessClaims, now: datetime) -> None:
    if claims.issued_at + FRESH_FOR <= now:
        raise InvalidSession("invalid session: this takes a fresh access token")
