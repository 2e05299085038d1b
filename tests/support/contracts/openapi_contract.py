"""`openapi.json` as a contract: whether the document allows an answer.

Every reply of the unit suite is checked here (`harness.Deployment.send`), so the
document's description of answers is as complete as the suite.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from jsonschema import Draft202012Validator

from support.project.tools import ROOT

DOCUMENT = json.loads((ROOT / "functions/anonauth/openapi.json").read_text())

METHODS = ("get", "post", "put", "delete")

JSON_TYPE = "application/json"

Schema = dict[str, Any]


def operations() -> Iterator[tuple[str, Schema]]:
    """Yield route key and operation, with the path's parameters in the operation."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                operation = dict(item[method])
                operation["parameters"] = [
                    resolve(parameter)
                    for parameter in (
                        *item.get("parameters", ()),
                        *operation.get("parameters", ()),
                    )
                ]
                yield f"{method.upper()} {path}", operation


def head_operations() -> Iterator[tuple[str, Schema]]:
    """Yield route key and operation of each HEAD. Its answers are those of its GET."""
    for path, item in DOCUMENT["paths"].items():
        if "head" in item:
            yield f"HEAD {path}", item["head"]


def resolve(node: Schema) -> Schema:
    """Return the target of a reference; return anything else unchanged."""
    reference = node.get("$ref")
    if reference is None:
        return node
    found = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return resolve(found)


def validator(schema: Schema) -> Draft202012Validator:
    """Return a validator of one of the document's schemas, formats included."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(_for_python(whole), format_checker=_FORMATS)


def closed_validator(schema: Schema) -> Draft202012Validator:
    """Return a fast validator that accepts only the described properties.

    (Later versions may answer more, but this version answers nothing that the document
    does not describe.) References are resolved first, because looking them up takes
    most of the time. They must not be circular.
    """
    return Draft202012Validator(
        _for_python(_closed(_inlined(schema))), format_checker=_FORMATS
    )


_FORMATS = Draft202012Validator.FORMAT_CHECKER


def _for_python(node: Any) -> Any:
    if isinstance(node, list):
        return [_for_python(each) for each in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _for_python(value) for key, value in node.items()}
    if isinstance(pattern := plain.get("pattern"), str) and pattern.endswith("$"):
        # Patterns are ECMAScript's; Python's `$` would let a newline follow.
        plain["pattern"] = pattern.removesuffix("$") + r"\Z"
    return plain


def _inlined(node: Any) -> Any:
    if isinstance(node, list):
        return [_inlined(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = resolve(node)
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        properties = target.get("properties", {}) | siblings.get("properties", {})
        node = target | siblings | ({"properties": properties} if properties else {})
    return {key: _inlined(value) for key, value in node.items()}


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


@functools.cache
def _answers() -> Mapping[tuple[str, int], tuple[Schema, Draft202012Validator]]:
    found = {
        (route, int(status)): _answer(resolve(response))
        for route, operation in operations()
        for status, response in operation["responses"].items()
    }
    components = DOCUMENT["components"]["responses"]
    # `$default` is not a path. Its answer is in the document's description.
    found["$default", 404] = _answer(components["NoSuchEndpoint"])
    found["$default", 200] = _answer(components["Done"])
    found["$default", 503] = _answer(components["Unavailable"])
    return found


def _answer(response: Schema) -> tuple[Schema, Draft202012Validator]:
    (schema,) = (media["schema"] for media in response["content"].values())
    return response, closed_validator(schema)


def require_documented(
    route: str, status: int, headers: Mapping[str, str], text: str
) -> None:
    """Fail unless the document has this answer of the service for this route.

    Raises:
        AssertionError: It says what is not in the document.
    """
    # A function answers HEAD as GET; the gateway removes the body.
    route = route.replace("HEAD ", "GET ")
    told, response = _compare(route, status, _LOG_ID.sub(_SAME_LOG_ID, text))
    assert not told, f"{route}: {status} is not as in openapi.json: {told}"
    assert [headers["content-type"]] == list(response["content"]), route
    # The gateway sets no Retry-After, so the document cannot require it, but the
    # service has to send it.
    if "Retry-After" in response.get("headers", ()):
        assert headers["retry-after"].isdecimal(), route
        assert int(headers["retry-after"]) >= 1, route
    else:
        assert "retry-after" not in headers, route
    # A 401 must have a challenge (RFC 9110 §15.5.2), and nothing else needs it.
    challenge = "Bearer" if "WWW-Authenticate" in response.get("headers", ()) else None
    assert headers.get("www-authenticate") == challenge, route
    assert (status == HTTPStatus.UNAUTHORIZED) == (challenge is not None), route
    assert headers["x-content-type-options"] == "nosniff", route


# Most replies of the suite are refusals that differ only in this id.
_LOG_ID = re.compile(r"co_id=[0-9a-f]{32}\b")
_SAME_LOG_ID = "co_id=" + "0" * 32


@functools.lru_cache(maxsize=256)
def _compare(route: str, status: int, text: str) -> tuple[str, Schema]:
    answer = _answers().get((route, status))
    if answer is None:
        return "no such status", {}
    response, checks = answer
    body = json.loads(text) if "application/json" in response["content"] else text
    if checks.is_valid(body):
        return "", response
    return "; ".join(error.message for error in checks.iter_errors(body)), response
