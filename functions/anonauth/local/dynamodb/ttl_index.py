"""An index of when items expire and reach their `ttl`, in place of a full scan."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

_DAY_SECONDS = 86_400
_EPOCH = date(1970, 1, 1)

ExpiryTimes = tuple[Decimal | None, Decimal | None]


def seconds_in(item: Mapping[str, Any], name: str) -> Decimal | None:
    """Return a number attribute of an item; None for other types, which TTL ignores."""
    number = item.get(name, {}).get("N")
    return None if number is None else Decimal(number)


def day_of(seconds: Decimal) -> date | None:
    """Return the day of an instant; None outside the calendar."""
    try:
        return _EPOCH + timedelta(days=int(seconds // _DAY_SECONDS))
    except ArithmeticError:
        return None


class TtlIndex:
    """The keys of items by the days of their `ttl` and `expires_at`.

    Both attributes are seconds since 1970.
    """

    def __init__(self) -> None:
        self._times: dict[str, ExpiryTimes] = {}
        self._swept: dict[Decimal, set[str]] = {}  # by day
        self._expiring: dict[Decimal, set[str]] = {}

    def update(self, key: str, item: Mapping[str, Any] | None) -> None:
        """Record an item's current state; None if it was deleted."""
        swept, ended = self._times.pop(key, (None, None))
        _remove(self._swept, swept, key)
        _remove(self._expiring, ended, key)
        if item is None:
            return
        swept, ended = seconds_in(item, "ttl"), seconds_in(item, "expires_at")
        if swept is None and ended is None:
            return
        self._times[key] = swept, ended
        _add(self._swept, swept, key)
        _add(self._expiring, ended, key)

    def due_days(self) -> set[date]:
        """Return the days on which an item with a `ttl` expires or reaches it."""
        ended = (
            day
            for day, keys in self._expiring.items()
            if any(self._times[key][0] is not None for key in keys)
        )
        days = (day_of(day * _DAY_SECONDS) for day in (*self._swept, *ended))
        return {day for day in days if day is not None}

    def expired_keys(self, now: datetime) -> list[str]:
        """Return the keys of items past their `ttl`, in the order of a scan."""
        until = Decimal(int(now.timestamp()))
        return sorted(
            key
            for key in _until(self._swept, until)
            if (ttl := self._times[key][0]) is not None and ttl <= until
        )

    def keys_expiring_between(self, now: datetime, until: datetime) -> list[str]:
        """Return the keys of items that expire between two instants, in a scan's order.

        Neither instant is included.
        """
        first, last = (Decimal(each.timestamp()) for each in (now, until))
        days = (
            first // _DAY_SECONDS + n
            for n in range(int(last // _DAY_SECONDS - first // _DAY_SECONDS) + 1)
        )
        return sorted(
            key
            for day in days
            for key in self._expiring.get(day, ())
            if (end := self._times[key][1]) is not None and first < end < last
        )


def _until(days: Mapping[Decimal, set[str]], until: Decimal) -> Iterator[str]:
    for day, keys in days.items():
        if day * _DAY_SECONDS <= until:
            yield from keys


def _add(days: dict[Decimal, set[str]], seconds: Decimal | None, key: str) -> None:
    if seconds is not None:
        days.setdefault(seconds // _DAY_SECONDS, set()).add(key)


def _remove(days: dict[Decimal, set[str]], seconds: Decimal | None, key: str) -> None:
    if seconds is None:
        return
    day = seconds // _DAY_SECONDS
    days[day].discard(key)
    if not days[day]:
        del days[day]
