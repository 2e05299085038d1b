"""Rate limits: which clients count as one network, and the answer 429."""

import pytest

from support.service.harness import Reply

NETWORK = "198.51.100.7"
CLIENT_PAIRS = [
    pytest.param("198.51.100.7", "198.51.100.7", True, id="one IPv4 address"),
    pytest.param("198.51.100.7", "198.51.100.8", False, id="its neighbour"),
    pytest.param("::ffff:198.51.100.7", "198.51.100.7", True, id="mapped"),
    pytest.param("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True, id="one IPv6 /64"),
    pytest.param("2001:db8:1:2::1", "2001:db8:1:3::1", False, id="the next /64"),
]
"""Addresses of two clients, and whether both count as one network."""


def assert_spent(reply: Reply, retry_after: int) -> None:
    """Check that a rate limit is reached, and when to retry."""
    assert reply.status == 429
    assert reply.headers["retry-after"] == str(retry_after)
    assert reply.json["error_code"] == "RateLimitExceeded"
