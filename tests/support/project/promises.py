"""What a description promises to a reader who was written for it.

The facts of two versions are compared: a minor version adds some and takes none away
(changelog.md).
"""

from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

_METHODS = ("get", "post", "put", "delete", "head")


def promises_of_api(document: Schema) -> set[str]:
    """Return what a client relies on: calls, statuses, fields and codes of answers."""
    return set(_promises(document))


def required_parameters(document: Schema) -> set[str]:
    """Return what a client has to send with each call, beside the body."""
    resolve = _resolver(document)
    return {
        f"{route} needs {resolve(parameter)['name']}"
        for route, operation in _operations(document)
        for parameter in operation.get("parameters", ())
        if resolve(parameter).get("required")
    }


def facts_of_schema(schema: Schema) -> set[str]:
    """Return the fields and values that a JSON schema describes."""
    return set(_facts(schema, _resolver(schema), ""))


def facts_of_template(template: Schema) -> set[str]:
    """Return what an operator relies on: parameters, their defaults, and outputs."""
    parameters = template["Parameters"].items()
    return {
        *(f"parameter {name}" for name in template["Parameters"]),
        *(f"{name} is by default '{each.get('Default')}'" for name, each in parameters),
        *(f"output {name}" for name in template["Outputs"]),
    }


def _operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def _promises(document: Schema) -> Iterator[str]:
    resolve = _resolver(document)
    for route, operation in _operations(document):
        yield route
        for status, response in operation["responses"].items():
            yield f"{route}: {status}"
            for media, content in resolve(response).get("content", {}).items():
                start = f"{route}: {status} {media} "
                yield from _facts(content.get("schema", {}), resolve, start)


def _facts(
    schema: Schema, resolve: Callable[[Schema], Schema], start: str
) -> Iterator[str]:
    schema = resolve(schema)
    for name, part in schema.get("properties", {}).items():
        yield f"{start}{name}"
        if name in schema.get("required", ()):
            yield f"{start}{name} always"
        yield from _facts(part, resolve, f"{start}{name}.")
    for value in schema.get("enum", ()):
        yield f"{start}= {value}"
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _facts(part, resolve, start)
    if "items" in schema:
        yield from _facts(schema["items"], resolve, f"{start}[].")


def _resolver(document: Schema) -> Callable[[Schema], Schema]:
    def resolve(node: Schema) -> Schema:
        if "$ref" not in node:
            return node
        found = document
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        target = resolve(found)
        properties = target.get("properties", {}) | node.get("properties", {})
        return {**target, **node, "properties": properties}

    return resolve
