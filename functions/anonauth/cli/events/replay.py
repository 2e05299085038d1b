"""What `anonauth events replay` does: publish what Lambda has given up on."""

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
"""Of the objects that Lambda writes: …<mapping>/<shard>/<date>/<time>-<id>.

Source: AWS Lambda Developer Guide, "Retain discarded records for a DynamoDB event
source".
"""


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch in the bucket.

    `failed_at` is when Lambda gave it up; `first` the sequence number of its first
    record, which orders the batches of a shard.
    """

    key: str
    failed_at: datetime
    first: int

    @property
    def shard(self) -> str:
        """The shard that it is from; of one user all changes are in one."""
        return "/".join(self.key.removeprefix(FAILED_BATCH_PREFIX).split("/")[:2])


class FailedBatchBucket:
    """The bucket of failed batches, and the function that they are for."""

    def __init__(
        self, s3: "S3Client", functions: "LambdaClient", *, bucket: str, function: str
    ) -> None:
        self._s3 = s3
        self._lambda = functions
        self._bucket = bucket
        self._function = function

    def find(self) -> list[FailedBatch]:
        """Return all, shard by shard in the order of what happened.

        Raises:
            CommandError: One of them is none.
        """
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=FAILED_BATCH_PREFIX
        )
        # Not by the time at which they failed: of many at once it is the same.
        return sorted(
            (
                FailedBatch(
                    each["Key"],
                    each["LastModified"],
                    int(self._read(each["Key"])[0]["dynamodb"]["SequenceNumber"]),
                )
                for page in pages
                for each in page.get("Contents", [])
            ),
            key=lambda batch: (batch.shard, batch.first),
        )

    def replay(self, batches: list[FailedBatch]) -> Iterator[int]:
        """Publish batches, each removed once it is done; yield each one's records.

        Raises:
            CommandError: One cannot be published, or is none; it stays, as do those
            after
                it, which may have later events of the same users.
        """
        for batch in batches:
            records = self._read(batch.key)
            self._invoke(batch, records)
            self._s3.delete_object(Bucket=self._bucket, Key=batch.key)
            yield len(records)

    def _read(self, key: str) -> list[Any]:
        answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        try:
            # The event that the function got, as text inside of JSON.
            payload = json.loads(answer["Body"].read())["payload"]
            event = json.loads(payload) if isinstance(payload, str) else payload
            records: list[Any] = event["Records"]
            _ = int(records[0]["dynamodb"]["SequenceNumber"])
        except (ValueError, LookupError, TypeError) as exc:
            raise CommandError(
                f"{key} is not an invocation record of Lambda with a batch in it; "
                "look at it, and move it away to go on"
            ) from exc
        return records

    def _invoke(self, batch: FailedBatch, records: list[Any]) -> None:
        event = {"Records": records}
        answer = self._lambda.invoke(
            FunctionName=self._function, Payload=json.dumps(event).encode()
        )
        result: Any = json.loads(answer["Payload"].read())
        # An error that the function raised is told beside an answer of 200.
        if answer.get("FunctionError") or result["batchItemFailures"]:
            raise CommandError(
                f"{batch.key} could not be published; it is still there. The log of "
                f"{self._function} says why"
            )
