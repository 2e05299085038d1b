"""Reads mutmut's results for a part: scores, and the mutants that survived."""

import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutation.parts import PARTS

_EQUIVALENT = Path(__file__).with_name("equivalent.toml")

Change = tuple[str, tuple[str, ...]]
"""A function's name in mutmut, and its changed lines with - and +."""

_KILLED = {1, 3, 24, -24, 36, 152, 255}
"""mutmut's exit codes for a killed mutant: a test or pytest failed, or time ran out."""


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed: its name, and its changed lines with - and +."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """The mutants of a part, counted by what happened to them."""

    part: str
    killed: int
    equivalent: int
    untried: int
    survivors: tuple[Survivor, ...]

    @property
    def score(self) -> float:
        """Killed mutants in percent of those that can be killed and were tried."""
        return 100 * self.killed / max(1, self.killed + len(self.survivors))

    @property
    def passes(self) -> bool:
        """Tell whether the whole part reaches its bar."""
        return not self.untried and self.score >= PARTS[self.part].bar


def forget_survivors() -> None:
    """Make mutmut try survivors again, and find anew which test reaches which function.
    Called in a workplace."""
    Path("mutants/mutmut-stats.json").unlink(missing_ok=True)
    for path in Path("mutants").rglob("*.meta"):
        meta = json.loads(path.read_text())
        codes = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {
            name: code if code in _KILLED else None for name, code in codes.items()
        }
        path.write_text(json.dumps(meta))


def result_of(part: str) -> Result:
    """Return a part's result. Called in a workplace."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415

    source = Path("src/anonauth") / PARTS[part].file
    meta = json.loads(Path(f"mutants/{source}.meta").read_text())
    codes: dict[str, int | None] = meta["exit_code_by_key"]
    known, survivors, equivalent = _known_equivalent(), [], 0
    for name, code in codes.items():
        if code is None or code in _KILLED:
            continue
        diff = get_diff_for_mutant(name, path=source).splitlines()[2:]
        lines = tuple(f"{x[0]} {x[1:].strip()}" for x in diff if x[0] in "+-")
        if (name.partition("__mutmut_")[0], lines) in known:
            equivalent += 1
        else:
            survivors.append(Survivor(name, lines))
    return Result(
        part,
        killed=sum(code in _KILLED for code in codes.values()),
        equivalent=equivalent,
        untried=sum(code is None for code in codes.values()),
        survivors=tuple(survivors),
    )


def write_report(results: Sequence[Result]) -> None:
    """Write the survivors, and the table for README.md."""
    lines = []
    for survivor in (s for result in results for s in result.survivors):
        lines += [survivor.name, *survivor.lines, ""]
    lines += ["| module | killed | survived | equivalent | not tried | score |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for r in results:
        counts = f"{r.killed} | {len(r.survivors)} | {r.equivalent} | {r.untried}"
        lines += [f"| `{r.part}` | {counts} | {r.score:.1f} % |"]
    sys.stdout.write("\n".join(lines) + "\n")


def _known_equivalent() -> set[Change]:
    entries = tomllib.loads(_EQUIVALENT.read_text())["equivalent"]
    return {(e["function"], tuple(e["lines"])) for e in entries}
