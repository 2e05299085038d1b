"""The whole template deployed by `sam deploy`, onto ministack: no AWS account needed.

What a table's stream brings about cannot be had from single invocations: here a real
event source mapping reads it, filters it, and runs the built function.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import sam_template
from engine.engines import free_port
from sam_template import Json
from story import VALIDATOR
from tools import ROOT, machine, require_tool

pytestmark = pytest.mark.long

REGION = "eu-central-1"
STACK = "anonauth"
ANYBODY = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@dataclass(frozen=True)
class Deployed:
    """A stack on an AWS of its own; what its events say is in a queue."""

    endpoint_url: str
    outputs: Mapping[str, str]
    queue: str

    def connect(self, service: str) -> Any:
        return client(service, self.endpoint_url)

    def invoke(self, function: str, event: Json) -> Any:
        """Run a function of the template, and return its answer."""
        functions = self.connect("lambda").list_functions()["Functions"]
        (name,) = (
            each["FunctionName"]
            for each in functions
            if each["FunctionName"].startswith(f"{STACK}-{function}-")
        )
        answer = self.connect("lambda").invoke(
            FunctionName=name, Payload=json.dumps(event).encode()
        )
        result = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, result
        return result

    def call(self, function: str, name: str, token: str | None = None) -> Any:
        """Send the event of a file, with a token in it; return the answer's body."""
        event = sam_template.event(name)
        if token is not None:
            event["headers"]["authorization"] = f"Bearer {token}"
        answer = self.invoke(function, event)
        assert answer["statusCode"] == 200, answer
        return json.loads(answer["body"])

    def next_event(self) -> Json:
        """Return the next event that a rule for all of them brings; it waits for it."""
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


def client(service: str, endpoint_url: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=ANYBODY["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ANYBODY["AWS_SECRET_ACCESS_KEY"],
        config=Config(read_timeout=60, retries={"total_max_attempts": 1}),
    )


@contextmanager
def ministack(directory: Path) -> Iterator[str]:
    """Yield the address of an empty AWS; its functions end with it."""
    port = free_port()
    log = directory / "log"
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "PATH": os.environ["PATH"],
        # Else it removes, at its start, the containers of any other ministack.
        "DOCKER_HOST": f"unix://{directory}/no-docker",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a tool of ours
            [require_tool("ministack")],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            with suppress(BotoCoreError, ClientError):
                client("dynamodb", url).list_tables()
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                pytest.fail(f"it does not answer:\n{log.read_text()}")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_sam(directory: Path, variables: Mapping[str, str], *arguments: str) -> None:
    ran = subprocess.run(  # noqa: S603 - a tool of ours
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
    directory = tmp_path_factory.mktemp("deployed")
    shutil.copytree(ROOT / "functions", directory / "functions")
    shutil.copy(ROOT / "template.yaml", directory)
    build = {"PLATFORM": machine(), "PYTHON": str(require_tool("python3.13"))}
    run_sam(directory, build, "build")
    with ministack(directory) as url:
        deploy = ["deploy", "--stack-name", STACK, "--resolve-s3", "--region", REGION]
        capabilities = ["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset"]
        overrides = ["--parameter-overrides", f"Architecture={machine()}"]
        variables = {"AWS_ENDPOINT_URL": url}
        run_sam(directory, variables, *deploy, *capabilities, *overrides)
        (stack,) = client("cloudformation", url).describe_stacks(StackName=STACK)[
            "Stacks"
        ]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        yield Deployed(url, outputs, a_queue_of_all_events(url))


def a_queue_of_all_events(url: str) -> str:
    sqs, events = client("sqs", url), client("events", url)
    queue: str = sqs.create_queue(QueueName="heard")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    events.put_rule(Name="all", EventPattern='{"source": ["anonauth"]}')
    events.put_targets(
        Rule="all", Targets=[{"Id": "q", "Arn": arn["Attributes"]["QueueArn"]}]
    )
    return queue


def test_given_a_deployed_stack_when_a_guest_comes_and_goes_then_a_rule_hears_of_it(
    deployed: Deployed,
) -> None:
    opened = deployed.call("LoginFunction", "login")
    created = deployed.next_event()
    deployed.call("SessionFunction", "session", opened["refresh_token"])
    deployed.call("LogoutFunction", "logout", opened["refresh_token"])
    deleted = deployed.next_event()

    assert created["detail-type"] == "user.created"
    assert created["detail"]["uid"] == opened["user_id"]
    assert deleted["detail-type"] == "user.deleted"
    assert deleted["detail"]["uid"] == opened["user_id"]
    assert deleted["detail"]["reason"] == "logout"
    assert deleted["detail"]["sequence"] > created["detail"]["sequence"]


def test_given_a_deployed_stack_when_a_user_deletes_itself_then_the_reason_is_told(
    deployed: Deployed,
) -> None:
    opened = deployed.call("LoginFunction", "login")
    deployed.next_event()
    deployed.call("ProfileFunction", "profile-delete", opened["access_token"])

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
    """A replay of a batch as Lambda leaves it, and the keys of the ring."""
    event = sam_template.event("lifecycle")
    deployed.connect("s3").put_object(
        Bucket=deployed.outputs["FailedRecordsBucket"],
        Key="aws/lambda/mapping/shard/2026/11/24/2026-11-24T12.00.00-id",
        Body=json.dumps({"payload": json.dumps(event)}).encode(),
    )

    def anonauth(*arguments: str) -> Any:
        target = ["--stack", STACK, "--region", REGION, "--json"]
        ran = subprocess.run(  # noqa: S603 - our own command
            [
                sys.executable,
                "-c",
                "from anonauth.cli import main; main()",
                *arguments,
                *target,
                "--endpoint-url",
                deployed.endpoint_url,
            ],
            env={**os.environ, **ANYBODY, "PYTHONPATH": str(ROOT / "functions")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    replayed = anonauth("events", "replay")
    heard = deployed.next_event()
    keys = anonauth("keys", "list")["keys"]

    assert replayed["records"] == 1
    assert heard["detail"]["id"] == f"{event['Records'][0]['eventID']}:user.deleted"
    assert heard["detail"]["reason"] == "expired"
    assert [key["state"] for key in keys] == ["signing", "signing", "standby"]
