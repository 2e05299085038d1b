"""DynamoDB engines whose writes are atomic between threads, which moto's are not.

design.md §9 describes each. None needs Docker, an account or the network.
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
"""Environment variable that adds an engine: DynamoDB Local, or DynamoDB itself."""

# Rounds of each race. More rounds find rarer interleavings; these take seconds.
_ROUNDS = {"dynoxide": 60, "ministack": 25, OPT_IN: 25}

_READY_ATTEMPTS = 400  # 50 ms apart; both are ready after at most ten
_REGION = "eu-central-1"
_ANYBODY = {"AWS_ACCESS_KEY_ID": "engine", "AWS_SECRET_ACCESS_KEY": "engine"}


@dataclass(frozen=True)
class Engine:
    """A running engine; `db` is its own client, beside the store's."""

    name: str
    endpoint_url: str
    region: str
    db: DynamoDBClient

    @property
    def rounds(self) -> int:
        """How often a race is run on this engine."""
        return _ROUNDS[self.name]

    @contextmanager
    def table(self, *, has_stream: bool = False) -> Iterator[str]:
        """Context manager: make a table like the template's, and delete it afterwards.

        Its TTL stays off, because the tests' clocks are not the engine's. A stream
        costs time, and few tests read it.
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
        """Yield a store that threads may share.

        Its client is made here: botocore's clients are safe to share, but making a
        client is not. PynamoDB has no other state that a call would change.
        """
        store = Store(table, region=self.region, endpoint_url=self.endpoint_url)
        client: Any = store._connection.client
        try:
            yield store
        finally:
            client.close()


def names() -> list[str]:
    """Return the names of the engines to run on."""
    return ["dynoxide", "ministack", *([OPT_IN] if OPT_IN in os.environ else [])]


@contextmanager
def running(name: str, directory: Path) -> Iterator[Engine]:
    """Start an engine with empty memory; it ends with the block."""
    if name == OPT_IN:
        aws = boto3.session.Session()
        # DynamoDB Local accepts any credentials, but needs some.
        account = {} if aws.get_credentials() else _ANYBODY
        region = os.environ.get("AWS_REGION") or aws.region_name or _REGION
        with _connected(name, os.environ[OPT_IN], region, account) as engine:
            yield engine
        return
    # Neither engine can choose a port and report it. The port stays free long enough.
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
    """Start an engine with its command; it ends with the block.

    Args:
        directory: Working directory, and place of the log.
        attempts: How often to try to reach it, 50 ms apart.
    """
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - an installed tool
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
        # Beside the table, the services that functions call: see `test_local_server`.
        "SERVICES": "dynamodb,dynamodbstreams,events,kms,ses,ssm",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        # Otherwise it removes the containers of any other ministack at its start.
        "DOCKER_HOST": f"unix://{directory}/no-docker",
    }


_COMMANDS = {"dynoxide": _dynoxide, "ministack": _ministack}


@contextmanager
def _connected(
    name: str, endpoint_url: str, region: str, account: Mapping[str, str]
) -> Iterator[Engine]:
    with _variables(account):  # the store reads the environment, as on AWS
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


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    # An engine can end before a fixture that began later and has set the same names.
    # Then they are left as they are.
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if os.environ.get(name) != values[name]:
                continue
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
    """Return a port that is unlikely to be taken soon."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
