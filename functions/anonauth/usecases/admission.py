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
    """The conditions of an anonymous login: a rate limit, and perhaps a challenge.

    Args:
        limit: Anonymous logins of a network within `WINDOW`. 0 means any number, and
            no write.
        challenges: None if this stack has no challenge.
    """

    limit: int
    budgets: BudgetStore
    networks: NetworkHashing
    challenges: Challenges | None

    def require(
        self, app: str, *, network: str, answer: str | None, now: datetime
    ) -> None:
        """Return if a login may go on.

        The checks that cost nothing come first. A wrong answer is counted as well.
        Otherwise a client could call the challenge's own service at will.

        Args:
            network: IP address of the client.
            answer: What the client got for solving the challenge, unchecked. None if
                it sent nothing.

        Raises:
            ChallengeFailed: The app has a challenge, and the client did not pass it.
            BudgetSpent: The network has reached its limit; nothing was counted.
            Unavailable: Counter, keys, settings or the challenge's service failed.
        """
        challenge = self.challenges and self.challenges.find(app, now)
        if challenge and not answer:
            raise ChallengeFailed("expected options.challenge, which this app asks for")
        counter = self._spend(network, now) if self.limit else None
        if challenge and answer:
            try:
                challenge.verify(answer)
            except Unavailable:
                # A client that repeats the login as it is told to must not use up its
                # network's limit before the service is back.
                if counter is not None:
                    with suppress(Unavailable):
                        self.budgets.give_back(counter)
                raise

    def _spend(self, network: str, now: datetime) -> Counter:
        budget = NetworkBudget(
            "login", self.limit, network, self.budgets, self.networks
        )
        return budget.spend(now)
