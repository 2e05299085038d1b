"""The decision of a login by an identity: whose session is opened, and how."""

from collections.abc import Callable
from dataclasses import dataclass

from anonauth.domain.identities import VerifiedIdentity
from anonauth.domain.users import Session, User


@dataclass(frozen=True, slots=True)
class Opening:
    """The user whose session is opened, and the write that opens it.

    Args:
        user: The user as it is once `write` has returned True.
        write: Opens the session. It returns False if another request was faster.
        free: The identity, if no user has it.
        is_listed: A user has the identity, and lists it.
        refresh_token: The token that the client has already. None if the session is
            new, and gets a new one.
        merged: A guest was merged into the user.
    """

    user: User
    session: Session
    write: Callable[[], bool]
    free: VerifiedIdentity | None = None
    is_listed: bool = False
    refresh_token: str | None = None
    merged: bool = False
