"""What the use cases need of the outside, as Protocols.

`store` satisfies `UserStore` and `RingStore`, `tokens` satisfies `TokenIssuer`,
`keys` satisfies `KeyWrapping`, `KeyMaking` and `PublishedKeys`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from anonauth.domain import AccessClaims, RefreshClaims, Ring, RingKey, Session, User


class UserStore(Protocol):
    """Users and their sessions. Every method can raise `StoreUnavailable`."""

    def create_user(self, user: User) -> bool:
        """Write a new user; False if the id is taken, and then nothing is written."""
        ...

    def get_user(self, app: str, user_id: str) -> User | None:
        """Read a user, strongly consistent; None if there is none that is active."""
        ...

    def record_activity(self, user: User, session: Session, now: datetime) -> bool:
        """Note the first use of a session on a UTC day; push an anonymous expiry.

        False if the user is no longer as it was read; nothing is written then.
        """
        ...

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        """End a session, and with it an anonymous user; False if there was none."""
        ...

    def delete_user(self, user: User, session: Session, now: datetime) -> bool:
        """Delete a user and everything of it; False if it changed since the read."""
        ...


class RingStore(Protocol):
    """The one item of the key ring. Both methods can raise `StoreUnavailable`."""

    def load_ring(self, *, consistent: bool = False) -> Ring | None:
        """Read the key ring; None before the first deployment has made it."""
        ...

    def save_ring(self, new: Ring) -> bool:
        """Write the ring over the version before it; False if that has moved on."""
        ...


class KeyWrapping(Protocol):
    """Encryption of keys at rest. Both methods can raise `KeysUnavailable`."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt at most 4,096 bytes, bound to the context."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt what was wrapped under the same context."""
        ...


class KeyMaking(Protocol):
    """New keys for the ring. Both methods can raise `KeysUnavailable`."""

    def make_access_key(self, *, signs_from: datetime, stops_at: datetime) -> RingKey:
        """Make an RSA key that signs access tokens within these times."""
        ...

    def make_refresh_key(self, *, signs_from: datetime) -> RingKey:
        """Make the HMAC key that signs refresh tokens."""
        ...


class PublishedKeys(Protocol):
    """The public half of the key ring. Can raise `KeysUnavailable`."""

    def jwks(self, now: datetime) -> dict[str, Any]:
        """Return the JWK Set (RFC 7517 §5) of all keys that verify at `now`."""
        ...


class TokenIssuer(Protocol):
    """Access and refresh tokens. Every method can raise `KeysUnavailable`."""

    def access_token(
        self, user: User, session: Session, *, base_url: str, now: datetime
    ) -> str:
        """Sign an access token, for this service and for third parties."""
        ...

    def refresh_token(
        self, user: User, session: Session, *, jti: str, now: datetime
    ) -> str:
        """Sign the refresh token of a session; `jti` is the secret it carries."""
        ...

    def read_access_token(self, token: str, now: datetime) -> AccessClaims:
        """Verify an access token, or raise `InvalidSession`."""
        ...

    def read_refresh_token(self, token: str, now: datetime) -> RefreshClaims:
        """Verify a refresh token, or raise `InvalidSession`."""
        ...
