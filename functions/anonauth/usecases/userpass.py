"""E-mail and password accounts: register, confirm, reset.

An account is the record of an address. Its first link or login makes it a user's
identity, or makes a user. A mail names the record by its key (`tokenId`) and carries a
secret of 256 bits (`token`). Only the hash of the secret is stored.
"""

import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from anonauth.domain.budgets import failures_counter
from anonauth.domain.encoding import hash_secret, identity_key
from anonauth.domain.expiry import PENDING_LIFETIME, UNBOUND_LIFETIME
from anonauth.domain.identities import IdentityRecord, MailToken
from anonauth.domain.providers import USERPASS
from anonauth.domain.users import User, user_made_again
from anonauth.errors import (
    AccountNameInUse,
    AlreadyConfirmed,
    BadRequest,
    BudgetSpent,
    UserNotFound,
    UserpassTokenInvalid,
)
from anonauth.ports import AccountStore, EmailAddresses, Passwords, UserStore
from anonauth.usecases._retry import decisions
from anonauth.usecases.account_mail import AccountMail
from anonauth.usecases.admission import NetworkBudget

TOKEN_LIFETIME = timedelta(minutes=30)
"""How long confirm and reset tokens are valid (client-api.md §2.8)."""

LONGEST_PASSWORD = 128  # characters (client-api.md §2.8)

# Others may keep changing the records, perhaps to hold up a reset.
_MOST_DECISIONS = 10

# Our tokens have 43 characters. Those of the old service have 128, its ids 24 hex
# digits, and both get its answer to expired tokens (client-api.md §4).
_TOKEN_DATA = re.compile(r"[A-Za-z0-9_-]{24,128}")


@dataclass(frozen=True, slots=True)
class UserpassAccounts:
    """Registers, confirms and resets the accounts of one app.

    Args:
        min_password_length: In characters.
        mail: Sends the app's mails. None if it sends none. Then every address counts
            as confirmed and no password can be reset, since nothing would prove whose
            the address is.
        registrations: Limits the registrations and mails that one network asks for.
            Without it, a network could go on here when its anonymous logins are spent.
            None for any number, as for an operator's tool.
    """

    app: str
    store: AccountStore
    users: UserStore
    passwords: Passwords
    addresses: EmailAddresses
    min_password_length: int
    mail: AccountMail | None
    registrations: NetworkBudget | None

    def register(
        self, *, email: str, password: str, network: str, now: datetime
    ) -> None:
        """Register an address with a password. No user is made.

        An address that was never confirmed is replaced whole, with the next version. So
        an address cannot be squatted, and no older confirm token works for the newer
        password.

        If several passwords are set for an address, that is noted whatever the rate
        limits, which only decide whether a mail is sent. If the mailbox has had its
        mails, the registration before this one stays: the mail that can still be opened
        must not confirm the newer password. The answer is the same. The address's owner
        gets in by a reset, which detaches every identity that somebody else has linked
        meanwhile.

        Args:
            email: As typed. It is stored so, without blanks around it, for display and
                for mail.
            password: Unhashed.
            network: IP address of the client.
            now: Aware UTC time of the request.

        Raises:
            BadRequest: The e-mail address is not valid, or the password too short or
                too long.
            AccountNameInUse: The address is registered and confirmed. Nothing was
                changed.
            BudgetSpent: The network has reached its limit of registrations or of mails.
                The password was not set, and no mail was sent.
            KeysUnavailable: The network cannot be hashed. Nothing was changed.
            MailUnavailable: The address is registered, but the confirm mail may not
                have been sent. Registering again sends another.
            StoreUnavailable: The address may be registered. Registering again shows it.
                Without mail, a login does, too.
        """
        address = self.addresses.check(email)
        self._check_length(password)
        key = identity_key(address)
        by_mail = self.mail is not None
        try:
            self._spend_registration(network, now)
        except BudgetSpent:
            if by_mail:  # without comparing the passwords, which would take hashing
                self.store.contest(self.app, key, now)
            raise
        old, contested = self._contested_record(key, password, now)
        postage = (
            self.mail.spend("mail-confirm", email, network=network, now=now)
            if self.mail is not None
            else None
        )
        is_sent = postage is not None and postage.refusal is None
        token, confirmation = _new_token(now)
        record = IdentityRecord(
            app=self.app,
            provider=USERPASS,
            key=key,
            id=secrets.token_hex(12),
            state="pending" if by_mail else "confirmed",
            data={"email": email.strip()},
            confirmation=confirmation if is_sent else None,
            expires_at=now + (PENDING_LIFETIME if by_mail else UNBOUND_LIFETIME),
        )
        for _ in decisions(_MOST_DECISIONS):
            if by_mail and not is_sent and _is_live(old, now):
                return
            record = replace(
                record,
                version=1 if old is None else old.version + 1,
                contested=contested,
                # Slow on purpose, so it is done once.
                password_hash=record.password_hash or self.passwords.hash(password),
            )
            if self.store.register(record, now):
                break
            old, contested = self._contested_record(key, password, now)
        if self.mail and postage and is_sent:
            self.mail.send_confirmation(record, token, postage)

    def confirm(self, *, token: str, token_id: str, now: datetime) -> None:
        """Confirm an address by the token of its latest confirm mail.

        Repeating it changes nothing: mail programs and impatient people open links
        twice.

        Raises:
            BadRequest: The token or its id has a form that no mail contains.
            UserpassTokenInvalid: The token is unknown, older than 30 minutes, or
                replaced.
            StoreUnavailable: The address may be confirmed. Retry.
        """
        _check_token_data(token, token_id)
        if not self.store.confirm(self.app, token_id, hash_secret(token), now):
            raise UserpassTokenInvalid

    def resend_confirmation(self, *, email: str, network: str, now: datetime) -> None:
        """Send a new confirm mail, whose token replaces the one before.

        The answer tells whether an address is registered, as the old service's did.
        The answer to a registration tells as much.

        Raises:
            UserNotFound: The address is not registered.
            AlreadyConfirmed: The address needs no confirmation. Without mail, no
                address does.
            BadRequest: The address needs a confirmation, but the app has stopped
                sending mail. Register it again.
            BudgetSpent: The network has reached its limit of registrations or of mails,
                or the mailbox has had its mails.
            MailUnavailable: The mail may not have been sent. Retry.
            KeysUnavailable, StoreUnavailable: Retry.
        """
        key = identity_key(self.addresses.normalise(email))
        self._spend_registration(network, now)
        token, confirmation = _new_token(now)
        record = self._require_pending(key, now)
        if self.mail is None:
            raise BadRequest(automatic_confirmation(email))
        postage = self.mail.spend("mail-confirm", email, network=network, now=now)
        postage.require()
        for _ in decisions(_MOST_DECISIONS):
            if self.store.set_confirmation(record, confirmation, now):
                self.mail.send_confirmation(record, token, postage)
                return
            record = self._require_pending(key, now)

    def send_reset(self, *, email: str, network: str, now: datetime) -> None:
        """Send a reset mail if the address is registered. Answer the same if it is not.

        A network that the account knows has its own limit of mails to the mailbox. So
        requests of strangers do not keep the owner from resetting the password at home.

        An unknown address takes the same calls to the table. A difference remains in
        the sending itself: its time, and that it can fail. The mail goes to the address
        as it was registered, not as it is spelt now.

        Raises:
            BadRequest: The app sends no mail, so nothing would prove whose the address
                is. The text is the old service's for such apps (client-api.md §4).
            BudgetSpent: The network has reached its limit of registrations or of mails,
                or the mailbox has had its mails, registered or not.
            MailUnavailable: The mail may not have been sent. Retry.
            KeysUnavailable, StoreUnavailable: Retry.
        """
        if self.mail is None:
            raise BadRequest("please use reset password via function")
        key = identity_key(self.addresses.normalise(email))
        # No record has this id, which is as long as any. So its write is refused.
        no_id = "0" * 24
        no_record = IdentityRecord(self.app, USERPASS, key, no_id, "pending")
        self._spend_registration(network, now)
        record = self._find(key, now)
        share = self._share_of_mails(record, network, now)
        postage = self.mail.spend(
            "mail-reset", email, network=network, now=now, share=share
        )
        postage.require()
        token, reset = _new_token(now)
        for _ in decisions(_MOST_DECISIONS):
            written = self.store.set_reset(record or no_record, reset, now)
            if record is None:
                return
            if written:
                self.mail.send_reset(record, token, postage)
                return
            record = self._find(key, now)

    def reset_password(
        self, *, token: str, token_id: str, password: str, now: datetime
    ) -> None:
        """Set a new password by the token of the latest reset mail, which is used up.

        This ends everything that the old password may have opened (see
        `AccountStore.reset_password`). It confirms the address, since the mail has come
        back. Earlier wrong passwords no longer count, wherever they came from.

        The sessions end first, in a write of their own that nobody can delay. Otherwise
        an intruder who keeps changing the user could prevent the change of the
        password. A session that opens in between has read the user after that write. It
        takes four calls from there to change the user, and the reset takes one.

        If the item of the account's user was lost, the user is made again under its id.

        Raises:
            BadRequest: The token or its id has a form that no mail contains, or the
                password is too short or too long.
            UserpassTokenInvalid: The token is unknown, older than 30 minutes, replaced
                or used, or the account's user was deleted on request.
            StoreUnavailable: The sessions may have ended, and the password may have
                been set. A retry then refuses the token, and the new password works.
        """
        _check_token_data(token, token_id)
        self._check_length(password)
        token_hash = hash_secret(token)
        password_hash = ""
        for _ in decisions(_MOST_DECISIONS):
            record = self._find(token_id, now)
            if record is None or not _is_good(record.reset, token_hash, now):
                raise UserpassTokenInvalid
            if not password_hash:
                # Slow on purpose: done once, only for a valid token, and before the
                # sessions end, so that nothing slow comes between the two writes.
                password_hash = self.passwords.hash(password)
                # Before the token is used up, so that the client can repeat a failure.
                # Not in one transaction: clients that guess passwords could delay it.
                self.store.clear(failures_counter(self.app, record.key, now))
            user, is_lost = None, False
            if record.user_id is not None:
                user = self.users.end_sessions(self.app, record.user_id, now)
                is_lost = user is None
                if is_lost and self.users.get_mark(self.app, record.user_id):
                    raise UserpassTokenInvalid
            if is_lost:
                user = _lost_user(record, now)
            if self.store.reset_password(
                record,
                user,
                token_hash=token_hash,
                password_hash=password_hash,
                now=now,
                is_lost=is_lost,
            ):
                return

    def _check_length(self, password: str) -> None:
        shortest = self.min_password_length
        length = len(self.passwords.normalise(password))
        if not shortest <= length <= LONGEST_PASSWORD:
            raise BadRequest(
                f"password must be between {shortest} and {LONGEST_PASSWORD} characters"
            )

    def _spend_registration(self, network: str, now: datetime) -> None:
        # Before the record is read: the answer tells whether an address is registered,
        # so every request counts. And before the mails of the address are counted: a
        # network at its limit must not use up the mails of a stranger.
        if self.registrations is not None:
            self.registrations.spend(network, now)

    def _find(self, key: str, now: datetime) -> IdentityRecord | None:
        record = self.store.get_identity(self.app, USERPASS, key)
        return record if _is_live(record, now) else None

    def _free_record(self, key: str, now: datetime) -> IdentityRecord | None:
        old = self.store.get_identity(self.app, USERPASS, key)
        if old is not None and old.state != "pending" and not old.is_expired(now):
            raise AccountNameInUse
        return old

    def _require_pending(self, key: str, now: datetime) -> IdentityRecord:
        record = self._find(key, now)
        if record is None:
            raise UserNotFound
        if record.state != "pending":
            raise AlreadyConfirmed
        return record

    def _contested_record(
        self, key: str, password: str, now: datetime
    ) -> tuple[IdentityRecord | None, bool]:
        """Return the record that can be replaced, and whether its address is contested.

        The record then says so itself, even if this registration is refused later.
        """
        # Two people have chosen passwords, and one of them opens the mails. Only a
        # reset shows whose the confirmed password is. It then keeps no other identity.
        for _ in decisions(_MOST_DECISIONS):
            old = self._free_record(key, now)
            if self.mail is None or old is None or old.is_expired(now):
                contested = False
                break
            contested = old.contested
            if contested or self.passwords.verify(password, old.password_hash):
                break
            # This notes it whatever has been registered since the read: it has another
            # password, too.
            contested = self.store.contest(self.app, key, now)
            if contested:
                break
        return old, contested

    def _share_of_mails(
        self, record: IdentityRecord | None, network: str, now: datetime
    ) -> str:
        """Return the client's network if the account knows it, else that of others."""
        if self.registrations is None:
            return ""
        hashed = self.registrations.hash_network(network, now)
        if record is not None and record.knows(hashed):
            return hashed
        # As many bytes, so that the size does not tell whether it is registered.
        return "-" * len(hashed)


def automatic_confirmation(email: str) -> str:
    """Return the old service's text for "nothing to confirm" (client-api.md §4)."""
    return f"cannot run confirmation for {email}: automatic confirmation is enabled"


def _lost_user(record: IdentityRecord, now: datetime) -> User:
    # `user_after_reset` says which other identities may come back.
    keeps_others = record.verified and not record.contested
    return user_made_again(
        replace(record, version=record.version + 1),
        None,
        now,
        made_again="open" if keeps_others else "closed",
    )


def _check_token_data(token: str, token_id: str) -> None:
    if not _TOKEN_DATA.fullmatch(token) or not _TOKEN_DATA.fullmatch(token_id):
        raise BadRequest("invalid token data")


def _is_good(token: MailToken | None, token_hash: str, now: datetime) -> bool:
    return (
        token is not None
        and hmac.compare_digest(token.hash, token_hash)
        and token.expires_at > now
    )


def _new_token(now: datetime) -> tuple[str, MailToken]:
    token = secrets.token_urlsafe(32)
    return token, MailToken(hash_secret(token), now + TOKEN_LIFETIME)


def _is_live(record: IdentityRecord | None, now: datetime) -> bool:
    return record is not None and not record.is_expired(now)
