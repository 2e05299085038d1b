"""Anonymous login: a new user with one session, for a client without a credential."""

import secrets
import string
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from anonauth.domain.encoding import hash_token_id
from anonauth.domain.expiry import expiry_after, utc_day
from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS
from anonauth.domain.users import NO_DEVICE, Device, Session, User
from anonauth.errors import AnonymousLinkRefused, StoreUnavailable
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases.admission import Admission


class OpenedSession(NamedTuple):
    """The result of a login: the user, its session, and both tokens."""

    user: User
    session: Session
    access_token: str
    refresh_token: str


# A named tuple, since a dataclass generates code for 0.5 ms of each cold start.
class AnonymousLoginRequest(NamedTuple):
    """What a client sends to log in anonymously.

    Args:
        app: A client app id that is configured.
        is_link: The client asked to link, which an anonymous identity cannot be.
        device: What the client says about its device, if anything.
        base_url: Public address of this service, without a trailing slash.
        network: IP address of the client, see `Admission.require`.
        answer: The client's answer to the app's challenge, unchecked, if any.
    """

    app: str
    is_link: bool
    device: Device | None
    base_url: str
    network: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class AnonymousLogin:
    """Creates anonymous users. An operator's tool has no `admission`."""

    users: UserStore
    tokens: TokenIssuer
    admission: Admission | None

    def log_in(self, request: AnonymousLoginRequest, now: datetime) -> OpenedSession:
        """Create an anonymous user and open its only session.

        Each call creates another user. A client that wants its user back keeps its
        refresh token (client-api.md §6).

        Args:
            now: Aware UTC time of the request.

        Raises:
            AnonymousLinkRefused: The client asked to link. Nothing was written.
            BudgetSpent, ChallengeFailed: See `Admission`. No user was created.
            KeysUnavailable: Tokens cannot be signed. No user was created.
            StoreUnavailable: A user may have been created, but no client has its token.
        """
        if request.is_link:
            raise AnonymousLinkRefused
        app = request.app
        if self.admission is not None:
            self.admission.require(
                app, network=request.network, answer=request.answer, now=now
            )
        session, jti = new_session(ANONYMOUS, request.device, now)
        user = User(
            app=app,
            id=new_id(),
            anonymous=True,
            version=1,
            created_at=now,
            last_active_day=utc_day(now),
            expires_at=expiry_after(now),
            sessions={session.id: session},
            identities=(Identity(_anonymous_identity_id(), ANONYMOUS),),
        )
        # Signed first: without keys there must be no user either.
        opened = sign_session(
            user, session, jti, tokens=self.tokens, base_url=request.base_url, now=now
        )
        if not self.users.create_user(user):
            # 96 random bits do not meet by chance: let the client ask again.
            raise StoreUnavailable
        return opened


def new_id() -> str:
    """Return a random id of 24 hex digits (client-api.md §2.2)."""
    return secrets.token_hex(12)


def new_session(
    provider: str,
    device: Device | None,
    now: datetime,
    *,
    identity_key: str = "",
    expires_at: datetime | None = None,
) -> tuple[Session, str]:
    """Return a session, which is not stored yet, and the `jti` of its refresh token."""
    jti = secrets.token_urlsafe(32)
    session = Session(
        id=new_id(),
        token_hash=hash_token_id(jti),
        provider=provider,
        created_at=now,
        used_day=utc_day(now),
        device=_with_id(device),
        expires_at=expires_at,
        identity_key=identity_key,
    )
    return session, jti


def _with_id(device: Device | None) -> Device:
    if device is None:
        return Device()
    # The native SDKs never send an id. The others send the one that they were given
    # (client-api.md §2.2).
    return device if device.id != NO_DEVICE else replace(device, id=new_id())


def sign_session(
    user: User,
    session: Session,
    jti: str,
    *,
    tokens: TokenIssuer,
    base_url: str,
    now: datetime,
) -> OpenedSession:
    """Sign both tokens of a session, and return it with them.

    Raises:
        KeysUnavailable, StoreUnavailable: Tokens cannot be signed now.
    """
    return OpenedSession(
        user,
        session,
        tokens.access_token(user, session, base_url=base_url, now=now),
        tokens.refresh_token(user, session, jti=jti, now=now),
    )


def _anonymous_identity_id() -> str:
    # The form that the old service gave it: 24 hex digits, then 24 lower case letters
    # (client-api.md §2.4).
    letters = (secrets.choice(string.ascii_lowercase) for _ in range(24))
    return f"{new_id()}-{''.join(letters)}"
