"""What `anonauth events replay` does: publish what Lambda has given up on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from anonauth.cli.problem import Problem

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client

PREFIX = "aws/lambda/"
"""Of the objects that Lambda writes: …<mapping>/<shard>/<date>/<time>-<id>.

Source: AWS Lambda Developer Guide, "Retain discarded records for a DynamoDB event
source".
"""


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch in the bucket; `failed_at` is when Lambda gave it up."""

    key: str
    failed_at: datetime


class FailedBatches:
    """The bucket of failed batches, and the function that they are for."""

    def __init__(
        self, s3: "S3Client", functions: "LambdaClient", *, bucket: str, function: str
    ) -> None:
        self._s3 = s3
        self._lambda = functions
        self._bucket = bucket
        self._function = function

    def find(self) -> list[FailedBatch]:
        """Return all, in the order in which they failed."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=PREFIX
        )
        found = [
            FailedBatch(each["Key"], each["LastModified"])
            for page in pages
            for each in page.get("Contents", [])
        ]
        # Shards are in the keys: of one user all batches are in one of them.
        return sorted(found, key=lambda batch: (batch.failed_at, batch.key))

    def replay(self, batches: list[FailedBatch]) -> Iterator[int]:
        """Publish batches, each removed once it is done; yield each one's records.

        Raises:
            Problem: One cannot be published, or is none; it stays, as do those after
                it, which may have later events of the same users.
        """
        for batch in batches:
            event = self._read(batch)
            self._invoke(batch, event)
            self._s3.delete_object(Bucket=self._bucket, Key=batch.key)
            yield len(event["Records"])

    def _read(self, batch: FailedBatch) -> Any:
        answer = self._s3.get_object(Bucket=self._bucket, Key=batch.key)
        try:
            # The event that the function got, as text inside of JSON.
            payload = json.loads(answer["Body"].read())["payload"]
            event = json.loads(payload) if isinstance(payload, str) else payload
            _ = event["Records"]
        except (ValueError, KeyError, TypeError) as exc:
            raise Problem(
                f"{batch.key} is not an invocation record of Lambda with a batch in "
                "it; look at it, and move it away to go on"
            ) from exc
        return event

    def _invoke(self, batch: FailedBatch, event: Any) -> None:
        answer = self._lambda.invoke(
            FunctionName=self._function, Payload=json.dumps(event).encode()
        )
        result: Any = json.loads(answer["Payload"].read())
        # An error that the function raised is told beside an answer of 200.
        if answer.get("FunctionError") or result["batchItemFailures"]:
            raise Problem(
                f"{batch.key} could not be published; it is still there. The log of "
                f"{self._function} says why"
            )
