"""The table's stream and TTL, which DynamoDB itself provides on AWS."""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

from anonauth.local.aws import connect
from anonauth.local.dynamodb.local_store import FindExpiring
from anonauth.local.dynamodb.moto_table import MotoTable
from anonauth.local.dynamodb.remote_table import RemoteTable
from anonauth.local.template import REGION

Record = dict[str, Any]

_TTL_SERVICE = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class TableSource(Protocol):
    """A table of an engine, with the operations that a `LiveTable` needs.

    `stream_arn` is empty if the engine has no streams.
    """

    stream_arn: str

    def records(self) -> Sequence[Mapping[str, Any]]:
        """Return the stream's records since the last call, or since the start."""

    def due_days(self) -> set[date]:
        """Return the days on which items expire or reach their `ttl`."""

    def expired_keys(self, now: datetime) -> list[str]:
        """Return the keys of the items that are past their `ttl`."""

    def delete_expired(self, key: str, now: datetime) -> bool:
        """Delete an item if it is past its `ttl`; return whether it was."""


class LiveTable:
    """A table's stream from now on, in the form that functions read, and its TTL.

    `has_stream` is False for an engine without streams, and `changes` then returns
    nothing. `expiring_between` returns the items that expire between two instants. It
    is None where only a scan could find them.

    Args:
        endpoint_url: Address of another engine; None for moto.
        clock: The service's clock. The engine does not know it.
    """

    def __init__(
        self, table: str, endpoint_url: str | None, clock: Callable[[], datetime]
    ) -> None:
        self._clock = clock
        self._source: TableSource
        self.expiring_between: FindExpiring | None = None
        if endpoint_url is None:
            self._source = moto = MotoTable(table)
            self.expiring_between = moto.expiring_between
        else:
            self._source = _connect_remote_table(table, endpoint_url)
        self._swept: set[str] = set()
        self.has_stream = bool(self._source.stream_arn)

    def changes(self) -> list[Record]:
        """Return the records since the last call in Lambda's form, the oldest first.

        Source: AWS, "Using AWS Lambda with Amazon DynamoDB", example.
        """
        if not self.has_stream:
            return []
        return [self._record(record) for record in self._source.records()]

    def due_days(self) -> set[date]:
        """Return the days on which items expire or reach their `ttl`."""
        return self._source.due_days()

    def sweep(self) -> int:
        """Delete items past their `ttl` by the service's clock; return their number.

        An engine that deletes expired items itself uses the real time.
        """
        now = self._clock()
        deleted = 0
        for key in self._source.expired_keys(now):
            self._swept.add(key)
            if self._source.delete_expired(key, now):
                deleted += 1
            else:
                self._swept.discard(key)
        return deleted

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
            "eventSourceARN": self._source.stream_arn,
        }
        pk = stream["Keys"]["pk"]["S"]
        if record["eventName"] == "REMOVE" and pk in self._swept:
            self._swept.remove(pk)
            made["userIdentity"] = _TTL_SERVICE
        return made


def _connect_remote_table(table: str, endpoint_url: str) -> RemoteTable:
    streams = connect(
        "dynamodbstreams",
        endpoint_url,
        validates=False,  # dynoxide has shorter sequence numbers than AWS
    )
    return RemoteTable(table, connect("dynamodb", endpoint_url), streams)


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {key: _as_json(each) for key, each in value.items()}
        case list():
            return [_as_json(each) for each in value]
    return value
