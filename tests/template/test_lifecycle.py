"""`template.yaml`'s handling of the table's stream, and of the scan for warnings."""

from typing import Any

import pytest

from anonauth.local.template import (
    Resolver,
    check_parameters,
    load_template,
    read_template,
)
from anonauth.store.items import (
    RING_PK,
    SCAN_PK,
    counter_pk,
    gone_pk,
    identity_pk,
    user_pk,
)
from support.project import sam_template
from support.project.sam_template import Json, resources, translated
from support.project.tools import ROOT

PATH = ROOT / "template.yaml"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"

HOUR = 3600  # seconds
STREAM_KEEPS = 24 * HOUR
MOST_KEYS = 100  # of a BatchGetItem


def deployed(**parameters: str) -> dict[str, Json]:
    """Return the resources of a deployment, by their logical ids."""
    document = load_template(PATH)
    resolver = Resolver(document, check_parameters(document, parameters))
    return resolver.resources()


@pytest.fixture(scope="module")
def mapping() -> Json:
    made = resources(translated(), "AWS::Lambda::EventSourceMapping")
    assert made.keys() == {"LifecycleStream"}
    return made["LifecycleStream"]


def test_given_the_mapping_then_it_is_from_the_tables_stream_to_lifecycle(
    mapping: Json,
) -> None:
    assert mapping["FunctionName"] == {"Ref": "LifecycleFunction"}
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["Table", "StreamArn"]}
    assert mapping.get("Enabled", True) is True


def test_given_the_mapping_when_it_is_made_then_it_begins_at_the_oldest_record(
    mapping: Json,
) -> None:
    """LATEST misses changes until Lambda polls, minutes after the deployment."""
    assert mapping["StartingPosition"] == "TRIM_HORIZON"


def test_given_a_batch_that_fails_then_only_what_is_left_of_it_comes_again(
    mapping: Json,
) -> None:
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True


def test_given_a_batch_then_one_call_can_look_for_all_its_marks(mapping: Json) -> None:
    """Lifecycle asks for the marks of a batch's deletions in one BatchGetItem."""
    assert 1 <= mapping["BatchSize"] <= MOST_KEYS


def test_given_a_record_that_fails_for_ever_then_it_is_kept_before_it_is_lost(
    mapping: Json,
) -> None:
    """-1, the default of both, retries until the stream drops the record."""
    assert 0 < mapping["MaximumRecordAgeInSeconds"] < STREAM_KEEPS
    assert 0 < mapping["MaximumRetryAttempts"] < 10_000
    assert mapping["DestinationConfig"] == {
        "OnFailure": {"Destination": {"Fn::GetAtt": ["FailedRecords", "Arn"]}}
    }


@pytest.mark.parametrize(
    ("pk", "is_passed"),
    [
        pytest.param(user_pk("myapp-abcde", "0" * 24), True, id="user"),
        pytest.param(
            identity_pk("USER", "custom-token", "USER#x"), False, id="identity"
        ),
        pytest.param(identity_pk("a", "api-key", "USER#"), False, id="API key"),
        pytest.param(gone_pk("USER", "0" * 24), False, id="mark of a request"),
        pytest.param(counter_pk("USER#login"), False, id="counter"),
        pytest.param(RING_PK, False, id="key ring"),
        pytest.param(SCAN_PK, False, id="scan"),
    ],
)
@pytest.mark.parametrize("kind", ["INSERT", "MODIFY", "REMOVE"])
def test_given_a_change_when_filtered_then_only_users_are_passed(
    pk: str, is_passed: bool, kind: str
) -> None:
    (record,) = sam_template.event("lifecycle")["Records"]
    record["eventName"] = kind
    record["dynamodb"]["Keys"]["pk"]["S"] = pk

    assert sam_template.passes_filter(record) == is_passed


def test_given_the_mapping_then_the_role_reads_no_other_stream() -> None:
    """SAM's own event would attach AWSLambdaDynamoDBExecutionRole."""
    roles = resources(translated(), "AWS::IAM::Role")

    managed = roles["LifecycleFunctionRole"]["ManagedPolicyArns"]

    assert managed == [sam_template.BASIC_EXECUTION]
    readers = [
        statement["Resource"]
        for statement in sam_template.statements("LifecycleFunction")
        if "dynamodb:GetRecords" in statement["Action"]
    ]
    assert readers == [{"Fn::GetAtt": ["Table", "StreamArn"]}]


def test_given_the_bucket_then_nobody_else_can_read_it() -> None:
    bucket = resources(translated(), "AWS::S3::Bucket")["FailedRecords"]

    public = bucket["PublicAccessBlockConfiguration"]
    rules = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert set(public) == {
        "BlockPublicAcls",
        "BlockPublicPolicy",
        "IgnorePublicAcls",
        "RestrictPublicBuckets",
    }
    assert all(value is True for value in public.values())
    assert [rule["ServerSideEncryptionByDefault"] for rule in rules] == [
        {"SSEAlgorithm": "AES256"}
    ]
    assert bucket["OwnershipControls"]["Rules"] == [
        {"ObjectOwnership": "BucketOwnerEnforced"}
    ]
    assert "BucketName" not in bucket  # names are global


def test_given_the_bucket_then_its_records_are_forgotten_some_day() -> None:
    """The records are images of users, expired users among them."""
    bucket = resources(translated(), "AWS::S3::Bucket")["FailedRecords"]

    (rule,) = bucket["LifecycleConfiguration"]["Rules"]

    assert rule["Status"] == "Enabled"
    assert 30 <= rule["ExpirationInDays"] <= 90
    assert rule.keys() == {"Id", "Status", "ExpirationInDays"}  # no filter: all objects


def test_given_the_buckets_policy_then_it_only_denies() -> None:
    policies = resources(translated(), "AWS::S3::BucketPolicy")

    (policy,) = policies.values()

    assert policy["Bucket"] == {"Ref": "FailedRecords"}
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_given_the_alarm_then_it_is_of_events_that_are_late() -> None:
    alarms = resources(translated(), "AWS::CloudWatch::Alarm")

    alarm = alarms["LifecycleLateAlarm"]

    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "IteratorAge")
    assert alarm["Dimensions"] == [
        {"Name": "FunctionName", "Value": {"Ref": "LifecycleFunction"}}
    ]
    assert alarm["Statistic"] == "Maximum"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    # Without changes there is no metric, and nothing is late.
    assert alarm["TreatMissingData"] == "notBreaching"


def test_given_the_mapping_when_it_gives_up_then_an_alarm_counts_it(
    mapping: Json,
) -> None:
    alarm = resources(translated(), "AWS::CloudWatch::Alarm")["LifecycleLostAlarm"]

    assert mapping["MetricsConfig"] == {"Metrics": ["EventCount"]}
    assert alarm["MetricName"] == "OnFailureDestinationDeliveredEventCount"
    assert alarm["Dimensions"] == [
        {"Name": "EventSourceMappingUUID", "Value": {"Ref": "LifecycleStream"}}
    ]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 0)


def test_given_the_alarm_then_there_is_time_before_records_leave_the_stream(
    mapping: Json,
) -> None:
    alarm = resources(translated(), "AWS::CloudWatch::Alarm")["LifecycleLateAlarm"]

    seconds = alarm["Threshold"] / 1000  # IteratorAge is in milliseconds
    noticed = seconds + alarm["Period"] * alarm["EvaluationPeriods"]

    assert 60 <= seconds <= HOUR
    assert noticed < mapping["MaximumRecordAgeInSeconds"] / 10


@pytest.mark.parametrize(
    ("parameters", "actions"),
    [
        pytest.param({}, None, id="no topic"),
        pytest.param({"AlarmTopic": TOPIC}, [TOPIC], id="topic"),
    ],
)
def test_given_a_topic_or_none_when_deployed_then_each_alarm_tells_it(
    parameters: dict[str, str], actions: list[str] | None
) -> None:
    alarms = {
        name: each["Properties"]
        for name, each in deployed(**parameters).items()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    }

    assert {"LifecycleLateAlarm", "LifecycleLostAlarm", "ExpiringFailsAlarm"} <= (
        alarms.keys()
    )
    for alarm in alarms.values():
        assert alarm.get("AlarmActions") == actions
        assert alarm.get("OKActions") == actions
        assert "InsufficientDataActions" not in alarm


def test_given_no_notices_when_deployed_then_nothing_scans_the_table() -> None:
    with_notices = deployed()
    without = deployed(ExpiryNoticeDays="")

    assert with_notices.keys() - without.keys() == {
        "ExpiringFunction",
        "ExpiringFailsAlarm",
        "ExpiringLateAlarm",
    }
    functions = read_template(PATH, {"ExpiryNoticeDays": ""}).functions
    assert "ExpiringFunction" not in functions
    assert "LifecycleFunction" in functions


def test_given_expiring_when_sam_translates_then_all_of_it_has_the_condition() -> None:
    template = translated()

    made = {
        name: resource.get("Condition")
        for name, resource in template["Resources"].items()
        if name.startswith("Expiring")
    }

    # The function, its role, its rule, the rule's right to run it, and the alarms.
    assert len(made) == 6
    assert made.pop("ExpiringLateAlarm") == "HasNoticeMetrics"
    assert set(made.values()) == {"HasNotices"}
    assert template["Conditions"]["HasNoticeMetrics"] == {
        "Fn::And": [{"Condition": "HasNotices"}, {"Condition": "HasMetrics"}]
    }
    assert template["Conditions"]["HasNotices"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "ExpiryNoticeDays"}, ""]}]
    }
    others = {
        name: resource
        for name, resource in template["Resources"].items()
        if not name.startswith("Expiring")
    }
    assert "ExpiringFunction" not in str([others, template["Outputs"]])


def test_given_the_schedule_then_a_scan_that_takes_long_goes_on_the_same_day() -> None:
    rules = resources(translated(), "AWS::Events::Rule")
    function = resources(translated(), "AWS::Lambda::Function")["ExpiringFunction"]

    rule = rules["ExpiringFunctionQuarterHourly"]

    assert rule["ScheduleExpression"] == "rate(15 minutes)"
    assert function["Timeout"] == 900  # Lambda's most
    assert rule["Targets"][0]["Arn"] == {"Fn::GetAtt": ["ExpiringFunction", "Arn"]}


def test_given_expiring_then_it_can_write_no_users_item() -> None:
    """A job that reads the whole table must not be able to change a user."""
    writes: list[Any] = [
        statement["Condition"]
        for statement in sam_template.statements("ExpiringFunction")
        if "dynamodb:PutItem" in statement["Action"]
    ]

    assert writes == [
        {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [SCAN_PK]}}
    ]
