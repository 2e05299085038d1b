"""Functions that no client waits for: the daily scan, and the table's stream.

Each size has a table and a function of its own. The table is dynoxide's. EventBridge is
a server that takes all events and counts them. The figures are the calls, the processor
time, and the peak memory, which must not grow with the size.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from bench.crowd import crowded
from bench.figures import say
from bench.meter import Meter, item_bytes
from bench.operations import People
from bench.stage import APP, Stage
from runtime.runtime_api import QuietServer
from support.project.sam_template import Json, event

SIZES = (20_000, 200_000, 2_000_000)
USUAL = SIZES[1]
"""The largest size, unless another one is asked for."""

ENDING_EVERY = 61
"""One guest in so many is warned by each scan: two notices in 123 days."""

BATCH = 100  # records, as the template says
KINDS = ("new guests", "refreshes")

MOST_GROWTH = 1.1
"""Allowed growth of the memory, from the smallest size to the largest."""

_AT_ONCE = 10  # events in a call of PutEvents
_SEGMENTS = 4  # of the scan
_PAGE = 2**20  # bytes
_UNITS_OF_PAGE = 128  # of 8 KB, since the scan is eventually consistent

_SAMPLE_ID = "66b0c3c2f5a1e7d8c9b0a1f2"


class Bus:
    """EventBridge as a server that counts; a context manager."""

    def __init__(self) -> None:
        self.calls = self.events = 0
        self._server = QuietServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variable that leads a function here."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"AWS_ENDPOINT_URL_EVENTBRIDGE": url}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        bus = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each call would take 40 ms

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken = len(json.loads(body)["Entries"])
                bus.calls += 1
                bus.events += taken
                results = [{"EventId": str(number)} for number in range(taken)]
                answer = json.dumps({"FailedEntryCount": 0, "Entries": results})
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        return Handler


class RangeMeter(Meter):
    """A meter that asks the engine for ranges of keys in place of segments.

    For each page of a segment, dynoxide reads the whole table. With a limit and without
    a segment, it reads one page from a key on.

    Args:
        prefix: What the keys of all users begin with. An id in hexadecimal follows.
        limit: Items in a page.
    """

    def __init__(self, endpoint_url: str, prefix: str, limit: int) -> None:
        super().__init__(endpoint_url)
        self._prefix = prefix
        self._limit = limit

    def _forward(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        request = json.loads(body)
        if "Segment" not in request:
            return super()._forward(headers, body)
        segment, segments = request.pop("Segment"), request.pop("TotalSegments")
        first, end = (
            f"{self._prefix}{16 * number // segments:x}"
            for number in (segment, segment + 1)
        )
        if segment:
            request.setdefault("ExclusiveStartKey", {"pk": {"S": first}})
        request["Limit"] = self._limit
        status, answered, answer = super()._forward(
            headers, json.dumps(request).encode()
        )
        page = json.loads(answer)
        last = page.get("LastEvaluatedKey")
        if last and last["pk"]["S"] > end and segment + 1 < segments:
            del page["LastEvaluatedKey"]
            page["Items"] = [each for each in page["Items"] if each["pk"]["S"] < end]
        # The checksum was that of the other body.
        kept = {n: v for n, v in answered.items() if n.lower() != "x-amz-crc32"}
        return status, kept, json.dumps(page).encode()


def measure(stage: Stage, most: int) -> Json:
    """Return counts, seconds and bytes of the scan and of the stream, by size.

    Args:
        most: Larger sizes are left out.
    """
    sizes = [size for size in SIZES if size <= most]
    with ExitStack() as stack:
        people = People(stage, stack)
        return {
            "scan": {str(size): _scan(stage, people, size) for size in sizes},
            **{
                kind: {str(size): _stream(stage, kind, size) for size in sizes}
                for kind in KINDS
            },
        }


def differences(found: Json) -> Iterator[str]:
    """Yield a line for each count that does not fit its size, or memory that grows."""
    for size, scan in found["scan"].items():
        warned = int(size) // ENDING_EVERY
        most_pages = int(size) * scan["item_bytes"] // _PAGE + 2 * _SEGMENTS
        if not scan["warned"] == scan["events"] == warned:
            seen = f"{scan['warned']} warned by {scan['events']} events"
            yield f"scan of {size}: {seen}, not {warned}"
        if scan["pages"] > most_pages:
            yield f"scan of {size}: {scan['pages']} pages, {most_pages} at most"
        if scan["units_of_page"] > _UNITS_OF_PAGE:
            yield f"scan of {size}: a page of {scan['units_of_page']} units"
        if scan["calls"] > (most := warned // _AT_ONCE + scan["pages"]):
            yield f"scan of {size}: {scan['calls']} calls of PutEvents, {most} at most"
    for kind in KINDS:
        for size, stream in found[kind].items():
            events = int(size) if kind == "new guests" else 0
            counts = (stream["events"], stream["calls"], stream["failed"])
            if counts != (wanted := (events, events // _AT_ONCE, 0)):
                yield f"{kind}, {size} records: {counts} instead of {wanted}"
    for what, by_size in found.items():
        peaks = [each["memory"] for each in by_size.values()]
        first, last = peaks[0], peaks[-1]
        if last > MOST_GROWTH * first:
            yield f"{what}: the memory grows from {first} to {last} bytes"


def _scan(stage: Stage, people: People, size: int) -> Json:
    say(f"the scan of {size:,} guests")
    with ExitStack() as stack:
        bus = stack.enter_context(Bus())
        grown = stack.enter_context(
            crowded(stage, people, size, ending_every=ENDING_EVERY)
        )
        found = grown.engine.db.scan(TableName=grown.table, Limit=10)["Items"]
        bytes_of_item = max(item_bytes(each) for each in found if "state" in each)
        limit = _PAGE // bytes_of_item
        meter = stack.enter_context(
            RangeMeter(grown.engine.endpoint_url, f"USER#{APP}#", limit)
        )
        function = stack.enter_context(
            replace(grown, meter=meter).running(
                "ExpiringFunction", is_metered=True, variables=bus.variables
            )
        )
        function.await_ready()
        cpu, began = function.cpu_seconds(), time.perf_counter()
        pages = warned = 0
        is_done = False
        while not is_done:
            report = function.invoke(event("expiring"))
            pages, warned = pages + report["pages"], warned + report["warned"]
            is_done = report["is_done"]
        return {
            "pages": pages,
            "warned": warned,
            "calls": bus.calls,
            "events": bus.events,
            "item_bytes": bytes_of_item,
            "units_of_page": max(call.read_units for call in meter.calls),
            "cpu": function.cpu_seconds() - cpu,
            "wall": time.perf_counter() - began,
            "memory": function.peak_memory(),
        }


def _stream(stage: Stage, kind: str, size: int) -> Json:
    say(f"the stream, {size:,} records of {kind}")
    text = json.dumps(_record(kind))
    with (
        Bus() as bus,
        stage.running("LifecycleFunction", variables=bus.variables) as function,
    ):
        function.await_ready()
        cpu, began = function.cpu_seconds(), time.perf_counter()
        failed = 0
        for _ in range(size // BATCH):
            answer: Any = function.invoke({"Records": _batch(text)})
            failed += len(answer["batchItemFailures"])
        return {
            "calls": bus.calls,
            "events": bus.events,
            "failed": failed,
            "cpu": function.cpu_seconds() - cpu,
            "wall": time.perf_counter() - began,
            "memory": function.peak_memory(),
        }


def _record(kind: str) -> Json:
    """Return a stream record of the sample's guest, when it was made or came back."""
    (record,) = event("lifecycle")["Records"]
    del record["userIdentity"]
    stream = record["dynamodb"]
    item = stream.pop("OldImage")
    later = item | {"last_active_day": {"S": "2026-08-25"}}
    name, images = (
        ("INSERT", {"NewImage": item})
        if kind == "new guests"
        else ("MODIFY", {"OldImage": item, "NewImage": later})
    )
    return {**record, "eventName": name, "dynamodb": {**stream, **images}}


def _batch(text: str) -> list[Json]:
    """Return records of that text, each of another guest."""
    records = (text.replace(_SAMPLE_ID, secrets.token_hex(12)) for _ in range(BATCH))
    batch: list[Json] = json.loads(f"[{','.join(records)}]")
    for record in batch:
        record["eventID"] = secrets.token_hex(16)
    return batch
