"""The work of `anonauth events replay`: publish what Lambda has given up on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from anonauth.local.command_error import CommandError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client

FAILED_BATCH_PREFIX = "aws/lambda/"
"""Prefix of the objects that Lambda writes: …<mapping>/<shard>/<date>/<time>-<id>.

Source: AWS Lambda Developer Guide, "Retain discarded records for a DynamoDB event
source".
"""

LARGEST_PAYLOAD = 6 * 1024 * 1024
"""Bytes that a synchronous invocation accepts.

Source: AWS Lambda Developer Guide, "Lambda quotas". A batch that Lambda itself has
given to the function can be larger here, because it is encoded again.
"""


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch in the bucket.

    `failed_at` is the time at which Lambda gave up. `first` is the sequence number of
    the first record, which orders the batches of a shard.
    """

    key: str
    failed_at: datetime
    first: int

    @property
    def shard(self) -> str:
        """The stream shard of the batch. All changes of a user are in one shard."""
        return "/".join(self.key.removeprefix(FAILED_BATCH_PREFIX).split("/")[:2])


@dataclass(frozen=True, slots=True)
class ReplayedBatch:
    """What became of a batch.

    `records` counts the published ones. `problem` says why the batch stays in the
    bucket. None means that it was removed.
    """

    key: str
    records: int
    problem: str | None


class FailedBatchBucket:
    """The bucket of failed batches, and the function that publishes them."""

    def __init__(
        self, s3: "S3Client", functions: "LambdaClient", *, bucket: str, function: str
    ) -> None:
        self._s3 = s3
        self._lambda = functions
        self._bucket = bucket
        self._function = function

    def find(self) -> tuple[list[FailedBatch], list[ReplayedBatch]]:
        """Return all batches, and the objects in their place that are no batches.

        The batches are by shard and in the order of the changes.
        """
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=FAILED_BATCH_PREFIX
        )
        found: list[FailedBatch] = []
        others: list[ReplayedBatch] = []
        for each in (each for page in pages for each in page.get("Contents", [])):
            key = each["Key"]
            try:
                first = _sequence_number(self._read(key)[0])
            except CommandError as exc:
                others.append(ReplayedBatch(key, 0, str(exc)))
            else:
                found.append(FailedBatch(key, each["LastModified"], int(first)))
        # Not in the order of failure: batches that fail together have the same time.
        return sorted(found, key=lambda batch: (batch.shard, batch.first)), others

    def replay(self, batches: list[FailedBatch]) -> Iterator[ReplayedBatch]:
        """Publish batches, remove each when done, and yield what became of it.

        A batch with a record that cannot be published stays whole. Its other records
        are published, and so are the batches after it.
        """
        for batch in batches:
            records = self._read(batch.key)
            kept = self._publish(records)
            problem = None
            if kept:
                problem = (
                    f"{batch.key} stays in the bucket: records that could not be "
                    f"published: {len(kept)} of {len(records)}, the first with the "
                    f"sequence number {kept[0]}. The log of {self._function} says "
                    "why, unless the record alone is above 6 MB"
                )
            else:
                self._s3.delete_object(Bucket=self._bucket, Key=batch.key)
            yield ReplayedBatch(batch.key, len(records) - len(kept), problem)

    def _read(self, key: str) -> list[Any]:
        answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        try:
            # The event that the function received, as a string inside the JSON.
            payload = json.loads(answer["Body"].read())["payload"]
            event = json.loads(payload) if isinstance(payload, str) else payload
            records: list[Any] = event["Records"]
            for record in records:
                _ = int(_sequence_number(record))
            _ = records[0]
        except (ValueError, LookupError, TypeError) as exc:
            raise CommandError(
                f"{key} is not an invocation record of Lambda with a batch in it; "
                "inspect it, and move it away"
            ) from exc
        return records

    def _publish(self, records: list[Any]) -> list[str]:
        """Return the sequence numbers of the records that could not be published."""
        kept: list[str] = []
        parts = [records]
        while parts:
            part = parts.pop()
            done = self._invoke(part)
            if done is None and len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]  # the earlier half is next
                continue
            if (count := done or 0) < len(part):
                kept.append(_sequence_number(part[count]))
                if later := part[count + 1 :]:
                    parts.append(later)
        return kept

    def _invoke(self, records: list[Any]) -> int | None:
        """Return the number of records published before the first that failed.

        None says that the function did not tell, or that they are too large together.
        """
        payload = json.dumps({"Records": records}, separators=(",", ":")).encode()
        if len(payload) > LARGEST_PAYLOAD:
            return None
        try:
            answer = self._lambda.invoke(FunctionName=self._function, Payload=payload)
        except self._lambda.exceptions.RequestTooLargeException:
            return None
        result: Any = json.loads(answer["Payload"].read())
        # An error in the function still has status 200, and is named beside it.
        if answer.get("FunctionError"):
            return None
        if not (failures := result["batchItemFailures"]):
            return len(records)
        first = failures[0]["itemIdentifier"]
        numbers = [_sequence_number(record) for record in records]
        return numbers.index(first) if first in numbers else None


def _sequence_number(record: Any) -> str:
    number: str = record["dynamodb"]["SequenceNumber"]
    return number
