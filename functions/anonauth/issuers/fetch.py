"""Fetches JSON from URLs that the operator has configured.

The fetched data decides who may log in as whom, and a URL can lead into the service's
own network (OWASP, Server-Side Request Forgery Prevention). Hence https only, no
redirects, public addresses only, and tight limits on time and size.

This uses `http.client`, not urllib3, which logs the URL, query included, of an answer
whose headers it cannot parse; Facebook takes tokens in the query. Proxies and the
environment are ignored.
"""

import json
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from anonauth.errors import ProviderUnavailable
from anonauth.issuers.urls import UrlRefused, is_public, parse_url

TIMEOUT = timedelta(seconds=2)
"""For the whole request: name, connection, TLS and the last byte of the answer."""

MAX_BYTES = 256 * 1024
"""Size limit of an answer. Google's and Apple's JWK Sets have 2 KB, large sets 50."""


class FetchFailed(Exception):
    """Why a fetch failed. It is logged, so it quotes neither URL nor data."""


class AddressRefused(FetchFailed):
    """The host has an address that is not public."""


class AnswerRefused(FetchFailed):
    """The answer is a redirect, a server error, too large, or not a JSON object."""


class UnclearRefusal(AnswerRefused):
    """A 4xx that does not mention the client's credential, which may have caused it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status 200 or 4xx, and the JSON object, `{}` if a 4xx has none."""

    status: int
    body: Mapping[str, Any]


def addresses_of(host: str) -> Sequence[str]:
    """Return all IP addresses of a host, as the system's resolver finds them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


class Fetcher:
    """Sends GET and POST requests, each on its own connection.

    Args:
        allow_private: Allow http and addresses that are not public. Local stack only.
        resolve: From host to IP addresses.
        tls: Makes the TLS context, on the first https request.
        timeout: For the whole request; only tests change the default.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Callable[[str], Sequence[str]] = addresses_of,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        timeout: timedelta = TIMEOUT,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._seconds = timeout.total_seconds()

    def document(self, url: str) -> Mapping[str, Any]:
        """Get a JSON object that has to exist.

        Raises:
            ProviderUnavailable: The object could not be fetched, for whatever reason.
        """
        reply = self.get(url)
        if reply.status != HTTPStatus.OK:
            raise ProviderUnavailable from AnswerRefused("status")
        return reply.body

    def get(self, url: str, query: Mapping[str, str] | None = None) -> Reply:
        """Get an answer, which may be a refusal (4xx).

        Args:
            url: As configured; without a query if `query` is given.
            query: May hold secrets.

        Raises:
            ProviderUnavailable: No answer, or an answer that says nothing about the
                request.
        """
        return self._fetch("GET", f"{url}?{urlencode(query)}" if query else url, None)

    def post(self, url: str, form: Mapping[str, str]) -> Reply:
        """Post a form and get an answer, which may be a refusal (4xx).

        Raises:
            ProviderUnavailable: No answer, or an answer that says nothing about the
                request. The request may have taken effect.
        """
        return self._fetch("POST", url, urlencode(form).encode())

    def _fetch(self, method: str, url: str, form: bytes | None) -> Reply:
        try:
            exchange = _Exchange(self._target(url), method, form)
        except (UrlRefused, OSError) as exc:
            raise ProviderUnavailable from exc
        # A thread, because a socket's time-out bounds neither a name look-up nor an
        # answer that comes byte by byte.
        worker = ThreadPoolExecutor(max_workers=1)
        try:
            return worker.submit(exchange.run).result(self._seconds)
        except (FetchFailed, OSError, HTTPException, ValueError) as exc:
            raise ProviderUnavailable from exc
        finally:
            exchange.abandon()
            worker.shutdown(wait=False)

    def _target(self, url: str) -> "_Target":
        parsed = parse_url(url, allow_http=self._allow_private)
        if parsed.is_tls and self._tls is None:
            self._tls = self._make_tls()
        return _Target(
            host=parsed.host,
            port=parsed.port,
            authority=parsed.authority,
            path=parsed.path,
            tls=self._tls if parsed.is_tls else None,
            seconds=self._seconds,
            resolve=self._resolve if self._allow_private else self._resolve_public,
        )

    def _resolve_public(self, host: str) -> Sequence[str]:
        addresses = self._resolve(host)
        if not all(is_public(address) for address in addresses):
            raise AddressRefused("not public")
        return addresses


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    authority: str
    path: str
    tls: ssl.SSLContext | None
    seconds: float
    resolve: Callable[[str], Sequence[str]]


class _Exchange:
    """One request and its answer, run on a thread that may be abandoned."""

    def __init__(self, target: _Target, method: str, form: bytes | None) -> None:
        self._target = target
        self._method = method
        self._form = form
        self._socket: socket.socket | None = None
        self._abandoned = False

    def run(self) -> Reply:
        target = self._target
        headers = {
            "Host": target.authority,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "anonauth",
        }
        if self._form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with closing(self._connect()) as connected:
            if self._abandoned:  # the caller has left; do not spend an auth code
                raise FetchFailed("too late")
            connection = HTTPConnection(target.host, target.port)
            connection.sock = connected
            connection.request(self._method, target.path, self._form, headers)
            with connection.getresponse() as response:
                return _reply(response.status, response.read(MAX_BYTES + 1))

    def abandon(self) -> None:
        """Wake the thread if it still waits, and stop it from doing anything more."""
        self._abandoned = True
        if self._socket is not None:
            with suppress(OSError):
                # The plain socket's method: SSLSocket.shutdown would drop the TLS
                # state while the thread is using it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        # Use the checked addresses: a second look-up of the name might return another
        # address (DNS rebinding).
        failure: OSError | None = None
        for address in self._target.resolve(self._target.host):
            try:
                return self._connect_to(address)
            except OSError as exc:
                failure = exc
        raise failure or FetchFailed("no address")

    def _connect_to(self, address: str) -> socket.socket:
        plain = socket.create_connection(
            (address, self._target.port), self._target.seconds
        )
        self._socket = plain
        if self._target.tls is not None:
            try:
                self._socket = self._target.tls.wrap_socket(
                    plain, server_hostname=self._target.host
                )
            except BaseException:
                plain.close()
                raise
        return self._socket


def _reply(status: int, body: bytes) -> Reply:
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    busy = status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    if busy or not (refused or status == HTTPStatus.OK):
        raise AnswerRefused("status")
    if len(body) > MAX_BYTES:
        raise AnswerRefused("too large")
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        return Reply(status, parsed)
    if refused:
        return Reply(status, {})
    raise AnswerRefused("not a JSON object")
