"""Secrets and personal data through every route: what is in no log, metric or event."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from support.forgery.key_server import KeyServer
from support.service.harness import (
    APP,
    CONFIGURATION,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    GET_KEY,
    HEADS,
    HOST,
    JWKS,
    LINK,
    LIST_KEYS,
    LIST_SESSIONS,
    LOCATION,
    LOGIN,
    LOGOUT,
    MODULE,
    OPENAPI,
    PROFILE,
    ROUTES,
    SESSION,
    UNLINK,
    Deployment,
    Reply,
)
from support.service.mailed_accounts import MAIL, MailedAccounts
from support.service.provider_logins import SECRET, a_jwt
from support.service.story import Story
from support.service.wire import FAULTS

EMAIL = "canary.person@canary.example"
SUBJECT = "canary-subject@canary.example"
PASSWORD = "canary-password-7"
NEW_PASSWORD = "canary-password-8"
NETWORK = "198.51.100.77"
NETWORK_6 = "2001:db8:cafe:1::77"
CHALLENGE_SECRET = "canary-challenge-secret"
ANSWER = "canary-answer"
LOGIN_KEY = "canaryLoginKeyOf43Characters" + "A" * 15
HEADERS = {
    "cookie": "canary-cookie",
    "referer": "https://canary.example/page",
    "user-agent": "canary-agent",
    "x-forwarded-for": NETWORK,
}
DEVICE = {"sdk": "canary-sdk", "deviceId": "5f0c3b2a1d9e8f7a6b5c4d3e"}

# What a line of the log may have: Lambda's and Powertools' own, and ours.
LOG_FIELDS = {
    "level",
    "location",
    "message",
    "timestamp",
    "service",
    "cold_start",
    "function_name",
    "function_memory_size",
    "function_arn",
    "function_request_id",
    "correlation_id",
    "error_code",
    "co_id",
    "reason",
    "detail",
    "trace",
    "version",
    "kids",
    "done",
    "of",
    "record",
}


@pytest.fixture
def verifier() -> Iterator[KeyServer]:
    with KeyServer() as server:
        server.publish("/verify", {"success": True})
        yield server


class Visitor:
    """Calls the API, remembers what must not be told, and which routes it has seen."""

    def __init__(
        self, service: Deployment, verifier: KeyServer, mails: list[Any]
    ) -> None:
        self.service = service
        self.sent = mails
        self.verifier = verifier
        self.seen: set[str] = set()
        self.secrets = [
            EMAIL,
            SUBJECT,
            "canary",
            LOGIN_KEY,
            hash_secret(LOGIN_KEY),
            NETWORK,
            NETWORK_6,
            SECRET,
            "2001:db8:cafe:1:",
        ]

    def settle(self) -> MailedAccounts:
        """Deploy with all that there is to set."""
        world = MailedAccounts(self.service, self.sent)
        challenge = {
            "verify_url": self.verifier.url + "/verify",
            "secret": CHALLENGE_SECRET,
        }
        app = {
            "anon-user": {"challenge": challenge},
            "local-userpass": {"mail": MAIL},
            "api-key": {},
            "custom-token": {"issuers": [{"algorithm": "HS256", "secret": SECRET}]},
        }
        self.service.restart_with(
            {"apps": {APP: app}},
            ANONYMOUS_CHALLENGE="true",
            ALLOW_PRIVATE_ISSUERS="true",
            LOGINS_PER_NETWORK="40",
        )
        self.service.services.passwords = world.passwords
        return world

    def send(self, route: str, body: Any = None, **options: Any) -> Reply:
        self.seen.add(route)
        reply = self.service.send(
            route,
            body=None if body is None else json.dumps(body),
            headers=HEADERS,
            **{"network": NETWORK, **options},
        )
        if reply.text.startswith("{"):
            found = [reply.json.get(n) for n in ("access_token", "refresh_token")]
            # A signature alone would do to recognise a token.
            self.secrets += [token.rpartition(".")[2] for token in found if token]
            self.secrets += [reply.json["key"]] if "key" in reply.json else []
        return reply

    def log_in(self, **options: Any) -> Any:
        sent = {"options": {"device": DEVICE, "challenge": ANSWER}}
        return self.send(LOGIN, sent, **options).json

    def call(self, name: str, **fields: Any) -> Reply:
        route = (
            f"POST /api/client/v2.0/app/{{appId}}/auth/providers/local-userpass/{name}"
        )
        return self.send(route, fields)

    def log_in_by(
        self, provider: str, credential: dict[str, Any], **more: Any
    ) -> Reply:
        more = {"parameters": {"provider": provider}} | more
        return self.send(LINK, {**credential, "options": {"device": DEVICE}}, **more)


def live_a_life(visitor: Visitor, world: MailedAccounts) -> None:
    """Use every route, with success and without."""
    by_password = {"username": EMAIL, "password": PASSWORD}
    by_token = {"token": a_jwt(SUBJECT, email=EMAIL, name="canary")}
    for route in (CONFIGURATION, JWKS, LOCATION, OPENAPI, MODULE, "$default"):
        visitor.send(route)
    log_in_anonymously(visitor)
    guest = visitor.log_in()
    visitor.send(SESSION, token=guest["refresh_token"])

    # An account, by mail.
    visitor.call("register", email=EMAIL, password=PASSWORD)
    visitor.log_in_by("local-userpass", by_password)  # not confirmed
    visitor.call("confirm/send", email=EMAIL)
    visitor.call("confirm", **world.token_data())
    visitor.secrets += list(world.token_data().values())
    visitor.call("confirm", **world.token_data())  # used up
    for wrong in ("canary-wrong-1", "canary-wrong-2"):
        visitor.log_in_by("local-userpass", {**by_password, "password": wrong})
    linking = {"token": guest["access_token"], "query": {"link": "true"}}
    visitor.log_in_by("local-userpass", {**by_password, "password": "no"}, **linking)
    linked = visitor.log_in_by("local-userpass", by_password, **linking).json
    linking["token"] = linked["access_token"]
    visitor.log_in_by("custom-token", {"token": "canary.canary.canary"}, **linking)
    visitor.log_in_by("custom-token", by_token, **linking)
    visitor.log_in_by("custom-token", by_token)
    other = visitor.log_in()
    visitor.log_in_by("custom-token", by_token, **linking, network=NETWORK_6)
    taken = {"token": other["access_token"], "query": {"link": "true"}}
    assert visitor.log_in_by("custom-token", by_token, **taken).status == 409
    visitor.send(LINK.replace("POST", "GET"), parameters={"provider": "canary"})

    profile = visitor.send(PROFILE, token=linked["access_token"]).json
    assert EMAIL in json.dumps(profile)  # the owner sees it

    # API keys.
    refresh = guest["refresh_token"]
    key = visitor.send(CREATE_KEY, {"name": "canary-key"}, token=refresh).json
    visitor.send(CREATE_KEY, {"name": "canary-key"}, token=refresh)  # taken
    visitor.send(LIST_KEYS, token=refresh)
    visitor.log_in_by("api-key", {"key": key["key"]})
    visitor.log_in_by("api-key", {"key": "canary-no-key"})
    for route in (GET_KEY, DISABLE_KEY, ENABLE_KEY, DELETE_KEY):
        visitor.send(route, token=refresh, parameters={"id": key["_id"]})

    unlinked = {"provider": "custom-token", "id": SUBJECT}
    visitor.send(UNLINK, token=refresh, query=unlinked)
    visitor.send(UNLINK, token=refresh, query=unlinked)
    visitor.call("reset/send", email=EMAIL)
    visitor.secrets += list(world.token_data().values())
    visitor.call("reset", **world.token_data(), password=NEW_PASSWORD)
    for name in ("confirm/call", "reset/call"):
        visitor.call(name, email=EMAIL, password=PASSWORD)
    new = {"username": EMAIL, "password": NEW_PASSWORD}
    use_sessions(visitor, new)
    back = visitor.log_in_by("local-userpass", new).json
    visitor.send(DELETE, token=back["access_token"])
    visitor.send(DELETE, token=back["access_token"])
    visitor.send(LOGOUT, token=other["refresh_token"])
    visitor.send(LOGOUT, token=other["refresh_token"])


def use_sessions(visitor: Visitor, credential: dict[str, Any]) -> None:
    """List the sessions, and end them: one, twice, and all."""
    other, own = (
        visitor.log_in_by("local-userpass", credential).json["refresh_token"]
        for _ in range(2)
    )
    sessions = visitor.send(LIST_SESSIONS, token=own)
    assert DEVICE["sdk"] in sessions.text  # the owner sees it
    (ended,) = (each["id"] for each in sessions.json if not each["current"])
    for token in (own, own, other):
        visitor.send(END_SESSION, token=token, parameters={"id": ended})
    for said in ("canary", "true", "true"):
        visitor.send(LOGOUT, token=own, query={"everywhere": said})


def log_in_anonymously(visitor: Visitor) -> None:
    """Log in without a key, and with one; also after its session has ended."""
    visitor.send(LOGIN, {"options": {"challenge": 7}})
    visitor.log_in(network=NETWORK_6)
    keyed = {"options": {"challenge": ANSWER}, "login_key": LOGIN_KEY}
    first, again = (visitor.send(LOGIN, keyed).json for _ in range(2))
    assert first["user_id"] == again["user_id"]
    visitor.send(LOGOUT, token=again["refresh_token"])
    assert visitor.send(LOGIN, keyed).status == 409
    assert visitor.send(LOGIN, {**keyed, "login_key": LOGIN_KEY[1:]}).status == 400


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(None, id="all is well"),
        pytest.param("throttled", id="AWS is busy"),
        pytest.param("lost_reply", id="replies get lost", marks=pytest.mark.long),
    ],
)
def test_given_canaries_when_pushed_through_every_route_then_none_is_told(
    service: Deployment,
    verifier: KeyServer,
    sent: list[Any],
    log: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    trouble: str | None,
) -> None:
    caplog.set_level(logging.INFO)
    visitor = Visitor(service, verifier, sent)
    story = Story(service)
    world = visitor.settle()

    live_a_life(visitor, world)
    # What HEAD answers is GET's.
    assert visitor.seen == set(ROUTES) - set(HEADS)
    if trouble is not None:
        visitor.settle()
        service.wire.always = FAULTS[trouble]
        for route in ROUTES:
            token = visitor.secrets[-1]
            visitor.send(route, {"email": EMAIL, "password": PASSWORD}, token=token)
        service.wire.always = None
    events = json.dumps(story.told())
    service.now += timedelta(days=95)
    story.sweep()
    events += json.dumps(story.told())

    metrics = capsys.readouterr().out
    logged = log.getvalue()
    assert logged.count("\n") > 15
    assert metrics.count('"_aws"') > 30
    assert '"user.linked"' in events
    assert "expired" in events
    for secret in {*visitor.secrets, visitor.secrets[-1]}:
        for told in (logged, metrics, caplog.text, events):
            assert secret not in told
    # Only answers contain HOST, and nothing outside the list is logged.
    assert HOST not in logged
    for line in logged.splitlines():
        assert json.loads(line).keys() <= LOG_FIELDS


def test_given_a_canary_when_stored_then_it_has_come_to_where_it_could_be_told(
    service: Deployment, verifier: KeyServer, sent: list[Any]
) -> None:
    """Or the test above would prove nothing."""
    visitor = Visitor(service, verifier, sent)
    world = visitor.settle()

    live_a_life(visitor, world)
    visitor.log_in()

    assert "canary-sdk" in str(service.items("USER#"))
    assert len(visitor.secrets) > 20
    assert visitor.verifier.asked[0].form["response"] == ANSWER
