"""The report of `anonauth doctor`, as JSON and as a table."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from rich.table import Table
from rich.text import Text

from anonauth.cli.doctor.check_result import CheckResult, CheckState

_STATE_STYLES = {
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "unknown": "cyan",
}


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """The results of all checks of a deployment."""

    findings: tuple[CheckResult, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether no check failed, and none is unknown.

        A scheduled job whose role has lost its permissions must not stay green.
        """
        return not {"failed", "unknown"} & {each.state for each in self.findings}

    def count(self) -> dict[CheckState, int]:
        """Return the number of results in each state."""
        counted = Counter(finding.state for finding in self.findings)
        return {state: counted[state] for state in get_args(CheckState)}

    def summary(self) -> str:
        """Return the number of results in each state, in words."""
        return ", ".join(f"{n} {state}" for state, n in self.count().items() if n)

    def verdict(self) -> str:
        """Return in words how many checks failed, and how many are unknown."""
        count, total = self.count(), len(self.findings)
        if not count["failed"]:
            return f"{count['unknown']} of {total} checks unknown"
        more = f", {count['unknown']} unknown" if count["unknown"] else ""
        return f"{count['failed']} of {total} checks failed{more}"

    def as_json(self) -> dict[str, Any]:
        """Return the results, and whether the deployment is healthy."""
        return {
            "well": self.is_healthy,
            "count": self.count(),
            "findings": [
                {
                    "name": finding.name,
                    "state": finding.state,
                    "says": finding.says,
                    "advice": finding.advice,
                }
                for finding in self.findings
            ],
        }

    def as_table(self, arrow: str = "→") -> Table:
        """Return the results as a table for people.

        Args:
            arrow: Printed before the advice.
        """
        table = Table(box=None)
        table.add_column("check", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("result and advice", overflow="fold")
        for finding in self.findings:
            # A Text, because Rich would take square brackets for styles.
            told = Text(finding.says)
            if finding.advice and finding.state != "ok":
                told.append(f"\n{arrow} {finding.advice}", style="italic")
            state = Text(finding.state, style=_STATE_STYLES[finding.state])
            table.add_row(finding.name, state, told)
        return table
