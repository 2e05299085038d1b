"""A meter between a function and DynamoDB: the calls it makes, and their units."""

import http.client
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import urlsplit

from runtime.runtime_api import QuietServer

_READS = {"GetItem", "BatchGetItem", "Scan"}
_HEADERS = {"authorization", "content-type", "x-amz-date", "x-amz-target"}
_KILOBYTE = 1024


@dataclass(frozen=True)
class Call:
    """An operation of DynamoDB, and the capacity units that it consumed."""

    operation: str
    read_units: float = 0
    write_units: float = 0


class Meter:
    """Forwards calls to an engine, and asks it for the units that each consumes.

    A failed condition consumes write units too, as many as the item there would (Amazon
    DynamoDB Developer Guide, "Read and write operations", conditional writes). No
    engine reports these, so they are computed here.
    """

    def __init__(self, endpoint_url: str) -> None:
        self.calls: list[Call] = []
        self._engine = urlsplit(endpoint_url).netloc
        self._server = QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _forward(
        self, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        operation = headers["X-Amz-Target"].rpartition(".")[2]
        request = json.loads(body)
        request["ReturnConsumedCapacity"] = "TOTAL"
        status, answered, answer = self._send(headers, request)
        self.calls.append(self._call(operation, headers, request, json.loads(answer)))
        return status, answered, answer

    def _send(
        self, headers: Mapping[str, str], request: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        sent = {
            name: value for name, value in headers.items() if name.lower() in _HEADERS
        }
        # The engine checks no signature, so the body may differ.
        connection = http.client.HTTPConnection(self._engine, timeout=10)
        try:
            connection.request("POST", "/", json.dumps(request), sent)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def _call(
        self, operation: str, headers: Mapping[str, str], request: Any, answer: Any
    ) -> Call:
        consumed = answer.get("ConsumedCapacity")
        if consumed is None:
            if "ConditionalCheckFailed" not in answer.get("__type", ""):
                raise ValueError(f"{operation} was answered {answer}")
            key = request.get("Key") or {"pk": request["Item"]["pk"]}
            get = {"TableName": request["TableName"], "Key": key}
            target = headers["X-Amz-Target"].replace(operation, "GetItem")
            _, _, found = self._send({**headers, "X-Amz-Target": target}, get)
            return Call(operation, write_units=_write_units(json.loads(found)))
        tables = consumed if isinstance(consumed, list) else [consumed]
        units = sum(table["CapacityUnits"] for table in tables)
        if operation in _READS:
            return Call(operation, read_units=units)
        return Call(operation, write_units=units)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        meter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each call would take 40 ms

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, answer = meter._forward(
                    dict(self.headers.items()), body
                )
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower().startswith(("content-type", "x-amz")):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        return Handler


def _write_units(found: Any) -> int:
    size = item_bytes(found.get("Item", {}))
    return max(1, math.ceil(size / _KILOBYTE))


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return the size of an item as DynamoDB counts it.

    Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats". About a
    number it says only that two digits take about a byte, plus one byte.
    """
    return sum(len(name.encode()) + _value_bytes(each) for name, each in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, held),) = value.items()
    match kind:
        case "S":
            return len(held.encode())
        case "B":
            return len(held) * 3 // 4
        case "N":
            return math.ceil(len(held.strip("-")) / 2) + 1
        case "M":
            return 3 + len(held) + item_bytes(held)
        case "L":
            return 3 + len(held) + sum(map(_value_bytes, held))
    return 1  # BOOL and NULL
