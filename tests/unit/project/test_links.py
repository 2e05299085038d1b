"""Every link between the pages leads somewhere, and README leads to every page."""

import re
from pathlib import Path

import pytest

from support.project.pages import PAGES, section
from support.project.tools import ROOT

PATHS = (*PAGES, ROOT / "tests/mutation/README.md")
MAP = "## Where everything else is"

_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return _FENCED.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes for a page's headings.

    GitHub takes the text in lower case, drops all but letters, digits, `_`, `-` and
    blanks, and turns each blank into a hyphen. A repeated heading gets a number.
    """
    found: set[str] = set()
    for heading in _HEADING.findall(prose(text)):
        shown = _LINK.sub(r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        repeated = (f"{anchor}-{number}" for number in range(1, len(found) + 2))
        found.add(next(a for a in (anchor, *repeated) if a not in found))
    return found


def broken_links(path: Path) -> list[str]:
    broken = []
    for _, target in _LINK.findall(prose(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
            broken.append(target)
    return broken


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("## Run it, and see it", {"run-it-and-see-it"}, id="a comma"),
        pytest.param("# Is `ttl` on?\n", {"is-ttl-on"}, id="code"),
        pytest.param("## A & b_c", {"a--b_c"}, id="a sign"),
        pytest.param("## \N{SECTION SIGN}2 [Keys](keys.md)", {"2-keys"}, id="a link"),
        pytest.param("## Mail\n## Mail\n", {"mail", "mail-1"}, id="twice"),
        pytest.param("```sh\n# no heading\n```\n", set(), id="a comment"),
        pytest.param("- a\n  ```sh\n  # no\n  ```\n# B", {"b"}, id="a list"),
    ],
)
def test_given_headings_when_shown_then_their_anchors_are_githubs(
    text: str, expected: set[str]
) -> None:
    assert anchors(text) == expected


def test_given_links_that_lead_nowhere_when_looked_for_then_each_is_found(
    tmp_path: Path,
) -> None:
    other, path = tmp_path / "other.md", tmp_path / "page.md"
    other.write_text("# Other\n\n## There\n")
    bad = ["gone.md", "gone.md#there", "other.md#gone", "#gone"]
    good = ["other.md", "other.md#there", "#page", "https://example.com/#gone", "."]
    links = "\n".join(f"[x]({target})" for target in (*bad, *good))
    path.write_text(f"# Page\n\n{links}\n\n```sh\n[x](code.md)\n```\n")

    assert broken_links(path) == bad


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_given_a_page_when_its_links_are_followed_then_each_leads_somewhere(
    path: Path,
) -> None:
    assert broken_links(path) == []


def test_given_the_pages_when_looked_for_then_readmes_map_has_each_once() -> None:
    targets = [target for _, target in _LINK.findall(section("README.md", MAP))]

    assert sorted(ROOT / target for target in targets) == sorted(
        set(PAGES) - {ROOT / "README.md"}
    )
