"""An operator's actions on a user: delete it, end its sessions."""

from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.users import User
from anonauth.ports import UserStore
from anonauth.usecases._retry import decisions


class UnknownUser(Exception):
    """The user does not exist, or no longer."""


class UserChanged(Exception):
    """The user is no longer as it was read. It was not deleted."""


class AnonymousUser(Exception):
    """The user is anonymous: without its session it could never log in again."""


@dataclass(frozen=True, slots=True)
class OperatorActions:
    """What an operator can do to a user."""

    users: UserStore

    def delete_as_shown(self, user: User, now: datetime) -> None:
        """Delete a user with its identities, API keys and sessions, as it was shown.

        The transaction is the same as for a user who asks for the deletion, and it
        leaves the same mark. So the event is `user.deleted` with the reason
        `requested`. API keys that come and go meanwhile cannot prevent the deletion.
        The sessions that make them are ended first.

        Args:
            user: The user as read. An identity that was linked since then is not
                deleted unseen.
            now: Aware UTC time.

        Raises:
            UnknownUser: The user was deleted or expired meanwhile.
            UserChanged: The user has other identities now, so look at it again. Its
                sessions may have ended.
            StoreUnavailable: The user may be deleted. Look again.
        """
        if self.users.delete_user(user, None, now):
            return
        for _ in decisions():
            found = self.users.get_user(user.app, user.id)
            if found is None:
                raise UnknownUser
            if found.identities != user.identities:
                raise UserChanged
            quiet = self.users.end_sessions(user.app, user.id, now)
            if quiet is None:
                raise UnknownUser
            is_as_shown = quiet.identities == user.identities
            if is_as_shown and self.users.delete_user(quiet, None, now):
                return

    def revoke_sessions(self, app: str, user_id: str, now: datetime) -> User:
        """End all sessions of a permanent user, those of its API keys too.

        From then on its refresh tokens are refused, and this service refuses its access
        tokens as well. Other APIs accept the access tokens until they expire. The
        user's credentials and API keys stay valid.

        Returns:
            The user as it was read just before, with the sessions that were ended.

        Raises:
            UnknownUser: There is no such user, or it has expired.
            AnonymousUser: The user can only be deleted.
            StoreUnavailable: The sessions may have ended. The call can be repeated.
        """
        user = self.users.get_user(app, user_id)
        if user is None or user.is_expired(now):
            raise UnknownUser
        if user.anonymous:
            raise AnonymousUser
        if self.users.end_sessions(app, user_id, now) is None:
            raise UnknownUser
        return user
