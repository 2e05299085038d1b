"""Log in anonymously: a new user with one session, and nothing asked."""

import secrets
import string
from dataclasses import dataclass, replace
from datetime import datetime

from anonauth.domain.encoding import hash_token_id
from anonauth.domain.expiry import expiry_after, utc_day
from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS
from anonauth.domain.users import NO_DEVICE, Device, Session, User
from anonauth.errors import AnonymousLinkRefused, StoreUnavailable
from anonauth.ports import TokenIssuer, UserStore
from anonauth.usecases.admission import Admission


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """What a login gives its client: the user, its session, and both tokens."""

    user: User
    session: Session
    access_token: str
    refresh_token: str


def log_in_anonymously(  # noqa: PLR0913 - the ports become a dataclass
    app: str,
    *,
    link: bool,
    device: Device | None,
    base_url: str,
    users: UserStore,
    tokens: TokenIssuer,
    admission: Admission | None,
    now: datetime,
    network: str = "",
    answer: str | None = None,
) -> OpenedSession:
    """Make a new anonymous user and open its only session.

    Always a new one: reuse is the client's, by keeping its refresh token (client-api.md
    §6).

    Args:
        app: A client app id that is configured.
        link: The request asked to link, which an anonymous identity cannot be.
        device: What the client says of its device, if anything.
        base_url: Public address of this service, without a trailing slash.
        admission: What the client has to pass first; None for an operator's tool.
        now: Aware UTC time of the request.
        network: IP address of the client, see `Admission.require`.
        answer: The client's answer to the app's challenge, if any.

    Raises:
        AnonymousLinkRefused: `link` was asked for; nothing was written.
        BudgetSpent, ChallengeFailed: See `Admission`; no user was made.
        KeysUnavailable: Tokens cannot be signed; no user was made.
        StoreUnavailable: A user may have been made; nobody has a token of it.
    """
    if link:
        raise AnonymousLinkRefused
    if admission is not None:
        admission.require(app, network=network, answer=answer, now=now)
    session, jti = new_session(ANONYMOUS, device, now)
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
    opened = sign(user, session, jti, tokens=tokens, base_url=base_url, now=now)
    if not users.create_user(user):
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
    """Return a session that is yet to be stored, and the `jti` of its refresh token."""
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
    # The native SDKs never send an id, the others the one that they got (client-api.md
    # §2.2).
    return device if device.id != NO_DEVICE else replace(device, id=new_id())


def sign(
    user: User,
    session: Session,
    jti: str,
    *,
    tokens: TokenIssuer,
    base_url: str,
    now: datetime,
) -> OpenedSession:
    """Return the session with both its tokens.

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
    # The old service's form: 24 hex digits, 24 lower case letters (client-api.md §2.4).
    letters = (secrets.choice(string.ascii_lowercase) for _ in range(24))
    return f"{new_id()}-{''.join(letters)}"
