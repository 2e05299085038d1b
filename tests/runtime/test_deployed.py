"""The whole template, deployed by `sam deploy` onto ministack: no AWS account needed.

Single invocations cannot show what a table's stream triggers. Here a real event source
mapping reads the stream, filters it, and runs the built function. The tests share one
stack and run in order: it is used, changed, and deleted at the end.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

# The package ships no types.
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from anonauth.cli.deployment import open_services
from anonauth.cli.doctor.drive import CLEAN_UP, STEPS
from anonauth.cli.doctor.runner import CHECKS
from anonauth.cli.options import DeploymentOptions
from anonauth.local.api_gateway import Gateway, HttpRequest, HttpResponse
from anonauth.local.http import HttpServer, wsgi_application
from anonauth.local.sample_event import fill_event
from anonauth.local.settings_file import MAIL_APP
from anonauth.local.template import read_template
from anonauth.wiring import utc_now
from runtime.client import claims
from runtime.ministack import (
    ANYBODY,
    REGION,
    client,
    ministack,
    operator_command,
    queue_of_all_events,
    without_metric_math,
)
from support.project import sam_template
from support.project.pages import block
from support.project.sam_template import Json
from support.project.tools import ROOT, machine, require_tool
from support.service.authorizer import is_allowed, question
from support.service.calls import APP
from support.service.story import VALIDATOR

pytestmark = pytest.mark.long

STACK = "anonauth"  # as .samconfig.toml has it
SAM_CONFIG = ".samconfig.toml"
SETTINGS = "/anonauth/settings"
BOUNDARY = "arn:aws:iam::aws:policy/AdministratorAccess"
SENDER = "noreply@example.com"
QUIET_APP = "quiet-abcde"  # has e-mail accounts, and sends no mail
DOCUMENT = {
    "apps": {
        "*": {
            "api-key": {},
            "local-userpass": {
                "mail": {
                    "sender": SENDER,
                    "confirm_url": "https://www.example.com/confirm",
                    "reset_url": "https://www.example.com/reset",
                }
            },
        },
        QUIET_APP: {"local-userpass": {}},
    }
}
TOKENS = {"access_token", "device_id", "refresh_token", "user_id"}

# For each event of `events/` a part of its function's answer. HTTP answers have status
# 200 as well.
PROFILE = {"data", "expires_at", "identities", "type", "user_id"}
LISTED_SESSION = {"created_at", "current", "device", "expires_at", "id", "provider"}
LISTED_SESSION |= {"used_day"}
CUSTOM_RESOURCE = {"LogicalResourceId", "PhysicalResourceId", "RequestId", "StackId"}
CUSTOM_RESOURCE |= {"Status"}
POLICY = {"context", "policyDocument", "principalId"}
ANSWERS = {
    "api_keys": {"_id", "disabled", "key", "name"},
    "api_keys-list": [],
    "authorizer": {"context", "isAuthorized"},
    "authorizer-http1": POLICY,
    "authorizer-rest-request": POLICY,
    "authorizer-rest-token": POLICY,
    "authorizer-websocket": POLICY,
    "discovery": {"deployment_model", "hostname", "location", "ws_hostname"},
    "discovery-jwks": {"keys"},
    "discovery-module": {"text"},
    "discovery-preflight": set(),
    "discovery-openapi": {"components", "info", "openapi", "paths", "servers", "tags"},
    "expiring": {"day", "is_done", "pages", "unreadable", "warned"},
    "key_ring": {"kids", "version"},
    "key_ring-create": CUSTOM_RESOURCE | {"Data"},
    "key_ring-delete": CUSTOM_RESOURCE,
    "lifecycle": {"batchItemFailures"},
    "lifecycle-insert": {"batchItemFailures"},
    "lifecycle-merged": {"batchItemFailures"},
    "lifecycle-modify": {"batchItemFailures"},
    "link": {"access_token", "device_id", "user_id"},
    "link-login": TOKENS | {"merged"},
    "link-merge": TOKENS | {"merged"},
    "login": TOKENS | {"expires_at"},
    "login-base64": TOKENS | {"expires_at"},
    "login-key": TOKENS | {"expires_at"},
    "logout": set(),
    "logout-end": set(),
    "logout-everywhere": set(),
    "logout-list": [LISTED_SESSION],
    "profile": PROFILE,
    "profile-custom-domain": PROFILE,
    "profile-delete": set(),
    "profile-unlink": set(),
    "session": {"access_token"},
    "session-capitals": {"access_token"},
    "userpass": set(),
    "userpass-confirm": set(),
    "userpass-confirm-send": set(),
    "userpass-reset": set(),
    "userpass-reset-send": set(),
}
FUNCTIONS = sam_template.resources(sam_template.load(), "AWS::Serverless::Function")
HOST = "https://abcde12345.execute-api.eu-central-1.amazonaws.com"  # in the events
CDN = "https://auth.example.com"
OLD, NEW = "0" * 64, "f" * 64  # secrets that it sends


@dataclass(frozen=True)
class Deployed:
    """A stack on its own AWS; a queue receives its events."""

    endpoint_url: str
    outputs: dict[str, str]
    queue: str
    directory: Path

    def connect(self, service: str) -> Any:
        return client(service, self.endpoint_url)

    def name_of(self, function: str) -> str:
        """Return the name that CloudFormation gave a function of the template."""
        functions = self.connect("lambda").list_functions()["Functions"]
        (name,) = (
            each["FunctionName"]
            for each in functions
            if each["FunctionName"].startswith(f"{STACK}-{function}-")
        )
        found: str = name
        return found

    def invoke(self, function: str, event: Json, qualifier: str = "$LATEST") -> Any:
        """Run a function of the template, and return its answer."""
        answer = self.connect("lambda").invoke(
            FunctionName=self.name_of(function),
            Qualifier=qualifier,
            Payload=json.dumps(event).encode(),
        )
        result = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, result
        return result

    def call(
        self,
        function: str,
        name: str,
        token: str | None = None,
        secret: str | None = None,
        *,
        qualifier: str = "$LATEST",
    ) -> Any:
        """Send the event of a file with a token, or by a CDN with its secret.

        Return the answer's body.
        """
        event = sam_template.event(name)
        if token is not None:
            event["headers"]["authorization"] = f"Bearer {token}"
        if secret is not None:
            event["headers"]["x-origin-verify"] = secret
        answer = self.invoke(function, event, qualifier)
        assert answer["statusCode"] == 200, answer
        return json.loads(answer["body"])

    def filled(self, name: str) -> Json:
        """Return the event of a file, filled as `anonauth sample` fills it."""
        variables = {
            "APP_IDS": self.outputs["ClientAppIds"],
            "BASE_URL": HOST,
            "KMS_KEY_ID": self.outputs["RingKeyArn"],
            "TABLE_NAME": self.outputs["TableName"],
        }
        variables["ENDPOINT_URL"] = self.endpoint_url
        env_vars = self.directory / "env.json"
        env_vars.write_text(json.dumps({"Parameters": variables}))
        event = fill_event(
            name,
            events=sam_template.EVENTS,
            env_vars=env_vars,
            endpoint_url=self.endpoint_url,
        )
        if "ResponseURL" in event:  # a signed URL, as CloudFormation has it
            event["ResponseURL"] = self.connect("s3").generate_presigned_url(
                "put_object",
                Params={"Bucket": self.outputs["FailedRecordsBucket"], "Key": name},
            )
        return event

    def items(self) -> dict[str, Any]:
        """Return the items of the table, by their keys."""
        pages = self.connect("dynamodb").get_paginator("scan")
        return {
            item["pk"]["S"]: item
            for page in pages.paginate(TableName=self.outputs["TableName"])
            for item in page["Items"]
        }

    def users(self) -> dict[str, Any]:
        """Return the items of all users, by their keys."""
        items = self.items()
        return {key: items[key] for key in items if key.startswith("USER#")}

    def lasting_items(self) -> dict[str, Any]:
        """Return all items but counters and marks, which expire by themselves."""
        expiring, items = ("RATE#", "GONE#"), self.items()
        return {key: items[key] for key in items if not key.startswith(expiring)}

    @contextmanager
    def served(self, *, refused: str = "-") -> Iterator[str]:
        """Yield the address of an API that invokes the functions.

        Args:
            refused: A call whose route ends so answers 503.
        """
        gateway = Gateway(
            read_template(ROOT / "template.yaml"),
            invoke=self.invoke,
            clock=utc_now,
            domain_name=HOST.removeprefix("https://"),
        )

        def answer(request: HttpRequest) -> HttpResponse:
            if f"{request.method} {request.path}".endswith(refused):
                return HttpResponse(503)
            return gateway.answer(request)

        server = HttpServer("127.0.0.1", 0)
        server.serve(wsgi_application(answer))
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.close()

    def anonauth(self, *arguments: str) -> tuple[int, Any]:
        """Run the operator's command; return exit code and output."""
        target = ["--stack", STACK, "--region", REGION, "--json"]
        ran = operator_command(self.endpoint_url, *arguments, *target)
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout)

    def next_event(self) -> Json:
        """Return the next event that a rule for all events delivers; wait for it."""
        sqs = self.connect("sqs")
        for _ in range(3):
            got = sqs.receive_message(QueueUrl=self.queue, WaitTimeSeconds=20)
            for message in got.get("Messages", []):
                sqs.delete_message(
                    QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"]
                )
                event: Json = json.loads(message["Body"])
                VALIDATOR.validate(event)
                return event
        pytest.fail("no event came")

    def next_event_of(self, user_id: str) -> Json:
        """Return the next event of a user. Events of other users before it are lost."""
        while (event := self.next_event())["detail"]["uid"] != user_id:
            pass
        return event


def run_sam(directory: Path, variables: Mapping[str, str], *arguments: str) -> None:
    ran = subprocess.run(  # noqa: S603 - an installed tool
        [require_tool("sam"), *arguments],
        cwd=directory,
        env={**os.environ, **ANYBODY, "SAM_CLI_TELEMETRY": "0", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack, deployed as deploy.md says, without the questions and on ministack."""
    directory = tmp_path_factory.mktemp("deployed")
    shutil.copytree(ROOT / "functions", directory / "functions")
    shutil.copy(ROOT / SAM_CONFIG, directory)
    template = (ROOT / "template.yaml").read_text()
    (directory / "template.yaml").write_text(without_metric_math(template))
    build(directory)
    with ministack(directory) as url:
        ssm, ses = client("ssm", url), client("sesv2", url)
        ssm.put_parameter(
            Name=SETTINGS, Value=json.dumps(DOCUMENT), Type="SecureString"
        )
        ses.create_email_identity(EmailIdentity=SENDER)
        outputs = deploy(
            directory,
            url,
            AppIds=f"{APP},{MAIL_APP},{QUIET_APP}",
            Architecture=machine(),
            MailSender=SENDER,
            SettingsParameter=SETTINGS,
            AccessLog="true",
            DetailedMetrics="true",
            MaxWriteRequestUnits="1000",
            PermissionsBoundaryArn=BOUNDARY,
        )
        yield Deployed(url, outputs, queue_of_all_events(url), directory)


def build(directory: Path) -> None:
    variables = {"PLATFORM": machine(), "PYTHON": str(require_tool("python3.13"))}
    run_sam(directory, variables, "build")


def deploy(directory: Path, url: str, **parameters: str) -> dict[str, str]:
    """Deploy what was built, with the repository's flags; return the outputs."""
    run_sam(
        directory,
        # SAM would poll only every 5 s.
        {"AWS_ENDPOINT_URL": url, "SAM_CLI_POLL_DELAY": "0.5"},
        "deploy",
        "--config-file",
        SAM_CONFIG,
        "--no-confirm-changeset",
        "--region",
        REGION,
        "--parameter-overrides",
        *(f"{name}={value}" for name, value in parameters.items()),
    )
    (stack,) = client("cloudformation", url).describe_stacks(StackName=STACK)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def test_given_a_deployed_stack_when_a_guest_comes_and_goes_then_a_rule_hears_of_it(
    deployed: Deployed,
) -> None:
    open_services = deployed.call("LoginFunction", "login")
    created = deployed.next_event()
    deployed.call("SessionFunction", "session", open_services["refresh_token"])
    deployed.call("LogoutFunction", "logout", open_services["refresh_token"])
    deleted = deployed.next_event()

    assert created["detail-type"] == "user.created"
    assert created["detail"]["stack"] == deleted["detail"]["stack"] == STACK
    assert created["detail"]["uid"] == open_services["user_id"]
    assert deleted["detail-type"] == "user.deleted"
    assert deleted["detail"]["uid"] == open_services["user_id"]
    assert deleted["detail"]["reason"] == "logout"
    assert deleted["detail"]["sequence"] > created["detail"]["sequence"]


def test_given_parameters_of_a_company_when_deployed_then_the_resources_have_them(
    deployed: Deployed,
) -> None:
    """ministack takes boundary and write limit, but keeps neither."""
    groups = deployed.connect("logs").describe_log_groups()["logGroups"]
    key = deployed.connect("kms").describe_key(KeyId=deployed.outputs["RingKeyArn"])

    retention = {group["logGroupName"]: group["retentionInDays"] for group in groups}
    assert retention[f"/aws/vendedlogs/{STACK}-access"] == 30
    assert key["KeyMetadata"]["MultiRegion"] is True


def test_given_a_deployed_stack_when_another_api_asks_then_a_logout_ends_its_calls(
    deployed: Deployed,
) -> None:
    """Asked by the ARN that other stacks get, as API Gateway would."""
    guest = deployed.call("LoginFunction", "login")
    asked = json.dumps(question("authorizer-rest-token", guest["access_token"]))

    def ask() -> Any:
        answer = deployed.connect("lambda").invoke(
            FunctionName=deployed.outputs["AuthorizerArn"], Payload=asked.encode()
        )
        return json.loads(answer["Payload"].read())

    before = ask()
    deployed.call("LogoutFunction", "logout", guest["refresh_token"])
    after = ask()
    for _ in ("user.created", "user.deleted"):
        deployed.next_event_of(guest["user_id"])

    assert is_allowed(before)
    assert before["context"]["sub"] == guest["user_id"]
    assert after["errorMessage"] == "Unauthorized"


def test_given_a_deployed_stack_when_a_user_deletes_itself_then_the_reason_is_told(
    deployed: Deployed,
) -> None:
    open_services = deployed.call("LoginFunction", "login")
    deployed.next_event()
    deployed.call("ProfileFunction", "profile-delete", open_services["access_token"])

    deleted = deployed.next_event()

    assert deleted["detail"]["reason"] == "requested"


def test_given_a_deployed_stack_when_the_schedule_fires_then_the_scan_is_done(
    deployed: Deployed,
) -> None:
    report = deployed.invoke("ExpiringFunction", sam_template.event("expiring"))

    assert report["is_done"] is True


def test_given_a_deployed_stack_when_the_operator_comes_then_the_commands_work(
    deployed: Deployed,
) -> None:
    """A replay of a failed batch as Lambda stores it, and the keys of the ring."""
    event = sam_template.event("lifecycle")
    deployed.connect("s3").put_object(
        Bucket=deployed.outputs["FailedRecordsBucket"],
        Key="aws/lambda/mapping/shard/2026/11/24/2026-11-24T12.00.00-id",
        Body=json.dumps({"payload": json.dumps(event)}).encode(),
    )

    _, replayed = deployed.anonauth("events", "replay")
    heard = deployed.next_event()
    keys = deployed.anonauth("keys", "list")[1]["keys"]

    assert replayed["records"] == 1
    assert heard["detail"]["id"] == f"{event['Records'][0]['eventID']}:user.deleted"
    assert heard["detail"]["reason"] == "expired"
    assert heard["detail"]["stack"] == STACK  # the stored record names none
    assert [key["state"] for key in keys] == ["signing", "signing", "standby"]


def test_given_the_events_when_counted_then_each_is_sent_to_a_function() -> None:
    """An event without an answer here would not be tested."""
    files = {path.stem for path in sam_template.EVENTS.glob("*.json")} - {"env.local"}
    functions = {sam_template.function_of(name) for name in files}

    assert ANSWERS.keys() == files
    assert functions == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_given_an_event_when_its_function_is_invoked_then_it_answers_as_documented(
    deployed: Deployed, name: str
) -> None:
    event = deployed.filled(name)

    answer = deployed.invoke(sam_template.function_of(name), event)

    if "type" in event:
        assert is_allowed(answer), answer
    elif "routeKey" in event:
        assert answer["statusCode"] == 200, answer
        body = answer["body"]
        answer = {"text": body} if name == "discovery-module" else json.loads(body)
    told = set(answer) if isinstance(answer, dict) else [set(each) for each in answer]
    assert told == ANSWERS[name]
    if name == "discovery-module":
        assert answer["text"] == (ROOT / "functions/anonauth/anonauth.mjs").read_text()
    if name.startswith("lifecycle"):
        assert answer == {"batchItemFailures": []}


def test_given_a_deployed_stack_when_the_doctor_comes_then_it_finds_what_is_not_there(
    deployed: Deployed,
) -> None:
    """ministack ignores the template's TTL and backups, and its API does not answer.

    No AlarmTopic was given either.
    """
    code, body = deployed.anonauth("doctor")
    states = {each["name"]: each["state"] for each in body["findings"]}
    db, table = deployed.connect("dynamodb"), deployed.outputs["TableName"]
    ttl = {"Enabled": True, "AttributeName": "ttl"}
    db.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)
    db.update_continuous_backups(
        TableName=table,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    _, fixed = deployed.anonauth("doctor")

    no_api = {"issuer": "failed", "key set": "failed", "location": "failed"}
    no_api["clock"] = "unknown"
    as_deployed = {**no_api, "alarms": "warning"}
    assert code == 1
    assert {name: state for name, state in states.items() if state != "ok"} == {
        "TTL": "failed",
        "backups": "failed",
        **as_deployed,
    }
    assert len(states) == len(CHECKS)
    left = {each["name"]: each["state"] for each in fixed["findings"]}
    assert {name: state for name, state in left.items() if state != "ok"} == as_deployed


def test_given_a_stack_without_an_api_when_driven_then_it_says_so_and_makes_nothing(
    deployed: Deployed,
) -> None:
    """The login could have had no answer only, so the clean-up looks for its guest."""
    before = deployed.users()

    code, body = deployed.anonauth("doctor", "--drive", "--app", APP)

    steps = {each["name"]: each for each in body["findings"][len(CHECKS) :]}
    assert code == 1
    assert list(steps) == [*STEPS, CLEAN_UP]
    assert steps["drive: log in"]["says"].startswith("no answer: ")
    assert [each["state"] for each in steps.values()] == ["failed", *["warning"] * 7]
    assert "no clear answer" in steps[CLEAN_UP]["says"]
    assert deployed.users() == before


@pytest.mark.parametrize(
    ("app_id", "link", "said"),
    [
        pytest.param(QUIET_APP, "ok", "by local-userpass", id="without mail"),
        pytest.param(APP, "warning", "skipped: the app sends mail", id="with mail"),
    ],
)
def test_given_a_deployed_stack_when_driven_then_the_table_is_as_before(
    deployed: Deployed, app_id: str, link: str, said: str
) -> None:
    """ministack has no API, so this machine invokes the functions for it."""
    before = deployed.lasting_items()

    with deployed.served() as url:
        driven = ("doctor", "--drive", "--app", app_id, "--base-url", url)
        _, body = deployed.anonauth(*driven)

    steps = {each["name"]: each for each in body["findings"][len(CHECKS) :]}
    states = {name: each["state"] for name, each in steps.items()}
    assert states == dict.fromkeys([*STEPS, CLEAN_UP], "ok") | {"drive: link": link}
    assert steps["drive: link"]["says"].startswith(said)
    assert steps[CLEAN_UP]["says"] == "nothing is left"
    assert deployed.lasting_items() == before


@pytest.mark.parametrize("end", ["auth/session", "auth/delete"])
def test_given_a_call_that_fails_when_driven_then_the_table_is_as_before(
    deployed: Deployed, end: str
) -> None:
    before = deployed.lasting_items()

    with deployed.served(refused=f"DELETE /api/client/v2.0/{end}") as url:
        driven = ("doctor", "--drive", "--app", QUIET_APP, "--base-url", url)
        code, body = deployed.anonauth(*driven)

    steps = {each["name"]: each for each in body["findings"][len(CHECKS) :]}
    assert code == 1
    assert "failed" in [each["state"] for each in steps.values()]
    assert steps[CLEAN_UP]["state"] == "ok"
    assert deployed.lasting_items() == before


def test_given_a_new_version_when_deployed_then_it_answers_and_nobody_is_logged_out(
    deployed: Deployed,
) -> None:
    guest = deployed.call("LoginFunction", "login")
    login = deployed.filled("link-login")
    permanent = json.loads(deployed.invoke("LinkFunction", login)["body"])
    before = deployed.call("DiscoveryFunction", "discovery")
    source = deployed.directory / "functions/anonauth/usecases/discovery.py"
    old = source.read_text()
    source.write_text(old.replace('"GLOBAL"', '"LOCAL"'))
    build(deployed.directory)

    outputs = deploy(deployed.directory, deployed.endpoint_url, AccessTokenMinutes="10")

    assert outputs == deployed.outputs
    after = deployed.call("DiscoveryFunction", "discovery")
    assert before["deployment_model"] == "GLOBAL"
    assert after == before | {"deployment_model": "LOCAL"}
    fresh = deployed.call("SessionFunction", "session", guest["refresh_token"])
    old_claims, new_claims = (
        claims(guest["access_token"]),
        claims(fresh["access_token"]),
    )
    assert old_claims["exp"] - old_claims["iat"] == 30 * 60
    assert new_claims["exp"] - new_claims["iat"] == 10 * 60
    # Parameters that were not named keep their values: e-mail is still on.
    again = json.loads(deployed.invoke("LinkFunction", login)["body"])
    assert again["user_id"] == permanent["user_id"]
    for token in (guest["access_token"], permanent["access_token"]):
        deployed.call("ProfileFunction", "profile", token)


def test_given_the_lines_of_a_canary_when_deployed_then_clients_get_releases(
    deployed: Deployed,
) -> None:
    """The canary itself is left out: ministack has no CodeDeploy.

    tests/template checks that the translated template has what CodeDeploy needs. The
    code stays the same, so the lines go into the template that was built last.
    """

    def release(number: str, minutes: int) -> int:
        """Deploy; return the lifetime of a token that a client then gets."""
        lines = yaml_parse(block("gradual deployment"))
        shared = lines["Globals"]["Function"]
        shared["DeploymentPreference"]["Enabled"] = False
        shared["Environment"]["Variables"]["RELEASE"] = number
        template = deployed.directory / ".aws-sam/build/template.yaml"
        loaded = yaml_parse(template.read_text())
        sam_template.add_lines(loaded, lines)
        template.write_text(json.dumps(loaded, default=str))
        url = deployed.endpoint_url
        deploy(deployed.directory, url, AccessTokenMinutes=str(minutes))
        got = deployed.call("LoginFunction", "login", qualifier="live")
        assert deployed.next_event_of(got["user_id"])["detail-type"] == "user.created"
        told = claims(got["access_token"])
        return (int(told["exp"]) - int(told["iat"])) // 60

    lifetimes = [release("1", 15), release("2", 20)]

    assert lifetimes == [15, 20]
    name = deployed.name_of("KeysFunction")
    alias = deployed.connect("lambda").get_alias(FunctionName=name, Name="live")
    rules = deployed.connect("events").list_rule_names_by_target(
        TargetArn=alias["AliasArn"]
    )
    assert len(rules["RuleNames"]) == 1
    deployed.invoke("KeysFunction", sam_template.event("key_ring"), "live")


def test_given_a_cdn_when_deployed_then_only_calls_with_its_secret_are_answered(
    deployed: Deployed,
) -> None:
    """During a rotation, so with either of two secrets."""
    hashes = [sha256(secret.encode()).hexdigest() for secret in (OLD, NEW)]
    outputs = deploy(
        deployed.directory,
        deployed.endpoint_url,
        BaseUrl=CDN,
        OriginSecretHashes=",".join(hashes),
    )

    bypassed = deployed.invoke("LoginFunction", sam_template.event("login"))
    guest = deployed.call("LoginFunction", "login", secret=OLD)
    token = guest["access_token"]
    deployed.call("ProfileFunction", "profile", token, secret=NEW)
    location = deployed.call("DiscoveryFunction", "discovery")

    assert bypassed["statusCode"] == 404
    assert json.loads(bypassed["body"])["error_code"] == "NotFound"
    assert location["hostname"] == outputs["BaseUrl"] == CDN
    assert claims(token)["iss"] == outputs["Issuer"]
    assert outputs["Issuer"].startswith(f"{CDN}/")
    assert outputs["OriginDomain"] == deployed.outputs["OriginDomain"]
    assert f"https://{outputs['OriginDomain']}" == deployed.outputs["BaseUrl"]


def test_given_another_table_and_key_when_deployed_then_the_stack_goes_on_with_them(
    deployed: Deployed,
) -> None:
    """restore.md deploys these parameters after a loss. The CDN is still in front."""
    deployed.call("LoginFunction", "login", secret=NEW)
    lost, lost_users = {**deployed.outputs}, deployed.users()
    key = deployed.connect("kms").create_key(MultiRegion=True)["KeyMetadata"]["Arn"]

    outputs = deploy(
        deployed.directory,
        deployed.endpoint_url,
        NewTableName="anonauth-users-2",
        RingKmsKeyArn=key,
    )

    assert (outputs["TableName"], outputs["RingKeyArn"]) == ("anonauth-users-2", key)
    table = deployed.connect("dynamodb").describe_table(TableName="anonauth-users-2")
    assert table["Table"]["StreamSpecification"]["StreamEnabled"] is True
    assert deployed.users() == lost_users
    deployed.outputs.update(outputs)
    guest = deployed.call("LoginFunction", "login", secret=NEW)
    assert len(deployed.users()) == 1
    deployed.call("SessionFunction", "session", guest["refresh_token"], secret=NEW)
    (mapping,) = deployed.connect("lambda").list_event_source_mappings()[
        "EventSourceMappings"
    ]
    assert mapping["EventSourceArn"] == table["Table"]["LatestStreamArn"]
    deployed.connect("kms").describe_key(KeyId=lost["RingKeyArn"])


def test_given_a_stack_when_it_is_deleted_then_its_users_and_their_key_remain(
    deployed: Deployed,
) -> None:
    """ministack obeys DeletionPolicy; test_template checks the template's own."""
    deployed.call("LoginFunction", "login", secret=NEW)
    users = deployed.users()
    cloudformation = deployed.connect("cloudformation")

    # This is what `sam delete` does, which then waits half a minute to look again.
    cloudformation.delete_stack(StackName=STACK)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )

    assert deployed.connect("lambda").list_functions()["Functions"] == []
    assert deployed.connect("events").list_rules(NamePrefix=STACK)["Rules"] == []
    assert users
    assert deployed.users() == users
    bucket = deployed.outputs["FailedRecordsBucket"]
    deployed.connect("s3").head_bucket(Bucket=bucket)
    target = DeploymentOptions(
        table=deployed.outputs["TableName"],
        kms_key=deployed.outputs["RingKeyArn"],
        region=REGION,
        endpoint_url=deployed.endpoint_url,
    )
    with open_services(target) as services:
        # The key that was retained with the table unwraps it.
        services.ring.access_signing_key(services.clock())
