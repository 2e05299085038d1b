"""Who am I; delete me. Both by access token, and both read the user's own item."""

from datetime import datetime

from anonauth.domain import Session, User
from anonauth.errors import InvalidSession, StoreUnavailable
from anonauth.ports import TokenIssuer, UserStore

_DECISIONS = 4  # reads of a user that others keep changing, before we give up


def read_profile(
    access_token: str, *, users: UserStore, tokens: TokenIssuer, now: datetime
) -> User:
    """Return the live user of an access token.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        StoreUnavailable: Nothing is wrong with the token; retry.
    """
    user, _ = _authenticate(access_token, users=users, tokens=tokens, now=now)
    return user


def delete_user(
    access_token: str, *, users: UserStore, tokens: TokenIssuer, now: datetime
) -> None:
    """Delete the user of an access token; every token of it is refused from then on.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired.
        StoreUnavailable: The user may still exist, so retry.
    """
    for _ in range(_DECISIONS):
        user, session = _authenticate(access_token, users=users, tokens=tokens, now=now)
        if users.delete_user(user, session, now):
            return
    raise StoreUnavailable


def _authenticate(
    access_token: str, *, users: UserStore, tokens: TokenIssuer, now: datetime
) -> tuple[User, Session]:
    claims = tokens.read_access_token(access_token, now)
    user = users.get_user(claims.app, claims.user_id)
    session = user.live_session(claims.session_id, now) if user else None
    if user is None or session is None:
        raise InvalidSession("invalid session: user or session not found")
    return user, session
