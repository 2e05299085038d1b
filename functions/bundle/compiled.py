"""Compiles what a cold start would compile, and writes it and all bytecode to a file.

The Makefile runs `python -I -S bundle/compiled.py DIRECTORY`. The bundle may be for
another processor than this machine's, so stand-ins replace compiled modules here. Each
machine then writes the same file. `anonauth/compiled.py` reads it.
"""

import _sre  # type: ignore[import-not-found]
import collections
import importlib
import marshal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
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
"""Packages that only functions import."""


def write(directory: Path) -> None:
    """Write the file of a bundle, and remove the bytecode that is in it."""
    patterns: dict[Any, bytes] = {}
    code: dict[Any, bytes] = {}
    _keep_patterns(patterns)
    _keep_code(code)
    _import_modules(directory)
    _call_sdk()
    _drop_unstable(patterns)
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
        if type(text) in {str, bytes}:
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


class _StandIns:
    """A finder of modules in place of the compiled ones, and of what they contain."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(
        self,
        name: str,
        _path: Sequence[str] | None = None,
        _target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name in self._names or name.rpartition(".")[0] in self._names:
            self._names.add(name)
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, _: ModuleType) -> None:
        """Do nothing: the module is complete."""


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _AnyClass(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


class _Anything(metaclass=_AnyClass):
    """A class that modules can call and derive from. It does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __init_subclass__(cls, **_: Any) -> None: ...


def _import_modules(directory: Path) -> None:
    """Import the package's modules."""
    compiled = {
        _name_of(path.with_name(path.name.partition(".")[0]), directory)
        for path in directory.rglob("*.so")
    }
    sys.meta_path.insert(0, _StandIns(compiled))
    sys.path.insert(0, str(directory))
    ours = (directory / "anonauth").rglob("*.py")
    names = sorted(_name_of(path, directory) for path in ours)
    for name in [*names, *_IMPORTED_LATER]:
        importlib.import_module(name)


def _call_sdk() -> None:
    """Let the SDK do what it does for a function's first call, without the network."""
    from anonauth.aws_session import make_session  # noqa: PLC0415 - the bundle's

    client: Any = make_session("us-east-1").create_client(
        "kms",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",  # noqa: S106  # nosec B106 - signs nothing
    )
    client.generate_presigned_url("decrypt", Params={"CiphertextBlob": b""})


def _drop_unstable(patterns: dict[Any, bytes]) -> None:
    from jwt import utils  # noqa: PLC0415 - the bundle's

    # PyJWT makes it from a set, so it is another one in each process.
    del patterns[utils._PEM_MARKER_RE.pattern, 0]  # noqa: SLF001


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
