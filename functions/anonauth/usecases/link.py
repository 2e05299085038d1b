"""Link an identity to a user, which makes it permanent; log in by an identity.

One route does both, told apart by `?link=true` (client-api.md §2.2, §2.3, §7).
"""

import hmac
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from anonauth.domain.expiry import SessionLimits, utc_day
from anonauth.domain.identities import Identity, IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.users import (
    MOST_IDENTITIES,
    Device,
    Session,
    User,
    user_made_again,
)
from anonauth.errors import (
    ApiKeyLinkRefused,
    BadCredential,
    CredentialRefused,
    IdentityTaken,
    PasswordRefused,
    ProviderNotFound,
    ProviderUnsupported,
    SecondUserpassRefused,
    StoreUnavailable,
    TooManyIdentities,
    WrongApp,
    WrongPassword,
)
from anonauth.ports import (
    IdentityStore,
    Provider,
    Providers,
    TokenIssuer,
    UserStore,
)
from anonauth.usecases._authenticate import (
    Authenticator,
    refuse_before_link,
)
from anonauth.usecases.login import OpenedSession, new_id, new_session, sign

# Reads of a user that others keep changing, before we give up. Each round of a race
# has a winner, and a user has ten identities at most.
_DECISIONS = MOST_IDENTITIES


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client presents to log in or to link.

    Args:
        app: The client app id of the route, which is configured.
        credential: Body of the request, JSON of a stranger.
        device: What the client says of its device, if anything.
        network: IP address of the client, for the budgets of wrong passwords.
        base_url: Public address of this service, without a trailing slash.
    """

    app: str
    provider: str
    credential: Mapping[str, Any]
    device: Device | None
    network: str
    base_url: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What attempts are decided with; `limits` are those of the sessions they open."""

    users: UserStore
    identities: IdentityStore
    providers: Providers
    tokens: TokenIssuer
    limits: SessionLimits


@dataclass(frozen=True, slots=True)
class LinkedSession:
    """What a link gives its client: the same session, and a fresh access token."""

    user: User
    session: Session
    access_token: str


@dataclass(frozen=True, slots=True)
class _Opening:
    """The user that a session is opened of, and the write that opens it.

    `user` is as it is once `write` has returned True. False: somebody was faster.
    """

    user: User
    write: Callable[[], bool]


def link_identity(
    access_token: str, attempt: Attempt, *, parts: Parts, now: datetime
) -> LinkedSession:
    """Add the identity that a credential proves to the user of an access token.

    An anonymous user becomes permanent, with its id and its session. Two users never
    become one. An identity that the user has already is no error and no write.

    A guest links with any good token. A further identity of a permanent user takes a
    young one, which is decided before the credential is looked at: an authorization
    code works once, and a refused token must not spend a limit. A guest's token whose
    user is permanent by now only repeats a link. Whether it does, the credential has to
    tell, but only if the user has an identity of that provider at all. To such a token
    a bad credential is refused as to any other, and spends the same limits: it is worth
    no more than a login, which asks for no token.

    Args:
        now: Aware UTC time of the request.

    Raises:
        InvalidSession: Bad access token, or its session or user is gone; or it may not
            do this, see above. A refresh gets a better one.
        ApiKeySessionRefused: An API key has opened the session.
        WrongApp, ProviderNotFound, ApiKeyLinkRefused, BadRequest: Makes no sense.
        CredentialRefused: It proves nothing. Never a 401 (client-api.md §7).
        IdentityTaken: It is another user's.
        SecondUserpassRefused, TooManyIdentities: There is no room for it.
        BudgetSpent: Too many wrong passwords.
        Unavailable: The identity may have been linked; to repeat the call is safe.
    """
    user, session, only_repeats = _authenticate(access_token, parts, now)
    if user.app != attempt.app:
        raise WrongApp
    provider = parts.providers.find(attempt.app, attempt.provider)
    if provider is None:
        raise ProviderNotFound(attempt.provider)
    if attempt.provider == API_KEY:
        raise ApiKeyLinkRefused
    providers = {identity.provider for identity in user.identities}
    if only_repeats and attempt.provider not in providers:
        raise refuse_before_link()
    proven = verified = _verify_to_link(provider, attempt, now)
    is_listed = _check_owner(user, verified, verified.record, only_repeats=only_repeats)
    for _ in range(_DECISIONS):
        permanent = replace(user, anonymous=False, expires_at=None)
        # Signed first: a client that hears of trouble must not have been linked, since
        # it may have no credential to repeat the call with.
        linked = LinkedSession(
            permanent,
            session,
            parts.tokens.access_token(
                permanent, session, base_url=attempt.base_url, now=now
            ),
        )
        if is_listed:
            return linked
        _check_room(user, verified)
        # A guest's session had no limits: they begin now, with the permanent user.
        begun = now if user.anonymous else session.created_at
        expires_at = parts.limits.expiry(begun, now)
        if parts.identities.link_identity(
            user, session, verified, now, expires_at=expires_at
        ):
            return linked
        user, session, only_repeats = _authenticate(access_token, parts, now)
        record = _read_record(attempt, proven, parts)
        is_listed = _check_owner(user, proven, record, only_repeats=only_repeats)
        verified = _unchanged(proven, record, now)
    raise StoreUnavailable


def log_in(attempt: Attempt, *, parts: Parts, now: datetime) -> OpenedSession:
    """Open a session of the user that owns the identity; the first time, make it.

    If the item of that user was lost, make it again (see `_opening`).

    Args:
        now: Aware UTC time of the request.

    Raises:
        ProviderUnsupported, BadRequest: Makes no sense.
        BadCredential: It proves nothing. 401, as in the old service (client-api.md §4).
        SecondUserpassRefused, TooManyIdentities: The user was made again after its item
            was lost, and has no room for this identity any more.
        BudgetSpent: Too many wrong passwords.
        Unavailable: A session may have been opened; nobody has a token of it.
    """
    provider = parts.providers.find(attempt.app, attempt.provider)
    if provider is None:
        raise ProviderUnsupported(attempt.provider)
    verified = _verify(provider, attempt, now)
    record = verified.record or _read_record(attempt, verified, parts)
    session, jti = new_session(
        attempt.provider,
        attempt.device,
        now,
        identity_key=verified.key,
        expires_at=parts.limits.expiry(now, now),
    )
    for _ in range(_DECISIONS):
        opening = _opening(attempt.app, verified, record, session, parts, now)
        if opening is not None:
            opened = sign(
                opening.user,
                session,
                jti,
                tokens=parts.tokens,
                base_url=attempt.base_url,
                now=now,
            )
            if opening.write():
                return opened
        # Somebody was faster: another login, or a reset of this very password. What
        # the provider has read of ours is out of date, what others sign is not.
        if verified.record is not None:
            verified = _verify(provider, attempt, now)
            record = verified.record
        else:
            record = _read_record(attempt, verified, parts)
    raise StoreUnavailable


def _authenticate(
    access_token: str, parts: Parts, now: datetime
) -> tuple[User, Session, bool]:
    return Authenticator(parts.users, parts.tokens).to_link(access_token, now)


def _verify(provider: Provider, attempt: Attempt, now: datetime) -> VerifiedIdentity:
    return provider.verify(attempt.credential, network=attempt.network, now=now)


def _verify_to_link(
    provider: Provider, attempt: Attempt, now: datetime
) -> VerifiedIdentity:
    try:
        return _verify(provider, attempt, now)
    except WrongPassword as exc:
        raise PasswordRefused(exc.reason) from exc
    except BadCredential as exc:
        raise CredentialRefused(exc.reason) from exc


def _read_record(
    attempt: Attempt, verified: VerifiedIdentity, parts: Parts
) -> IdentityRecord | None:
    return parts.identities.get_identity(attempt.app, verified.provider, verified.key)


def _check_owner(
    user: User,
    verified: VerifiedIdentity,
    record: IdentityRecord | None,
    *,
    only_repeats: bool,
) -> bool:
    """Tell whether the user has the identity already; refuse one that it cannot get."""
    is_listed = user.find_identity(verified.provider, verified.key) is not None
    if only_repeats and not is_listed:
        raise refuse_before_link()
    if record is not None and record.user_id not in {None, user.id}:
        raise IdentityTaken
    return is_listed


def _check_room(user: User, verified: VerifiedIdentity) -> None:
    if verified.provider == USERPASS and any(
        identity.provider == USERPASS for identity in user.identities
    ):
        raise SecondUserpassRefused
    if len(user.identities) >= MOST_IDENTITIES:
        raise TooManyIdentities


def _unchanged(
    verified: VerifiedIdentity, record: IdentityRecord | None, now: datetime
) -> VerifiedIdentity:
    """Return it as it can be linked now, if what was verified still holds."""
    if verified.record is None:
        # Such a record is always somebody's. If it is this user's, which does not list
        # it, then the user was made again.
        return replace(verified, record=record)
    if (
        record is None
        or record.is_expired(now)
        or record.id != verified.record.id
        or record.version != verified.record.version
    ):
        # A reset in between has won: that password is no longer one.
        raise PasswordRefused(WrongPassword().reason)
    return replace(verified, record=record)


def _opening(
    app: str,
    verified: VerifiedIdentity,
    record: IdentityRecord | None,
    session: Session,
    parts: Parts,
    now: datetime,
) -> _Opening | None:
    """Return how the session can be opened; None if things are being changed.

    An identity whose user's item was lost makes the user again, under the id that the
    record names: what an app keeps for the user stays reachable.
    """
    store = parts.identities
    if record is None or record.user_id is None:
        return _new_user(app, verified, session, parts, now)
    user = parts.users.get_user(app, record.user_id)
    if user is not None and _lists(user, record):
        listing = user
        return _Opening(
            user,
            lambda: _open_session(listing, session, verified, record, parts, now),
        )
    if record.provider == API_KEY:
        # Keys are in the user's item, and are lost with it.
        raise BadCredential("invalid API key")
    if user is None and not parts.users.was_deleted(app, record.user_id):
        again = user_made_again(record, session, now)
        return _Opening(again, lambda: store.make_user_again(again, record))
    if user is None or user.made_again == "closed":
        # The identity is free: its user is gone for good, or has shut it out.
        return _new_user(app, replace(verified, record=record), session, parts, now)
    is_changed = user.find_identity(record.provider, record.key) is not None
    if user.made_again is None or is_changed:
        # If the user lists another version, a reset in between has won.
        return None
    before = user
    _check_room(before, verified)
    entry = Identity(record.id, record.provider, record.key, record.version)
    ended = before.sessions_to_end(session, now)
    return _Opening(
        replace(before, identities=(*before.identities, entry)),
        lambda: store.add_back_identity(before, record, session, ended, now),
    )


def _new_user(
    app: str,
    verified: VerifiedIdentity,
    session: Session,
    parts: Parts,
    now: datetime,
) -> _Opening:
    version = 1 if verified.record is None else verified.record.version
    entry = Identity(verified.id, verified.provider, verified.key, version)
    user = User(
        app=app,
        id=new_id(),
        anonymous=False,
        version=1,
        created_at=now,
        last_active_day=utc_day(now),
        expires_at=None,
        sessions={session.id: session},
        identities=(entry,),
    )
    return _Opening(
        user, lambda: parts.identities.create_linked_user(user, verified, now)
    )


def _open_session(
    user: User,
    session: Session,
    verified: VerifiedIdentity,
    record: IdentityRecord,
    parts: Parts,
    now: datetime,
) -> bool:
    ended = user.sessions_to_end(session, now)
    if not parts.identities.open_session(user, session, ended, now):
        return False
    if verified.record is None and record.data != verified.data:
        # Only for display: the next login repeats it.
        with suppress(StoreUnavailable):
            parts.identities.update_identity_data(record, verified.data)
    return True


def _lists(user: User, record: IdentityRecord) -> bool:
    """Tell whether the user's own entry agrees with the record; it is the authority."""
    if record.provider == API_KEY:
        key = user.api_keys.get(record.id)
        return (
            key is not None
            and not key.disabled
            and hmac.compare_digest(key.hash, record.key)
        )
    entry = user.find_identity(record.provider, record.key)
    return entry is not None and entry.version == record.version
