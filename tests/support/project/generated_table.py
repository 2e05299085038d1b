"""Tables that a program writes into a page, between two hidden comments."""

import re
from collections.abc import Iterable, Sequence

from support.project.pages import path_of


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the caller must escape bars in cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def written(page: str, name: str) -> str:
    """Return the table with that name from a page.

    Args:
        page: As `pages.page` takes it.
        name: The name in the comments around the table.
    """
    _, found, _ = _split(page, name)
    return found


def write(page: str, name: str, new: str) -> None:
    """Replace the table with that name in a page."""
    before, _, after = _split(page, name)
    path_of(page).write_text(f"{before}{new}{after}")


def _split(page: str, name: str) -> tuple[str, str, str]:
    text = path_of(page).read_text()
    between = rf"(.*<!-- begin: {name} -->\n)(.*?)(\n<!-- end: {name} -->.*)"
    found = re.fullmatch(between, text, re.DOTALL)
    if found is None:
        raise LookupError(f"{page} has no place for the table '{name}'")
    before, old, after = found.groups()
    return before, old, after
