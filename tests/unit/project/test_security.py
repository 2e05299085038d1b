"""Each claim of security.md is shown by a test that exists."""

import ast
import re
from pathlib import Path

import pytest

from support.project.licences import listed
from support.project.pages import DOCS, page
from support.project.tools import ROOT

PAGE = page("security.md")

_TABLE = PAGE.partition("<!-- the threats -->\n")[2].partition("\n\n")[0]
THREATS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in _TABLE.splitlines()[2:]
]

_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def test_given_the_threats_then_each_has_a_control_and_a_test_that_shows_it() -> None:
    assert len(THREATS) > 20
    for threat, control, shown in THREATS:
        assert threat, shown
        assert control, threat
        assert _TEST.sub("", shown).strip(", ") == "", threat
        assert _TEST.search(shown), threat


@pytest.mark.parametrize(("file", "name"), sorted(set(_TEST.findall(PAGE))))
def test_given_a_test_that_the_page_names_then_it_exists(file: str, name: str) -> None:
    assert name in names_in(ROOT / file)


def test_given_the_pinned_packages_when_counted_then_the_page_says_their_number() -> (
    None
):
    told = re.search(r"(\d+) pinned packages with \[their licences\]\((\S+)\)", PAGE)

    assert told is not None
    assert int(told[1]) == len(listed())
    assert (DOCS / told[2]).is_file()
