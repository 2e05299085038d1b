"""The claims of access and refresh tokens that have been verified.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from datetime import datetime
from typing import NamedTuple


class AccessClaims(NamedTuple):
    """The claims of a verified access token: its user and session.

    `anonymous` tells whether the user was anonymous at `issued_at`.
    """

    app: str
    user_id: str
    session_id: str
    anonymous: bool
    issued_at: datetime


class RefreshClaims(NamedTuple):
    """The claims of a verified refresh token. `token_hash` is the hash of its `jti`."""

    app: str
    user_id: str
    session_id: str
    token_hash: str


def issuer_of(base_url: str, app: str) -> str:
    """Return the issuer (`iss`) of an app's access tokens, also its URL prefix."""
    return f"{base_url}/api/client/v2.0/app/{app}"
