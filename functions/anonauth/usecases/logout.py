"""Logout: it ends the session, and deletes an anonymous user with it."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.errors import InvalidSession, SessionNotFound
from anonauth.ports import TokenIssuer, UserStore


@dataclass(frozen=True, slots=True)
class Logout:
    """Ends sessions by their refresh tokens."""

    users: UserStore
    tokens: TokenIssuer

    def log_out(self, refresh_token: str, now: datetime) -> None:
        """End the session of a refresh token.

        An anonymous user is deleted with its only session (client-api.md §2.5), because
        nobody could ever log in to it again.

        Args:
            refresh_token: As issued.
            now: Aware UTC time of the request.

        Raises:
            SessionNotFound: There is no such session, whatever the reason. An
                unreadable token, such as one from the old service, gets this error,
                too. realm-web forgets a user on this text only, and could otherwise
                never remove that user.
            KeysUnavailable, StoreUnavailable: The session may still be open, so retry.
        """
        try:
            claims = self.tokens.read_refresh_token(refresh_token, now)
        except InvalidSession as exc:
            raise SessionNotFound from exc
        if not self.users.end_session(claims, now):
            raise SessionNotFound
