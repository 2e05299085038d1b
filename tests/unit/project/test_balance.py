"""How the suite runs: each test has a time limit, and workers share the slow tests."""

from types import SimpleNamespace

import pytest

from support.project.balance import (
    LIMIT,
    LONG_LIMIT,
    SLOWEST,
    WHOLE,
    Balanced,
    slowest_first,
)
from support.project.tools import ROOT


def test_given_a_run_when_it_begins_then_each_test_has_a_limit(
    pytestconfig: pytest.Config,
) -> None:
    assert pytestconfig.pluginmanager.hasplugin("timeout"), "install the extra `dev`"
    assert pytestconfig.getoption("timeout") in {LIMIT, LONG_LIMIT}


def test_given_the_slowest_modules_when_listed_then_each_exists() -> None:
    listed = (*WHOLE, *SLOWEST)
    assert len(set(listed)) == len(listed)
    assert all((ROOT / module).is_file() for module in listed)


def test_given_tests_in_order_when_run_long_then_the_slowest_begin() -> None:
    modules = ["tests/a.py", SLOWEST[1], SLOWEST[0], "tests/b.py", WHOLE[0], SLOWEST[1]]

    assert slowest_first(modules) == [4, 2, 1, 5, 0, 3]


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


@pytest.mark.parametrize("whole", ["tests/unit/test_quick.py::TestIt", *WHOLE])
def test_given_a_class_or_a_whole_module_when_split_then_one_worker_has_it(
    whole: str,
) -> None:
    scheduler = Balanced.__new__(Balanced)

    scopes = {scheduler._split_scope(f"{whole}::test_{name}") for name in "ab"}

    assert scopes == {whole}
