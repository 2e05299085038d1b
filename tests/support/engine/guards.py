"""Takes one part out of one condition of the store, by name.

A part is named by its function and by its own text there, as in
`without(Users.record_activity, "first_use_today")`. Parts of shared conditions are
named by their meaning: `asked_by.version`. The rest is compiled again; nothing else in
the function changes.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import pytest

from anonauth.store import (
    accounts,
    api_keys,
    conditions,
    expiring,
    identities,
    login_keys,
    merges,
    ring,
    users,
)

WRITERS: tuple[ModuleType, ...] = (
    accounts,
    api_keys,
    conditions,
    expiring,
    identities,
    login_keys,
    merges,
    ring,
    users,
)
"""The modules of the store that write, or that have conditions."""

# Holds for every item, and for a missing item.
_ANYTHING = "(UserItem.pk.exists() | UserItem.pk.does_not_exist())"

_LEFT = {
    "asked_by.version": "alive(now) & mine(session.id, session.token_hash, now)",
    "asked_by.mine": "as_read(user, now)",
    "asked_by.alive": "(UserItem.version == user.version)"
    " & mine(session.id, session.token_hash, now)",
    "as_read.version": "alive(now)",
    "as_read.alive": "UserItem.version == user.version",
}
"""Each shared condition without one of its parts."""

_SHARED = {name.partition(".")[0] for name in _LEFT}


@contextmanager
def without(function: Callable[..., Any], *parts: str) -> Iterator[None]:
    """Run a block without parts of a function's conditions, in all threads."""
    assert isinstance(function, FunctionType)
    tree = _parsed(function)
    for part in parts:
        remover = _Remover(part)
        tree = ast.fix_missing_locations(remover.visit(tree))
        assert remover.removed, f"{function.__qualname__} has no {part}"
    namespace: dict[str, Any] = {}
    code = compile(tree, function.__code__.co_filename, "exec")
    exec(code, dict(function.__globals__), namespace)  # noqa: S102 - our own code
    with pytest.MonkeyPatch.context() as patch:
        for name in ("alive", "mine", "as_read", "UserItem"):
            patch.setitem(function.__globals__, name, getattr(conditions, name))
        patch.setattr(function, "__code__", namespace[function.__name__].__code__)
        yield


def parts_of_conditions() -> set[tuple[str, str]]:
    """Return (function, part) of every condition in the store's writes."""
    found = set()
    for module in WRITERS:
        classes = [c for _, c in inspect.getmembers(module, inspect.isclass)]
        for owner in [module, *classes]:
            for _, function in inspect.getmembers(owner, inspect.isfunction):
                name = function.__name__
                is_ours = function.__module__ == module.__name__
                # A scan writes nothing, and shared conditions are listed on their own.
                if is_ours and name not in _SHARED and not name.startswith("scan"):
                    found |= {(function.__qualname__, p) for p in _parts(function)}
    return found


def _parts(function: FunctionType) -> set[str]:
    tree = _parsed(function)
    named = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    joined: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
            joined |= _operands(node, named)
        elif isinstance(node, ast.Call):
            for condition in _conditions(node):
                joined |= _operands(condition, named)
    return joined


def _conditions(call: ast.Call) -> list[ast.expr]:
    """Return the condition of a call if it is a write."""
    asked = [keyword.value for keyword in call.keywords if keyword.arg == "condition"]
    if isinstance(call.func, ast.Attribute):
        place = {"update": 1, "delete": 0}.get(call.func.attr)
        is_item = isinstance(call.func.value, ast.Name) and call.func.value.id == "item"
        if is_item and place is not None:
            asked += call.args[place : place + 1]
    return asked


def _operands(node: ast.expr, named: dict[str, ast.expr]) -> set[str]:
    """Return the operands of `&`, following names that stand for conjunctions."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        return _operands(node.left, named) | _operands(node.right, named)
    value = named.get(node.id) if isinstance(node, ast.Name) else None
    if isinstance(value, ast.IfExp):
        return _operands(value.body, named) | _operands(value.orelse, named)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitAnd):
        return _operands(value, named)
    text = ast.unparse(node)
    called, is_call, _ = text.partition("(")
    if is_call and called in _SHARED:
        return {part for part in _LEFT if part.startswith(f"{called}.")}
    return {text}


def _parsed(function: FunctionType) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


class _Remover(ast.NodeTransformer):
    def __init__(self, part: str) -> None:
        self._part = part
        self._whole = part.partition(".")[0] if part in _LEFT else None
        self.removed = 0

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, ast.expr) or _is_assigned(node):
            return self.generic_visit(node)
        text = ast.unparse(node)
        if self._whole is not None and text.startswith(f"{self._whole}("):
            self.removed += 1
            return ast.parse(_LEFT[self._part], mode="eval").body
        if text == self._part:
            self.removed += 1
            return ast.parse(_ANYTHING, mode="eval").body
        return self.generic_visit(node)


def _is_assigned(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)
