"""The import rule of design.md §3, checked on the package's syntax trees."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.project.tools import ROOT

PACKAGE = ROOT / "functions" / "anonauth"

# From the inside out: the rooms of the package from which each room may import.
PURE = {"domain", "errors"}
MAY_IMPORT = {
    "domain": {"domain"},
    "errors": set(),
    "aws_answers": set(),
    "aws_session": set(),
    "backoff": set(),
    "cached_copy": set(),
    "compiled": set(),
    "settings": PURE,
    "ports": PURE,
    "usecases": PURE | {"ports", "usecases"},
    "store": PURE | {"aws_answers", "aws_session", "backoff", "store"},
    "keys": PURE | {"cached_copy", "ports"},
    "tokens": PURE | {"keys"},
    "metrics": PURE,
    "event_bus": PURE | {"backoff"},
    "passwords": set(),
    "email_addresses": PURE,
    "mailer": PURE | {"email_addresses"},
    # Issuers know nothing of providers, the only users of other issuers' tokens.
    "issuers": PURE | {"issuers"},
    "provider_settings": PURE | {"cached_copy", "issuers", "provider_settings"},
    "challenges": PURE | {"issuers", "provider_settings"},
    "providers": PURE
    | {"email_addresses", "issuers", "ports", "provider_settings", "providers"},
    "wiring": PURE
    | {"challenges", "email_addresses", "event_bus", "keys", "mailer", "metrics"}
    | {"passwords", "ports", "provider_settings", "providers", "settings", "store"}
    | {"tokens"},
    "handlers": PURE | {"compiled", "handlers", "settings", "usecases", "wiring"},
    # The local DynamoDB stands in for parts of the store, and reads the store's items.
    "local": PURE
    | {"aws_answers", "event_bus", "local", "ports", "provider_settings", "settings"}
    | {"store", "usecases", "wiring"},
    "cli": PURE
    | {"aws_answers", "backoff", "cli", "event_bus", "local", "metrics", "ports"}
    | {"provider_settings", "settings", "usecases", "wiring"},
}
# Outside libraries, and the parts that may import them.
ONLY = {
    "pynamodb": {"store"},
    "jwt": {"tokens", "issuers"},
    "cryptography": {"keys", "tokens", "issuers"},
    "botocore": {"aws_answers", "aws_session", "event_bus", "keys", "mailer"}
    | {"provider_settings", "store", "wiring", "cli", "local"},
    "argon2": {"passwords"},
    "email_validator": {"email_addresses"},
    "msgspec": {"provider_settings"},
    "boto3": set(),  # botocore is enough
    "moto": {"local"},
    "aws_lambda_powertools": {"handlers", "metrics"},
    "os": {"compiled", "wiring", "cli", "local"},
}
AT_IMPORT = (
    ast.FunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)
MODULES = sorted(PACKAGE.rglob("*.py"))
# This module runs before a function's other imports, to make those cheaper.
COLD_START = PACKAGE / "handlers" / "_cold_start.py"
# This module runs where `wiring`, which reads the environment for all others, cannot be
# imported.
ARCHITECTURE = PACKAGE / "handlers" / "_architecture.py"


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_given_a_module_when_it_imports_then_only_inwards(path: Path) -> None:
    part = part_of(path)
    for name in imported(path):
        head, _, rest = name.partition(".")
        if head == "anonauth":
            target = rest.partition(".")[0]
            assert target in MAY_IMPORT[part], f"{part} imports {name}"
        elif (path, head) != (ARCHITECTURE, "os"):
            assert part in ONLY.get(head, {part}), f"{part} imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path != COLD_START],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_given_a_module_when_it_is_imported_then_nothing_but_definitions_runs(
    path: Path,
) -> None:
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        assert docstring or for_types or isinstance(node, AT_IMPORT), ast.dump(node)


def test_given_the_package_when_listed_then_the_rule_covers_every_part() -> None:
    assert {part_of(path) for path in MODULES} - {"__init__"} == set(MAY_IMPORT)


def test_given_handlers_when_imported_then_the_cold_start_runs_before_all_else() -> (
    None
):
    tree = ast.parse((COLD_START.parent / "__init__.py").read_text())
    code = (
        "import sys; before = set(sys.modules); import anonauth.handlers.login;"
        "print(*(name for name in sys.modules if name not in before))"
    )
    ran = subprocess.run(  # noqa: S603 - constant words
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert len(tree.body) == 2  # its docstring and the import
    # A package is loaded after the modules that its `__init__` imports.
    ours = [name for name in ran.stdout.split() if name.startswith("anonauth.")]
    assert ours.index("anonauth.handlers._cold_start") < ours.index("anonauth.handlers")
    assert ours[-1] == "anonauth.handlers.login"
