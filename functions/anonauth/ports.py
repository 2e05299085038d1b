"""What the use cases need from outside, as Protocols.

- `store` satisfies every Protocol that ends in `Store`.
- `keys` satisfies `KeyWrapping`, `KeyMaking` and `NetworkHashing`.
- `tokens` satisfies `TokenIssuer`, and `event_bus` satisfies `EventBus`.
- `providers` satisfies `Provider` and `Providers`.
- `challenges`, `email_addresses`, `mailer` and `passwords` each satisfy the Protocols
  named like them.
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
from anonauth.domain.users import (
    ApiKey,
    DeletionMark,
    Session,
    User,
    UserFilter,
    UserPage,
)


class UserStore(Protocol):
    """Users and their sessions. Every method can raise `StoreUnavailable`."""

    def create_user(self, user: User) -> bool:
        """Write a new user. If the id is taken, write nothing and return False."""
        ...

    def create_user_once(
        self, user: User, key_hash: str, now: datetime, *, until: datetime
    ) -> bool:
        """Write a new user, and that a login key has made it.

        If the key has made a user before, or the id is taken, write nothing and return
        False. A reply that was lost may make it False too. The key then names this
        user.

        Args:
            key_hash: The hash of the login key (see `hash_secret`).
            until: The time from which the key can make another user.
        """
        ...

    def get_user_id_of_key(self, app: str, key_hash: str, now: datetime) -> str | None:
        """Return the id of the user that a login key has made, strongly consistent.

        None if it has made none, or its time is over. The user may be deleted by now.
        """
        ...

    def get_user(self, app: str, user_id: str) -> User | None:
        """Read a user, strongly consistent. Return None if no such user is active."""
        ...

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        """Note the first use of a session on a UTC day, and postpone an expiry.

        An anonymous user itself then expires at `expires_at` (see `expiry_after`). For
        a permanent user it is the session that does. If the user is no longer as it was
        read, nothing is written and the answer is False.
        """
        ...

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        """End a session, and delete its user if that is anonymous.

        Return False if there was no such session.
        """
        ...

    def delete_user(self, user: User, session: Session | None, now: datetime) -> bool:
        """Delete a user with its identities and API keys, and leave a mark.

        The marks of the guests that were merged into the user stay for 100 days more.
        Return False if the user has changed since it was read.

        Args:
            session: The session that asks, which must be alive. None if the operator
                asks.
        """
        ...

    def get_mark(self, app: str, user_id: str) -> DeletionMark | None:
        """Read the mark of a user that was deleted on request, or merged."""
        ...

    def end_sessions(self, app: str, user_id: str, now: datetime) -> User | None:
        """End all sessions of a permanent user, whatever else changes it meanwhile.

        A login that has read the user before has to read it again.

        Returns:
            The user without its sessions, in the next version. None if no such user
            is alive and permanent. Nothing was written then.
        """
        ...


class BudgetStore(Protocol):
    """Counters of rate limits. Every method can raise `StoreUnavailable`."""

    def count(self, counter: Counter, *, over: Collection[str] = ()) -> None:
        """Add one to a counter and to each of its parts. A lost reply may make it two.

        Args:
            over: Names of parts whose time is over. They are removed.
        """
        ...

    def spend(self, counter: Counter) -> bool:
        """Add one if no limit is reached. Otherwise write nothing and return False."""
        ...

    def give_back(self, counter: Counter) -> None:
        """Take back one that was spent for nothing. The count stays at least 0."""
        ...


class IdentityStore(Protocol):
    """Identities of permanent users. Every method can raise `StoreUnavailable`.

    A method that writes returns False if an item was no longer as it was read. Nothing
    was written then, and the caller reads again and decides again.
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
            session: The session that asks. It expires at `expires_at` from now on.
            identity: The identity, with its record if there is one. The record is
                either confirmed and bound to no user, or bound to this user, whose
                item was lost and written again.
        """
        ...

    def create_linked_user(
        self, user: User, identity: VerifiedIdentity, now: datetime
    ) -> bool:
        """Write a new permanent user and its first identity, in one transaction.

        Args:
            identity: The identity, with its record if there is one. The record is
                either confirmed and bound to no user, or bound to a user that no
                longer exists, from which it is taken.
        """
        ...

    def make_user_again(self, user: User, record: IdentityRecord) -> bool:
        """Write a user whose item was lost, in one transaction.

        The conditions: the item is absent, no mark says that the user was deleted, and
        the record that names the user is as it was read.
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
        """List an identity again, for a user whose item was lost and written again.

        The record of the identity names the user. The same transaction opens the
        session and drops the `ended` sessions.
        """
        ...

    def open_session(
        self, user: User, session: Session, ended: Sequence[Session], now: datetime
    ) -> bool:
        """Add a session to a permanent user as it was read.

        The `ended` sessions are dropped.
        """
        ...

    def update_identity_data(
        self, record: IdentityRecord, data: Mapping[str, str]
    ) -> None:
        """Replace the display data of a bound identity, if it still is as read."""
        ...

    def get_identity_data(
        self, app: str, identities: Sequence[Identity]
    ) -> list[Mapping[str, str]]:
        """Read the display data of identities, in their order, in one call at most.

        An anonymous identity has no record and needs no call.
        """
        ...

    def unlink_identity(
        self, user: User, session: Session, identity: Identity, now: datetime
    ) -> bool:
        """Remove an identity and the sessions opened with it, in one transaction.

        The session that asks may be among them.
        """
        ...

    def absorb_guest(
        self,
        user: User,
        session: Session,
        ended: Sequence[Session],
        guest: User,
        guest_session: Session,
        now: datetime,
    ) -> bool:
        """Merge a guest into a permanent user as it was read, in one transaction.

        The user gets the guest's id as a former id, and the session. The `ended`
        sessions are dropped. The guest is deleted, and leaves a mark that stays as
        long as the user lists the id. If an older id falls off the user's list, its
        mark stays for 100 days more.

        Args:
            guest_session: The guest's session. If the session has ended, or the guest
                is permanent by now, nothing is written and the answer is False.
        """
        ...


class AccountStore(BudgetStore, Protocol):
    """Records of `local-userpass`. Every method can raise `StoreUnavailable`.

    A method that writes returns False if its condition did not hold. Nothing was
    written then.
    """

    def get_identity(self, app: str, provider: str, key: str) -> IdentityRecord | None:
        """Read an identity's record, strongly consistent, expired or not."""
        ...

    def get_account_and_counts(
        self, app: str, key: str, counters: Sequence[Counter]
    ) -> tuple[IdentityRecord | None, list[Count]]:
        """Read a record and counts in one call, strongly consistent."""
        ...

    def clear(self, counter: Counter) -> None:
        """Set a count to 0, and the counts of the parts that the counter names."""
        ...

    def remember_networks(
        self, record: IdentityRecord, networks: Mapping[str, date]
    ) -> None:
        """Replace the networks of a record, if its password has not changed."""
        ...

    def register(self, record: IdentityRecord, now: datetime) -> bool:
        """Write a new record. It may replace one that is pending or expired."""
        ...

    def contest(self, app: str, key: str, now: datetime) -> bool:
        """Note that another password was chosen for a pending record, if there is one.

        The version of the record stays, and with it the token of the mail that was
        sent.
        """
        ...

    def set_confirmation(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        """Replace the confirm token of a pending record whose password is as read.

        The token, too, must be as it was read. So the token of the later of two
        requests is the one in the table.
        """
        ...

    def confirm(self, app: str, key: str, token_hash: str, now: datetime) -> bool:
        """Confirm a pending record that has this confirm token.

        Return True also if the record was confirmed with this token before and has not
        expired.
        """
        ...

    def set_reset(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        """Replace the reset token of a record that has not expired.

        The token must be as it was read.
        """
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
        """Replace the password with a reset token, and end what the old one opened.

        All of it is one transaction. The record gets the new password and the next
        version, is confirmed and verified, and forgets its networks. Its user, if it
        has one, loses all sessions and API keys. If the address was never verified by
        mail, or was contested, the user also loses every other identity but the
        anonymous one.

        A user whose item was lost is written again in the same transaction (see
        `make_user_again`). A user that was written again earlier gets the identity
        back if it does not list it and has room. If such a user loses its other
        identities, then those that it does not list do not come back either. If it
        does not get the identity back, it only loses its sessions.

        Args:
            record: The record as read, with the token in it.
            user: The record's user, if it has one, as `end_sessions` has left it. No
                client has a session then to change it with. Or the user to write again.
            is_lost: Write the user again.
        """
        ...

    def replace_password_hash(self, record: IdentityRecord, password_hash: str) -> bool:
        """Store the same password, hashed anew. The record's version stays."""
        ...

    def delete_account(self, record: IdentityRecord) -> bool:
        """Delete a record that is as it was read. Its user must not exist.

        For an operator's tool. A user's own deletion deletes its records.
        """
        ...


class ApiKeyStore(Protocol):
    """API keys of permanent users. Every method can raise `StoreUnavailable`.

    The user must be as it was read, and the session that asks must be alive. Otherwise
    a method writes nothing and returns False.
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
        """Switch a key off or on, in one update. Its sessions end."""
        ...


class ChangeStore(Protocol):
    """Changes of users, read from the table's stream."""

    def read_change(self, record: Mapping[str, Any]) -> Change | None:
        """Return the change in a stream record, None if it is not about a user.

        This makes no call.

        Raises:
            ValueError: The record cannot be read.
        """
        ...

    def marks_of(self, users: Sequence[User]) -> Mapping[tuple[str, str], DeletionMark]:
        """Read the marks of users that were deleted, by app and id.

        A user that expired or logged out has none. Can raise `StoreUnavailable`.
        """
        ...


class ExpiringStore(Protocol):
    """The scan for users that will soon expire. Can raise `StoreUnavailable`."""

    def load_expiry_scan(self) -> ExpiryScan | None:
        """Read how far the scan has come. Return None before the first scan."""
        ...

    def save_expiry_scan(self, new: ExpiryScan) -> bool:
        """Write the progress over the version before it.

        Return False if another run has written in the meantime.
        """
        ...

    def scan_expiring(
        self, segment: int, segments: int, after: str, *, now: datetime, until: datetime
    ) -> UserPage:
        """Read one page of one segment of the table, eventually consistent.

        Its users are the anonymous ones that expire after `now` and before `until`,
        without their sessions and API keys.

        Args:
            after: The position to continue from, "" for the first page.
        """
        ...


class OverviewStore(Protocol):
    """All users, for an operator. Every method can raise `StoreUnavailable`."""

    def connect(self) -> None:
        """Get ready for calls by several threads.

        This makes no call. A program with one thread may leave it out.
        """
        ...

    def scan_users(
        self, segment: int, segments: int, after: str, wanted: UserFilter
    ) -> UserPage:
        """Read one page of one segment of the table, eventually consistent.

        Expired users are included until DynamoDB has deleted them.

        Args:
            after: The position to continue from, "" for the first page.
        """
        ...

    def get_data_of(self, users: Sequence[User]) -> list[list[Mapping[str, str]]]:
        """Read the display data of all identities of users, in their order.

        Eventually consistent, with one call per hundred identities. An anonymous
        identity, or one whose record is missing, has empty data.
        """
        ...


class RecordSource(Protocol):
    """Records of identities and API keys, which belong to users to restore.

    A record is named by app, provider and key.
    """

    def get_records(
        self, names: Collection[tuple[str, str, str]]
    ) -> Mapping[tuple[str, str, str], IdentityRecord | None]:
        """Return the records of identities and API keys that are there, by name.

        The read is strongly consistent. A record that cannot be read is None.

        Raises:
            StoreUnavailable: DynamoDB did not answer; repeat.
        """
        ...


class RestoreStore(RecordSource, OverviewStore, Protocol):
    """Users of a backup, or of the live table that they are restored to.

    A user is named by app and id. Every method can raise `StoreUnavailable`.
    """

    def get_users(
        self, names: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], User | None]:
        """Return the users that are there, expired ones too, by name.

        The read is strongly consistent. A user whose item cannot be read is None.
        """
        ...

    def marks_of(self, users: Sequence[User]) -> Mapping[tuple[str, str], DeletionMark]:
        """Read the deletion marks that users have, by app and id."""
        ...

    def restore_user(
        self,
        user: User,
        records: Sequence[IdentityRecord],
        kept: Sequence[IdentityRecord],
        now: datetime,
    ) -> bool:
        """Write a user with its records, all or nothing.

        The guests that were merged into the user have their marks again. Return False,
        and write nothing, if the user is there, or has a deletion mark. The same holds
        if one of the `records` is there and has not expired, or if one of the `kept`
        records is no longer the user's, with the version that was read.
        """
        ...

    def restore_records(
        self, user: User, records: Sequence[IdentityRecord], now: datetime
    ) -> bool:
        """Write records that a live user has lost, all or nothing.

        Return False, and write nothing, if the user has changed since it was read, or
        if one of the records is there and has not expired.
        """
        ...


class EventBus(Protocol):
    """The place that events about users are published to."""

    def publish(self, events: Sequence[UserEvent]) -> None:
        """Publish events, each at least once, in no particular order.

        Raises:
            EventsUnavailable: Not all events were taken. Repeat all of them.
        """
        ...


class Provider(Protocol):
    """One identity provider as one app has configured it."""

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Turn a credential into the identity that it proves.

        Args:
            credential: The body of the login (client-api.md §2.2): untrusted JSON,
                which also has fields that are not for the provider.
            network: IP address of the client. It serves rate limits only and is never
                stored in this form.
            now: Aware UTC time of the request.

        Raises:
            BadRequest: A field is missing or has the wrong type.
            BadCredential: The credential proves nothing.
            BudgetSpent: There were too many wrong credentials.
            Unavailable: The credential could not be checked. It may be good or bad.
        """
        ...


class Providers(Protocol):
    """The providers of all apps, as the settings document configures them."""

    def find(self, app: str, provider: str) -> Provider | None:
        """Return a provider, or None if the app has it off.

        Raises:
            SettingsUnavailable: The settings document cannot be read.
        """
        ...


class Passwords(Protocol):
    """Password hashing, which takes the same time for known and unknown users.

    Passwords that look the same are the same: `hash` and `verify` normalise them.
    """

    def normalise(self, password: str) -> str:
        """Return a password in the form that is hashed and measured."""
        ...

    def hash(self, password: str) -> str:
        """Return the hash of a password with a salt of its own, as a PHC string."""
        ...

    def verify(self, password: str, password_hash: str | None) -> bool:
        """Say whether a hash is that of the password. None takes the same time."""
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Say whether a hash was made with other parameters than today's."""
        ...


class EmailAddresses(Protocol):
    """Syntax of e-mail addresses, and which of them are the same."""

    def normalise(self, address: str) -> str:
        """Return the form that an account is found by. Any text has one."""
        ...

    def mailbox(self, address: str) -> str:
        """Return the form that mails to an address are counted by.

        It is the same for addresses that may reach the same mailbox.
        """
        ...

    def check(self, address: str) -> str:
        """Return the normal form of an address for a new account.

        Raises:
            BadRequest: The text is not an address that mail can be sent to.
        """
        ...


class Mailer(Protocol):
    """Sends mail.

    Raises `MailRefused` if the mail was not sent, and `MailUnavailable` if it may have
    been.
    """

    def send(self, *, sender: str, recipient: str, subject: str, text: str) -> None:
        """Send one plain text mail."""
        ...


class Challenge(Protocol):
    """A test that is easy for people and hard for programs, such as a captcha."""

    def verify(self, answer: str) -> None:
        """Return if the client has passed the challenge.

        Args:
            answer: The token that the client got for passing, unchecked. It is good
                once.

        Raises:
            ChallengeFailed: The challenge was not passed, or elsewhere, or long ago.
            ProviderUnavailable: The answer could not be checked. It may be good or bad.
        """
        ...


class Challenges(Protocol):
    """The challenges of all apps."""

    def find(self, app: str, now: datetime) -> Challenge | None:
        """Return the challenge before an app's anonymous login, None if it has none.

        Raises:
            SettingsUnavailable: The settings document cannot be read.
        """
        ...


class NetworkHashing(Protocol):
    """Names of client networks that tell a reader of the table nothing."""

    def hash_network(self, address: str, now: datetime, *, prefix: int = 64) -> str:
        """Return the keyed hash of an IPv4 address, or of an IPv6 address's network.

        Can raise `KeysUnavailable`.

        Args:
            prefix: Length of the IPv6 network in bits, see `IPV6_PREFIXES`.
        """
        ...


class RingStore(Protocol):
    """The one item of the key ring. Both methods can raise `StoreUnavailable`."""

    def load_ring(self) -> Ring | None:
        """Read the key ring, strongly consistent. Return None if there is none yet."""
        ...

    def save_ring(self, new: Ring) -> bool:
        """Write the ring over the version before it.

        Return False if the table has another version by now.
        """
        ...


class KeyWrapping(Protocol):
    """Encryption of keys at rest. Both methods can raise `KeysUnavailable`."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt at most 4,096 bytes, bound to the context."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt a key that was wrapped under the same context."""
        ...


class KeyMaking(Protocol):
    """New keys for the ring. Both methods can raise `KeysUnavailable`."""

    def make_access_key(
        self, *, published_at: datetime, signs_from: datetime, stops_at: datetime
    ) -> RingKey:
        """Make an RSA key that signs access tokens between two times."""
        ...

    def make_refresh_key(
        self, *, published_at: datetime, signs_from: datetime
    ) -> RingKey:
        """Make an HMAC key that signs refresh tokens from `signs_from` on."""
        ...


class TokenIssuer(Protocol):
    """Access and refresh tokens. Every method can raise `KeysUnavailable`."""

    def access_token(
        self, user: User, session: Session, *, base_url: str, now: datetime
    ) -> str:
        """Sign an access token, which other services can verify as well."""
        ...

    def refresh_token(
        self, user: User, session: Session, *, jti: str, now: datetime
    ) -> str:
        """Sign the refresh token of a session. Its secret is `jti`."""
        ...

    def read_access_token(self, token: str, now: datetime) -> AccessClaims:
        """Verify an access token, or raise `InvalidSession`."""
        ...

    def read_refresh_token(self, token: str, now: datetime) -> RefreshClaims:
        """Verify a refresh token, or raise `InvalidSession`."""
        ...
