"""AWS behind a socket on loopback, where any answer can be broken below the SDK.

All layers above the socket are real: PynamoDB, botocore, urllib3 and http.client. A
test chooses the fault of each call in advance. Other answers come from moto or an
engine.
"""

import http.client
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, BinaryIO, Literal, Self, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.models import botocore_stubber

from anonauth import wiring
from anonauth.settings import Settings
from anonauth.store import Store
from support.project.tools import ROOT
from support.service.harness import APP, ENVIRONMENT, Clients
from support.service.wire import Send, Wire

_SHORTLY = 0.005
"""Seconds that a client waits for an answer that will not come.

Its next call waits until this one has taken effect (`Front.settle`).
"""

_MOST_IN_A_BATCH = 25
# An engine wants a signature, but does not verify it.
_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=engine/20260310/eu-central-1/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=0"
)

_HOSTS = {"ses": "email"}  # where the host differs from the name in signatures
_PACKAGE = str(ROOT / "functions" / "anonauth")
_PLUMBING = {"_send", "_try_write", "commit", "<lambda>", "_client", "_connect"}


@dataclass(frozen=True)
class Asked:
    """A request as it arrived over the socket."""

    service: str
    operation: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """An answer before it is encoded."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __bytes__(self) -> bytes:
        return self.head + self.body

    @property
    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {http.client.responses[self.status]}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return _encoded(lines)

    def with_body(self, body: bytes) -> "Answer":
        """Return the answer with another body, and a length that matches it."""
        named = {"content-length", "transfer-encoding", "x-amz-crc32"}
        kept = [(n, v) for n, v in self.headers if n.lower() not in named]
        return Answer(self.status, (*kept, ("Content-Length", str(len(body)))), body)


def answer(status: int, body: Any, content_type: str = "application/json") -> Answer:
    """Return an answer with a JSON body, or with bytes unchanged."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    bare = Answer(status, (("Content-Type", content_type),), b"")
    return bare.with_body(raw)


@dataclass(frozen=True)
class Said:
    """The bytes that are sent, and what happens to the connection afterwards."""

    data: bytes
    then: Literal["keep", "close", "reset", "silence"] = "keep"


Upstream = Callable[[Asked], Answer]
Act = Callable[[Asked, Upstream], Said]


@dataclass(frozen=True)
class Break:
    """The fault of a call.

    Args:
        act: Answers in place of AWS, which is its second argument.
        is_refused: The call's address refuses connections; `act` is not used.
        noted: Called when the fault occurs.
    """

    act: Act
    is_refused: bool = False
    is_silent: bool = False
    noted: Callable[[], object] = lambda: None


def pass_on(asked: Asked, upstream: Upstream) -> Said:
    """Answer as AWS does."""
    return Said(bytes(upstream(asked)))


def by_moto(region: str) -> Upstream:
    """Return moto, which has to be active, as the upstream of the socket."""

    def upstream(asked: Asked) -> Answer:
        host = _HOSTS.get(asked.service, asked.service)
        request = AWSPreparedRequest(
            "POST",
            f"https://{host}.{region}.amazonaws.com{asked.path}",
            cast("Any", dict(asked.headers)),
            asked.body,
            False,
        )
        found: AWSResponse | None = botocore_stubber("before-send", request)
        assert found is not None, asked
        framed = Answer(found.status_code, tuple(found.headers.items()), b"")
        return framed.with_body(found.content)

    return upstream


@contextmanager
def by_engine(endpoint_url: str) -> Iterator[Upstream]:
    """Yield an engine as the upstream of the socket; calls run one after another."""
    connection = _Connection(endpoint_url)
    # On a busy machine a client may give up and call again before the engine answers.
    lock = threading.Lock()

    def upstream(asked: Asked) -> Answer:
        with lock:
            try:
                return connection.post(asked)
            except ConnectionError:  # ministack closes a connection that is idle
                connection.close()
                return connection.post(asked)
            except (OSError, ValueError):
                connection.close()  # the next call opens another
                raise

    try:
        yield upstream
    finally:
        connection.close()


class _Connection:
    """A connection that stays open. http.client takes ten times as long for a head."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._address = host, int(port)
        self._socket: socket.socket | None = None
        self._stream: BinaryIO

    def post(self, asked: Asked) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._stream = self._socket.makefile("rb")
        lines = [f"{name}: {value}" for name, value in asked.headers.items()]
        head = _encoded([f"POST {asked.path} HTTP/1.1", *lines])
        self._socket.sendall(head + asked.body)
        line = self._stream.readline()
        if not line:
            raise ConnectionResetError
        _, status, *_ = line.split()
        headers = _headers(self._stream)
        body = self._stream.read(int(headers["content-length"]))
        return Answer(int(status), tuple(headers.items()), body)

    def close(self) -> None:
        if self._socket is not None:
            self._stream.close()
            self._socket.close()
            self._socket = None


class RawTable:
    """A table's items, read and written without the SDK.

    A call takes a tenth of the time. Nothing is checked or retried.
    """

    def __init__(self, table: str, upstream: Upstream) -> None:
        self._table = table
        self._upstream = upstream

    def items(self) -> dict[str, dict[str, Any]]:
        """Return the items by key, as DynamoDB stores them."""
        found = self._call("Scan", {"TableName": self._table})
        assert "LastEvaluatedKey" not in found
        return {item["pk"]["S"]: item for item in found["Items"]}

    def become(self, items: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace all items with these."""
        there = self.items()
        changes: list[Any] = [
            {"DeleteRequest": {"Key": {"pk": item["pk"]}}}
            for key, item in there.items()
            if key not in items
        ]
        changes += [
            {"PutRequest": {"Item": item}}
            for key, item in items.items()
            if item != there.get(key)
        ]
        for start in range(0, len(changes), _MOST_IN_A_BATCH):
            some = {self._table: changes[start : start + _MOST_IN_A_BATCH]}
            answered = self._call("BatchWriteItem", {"RequestItems": some})
            assert not answered.get("UnprocessedItems")

    def _call(self, operation: str, body: Any) -> Any:
        raw = json.dumps(body).encode()
        headers = {
            "host": "localhost",
            "x-amz-target": f"DynamoDB_20120810.{operation}",
            "content-type": "application/x-amz-json-1.0",
            "content-length": str(len(raw)),
            "x-amz-date": "20260310T120000Z",
            "authorization": _AUTHORIZATION,
        }
        found = self._upstream(Asked("dynamodb", operation, "/", headers, raw))
        assert found.status == 200, found
        return json.loads(found.body)


class Front:
    """A port of loopback in front of AWS; a context manager.

    Args:
        usual: Answers each call for which `expect` has chosen no fault.
    """

    def __init__(self, upstream: Upstream, usual: Act = pass_on) -> None:
        self.upstream = upstream
        self._usual = usual
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Bound, but not listening, so a connection to it is refused.
        self._deaf = socket.socket()
        self._deaf.bind(("127.0.0.1", 0))
        self.url = _url(self._listener)
        self.deaf_url = _url(self._deaf)
        self._open: set[socket.socket] = set()
        self._pending = usual
        self._settled = threading.Event()
        self._settled.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in (self._listener, self._deaf):
            each.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def expect(self, act: Act) -> None:
        """Choose the fault of the next call."""
        self._pending = act
        self._settled.clear()

    def settle(self) -> None:
        """Wait for the effect of a call that its client has given up on."""
        assert self._settled.wait(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while (asked := _read(stream)) is not None:
                if self._answer(asked, connection, stream) != "keep":
                    break
        self._open.discard(connection)

    def _answer(self, asked: Asked, connection: socket.socket, stream: BinaryIO) -> str:
        """Answer a call, and return what happened to the connection."""
        act, self._pending = self._pending, self._usual
        try:
            said = act(asked, self.upstream)
            if said.then == "silence":
                self._settled.set()
            connection.sendall(said.data)
            if said.then == "silence":
                connection.recv(1)  # until the client has given up
            if said.then == "reset":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if said.then != "keep":
                # Before the call is settled. Otherwise the client might send its next
                # call over a connection that is about to close, without an answer.
                stream.close()
                connection.close()
            return said.then
        finally:
            self._settled.set()


def _url(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


def _read(stream: BinaryIO) -> Asked | None:
    line = stream.readline()
    if not line:
        return None
    headers = _headers(stream)
    body = stream.read(int(headers.get("content-length", 0)))
    scope = re.search(r"Credential=[^,]*/(\w+)/aws4_request", headers["authorization"])
    assert scope is not None
    target = headers.get("x-amz-target", ".SendEmail")
    return Asked(
        service=scope[1],
        operation=target.rpartition(".")[2],
        path=line.split()[1].decode(),
        headers=headers,
        body=body,
    )


def _headers(stream: BinaryIO) -> dict[str, str]:
    """Read headers up to the body; their names become lower case."""
    headers = {}
    for line in iter(stream.readline, b"\r\n"):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return headers


def _encoded(head: Iterable[str]) -> bytes:
    return "\r\n".join([*head, "", ""]).encode()


class SocketWire(Wire):
    """A wire that breaks answers below the SDK, and records which function calls.

    `breaks` are the faults of the next calls, in order; after those `breaks_always`
    decides by operation. `sites` are the functions that have called, and `lengths` the
    bytes of each answer.
    """

    def __init__(self, front: Front) -> None:
        self.front = front
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self.front.settle()
        self.sites: list[str] = []
        self.lengths: list[int] = []
        self.clear_breaks()

    def clear_breaks(self) -> None:
        """Let the next calls pass."""
        self.breaks: list[Break | None] = []
        self.breaks_always: Callable[[str], Break | None] = lambda _: None

    def _send(
        self, send: Send, request: AWSPreparedRequest, event_name: str, **_: Any
    ) -> None:
        self.front.settle()
        name, body = event_name.rpartition(".")[2], _json(request.body)
        self.calls.append(name)
        self.bodies.append(body)
        self.sites.append(_caller())
        fault = self.breaks.pop(0) if self.breaks else self.breaks_always(name)
        context: dict[str, Any] = vars(request)["context"]
        context.pop("read_timeout", None)  # all attempts share it
        fault = fault or Break(pass_on)
        fault.noted()
        if fault.is_refused:
            request.url = self.front.deaf_url
            return
        if fault.is_silent:
            context["read_timeout"] = _SHORTLY
        self.front.expect(self._recorded(fault))

    def _recorded(self, fault: Break) -> Act:
        def act(asked: Asked, upstream: Upstream) -> Said:
            def forward(passed: Asked) -> Answer:
                self.taken.append((passed.operation, passed.json))
                return upstream(passed)

            said = fault.act(asked, forward)
            self.lengths.append(len(said.data))
            return said

        return act


def _json(body: Any) -> Any:
    return json.loads(cast("bytes", body))


def _caller() -> str:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE) and code.co_name not in _PLUMBING:
            module = code.co_filename.removeprefix(_PACKAGE + "/").removesuffix(".py")
            return f"{module}:{code.co_name}"
        frame = frame.f_back
    return "?"


class SocketClients(Clients):
    """The service's own clients, with all their calls sent to a `Front`.

    They are made as the service makes them, so time-outs and retries are its own.
    """

    wire: SocketWire

    def __init__(self, front: Front, region: str, key_id: str) -> None:
        super().__init__(SocketWire(front))
        self.waited = 0.0  # seconds, between attempts
        named = {"TABLE_NAME": "unused", "KMS_KEY_ID": key_id, "APP_IDS": APP}
        where = {"AWS_REGION": region, "ENDPOINT_URL": front.url}
        self._real = wiring.Services(
            Settings.from_environment({**ENVIRONMENT, **named, **where})
        )

    def connect(self, service: str) -> Any:
        if service not in self._made:
            self._made[service] = self._attached(self._real._connect(service))
        return self._made[service]

    def store(self, table: str) -> Store:
        if table not in self._stores:
            settings = self._real.settings
            store = Store(
                table,
                region=settings.region,
                endpoint_url=settings.endpoint_url,
                pause=self._pause,
            )
            self._attached(store._connection.client)
            self._stores[table] = store
        return self._stores[table]

    def close(self) -> None:
        """Close the connections."""
        made: Iterable[Any] = (
            *self._made.values(),
            *(store._connection.client for store in self._stores.values()),
        )
        for client in made:
            client.close()

    def _attached(self, client: Any) -> Any:
        without_moto(client)
        self.wire.attach(client)
        return client

    def _pause(self, seconds: float) -> None:
        self.waited += seconds


def without_moto(client: Any) -> None:
    """Keep moto out of calls to a socket: it searches long for addresses it mocks."""
    client.meta.events.unregister("before-send", botocore_stubber)
