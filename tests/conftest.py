"""Figures of simulations, at the end of a run: passing tests print nothing else."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # By `record_property`, since xdist brings home what that records, and no print.
    lines = [
        f"{report.nodeid.rpartition('::')[0]}: {name} {value}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if report.when == "call"
    ]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
