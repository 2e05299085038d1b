"""Which deployment an operator's command is about, and the way into it.

The parts are the service's own, at work with the operator's AWS credentials.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
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
from anonauth.cli import engine
from anonauth.cli.options import Target
from anonauth.cli.problem import Problem
from anonauth.cli.template import REGION
from anonauth.errors import Unavailable
from anonauth.settings import Settings

# What a command that needs them checks for; others never use them.
_NO_KEY = "none"
_NO_APPS = "none"

_NOT_LOGGED_IN = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)


@contextmanager
def opened(target: Target, *, with_key: bool = False) -> Iterator[wiring.Services]:
    """Yield the services of a deployment, for the time of a `with` block.

    Args:
        target: The deployment.
        with_key: Whether something has to be wrapped, so that a KMS key is needed.

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
            region = _find_region(target)
            variables = {"AWS_REGION": region, **_find(target, region)}
            place = f"table '{variables['TABLE_NAME']}' in {region}"
            if with_key and variables["KMS_KEY_ID"] == _NO_KEY:
                raise Problem(
                    "--table needs --kms-key too, to wrap a new key; it is the "
                    "stack's output RingKeyArn"
                )
            yield wiring.Services(Settings.from_environment(variables))
        except (BotoCoreError, ClientError, Unavailable) as exc:
            raise Problem(_explain(exc, place)) from exc


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


def _find(target: Target, region: str) -> dict[str, str]:
    if target.stack:
        outputs = _read_outputs(target.stack, region, target.endpoint_url)
        table, key = outputs["TableName"], outputs["RingKeyArn"]
        apps = outputs.get("ClientAppIds", _NO_APPS)
    elif target.table:
        table, key, apps = target.table, _NO_KEY, _NO_APPS
    else:
        table, key, apps = engine.TABLE_NAME, engine.KEY_ALIAS, _NO_APPS
    return {
        "TABLE_NAME": table,
        "KMS_KEY_ID": target.kms_key or key,
        "APP_IDS": apps,
        "ENDPOINT_URL": target.endpoint_url or "",
    }


def _read_outputs(
    stack: str, region: str, endpoint_url: str | None
) -> Mapping[str, str]:
    client = _connect("cloudformation", region, endpoint_url)
    try:
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as exc:
        if exc.response["Error"]["Code"] == "ValidationError":
            raise Problem(f"no stack '{stack}' in {region}") from exc
        raise
    outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}
    if not {"TableName", "RingKeyArn"} <= outputs.keys():
        raise Problem(
            f"stack '{stack}' is not one of anonauth, or not complete: "
            "it has no outputs TableName and RingKeyArn"
        )
    return outputs


def _connect(service: str, region: str, endpoint_url: str | None) -> Any:
    return botocore.session.get_session().create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        config=Config(connect_timeout=2, read_timeout=10),
    )


def _explain(exc: Exception, place: str) -> str:
    cause = _cause(exc)
    text = str(cause).partition("\n")[0]
    if isinstance(cause, _NOT_LOGGED_IN):
        return f"no AWS credentials: {text}; set AWS_PROFILE, or run `aws configure`"
    if isinstance(cause, ReadTimeoutError | ConnectionClosedError):
        return f"{text}; look whether it took effect before you repeat it"
    if not isinstance(cause, ClientError):
        return text
    error = cause.response.get("Error", {})
    code = error.get("Code", "").removesuffix("Exception")
    if code == "ResourceNotFound":
        return f"no {place}"
    message = (error.get("Message") or text).partition("\n")[0]
    return f"{cause.operation_name}: {code}: {message}"


def _cause(exc: BaseException) -> BaseException:
    # Below the service's own word for it, and below PynamoDB's.
    while not isinstance(exc, BotoCoreError | ClientError):
        below = getattr(exc, "cause", None) or exc.__cause__
        if below is None:
            return exc
        exc = below
    return exc
