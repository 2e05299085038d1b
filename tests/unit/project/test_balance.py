"""How the suite runs: each test has a time limit, and workers share the slow tests."""

from types import SimpleNamespace

import pytest

from support.project.balance import LIMIT, LONG_LIMIT, SLOWEST, Balanced, slowest_first
from support.project.tools import ROOT


def test_given_a_run_when_it_begins_then_each_test_has_a_limit(
    pytestconfig: pytest.Config,
) -> None:
    assert pytestconfig.pluginmanager.hasplugin("timeout"), "install the extra `dev`"
    assert pytestconfig.getoption("timeout") in {LIMIT, LONG_LIMIT}


def test_given_the_slowest_modules_when_listed_then_each_exists() -> None:
    assert len(set(SLOWEST)) == len(SLOWEST)
    assert all((ROOT / module).is_file() for module in SLOWEST)


def test_given_tests_in_order_when_run_long_then_the_slowest_begin() -> None:
    modules = ["tests/a.py", SLOWEST[1], SLOWEST[0], "tests/b.py", SLOWEST[1]]

    assert slowest_first(modules) == [2, 1, 4, 0, 3]


class Worker:
    """A worker of xdist, with what its scheduler needs."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_given_two_workers_when_scheduled_then_slow_tests_are_on_both(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytestconfig.option, "tx", ["2*popen"])
    monkeypatch.setattr(pytestconfig.option, "loadscopereorder", False)
    slow = [f"{SLOWEST[0]}::test_{number}" for number in range(4)]
    quick = [f"tests/unit/test_quick.py::test_{number}" for number in range(4)]
    scheduler = Balanced(pytestconfig)
    workers = [Worker("gw0"), Worker("gw1")]
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, [*slow, *quick])

    scheduler.schedule()

    # A module that is not slow goes to one worker as a whole.
    given = [{at for at in worker.given if at < len(slow)} for worker in workers]
    assert all(given)
    assert not given[0] & given[1]
    whole = set(range(len(slow), len(slow) + len(quick)))
    for worker in workers:
        assert set(worker.given) & whole in (set(), whole)


def test_given_a_class_of_tests_when_split_then_it_stays_whole() -> None:
    scheduler = Balanced.__new__(Balanced)
    of_class = "tests/unit/test_quick.py::TestIt"

    scopes = {scheduler._split_scope(f"{of_class}::test_{name}") for name in "ab"}

    assert scopes == {of_class}
