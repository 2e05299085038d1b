"""Simultaneous guesses at one password, on engines whose writes are atomic."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from threading import Lock

import pytest

from anonauth.domain.providers import USERPASS
from anonauth.errors import BudgetSpent, WrongPassword
from anonauth.provider_settings.schema import LocalUserpassSettings
from anonauth.providers.local_userpass import LocalUserpass
from support.contracts.store_contract import APP, NOW
from support.engine.accounts import OLD, PlainPasswords, an_account, by_password
from support.engine.racing import Service, race

ALLOWED = LocalUserpassSettings().budgets.account_and_network


class Networks:
    """`NetworkHashing` that returns the network itself."""

    def hash_network(self, address: str, now: object, *, prefix: int = 64) -> str:
        return address


class Counted(PlainPasswords):
    """`Passwords` that counts how many it checked."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.looked_at = 0

    def verify(self, password: str, password_hash: str | None) -> bool:
        with self._lock:
            self.looked_at += 1
        return super().verify(password, password_hash)


def logging_in(
    service: Service, passwords: Counted, email: str, password: str
) -> Callable[[], object]:
    provider = LocalUserpass(
        APP,
        LocalUserpassSettings(),
        accounts=service.store,
        passwords=passwords,
        networks=Networks(),
    )
    credential = by_password(email, password)
    return partial(provider.verify, credential, network="203.0.113.9", now=NOW)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_given_124_guesses_when_all_come_at_once_then_no_more_than_10_are_hashed(
    service: Service, known: bool
) -> None:
    email = an_account(service).data["email"] if known else "nobody@example.org"
    passwords = Counted()

    outcomes = race(
        *[logging_in(service, passwords, email, f"guess {n}") for n in range(124)]
    )

    ended = Counter(type(outcome) for outcome in outcomes)
    assert passwords.looked_at == ALLOWED
    assert ended == {WrongPassword: ALLOWED, BudgetSpent: 124 - ALLOWED}


def test_given_the_right_password_when_64_come_at_once_then_none_is_wrong(
    service: Service,
) -> None:
    record = an_account(service)
    email = record.data["email"]

    outcomes = race(*[logging_in(service, Counted(), email, OLD)] * 64)

    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert {type(refusal) for refusal in refused} <= {BudgetSpent}
    assert len(refused) < len(outcomes)
    # Everything that was counted is uncounted again.
    alone = race(*[logging_in(service, Counted(), email, OLD)] * ALLOWED)
    assert not any(isinstance(outcome, Exception) for outcome in alone)
    assert service.store.get_identity(APP, USERPASS, record.key) is not None
