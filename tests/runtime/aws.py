"""moto's DynamoDB, KMS, SSM, SES and EventBridge, behind `template.yaml`'s policies.

A function signs its calls with its own name as access key. A call that its role does
not grant is refused as AWS would refuse it. So the tests also show that the grants
suffice, and which grants are not needed.
"""

import functools
import io
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from anonauth.local import aws
from anonauth.local.dynamodb.live_table import LiveTable
from support.project.policies import ACCOUNT, REGION, Policies
from support.project.sam_template import Json, resources, translated

TABLE = "anonauth-runtime"  # other tests of the same process use other tables

PARAMETERS = {
    "AppIds": "myapp-abcde,other-fghij",
    "SettingsParameter": "/anonauth-runtime/settings",
    "MailSender": "noreply@example.com",
    "EventBusName": "anonauth-runtime",
    "ExpiryNoticeDays": "20,2",
}
"""Parameters that the deployment sets; the others have the template's defaults."""

_ARCHIVE = "anonauth-runtime"


@dataclass
class PolicyGate:
    """Refuses calls that the caller's role does not grant.

    `calls` has caller and operation of each call of a function.
    """

    app: WSGIApplication
    policies: Policies
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        caller = environ["HTTP_AUTHORIZATION"].partition("Credential=")[2].split("/")[0]
        if self.policies.knows(caller):
            operation = environ.get("HTTP_X_AMZ_TARGET") or environ["PATH_INFO"]
            self.calls.append((caller, operation.rpartition(".")[2]))
            if not self.policies.allows(caller, operation, json.loads(body)):
                return _refuse(start_response)
        return self.app(environ, start_response)


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
    """A table, a key and a bus, with their addresses."""

    endpoint_url: str
    table_name: str
    key_arn: str
    gate: PolicyGate

    def item(self, pk: str) -> Json | None:
        """Return an item as DynamoDB stores it."""
        answer = self.db.get_item(TableName=self.table_name, Key={"pk": {"S": pk}})
        item: Any = answer.get("Item")
        return None if item is None else dict(item)

    @functools.cached_property
    def db(self) -> DynamoDBClient:
        """A client without restrictions."""
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
        with aws.isolate_environment():
            return LiveTable(self.table_name, self.endpoint_url, wiring.utc_now)

    def published(self) -> list[Json]:
        """Return the events that the bus has received, oldest first."""
        archive = events_backends[ACCOUNT][REGION].archives[_ARCHIVE]
        return [dict(each) for each in archive.events]

    def mails_to(self, address: str) -> list[str]:
        """Return the texts of the mails that SES accepted for an address."""
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
    policies = Policies(functions, PARAMETERS, {TABLE: "Table"})
    gate = PolicyGate(DomainDispatcherApplication(create_backend_app), policies)
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
        policies.names[key_arn] = "RingKey"
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
