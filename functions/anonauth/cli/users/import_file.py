"""Reading the file of `anonauth users import`, one user at a time.

A file may be larger than the memory, and may have anything in it.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from anonauth.cli.options import printable
from anonauth.local.command_error import CommandError

MOST_BYTES = 1_000_000
"""Longest text of one user. A real one has a few KB."""

_CHUNK = 65_536
_BETWEEN_USERS = " \t\r\n[],"
_DECODER = json.JSONDecoder()


class FileEntry(NamedTuple):
    """One user of a file as it is there.

    `value` is any JSON. If `problem` is not empty, the text is no JSON.
    """

    place: str
    value: Any
    problem: str = ""


FileReader = Callable[[Path], Iterator[FileEntry]]
"""Reads a file from its beginning."""


def require_file(path: Path) -> None:
    """Return if the file can be read.

    Raises:
        CommandError: It cannot, or it is no plain file.
    """
    with _opened(path):
        return


def read_lines(path: Path) -> Iterator[FileEntry]:
    """Yield the users of a file that has one JSON object a line. Empty lines may be.

    Raises:
        CommandError: The file cannot be read.
    """
    with _opened(path) as file:
        number = 0
        while line := file.readline(MOST_BYTES + 1):
            number += 1
            place = f"line {number}"
            if len(line) > MOST_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MOST_BYTES)
                yield FileEntry(place, None, f"longer than {MOST_BYTES:,} bytes")
            elif line.strip(b" \t\r\n" + codecs.BOM_UTF8):
                yield _entry(place, line)


def read_arrays(path: Path) -> Iterator[FileEntry]:
    """Yield the elements of JSON arrays that follow each other, or of JSON Lines.

    So the pages of a list can be written into one file one after the other.

    Raises:
        CommandError: The file cannot be read, or is not JSON from some line on.
    """
    with _opened(path) as file:
        decode = codecs.getincrementaldecoder("utf-8-sig")()
        text, start, line, number = "", 0, 1, 0
        is_end = False
        while True:
            while start < len(text) and text[start] in _BETWEEN_USERS:
                line += text[start] == "\n"
                start += 1
            if start == len(text) and is_end:
                return
            try:
                value, end = _DECODER.raw_decode(text, start)
            except (ValueError, RecursionError) as exc:
                if is_end or len(text) - start > MOST_BYTES:
                    raise _not_json(path, line) from exc
                chunk = file.read(_CHUNK)
                is_end = not chunk
                try:
                    text = text[start:] + decode.decode(chunk, final=is_end)
                except UnicodeDecodeError as broken:
                    raise _not_json(path, line) from broken
                start = 0
                continue
            number += 1
            yield FileEntry(f"user {number}, line {line}", value)
            line += text.count("\n", start, end)
            start = end


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if not path.is_file() and path.exists():  # a pipe cannot be read twice
        raise CommandError(f"{printable(str(path))} is not a plain file")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        raise CommandError(
            f"cannot read {printable(str(path))}: {exc.strerror}"
        ) from exc


def _entry(place: str, line: bytes) -> FileEntry:
    try:
        return FileEntry(place, json.loads(line.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return FileEntry(place, None, "not JSON")


def _not_json(path: Path, line: int) -> CommandError:
    return CommandError(f"{printable(str(path))}, line {line}: not JSON")
