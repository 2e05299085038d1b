"""Deletion of a user, as the user itself asks for it."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator
from anonauth.usecases._retry import decisions


@dataclass(frozen=True, slots=True)
class UserDeletion:
    """Deletes users by their access tokens."""

    users: UserStore
    tokens: TokenIssuer

    def delete(self, access_token: str, now: datetime) -> None:
        """Delete the user of an access token. All its tokens are refused from then on.

        Args:
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
                Or it is too old, or from before the link: a refresh gets a better one.
            ApiKeySessionRefused: An API key has opened the session.
            StoreUnavailable: The user may still exist, so retry.
        """
        authenticator = Authenticator(self.users, self.tokens)
        for _ in decisions():
            user, session = authenticator.to_delete(access_token, now)
            if self.users.delete_user(user, session, now):
                return
