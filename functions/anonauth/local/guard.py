"""Keeps web pages and proxies away from endpoints for this machine's operator.

Any web page can send requests to this machine's ports. A page whose name is rebound to
127.0.0.1 can also read the answers. A request of the first kind has an `Origin`, one of
the second kind has the page's name as its `Host`.
"""

import ipaddress
import json
import urllib.parse
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - not to bind to them  # nosec B104
"""Addresses that a server may listen on, but that no client can connect to."""

# Docker's name for the machine that it runs on.
_DOCKERS_HOST = "host.docker.internal"

_REFUSAL = {
    "__type": "AccessDeniedException",
    "message": "this AWS is for programs on this machine: it refuses requests from web "
    "pages and proxies, and any Host but its own address",
}


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    address = _ip_address(host)
    return address is not None and address.is_loopback


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header; None if it has none."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_forwarded(headers: Iterable[str]) -> bool:
    """Return whether a request came through a proxy, so that another client sent it.

    Args:
        headers: The names of all headers of the request, in any case.
    """
    names = {name.lower() for name in headers}
    return any(
        name in {"forwarded", "via", "x-real-ip"} or name.startswith("x-forwarded-")
        for name in names
    )


def guard_application(
    application: "WSGIApplication", address: str
) -> "WSGIApplication":
    """Return an application that refuses requests from web pages and proxies.

    Args:
        address: The address that the server listens on.
    """

    def guarded(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower()
            for name in environ
            if name.startswith("HTTP_")
        }
        host = host_name(environ.get("HTTP_HOST", ""))
        if (
            _is_own_name(host, address)
            and "origin" not in headers
            and not is_forwarded(headers)
        ):
            return application(environ, start_response)
        status = HTTPStatus.FORBIDDEN
        start_response(
            f"{status.value} {status.phrase}",
            [("Content-Type", "application/x-amz-json-1.0")],
        )
        return [json.dumps(_REFUSAL).encode()]

    return guarded


def _is_own_name(host: str | None, address: str) -> bool:
    if is_loopback(host) or host == _DOCKERS_HOST:
        return True
    if address in EVERY_ADDRESS:
        # Any address may be this machine's. Only names can be rebound.
        return _ip_address(host) is not None
    return host == address.lower() or (
        _ip_address(host) is not None and _ip_address(host) == _ip_address(address)
    )


def _ip_address(
    host: str | None,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host or "")
    except ValueError:
        return None
