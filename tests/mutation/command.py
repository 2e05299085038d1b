"""Runs mutmut on one part after another, and lists the mutants that survive."""

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path

from mutation.parts import PARTS, parts_named
from mutation.report import forget_survivors, result_of, write_report
from mutation.workplace import make_workplace, workplace_of


def main() -> int:
    """Run the parts that were asked for; return 1 if one is below its bar."""
    parser = argparse.ArgumentParser(prog="tests/mutation", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", help=f"{', '.join(PARTS)}, or usecases for all of those"
    )
    parser.add_argument("--report", action="store_true", help="show the last run only")
    parser.add_argument("--here", help=argparse.SUPPRESS)  # mutmut, in this process
    arguments = parser.parse_args()
    if arguments.here:
        _run_mutmut(arguments.here)
        return 0
    parts = []
    for name in arguments.modules or PARTS:
        if not parts_named(name):
            parser.error(f"{name} is not one of {', '.join(PARTS)}")
        parts += parts_named(name)
    for part in [] if arguments.report else parts:
        # mutmut keeps its results in globals, so each part runs in its own process.
        command = [sys.executable, str(Path(__file__).parent), "--here", part]
        subprocess.run(command, check=True)  # noqa: S603 - our own words
    results = []
    for part in parts:
        if not workplace_of(part).exists():
            sys.stderr.write(f"{part} has not been run\n")
            continue
        with contextlib.chdir(workplace_of(part)):
            results.append(result_of(part))
    write_report(results)
    return 0 if all(result.passes for result in results) else 1


def _run_mutmut(part: str) -> None:
    with contextlib.chdir(make_workplace(part)):
        # mutmut reads its settings on import, and other commands do not need it.
        from mutmut.__main__ import cli  # noqa: PLC0415

        from mutation.constructors import ask_all_tests  # noqa: PLC0415
        from mutation.operators import add_operators  # noqa: PLC0415

        add_operators()
        ask_all_tests()
        forget_survivors()
        cli(["run", "--max-children", "1"], standalone_mode=False)
