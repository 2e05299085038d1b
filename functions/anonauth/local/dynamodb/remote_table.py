"""A table at another address, used through the APIs of DynamoDB and its streams."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.local.dynamodb.ttl_index import day_of, seconds_in

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

_MOST_RECORDS = 1000  # in one answer (Amazon DynamoDB API Reference, GetRecords)


class RemoteTable:
    """A table of any engine, through its API; see `live_table.TableSource`."""

    def __init__(
        self, name: str, dynamodb: "DynamoDBClient", streams: "DynamoDBStreamsClient"
    ) -> None:
        self._name = name
        self._dynamodb = dynamodb
        self._streams = streams
        self._shards: dict[str, _Shard] = {}
        try:
            description = self._dynamodb.describe_table(TableName=name)["Table"]
            self.stream_arn = description["LatestStreamArn"]
            self.records()  # earlier records are not of interest
        except (BotoCoreError, ClientError, KeyError):
            self.stream_arn = ""

    def records(self) -> list[Mapping[str, Any]]:
        """Return the stream's records since the last call."""
        if not self._shards or any(shard.is_over for shard in self._shards.values()):
            self._find_shards()
        return [
            record
            for shard_id, shard in self._shards.items()
            for record in self._read(shard_id, shard)
        ]

    def due_days(self) -> set[date]:
        """Return the days on which items expire or reach their `ttl`."""
        names = {"#ttl": "ttl", "#expires": "expires_at"}
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._name,
            FilterExpression="attribute_exists(#ttl)",
            ProjectionExpression="#ttl, #expires",
            ExpressionAttributeNames=names,
        )
        found = (
            seconds_in(item, name)
            for page in pages
            for item in page["Items"]
            for name in names.values()
            if seconds_in(item, "ttl") is not None
        )
        days = (day_of(seconds) for seconds in found if seconds is not None)
        return {day for day in days if day is not None}

    def expired_keys(self, now: datetime) -> list[str]:
        """Return the keys of the items that are past their `ttl`."""
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._name,
            FilterExpression="#ttl <= :now",
            ProjectionExpression="pk",
            **_expired(now),
        )
        return [item["pk"]["S"] for page in pages for item in page["Items"]]

    def delete_expired(self, key: str, now: datetime) -> bool:
        """Delete an item if it is past its `ttl`; return whether it was."""
        try:
            self._dynamodb.delete_item(
                TableName=self._name,
                Key={"pk": {"S": key}},
                ConditionExpression="#ttl <= :now",
                **_expired(now),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _read(self, shard_id: str, shard: "_Shard") -> Iterator[Mapping[str, Any]]:
        # A new iterator each time, because an iterator expires after 15 minutes.
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
            StreamArn=self.stream_arn, ShardId=shard_id, **start
        )
        return answer["ShardIterator"]

    def _find_shards(self) -> None:
        answer = self._streams.describe_stream(StreamArn=self.stream_arn)
        for shard in answer["StreamDescription"]["Shards"]:
            self._shards.setdefault(shard["ShardId"], _Shard())


@dataclass
class _Shard:
    """A shard of the stream: the last record read, and whether the shard has ended."""

    last: str | None = None
    is_over: bool = False


def _expired(now: datetime) -> Any:
    return {
        "ExpressionAttributeNames": {"#ttl": "ttl"},
        "ExpressionAttributeValues": {":now": {"N": str(int(now.timestamp()))}},
    }
