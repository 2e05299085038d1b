"""Logout: it ends sessions, and deletes an anonymous user with its session."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.claims import RefreshClaims
from anonauth.errors import InvalidSession, SessionNotFound
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator


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

    def log_out_everywhere(self, refresh_token: str, now: datetime) -> None:
        """End all sessions of the user of a refresh token.

        Only the read looks at the session that asks. Whoever holds another session
        cannot stop the write after it by changing the user again and again.

        Args:
            refresh_token: As issued.
            now: Aware UTC time of the request.

        Raises:
            SessionNotFound: As for `log_out`. Nothing has ended.
            ApiKeySessionRefused: An API key has opened the session. Nothing has ended.
            KeysUnavailable, StoreUnavailable: The sessions may still be open, so retry.
        """
        authenticator = Authenticator(self.users, self.tokens)
        try:
            user, session = authenticator.to_change(refresh_token, now)
        except InvalidSession as exc:
            raise SessionNotFound from exc
        claims = RefreshClaims(user.app, user.id, session.id, session.token_hash)
        is_deleted = user.anonymous and self.users.end_session(claims, now)
        # For a guest, too: a link may have made it permanent since it was read, and
        # opened the way for logins elsewhere.
        has_ended = self.users.end_sessions(user.app, user.id, now) is not None
        if not (is_deleted or has_ended):
            raise SessionNotFound
