"""Refresh: a new access token for a live session, and the sign of life it is."""

from datetime import datetime

from anonauth.domain.expiry import SessionLimits, expiry_after, utc_day
from anonauth.errors import StoreUnavailable
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator

_DECISIONS = 4  # reads of a user that others keep changing, before we give up


def refresh(
    refresh_token: str,
    *,
    base_url: str,
    users: UserStore,
    tokens: TokenIssuer,
    limits: SessionLimits,
    now: datetime,
) -> str:
    """Return a new access token; once a day, push what expires.

    That is an anonymous user, or the session of a permanent one. The refresh token
    stays as it is: no Realm SDK stores a new one (client-api.md §2.5).

    Args:
        refresh_token: As issued.
        limits: Of the sessions of permanent users.
        base_url: Public address of this service, without a trailing slash.
        now: Aware UTC time of the request.

    Raises:
        InvalidSession: Bad token, or its session or user is gone or expired. Final.
        KeysUnavailable, StoreUnavailable: Nothing is wrong with the token; retry.
    """
    for _ in range(_DECISIONS):
        user, session = Authenticator(users, tokens).refresh(refresh_token, now)
        expires_at = (
            expiry_after(now)
            if user.anonymous
            else limits.expiry(session.created_at, now)
        )
        used_today = session.used_day >= utc_day(now)
        if used_today or users.record_activity(
            user, session, now, expires_at=expires_at
        ):
            return tokens.access_token(user, session, base_url=base_url, now=now)
    raise StoreUnavailable
