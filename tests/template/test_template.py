"""What `template.yaml` says, and that CloudFormation would take it."""

import importlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

# Neither package ships types.
from cfnlint.api import lint  # type: ignore[import-untyped]
from samtranslator.model.exceptions import (  # type: ignore[import-untyped]
    InvalidDocumentException,
)

import sam_template
from sam_template import EVENTS, Json, Route, resources, statements, translate

# SAM resolves references to parameters itself, so some look unused afterwards.
ALLOWED_FINDINGS = {"W2001"}

FUNCTIONS = sorted(resources(sam_template.load(), "AWS::Serverless::Function"))

CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b-2c"

RING = "KEY#ring"
USER = "USER#*"
GONE = "GONE#*"
IDENT = "IDENT#*"
RATE = "RATE#*"

_ACCOUNT = "${AWS::Region}:${AWS::AccountId}"
_DOCUMENT = f"arn:${{AWS::Partition}}:ssm:{_ACCOUNT}:parameter${{SettingsParameter}}"
_SES = f"arn:${{AWS::Partition}}:ses:{_ACCOUNT}"

# What depends on a parameter that is empty by default.
SETTINGS_GRANTS = {
    (action, resource)
    for action in ("ssm:GetParameter", "ssm:GetParameters")
    for resource in (_DOCUMENT, f"{_DOCUMENT}/*")
}
MAIL_GRANTS = {
    ("ses:SendEmail from MailSender", f"{_SES}:identity/*"),
    ("ses:SendEmail from MailSender", f"{_SES}:configuration-set/*"),
}


def in_transactions(action: str, *items: str) -> set[tuple[str, str]]:
    return {(f"dynamodb:{action} in TransactWriteItems", item) for item in items}


GRANTS = {
    "LoginFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:PutItem", USER),
        ("kms:Decrypt", "access"),
        ("kms:Decrypt", "refresh"),
    },
    "SessionFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:UpdateItem", USER),
        ("kms:Decrypt", "access"),
        ("kms:Decrypt", "refresh"),
    },
    "LogoutFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:UpdateItem", USER),
        ("dynamodb:DeleteItem", USER),
        ("kms:Decrypt", "refresh"),
    },
    "ProfileFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:BatchGetItem", IDENT),
        *in_transactions("DeleteItem", USER, IDENT, GONE),
        *in_transactions("PutItem", USER, IDENT, GONE),
        *in_transactions("UpdateItem", USER, IDENT, GONE),
    },
    "LinkFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:GetItem", IDENT),
        ("dynamodb:UpdateItem", USER),
        ("dynamodb:UpdateItem", IDENT),
        ("dynamodb:UpdateItem", RATE),
        ("dynamodb:BatchGetItem", IDENT),
        ("dynamodb:BatchGetItem", RATE),
        *in_transactions("PutItem", USER, IDENT),
        ("kms:Decrypt", "access"),
        ("kms:Decrypt", "refresh"),
    },
    "UserpassFunction": {
        # Not API keys: to write one would be to log in as anybody.
        ("dynamodb:GetItem", "IDENT#*#local-userpass#*"),
        ("dynamodb:PutItem", "IDENT#*#local-userpass#*"),
        ("dynamodb:UpdateItem", "IDENT#*#local-userpass#*"),
        ("dynamodb:GetItem", USER),
        ("dynamodb:UpdateItem", RATE),
        *in_transactions("UpdateItem", USER, IDENT),
        *in_transactions("DeleteItem", USER, IDENT),
    },
    "ApiKeysFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:UpdateItem", USER),
        *in_transactions("PutItem", USER, IDENT),
        *in_transactions("UpdateItem", USER, IDENT),
        *in_transactions("DeleteItem", USER, IDENT),
        ("kms:Decrypt", "refresh"),
    },
    "DiscoveryFunction": {("dynamodb:GetItem", RING)},
    "KeysFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:PutItem", RING),
        ("kms:Encrypt", "access"),
        ("kms:Encrypt", "refresh"),
    },
}


def findings(template: Json) -> list[str]:
    matches = lint(json.dumps(template, indent=1))
    return [
        f"{match.rule.id} {match.message}"
        for match in matches
        if match.rule.id not in ALLOWED_FINDINGS
    ]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def grants(function: str, *, conditions: bool = False) -> set[tuple[str, str]]:
    """Read a function's statements; refuse any of a form that is not known here."""
    granted = set()
    for statement in statements(function, conditions=conditions):
        assert statement.keys() - {"Condition"} == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        condition = dict(statement.get("Condition", {}))
        suffix = ""
        if statement["Resource"] == {"Fn::GetAtt": ["Table", "Arn"]}:
            exact = condition.pop("ForAllValues:StringEquals", {})
            prefix = condition.pop("ForAllValues:StringLike", {})
            assert set(exact) | set(prefix) == {"dynamodb:LeadingKeys"}
            items = [*exact.values(), *prefix.values()][0]
            enclosing = condition.pop("ForAnyValue:StringEquals", None)
            if enclosing:
                suffix = f" in {enclosing['dynamodb:EnclosingOperation'][0]}"
        elif statement["Resource"] == {"Fn::GetAtt": ["RingKey", "Arn"]}:
            items = condition.pop("StringEquals")["kms:EncryptionContext:ring"]
        else:
            items = [resource["Fn::Sub"] for resource in statement["Resource"]]
            if statement["Action"] == "ses:SendEmail":
                sender = condition.pop("StringEquals")
                assert sender == {"ses:FromAddress": {"Ref": "MailSender"}}
                suffix = " from MailSender"
        assert not condition
        granted |= {
            (action + suffix, item)
            for action in as_list(statement["Action"])
            for item in as_list(items)
        }
    return granted


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({}, id="defaults"),
        pytest.param(
            {
                "AppIds": "one-aaaaa,two-bbbbb",
                "AllowedOrigins": "https://a.example.com,https://b.example.com",
                "Architecture": "x86_64",
                "DomainName": "auth.example.com",
                "CertificateArn": CERTIFICATE,
                "SettingsParameter": "/anonauth/settings",
                "MailSender": "no-reply@example.com",
            },
            id="custom domain, two apps, two origins, settings, mail",
        ),
    ],
)
def test_given_the_template_when_sam_translates_it_then_cfn_lint_finds_nothing(
    parameters: dict[str, str],
) -> None:
    translated = translate(sam_template.load(), parameters)

    assert findings(translated) == []


def add_cycle(template: Json) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    variables["BASE_URL"] = {"Fn::Sub": "https://${Api}.execute-api.example.com"}


def misspell_attribute(template: Json) -> None:
    template["Resources"]["KeyRing"]["Properties"]["ServiceToken"] = {
        "Fn::GetAtt": ["KeysFunction", "Arm"]
    }


def misspell_resource(template: Json) -> None:
    template["Outputs"]["TableName"]["Value"] = {"Ref": "Tabel"}


@pytest.mark.parametrize(
    ("mistake", "rule"),
    [
        pytest.param(add_cycle, "E3004", id="a function refers to the API"),
        pytest.param(misspell_attribute, "E1010", id="no such attribute"),
        pytest.param(misspell_resource, "E6101", id="no such resource"),
    ],
)
def test_given_a_mistake_that_sam_validate_overlooks_when_linted_then_it_is_found(
    mistake: Callable[[Json], None], rule: str
) -> None:
    template = sam_template.load()
    mistake(template)

    found = findings(translate(template))

    assert rule in {finding.split()[0] for finding in found}


def test_given_a_misspelt_event_type_when_sam_translates_then_it_is_refused() -> None:
    template = sam_template.load()
    events = template["Resources"]["LoginFunction"]["Properties"]["Events"]
    events["Login"]["Type"] = "HttpAPI"

    with pytest.raises(InvalidDocumentException) as caught:
        translate(template)

    assert "HttpAPI" in str(caught.value)


def test_given_each_function_when_its_role_is_read_then_it_grants_what_is_used() -> (
    None
):
    granted = {function: grants(function) for function in FUNCTIONS}

    assert granted == GRANTS


def test_given_settings_and_mail_when_deployed_then_few_functions_get_at_them() -> None:
    more = {
        function: grants(function, conditions=True) - grants(function)
        for function in FUNCTIONS
    }

    assert {function: granted for function, granted in more.items() if granted} == {
        "LinkFunction": SETTINGS_GRANTS,
        "UserpassFunction": SETTINGS_GRANTS | MAIL_GRANTS,
        "ApiKeysFunction": SETTINGS_GRANTS,
    }


def test_given_the_functions_then_only_those_with_settings_know_of_them() -> None:
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")

    variables = {
        name: properties["Environment"]["Variables"]
        for name, properties in functions.items()
    }

    knowing = {name for name, has in variables.items() if "SETTINGS_PARAMETER" in has}
    assert knowing == {"LinkFunction", "UserpassFunction", "ApiKeysFunction"}
    assert all(
        variables[name]["ALLOW_PRIVATE_ISSUERS"] == "false"  # on AWS
        and variables[name]["SETTINGS_PARAMETER"] == {"Ref": "SettingsParameter"}
        for name in knowing
    )


def test_given_each_function_when_its_role_is_read_then_aws_adds_only_logs() -> None:
    roles = resources(sam_template.translated(), "AWS::IAM::Role")

    managed = {name: role["ManagedPolicyArns"] for name, role in roles.items()}

    assert managed == {
        f"{name}Role": [sam_template.BASIC_EXECUTION] for name in FUNCTIONS
    }


def test_given_the_stack_is_deleted_then_users_and_key_outlive_it() -> None:
    template = sam_template.translated()

    policies = {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in template["Resources"].items()
        if resource["Type"] in {"AWS::DynamoDB::Table", "AWS::KMS::Key"}
    }

    assert policies == {
        "Table": ("Retain", "Retain"),
        "RingKey": ("Retain", "Retain"),
    }


def test_given_the_table_when_deployed_then_it_is_as_the_store_expects() -> None:
    table = resources(sam_template.translated(), "AWS::DynamoDB::Table")["Table"]

    assert "TableName" not in table
    assert table["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["PointInTimeRecoverySpecification"] == {
        "PointInTimeRecoveryEnabled": True
    }
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_given_the_api_when_imported_then_a_warning_does_not_fail_it() -> None:
    """SAM's DisableExecuteApiEndpoint makes a `servers` entry without `url`.

    API Gateway warns of that, and with FailOnWarnings the deployment fails
    (aws/serverless-application-model issue 2424).
    """
    api = sam_template.translated()["Resources"]["Api"]["Properties"]

    assert any("url" not in server for server in api["Body"]["servers"])
    assert "FailOnWarnings" not in api


def test_given_the_api_when_deployed_then_it_has_no_path_prefix() -> None:
    stages = resources(sam_template.translated(), "AWS::ApiGatewayV2::Stage")

    assert [stage["StageName"] for stage in stages.values()] == ["$default"]


@pytest.mark.parametrize(
    "origins",
    [
        pytest.param("*", id="all"),
        pytest.param("https://a.example.com,http://localhost:8080", id="two"),
    ],
)
def test_given_allowed_origins_when_deployed_then_the_api_gets_a_list(
    origins: str,
) -> None:
    template = translate(sam_template.load(), {"AllowedOrigins": origins})

    body = template["Resources"]["Api"]["Properties"]["Body"]

    condition, cors, otherwise = body["x-amazon-apigateway-cors"]["Fn::If"]
    assert condition == "HasOrigins"
    assert otherwise == {"Ref": "AWS::NoValue"}
    assert cors == {
        "allowOrigins": {"Fn::Split": [",", origins]},
        "allowMethods": ["GET", "POST", "PUT", "DELETE", "OPTIONS"],
        "allowHeaders": [
            "authorization",
            "content-type",
            "accept",
            "x-baas-request-origin",
        ],
        "exposeHeaders": ["retry-after"],
        "maxAge": 7200,
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_given_a_function_when_imported_then_its_handler_serves_its_routes(
    function: str,
) -> None:
    properties = resources(sam_template.translated(), "AWS::Lambda::Function")[function]
    module_name, _, attribute = properties["Handler"].rpartition(".")

    module = importlib.import_module(module_name)

    assert callable(getattr(module, attribute))
    expected = {
        route.key for route in sam_template.routes() if route.function == function
    }
    assert set(getattr(module, "ROUTES", {})) == expected


@pytest.mark.parametrize("function", FUNCTIONS)
def test_given_a_function_then_its_names_match_and_it_has_an_event(
    function: str,
) -> None:
    name = function.removesuffix("Function").lower()
    properties = resources(sam_template.translated(), "AWS::Lambda::Function")[function]

    event = sam_template.event(name)

    assert properties["Handler"] == f"anonauth.handlers.{name}.handler"
    if "routeKey" in event:
        assert Route(event["routeKey"], function) in set(sam_template.routes())


@pytest.mark.parametrize(
    "name",
    sorted(path.stem for path in EVENTS.glob("*.json") if path.stem != "env.local"),
)
def test_given_an_event_then_it_is_as_api_gateway_makes_it(name: str) -> None:
    event = sam_template.event(name)
    if "routeKey" not in event:
        assert event["detail-type"] == "Scheduled Event"
        return

    http = event["requestContext"]["http"]

    assert event["version"] == "2.0"
    assert event["routeKey"] in {route.key for route in sam_template.routes()}
    assert event["routeKey"] == event["requestContext"]["routeKey"]
    method, _, pattern = event["routeKey"].partition(" ")
    parameters = event.get("pathParameters", {})
    assert (http["method"], http["path"]) == (method, event["rawPath"])
    assert event["rawPath"] == re.sub(
        r"{(\w+)}", lambda match: parameters[match[1]], pattern
    )
    assert event["requestContext"]["stage"] == "$default"
    assert all(header == header.lower() for header in event["headers"])
    # Who sends no token must not need one, and who does gets a placeholder.
    assert event["headers"].get("authorization") in {None, "Bearer REPLACE_WITH_TOKEN"}


def test_given_env_for_sam_local_then_it_sets_declared_variables_only() -> None:
    """`sam local invoke --env-vars` drops every other without a word."""
    overrides = sam_template.event("env.local")["Parameters"]
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")

    declared = [
        set(properties["Environment"]["Variables"]) for properties in functions.values()
    ]

    in_some = {"SETTINGS_PARAMETER", "ALLOW_PRIVATE_ISSUERS"}
    assert set(overrides) <= set.union(*declared)
    assert set(overrides) - set.intersection(*declared) == in_some


@pytest.mark.parametrize(
    ("parameter", "value", "is_taken"),
    [
        # CloudFormation applies the pattern of a list to each of its values.
        pytest.param("AppIds", "myapp-abcde", True, id="app id"),
        pytest.param("AppIds", "a", True, id="app id of one letter"),
        pytest.param("AppIds", "a" * 64, True, id="app id of 64"),
        pytest.param("AppIds", "a" * 65, False, id="app id of 65"),
        pytest.param("AppIds", "", False, id="empty app id"),
        pytest.param("AppIds", "my app", False, id="app id with a space"),
        pytest.param("AppIds", "my#app", False, id="app id with the key separator"),
        pytest.param("AppIds", "müapp", False, id="app id beyond ASCII"),
        pytest.param("AccessTokenMinutes", "5", True, id="5 minutes"),
        pytest.param("AccessTokenMinutes", "60", True, id="60 minutes"),
        pytest.param("AccessTokenMinutes", "4", False, id="4 minutes"),
        pytest.param("AccessTokenMinutes", "61", False, id="61 minutes"),
        pytest.param("AccessTokenMinutes", "7.5", False, id="half a minute"),
        pytest.param("AccessTokenMinutes", "05", False, id="leading zero"),
        pytest.param("AllowedOrigins", "", True, id="no origin"),
        pytest.param("AllowedOrigins", "*", True, id="every origin"),
        pytest.param("AllowedOrigins", "https://example.com", True, id="one origin"),
        pytest.param("AllowedOrigins", "http://localhost:8080", True, id="a port"),
        pytest.param(
            "AllowedOrigins", "https://a.b,https://c.d", True, id="two origins"
        ),
        pytest.param("AllowedOrigins", "https://a.b, https://c.d", False, id="a space"),
        pytest.param("AllowedOrigins", "https://a.b/", False, id="trailing slash"),
        pytest.param("AllowedOrigins", "example.com", False, id="no scheme"),
        pytest.param("AllowedOrigins", "*,https://a.b", False, id="all and one"),
        pytest.param("DomainName", "", True, id="no domain"),
        pytest.param("DomainName", "auth.example.com", True, id="domain"),
        pytest.param("DomainName", "auth.xn--p1ai", True, id="IDN top-level domain"),
        pytest.param("DomainName", "Auth.example.com", False, id="upper case"),
        pytest.param("DomainName", "https://auth.example.com", False, id="scheme"),
        pytest.param("DomainName", "auth.example.com/", False, id="path"),
        pytest.param("DomainName", "localhost", False, id="one label"),
        pytest.param("SessionIdleDays", "0", False, id="0 days"),
        pytest.param("SessionIdleDays", "1", True, id="1 day"),
        pytest.param("SessionIdleDays", "1825", True, id="1825 days"),
        pytest.param("SessionIdleDays", "1826", False, id="1826 days"),
        pytest.param("SessionIdleDays", "060", False, id="leading zero in days"),
        pytest.param("SessionMaxDays", "0", False, id="0 days in all"),
        pytest.param("SessionMaxDays", "1", True, id="1 day in all"),
        pytest.param("SessionMaxDays", "1799", True, id="1799 days in all"),
        pytest.param("SessionMaxDays", "1825", True, id="1825 days in all"),
        pytest.param("SessionMaxDays", "1826", False, id="1826 days in all"),
        pytest.param("SettingsParameter", "", True, id="no settings"),
        pytest.param("SettingsParameter", "/anonauth/settings", True, id="settings"),
        pytest.param("SettingsParameter", "settings", False, id="no slash"),
        pytest.param("SettingsParameter", "/anonauth/", False, id="slash at the end"),
        pytest.param("SettingsParameter", "/a//b", False, id="empty level"),
        pytest.param("SettingsParameter", "/a/*", False, id="wildcard"),
        pytest.param("SettingsParameter", "/a" * 14, True, id="14 levels"),
        pytest.param("SettingsParameter", "/a" * 15, False, id="15 levels"),
        pytest.param("MailSender", "", True, id="no mail"),
        pytest.param("MailSender", "no-reply@example.com", True, id="sender"),
        pytest.param("MailSender", "A <a@example.com>", False, id="name of sender"),
        pytest.param("MailSender", "example.com", False, id="domain as sender"),
        pytest.param("MailSender", "*@example.com", True, id="star, a legal letter"),
        pytest.param("CertificateArn", "", True, id="no certificate"),
        pytest.param(
            "CertificateArn",
            CERTIFICATE,
            True,
            id="certificate",
        ),
        pytest.param(
            "CertificateArn",
            "arn:aws-cn:acm:cn-north-1:123456789012:certificate/0a1b-2c",
            True,
            id="certificate in China",
        ),
        pytest.param(
            "CertificateArn",
            "arn:aws:iam::123456789012:server-certificate/x",
            False,
            id="certificate of IAM",
        ),
    ],
)
def test_given_a_parameter_value_when_deploying_then_the_pattern_decides(
    parameter: str,
    value: str,
    is_taken: bool,
) -> None:
    pattern = sam_template.load()["Parameters"][parameter]["AllowedPattern"]

    match = re.fullmatch(pattern, value)

    assert (match is not None) == is_taken


def test_given_no_answers_when_deploying_then_every_parameter_has_a_default() -> None:
    parameters = sam_template.load()["Parameters"]

    incomplete = [
        name
        for name, parameter in parameters.items()
        if "Default" not in parameter or not parameter.get("Description")
    ]

    assert incomplete == []


def test_given_outputs_then_none_is_named_like_a_parameter() -> None:
    """SAM CLI puts a list parameter's value in place of an output's name and dies."""
    template = sam_template.load()

    assert set(template["Outputs"]).isdisjoint(template["Parameters"])
