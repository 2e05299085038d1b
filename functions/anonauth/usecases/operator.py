"""What an operator does to a user: delete it, end its sessions."""

from datetime import datetime

from anonauth.domain.users import User
from anonauth.errors import StoreUnavailable
from anonauth.ports import UserStore

_DECISIONS = 4  # reads of a user that others keep changing, before we give up


class UnknownUser(Exception):
    """There is no such user, or not any more."""


class UserChanged(Exception):
    """The user is no longer as it was read; nothing was done to it."""


class AnonymousUser(Exception):
    """Nobody could ever log in to it again without its session."""


def delete_as_shown(user: User, *, users: UserStore, now: datetime) -> None:
    """Delete a user with its identities, API keys and sessions, as it was shown.

    The same transaction as that of a user who asks for it, mark included: what it
    leads to is `user.deleted` with the reason `requested`. API keys that come and go
    meanwhile do not hold it off: the sessions that make them are ended first.

    Args:
        user: As read. What was linked to it since then is not deleted unseen.
        now: Aware UTC time.

    Raises:
        UnknownUser: Somebody else was faster.
        UserChanged: Look at it again; its sessions may have ended.
        StoreUnavailable: It may be deleted; look again.
    """
    if users.delete_user(user, None, now):
        return
    for _ in range(_DECISIONS):
        found = users.get_user(user.app, user.id)
        if found is None:
            raise UnknownUser
        if found.identities != user.identities:
            raise UserChanged
        quiet = users.end_sessions(user.app, user.id, now)
        if quiet is None:
            raise UnknownUser
        if quiet.identities == user.identities and users.delete_user(quiet, None, now):
            return
    raise StoreUnavailable


def revoke_sessions(app: str, user_id: str, *, users: UserStore, now: datetime) -> User:
    """End all sessions of a permanent user, those of its API keys too.

    Its refresh tokens are refused from then on, and by this service its access tokens
    as well; others take those until they expire. Its credentials and API keys are as
    good as before.

    Returns:
        The user as it was read just before, with the sessions that were ended.

    Raises:
        UnknownUser: None of that id, or it has expired.
        AnonymousUser: Deletion is what is meant.
        StoreUnavailable: They may be ended; safe to repeat.
    """
    user = users.get_user(app, user_id)
    if user is None or user.is_expired(now):
        raise UnknownUser
    if user.anonymous:
        raise AnonymousUser
    if users.end_sessions(app, user_id, now) is None:
        raise UnknownUser
    return user
