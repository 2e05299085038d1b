"""The directories that mutmut works in: the repository in mutmut's layout, as links.

mutmut takes a module's name from its path, and strips only `src`, which is `functions`
here.
"""

import shutil
from configparser import ConfigParser
from pathlib import Path

from mutation.parts import PARTS
from support.project.tools import ROOT

_LINKS = {
    "src": "functions",
    "pyproject.toml": "pyproject.toml",
    "template.yaml": "template.yaml",
}


def workplace_of(name: str) -> Path:
    """Return a part's directory."""
    return ROOT / ".build" / "mutation" / name


def make_workplace(part_name: str) -> Path:
    """Return a directory to run mutmut in. Results of an earlier run are kept."""
    place, part = workplace_of(part_name), PARTS[part_name]
    tests = place / "tests"
    for old in (tests, place / "mutants" / "tests"):
        shutil.rmtree(old, ignore_errors=True)
    (tests / "unit").mkdir(parents=True)
    for link, target in _LINKS.items():
        (place / link).unlink(missing_ok=True)
        (place / link).symlink_to(ROOT / target)
    for name in ("conftest.py", "support"):
        (tests / name).symlink_to(ROOT / "tests" / name)
    unit = ROOT / "tests" / "unit"
    folders = {unit, *((unit / test).parent for test in part.tests)}
    fixtures = [path for path in unit.rglob("conftest.py") if path.parent in folders]
    for path in (*fixtures, *(unit / test for test in part.tests)):
        copy = tests / "unit" / path.relative_to(unit)
        copy.parent.mkdir(exist_ok=True)
        copy.symlink_to(path)
    settings = ConfigParser()
    settings["mutmut"] = {
        "source_paths": "src",
        "only_mutate": f"src/anonauth/{part.file}",
        "also_copy": "template.yaml",
        # A logger keeps the stream it was made with, which must outlive that run.
        "pytest_add_cli_args": "--numprocesses=0\n--capture=no",
        "pytest_add_cli_args_test_selection": "tests/unit",
        "use_git_change_detection": "false",
    }
    with (place / "setup.cfg").open("w") as file:
        settings.write(file)
    return place
