"""Identities, their own records, and identities that a provider has verified.

Pure: no clock, no input or output. Instants are aware UTC datetimes, days UTC dates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

from anonauth.domain.encoding import sha256_base64url
from anonauth.domain.expiry import utc_day
from anonauth.domain.providers import ANONYMOUS, USERPASS

MOST_NETWORKS = 8
"""How many networks of its logins an account remembers."""

NETWORK_NOTED_FOR = timedelta(days=7)
"""How long a login from a known network writes nothing about that network."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A pair of a provider and that provider's subject, as its user lists it.

    `key` names the identity's own record (see `identity_key`). It is empty for the
    anonymous identity, which has no record. `version` is the version of the credential.
    A reset password raises it here and in the record, and both must agree.
    """

    id: str
    provider: str
    key: str = ""
    version: int = 1

    @property
    def has_issuer(self) -> bool:
        """Whether an issuer gave the `id`, which is unique only within that issuer."""
        return self.provider not in {ANONYMOUS, USERPASS}


@dataclass(frozen=True, slots=True)
class MailToken:
    """A secret that was sent by mail: its hash, and the end of its validity."""

    hash: str
    expires_at: datetime


IdentityState = Literal["pending", "confirmed", "bound"]
"""The state of an identity.

A `pending` e-mail address is not confirmed yet. A `confirmed` one is, but no user has
it yet. A `bound` identity belongs to one user. Identities of other providers are always
bound.
"""


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """An identity's own record: its user, and what is known of the identity.

    `data` is for display only (profile). The fields after it are for `local-userpass`
    alone. `password_hash` is empty if the account was imported without a password.
    `verified` says that the token of a mail to the address has ever come back.
    `contested` says that several passwords were set before that, so it is not known
    whose password the mail has confirmed. `networks` has the networks that a right
    password came from, each with the day on which it was noted, in a form that does not
    reveal the network. `expires_at` is set if and only if the identity is not bound.
    """

    app: str
    provider: str
    key: str
    id: str
    state: IdentityState
    user_id: str | None = None
    version: int = 1
    data: Mapping[str, str] = field(default_factory=dict)
    password_hash: str = ""
    verified: bool = False
    contested: bool = False
    confirmation: MailToken | None = None
    reset: MailToken | None = None
    networks: Mapping[str, date] = field(default_factory=dict)
    expires_at: datetime | None = None

    def knows(self, network: str) -> bool:
        """Tell whether a right password came from that network before.

        Args:
            network: The network's keyed hash.
        """
        return self._network_name(network) in self.networks

    def networks_with(self, network: str, now: datetime) -> Mapping[str, date] | None:
        """Return the networks to remember after a right password from this one.

        Returns None if the network was noted within the last week, so that few logins
        write it. The network that was noted the longest time ago makes room.

        Args:
            network: The network's keyed hash.
        """
        name, today = self._network_name(network), utc_day(now)
        noted = self.networks.get(name)
        if noted is not None and today < noted + NETWORK_NOTED_FOR:
            return None
        newest_first = sorted(
            (item for item in self.networks.items() if item[0] != name),
            key=lambda item: item[1],
            reverse=True,
        )
        return {name: today, **dict(newest_first[: MOST_NETWORKS - 1])}

    def _network_name(self, network: str) -> str:
        # Each account has another name for it: the table must not reveal which accounts
        # share a network.
        return sha256_base64url(f"{self.key}#{network}")[:22]

    def is_expired(self, now: datetime) -> bool:
        """Tell whether it was not confirmed or bound in time, and is free again."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """An identity that a provider has just verified: the client is that subject.

    Profiles show `id`. Decisions rest on `key` (see `identity_key`). `data` is for
    display. `record` is the identity's own record if the provider has read it to verify
    the credential (`local-userpass`, `api-key`), else None.
    """

    provider: str
    key: str
    id: str
    data: Mapping[str, str] = field(default_factory=dict)
    record: IdentityRecord | None = None
