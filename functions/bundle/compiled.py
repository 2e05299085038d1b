"""Compiles what a cold start would compile, and writes it and all bytecode to a file.

The Makefile runs `python -I -S bundle/compiled.py DIRECTORY`. The bundle may be for
another processor than this machine's, so packages with compiled parts are not loaded
here. Each machine then writes the same file. `anonauth/compiled.py` reads it.
"""

import _sre  # type: ignore[import-not-found]
import collections
import importlib
import marshal
import sys
from collections.abc import Callable, Mapping
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

_PYC_HEAD = 16  # bytes (PEP 552)

_LOADED_BEFORE = {
    "anonauth",
    "anonauth.compiled",
    "anonauth.handlers",
    "anonauth.handlers._cold_start",
}
"""Modules that Python loads before it uses the file."""

_IMPORTED_LATER = (
    "aws_lambda_powertools.logging",
    "aws_lambda_powertools.utilities.batch",
    "email_validator",
)
"""Plain packages that only handlers and functions import."""


def write(directory: Path) -> None:
    """Write the file of a bundle, and remove the bytecode that is in it."""
    patterns: dict[Any, bytes] = {}
    code: dict[Any, bytes] = {}
    _keep_patterns(patterns)
    _keep_code(code)
    _import_modules(directory)
    from anonauth.compiled import HEAD, NAME, SIZE  # noqa: PLC0415 - the bundle's

    modules = _move_bytecode(directory)
    content = bytearray()

    def places(found: Mapping[Any, bytes]) -> dict[Any, tuple[int, int]]:
        placed = {}
        for key, each in found.items():
            placed[key] = (len(content), len(each))
            content.extend(each)
        return placed

    packages = frozenset(
        name
        for name in modules
        if (directory / name.replace(".", "/") / "__init__.py").is_file()
    )
    index = marshal.dumps((places(modules), packages, places(patterns), places(code)))
    size = len(index).to_bytes(SIZE, "big")
    (directory / NAME).write_bytes(HEAD + size + index + content)


def _keep_patterns(kept: dict[Any, bytes]) -> None:
    compiler: Any = importlib.import_module("re._compiler")
    compile_pattern = compiler.compile
    make = _sre.compile
    made: list[tuple[Any, ...]] = []

    def compile_and_keep(text: Any, flags: int = 0) -> Any:
        pattern = compile_pattern(text, flags)
        own_text, own_flags, numbers, *rest = made.pop()
        if type(text) is str:
            numbers = list(map(int, numbers))  # some have names
            kept[text, int(flags)] = marshal.dumps(
                (own_text, own_flags, numbers, *rest)
            )
        return pattern

    def make_and_note(*arguments: Any) -> Any:
        made.append(arguments)
        return make(*arguments)

    compiler.compile = compile_and_keep
    vars(_sre)["compile"] = make_and_note


def _keep_code(kept: dict[Any, bytes]) -> None:
    def keeping(mode: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def compile_and_keep(source: str, *names: Any) -> Any:
            code = compile(source, "<string>", mode, dont_inherit=True)
            kept[source] = marshal.dumps(code)
            return run(code, *names)

        return compile_and_keep

    vars(collections)["eval"] = keeping("eval", eval)
    import dataclasses  # noqa: PLC0415 - it has named tuples, too

    vars(dataclasses)["exec"] = keeping("exec", exec)


def _import_modules(directory: Path) -> None:
    """Import the package's modules, as far as they are plain Python."""
    compiled = {
        path.relative_to(directory).parts[0].partition(".")[0]
        for path in directory.rglob("*.so")
    }
    sys.modules.update(dict.fromkeys(compiled))  # type: ignore[arg-type]
    sys.path.insert(0, str(directory))
    ours = (directory / "anonauth").rglob("*.py")
    names = [_name_of(path, directory) for path in ours]
    # Handlers first import `wiring`, and thereby packages with compiled parts.
    plain = sorted(n for n in names if not n.startswith("anonauth.handlers"))
    for name in [*plain, *_IMPORTED_LATER]:
        try:
            importlib.import_module(name)
        except ImportError as failure:
            if (failure.name or "").partition(".")[0] not in compiled:
                raise


def _move_bytecode(directory: Path) -> dict[str, bytes]:
    modules = {}
    for path in sorted(directory.rglob("*.py")):
        name = _name_of(path, directory)
        if name not in _LOADED_BEFORE:
            file = Path(cache_from_source(str(path)))
            modules[name] = file.read_bytes()[_PYC_HEAD:]
            file.unlink()
    for folder in directory.rglob("__pycache__"):
        if not any(folder.iterdir()):
            folder.rmdir()
    return modules


def _name_of(path: Path, directory: Path) -> str:
    parts = path.relative_to(directory).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
