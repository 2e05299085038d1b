"""Log out: the session ends, and an anonymous user with it."""

from datetime import datetime

from anonauth.errors import InvalidSession, SessionNotFound
from anonauth.ports import TokenIssuer, UserStore


def log_out(
    refresh_token: str, *, users: UserStore, tokens: TokenIssuer, now: datetime
) -> None:
    """End the session this refresh token belongs to.

    An anonymous user is deleted with its only session (client-api.md §2.5):
    nobody could ever sign in to it again.

    Args:
        refresh_token: As issued.
        now: Aware UTC time of the request.

    Raises:
        SessionNotFound: There is no such session, whatever the reason. realm-web
            forgets a user on this text only, so an unreadable token, such as one of
            the old service, gets it too: else that user could never be removed.
        KeysUnavailable, StoreUnavailable: The session may still be open, so retry.
    """
    try:
        claims = tokens.read_refresh_token(refresh_token, now)
    except InvalidSession as exc:
        raise SessionNotFound from exc
    if not users.end_session(claims, now):
        raise SessionNotFound
