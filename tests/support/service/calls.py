"""Plain HTTP calls: no redirects followed, no headers hidden, no errors raised."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

API = "/api/client/v2.0"
APP = "myapp-abcde"
OTHER_APP = "other-fghij"


def login_path(app: str = APP) -> str:
    return f"{API}/app/{app}/auth/providers/anon-user/login"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    base_url: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send one request; header names of the answer are in lower case."""
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, response.read())
    finally:
        connection.close()


def log_in(base_url: str, app: str = APP) -> dict[str, str]:
    """Return the answer to an anonymous login."""
    answer = call(base_url, "POST", login_path(app))
    assert answer.status == 200, answer
    opened: dict[str, str] = answer.json()
    return opened
