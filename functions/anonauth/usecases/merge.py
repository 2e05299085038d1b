"""Login by an identity that brings the client's guest along.

The guest gets the identity if the identity is free. If a permanent user has it, the
guest is merged into that user (linking.md, "Merge a guest").
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from anonauth.domain.claims import RefreshClaims
from anonauth.domain.expiry import SessionLimits
from anonauth.domain.identities import VerifiedIdentity
from anonauth.domain.users import Session, User, user_after_merge
from anonauth.errors import AppNotFound, InvalidParameter, InvalidSession
from anonauth.ports import IdentityStore, TokenIssuer, UserStore


@dataclass(frozen=True, slots=True)
class Opening:
    """How a login opens its session: the user, and the write.

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


class GuestToken(NamedTuple):
    """A guest's refresh token that came with a login, and its verified claims."""

    token: str
    claims: RefreshClaims


@dataclass(frozen=True, slots=True)
class GuestMerge:
    """Brings guests along to a login. `limits` are those of permanent sessions."""

    users: UserStore
    identities: IdentityStore
    tokens: TokenIssuer
    limits: SessionLimits

    def read_token(self, token: str, app: str, now: datetime) -> GuestToken:
        """Verify a guest's refresh token, without a look at the guest.

        This comes before the credential, which may work only once. The state of the
        guest comes after it, so that nobody learns it without a credential.

        Raises:
            InvalidParameter: The text is not a refresh token of the app.
            KeysUnavailable, StoreUnavailable: There is no key to verify with. Retry.
        """
        try:
            claims = self.tokens.read_refresh_token(token, now)
        except (InvalidSession, AppNotFound) as exc:
            raise InvalidParameter("'merge' is not a valid refresh token") from exc
        if claims.app != app:
            raise InvalidParameter("'merge' is a refresh token of another app")
        return GuestToken(token, claims)

    def opening(
        self, login: Opening, sent: GuestToken, now: datetime
    ) -> Opening | None:
        """Return how a login opens its session, if a guest is to come along.

        A guest that is gone changes nothing, so that a client can repeat a call whose
        answer was lost.

        Args:
            login: How the login would open its session without a guest.

        Returns:
            None if the user of the identity has been written again, because its item
            was lost. The caller then reads again, and the guest can be merged.

        Raises:
            InvalidParameter: The guest has become permanent. It would be left behind.
        """
        claims = sent.claims
        guest = self.users.get_user(claims.app, claims.user_id)
        session = guest.live_session(claims.session_id, now) if guest else None
        if (
            guest is None
            or session is None
            or not hmac.compare_digest(session.token_hash, claims.token_hash)
        ):
            merged = guest is None and self._was_merged(claims, login.user)
            return replace(login, merged=merged)
        if not guest.anonymous:
            if guest.id == login.user.id:
                return login  # the answer to a link was lost
            raise InvalidParameter(
                f"user {guest.id} of 'merge' is permanent: only a guest can be merged"
            )
        if login.free is not None:
            return self._link(login, guest, session, sent.token, now)
        if login.is_listed:
            return self._merge(login, guest, session, now)
        login.write()
        return None

    def _was_merged(self, claims: RefreshClaims, user: User) -> bool:
        mark = self.users.get_mark(claims.app, claims.user_id)
        return (
            mark is not None
            and mark.into == user.id
            and hmac.compare_digest(mark.token_hash, claims.token_hash)
        )

    def _link(
        self, login: Opening, guest: User, session: Session, token: str, now: datetime
    ) -> Opening:
        identity = login.free
        assert identity is not None  # noqa: S101 - for the type  # nosec B101
        expires_at = self.limits.expiry(now, now)
        return Opening(
            replace(guest, anonymous=False, expires_at=None),
            session,
            lambda: self.identities.link_identity(
                guest, session, identity, now, expires_at=expires_at
            ),
            refresh_token=token,
        )

    def _merge(
        self, login: Opening, guest: User, guest_session: Session, now: datetime
    ) -> Opening:
        user, session = login.user, login.session
        ended = user.sessions_to_end(session, now)
        after, _ = user_after_merge(user, guest.id)
        return Opening(
            after,
            session,
            lambda: self.identities.absorb_guest(
                user, session, ended, guest, guest_session, now
            ),
            merged=True,
        )
