"""The networks of a client's address, as rate limits count them."""

from datetime import datetime

from anonauth.domain.budgets import IPV6_PREFIXES
from anonauth.ports import NetworkHashing


def hash_networks(networks: NetworkHashing, address: str, now: datetime) -> list[str]:
    """Return the keyed hashes of an address's networks, the narrowest first.

    An IPv4 address has one network, an IPv6 address one for each of `IPV6_PREFIXES`.

    Raises:
        KeysUnavailable: The networks cannot be hashed.
    """
    hashed = [
        networks.hash_network(address, now, prefix=prefix) for prefix in IPV6_PREFIXES
    ]
    return list(dict.fromkeys(hashed))
