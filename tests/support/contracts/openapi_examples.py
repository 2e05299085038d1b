"""Valid requests, taken from the examples of `openapi.json`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from support.contracts.openapi_contract import JSON_TYPE, Schema, operations
from support.service.harness import LINK

TokenKind = Literal["access", "refresh"]

TOKEN_KINDS: Mapping[str, TokenKind] = {
    "accessToken": "access",
    "refreshToken": "refresh",
}
"""The kind of token for each security scheme of the document."""

OPERATIONS = dict(operations())


def _token_routes() -> Iterator[tuple[str, TokenKind]]:
    for route, operation in OPERATIONS.items():
        for scheme in operation.get("security", ()):
            for name in scheme:
                yield route, TOKEN_KINDS[name]


TOKEN_OF_ROUTE = dict(_token_routes())


def examples(media: Schema) -> dict[str, Any]:
    """Return the example values of a media type by name."""
    if "example" in media:
        return {"": media["example"]}
    return {name: each["value"] for name, each in media.get("examples", {}).items()}


def bodies(operation: Schema) -> dict[str, Any]:
    """Return the example bodies of an operation by name; there may be none."""
    content = operation.get("requestBody", {}).get("content", {})
    return examples(content[JSON_TYPE]) if content else {}


def provider_of(example: str) -> str:
    """Return the provider that the name of a credential's example begins with."""
    (provider,) = (
        parameter["schema"]["enum"]
        for parameter in OPERATIONS[LINK]["parameters"]
        if parameter["name"] == "provider"
    )
    (name,) = (each for each in provider if example.startswith(each))
    return str(name)


def options_of(route: str) -> dict[str, Any]:
    """Return what a request to a route needs beside its token."""
    named: dict[str, dict[str, str]] = {"path": {}, "query": {}}
    for parameter in OPERATIONS[route]["parameters"]:
        named[parameter["in"]][parameter["name"]] = parameter["example"]
    named["path"].pop("appId", None)
    options: dict[str, Any] = {"parameters": named["path"], "query": named["query"]}
    for body in bodies(OPERATIONS[route]).values():
        return options | {"body": json.dumps(body)}
    return options
