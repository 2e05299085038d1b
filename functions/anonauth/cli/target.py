"""Which deployment an operator's command is about, and the way into it.

The parts are the service's own, at work with the operator's AWS credentials.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)

from anonauth import wiring
from anonauth.answers import DAMAGED
from anonauth.cli import engine
from anonauth.cli.options import Target
from anonauth.cli.problem import Problem
from anonauth.cli.template import REGION
from anonauth.errors import Unavailable
from anonauth.settings import Settings

# What a command that needs them checks for; others never use them.
_NO_KEY = "none"
_NO_APPS = "none"

NOT_LOGGED_IN = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
"""There are no credentials, so that no call can be made at all."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that was found.

    `kms_key` is empty where only a table was named, `outputs` and `stack` (its name)
    where no stack was.
    """

    region: str
    endpoint_url: str | None
    table: str
    kms_key: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    stack: str = ""

    @property
    def place(self) -> str:
        """Where it is, in words: what a mistaken profile or region would show in."""
        stack = f"stack '{self.stack}', " if self.stack else ""
        elsewhere = f", at {self.endpoint_url}" if self.endpoint_url else ""
        return f"{stack}table '{self.table}' in {self.region}{elsewhere}"

    def services(self) -> wiring.Services:
        """Return its services, without what only its functions know."""
        return wiring.Services(
            Settings.from_environment(
                {
                    "AWS_REGION": self.region,
                    "TABLE_NAME": self.table,
                    "KMS_KEY_ID": self.kms_key or _NO_KEY,
                    "APP_IDS": self.outputs.get("ClientAppIds", _NO_APPS),
                    "ENDPOINT_URL": self.endpoint_url or "",
                }
            )
        )

    def connect(self, service: str, *, seconds: int = 10) -> Any:
        """Return a client of an AWS service, that waits so long for an answer."""
        return _connect(service, self.region, self.endpoint_url, seconds=seconds)

    def output(self, name: str) -> str:
        """Return an output of the stack.

        Raises:
            Problem: No stack was named, or it is one of an earlier version.
        """
        if name not in self.outputs:
            raise Problem(
                f"needs the output {name} of a stack of this version: give --stack, "
                "and deploy it anew if it is older"
            )
        return self.outputs[name]


@contextmanager
def reached(target: Target) -> Iterator[Deployment]:
    """Yield a deployment, for the time of a `with` block.

    Raises:
        Problem: It is not clear which deployment is meant, or AWS does not let us
            in. Also what AWS has against a call within the block.
    """
    if target.endpoint_url and not urlsplit(target.endpoint_url).netloc:
        raise Problem(f"--endpoint-url: '{target.endpoint_url}' is not a URL")
    _check_names_one(target)
    place = ""
    with engine.environment() if target.endpoint_url else nullcontext():
        try:
            deployment = _find(target, _find_region(target))
            place = f"table '{deployment.table}' in {deployment.region}"
            yield deployment
        except (BotoCoreError, ClientError, Unavailable) as exc:
            raise Problem(_explain(exc, place)) from exc


@contextmanager
def opened(target: Target, *, with_key: bool = False) -> Iterator[wiring.Services]:
    """Yield the services of a deployment, for the time of a `with` block.

    Args:
        target: The deployment.
        with_key: Whether something has to be wrapped, so that a KMS key is needed.

    Raises:
        Problem: As for `reached`.
    """
    with reached(target) as deployment:
        if with_key and not deployment.kms_key:
            raise Problem(
                "--table needs --kms-key too, to wrap a new key; it is the "
                "stack's output RingKeyArn"
            )
        yield deployment.services()


def _find_region(target: Target) -> str:
    if target.endpoint_url:
        return target.region or REGION
    configured = botocore.session.get_session().get_config_variable("region")
    # botocore leaves out the first, which all other tools of AWS obey.
    region = target.region or os.environ.get("AWS_REGION") or configured
    if not region:
        raise Problem("no region: give --region, or set AWS_REGION")
    return str(region)


def _check_names_one(target: Target) -> None:
    if target.stack and target.table:
        raise Problem("--stack and --table both name a deployment; give one of them")
    if not (target.stack or target.table or target.endpoint_url):
        raise Problem(
            "which deployment? Give --stack NAME, or --table NAME; for a local one "
            "--endpoint-url URL"
        )


def _find(target: Target, region: str) -> Deployment:
    endpoint_url, key = target.endpoint_url, target.kms_key or ""
    if target.stack:
        outputs = _read_outputs(target.stack, region, endpoint_url)
        table, key = outputs["TableName"], key or outputs["RingKeyArn"]
        return Deployment(region, endpoint_url, table, key, outputs, target.stack)
    if target.table:
        return Deployment(region, endpoint_url, target.table, key)
    return Deployment(region, endpoint_url, engine.TABLE_NAME, key or engine.KEY_ALIAS)


def _read_outputs(
    stack: str, region: str, endpoint_url: str | None
) -> Mapping[str, str]:
    client = _connect("cloudformation", region, endpoint_url)
    hint = "; leave out --stack for a local service" if endpoint_url else ""
    another = Problem(f"no CloudFormation at {client.meta.endpoint_url}{hint}")
    try:
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code")
        if code == "ValidationError":
            raise Problem(f"no stack '{stack}' in {region}") from exc
        if code and code != DAMAGED:
            raise
        raise another from exc
    except KeyError as exc:  # XML of something else
        raise another from exc
    outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}
    if not {"TableName", "RingKeyArn"} <= outputs.keys():
        raise Problem(
            f"stack '{stack}' is not one of anonauth, or not complete: "
            "it has no outputs TableName and RingKeyArn"
        )
    return outputs


def _connect(
    service: str, region: str, endpoint_url: str | None, *, seconds: int = 10
) -> Any:
    return engine.session().create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(connect_timeout=2, read_timeout=seconds),
    )


def _explain(exc: Exception, place: str) -> str:
    cause = cause_of(exc)
    text = str(cause).partition("\n")[0]
    if isinstance(cause, NOT_LOGGED_IN):
        return f"no AWS credentials: {text}; set AWS_PROFILE, or run `aws configure`"
    if isinstance(cause, ReadTimeoutError | ConnectionClosedError):
        return f"{text}; look whether it took effect before you repeat it"
    if not isinstance(cause, ClientError):
        return text
    error = cause.response.get("Error", {})
    code = error.get("Code", "").removesuffix("Exception")
    if code == "ResourceNotFound":
        return f"no {place}"
    if code == DAMAGED:  # a proxy's page, for one
        return (
            f"the answer to {cause.operation_name} is not of AWS, or was damaged; "
            "look whether it took effect before you repeat it"
        )
    message = (error.get("Message") or text).partition("\n")[0]
    return f"{cause.operation_name}: {code}: {message}"


def cause_of(exc: BaseException) -> BaseException:
    """Return what AWS, or botocore, had against a call.

    It is below the service's own word for it, and below PynamoDB's.
    """
    while not isinstance(exc, BotoCoreError | ClientError):
        below = getattr(exc, "cause", None) or exc.__cause__
        if below is None:
            return exc
        exc = below
    return exc
