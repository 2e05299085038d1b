"""Typer commands whose help shows common type names, and no type for a flag.

Typer would need a `metavar` for each option, and `--help` itself cannot have one.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from anonauth.cli.options import EXIT_CODES

_Function = TypeVar("_Function", bound=Callable[..., Any])


class TypedHelpCommand(TyperCommand):
    """A command whose help shows common type names."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's arguments and options, and `--help`."""
        return _set_type_names(super().get_params(ctx))


class _TypedHelpGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _set_type_names(super().get_params(ctx))


class CommandGroup(typer.Typer):
    """A group of such commands. Its arguments are those of `Typer`."""

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
        """Return a decorator that registers a function as a command."""
        return super().command(name, cls=cls or TypedHelpCommand, **settings)


def _set_type_names(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if isinstance(each, TyperArgument):
            # An argument's metavar is its name.
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


# Typer would show Python's names: `<int range>`, `<list[str]>`.
_TYPES = {float: "FLOAT", int: "INTEGER", str: "TEXT"}
