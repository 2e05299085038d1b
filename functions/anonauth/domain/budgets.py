"""Rate limits: how many events of a kind are allowed in a window of time.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

IPV6_PREFIXES = (64, 56, 48)
"""Bits of the networks that an IPv6 address counts for, the narrowest first.

A household has at least a /64 and often a /56. An attacker who rents a /48 has 65,536
networks of /64.
"""

PASSWORD_WINDOW = timedelta(minutes=15)
"""The window in which wrong passwords are counted."""

MOST_CONSECUTIVE_FAILURES = 100
"""The most wrong passwords in a row that NIST SP 800-63B allows."""

FAILURES_KEPT = timedelta(days=30)
"""How long the last wrong password is remembered.

An attacker who waits until it is forgotten has a hundred guesses a month. An attacker
who does not wait has one an hour, which is seven times as many.
"""

NO_LIMIT = 10**9
"""The limit of a counter that only counts and refuses no request."""


@dataclass(frozen=True, slots=True)
class Count:
    """The state of a counter: its number, and the number of each of its parts."""

    number: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of a budget in one window of time, which ends at `ends_at`.

    `parts` has the limits of further numbers, by name. They are counted in the same
    write. The table keeps the count until `kept_until`, by default the end of the
    window.
    """

    name: str
    limit: int
    ends_at: datetime
    parts: Mapping[str, int] = field(default_factory=dict)
    kept_until: datetime | None = None

    def is_spent(self, count: Count) -> bool:
        """Tell whether the count leaves no room for one more."""
        return count.number >= self.limit or any(
            count.parts.get(name, 0) >= limit for name, limit in self.parts.items()
        )

    def narrowest(self) -> "Counter":
        """Return the counter of networks that limits the narrowest one alone."""
        if not self.parts:
            return self
        first, *wider = self.parts
        parts = {first: self.parts[first], **dict.fromkeys(wider, NO_LIMIT)}
        return replace(self, limit=NO_LIMIT, parts=parts)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit of events of one kind within a fixed window of time."""

    kind: str
    limit: int
    window: timedelta

    def counter(self, *subject: str, now: datetime) -> Counter:
        """Return the counter of a subject in the window that contains `now`."""
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
        """Return the counter of a subject and a network, and of the networks around it.

        All numbers are in the item of the widest network, so that one write counts and
        decides. Each network has a fifth of the limit more than the network within it,
        so no household can use up its neighbours' limit.

        Args:
            networks: Keyed hashes, the narrowest network first. An IPv4 address has
                one.
        """
        *within, widest = networks
        limits = [
            self.limit - (-self.limit * step // 5) for step in range(len(networks))
        ]
        counter = self.counter(*subject, widest, now=now)
        # Two networks of one item with the same four letters count as one. That is one
        # case in 16 million.
        parts = {
            f"{step}:{network[:4]}": limits[step] for step, network in enumerate(within)
        }
        return replace(counter, limit=limits[-1], parts=parts)


def failures_counter(
    app: str, key: str, now: datetime, *, limit: int = NO_LIMIT
) -> Counter:
    """Return the counter of an address's wrong passwords since the last right one.

    It has no window: a right password or a reset clears it. Its part counts the current
    quarter of an hour, and a right password does not clear that.

    Args:
        key: The key of the address, registered or not.
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
