"""Prints the figures as tables."""

from collections.abc import Iterable, Iterator, Sequence

from bench.checks import MOST
from bench.cost import SIZES
from bench.enumeration import UNKNOWN
from bench.local import CLIENTS
from support.project.sam_template import Json

_TARGETS = {  # aims, for information
    "LoginFunction": 6.0,
    "SessionFunction": 6.0,
    "LogoutFunction": 6.0,
    "DiscoveryFunction": 6.0,
    "LinkFunction": 5.5,
    "UserpassFunction": 7.0,
    "login": 1.8,
    "refresh": 1.6,
    "logout": 1.3,
    "link local-userpass": 45.0,
    "log in local-userpass": 45.0,
}
_LOCAL_TARGETS = {"login": 8, "refresh": 5, "logout": 9, "link": 60, "delete": 20}


def report(figures: Json) -> str:
    """Return the tables of all measurements."""
    sections = {
        "cold": _cold,
        "warm": _warm,
        "counted": _counted,
        "checks": _checks,
        "growth": _growth,
        "background": _background,
        "enumeration": _enumeration,
        "local": _local,
        "cost": _cost,
    }
    return "\n".join(
        line
        for name, lines in sections.items()
        if name in figures
        for line in lines(figures[name])
    )


def _cold(cold: Json) -> Iterator[str]:
    yield from _table(
        "Cold start, on one core: minimum of the rounds (median)",
        ("", "CPU ms", "wall ms", "MB", "ready", "answered", "target"),
        (
            (
                name,
                _milliseconds(found["cpu"]),
                _milliseconds(found["wall"]),
                f"{found['memory']['min'] / 1e6:.0f}",
                f"{found['ready_ratio']:.1f}",
                f"{found['cpu_ratio']:.1f}",
                _target(name),
            )
            for name, found in cold.items()
        ),
    )
    yield "ready, answered: CPU until then, as multiples of the empty handler's\n"


def _warm(warm: Json) -> Iterator[str]:
    yield from _table(
        "Warm: one operation's handler, minimum of the rounds (median)",
        ("", "CPU ms", "wall ms", "target"),
        (
            (
                name,
                _milliseconds(found["cpu"]),
                _milliseconds(found["wall"]) if "wall" in found else "",
                _target(name),
            )
            for name, found in warm.items()
        ),
    )
    divided = {name: found for name, found in warm.items() if "shares" in found}
    parts = list(
        dict.fromkeys(part for found in divided.values() for part in found["shares"])
    )
    yield from _table(
        "Warm: shares of the processor time, in %",
        ("", *parts),
        (
            (name, *(f"{100 * found['shares'].get(part, 0):.0f}" for part in parts))
            for name, found in divided.items()
        ),
    )


def _counted(counted: Json) -> Iterator[str]:
    yield from _table(
        "Calls of AWS and capacity units of one operation",
        ("", "read", "write", "log bytes", "warm", "more when cold"),
        (
            (
                name,
                f"{found['read_units']:g}",
                f"{found['write_units']:g}",
                str(found["log_bytes"]),
                " ".join(found["calls"]),
                " ".join(_more(found["cold_calls"], found["calls"])),
            )
            for name, found in counted["operations"].items()
        ),
    )
    imports = counted["imports"]
    common = set.intersection(*(set(found["packages"]) for found in imports.values()))
    yield from _table(
        "Imports beside the standard library; packages that not all have",
        ("", "modules", "packages"),
        (
            (
                name,
                str(found["modules"]),
                " ".join(each for each in found["packages"] if each not in common),
            )
            for name, found in imports.items()
        ),
    )
    sizes = counted["sizes"]
    unzipped, zipped = sizes["bundle"] / 1e6, sizes["zipped"] / 1e6
    yield f"Bundle: {unzipped:.1f} MB, zipped {zipped:.1f} MB\n"
    local = counted["local"]
    few, many = local["0"], local["1000"]
    yield from _table(
        "Local service: calls of Python without users and with 1,000",
        ("", "0", "1,000"),
        (
            (name, str(calls), str(many["calls"][name]))
            for name, calls in few["calls"].items()
        ),
    )
    copies, kept = many["copies"], local["bytes of a login"]
    yield f"A link copies {copies} items; a login keeps {kept} bytes\n"


def _checks(checks: Json) -> Iterator[str]:
    yield from _table(
        "Check of an answer with a user's item, minimum of the rounds",
        ("sessions", "bytes", "CPU us", "at most"),
        (
            (
                sessions,
                str(found["bytes"]),
                f"{1e6 * found['seconds']:.1f}",
                f"{1e6 * MOST:.0f}" if sessions == "1" else "",
            )
            for sessions, found in checks.items()
        ),
    )


def _growth(growth: Json) -> Iterator[str]:
    for title, found in growth.items():
        sizes = list(next(iter(found.values())))
        yield from _table(
            f"Growth with {title}: CPU ms of the handler, and units (read/write)",
            ("", *(f"{int(size):,}" for size in sizes), "CPU grows", "wall grows"),
            (
                (
                    name,
                    *(_grown(by_size[size]) for size in sizes),
                    *(_growing(by_size, clock) for clock in ("cpu", "wall")),
                )
                for name, by_size in found.items()
            ),
        )


def _grown(found: Json) -> str:
    cpu = f"{1000 * found['cpu']['min']:.2f}"
    if "read_units" not in found:
        return cpu
    return f"{cpu} ({found['read_units']:g}/{found['write_units']:g})"


def _growing(by_size: Json, clock: str) -> str:
    first, *_, last = (found[clock]["min"] for found in by_size.values())
    each = ""
    sizes = list(by_size)
    if "item_bytes" in by_size[sizes[0]]:
        steps = int(sizes[-1]) - int(sizes[0])
        each = f", {1e6 * (last - first) / steps:.0f} us each"
    return f"{100 * (last / first - 1):+.0f} %{each}"


def _background(background: Json) -> Iterator[str]:
    for what, by_size in background.items():
        unit = "guest" if what == "scan" else "record"
        (first, few), *_ = by_size.items()
        yield from _table(
            f"In the background: {what}, by the number of {unit}s",
            ("", "pages", "PutEvents", "CPU s", "s a million more", "wall s", "MB"),
            (
                (
                    f"{int(size):,}",
                    str(found.get("pages", "")),
                    str(found["calls"]),
                    f"{found['cpu']:.1f}",
                    _slope(found["cpu"] - few["cpu"], int(size) - int(first)),
                    f"{found['wall']:.0f}",
                    f"{found['memory'] / 1e6:.0f}",
                )
                for size, found in by_size.items()
            ),
        )


def _slope(seconds: float, number: int) -> str:
    return f"{1e6 * seconds / number:.1f}" if number else ""


def _enumeration(enumeration: Json) -> Iterator[str]:
    for call, cases in enumeration.items():
        unknown = cases[UNKNOWN]
        yield from _table(
            f"Registered or not? {call}: median, quartiles to the unknown's median",
            ("", "CPU ms", "ratio", "wall ms", "ratio"),
            (
                (
                    case,
                    _median(found["cpu"]),
                    _ratio(found["cpu"], unknown["cpu"]),
                    _median(found["wall"]),
                    _ratio(found["wall"], unknown["wall"]),
                )
                for case, found in cases.items()
            ),
        )


def _median(found: Json) -> str:
    return f"{1000 * found['median']:.1f}"


def _ratio(found: Json, unknown: Json) -> str:
    ratio = {name: f"{found[name] / unknown['median']:.2f}" for name in found}
    return f"{ratio['median']} ({ratio['first']} to {ratio['third']})"


def _local(local: Json) -> Iterator[str]:
    calls = local["calls"]
    sizes = list(next(iter(calls.values())))
    yield from _table(
        "Local service: ms of a call on one connection, by users (their ratio)",
        ("", *(f"{int(size):,}" for size in sizes), "target"),
        (
            (
                name,
                *(_against(by_size, size, sizes[0]) for size in sizes),
                str(_LOCAL_TARGETS.get(name, "")),
            )
            for name, by_size in calls.items()
        ),
    )
    yield from _table(
        f"Local service: answers a second to {CLIENTS} clients (longest wait, lost)",
        ("", *(f"{int(size):,}" for size in sizes)),
        (
            (name, *(_many(local["load"][size][name]) for size in sizes))
            for name in next(iter(local["load"].values()))
        ),
    )
    yield f"Ready in {local['ready']:.1f} s\n"


def _against(by_size: Json, size: str, first: str) -> str:
    found, least = by_size[size]["min"], by_size[first]["min"]
    return f"{1000 * found:.1f} ({found / least:.2f})"


def _many(found: Json) -> str:
    return f"{found['a second']:.0f} ({found['longest']:.1f} s, {found['lost']})"


def _cost(cost: Json) -> Iterator[str]:
    per_million = cost["per_million"]
    parts = list(next(iter(per_million.values())))
    yield from _table(
        f"USD per million, at list prices of {cost['as_of']}",
        ("", *parts, "sum"),
        (
            (
                name,
                *(f"{found[part]:.2f}" for part in parts),
                f"{sum(found.values()):.2f}",
            )
            for name, found in per_million.items()
        ),
    )
    sizes = list(next(iter(cost["by_memory"].values())))
    yield from _table(
        "Lambda by memory: ms and USD per million, at 4 ms for each call of AWS",
        ("", *(f"{size} MB" for size in sizes)),
        (
            (
                name,
                *(
                    f"{1000 * found['seconds']:.0f} ({1e6 * found['usd']:.2f})"
                    for found in by_size.values()
                ),
            )
            for name, by_size in cost["by_memory"].items()
        ),
    )
    yield from _table(
        "USD per month, by monthly active users",
        ("", *(f"{size:,}" for size in SIZES)),
        (
            (name, *(_dollars(found[str(size)]) for size in SIZES))
            for name, found in cost["per_month"].items()
        ),
    )


def _milliseconds(found: Json) -> str:
    return f"{1000 * found['min']:.1f} ({1000 * found['median']:.1f})"


def _dollars(amount: float | None) -> str:
    return "by contract" if amount is None else f"{amount:,.2f}"


def _target(name: str) -> str:
    return str(_TARGETS.get(name, ""))


def _more(longer: Sequence[str], shorter: Sequence[str]) -> list[str]:
    left = list(longer)
    for each in shorter:
        if each in left:
            left.remove(each)
    return left


def _table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> Iterator[str]:
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    yield title
    for line in lines:
        name, *cells = (
            cell.ljust(width) if at == 0 or not _is_number(cell) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([name, *cells]).rstrip()
    yield ""


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit()
