"""Refresh: a new access token for a live session, which then expires later."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.expiry import SessionLimits, expiry_after, utc_day
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator
from anonauth.usecases._retry import decisions


@dataclass(frozen=True, slots=True)
class SessionRefresh:
    """Issues access tokens. `limits` are those of the sessions of permanent users."""

    users: UserStore
    tokens: TokenIssuer
    limits: SessionLimits

    def refresh(self, refresh_token: str, *, base_url: str, now: datetime) -> str:
        """Return a new access token, and once a day move the expiry.

        An anonymous user expires as a whole. For a permanent user only the session
        expires. The refresh token stays as it is, because no Realm SDK stores a new one
        (client-api.md §2.5).

        Args:
            refresh_token: As issued.
            base_url: Public address of this service, without a trailing slash.
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
                This is final.
            KeysUnavailable, StoreUnavailable: Nothing is wrong with the token, so
                retry.
        """
        authenticator = Authenticator(self.users, self.tokens)
        for _ in decisions():
            user, session = authenticator.refresh(refresh_token, now)
            expires_at = (
                expiry_after(now)
                if user.anonymous
                else self.limits.expiry(session.created_at, now)
            )
            used_today = session.used_day >= utc_day(now)
            if used_today or self.users.record_activity(
                user, session, now, expires_at=expires_at
            ):
                break
        return self.tokens.access_token(user, session, base_url=base_url, now=now)
