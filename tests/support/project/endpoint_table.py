"""The endpoints table of client-api.md, made from `openapi.json`.

`.venv/bin/python tests/support/project` writes it into the page.
"""

from collections.abc import Iterator

from support.contracts.openapi_contract import (
    JSON_TYPE,
    Schema,
    head_operations,
    operations,
    resolve,
)
from support.project.generated_table import table, write

PAGE = "client-api.md"
NAME = "endpoints"

_HEAD = ("Call", "What it does", "Token", "Body", "Answer")
_APP = "/api/client/v2.0/app/{appId}"
_NONE = "–"  # noqa: RUF001 - the sign for "none" in the pages' tables
_TOKENS = {"accessToken": "access", "refreshToken": "refresh"}


def endpoint_table() -> str:
    """Return the table: a row for each operation, in the document's order."""
    heads = {route.partition(" ")[2] for route, _ in head_operations()}
    return table(
        _HEAD,
        [
            (
                f"`{_short(route)}`{_query(operation)}",
                operation["summary"] + _head_too(route, heads),
                _token(operation),
                _body(operation),
                _answer(operation),
            )
            for route, operation in operations()
        ],
    )


def write_table() -> None:
    """Write the table into its page."""
    write(PAGE, NAME, endpoint_table())


def _short(route: str) -> str:
    return route.replace(_APP, "{app}")


def _query(operation: Schema) -> str:
    names = [
        f"`{parameter['name']}`" + ("" if parameter.get("required") else " (optional)")
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    ]
    return f" with {', '.join(names)}" if names else ""


def _head_too(route: str, heads: set[str]) -> str:
    method, _, path = route.partition(" ")
    return " (`HEAD` too)" if method == "GET" and path in heads else ""


def _token(operation: Schema) -> str:
    kinds = operation["security"]
    named = [_TOKENS[name] for kind in kinds for name in kind]
    if not named:
        return _NONE
    return ", ".join(named) + (" (only to link)" if {} in kinds else "")


def _body(operation: Schema) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return _NONE
    (media,) = content.values()
    shapes = [_object(kind) for kind in _alternatives(media["schema"])]
    return " or ".join(shapes)


def _answer(operation: Schema) -> str:
    if "200" not in operation["responses"]:
        return "never a success"
    ((kind, media),) = resolve(operation["responses"]["200"])["content"].items()
    if kind != JSON_TYPE:
        return f"`{kind}`"
    return " or ".join(_object(kind) for kind in _alternatives(media["schema"]))


def _alternatives(schema: Schema) -> Iterator[Schema]:
    schema = resolve(schema)
    if "anyOf" in schema:
        for kind in schema["anyOf"]:
            yield from _alternatives(kind)
    else:
        yield schema


def _object(schema: Schema) -> str:
    if schema["type"] == "array":
        return f"array of {_object(resolve(schema['items']))}"
    required = schema.get("required", [])
    names = [
        name if name in required else f"{name}?"
        for name, field in schema.get("properties", {}).items()
        if resolve(field).get("type") != "null"  # a field that must not be sent
    ]
    return "`{" + ", ".join(names) + "}`"
