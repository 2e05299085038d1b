"""The sessions of a user: whose one is, a list of all, and the end of one."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.claims import RefreshClaims
from anonauth.domain.users import Session, User
from anonauth.errors import NoSuchSession
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator, refuse_api_key


@dataclass(frozen=True, slots=True)
class SessionList:
    """The live sessions of a user, the last used one first.

    `asking` is the session whose token asked for them.
    """

    user: User
    sessions: tuple[Session, ...]
    asking: Session


@dataclass(frozen=True, slots=True)
class SessionManagement:
    """Finds sessions by access tokens, lists and ends them by refresh tokens."""

    users: UserStore
    tokens: TokenIssuer

    def find(self, access_token: str, now: datetime) -> tuple[User, Session]:
        """Return the user and the session of an access token, if the session is open.

        It is one consistent read, so a session is refused from the moment at which it
        ends: by a logout, a merge, an unlink, or with its user.

        Args:
            access_token: As issued.
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            AppNotFound, KeysUnavailable, StoreUnavailable: The token may be good.
        """
        return Authenticator(self.users, self.tokens).access(access_token, now)

    def list_all(self, refresh_token: str, now: datetime) -> SessionList:
        """Return the live sessions of the user of a refresh token.

        Args:
            refresh_token: As issued.
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            KeysUnavailable, StoreUnavailable: Nothing is wrong with the token, so
                retry.
        """
        user, asking = Authenticator(self.users, self.tokens).refresh(
            refresh_token, now
        )
        live = [s for s in user.sessions.values() if user.live_session(s.id, now)]
        live.sort(key=lambda s: (s.used_day, s.created_at, s.id), reverse=True)
        return SessionList(user, tuple(live), asking)

    def end(self, refresh_token: str, session_id: str, now: datetime) -> None:
        """End one session of the user of a refresh token.

        It may be the session of that token. The call then is a logout, which deletes an
        anonymous user.

        Args:
            refresh_token: As issued.
            session_id: As the list has it.
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            ApiKeySessionRefused: An API key has opened the session of the token, and
                another session was to end.
            NoSuchSession: The user has no live session with that id. A client that
                repeats a successful call gets this error, too.
            KeysUnavailable, StoreUnavailable: The session may still be open, so retry.
        """
        user, asking = Authenticator(self.users, self.tokens).refresh(
            refresh_token, now
        )
        if session_id != asking.id:
            refuse_api_key(asking)
        session = user.live_session(session_id, now)
        if session is None:
            raise NoSuchSession
        # The hash of a session's token never changes, so the write needs no version.
        claims = RefreshClaims(user.app, user.id, session.id, session.token_hash)
        if not self.users.end_session(claims, now):
            raise NoSuchSession
