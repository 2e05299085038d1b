"""The profile: who the user of an access token is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.providers import API_KEY
from anonauth.domain.users import ApiKey, User
from anonauth.ports import IdentityStore, TokenIssuer, UserStore
from anonauth.usecases._authenticate import Authenticator


@dataclass(frozen=True, slots=True)
class ShownIdentity:
    """An identity with the data that its provider gives about the user.

    `key` is empty for the anonymous identity and for an API key: their ids are unique.
    """

    id: str
    provider: str
    data: Mapping[str, str]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A user as it sees itself.

    `identities` are in the order in which they were linked. If an API key has opened
    the session (`by_api_key`), that key is the last of them (client-api.md §2.7).
    """

    user: User
    identities: tuple[ShownIdentity, ...]
    by_api_key: bool

    @property
    def data(self) -> Mapping[str, str]:
        """The union of all identities' data. The identity linked first wins."""
        union: dict[str, str] = {}
        for identity in reversed(self.identities):
            union.update(identity.data)
        return union


@dataclass(frozen=True, slots=True)
class ProfileReader:
    """Reads profiles. An anonymous user costs one read, a permanent user two."""

    users: UserStore
    identities: IdentityStore
    tokens: TokenIssuer

    def read(self, access_token: str, now: datetime) -> Profile:
        """Return the profile of an access token's user.

        Args:
            now: Aware UTC time of the request.

        Raises:
            InvalidSession: The token is bad, or its session or user no longer exists.
            StoreUnavailable: Nothing is wrong with the token, so retry.
        """
        user, session = Authenticator(self.users, self.tokens).access(access_token, now)
        shown = self._show_identities(user)
        opener = user.opener_of(session)
        by_api_key = isinstance(opener, ApiKey)
        if isinstance(opener, ApiKey):
            shown += (ShownIdentity(opener.id, API_KEY, {"name": opener.name}),)
        return Profile(user, shown, by_api_key)

    def _show_identities(self, user: User) -> tuple[ShownIdentity, ...]:
        data = self.identities.get_identity_data(user.app, user.identities)
        return tuple(
            ShownIdentity(identity.id, identity.provider, known, identity.key)
            for identity, known in zip(user.identities, data, strict=True)
        )
