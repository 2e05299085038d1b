"""HTTP on the wire: the requests that reach the gateway, and its answers."""

import json
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from anonauth.local.api_gateway import LONGEST_PAYLOAD, HttpRequest, HttpResponse
from anonauth.local.command_error import CommandError
from anonauth.local.http import HttpServer, wsgi_application

Talk = Callable[[bytes], bytes]


def echo(request: HttpRequest) -> HttpResponse:
    """Answer with the request's parts, so that a test can read them."""
    seen = {
        "target": request.target,
        "headers": {name.lower(): value for name, value in request.headers},
        "length": len(request.body),
        "body": request.body[:100].decode("latin-1"),
        "peer": request.peer,
        "protocol": request.protocol,
        "too_large": request.too_large,
    }
    if request.target == "/204":
        return HttpResponse(204)
    return HttpResponse(200, (("x-a", "1"),), json.dumps(seen).encode())


@pytest.fixture(scope="module")
def listener() -> Iterator[HttpServer]:
    listener = HttpServer("127.0.0.1", 0)
    listener.serve(wsgi_application(echo))
    yield listener
    listener.close()


@pytest.fixture
def talk(listener: HttpServer) -> Talk:
    """Send bytes on a connection; return what it gets until the server closes it."""

    def conversation(sent: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
            connection.sendall(sent)
            with connection.makefile("rb") as stream:
                return stream.read()

    return conversation


def head(method: str = "POST", target: str = "/", *headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: h", *headers, "", ""]
    return "\r\n".join(lines).encode()


def seen(answer: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    return read


def test_given_a_request_when_sent_then_the_target_is_raw_and_headers_are_joined(
    talk: Talk,
) -> None:
    answer = seen(talk(head("GET", "/a%20b?x=%2F", "X-B: 1", "x-b: 2")))

    assert answer["target"] == "/a%20b?x=%2F"
    assert answer["headers"]["x-b"] == "1,2"
    assert (answer["peer"], answer["protocol"]) == ("127.0.0.1", "HTTP/1.1")


@pytest.mark.parametrize("target", ["//api/client", "///", "//", "/a//b", "//a?b=//c"])
def test_given_slashes_in_a_row_when_sent_then_none_is_folded(
    talk: Talk, target: str
) -> None:
    """API Gateway folds no slashes. Python's server folded those at the beginning."""
    assert seen(talk(head("GET", target)))["target"] == target


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        pytest.param((), b"", "", id="none"),
        pytest.param(("Content-Length: 2",), b"{}", "{}", id="of a length"),
        pytest.param(
            ("Transfer-Encoding: chunked",),
            b"2\r\n{}\r\n3\r\nabc\r\n0\r\n\r\n",
            "{}abc",
            id="in chunks",
        ),
        pytest.param(
            ("Content-Length: 2", "Expect: 100-continue"), b"{}", "{}", id="asked for"
        ),
    ],
)
def test_given_a_body_when_sent_then_it_arrives_complete(
    talk: Talk, headers: tuple[str, ...], body: bytes, text: str
) -> None:
    assert seen(talk(head("POST", "/", *headers) + body))["body"] == text


def test_given_head_when_answered_then_there_is_no_body(talk: Talk) -> None:
    assert talk(head("HEAD")).endswith(b"\r\n\r\n")


def test_given_204_when_answered_then_there_is_neither_body_nor_type(
    talk: Talk,
) -> None:
    answer = talk(head("GET", "/204"))

    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-type" not in answer.lower()


@pytest.mark.parametrize(
    ("length", "too_large"),
    [
        (LONGEST_PAYLOAD, False),
        (LONGEST_PAYLOAD + 1, True),
        (2 * LONGEST_PAYLOAD, True),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_given_a_body_at_the_limit_when_sent_then_a_byte_more_is_too_large(
    listener: HttpServer, length: int, too_large: bool, chunked: bool
) -> None:
    """The answer arrives although the server has not read the whole body."""
    body = b"a" * length
    connection = HTTPConnection("127.0.0.1", listener.port, timeout=10)

    connection.request("POST", "/", iter([body]) if chunked else body)
    answer = json.loads(connection.getresponse().read())
    connection.close()

    assert answer["too_large"] is too_large
    assert answer["length"] == (0 if too_large else length)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"NONSENSE\r\n\r\n", id="one word"),
        pytest.param(b"GET / HTTP/1.1 x\r\n\r\n", id="four words"),
        pytest.param(b"GET / FTP/1.1\r\n\r\n", id="protocol"),
        pytest.param(
            head("POST", "/", "Transfer-Encoding: chunked") + b"zz\r\n", id="chunk"
        ),
    ],
)
def test_given_malformed_http_when_sent_then_400_as_the_gateway_words_it(
    sent: bytes, talk: Talk
) -> None:
    answer = talk(sent)

    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert b"content-type: application/json\r\n" in answer.lower()
    assert answer.endswith(b'{"message":"Bad Request"}')


def test_given_clients_that_leave_when_they_do_then_the_next_is_served(
    listener: HttpServer, talk: Talk, capsys: pytest.CaptureFixture[str]
) -> None:
    for sent in (b"", b"GET", head("POST", "/", "Content-Length: 5") + b"a"):
        with socket.create_connection(("127.0.0.1", listener.port)) as connection:
            connection.sendall(sent)

    assert b"200 OK" in talk(head())
    assert capsys.readouterr() == ("", "")


def test_given_a_taken_port_when_listening_then_the_line_names_it_and_0(
    listener: HttpServer,
) -> None:
    with pytest.raises(CommandError) as problem:
        HttpServer("127.0.0.1", listener.port, option="--aws-port")

    assert str(problem.value) == (
        f"port {listener.port} is taken; name another, or --aws-port 0 for a free one"
    )


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("192.0.2.1", id="another machine's"),
        pytest.param("no such host", id="no address"),
    ],
)
def test_given_an_address_of_another_machine_when_listening_then_it_says_so(
    host: str,
) -> None:
    with pytest.raises(CommandError, match=f"cannot listen on {host} port 0: "):
        HttpServer(host, 0)


def test_given_a_server_when_closed_then_its_port_is_free_again() -> None:
    first = HttpServer("127.0.0.1", 0)
    first.serve(wsgi_application(echo))
    first.close()

    second = HttpServer("127.0.0.1", first.port)
    second.close()
