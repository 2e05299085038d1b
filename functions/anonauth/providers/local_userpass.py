"""Login by e-mail address and password."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from anonauth.domain import (
    USERPASS,
    Budget,
    Counter,
    IdentityRecord,
    VerifiedIdentity,
    identity_key,
)
from anonauth.errors import BadRequest, BudgetSpent, NotConfirmed, WrongPassword
from anonauth.ports import AccountStore, NetworkHashing, Passwords
from anonauth.providers.document import LocalUserpassSettings
from anonauth.providers.email_address import EmailSyntax

WINDOW = timedelta(minutes=15)
"""Of the budgets for wrong passwords."""


class LocalUserpass:
    """`Provider` of e-mail addresses and passwords, as one app has configured it."""

    def __init__(
        self,
        app: str,
        settings: LocalUserpassSettings,
        *,
        accounts: AccountStore,
        passwords: Passwords,
        networks: NetworkHashing,
    ) -> None:
        self._app = app
        self._accounts = accounts
        self._passwords = passwords
        self._networks = networks
        # An account from one network: somebody guessing. An account from everywhere:
        # many machines guessing. A network at all accounts: one password tried on
        # everybody. Only the first is low, so that a stranger elsewhere can hardly
        # lock anyone out.
        limits = settings.budgets
        self._budgets = (
            Budget("password-account-network", limits.account_and_network, WINDOW),
            Budget("password-account", limits.account, WINDOW),
            Budget("password-network", limits.network, WINDOW),
        )

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Return the identity of an address if the password is right.

        An unknown address takes the same calls to the table and the same hashing as a
        wrong password. Attempts that are under way at once are counted when they have
        failed: so many more can slip through.

        Args:
            credential: `username`, an e-mail address, and `password`.
            network: IP address of the client.
            now: Aware UTC time of the request.

        Raises:
            BadRequest: A field is missing or not a string.
            BudgetSpent: Too many wrong passwords; nothing was hashed.
            WrongPassword: Or nobody has that address.
            NotConfirmed: The password is right, the address was never confirmed.
            KeysUnavailable: The network cannot be hashed.
            StoreUnavailable: Retry.
        """
        username = _text(credential, "username")
        password = _text(credential, "password")
        key = identity_key(EmailSyntax().normalise(username))
        counters = self._counters(key, network, now)
        record, counts = self._accounts.get_account_and_counts(self._app, key, counters)
        _require_budget(counters, counts, now)
        if record is not None and record.is_expired(now):
            record = None
        stored = None if record is None else record.password_hash
        right = self._passwords.verify(password, stored)
        if record is None or not right:
            for counter in counters:
                self._accounts.count(counter)
            raise WrongPassword
        if record.state == "pending":
            raise NotConfirmed
        record = self._renew_hash(record, password)
        return VerifiedIdentity(
            USERPASS, key, record.id, data=record.data, record=record
        )

    def _counters(self, key: str, network: str, now: datetime) -> list[Counter]:
        hashed = self._networks.hash_network(network, now)
        subjects = ((key, hashed), (key,), (hashed,))
        return [
            budget.counter(self._app, *subject, now=now)
            for budget, subject in zip(self._budgets, subjects, strict=True)
        ]

    def _renew_hash(self, record: IdentityRecord, password: str) -> IdentityRecord:
        if not self._passwords.is_outdated(record.password_hash):
            return record
        renewed = self._passwords.hash(password)
        if not self._accounts.replace_password_hash(record, renewed):
            # The record is another one by now; whoever goes on with this one will see.
            return record
        return replace(record, password_hash=renewed)


def _require_budget(counters: list[Counter], counts: list[int], now: datetime) -> None:
    spent = [
        counter.ends_at
        for counter, count in zip(counters, counts, strict=True)
        if count >= counter.limit
    ]
    if spent:
        raise BudgetSpent.until(max(spent), now)


def _text(credential: Mapping[str, Any], name: str) -> str:
    value = credential.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} is missing or not a string")
    return value
