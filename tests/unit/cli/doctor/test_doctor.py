"""`anonauth doctor`: a healthy stack, and each fault that a check finds.

The stack is `template.yaml` as SAM translates it, without the resources that moto's
CloudFormation does not know. Its HTTP API is the real discovery, served here.
"""

import functools
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.cloudformation.models import cloudformation_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from typer.testing import CliRunner, Result
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from anonauth import wiring
from anonauth.cli.commands import app
from anonauth.cli.deployment import Deployment, open_deployment
from anonauth.cli.doctor import aws_checks, runner
from anonauth.cli.doctor.check_result import CheckResult, CheckState
from anonauth.cli.doctor.probe import DeploymentProbe
from anonauth.cli.doctor.report import DoctorReport
from anonauth.cli.doctor.runner import CHECKS
from anonauth.cli.options import DeploymentOptions
from anonauth.cli.version import code_version
from anonauth.domain.signing_keys import (
    Ring,
)
from anonauth.domain.users import User
from anonauth.local.command_error import CommandError
from anonauth.store import Store
from anonauth.usecases.discovery import location, openid_configuration
from anonauth.usecases.key_ring import KeyRotation
from support.contracts.identity_contract import a_foreign_identity, a_linked_user, lose
from support.contracts.store_contract import DAY
from support.project import sam_template
from support.project.pages import section
from support.service.harness import APP, OTHER_APP

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STACK = "anonauth-doctor"
SETTINGS = "/anonauth-doctor/settings"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
SECRET = "secret-of-somebody-with-32-bytes-and-more"
DOCUMENT = {
    "apps": {
        "*": {
            "custom-token": {
                "issuers": [
                    {
                        "issuer": "legacy",
                        "algorithm": "HS256",
                        "secret": {"ssm": "legacy"},
                    }
                ]
            }
        }
    }
}
WITHOUT = {"DomainTarget"}  # outputs of a stack with a domain
UNDERSTOOD = {  # by moto's CloudFormation, and checked by doctor
    "AWS::DynamoDB::Table",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::KMS::Key",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
}
CDN_SECRET, NEW_SECRET = "0" * 64, "f" * 64
OTHERS = "any other secret"
APP_URL = f"/api/client/v2.0/app/{APP}"
LOCATION = f"{APP_URL}/location"
CONFIGURATION = f"{APP_URL}/.well-known/openid-configuration"
JWKS = f"{APP_URL}/.well-known/jwks.json"


@dataclass
class Cloud:
    """An AWS with a stack, and the HTTP API of that stack.

    `denied` has the services, and operations of DynamoDB, that the caller may not use.
    `pages` has wrong answers of the API by path, and `date` a wrong time of its clock.
    `profile` has the status of a profile by the CDN's secret; `secrets` were received.
    """

    url: str = ""
    deployment: Deployment = field(default=None)  # type: ignore[assignment]
    pages: dict[str, tuple[int, Any]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    date: datetime | None = None
    hangs: threading.Event | None = None
    profile: dict[str, int] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    clients: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> str:
        return self.deployment.table

    def physical(self, logical: str) -> str:
        found = aws("cloudformation").describe_stack_resource(
            StackName=STACK, LogicalResourceId=logical
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def probe(
        self, deployment: Deployment | None = None, **options: Any
    ) -> DeploymentProbe:
        probe = DeploymentProbe(deployment or self.deployment, **options)
        # Creating clients takes most of the time.
        probe._clients = self.clients
        if deployment is None:
            probe._services = self.services
        return probe

    @functools.cached_property
    def services(self) -> wiring.Services:
        return self.deployment.services()

    def check(self, name: str, **options: Any) -> CheckResult:
        return check_named(name, self.probe(**options))

    def run(self, *options: str) -> Result:
        target = ["--stack", STACK, "--endpoint-url", self.url]
        return CliRunner().invoke(app, ["doctor", *target, *options])

    def answer(self, path: str, secret: str = "") -> Response:
        if self.hangs:
            self.hangs.wait(10)
        if path.endswith("/auth/profile"):
            self.secrets.append(secret)
            return Response(status=self.profile.get(secret, self.profile[OTHERS]))
        status, body = self.pages.get(path) or (200, self._truth(path))
        date = self.date or self.services.clock()
        headers = {"Date": format_datetime(date, usegmt=True)}
        return Response(json.dumps(body), status, headers)

    def _truth(self, path: str) -> Any:
        services = self.services
        match path:
            case _ if path == LOCATION:
                return location(self.url, "eu-central-1")
            case _ if path == CONFIGURATION:
                return openid_configuration(self.url, APP)
        assert path == JWKS
        return services.ring.jwks(services.clock())


def check_named(name: str, probe: DeploymentProbe) -> CheckResult:
    (check,) = (check for check in CHECKS if check.name == name)
    return runner.run_check(check, probe)


@functools.cache
def aws(service: str) -> Any:
    return boto3.client(service, "eu-central-1")  # type: ignore[call-overload]


class Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet."""

    def send_response(self, code: int, message: str | None = None) -> None:
        # Without this machine's own Date, which would be the first of two.
        self.send_response_only(code, message)


def refusal(service: str) -> Response:
    """Return a service's answer to a caller without permission, in its own form."""
    if service in {"s3", "cloudformation"}:
        error = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        around = f"<ErrorResponse>{error}</ErrorResponse>"
        return Response(error if service == "s3" else around, 403)
    headers = {"x-amzn-errortype": "AccessDeniedException"}
    body = {"__type": "AccessDeniedException", "Message": "no"}
    return Response(json.dumps(body), 403 if service == "lambda" else 400, headers)


@pytest.fixture(scope="module")
def whole(moto: None) -> Iterator[Cloud]:
    """The stack as it was deployed."""
    cloud = Cloud()
    moto_app = DomainDispatcherApplication(create_backend_app)

    def application(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/cdn/"):  # it adds its secret
            answer = cloud.answer(path.removeprefix("/cdn"), CDN_SECRET)
            return answer(environ, start_response)
        if path.startswith("/api/client/"):
            secret = environ.get("HTTP_X_ORIGIN_VERIFY", "")
            return cloud.answer(path, secret)(environ, start_response)
        scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2]
        service = scope.split("/")[3]
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if cloud.denied & {service, operation}:
            return refusal(service)(environ, start_response)
        return moto_app(environ, start_response)  # type: ignore[no-any-return]

    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=Quiet
    )
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    cloud.url = f"http://127.0.0.1:{server.server_port}"
    bucket = deploy(cloud.url)
    with open_deployment(
        DeploymentOptions(STACK, endpoint_url=cloud.url)
    ) as deployment:
        cloud.deployment = deployment
        services = cloud.services
        KeyRotation(services.store, services.key_maker).rotate(services.clock())
        map_stream(deployment)
        yield cloud
    server.shutdown()
    server.server_close()
    aws("dynamodb").update_table(TableName=cloud.table, DeletionProtectionEnabled=False)
    aws("cloudformation").delete_stack(StackName=STACK)
    aws("ssm").delete_parameters(Names=[SETTINGS, f"{SETTINGS}/legacy"])
    aws("s3").delete_object(Bucket=bucket, Key="bundle")
    aws("s3").delete_bucket(Bucket=bucket)


def deploy(url: str) -> str:
    """Deploy the stack, and return the bucket with its bundle."""
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("anonauth/__init__.py", "")
    bucket = "bucket"  # as `sam_template` packages it
    aws("s3").create_bucket(
        Bucket=bucket,
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    aws("s3").put_object(Bucket=bucket, Key="bundle", Body=bundle.getvalue())
    template = sam_template.translated()
    del template["Rules"]
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] in UNDERSTOOD
        # moto lists what a condition has left out, without its name.
        and resource.get("Condition") != "HasAccessLog"
    }
    for resource in template["Resources"].values():
        resource["Properties"].pop("ManagedPolicyArns", None)  # moto has none of AWS's
        if "KeyPolicy" in resource["Properties"]:  # it reads text only
            policy = json.dumps(resource["Properties"]["KeyPolicy"])
            resource["Properties"]["KeyPolicy"] = policy
    told = {
        "BaseUrl": url,
        "ClientAppIds": APP,
        "Issuer": f"{url}{APP_URL}",
        "Jwks": f"{url}{JWKS}",
        "OriginDomain": url.removeprefix("http://"),
    }
    template["Outputs"] = {
        name: {"Value": told.get(name, output["Value"])}
        for name, output in template["Outputs"].items()
        if name not in WITHOUT
    }
    aws("cloudformation").create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_IAM"],
        **deployed_with({"SettingsParameter": SETTINGS, "AlarmTopic": TOPIC}),
    )
    for name, text in (
        (SETTINGS, json.dumps(DOCUMENT)),
        (f"{SETTINGS}/legacy", SECRET),
    ):
        aws("ssm").put_parameter(Name=name, Value=text, Type="SecureString")
    (table,) = (
        each["PhysicalResourceId"]
        for each in aws("cloudformation").describe_stack_resources(StackName=STACK)[
            "StackResources"
        ]
        if each["LogicalResourceId"] == "Table"
    )
    # moto's CloudFormation leaves these out.
    set_ttl(table, "ttl", on=True)
    set_backups(table, on=True)
    return bucket


def deployed_with(parameters: dict[str, str]) -> dict[str, Any]:
    """Return parameters in the form in which CloudFormation takes and returns them."""
    pairs = parameters.items()
    return {"Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in pairs]}


def map_stream(deployment: Deployment) -> None:
    """Map the stream. From then on moto would run a container at each write."""
    mapping = sam_template.resources(
        sam_template.translated(), "AWS::Lambda::EventSourceMapping"
    )["LifecycleStream"]
    table = aws("dynamodb").describe_table(TableName=deployment.table)["Table"]
    bucket = f"arn:aws:s3:::{deployment.output('FailedRecordsBucket')}"
    aws("lambda").create_event_source_mapping(
        **mapping
        | {
            "FunctionName": deployment.output("LifecycleFunctionName"),
            "EventSourceArn": table["LatestStreamArn"],
            "DestinationConfig": {"OnFailure": {"Destination": bucket}},
        }
    )


@pytest.fixture
def cloud(whole: Cloud) -> Iterator[Cloud]:
    """The stack, for a test that gives it wrong answers."""
    yield whole
    whole.pages.clear()
    whole.profile.clear()
    whole.secrets.clear()
    whole.denied.clear()
    whole.date = whole.hangs = None


def set_ttl(table: str, attribute: str, *, on: bool) -> None:
    aws("dynamodb").update_time_to_live(
        TableName=table,
        TimeToLiveSpecification={"Enabled": on, "AttributeName": attribute},
    )


def set_backups(table: str, *, on: bool) -> None:
    aws("dynamodb").update_continuous_backups(
        TableName=table,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": on},
    )


def key_id(cloud: Cloud) -> str:
    return cloud.deployment.kms_key.rpartition("/")[2]  # moto takes no ARN for some


def mapping_of(cloud: Cloud) -> str:
    (mapping,) = aws("lambda").list_event_source_mappings(
        FunctionName=cloud.deployment.output("LifecycleFunctionName")
    )["EventSourceMappings"]
    return str(mapping["UUID"])


def test_given_a_stack_as_deployed_when_checked_then_all_checks_are_ok(
    cloud: Cloud,
) -> None:
    result = cloud.run("--json")

    body = json.loads(result.stdout)
    assert result.exit_code == 0
    assert body["well"] is True
    assert [(f["name"], f["state"]) for f in body["findings"]] == [
        (check.name, "ok") for check in CHECKS
    ]
    assert SECRET not in result.stdout


def test_given_a_stack_as_deployed_when_shown_then_each_check_has_its_line(
    cloud: Cloud,
) -> None:
    result = cloud.run()

    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    told = [re.split(r"  +", line.strip())[:2] for line in lines[1 : len(CHECKS) + 1]]
    assert told == [[check.name, "ok"] for check in CHECKS]
    assert lines[-1] == f"{len(CHECKS)} ok"


def test_given_only_a_table_when_checked_then_table_and_ring_are(
    cloud: Cloud,
) -> None:
    target = ["--table", cloud.table, "--endpoint-url", cloud.url, "--json"]

    body = json.loads(CliRunner().invoke(app, ["doctor", *target]).stdout)
    with_key = json.loads(
        CliRunner()
        .invoke(app, ["doctor", *target, "--kms-key", cloud.deployment.kms_key])
        .stdout
    )

    names = [finding["name"] for finding in body["findings"]]
    assert names == [
        "table",
        "TTL",
        "stream",
        "backups",
        "deletion protection",
        "lost users",
        "key ring",
        "key rotation",
    ]
    assert body["well"] is True
    assert [f["name"] for f in with_key["findings"]] == [*names, "KMS key"]


Fault = Callable[[Cloud], AbstractContextManager[None]]


@contextmanager
def ttl_off(cloud: Cloud) -> Iterator[None]:
    set_ttl(cloud.table, "ttl", on=False)
    yield
    set_ttl(cloud.table, "ttl", on=True)


@contextmanager
def ttl_elsewhere(cloud: Cloud) -> Iterator[None]:
    set_ttl(cloud.table, "ttl", on=False)
    set_ttl(cloud.table, "expires_at", on=True)
    yield
    set_ttl(cloud.table, "expires_at", on=False)
    set_ttl(cloud.table, "ttl", on=True)


@contextmanager
def no_backups(cloud: Cloud) -> Iterator[None]:
    set_backups(cloud.table, on=False)
    yield
    set_backups(cloud.table, on=True)


@contextmanager
def no_protection(cloud: Cloud) -> Iterator[None]:
    db = aws("dynamodb")
    db.update_table(TableName=cloud.table, DeletionProtectionEnabled=False)
    yield
    db.update_table(TableName=cloud.table, DeletionProtectionEnabled=True)


@contextmanager
def stream_not_read(cloud: Cloud) -> Iterator[None]:
    change, uuid = aws("lambda").update_event_source_mapping, mapping_of(cloud)
    change(UUID=uuid, Enabled=False)
    yield
    change(UUID=uuid, Enabled=True)


@contextmanager
def no_destination(cloud: Cloud) -> Iterator[None]:
    change, uuid = aws("lambda").update_event_source_mapping, mapping_of(cloud)
    change(UUID=uuid, DestinationConfig={"OnFailure": {}})
    yield
    bucket = cloud.deployment.output("FailedRecordsBucket")
    destination = {"Destination": f"arn:aws:s3:::{bucket}"}
    change(UUID=uuid, DestinationConfig={"OnFailure": destination})


@contextmanager
def a_failed_batch(cloud: Cloud) -> Iterator[None]:
    place = {
        "Bucket": cloud.deployment.output("FailedRecordsBucket"),
        "Key": "aws/lambda/mapping/shard/2026/11/24/2026-11-24T12.00.00-a",
    }
    aws("s3").put_object(**place, Body=b"{}")
    yield
    aws("s3").delete_object(**place)


@contextmanager
def an_old_runtime(cloud: Cloud) -> Iterator[None]:
    change = aws("lambda").update_function_configuration
    change(FunctionName=cloud.physical("LoginFunction"), Runtime="python3.12")
    yield
    change(FunctionName=cloud.physical("LoginFunction"), Runtime="python3.13")


@contextmanager
def a_deleted_function(cloud: Cloud) -> Iterator[None]:
    found = aws("lambda").get_function(FunctionName=cloud.physical("LogoutFunction"))
    made = found["Configuration"]
    aws("lambda").delete_function(FunctionName=made["FunctionName"])
    yield
    names = ("FunctionName", "Runtime", "Role", "Handler")
    code = {"S3Bucket": "bucket", "S3Key": "bundle"}
    aws("lambda").create_function(Code=code, **{name: made[name] for name in names})


@contextmanager
def no_schedule(cloud: Cloud) -> Iterator[None]:
    aws("events").disable_rule(Name=cloud.physical("KeysFunctionDaily"))
    yield
    aws("events").enable_rule(Name=cloud.physical("KeysFunctionDaily"))


@contextmanager
def key_disabled(cloud: Cloud) -> Iterator[None]:
    aws("kms").disable_key(KeyId=key_id(cloud))
    yield
    aws("kms").enable_key(KeyId=key_id(cloud))


@contextmanager
def key_pending_deletion(cloud: Cloud) -> Iterator[None]:
    aws("kms").schedule_key_deletion(KeyId=key_id(cloud))
    yield
    aws("kms").cancel_key_deletion(KeyId=key_id(cloud))
    aws("kms").enable_key(KeyId=key_id(cloud))


def settings_that_are(document: Any) -> Fault:
    @contextmanager
    def other(cloud: Cloud) -> Iterator[None]:
        text = document if isinstance(document, str) else json.dumps(document)
        for value in (text, None):
            aws("ssm").put_parameter(
                Name=SETTINGS,
                Value=value or json.dumps(DOCUMENT),
                Type="SecureString",
                Overwrite=True,
            )
            if value:
                yield

    return other


@contextmanager
def no_settings(cloud: Cloud) -> Iterator[None]:
    aws("ssm").delete_parameter(Name=SETTINGS)
    yield
    aws("ssm").put_parameter(
        Name=SETTINGS, Value=json.dumps(DOCUMENT), Type="SecureString"
    )


@contextmanager
def no_secret(cloud: Cloud) -> Iterator[None]:
    aws("ssm").delete_parameter(Name=f"{SETTINGS}/legacy")
    yield
    aws("ssm").put_parameter(
        Name=f"{SETTINGS}/legacy", Value=SECRET, Type="SecureString"
    )


CHALLENGE = {"verify_url": "https://challenge.example/verify", "secret": "s"}
MAIL = {
    "sender": "App <hello@example.com>",
    "confirm_url": "https://example.com/c",
    "reset_url": "https://example.com/r",
}


@pytest.mark.parametrize(
    ("fault", "check", "state", "says", "advice"),
    [
        pytest.param(
            ttl_off,
            "TTL",
            "failed",
            "off: expired users are refused, but never deleted",
            "Enabled=true,AttributeName=ttl",
            id="TTL off",
        ),
        pytest.param(
            ttl_elsewhere,
            "TTL",
            "failed",
            "on attribute 'expires_at'",
            "Enabled=false,AttributeName=expires_at",
            id="TTL on another attribute",
        ),
        pytest.param(
            no_backups,
            "backups",
            "failed",
            "no point-in-time recovery",
            "update-continuous-backups",
            id="no PITR",
        ),
        pytest.param(
            no_protection,
            "deletion protection",
            "warning",
            "one call deletes all users",
            "--deletion-protection-enabled",
            id="no deletion protection",
        ),
        pytest.param(
            stream_not_read,
            "events",
            "failed",
            "no events about users, and changes older than 24 hours are lost",
            "--enabled",
            id="mapping disabled",
        ),
        pytest.param(
            no_destination,
            "events",
            "failed",
            "are lost",
            "--destination-config OnFailure={Destination=arn:aws:s3:::",
            id="no failure destination",
        ),
        pytest.param(
            a_failed_batch,
            "failed events",
            "warning",
            "were not published: 1",
            f"anonauth events replay --stack {STACK}",
            id="failed records",
        ),
        pytest.param(
            an_old_runtime,
            "functions",
            "failed",
            "LoginFunction runs on python3.12",
            "build and deploy",
            id="another runtime",
        ),
        pytest.param(
            a_deleted_function,
            "functions",
            "failed",
            "does not exist",
            "deploy",
            id="a function is gone",
        ),
        pytest.param(
            no_schedule,
            "schedules",
            "failed",
            "disabled: KeysFunctionDaily",
            " events enable-rule --name",
            id="schedule disabled",
        ),
        pytest.param(
            key_disabled,
            "KMS key",
            "failed",
            "Disabled",
            " kms enable-key",
            id="KMS key disabled",
        ),
        pytest.param(
            key_pending_deletion,
            "KMS key",
            "failed",
            "PendingDeletion",
            " kms cancel-key-deletion",
            id="KMS key to be deleted",
        ),
        pytest.param(
            settings_that_are({"apps": {"*": {"api-key": {"colour": SECRET}}}}),
            "settings",
            "failed",
            "apps.*.api-key",
            "503",
            id="settings with a fault",
        ),
        pytest.param(
            settings_that_are("{"),
            "settings",
            "failed",
            "truncated",
            "503",
            id="not JSON",
        ),
        pytest.param(
            settings_that_are({"apps": {"*": {"local-userpass": {"mail": MAIL}}}}),
            "settings",
            "warning",
            "no mail goes out",
            "MailSender=",
            id="another sender than the stack's",
        ),
        pytest.param(
            settings_that_are({"apps": {"*": {"anon-user": {"challenge": CHALLENGE}}}}),
            "settings",
            "failed",
            f"no anonymous login asks for the challenge that {SETTINGS} has for {APP}",
            "AnonymousChallenge=true",
            id="a challenge, and no login that asks for it",
        ),
        pytest.param(
            no_settings,
            "settings",
            "failed",
            "does not exist",
            "deploy",
            id="none",
        ),
        pytest.param(
            no_secret,
            "settings",
            "failed",
            "issuers[0].secret: there is no such SSM parameter",
            "503",
            id="no secret",
        ),
    ],
)
def test_given_a_fault_when_checked_then_its_check_says_what_to_do(
    cloud: Cloud, fault: Fault, check: str, state: str, says: str, advice: str
) -> None:
    assert cloud.check(check).state == "ok"

    with fault(cloud):
        found = cloud.check(check)

    assert found.state == state
    assert says in found.says
    assert advice in found.advice
    assert SECRET not in found.says
    assert cloud.check(check).state == "ok"


@pytest.fixture
def lost(store: Store) -> User:
    """A user whose item is lost with two identities left, beside a complete user."""
    a_linked_user(store)
    user = a_linked_user(store, a_foreign_identity(), a_foreign_identity())
    lose(store, user)
    return user


def look_for_lost_users(cloud: Cloud, table: str, **options: Any) -> CheckResult:
    deployment = replace(cloud.deployment, table=table)
    return check_named("lost users", cloud.probe(deployment, **options))


def test_given_a_lost_user_when_checked_then_a_warning_says_how_it_comes_back(
    cloud: Cloud, table: str, store: Store, lost: User
) -> None:
    found = look_for_lost_users(cloud, table)
    target = ["--table", table, "--endpoint-url", cloud.url, "--json"]
    body = json.loads(CliRunner().invoke(app, ["doctor", *target]).stdout)

    assert found.state == "warning"
    assert found.says == "identities whose user's item is lost: 2"
    assert "creates the user again under its id" in found.advice
    (told,) = (f for f in body["findings"] if f["name"] == "lost users")
    assert (told["state"], told["says"]) == (found.state, found.says)
    assert told["advice"] == found.advice
    assert store.create_user(lost)
    assert look_for_lost_users(cloud, table).state == "ok"


@pytest.mark.parametrize(
    ("options", "state"),
    [
        pytest.param({"most_items": 4}, "warning", id="as many items"),
        pytest.param({"most_items": 3}, "ok", id="an item more"),
        pytest.param({"most_units": 1}, "warning", id="as many units"),
        pytest.param({"most_units": 0.9}, "ok", id="more units"),
    ],
)
def test_given_a_table_of_some_size_when_checked_then_a_large_one_is_left_to_stats(
    cloud: Cloud, table: str, lost: User, options: dict[str, Any], state: str
) -> None:
    found = look_for_lost_users(cloud, table, **options)

    assert found.state == state
    assert found.says.endswith("`anonauth stats` counts them") is (state == "ok")


@pytest.mark.parametrize(("most_items", "state"), [(4, "warning"), (3, "ok")])
def test_given_a_table_that_has_grown_since_it_was_counted_then_the_scan_is_given_up(
    cloud: Cloud, table: str, lost: User, most_items: int, state: str
) -> None:
    """DynamoDB counts its items every six hours."""
    probe = cloud.probe(replace(cloud.deployment, table=table), most_items=most_items)
    probe.table = {**probe.table, "ItemCount": 0}

    assert check_named("lost users", probe).state == state


def test_given_a_table_that_is_too_large_when_checked_then_nothing_is_scanned(
    cloud: Cloud, table: str, lost: User
) -> None:
    cloud.denied.add("Scan")

    assert look_for_lost_users(cloud, table, most_items=3).state == "ok"
    assert look_for_lost_users(cloud, table, most_items=4).state == "unknown"


ASKS: dict[str, Any] = {"anon-user": {"challenge": CHALLENGE}}


@pytest.mark.parametrize(
    ("apps", "is_asked", "state", "says"),
    [
        pytest.param({"*": ASKS}, "true", "ok", "are valid", id="all ask"),
        pytest.param({APP: ASKS, "*": {}}, "false", "failed", f"for {APP}", id="own"),
        pytest.param(
            {"*": ASKS, APP: {}},
            "true",
            "warning",
            f"no challenge for {APP}: anonymous logins there ask for none",
            id="its own entry replaces it",
        ),
        pytest.param(
            {"*": ASKS, APP: {}, OTHER_APP: {}},
            "false",
            "ok",
            "are valid",
            id="of no app that is served",
        ),
        pytest.param(
            {}, "true", "warning", f"for {APP}, {OTHER_APP}", id="asked of nobody"
        ),
        pytest.param({}, "false", "ok", "are valid", id="none"),
        pytest.param(
            {"*": {"local-userpass": {"mail": MAIL}}},
            "true",
            "warning",
            "no mail goes out",
            id="mail comes first",
        ),
    ],
)
def test_given_challenges_when_checked_then_each_app_is_compared(
    cloud: Cloud, apps: Any, is_asked: str, state: str, says: str
) -> None:
    outputs = {**cloud.deployment.outputs, "ClientAppIds": f"{APP},{OTHER_APP}"}
    probe = cloud.probe(replace(cloud.deployment, outputs=outputs))
    parameters = {"SettingsParameter": SETTINGS, "AnonymousChallenge": is_asked}
    probe.stack = deployed_with(parameters)

    with settings_that_are({"apps": apps})(cloud):
        found = check_named("settings", probe)

    assert found.state == state
    assert says in found.says


def test_given_a_fault_when_run_then_exit_code_1_and_the_advice_is_shown(
    cloud: Cloud,
) -> None:
    with ttl_off(cloud):
        result = cloud.run()

    assert result.exit_code == 1
    assert isinstance(result.exception, CommandError)
    assert str(result.exception) == f"1 of {len(CHECKS)} checks failed"
    where = f"--region {cloud.deployment.region} --endpoint-url {cloud.url}"
    shown = " ".join(result.stdout.split())
    assert f"→ aws {where} dynamodb update-time-to-live --table-name" in shown
    assert result.stdout.endswith(f"{len(CHECKS) - 1} ok, 1 failed\n")


def test_given_only_a_warning_when_run_then_exit_code_0(cloud: Cloud) -> None:
    with a_failed_batch(cloud):
        result = cloud.run("--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["count"]["warning"] == 1


@contextmanager
def another_table(**specification: Any) -> Iterator[str]:
    name = "anonauth-doctor-another"
    aws("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification=specification,
    )
    yield name
    aws("dynamodb").delete_table(TableName=name)


@pytest.mark.parametrize(
    ("specification", "says"),
    [
        pytest.param({"StreamEnabled": False}, "off: no events", id="off"),
        pytest.param(
            {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
            "has KEYS_ONLY only",
            id="another view",
        ),
    ],
)
def test_given_no_such_stream_when_checked_then_it_is_said(
    cloud: Cloud, specification: Any, says: str
) -> None:
    with another_table(**specification) as table:
        probe = cloud.probe(replace(cloud.deployment, table=table))
        found = check_named("stream", probe)
        events = check_named("events", probe)

    assert found.state == "failed"
    assert says in found.says
    assert events.state == "failed"


def test_given_a_mapping_of_another_stream_when_checked_then_it_does_not_count(
    cloud: Cloud,
) -> None:
    """A stream that is switched off and on again has another ARN."""
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    with another_table(**stream) as table:
        deployment = replace(cloud.deployment, table=table)
        found = check_named("events", cloud.probe(deployment))

    assert found.state == "failed"
    assert "reads another stream" in found.says


def test_given_no_mapping_when_checked_then_the_stream_is_unread(cloud: Cloud) -> None:
    function = cloud.physical("KeysFunction")
    outputs = {**cloud.deployment.outputs, "LifecycleFunctionName": function}
    deployment = replace(cloud.deployment, outputs=outputs)

    found = check_named("events", cloud.probe(deployment))

    assert found.state == "failed"
    assert "reads nothing" in found.says


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        pytest.param({"State": "Enabling"}, "warning", "Enabling", id="enabling"),
        pytest.param({"State": "Disabling"}, "failed", "no events", id="disabling"),
        pytest.param(
            {"LastProcessingResult": "PROBLEM: Function call failed"},
            "warning",
            "events are late",
            id="the function fails",
        ),
        pytest.param({"LastProcessingResult": "OK"}, "ok", "OK", id="works"),
    ],
)
def test_given_what_lambda_says_of_a_mapping_when_judged_then_it_is_told(
    changes: Any, state: str, says: str
) -> None:
    """These states pass too fast to test, and moto does not have them."""
    mapping = {
        "UUID": "u",
        "State": "Enabled",
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::b"}},
    }

    found = aws_checks._check_stream_mapping(mapping | changes, "b")

    assert found.state == state
    assert says in found.says


@pytest.mark.parametrize(
    ("changes", "state", "says"),
    [
        pytest.param({}, "ok", "2 are Active", id="as deployed"),
        pytest.param({"State": "Pending"}, "warning", "LoginFunction", id="not yet"),
        pytest.param(
            {"State": "Failed", "StateReason": "no role"},
            "failed",
            "LoginFunction has failed: no role",
            id="failed",
        ),
        pytest.param(
            {"LastUpdateStatus": "Failed"},
            "failed",
            "LoginFunction has failed: no reason given",
            id="not updated",
        ),
    ],
)
def test_given_what_lambda_says_of_a_function_when_judged_then_it_is_told(
    changes: dict[str, str], state: str, says: str
) -> None:
    """These states pass too fast to test, as those of mappings do."""
    well = {
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "Runtime": aws_checks.RUNTIME,
    }

    found = aws_checks._check_configurations(
        {"KeysFunction": well, "LoginFunction": well | changes}
    )

    assert found.state == state
    assert says in found.says


def test_given_no_function_for_keys_when_judged_then_it_failed() -> None:
    assert aws_checks._check_configurations({}).state == "failed"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        pytest.param("CREATE_COMPLETE", "ok", id="created"),
        pytest.param("UPDATE_COMPLETE", "ok", id="updated"),
        pytest.param("UPDATE_IN_PROGRESS", "warning", id="under way"),
        pytest.param("UPDATE_ROLLBACK_COMPLETE", "warning", id="rolled back"),
        pytest.param("UPDATE_ROLLBACK_FAILED", "failed", id="stuck"),
        pytest.param("DELETE_FAILED", "failed", id="not deleted"),
    ],
)
def test_given_a_stacks_status_when_judged_then_it_is_told(
    cloud: Cloud, status: str, state: str
) -> None:
    probe = cloud.probe()
    probe.stack = {"StackStatus": status}

    assert check_named("stack", probe).state == state


@pytest.mark.parametrize(
    ("deployed", "state", "says"),
    [
        pytest.param({"Version": code_version()}, "ok", code_version(), id="the same"),
        pytest.param({"Version": "1.99.0"}, "warning", "1.99.0; this", id="another"),
        pytest.param({}, "warning", "unknown; this", id="from before the output"),
    ],
)
def test_given_a_stacks_version_when_checked_then_it_is_compared_with_the_commands(
    cloud: Cloud, deployed: dict[str, str], state: str, says: str
) -> None:
    probe = cloud.probe()
    probe.deployment = replace(probe.deployment, outputs=deployed)

    found = check_named("stack", probe)

    assert found.state == state
    assert f"COMPLETE, version {says}" in found.says


@pytest.mark.parametrize(
    ("topic", "state", "says"),
    [
        pytest.param("", "warning", "alarms are not sent", id="none"),
        pytest.param(TOPIC, "ok", f"they go to {TOPIC}", id="one"),
    ],
)
def test_given_a_topic_or_none_when_checked_then_alarms_are_sent_or_not(
    cloud: Cloud, topic: str, state: str, says: str
) -> None:
    probe = cloud.probe()
    probe.stack = deployed_with({"AlarmTopic": topic})

    found = check_named("alarms", probe)

    assert (found.state, found.says) == (state, says)
    assert ("AlarmTopic=" in found.advice) == (state == "warning")


@pytest.mark.parametrize(
    ("status", "state"),
    [("ACTIVE", "ok"), ("UPDATING", "ok"), ("ARCHIVED", "failed")],
)
def test_given_a_tables_status_when_judged_then_it_is_told(
    cloud: Cloud, status: str, state: str
) -> None:
    probe = cloud.probe()
    probe.table = {**probe.table, "TableStatus": status}

    assert check_named("table", probe).state == state


def test_given_a_table_of_something_else_when_checked_then_it_is_said(
    cloud: Cloud,
) -> None:
    probe = cloud.probe()
    probe.table = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}

    assert check_named("table", probe).state == "failed"


def test_given_no_ring_when_checked_then_no_user_can_log_in(cloud: Cloud) -> None:
    with another_table(StreamEnabled=False) as table:
        probe = cloud.probe(replace(cloud.deployment, table=table))
        ring, rotation = (
            check_named("key ring", probe),
            check_named("key rotation", probe),
        )

    assert (ring.state, rotation.state) == ("failed", "failed")
    assert ring.says == "there is none, so no user can log in"
    assert "KeysFunction" in ring.advice


def in_days(cloud: Cloud, days: float) -> Callable[[], datetime]:
    """Return a clock that is this many days after the ring was created."""
    ring = cloud.probe().ring
    assert ring is not None
    made_at = ring.keys[0].published_at
    return lambda: made_at + days * DAY


@pytest.mark.parametrize(
    ("days", "ring", "rotation", "says"),
    [
        pytest.param(89, "ok", "ok", "89 days; the next one from", id="in time"),
        pytest.param(90, "ok", "ok", "0 days; the next standby is due", id="a new one"),
        pytest.param(91.9, "ok", "ok", "1 days; the next standby is due", id="a day"),
        pytest.param(92, "ok", "failed", "there is no standby", id="no standby"),
        pytest.param(186, "ok", "failed", "stops at", id="overdue"),
        pytest.param(187, "failed", "failed", "no access key signs", id="nobody signs"),
    ],
)
def test_given_no_rotation_when_days_pass_then_the_checks_fail_one_by_one(
    cloud: Cloud, days: float, ring: str, rotation: str, says: str
) -> None:
    clock = in_days(cloud, days)

    found = cloud.check("key rotation", clock=clock)

    assert cloud.check("key ring", clock=clock).state == ring
    assert found.state == rotation
    assert says in found.says


def test_given_an_overdue_key_and_a_standby_when_checked_then_a_warning(
    cloud: Cloud,
) -> None:
    """The rotation failed for weeks, and then created the standby."""
    probe = cloud.probe(clock=in_days(cloud, 93))
    ring: Ring | None = probe.ring
    assert ring is not None
    _, standby = ring.of("access")
    late = replace(standby, signs_from=standby.signs_from + 4 * DAY)
    probe.ring = ring.replaced(standby, late)

    found = check_named("key rotation", probe)

    assert found.state == "warning"
    assert "93 days" in found.says


def test_given_a_ring_from_the_future_when_checked_then_the_clock_is_blamed(
    cloud: Cloud,
) -> None:
    found = cloud.check("key ring", clock=in_days(cloud, -1))

    assert found.state == "failed"
    assert "later than this machine's clock says" in found.says


@pytest.mark.parametrize(
    ("limit", "state"),
    [
        pytest.param(timedelta(seconds=30), "ok", id="in time"),
        pytest.param(timedelta(0), "failed", id="too late"),
    ],
)
def test_given_a_limit_when_the_key_set_comes_then_it_is_kept_or_not(
    cloud: Cloud, limit: timedelta, state: str
) -> None:
    found = cloud.check("key set", jwks_limit=limit)

    assert found.state == state
    assert ("give up after" in found.says) == (state == "failed")


def test_given_an_api_that_hangs_when_checked_then_the_check_times_out(
    cloud: Cloud,
) -> None:
    cloud.hangs = threading.Event()

    found = cloud.check("key set", patience=timedelta(seconds=0.05))
    clock = cloud.check("clock", patience=timedelta(seconds=0.05))

    cloud.hangs.set()
    assert (found.state, clock.state) == ("failed", "unknown")
    assert found.says == "no answer: nothing within 0.05 s"


def other_kid(keys: list[Any]) -> list[Any]:
    return [*keys[:-1], keys[-1] | {"kid": "other"}]


@pytest.mark.parametrize(
    ("change", "minutes", "state"),
    [
        pytest.param(other_kid, 60, "failed", id="other keys"),
        pytest.param(lambda keys: keys[:-1], 60, "failed", id="one key less"),
        pytest.param(lambda keys: keys[:-1], 4.9, "warning", id="less, the key is new"),
        pytest.param(lambda keys: keys[:-1], 5, "failed", id="less, not so new"),
        pytest.param(lambda keys: {}, 60, "failed", id="none"),
        pytest.param(lambda keys: keys, 60, "ok", id="the ring's"),
    ],
)
def test_given_a_key_set_when_compared_then_it_must_be_the_rings(
    cloud: Cloud, change: Callable[[Any], Any], minutes: float, state: str
) -> None:
    services = cloud.services
    keys = services.ring.jwks(services.clock())["keys"]
    cloud.pages[JWKS] = (200, {"keys": change(keys)})

    found = cloud.check("key set", clock=in_days(cloud, minutes / 24 / 60))

    assert found.state == state


@pytest.mark.parametrize(
    ("page", "body", "check"),
    [
        pytest.param(JWKS, (503, {}), "key set", id="503"),
        pytest.param(JWKS, (200, None), "key set", id="no JSON object"),
        pytest.param(CONFIGURATION, (404, {}), "issuer", id="404"),
        pytest.param(
            CONFIGURATION, (200, {"issuer": "https://other"}), "issuer", id="other"
        ),
        pytest.param(LOCATION, (500, {}), "location", id="500"),
        pytest.param(LOCATION, (301, {}), "location", id="redirect"),
        pytest.param(
            LOCATION, (200, {"hostname": "https://other"}), "location", id="elsewhere"
        ),
    ],
)
def test_given_a_wrong_answer_when_checked_then_it_failed(
    cloud: Cloud, page: str, body: tuple[int, Any], check: str
) -> None:
    cloud.pages[page] = body

    assert cloud.check(check).state == "failed"


@pytest.mark.parametrize(
    ("seconds", "state"), [(59, "ok"), (61, "failed"), (-59, "ok"), (-61, "failed")]
)
def test_given_two_clocks_when_compared_then_a_minute_may_pass(
    cloud: Cloud, seconds: int, state: str
) -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    cloud.date = now + timedelta(seconds=seconds)

    found = cloud.check("clock", clock=lambda: now)

    assert found.state == state
    assert f"{abs(seconds)} s {'behind' if seconds > 0 else 'ahead'}" in found.says


def behind_cdn(cloud: Cloud, secret: str = "") -> CheckResult:
    """Check the stack as if it had the address of a CDN."""
    probe = cloud.probe(origin_secret=secret)
    probe.stack = {
        "Parameters": [
            {"ParameterKey": "BaseUrl", "ParameterValue": f"{cloud.url}/cdn"}
        ]
    }
    return check_named("CDN", probe)


@pytest.mark.parametrize(
    ("profile", "state", "says"),
    [
        pytest.param({CDN_SECRET: 401, OTHERS: 404}, "ok", "are answered", id="good"),
        pytest.param({OTHERS: 401}, "warning", "bypass", id="nothing is checked"),
        pytest.param({OTHERS: 404}, "failed", "gets 404, not 401", id="a wrong secret"),
        pytest.param({OTHERS: 403}, "failed", "gets 403, not 401", id="a firewall"),
        pytest.param(
            {CDN_SECRET: 401, OTHERS: 503}, "failed", "gets 503, not 404", id="503"
        ),
    ],
)
def test_given_a_cdn_when_checked_then_calls_through_it_and_past_it_are_compared(
    cloud: Cloud, profile: dict[str, int], state: str, says: str
) -> None:
    cloud.profile |= profile

    found = behind_cdn(cloud)

    assert found.state == state
    assert says in found.says
    assert bool(found.advice) == (state != "ok")
    assert set(cloud.secrets) <= {CDN_SECRET, ""}


@pytest.mark.parametrize(
    ("status", "state"),
    [pytest.param(401, "ok", id="known"), pytest.param(404, "failed", id="unknown")],
)
def test_given_a_new_secret_when_checked_then_it_is_tried_without_the_cdn(
    cloud: Cloud, status: int, state: str
) -> None:
    cloud.profile |= {CDN_SECRET: 401, NEW_SECRET: status, OTHERS: 404}

    found = behind_cdn(cloud, NEW_SECRET)

    assert found.state == state
    assert NEW_SECRET in cloud.secrets
    assert ("ANONAUTH_ORIGIN_SECRET" in found.says) == (state == "failed")
    assert NEW_SECRET not in found.says + found.advice


def test_given_a_secret_in_the_environment_when_run_then_it_is_tried_and_not_shown(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stack,) = (
        each
        for each in cloudformation_backends[DEFAULT_ACCOUNT_ID][
            "eu-central-1"
        ].stacks.values()
        if each.name == STACK
    )
    monkeypatch.setitem(stack.stack_parameters, "BaseUrl", f"{cloud.url}/cdn")
    monkeypatch.setenv("ANONAUTH_ORIGIN_SECRET", NEW_SECRET)
    cloud.profile |= {CDN_SECRET: 401, OTHERS: 404}

    result = cloud.run("--json")

    states = {f["name"]: f["state"] for f in json.loads(result.stdout)["findings"]}
    assert states["CDN"] == "failed"
    assert NEW_SECRET in cloud.secrets
    assert NEW_SECRET not in result.output


def test_given_no_cdn_when_checked_then_no_call_is_made(cloud: Cloud) -> None:
    found = cloud.check("CDN", origin_secret=NEW_SECRET)

    assert (found.state, cloud.secrets) == ("ok", [])


@pytest.mark.parametrize("secret", ["two\nlines", "with blank", "ü"])
def test_given_a_secret_that_no_header_holds_when_run_then_one_line_hides_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("ANONAUTH_ORIGIN_SECRET", secret)

    result = cloud.run("--json")

    assert isinstance(result.exception, CommandError)
    assert str(result.exception) == "ANONAUTH_ORIGIN_SECRET: not the text of a header"


def test_given_an_api_without_tls_when_checked_then_it_is_not_asked(
    cloud: Cloud,
) -> None:
    probe = cloud.probe()
    probe.deployment = replace(cloud.deployment, endpoint_url=None)

    found = check_named("location", probe)

    assert found.state == "failed"
    assert "is not https" in found.says


@pytest.mark.parametrize(
    ("denied", "unseen"),
    [
        pytest.param(
            "DescribeTimeToLive", {"TTL": "dynamodb:DescribeTimeToLive"}, id="TTL"
        ),
        pytest.param(
            "DescribeTable",
            dict.fromkeys(
                ["table", "stream", "deletion protection", "lost users", "events"],
                "dynamodb:DescribeTable",
            ),
            id="table",
        ),
        pytest.param(
            "GetItem",
            dict.fromkeys(["key ring", "key rotation", "key set"], "dynamodb:GetItem"),
            id="ring",
        ),
        pytest.param(
            "lambda",
            {
                "functions": "lambda:GetFunctionConfiguration",
                "events": "lambda:ListEventSourceMappings",
            },
            id="Lambda",
        ),
        pytest.param("Scan", {"lost users": "dynamodb:Scan"}, id="scan"),
        pytest.param("s3", {"failed events": "s3:ListBucket"}, id="S3"),
        pytest.param("ssm", {"settings": "ssm:GetParameter"}, id="SSM"),
        pytest.param("kms", {"KMS key": "kms:DescribeKey"}, id="KMS"),
        pytest.param("events", {"schedules": "events:DescribeRule"}, id="EventBridge"),
    ],
)
def test_given_a_permission_is_missing_when_checked_then_its_checks_are_unknown(
    cloud: Cloud, denied: str, unseen: dict[str, str]
) -> None:
    if denied == "GetItem":  # otherwise the API could not read its keys either
        services = cloud.services
        cloud.pages[JWKS] = (200, services.ring.jwks(services.clock()))
    cloud.denied.add(denied)

    report = runner.run_checks(cloud.probe())

    found = {each.name: each for each in report.findings}
    assert not report.is_healthy
    assert {name for name, f in found.items() if f.state == "unknown"} == set(unseen)
    for name, action in unseen.items():
        assert found[name].says == f"no permission: {action}"
        assert found[name].advice == f"allow {action}"
    assert {found[name].state for name in found.keys() - unseen} == {"ok"}


def test_given_a_refusal_that_names_an_action_when_told_then_it_is_that_action(
    cloud: Cloud,
) -> None:
    """For a SecureString under a customer key, KMS refuses the call."""
    (check,) = (check for check in CHECKS if check.name == "settings")
    message = "User: x is not authorized to perform: kms:Decrypt on resource: y"

    assert runner._missing_action(check, "GetParameter", message) == "kms:Decrypt"
    assert runner._missing_action(check, "GetParameters", "") == "ssm:GetParameters"


@pytest.mark.parametrize(
    ("states", "is_healthy"),
    [
        pytest.param(["ok", "warning"], True, id="a warning"),
        pytest.param(["ok", "failed"], False, id="failed"),
        pytest.param(["ok", "unknown"], False, id="one not seen"),
        pytest.param(["unknown", "unknown"], False, id="nothing seen"),
    ],
)
def test_given_results_when_summed_up_then_an_unknown_one_is_not_healthy(
    states: list[CheckState], is_healthy: bool
) -> None:
    report = DoctorReport(tuple(CheckResult(state, "") for state in states))

    assert report.is_healthy is is_healthy
    assert report.as_json()["well"] is is_healthy


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        pytest.param(["ok", "failed"], "1 of 2 checks failed", id="failed"),
        pytest.param(["ok", "unknown"], "1 of 2 checks unknown", id="unknown"),
        pytest.param(
            ["failed", "warning", "unknown", "failed"],
            "2 of 4 checks failed, 1 unknown",
            id="both",
        ),
    ],
)
def test_given_a_report_when_it_is_not_healthy_then_the_verdict_counts(
    states: list[CheckState], verdict: str
) -> None:
    report = DoctorReport(tuple(CheckResult(state, "") for state in states))

    assert report.verdict() == verdict


def test_given_a_missing_permission_when_run_then_exit_code_1(cloud: Cloud) -> None:
    """A scheduled job without its permissions must not stay green."""
    cloud.denied.add("DescribeTimeToLive")

    result = cloud.run("--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["well"] is False
    assert str(result.exception) == f"1 of {len(CHECKS)} checks unknown"


def test_given_no_such_table_when_run_then_it_failed(cloud: Cloud) -> None:
    target = ["--table", "none", "--endpoint-url", cloud.url, "--json"]

    result = CliRunner().invoke(app, ["doctor", *target])

    states = {f["name"]: f["state"] for f in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 1
    assert set(states.values()) == {"failed"}, result.stdout


def test_given_a_stack_of_an_earlier_version_when_checked_then_it_is_said(
    cloud: Cloud,
) -> None:
    outputs = dict(cloud.deployment.outputs)
    del outputs["FailedRecordsBucket"]
    deployment = replace(cloud.deployment, outputs=outputs)

    found = check_named("failed events", cloud.probe(deployment))

    assert found.state == "failed"
    assert "needs the stack output FailedRecordsBucket" in found.says


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "which deployment? Give --stack", id="no target"),
        pytest.param(["--stack", "none"], "no stack 'none'", id="no stack"),
    ],
)
def test_given_what_cannot_work_when_run_then_one_line(
    cloud: Cloud, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["doctor", *arguments])

    assert isinstance(result.exception, CommandError)
    assert message in str(result.exception)


def test_given_no_credentials_when_checked_then_one_line(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says so, and not every check again."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    result = CliRunner().invoke(app, ["doctor", "--table", cloud.table])

    assert isinstance(result.exception, CommandError)
    assert str(result.exception).startswith("no AWS credentials")


def test_given_the_runtime_when_judged_then_it_is_the_templates() -> None:
    assert sam_template.load()["Globals"]["Function"]["Runtime"] == aws_checks.RUNTIME


def test_given_the_page_when_read_then_it_has_the_checks_and_their_permissions() -> (
    None
):
    table = section("operate.md", "## Check its health: anonauth doctor")
    rows = re.findall(r"^\| `(.+?)` \| .+ \| (.+) \|$", table, re.MULTILINE)

    told = [(name, tuple(re.findall(r"`(.+?)`", actions))) for name, actions in rows]

    assert told == [(check.name, check.actions) for check in CHECKS]
