"""Measures the service, prints tables, and writes the figures as JSON."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from anonauth.wiring import utc_now
from bench import (
    background,
    checks,
    cold,
    cost,
    counted,
    enumeration,
    growth,
    local,
    warm,
)
from bench.figures import say
from bench.report import report
from bench.stage import Stage, setting
from support.project.sam_template import Json
from support.project.tools import ROOT

ARTEFACTS = ROOT / ".artefacts"

_PARTS = (
    "cold",
    "warm",
    "counted",
    "checks",
    "growth",
    "enumeration",
    "local",
    "cost",
)
_MORE = ("background",)


_COMPARISONS: dict[str, Callable[[Json], Iterable[str]]] = {
    "counted": counted.differences,
    "growth": growth.differences,
    "background": background.differences,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for; return 1 if a count is not as expected."""
    asked = _parse(arguments)
    before = os.getloadavg()
    figures: Json = {}
    try:
        with tempfile.TemporaryDirectory() as directory:
            say("building the bundle, starting the engine")
            with setting(Path(directory)) as stage:
                figures |= _measured(stage, asked)
    except (pytest.skip.Exception, pytest.fail.Exception) as exc:
        say(str(exc))  # a tool is missing
        return 2
    if "cost" in asked.only and {"warm", "counted"} <= figures.keys():
        figures["cost"] = cost.measure(figures["warm"], figures["counted"])
    elif "cost" in asked.only:
        say("cost needs warm and counted")
    sys.stdout.write(report(figures) + "\n")
    about = {
        "made_at": utc_now().isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": before,
        "load_after": os.getloadavg(),
        "rounds": asked.rounds,
    }
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps({"about": about, **figures}, indent=1) + "\n")
    load = f"{before[0]:.1f} before and {os.getloadavg()[0]:.1f} after"
    say(f"load average {load}; figures in {asked.json}")
    different = [
        line
        for name, compare in _COMPARISONS.items()
        if name in figures
        for line in compare(figures[name])
    ]
    for line in different:
        say(line)
    return 1 if different else 0


def _measured(stage: Stage, asked: argparse.Namespace) -> Json:
    profiles = asked.json.parent / "profiles"
    measures: dict[str, Callable[[], Json]] = {
        "counted": lambda: counted.measure(stage),
        "cold": lambda: cold.measure(stage, asked.rounds),
        "warm": lambda: warm.measure(stage, asked.rounds, profiles),
        "checks": lambda: checks.measure(asked.rounds),
        "growth": lambda: growth.measure(stage, asked.users),
        "background": lambda: background.measure(stage, asked.items),
        "enumeration": lambda: enumeration.measure(stage, asked.rounds),
        "local": lambda: local.measure(asked.users),
    }
    return {name: measure() for name, measure in measures.items() if name in asked.only}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=_parts,
        default=_PARTS,
        help=f"any of {', '.join(_PARTS + _MORE)}, comma-separated, by default all but "
        "the last; cost needs warm, counted",
    )
    parser.add_argument(
        "--short",
        dest="only",
        action="store_const",
        const=("counted",),
        help="only the counts, which are the same on each machine; CI runs this",
    )
    parser.add_argument(
        "--rounds", type=int, default=11, help="rounds of cold, warm and enumeration"
    )
    parser.add_argument(
        "--users",
        type=int,
        default=growth.USERS[-1],
        help="most users in a table, when its growth is measured",
    )
    parser.add_argument(
        "--items",
        type=int,
        default=background.USUAL,
        help="most guests in a scan and records in a stream, in the background; "
        f"{background.SIZES[-1]:,} take an hour",
    )
    parser.add_argument("--json", type=Path, default=ARTEFACTS / "bench.json")
    return parser.parse_args(arguments)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := set(parts) - {*_PARTS, *_MORE}:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return parts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""
