"""Whose token this is: the live user and session, read from the user's own item."""

import hmac
from datetime import datetime

from anonauth.domain import Session, User
from anonauth.errors import InvalidSession, SessionNotFound
from anonauth.ports import TokenIssuer, UserStore


def authenticate_access(
    access_token: str,
    *,
    users: UserStore,
    tokens: TokenIssuer,
    now: datetime,
    since_link: bool = False,
) -> tuple[User, Session]:
    """Return the user and session of an access token, as they are in the table now.

    Args:
        since_link: Refuse the token of a guest that is permanent by now. Its session
            gets a better one by a refresh, and who has only copied the token does not.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
    """
    claims = tokens.read_access_token(access_token, now)
    user = users.get_user(claims.app, claims.user_id)
    session = user.live_session(claims.session_id, now) if user else None
    if user is None or session is None:
        raise InvalidSession("invalid session: user or session not found")
    if since_link and claims.anonymous and not user.anonymous:
        raise InvalidSession("invalid session: the token is from before the link")
    return user, session


def authenticate_refresh(
    refresh_token: str, *, users: UserStore, tokens: TokenIssuer, now: datetime
) -> tuple[User, Session]:
    """Return the user and session of a refresh token, as they are in the table now.

    Raises:
        InvalidSession: Bad token, or not the one of its session.
        SessionNotFound: Its session or user is gone or expired. Final.
        AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
    """
    claims = tokens.read_refresh_token(refresh_token, now)
    user = users.get_user(claims.app, claims.user_id)
    session = user.live_session(claims.session_id, now) if user else None
    if user is None or session is None:
        raise SessionNotFound
    if not hmac.compare_digest(session.token_hash, claims.token_hash):
        raise InvalidSession
    return user, session
