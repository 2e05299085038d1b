"""Events in the built bundle: from the table's stream, and from the scan for warnings.

The tests of this module share one table and one bus, and run in order. There is one
scan per day, and the last test checks all calls that were made.
"""

import copy
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from jsonschema import Draft4Validator

from anonauth import wiring
from anonauth.local.dynamodb.live_table import LiveTable
from runtime.aws import PARAMETERS, TABLE, Aws
from runtime.client import call, log_in
from runtime.conftest import Start, environment_of
from runtime.runtime_api import Function, LambdaError
from support.project.sam_template import (
    Json,
    event,
    passes_filter,
    resources,
    translated,
)
from support.project.tools import ROOT

FUNCTIONS = (
    "KeysFunction",
    "LoginFunction",
    "LogoutFunction",
    "ProfileFunction",
    "SessionFunction",
    "LifecycleFunction",
    "ExpiringFunction",
)

SCHEMA = json.loads((ROOT / "functions/anonauth/events.schema.json").read_text())

pytestmark = pytest.mark.usefixtures("granted")


@pytest.fixture(scope="module")
def functions(start: Start) -> dict[str, Function]:
    """The functions that change users, and those that publish events."""
    started = {name: start(name) for name in FUNCTIONS}
    started["KeysFunction"].invoke(event("key_ring"))
    return started


@pytest.fixture
def stream(cloud: Aws) -> LiveTable:
    """The table's stream from now on."""
    table = cloud.live_table()
    assert table.has_stream
    return table


class Publisher:
    """Runs the functions that publish, and returns the events that reach the bus."""

    def __init__(self, functions: dict[str, Function], cloud: Aws) -> None:
        self._functions = functions
        self._cloud = cloud

    def tell(self, stream: LiveTable) -> list[Json]:
        """Pass new stream records to Lifecycle, as Lambda does. In any order."""
        answer, news = self.run("LifecycleFunction", {"Records": users_of(stream)})
        assert answer == {"batchItemFailures": []}
        return news

    def run(self, name: str, given: Json) -> tuple[Any, list[Json]]:
        """Return a function's answer, and the events that it has published."""
        before = len(self._cloud.published())
        answer = self._functions[name].invoke(given)
        news = self._cloud.published()[before:]
        for each in news:
            body = {key: each[key] for key in ("source", "detail-type", "detail")}
            Draft4Validator(SCHEMA).validate(body)
        return answer, news


def users_of(stream: LiveTable) -> list[Json]:
    """Return the records that the filter of the template passes."""
    return [record for record in stream.changes() if passes_filter(record)]


@pytest.fixture(scope="module")
def publisher(functions: dict[str, Function], cloud: Aws) -> Publisher:
    return Publisher(functions, cloud)


def types_of(events: list[Json], user: Json) -> list[str]:
    """Return the types of a user's events, each with its reason if it has one."""
    return [
        " ".join([each["detail-type"], *filter(None, [each["detail"].get("reason")])])
        for each in events
        if each["detail"]["uid"] == user["user_id"]
    ]


def key_of(user: Json) -> Any:
    return {"pk": {"S": f"USER#myapp-abcde#{user['user_id']}"}}


def expire_at(cloud: Aws, user: Json, expires_at: datetime) -> None:
    """Set a guest's expiry as if it had been inactive for some days."""
    seconds = int(expires_at.timestamp())
    cloud.db.update_item(
        TableName=cloud.table_name,
        Key=key_of(user),
        UpdateExpression="SET expires_at = :expires_at, #ttl = :ttl",
        ExpressionAttributeNames={"#ttl": "ttl"},
        ExpressionAttributeValues={
            ":expires_at": {"N": str(seconds)},
            ":ttl": {"N": str(seconds + 24 * 3600)},
        },
    )


def test_given_the_event_of_a_sweep_when_lifecycle_runs_then_the_bus_has_it(
    publisher: Publisher,
) -> None:
    """The bus is not the default bus, so this shows that its name was passed on."""
    answer, published = publisher.run("LifecycleFunction", event("lifecycle"))

    assert answer == {"batchItemFailures": []}
    (deleted,) = published
    assert (deleted["source"], deleted["detail-type"]) == ("anonauth", "user.deleted")
    assert deleted["detail"]["reason"] == "expired"
    assert deleted["detail"]["uid"] == "66b0c3c2f5a1e7d8c9b0a1f2"
    assert deleted["detail"]["app"] == "myapp-abcde"


def test_given_a_batch_that_comes_twice_then_its_events_have_the_same_ids(
    publisher: Publisher,
) -> None:
    _, first = publisher.run("LifecycleFunction", event("lifecycle"))
    _, second = publisher.run("LifecycleFunction", event("lifecycle"))

    assert [each["detail"] for each in first] == [each["detail"] for each in second]


def test_given_a_guest_that_logs_out_then_it_was_created_and_deleted(
    functions: dict[str, Function], publisher: Publisher, stream: LiveTable
) -> None:
    user = log_in(functions)
    call(functions["LogoutFunction"], "logout", user["refresh_token"])

    published = publisher.tell(stream)

    assert types_of(published, user) == ["user.created", "user.deleted logout"]


def test_given_a_guest_that_deletes_itself_then_the_reason_is_its_request(
    functions: dict[str, Function], publisher: Publisher, stream: LiveTable
) -> None:
    user, other = log_in(functions), log_in(functions)
    call(functions["ProfileFunction"], "profile-delete", user["access_token"])
    call(functions["LogoutFunction"], "logout", other["refresh_token"])

    published = publisher.tell(stream)

    assert types_of(published, user) == ["user.created", "user.deleted requested"]
    assert types_of(published, other) == ["user.created", "user.deleted logout"]


def test_given_a_guest_that_was_swept_then_it_has_expired(
    functions: dict[str, Function],
    publisher: Publisher,
    stream: LiveTable,
    cloud: Aws,
) -> None:
    user = log_in(functions)
    expire_at(cloud, user, wiring.utc_now() - timedelta(days=2))
    stream.sweep()

    published = publisher.tell(stream)

    assert types_of(published, user) == ["user.created", "user.deleted expired"]


def test_given_a_refresh_then_nobody_is_told(
    functions: dict[str, Function], publisher: Publisher, cloud: Aws
) -> None:
    user = log_in(functions)
    (session,) = cloud.db.get_item(TableName=cloud.table_name, Key=key_of(user))[
        "Item"
    ]["sessions"]["M"]
    cloud.db.update_item(  # move the last use to long ago
        TableName=cloud.table_name,
        Key=key_of(user),
        UpdateExpression="SET sessions.#id.used_day = :day",
        ExpressionAttributeNames={"#id": session},
        ExpressionAttributeValues={":day": {"S": "2026-01-01"}},
    )
    stream = cloud.live_table()
    call(functions["SessionFunction"], "session", user["refresh_token"])
    records = users_of(stream)

    answer, published = publisher.run("LifecycleFunction", {"Records": records})

    assert [record["eventName"] for record in records] == ["MODIFY"]
    assert answer == {"batchItemFailures": []}
    assert published == []


def test_given_a_record_that_nobody_can_read_when_it_is_the_first_then_lambda_fails(
    functions: dict[str, Function], cloud: Aws
) -> None:
    """Lambda then halves the batch until that record is alone."""
    broken = event("lifecycle")
    del broken["Records"][0]["dynamodb"]["OldImage"]["version"]
    broken["Records"].append(event("lifecycle")["Records"][0])
    before = cloud.published()

    with pytest.raises(LambdaError) as caught:
        functions["LifecycleFunction"].invoke(broken)

    assert "BatchProcessingError" in str(caught.value)
    assert cloud.published() == before


def test_given_a_record_that_nobody_can_read_when_others_precede_then_it_is_named(
    publisher: Publisher,
) -> None:
    batch = event("lifecycle")
    readable = batch["Records"][0]
    broken, last = copy.deepcopy(readable), copy.deepcopy(readable)
    del broken["dynamodb"]["OldImage"]["version"]
    broken["dynamodb"]["SequenceNumber"] = "4421584500000000017450439093"
    last["dynamodb"]["SequenceNumber"] = "4421584500000000017450439094"

    answer, published = publisher.run(
        "LifecycleFunction", {"Records": [readable, broken, last]}
    )

    # Lambda continues from the first of them.
    assert answer["batchItemFailures"][0] == {
        "itemIdentifier": "4421584500000000017450439093"
    }
    assert len(published) == 1


def test_given_a_guest_that_soon_expires_when_the_hour_comes_then_it_is_warned_once(
    functions: dict[str, Function], publisher: Publisher, cloud: Aws
) -> None:
    """The notices are not the default ones, so this shows that they were passed on."""
    soon, later, gone = (log_in(functions) for _ in range(3))
    now = wiring.utc_now()
    expire_at(cloud, soon, now + timedelta(days=1))
    expire_at(cloud, later, now + timedelta(days=19))
    expire_at(cloud, gone, now - timedelta(hours=1))

    report, published = publisher.run("ExpiringFunction", event("expiring"))

    assert report["is_done"] is True
    assert {
        each["detail"]["uid"]: each["detail"]["notice_days"] for each in published
    } == {soon["user_id"]: 2, later["user_id"]: 20}
    assert len(published) == report["warned"] == 2
    assert {each["detail-type"] for each in published} == {"user.expiring"}


def test_given_a_scan_that_is_done_when_the_next_hour_comes_then_it_reads_one_item(
    publisher: Publisher, cloud: Aws
) -> None:
    del cloud.gate.calls[:]

    report, published = publisher.run("ExpiringFunction", event("expiring"))

    assert report["is_done"] is True
    assert published == []
    assert cloud.gate.calls == [("ExpiringFunction", "GetItem")]


def test_given_the_deployment_then_its_bus_and_its_notices_are_in_the_environment() -> (
    None
):
    functions = resources(translated(), "AWS::Lambda::Function")

    lifecycle = environment_of(functions["LifecycleFunction"])
    expiring = environment_of(functions["ExpiringFunction"])

    assert lifecycle["EVENT_BUS"] == expiring["EVENT_BUS"] == PARAMETERS["EventBusName"]
    assert expiring["EXPIRY_NOTICE_DAYS"] == PARAMETERS["ExpiryNoticeDays"]
    assert "EXPIRY_NOTICE_DAYS" not in lifecycle


def test_given_all_these_events_when_logs_are_read_then_no_secret_is_in_them(
    functions: dict[str, Function],
    publisher: Publisher,
    stream: LiveTable,
    cloud: Aws,
) -> None:
    user = log_in(functions)
    item = cloud.item(key_of(user)["pk"]["S"])
    assert item is not None
    (session,) = item["sessions"]["M"].values()
    call(functions["LogoutFunction"], "logout", user["refresh_token"])
    records = users_of(stream)
    publisher.run("LifecycleFunction", {"Records": records})
    del records[1]["dynamodb"]["OldImage"]["version"]
    publisher.run("LifecycleFunction", {"Records": records})
    publisher.run("ExpiringFunction", event("expiring"))

    logs = "".join(
        functions[name].log() for name in ("LifecycleFunction", "ExpiringFunction")
    )

    assert "expiry scan" in logs  # there is a log at all
    assert '"trace"' in logs
    hashes = [session["M"]["hash"]["S"]]
    hashes += [
        entry["M"]["hash"]["S"]
        for record in event("lifecycle")["Records"]
        for entry in record["dynamodb"]["OldImage"]["sessions"]["M"].values()
    ]
    for secret in (user["access_token"], user["refresh_token"], *hashes):
        assert secret not in logs
        assert secret.rpartition(".")[2] not in logs
    published = json.dumps(cloud.published())
    assert user["user_id"] in published
    assert not [secret for secret in hashes if secret in published]


def an_entry(**changes: str) -> Json:
    entry = {
        "Source": "anonauth",
        "DetailType": "user.deleted",
        "Detail": "{}",
        "EventBusName": PARAMETERS["EventBusName"],
    }
    return entry | changes


@pytest.mark.parametrize(
    ("function", "service", "operation", "request_"),
    [
        pytest.param(
            "ExpiringFunction",
            "dynamodb",
            "scan",
            {"TableName": TABLE, "FilterExpression": "attribute_exists(pk)"},
            id="a scan that shows all",
        ),
        pytest.param(
            "ExpiringFunction",
            "dynamodb",
            "scan",
            {"TableName": TABLE},
            id="a bare scan",
        ),
        pytest.param(
            "ExpiringFunction",
            "dynamodb",
            "scan",
            {"TableName": TABLE, "ProjectionExpression": "pk, sessions"},
            id="a scan for sessions",
        ),
        pytest.param(
            "ExpiringFunction",
            "dynamodb",
            "scan",
            {
                "TableName": TABLE,
                "ProjectionExpression": "pk",
                "FilterExpression": "begins_with(#h, :guess)",
                "ExpressionAttributeNames": {"#h": "password_hash"},
            },
            id="a scan that guesses hashes",
        ),
        pytest.param(
            "ExpiringFunction",
            "dynamodb",
            "put_item",
            {"TableName": TABLE, "Item": {"pk": {"S": "USER#a#1"}}},
            id="a user written by Expiring",
        ),
        pytest.param(
            "LifecycleFunction",
            "dynamodb",
            "batch_get_item",
            {
                "RequestItems": {
                    TABLE: {
                        "Keys": [{"pk": {"S": "GONE#a#1"}}, {"pk": {"S": "USER#a#1"}}]
                    }
                }
            },
            id="a mark and a user read by Lifecycle",
        ),
        pytest.param(
            "LifecycleFunction",
            "events",
            "put_events",
            {"Entries": [an_entry(), an_entry(Source="com.example.shop")]},
            id="one of two events in another's name",
        ),
        pytest.param(
            "LifecycleFunction",
            "events",
            "put_events",
            {"Entries": [an_entry(EventBusName="default")]},
            id="an event on another bus",
        ),
    ],
)
def test_given_a_call_that_goes_further_when_a_function_makes_it_then_it_is_refused(
    cloud: Aws, function: str, service: str, operation: str, request_: Json
) -> None:
    with pytest.raises(ClientError) as caught:
        cloud.call_as(function, service, operation, request_)

    refused = cloud.gate.policies.forget_refusals()
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert len(refused) == 1


@pytest.mark.parametrize("name", ["LifecycleFunction", "ExpiringFunction"])
def test_given_all_these_events_then_no_grant_was_needless(
    publisher: Publisher, cloud: Aws, name: str
) -> None:
    """Runs last: it checks all calls that the tests above have made."""
    assert publisher

    unused = cloud.gate.policies.unused(name)

    assert unused == []
