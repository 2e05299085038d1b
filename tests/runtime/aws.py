"""DynamoDB and KMS by moto, behind the policies of `template.yaml`.

A function signs its calls with its own name as access key; what its role does not
grant is refused as AWS refuses it. So the tests also show that the grants suffice.
"""

import fnmatch
import io
import json
import operator
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import boto3
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import WSGIRequestHandler, make_server

from sam_template import Json, resources, statements, translated

REGION = "eu-central-1"

_Quantifier = Callable[[Iterable[bool]], bool]
_Comparison = Callable[[str, str], bool]

_OPERATORS: dict[str, tuple[_Quantifier, _Comparison]] = {
    "ForAllValues:StringEquals": (all, operator.eq),
    "ForAllValues:StringLike": (all, fnmatch.fnmatchcase),
    "ForAnyValue:StringEquals": (any, operator.eq),
    "StringEquals": (any, operator.eq),
}


@dataclass
class PolicyGate:
    """Refuses what the caller's role does not grant; `refused` lists it."""

    app: WSGIApplication
    policies: dict[str, list[Json]]
    refused: list[str] = field(default_factory=list)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
        caller = environ["HTTP_AUTHORIZATION"].partition("Credential=")[2].split("/")[0]
        target = environ["HTTP_X_AMZ_TARGET"]
        if caller in self.policies:
            for action, context in _authorizations(target, json.loads(body)):
                if not _is_granted(self.policies[caller], action, context):
                    self.refused.append(f"{caller}: {action} {context}")
                    return _refuse(start_response)
        return self.app(environ, start_response)


def _authorizations(target: str, request: Json) -> Iterator[tuple[str, Json]]:
    """Yield each action that a call needs, with the condition keys AWS fills in."""
    service, _, operation = target.partition(".")
    if service == "TrentService":
        pairs = request.get("EncryptionContext", {}).items()
        context = {f"kms:EncryptionContext:{key}": [value] for key, value in pairs}
        yield f"kms:{operation}", context
    elif operation == "TransactWriteItems":
        items = [
            (f"dynamodb:{action}Item", _pk(item))
            for entry in request["TransactItems"]
            for action, item in entry.items()
        ]
        enclosing = {"dynamodb:EnclosingOperation": [operation]}
        # AWS does not say which keys a transaction's condition sees: both must do.
        for action, pk in items:
            yield action, {"dynamodb:LeadingKeys": [pk], **enclosing}
            pks = [pk for _, pk in items]
            yield action, {"dynamodb:LeadingKeys": pks, **enclosing}
    else:
        yield f"dynamodb:{operation}", {"dynamodb:LeadingKeys": [_pk(request)]}


def _pk(item: Json) -> str:
    key: Json = item["Key"] if "Key" in item else item["Item"]
    pk: str = key["pk"]["S"]
    return pk


def _is_granted(policy: list[Json], action: str, context: Json) -> bool:
    return any(
        action in _list(statement["Action"])
        and all(
            _holds(name, expected, context.get(key, []))
            for name, keys in statement["Condition"].items()
            for key, expected in keys.items()
        )
        for statement in policy
    )


def _holds(name: str, expected: Any, actual: list[str]) -> bool:
    quantifier, matches = _OPERATORS[name]
    return quantifier(
        any(matches(value, wanted) for wanted in _list(expected)) for value in actual
    )


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
    """A table and a key, and where to reach them."""

    endpoint_url: str
    table_name: str
    key_arn: str
    gate: PolicyGate

    def item(self, pk: str) -> Json | None:
        """Return an item as DynamoDB holds it."""
        dynamodb = boto3.client("dynamodb", **_as_owner(self.endpoint_url))
        answer = dynamodb.get_item(TableName=self.table_name, Key={"pk": {"S": pk}})
        item: Json | None = answer.get("Item")
        return item


@contextmanager
def serving(functions: Iterable[str]) -> Iterator[Aws]:
    """Serve DynamoDB and KMS with the template's table and key in them."""
    gate = PolicyGate(
        DomainDispatcherApplication(create_backend_app),
        {function: statements(function) for function in functions},
    )
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint_url = f"http://127.0.0.1:{server.server_port}"
    table = resources(translated(), "AWS::DynamoDB::Table")["Table"]
    dynamodb = boto3.client("dynamodb", **_as_owner(endpoint_url))
    kms = boto3.client("kms", **_as_owner(endpoint_url))
    try:
        dynamodb.create_table(
            TableName="anonauth",
            KeySchema=table["KeySchema"],
            AttributeDefinitions=table["AttributeDefinitions"],
            BillingMode=table["BillingMode"],
        )
        key_arn = kms.create_key()["KeyMetadata"]["Arn"]
        yield Aws(endpoint_url, "anonauth", key_arn, gate)
        dynamodb.delete_table(TableName="anonauth")
    finally:
        dynamodb.close()
        kms.close()
        server.shutdown()
        server.server_close()


def _as_owner(endpoint_url: str) -> Any:
    return {
        "endpoint_url": endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": "owner",
        "aws_secret_access_key": "owner",
    }
