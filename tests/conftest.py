"""For every run: a time limit, the distribution to workers, and figures at the end."""

from typing import Any

import pytest

from support.project.balance import LIMIT, LONG_LIMIT, Balanced, slowest_first


def _is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("markexpr") == "long")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Set here because pyproject.toml cannot depend on the requested markers.
    # `--timeout` overrides it.
    if config.getoption("timeout", 0) is None:
        config.option.timeout = LONG_LIMIT if _is_long(config) else LIMIT


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Balanced | None:
    if not _is_long(config) or config.getoption("dist") != "loadscope":
        return None
    # xdist would begin with the modules that have the most tests, not the slowest.
    config.option.loadscopereorder = False
    return Balanced(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if _is_long(config):
        modules = [item.nodeid.partition("::")[0] for item in items]
        items[:] = [items[at] for at in slowest_first(modules)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Passing tests print nothing else. Figures come by `record_property`, because xdist
    # passes on records, but not prints.
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
