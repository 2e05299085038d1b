"""E-mail and password accounts: register, confirm, reset.

An account is a record of its address; it becomes a user's identity, or makes a user,
at its first link or login. Whatever is sent by mail names its record by the record's
key (`tokenId`) and carries a secret of 256 bits (`token`), of which only the hash is
stored.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from anonauth.domain.budgets import Budget, Counter, failures_counter
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
    MailRefused,
    StoreUnavailable,
    Unavailable,
    UserNotFound,
    UserpassTokenInvalid,
)
from anonauth.ports import (
    AccountStore,
    EmailAddresses,
    Mailer,
    Passwords,
    UserStore,
)
from anonauth.usecases.admission import NetworkBudget
from anonauth.usecases.mail_texts import Mail, confirmation_mail, reset_mail

TOKEN_LIFETIME = timedelta(minutes=30)
"""Of confirm and reset tokens (client-api.md §2.8)."""

LONGEST_PASSWORD = 128  # characters (client-api.md §2.8)

MAIL_WINDOW = timedelta(hours=1)
"""Of the budget of mails to one mailbox."""

_DECISIONS = 10  # reads of what others keep changing, perhaps to hold up a reset

# Ours are of 43 characters; those of the old service, of 128 and 24 hex digits, get
# its answer to tokens that are over (client-api.md §4).
_TOKEN_DATA = re.compile(r"[A-Za-z0-9_-]{24,128}")


@dataclass(frozen=True, slots=True)
class MailRules:
    """How an app sends mail: from whom, to which pages of its own, how often.

    `per_hour` counts the mails of a kind to one mailbox. Both kinds have a budget of
    their own: to ask for resets of an address must not keep its owner from registering.
    """

    sender: str
    confirm_url: str
    reset_url: str
    per_hour: int


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of one app: where they are kept, and the app's rules for them.

    Without `mail` every address counts as confirmed, and no password can be reset:
    nothing would prove whose the address is.

    `registrations` is what the client's network has for registering and for having
    mail sent: else it could go on here when its anonymous logins are spent. `mails` is
    what it has of mails, to strangers perhaps, each within a budget of their own. None
    for any number, as for an operator's tool.
    """

    app: str
    store: AccountStore
    passwords: Passwords
    addresses: EmailAddresses
    mailer: Mailer
    min_password_length: int
    mail: MailRules | None
    registrations: NetworkBudget | None
    mails: NetworkBudget | None


def register_account(
    accounts: Accounts, *, email: str, password: str, now: datetime
) -> None:
    """Register an address with a password; no user is made.

    An address that nobody has confirmed is replaced whole, with the next version, so
    that nobody squats an address and no older confirm token works for the newer
    password.

    That several people have set a password is noted whatever their limits, which only
    decide what is sent. If the address has had its mails, whoever registered before
    stays: the mail that is there to be opened must not confirm the newer password.
    Its owner is told the same, and comes in by a reset, which detaches all that
    somebody else has linked meanwhile.

    Args:
        accounts: Of a configured app.
        email: As typed; kept so for display and for mail, without blanks around it.
        password: Unhashed.
        now: Aware UTC time of the request.

    Raises:
        BadRequest: Not an e-mail address, or a password of another length.
        AccountNameInUse: It is registered and confirmed; nothing was changed.
        BudgetSpent: Too many registrations from this network, or mails at its request;
            the password was not set, and no mail was sent.
        KeysUnavailable: The network cannot be hashed; nothing was changed.
        MailUnavailable: Registered, but the confirm mail may not have been sent.
            Registering again sends another.
        StoreUnavailable: The account may be registered. Registering again, or a login
            where there are no mails, will show.
    """
    address = accounts.addresses.check(email)
    _check_length(accounts, password)
    key = identity_key(address)
    by_mail = accounts.mail is not None
    try:
        _spend_registration(accounts, now)
    except BudgetSpent:
        if by_mail:  # without a look at the password, which would take hashing
            accounts.store.contest(accounts.app, key, now)
        raise
    old, contested = _contested_record(accounts, key, password, now)
    postage = _spend_mail(accounts, "mail-confirm", email, now)
    is_sent = by_mail and postage.refusal is None
    token, confirmation = _new_token(now)
    record = IdentityRecord(
        app=accounts.app,
        provider=USERPASS,
        key=key,
        id=secrets.token_hex(12),
        state="pending" if by_mail else "confirmed",
        data={"email": email.strip()},
        confirmation=confirmation if is_sent else None,
        expires_at=now + (PENDING_LIFETIME if by_mail else UNBOUND_LIFETIME),
    )
    for _ in range(_DECISIONS):
        if by_mail and not is_sent and _is_live(old, now):
            return
        record = replace(
            record,
            version=1 if old is None else old.version + 1,
            contested=contested,
            # Slow on purpose: once.
            password_hash=record.password_hash or accounts.passwords.hash(password),
        )
        if accounts.store.register(record, now):
            break
        old, contested = _contested_record(accounts, key, password, now)
    else:
        raise StoreUnavailable
    if accounts.mail is not None and is_sent:
        _send_confirmation(accounts, accounts.mail, record, token, postage)


def confirm_account(
    accounts: Accounts, *, token: str, token_id: str, now: datetime
) -> None:
    """Confirm an address by the token of its latest confirm mail.

    Repeating it changes nothing: mail programs and impatient people open links twice.

    Raises:
        BadRequest: That is not what was in the mail.
        UserpassTokenInvalid: Unknown, older than 30 minutes, or replaced.
        StoreUnavailable: It may be confirmed; retry.
    """
    _check_token_data(token, token_id)
    if not accounts.store.confirm(accounts.app, token_id, hash_secret(token), now):
        raise UserpassTokenInvalid


def resend_confirmation(accounts: Accounts, *, email: str, now: datetime) -> None:
    """Send a new confirm mail, whose token replaces the one before.

    The answers tell whether an address is registered, as the old service's did: those
    of registering tell as much.

    Raises:
        UserNotFound: Nobody has registered that address.
        AlreadyConfirmed: It needs no confirmation, as all where there is no mail.
        BadRequest: It does, but the app has stopped sending mail: register it again.
        BudgetSpent: Too many registrations from this network, or mails at its request
            or to this mailbox.
        MailUnavailable: The mail may not have been sent; retry.
        KeysUnavailable, StoreUnavailable: Retry.
    """
    key = identity_key(accounts.addresses.normalise(email))
    _spend_registration(accounts, now)
    token, confirmation = _new_token(now)
    record = _require_pending(accounts, key, now)
    if accounts.mail is None:
        raise BadRequest(automatic_confirmation(email))
    postage = _paid(_spend_mail(accounts, "mail-confirm", email, now))
    for _ in range(_DECISIONS):
        if accounts.store.set_confirmation(record, confirmation, now):
            _send_confirmation(accounts, accounts.mail, record, token, postage)
            return
        record = _require_pending(accounts, key, now)
    raise StoreUnavailable


def send_reset(accounts: Accounts, *, email: str, now: datetime) -> None:
    """Send a reset mail if the address is registered, and say nothing if it is not.

    A network that the account knows has mails of its own: those that strangers ask for
    keep nobody from resetting a password at home.

    An unknown address takes the same calls to the table. What remains different is
    the sending itself: its time, and that it can fail. The mail goes to the address
    as it was registered, not as it is spelt now.

    Raises:
        BadRequest: The app sends no mail, so nothing would prove whose the address
            is; the text is the old service's for apps like that (client-api.md §4).
        BudgetSpent: Too many registrations from this network, or mails at its request
            or to this mailbox, registered or not.
        MailUnavailable: The mail may not have been sent; retry.
        KeysUnavailable, StoreUnavailable: Retry.
    """
    if accounts.mail is None:
        raise BadRequest("please use reset password via function")
    key = identity_key(accounts.addresses.normalise(email))
    # Of a version that no record has: the write is refused. The id is as long as any.
    nobody = "0" * 24
    nobodys = IdentityRecord(accounts.app, USERPASS, key, nobody, "pending", version=0)
    _spend_registration(accounts, now)
    record = _find(accounts, key, now)
    share = _share_of_mails(accounts, record, now)
    postage = _paid(_spend_mail(accounts, "mail-reset", email, now, share))
    token, reset = _new_token(now)
    for _ in range(_DECISIONS):
        written = accounts.store.set_reset(record or nobodys, reset, now)
        if record is None:
            return
        if written:
            url = accounts.mail.reset_url
            mail = reset_mail(url, token=token, token_id=key)
            _send(accounts, accounts.mail, record, mail, postage)
            return
        record = _find(accounts, key, now)
    raise StoreUnavailable


def reset_password(
    accounts: Accounts,
    *,
    token: str,
    token_id: str,
    password: str,
    users: UserStore,
    now: datetime,
) -> None:
    """Set a new password by the token of the latest reset mail, which is then used up.

    Ends all that the old password may have opened (see `AccountStore.reset_password`),
    and confirms the address: the mail has come back. Wrong passwords of before do not
    count any more, whoever they came from.

    The sessions end first, in a write of its own that nobody can hold off: an intruder
    who goes on changing the user would else keep the password from being changed. A
    new session in between is of a user that was read after that write, and to change
    the user takes four calls from there; the reset takes one.

    If the item of the account's user was lost, the user is made again under its id.

    Raises:
        BadRequest: That is not what was in the mail, or a password of another length.
        UserpassTokenInvalid: Unknown, older than 30 minutes, replaced or used; or the
            account's user was deleted on request.
        StoreUnavailable: The sessions may have ended, and the password may have been
            set. Repeated, the token is then refused, and the new password works.
    """
    _check_token_data(token, token_id)
    _check_length(accounts, password)
    token_hash = hash_secret(token)
    password_hash = ""
    for _ in range(_DECISIONS):
        record = _find(accounts, token_id, now)
        if record is None or not _is_good(record.reset, token_hash, now):
            raise UserpassTokenInvalid
        if not password_hash:
            # Slow on purpose: once, for nobody without a token, and before the sessions
            # end, so that nothing slow comes between the two writes.
            password_hash = accounts.passwords.hash(password)
            # Before the token is used up: if this fails, the client can repeat it. Not
            # in one transaction, which those who guess could hold up.
            accounts.store.clear(failures_counter(accounts.app, record.key, now))
        user, is_lost = None, False
        if record.user_id is not None:
            user = users.end_sessions(accounts.app, record.user_id, now)
            is_lost = user is None
            if is_lost and users.was_deleted(accounts.app, record.user_id):
                raise UserpassTokenInvalid
        if is_lost:
            user = _lost_user(record, now)
        if accounts.store.reset_password(
            record,
            user,
            token_hash=token_hash,
            password_hash=password_hash,
            now=now,
            is_lost=is_lost,
        ):
            return
    raise StoreUnavailable


def _lost_user(record: IdentityRecord, now: datetime) -> User:
    # See `user_after_reset`, which says who else may come back.
    keeps_others = record.verified and not record.contested
    return user_made_again(
        replace(record, version=record.version + 1),
        None,
        now,
        made_again="open" if keeps_others else "closed",
    )


def automatic_confirmation(email: str) -> str:
    """Return the old service's text for "nothing to confirm" (client-api.md §4)."""
    return f"cannot run confirmation for {email}: automatic confirmation is enabled"


def _check_length(accounts: Accounts, password: str) -> None:
    shortest = accounts.min_password_length
    length = len(accounts.passwords.normalise(password))
    if not shortest <= length <= LONGEST_PASSWORD:
        raise BadRequest(
            f"password must be between {shortest} and {LONGEST_PASSWORD} characters"
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


def _find(accounts: Accounts, key: str, now: datetime) -> IdentityRecord | None:
    record = accounts.store.get_identity(accounts.app, USERPASS, key)
    return None if record is None or record.is_expired(now) else record


def _free_record(accounts: Accounts, key: str, now: datetime) -> IdentityRecord | None:
    old = accounts.store.get_identity(accounts.app, USERPASS, key)
    if old is not None and old.state != "pending" and not old.is_expired(now):
        raise AccountNameInUse
    return old


def _is_live(record: IdentityRecord | None, now: datetime) -> bool:
    return record is not None and not record.is_expired(now)


def _contested_record(
    accounts: Accounts, key: str, password: str, now: datetime
) -> tuple[IdentityRecord | None, bool]:
    """Return the record that can be replaced, and whether its address is contested.

    By then the record says so itself: whatever refuses us afterwards, it is known.
    """
    # Two people chose passwords and one opens the mails: whose the confirmed one is
    # shows only at a reset, which then keeps no other identity.
    for _ in range(_DECISIONS):
        old = _free_record(accounts, key, now)
        if accounts.mail is None or old is None or old.is_expired(now):
            return old, False
        if old.contested or accounts.passwords.verify(password, old.password_hash):
            return old, old.contested
        # Not as read: whoever has registered meanwhile chose another password, too.
        if accounts.store.contest(accounts.app, key, now):
            return old, True
    raise StoreUnavailable


def _require_pending(accounts: Accounts, key: str, now: datetime) -> IdentityRecord:
    record = _find(accounts, key, now)
    if record is None:
        raise UserNotFound
    if record.state != "pending":
        raise AlreadyConfirmed
    return record


def _spend_registration(accounts: Accounts, now: datetime) -> None:
    # Before the record is read: the answers tell which addresses are registered, so
    # a request counts whatever it finds. And before the mails of the address: a network
    # without a budget must not spend those of a stranger.
    if accounts.registrations is not None:
        accounts.registrations.spend(now)


@dataclass(frozen=True, slots=True)
class _Postage:
    """What a mail was counted in; or else why it must not be sent to that mailbox."""

    counters: tuple[Counter, ...] = ()
    refusal: BudgetSpent | None = None


def _share_of_mails(
    accounts: Accounts, record: IdentityRecord | None, now: datetime
) -> str:
    """Return the client's network if the account knows it, else that of all others."""
    if accounts.registrations is None:
        return ""
    network = accounts.registrations.hash_network(now)
    if record is not None and record.knows(network):
        return network
    return "-" * len(network)  # in as many bytes: they do not tell who is registered


def _spend_mail(
    accounts: Accounts, kind: str, email: str, now: datetime, share: str = ""
) -> _Postage:
    if accounts.mail is None:
        return _Postage()
    # The network first: one without a budget must not spend that of a stranger.
    spent = () if accounts.mails is None else (accounts.mails.spend(now),)
    mailbox = identity_key(accounts.addresses.mailbox(email))
    budget = Budget(kind, accounts.mail.per_hour, MAIL_WINDOW)
    counter = budget.counter(accounts.app, mailbox, share, now=now)
    if not accounts.store.spend(counter):
        _give_back(accounts, spent)
        return _Postage(refusal=BudgetSpent.until(counter.ends_at, now))
    return _Postage((*spent, counter))


def _paid(postage: _Postage) -> _Postage:
    if postage.refusal is not None:
        raise postage.refusal
    return postage


def _give_back(accounts: Accounts, counters: Iterable[Counter]) -> None:
    for counter in counters:
        # If that fails, somebody has one mail less.
        with suppress(Unavailable):
            accounts.store.give_back(counter)


def _send_confirmation(
    accounts: Accounts,
    rules: MailRules,
    record: IdentityRecord,
    token: str,
    postage: _Postage,
) -> None:
    mail = confirmation_mail(rules.confirm_url, token=token, token_id=record.key)
    _send(accounts, rules, record, mail, postage)


def _send(
    accounts: Accounts,
    rules: MailRules,
    record: IdentityRecord,
    mail: Mail,
    postage: _Postage,
) -> None:
    try:
        accounts.mailer.send(
            sender=rules.sender,
            recipient=record.data["email"],
            subject=mail.subject,
            text=mail.text,
        )
    except MailRefused:
        # Or nobody could be sent a mail for an hour after SES is well again.
        _give_back(accounts, postage.counters)
        raise
