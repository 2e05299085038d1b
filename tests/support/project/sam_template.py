"""`template.yaml` as it is written, and as SAM translates it for CloudFormation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3

# Neither package ships types.
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import (  # type: ignore[import-untyped]
    Translator,
)
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from support.project.tools import ROOT

EVENTS = ROOT / "events"

BASIC_EXECUTION = (
    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"  # logs only
)

Json = dict[str, Any]


def load() -> Json:
    """Return a new copy of the template, with intrinsic functions in the long form."""
    template: Json = json.loads(_parsed())
    return template


@cache
def _parsed() -> str:
    # Parsing takes as long as a test; copying by JSON does not.
    return json.dumps(yaml_parse((ROOT / "template.yaml").read_text()), default=str)


def translate(template: Json, parameters: dict[str, str] | None = None) -> Json:
    """Return a template as SAM translates it on AWS.

    Args:
        template: As `load` returns it.
        parameters: The deployment's values; the others have their defaults. SAM sees
            lists as one string, as on AWS.
    """
    # `sam package` writes the address of the uploaded bundle here.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/bundle"
    translator = Translator(
        {"AWSLambdaBasicExecutionRole": BASIC_EXECUTION},
        Parser(),
        boto_session=boto3.session.Session(region_name="eu-central-1"),
    )
    try:
        translated = translator.translate(template, parameters or {})
    finally:
        translator.metrics.publish()  # sends nothing; otherwise it complains at exit
    plain: Json = json.loads(json.dumps(translated))
    return plain


def add_lines(template: Json, lines: Json) -> None:
    """Add lines of a page to a template, each to the entry that is there already."""
    for name, value in lines.items():
        if isinstance(value, dict) and isinstance(template.get(name), dict):
            add_lines(template[name], value)
        else:
            template[name] = value


@cache
def _translated() -> str:
    return json.dumps(translate(load()))


def translated() -> Json:
    """Return a new copy of the translated `template.yaml`."""
    template: Json = json.loads(_translated())
    return template


def resources(template: Json, kind: str) -> dict[str, Json]:
    """Return logical id and properties of the resources of one type."""
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def statements(function: str, *, conditions: bool = True) -> list[Json]:
    """Return the policy statements of a function's role, except the logs' statement.

    Args:
        function: Logical id.
        conditions: Whether the conditions hold that some statements depend on.
    """
    role = resources(translated(), "AWS::IAM::Role")[f"{function}Role"]
    found = [
        statement
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    decided = [
        statement["Fn::If"][1 if conditions else 2]
        if "Fn::If" in statement
        else statement
        for statement in found
    ]
    return [each for each in decided if each != {"Ref": "AWS::NoValue"}]


def passes_filter(record: Json) -> bool:
    """Tell whether Lambda passes a stream record to the function on the stream.

    Source: AWS Lambda Developer Guide, "Filter rule syntax". Only the operators that
        the
    template uses are implemented.
    """
    (mapping,) = resources(translated(), "AWS::Lambda::EventSourceMapping").values()
    return any(
        _matches(json.loads(each["Pattern"]), record)
        for each in mapping["FilterCriteria"]["Filters"]
    )


def _matches(pattern: Json, value: Json) -> bool:
    for name, wanted in pattern.items():
        found = value.get(name)
        if isinstance(wanted, dict):
            if not isinstance(found, dict) or not _matches(wanted, found):
                return False
        elif not any(_is_wanted(found, one) for one in wanted):
            return False
    return True


def _is_wanted(found: Any, wanted: Any) -> bool:
    match wanted:
        case {"prefix": prefix, **others} if not others:
            return isinstance(found, str) and found.startswith(prefix)
        case dict():
            raise ValueError(wanted)
    return bool(found == wanted)


@dataclass(frozen=True)
class Route:
    """A route key of API Gateway and the function behind it."""

    key: str
    function: str


def routes() -> Iterator[Route]:
    """Yield the routes that API Gateway imports."""
    paths = translated()["Resources"]["Api"]["Properties"]["Body"]["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
            function = uri.rpartition("${")[2].partition(".Arn}")[0]
            is_default = operation.get("isDefaultRoute", False)
            key = "$default" if is_default else f"{method.upper()} {path}"
            yield Route(key, function)


def event(name: str) -> Json:
    """Return the event of `events/<name>.json`."""
    loaded: Json = json.loads((EVENTS / f"{name}.json").read_text())
    return loaded


def word_of(function: str) -> str:
    """Return the word of a function: its handler's module, and its sample event.

    Two words differ from the logical id: renaming an id would replace the resource.
    """
    return {"ApiKeysFunction": "api_keys", "KeysFunction": "key_ring"}.get(
        function, function.removesuffix("Function").lower()
    )


def function_of(name: str) -> str:
    """Return the logical id of the function that a sample event is for."""
    key = event(name).get("routeKey")
    for route in routes():
        if route.key == key:
            return route.function
    (found,) = [
        function
        for function in resources(load(), "AWS::Serverless::Function")
        if word_of(function) == name.partition("-")[0]
    ]
    return found
