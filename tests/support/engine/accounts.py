"""Accounts of `local-userpass` for races: passwords in clear, mails in a list."""

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from anonauth.domain.encoding import hash_secret, identity_key
from anonauth.domain.expiry import UNBOUND_LIFETIME
from anonauth.domain.identities import IdentityRecord, MailToken
from anonauth.domain.providers import USERPASS
from anonauth.email_addresses import EmailSyntax
from anonauth.usecases.account_mail import AccountMail
from anonauth.usecases.userpass import UserpassAccounts
from support.contracts.store_contract import APP, DAY, NOW
from support.engine.racing import Service, a_subject

OLD = "old"
NEW = "new"


class PlainPasswords:
    """`Passwords` whose hashes are the passwords, as in `use_cases.Passwords`."""

    def normalise(self, password: str) -> str:
        return password

    def hash(self, password: str) -> str:
        return password

    def verify(self, password: str, password_hash: str | None) -> bool:
        return password == password_hash

    def is_outdated(self, password_hash: str) -> bool:
        return False


@dataclass
class Outbox:
    """`Mailer` that keeps the token of each mail."""

    tokens: list[str] = field(default_factory=list)

    def send(self, *, sender: str, recipient: str, subject: str, text: str) -> None:
        found = re.search(r"token=([\w-]+)", text)
        assert found
        self.tokens.append(found[1])


def accounts_of(service: Service, outbox: Outbox | None = None) -> UserpassAccounts:
    """Return the use cases of accounts."""
    mail = AccountMail(
        app=APP,
        sender="app@example.org",
        confirm_url="https://a/confirm",
        reset_url="https://a/reset",
        per_hour=1000,
        per_network=None,
        budgets=service.store,
        addresses=EmailSyntax(),
        mailer=outbox or Outbox(),
    )
    return UserpassAccounts(
        app=APP,
        store=service.store,
        users=service.store,
        passwords=PlainPasswords(),
        addresses=EmailSyntax(),
        min_password_length=1,
        mail=mail,
        registrations=None,
    )


def an_account(service: Service, **fields: Any) -> IdentityRecord:
    """Register an address, with the password `OLD`; return its record."""
    address = an_address()
    record = IdentityRecord(
        app=APP,
        provider=USERPASS,
        key=identity_key(address),
        id=secrets.token_hex(12),
        state="confirmed",
        data={"email": address},
        password_hash=OLD,
        expires_at=NOW + UNBOUND_LIFETIME,
    )
    record = replace(record, **fields)
    assert service.store.register(record, NOW)
    return record


def an_address() -> str:
    return f"{a_subject()}@example.org"


def by_password(address: str, password: str = OLD) -> dict[str, str]:
    return {"username": address, "password": password}


def a_mail_token() -> tuple[str, MailToken]:
    """Return a mail's token, and the part of it that is stored."""
    token = secrets.token_urlsafe(32)
    return token, MailToken(hash_secret(token), NOW + DAY)


def reset(
    service: Service, key: str, token: str, accounts: UserpassAccounts | None = None
) -> None:
    """Set the password `NEW` with the token of a mail."""
    accounts = accounts or accounts_of(service)
    accounts.reset_password(token=token, token_id=key, password=NEW, now=NOW)
