"""Mutations beside mutmut's own: a guard, an action or a call is left out.

mutmut swaps operators and spoils arguments, but leaves nothing out: no part of a
condition, no action of an update, no statement. The writes of the store and the checks
of tokens consist of these.
"""

from collections.abc import Iterator
from typing import Any, cast

import libcst as cst
from mutmut.mutation.mutators import mutation_operators


def add_operators() -> None:
    """Add these mutations to mutmut's list; mutmut has no other way to add them."""
    added: list[tuple[type, Any]] = [
        (cst.BinaryOperation, one_operand),
        (cst.BooleanOperation, one_operand),
        (cst.List, one_element_less),
        (cst.Dict, one_element_less),
        (cst.Set, one_element_less),
        (cst.If, always_or_never),
        (cst.CompIf, always),
        (cst.Expr, nothing_called),
        (cst.Raise, nothing_raised),
    ]
    cast("list[Any]", mutation_operators).extend(added)


def one_operand(
    node: cst.BinaryOperation | cst.BooleanOperation,
) -> Iterator[cst.BaseExpression]:
    """Turn `a & b` into `a`, and into `b`; likewise for `|`, `and`, `or`."""
    if isinstance(node.operator, cst.BitAnd | cst.BitOr | cst.And | cst.Or):
        yield _in_parentheses(node.left)
        yield _in_parentheses(node.right)


def one_element_less(node: cst.List | cst.Dict | cst.Set) -> Iterator[cst.CSTNode]:
    """Leave out one element, each in turn."""
    if isinstance(node, cst.Set) and len(node.elements) == 1:
        return  # `{}` would be a dict
    for i in range(len(node.elements)):
        rest = [*node.elements[:i], *node.elements[i + 1 :]]
        yield node.with_changes(elements=rest)


def always_or_never(node: cst.If) -> Iterator[cst.If]:
    """Take a branch always, and never."""
    yield _with_test(node, cst.Or(), "True")
    yield _with_test(node, cst.And(), "False")


def always(node: cst.CompIf) -> Iterator[cst.CompIf]:
    """Take every element."""
    yield _with_test(node, cst.Or(), "True")


def nothing_called(node: cst.Expr) -> Iterator[cst.Pass]:
    """Leave out a statement that has an effect."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def nothing_raised(_: cst.Raise) -> Iterator[cst.Pass]:
    """Continue where the code raises."""
    yield cst.Pass()


def _with_test(node: Any, operator: cst.BaseBooleanOp, literal: str) -> Any:
    test = cst.BooleanOperation(
        left=_in_parentheses(node.test), operator=operator, right=cst.Name(literal)
    )
    return node.with_changes(test=test)


def _in_parentheses(node: cst.BaseExpression) -> cst.BaseExpression:
    bracketed: cst.BaseExpression = node.with_changes(
        lpar=[cst.LeftParen(), *node.lpar], rpar=[*node.rpar, cst.RightParen()]
    )
    return bracketed
