"""`api-key`: keys that users create for their own programs.

A key is 256 random bits, so its plain hash can be its index. A client sends no user id
with it, and a reader of the table learns no key.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import hash_secret
from anonauth.domain.identities import VerifiedIdentity
from anonauth.domain.providers import API_KEY
from anonauth.errors import BadCredential, BadRequest
from anonauth.ports import IdentityStore

_LONGEST_KEY = 256  # characters; ours have 43


class ApiKeyProvider:
    """`Provider` of one app's API keys.

    It tells which user a key belongs to. Whether the key still works is decided by the
    entry in that user, which can be disabled or deleted while the record remains.
    """

    def __init__(self, app: str, *, identities: IdentityStore) -> None:
        self._app = app
        self._identities = identities

    def verify(
        self,
        credential: Mapping[str, Any],
        *,
        network: str,  # noqa: ARG002 - the port's; 256 bits need no budget
        now: datetime,  # noqa: ARG002 - the port's; a key does not expire
    ) -> VerifiedIdentity:
        """Return the identity of `{"key": …}`, with the key's id; see `Provider`.

        Raises:
            BadRequest: The key is missing or too long to be one.
            BadCredential: This app has no such key.
            StoreUnavailable: The key could not be looked up; nothing is known about it.
        """
        key = credential.get("key")
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            raise BadRequest(
                f"expected a string 'key' of 1 to {_LONGEST_KEY} characters"
            )
        hashed = hash_secret(key)
        record = self._identities.get_identity(self._app, API_KEY, hashed)
        if record is None:
            raise BadCredential("invalid API key")
        return VerifiedIdentity(API_KEY, hashed, record.id, record=record)
