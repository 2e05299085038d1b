"""ministack: an AWS on this machine, which deploys templates and runs functions."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.engine.engines import free_port
from support.project.tools import ROOT, require_tool

REGION = "eu-central-1"
ANYBODY = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


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
    """Yield the address of an empty AWS; its functions end with the block."""
    port = free_port()
    log = directory / "log"
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "PATH": os.environ["PATH"],
        # Otherwise it removes the containers of any other ministack at its start.
        "DOCKER_HOST": f"unix://{directory}/no-docker",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - an installed tool
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
                pytest.fail(f"ministack does not answer:\n{log.read_text()}")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def without_metric_math(template: str) -> str:
    """Return the template with one metric for each sum; ministack refuses sums.

    cfn-lint checks the original alarms in tests/template.
    """
    of_metrics = re.findall(r"^      Metrics:$", template, re.MULTILINE)
    one = "Namespace: AWS/DynamoDB\n      MetricName: ReadThrottleEvents\n"
    one += "      Statistic: Sum\n      Period: 300\n"
    simple, replaced = re.subn(r"(?<=\n      )Metrics:\n(        .*\n)+", one, template)
    assert replaced == len(of_metrics) > 0
    return simple


def operator_command(
    endpoint_url: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `anonauth` as an operator of a stack there would do it."""
    code = "from anonauth.cli.main import main; main()"
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", code, *arguments, "--endpoint-url", endpoint_url],
        # The API's address is made up, so no request may go there.
        env={
            **os.environ,
            **ANYBODY,
            "PYTHONPATH": str(ROOT / "functions"),
            "HTTPS_PROXY": "http://127.0.0.1:1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def queue_of_all_events(url: str) -> str:
    """Return the address of a new queue that receives the events about users."""
    sqs, events = client("sqs", url), client("events", url)
    queue: str = sqs.create_queue(QueueName="heard")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    events.put_rule(Name="all", EventPattern='{"source": ["anonauth"]}')
    events.put_targets(
        Rule="all", Targets=[{"Id": "q", "Arn": arn["Attributes"]["QueueArn"]}]
    )
    return queue
