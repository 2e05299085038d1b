"""`anonauth events replay`: no event that Lambda gave up on is lost or told twice.

S3 and CloudFormation calls go over HTTP to moto. Behind the Lambda API of this test is
the real function.
"""

import functools
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from typer.testing import CliRunner, Result
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from anonauth.cli.commands import app
from anonauth.domain.users import MOST_FORMER_IDS, User
from anonauth.local.dynamodb.live_table import Record
from support.contracts.identity_contract import a_stored_guest, read
from support.contracts.merge_contract import a_user_with_guests, absorb
from support.service.command_results import problem
from support.service.harness import Deployment
from support.service.story import Entry, Story, types

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BUCKET = "anonauth-failedrecords"
LIMIT = 6 * 1024 * 1024  # bytes that a synchronous invocation takes
FUNCTION = "anonauth-LifecycleFunction-1A2B3C"
OUTPUTS = {
    "TableName": "t",
    "RingKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/k",
    "ClientAppIds": "myapp-abcde",
    "FailedRecordsBucket": BUCKET,
    "LifecycleFunctionName": FUNCTION,
}
PLACE = "aws/lambda/5f1e-mapping/shardId-0001/2026/11/24/"


@dataclass
class Cloud:
    """An AWS with a stack, its bucket, and its function."""

    story: Story
    url: str
    payloads: list[int]  # sizes of what the function was given

    def fail(self, records: list[Record], name: str) -> None:
        """Put a batch into the bucket, in the place and form in which Lambda does."""
        record = {
            "requestContext": {"condition": "RetryAttemptsExhausted"},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": "2026-11-24T12:00:00.000Z",
            "DDBStreamBatchInfo": {"batchSize": len(records)},
            "payload": json.dumps({"Records": records}),
        }
        self.put(name, json.dumps(record))

    def put(self, name: str, text: str, prefix: str = PLACE) -> None:
        s3().put_object(Bucket=BUCKET, Key=f"{prefix}{name}", Body=text.encode())

    def left(self) -> list[str]:
        objects = s3().list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [each["Key"].removeprefix(PLACE) for each in objects]

    def replay(self, *options: str) -> Result:
        command = [
            "events",
            "replay",
            "--stack",
            "anonauth",
            "--endpoint-url",
            self.url,
        ]
        return CliRunner().invoke(app, [*command, *options])


@functools.cache
def s3() -> Any:
    return boto3.client("s3", "eu-central-1")


@pytest.fixture
def cloud(service: Deployment) -> Iterator[Cloud]:
    service.restart(METRICS="false")  # the log is no part of the command's output
    story = Story(service)
    payloads: list[int] = []
    moto = DomainDispatcherApplication(create_backend_app)

    def aws(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        request = Request(environ)
        if not request.path.startswith("/2015-03-31/functions/"):
            return moto(environ, start_response)  # type: ignore[no-any-return]
        assert request.path.split("/")[3] == FUNCTION
        headers = {}
        payloads.append(len(request.get_data()))
        if payloads[-1] > LIMIT:
            headers["X-Amzn-ErrorType"] = "RequestTooLargeException"
            return Response("{}", 413, headers)(environ, start_response)
        try:
            answer = story.tell(request.get_json(force=True)["Records"])
        except Exception as exc:  # noqa: BLE001 - as Lambda does
            headers["X-Amz-Function-Error"] = "Unhandled"
            answer = {"errorMessage": str(exc)}
        return Response(json.dumps(answer), headers=headers)(environ, start_response)

    cloudformation = boto3.client("cloudformation", "eu-central-1")
    template = {
        "Resources": {"R": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in OUTPUTS.items()},
    }
    cloudformation.create_stack(StackName="anonauth", TemplateBody=json.dumps(template))
    where: Any = {"LocationConstraint": "eu-central-1"}
    s3().create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    server = make_server("127.0.0.1", 0, aws, threaded=True)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield Cloud(story, f"http://127.0.0.1:{server.server_port}", payloads)
    server.shutdown()
    server.server_close()
    for name in [
        each["Key"] for each in s3().list_objects_v2(Bucket=BUCKET).get("Contents", [])
    ]:
        s3().delete_object(Bucket=BUCKET, Key=name)
    s3().delete_bucket(Bucket=BUCKET)
    cloudformation.delete_stack(StackName="anonauth")


def three_logins(cloud: Cloud) -> list[Record]:
    for _ in range(3):
        cloud.story.service.log_in()
    return cloud.story.records()


def test_given_failed_batches_when_replayed_then_all_is_published_and_removed(
    cloud: Cloud,
) -> None:
    records = three_logins(cloud)
    cloud.story.tell(records)
    first_time = cloud.story.published()
    cloud.fail(records[:2], "2026-11-24T12.00.00-b")
    cloud.fail(records[2:], "2026-11-24T12.05.00-a")

    result = cloud.replay()

    assert result.exit_code == 0, result
    assert result.stdout == "published batches: 2, records: 3\n"
    assert "1 of 2 batches published" in result.stderr
    assert cloud.story.published() == first_time
    assert cloud.left() == []


@pytest.mark.parametrize(
    ("guests", "is_owner_deleted"),
    [
        pytest.param(1, False, id="still listed"),
        pytest.param(MOST_FORMER_IDS + 1, False, id="fell off the list"),
        pytest.param(1, True, id="user deleted"),
    ],
)
def test_given_a_merge_when_replayed_89_days_later_then_it_is_no_deletion(
    cloud: Cloud, guests: int, *, is_owner_deleted: bool
) -> None:
    """The bucket keeps a batch for 90 days, and the guest's mark has to last."""
    store, service = cloud.story.service.services.store, cloud.story.service
    owner = a_user_with_guests(store, 0)
    first = a_stored_guest(store)
    assert absorb(store, owner, first)
    removal = cloud.story.records()[-3:]
    for _ in range(guests - 1):
        owner = read(store, owner)
        assert absorb(store, owner, a_stored_guest(store))
    if is_owner_deleted:
        assert store.delete_user(read(store, owner), None, service.now)
    cloud.story.tell(removal)
    (first_time,) = [e for e in cloud.story.published() if is_about(e, first)]
    cloud.fail(removal, "2026-11-24T12.00.00-a")

    service.advance(timedelta(days=89))
    cloud.story.sweep()
    result = cloud.replay()

    assert result.exit_code == 0, result
    (event,) = [e for e in cloud.story.published() if is_about(e, first)]
    assert event == first_time
    assert event["detail-type"] == "user.merged"
    assert event["detail"]["into"] == owner.id
    assert cloud.left() == []


def is_about(event: Entry, user: User) -> bool:
    return bool(event["detail"]["uid"] == user.id)


def test_given_batches_of_one_second_when_replayed_then_in_the_order_of_the_stream(
    cloud: Cloud,
) -> None:
    """Lambda may give up many batches at once. Their names do not order them."""
    records = three_logins(cloud)
    for number, name in ((9, "c"), (10, "a"), (111, "b")):  # compares as numbers only
        record = records.pop(0)
        record["dynamodb"]["SequenceNumber"] = str(number)
        cloud.fail([record], f"2026-11-24T12.00.00-{name}")

    body = json.loads(cloud.replay("--json").stdout)

    assert [batch["key"][-1] for batch in body["batches"]] == ["c", "a", "b"]
    told = [int(e["detail"]["sequence"]) for e in cloud.story.published()]
    assert told == [9, 10, 111]


def test_given_failed_batches_when_only_listed_then_nothing_happens(
    cloud: Cloud,
) -> None:
    cloud.fail(three_logins(cloud), "2026-11-24T12.00.00-a")
    cloud.story.service.wire.reset()

    result = cloud.replay("--dry-run")

    assert result.exit_code == 0, result
    assert f"{PLACE}2026-11-24T12.00.00-a\nbatches to publish: 1" in result.stdout
    assert cloud.story.published() == []
    assert cloud.left() == ["2026-11-24T12.00.00-a"]


def test_given_json_when_replayed_then_a_program_can_read_it(cloud: Cloud) -> None:
    cloud.fail(three_logins(cloud), "a")

    body = json.loads(cloud.replay("--json").stdout)

    assert body["replayed"] is True
    assert body["records"] == 3
    assert [batch["key"] for batch in body["batches"]] == [f"{PLACE}a"]
    assert json.loads(cloud.replay("--json").stdout) == {
        "batches": [],
        "failed": [],
        "records": 0,
        "replayed": True,
    }


def stays(result: Result, number: int = 1) -> str:
    """Return what the command says about the first object that stays."""
    assert result.exit_code == 1
    assert str(result.exception) == (
        f"objects that stay in the bucket: {number}; the lines above name them"
    )
    return next(line for line in result.stderr.splitlines() if PLACE in line)


def test_given_a_record_that_fails_again_when_replayed_then_all_others_are_published(
    cloud: Cloud,
) -> None:
    """Its batch stays whole, and blocks neither its own records nor other batches."""
    first, second, third = three_logins(cloud)
    whole = second["dynamodb"]["NewImage"]["created_at"]
    second["dynamodb"]["NewImage"]["created_at"] = {"S": "nobody can read this"}
    for name, records in (
        ("a", [first]),
        ("b", [first, second, third]),
        ("c", [third]),
    ):
        cloud.fail(records, name)
    cloud.story.service.wire.reset()

    result = cloud.replay()
    told = cloud.story.published()

    text = stays(result)
    assert text.startswith(f"{PLACE}b stays in the bucket: ")
    assert (
        f"published: 1 of 3, the first with the sequence number {number(second)}. "
        in (text)
    )
    assert FUNCTION in text
    assert result.stdout == "published batches: 2, records: 4\n"
    sequences = [e["detail"]["sequence"].lstrip("0") for e in told]
    assert sequences == [number(each) for each in (first, first, third, third)]
    assert cloud.left() == ["b"]

    second["dynamodb"]["NewImage"]["created_at"] = whole
    cloud.fail([first, second, third], "b")
    assert cloud.replay().exit_code == 0
    assert cloud.left() == []


def number(record: Record) -> str:
    text: str = record["dynamodb"]["SequenceNumber"]
    return text.lstrip("0")


def test_given_a_function_that_raises_when_replayed_then_the_batch_stays(
    cloud: Cloud,
) -> None:
    """It raises at a first record that it cannot read. The later ones are published."""
    bad, *good = three_logins(cloud)
    del bad["dynamodb"]["NewImage"]["version"]
    cloud.fail([bad, *good], "a")
    cloud.story.service.wire.reset()

    result = cloud.replay("--json")

    assert "published: 1 of 3" in stays(result)
    body = json.loads(result.stdout)
    assert body["records"] == 2
    assert [each["key"] for each in body["failed"]] == [f"{PLACE}a"]
    assert types(cloud.story.published()) == ["user.created"] * 2
    assert cloud.left() == ["a"]


def padded(record: Record, size: int) -> Record:
    """Return the record with an attribute of that many bytes, which nobody reads."""
    record["padding"] = "x" * size
    return record


def test_given_a_batch_above_6_mb_when_replayed_then_it_is_split(cloud: Cloud) -> None:
    records = three_logins(cloud)
    cloud.story.tell(records)
    first_time = cloud.story.published()
    cloud.fail([padded(each, 2_900_000) for each in records], "a")

    result = cloud.replay()

    assert result.exit_code == 0, result
    assert result.stdout == "published batches: 1, records: 3\n"
    assert cloud.story.published() == first_time
    assert sum(cloud.payloads) > LIMIT
    assert max(cloud.payloads) <= LIMIT
    assert len(cloud.payloads) == 2
    assert cloud.left() == []


def test_given_a_record_above_6_mb_when_replayed_then_all_others_are_published(
    cloud: Cloud,
) -> None:
    first, second, third = three_logins(cloud)
    cloud.fail([first, padded(second, LIMIT)], "a")
    cloud.fail([third], "b")
    cloud.story.service.wire.reset()

    result = cloud.replay()

    assert f"the sequence number {second['dynamodb']['SequenceNumber']}" in stays(
        result
    )
    assert types(cloud.story.published()) == ["user.created"] * 2
    assert cloud.left() == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{}", id="no payload"),
        pytest.param('{"payload": "x"}', id="payload is not JSON"),
        pytest.param('{"payload": {}}', id="no records"),
        pytest.param('{"payload": null}', id="nothing"),
        pytest.param("[]", id="list"),
        pytest.param('{"payload": {"Records": []}}', id="empty batch"),
        pytest.param('{"payload": {"Records": [{"dynamodb": {}}]}}', id="no number"),
    ],
)
def test_given_an_object_that_is_no_batch_when_replayed_then_it_is_named(
    cloud: Cloud, text: str
) -> None:
    cloud.put("x", text)
    cloud.fail(three_logins(cloud), "y")

    result = cloud.replay()

    assert stays(result).startswith(f"{PLACE}x is not an invocation record")
    assert result.stdout == "published batches: 1, records: 3\n"
    assert cloud.left() == ["x"]


def test_given_what_others_put_there_when_replayed_then_it_is_left_alone(
    cloud: Cloud,
) -> None:
    cloud.put("notes.txt", "mine", prefix="")

    assert cloud.replay().stdout == "published batches: 0, records: 0\n"
    assert cloud.left() == ["notes.txt"]


def test_given_a_stack_of_an_earlier_version_when_replayed_then_one_line_says_so(
    cloud: Cloud,
) -> None:
    template = {
        "Resources": {"R": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {
            name: {"Value": OUTPUTS[name]} for name in ("TableName", "RingKeyArn")
        },
    }
    boto3.client("cloudformation", "eu-central-1").update_stack(
        StackName="anonauth", TemplateBody=json.dumps(template)
    )

    assert "needs the stack output FailedRecordsBucket" in problem(cloud.replay())
