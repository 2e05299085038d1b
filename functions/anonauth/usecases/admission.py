"""What stands before requests that ask for nothing, so that anyone can repeat them.

An anonymous login, and what registers an address or has mail sent to one.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from anonauth.domain.budgets import Budget, Counter
from anonauth.errors import BudgetSpent, ChallengeFailed, Unavailable
from anonauth.ports import BudgetStore, Challenges, NetworkHashing

WINDOW = timedelta(hours=1)
"""In which a network has its requests; it begins with each full hour, UTC."""


@dataclass(frozen=True, slots=True)
class NetworkBudget:
    """So many requests of a kind from the client's network, and who counts them.

    Of all apps together: whoever sends them at random knows all their ids.

    Args:
        kind: What the counter's name begins with.
        limit: Requests of a network within `WINDOW`, at least 1.
        network: IP address of the client.
    """

    kind: str
    limit: int
    network: str
    budgets: BudgetStore
    networks: NetworkHashing

    def spend(self, now: datetime) -> Counter:
        """Count one request, in one write; return what it was counted in.

        Raises:
            BudgetSpent: The network had its requests; nothing was counted.
            Unavailable: Counter or keys; it may have been counted.
        """
        hashed = self.hash_network(now)
        counter = Budget(self.kind, self.limit, WINDOW).counter(hashed, now=now)
        if not self.budgets.spend(counter):
            raise BudgetSpent.until(counter.ends_at, now)
        return counter

    def hash_network(self, now: datetime) -> str:
        """Return the keyed hash of the client's network.

        Raises:
            KeysUnavailable: It cannot be hashed.
        """
        return self.networks.hash_network(self.network, now)


@dataclass(frozen=True, slots=True)
class Admission:
    """The client's network and its answer to the challenge, and who judges them.

    Args:
        network: IP address of the client.
        answer: What solving the challenge gave, None if the client sent nothing.
        limit: Anonymous logins of a network within `WINDOW`; 0 for any number, and no
            write.
        challenges: None if this stack has none.
    """

    network: str
    answer: str | None
    limit: int
    budgets: BudgetStore
    networks: NetworkHashing
    challenges: Challenges | None

    def require(self, app: str, now: datetime) -> None:
        """Return if a login may go on.

        What costs nothing comes first. A wrong answer is counted as well: else the
        challenge's own service could be called at will.

        Raises:
            ChallengeFailed: The app has a challenge, and it was not passed.
            BudgetSpent: The network had its logins; nothing was counted.
            Unavailable: Counter, keys, settings or the challenge's service.
        """
        challenge = self.challenges and self.challenges.find(app, now)
        if challenge and not self.answer:
            raise ChallengeFailed("expected options.challenge, which this app asks for")
        counter = self._spend(now) if self.limit else None
        if challenge and self.answer:
            try:
                challenge.verify(self.answer)
            except Unavailable:
                # Who repeats as it is told to must not have used up its network's
                # budget when the service is back.
                if counter is not None:
                    with suppress(Unavailable):
                        self.budgets.give_back(counter)
                raise

    def _spend(self, now: datetime) -> Counter:
        budget = NetworkBudget(
            "login", self.limit, self.network, self.budgets, self.networks
        )
        return budget.spend(now)
