"""The daily scan and the stream: calls and units grow with the items, memory does not.

`tests/bench` measures both with up to 2,000,000 items.
"""

import gc
import json
import secrets
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from anonauth import wiring
from anonauth.event_bus import EventBridgeBus
from anonauth.handlers import expiring, lifecycle
from anonauth.local.lambdas import LambdaContext
from anonauth.settings import Settings
from anonauth.store import Store
from anonauth.usecases.expiring import SEGMENTS
from bench.meter import item_bytes
from support.contracts.events_contract import a_guest_until
from support.contracts.store_contract import DAY, NOW
from support.engine.engines import Engine
from support.project.sam_template import event
from support.service.harness import APP, ENVIRONMENT

GUESTS = 240
BATCHES = 10

PADDING = 50_000
"""Bytes of a guest's item that the scan reads and does not return."""

MOST_IN_PAGE = 2**20  # bytes; the item that exceeds it is in the page, too
UNIT = 2 * 4096  # bytes, since the scan is eventually consistent
UNITS_PER_SECOND = 1_000
MOST_EVENTS = 10  # in a call of PutEvents

SAMPLE_ID = "66b0c3c2f5a1e7d8c9b0a1f2"
LATER = 1e9  # a deadline that is not reached


@dataclass
class Work:
    """What a function does: calls of PutEvents, pauses in seconds, bytes in memory."""

    calls: int = 0
    pauses: list[float] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def put_events(self, Entries: list[Any]) -> Any:  # noqa: N803 - the SDK's name
        assert 0 < len(Entries) <= MOST_EVENTS
        self.calls += 1
        return {"Entries": [{"EventId": "e"} for _ in Entries]}

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.note_memory()

    def note_memory(self) -> None:
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        self.kept.append(kept)


@contextmanager
def working(store: Store) -> Iterator[Work]:
    """Let the handlers use a store, and a bus that counts."""
    work = Work()
    variables = {
        **ENVIRONMENT,
        "AWS_REGION": "eu-central-1",
        "TABLE_NAME": "unused",
        "KMS_KEY_ID": "unused",
        "APP_IDS": APP,
        "EXPIRY_NOTICE_DAYS": "14",
        "METRICS": "false",
    }
    services = wiring.Services(Settings.from_environment(variables), lambda: NOW)
    bus: Any = SimpleNamespace(put_events=work.put_events)
    services.store = store
    services.bus = EventBridgeBus(lambda: bus, "bus", pause=work.pause)
    services.pause = work.pause
    with wiring.using(services):
        tracemalloc.start()
        try:
            yield work
        finally:
            tracemalloc.stop()


def context() -> Any:
    return LambdaContext("it", 512, deadline=LATER)


def is_flat(kept: Sequence[int]) -> bool:
    """Tell whether the memory stays the same, once everything has been loaded."""
    return kept[-1] < 1.1 * kept[len(kept) // 3]


def fill(engine: Engine, table: str, store: Store) -> int:
    """Make guests that are due for a warning; return the bytes of all."""
    first = a_guest_until(NOW + DAY)
    store.create_user(first)
    pk = {"S": f"USER#{APP}#{first.id}"}
    item: Any = engine.db.get_item(TableName=table, Key={"pk": pk})["Item"]
    item["padding"] = {"S": "x" * PADDING}
    for _ in range(GUESTS):
        item["pk"] = {"S": f"USER#{APP}#{secrets.token_hex(12)}"}
        engine.db.put_item(TableName=table, Item=item)
    engine.db.delete_item(TableName=table, Key={"pk": pk})
    return GUESTS * item_bytes(item)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
def test_given_a_table_when_scanned_then_only_calls_and_units_grow_with_its_pages(
    engine: Engine, table: str, store: Store
) -> None:
    size = fill(engine, table, store)

    with working(store) as work:
        report: Any = expiring.handler(event("expiring"), context())

    pages = report["pages"]
    assert (report["is_done"], report["warned"]) == (True, GUESTS)
    assert len(work.pauses) == pages
    assert size / (MOST_IN_PAGE + PADDING) < pages <= size / MOST_IN_PAGE + SEGMENTS
    units = sum(work.pauses) * UNITS_PER_SECOND
    assert size / UNIT <= units <= size / UNIT + pages
    assert GUESTS / MOST_EVENTS <= work.calls <= GUESTS / MOST_EVENTS + pages
    assert is_flat(work.kept), work.kept


@pytest.mark.long
@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
def test_given_a_stream_when_published_then_only_calls_grow_with_its_batches(
    store: Store,
) -> None:
    text = json.dumps(event("lifecycle")["Records"][0])

    with working(store) as work:
        for _ in range(BATCHES):
            records = [
                json.loads(text.replace(SAMPLE_ID, secrets.token_hex(12)))
                for _ in range(100)
            ]
            for record in records:
                stream = record["dynamodb"]
                stream["NewImage"] = stream.pop("OldImage")
            answer = lifecycle.handler({"Records": records}, context())
            assert answer == {"batchItemFailures": []}
            work.note_memory()

    assert work.calls == 100 * BATCHES / MOST_EVENTS
    assert is_flat(work.kept), work.kept
