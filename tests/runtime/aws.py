"""DynamoDB, KMS, SSM, SES and EventBridge by moto, behind `template.yaml`'s policies.

A function signs its calls with its own name as access key; what its role does not
grant is refused as AWS refuses it. So the tests also show that the grants suffice, and
which of them nobody needs.
"""

import fnmatch
import functools
import io
import json
import operator
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parseaddr
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import boto3
from moto.events.models import events_backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from moto.ses.models import ses_backends
from mypy_boto3_dynamodb import DynamoDBClient
from werkzeug.serving import WSGIRequestHandler, make_server

from anonauth import wiring
from anonauth.cli import engine
from anonauth.cli.live_table import LiveTable
from sam_template import Json, resources, statements, translated

REGION = "eu-central-1"
ACCOUNT = "123456789012"
TABLE = "anonauth-runtime"  # others of the same process have one of their own

PARAMETERS = {
    "AppIds": "myapp-abcde,other-fghij",
    "SettingsParameter": "/anonauth-runtime/settings",
    "MailSender": "noreply@example.com",
    "EventBusName": "anonauth-runtime",
    "ExpiryNoticeDays": "20,2",
}
"""What the deployment sets; the template's defaults count for the others."""

_ARN = f"arn:aws:{{}}:{REGION}:{ACCOUNT}:{{}}"

_ARCHIVE = "anonauth-runtime"

# SES has paths where the others have targets.
_SEND_MAIL = "/v2/email/outbound-emails"

_Quantifier = Callable[[Iterable[bool]], bool]
_Comparison = Callable[[str, str], bool]

_OPERATORS: dict[str, tuple[_Quantifier, _Comparison]] = {
    "ForAllValues:StringEquals": (all, operator.eq),
    "ForAllValues:StringLike": (all, fnmatch.fnmatchcase),
    "ForAnyValue:StringEquals": (any, operator.eq),
    "StringEquals": (any, operator.eq),
}

# These only take away, so there is nothing in them that could be needless.
_LIMITS: dict[str, Callable[[list[str], list[str]], bool]] = {
    "Null": lambda found, expected: str(not found).lower() in expected,
    "StringEqualsIfExists": lambda found, expected: set(found) <= set(expected),
}

# What an expression has beside names of attributes and placeholders of values.
_WORDS = {"AND", "OR", "NOT", "BETWEEN", "IN", "begins_with", "contains", "size"}
_WORDS |= {"attribute_exists", "attribute_not_exists", "attribute_type"}


@dataclass(frozen=True)
class _Need:
    """An action on a resource, with the condition keys that AWS fills in."""

    action: str
    resource: str
    context: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class PolicyGate:
    """Refuses what the caller's role does not grant; `refused` lists it.

    `calls` has caller and operation of each call of a function.
    """

    app: WSGIApplication
    policies: dict[str, list[Json]]
    refused: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    _used: set[tuple[str, int, str]] = field(default_factory=set)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        caller = environ["HTTP_AUTHORIZATION"].partition("Credential=")[2].split("/")[0]
        if caller in self.policies:
            operation = environ.get("HTTP_X_AMZ_TARGET") or environ["PATH_INFO"]
            self.calls.append((caller, operation.rpartition(".")[2]))
            for need in _needs(operation, json.loads(body)):
                if not self._is_granted(caller, need):
                    self.refused.append(f"{caller}: {need}")
                    return _refuse(start_response)
        return self.app(environ, start_response)

    def unused(self, caller: str) -> list[str]:
        """Return the actions and the condition values that no call has needed."""
        return [
            f"{caller}: {part} of {statement}"
            for number, statement in enumerate(self.policies[caller])
            for part in _parts(statement)
            if (caller, number, part) not in self._used
        ]

    def _is_granted(self, caller: str, need: _Need) -> bool:
        granted = False
        for number, statement in enumerate(self.policies[caller]):
            used = _used_parts(statement, need)
            self._used |= {(caller, number, part) for part in used}
            granted = granted or bool(used)
        return granted


def _needs(operation: str, request: Json) -> Iterator[_Need]:
    """Yield all that a call needs to be granted."""
    service, _, name = operation.partition(".")
    match service:
        case "TrentService":
            pairs = request.get("EncryptionContext", {}).items()
            context = {f"kms:EncryptionContext:{key}": [value] for key, value in pairs}
            yield _Need(f"kms:{name}", "RingKey", context)
        case "AmazonSSM":
            for parameter in request.get("Names") or [request["Name"]]:
                arn = _ARN.format("ssm", f"parameter{parameter}")
                yield _Need(f"ssm:{name}", arn)
        case _ if operation == _SEND_MAIL:
            address = parseaddr(request["FromEmailAddress"])[1]
            arn = _ARN.format("ses", f"identity/{address}")
            yield _Need("ses:SendEmail", arn, {"ses:FromAddress": [address]})
        case "AWSEvents":
            sources: dict[str, list[str]] = {}
            for entry in request["Entries"]:
                sources.setdefault(entry["EventBusName"], []).append(entry["Source"])
            for bus, found in sources.items():
                arn = bus if ":" in bus else _ARN.format("events", f"event-bus/{bus}")
                yield _Need(f"events:{name}", arn, {"events:source": found})
        case _:
            for action, context in _table_needs(name, request):
                yield _Need(f"dynamodb:{action}", "Table", context)


def _table_needs(
    operation: str, request: Json
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    if operation == "TransactWriteItems":
        items = [
            (f"{action}Item", _pk(item))
            for entry in request["TransactItems"]
            for action, item in entry.items()
        ]
        enclosing = {"dynamodb:EnclosingOperation": [operation]}
        # AWS does not say which keys a transaction's condition sees: both must do.
        for action, pk in items:
            yield action, {"dynamodb:LeadingKeys": [pk], **enclosing}
            pks = [pk for _, pk in items]
            yield action, {"dynamodb:LeadingKeys": pks, **enclosing}
    elif operation == "BatchGetItem":
        (table,) = request["RequestItems"].values()
        pks = [key["pk"]["S"] for key in table["Keys"]]
        yield operation, {"dynamodb:LeadingKeys": pks}
    elif operation == "Scan":
        context = {"dynamodb:Attributes": sorted(_attributes(request))}
        # Where it is not sent, AWS goes by the projection: its own policies limit
        # GetItem by it, which has no such parameter (Amazon DynamoDB Developer Guide,
        # "Resource-based policy examples").
        derived = "SPECIFIC" if "ProjectionExpression" in request else "ALL"
        context["dynamodb:Select"] = [request.get("Select", f"{derived}_ATTRIBUTES")]
        yield operation, context
    else:
        yield operation, {"dynamodb:LeadingKeys": [_pk(request)]}


def _attributes(request: Json) -> set[str]:
    """Return the attributes that a request names, in what it asks and what it shows."""
    named = request.get("ExpressionAttributeNames", {})
    expressions = ("ProjectionExpression", "FilterExpression")
    text = " ".join(request.get(expression, "") for expression in expressions)
    words = set(re.findall(r"[#:]?\w+", text)) - _WORDS
    return {named.get(word, word) for word in words if not word.startswith(":")}


def _pk(item: Json) -> str:
    key: Json = item["Key"] if "Key" in item else item["Item"]
    pk: str = key["pk"]["S"]
    return pk


def _used_parts(statement: Json, need: _Need) -> set[str]:
    """Return which parts of a statement grant this; none if it does not."""
    if need.action not in _list(statement["Action"]):
        return set()
    resources = _list(statement["Resource"])
    if not any(fnmatch.fnmatchcase(need.resource, wanted) for wanted in resources):
        return set()
    used = {need.action}
    for name, key, expected in _conditions(statement):
        values = need.context.get(key, [])
        if name in _LIMITS:
            if not _LIMITS[name](values, expected):
                return set()
            continue
        quantifier, matches = _OPERATORS[name]
        found = [
            {wanted for wanted in expected if matches(value, wanted)}
            for value in values
        ]
        if not quantifier(bool(wanted) for wanted in found):
            return set()
        used.update(*found)
    return used


def _parts(statement: Json) -> Iterator[str]:
    yield from _list(statement["Action"])
    for name, _, expected in _conditions(statement):
        if name not in _LIMITS:
            yield from expected


def _conditions(statement: Json) -> Iterator[tuple[str, str, list[str]]]:
    for name, keys in statement.get("Condition", {}).items():
        for key, expected in keys.items():
            yield name, key, _list(expected)


def _resolved(value: Any) -> Any:
    """Return what CloudFormation makes of a policy; there is one table and one key."""
    match value:
        case {"Fn::GetAtt": [name, attribute]}:
            return name if attribute == "Arn" else f"{name}.{attribute}"
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([A-Za-z:.]+)\}", lambda name: _VALUES[name[1]], text)
        case {"Ref": name}:
            return _VALUES[name]
        case dict():
            return {key: _resolved(each) for key, each in value.items()}
        case list():
            return [_resolved(each) for each in value]
    return value


_VALUES = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "FailedRecords.Arn": "FailedRecords",
    **PARAMETERS,
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refuse(start_response: StartResponse) -> Iterable[bytes]:
    status = HTTPStatus.BAD_REQUEST
    start_response(
        f"{status.value} {status.phrase}",
        [("Content-Type", "application/x-amz-json-1.0")],
    )
    return [json.dumps({"__type": "AccessDeniedException", "Message": "no"}).encode()]


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet."""


@dataclass
class Aws:
    """A table, a key and a bus, and where to reach them."""

    endpoint_url: str
    table_name: str
    key_arn: str
    gate: PolicyGate

    def item(self, pk: str) -> Json | None:
        """Return an item as DynamoDB holds it."""
        answer = self.db.get_item(TableName=self.table_name, Key={"pk": {"S": pk}})
        item: Any = answer.get("Item")
        return None if item is None else dict(item)

    @functools.cached_property
    def db(self) -> DynamoDBClient:
        """A client that may do everything."""
        client: DynamoDBClient = boto3.client(
            "dynamodb", **_as_owner(self.endpoint_url)
        )
        return client

    def call_as(
        self, function: str, service: str, operation: str, request: Json
    ) -> Json:
        """Make a call with the credentials of a function."""
        client = boto3.client(  # type: ignore[call-overload]
            service,
            **_as_owner(self.endpoint_url) | {"aws_access_key_id": function},
        )
        try:
            answer: Json = getattr(client, operation)(**request)
        finally:
            client.close()
        return answer

    def live_table(self) -> LiveTable:
        """Return the table's stream from now on."""
        with engine.environment():
            return LiveTable(self.table_name, self.endpoint_url, wiring.utc_now)

    def published(self) -> list[Json]:
        """Return what has come to the bus, oldest first."""
        archive = events_backends[ACCOUNT][REGION].archives[_ARCHIVE]
        return [dict(each) for each in archive.events]

    def mails_to(self, address: str) -> list[str]:
        """Return the texts of the mails that SES has taken for an address."""
        return [
            message.body
            for message in ses_backends[ACCOUNT][REGION].sent_messages
            if address in message.destinations["ToAddresses"]
        ]


@contextmanager
def serving(functions: Iterable[str], secrets: Mapping[str, str]) -> Iterator[Aws]:
    """Serve the template's table, key and bus, SSM, and an SES for example.com.

    Args:
        secrets: Names and values of parameters in SSM, encrypted there.
    """
    gate = PolicyGate(
        DomainDispatcherApplication(create_backend_app),
        {function: _resolved(statements(function)) for function in functions},
    )
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    endpoint_url = f"http://127.0.0.1:{server.server_port}"
    table = resources(translated(), "AWS::DynamoDB::Table")["Table"]
    dynamodb = boto3.client("dynamodb", **_as_owner(endpoint_url))
    kms = boto3.client("kms", **_as_owner(endpoint_url))
    events = boto3.client("events", **_as_owner(endpoint_url))
    ses = boto3.client("sesv2", **_as_owner(endpoint_url))
    ssm = boto3.client("ssm", **_as_owner(endpoint_url))
    try:
        dynamodb.create_table(
            TableName=TABLE,
            KeySchema=table["KeySchema"],
            AttributeDefinitions=table["AttributeDefinitions"],
            BillingMode=table["BillingMode"],
            StreamSpecification={
                "StreamEnabled": True,
                "StreamViewType": table["StreamSpecification"]["StreamViewType"],
            },
        )
        bus = events.create_event_bus(Name=PARAMETERS["EventBusName"])
        events.create_archive(
            ArchiveName=_ARCHIVE, EventSourceArn=bus["EventBusArn"], EventPattern="{}"
        )
        key_arn = kms.create_key()["KeyMetadata"]["Arn"]
        ses.create_email_identity(EmailIdentity="example.com")
        for name, value in secrets.items():
            ssm.put_parameter(Name=name, Value=value, Type="SecureString")
        yield Aws(endpoint_url, TABLE, key_arn, gate)
        dynamodb.delete_table(TableName=TABLE)
        events.delete_archive(ArchiveName=_ARCHIVE)
        events.delete_event_bus(Name=PARAMETERS["EventBusName"])
        ses.delete_email_identity(EmailIdentity="example.com")
        ssm.delete_parameters(Names=list(secrets))
    finally:
        for client in (dynamodb, events, kms, ses, ssm):
            client.close()
        server.shutdown()
        server.server_close()


def _as_owner(endpoint_url: str) -> Any:
    return {
        "endpoint_url": endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": "owner",
        "aws_secret_access_key": "owner",
    }
