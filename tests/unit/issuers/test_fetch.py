"""What is fetched, from where, and how long it may take."""

import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pytest

from anonauth.errors import ProviderUnavailable
from anonauth.issuers.fetch import (
    MAX_BYTES,
    AddressRefused,
    AnswerRefused,
    Fetcher,
    Reply,
    addresses_of,
)
from anonauth.issuers.urls import UrlRefused, is_public
from support.forgery.key_server import Answer, KeyServer, tls_contexts

SHORT = timedelta(seconds=0.3)
KEYS: dict[str, object] = {"keys": []}


@pytest.fixture(scope="module")
def contexts(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return tls_contexts(["keys.example.com"], tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_server(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> Iterator[KeyServer]:
    with KeyServer(contexts[0]) as server:
        yield server


def loopback(host: str) -> list[str]:
    return ["127.0.0.1"]


def test_given_a_document_when_fetched_then_the_request_is_plain(
    server: KeyServer, fetcher: Fetcher
) -> None:
    url = server.publish("/jwks", KEYS)

    document = fetcher.document(url + "?v=1")

    assert document == KEYS
    (asked,) = server.asked
    assert (asked.method, asked.query) == ("GET", {"v": "1"})
    assert asked.headers == {
        "Host": f"127.0.0.1:{server.port}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "anonauth",
    }


def test_given_a_query_and_a_form_when_sent_then_they_are_encoded(
    server: KeyServer, fetcher: Fetcher
) -> None:
    url = server.publish("/token", {})

    fetcher.get(url, {"token": "a b&c=d|e"})
    fetcher.post(url, {"code": "4/0A=&x", "redirect_uri": ""})

    got, posted = server.asked
    assert got.query == {"token": "a b&c=d|e"}
    assert posted.method == "POST"
    assert posted.form == {"code": "4/0A=&x"}
    assert posted.headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        pytest.param({"error": "invalid_grant"}, {"error": "invalid_grant"}, id="JSON"),
        pytest.param(b"<html>", {}, id="not JSON"),
        pytest.param([], {}, id="not an object"),
    ],
)
def test_given_a_refusal_when_asked_then_the_caller_can_read_it(
    status: int, body: object, parsed: object, server: KeyServer, fetcher: Fetcher
) -> None:
    server.answers["/token"] = Answer(body, status)

    got = fetcher.get(server.url + "/token")
    posted = fetcher.post(server.url + "/token", {})

    assert got == posted == Reply(status, parsed)  # type: ignore[arg-type]


BAD_ANSWERS = [
    pytest.param(Answer(KEYS, 500), id="500"),
    pytest.param(Answer(KEYS, 503), id="503"),
    pytest.param(Answer(KEYS, 429), id="too many requests"),
    pytest.param(Answer(KEYS, 408), id="request time-out"),
    pytest.param(Answer(KEYS, 201), id="another success"),
    pytest.param(Answer(b"", 204), id="no content"),
    pytest.param(Answer(KEYS, 304), id="not modified"),
    pytest.param(Answer(b""), id="empty"),
    pytest.param(Answer(b"{"), id="not JSON"),
    pytest.param(Answer(b"\xff\xfe{}"), id="not UTF-8"),
    pytest.param(Answer([]), id="not an object"),
    pytest.param(Answer(b"[" * 100_000), id="too deep"),
    pytest.param(Answer(b"9" * 5000), id="a number too long"),
    pytest.param(Answer({"x": "x" * MAX_BYTES}), id="too large"),
]


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_given_no_usable_answer_when_fetched_then_the_provider_is_unavailable(
    answer: Answer, server: KeyServer, fetcher: Fetcher
) -> None:
    server.answers["/jwks"] = answer

    for fetch in (
        lambda: fetcher.document(server.url + "/jwks"),
        lambda: fetcher.post(server.url + "/jwks", {}),
    ):
        with pytest.raises(ProviderUnavailable) as refusal:
            fetch()
        assert type(refusal.value.__cause__) is AnswerRefused


def test_given_a_missing_document_when_fetched_then_the_provider_is_unavailable(
    server: KeyServer, fetcher: Fetcher
) -> None:
    with pytest.raises(ProviderUnavailable) as refusal:
        fetcher.document(server.url + "/nothing")

    assert type(refusal.value.__cause__) is AnswerRefused


@pytest.mark.parametrize(
    ("length", "is_fetched"),
    [
        pytest.param(MAX_BYTES, True, id="the most"),
        pytest.param(MAX_BYTES + 1, False, id="one byte more"),
    ],
)
def test_given_a_large_document_when_fetched_then_256_kb_are_the_most(
    length: int, is_fetched: bool, server: KeyServer, fetcher: Fetcher
) -> None:
    empty = json.dumps({"x": ""}).encode()
    server.answers["/jwks"] = Answer(
        empty.replace(b'""', b'"' + b"x" * (length - len(empty)) + b'"')
    )

    try:
        fetcher.document(server.url + "/jwks")
    except ProviderUnavailable:
        fetched = False
    else:
        fetched = True

    assert fetched is is_fetched


def test_given_an_endless_answer_when_fetched_then_it_is_cut_at_the_limit(
    server: KeyServer,
) -> None:
    def endless(write: Callable[[bytes], None]) -> None:
        write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            write(b" " * 65536)

    server.answers["/jwks"] = endless

    with pytest.raises(ProviderUnavailable) as refusal:
        Fetcher(allow_private=True).document(server.url + "/jwks")

    assert type(refusal.value.__cause__) is AnswerRefused
    assert server.hung_up.wait(10)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_given_a_redirect_when_fetched_then_it_is_not_followed(
    status: int, server: KeyServer, fetcher: Fetcher
) -> None:
    url = server.publish("/elsewhere", KEYS)
    server.answers["/jwks"] = Answer(KEYS, status, {"Location": url})

    with pytest.raises(ProviderUnavailable):
        fetcher.document(server.url + "/jwks")

    assert [asked.path for asked in server.asked] == ["/jwks"]


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        pytest.param(b"", b"", id="silence"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"x", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n{", b" ", id="body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\n \r\n",
            id="chunks",
        ),
    ],
)
def test_given_a_dripping_answer_when_fetched_then_the_time_is_limited_in_all(
    start: bytes, drop: bytes, server: KeyServer
) -> None:
    def drip(write: Callable[[bytes], None]) -> None:
        write(start)
        while not server.stopped.wait(0.02):
            write(drop)

    server.answers["/jwks"] = drip
    started = time.monotonic()

    with pytest.raises(ProviderUnavailable) as refusal:
        Fetcher(allow_private=True, timeout=SHORT).document(server.url + "/jwks")

    assert type(refusal.value.__cause__) is TimeoutError
    assert time.monotonic() - started < 2
    assert _threads_end()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_given_a_silent_port_when_fetched_then_the_time_is_limited_in_all(
    scheme: str,
) -> None:
    fetcher = Fetcher(allow_private=True, timeout=SHORT)
    started = time.monotonic()

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ProviderUnavailable) as refusal,
    ):
        fetcher.document(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/jwks")

    assert type(refusal.value.__cause__) is TimeoutError
    assert time.monotonic() - started < 2
    assert _threads_end()


def test_given_a_slow_resolver_when_fetched_then_the_time_is_limited_in_all(
    server: KeyServer,
) -> None:
    answered = threading.Event()

    def resolve(host: str) -> list[str]:
        answered.wait(10)
        return ["127.0.0.1"]

    fetcher = Fetcher(allow_private=True, resolve=resolve, timeout=SHORT)
    started = time.monotonic()

    with pytest.raises(ProviderUnavailable) as refusal:
        fetcher.post(f"http://keys.example.com:{server.port}/token", {"code": "x"})
    elapsed = time.monotonic() - started
    answered.set()

    assert type(refusal.value.__cause__) is TimeoutError
    assert elapsed < 2
    assert _threads_end()
    assert server.asked == []  # what was given up is not sent later


def _threads_end() -> bool:
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(10)
            if thread.is_alive():
                return False
    return True


def test_given_the_default_when_fetching_then_two_seconds_are_all() -> None:
    assert Fetcher()._seconds == 2


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://keys.example.com/jwks", id="http"),
        pytest.param("HTTP://keys.example.com/jwks", id="http in capitals"),
        pytest.param("ftp://keys.example.com/jwks", id="ftp"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("//keys.example.com/jwks", id="no scheme"),
        pytest.param("keys.example.com/jwks", id="no host"),
        pytest.param("https:///jwks", id="empty host"),
        pytest.param("", id="empty"),
        pytest.param("https://user@keys.example.com/jwks", id="user"),
        pytest.param("https://keys.example.com:99999/jwks", id="port"),
        pytest.param("https://keys.example.com:x/jwks", id="port that is no number"),
        pytest.param("https://[::1/jwks", id="brackets"),
        pytest.param("https://keys..example.com/jwks", id="an empty label"),
        pytest.param(f"https://{'k' * 64}.example.com/jwks", id="a long label"),
        pytest.param("https://keys_.example.com:0/jwks", id="port 0"),
        pytest.param("https://keys.example.com/a b", id="space"),
        pytest.param("https://keys.example.com/\r\nX: y", id="line break"),
        pytest.param("https://schlüssel.example.com/jwks", id="not ASCII"),
    ],
)
def test_given_a_url_that_is_not_https_when_fetched_then_no_request_is_sent(
    url: str,
) -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["203.0.113.1"]

    with pytest.raises(ProviderUnavailable) as refusal:
        Fetcher(resolve=resolve).document(url)

    assert type(refusal.value.__cause__) is UrlRefused
    assert asked == []


PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1",
    "255.255.255.255", "224.0.0.1", "239.255.255.250",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:1::1", "2002:808:808::1", "2001::1", "2001:db8::1", "100::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "ff0e::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_given_a_private_address_when_judged_then_it_is_not_public(
    address: str,
) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:4860:4860::8888"],
)
def test_given_a_public_address_when_judged_then_it_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.1"], id="loopback"),
        pytest.param(["8.8.8.8", "127.0.0.1"], id="the second"),
        pytest.param(["127.0.0.1", "8.8.8.8"], id="the first"),
        pytest.param(["::ffff:127.0.0.1"], id="mapped"),
    ],
)
def test_given_a_name_with_a_private_address_when_fetched_then_no_request_is_sent(
    addresses: list[str],
    tls_server: KeyServer,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    fetcher = Fetcher(resolve=lambda host: addresses, tls=lambda: contexts[1])

    with pytest.raises(ProviderUnavailable) as refusal:
        fetcher.document(f"https://keys.example.com:{tls_server.port}/jwks")

    assert type(refusal.value.__cause__) is AddressRefused
    assert tls_server.asked == []


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "0"]
)
def test_given_the_systems_resolver_when_a_host_is_local_then_no_request_is_sent(
    host: str, tls_server: KeyServer
) -> None:
    with pytest.raises(ProviderUnavailable) as refusal:
        Fetcher().document(f"https://{host}:{tls_server.port}/jwks")

    assert type(refusal.value.__cause__) is AddressRefused
    assert tls_server.asked == []


def test_given_a_certificate_of_the_host_when_fetched_then_the_checked_address_is_used(
    tls_server: KeyServer, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    tls_server.publish("/jwks", KEYS)
    resolved: list[str] = []

    def resolve(host: str) -> list[str]:
        resolved.append(host)
        return loopback(host)

    fetcher = Fetcher(allow_private=True, resolve=resolve, tls=lambda: contexts[1])

    document = fetcher.document(f"https://keys.example.com:{tls_server.port}/jwks")

    assert document == KEYS
    assert resolved == ["keys.example.com"]
    (asked,) = tls_server.asked
    assert asked.headers["Host"] == f"keys.example.com:{tls_server.port}"


@pytest.mark.parametrize(
    ("host", "is_trusted"),
    [
        pytest.param("other.example.com", True, id="another name"),
        pytest.param("127.0.0.1", True, id="the address itself"),
        pytest.param("keys.example.com", False, id="another authority"),
    ],
)
def test_given_a_certificate_that_does_not_fit_when_fetched_then_nothing_is_sent(
    host: str,
    is_trusted: bool,
    tls_server: KeyServer,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    fetcher = Fetcher(
        allow_private=True,
        resolve=loopback,
        tls=(lambda: contexts[1]) if is_trusted else ssl.create_default_context,
    )

    with pytest.raises(ProviderUnavailable) as refusal:
        fetcher.document(f"https://{host}:{tls_server.port}/jwks")

    assert type(refusal.value.__cause__) is ssl.SSLCertVerificationError
    assert tls_server.asked == []


def test_given_a_dead_address_when_fetched_then_the_next_one_is_tried(
    server: KeyServer,
) -> None:
    server.publish("/jwks", KEYS)
    fetcher = Fetcher(allow_private=True, resolve=lambda host: ["::1", "127.0.0.1"])

    document = fetcher.document(f"http://keys.example.com:{server.port}/jwks")

    assert document == KEYS


@pytest.mark.parametrize(
    "resolve",
    [
        pytest.param(lambda host: ["::1"], id="refused"),
        pytest.param(lambda host: [], id="no address"),
        pytest.param(addresses_of, id="no such name"),
    ],
)
def test_given_no_connection_when_fetched_then_the_provider_is_unavailable(
    resolve: Callable[[str], Sequence[str]], server: KeyServer
) -> None:
    fetcher = Fetcher(allow_private=True, resolve=resolve)

    for host in ("keys.invalid", f"{'x' * 70}.invalid", "a..invalid"):
        with pytest.raises(ProviderUnavailable):
            fetcher.document(f"http://{host}:{server.port}/jwks")

    assert server.asked == []


def test_given_proxies_in_the_environment_when_fetched_then_they_have_no_say(
    server: KeyServer, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = server.publish("/jwks", KEYS)

    document = fetcher.document(url)

    assert document == KEYS


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{", id="bad headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999, id="long header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}x", id="short"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-9\r\n", id="minus"
        ),
    ],
)
def test_given_broken_http_when_fetched_then_no_log_line_quotes_the_query(
    answer: bytes,
    server: KeyServer,
    fetcher: Fetcher,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.answers["/me"] = lambda write: write(answer)
    caplog.set_level(logging.DEBUG)

    with pytest.raises(ProviderUnavailable) as refusal:
        fetcher.get(server.url + "/me", {"access_token": "SECRET"})

    assert "SECRET" not in caplog.text
    assert "SECRET" not in "".join(capfd.readouterr())
    assert "SECRET" not in f"{refusal.value!r} {refusal.value.__cause__!r}"
