"""The exposed AWS is for programs: no web page or proxy can read its secrets."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from anonauth.local.guard import guard_application
from anonauth.local.server import LocalServer
from support.service.calls import Answer, call

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SECRET = "s3cret" * 6
ISSUERS = {"custom-token": {"issuers": [{"algorithm": "HS256", "secret": SECRET}]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A service for the whole network, with its AWS for this machine alone."""
    path = tmp_path_factory.mktemp("settings") / "settings.json"
    path.write_text(json.dumps({"apps": {"*": ISSUERS}}))
    with LocalServer(host="0.0.0.0", aws_port=0, settings=path) as running:  # noqa: S104
        yield running


def read_settings(
    server: LocalServer, headers: dict[str, str], *, url: str = ""
) -> Answer:
    """Read the settings document, as any client of the port could."""
    return call(
        url or server.aws_url,
        "POST",
        "/",
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AmazonSSM.GetParameter",
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260310/b/ssm/"
            "aws4_request, SignedHeaders=host, Signature=c",
            **headers,
        },
        body=b'{"Name":"/anonauth/settings","WithDecryption":true}',
    )


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="the address"),
        pytest.param({"Host": "localhost:{port}"}, id="localhost"),
        pytest.param({"Host": "[::1]:{port}"}, id="IPv6"),
        pytest.param({"Host": "host.docker.internal:{port}"}, id="from a container"),
    ],
)
def test_given_a_program_when_it_asks_then_it_is_answered(
    server: LocalServer, headers: dict[str, str]
) -> None:
    port = urlsplit(server.aws_url).port

    answer = read_settings(server, {k: v.format(port=port) for k, v in headers.items()})

    assert answer.status == 200
    assert SECRET.encode() in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": "evil.example"}, id="a name that was rebound"),
        pytest.param({"Host": "evil.example:4566"}, id="and its port"),
        pytest.param({"Host": "localhost.evil.example"}, id="a longer name"),
        pytest.param({"Host": "127.0.0.1.evil.example"}, id="a longer address"),
        pytest.param({"Host": "192.168.1.7"}, id="an address of the network"),
        pytest.param({"Host": ""}, id="no host"),
        pytest.param({"Host": "127.0.0.1, evil.example"}, id="two hosts"),
        pytest.param({"Origin": "https://evil.example"}, id="a page"),
        pytest.param({"Origin": "http://127.0.0.1:8080"}, id="a page of here"),
        pytest.param({"Origin": "null"}, id="a page without an origin"),
        pytest.param({"Origin": ""}, id="an empty origin"),
        pytest.param({"Forwarded": "for=192.0.2.1"}, id="Forwarded"),
        pytest.param({"X-Forwarded-For": "192.0.2.1"}, id="X-Forwarded-For"),
        pytest.param({"X-Forwarded-Host": "a.example"}, id="X-Forwarded-Host"),
        pytest.param({"X-Real-IP": "192.0.2.1"}, id="X-Real-IP"),
        pytest.param({"Via": "1.1 proxy"}, id="Via"),
    ],
)
def test_given_a_page_or_a_proxy_when_it_asks_then_it_learns_nothing(
    server: LocalServer, headers: dict[str, str]
) -> None:
    answer = read_settings(server, headers)

    assert answer.status == 403
    assert SECRET.encode() not in answer.body
    assert answer.json()["__type"] == "AccessDeniedException"
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_given_a_service_for_all_when_its_aws_is_called_then_only_this_machine_can(
    server: LocalServer,
) -> None:
    """A server on 0.0.0.0 would answer at every address, 127.0.0.2 included."""
    port = urlsplit(server.aws_url).port
    with socket.create_connection(("127.0.0.2", server.port), timeout=2):
        pass

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=2)

    assert server.aws_url == f"http://127.0.0.1:{port}"


def test_given_an_address_for_aws_when_served_then_only_it_and_127_0_0_1_listen() -> (
    None
):
    """A container reaches the bridge's address, `anonauth sample` the other."""
    with LocalServer(aws_port=0, aws_host="127.0.0.2") as server:
        port = urlsplit(server.aws_url).port
        statuses = [read_settings(server, {}, url=u).status for u in server.aws_urls]
        with ExitStack() as connections, pytest.raises(ConnectionRefusedError):
            connections.enter_context(
                socket.create_connection(("127.0.0.3", port), timeout=2)
            )

    assert server.aws_urls == (f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}")
    assert statuses == [200, 200]


def test_given_every_address_for_aws_when_served_then_127_0_0_1_listens_too() -> None:
    with LocalServer(aws_port=0, aws_host="0.0.0.0") as server:  # noqa: S104
        answer = read_settings(server, {})

    assert answer.status == 200
    assert server.aws_urls == (server.aws_url,)


@Request.application
def anything(request: Request) -> Response:
    return Response("here")


@pytest.mark.parametrize(
    ("address", "host", "is_answered"),
    [
        pytest.param("192.0.2.7", "192.0.2.7:4566", True, id="the address"),
        pytest.param("192.0.2.7", "192.0.2.8:4566", False, id="another"),
        pytest.param("192.0.2.7", "localhost", True, id="localhost"),
        pytest.param("my-machine", "MY-MACHINE:4566", True, id="a name"),
        pytest.param("my-machine", "other-machine", False, id="another name"),
        pytest.param("2001:db8::7", "[2001:DB8:0::7]:4566", True, id="IPv6"),
        pytest.param("0.0.0.0", "192.0.2.7:4566", True, id="any address"),  # noqa: S104
        pytest.param("0.0.0.0", "evil.example", False, id="any, and a name"),  # noqa: S104
        pytest.param("::", "[2001:db8::7]", True, id="any of IPv6"),
    ],
)
def test_given_where_it_listens_when_asked_by_a_host_then_only_its_own_is_taken(
    address: str, host: str, *, is_answered: bool
) -> None:
    guarded: WSGIApplication = guard_application(anything, address)
    headers: Any = {"Host": host}

    answer = Client(guarded).get("/", headers=headers)

    assert (answer.status_code, answer.text == "here") == (
        (200, True) if is_answered else (403, False)
    )
