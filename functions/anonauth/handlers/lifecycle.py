"""The table's stream: publish the changes of users to EventBridge."""

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

from anonauth import wiring
from anonauth.errors import Unavailable
from anonauth.handlers._http import logger, trace_of
from anonauth.usecases.events import EventPublisher, PublishedBatch, tally

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext


# The function stops with this much of its time left, and reports how far it has come.
# A call that fails on all its attempts takes 20 s.
_RESERVE = 30_000  # milliseconds


class NotPublished(Exception):
    """Not all events of a record were published. The log says why."""


class _InOrder(BatchProcessor):
    """Powertools' batch processor, for records whose order matters.

    Powertools' own goes on after a failure, although Lambda gives all records again
    from the first failed one on. An app would receive a deletion, and then the login
    before it. It also takes one record at a time, while ten events fit into one call.

    If the first record cannot be read, the processor raises. Lambda then halves the
    batch, until that record is alone and goes to the bucket. A failure of AWS is no
    fault of a record, so the batch stays whole.
    """

    def process(self) -> list[Any]:
        batch: PublishedBatch = self.handler(self.records, self.lambda_context)
        done = batch.done
        self.raise_on_entire_batch_failure = not isinstance(batch.failure, Unavailable)
        cause = (NotPublished, NotPublished(), None)
        first, rest = self.records[:done], self.records[done:]
        return [
            *(self.success_handler(record, None) for record in first),
            *(
                self.failure_handler(self._to_batch_type(r, self.event_type), cause)
                for r in rest
            ),
        ]


def publish(
    records: list[dict[str, Any]], lambda_context: "LambdaContext"
) -> PublishedBatch:
    """Publish a batch's events as far as possible. Log why it goes no further."""
    services = wiring.services()
    stack = services.settings.stack_name
    batch = EventPublisher(services.store, services.bus, stack).publish(
        records,
        has_time=lambda: lambda_context.get_remaining_time_in_millis() > _RESERVE,
    )
    for (name, dimension, value), number in tally(batch.events).items():
        services.metrics.count(name, number, **{dimension: value})
    failure = batch.failure
    if failure is not None:
        # Only types of exceptions and places in the code, no field of a user's item.
        details: dict[str, Any] = {
            "done": batch.done,
            "of": len(records),
            "record": records[batch.done]["eventID"],
            "trace": trace_of(failure),
        }
        if isinstance(failure, Unavailable) and failure.detail:
            details["detail"] = failure.detail
        logger.error(type(failure).__name__, extra=details)
    return batch


@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(
    event: dict[str, Any], context: "LambdaContext"
) -> "PartialItemFailureResponse":
    """Publish a batch. Return the records that Lambda has to repeat.

    Raises:
        BatchProcessingError: The first record cannot be read.
    """
    return process_partial_response(
        event, publish, _InOrder(EventType.DynamoDBStreams), context
    )
