"""DynamoDB engines whose writes are atomic between threads, which moto's are not.

design.md §9 has what is known of each. None needs Docker, an account or the network.
"""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_dynamodb.type_defs import StreamSpecificationTypeDef

from anonauth.store import Store
from support.project import sam_template
from support.project.tools import require_tool

OPT_IN = "DYNAMODB_ENDPOINT"
"""Names one more engine: DynamoDB Local, or DynamoDB itself."""

# Rounds of each race. More find rarer interleavings; these take seconds.
_ROUNDS = {"dynoxide": 60, "ministack": 25, OPT_IN: 25}

_READY_ATTEMPTS = 400  # 50 ms apart; both are ready after at most ten
_REGION = "eu-central-1"
_ANYBODY = {"AWS_ACCESS_KEY_ID": "engine", "AWS_SECRET_ACCESS_KEY": "engine"}


@dataclass(frozen=True)
class Engine:
    """A running engine; `db` is a client of its own, beside the store's."""

    name: str
    endpoint_url: str
    region: str
    db: DynamoDBClient

    @property
    def rounds(self) -> int:
        """How often a race is run here."""
        return _ROUNDS[self.name]

    @contextmanager
    def table(self, *, has_stream: bool = False) -> Iterator[str]:
        """Make a table as the template says, and drop it.

        Its TTL stays off: the clocks of the tests are not the engine's. A stream costs
        time, and few tests read it.
        """
        made = sam_template.load()["Resources"]["Table"]["Properties"]
        name = f"anonauth-{secrets.token_hex(4)}"  # dynoxide takes no short names
        stream: StreamSpecificationTypeDef = {"StreamEnabled": has_stream}
        if has_stream:
            stream["StreamViewType"] = made["StreamSpecification"]["StreamViewType"]
        self.db.create_table(
            TableName=name,
            KeySchema=made["KeySchema"],
            AttributeDefinitions=made["AttributeDefinitions"],
            BillingMode=made["BillingMode"],
            StreamSpecification=stream,
        )
        try:
            self.db.get_waiter("table_exists").wait(
                TableName=name, WaiterConfig={"Delay": 1}
            )
            yield name
        finally:
            self.db.delete_table(TableName=name)

    @contextmanager
    def store(self, table: str) -> Iterator[Store]:
        """Connect a store, which threads may share.

        Its client is made here: botocore's clients are safe to share, but making one
        is not. PynamoDB keeps nothing else that a call would change.
        """
        store = Store(table, region=self.region, endpoint_url=self.endpoint_url)
        client: Any = store._connection.client
        try:
            yield store
        finally:
            client.close()


def names() -> list[str]:
    """Return the engines to run on."""
    return ["dynoxide", "ministack", *([OPT_IN] if OPT_IN in os.environ else [])]


@contextmanager
def running(name: str, directory: Path) -> Iterator[Engine]:
    """Start an engine with an empty memory, and end it."""
    if name == OPT_IN:
        aws = boto3.session.Session()
        # DynamoDB Local takes anybody, but somebody.
        account = {} if aws.get_credentials() else _ANYBODY
        region = os.environ.get("AWS_REGION") or aws.region_name or _REGION
        with _connected(name, os.environ[OPT_IN], region, account) as engine:
            yield engine
        return
    # Neither can pick a port and tell which; nobody else asks for this one so soon.
    port = free_port()
    command, environment = _COMMANDS[name](port, directory)
    with serving(name, port, command, environment, directory) as engine:
        yield engine


@contextmanager
def serving(
    name: str,
    port: int,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    directory: Path,
    *,
    attempts: int = _READY_ATTEMPTS,
) -> Iterator[Engine]:
    """Run the command of an engine, and end it.

    Args:
        directory: Where it runs and logs.
        attempts: To reach it, 50 ms apart.
    """
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a tool of ours
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        with _connected(name, url, _REGION, _ANYBODY) as engine:
            _await_answer(engine.db, process, log, attempts)
            yield engine
    finally:
        process.kill()
        process.wait()


_Command = tuple[list[str | Path], Mapping[str, str]]


def _dynoxide(port: int, _: Path) -> _Command:
    dynoxide = require_tool("dynoxide")
    return [dynoxide, "serve", "--host", "127.0.0.1", "--port", str(port)], {}


def _ministack(port: int, directory: Path) -> _Command:
    return [require_tool("ministack")], {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        # Beside the table's those that the functions call: see `test_local_server`.
        "SERVICES": "dynamodb,dynamodbstreams,events,kms,ses,ssm",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        # Else it removes, at its start, the containers of any other ministack.
        "DOCKER_HOST": f"unix://{directory}/no-docker",
    }


_COMMANDS = {"dynoxide": _dynoxide, "ministack": _ministack}


@contextmanager
def _connected(
    name: str, endpoint_url: str, region: str, account: Mapping[str, str]
) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in account.items():
            patch.setenv(variable, value)  # the store asks the environment, as on AWS
        db = boto3.client(
            "dynamodb",
            region_name=region,
            endpoint_url=endpoint_url,
            # A repeated conditional write reports its own success as a failure.
            config=Config(retries={"total_max_attempts": 1}),
        )
        try:
            yield Engine(name, endpoint_url, region, db)
        finally:
            db.close()


def _await_answer(
    db: DynamoDBClient, process: "subprocess.Popen[bytes]", log: Path, attempts: int
) -> None:
    for _ in range(attempts):
        with suppress(BotoCoreError, ClientError):
            db.list_tables()
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            break
    pytest.fail(f"the engine does not answer:\n{log.read_text()}")


def free_port() -> int:
    """Return a port that nobody else asks for so soon."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
