"""Accounts with address and password, and the mails that confirm and reset them."""

import json
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from anonauth.domain.encoding import hash_secret, identity_key
from anonauth.domain.identities import Identity, IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import ANONYMOUS, USERPASS
from anonauth.domain.users import ApiKey, Session, User
from anonauth.errors import AuthError
from support.service.harness import APP, SENDER, USERPASS_PREFIX, Deployment, Reply
from support.service.passwords import CountingPasswords
from support.service.rate_limits import NETWORK

EMAIL = "Ada@example.com"
KEY = identity_key("ada@example.com")
PASSWORD = "correct horse"
OTHER = "battery staple"
MAIL = {
    "sender": f"App <{SENDER}>",
    "confirm_url": "https://app.example/confirm",
    "reset_url": "https://app.example/reset?lang=en#top",
}
REGISTRATIONS = "RATE#register#"
SECOND = timedelta(seconds=1)
HALF_AN_HOUR = timedelta(minutes=30)
AFTER_EFFECT = ("lost_reply", "server_error_after_effect")
SENDING = ("register", "confirm/send", "reset/send")  # limited for each network
CALLS = (
    "register",
    "confirm",
    "confirm/send",
    "confirm/call",
    "reset",
    "reset/send",
    "reset/call",
)

# Status, code and text of errors, as `refusal` returns them.
NAME_IN_USE = (409, "AccountNameInUse", "name already in use")
TOKEN_INVALID = (
    400,
    "UserpassTokenInvalid",
    "userpass token is expired or invalid",
)
TOKEN_MALFORMED = (400, "BadRequest", "invalid token data")
AUTOMATIC = "cannot run confirmation for {}: automatic confirmation is enabled"


class MailedAccounts:
    """The service with one app that has accounts, and the mails that SES has sent."""

    def __init__(self, service: Deployment, sent: list[Any]) -> None:
        self.service = service
        self.sent = sent
        self.passwords = CountingPasswords()
        self.configure(mail=MAIL)

    def configure(self, **local_userpass: Any) -> None:
        """Restart with these settings of e-mail and password for `APP`."""
        self.settle({APP: {USERPASS: local_userpass}})

    def settle(self, apps: dict[str, Any]) -> None:
        """Restart with these settings of apps."""
        self.service.restart_with({"apps": apps})
        self.service.services.passwords = self.passwords

    def post(
        self, call: str, app: str = APP, network: str = NETWORK, **fields: Any
    ) -> Reply:
        route = f"{USERPASS_PREFIX}{call}"
        body = json.dumps(fields)
        return self.service.send(route, app=app, body=body, network=network)

    def register(self, email: str = EMAIL, password: str = PASSWORD) -> Reply:
        return self.post("register", email=email, password=password)

    def registered(self, email: str = EMAIL) -> dict[str, str]:
        """Register, and return the token data of the mail."""
        reply = self.register(email)
        assert (reply.status, reply.text) == (200, "{}"), reply.text
        return self.token_data()

    def confirmed(self) -> None:
        """Register and confirm."""
        assert self.post("confirm", **self.registered()).status == 200

    def asked_for_reset(self, email: str = EMAIL) -> dict[str, str]:
        """Have a reset mail sent, and return its token data."""
        assert self.post("reset/send", email=email).status == 200
        return self.token_data()

    def token_data(self) -> dict[str, str]:
        """Return what the latest mail's link carries, as an app's page finds it."""
        query = parse_qs(urlsplit(self.link()).query)
        return {name: query[name][0] for name in ("token", "tokenId")}

    def link(self) -> str:
        """Return the one link of the latest mail, which has a line of its own."""
        (url,) = re.findall(r"^\S+://\S+$", self.sent[-1].body, re.MULTILINE)
        assert isinstance(url, str)
        return url

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Return all items of the table except the counts of networks."""
        items = self.service.items().items()
        return {key: item for key, item in items if not key.startswith(REGISTRATIONS)}

    def record(self) -> IdentityRecord | None:
        record: IdentityRecord | None = self.service.services.store.get_identity(
            APP, USERPASS, KEY
        )
        return record

    def stored(self) -> IdentityRecord:
        record = self.record()
        assert record is not None
        return record

    def log_in(
        self,
        password: str = PASSWORD,
        email: str = EMAIL,
        network: str = "203.0.113.9",
    ) -> str:
        """Return the name of the error that a login ends with, or `ok`."""
        provider = self.service.services.providers.find(APP, USERPASS)
        assert provider is not None
        credential = {"username": email, "password": password}
        try:
            provider.verify(credential, network=network, now=self.now)
        except AuthError as exc:
            return type(exc).__name__
        return "ok"

    def bind(self) -> User:
        """Bind the account to a user who has more: a JWT identity and an API key."""
        store = self.service.services.store
        jwt = VerifiedIdentity("custom-token", identity_key("sub"), "sub")
        user = User(
            app=APP,
            id="a" * 24,
            anonymous=False,
            version=1,
            created_at=self.now,
            last_active_day=self.now.date(),
            expires_at=None,
            sessions={},
            identities=(
                Identity("anonymous-id", ANONYMOUS),
                Identity("sub", jwt.provider, jwt.key),
            ),
        )
        mail = VerifiedIdentity(USERPASS, KEY, self.stored().id, record=self.stored())
        session = Session(
            "s1",
            "token hash",
            "custom-token",
            self.now,
            self.now.date(),
            expires_at=self.now + timedelta(days=60),
            identity_key=jwt.key,
        )
        assert store.create_linked_user(user, jwt, self.now)
        assert store.open_session(self.user(), session, [], self.now)
        until = self.now + timedelta(days=60)
        assert store.link_identity(
            self.user(), session, mail, self.now, expires_at=until
        )
        key = ApiKey("k1", "laptop", hash_secret("key"), self.now)
        assert store.create_api_key(self.user(), session, key, self.now)
        return self.user()

    def user(self) -> User:
        user: User | None = self.service.services.store.get_user(APP, "a" * 24)
        assert user is not None
        return user

    @property
    def now(self) -> datetime:
        return self.service.now

    def wait(self, delta: timedelta) -> None:
        self.service.now += delta


def refusal(reply: Reply) -> tuple[int, str, str]:
    """Return status, code and text of an error."""
    return reply.status, reply.json["error_code"], reply.json["error"]
