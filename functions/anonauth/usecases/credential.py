"""A credential that a client sends, to log in with it or to link its identity."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anonauth.domain.identities import VerifiedIdentity
from anonauth.domain.providers import USERPASS
from anonauth.domain.users import MOST_IDENTITIES, Device, User
from anonauth.errors import SecondUserpassRefused, TooManyIdentities
from anonauth.ports import Provider


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """What a client sends to log in by a provider, or to link.

    Args:
        app: The client app id of the route, which is configured.
        provider: Name of the provider in the route, unchecked.
        credential: Body of the request, unchecked JSON.
        device: What the client says about its device, if anything.
        network: IP address of the client, for the limits on wrong passwords.
        base_url: Public address of this service, without a trailing slash.
    """

    app: str
    provider: str
    credential: Mapping[str, Any]
    device: Device | None
    network: str
    base_url: str

    def verify(self, provider: Provider, now: datetime) -> VerifiedIdentity:
        """Return the identity that the credential proves to its provider.

        Raises:
            AuthError: As `Provider.verify`.
        """
        return provider.verify(self.credential, network=self.network, now=now)


def require_room(user: User, verified: VerifiedIdentity) -> None:
    """Return if the user can get another identity.

    Raises:
        SecondUserpassRefused: The user has an e-mail account already.
        TooManyIdentities: The user has as many identities as there can be.
    """
    if verified.provider == USERPASS and any(
        identity.provider == USERPASS for identity in user.identities
    ):
        raise SecondUserpassRefused
    if len(user.identities) >= MOST_IDENTITIES:
        raise TooManyIdentities
