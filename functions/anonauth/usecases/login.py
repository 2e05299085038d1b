"""Anonymous login: a new user with one session, for a client without a credential."""

import hmac
import secrets
import string
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from anonauth.domain.encoding import hash_secret, hash_token_id, token_id_of
from anonauth.domain.expiry import LOGIN_KEY_LIFETIME, expiry_after, utc_day
from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS
from anonauth.domain.users import NO_DEVICE, Device, Session, User
from anonauth.errors import AnonymousLinkRefused, LoginKeySpent, StoreUnavailable
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases._retry import decisions
from anonauth.usecases.admission import Admission


class OpenedSession(NamedTuple):
    """The result of a login: the user, its session, and both tokens.

    `merged` tells whether a guest was merged into the user (see `merge`).
    """

    user: User
    session: Session
    access_token: str
    refresh_token: str
    merged: bool = False


class AnonymousLoginRequest(NamedTuple):
    """What a client sends to log in anonymously.

    Args:
        app: A client app id that is configured.
        is_link: The client asked to link, which an anonymous identity cannot be.
        device: What the client says about its device, if anything.
        base_url: Public address of this service, without a trailing slash.
        network: IP address of the client, see `Admission.require`.
        answer: The client's answer to the app's challenge, unchecked, if any.
        login_key: 32 random bytes as base64url, by which a repeated login is known.
    """

    app: str
    is_link: bool
    device: Device | None
    base_url: str
    network: str
    answer: str | None
    login_key: str | None


@dataclass(frozen=True, slots=True)
class AnonymousLogin:
    """Creates anonymous users. An operator's tool has no `admission`."""

    users: UserStore
    tokens: TokenIssuer
    admission: Admission | None

    def log_in(self, request: AnonymousLoginRequest, now: datetime) -> OpenedSession:
        """Create an anonymous user and open its only session.

        Each call creates another user, unless it has the login key of an earlier call.
        A client that wants its user back keeps its refresh token (client-api.md §6).

        A login key gives back the user and the session that it has opened, for
        `LOGIN_KEY_LIFETIME` and while that session lives. The user may be permanent by
        then.

        Args:
            now: Aware UTC time of the request.

        Raises:
            AnonymousLinkRefused: The client asked to link. Nothing was written.
            BudgetSpent, ChallengeFailed: See `Admission`. No user was created.
            KeysUnavailable: Tokens cannot be signed. No user was created.
            LoginKeySpent: The session that the login key opened has ended.
            StoreUnavailable: A user may have been created, but no client has its token.
                The same login key gives it to the client.
        """
        if request.is_link:
            raise AnonymousLinkRefused
        app = request.app
        if self.admission is not None:
            self.admission.require(
                app, network=request.network, answer=request.answer, now=now
            )
        user_id, key = new_id(), request.login_key
        session, jti = new_session(
            ANONYMOUS,
            request.device,
            now,
            jti=None if key is None else token_id_of(key, app, user_id),
        )
        user = User(
            app=app,
            id=user_id,
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
        if key is not None:
            return self._create_once(opened, key, base_url=request.base_url, now=now)
        if not self.users.create_user(user):
            # 96 random bits do not meet by chance: let the client ask again.
            raise StoreUnavailable
        return opened

    def _create_once(
        self, opened: OpenedSession, key: str, *, base_url: str, now: datetime
    ) -> OpenedSession:
        app, key_hash = opened.user.app, hash_secret(key)
        until = now + LOGIN_KEY_LIFETIME
        for _ in decisions():
            if self.users.create_user_once(opened.user, key_hash, now, until=until):
                break
            # Perhaps it is this very user, and the answer to the write was lost.
            user_id = self.users.get_user_id_of_key(app, key_hash, now)
            if user_id is not None:
                jti = token_id_of(key, app, user_id)
                user, session = self._opened_before(app, user_id, jti, now)
                opened = sign_session(
                    user, session, jti, tokens=self.tokens, base_url=base_url, now=now
                )
                break
        return opened

    def _opened_before(
        self, app: str, user_id: str, jti: str, now: datetime
    ) -> tuple[User, Session]:
        user = self.users.get_user(app, user_id)
        if user is None:
            raise LoginKeySpent
        token_hash = hash_token_id(jti)
        for session in user.sessions.values():
            is_its_own = hmac.compare_digest(session.token_hash, token_hash)
            if is_its_own and user.live_session(session.id, now) is not None:
                return user, session
        raise LoginKeySpent


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
    jti: str | None = None,
) -> tuple[Session, str]:
    """Return a session, which is not stored yet, and the `jti` of its refresh token.

    Args:
        jti: None for a random one.
    """
    jti = jti or secrets.token_urlsafe(32)
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
