"""Refresh: a new access token for a live session, and the sign of life it is."""

import hmac
from datetime import datetime

from anonauth.domain import utc_day
from anonauth.errors import InvalidSession, SessionNotFound, StoreUnavailable
from anonauth.ports import TokenIssuer, UserStore

_DECISIONS = 4  # reads of a user that others keep changing, before we give up


def refresh(
    refresh_token: str,
    *,
    base_url: str,
    users: UserStore,
    tokens: TokenIssuer,
    now: datetime,
) -> str:
    """Return a new access token; once a day, push an anonymous user's expiry.

    The refresh token stays as it is: no Realm SDK stores a new one (contract §2.5).

    Args:
        refresh_token: As issued.
        base_url: Public address of this service, without a trailing slash.
        now: Aware UTC time of the request.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired. Final.
        KeysUnavailable, StoreUnavailable: Nothing is wrong with the token; retry.
    """
    claims = tokens.read_refresh_token(refresh_token, now)
    for _ in range(_DECISIONS):
        user = users.get_user(claims.app, claims.user_id)
        session = user.live_session(claims.session_id, now) if user else None
        if user is None or session is None:
            raise SessionNotFound
        if not hmac.compare_digest(session.token_hash, claims.token_hash):
            raise InvalidSession
        used_today = session.used_day >= utc_day(now)
        if used_today or users.record_activity(user, session, now):
            return tokens.access_token(user, session, base_url=base_url, now=now)
    raise StoreUnavailable
