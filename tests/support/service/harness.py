"""The service on moto: its functions, its clock, and the connection to AWS."""

import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import boto3
from botocore.config import Config
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth import wiring
from anonauth.local.template import read_template
from anonauth.passwords import Argon2Passwords
from anonauth.settings import Settings
from anonauth.store import Store
from support.contracts.openapi_contract import require_documented
from support.project import sam_template
from support.project.tools import ROOT
from support.service.wire import Wire

TABLE = "anonauth-test"
APP = "myapp-abcde"
OTHER_APP = "other-fghij"
HOST = "abc123.execute-api.eu-central-1.amazonaws.com"
SETTINGS = "/anonauth-test/settings"  # differs from that of `anonauth serve`
START = datetime(2026, 3, 10, 12, tzinfo=UTC)
NO_DEVICE = "0" * 24
COMMON_HEADERS = {
    "content-type": "application/json",
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=31536000",
}
"""Headers of every answer; the last only over HTTPS, as API Gateway's answers are."""
SENDER = "no-reply@app.example"  # verified in SES by the fixture `sent`


def provider_id(provider: str, app: str = APP) -> str:
    """Return the provider's id in an app, as refresh tokens and profiles have it."""
    return hashlib.sha256(f"{app}/{provider}".encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Reply:
    """An answer as API Gateway would send it."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Context:
    """The parts of a Lambda context that Powertools and slow functions read."""

    function_name: str
    aws_request_id: str
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:f"
    log_stream_name: str = "stream"
    remaining: Callable[[], int] = lambda: 29_000  # ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining()


class Clients:
    """The AWS clients that tests share, and the wire in front of them.

    Making a client takes 50 ms, most of a test's time. A store's models take 10 ms.
    """

    def __init__(self, wire: Wire | None = None) -> None:
        self.wire = wire or Wire()
        self._made: dict[str, Any] = {}
        self._dynamodb: Any = None
        self._stores: dict[str, Store] = {}

    def connect(self, service: str) -> Any:
        """Return the client of a service of AWS."""
        if service not in self._made:
            # Without the SDK's own retries, which sleep. It would compose its own name
            # anew for each call.
            config = Config(retries={"total_max_attempts": 1}, user_agent="tests")
            client = boto3.session.Session().client(  # type: ignore[call-overload]
                service, config=config
            )
            self.wire.attach(client)
            self._made[service] = client
        return self._made[service]

    def store(self, table: str) -> Store:
        """Return a store that does not wait between its attempts.

        Each table has one store, which keeps no state.
        """
        if table not in self._stores:
            store = Store(table, region="eu-central-1", pause=lambda _: None)
            if self._dynamodb is None:
                self._dynamodb = store._connection.client
                self.wire.attach(self._dynamodb)
            store._connection._client = self._dynamodb
            self._stores[table] = store
        return self._stores[table]


class Services(wiring.Services):
    """A function's services, with shared clients and cheap password hashing."""

    def __init__(
        self, settings: Settings, clock: Callable[[], datetime], clients: Clients
    ) -> None:
        super().__init__(settings, clock)
        self.pause = lambda _: None
        self._clients = clients
        self.store = clients.store(settings.table_name)

    @functools.cached_property
    def passwords(self) -> Argon2Passwords:
        return Argon2Passwords(memory_cost=8, time_cost=1)

    def _connect(self, service: str) -> Any:
        return self._clients.connect(service)


class Deployment:
    """All functions of the template on one table, with one clock."""

    def __init__(
        self, table: str, db: DynamoDBClient, key_id: str, clients: "Clients"
    ) -> None:
        self.table = table
        self.now = START
        self.wire = clients.wire
        self.db = db
        self._clients = clients
        self._environment = {
            **ENVIRONMENT,
            "AWS_REGION": "eu-central-1",
            "TABLE_NAME": table,
            "KMS_KEY_ID": key_id,
            "APP_IDS": f"{APP},{OTHER_APP}",
            # No counters among the items that tests look at; see test_admission.py.
            "LOGINS_PER_NETWORK": "0",
            "MAILS_PER_NETWORK": "0",
        }
        self.restart()

    def restart(self, **environment: str) -> None:
        """Start cold, with nothing cached, and optionally with other settings."""
        settings = Settings.from_environment(self._environment | environment)
        self.services: wiring.Services = Services(
            settings, lambda: self.now, self._clients
        )

    def restart_with(
        self, document: Mapping[str, Any] | str, **environment: str
    ) -> None:
        """Start cold with this text as the settings document in SSM."""
        text = document if isinstance(document, str) else json.dumps(document)
        self._clients.connect("ssm").put_parameter(
            Name=SETTINGS, Value=text, Type="SecureString", Overwrite=True
        )
        self.restart(SETTINGS_PARAMETER=SETTINGS, **environment)

    def invoke(
        self,
        function: str,
        event: dict[str, Any],
        *,
        remaining: Callable[[], int] = lambda: 900_000,
    ) -> dict[str, Any]:
        """Run the handler that the template names for a function."""
        module, _, name = HANDLERS[function].rpartition(".")
        handler = getattr(importlib.import_module(module), name)
        with wiring.using(self.services):
            result: dict[str, Any] = handler(
                event, Context(function, str(uuid4()), remaining=remaining)
            )
        return result

    def send(
        self,
        route: str,
        *,
        token: str | None = None,
        app: str = APP,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        is_base64: bool = False,
        domain: str = HOST,
        network: str = "203.0.113.9",
    ) -> Reply:
        """Send a request to a route, `METHOD /path`, as API Gateway would.

        `parameters` are the path's, without the app's id. Every answer has to be
        described in `openapi.json`.
        """
        method, _, path = route.partition(" ")
        in_path = dict(parameters or {})
        if "{appId}" in path:
            in_path["appId"] = app
        for name, value in in_path.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        sent = {"user-agent": "pytest", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": route,
            "rawPath": path,
            "rawQueryString": "",
            "headers": sent,
            "requestContext": {
                "domainName": domain,
                "requestId": "Xq3kGhT2liAEJ8g=",
                "http": {"method": method, "sourceIp": network},
            },
            "isBase64Encoded": is_base64,
        }
        if in_path:
            event["pathParameters"] = in_path
        if body is not None:
            event["body"] = body
        if query is not None:
            event["queryStringParameters"] = dict(query)
        answer = self.invoke(ROUTES[route], event)
        assert answer["isBase64Encoded"] is False
        reply = Reply(answer["statusCode"], answer["headers"], answer["body"])
        # With the CDN's secret in use, any route may answer like an unknown path.
        hidden = self.services.settings.origin_secret_hashes and reply.status == 404
        documented = "$default" if hidden else route
        require_documented(documented, reply.status, reply.headers, reply.text)
        return reply

    def log_in(self, **options: Any) -> dict[str, Any]:
        """Log in anonymously and return the answer's body."""
        reply = self.send(LOGIN, **options)
        assert reply.status == 200, reply.text
        body: dict[str, Any] = reply.json
        return body

    def advance(self, delta: timedelta) -> None:
        """Let time pass, and run the daily schedule at the end."""
        self.now += delta
        self.rotate()

    def rotate(self) -> dict[str, Any]:
        """Run the daily schedule."""
        return self.invoke("KeysFunction", {"detail-type": "Scheduled Event"})

    def items(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Return the table's items by key, as DynamoDB stores them."""
        found: list[dict[str, Any]] = [
            dict(item) for item in self.db.scan(TableName=self.table)["Items"]
        ]
        return {
            item["pk"]["S"]: item
            for item in found
            if item["pk"]["S"].startswith(prefix)
        }

    def user_item(self, user_id: str, app: str = APP) -> dict[str, Any] | None:
        return self.items().get(f"USER#{app}#{user_id}")

    def counted(self, act: Callable[[], Any]) -> list[str]:
        """Return the AWS calls that an action makes."""
        del self.wire.calls[:]
        act()
        return list(self.wire.calls)


def make_table(db: DynamoDBClient, name: str, *, has_stream: bool = True) -> None:
    """Make an empty table like the template's; moto is faster without its stream."""
    made = _table_properties()
    db.create_table(
        TableName=name,
        KeySchema=made["KeySchema"],
        AttributeDefinitions=made["AttributeDefinitions"],
        BillingMode=made["BillingMode"],
        StreamSpecification={
            "StreamEnabled": True,
            "StreamViewType": made["StreamSpecification"]["StreamViewType"],
        }
        if has_stream
        else {"StreamEnabled": False},
    )


@functools.cache
def _table_properties() -> dict[str, Any]:
    properties: dict[str, Any] = sam_template.load()["Resources"]["Table"]["Properties"]
    return properties


# All functions have these, from Globals; only names of existing resources are replaced.
ENVIRONMENT = (
    read_template(ROOT / "template.yaml").functions["LoginFunction"].environment
)
HANDLERS: dict[str, str] = {
    name: function["Handler"]
    for name, function in sam_template.resources(
        sam_template.load(), "AWS::Serverless::Function"
    ).items()
}
ROUTES = {route.key: route.function for route in sam_template.routes()}

LOGIN = "POST /api/client/v2.0/app/{appId}/auth/providers/anon-user/login"
SESSION = "POST /api/client/v2.0/auth/session"
LOGOUT = "DELETE /api/client/v2.0/auth/session"
LIST_SESSIONS = "GET /api/client/v2.0/auth/sessions"
END_SESSION = "DELETE /api/client/v2.0/auth/sessions/{id}"
PROFILE = "GET /api/client/v2.0/auth/profile"
DELETE = "DELETE /api/client/v2.0/auth/delete"
UNLINK = "DELETE /api/client/v2.0/auth/identities"
CREATE_KEY = "POST /api/client/v2.0/auth/api_keys"
LIST_KEYS = "GET /api/client/v2.0/auth/api_keys"
GET_KEY = "GET /api/client/v2.0/auth/api_keys/{id}"
DELETE_KEY = "DELETE /api/client/v2.0/auth/api_keys/{id}"
ENABLE_KEY = "PUT /api/client/v2.0/auth/api_keys/{id}/enable"
DISABLE_KEY = "PUT /api/client/v2.0/auth/api_keys/{id}/disable"
LINK = "POST /api/client/v2.0/app/{appId}/auth/providers/{provider}/login"
USERPASS_PREFIX = "POST /api/client/v2.0/app/{appId}/auth/providers/local-userpass/"
REGISTER = f"{USERPASS_PREFIX}register"
CONFIRM = f"{USERPASS_PREFIX}confirm"
CONFIRM_SEND = f"{USERPASS_PREFIX}confirm/send"
CONFIRM_CALL = f"{USERPASS_PREFIX}confirm/call"
RESET = f"{USERPASS_PREFIX}reset"
RESET_SEND = f"{USERPASS_PREFIX}reset/send"
RESET_CALL = f"{USERPASS_PREFIX}reset/call"
LOCATION = "GET /api/client/v2.0/app/{appId}/location"
CONFIGURATION = "GET /api/client/v2.0/app/{appId}/.well-known/openid-configuration"
JWKS = "GET /api/client/v2.0/app/{appId}/.well-known/jwks.json"
OPENAPI = "GET /openapi.json"
MODULE = "GET /anonauth.mjs"
HEADS = [
    route.replace("GET ", "HEAD ")
    for route in (LOCATION, CONFIGURATION, JWKS, OPENAPI, MODULE)
]
