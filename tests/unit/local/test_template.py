"""Reading template.yaml."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest

from anonauth.local.command_error import CommandError
from anonauth.local.template import (
    Resolver,
    Throttling,
    check_parameters,
    find_template,
    load_template,
    read_template,
)
from anonauth.settings import Settings
from support.project import sam_template
from support.project.tools import ROOT

PATH = ROOT / "template.yaml"

DOCUMENT: dict[str, Any] = {
    "Parameters": {"Stage": {"Type": "String", "Default": "dev"}},
    "Conditions": {
        "IsDev": {"Fn::Equals": [{"Ref": "Stage"}, "dev"]},
        "IsProd": {"Fn::Not": [{"Condition": "IsDev"}]},
        "Both": {"Fn::And": [{"Condition": "IsDev"}, {"Condition": "IsProd"}]},
        "Either": {"Fn::Or": [{"Condition": "IsDev"}, {"Condition": "IsProd"}]},
    },
    "Resources": {"Table": {"Type": "T"}, "Gone": {"Type": "T", "Condition": "IsProd"}},
}


def write(directory: Path, text: str) -> Path:
    path = directory / "template.yaml"
    path.write_text(text)
    return path


def test_given_our_template_when_resolved_then_every_function_is_known() -> None:
    document = load_template(PATH)
    resolver = Resolver(document, check_parameters(document, {}))

    resources, outputs = resolver.resources(), resolver.outputs()
    resolver.check_rules()

    assert "ApiDomain" not in resources
    assert resources["Table"]["Properties"]["DeletionProtectionEnabled"] == "true"
    assert outputs["Issuer"] == (
        "https://Api.execute-api.eu-central-1.amazonaws.com"
        "/api/client/v2.0/app/myapp-abcde"
    )


def test_given_our_template_when_read_then_routes_are_those_that_sam_makes() -> None:
    template = read_template(PATH)

    read = {
        (key, function.name)
        for function in template.functions.values()
        for key in function.routes
    }

    assert read == {(route.key, route.function) for route in sam_template.routes()}


def test_given_our_template_when_read_then_every_function_could_start() -> None:
    template = read_template(PATH, {"AppIds": "one-aaaaa,two-bbbbb"})

    for function in template.functions.values():
        module, _, name = function.handler.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
        environment = {"AWS_REGION": "eu-central-1", **function.environment}
        settings = Settings.from_environment(environment)
        assert settings.app_ids == {"one-aaaaa", "two-bbbbb"}
        assert settings.base_url == ""
    functions = template.functions.values()
    assert [f.name for f in functions if f.scheduled] == [
        "KeysFunction",
        "ExpiringFunction",
    ]
    assert [f.name for f in functions if f.streamed] == ["LifecycleFunction"]
    assert template.functions["KeysFunction"].timeout == 90
    assert template.functions["LoginFunction"].timeout == 29
    assert template.table["TimeToLiveSpecification"]["AttributeName"] == "ttl"


def test_given_a_domain_when_read_then_it_is_the_base_url() -> None:
    certificate = "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b-2c"
    parameters = {"DomainName": "auth.example.com", "CertificateArn": certificate}

    template = read_template(PATH, parameters)

    environment = template.functions["LoginFunction"].environment
    assert environment["BASE_URL"] == "https://auth.example.com"


def test_given_origins_and_limits_when_read_then_cors_and_throttling_have_them() -> (
    None
):
    template = read_template(
        PATH,
        {
            "AllowedOrigins": "https://a.example,https://b.example",
            "ThrottlingRateLimit": "5",
            "ThrottlingBurstLimit": "7",
        },
    )

    assert template.cors is not None
    assert template.cors.allow_origins == ("https://a.example", "https://b.example")
    assert template.cors.allow_methods == ("GET", "POST", "PUT", "DELETE", "OPTIONS")
    assert template.cors.max_age == 7200
    assert template.throttling is not None
    assert dataclasses.astuple(template.throttling) == (5.0, 7)
    assert template.route_throttling == {
        f"{method} /openapi.json": Throttling(5.0, 10) for method in ("GET", "HEAD")
    }


def test_given_no_origins_when_read_then_there_is_no_cors() -> None:
    assert read_template(PATH, {"AllowedOrigins": ""}).cors is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"Color": "red"}, "no parameter Color; it has AppIds", id="name"),
        pytest.param({"AppIds": "good-abcde,b d"}, "'b d' is not allowed", id="item"),
        pytest.param({"AppIds": ""}, "'' is not allowed: each app id", id="empty"),
        pytest.param({"Architecture": "m68k"}, "one of arm64, x86_64", id="value"),
        pytest.param({"ThrottlingRateLimit": "0"}, "from 1 to 10000", id="low"),
        pytest.param({"ThrottlingRateLimit": "1e9"}, "from 1 to 10000", id="high"),
        pytest.param({"ThrottlingRateLimit": "lots"}, "not a number", id="number"),
        pytest.param({"ThrottlingRateLimit": "nan"}, "from 1 to", id="nan"),
        pytest.param({"DomainName": "a.example"}, "belong together", id="rule"),
        pytest.param({"AllowedOrigins": "ftp://x"}, "'ftp://x' is not", id="pattern"),
    ],
)
def test_given_a_bad_parameter_when_read_then_one_line_names_it(
    parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(CommandError) as problem:
        read_template(PATH, parameters)

    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_given_a_parameter_without_default_when_not_set_then_one_line_names_it() -> (
    None
):
    document = {"Parameters": {"Name": {"Type": "String"}}, "Resources": {}}

    with pytest.raises(CommandError, match="set Name="):
        check_parameters(document, {})


@pytest.mark.parametrize(
    ("node", "value"),
    [
        pytest.param({"Ref": "Stage"}, "dev", id="Ref parameter"),
        pytest.param({"Ref": "Table"}, "Table", id="Ref resource"),
        pytest.param({"Ref": "AWS::Region"}, "eu-central-1", id="Ref pseudo"),
        pytest.param({"Ref": "List"}, ["a", "b"], id="Ref list"),
        pytest.param({"Fn::GetAtt": ["Table", "Arn"]}, "Table.Arn", id="GetAtt list"),
        pytest.param({"Fn::GetAtt": "Table.Arn"}, "Table.Arn", id="GetAtt string"),
        pytest.param({"Fn::Sub": "x-${Stage}-${AWS::Region}"}, "x-dev-eu-central-1"),
        pytest.param({"Fn::Sub": "${Table.Arn}/${!raw}"}, "Table.Arn/${raw}", id="Sub"),
        pytest.param(
            {"Fn::Sub": ["${A}${Stage}", {"A": {"Ref": "Table"}}]}, "Tabledev"
        ),
        pytest.param({"Fn::If": ["IsDev", 1, {"Ref": "Nothing"}]}, 1, id="If lazily"),
        pytest.param({"Fn::If": ["IsProd", 1, 2]}, 2, id="If else"),
        pytest.param({"Fn::If": ["Both", 1, 2]}, 2, id="And"),
        pytest.param({"Fn::If": ["Either", 1, 2]}, 1, id="Or"),
        pytest.param({"Fn::Join": ["+", {"Ref": "List"}]}, "a+b", id="Join"),
        pytest.param({"Fn::Split": ["e", {"Ref": "Stage"}]}, ["d", "v"], id="Split"),
        pytest.param({"Fn::Select": [1, {"Ref": "List"}]}, "b", id="Select"),
        pytest.param(
            {"a": {"Ref": "AWS::NoValue"}, "b": [{"Ref": "AWS::NoValue"}, 1]},
            {"b": [1]},
            id="NoValue",
        ),
        pytest.param({"Condition": {"X": "y"}}, {"Condition": {"X": "y"}}, id="IAM"),
    ],
)
def test_given_an_intrinsic_function_when_resolved_then_it_has_its_value(
    node: dict[str, Any], value: Any
) -> None:
    resolver = Resolver(DOCUMENT, {"Stage": "dev", "List": ["a", "b"]})

    assert resolver.resolve(node) == value


@pytest.mark.parametrize(
    "node",
    [
        pytest.param({"Ref": "Nothing"}, id="Ref"),
        pytest.param({"Fn::GetAtt": ["Nothing", "Arn"]}, id="GetAtt"),
        pytest.param({"Fn::Sub": "${Nothing}"}, id="Sub"),
        pytest.param({"Fn::If": ["IsTest", 1, 2]}, id="condition"),
        pytest.param({"Fn::Cidr": ["10.0.0.0/16", 1, 8]}, id="function"),
    ],
)
def test_given_a_name_the_template_lacks_when_resolved_then_it_says_so(
    node: dict[str, Any],
) -> None:
    resolver = Resolver(DOCUMENT, {"Stage": "dev"})

    with pytest.raises(CommandError, match="template"):
        resolver.resolve(node)


def test_given_a_condition_when_it_fails_then_the_resource_is_left_out() -> None:
    assert Resolver(DOCUMENT, {"Stage": "dev"}).resources().keys() == {"Table"}


def test_given_short_forms_when_loaded_then_they_are_long(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "Resources: {}\n"
        "a: !Ref Table\n"
        "b: !GetAtt Table.Stream.Arn\n"
        "c: !If [Yes, !Sub 'x', {d: !Ref e}]\n"
        "f: !Condition Yes\n",
    )

    assert load_template(path) == {
        "Resources": {},
        "a": {"Ref": "Table"},
        "b": {"Fn::GetAtt": "Table.Stream.Arn"},
        "c": {"Fn::If": [True, {"Fn::Sub": "x"}, {"d": {"Ref": "e"}}]},
        "f": {"Condition": "Yes"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [", "is not YAML", id="yaml"),
        pytest.param("- a", "not a SAM template", id="list"),
        pytest.param("a: 1", "not a SAM template", id="no resources"),
        pytest.param(
            "Resources: {A: !!python/name:os.system ''}", "is not YAML", id="tag"
        ),
    ],
)
def test_given_another_file_when_loaded_then_one_line_says_so(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match=message) as problem:
        load_template(write(tmp_path, text))

    assert "\n" not in str(problem.value)


def test_given_no_file_when_loaded_then_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        load_template(tmp_path / "template.yaml")


def test_given_a_foreign_template_below_ours_when_looked_for_then_ours_is_found(
    tmp_path: Path,
) -> None:
    ours = write(tmp_path, "Handler: anonauth.handlers.login.handler")
    below = tmp_path / "app" / "deep"
    below.mkdir(parents=True)
    write(tmp_path / "app", "Handler: app.handler")

    assert find_template(below) == ours


def test_given_a_directory_elsewhere_when_looked_for_then_the_checkout_is_found(
    tmp_path: Path,
) -> None:
    assert find_template(tmp_path) == PATH
