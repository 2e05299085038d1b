"""Login by an identity of a provider (client-api.md §2.2)."""

import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from anonauth.domain.expiry import SessionLimits, utc_day
from anonauth.domain.identities import Identity, IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import MOST_IDENTITIES, Session, User, user_made_again
from anonauth.errors import BadCredential, ProviderUnsupported, StoreUnavailable
from anonauth.ports import IdentityStore, Providers, TokenIssuer, UserStore
from anonauth.usecases._retry import decisions
from anonauth.usecases.credential import CredentialRequest, require_room
from anonauth.usecases.login import OpenedSession, new_id, new_session, sign_session


@dataclass(frozen=True, slots=True)
class _Opening:
    """The user whose session is opened, and the write that opens it.

    `user` is as it is once `write` has returned True. `write` returns False if another
    request was faster.
    """

    user: User
    write: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class ProviderLogin:
    """Logs users in by their identities. `limits` are those of the sessions."""

    users: UserStore
    identities: IdentityStore
    providers: Providers
    tokens: TokenIssuer
    limits: SessionLimits

    def log_in(self, request: CredentialRequest, now: datetime) -> OpenedSession:
        """Open a session of the user that owns an identity.

        The first login by an identity creates its user. If the item of that user was
        lost, the user is made again (see `_opening`).

        Args:
            now: Aware UTC time of the request.

        Raises:
            ProviderUnsupported, BadRequest: The request makes no sense.
            BadCredential: The credential proves nothing. It is a 401, as in the old
                service (client-api.md §4).
            SecondUserpassRefused, TooManyIdentities: The user was made again after its
                item was lost, and has no room for this identity any more.
            BudgetSpent: There were too many wrong passwords.
            Unavailable: A session may have been opened, but no client has its token.
        """
        provider = self.providers.find(request.app, request.provider)
        if provider is None:
            raise ProviderUnsupported(request.provider)
        verified = request.verify(provider, now)
        record = verified.record or self._read_record(request.app, verified)
        session, jti = new_session(
            request.provider,
            request.device,
            now,
            identity_key=verified.key,
            expires_at=self.limits.expiry(now, now),
        )
        for _ in decisions(MOST_IDENTITIES):
            opening = self._opening(request.app, verified, record, session, now)
            if opening is not None:
                opened = sign_session(
                    opening.user,
                    session,
                    jti,
                    tokens=self.tokens,
                    base_url=request.base_url,
                    now=now,
                )
                if opening.write():
                    break
            # Another login was faster, or a reset of this very password. What the
            # provider has read of our own records is out of date. What other issuers
            # sign is not.
            if verified.record is not None:
                verified = request.verify(provider, now)
                record = verified.record
            else:
                record = self._read_record(request.app, verified)
        return opened

    def _read_record(
        self, app: str, verified: VerifiedIdentity
    ) -> IdentityRecord | None:
        return self.identities.get_identity(app, verified.provider, verified.key)

    def _opening(
        self,
        app: str,
        verified: VerifiedIdentity,
        record: IdentityRecord | None,
        session: Session,
        now: datetime,
    ) -> _Opening | None:
        """Return how the session can be opened, None if its user is being changed.

        If the item of the identity's user was lost, the user is made again, under the
        id that the record names. Data that an app keeps for the user stays reachable.
        """
        store = self.identities
        if record is None or record.user_id is None:
            return self._new_user(app, verified, session, now)
        user = self.users.get_user(app, record.user_id)
        if user is not None and _lists(user, record):
            listing = user
            return _Opening(
                user,
                lambda: self._open_session(listing, session, verified, record, now),
            )
        if record.provider == API_KEY:
            # Keys are in the user's item, and are lost with it.
            raise BadCredential("invalid API key")
        if user is None and not self.users.was_deleted(app, record.user_id):
            again = user_made_again(record, session, now)
            return _Opening(again, lambda: store.make_user_again(again, record))
        if user is None or user.made_again == "closed":
            # The identity is free: its user was deleted, or has shut it out.
            return self._new_user(app, replace(verified, record=record), session, now)
        is_changed = user.find_identity(record.provider, record.key) is not None
        if user.made_again is None or is_changed:
            # If the user lists another version, a reset in between has won.
            return None
        before = user
        require_room(before, verified)
        entry = Identity(record.id, record.provider, record.key, record.version)
        ended = before.sessions_to_end(session, now)
        return _Opening(
            replace(before, identities=(*before.identities, entry)),
            lambda: store.add_back_identity(before, record, session, ended, now),
        )

    def _new_user(
        self, app: str, verified: VerifiedIdentity, session: Session, now: datetime
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
            user, lambda: self.identities.create_linked_user(user, verified, now)
        )

    def _open_session(
        self,
        user: User,
        session: Session,
        verified: VerifiedIdentity,
        record: IdentityRecord,
        now: datetime,
    ) -> bool:
        ended = user.sessions_to_end(session, now)
        if not self.identities.open_session(user, session, ended, now):
            return False
        if verified.record is None and record.data != verified.data:
            # This data is only for display, and the next login repeats the write.
            with suppress(StoreUnavailable):
                self.identities.update_identity_data(record, verified.data)
        return True


def _lists(user: User, record: IdentityRecord) -> bool:
    """Tell whether the user's own entry, which decides, agrees with the record."""
    if record.provider == API_KEY:
        key = user.api_keys.get(record.id)
        return (
            key is not None
            and not key.disabled
            and hmac.compare_digest(key.hash, record.key)
        )
    entry = user.find_identity(record.provider, record.key)
    return entry is not None and entry.version == record.version
