"""The limit on logins that ask a provider, and fail.

Google's auth codes and Facebook's access tokens can only be judged by asking Google or
Facebook, in the name of the app: without a limit anybody could send them any number of
requests through us, until they turn the app away. What is verified here, such as an ID
token, asks nobody and is not counted.
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
"""In which a network has its failures; it begins with each full hour, UTC."""

Asking: TypeAlias = Callable[[str, datetime], AbstractContextManager[None]]
"""Goes around what asks a provider for one login; see `FailureLimit.asking`."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """Failed logins of a network that ask a provider.

    Of all apps and providers together: whoever tries them at random knows them all. An
    IPv6 address counts for its /56 and /48 as well.

    Args:
        limit: Failures of a network within `WINDOW`; 0 for any number, and no write.
    """

    limit: int
    budgets: BudgetStore
    networks: NetworkHashing

    @contextmanager
    def asking(self, network: str, now: datetime) -> Iterator[None]:
        """Count a failure before the provider is asked, and take it back if it is none.

        Before, so that tries at the same moment cannot pass the limit together. It is
        no failure if the login succeeds, or if the provider is out of order: an outage
        must not cost a network its hour. A refusal that says nothing of the credential
        stays counted, since who sends credentials may know how to provoke it.

        Args:
            network: IP address of the client.

        Raises:
            BudgetSpent: The network had its failures; nothing was counted or asked.
            Unavailable: Counter or keys; nothing was asked.
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
