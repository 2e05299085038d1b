"""What the build has compiled for a cold start: modules, patterns, generated code.

Without its file Python looks for each module in several directories, parses each
regular expression, and compiles the code that dataclasses and named tuples generate.
The result is the same, but a start takes a quarter longer (performance.md). The file is
written by `bundle/compiled.py`.
"""

import _sre  # type: ignore[import-not-found]
import collections
import marshal
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.importlib import MetaPathFinderProtocol

NAME = "anonauth/compiled.bin"
"""The file, in the directory of the bundle."""

HEAD = MAGIC_NUMBER + _sre.MAGIC.to_bytes(4, "big")
"""The file's first bytes. They change with the form of code and of patterns."""

SIZE = 8
"""Length of the index's size, which comes next. The index and the content follow."""

Place = tuple[int, int]
"""Offset in the content, and size."""


class Compiled:
    """The file of a bundle; a finder of modules (`sys.meta_path`).

    Args:
        bundle: The bundle's directory.

    Raises:
        FileNotFoundError: It has no such file. Only a built bundle does.
    """

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle
        self._file = os.open(f"{bundle}/{NAME}", os.O_RDONLY)
        head = os.pread(self._file, len(HEAD) + SIZE, 0)
        self.is_for_this_python = head.startswith(HEAD)
        self._start = len(head)
        self.modules: dict[str, Place] = {}
        self.packages: frozenset[str] = frozenset()
        self.patterns: dict[tuple[str | bytes, int], Place] = {}
        self.code: dict[str, Place] = {}
        if self.is_for_this_python:
            size = int.from_bytes(head[len(HEAD) :], "big")
            index = self.read((0, size))
            self.modules, self.packages, self.patterns, self.code = index
            self._start += size

    def read(self, place: Place) -> Any:
        """Return an object of the content."""
        offset, size = place
        found = os.pread(self._file, size, self._start + offset)
        return marshal.loads(found)  # noqa: S302 - from our own bundle  # nosec B302

    def find_spec(
        self,
        name: str,
        _path: Sequence[str] | None = None,
        _target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return how to load a module, None if the file does not have it."""
        place = self.modules.get(name)
        if place is None:
            return None
        is_package = name in self.packages
        stem = f"{self._bundle}/{name.replace('.', '/')}"
        origin = f"{stem}/__init__.py" if is_package else f"{stem}.py"
        loader = _Loader(name, origin, self, place)
        spec = ModuleSpec(name, loader, origin=origin, is_package=is_package)
        spec.has_location = True
        spec.cached = f"{self._bundle}/{NAME}"
        if is_package:
            spec.submodule_search_locations = [stem]
        return spec

    def compile_pattern(self, text: Any, flags: int = 0) -> "re.Pattern[Any]":
        """Return a pattern. `re` calls it for each that it has not in its cache."""
        # `text` is a compiled pattern if `re` was given one, with flags or without.
        is_text = type(text) is str or type(text) is bytes
        place = self.patterns.get((text, flags)) if is_text else None
        if place is None:
            return _compile(text, flags)
        pattern: re.Pattern[Any] = _sre.compile(*self.read(place))
        return pattern

    def execute(self, source: str, *names: dict[str, Any]) -> None:
        """Execute generated code. Dataclasses call it in place of `exec`."""
        exec(self._code_of(source), *names)  # noqa: S102 - theirs  # nosec B102

    def evaluate(self, source: str, names: dict[str, Any]) -> Any:
        """Evaluate generated code. Named tuples call it in place of `eval`."""
        return eval(self._code_of(source), names)  # noqa: S307 - theirs  # nosec B307

    def _code_of(self, source: str) -> str | CodeType:
        place = self.code.get(source)
        if place is None:
            return source
        code: CodeType = self.read(place)
        return code


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, file: Compiled, place: Place) -> None:
        super().__init__(name, path)
        self._file = file
        self._place = place

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - of the base class
        code: CodeType = self._file.read(self._place)
        return code


_compiler: Any = sys.modules["re._compiler"]
_compile: Callable[[Any, int], "re.Pattern[Any]"] = _compiler.compile


def use(bundle: str, *, first: "MetaPathFinderProtocol") -> None:
    """Let Python use the file of a bundle, if it has one for this Python.

    Args:
        bundle: The bundle's directory.
        first: A finder that Python asks before the file. Without a file, Python does
            not ask it either.
    """
    try:
        compiled = Compiled(bundle)
    except FileNotFoundError:
        return
    if not compiled.is_for_this_python:
        return
    sys.meta_path[:0] = [first, compiled]
    # These modules look the names up at each call.
    _compiler.compile = compiled.compile_pattern
    vars(collections)["eval"] = compiled.evaluate
    # Here, since it imports modules that have patterns and named tuples.
    import dataclasses  # noqa: PLC0415

    vars(dataclasses)["exec"] = compiled.execute
