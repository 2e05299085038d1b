"""The model's apps and users, and everything that people hold.

The service chooses ids and tokens; the player fills them in.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

ANONYMOUS, USERPASS = "anon-user", "local-userpass"
CUSTOM, API_KEY = "custom-token", "api-key"

_ACCESS_LIFE = timedelta(minutes=30 + 1)  # a minute for clocks that differ
_YOUNG = timedelta(minutes=6)
_REFRESH_LIFE = timedelta(days=5 * 365, minutes=1)


@dataclass(frozen=True)
class App:
    """An app; without `mail` an e-mail address counts as confirmed."""

    id: str
    providers: tuple[str, ...] = ()
    mail: bool = False


@dataclass(frozen=True)
class Password:
    """A password that a person types to log in, and the network it comes from."""

    email: str
    password: str
    network: str
    provider = USERPASS


@dataclass(frozen=True)
class Jwt:
    """A token of an app's issuer, or of a forger without the issuer's key."""

    app: App
    subject: str
    name: str
    genuine: bool = True
    issuer: str = ""
    provider = CUSTOM


@dataclass(eq=False)
class ApiKey:
    """A key, which is a credential as well."""

    user: "User"
    name: str
    disabled: bool = False
    id: str = ""
    key: str = ""
    secret: str = ""
    provider = API_KEY


Credential = Password | Jwt | ApiKey


@dataclass(eq=False)
class Identity:
    """An entry of a user's list; `subject` is what the provider vouches for.

    `id` is the subject if there is an `issuer`; two issuers may give the same subject.
    """

    provider: str
    subject: str = ""
    data: dict[str, str] = field(default_factory=dict)
    id: str = ""
    issuer: str = ""
    key: str = ""


@dataclass(eq=False)
class Session:
    """One login. `opener` is the credential whose removal ends it, `used_on` its last
    day of activity.

    `id` and `device` come from the service's answer.
    """

    user: "User"
    provider: str
    begun_at: datetime
    used_on: date
    opener: Identity | ApiKey | None = None
    ends_at: datetime | None = None
    id: str = ""
    device: str = ""


@dataclass(eq=False)
class User:
    """A user; anonymous, with an end, until an identity is linked.

    `made_again` after the user was lost: whether its other identities may come back.
    `former_ids` are those of the guests that were merged into it.
    """

    app: App
    ends_at: datetime | None
    identities: list[Identity]
    sessions: list[Session] = field(default_factory=list)
    keys: list[ApiKey] = field(default_factory=list)
    id: str = ""
    made_again: str | None = None
    former_ids: list[str] = field(default_factory=list)

    @property
    def anonymous(self) -> bool:
        return self.ends_at is not None

    def identity_of(self, provider: str) -> Identity | None:
        return next((i for i in self.identities if i.provider == provider), None)


@dataclass(eq=False)
class MailToken:
    """The content of a mail's link."""

    account: "Account"
    ends_at: datetime
    secret: str = ""
    id: str = ""


@dataclass(eq=False)
class Account:
    """A registered address. `contested` if two people chose a password before proof.

    It ends unless it is confirmed, and then unless a user gets it. `networks` are those
    from which the right password came. `identity` is its identity in its user, which
    lists it unless the user was lost.
    """

    app: App
    email: str
    password: str
    state: str
    ends_at: datetime | None
    contested: bool = False
    user: User | None = None
    identity: Identity | None = None
    confirmation: MailToken | None = None
    reset: MailToken | None = None
    networks: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Token:
    """An access or a refresh token; `anonymous` is what an access token says."""

    text: str
    session: Session
    issued_at: datetime
    kind: str
    anonymous: bool = False

    @property
    def ends_at(self) -> datetime:
        return self.issued_at + (
            _ACCESS_LIFE if self.kind == "access" else _REFRESH_LIFE
        )

    @property
    def young_until(self) -> datetime:
        """Return when an access token becomes too old to delete or link to a user."""
        return self.issued_at + _YOUNG
