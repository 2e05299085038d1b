"""The pages that readers of this repository get, and the code blocks that they copy.

A block is the fenced code after a line `<!-- its name -->`; all pages together use a
name once. Tests run these blocks, so the pages describe what really happens.
"""

import re
from pathlib import Path

from support.project.tools import ROOT

SERVED_AT = "http://127.0.0.1:8080"

DOCS = ROOT / "functions/docs"
PAGES = (
    ROOT / "README.md",
    ROOT / "functions/README.md",
    *sorted(DOCS.glob("*.md")),
    ROOT / "tests/README.md",
    ROOT / "events/README.md",
)


def path_of(name: str) -> Path:
    """Return the path of a page: `README.md`, or `deploy.md` in functions/docs."""
    return DOCS / name if (DOCS / name).exists() else ROOT / name


def page(name: str) -> str:
    """Return a page: `README.md`, or `deploy.md` for functions/docs/deploy.md."""
    return path_of(name).read_text()


def section(name: str, heading: str) -> str:
    """Return the text below a heading, up to the next heading of its level or above."""
    return section_of(page(name), heading)


def section_of(text: str, heading: str) -> str:
    """Return the text below a heading of a page that is given as text."""
    lines = text.splitlines()
    start = lines.index(heading) + 1
    level = heading.partition(" ")[0]
    end = next(
        (
            index
            for index, line in enumerate(lines[start:], start)
            if re.match(r"#+ ", line) and len(line.partition(" ")[0]) <= len(level)
        ),
        len(lines),
    )
    return "\n".join(lines[start:end])


def rows_of(name: str, heading: str) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    lines = re.findall(r"^\| (.*) \|$", section(name, heading), re.MULTILINE)
    return [line.split(" | ") for line in lines[2:]]


def block(name: str, base_url: str = SERVED_AT) -> str:
    """Return a code block, with another address of the service than in the pages."""
    found = [
        code
        for path in PAGES
        if path.exists()
        for code in re.findall(
            rf"<!-- {name} -->\n```\w+\n(.*?)```", Path(path).read_text(), re.DOTALL
        )
    ]
    assert len(found) == 1, name
    code: str = found[0]
    return code.replace(SERVED_AT, base_url)
