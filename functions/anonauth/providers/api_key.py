"""`api-key`: keys that users make for their own programs.

A key is 256 random bits, so that a plain hash of it is its own index: no user id is
sent with it, and the table gives no key away.
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


class ApiKeys:
    """`Provider` over the keys of one app's users.

    It says whose key it is. Whether the key is still good says its user's own entry,
    which can be disabled or gone while the record is not.
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
        """Return the identity of `{"key": …}`, its id that of the key; see `Provider`.

        Raises:
            BadRequest: No key, or nothing that could be one.
            BadCredential: There is no such key, in this app.
            StoreUnavailable: It could not be looked up; nothing is known of it.
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
