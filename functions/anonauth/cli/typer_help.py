"""Typer, with help in which a flag shows no type, and others one that people know.

Its own way is `metavar` on each, but that cannot be said of `--help`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from anonauth.cli.options import EXIT_CODES

_Function = TypeVar("_Function", bound=Callable[..., Any])


class TypedHelpCommand(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its arguments and options, and `--help`."""
        return _set_type_names(super().get_params(ctx))


class _TypedHelpGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _set_type_names(super().get_params(ctx))


class CommandGroup(typer.Typer):
    """A group of commands; arguments as Typer's."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=_TypedHelpGroup,
            no_args_is_help=True,
            rich_markup_mode="markdown",
            epilog=EXIT_CODES,
            **settings,
        )

    def command(
        self,
        name: str | None = None,
        *,
        cls: type[TyperCommand] | None = None,
        **settings: Any,
    ) -> Callable[[_Function], _Function]:
        """Return a decorator that makes a command of a function."""
        return super().command(name, cls=cls or TypedHelpCommand, **settings)


def _set_type_names(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if isinstance(each, TyperArgument):
            # Its metavar is its name.
            each.display_type = _type_display(each)  # type: ignore[assignment, method-assign]
        elif each.is_flag:
            each.metavar = ""
        elif each.metavar is None:
            each.metavar = _type_name(each)
    return parameters


def _type_display(argument: TyperArgument) -> Callable[[Any], str]:
    name = _type_name(argument)
    return lambda _: name


def _type_name(parameter: TyperArgument | TyperOption) -> str:
    kind = parameter.type_descriptor
    if kind.choices:
        return f"[{'|'.join(kind.choices)}]"
    if kind.is_path:
        return "PATH"
    (annotation,) = get_args(kind.annotation) if kind.is_list else (kind.annotation,)
    return _TYPES[annotation]


# Typer would have Python's own: `<int range>`, `<list[str]>`.
_TYPES = {float: "FLOAT", int: "INTEGER", str: "TEXT"}
