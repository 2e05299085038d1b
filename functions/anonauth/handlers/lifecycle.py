"""The table's stream: what happened to users goes to EventBridge."""

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

from anonauth import wiring
from anonauth.errors import Unavailable
from anonauth.handlers._http import logger, trace_of
from anonauth.usecases.events import Progress, publish_changes, tally

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext


# What is left of its time when the function stops, to say how far it has come: a call
# that fails on all its attempts takes 20 s.
_RESERVE = 30_000  # milliseconds


class NotPublished(Exception):
    """A record whose events have not all gone out; the log says why."""


class _InOrder(BatchProcessor):
    """Powertools' processor, for records that count in their order only.

    Its own goes on after a failure, though Lambda gives all again from the first failed
    record on: an app would hear of a deletion, and then of the login before it. And it
    takes one record at a time, where ten events go out in one call.

    If the first record cannot be read it raises. Lambda then halves the batch, until
    that record is alone and goes to the bucket. But trouble with AWS is no fault of a
    record: then the batch stays whole.
    """

    def process(self) -> list[Any]:
        progress: Progress = self.handler(self.records, self.lambda_context)
        done = progress.done
        self.raise_on_entire_batch_failure = not isinstance(
            progress.failure, Unavailable
        )
        cause = (NotPublished, NotPublished(), None)
        first, rest = self.records[:done], self.records[done:]
        return [
            *(self.success_handler(record, None) for record in first),
            *(
                self.failure_handler(self._to_batch_type(r, self.event_type), cause)
                for r in rest
            ),
        ]


def publish(records: list[dict[str, Any]], lambda_context: "LambdaContext") -> Progress:
    """Publish a batch's events as far as it goes; log why it goes no further."""
    services = wiring.services()
    progress = publish_changes(
        records,
        changes=services.store,
        bus=services.bus,
        has_time=lambda: lambda_context.get_remaining_time_in_millis() > _RESERVE,
    )
    for (name, dimension, value), number in tally(progress.events).items():
        services.metrics.count(name, number, **{dimension: value})
    failure = progress.failure
    if failure is not None:
        # Nothing of a user's item: of exceptions, types and places only.
        details: dict[str, Any] = {
            "done": progress.done,
            "of": len(records),
            "record": records[progress.done]["eventID"],
            "trace": trace_of(failure),
        }
        if isinstance(failure, Unavailable) and failure.detail:
            details["detail"] = failure.detail
        logger.error(type(failure).__name__, extra=details)
    return progress


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(
    event: dict[str, Any], context: "LambdaContext"
) -> "PartialItemFailureResponse":
    """Publish a batch; answer from which record on Lambda has to give it again.

    Raises:
        BatchProcessingError: The first record cannot be read.
    """
    return process_partial_response(
        event, publish, _InOrder(EventType.DynamoDBStreams), context
    )
