"""The URLs that we fetch from: one rule for the check of settings and for fetching."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

# What IANA has given out; the rest of the address space is not public, though
# `is_global` says so of some of it: fec0::/10, ::127.0.0.1, multicast.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_6TO4 = ipaddress.IPv6Network("2002::/16")
# DNS64 makes these in networks that have only IPv6 (RFC 6052): an IPv4 address inside.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_VISIBLE_ASCII = re.compile("[!-~]+")
# RFC 1035 §2.3.4; underscores too, which names of the DNS can have. A resolver that is
# asked for anything else fails, and for some of it not with an error of its own.
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# Resolvers read these as IPv4 addresses: 127.1, 0x7f000001 (inet_aton(3)).
_NUMBER = re.compile("[0-9]+|0[xX][0-9A-Fa-f]*")


class UrlRefused(ValueError):
    """It is no URL that we fetch from; the message says why, and does not quote it."""


@dataclass(frozen=True, slots=True)
class FetchUrl:
    """A URL that can be fetched, in its parts."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @property
    def is_tls(self) -> bool:
        """Tell whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def is_never_public(self) -> bool:
        """Tell whether the host has no public address, without asking a resolver."""
        try:
            return not is_public(self.host)
        except ValueError:
            last = self.host.lower().rpartition(".")[2]
        # One label alone is a name of the network that we are in, as `localhost` is.
        return "." not in self.host or last == "localhost" or is_number(last)


def parse_url(url: str, *, allow_http: bool = False) -> FetchUrl:
    """Return the parts of a URL that we fetch from.

    Args:
        allow_http: For the local stack and tests.

    Raises:
        UrlRefused: It is none: another scheme, a user name, or no URL at all.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused("not a URL") from None
    if parts.scheme not in ({"https", "http"} if allow_http else {"https"}):
        raise UrlRefused("expected an absolute https URL")
    if not parts.hostname:
        raise UrlRefused("expected an absolute https URL")
    if not _VISIBLE_ASCII.fullmatch(url) or port == 0:
        raise UrlRefused("not a URL")
    if parts.username is not None:
        raise UrlRefused("must not have a user name")
    if not _is_host(parts):
        raise UrlRefused("not the name or address of a host")
    return FetchUrl(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or (443 if parts.scheme == "https" else 80),
        authority=parts.netloc,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def is_host_name(text: str) -> bool:
    """Tell whether a text can be the name of a host, or an IPv4 address."""
    return _HOST.fullmatch(text) is not None


def is_number(label: str) -> bool:
    """Tell whether resolvers take the last label of a host for a part of an address."""
    return _NUMBER.fullmatch(label) is not None


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the internet at large.

    An IPv6 address that stands for an IPv4 address is judged by that one.

    Raises:
        ValueError: It is no IP address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip not in _UNICAST or ip in _6TO4:
            return False
    return ip.is_global and not ip.is_multicast


def _is_host(parts: SplitResult) -> bool:
    # An IPv6 address has been checked by urlsplit, for the sake of its brackets.
    return "[" in parts.netloc or is_host_name(parts.hostname or "")
