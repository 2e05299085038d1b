"""The route table of functions/README.md: from a call to every file that it concerns.

Nothing in it is written by hand. Routes and Lambdas come from `template.yaml`, handler
functions from the handlers' `ROUTES`, and the use cases of a handler function from its
syntax tree. A sample event belongs to the route of its `routeKey`, and a test file to
the word that it is named after. `.venv/bin/python tests/support/project` writes the
table into the page.
"""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from support.contracts.openapi_contract import operations
from support.project import sam_template
from support.project.generated_table import table, write
from support.project.tools import ROOT

PAGE = "functions/README.md"
NAME = "routes"

_HEAD = ("Route", "Lambda", "Handler", "Use case", "Sample event", "Tests")
_APP = "/api/client/v2.0/app/{appId}"
_USE_CASES = "anonauth.usecases."
_PACKAGE = ROOT / "functions" / "anonauth"
_NONE = "–"  # noqa: RUF001 - the sign for "none" in the pages' tables

# Folders with tests of handlers and use cases; other rooms' tests use the same words.
_TEST_FOLDERS = ("usecases", "handlers", ".")


@dataclass
class Row:
    """A row of the table, before it becomes Markdown.

    `calls` are route keys, or the trigger of a Lambda that has no route.
    """

    calls: list[str]
    function: str
    handler: str
    use_cases: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)


def write_table() -> None:
    """Write the table into its page."""
    write(PAGE, NAME, route_table())


def route_table() -> str:
    """Return the table, in the template's order."""
    return table(_HEAD, [_cells(row) for row in rows()])


def rows() -> list[Row]:
    """Return the rows: for each Lambda its routes, or its trigger if it has none."""
    found: list[Row] = []
    template = sam_template.load()
    for name, made in sam_template.resources(
        template, "AWS::Serverless::Function"
    ).items():
        module_name, _, entry = made["Handler"].rpartition(".")
        module = importlib.import_module(module_name)
        keys = list(_route_keys(made))
        if keys:
            found += _rows_of_routes(name, module, keys)
        else:
            starts = [*_starts(name, made, template)]
            word = module_name.rpartition(".")[2]
            samples = [
                path.name
                for path in sorted(sam_template.EVENTS.glob("*.json"))
                if path.stem.partition("-")[0] == word
            ]
            found.append(_row(starts, name, module, entry, samples))
    return found


def _route_keys(function: dict[str, Any]) -> Iterator[str]:
    for event in function.get("Events", {}).values():
        if event["Type"] == "HttpApi":
            made = event["Properties"]
            yield f"{made['Method']} {made['Path']}" if "Path" in made else "$default"


def _rows_of_routes(name: str, module: ModuleType, keys: Iterable[str]) -> list[Row]:
    found: dict[tuple[str, str], Row] = {}
    for key in keys:
        handler: Callable[..., Any] = module.ROUTES[key]
        # GET's function also answers HEAD: one row.
        same = (key.partition(" ")[2], handler.__name__)
        if same in found:
            found[same].calls.append(key)
        else:
            samples = _samples_of(key)
            found[same] = _row([key], name, module, handler.__name__, samples)
    return list(found.values())


def _samples_of(key: str) -> list[str]:
    return [
        path.name
        for path in sorted(sam_template.EVENTS.glob("*.json"))
        if sam_template.event(path.stem).get("routeKey") == key
    ]


def _starts(
    name: str, function: dict[str, Any], template: dict[str, Any]
) -> Iterator[str]:
    for event in function.get("Events", {}).values():
        yield f"schedule, {event['Properties']['Schedule']}"
    for kind, what in (
        ("AWS::Lambda::EventSourceMapping", "stream of the table"),
        ("Custom::KeyRing", "deployment"),
    ):
        for made in sam_template.resources(template, kind).values():
            if any(_names(value, name) for value in made.values()):
                yield what
    for output in template["Outputs"].values():
        if output["Value"] == {"Fn::GetAtt": [name, "Arn"]}:
            yield "authorizer of another API"


def _names(value: Any, function: str) -> bool:
    match value:
        case {"Ref": named}:
            return bool(named == function)
        case {"Fn::GetAtt": [named, _]}:
            return bool(named == function)
    return False


def _row(
    calls: list[str], name: str, module: ModuleType, entry: str, samples: list[str]
) -> Row:
    used = list(used_use_cases(module, entry))
    return Row(
        calls,
        name,
        f"{_path(module)}:{entry}",
        [f"{_path(used_module)}:{function}" for used_module, function in used],
        samples,
        _tests_of([_stem(used_module) for used_module, _ in used], entry, module),
    )


def used_use_cases(module: ModuleType, entry: str) -> Iterator[tuple[ModuleType, str]]:
    """Yield module and name of each use case that a handler function uses.

    A use case is a function of a use case's module, or a method of a class there. It is
    used in the handler function itself, or in a function of its module that it calls.
    """
    functions = {
        node.name: node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.FunctionDef)
    }
    seen: set[object] = set()
    for node in _reached(functions, entry):
        for used in _used_in(node, functions, module):
            if used not in seen:
                seen.add(used)
                yield used


def _reached(
    functions: dict[str, ast.FunctionDef], entry: str
) -> list[ast.FunctionDef]:
    reached: dict[str, ast.FunctionDef] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop(0)
        if name in functions and name not in reached:
            reached[name] = functions[name]
            names = [n for n in ast.walk(functions[name]) if isinstance(n, ast.Name)]
            waiting += [each.id for each in names]
    return list(reached.values())


def _assigned(node: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    for each in ast.walk(node):
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.Assign(
                targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)
            ):
                for target, value in zip(targets, values, strict=False):
                    if isinstance(target, ast.Name):
                        yield target.id, value


def _used_in(
    node: ast.FunctionDef, functions: dict[str, ast.FunctionDef], module: ModuleType
) -> Iterator[tuple[ModuleType, str]]:
    variables = dict(_assigned(node))

    def class_of(value: ast.expr) -> type | None:
        match value:
            case ast.Name(id=name) if name in variables:
                return class_of(variables[name])
            case ast.Call(func=ast.Name(id=name)) if name in functions:
                returns = functions[name].returns
                named = returns.id if isinstance(returns, ast.Name) else ""
                return _use_case_class(vars(module).get(named))
            case ast.Call(func=ast.Name(id=name)):
                return _use_case_class(vars(module).get(name))
        return None

    for each in sorted(ast.walk(node), key=_place):
        match each:
            case ast.Name(id=name):
                used = vars(module).get(name)
                if inspect.isfunction(used) and _is_use_case(used):
                    yield importlib.import_module(used.__module__), used.__name__
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                owner = class_of(value)
                if owner is not None:
                    name = f"{owner.__name__}.{method}"
                    yield importlib.import_module(owner.__module__), name


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _use_case_class(value: object) -> type | None:
    return value if inspect.isclass(value) and _is_use_case(value) else None


def _is_use_case(value: Any) -> bool:
    return str(value.__module__).startswith(_USE_CASES)


def _tests_of(use_cases: list[str], entry: str, handler: ModuleType) -> list[str]:
    # From the most specific word to the most general.
    found = [test for word in dict.fromkeys(use_cases) for test in _test_of(word)]
    found += _test_in("handlers", _stem(handler))
    for word in (entry, entry.partition("_")[0], _stem(handler)):
        found = found or _test_of(word)
    return found


def _test_of(word: str) -> list[str]:
    tests = (_test_in(folder, word) for folder in _TEST_FOLDERS)
    return next((found for found in tests if found), [])


def _test_in(folder: str, word: str) -> list[str]:
    path = ROOT / "tests" / "unit" / folder / f"test_{word.strip('_')}.py"
    return [path.relative_to(ROOT).as_posix()] if path.is_file() else []


def _stem(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _path(module: ModuleType) -> str:
    path = Path(inspect.getfile(module))
    return path.relative_to(_PACKAGE).as_posix()


def _cells(row: Row) -> list[str]:
    return [
        "<br>".join(_shown(row.calls)),
        row.function,
        f"`{row.handler}`",
        "<br>".join(f"`{each}`" for each in row.use_cases) or _NONE,
        "<br>".join(f"`{each}`" for each in row.samples) or _NONE,
        "<br>".join(f"`{each}`" for each in row.tests) or _NONE,
    ]


def _shown(calls: list[str]) -> Iterator[str]:
    operation_of = dict(operations())
    for call in calls:
        if call.startswith("HEAD "):
            yield "`HEAD` of the same"
        elif not call.startswith(("$", "GET ", "POST ", "PUT ", "DELETE ")):
            yield call  # no route
        else:
            yield f"`{call.replace(_APP, '{app}')}`"
            for path in _filled_in(call, operation_of.get(call, {})):
                yield f"`{path}`"


def _filled_in(key: str, operation: dict[str, Any]) -> Iterator[str]:
    """Yield a route's paths, one for each listed value of a parameter."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            for value in parameter["schema"].get("enum", ()):
                place = f"{{{parameter['name']}}}"
                yield f"…/{key[key.index(place) :].replace(place, value)}"
