"""The import rule of design.md §3, on the syntax trees of the package."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "functions" / "anonauth"

# From the inside out: what each part may import of the package.
PURE = {"domain", "errors"}
MAY_IMPORT = {
    "domain": set(),
    "errors": set(),
    "answers": set(),
    "settings": PURE,
    "ports": PURE,
    "usecases": PURE | {"ports", "usecases"},
    "store": PURE | {"answers", "store"},
    "providers": PURE | {"ports", "providers"},
    "keys": PURE | {"ports"},
    "tokens": PURE | {"keys"},
    "bus": PURE,
    "metrics": PURE,
    "wiring": PURE
    | {"bus", "keys", "metrics", "ports", "providers", "settings", "store"}
    | {"tokens"},
    "handlers": PURE | {"handlers", "settings", "usecases", "wiring"},
    # It stands in for parts of the store, and reads its items.
    "local": PURE
    | {"answers", "bus", "local", "ports", "providers", "settings", "store"}
    | {"usecases", "wiring"},
    "cli": PURE
    | {"answers", "cli", "local", "metrics", "ports", "providers", "settings"}
    | {"usecases", "wiring"},
}
# Names of the outside world and the parts that may know them.
ONLY = {
    "pynamodb": {"store"},
    "jwt": {"tokens", "providers"},
    "cryptography": {"keys", "tokens", "providers"},
    "botocore": {"answers", "bus", "keys", "providers", "store", "wiring"}
    | {"cli", "local"},
    "argon2": {"providers"},
    "email_validator": {"providers"},
    "msgspec": {"providers", "local"},
    "boto3": {"cli", "local"},
    "moto": {"local"},
    "aws_lambda_powertools": {"handlers", "metrics"},
    "os": {"wiring", "cli", "local"},
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
# What comes before the imports of all functions, to make them cheaper.
STARTS = PACKAGE / "handlers" / "__init__.py"


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
        else:
            assert part in ONLY.get(head, {part}), f"{part} imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path != STARTS],
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
