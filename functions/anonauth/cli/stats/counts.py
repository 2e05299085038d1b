"""The work of `anonauth stats`: count users by a scan, and read the metrics."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from anonauth.cli.options import printable
from anonauth.cli.table_scan import ParallelScan
from anonauth.domain.events import MetricName
from anonauth.domain.expiry import utc_day
from anonauth.domain.providers import ANONYMOUS, USERPASS
from anonauth.domain.users import User, UserFilter, UserPage
from anonauth.metrics import NAMESPACE
from anonauth.ports import UserStore
from anonauth.wiring import Services

LINKABLE_PROVIDERS = (
    USERPASS,
    "custom-token",
    "oauth2-google",
    "oauth2-apple",
    "oauth2-facebook",
)
"""Providers of identities that can be linked."""

DELETION_REASONS = ("logout", "expired", "requested")
"""Reasons of a deletion."""

_DAY = timedelta(days=1)
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class DayRange:
    """A number of consecutive UTC days, the last of which is today."""

    first: date
    count: int

    @classmethod
    def until(cls, now: datetime, count: int) -> "DayRange":
        """Return the last `count` days, up to the day of `now`."""
        return cls(utc_day(now) - (count - 1) * _DAY, count)

    def all(self) -> list[date]:
        """Return all days, the first one first."""
        return [self.first + n * _DAY for n in range(self.count)]


def count_users(
    services: Services,
    days: DayRange,
    *,
    segments: int,
    rate: float | None = None,
    on_page: Callable[[UserPage], object],
) -> "UserStock":
    """Count the current users by a scan of the whole table.

    Args:
        rate: Limit in read units a second. None: no limit.
        on_page: Called with each page, by several threads at once. An exception that it
            raises ends the scan.
    """
    stock = UserStock(days, services.clock())
    scan = ParallelScan(
        services.store,
        segments=segments,
        user_filter=UserFilter(with_owners=True),
        rate=rate,
    )

    def take(_segment: int, page: UserPage) -> None:
        stock.add(page)
        on_page(page)

    scan.run(dict.fromkeys(range(segments), ""), take)
    stock.recheck_owners(services.store)
    return stock


class UserStock:
    """The number of current users. Threads may share it.

    Expired users only wait for DynamoDB to delete them. They are counted apart, and in
    no other count. `merged_into` counts the users that guests were merged into, and
    `former_ids` the ids of these guests that the users list.
    """

    def __init__(self, days: DayRange, now: datetime) -> None:
        self._days = days
        self._now = now
        self._lock = threading.Lock()
        self.apps: dict[str, Counter[str]] = {}
        self.providers: Counter[str] = Counter()
        self.created: Counter[date] = Counter()
        self.unreadable = 0
        self.merged_into = 0
        self.former_ids = 0
        self._owners: Counter[tuple[str, str]] = Counter()
        self._there: set[tuple[str, str]] = set()

    def add(self, page: UserPage) -> None:
        """Count the users of a page."""
        with self._lock:
            self.unreadable += page.unreadable
            self._owners.update((each.app, each.user_id) for each in page.owners)
            self._there |= {(u.app, u.id) for u in page.users if not u.anonymous}
            for user in page.users:
                self._count(user)

    @property
    def orphans(self) -> int:
        """Number of identities whose user does not exist, without API keys."""
        return sum(n for owner, n in self._owners.items() if owner not in self._there)

    def recheck_owners(self, store: UserStore) -> None:
        """Look up the users that identities name but the scan has not seen.

        A user created during the scan may be in a page that was read before.
        """
        for app, user_id in self._owners.keys() - self._there:
            if store.get_user(app, user_id) is not None:
                self._there.add((app, user_id))

    def total(self, kind: str) -> int:
        """Return the number of users of a kind, such as `permanent`, in all apps."""
        return sum(counts[kind] for counts in self.apps.values())

    def as_json(self) -> dict[str, Any]:
        """Return all counts as JSON."""
        return {
            **{kind: self.total(kind) for kind in _USER_KINDS},
            "by_app": {
                app: {kind: counts[kind] for kind in _USER_KINDS}
                for app, counts in sorted(self.apps.items())
            },
            "by_provider": {name: self.providers[name] for name in LINKABLE_PROVIDERS},
            "created": {day.isoformat(): self.created[day] for day in self._days.all()},
            "merged_into": self.merged_into,
            "former_ids": self.former_ids,
            "orphans": self.orphans,
            "unreadable": self.unreadable,
        }

    def as_table(self) -> Table:
        """Return the number of users in each app as a table for people."""
        table = Table(title="Users now", title_justify="left", box=None)
        table.add_column("app")
        for kind in _USER_KINDS:
            table.add_column(kind, justify="right")
        for app, counts in sorted(self.apps.items()):
            table.add_row(
                Text(printable(app)), *[f"{counts[kind]:,}" for kind in _USER_KINDS]
            )
        totals = [f"{self.total(kind):,}" for kind in _USER_KINDS]
        table.add_row("all", *totals, style="bold")
        return table

    def lines(self) -> Iterator[str]:
        """Yield how many users have an identity of each provider, and the rest."""
        told = [f"{name} {self.providers[name]:,}" for name in LINKABLE_PROVIDERS]
        yield f"permanent, by provider (one may have several): {', '.join(told)}"
        if self.merged_into:
            yield (
                f"users that guests were merged into: {self.merged_into:,}; they list "
                f"{self.former_ids:,} former ids"
            )
        if self.orphans:
            yield (
                f"identities whose user's item is lost: {self.orphans} (a login with "
                "one creates the user again)"
            )
        if self.unreadable:
            yield f"items that could not be read and are left out: {self.unreadable}"

    def _count(self, user: User) -> None:
        counts = self.apps.setdefault(user.app, Counter())
        if user.is_expired(self._now):
            counts["expired"] += 1
            return
        counts["anonymous" if user.anonymous else "permanent"] += 1
        self.created[utc_day(user.created_at)] += 1
        linked = {identity.provider for identity in user.identities}
        self.providers.update(linked - {ANONYMOUS})
        self.merged_into += bool(user.former_ids)
        self.former_ids += len(user.former_ids)


_USER_KINDS = ("anonymous", "permanent", "expired")


@dataclass(frozen=True, slots=True)
class Metric:
    """A daily count in CloudWatch. `value` is the value of its dimension."""

    name: MetricName
    dimension: str
    value: str


_CREATED = [
    Metric("UsersCreated", "provider", name)
    for name in (ANONYMOUS, *LINKABLE_PROVIDERS)
]
_LINKED = [Metric("UsersLinked", "provider", name) for name in LINKABLE_PROVIDERS]
_MERGED = [Metric("UsersMerged", "provider", name) for name in LINKABLE_PROVIDERS]
_DELETED = [Metric("UsersDeleted", "reason", reason) for reason in DELETION_REASONS]


@dataclass(frozen=True, slots=True)
class UserFlow:
    """What happened to users on each day, deleted users included."""

    days: DayRange
    counts: Mapping[Metric, Mapping[date, int]] = field(default_factory=dict)

    def on(self, day: date, metrics: Sequence[Metric]) -> int:
        """Return how often any of these happened on a day."""
        return sum(self.counts.get(metric, {}).get(day, 0) for metric in metrics)

    def total(self, metrics: Sequence[Metric]) -> int:
        """Return how often any of these happened on all days."""
        return sum(self.on(day, metrics) for day in self.days.all())

    def conversion(self) -> dict[str, float | None]:
        """Return the share of new guests that were linked, by provider.

        None if there were no new guests. A guest may be created on one day and linked
        on another, so for few days the share can be more than 1.
        """
        came = self.total(_CREATED[:1])
        return {
            metric.value: self.total([metric]) / came if came else None
            for metric in _LINKED
        }

    def as_json(self) -> dict[str, Any]:
        """Return the counts of each day, their sums, and the conversion."""
        return {
            "days": [
                {"day": day.isoformat(), **self._counted(day)}
                for day in self.days.all()
            ],
            "total": self._counted(None),
            "conversion": self.conversion(),
        }

    def lines(self) -> Iterator[str]:
        """Yield the conversion in words."""
        came = self.total(_CREATED[:1])
        if not came:
            yield "conversion: the metrics show no new guests in these days"
            return
        told = [
            f"{name} {part:.1%}" for name, part in self.conversion().items() if part
        ]
        linked = self.total(_LINKED)
        yield (
            f"conversion: {linked:,} of {came:,} guests, {linked / came:.1%}"
            + (f" ({', '.join(told)})" if told else "")
        )

    def _counted(self, day: date | None) -> dict[str, dict[str, int]]:
        return {
            name: {
                metric.value: self.total([metric])
                if day is None
                else self.on(day, [metric])
                for metric in metrics
            }
            for name, metrics in (
                ("created", _CREATED),
                ("linked", _LINKED),
                ("merged", _MERGED),
                ("deleted", _DELETED),
            )
        }


def read_flow(cloudwatch: Any, *, service: str, days: DayRange) -> UserFlow:
    """Ask CloudWatch for the metrics of a deployment.

    Args:
        cloudwatch: A client.
        service: The stack's name, which the metrics have as a dimension.
        days: A day that is not over has the counts so far.
    """
    metrics = [*_CREATED, *_LINKED, *_MERGED, *_DELETED]
    queries = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric.name,
                    "Dimensions": [
                        {"Name": "service", "Value": service},
                        {"Name": metric.dimension, "Value": metric.value},
                    ],
                },
                "Period": _SECONDS_A_DAY,
                "Stat": "Sum",
            },
        }
        for number, metric in enumerate(metrics)
    ]
    start = datetime.combine(days.first, time(), UTC)
    counts: dict[Metric, Counter[date]] = {metric: Counter() for metric in metrics}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=start, EndTime=start + days.count * _DAY
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            of_metric = counts[metrics[int(result["Id"][1:])]]
            for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                of_metric[utc_day(at)] += int(value)
    return UserFlow(days, counts)


def make_day_table(
    days: DayRange, stock: UserStock | None, flow: UserFlow | None
) -> Table:
    """Return a table for people: the days on which something happened, and sums."""
    columns: list[tuple[str, Sequence[Metric]]] = [
        ("new guests", _CREATED[:1]),
        ("other new users", _CREATED[1:]),
        ("guests linked", _LINKED),
        ("guests merged", _MERGED),
        *[(metric.value, [metric]) for metric in _DELETED],
    ]
    told = f"{days.count} days" if days.count > 1 else "1 day"
    title = f"Days are UTC; of {told}, empty ones are left out"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("day", no_wrap=True)
    if flow is not None:
        for name, _ in columns:
            table.add_column(name, justify="right")
    if stock is not None:
        table.add_column("still existing", justify="right")
    for day in days.all():
        row = [flow.on(day, metrics) for _, metrics in columns] if flow else []
        row += [stock.created[day]] if stock else []
        if any(row):
            table.add_row(day.isoformat(), *[f"{count:,}" for count in row])
    sums = [flow.total(metrics) for _, metrics in columns] if flow else []
    sums += [sum(stock.created[day] for day in days.all())] if stock else []
    table.add_row("all", *[f"{count:,}" for count in sums], style="bold")
    return table
