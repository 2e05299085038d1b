"""URLs that may be fetched: the same rule for checking settings and for fetching."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

# The part that IANA has assigned. The rest of the address space is not public, although
# `is_global` says so of some of it: fec0::/10, ::127.0.0.1, multicast.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_6TO4 = ipaddress.IPv6Network("2002::/16")
# DNS64 in networks that have only IPv6 puts an IPv4 address into these (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_VISIBLE_ASCII = re.compile("[!-~]+")
# RFC 1035 §2.3.4, and underscores, which DNS names can have. For anything else a
# resolver fails, sometimes with an exception of another type.
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# Resolvers read these as IPv4 addresses: 127.1, 0x7f000001 (inet_aton(3)).
_NUMBER = re.compile("[0-9]+|0[xX][0-9A-Fa-f]*")


class UrlRefused(ValueError):
    """The URL may not be fetched; the message says why, and does not quote it."""


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
        # A single label is a name in our own network, as `localhost` is.
        return "." not in self.host or last == "localhost" or is_number(last)


def parse_url(url: str, *, allow_http: bool = False) -> FetchUrl:
    """Return the parts of a URL that may be fetched.

    Args:
        allow_http: For the local stack and tests.

    Raises:
        UrlRefused: The text is not a URL, or it has another scheme or a user name.
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
    """Tell whether resolvers read a host's last label as part of an IPv4 address."""
    return _NUMBER.fullmatch(label) is not None


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet.

    An IPv6 address with an IPv4 address inside is judged by the latter.

    Raises:
        ValueError: The text is not an IP address.
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
    # urlsplit has checked an IPv6 address already, because of its brackets.
    return "[" in parts.netloc or is_host_name(parts.hostname or "")
