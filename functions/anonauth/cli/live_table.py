"""What DynamoDB does of itself on AWS: tell of changes, and sweep expired items."""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.cli.engine import connect
from anonauth.cli.template import REGION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

Record = dict[str, Any]

# botocore would take an endpoint of the account's own, where moto does not listen.
_MOTO_STREAMS = f"https://streams.dynamodb.{REGION}.amazonaws.com"

_MOST_RECORDS = 1000  # of one read (Amazon DynamoDB API Reference, GetRecords)

_SWEEPER = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class LiveTable:
    """A table's stream from now on, as functions read it, and its TTL.

    `has_stream` is False where the engine has none; nothing is told there.

    Args:
        endpoint_url: As for `engine.opened`.
        clock: The service's, which the engine does not know.
    """

    def __init__(
        self, table: str, endpoint_url: str | None, clock: Callable[[], datetime]
    ) -> None:
        self._table = table
        self._clock = clock
        self._dynamodb: DynamoDBClient = connect("dynamodb", endpoint_url)
        self._streams: DynamoDBStreamsClient = connect(
            "dynamodbstreams",
            endpoint_url or _MOTO_STREAMS,
            validates=False,  # dynoxide has shorter sequence numbers than AWS
        )
        self._shards: dict[str, _Shard] = {}
        self._swept: set[str] = set()
        try:
            description = self._dynamodb.describe_table(TableName=table)["Table"]
            self._arn = description["LatestStreamArn"]
            self.changes()  # what was before is nobody's concern
            self.has_stream = True
        except (BotoCoreError, ClientError, KeyError):
            self._arn = ""
            self.has_stream = False

    def changes(self) -> list[Record]:
        """Return what has happened since the last call, as Lambda would hand it over.

        Oldest first. Source: AWS, "Using AWS Lambda with Amazon DynamoDB", example.
        """
        if not self._arn:
            return []
        if not self._shards or any(shard.is_over for shard in self._shards.values()):
            self._find_shards()
        read = [
            record
            for shard_id, shard in self._shards.items()
            for record in self._read(shard_id, shard)
        ]
        return [self._record(record) for record in read]

    def _read(self, shard_id: str, shard: "_Shard") -> Iterator[Mapping[str, Any]]:
        # A new iterator each time. They live for 15 minutes; and one of moto's reads a
        # copy that nothing is added to any more once a transaction was cancelled.
        iterator: str | None = None if shard.is_over else self._open(shard_id, shard)
        while iterator is not None:
            answer = self._streams.get_records(
                ShardIterator=iterator, Limit=_MOST_RECORDS
            )
            iterator = answer.get("NextShardIterator")
            shard.is_over = iterator is None
            records = answer["Records"]
            if records:
                shard.last = records[-1]["dynamodb"]["SequenceNumber"]
            yield from records
            if len(records) < _MOST_RECORDS:
                return

    def _open(self, shard_id: str, shard: "_Shard") -> str:
        start: Any = (
            {"ShardIteratorType": "TRIM_HORIZON"}
            if shard.last is None
            else {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "SequenceNumber": shard.last,
            }
        )
        answer = self._streams.get_shard_iterator(
            StreamArn=self._arn, ShardId=shard_id, **start
        )
        return answer["ShardIterator"]

    def due_days(self) -> set[date]:
        """Return the days on which something expires, or is to be swept."""
        names = {"#ttl": "ttl", "#expires": "expires_at"}
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="attribute_exists(#ttl)",
            ProjectionExpression="#ttl, #expires",
            ExpressionAttributeNames=names,
        )
        return {
            datetime.fromtimestamp(int(item[name]["N"]), UTC).date()
            for page in pages
            for item in page["Items"]
            for name in names.values()
            if name in item
        }

    def sweep(self) -> int:
        """Delete what is past its `ttl` by the service's clock; return how many.

        An engine that sweeps by itself goes by the real time.
        """
        expired: Any = {
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {
                ":now": {"N": str(int(self._clock().timestamp()))}
            },
        }
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table,
            FilterExpression="#ttl <= :now",
            ProjectionExpression="pk",
            **expired,
        )
        keys = [item["pk"] for page in pages for item in page["Items"]]
        kept = 0
        for key in keys:
            self._swept.add(key["S"])
            try:
                self._dynamodb.delete_item(
                    TableName=self._table,
                    Key={"pk": key},
                    ConditionExpression="#ttl <= :now",
                    **expired,
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                self._swept.discard(key["S"])
                kept += 1
        return len(keys) - kept

    def _find_shards(self) -> None:
        answer = self._streams.describe_stream(StreamArn=self._arn)
        for shard in answer["StreamDescription"]["Shards"]:
            self._shards.setdefault(shard["ShardId"], _Shard())

    def _record(self, record: Mapping[str, Any]) -> Record:
        stream = _as_json(record["dynamodb"])
        stream["ApproximateCreationDateTime"] = int(self._clock().timestamp())
        made: Record = {
            "eventID": record["eventID"],
            "eventName": record["eventName"],
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": REGION,
            "dynamodb": stream,
            "eventSourceARN": self._arn,
        }
        pk = stream["Keys"]["pk"]["S"]
        if record["eventName"] == "REMOVE" and pk in self._swept:
            self._swept.remove(pk)
            made["userIdentity"] = _SWEEPER
        return made


@dataclass
class _Shard:
    """A part of the stream, and how far it was read."""

    last: str | None = None
    is_over: bool = False


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {key: _as_json(each) for key, each in value.items()}
        case list():
            return [_as_json(each) for each in value]
    return value
