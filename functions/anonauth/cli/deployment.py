"""The deployment that an operator's command works on, and access to it.

The service's own classes do the work, with the operator's AWS credentials.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    ConnectionClosedError,
    CredentialRetrievalError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
    UnknownTokenProviderError,
)

from anonauth import wiring
from anonauth.aws_answers import DAMAGED
from anonauth.cli.options import DeploymentOptions
from anonauth.errors import Unavailable
from anonauth.local import aws
from anonauth.local.command_error import CommandError
from anonauth.local.template import REGION
from anonauth.settings import Settings

# Placeholders for unknown settings. A command that needs the setting checks first.
_NO_KEY = "none"
_NO_APPS = "none"

# Errors of botocore without usable credentials: it has made no call.
_MISSING_CREDENTIALS = (
    ConfigParseError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    UnknownCredentialError,
)
_ENDED_SSO_SESSION = (
    NoAuthTokenError,
    SSOError,
    TokenRetrievalError,
    UnknownTokenProviderError,
)

# Codes by which AWS services refuse credentials, whatever the request.
_EXPIRED_CODES = {"ExpiredToken", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEY_CODES = {
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "UnrecognizedClient",
}
_BAD_SIGNATURE_CODES = {
    "InvalidSignature",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}

_FIRST_SERVER_ERROR = 500  # from this status on the outcome is unknown

# Operations that change nothing, of all AWS services used here.
_READ_OPERATIONS = re.compile(
    "(BatchGet|Decrypt|Describe|Encrypt|Get|Head|List|Query|Scan)"
)


class LastCall:
    """The operation that the clients of the watched sessions called last."""

    name = ""

    def watch(self, session: botocore.session.Session) -> None:
        """Record the calls of all clients that the session creates from now on."""

        def note(**event: Any) -> None:
            self.name = event["model"].name

        session.register("before-call", note)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The deployment that the options name.

    `kms_key` is empty if only a table was named. `outputs` and `stack_name` are empty
    if no stack was named.
    """

    region: str
    endpoint_url: str | None
    table: str
    kms_key: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    stack_name: str = ""
    last_call: LastCall = field(default_factory=LastCall)

    @property
    def place(self) -> str:
        """Stack, table and region in words, so that a mistaken profile shows."""
        stack = f"stack '{self.stack_name}', " if self.stack_name else ""
        elsewhere = f", at {self.endpoint_url}" if self.endpoint_url else ""
        return f"{stack}table '{self.table}' in {self.region}{elsewhere}"

    def read_app_ids(self) -> list[str]:
        """Return the app ids of the deployment, or none if they are unknown."""
        told = self.outputs.get("ClientAppIds", "")
        if not told and self.endpoint_url and self.table == aws.TABLE_NAME:
            with suppress(BotoCoreError, ClientError):
                found = self.connect("ssm").get_parameter(
                    Name=aws.APPS_PARAMETER, WithDecryption=True
                )
                told = found["Parameter"]["Value"]
        return [each for each in told.split(",") if each]

    def services(self) -> wiring.Services:
        """Return the deployment's services, without settings only its functions have.

        Raises:
            CommandError: The operator's AWS configuration cannot be used.
        """
        services = wiring.Services(
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
        session = services.store.aws_session
        self.last_call.watch(session)
        if self.endpoint_url:
            aws.confine_session(self.endpoint_url, session)
        with _configuration_errors():
            services.store.connect()
        return services

    def connect(self, service: str, *, seconds: int = 10) -> Any:
        """Return a client of an AWS service. `seconds` is the read timeout."""
        return _create_client(
            service, self.region, self.endpoint_url, self.last_call, seconds=seconds
        )

    def output(self, name: str) -> str:
        """Return an output of the stack.

        Raises:
            CommandError: No stack was named, or an earlier version deployed it.
        """
        if name not in self.outputs:
            raise CommandError(
                f"needs the stack output {name}: give --stack, and deploy this "
                "version if the stack is older"
            )
        return self.outputs[name]


@contextmanager
def open_deployment(options: DeploymentOptions) -> Iterator[Deployment]:
    """Yield the deployment that the options name, while a `with` block runs.

    Raises:
        CommandError: The deployment is unclear or AWS refuses access. AWS errors within
            the block become this error too.
    """
    place, last_call = "", LastCall()
    with aws.isolate_environment() if options.endpoint_url else nullcontext():
        try:
            found = _find_deployment(options, _find_region(options), last_call)
            deployment = replace(found, last_call=last_call)
            place = f"table '{deployment.table}' in {deployment.region}"
            yield deployment
        except (BotoCoreError, ClientError, Unavailable) as exc:
            raise CommandError(_explain_aws_error(exc, place, last_call.name)) from exc


@contextmanager
def open_services(
    options: DeploymentOptions, *, with_key: bool = False
) -> Iterator[wiring.Services]:
    """Yield the services of a deployment, while a `with` block runs.

    Args:
        options: The options that name the deployment.
        with_key: Whether the command wraps a new key, which takes a KMS key.

    Raises:
        CommandError: As for `open_deployment`.
    """
    with open_deployment(options) as deployment:
        if with_key and not deployment.kms_key:
            raise CommandError(
                "--table needs --kms-key too, to wrap a new key. The key is the "
                "stack output RingKeyArn"
            )
        yield deployment.services()


def _find_region(options: DeploymentOptions) -> str:
    if options.endpoint_url:
        return options.region or REGION
    configured = botocore.session.get_session().get_config_variable("region")
    # botocore ignores AWS_REGION, which all other AWS tools obey.
    region = options.region or os.environ.get("AWS_REGION") or configured
    if not region:
        raise CommandError("no region: give --region, or set AWS_REGION")
    return str(region)


def _find_deployment(
    options: DeploymentOptions, region: str, last_call: LastCall
) -> Deployment:
    endpoint_url, key = options.endpoint_url, options.kms_key or ""
    if options.stack:
        outputs = _read_stack_outputs(options.stack, region, endpoint_url, last_call)
        table, key = outputs["TableName"], key or outputs["RingKeyArn"]
        return Deployment(region, endpoint_url, table, key, outputs, options.stack)
    if options.table:
        return Deployment(region, endpoint_url, options.table, key)
    return Deployment(region, endpoint_url, aws.TABLE_NAME, key or aws.KEY_ALIAS)


def _read_stack_outputs(
    stack: str, region: str, endpoint_url: str | None, last_call: LastCall
) -> Mapping[str, str]:
    client = _create_client("cloudformation", region, endpoint_url, last_call)
    hint = "; leave out --stack for a local service" if endpoint_url else ""
    another = CommandError(f"no CloudFormation at {client.meta.endpoint_url}{hint}")
    try:
        (found,) = client.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code")
        if code == "ValidationError":
            raise CommandError(f"no stack '{stack}' in {region}") from exc
        if code and code != DAMAGED:
            raise
        raise another from exc
    except KeyError as exc:  # the XML of another server
        raise another from exc
    outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}
    if not {"TableName", "RingKeyArn"} <= outputs.keys():
        raise CommandError(
            f"stack '{stack}' is not an anonauth stack, or not complete: "
            "it has no outputs TableName and RingKeyArn"
        )
    return outputs


def _create_client(
    service: str,
    region: str,
    endpoint_url: str | None,
    last_call: LastCall,
    *,
    seconds: int = 10,
) -> Any:
    session = aws.make_aws_session()
    last_call.watch(session)
    if endpoint_url:
        aws.confine_session(endpoint_url, session)
    with _configuration_errors():
        return session.create_client(
            service,
            region_name=region,
            endpoint_url=endpoint_url,
            config=Config(connect_timeout=2, read_timeout=seconds),
        )


@contextmanager
def _configuration_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as exc:  # an invalid number, a missing file
        text = str(exc).partition("\n")[0]
        raise CommandError(f"your AWS configuration cannot be used: {text}") from exc


def _explain_aws_error(exc: Exception, place: str, operation: str) -> str:
    """Return a message about an AWS error: its cause, and what to do next.

    Args:
        operation: The operation that was called last.
    """
    cause = find_aws_error(exc)
    text = str(cause).partition("\n")[0]
    if trouble := explain_credentials_error(cause):
        return trouble
    if not isinstance(cause, ClientError):
        is_unclear = isinstance(cause, ReadTimeoutError | ConnectionClosedError)
        return f"{text}; {_retry_advice(operation)}" if is_unclear else text
    error = cause.response.get("Error", {})
    code = error.get("Code", "").removesuffix("Exception")
    if code == "ResourceNotFound":
        return f"no {place}"
    if code == DAMAGED:  # for example a proxy's page
        return (
            f"the answer to {cause.operation_name} is not from AWS, or is damaged; "
            f"{_retry_advice(cause.operation_name)}"
        )
    message = (error.get("Message") or text).partition("\n")[0]
    told = f"{cause.operation_name}: {code}: {message}"
    if (
        cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        >= _FIRST_SERVER_ERROR
    ):
        return f"{told}; {_retry_advice(cause.operation_name)}"
    return told


def _retry_advice(operation: str) -> str:
    if _READ_OPERATIONS.match(operation):
        return f"{operation} changes nothing, so run the command again"
    return "check whether it took effect before you repeat it"


def explain_credentials_error(cause: BaseException) -> str | None:
    """Return what is wrong with the operator's credentials, and a command that helps.

    None means that the error has another cause.

    Args:
        cause: As `find_aws_error` returns it.
    """
    text = str(cause).partition("\n")[0]
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    option = f" --profile {shlex.quote(profile)}" if profile else ""
    if isinstance(cause, _ENDED_SSO_SESSION):
        return f"your AWS session has ended: {text}; run `aws sso login{option}`"
    if isinstance(cause, LoginError):
        return f"your AWS session has ended: {text}; run `aws login{option}`"
    if isinstance(cause, _MISSING_CREDENTIALS):
        return f"no AWS credentials: {text}; set AWS_PROFILE, or run `aws configure`"
    if not isinstance(cause, ClientError):
        return None
    code = cause.response.get("Error", {}).get("Code", "").removesuffix("Exception")
    return _explain_refused_credentials(code, option)


def _explain_refused_credentials(code: str, option: str) -> str | None:
    if code in _EXPIRED_CODES and "AWS_SESSION_TOKEN" in os.environ:
        return (
            f"your AWS session has ended ({code}): AWS_SESSION_TOKEN is too old. Get a "
            "new one, or `unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY "
            "AWS_SESSION_TOKEN` and set AWS_PROFILE"
        )
    if code in _EXPIRED_CODES:
        return f"your AWS session has ended ({code}); run `aws sso login{option}`"
    if code in _UNKNOWN_KEY_CODES:
        return (
            f"AWS does not know your credentials ({code}), or the region is not "
            f"enabled; see `aws sts get-caller-identity{option}`"
        )
    if code in _BAD_SIGNATURE_CODES:
        return (
            f"AWS refuses your signature ({code}): the secret key does not match the "
            "key id, or this machine's clock is wrong; see `date -u`"
        )
    return None


def find_aws_error(exc: BaseException) -> BaseException:
    """Return the error of AWS or botocore that is the cause of an exception.

    The service's own errors and those of PynamoDB wrap it. Without such an error,
    return the innermost cause.
    """
    while not isinstance(exc, BotoCoreError | ClientError):
        below = getattr(exc, "cause", None) or exc.__cause__
        if below is None:
            return exc
        exc = below
    return exc
