"""Tables for a terminal of any width, which cut no id and break no name."""

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

# Width for a file or a pipe.
_PIPE_WIDTH = 160

# Least width of a column whose words may be broken (`overflow="fold"`).
_MIN_FOLDED_WIDTH = 6

# A name and its value stay on one line up to this number of characters.
_UNBROKEN_WIDTH = 32


def make_console(*, stderr: bool = False) -> Console:
    """Return a console. It has no colour without a terminal, or with NO_COLOR."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    is_plain = not is_terminal or bool(os.environ.get("NO_COLOR"))
    return Console(
        stderr=stderr,
        force_terminal=is_terminal,
        color_system=None if is_plain else "auto",
        width=None if is_terminal else _PIPE_WIDTH,
    )


def print_table(table: Table) -> None:
    """Print a table in the available width.

    A column with `no_wrap` is never broken, a column with `overflow="fold"` anywhere,
    any other column between words. If the table is still too wide, each row is printed
    as a paragraph that begins with the value of the first column.
    """
    out = make_console()
    table.padding, table.pad_edge = (0, 2, 0, 0), False
    if not _fit_columns(table, out.width, gap=2):
        table.padding = (0, 1, 0, 0)
        if not _fit_columns(table, out.width, gap=1):
            if out.is_terminal:
                print(*_row_paragraphs(table, out.width), sep="\n")
                return
            out.width = 10 * _PIPE_WIDTH
    out.print(table)


def _fit_columns(table: Table, width: int, *, gap: int) -> bool:
    # Rich would narrow the widest column, and that is the column of ids.
    least = [_min_width(column) for column in table.columns]
    spare = width - sum(least) - gap * (len(least) - 1)
    if spare < 0:
        return False
    for column, narrow in zip(table.columns, least, strict=True):
        more = min(spare, _full_width(column) - narrow)
        spare -= more
        column.width = narrow + more
    return True


def _min_width(column: Column) -> int:
    if column.no_wrap:
        return _full_width(column)
    longest = max((len(w) for t in _column_texts(column) for w in t.split()), default=0)
    return min(longest, _MIN_FOLDED_WIDTH) if column.overflow == "fold" else longest


def _full_width(column: Column) -> int:
    lines = (line for text in _column_texts(column) for line in text.splitlines())
    return max(map(len, lines), default=0)


def _column_texts(column: Column) -> list[str]:
    return [_plain_text(cell) for cell in (column.header, *column.cells)]


def _plain_text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _row_paragraphs(table: Table, width: int) -> Iterator[str]:
    if table.title:
        yield str(table.title)
    names = [_plain_text(column.header) for column in table.columns]
    for cells in zip(*[map(_plain_text, c.cells) for c in table.columns], strict=True):
        yield cells[0]
        yield from _wrap_pairs(names[1:], cells[1:], width)


def _wrap_pairs(
    names: Sequence[str], values: Sequence[str], width: int
) -> Iterator[str]:
    pairs = [f"{name} {value}" for name, value in zip(names, values, strict=True)]
    # Inside a pair, spaces become no-break spaces while the text is wrapped.
    kept = [p.replace(" ", "\xa0") if len(p) <= _UNBROKEN_WIDTH else p for p in pairs]
    for line in textwrap.wrap(
        ", ".join(kept),
        max(width, _UNBROKEN_WIDTH),
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield line.replace("\xa0", " ")
