"""Checks `template.yaml`, and that CloudFormation would accept it."""

import importlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

# Neither package ships types.
from cfnlint.api import lint  # type: ignore[import-untyped]
from cfnlint.rules import RulesCollection  # type: ignore[import-untyped]
from cfnlint.rules.resources.CircularDependency import (  # type: ignore[import-untyped]
    CircularDependency,
)
from samtranslator.model.exceptions import (  # type: ignore[import-untyped]
    InvalidDocumentException,
)
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from anonauth.event_bus import SOURCE
from anonauth.local.command_error import CommandError
from anonauth.local.template import (
    Resolver,
    check_parameters,
    load_template,
    read_template,
)
from anonauth.store.scans import SCANNED
from bundle.trim import OPERATIONS
from support.project import sam_template
from support.project.pages import block
from support.project.sam_template import (
    EVENTS,
    Json,
    Route,
    resources,
    statements,
    translate,
)
from support.project.tools import ROOT

# SAM resolves references to parameters itself, so some look unused afterwards.
ALLOWED_FINDINGS = {"W2001"}

FUNCTIONS = sorted(resources(sam_template.load(), "AWS::Serverless::Function"))

CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/0a1b-2c"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
CDN = "https://auth.example.com"
HASH = "0123456789abcdef" * 4
BOUNDARY = "arn:aws:iam::123456789012:policy/company/boundary"
DOMAIN = {"DomainName": "api.example.com", "CertificateArn": CERTIFICATE}
TRUSTSTORE = {"TruststoreUri": "s3://truststores/cdn.pem"}
EXECUTE_API = "https://Api.execute-api.eu-central-1.amazonaws.com"
NO_VALUE = {"Ref": "AWS::NoValue"}

RING = "KEY#ring"
USER = "USER#*"
GONE = "GONE#*"
IDENT = "IDENT#*"
LOGIN_KEY = "ONCE#*"
PASSWORDS = "RATE#password-*"
SCAN = "SCAN#expiring"
STREAM = "Table.StreamArn"
RING_KEY = {
    "Fn::If": [
        "HasOwnKey",
        {"Fn::GetAtt": ["RingKey", "Arn"]},
        {"Ref": "RingKmsKeyArn"},
    ]
}
STREAM_ACTIONS = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
FAILED_RECORDS = "FailedRecords.Arn"

_ACCOUNT = "${AWS::Region}:${AWS::AccountId}"
_DOCUMENT = f"arn:${{AWS::Partition}}:ssm:{_ACCOUNT}:parameter${{SettingsParameter}}"
_SES = f"arn:${{AWS::Partition}}:ses:{_ACCOUNT}"
_BUS = f"arn:${{AWS::Partition}}:events:{_ACCOUNT}:event-bus/${{EventBusName}}"

# Grants that depend on a parameter which is empty by default.
SETTINGS_GRANTS = {
    ("ssm:GetParameter", _DOCUMENT),
    ("ssm:GetParameters", f"{_DOCUMENT}/*"),  # the secrets that the document refers to
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
        ("dynamodb:GetItem", LOGIN_KEY),
        ("dynamodb:PutItem", USER),
        *in_transactions("PutItem", USER, LOGIN_KEY),
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
        ("kms:Decrypt", "refresh"),
    },
    "LinkFunction": {
        ("dynamodb:GetItem", RING),
        ("dynamodb:GetItem", USER),
        ("dynamodb:GetItem", IDENT),
        ("dynamodb:UpdateItem", USER),
        ("dynamodb:UpdateItem", IDENT),
        ("dynamodb:UpdateItem", PASSWORDS),
        ("dynamodb:BatchGetItem", IDENT),
        ("dynamodb:BatchGetItem", PASSWORDS),
        ("dynamodb:GetItem", GONE),
        *in_transactions("PutItem", USER, IDENT, GONE),
        *in_transactions("ConditionCheckItem", USER, IDENT, GONE),
        *in_transactions("DeleteItem", USER, GONE),
        *in_transactions("UpdateItem", USER, GONE),
        ("kms:Decrypt", "access"),
        ("kms:Decrypt", "refresh"),
    },
    "UserpassFunction": {
        ("dynamodb:GetItem", RING),
        # Not API keys: a function that writes one could log in as any user.
        ("dynamodb:GetItem", "IDENT#*#local-userpass#*"),
        ("dynamodb:PutItem", "IDENT#*#local-userpass#*"),
        ("dynamodb:UpdateItem", "IDENT#*#local-userpass#*"),
        ("dynamodb:UpdateItem", USER),
        ("dynamodb:UpdateItem", "RATE#register#*"),
        ("dynamodb:UpdateItem", "RATE#mail-*"),
        # A reset clears the counters of wrong passwords.
        ("dynamodb:UpdateItem", "RATE#password-account#*"),
        *in_transactions("UpdateItem", USER, IDENT),
        *in_transactions("DeleteItem", USER, IDENT),
        ("dynamodb:GetItem", GONE),
        *(
            grant
            for action in ("UpdateItem", "PutItem", "ConditionCheckItem")
            for grant in in_transactions(action, USER, "IDENT#*#local-userpass#*", GONE)
        ),
        ("kms:Decrypt", "refresh"),
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
    "AuthorizerFunction": {("dynamodb:GetItem", RING), ("dynamodb:GetItem", USER)},
    "LifecycleFunction": {
        # Lambda itself reads the stream, and writes to the bucket, with this role.
        ("dynamodb:DescribeStream", STREAM),
        ("dynamodb:GetRecords", STREAM),
        ("dynamodb:GetShardIterator", STREAM),
        ("dynamodb:ListStreams", "*"),
        ("dynamodb:BatchGetItem", GONE),
        ("events:PutEvents from anonauth", _BUS),
        ("s3:PutObject", f"{FAILED_RECORDS}/*"),
        ("s3:ListBucket", FAILED_RECORDS),
    },
    "ExpiringFunction": {
        ("dynamodb:GetItem", SCAN),
        ("dynamodb:PutItem", SCAN),
        *(("dynamodb:Scan", f"attribute {name}") for name in SCANNED),
        ("events:PutEvents from anonauth", _BUS),
    },
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
        # Lambda has no mode "Disabled". SAM then writes no mode at all.
        and not match.message.startswith("{'Ref': 'Tracing'}")
    ]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def grants(function: str, *, conditions: bool = False) -> set[tuple[str, str]]:
    """Return the actions that a function may do, each with its resource."""
    return {
        grant
        for statement in statements(function, conditions=conditions)
        for grant in grants_of(statement)
    }


def grants_of(statement: Json) -> set[tuple[str, str]]:
    """Return the grants of one statement; fail if its form is not known here."""
    assert statement.keys() - {"Condition"} == {"Effect", "Action", "Resource"}
    assert statement["Effect"] == "Allow"
    actions = as_list(statement["Action"])
    condition = dict(statement.get("Condition", {}))
    items: list[str] | str
    suffix = ""
    match statement["Resource"]:
        case {"Fn::GetAtt": ["Table", "Arn"]} if actions == ["dynamodb:Scan"]:
            items = scanned_attributes(condition)
        case {"Fn::GetAtt": ["Table", "Arn"]}:
            exact = condition.pop("ForAllValues:StringEquals", {})
            prefix = condition.pop("ForAllValues:StringLike", {})
            assert set(exact) | set(prefix) == {"dynamodb:LeadingKeys"}
            # ForAllValues also holds for a request without a key, as these are.
            assert not {"dynamodb:Query", "dynamodb:Scan"} & set(actions)
            items = [*exact.values(), *prefix.values()][0]
            enclosing = condition.pop("ForAnyValue:StringEquals", None)
            if enclosing:
                suffix = f" in {enclosing['dynamodb:EnclosingOperation'][0]}"
        case {"Fn::GetAtt": ["Table", "StreamArn"]}:
            items = STREAM
        case "*":
            assert actions == ["dynamodb:ListStreams"]  # takes no other
            items = "*"
        case resource if resource == RING_KEY:
            items = condition.pop("StringEquals")["kms:EncryptionContext:ring"]
        case {"Fn::Sub": bus} if actions == ["events:PutEvents"]:
            # It has one value for each entry of the call, and all must match.
            sources = condition.pop("ForAllValues:StringEquals")
            assert sources == {"events:source": SOURCE}
            items, suffix = bus, f" from {SOURCE}"
        case {"Fn::Sub": parameter} if actions[0].startswith("ssm:"):
            items = parameter
        case {"Fn::GetAtt": ["FailedRecords", "Arn"]}:
            assert actions == ["s3:ListBucket"]
            items = FAILED_RECORDS
        case {"Fn::Sub": "${FailedRecords.Arn}/aws/lambda/*"}:
            assert actions == ["s3:PutObject"]
            items = f"{FAILED_RECORDS}/*"
        case [*named]:
            items = [resource["Fn::Sub"] for resource in named]
            assert actions == ["ses:SendEmail"]
            sender = condition.pop("StringEquals")
            assert sender == {"ses:FromAddress": {"Ref": "MailSender"}}
            suffix = " from MailSender"
        case unknown:
            pytest.fail(f"a resource of a form that is not known: {unknown}")
    assert not condition
    return {(action + suffix, item) for action in actions for item in as_list(items)}


def scanned_attributes(condition: Json) -> list[str]:
    """Remove from a condition its limits of a scan, and return the attributes."""
    attributes: Json = condition.pop("ForAllValues:StringEquals")
    assert attributes.keys() == {"dynamodb:Attributes"}
    # Otherwise a scan that names no attributes would pass, and read all of them.
    assert condition.pop("Null") == {"dynamodb:Attributes": "false"}
    select = {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"}
    assert condition.pop("StringEqualsIfExists") == select
    return [f"attribute {name}" for name in attributes["dynamodb:Attributes"]]


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
                "TruststoreUri": "s3://truststores/cdn.pem",
                "SettingsParameter": "/anonauth/settings",
                "MailSender": "no-reply@example.com",
                "EventBusName": "users",
                "AlarmTopic": TOPIC,
                "AnonymousChallenge": "true",
                "ClientAddressHeader": "CloudFront-Viewer-Address",
                "LoginConcurrency": "50",
                "PasswordConcurrency": "20",
                "SessionConcurrency": "100",
                "Tracing": "Active",
                "AccessLog": "true",
                "DetailedMetrics": "true",
                "MaxWriteRequestUnits": "1000",
                "PermissionsBoundaryArn": BOUNDARY,
            },
            id="all that is off by default",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"BaseUrl": CDN, "OriginSecretHashes": f"{HASH},{HASH}"},
            id="behind a CDN",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {
                "ExpiryNoticeDays": "",
                "LoginsPerNetwork": "0",
                "MailsPerNetwork": "0",
                "Metrics": "false",
                "ProviderFailuresPerNetwork": "0",
            },
            id="all that is on by default is off",
            marks=pytest.mark.long,
        ),
    ],
)
def test_given_the_template_when_sam_translates_it_then_cfn_lint_finds_nothing(
    parameters: dict[str, str],
) -> None:
    template = sam_template.load()
    for name, value in parameters.items():  # cfn-lint goes by the defaults
        template["Parameters"][name]["Default"] = value

    translated = translate(template)

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


@pytest.mark.long
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


def test_given_the_roles_then_the_sdk_in_the_bundle_knows_what_they_grant() -> None:
    prefixes = {"sesv2": "ses"}
    known = {
        f"{prefixes.get(service, service)}:{operation}"
        for service, operations in OPERATIONS.items()
        for operation in operations
    }

    granted = {
        action
        for name in FUNCTIONS
        for statement in statements(name)
        for action in as_list(statement["Action"])
    }

    # A transaction needs the actions it is made of; `TransactWriteItems` is no action.
    assert known - granted == {"dynamodb:TransactWriteItems"}
    granted -= {"dynamodb:ConditionCheckItem"}
    # Lambda itself reads the stream, and stores failed batches.
    by_lambda = {
        *(f"dynamodb:{name}" for name in STREAM_ACTIONS),
        *("s3:ListBucket", "s3:PutObject"),
    }
    assert granted - known == by_lambda


def test_given_each_function_when_its_role_is_read_then_it_grants_what_is_used() -> (
    None
):
    granted = {function: grants(function) for function in FUNCTIONS}

    assert granted == GRANTS


def a_scan() -> Json:
    (scan,) = (
        statement
        for statement in statements("ExpiringFunction")
        if statement["Action"] == "dynamodb:Scan"
    )
    return scan


def a_publication() -> Json:
    (publication,) = (
        statement
        for statement in statements("LifecycleFunction")
        if statement["Action"] == "events:PutEvents"
    )
    return publication


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(a_scan() | {"Condition": {}}, id="a scan of all"),
        pytest.param(
            a_scan()
            | {
                "Condition": {
                    "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["USER#*"]}
                }
            },
            id="a scan by key",
        ),
        pytest.param(
            a_scan() | {"Action": ["dynamodb:GetItem", "dynamodb:Scan"]},
            id="a scan and more",
        ),
        pytest.param(
            a_scan()
            | {
                "Condition": {
                    name: condition
                    for name, condition in a_scan()["Condition"].items()
                    if name != "Null"
                }
            },
            id="a scan that need not name attributes",
        ),
        pytest.param(a_publication() | {"Condition": {}}, id="events of anybody"),
        pytest.param(
            a_publication()
            | {"Condition": {"StringEquals": {"events:source": "anonauth"}}},
            id="events of which one is ours",
        ),
        pytest.param(
            {
                "Effect": "Allow",
                "Action": ["dynamodb:ListStreams", "dynamodb:GetRecords"],
                "Resource": "*",
            },
            id="every stream",
        ),
        pytest.param(
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Resource": {"Fn::Sub": "${FailedRecords.Arn}/aws/lambda/*"},
            },
            id="all of the bucket",
        ),
    ],
)
def test_given_a_statement_that_grants_too_much_when_read_then_it_is_refused(
    statement: Json,
) -> None:
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        grants_of(statement)


def test_given_settings_and_mail_when_deployed_then_few_functions_get_at_them() -> None:
    more = {
        function: grants(function, conditions=True) - grants(function)
        for function in FUNCTIONS
    }

    assert {function: granted for function, granted in more.items() if granted} == {
        "LoginFunction": SETTINGS_GRANTS | {("dynamodb:UpdateItem", "RATE#login#*")},
        "LinkFunction": SETTINGS_GRANTS | {("dynamodb:UpdateItem", "RATE#provider#*")},
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
    parameter = {"Ref": "SettingsParameter"}
    if_asked = {"Fn::If": ["HasChallenge", parameter, ""]}
    assert {name: variables[name]["SETTINGS_PARAMETER"] for name in knowing} == {
        "LinkFunction": parameter,
        "UserpassFunction": parameter,
        "ApiKeysFunction": parameter,
        "LoginFunction": if_asked,
    }
    for name in knowing:
        assert variables[name]["ALLOW_PRIVATE_ISSUERS"] == "false"  # on AWS


@pytest.mark.parametrize(
    ("variable", "parameter", "knowing"),
    [
        pytest.param(
            "EVENT_BUS",
            "EventBusName",
            {"LifecycleFunction", "ExpiringFunction"},
            id="the bus",
        ),
        pytest.param(
            "EXPIRY_NOTICE_DAYS", "ExpiryNoticeDays", {"ExpiringFunction"}, id="notices"
        ),
        pytest.param(
            "LOGINS_PER_NETWORK", "LoginsPerNetwork", {"LoginFunction"}, id="budget"
        ),
        pytest.param(
            "MAILS_PER_NETWORK", "MailsPerNetwork", {"UserpassFunction"}, id="mails"
        ),
        pytest.param(
            "PROVIDER_FAILURES_PER_NETWORK",
            "ProviderFailuresPerNetwork",
            {"LinkFunction"},
            id="failures at providers",
        ),
        pytest.param(
            "ANONYMOUS_CHALLENGE",
            "AnonymousChallenge",
            {"LoginFunction"},
            id="challenge",
        ),
    ],
)
def test_given_a_setting_of_few_functions_then_only_those_know_it(
    variable: str, parameter: str, knowing: set[str]
) -> None:
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")

    values = {
        name: properties["Environment"]["Variables"].get(variable)
        for name, properties in functions.items()
    }

    assert {name: value for name, value in values.items() if value} == {
        name: {"Ref": parameter} for name in knowing
    }


def test_given_each_function_when_its_role_is_read_then_aws_adds_only_logs() -> None:
    roles = resources(sam_template.translated(), "AWS::IAM::Role")

    managed = {name: role["ManagedPolicyArns"] for name, role in roles.items()}

    assert managed == {
        f"{name}Role": [sam_template.BASIC_EXECUTION] for name in FUNCTIONS
    }


def with_snapshots(release: str, **parameters: str) -> tuple[str, Json]:
    """Return the version behind `live`, and all resources, with the page's lines."""
    lines = block("SnapStart").replace('RELEASE: "1"', f'RELEASE: "{release}"')
    template = sam_template.load()
    function = template["Resources"]["LoginFunction"]["Properties"]
    sam_template.add_lines(function, yaml_parse(lines))
    found = translate(template, parameters)["Resources"]
    alias = found["LoginFunctionAliaslive"]["Properties"]
    version: str = alias["FunctionVersion"]["Fn::GetAtt"][0]
    return version, found


def test_given_the_snapstart_lines_when_deployed_then_clients_get_snapshots() -> None:
    version, found = with_snapshots("1")

    function = found["LoginFunction"]["Properties"]
    assert function["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert found[version]["DeletionPolicy"] == "Delete"
    assert "TABLE_NAME" in function["Environment"]["Variables"]  # nothing is lost
    called = found["LoginFunctionLoginPermission"]["Properties"]["FunctionName"]
    assert called == {"Ref": "LoginFunctionAliaslive"}


def test_given_snapshots_when_a_parameter_changes_then_only_a_text_tells_sam() -> None:
    """The reason why SnapStart is no parameter: clients would get the old version."""
    version, _ = with_snapshots("1")

    unchanged, _ = with_snapshots("1", AppIds="another-app")
    changed, _ = with_snapshots("2", AppIds="another-app")

    assert unchanged == version
    assert changed != version


def deployed_gradually(
    change: Callable[[Json], object] = lambda template: None, **parameters: str
) -> Json:
    """Return the template that SAM makes of ours with the page's lines."""
    template = sam_template.load()
    sam_template.add_lines(template, yaml_parse(block("gradual deployment")))
    change(template)
    return translate(template, parameters)


def versions(template: Json) -> set[str]:
    found = resources(template, "AWS::Lambda::Version")
    assert len(found) == len(FUNCTIONS)
    return set(found)


def release(template: Json) -> None:
    template["Globals"]["Function"]["Environment"]["Variables"]["RELEASE"] = "2"


def log_less(template: Json) -> None:
    template["Globals"]["Function"]["LoggingConfig"]["ApplicationLogLevel"] = "WARN"


def depend_on_the_alarm(template: Json) -> None:
    preference = template["Globals"]["Function"]["DeploymentPreference"]
    preference["Alarms"] = [{"Ref": "ServerErrorsAlarm"}]


def test_given_the_lines_of_a_canary_when_deployed_then_codedeploy_shifts_aliases() -> (
    None
):
    """CloudFormation has CodeDeploy shift an alias that has an update policy."""
    found = deployed_gradually()

    aliases = {f"{function}Aliaslive": function for function in FUNCTIONS}
    for alias, function in aliases.items():
        update = found["Resources"][alias]["UpdatePolicy"]
        assert update["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"] == {
            "Ref": f"{function}DeploymentGroup"
        }
    groups = resources(found, "AWS::CodeDeploy::DeploymentGroup")
    assert groups.keys() == {f"{function}DeploymentGroup" for function in FUNCTIONS}
    alarm = found["Resources"]["ServerErrorsAlarm"]["Properties"]["AlarmName"]
    for group in groups.values():
        assert group["AlarmConfiguration"] == {
            "Enabled": True,
            "Alarms": [{"Name": alarm}],
        }
        rollback = group["AutoRollbackConfiguration"]
        assert rollback["Enabled"]
        assert "DEPLOYMENT_STOP_ON_ALARM" in rollback["Events"]
        assert group["DeploymentConfigName"]["Fn::Sub"] == [
            "CodeDeployDefault.Lambda${ConfigName}",
            {"ConfigName": "Canary10Percent30Minutes"},
        ]


@pytest.mark.long
def test_given_the_lines_of_a_canary_when_linted_then_cfn_lint_finds_nothing() -> None:
    assert findings(deployed_gradually()) == []


def test_given_a_canary_when_the_alarm_has_to_stop_it_then_the_canary_is_longer() -> (
    None
):
    alarm = sam_template.load()["Resources"]["ServerErrorsAlarm"]["Properties"]
    (_, kind) = deployed_gradually()["Resources"]["LoginFunctionDeploymentGroup"][
        "Properties"
    ]["DeploymentConfigName"]["Fn::Sub"]
    minutes = int(re.findall(r"\d+", kind["ConfigName"])[-1])

    # The errors may begin in the middle of a period, which is then too quiet.
    latest = (alarm["EvaluationPeriods"] + 1) * alarm["Period"] / 60

    assert minutes >= 2 * latest


def test_given_a_canary_when_it_refers_to_the_alarm_then_it_is_a_cycle() -> None:
    """The reason why the alarm's name is written out."""
    rule = RulesCollection()
    rule.register(CircularDependency())

    cycles = lint(json.dumps(deployed_gradually(depend_on_the_alarm)), rule)

    assert {match.rule.id for match in cycles} == {"E3004"}
    assert lint(json.dumps(deployed_gradually()), rule) == []


def test_given_a_canary_when_clients_and_schedules_call_then_they_get_the_alias() -> (
    None
):
    """The deployment and the stream call the function itself: no canary of events."""
    found = deployed_gradually()

    called = {
        name: permission["FunctionName"]["Ref"]
        for name, permission in resources(found, "AWS::Lambda::Permission").items()
    }
    rules = resources(found, "AWS::Events::Rule")
    (stream,) = resources(found, "AWS::Lambda::EventSourceMapping").values()
    paths = found["Resources"]["Api"]["Properties"]["Body"]["paths"]
    uris = {
        operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
        for methods in paths.values()
        for operation in methods.values()
    }

    assert {name for name in called.values() if not name.endswith("Aliaslive")} == set()
    assert {rule["Targets"][0]["Arn"]["Ref"] for rule in rules.values()} == {
        "KeysFunctionAliaslive",
        "ExpiringFunctionAliaslive",
    }
    assert {uri for uri in uris if "Aliaslive}" not in uri} == set()
    assert stream["FunctionName"] == {"Ref": "LifecycleFunction"}
    ring = found["Resources"]["KeyRing"]["Properties"]
    assert ring["ServiceToken"] == {"Fn::GetAtt": ["KeysFunction", "Arn"]}


def test_given_a_canary_when_there_is_a_new_version_then_the_key_ring_is_tried() -> (
    None
):
    """CloudFormation updates a custom resource if one of its properties changes."""
    before, after = deployed_gradually(), deployed_gradually(release)

    tried = [
        found["Resources"]["KeyRing"]["Properties"]["Version"]["Ref"]
        for found in (before, after)
    ]

    assert tried[0] in versions(before)
    assert tried[1] in versions(after)
    assert tried[0] != tried[1]


def test_given_a_canary_when_only_a_parameter_changes_then_no_version_follows() -> None:
    """SAM compares references, not their values. The page says so."""
    before = versions(deployed_gradually())

    unchanged = versions(deployed_gradually(AppIds="another", AccessTokenMinutes="10"))

    assert unchanged == before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(release, id="RELEASE"),
        pytest.param(log_less, id="a property in the template"),
    ],
)
def test_given_a_canary_when_the_text_changes_then_every_version_follows(
    change: Callable[[Json], object],
) -> None:
    before = versions(deployed_gradually())

    after = versions(deployed_gradually(change))

    assert after.isdisjoint(before)


def test_given_a_canary_when_it_is_not_enabled_then_aliases_are_updated_at_once() -> (
    None
):
    def disable(template: Json) -> None:
        template["Globals"]["Function"]["DeploymentPreference"]["Enabled"] = False

    found = deployed_gradually(disable)

    kinds = {resource["Type"] for resource in found["Resources"].values()}
    assert not [kind for kind in kinds if kind.startswith("AWS::CodeDeploy::")]
    assert "UpdatePolicy" not in found["Resources"]["LoginFunctionAliaslive"]


def test_given_the_authorizer_when_deployed_then_nothing_here_calls_it() -> None:
    """Another stack gives its own gateway the permission."""
    template = sam_template.translated()
    name = "AuthorizerFunction"

    outputs = [
        key for key, output in template["Outputs"].items() if name in str(output)
    ]

    naming = {
        key
        for key, resource in template["Resources"].items()
        if name in str(resource.get("Properties"))
    }
    assert naming == {name, f"{name}Role"}
    assert name not in {route.function for route in sam_template.routes()}
    assert outputs == ["AuthorizerArn"]
    assert template["Outputs"]["AuthorizerArn"]["Value"] == {
        "Fn::GetAtt": [name, "Arn"]
    }


def test_given_the_stack_is_deleted_then_users_records_and_key_outlive_it() -> None:
    template = sam_template.translated()

    policies = {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in template["Resources"].items()
        if resource["Type"]
        in {"AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::S3::Bucket"}
    }

    assert policies == {
        "Table": ("Retain", "Retain"),
        "FailedRecords": ("RetainExceptOnCreate", "Retain"),
        "RingKey": ("RetainExceptOnCreate", "Retain"),
    }


def test_given_a_permissions_boundary_when_deployed_then_every_role_has_it() -> None:
    given = {"Ref": "PermissionsBoundaryArn"}
    resolved = {"Fn::If": ["HasPermissionsBoundary", given, NO_VALUE]}

    translated = sam_template.translated()

    roles = resources(translated, "AWS::IAM::Role")
    boundaries = {name: r.get("PermissionsBoundary") for name, r in roles.items()}
    assert len(roles) == len(resources(translated, "AWS::Lambda::Function"))
    assert boundaries == dict.fromkeys(roles, resolved)


def test_given_an_access_log_when_deployed_then_it_has_five_fields_and_no_address() -> (
    None
):
    translated = sam_template.translated()

    (stage,) = resources(translated, "AWS::ApiGatewayV2::Stage").values()
    has_log, settings, otherwise = stage["AccessLogSettings"]["Fn::If"]
    group = translated["Resources"]["AccessLogGroup"]
    assert (has_log, otherwise) == ("HasAccessLog", NO_VALUE)
    assert group["Condition"] == "HasAccessLog"
    assert group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert settings["DestinationArn"] == {"Fn::GetAtt": ["AccessLogGroup", "Arn"]}
    fields = [
        "requestId",
        "routeKey",
        "status",
        "responseLatency",
        "integrationErrorMessage",
    ]
    assert json.loads(settings["Format"]) == {
        field: f"$context.{field}" for field in fields
    }


def test_given_detailed_metrics_when_deployed_then_the_parameter_decides() -> None:
    (stage,) = resources(sam_template.translated(), "AWS::ApiGatewayV2::Stage").values()

    asked = stage["DefaultRouteSettings"]["DetailedMetricsEnabled"]
    assert asked == {"Ref": "DetailedMetrics"}


def test_given_the_ring_key_when_deployed_then_it_can_be_copied_to_a_region() -> None:
    key = resources(sam_template.translated(), "AWS::KMS::Key")["RingKey"]

    assert key["MultiRegion"] is True


def test_given_a_key_of_the_owner_when_deployed_then_the_stack_makes_none() -> None:
    template = sam_template.translated()

    assert template["Resources"]["RingKey"]["Condition"] == "HasOwnKey"
    assert template["Outputs"]["RingKeyArn"]["Value"] == RING_KEY
    for name, function in resources(template, "AWS::Lambda::Function").items():
        assert function["Environment"]["Variables"]["KMS_KEY_ID"] == RING_KEY, name


def test_given_another_table_or_key_when_deployed_then_the_ring_is_made_again() -> None:
    """CloudFormation updates a custom resource if one of its properties changes."""
    ring = resources(sam_template.translated(), "Custom::KeyRing")["KeyRing"]

    assert (ring["Table"], ring["Key"]) == ({"Ref": "Table"}, RING_KEY)


def test_given_the_table_when_deployed_then_it_is_as_the_store_expects() -> None:
    table = resources(sam_template.translated(), "AWS::DynamoDB::Table")["Table"]

    name = {"Ref": "NewTableName"}
    assert table["TableName"] == {"Fn::If": ["HasNewTable", name, NO_VALUE]}
    assert table["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["PointInTimeRecoverySpecification"] == {
        "PointInTimeRecoveryEnabled": True
    }
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    limit = {"MaxWriteRequestUnits": {"Ref": "MaxWriteRequestUnits"}}
    assert table["OnDemandThroughput"] == {"Fn::If": ["HasWriteLimit", limit, NO_VALUE]}


def test_given_the_api_when_imported_then_a_warning_does_not_fail_it() -> None:
    """SAM's DisableExecuteApiEndpoint makes a `servers` entry without `url`.

    API Gateway warns about it, and with FailOnWarnings the deployment fails
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


def test_given_allowed_origins_when_deployed_then_every_function_knows_them() -> None:
    """A function without the list would accept calls from pages of any origin."""
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")

    for properties in functions.values():
        variables = properties["Environment"]["Variables"]
        assert variables["ALLOWED_ORIGINS"] == {"Ref": "AllowedOrigins"}


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
    name = sam_template.word_of(function)
    properties = resources(sam_template.translated(), "AWS::Lambda::Function")[function]

    event = sam_template.event(name)

    assert properties["Handler"] == f"anonauth.handlers.{name}.handler"
    if "routeKey" in event and "type" not in event:
        assert Route(event["routeKey"], function) in set(sam_template.routes())


@pytest.mark.parametrize(
    "name",
    sorted(path.stem for path in EVENTS.glob("*.json") if path.stem != "env.local"),
)
def test_given_an_event_then_it_is_as_its_source_makes_it(name: str) -> None:
    event = sam_template.event(name)

    if "type" in event:
        assert_of_authorizer(event)
    elif "routeKey" in event:
        assert_of_api_gateway(event)
        is_lower = all(header == header.lower() for header in event["headers"])
        assert is_lower != name.endswith("-capitals")
    elif "Records" in event:
        assert_of_stream(event)
    elif "ResponseURL" in event:
        assert_of_custom_resource(event)
    else:
        assert event["detail-type"] == "Scheduled Event"
        assert event["source"] == "aws.events"


def test_given_events_without_a_route_then_they_are_those_of_what_else_starts_it() -> (
    None
):
    template = read_template(ROOT / "template.yaml")

    started = {
        name: kind
        for name, function in template.functions.items()
        if (
            kind := "stream"
            if function.streamed
            else "schedule"
            if function.scheduled
            else ""
        )
    }

    assert started == {
        "LifecycleFunction": "stream",
        "ExpiringFunction": "schedule",
        "KeysFunction": "schedule",
    }
    for name, kind in started.items():
        event = sam_template.event(sam_template.word_of(name))
        assert ("Records" in event) == (kind == "stream"), name
        assert ("detail-type" in event) == (kind == "schedule"), name
        assert not template.functions[name].routes


def assert_of_authorizer(event: Json) -> None:
    """Amazon API Gateway Developer Guide: the input of Lambda authorizers.

    For HTTP APIs it is in "Control access to HTTP APIs with AWS Lambda authorizers",
    for the others in "Input to an API Gateway Lambda authorizer" and "Control access to
    WebSocket APIs with AWS Lambda REQUEST authorizers".
    """
    arn = event.get("routeArn") or event["methodArn"]
    tail = r"[a-z0-9]{10}/(\$default|prod)/(GET/notes|\$connect)"
    assert re.fullmatch(rf"arn:aws:execute-api:[a-z0-9-]+:[0-9]{{12}}:{tail}", arn)
    if event["type"] == "TOKEN":
        assert event.keys() == {"type", "authorizationToken", "methodArn"}
        assert event["authorizationToken"] == "Bearer REPLACE_WITH_TOKEN"
        return
    assert event["type"] == "REQUEST"
    is_http_2 = event.get("version") == "2.0"
    assert ("routeArn" in event) == is_http_2 == ("multiValueHeaders" not in event)
    context = event["requestContext"]
    assert f"/{context['stage']}/" in arn
    assert f":{context['apiId']}/" in arn
    assert (
        event["headers"].get("host", event["headers"].get("Host"))
        == (context["domainName"])
    )
    if not is_http_2:
        lists = {name: [value] for name, value in event["headers"].items()}
        assert event["multiValueHeaders"] == lists
    # A browser cannot set Authorization when it opens a WebSocket.
    is_connect = context.get("eventType") == "CONNECT"
    headers = {name.lower(): value for name, value in event["headers"].items()}
    assert ("authorization" in headers) != is_connect
    assert ("sec-websocket-protocol" in headers) == is_connect


def assert_of_custom_resource(event: Json) -> None:
    """AWS CloudFormation User Guide, "Custom resource request objects"."""
    always = {"RequestType", "ResponseURL", "StackId", "RequestId", "ResourceType"}
    always |= {"LogicalResourceId", "ResourceProperties", "ServiceToken"}
    is_first = event["RequestType"] == "Create"
    made = resources(sam_template.load(), event["ResourceType"])

    assert event["RequestType"] in {"Create", "Update", "Delete"}
    assert event.keys() == always | (set() if is_first else {"PhysicalResourceId"})
    assert event["LogicalResourceId"] in made


def assert_of_stream(event: Json) -> None:
    """AWS, "Using AWS Lambda with Amazon DynamoDB", example event."""
    assert event["Records"]
    for record in event["Records"]:
        assert record["eventSource"] == "aws:dynamodb"
        assert record["eventName"] in {"INSERT", "MODIFY", "REMOVE"}
        assert re.fullmatch(
            r"arn:aws:dynamodb:[a-z0-9-]+:[0-9]{12}:table/.+/stream/.+",
            record["eventSourceARN"],
        )
        stream = record["dynamodb"]
        images = {"INSERT": {"NewImage"}, "REMOVE": {"OldImage"}}.get(
            record["eventName"], {"NewImage", "OldImage"}
        )
        assert stream.keys() & {"NewImage", "OldImage"} == images
        assert all(stream[image]["pk"] == stream["Keys"]["pk"] for image in images)
        assert stream["StreamViewType"] == "NEW_AND_OLD_IMAGES"
        assert stream["SequenceNumber"].isdecimal()
        assert sam_template.passes_filter(record)  # else it would not be delivered


def assert_of_api_gateway(event: Json) -> None:
    http = event["requestContext"]["http"]

    assert event["version"] == "2.0"
    assert event["routeKey"] in {route.key for route in sam_template.routes()}
    assert event["routeKey"] == event["requestContext"]["routeKey"]
    method, _, pattern = event["routeKey"].partition(" ")
    parameters = event.get("pathParameters", {})
    assert http["path"] == event["rawPath"]
    if pattern:  # `$default` takes any method and path
        assert http["method"] == method
        assert event["rawPath"] == re.sub(
            r"{(\w+)}", lambda match: parameters[match[1]], pattern
        )
    assert event["requestContext"]["stage"] == "$default"
    headers = {name.lower(): value for name, value in event["headers"].items()}
    assert len(headers) == len(event["headers"])
    # Events without a token need none; the others have a placeholder.
    assert headers.get("authorization") in {None, "Bearer REPLACE_WITH_TOKEN"}


def test_given_env_for_sam_local_then_it_sets_declared_variables_only() -> None:
    """`sam local invoke --env-vars` silently drops all other variables."""
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
        pytest.param("BaseUrl", "", True, id="no CDN"),
        pytest.param("BaseUrl", CDN, True, id="a CDN"),
        pytest.param("BaseUrl", "https://d111.cloudfront.net", True, id="its own name"),
        pytest.param("BaseUrl", "http://auth.example.com", False, id="CDN without TLS"),
        pytest.param("BaseUrl", "auth.example.com", False, id="CDN without scheme"),
        pytest.param("BaseUrl", f"{CDN}/", False, id="CDN with a slash"),
        pytest.param("BaseUrl", f"{CDN}/v1", False, id="CDN with a path"),
        pytest.param("BaseUrl", f"{CDN}:443", False, id="CDN with a port"),
        pytest.param(
            "BaseUrl", "https://Auth.example.com", False, id="CDN in capitals"
        ),
        pytest.param("OriginSecretHashes", "", True, id="no secret"),
        pytest.param("OriginSecretHashes", HASH, True, id="a hash"),
        pytest.param("OriginSecretHashes", f"{HASH},{HASH}", True, id="two hashes"),
        pytest.param("OriginSecretHashes", ",".join([HASH] * 3), False, id="three"),
        pytest.param("OriginSecretHashes", f"{HASH},", False, id="a comma after it"),
        pytest.param("OriginSecretHashes", f"{HASH}, {HASH}", False, id="a space"),
        pytest.param("OriginSecretHashes", HASH[1:], False, id="63 digits"),
        pytest.param("OriginSecretHashes", f"{HASH}0", False, id="65 digits"),
        pytest.param("OriginSecretHashes", HASH.upper(), False, id="capitals"),
        pytest.param("OriginSecretHashes", "correct-horse", False, id="the secret"),
        pytest.param("TruststoreUri", "", True, id="no truststore"),
        pytest.param("TruststoreUri", "s3://b.c-d/e/f.pem", True, id="truststore"),
        pytest.param("TruststoreUri", "s3://bucket", False, id="no object"),
        pytest.param("TruststoreUri", "https://b.s3/x.pem", False, id="not of S3"),
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
        pytest.param("EventBusName", "default", True, id="the account's bus"),
        pytest.param("EventBusName", "a" * 256, True, id="bus name of 256"),
        pytest.param("EventBusName", "a" * 257, False, id="bus name of 257"),
        pytest.param(
            "EventBusName", "aws.partner/example.com/1", True, id="a partner's bus"
        ),
        pytest.param("EventBusName", "", False, id="no bus"),
        pytest.param("EventBusName", "*", False, id="every bus"),
        pytest.param("EventBusName", "users?", False, id="wildcard in a bus"),
        pytest.param(
            "EventBusName",
            "arn:aws:events:eu-central-1:123456789012:event-bus/users",
            False,
            id="ARN of a bus",
        ),
        pytest.param("ExpiryNoticeDays", "", True, id="no warning"),
        pytest.param("ExpiryNoticeDays", "1", True, id="a day ahead"),
        pytest.param("ExpiryNoticeDays", "89", True, id="89 days ahead"),
        pytest.param("ExpiryNoticeDays", "14,3", True, id="two warnings"),
        pytest.param("ExpiryNoticeDays", "30,14,3,1", True, id="four warnings"),
        pytest.param("ExpiryNoticeDays", "0", False, id="0 days ahead"),
        pytest.param("ExpiryNoticeDays", "90", False, id="90 days ahead"),
        pytest.param("ExpiryNoticeDays", "100", False, id="100 days ahead"),
        pytest.param("ExpiryNoticeDays", "03", False, id="leading zero of a warning"),
        pytest.param("ExpiryNoticeDays", "14, 3", False, id="a space in warnings"),
        pytest.param("ExpiryNoticeDays", "14,", False, id="a comma at the end"),
        pytest.param("ExpiryNoticeDays", "-3", False, id="after the end"),
        pytest.param("ExpiryNoticeDays", "P14D", False, id="a duration"),
        pytest.param("AlarmTopic", "", True, id="no topic"),
        pytest.param("AlarmTopic", TOPIC, True, id="topic"),
        pytest.param(
            "AlarmTopic",
            "arn:aws-us-gov:sns:us-gov-west-1:123456789012:Alarms_1",
            True,
            id="topic of another partition",
        ),
        pytest.param("AlarmTopic", "alarms", False, id="name of a topic"),
        pytest.param("AlarmTopic", f"{TOPIC}:0a1b-2c", False, id="a subscription"),
        pytest.param(
            "AlarmTopic",
            "arn:aws:sqs:eu-central-1:123456789012:alarms",
            False,
            id="a queue",
        ),
        pytest.param("AlarmTopic", f"{TOPIC}.fifo", False, id="a FIFO topic"),
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
        pytest.param("MaxWriteRequestUnits", "", True, id="no write limit"),
        pytest.param("MaxWriteRequestUnits", "1", True, id="a write limit"),
        pytest.param("MaxWriteRequestUnits", "-1", True, id="no more write limit"),
        pytest.param("MaxWriteRequestUnits", "0", False, id="no writes"),
        pytest.param("PermissionsBoundaryArn", "", True, id="no boundary"),
        pytest.param("PermissionsBoundaryArn", BOUNDARY, True, id="boundary"),
        pytest.param(
            "PermissionsBoundaryArn",
            "arn:aws:iam::123456789012:role/x",
            False,
            id="a role as boundary",
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


def test_given_outputs_then_none_is_named_like_a_list() -> None:
    """SAM CLI replaces such an output's name with a list's value, and crashes.

    A string does no harm: `sam build` replaces the name only in its memory.
    """
    template = sam_template.load()

    lists = {
        name
        for name, parameter in template["Parameters"].items()
        if parameter["Type"] == "CommaDelimitedList"
    }
    assert lists
    assert lists.isdisjoint(template["Outputs"])


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        pytest.param({"BaseUrl": CDN}, None, id="a CDN that sends no secret"),
        pytest.param({"BaseUrl": CDN, "OriginSecretHashes": HASH}, None, id="a CDN"),
        pytest.param(DOMAIN, None, id="a domain"),
        pytest.param(DOMAIN | TRUSTSTORE, None, id="a domain with mutual TLS"),
        pytest.param(
            {"OriginSecretHashes": HASH},
            "OriginSecretHashes needs a BaseUrl",
            id="a secret without an address",
        ),
        pytest.param(
            DOMAIN | {"OriginSecretHashes": HASH},
            "OriginSecretHashes needs a BaseUrl",
            id="a secret with a domain",
        ),
        pytest.param(
            DOMAIN | {"BaseUrl": CDN},
            "BaseUrl and DomainName exclude each other",
            id="two addresses",
        ),
        pytest.param(TRUSTSTORE, "TruststoreUri needs a DomainName", id="no domain"),
        pytest.param(
            TRUSTSTORE | {"BaseUrl": CDN},
            "TruststoreUri needs a DomainName",
            id="mutual TLS at the execute-api address",
        ),
    ],
)
def test_given_parameters_of_a_cdn_when_deploying_then_the_rules_decide(
    parameters: dict[str, str], problem: str | None
) -> None:
    if problem is None:
        read_template(ROOT / "template.yaml", parameters)
        return
    with pytest.raises(CommandError, match=problem):
        read_template(ROOT / "template.yaml", parameters)


@pytest.mark.parametrize(
    ("parameters", "address", "is_origin"),
    [
        pytest.param({}, EXECUTE_API, True, id="neither"),
        pytest.param({"BaseUrl": CDN}, CDN, True, id="a CDN"),
        pytest.param(DOMAIN, "https://api.example.com", False, id="a domain"),
    ],
)
def test_given_an_address_when_deployed_then_functions_and_outputs_name_it(
    parameters: dict[str, str], address: str, *, is_origin: bool
) -> None:
    """The CDN calls the execute-api address, so only a domain switches that off."""
    source = load_template(ROOT / "template.yaml")
    resolver = Resolver(source, check_parameters(source, parameters))
    outputs = resolver.outputs()
    functions = read_template(ROOT / "template.yaml", parameters).functions

    for function in functions.values():
        told = function.environment["BASE_URL"]
        assert told == (address if parameters else "")
    app = f"{address}/api/client/v2.0/app/myapp-abcde"
    assert outputs["BaseUrl"] == address
    assert outputs["Issuer"] == app
    assert outputs["Jwks"] == f"{app}/.well-known/jwks.json"
    origin = EXECUTE_API.removeprefix("https://") if is_origin else None
    assert outputs.get("OriginDomain") == origin
    api = resolver.resources()["Api"]["Properties"]
    assert api["DisableExecuteApiEndpoint"] is not is_origin


def test_given_hashes_of_secrets_when_deployed_then_every_function_knows_them() -> None:
    """A function without the hashes would answer calls that bypass the CDN."""
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")

    for properties in functions.values():
        variables = properties["Environment"]["Variables"]
        assert variables["ORIGIN_SECRET_HASHES"] == {"Ref": "OriginSecretHashes"}
    assert sam_template.load()["Parameters"]["OriginSecretHashes"]["NoEcho"] is True


def test_given_a_truststore_when_deployed_then_the_domain_asks_for_certificates() -> (
    None
):
    (domain,) = resources(
        sam_template.translated(), "AWS::ApiGatewayV2::DomainName"
    ).values()

    assert domain["MutualTlsAuthentication"] == {
        "Fn::If": [
            "HasTruststore",
            {"TruststoreUri": {"Ref": "TruststoreUri"}},
            NO_VALUE,
        ]
    }


def test_given_the_distribution_when_linted_then_cloudformation_would_take_it() -> None:
    template = yaml_parse(block("the distribution"))

    assert findings(template) == []


def test_given_the_distribution_then_it_keeps_no_error_and_sends_the_secret() -> None:
    """CloudFront would otherwise give one client's 503 to all, for 10 seconds.

    The statuses are those of Amazon CloudFront Developer Guide, "How CloudFront
    processes HTTP 4xx and 5xx status codes from your origin". It stores others only if
    their answer has `max-age`, which no refusal of this service has.
    """
    template = yaml_parse(block("the distribution"))
    settings = resources(template, "AWS::CloudFront::Distribution")["Distribution"][
        "DistributionConfig"
    ]
    behaviour = settings["DefaultCacheBehavior"]
    (origin,) = settings["Origins"]

    never_kept = {
        each["ErrorCode"]
        for each in settings["CustomErrorResponses"]
        if each["ErrorCachingMinTTL"] == 0
    }
    assert never_kept == {404, 405, 414, 500, 501, 502, 503, 504}
    assert set(behaviour["AllowedMethods"]) >= {
        route.key.partition(" ")[0]
        for route in sam_template.routes()
        if route.key != "$default"
    } | {"OPTIONS"}
    assert origin["OriginCustomHeaders"] == [
        {"HeaderName": "X-Origin-Verify", "HeaderValue": {"Ref": "OriginSecret"}}
    ]
    assert template["Parameters"]["OriginSecret"]["NoEcho"] is True
