"""Replaces the docstrings of clients' methods with empty ones."""

from typing import Any, Self


class ClientMethodDocstring(str):
    """Empty docstring; takes the same arguments as the original."""

    __slots__ = ()

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return super().__new__(cls)


class PaginatorDocstring(ClientMethodDocstring):
    """Empty docstring of a paginator."""


class WaiterDocstring(ClientMethodDocstring):
    """Empty docstring of a waiter."""
