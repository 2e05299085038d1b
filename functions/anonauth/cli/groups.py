"""Typer, with help in which a flag shows no type: there is no value to give.

Its own way is `metavar=""` on each, but that cannot be said of `--help`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from anonauth.cli.options import EXIT_CODES

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its arguments and options, and `--help`."""
        return _without_types(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Commands(typer.Typer):
    """A group of commands; arguments as Typer's."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            cls=_Group,
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
        return super().command(name, cls=cls or Command, **settings)


def _without_types(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if isinstance(each, TyperOption) and each.is_flag:
            each.metavar = ""
    return parameters
