"""Who may ask what is meant for this machine's operator: no web page, and no proxy.

A page of anywhere can send requests to this machine's ports, and a page whose name is
rebound to 127.0.0.1 can read the answers. The first names its `Origin`, the second its
name as `Host`.
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
"""Where a server may listen, but no client go."""

# What Docker calls the machine that it runs on.
_DOCKERS_HOST = "host.docker.internal"

_REFUSAL = {
    "__type": "AccessDeniedException",
    "message": "this AWS is for programs on this machine: it takes no request of a web "
    "page or a proxy, and only its own address as Host",
}


def is_loopback(host: str | None) -> bool:
    """Say whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    address = _ip_address(host)
    return address is not None and address.is_loopback


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header; None if there is none."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def is_forwarded(headers: Iterable[str]) -> bool:
    """Say whether somebody else asks, through a proxy on this machine.

    Args:
        headers: The names of all that were sent, in any case.
    """
    names = {name.lower() for name in headers}
    return any(
        name in {"forwarded", "via", "x-real-ip"} or name.startswith("x-forwarded-")
        for name in names
    )


def guard_application(
    application: "WSGIApplication", address: str
) -> "WSGIApplication":
    """Return an application that web pages and proxies cannot reach.

    Args:
        address: Where it listens.
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
        # Any address of this machine. It is names that are rebound.
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
