"""The rate limit on failed logins that ask a provider.

Google's auth codes and Facebook's access tokens can only be checked by asking Google or
Facebook, in the name of the app. Without a limit an attacker could send them any number
of requests through us, until they block the app. A credential that is verified here,
such as an ID token, needs no request and is not counted.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from anonauth.domain.budgets import Budget, Counter
from anonauth.errors import BudgetSpent, Unavailable
from anonauth.issuers.fetch import UnclearRefusal
from anonauth.ports import BudgetStore, NetworkHashing
from anonauth.providers.networks import hash_networks

WINDOW = timedelta(hours=1)
"""The period that failures are counted in; it begins with each full hour, UTC."""

Asking: TypeAlias = Callable[[str, datetime], AbstractContextManager[None]]
"""Wraps the request to a provider for one login; see `FailureLimit.asking`."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """Limits a network's failed logins that ask a provider.

    All apps and providers are counted together, since an attacker can try all of them.
    An IPv6 address counts for its /56 and /48 as well.

    Args:
        limit: Failures of a network within `WINDOW`. 0 allows any number and writes
            nothing.
    """

    limit: int
    budgets: BudgetStore
    networks: NetworkHashing

    @contextmanager
    def asking(self, network: str, now: datetime) -> Iterator[None]:
        """Count a failure before the provider is asked, and undo it on a success.

        Counting first keeps simultaneous attempts from passing the limit together. The
        count is also undone if the provider is down: an outage must not use up a
        network's limit. A refusal that does not mention the credential stays counted,
        since an attacker may know how to provoke it.

        Args:
            network: IP address of the client.

        Raises:
            BudgetSpent: The network is at its limit. Nothing was counted or asked.
            Unavailable: The counter or the keys failed. Nothing was asked.
        """
        if not self.limit:
            yield
            return
        networks = hash_networks(self.networks, network, now)
        budget = Budget("provider", self.limit, WINDOW)
        counter = budget.network_counter(networks=networks, now=now)
        if not self.budgets.spend(counter):
            raise BudgetSpent.until(counter.ends_at, now)
        try:
            yield
        except Unavailable as exc:
            if not isinstance(exc.__cause__, UnclearRefusal):
                self._give_back(counter)
            raise
        self._give_back(counter)

    def _give_back(self, counter: Counter) -> None:
        with suppress(Unavailable):  # one try less, until the hour is over
            self.budgets.give_back(counter)
