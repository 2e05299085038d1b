"""Changes in the table, and the events that EventBridge gets for them."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonschema

from anonauth.local.dynamodb.live_table import LiveTable, Record
from support.project.tools import ROOT
from support.service.harness import Deployment

SCHEMA = json.loads((ROOT / "functions/anonauth/events.schema.json").read_text())


def _closed() -> Any:
    # Later versions may have more fields; this version has only the described ones.
    schema = copy.deepcopy(SCHEMA)
    for part in (
        schema["properties"]["detail"],
        schema["definitions"]["identities"]["items"],
    ):
        part["additionalProperties"] = False
    return schema


VALIDATOR = jsonschema.Draft4Validator(_closed())

Entry = dict[str, Any]


class Story:
    """The service with the stream of its table.

    `records` are the stream's records since the last call. `published` are the events
    that EventBridge was sent, in their order, each checked against the schema.
    """

    def __init__(self, service: Deployment) -> None:
        self.service = service
        self._table = LiveTable(service.table, None, lambda: service.now)
        assert self._table.has_stream

    def records(self) -> list[Record]:
        return self._table.changes()

    def sweep(self) -> int:
        """Delete the items that DynamoDB's TTL would have deleted by now."""
        return self._table.sweep()

    def tell(
        self,
        records: Sequence[Record] | None = None,
        *,
        remaining: Callable[[], int] = lambda: 60_000,
    ) -> Any:
        """Run Lifecycle on records, by default on the new ones.

        `remaining` is the number of milliseconds it has left.
        """
        batch = self.records() if records is None else records
        return self.service.invoke(
            "LifecycleFunction", {"Records": list(batch)}, remaining=remaining
        )

    def published(self) -> list[Entry]:
        """Return the events that were sent since the wire was cleared, and clear it."""
        wire = self.service.wire
        found = [
            as_event(entry)
            for call, body in zip(wire.calls, wire.bodies, strict=True)
            if call == "PutEvents"
            for entry in body["Entries"]
        ]
        wire.reset()
        return found

    def told(self) -> list[Entry]:
        """Run Lifecycle on the new records, and return the events it published."""
        records = self.records()
        self.service.wire.reset()
        if records:
            assert self.tell(records) == {"batchItemFailures": []}
        return self.published()


def as_event(entry: Mapping[str, Any]) -> Entry:
    """Return an entry of PutEvents as a rule's target receives it."""
    event = {
        "source": entry["Source"],
        "detail-type": entry["DetailType"],
        "detail": json.loads(entry["Detail"]),
    }
    VALIDATOR.validate(event)
    return event


def types(events: Sequence[Entry]) -> list[str]:
    return [event["detail-type"] for event in events]
