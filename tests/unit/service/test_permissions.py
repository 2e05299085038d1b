"""Each function with the rights of its own role in `template.yaml`: enough, no more.

`tests/runtime` does the same with the built bundle, for fewer operations.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import jwt
import pytest
from botocore.exceptions import ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth import wiring
from anonauth.local.dynamodb.live_table import LiveTable
from support.forgery.key_server import KeyServer
from support.project.policies import Policies
from support.project.sam_template import Json, passes_filter
from support.service.authorizer import question
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    HANDLERS,
    JWKS,
    LINK,
    LIST_SESSIONS,
    LOGIN,
    LOGOUT,
    OTHER_APP,
    PROFILE,
    SENDER,
    SESSION,
    SETTINGS,
    START,
    TABLE,
    UNLINK,
    Clients,
    Deployment,
    Services,
)
from support.service.wire import Wire, lost_reply

PARTNER = "https://partner.example.com"
SECRET = "partner-secret-of-at-least-32-bytes"
EMAIL = "ada@example.com"
DAY = timedelta(days=1)

DEPLOYED = {
    "SettingsParameter": SETTINGS,
    "MailSender": SENDER,
    "EventBusName": "default",
}
USERPASS = "POST /api/client/v2.0/app/{appId}/auth/providers/local-userpass/"
DOCUMENT: Json = {
    "apps": {
        APP: {
            "api-key": {},
            "custom-token": {
                "issuers": [
                    {
                        "issuer": PARTNER,
                        "algorithm": "HS256",
                        "secret": {"ssm": "partner"},
                        "metadata_fields": [{"name": "nick"}],
                    }
                ]
            },
            "local-userpass": {
                "mail": {
                    "sender": SENDER,
                    "confirm_url": "https://app.example/confirm",
                    "reset_url": "https://app.example/reset",
                }
            },
        },
        OTHER_APP: {
            "anon-user": {
                "challenge": {
                    "verify_url": "https://challenge.example/verify",
                    "secret": {"ssm": "partner"},
                }
            }
        },
    }
}


class GuardedWire(Wire):
    """Refuses, before it is signed, what the function at work may not call."""

    policies: Policies
    _at_work = ""

    @contextmanager
    def by(self, function: str) -> Iterator[None]:
        """Hold what is called meanwhile to the role of a function."""
        self._at_work = function
        try:
            yield
        finally:
            self._at_work = ""

    def attach(self, client: Any, *behind: Any) -> None:
        super().attach(client, *behind)
        client.meta.events.register_first("before-call.*", self._check)

    def _check(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        if not self._at_work:  # a test that looks, or prepares
            return
        operation = params["headers"].get("X-Amz-Target") or params["url_path"]
        request = json.loads(params["body"])
        if not self.policies.allows(self._at_work, operation, request):
            code = "AccessDeniedException"
            raise ClientError({"Error": {"Code": code}}, model.name)


class Guarded(Deployment):
    """The service as AWS runs it: each function has rights of its own, and memory."""

    def __init__(
        self, db: DynamoDBClient, key_id: str, clients: Clients, guard: GuardedWire
    ) -> None:
        self.key_id = key_id
        self.policies = Policies(
            HANDLERS, DEPLOYED, {TABLE: "Table", key_id: "RingKey"}
        )
        self.clients = clients
        self.guard = guard
        guard.policies = self.policies
        super().__init__(TABLE, db, key_id, clients)

    def restart(self, **environment: str) -> None:
        super().restart(**environment)
        self._started: dict[str, wiring.Services] = {}

    def invoke(
        self, function: str, event: dict[str, Any], **options: Any
    ) -> dict[str, Any]:
        settings = self.services.settings
        if function not in self._started:
            self._started[function] = Services(settings, lambda: self.now, self.clients)
        self.services = self._started[function]
        with self.guard.by(function):
            return super().invoke(function, event, **options)


@pytest.fixture(scope="module")
def guard() -> GuardedWire:
    return GuardedWire()


@pytest.fixture(scope="module")
def guarded_clients(moto: None, guard: GuardedWire) -> Clients:
    return Clients(guard)


@pytest.fixture
def guarded(
    table: str,
    db: DynamoDBClient,
    key_id: str,
    guarded_clients: Clients,
    guard: GuardedWire,
) -> Guarded:
    """The service before its first deployment has made a key ring."""
    return Guarded(db, key_id, guarded_clients, guard)


class Client:
    """Does what clients can do, and what schedules and the stream make happen."""

    def __init__(self, service: Guarded, sent: list[Any], document: Json) -> None:
        self.service = service
        self.sent = sent
        self.stream = LiveTable(TABLE, None, lambda: service.now)
        ssm = service.clients.connect("ssm")
        ssm.put_parameter(
            Name=f"{SETTINGS}/partner",
            Value=SECRET,
            Type="SecureString",
            Overwrite=True,
        )
        service.restart_with(
            document,
            ALLOW_PRIVATE_ISSUERS="true",
            ANONYMOUS_CHALLENGE="true",
            LOGINS_PER_NETWORK="100",
            MAILS_PER_NETWORK="100",
            PROVIDER_FAILURES_PER_NETWORK="100",
            EXPIRY_NOTICE_DAYS="14",
        )

    def ok(self, route: str, **options: Any) -> Any:
        reply = self.service.send(route, **options)
        assert reply.status == 200, (route, reply.text)
        return reply.json

    def guest(self) -> Json:
        body: Json = self.ok(LOGIN)
        return body

    def unclear_login(self) -> None:
        """Log in while the answer to the write is lost: it is read back."""
        self.service.wire.reset()
        self.service.wire.faults = [None, lost_reply]
        self.guest()
        assert self.service.wire.calls[-2:] == ["PutItem", "GetItem"]

    def log_in_twice_by_a_key(self) -> None:
        body = json.dumps({"login_key": "A" * 43})
        assert (
            self.ok(LOGIN, body=body)["user_id"]
            == (self.ok(LOGIN, body=body)["user_id"])
        )

    def challenged(self) -> None:
        """Log in to an app that asks for a challenge, without one."""
        assert self.service.send(LOGIN, app=OTHER_APP).status == 400

    def log_in(self, provider: str, credential: Json, **options: Any) -> Any:
        return self.ok(
            LINK,
            body=json.dumps(credential),
            parameters={"provider": provider},
            **options,
        )

    def link(self, user: Json, provider: str, credential: Json) -> None:
        self.log_in(
            provider, credential, query={"link": "true"}, token=user["access_token"]
        )
        user |= self.refresh(user)

    def refresh(self, user: Json) -> Any:
        return self.ok(SESSION, token=user["refresh_token"])

    def post(self, call: str, **fields: str) -> None:
        self.ok(USERPASS + call, body=json.dumps(fields))

    def account(self, email: str) -> Json:
        """Register and confirm an address, and return its credential."""
        self.post("register", email=email, password="correct horse")
        self.post("confirm/send", email=email)
        self.post("confirm", **self.in_mail())
        return {"username": email, "password": "correct horse"}

    def reset(self, email: str) -> None:
        self.post("reset/send", email=email)
        self.post("reset", **self.in_mail(), password="a new horse")

    def in_mail(self) -> dict[str, str]:
        newest = self.sent[-1].body
        found = re.search(r"\?token=([^&\s]+)&tokenId=(\S+)", newest)
        assert found is not None, newest
        return {"token": found[1], "tokenId": found[2]}

    def wrong_password(self, email: str) -> None:
        wrong = json.dumps({"username": email, "password": "a guess"})
        reply = self.service.send(
            LINK, body=wrong, parameters={"provider": "local-userpass"}
        )
        assert reply.status == 401

    def facebook_in_trouble(self) -> None:
        token = json.dumps({"accessToken": "EAAB"})
        reply = self.service.send(
            LINK, body=token, parameters={"provider": "oauth2-facebook"}
        )
        assert reply.status == 503

    def unlink_first(self, user: Json) -> None:
        first = self.ok(PROFILE, token=user["access_token"])["identities"][0]
        query = {"provider": first["provider_type"], "id": first["id"]}
        self.ok(UNLINK, token=user["refresh_token"], query=query)

    def lose(self, user: Json) -> None:
        """Delete the user's item and nothing else, as an operator may by accident."""
        pk = f"USER#{APP}#{user['user_id']}"
        self.service.db.delete_item(TableName=TABLE, Key={"pk": {"S": pk}})

    def make_key(self, user: Json, name: str) -> Any:
        return self.ok(
            CREATE_KEY, token=user["refresh_token"], body=json.dumps({"name": name})
        )

    def key(self, route: str, user: Json, key: Json) -> None:
        self.ok(route, token=user["refresh_token"], parameters={"id": key["_id"]})

    def tell_what_happened(self) -> None:
        """Run Lifecycle on what the stream has had."""
        records = [r for r in self.stream.changes() if passes_filter(r)]
        answer = self.service.invoke("LifecycleFunction", {"Records": records})
        assert answer == {"batchItemFailures": []}

    def warn(self) -> Any:
        return self.service.invoke("ExpiringFunction", {"detail-type": "Scheduled"})


def facebook(url: str) -> Json:
    """Return the settings document with Facebook at a URL."""
    settings = {"app_id": "1", "app_secret": {"ssm": "partner"}, "graph_url": url}
    app = DOCUMENT["apps"][APP] | {"oauth2-facebook": settings}
    return {"apps": DOCUMENT["apps"] | {APP: app}}


def partner_token(subject: str, nick: str = "") -> Json:
    exp = int(START.timestamp()) + 10**9
    claims = {"iss": PARTNER, "aud": APP, "sub": subject, "exp": exp, "nick": nick}
    return {"token": jwt.encode(claims, SECRET, "HS256")}


def test_given_all_operations_when_run_with_roles_then_each_grant_is_needed_by_one(
    guarded: Guarded, sent: list[Any]
) -> None:
    guarded.rotate()
    with KeyServer() as nobody:
        use_all_operations(guarded, Client(guarded, sent, facebook(nobody.url)))

    assert guarded.policies.refused == []
    assert {
        function: unused
        for function in HANDLERS
        if (unused := guarded.policies.unused(function))
    } == {}


def use_all_operations(guarded: Guarded, client: Client) -> None:

    # Guests.
    guest = client.guest()
    client.unclear_login()
    client.log_in_twice_by_a_key()
    client.challenged()
    client.ok(JWKS)
    guarded.now += DAY
    guest |= client.refresh(guest)
    client.ok(PROFILE, token=guest["access_token"])
    asked = question("authorizer", guest["access_token"])
    assert guarded.invoke("AuthorizerFunction", asked)["isAuthorized"] is True
    client.ok(LOGOUT, token=guest["refresh_token"])
    # Passwords: a guest becomes permanent, and a new user logs in.
    ada = client.guest()
    password = client.account(EMAIL)
    client.wrong_password(EMAIL)
    client.link(ada, "local-userpass", password)
    client.ok(PROFILE, token=ada["access_token"])
    client.make_key(ada, "of-a-reset")
    client.reset(EMAIL)
    # Others that vouch.
    grace = client.log_in("custom-token", partner_token("grace"))
    client.log_in("custom-token", partner_token("grace", "g"))
    client.link(grace, "local-userpass", client.account("grace@example.com"))
    client.facebook_in_trouble()
    key = client.make_key(grace, "laptop")
    client.log_in("api-key", {"key": key["key"]})
    client.key(DISABLE_KEY, grace, key)
    client.key(DELETE_KEY, grace, key)
    client.unlink_first(grace)
    by_password = password | {"username": "grace@example.com"}
    again = client.log_in("local-userpass", by_password)
    client.ok(LIST_SESSIONS, token=again["refresh_token"])
    client.ok(LOGOUT, token=again["refresh_token"])
    # The session that asked for the unlink has ended with its identity.
    grace = client.log_in("local-userpass", by_password)
    client.ok(DELETE, token=grace["access_token"])
    # Guests that come along: the 21st makes the mark of the first expire.
    for _ in range(21):
        merge = {"merge": client.guest()["refresh_token"]}
        merged = client.log_in("custom-token", partner_token("joan") | merge)
    client.ok(DELETE, token=merged["access_token"])
    # A user whose item is lost: made again by one identity, and by a reset.
    tom = client.log_in("custom-token", partner_token("tom"))
    client.link(tom, "local-userpass", client.account("tom@example.com"))
    client.lose(tom)
    client.log_in("custom-token", partner_token("tom"))
    client.log_in("local-userpass", password | {"username": "tom@example.com"})
    client.lose(tom)
    client.reset("tom@example.com")
    # What happens without a client.
    client.tell_what_happened()
    client.guest()
    guarded.now += 80 * DAY
    assert client.warn()["warned"] > 0


ANOTHER = "arn:aws:kms:eu-central-1:123456789012:key/another"
OF_ADA = f"USER#{APP}#ada"


def to_table(pk: str) -> Json:
    return {"TableName": TABLE, "Key": {"pk": {"S": pk}}}


def a_put(pk: str) -> Json:
    return {"TableName": TABLE, "Item": {"pk": {"S": pk}}}


def in_transaction(*items: Json) -> Json:
    return {"TransactItems": list(items)}


@pytest.mark.parametrize(
    ("function", "service", "operation", "request_"),
    [
        pytest.param(
            "LoginFunction",
            "dynamodb",
            "delete_item",
            to_table(OF_ADA),
            id="Login deletes a user",
        ),
        pytest.param(
            "LoginFunction",
            "dynamodb",
            "put_item",
            a_put("KEY#ring"),
            id="Login writes the ring",
        ),
        pytest.param(
            "LoginFunction",
            "dynamodb",
            "put_item",
            a_put(OF_ADA) | {"TableName": "another-table"},
            id="Login writes to another table",
        ),
        pytest.param(
            "LoginFunction",
            "dynamodb",
            "put_item",
            a_put(f"ONCE#{APP}#x"),
            id="Login writes a login key without a transaction",
        ),
        pytest.param(
            "LoginFunction",
            "dynamodb",
            "transact_write_items",
            in_transaction({"Put": a_put(f"IDENT#{APP}#custom-token#x")}),
            id="Login writes an identity in a transaction",
        ),
        pytest.param(
            "SessionFunction",
            "dynamodb",
            "get_item",
            to_table(f"ONCE#{APP}#x"),
            id="Session reads a login key",
        ),
        pytest.param(
            "SessionFunction",
            "dynamodb",
            "put_item",
            a_put(OF_ADA),
            id="Session makes a user",
        ),
        pytest.param(
            "SessionFunction",
            "dynamodb",
            "query",
            {
                "TableName": TABLE,
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": OF_ADA}},
            },
            id="Session queries",
        ),
        pytest.param(
            "LogoutFunction",
            "dynamodb",
            "get_item",
            to_table(f"IDENT#{APP}#custom-token#ada"),
            id="Logout reads an identity",
        ),
        pytest.param(
            "LogoutFunction",
            "kms",
            "decrypt",
            {"CiphertextBlob": b"x", "EncryptionContext": {"ring": "access"}},
            id="Logout gets at the signing key",
        ),
        pytest.param(
            "ProfileFunction",
            "dynamodb",
            "delete_item",
            to_table(OF_ADA),
            id="Profile deletes without a transaction",
        ),
        pytest.param(
            "ProfileFunction",
            "dynamodb",
            "transact_write_items",
            in_transaction({"Delete": to_table(OF_ADA)}, {"Put": a_put("KEY#ring")}),
            id="Profile writes the ring in a transaction",
        ),
        pytest.param(
            "ProfileFunction",
            "dynamodb",
            "transact_write_items",
            in_transaction(
                {"ConditionCheck": to_table(OF_ADA) | {"ConditionExpression": "a = b"}}
            ),
            id="Profile checks what it does not write",
        ),
        pytest.param(
            "LinkFunction",
            "dynamodb",
            "delete_item",
            to_table(OF_ADA),
            id="Link deletes a user alone",
        ),
        pytest.param(
            "LinkFunction",
            "dynamodb",
            "transact_write_items",
            in_transaction({"Delete": to_table(f"IDENT#{APP}#custom-token#x")}),
            id="Link deletes an identity",
        ),
        pytest.param(
            "LinkFunction",
            "dynamodb",
            "put_item",
            a_put(f"IDENT#{APP}#custom-token#x"),
            id="Link writes an identity alone",
        ),
        pytest.param(
            "LinkFunction",
            "ssm",
            "get_parameter",
            {"Name": "/somebody-elses/settings"},
            id="Link reads another parameter",
        ),
        pytest.param(
            "LinkFunction",
            "sesv2",
            "send_email",
            {"FromEmailAddress": SENDER, "Destination": {}, "Content": {}},
            id="Link sends a mail",
        ),
        pytest.param(
            "UserpassFunction",
            "dynamodb",
            "put_item",
            a_put(f"IDENT#{APP}#api-key#x"),
            id="Userpass writes an API key",
        ),
        pytest.param(
            "UserpassFunction",
            "sesv2",
            "send_email",
            {
                "FromEmailAddress": "ceo@app.example",
                "Destination": {},
                "Content": {},
            },
            id="Userpass sends a mail in another's name",
        ),
        pytest.param(
            "ApiKeysFunction",
            "ssm",
            "get_parameters",
            {"Names": [f"{SETTINGS}/partner", "/somebody-elses/secret"]},
            id="ApiKeys reads one secret too many",
        ),
        pytest.param(
            "DiscoveryFunction",
            "dynamodb",
            "get_item",
            to_table(OF_ADA),
            id="Discovery reads a user",
        ),
        pytest.param(
            "DiscoveryFunction",
            "kms",
            "decrypt",
            {"CiphertextBlob": b"x", "EncryptionContext": {"ring": "access"}},
            id="Discovery gets at the signing key",
        ),
        pytest.param(
            "KeysFunction",
            "kms",
            "decrypt",
            {"CiphertextBlob": b"x", "EncryptionContext": {"ring": "access"}},
            id="Keys gets at the signing key",
        ),
        pytest.param(
            "KeysFunction",
            "kms",
            "encrypt",
            {"Plaintext": b"x", "EncryptionContext": {"ring": "access"}}
            | {"KeyId": ANOTHER},
            id="Keys wraps by another key",
        ),
        pytest.param(
            "KeysFunction",
            "kms",
            "encrypt",
            {"Plaintext": b"x", "EncryptionContext": {}},
            id="Keys wraps without saying what",
        ),
    ],
)
def test_given_a_call_that_goes_further_when_a_function_makes_it_then_it_is_refused(
    guarded: Guarded, function: str, service: str, operation: str, request_: Json
) -> None:
    """Stolen credentials of one function do no more than the function does."""
    given = {"KeyId": guarded.key_id} | request_ if service == "kms" else request_
    client = guarded.clients.connect(service)

    with guarded.guard.by(function), pytest.raises(ClientError) as caught:
        getattr(client, operation)(**given)

    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    (refused,) = guarded.policies.refused
    assert refused.startswith(f"{function}: ")
