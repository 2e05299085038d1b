"""Finds citations of sections, and reports those that lead nowhere.

A citation is a section sign with a number. It follows the name of a document, which is
a page of this repository or one of `OUTSIDE`: `design.md` or `RFC 7519`, then the sign.
A line break may come between them, also in a comment. More sections of the same
document may follow: `4, 7` and `5 and 6`, each with its sign. A section of our own page
may also follow later in the sentence. In a page with numbered sections, a sign without
a name means the page itself.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.project.pages import PAGES
from support.project.tools import ROOT

SIGN = "\N{SECTION SIGN}"

OUTSIDE = (
    r"RFC \d{3,5}",
    r"OpenID Connect (?:Core|Discovery)(?: 1\.0)?",
    r"(?:OWASP )?ASVS(?: \d\.\d)?",
)
"""Documents by others, as they are named before a section sign."""

_ROOTS = (
    "functions",
    "tests",
    "events",
    "README.md",
    "template.yaml",
    "pyproject.toml",
)
_KINDS = {".py", ".md", ".yaml", ".toml", ".json", ".mjs", ".js", ".css", ".html", ""}
_SKIPPED = {"node_modules", "__pycache__"}

_OURS = r"(?:functions/docs/)?(?P<page>[\w/-]+\.md)"
_REST_OF_LINK = r"(?:\]\([^)]*\))?"
_DOCUMENT = re.compile(
    rf"(?:^|(?<=[^\w/]))(?:{_OURS}|{'|'.join(OUTSIDE)})`?{_REST_OF_LINK},? ?$"
)
_CITED = re.compile(rf"{SIGN} ?(?P<number>\d+(?:\.\d+)*)?")
_LISTED = re.compile(r",? ?(?:and |or |to )?|[-\N{EN DASH}]")
# The beginning of each line of a comment.
_LINE_BREAK = re.compile(r"[ \t]*\n[ \t]*(?:#|//|\*|>)?[ \t]*")
_PARAGRAPH = re.compile(r"\n[ \t]*(?:#|//|\*|>)?[ \t]*\n")
_SENTENCE = re.compile(r"[.!?] |\|")

_FAR = 160  # characters between a name and its last section


@dataclass(frozen=True)
class Citation:
    """A section sign in a text.

    `page` is our page that it cites. It is None if the document is by others, or if no
    name was found; then `is_named` is false.
    """

    line: int
    page: str | None
    number: str | None
    is_named: bool


def citations(text: str, *, own_page: str | None = None) -> Iterator[Citation]:
    """Yield the citations of a text, in its order.

    Args:
        own_page: Name of the page that the text is, if its sections have numbers.
    """
    before: Citation | None = None
    end = 0
    for found in _CITED.finditer(text):
        gap = text[end : found.start()]
        named = _DOCUMENT.search(
            _flat(text[max(0, found.start() - _FAR) : found.start()])
        )
        if named is not None:
            page, is_named = named["page"], True
        elif before is not None and _goes_on(gap, before):
            page, is_named = before.page, before.is_named
        else:
            page, is_named = own_page, own_page is not None
        line = text.count("\n", 0, found.start()) + 1
        before = Citation(line, page, found["number"], is_named)
        end = found.end()
        yield before


def _flat(text: str) -> str:
    return _LINE_BREAK.sub(" ", _PARAGRAPH.split(text)[-1])


def _goes_on(gap: str, before: Citation) -> bool:
    if len(gap) > _FAR or _PARAGRAPH.search(gap):
        return False
    flat = _flat(gap)
    if _LISTED.fullmatch(flat):
        return True
    # Only for our own pages, whose sections are looked up anyway.
    return before.page is not None and not _SENTENCE.search(flat)


def sections_of(page: str) -> set[str]:
    """Return the numbers of a page's headings."""
    return set(re.findall(r"^#+ (\d+(?:\.\d+)*) ", page, re.MULTILINE))


def wrong_citations(text: str, name: str, pages: Mapping[str, str]) -> list[str]:
    """Return a line for each wrong citation of a text.

    Args:
        name: The path of the text in the repository.
        pages: The pages of the repository, by the names that citations have.
    """
    own = Path(name).name if sections_of(pages.get(Path(name).name, "")) else None
    wrong = []
    for found in citations(text, own_page=own):
        if not found.is_named:
            problem = "follows the name of no document"
        elif found.number is None:
            problem = "has no number"
        elif found.page is None:
            continue
        elif found.page not in pages:
            problem = f"names the page {found.page}, which does not exist"
        elif found.number not in sections_of(pages[found.page]):
            problem = f"names a section that {found.page} does not have"
        else:
            continue
        wrong.append(f"{name}:{found.line}: {SIGN}{found.number or ''} {problem}")
    return wrong


def our_pages() -> dict[str, str]:
    """Return the pages that can be cited, each by the name that citations have."""
    named = {
        path.name if path.parent.name == "docs" else str(path.relative_to(ROOT)): path
        for path in PAGES
    }
    return {name: path.read_text() for name, path in named.items() if path.exists()}


def texts() -> Iterator[tuple[str, str]]:
    """Yield path and content of each file that may cite something."""
    for path in _files():
        content = path.read_text()
        if SIGN in content:
            yield str(path.relative_to(ROOT)), content


def _files() -> Iterable[Path]:
    for root in _ROOTS:
        for path in sorted({ROOT / root, *(ROOT / root).rglob("*")}):
            hidden = _SKIPPED & set(path.relative_to(ROOT).parts)
            if path.is_file() and path.suffix in _KINDS and not hidden:
                yield path
