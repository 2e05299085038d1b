"""The local service as clients use it, with any number of users."""

import copy
import cProfile
import gc
import http.client
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from anonauth.local.api_gateway import HttpRequest
from anonauth.local.aws import TABLE_NAME
from anonauth.local.server import LocalServer
from anonauth.local.template import REGION
from support.service.calls import API, APP, login_path

UNLIMITED = {
    "LoginsPerNetwork": "0",
    "ProviderFailuresPerNetwork": "0",
    "ThrottlingBurstLimit": "5000",
    "ThrottlingRateLimit": "10000",
}
"""Parameters of a service that has no rate limits."""

MOST_BYTES = 9_000
"""Memory of a guest; moto's item takes 6 KB. It was 18 KB when nothing was dropped."""

_PROVIDER = f"{API}/app/{APP}/auth/providers/local-userpass"
_PASSWORD = "correct horse"


@contextmanager
def serving() -> Iterator[LocalServer]:
    with LocalServer(app_ids=(APP,), parameters=UNLIMITED) as server:
        yield server


class Direct:
    """A client without a socket."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    def send(
        self, method: str, path: str, *, token: str | None = None, body: Any = None
    ) -> Any:
        target = path.replace("@", "%40")
        headers = [("content-type", "application/json")]
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        sent = b"" if body is None else json.dumps(body).encode()
        request = HttpRequest(method, target, tuple(headers), sent, peer="127.0.0.1")
        answer = self._server._gateway.answer(request)
        return _checked(answer.status, answer.body)


class Connected:
    """A client that keeps its connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def send(
        self, method: str, path: str, *, token: str | None = None, body: Any = None
    ) -> Any:
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        sent = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, sent, headers)
        answer = self._connection.getresponse()
        return _checked(answer.status, answer.read())

    def close(self) -> None:
        self._connection.close()


def _checked(status: int, body: bytes) -> Any:
    assert status in {200, 201, 204}, (status, body)
    return json.loads(body) if body else None


Client = Direct | Connected


def log_in(client: Client) -> Any:
    return client.send("POST", login_path(), body={})


def refresh(client: Client, guest: Any) -> Any:
    return client.send("POST", f"{API}/auth/session", token=guest["refresh_token"])


def log_out(client: Client, guest: Any) -> None:
    client.send("DELETE", f"{API}/auth/session", token=guest["refresh_token"])


def delete(client: Client, guest: Any) -> None:
    client.send("DELETE", f"{API}/auth/delete", token=guest["access_token"])


def register(client: Client) -> str:
    """Make an account, and return its address."""
    address = f"{uuid4().hex}@example.org"
    account = {"email": address, "password": _PASSWORD}
    client.send("POST", f"{_PROVIDER}/register", body=account)
    return address


def link(client: Client, guest: Any, address: str) -> None:
    credential = {"username": address, "password": _PASSWORD}
    token = guest["access_token"]
    client.send("POST", f"{_PROVIDER}/login?link=true", token=token, body=credential)


def log_in_with_password(client: Client, address: str) -> None:
    credential = {"username": address, "password": _PASSWORD}
    client.send("POST", f"{_PROVIDER}/login", body=credential)


def crowd(server: LocalServer, number: int) -> None:
    """Put this many more guests into the engine, without events about them."""
    guest = log_in(Direct(server))
    table = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables[TABLE_NAME]
    prefix = f"USER#{APP}#"
    items: Any = table.items.values()
    (made,) = (
        item for item in items if item.hash_key.value == prefix + guest["user_id"]
    )
    attributes = made.to_json()["Attributes"]
    live = server.deployment._table
    assert live is not None
    for count in range(number):
        copied = copy.copy(attributes)
        copied["pk"] = {"S": prefix + uuid4().hex[:24]}
        table.put_item(copied, overwrite=True)
        if count % 1000 == 999:
            live.changes()
    live.changes()


def kept(server: LocalServer, act: Callable[[], Any], *, times: int = 40) -> float:
    """Return the bytes that one act leaves in memory, averaged over repetitions."""
    for _ in range(10):
        act()
    tracemalloc.start()
    try:
        before = _traced(server)
        for _ in range(times):
            act()
        return (_traced(server) - before) / times
    finally:
        tracemalloc.stop()


def _traced(server: LocalServer) -> int:
    server.deployment.events.clear()  # the newest are kept for the page
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def calls_of(act: Callable[[], Any]) -> int:
    """Return the number of Python calls that an act makes."""
    profile = cProfile.Profile()
    profile.runcall(act)
    return sum(each.callcount for each in profile.getstats())


def calls_by_operation(client: Client) -> dict[str, int]:
    """Return the number of Python calls of each client operation, once it is warm."""
    guests = [log_in(client) for _ in range(4)]
    address = register(client)
    return {
        "login": calls_of(lambda: log_in(client)),
        "refresh": calls_of(lambda: refresh(client, guests[0])),
        "logout": calls_of(lambda: log_out(client, guests[1])),
        "delete": calls_of(lambda: delete(client, guests[2])),
        "link": calls_of(lambda: link(client, guests[3], address)),
    }
