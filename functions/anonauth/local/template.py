"""Reads `template.yaml`, which describes routes, functions, table and CORS.

It resolves the intrinsic functions of CloudFormation that this template uses. A
resource that exists only on AWS resolves to its logical name (`Table`, `RingKey.Arn`).
"""

import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from anonauth.local.command_error import CommandError

REGION = "eu-central-1"
ACCOUNT = "123456789012"

DEFAULT_ROUTE = "$default"

_PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "anonauth-local",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """A Lambda function: its handler, its environment and the events that it gets.

    `routes` are route keys of API Gateway ("POST /path", `$default`). `scheduled` says
    whether a schedule runs the function, `streamed` whether the table's stream does.
    `timeout` is in seconds, `memory` in MB.
    """

    name: str
    handler: str
    environment: Mapping[str, str]
    routes: tuple[str, ...]
    scheduled: bool
    timeout: int
    memory: int
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Cors:
    """The HTTP API's CorsConfiguration. `max_age` is in seconds."""

    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...]
    expose_headers: tuple[str, ...]
    max_age: int | None
    allow_credentials: bool

    def allowed_origin(self, origin: str | None) -> str | None:
        """Return the value of Access-Control-Allow-Origin; None for no such header."""
        if origin is None:
            return None
        if "*" in self.allow_origins:
            return "*"
        return origin if origin in self.allow_origins else None


@dataclass(frozen=True, slots=True)
class Throttling:
    """Limits of a route: requests per second, and requests at once (`burst`)."""

    rate: float
    burst: int


@dataclass(frozen=True, slots=True)
class Template:
    """`template.yaml` with its parameters filled in.

    `settings_parameter` is the SSM parameter that holds the settings document.
    `route_throttling` has limits by route key, for the routes with limits of their own.
    """

    functions: Mapping[str, LambdaFunction]
    cors: Cors | None
    throttling: Throttling | None
    table: Mapping[str, Any]
    app_ids: tuple[str, ...]
    settings_parameter: str = ""
    route_throttling: Mapping[str, Throttling] = field(default_factory=dict)


def find_template(start: Path) -> Path:
    """Return the path of this project's `template.yaml`, looking upward from `start`.

    Raises:
        CommandError: It is neither there nor in the checkout of this package.
    """
    checkout = Path(__file__).resolve().parents[3]
    for directory in (start, *start.parents, checkout):
        path = directory / "template.yaml"
        # A directory on the way may have another project's template.
        if path.is_file() and "anonauth.handlers." in path.read_text(errors="ignore"):
            return path
    raise CommandError(
        f"no template.yaml of anonauth in {start} or above: run it in a clone of "
        "anonauth, or name the file with --template"
    )


def read_template(path: Path, parameters: Mapping[str, str] | None = None) -> Template:
    """Read a template as a deployment with these parameters would.

    Args:
        parameters: Values of parameters. The others have the template's defaults.

    Raises:
        CommandError: There is no such file, it is not a template, or it does not accept
            a parameter.
    """
    source = load_template(path)
    resolver = Resolver(source, check_parameters(source, parameters or {}))
    resolver.check_rules()
    resources = resolver.resources()
    of_type = {
        kind: {name: body for name, body in resources.items() if body["Type"] == kind}
        for kind in {body["Type"] for body in resources.values()}
    }
    (api,) = of_type["AWS::Serverless::HttpApi"].values()
    (table,) = of_type["AWS::DynamoDB::Table"].values()
    common = resolver.resolve(source.get("Globals", {}).get("Function", {}))
    streamed = {
        body["Properties"]["FunctionName"]
        for body in of_type.get("AWS::Lambda::EventSourceMapping", {}).values()
    }
    functions = {
        name: _function(name, common, body["Properties"], streamed=name in streamed)
        for name, body in of_type["AWS::Serverless::Function"].items()
    }
    # Only some functions need the settings document.
    parameters_named = (
        f.environment.get("SETTINGS_PARAMETER", "") for f in functions.values()
    )
    environment = ChainMap(*(dict(f.environment) for f in functions.values()))
    return Template(
        functions=functions,
        cors=_cors(api["Properties"].get("CorsConfiguration")),
        throttling=_throttling(api["Properties"].get("DefaultRouteSettings")),
        route_throttling={
            key: limits
            for key, settings in api["Properties"].get("RouteSettings", {}).items()
            if (limits := _throttling(settings))
        },
        table=table["Properties"],
        app_ids=tuple(environment["APP_IDS"].split(",")),
        settings_parameter=next(filter(None, parameters_named), ""),
    )


def load_template(path: Path) -> Json:
    """Return an unresolved template, with intrinsic functions in their long form.

    Raises:
        CommandError: There is no such file, or it is not a SAM template.
    """
    try:
        # A SafeLoader: it turns tags into dicts, never into objects.
        source = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506  # nosec B506
    except OSError as exc:
        raise CommandError(f"cannot read {path}: {exc.strerror}") from exc
    except yaml.YAMLError as exc:
        raise CommandError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(source, dict) or "Resources" not in source:
        raise CommandError(f"{path} is not a SAM template: it has no Resources")
    return source


def check_parameters(source: Json, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every parameter, with comma-separated values as lists.

    Raises:
        CommandError: CloudFormation would refuse one of the given values.
    """
    declared: Json = source.get("Parameters", {})
    for name in given:
        if name not in declared:
            raise CommandError(
                f"the template has no parameter {name}; it has {', '.join(declared)}"
            )
    values: dict[str, Any] = {}
    for name, rules in declared.items():
        value = given.get(name, rules.get("Default"))
        if value is None:
            raise CommandError(f"the parameter {name} has no default; set {name}=...")
        is_list = rules["Type"] == "CommaDelimitedList"
        parts = [part.strip() for part in str(value).split(",")] if is_list else [value]
        for part in parts:
            if fault := _parameter_fault(str(part), rules):
                raise CommandError(
                    f"parameter {name}: '{part}' is not allowed: {fault}"
                )
        values[name] = parts if is_list else str(value)
    return values


def _parameter_fault(value: str, rules: Json) -> str | None:
    fault: str | None = None
    if "AllowedValues" in rules:
        allowed = [str(one) for one in rules["AllowedValues"]]
        if value not in allowed:
            fault = f"it must be one of {', '.join(allowed)}"
    if "AllowedPattern" in rules and not re.fullmatch(rules["AllowedPattern"], value):
        fault = f"it must match {rules['AllowedPattern']}"
    if rules["Type"] == "Number":
        low, high = rules.get("MinValue"), rules.get("MaxValue")
        try:
            number = float(value)
        except ValueError:
            return "it is not a number"
        if not (low is None or number >= low) or not (high is None or number <= high):
            fault = f"it must be from {low} to {high}"
    return fault and rules.get("ConstraintDescription", fault)


class Resolver:
    """Replaces the intrinsic functions of a template by their values."""

    def __init__(self, source: Json, parameters: Mapping[str, Any]) -> None:
        self._source = source
        self._values = {**_PSEUDO_PARAMETERS, **parameters}
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Condition": self._condition,
            "Fn::And": lambda arms: all(self.resolve(arm) for arm in arms),
            "Fn::Equals": lambda pair: self.resolve(pair[0]) == self.resolve(pair[1]),
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::Join": lambda pair: pair[0].join(self.resolve(pair[1])),
            "Fn::Not": lambda arms: not self.resolve(arms[0]),
            "Fn::Or": lambda arms: any(self.resolve(arm) for arm in arms),
            "Fn::Select": lambda pair: self.resolve(pair[1])[int(pair[0])],
            "Fn::Split": lambda pair: self.resolve(pair[1]).split(pair[0]),
            "Fn::Sub": self._sub,
        }

    def resources(self) -> dict[str, Json]:
        """Return the resolved resources whose condition is true."""
        return {
            name: self.resolve(body)
            for name, body in self._source["Resources"].items()
            if self._is_present(body)
        }

    def outputs(self) -> dict[str, Any]:
        """Return the values of the outputs whose condition is true."""
        return {
            name: self.resolve(body["Value"])
            for name, body in self._source.get("Outputs", {}).items()
            if self._is_present(body)
        }

    def check_rules(self) -> None:
        """Check the template's Rules about combinations of parameters.

        Raises:
            CommandError: An assertion is false. The message is the template's.
        """
        for rule in self._source.get("Rules", {}).values():
            if not self.resolve(rule.get("RuleCondition", True)):
                continue
            for assertion in rule["Assertions"]:
                if not self.resolve(assertion["Assert"]):
                    raise CommandError(assertion["AssertDescription"])

    def resolve(self, node: Any) -> Any:
        """Return a part of the template with its intrinsic functions resolved.

        Raises:
            CommandError: A function is not known here, or the template lacks a name.
        """
        if isinstance(node, list):
            items = (self.resolve(item) for item in node)
            return [item for item in items if item is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name in self._functions and not isinstance(argument, dict):
                return self._functions[name](argument)
            if str(name).startswith("Fn::"):
                raise CommandError(
                    f"the template uses {name}, which anonauth cannot resolve"
                )
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not _NO_VALUE}

    def _is_present(self, body: Json) -> bool:
        return "Condition" not in body or self._condition(body["Condition"])

    def _condition(self, name: str) -> bool:
        if name not in self._source.get("Conditions", {}):
            raise CommandError(f"the template has no condition {name}")
        return bool(self.resolve(self._source["Conditions"][name]))

    def _if(self, arms: list[Any]) -> Any:
        return self.resolve(arms[1] if self._condition(arms[0]) else arms[2])

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._values:
            return self._values[name]
        # In SAM `Api.Stage` refers to the stage that SAM generates.
        self._require_resource(name.partition(".")[0])
        return name

    def _get_att(self, path: list[str] | str) -> str:
        dotted = path if isinstance(path, str) else ".".join(path)
        self._require_resource(dotted.partition(".")[0])
        return dotted

    def _sub(self, argument: str | list[Any]) -> str:
        text, extra = (argument, {}) if isinstance(argument, str) else argument
        extra = self.resolve(extra)

        def value_of(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in extra:
                return str(extra[name])
            known = name in self._values or "." not in name
            return str(self._ref(name) if known else self._get_att(name))

        return re.sub(r"\$\{([^}]+)\}", value_of, text)

    def _require_resource(self, name: str) -> None:
        if name not in self._source["Resources"]:
            raise CommandError(f"the template refers to {name}, which it does not have")


def _function(name: str, common: Json, own: Json, *, streamed: bool) -> LambdaFunction:
    properties = common | own
    environment = {
        variable: _as_text(value)
        for settings in (common, own)
        for variable, value in settings.get("Environment", {})
        .get("Variables", {})
        .items()
    }
    events = list(own.get("Events", {}).values())
    return LambdaFunction(
        name=name,
        handler=properties["Handler"],
        environment=environment,
        routes=tuple(_route_keys(events)),
        scheduled=any(event["Type"].startswith("Schedule") for event in events),
        streamed=streamed,
        timeout=int(properties.get("Timeout", 3)),
        memory=int(properties.get("MemorySize", 128)),
    )


def _route_keys(events: list[Json]) -> Iterator[str]:
    for event in events:
        if event["Type"] != "HttpApi":
            continue
        properties = event.get("Properties", {})
        path = properties.get("Path")
        method = properties.get("Method", "ANY").upper()
        yield f"{method} {path}" if path else DEFAULT_ROUTE


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cors(configuration: Json | None) -> Cors | None:
    if configuration is None:
        return None
    max_age = configuration.get("MaxAge")
    return Cors(
        allow_origins=_comma_separated(configuration, "AllowOrigins"),
        allow_methods=_comma_separated(configuration, "AllowMethods"),
        allow_headers=_comma_separated(configuration, "AllowHeaders"),
        expose_headers=_comma_separated(configuration, "ExposeHeaders"),
        max_age=None if max_age is None else int(max_age),
        allow_credentials=bool(configuration.get("AllowCredentials", False)),
    )


def _comma_separated(configuration: Json, name: str) -> tuple[str, ...]:
    # A parameter with several values arrives as one string with commas.
    joined = ",".join(configuration.get(name, ()))
    return tuple(word.strip() for word in joined.split(",") if word.strip())


def _throttling(settings: Json | None) -> Throttling | None:
    if not settings:
        return None
    return Throttling(
        rate=float(settings["ThrottlingRateLimit"]),
        burst=int(float(settings["ThrottlingBurstLimit"])),
    )


def _long_form(loader: yaml.CSafeLoader, tag: str, node: yaml.Node) -> Json:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - for the type  # nosec B101
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


class _Loader(yaml.CSafeLoader):
    # `!Ref Table` becomes {"Ref": "Table"}.
    yaml_multi_constructors = {  # noqa: RUF012 - as the base class has it
        **yaml.CSafeLoader.yaml_multi_constructors,
        "!": _long_form,
    }
