"""Rate limits and challenges for requests that need no credential.

Anyone can repeat these requests: anonymous logins, registrations, and requests for
mail.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from anonauth.domain.budgets import Budget, Counter
from anonauth.errors import BudgetSpent, ChallengeFailed, Unavailable
from anonauth.ports import BudgetStore, Challenges, NetworkHashing

NETWORK_WINDOW = timedelta(hours=1)
"""A network's requests are counted within this time, from each full hour (UTC) on."""


@dataclass(frozen=True, slots=True)
class NetworkBudget:
    """Limits the requests of one kind from one client network.

    All apps are counted together, since an attacker knows the ids of all of them.

    Args:
        kind: The beginning of the counter's name.
        limit: Requests of a network within `NETWORK_WINDOW`, at least 1.
    """

    kind: str
    limit: int
    budgets: BudgetStore
    networks: NetworkHashing

    def spend(self, network: str, now: datetime) -> Counter:
        """Count one request, in one write. Return its counter.

        Args:
            network: IP address of the client.

        Raises:
            BudgetSpent: The network has reached its limit. Nothing was counted.
            Unavailable: Counter or keys failed. The request may have been counted.
        """
        hashed = self.hash_network(network, now)
        counter = Budget(self.kind, self.limit, NETWORK_WINDOW).counter(hashed, now=now)
        if not self.budgets.spend(counter):
            raise BudgetSpent.until(counter.ends_at, now)
        return counter

    def hash_network(self, network: str, now: datetime) -> str:
        """Return the keyed hash of a client's network.

        Raises:
            KeysUnavailable: The network cannot be hashed.
        """
        return self.networks.hash_network(network, now)


@dataclass(frozen=True, slots=True)
class Admission:
    """The conditions of an anonymous login: a rate limit, and perhaps a challenge.

    Args:
        limit: Anonymous logins of a network within `NETWORK_WINDOW`. 0 means any
            number, and no write.
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
            BudgetSpent: The network has reached its limit. Nothing was counted.
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
        budget = NetworkBudget("login", self.limit, self.budgets, self.networks)
        return budget.spend(network, now)
