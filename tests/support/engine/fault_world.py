"""All functions on an engine's table, with all their calls through one socket.

KMS, SSM, SES and EventBridge behind it are moto's: nothing runs in parallel here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from anonauth.domain.providers import USERPASS
from anonauth.local.dynamodb.live_table import LiveTable
from support.forgery.key_server import Answer, KeyServer, Signer
from support.project import sam_template
from support.service.harness import (
    APP,
    LINK,
    OTHER_APP,
    SENDER,
    SETTINGS,
    START,
    Deployment,
    Reply,
)
from support.service.socket_wire import RawTable, SocketClients

PASSWORD, NEW_PASSWORD = "correct horse", "battery staple"
PARTNER = "partner-secret-of-at-least-32-bytes"
CLIENT_ID = "web.apps.example.com"
FACEBOOK_APP, FACEBOOK_USER = "138483919580948", "1207059"
ISSUER_OF = {
    "oauth2-google": "https://accounts.google.com",
    "oauth2-apple": "https://appleid.apple.com",
}

_VERIFIED, _DOWN = Answer({"success": True}), Answer({}, 500)

Items = dict[str, dict[str, Any]]
Json = dict[str, Any]


class World:
    """The service with every setting in use, and a state that can be restored.

    `APP` confirms addresses by mail, `OTHER_APP` does not.
    """

    def __init__(
        self,
        service: Deployment,
        clients: SocketClients,
        table: RawTable,
        server: KeyServer,
        signer: Signer,
        mails: list[Any],
    ) -> None:
        self.service = service
        self.wire = clients.wire
        self.clients = clients
        self.mails = mails
        self._table = table
        self._server = server
        self._signer = signer
        partner = {"Name": f"{SETTINGS}/partner", "Value": PARTNER}
        clients.connect("ssm").put_parameter(
            **partner, Type="SecureString", Overwrite=True
        )
        service.restart_with(self._document())
        service.rotate()
        self._ring = self.items()
        self.start()

    # -- State ---------------------------------------------------------------------

    def start(self, **environment: str) -> None:
        """Start cold: nothing is cached."""
        self.service.restart(**self._environment(environment))
        self.go_on()

    def go_on(self) -> None:
        """Start warm, with the present caches, and forget the recorded calls."""
        self.wire.reset()
        self.clients.waited = 0.0
        self.challenge_is_up(True)
        del self.mails[:]

    def clear(self) -> None:
        """Leave nothing but the key ring, on the first day."""
        self.restore(self._ring, START)
        self.start()

    def restore(self, items: Items, now: datetime) -> None:
        """Restore the table and the clock."""
        self._table.become(items)
        self.service.now = now

    def items(self) -> Items:
        """Return the table's items by key, as DynamoDB stores them."""
        return self._table.items()

    @contextmanager
    def stream(self) -> Iterator[LiveTable]:
        """Turn the table's stream on in the block; it makes dynoxide slow."""
        table, db = self.service.table, self.service.db
        made = sam_template.load()["Resources"]["Table"]["Properties"]
        view = made["StreamSpecification"]["StreamViewType"]
        db.update_table(
            TableName=table,
            StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
        )
        url = db.meta.endpoint_url
        try:
            yield LiveTable(table, url, lambda: self.service.now)
        finally:
            db.update_table(
                TableName=table, StreamSpecification={"StreamEnabled": False}
            )

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            "SETTINGS_PARAMETER": SETTINGS,
            "ALLOW_PRIVATE_ISSUERS": "true",
            "EXPIRY_NOTICE_DAYS": "14",
            "METRICS": "false",
            **more,
        }

    def _document(self) -> Json:
        keys = self._server.publish("/keys", {"keys": [self._signer.jwk()]})
        inspected = {
            "app_id": FACEBOOK_APP,
            "type": "USER",
            "is_valid": True,
            "expires_at": 0,
            "user_id": FACEBOOK_USER,
        }
        self._server.publish("/graph/debug_token", {"data": inspected})
        self._server.publish("/graph/me", {"id": FACEBOOK_USER, "name": "Ada"})
        partner = {"ssm": "partner"}
        return {
            "apps": {
                APP: {
                    "anon-user": {
                        "challenge": {
                            "verify_url": self._server.url + "/verify",
                            "secret": partner,
                        }
                    },
                    "api-key": {},
                    USERPASS: {
                        "mail": {
                            "sender": f"App <{SENDER}>",
                            "confirm_url": "https://app.example/confirm",
                            "reset_url": "https://app.example/reset",
                        }
                    },
                    "custom-token": {
                        "issuers": [{"algorithm": "HS256", "secret": partner}]
                    },
                    "oauth2-google": {"client_ids": [CLIENT_ID], "jwks_url": keys},
                    "oauth2-apple": {"client_ids": [CLIENT_ID], "jwks_url": keys},
                    "oauth2-facebook": {
                        "app_id": FACEBOOK_APP,
                        "app_secret": partner,
                        "graph_url": self._server.url + "/graph",
                    },
                },
                OTHER_APP: {USERPASS: {}},
            }
        }

    def challenge_is_up(self, up: bool) -> None:
        """Choose whether the challenge's service gives a useful answer."""
        self._server.answers["/verify"] = _VERIFIED if up else _DOWN

    # -- What clients do -------------------------------------------------------------

    def credential(self, provider: str, subject: str = "ada") -> Json:
        """Return a subject's credential; an e-mail address needs its account."""
        at = int(START.timestamp())
        claims: Json = {"sub": subject, "iat": at, "exp": at + 400 * 86400}
        match provider:
            case "custom-token":
                signed = jwt.encode({**claims, "aud": APP}, PARTNER, "HS256")
                return {"token": signed}
            case "oauth2-google" | "oauth2-apple":
                named = {"iss": ISSUER_OF[provider], "aud": CLIENT_ID}
                return {"id_token": self._signer.sign({**claims, **named})}
            case "oauth2-facebook":
                return {"accessToken": "EAAB"}
            case _:
                return {"username": f"{subject}@example.com", "password": PASSWORD}

    def by(self, provider: str, credential: Json, **options: Any) -> Reply:
        """Log in with a credential; with `link=` an access token, link it."""
        if (token := options.pop("link", None)) is not None:
            options |= {"token": token, "query": {"link": "true"}}
        return self.service.send(
            LINK,
            body=json.dumps(credential),
            parameters={"provider": provider},
            **options,
        )

    def userpass(self, call: str, app: str = APP, **fields: Any) -> Reply:
        route = f"POST /api/client/v2.0/app/{{appId}}/auth/providers/{USERPASS}/{call}"
        return self.service.send(route, app=app, body=json.dumps(fields))

    def registered(self, subject: str = "ada", *, confirmed: bool = True) -> Json:
        """Register an address; return the content of its mail."""
        email = f"{subject}@example.com"
        done(self.userpass("register", email=email, password=PASSWORD))
        data = self.mailed()
        if confirmed:
            done(self.userpass("confirm", **data))
        return data

    def mailed(self) -> Json:
        """Return token and id of the latest mail."""
        (url,) = re.findall(r"^\S+://\S+$", self.mails[-1].body, re.MULTILINE)
        query = parse_qs(urlsplit(url).query)
        return {name: query[name][0] for name in ("token", "tokenId")}

    def linked(self, *providers: str) -> Json:
        """Return a user with identities of these providers, as its login answered."""
        user = self.service.log_in()
        for provider in providers:
            if provider == USERPASS:
                self.registered()
            reply = self.by(
                provider, self.credential(provider), link=user["access_token"]
            )
            user |= done(reply)
        return user


def done(reply: Reply) -> Json:
    """Return the body of a success."""
    assert reply.status == 200, reply
    body: Json = reply.json
    return body
