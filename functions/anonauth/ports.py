"""What the use cases need of the outside, as Protocols.

`store` satisfies all that end in `Store`, `tokens` satisfies `TokenIssuer`, `bus`
satisfies `EventBus`, `keys` satisfies `KeyWrapping`, `KeyMaking` and `NetworkHashing`; the modules of `providers` satisfy `Provider`, `Providers`,
`Passwords`, `EmailAddresses` and `Mailer`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

from anonauth.domain.budgets import Count, Counter
from anonauth.domain.claims import AccessClaims, RefreshClaims
from anonauth.domain.events import Change, ExpiryScan, UserEvent
from anonauth.domain.identities import (
    Identity,
    IdentityRecord,
    MailToken,
    VerifiedIdentity,
)
from anonauth.domain.signing_keys import Ring, RingKey
from anonauth.domain.users import ApiKey, Session, User, UserFilter, UserPage


class UserStore(Protocol):
    """Users and their sessions. Every method can raise `StoreUnavailable`."""

    def create_user(self, user: User) -> bool:
        """Write a new user; False if the id is taken, and then nothing is written."""
        ...

    def get_user(self, app: str, user_id: str) -> User | None:
        """Read a user, strongly consistent; None if there is none that is active."""
        ...

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        """Note the first use of a session on a UTC day, and push what expires.

        That is an anonymous user (see `expiry_after`), or the session of a permanent
        one, then to `expires_at`. False if the user is no longer as it was read;
        nothing is written then.
        """
        ...

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        """End a session, and with it an anonymous user; False if there was none."""
        ...

    def delete_user(self, user: User, session: Session | None, now: datetime) -> bool:
        """Delete a user and everything of it; False if it changed since the read.

        Args:
            session: The one that asks, which must be alive; None: the operator asks.
        """
        ...

    def was_deleted(self, app: str, user_id: str) -> bool:
        """Tell whether a mark says that this user was deleted on request."""
        ...

    def end_sessions(self, app: str, user_id: str, now: datetime) -> User | None:
        """End all sessions of a permanent user, whatever else changes it meanwhile.

        Whoever is about to log in starts over.

        Returns:
            The user without its sessions, of the next version; None if there is no
            such user that is alive and permanent, and then nothing was written.
        """
        ...


class BudgetStore(Protocol):
    """Counts of what strangers may do only so often. Can raise `StoreUnavailable`."""

    def count(self, counter: Counter, *, over: Collection[str] = ()) -> None:
        """Add one, to each of its parts too; a lost reply may make it two.

        Args:
            over: Names of parts that are over; they are removed.
        """
        ...

    def spend(self, counter: Counter) -> bool:
        """Add one if no limit is reached; False if one is, nothing written then."""
        ...

    def give_back(self, counter: Counter) -> None:
        """Take one away that was spent for nothing; not below none."""
        ...


class IdentityStore(Protocol):
    """Identities of permanent users. Every method can raise `StoreUnavailable`.

    Those that write return False if something was no longer as it was read; then
    nothing was written, and the caller reads again and decides again.
    """

    def get_identity(self, app: str, provider: str, key: str) -> IdentityRecord | None:
        """Read an identity's record, strongly consistent, expired or not."""
        ...

    def link_identity(
        self,
        user: User,
        session: Session,
        identity: VerifiedIdentity,
        now: datetime,
        *,
        expires_at: datetime,
    ) -> bool:
        """Add the identity to a user and make it permanent, in one transaction.

        Args:
            session: The one that asks; from now on it expires at `expires_at`.
            identity: With its record if it has one: confirmed, and of nobody yet; or
                bound to this very user, which was made again.
        """
        ...

    def create_linked_user(
        self, user: User, identity: VerifiedIdentity, now: datetime
    ) -> bool:
        """Write a new permanent user and its first identity, in one transaction.

        Args:
            identity: With its record if it has one: confirmed, and of nobody yet; or
                bound to a user that is gone for good, from whom it is taken.
        """
        ...

    def make_user_again(self, user: User, record: IdentityRecord) -> bool:
        """Write a user whose item was lost, in one transaction.

        If it is absent, no mark says that it was deleted, and the record that names it
        is as it was read.
        """
        ...

    def add_back_identity(
        self,
        user: User,
        record: IdentityRecord,
        session: Session,
        ended: Sequence[Session],
        now: datetime,
    ) -> bool:
        """List an identity again whose record names a user that was made again.

        Opens the session with it, in the same transaction, and drops the `ended` ones.
        """
        ...

    def open_session(
        self, user: User, session: Session, ended: Sequence[Session], now: datetime
    ) -> bool:
        """Add a session to a permanent user as it was read; drop the `ended` ones."""
        ...

    def update_identity_data(
        self, record: IdentityRecord, data: Mapping[str, str]
    ) -> None:
        """Replace what is displayed of a bound identity, if it still is as read."""
        ...

    def get_identity_data(
        self, app: str, identities: Sequence[Identity]
    ) -> list[Mapping[str, str]]:
        """Read what is displayed of identities, in their order, in one call at most.

        An anonymous one has no record, and needs no call.
        """
        ...

    def unlink_identity(
        self, user: User, session: Session, identity: Identity, now: datetime
    ) -> bool:
        """Remove an identity and the sessions opened with it, in one transaction.

        That may be the session that asks.
        """
        ...


class AccountStore(BudgetStore, Protocol):
    """Records of `local-userpass`. Every method can raise `StoreUnavailable`.

    Those that write return False if their condition did not hold; nothing was written
    then.
    """

    def get_identity(self, app: str, provider: str, key: str) -> IdentityRecord | None:
        """Read an identity's record, strongly consistent, expired or not."""
        ...

    def get_account_and_counts(
        self, app: str, key: str, counters: Sequence[Counter]
    ) -> tuple[IdentityRecord | None, list[Count]]:
        """Read a record, strongly consistent, and counts, in one call."""
        ...

    def clear(self, counter: Counter) -> None:
        """Set a count to none, and those of the parts that the counter names."""
        ...

    def remember_networks(
        self, record: IdentityRecord, networks: Mapping[str, date]
    ) -> None:
        """Replace the networks of a record, if it still has that password."""
        ...

    def register(self, record: IdentityRecord, now: datetime) -> bool:
        """Write a new record, over a pending or an expired one if need be."""
        ...

    def contest(self, app: str, key: str, now: datetime) -> bool:
        """Note that one more password was chosen for a pending record, if there is one.

        Its version stays, and with it the token of the mail that went there.
        """
        ...

    def set_confirmation(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        """Replace the confirm token of a pending record (still with that password).

        The token as read: the later of two requests is the later one in the table, too.
        """
        ...

    def confirm(self, app: str, key: str, token_hash: str, now: datetime) -> bool:
        """Confirm a pending record whose confirm token this is.

        True also if it was confirmed with this very token before, and is not expired.
        """
        ...

    def set_reset(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        """Replace the reset token, as it was read, of a record that is not expired."""
        ...

    def reset_password(
        self,
        record: IdentityRecord,
        user: User | None,
        *,
        token_hash: str,
        password_hash: str,
        now: datetime,
        is_lost: bool = False,
    ) -> bool:
        """Replace the password by a reset token; end all that the old one opened.

        One transaction: the record gets the new password, the next version, is
        confirmed and verified, and forgets its networks; its user, if it has one,
        loses all sessions and API keys, and, if the address had never been verified by
        mail or was contested, every other identity but the anonymous one.

        A user whose item was lost is written again with it (see `make_user_again`).
        One that was made again gets the identity back if it does not list it and has
        room; if it loses the others, then none that is not listed comes back either.
        One that does not get it back only loses its sessions.

        Args:
            record: As read, with the token in it.
            user: As `end_sessions` has left it, if the record has one: then nobody has
                a session to change it with. Or the one to write again.
            is_lost: Write the user again.
        """
        ...

    def replace_password_hash(self, record: IdentityRecord, password_hash: str) -> bool:
        """Store the same password hashed anew; its version stays."""
        ...


class ApiKeyStore(Protocol):
    """API keys of permanent users. Every method can raise `StoreUnavailable`.

    The user is given as it was read and the session that asks must be alive; False if
    that is no longer so; nothing was written then.
    """

    def create_api_key(
        self, user: User, session: Session, key: ApiKey, now: datetime
    ) -> bool:
        """Add a key, in one transaction: the user's entry and the key's record."""
        ...

    def delete_api_key(
        self, user: User, session: Session, key: ApiKey, now: datetime
    ) -> bool:
        """Remove a key and the sessions opened with it, in one transaction."""
        ...

    def set_api_key_disabled(
        self,
        user: User,
        session: Session,
        key: ApiKey,
        now: datetime,
        *,
        disabled: bool,
    ) -> bool:
        """Switch a key off or on, in one update; off ends its sessions."""
        ...


class ChangeStore(Protocol):
    """What the table's stream tells of its users."""

    def read_change(self, record: Mapping[str, Any]) -> Change | None:
        """Return what a stream record says; None if it is not about a user.

        Raises:
            ValueError: It cannot be read. Calls nothing.
        """
        ...

    def deleted_on_request(self, users: Sequence[User]) -> set[tuple[str, str]]:
        """Return app and id of those users that are gone by their own request.

        Can raise `StoreUnavailable`.
        """
        ...


class ExpiringStore(Protocol):
    """The search for users that will soon expire. Can raise `StoreUnavailable`."""

    def load_expiry_scan(self) -> ExpiryScan | None:
        """Read how far the scan has come; None before the first one."""
        ...

    def save_expiry_scan(self, new: ExpiryScan) -> bool:
        """Write that over the version before it; False if another has moved on."""
        ...

    def scan_expiring(
        self, segment: int, segments: int, after: str, *, now: datetime, until: datetime
    ) -> UserPage:
        """Read one page of one segment of the table, eventually consistent.

        Its users are the anonymous ones that expire after `now` and before `until`,
        without their sessions and API keys.

        Args:
            after: Where to go on; "" to begin.
        """
        ...


class OverviewStore(Protocol):
    """All users, for an operator. Every method can raise `StoreUnavailable`."""

    def connect(self) -> None:
        """Get ready for calls by several threads. Calls nothing, and may be left out
        where there is one.
        """
        ...

    def scan_users(
        self, segment: int, segments: int, after: str, wanted: UserFilter
    ) -> UserPage:
        """Read one page of one segment of the table, eventually consistent.

        Expired users are among them until the table's sweep has deleted them.

        Args:
            after: Where to go on; "" to begin.
        """
        ...

    def get_data_of(self, users: Sequence[User]) -> list[list[Mapping[str, str]]]:
        """Read what is displayed of all identities of users, in their order.

        Eventually consistent; a call for a hundred identities. Of anonymous ones, and
        those whose record is not there, it is empty.
        """
        ...


class EventBus(Protocol):
    """Where events go."""

    def publish(self, events: Sequence[UserEvent]) -> None:
        """Publish events, each at least once, in no particular order.

        Raises:
            EventsUnavailable: Not all were taken; repeat all of them.
        """
        ...


class Provider(Protocol):
    """One identity provider as one app has configured it."""

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Turn a credential into the identity that it proves.

        Args:
            credential: The body of the login (client-api.md §2.2): JSON of a
                stranger, with fields that are not the provider's.
            network: IP address of the client; for budgets only, never stored as is.
            now: Aware UTC time of the request.

        Raises:
            BadRequest: A field is missing or has the wrong type.
            BadCredential: The credential proves nothing.
            BudgetSpent: Too many wrong ones.
            Unavailable: It could not be checked; nothing is known of it.
        """
        ...


class Providers(Protocol):
    """The providers of all apps, by the settings document."""

    def find(self, app: str, provider: str) -> Provider | None:
        """Return a provider, None if it is off for that app.

        Raises:
            SettingsUnavailable: The settings cannot be read.
        """
        ...


class Passwords(Protocol):
    """Password hashing, at a cost that is the same for known and unknown users.

    Passwords that look the same are the same: both methods that take one normalise it.
    """

    def normalise(self, password: str) -> str:
        """Return a password in the form that is hashed, whose length counts."""
        ...

    def hash(self, password: str) -> str:
        """Return the PHC string of a password, with a salt of its own."""
        ...

    def verify(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the hash is that of the password; None costs the same time."""
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether it was made with other parameters than today's."""
        ...


class EmailAddresses(Protocol):
    """Which e-mail addresses there can be, and which of them are the same."""

    def normalise(self, address: str) -> str:
        """Return the form that an account is found by; whatever is given has one."""
        ...

    def mailbox(self, address: str) -> str:
        """Return the form that mails to an address are counted by.

        Addresses that reach one mailbox, perhaps, have one.
        """
        ...

    def check(self, address: str) -> str:
        """Return the normal form of an address that accounts can be registered with.

        Raises:
            BadRequest: Not the syntax of an address that mail can be sent to.
        """
        ...


class Mailer(Protocol):
    """Sends mail. Can raise `MailUnavailable`; `MailRefused` if it was not sent."""

    def send(self, *, sender: str, recipient: str, subject: str, text: str) -> None:
        """Send one plain text mail."""
        ...


class Challenge(Protocol):
    """What a person can pass, and a program with trouble only."""

    def verify(self, answer: str) -> None:
        """Return if it was passed.

        Args:
            answer: What the client got for passing it, unchecked; good once.

        Raises:
            ChallengeFailed: It was not passed, or not here, or long ago.
            ProviderUnavailable: It could not be checked; nothing is known of it.
        """
        ...


class Challenges(Protocol):
    """The challenges of all apps."""

    def find(self, app: str, now: datetime) -> Challenge | None:
        """Return what an app asks before an anonymous login, None if nothing.

        Raises:
            SettingsUnavailable: The settings cannot be read.
        """
        ...


class NetworkHashing(Protocol):
    """Names of client networks that say nothing to whoever reads the table."""

    def hash_network(self, address: str, now: datetime, *, prefix: int = 64) -> str:
        """Return the keyed hash of an IPv4 address, or of an IPv6 one's network.

        Can raise `KeysUnavailable`.

        Args:
            prefix: Bits of an IPv6 network, see `IPV6_PREFIXES`.
        """
        ...


class RingStore(Protocol):
    """The one item of the key ring. Both methods can raise `StoreUnavailable`."""

    def load_ring(self) -> Ring | None:
        """Read the key ring, strongly consistent; None before there is one."""
        ...

    def save_ring(self, new: Ring) -> bool:
        """Write the ring over the version before it; False if that has moved on."""
        ...


class KeyWrapping(Protocol):
    """Encryption of keys at rest. Both methods can raise `KeysUnavailable`."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt at most 4,096 bytes, bound to the context."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt what was wrapped under the same context."""
        ...


class KeyMaking(Protocol):
    """New keys for the ring. Both methods can raise `KeysUnavailable`."""

    def make_access_key(
        self, *, published_at: datetime, signs_from: datetime, stops_at: datetime
    ) -> RingKey:
        """Make an RSA key that signs access tokens within these times."""
        ...

    def make_refresh_key(
        self, *, published_at: datetime, signs_from: datetime
    ) -> RingKey:
        """Make an HMAC key that signs refresh tokens from a time on."""
        ...


class TokenIssuer(Protocol):
    """Access and refresh tokens. Every method can raise `KeysUnavailable`."""

    def access_token(
        self, user: User, session: Session, *, base_url: str, now: datetime
    ) -> str:
        """Sign an access token, for this service and for third parties."""
        ...

    def refresh_token(
        self, user: User, session: Session, *, jti: str, now: datetime
    ) -> str:
        """Sign the refresh token of a session; `jti` is the secret it carries."""
        ...

    def read_access_token(self, token: str, now: datetime) -> AccessClaims:
        """Verify an access token, or raise `InvalidSession`."""
        ...

    def read_refresh_token(self, token: str, now: datetime) -> RefreshClaims:
        """Verify a refresh token, or raise `InvalidSession`."""
        ...
