"""Login by e-mail address and password."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from anonauth.domain.budgets import (
    PASSWORD_WINDOW,
    Budget,
    Count,
    Counter,
    failures_counter,
)
from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import USERPASS
from anonauth.email_addresses import EmailSyntax
from anonauth.errors import (
    BadRequest,
    BudgetSpent,
    NotConfirmed,
    StoreUnavailable,
    WrongPassword,
)
from anonauth.ports import AccountStore, NetworkHashing, Passwords
from anonauth.provider_settings.schema import LocalUserpassSettings
from anonauth.providers.networks import hash_networks

TRY_WINDOW = timedelta(hours=1)
"""After too many wrong passwords in a row, unknown networks have one try per window."""


class LocalUserpass:
    """`Provider` of one app's e-mail addresses and passwords."""

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
        # An account from one network: one attacker guessing. An account from all
        # networks: many machines guessing. A network at all accounts: one password
        # tried on everybody. Only the first limit is low, so that an attacker
        # elsewhere can hardly lock the owner out.
        self._limits = limits = settings.budgets
        self._tries = Budget(
            "password-account-network", limits.account_and_network, PASSWORD_WINDOW
        )
        self._sprays = Budget("password-network", limits.network, PASSWORD_WINDOW)

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        """Return the identity of an address if the password is right.

        An unknown address takes the same calls to the table and the same hashing as a
        wrong password. An attempt is counted for account and network before anything
        is hashed, and uncounted if the password is right, so simultaneous guesses
        cannot pass that limit. The other counters count wrong passwords.

        A network from which a right password came before is not subject to the limits
        of the account, only to its own. An attacker elsewhere cannot lock it out.

        Args:
            credential: `username`, an e-mail address, and `password`.
            network: IP address of the client.
            now: Aware UTC time of the request.

        Raises:
            BadRequest: A field is missing or not a string.
            BudgetSpent: Too many wrong passwords; nothing was hashed.
            WrongPassword: The password is wrong, or the address is not registered.
            NotConfirmed: The password is right, the address was never confirmed.
            KeysUnavailable: The network cannot be hashed.
            StoreUnavailable: DynamoDB did not answer; retry.
        """
        username = _text(credential, "username")
        password = _text(credential, "password")
        key = identity_key(EmailSyntax().normalise(username))
        networks = hash_networks(self._networks, network, now)
        tries = self._tries.network_counter(self._app, key, networks=networks, now=now)
        sprays = self._sprays.network_counter(self._app, networks=networks, now=now)
        failures = failures_counter(self._app, key, now, limit=self._limits.account)
        record, (tried, sprayed, failed) = self._accounts.get_account_and_counts(
            self._app, key, [tries, sprays, failures]
        )
        if record is not None and record.is_expired(now):
            record = None
        if record is not None and record.knows(networks[0]):
            tries = tries.narrowest()
            _require_budget([(tries, tried), (sprays, sprayed)], now)
        else:
            counted = [(tries, tried), (sprays, sprayed), (failures, failed)]
            _require_budget(counted, now)
            if failed.number >= self._limits.consecutive:
                self._spend_strangers_try(key, now)
        _spend(self._accounts, tries, now)
        # An imported account may have no password yet.
        stored = None if record is None else record.password_hash or None
        right = self._passwords.verify(password, stored)
        if record is None or not right:
            self._accounts.count(sprays)
            # Failures of earlier quarters of an hour would add up.
            over = failed.parts.keys() - failures.parts.keys()
            self._accounts.count(failures, over=over)
            raise WrongPassword
        with suppress(StoreUnavailable):  # then one try fewer is left
            self._accounts.give_back(tries)
        if record.state == "pending":
            raise NotConfirmed
        if failed.number:
            with suppress(StoreUnavailable):  # the next login repeats it
                self._accounts.clear(replace(failures, parts={}))
        record = self._remember(record, networks[0], now)
        record = self._renew_hash(record, password)
        return VerifiedIdentity(
            USERPASS, key, record.id, data=record.data, record=record
        )

    def _spend_strangers_try(self, key: str, now: datetime) -> None:
        budget = Budget("password-stranger", 1, TRY_WINDOW)
        _spend(self._accounts, budget.counter(self._app, key, now=now), now)

    def _remember(
        self, record: IdentityRecord, network: str, now: datetime
    ) -> IdentityRecord:
        networks = record.networks_with(network, now)
        if networks is None:
            return record
        if record.state == "bound":  # else the record is soon written whole
            with suppress(StoreUnavailable):  # the next login repeats it
                self._accounts.remember_networks(record, networks)
        return replace(record, networks=networks)

    def _renew_hash(self, record: IdentityRecord, password: str) -> IdentityRecord:
        if not self._passwords.is_outdated(record.password_hash):
            return record
        renewed = self._passwords.hash(password)
        if not self._accounts.replace_password_hash(record, renewed):
            # The record was replaced meanwhile. The caller's next write will notice.
            return record
        return replace(record, password_hash=renewed)


def _require_budget(counted: list[tuple[Counter, Count]], now: datetime) -> None:
    # All counters end at the same time.
    for counter, count in counted:
        if counter.is_spent(count):
            raise BudgetSpent.until(counter.ends_at, now)


def _spend(accounts: AccountStore, counter: Counter, now: datetime) -> None:
    if not accounts.spend(counter):
        raise BudgetSpent.until(counter.ends_at, now)


def _text(credential: Mapping[str, Any], name: str) -> str:
    value = credential.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} is missing or not a string")
    return value
