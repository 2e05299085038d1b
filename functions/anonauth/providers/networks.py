"""The networks that a client's address lies in, as limits count them."""

from datetime import datetime

from anonauth.domain.budgets import IPV6_PREFIXES
from anonauth.ports import NetworkHashing


def hash_networks(networks: NetworkHashing, address: str, now: datetime) -> list[str]:
    """Return the keyed hashes of an address's networks, from the narrowest on.

    An IPv4 address has one, an IPv6 address those of `IPV6_PREFIXES`.

    Raises:
        KeysUnavailable: They cannot be hashed.
    """
    hashed = [
        networks.hash_network(address, now, prefix=prefix) for prefix in IPV6_PREFIXES
    ]
    return list(dict.fromkeys(hashed))
