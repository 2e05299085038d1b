"""The template's alarms, dashboard, tracing and concurrency."""

import json
import re
from typing import get_args

import pytest

from anonauth.domain.events import MetricName
from anonauth.local.command_error import CommandError
from anonauth.local.template import (
    REGION,
    Resolver,
    check_parameters,
    load_template,
    read_template,
)
from anonauth.metrics import NAMESPACE
from support.project import sam_template
from support.project.pages import section
from support.project.sam_template import Json, resources
from support.project.tools import ROOT

PATH = ROOT / "template.yaml"
XRAY = "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess"
STACK = "anonauth-local"


def deployed(**parameters: str) -> dict[str, Json]:
    """Return the resources of a deployment, by their logical ids."""
    document = load_template(PATH)
    return Resolver(document, check_parameters(document, parameters)).resources()


def alarms(**parameters: str) -> dict[str, Json]:
    return {
        name: resource["Properties"]
        for name, resource in deployed(**parameters).items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def test_given_the_alarms_when_looked_up_then_the_runbook_has_a_line_for_each() -> None:
    table = section("operate.md", "## Alarms and what to do")
    told = re.findall(r"^\| `(\w+)` \| \S.* \| \S.* \|$", table, re.MULTILINE)

    assert sorted(told) == sorted(alarms())


def test_given_the_metrics_when_looked_up_then_the_page_lists_them() -> None:
    table = section("operate.md", "## Logs and metrics")
    told = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", ", ".join(told))) == set(get_args(MetricName))


def test_given_an_alarm_when_read_then_it_says_what_it_means() -> None:
    for name, alarm in alarms().items():
        assert len(alarm["AlarmDescription"]) > 40, name
        assert alarm["TreatMissingData"] == (
            "breaching" if name == "KeyAgeAlarm" else "notBreaching"
        )
        # Amazon CloudWatch API Reference, "PutMetricAlarm".
        assert ("Metrics" in alarm) != ("MetricName" in alarm)
        period = alarm.get("Period") or alarm["Metrics"][1]["MetricStat"]["Period"]
        assert period * alarm["EvaluationPeriods"] <= (7 * 86400)
        stats = [each for each in alarm.get("Metrics", []) if "MetricStat" in each]
        assert len(stats) <= 10


def test_given_throttled_calls_when_counted_then_of_every_function_that_must_run() -> (
    None
):
    metrics = alarms()["ThrottlesAlarm"]["Metrics"]

    counted = {
        each["MetricStat"]["Metric"]["Dimensions"][0]["Value"]
        for each in metrics
        if "MetricStat" in each
    }

    behind_the_api = {route.function for route in sam_template.routes()}
    assert counted == behind_the_api | {"LifecycleFunction", "KeysFunction"}


def test_given_the_authorizers_errors_when_counted_then_no_alarm_counts_them() -> None:
    """A REST API's 401 is an error of the function, so anybody can cause them.

    A canary stops at ServerErrorsAlarm, which counts answers of this API alone.
    """
    found = {
        name
        for name, resource in deployed().items()
        if resource["Type"] in {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"}
        and "Authorizer" in str(resource)
    }

    assert found == set()
    canary = alarms()["ServerErrorsAlarm"]
    assert "AWS/Lambda" not in str(canary)
    # Lambda's own report of a call says "error" in that case.
    pattern = deployed()["TimeOutsFilter"]["Properties"]["FilterPattern"]
    assert '$.record.status = "timeout"' in pattern


def test_given_a_timed_out_call_when_lambda_logs_it_then_the_alarm_counts_it() -> None:
    """Source: AWS Lambda Developer Guide, "Telemetry API event schema reference"."""
    found = deployed()["TimeOutsFilter"]["Properties"]
    alarm = alarms()["TimeOutsAlarm"]

    (counted,) = found["MetricTransformations"]
    group = sam_template.translated()["Resources"]["LoginFunction"]["Properties"]
    assert found["FilterPattern"] == (
        '{ $.type = "platform.report" && $.record.status = "timeout" }'
    )
    assert group["LoggingConfig"]["LogFormat"] == "JSON"
    assert group["LoggingConfig"]["LogGroup"] == {"Ref": found["LogGroupName"]}
    assert alarm["MetricName"] == counted["MetricName"]
    assert alarm["Namespace"] == counted["MetricNamespace"] == f"anonauth/{STACK}"


def test_given_failed_records_when_s3_counts_them_then_the_alarm_goes_off() -> None:
    """Source: Amazon S3 User Guide, "Metrics and dimensions"."""
    alarm = alarms()["FailedRecordsAlarm"]

    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/S3", "NumberOfObjects")
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
        "BucketName": "FailedRecords",
        "StorageType": "AllStorageTypes",
    }
    assert (alarm["Period"], alarm["Threshold"]) == (86400, 0)


def test_given_slow_requests_when_measured_then_the_slowest_hundredth_counts() -> None:
    alarm = alarms()["LatencyAlarm"]

    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/ApiGateway", "Latency")
    assert alarm["ExtendedStatistic"] == "p99"
    assert "Statistic" not in alarm
    assert alarm["EvaluateLowSampleCountPercentile"] == "ignore"


@pytest.mark.parametrize("rate", ["100", "2500"])
def test_given_a_routes_limit_when_calls_come_near_it_then_an_alarm_goes_off(
    rate: str,
) -> None:
    """Source: Amazon CloudWatch User Guide, "Using math expressions"."""
    alarm = alarms(ThrottlingRateLimit=rate)["RateLimitNearAlarm"]

    percent, calls = alarm["Metrics"]
    metric = calls["MetricStat"]["Metric"]
    assert (metric["Namespace"], metric["MetricName"]) == ("AWS/ApiGateway", "Count")
    assert calls["MetricStat"]["Stat"] == "Sum"
    assert not calls["ReturnData"]
    assert percent["Expression"] == f"100 * calls / PERIOD(calls) / {rate}"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "GreaterThanThreshold",
        80,
    )


def test_given_metrics_off_when_deployed_then_no_alarm_waits_for_one() -> None:
    def own(**parameters: str) -> set[str]:
        made = alarms(**parameters).items()
        return {name for name, each in made if each.get("Namespace") == NAMESPACE}

    assert own() == {"KeyAgeAlarm", "ExpiringLateAlarm"}
    assert own(ExpiryNoticeDays="") == {"KeyAgeAlarm"}
    assert own(Metrics="false") == set()
    functions = read_template(PATH, {"Metrics": "false"}).functions.values()
    assert {function.environment["METRICS"] for function in functions} == {"false"}


@pytest.fixture(scope="module")
def dashboard() -> Json:
    resource = deployed()["Dashboard"]["Properties"]
    assert resource["DashboardName"] == f"{STACK}-{REGION}"
    body: Json = json.loads(resource["DashboardBody"])
    return body


def test_given_the_dashboard_when_deployed_then_cloudwatch_can_read_it(
    dashboard: Json,
) -> None:
    """Source: Amazon CloudWatch API Reference, "Dashboard Body Structure"."""
    taken: set[tuple[int, int]] = set()
    for widget in dashboard["widgets"]:
        properties = widget["properties"]
        assert widget["type"] in {"metric", "alarm"}
        assert properties["title"]
        assert widget["x"] + widget["width"] <= 24
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken, properties["title"]
        taken |= cells
        if widget["type"] == "metric":
            assert properties["region"] == REGION
            assert properties["metrics"]
    assert "${" not in json.dumps(dashboard).replace("${PROP('Dim.", "")


def test_given_the_dashboard_when_read_then_it_shows_every_metric_of_ours(
    dashboard: Json,
) -> None:
    shown: dict[str, str] = {}
    for widget in dashboard["widgets"]:
        for line in widget["properties"].get("metrics", []):
            match line:
                case ["anonauth", name, "service", service, *_]:
                    shown[name] = ""
                case [{"expression": text}]:
                    found = re.fullmatch(
                        r"SEARCH\('\{anonauth,service,(\w+)\} service=\"(.+)\" "
                        r"MetricName=\"(\w+)\"', 'Sum'\)",
                        text,
                    )
                    assert found, text
                    dimension, service, name = found.groups()
                    shown[name] = dimension
                case _:
                    continue
            assert service == STACK

    dimensions = {
        "ColdStarts": "function",
        "Logins": "provider",
        "Links": "provider",
        "UsersCreated": "provider",
        "UsersLinked": "provider",
        "UsersDeleted": "reason",
        "UsersMerged": "provider",
        "Refusals": "error_code",
    }
    assert shown == dict.fromkeys(get_args(MetricName), "") | dimensions


def test_given_the_alarms_of_every_stack_then_the_dashboard_shows_them() -> None:
    body = sam_template.load()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]

    shown = set(re.findall(r"\$\{(\w+Alarm)\.Arn\}", body["Fn::Sub"]))

    # An alarm that a condition leaves out cannot be named.
    assert shown == set(alarms(Metrics="false", ExpiryNoticeDays=""))


@pytest.mark.parametrize(
    ("tracing", "config", "managed"),
    [
        pytest.param("Disabled", None, [sam_template.BASIC_EXECUTION], id="off"),
        pytest.param(
            "Active",
            {"Mode": {"Ref": "Tracing"}},
            [sam_template.BASIC_EXECUTION, XRAY],
            id="on",
        ),
    ],
)
def test_given_tracing_when_deployed_then_the_roles_may_write_traces(
    tracing: str, config: Json | None, managed: list[str]
) -> None:
    template = sam_template.translate(sam_template.load(), {"Tracing": tracing})

    functions = resources(template, "AWS::Lambda::Function").values()
    roles = resources(template, "AWS::IAM::Role").values()
    assert all(each.get("TracingConfig") == config for each in functions)
    assert all(role["ManagedPolicyArns"] == managed for role in roles)


@pytest.mark.parametrize(
    ("parameter", "functions"),
    [
        pytest.param("LoginConcurrency", {"LoginFunction"}, id="logins"),
        pytest.param("SessionConcurrency", {"SessionFunction"}, id="refreshes"),
        pytest.param(
            "PasswordConcurrency", {"LinkFunction", "UserpassFunction"}, id="passwords"
        ),
    ],
)
def test_given_a_reserved_concurrency_when_deployed_then_those_functions_have_it(
    parameter: str, functions: set[str]
) -> None:
    """An account has 1000, a new account 10. 100 of them cannot be reserved at all."""

    def reserved(**parameters: str) -> set[str]:
        return {
            name
            for name, resource in deployed(**parameters).items()
            if "ReservedConcurrentExecutions" in resource.get("Properties", {})
        }

    assert reserved() == set()
    assert reserved(**{parameter: "50"}) == functions


def test_given_a_log_level_when_deployed_then_metrics_pass_whatever_it_is() -> None:
    """Lambda takes a line without a level as INFO, and would drop it."""
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")

    for function in functions.values():
        variables = function["Environment"]["Variables"]
        assert function["LoggingConfig"]["ApplicationLogLevel"] == "INFO"
        assert variables["POWERTOOLS_LOG_LEVEL"] == {"Ref": "LogLevel"}
        assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


def test_given_a_challenge_without_settings_when_deployed_then_a_rule_refuses() -> None:
    asked = {"AnonymousChallenge": "true"}

    with pytest.raises(CommandError, match="needs a SettingsParameter"):
        read_template(PATH, asked)

    named = read_template(PATH, {**asked, "SettingsParameter": "/a"})
    environment = named.functions["LoginFunction"].environment
    assert environment["SETTINGS_PARAMETER"] == "/a"
    off = read_template(PATH, {"SettingsParameter": "/a"})
    assert off.functions["LoginFunction"].environment["SETTINGS_PARAMETER"] == ""
    assert off.settings_parameter == "/a"
