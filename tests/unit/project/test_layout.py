"""Where the modules of the package and its tests may be, and how docstrings begin."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project.tools import ROOT

TESTS = ROOT / "tests"
UNIT = TESTS / "unit"
PACKAGE = ROOT / "functions" / "anonauth"
MOST_MODULES = 25  # nobody reads a longer list of modules
# Tests of all functions together and of the repository itself mirror no package room.
BESIDE_THE_PACKAGE = {"service", "project"}


def modules(folder: Path) -> Iterator[Path]:
    """Yield our modules in a folder and all folders below it."""
    for path in sorted(folder.rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of each thing that a module imports, also in functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_of_a_test_module(name: str) -> bool:
    """Tell whether a name, such as `unit.test_keys.DAY`, comes from a test module."""
    room, *rest = name.split(".")
    return (TESTS / room).is_dir() and any(part.startswith("test_") for part in rest)


def beginning_with_of(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings, also those below assignments, whose first word is "Of"."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                if text.split()[:1] == ["Of"]:
                    yield text


def test_given_the_tests_when_listed_then_no_module_is_outside_a_room() -> None:
    loose = {path.name for path in TESTS.iterdir() if path.is_file()}

    assert loose == {"README.md", "conftest.py"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("unit.usecases.test_link.log_in", True, id="a helper"),
        pytest.param("runtime.test_bundle", True, id="the module"),
        pytest.param("support.service.linked.link", False, id="of a support module"),
        pytest.param("typer.testing.Result", False, id="of a library"),
    ],
)
def test_given_an_import_when_judged_then_only_test_modules_count(
    name: str, expected: bool
) -> None:
    assert is_of_a_test_module(name) is expected


def test_given_a_module_of_the_tests_when_it_imports_then_from_no_test_module() -> None:
    """Code that two test modules need is in `tests/support` or in a conftest."""
    found = {
        f"{path.relative_to(TESTS)} imports {name}"
        for path in modules(TESTS)
        for name in imported(path)
        if is_of_a_test_module(name)
    }

    assert found == set()


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=["package", "tests"])
def test_given_a_folder_when_counted_then_it_has_at_most_25_modules(
    folder: Path,
) -> None:
    sizes = Counter(path.parent for path in modules(folder))

    too_many = {str(room): size for room, size in sizes.items() if size > MOST_MODULES}

    assert too_many == {}
    assert len(sizes) > 5


def test_given_a_room_of_unit_tests_when_looked_up_then_the_package_has_it() -> None:
    rooms = {path.parent.relative_to(UNIT) for path in modules(UNIT)} - {Path()}
    mirrored = {room for room in rooms if room.parts[0] not in BESIDE_THE_PACKAGE}

    missing = {str(room) for room in mirrored if not (PACKAGE / room).is_dir()}

    assert missing == set()
    assert mirrored < rooms


def test_given_a_unit_test_outside_rooms_when_looked_up_then_its_module_exists() -> (
    None
):
    tested = {path.stem.removeprefix("test_") for path in UNIT.glob("test_*.py")}

    missing = {name for name in tested if not (PACKAGE / f"{name}.py").is_file()}

    assert missing == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param('"""Of a module."""', 1, id="module"),
        pytest.param('class A:\n    """Of a class."""', 1, id="class"),
        pytest.param('def f():\n    """Of a function."""', 1, id="function"),
        pytest.param('N = 1\n"""Of a constant."""', 1, id="assignment"),
        pytest.param('"""\n    Of a line below."""', 1, id="line below"),
        pytest.param('"""Offers nothing."""', 0, id="longer word"),
        pytest.param('"""List of all."""', 0, id="later word"),
        pytest.param('N = "Of a value"', 0, id="no docstring"),
    ],
)
def test_given_a_docstring_when_judged_then_only_of_at_its_start_counts(
    code: str, expected: int
) -> None:
    assert len(list(beginning_with_of(ast.parse(code)))) == expected


@pytest.mark.parametrize(
    "folder", [ROOT / "functions", TESTS], ids=["functions", "tests"]
)
def test_given_docstrings_when_read_then_none_begins_with_of(folder: Path) -> None:
    """A docstring is read alone, and `Of` continues a sentence that is elsewhere."""
    paths = list(modules(folder))

    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in paths
        for text in beginning_with_of(ast.parse(path.read_text()))
    ]

    assert found == []
    assert len(paths) > 100
