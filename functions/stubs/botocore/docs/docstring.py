"""Left out of the bundle: see the package."""

from typing import Any, Self


class ClientMethodDocstring(str):
    """Empty; takes what the real one does."""

    __slots__ = ()

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return super().__new__(cls)


class PaginatorDocstring(ClientMethodDocstring):
    """Empty as well."""


class WaiterDocstring(ClientMethodDocstring):
    """Empty as well."""
