"""Rate limits: how many events of a kind are allowed in a window of time.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

IPV6_PREFIXES = (64, 56, 48)
"""Bits of the networks that an IPv6 address counts for, from the narrowest on.

A household has a /64 at least and often a /56; whoever rents a /48 has 65,536 /64.
"""

PASSWORD_WINDOW = timedelta(minutes=15)
"""The window in which wrong passwords are counted."""

MOST_CONSECUTIVE_FAILURES = 100
"""Wrong passwords since the last right one that NIST SP 800-63B allows at most."""

FAILURES_KEPT = timedelta(days=30)
"""How long the last wrong password is remembered.

Whoever waits for the end of it has a hundred guesses a month; whoever does not has one
an hour, which is seven times as many.
"""

NO_LIMIT = 10**9
"""The limit of what is counted and refuses nobody."""


@dataclass(frozen=True, slots=True)
class Count:
    """What a counter has counted: in all, and in each of its parts."""

    number: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counter:
    """A budget's count in one window of time; over at `ends_at`.

    `parts` are the limits of what is counted with it, in one write, by their names. The
    table keeps the count until `kept_until`, the end of the window by default.
    """

    name: str
    limit: int
    ends_at: datetime
    parts: Mapping[str, int] = field(default_factory=dict)
    kept_until: datetime | None = None

    def is_spent(self, count: Count) -> bool:
        """Tell whether that many are too many for one more."""
        return count.number >= self.limit or any(
            count.parts.get(name, 0) >= limit for name, limit in self.parts.items()
        )

    def narrowest(self) -> "Counter":
        """Return the counter of networks with the limit of the narrowest one alone."""
        if not self.parts:
            return self
        first, *wider = self.parts
        parts = {first: self.parts[first], **dict.fromkeys(wider, NO_LIMIT)}
        return replace(self, limit=NO_LIMIT, parts=parts)


@dataclass(frozen=True, slots=True)
class Budget:
    """So many events of a kind within a fixed window of time."""

    kind: str
    limit: int
    window: timedelta

    def counter(self, *subject: str, now: datetime) -> Counter:
        """Return the counter of a subject in the window that `now` lies in."""
        window = int(self.window.total_seconds())
        number = int(now.timestamp()) // window
        return Counter(
            "#".join((self.kind, *subject, str(number))),
            self.limit,
            datetime.fromtimestamp((number + 1) * window, UTC),
        )

    def network_counter(
        self, *subject: str, networks: Sequence[str], now: datetime
    ) -> Counter:
        """Return the counter of a subject and a network, and of those it lies in.

        All are in the item of the widest, so that one write counts and decides. Each
        has a fifth of the limit more than the one within it: no household can use up
        what its neighbours have.

        Args:
            networks: Keyed hashes, from the narrowest on; an IPv4 address has one.
        """
        *within, widest = networks
        limits = [
            self.limit - (-self.limit * step // 5) for step in range(len(networks))
        ]
        counter = self.counter(*subject, widest, now=now)
        # Two of one item with the same letters, one in 16 million, count as one.
        parts = {
            f"{step}:{network[:4]}": limits[step] for step, network in enumerate(within)
        }
        return replace(counter, limit=limits[-1], parts=parts)


def failures_counter(
    app: str, key: str, now: datetime, *, limit: int = NO_LIMIT
) -> Counter:
    """Return the counter of an address's wrong passwords since the last right one.

    It has no window, a right password or a reset clears it. Its part is the quarter of
    an hour, which a right password leaves.

    Args:
        key: Of the address, registered or not.
        limit: Wrong passwords within a quarter of an hour.
    """
    quarter = Budget("q", limit, PASSWORD_WINDOW).counter(now=now)
    return Counter(
        f"password-account#{app}#{key}",
        NO_LIMIT,
        quarter.ends_at,
        parts={quarter.name: limit},
        kept_until=now + FAILURES_KEPT,
    )
