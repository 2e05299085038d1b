"""Login by an identity of a provider (client-api.md §2.2)."""

import hmac
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from anonauth.domain.expiry import SessionLimits, utc_day
from anonauth.domain.identities import Identity, IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import MOST_IDENTITIES, Session, User, user_made_again
from anonauth.errors import (
    BadCredential,
    InvalidParameter,
    ProviderUnsupported,
    StoreUnavailable,
)
from anonauth.ports import IdentityStore, Providers, TokenIssuer, UserStore
from anonauth.usecases._retry import decisions
from anonauth.usecases.credential import CredentialRequest, require_room
from anonauth.usecases.login import OpenedSession, new_id, new_session, sign_session
from anonauth.usecases.merge import GuestMerge, Opening


@dataclass(frozen=True, slots=True)
class ProviderLogin:
    """Logs users in by their identities. `limits` are those of the sessions."""

    users: UserStore
    identities: IdentityStore
    providers: Providers
    tokens: TokenIssuer
    limits: SessionLimits

    def log_in(
        self, request: CredentialRequest, now: datetime, *, merge: str | None = None
    ) -> OpenedSession:
        """Open a session of the user that owns an identity.

        The first login by an identity creates its user. If the item of that user was
        lost, the user is made again (see `_opening`). A guest can come along: see
        `merge`.

        Args:
            now: Aware UTC time of the request.
            merge: The refresh token of a guest, unchecked. The guest is linked to a
                free identity, and is otherwise merged into the identity's user.

        Raises:
            ProviderUnsupported, BadRequest: The request makes no sense.
            InvalidParameter: The guest cannot come along: the token is bad, an API key
                is the credential, or the guest has become permanent. Nothing was
                changed.
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
        guests = GuestMerge(self.users, self.identities, self.tokens, self.limits)
        guest = None
        if merge is not None:
            if request.provider == API_KEY:
                raise InvalidParameter("'merge' cannot go with an API key")
            guest = guests.read_token(merge, request.app, now)
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
            if opening is not None and guest is not None:
                opening = guests.opening(opening, guest, now)
            if opening is not None:
                opened = self._sign(opening, jti, request.base_url, now)
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

    def _sign(
        self, opening: Opening, jti: str, base_url: str, now: datetime
    ) -> OpenedSession:
        user, session, tokens = opening.user, opening.session, self.tokens
        if opening.refresh_token is not None:
            fresh = tokens.access_token(user, session, base_url=base_url, now=now)
            return OpenedSession(user, session, fresh, opening.refresh_token)
        opened = sign_session(
            user, session, jti, tokens=tokens, base_url=base_url, now=now
        )
        return opened._replace(merged=opening.merged)

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
    ) -> Opening | None:
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
            return Opening(
                user,
                session,
                lambda: self._open_session(listing, session, verified, record, now),
                is_listed=True,
            )
        if record.provider == API_KEY:
            # Keys are in the user's item, and are lost with it.
            raise BadCredential("invalid API key")
        if user is None and self.users.get_mark(app, record.user_id) is None:
            again = user_made_again(record, session, now)
            return Opening(again, session, lambda: store.make_user_again(again, record))
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
        return Opening(
            replace(before, identities=(*before.identities, entry)),
            session,
            lambda: store.add_back_identity(before, record, session, ended, now),
        )

    def _new_user(
        self, app: str, verified: VerifiedIdentity, session: Session, now: datetime
    ) -> Opening:
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
        return Opening(
            user,
            session,
            lambda: self.identities.create_linked_user(user, verified, now),
            free=verified,
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
