"""One e-mail address and two people: Ada owns it, Mallory registers it first."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from anonauth.domain.encoding import identity_key
from anonauth.domain.providers import API_KEY, USERPASS
from support.service.harness import (
    APP,
    CREATE_KEY,
    LINK,
    PROFILE,
    SENDER,
    SESSION,
    START,
    UNLINK,
    USERPASS_PREFIX,
    Deployment,
    Reply,
)

CUSTOM, GOOGLE = "custom-token", "oauth2-google"
EMAIL = "ada@example.com"
KEY = identity_key(EMAIL)
OF_ADA, OF_MALLORY, NEW = "adas password", "mallorys password", "adas new password"
MAIL = {
    "sender": SENDER,
    "confirm_url": "https://app.example/confirm",
    "reset_url": "https://app.example/reset",
}
SECRETS = {
    "https://idp.example": "0123456789abcdef0123456789abcdef",
    "https://lax.example": "fedcba9876543210fedcba9876543210",
}
IDP, LAX = SECRETS

Opened = dict[str, Any]  # the answer to a login


class ContestedAddress:
    """The service with mail, two issuers of JWTs and API keys on, and its mails."""

    def __init__(self, service: Deployment, sent: list[Any]) -> None:
        self.service = service
        self.sent = sent
        self.google: dict[str, Any] | None = None
        self.switch_mail(on=True)

    def switch_mail(self, *, on: bool) -> None:
        """Restart with addresses confirmed by mail, or automatically."""
        issuers = [
            {
                "issuer": issuer,
                "algorithm": "HS256",
                "secret": secret,
                "metadata_fields": [{"name": "email"}],
            }
            for issuer, secret in SECRETS.items()
        ]
        settings: dict[str, Any] = {
            USERPASS: {"mail": MAIL} if on else {},
            API_KEY: {},
            CUSTOM: {"issuers": issuers},
        }
        if self.google is not None:
            settings[GOOGLE] = self.google
        self.service.restart_with(
            {"apps": {APP: settings}}, ALLOW_PRIVATE_ISSUERS="true"
        )

    def post(self, call: str, **fields: str) -> Reply:
        return self.service.send(USERPASS_PREFIX + call, body=json.dumps(fields))

    def register(self, password: str) -> None:
        reply = self.post("register", email=EMAIL, password=password)
        assert reply.status == 200, reply.text

    def newest_mail(self, email: str = EMAIL) -> dict[str, str]:
        """Return the token data of the newest mail, which must be to this address."""
        assert self.sent[-1].destinations["ToAddresses"] == [email]
        (url,) = re.findall(r"^https:\S+$", self.sent[-1].body, re.MULTILINE)
        query = parse_qs(urlsplit(url).query)
        return {name: query[name][0] for name in ("token", "tokenId")}

    def confirm_newest(self) -> None:
        assert self.post("confirm", **self.newest_mail()).status == 200

    def reset(self, password: str = NEW) -> None:
        """Have Ada set a new password by mail."""
        assert self.post("reset/send", email=EMAIL).status == 200
        reply = self.post("reset", **self.newest_mail(), password=password)
        assert reply.status == 200, reply.text

    def try_log_in(self, provider: str, body: dict[str, str]) -> Reply:
        return self.service.send(
            LINK, body=json.dumps(body), parameters={"provider": provider}
        )

    def log_in(self, provider: str, body: dict[str, str]) -> Opened:
        reply = self.try_log_in(provider, body)
        assert reply.status == 200, reply.text
        opened: Opened = reply.json
        return opened

    def try_link(self, opened: Opened, provider: str, body: dict[str, str]) -> Reply:
        return self.service.send(
            LINK,
            token=opened["access_token"],
            query={"link": "true"},
            body=json.dumps(body),
            parameters={"provider": provider},
        )

    def link(self, opened: Opened, provider: str, body: dict[str, str]) -> None:
        """Link, and continue with the new access token, as SDKs do."""
        reply = self.try_link(opened, provider, body)
        assert reply.status == 200, reply.text
        opened["access_token"] = reply.json["access_token"]

    def make_key(self, opened: Opened) -> dict[str, str]:
        """Make an API key; return its credential."""
        reply = self.service.send(
            CREATE_KEY, token=opened["refresh_token"], body='{"name":"trojan"}'
        )
        assert reply.status == 200, reply.text
        return {"key": reply.json["key"]}

    def profile(self, opened: Opened) -> Any:
        reply = self.service.send(PROFILE, token=opened["access_token"])
        assert reply.status == 200, reply.text
        return reply.json

    def providers(self, opened: Opened) -> list[str]:
        shown = self.profile(opened)["identities"]
        return [identity["provider_type"] for identity in shown]

    def unlink(self, opened: Opened, provider: str, identity_id: str) -> Reply:
        return self.service.send(
            UNLINK,
            token=opened["refresh_token"],
            query={"provider": provider, "id": identity_id},
        )

    def is_alive(self, opened: Opened) -> bool:
        return self.service.send(SESSION, token=opened["refresh_token"]).status == 200

    def account(self) -> dict[str, Any]:
        """Return the stored record of the address."""
        return self.service.items("IDENT#")[f"IDENT#{APP}#{USERPASS}#{KEY}"]


def by_password(password: str) -> dict[str, str]:
    """Return the credential of the address with a password."""
    return {"username": EMAIL, "password": password}


def by_token(sub: str, issuer: str = IDP, **claims: Any) -> dict[str, str]:
    """Return the credential of a JWT's subject."""
    exp = int(START.timestamp()) + 10**6
    named = {"iss": issuer, "sub": sub, "aud": APP, "exp": exp, **claims}
    return {"token": jwt.encode(named, SECRETS[issuer], "HS256")}
