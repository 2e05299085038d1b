"""What the checks of `anonauth doctor` have found, as JSON and as a table."""

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
    """All findings about a deployment."""

    findings: tuple[CheckResult, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing has failed, and everything could be seen.

        A scheduled job whose role lost its rights must not stay green.
        """
        return not {"failed", "unknown"} & {each.state for each in self.findings}

    def count(self) -> dict[CheckState, int]:
        """Return how many there are of each state."""
        counted = Counter(finding.state for finding in self.findings)
        return {state: counted[state] for state in get_args(CheckState)}

    def summary(self) -> str:
        """Return the numbers in words."""
        return ", ".join(f"{n} {state}" for state, n in self.count().items() if n)

    def as_json(self) -> dict[str, Any]:
        """Return the findings, and whether the deployment is well."""
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
        """Return the same for people.

        Args:
            arrow: Stands before what to do.
        """
        table = Table(box=None)
        table.add_column("check", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("what it says, and what to do", overflow="fold")
        for finding in self.findings:
            # Text, since square brackets in it would be taken for styles.
            told = Text(finding.says)
            if finding.advice and finding.state != "ok":
                told.append(f"\n{arrow} {finding.advice}", style="italic")
            state = Text(finding.state, style=_STATE_STYLES[finding.state])
            table.add_row(finding.name, state, told)
        return table
