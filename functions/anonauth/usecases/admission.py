"""What an anonymous login has to pass: it asks for nothing, so anyone can repeat it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from anonauth.domain import Budget, Counter
from anonauth.errors import BudgetSpent, ChallengeFailed, Unavailable
from anonauth.ports import BudgetStore, Challenges, NetworkHashing

WINDOW = timedelta(hours=1)
"""In which a network has its logins; it begins with each full hour, UTC."""


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
        hashed = self.networks.hash_network(self.network, now)
        # Of all apps together: whoever makes users at random knows all their ids.
        counter = Budget("login", self.limit, WINDOW).counter(hashed, now=now)
        if not self.budgets.spend(counter):
            raise BudgetSpent.until(counter.ends_at, now)
        return counter
