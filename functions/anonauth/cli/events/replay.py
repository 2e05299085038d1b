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


class FailedBatchBucket:
    """The bucket of failed batches, and the function that publishes them."""

    def __init__(
        self, s3: "S3Client", functions: "LambdaClient", *, bucket: str, function: str
    ) -> None:
        self._s3 = s3
        self._lambda = functions
        self._bucket = bucket
        self._function = function

    def find(self) -> list[FailedBatch]:
        """Return all batches, by shard and in the order of the changes.

        Raises:
            CommandError: An object in the bucket is not a batch.
        """
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=FAILED_BATCH_PREFIX
        )
        # Not in the order of failure: batches that fail together have the same time.
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
        """Publish batches, remove each when done, and yield its number of records.

        Raises:
            CommandError: A batch cannot be published, or is not a batch. It stays, as
                do the batches after it, which may have later events of its users.
        """
        for batch in batches:
            records = self._read(batch.key)
            self._invoke(batch, records)
            self._s3.delete_object(Bucket=self._bucket, Key=batch.key)
            yield len(records)

    def _read(self, key: str) -> list[Any]:
        answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        try:
            # The event that the function received, as a string inside the JSON.
            payload = json.loads(answer["Body"].read())["payload"]
            event = json.loads(payload) if isinstance(payload, str) else payload
            records: list[Any] = event["Records"]
            _ = int(records[0]["dynamodb"]["SequenceNumber"])
        except (ValueError, LookupError, TypeError) as exc:
            raise CommandError(
                f"{key} is not an invocation record of Lambda with a batch in it; "
                "inspect it, and move it away to continue"
            ) from exc
        return records

    def _invoke(self, batch: FailedBatch, records: list[Any]) -> None:
        event = {"Records": records}
        answer = self._lambda.invoke(
            FunctionName=self._function, Payload=json.dumps(event).encode()
        )
        result: Any = json.loads(answer["Payload"].read())
        # An error in the function still has status 200, and is named beside it.
        if answer.get("FunctionError") or result["batchItemFailures"]:
            raise CommandError(
                f"{batch.key} could not be published and stays in the bucket. The log "
                f"of {self._function} says why"
            )
