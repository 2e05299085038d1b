"""The file with what the build has compiled, where it is of no use."""

import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from anonauth.compiled import NAME, use


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"of another Python, whose code differs", id="another Python"),
        pytest.param(b"", id="empty"),
        pytest.param(None, id="missing, as in the sources"),
    ],
)
def test_given_a_file_of_no_use_when_a_function_starts_then_python_does_without(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / NAME
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    before = list(sys.meta_path), vars(sys.modules["re._compiler"])["compile"]

    use(str(tmp_path), first=PathFinder)

    assert before == (sys.meta_path, vars(sys.modules["re._compiler"])["compile"])
    assert re.compile("a file of no use").fullmatch("a file of no use")
