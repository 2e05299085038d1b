"""functions/README.md leads from each route to its files."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from support.project import sam_template
from support.project.generated_table import written
from support.project.route_table import (
    NAME,
    PAGE,
    route_table,
    rows,
    used_use_cases,
)
from support.project.tools import ROOT

# One use case of each form: a function, and a class with a method per call.
HANDLER = """
def _named(function):
    function.__module__ = "anonauth.usecases.logout"
    return function


@_named
def log_out(): ...


@_named
class Logout:
    def log_out(self): ...
    def end_all(self): ...


def _make() -> Logout:
    return Logout()


def _helper():
    log_out()


def by_function(): log_out()
def by_helper(): _helper()
def by_reference(): print(log_out)
def by_method(): Logout().end_all()
def by_made(): _make().log_out()
def by_variable():
    logout = _make()
    logout.end_all()
def by_one_of_two():
    number, logout = 1, _make()
    logout.end_all()
def by_both():
    log_out()
    _make().end_all()
def by_none(request): request.log_out()
"""


@pytest.fixture
def handler(tmp_path: Path) -> ModuleType:
    path = tmp_path / "handler.py"
    path.write_text(HANDLER)
    spec = importlib.util.spec_from_file_location("handler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("entry", "used"),
    [
        pytest.param("by_function", ["log_out"], id="function"),
        pytest.param("by_helper", ["log_out"], id="function called by a helper"),
        pytest.param("by_reference", ["log_out"], id="function that is passed on"),
        pytest.param("by_method", ["Logout.end_all"], id="method"),
        pytest.param("by_made", ["Logout.log_out"], id="method of what a helper makes"),
        pytest.param("by_variable", ["Logout.end_all"], id="method by a variable"),
        pytest.param("by_one_of_two", ["Logout.end_all"], id="one of two variables"),
        pytest.param("by_both", ["log_out", "Logout.end_all"], id="two use cases"),
        pytest.param("by_none", [], id="method of something else"),
    ],
)
def test_given_a_handler_function_when_read_then_its_use_cases_are_found(
    handler: ModuleType, entry: str, used: list[str]
) -> None:
    found = list(used_use_cases(handler, entry))

    assert [name for _, name in found] == used
    assert {module.__name__ for module, _ in found} <= {"anonauth.usecases.logout"}


def test_given_the_code_when_the_page_is_read_then_its_routes_are_up_to_date() -> None:
    assert written(PAGE, NAME) == route_table()


def test_given_the_template_when_compared_then_each_route_has_one_row() -> None:
    calls = [call for row in rows() for call in row.calls]
    routes = {route.key for route in sam_template.routes()}

    assert len(calls) == len(set(calls))
    assert routes <= set(calls)


def test_given_a_row_when_read_then_it_names_a_test_and_files_that_exist() -> None:
    for row in rows():
        assert row.tests, row.handler
        for place in (row.handler, *row.use_cases):
            path = place.partition(":")[0]
            assert (ROOT / "functions/anonauth" / path).is_file(), place


def test_given_the_samples_when_the_rows_are_read_then_each_is_in_one() -> None:
    listed = [sample for row in rows() for sample in row.samples]

    samples = {path.name for path in sam_template.EVENTS.glob("*.json")}
    assert sorted(listed) == sorted(samples - {"env.local.json"})


def test_given_the_login_by_password_when_looked_up_then_its_row_names_link() -> None:
    """The use case is in another room than the path suggests."""
    (line,) = [
        line for line in route_table().splitlines() if "/local-userpass/login`" in line
    ]

    assert "LinkFunction" in line
    assert "`POST {app}/auth/providers/{provider}/login`" in line
