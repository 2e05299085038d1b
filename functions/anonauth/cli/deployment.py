"""Which deployment an operator's command is about, and the way into it.

The parts are the service's own, at work with the operator's AWS credentials.
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

# What a command that needs them checks for; others never use them.
_NO_KEY = "none"
_NO_APPS = "none"

# There are no credentials, so that no call can be made at all.
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

# Codes by which services refuse credentials, whatever is asked.
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

_FIRST_SERVER_ERROR = 500  # of this status and those above nobody knows the outcome

# Operations of all services that are used here which change nothing.
_READ_OPERATIONS = re.compile(
    "(BatchGet|Decrypt|Describe|Encrypt|Get|Head|List|Query|Scan)"
)


class LastCall:
    """Notes which operation the clients of some sessions have called last."""

    name = ""

    def watch(self, session: botocore.session.Session) -> None:
        """Note the calls of all clients that it makes from now on."""

        def note(**event: Any) -> None:
            self.name = event["model"].name

        session.register("before-call", note)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that was found.

    `kms_key` is empty where only a table was named, `outputs` and `stack_name`
    where no stack was.
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
        """Where it is, in words: what a mistaken profile or region would show in."""
        stack = f"stack '{self.stack_name}', " if self.stack_name else ""
        elsewhere = f", at {self.endpoint_url}" if self.endpoint_url else ""
        return f"{stack}table '{self.table}' in {self.region}{elsewhere}"

    def read_app_ids(self) -> list[str]:
        """Return the apps that it serves; none if it does not say."""
        told = self.outputs.get("ClientAppIds", "")
        if not told and self.endpoint_url and self.table == aws.TABLE_NAME:
            with suppress(BotoCoreError, ClientError):
                found = self.connect("ssm").get_parameter(
                    Name=aws.APPS_PARAMETER, WithDecryption=True
                )
                told = found["Parameter"]["Value"]
        return [each for each in told.split(",") if each]

    def services(self) -> wiring.Services:
        """Return its services, without what only its functions know.

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
        """Return a client of an AWS service, that waits so long for an answer."""
        return _create_client(
            service, self.region, self.endpoint_url, self.last_call, seconds=seconds
        )

    def output(self, name: str) -> str:
        """Return an output of the stack.

        Raises:
            CommandError: No stack was named, or it is one of an earlier version.
        """
        if name not in self.outputs:
            raise CommandError(
                f"needs the output {name} of a stack of this version: give --stack, "
                "and deploy it anew if it is older"
            )
        return self.outputs[name]


@contextmanager
def open_deployment(options: DeploymentOptions) -> Iterator[Deployment]:
    """Yield a deployment, for the time of a `with` block.

    Raises:
        CommandError: It is not clear which deployment is meant, or AWS does not let us
            in. Also what AWS has against a call within the block.
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
    """Yield the services of a deployment, for the time of a `with` block.

    Args:
        target: The deployment.
        with_key: Whether something has to be wrapped, so that a KMS key is needed.

    Raises:
        CommandError: As for `reached`.
    """
    with open_deployment(options) as deployment:
        if with_key and not deployment.kms_key:
            raise CommandError(
                "--table needs --kms-key too, to wrap a new key; it is the "
                "stack's output RingKeyArn"
            )
        yield deployment.services()


def _find_region(options: DeploymentOptions) -> str:
    if options.endpoint_url:
        return options.region or REGION
    configured = botocore.session.get_session().get_config_variable("region")
    # botocore leaves out the first, which all other tools of AWS obey.
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
    except KeyError as exc:  # XML of something else
        raise another from exc
    outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}
    if not {"TableName", "RingKeyArn"} <= outputs.keys():
        raise CommandError(
            f"stack '{stack}' is not one of anonauth, or not complete: "
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
    except (ValueError, OSError) as exc:  # a number that is none, a file that is not
        text = str(exc).partition("\n")[0]
        raise CommandError(f"your AWS configuration cannot be used: {text}") from exc


def _explain_aws_error(exc: Exception, place: str, operation: str) -> str:
    """Return what went wrong, and what to do.

    Args:
        operation: The one that was called last.
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
    if code == DAMAGED:  # a proxy's page, for one
        return (
            f"the answer to {cause.operation_name} is not of AWS, or was damaged; "
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
        return f"{operation} changes nothing: run it again"
    return "look whether it took effect before you repeat it"


def explain_credentials_error(cause: BaseException) -> str | None:
    """Return what is wrong with the operator's credentials, and the command that helps.

    None if it is something else that went wrong.

    Args:
        cause: As `cause_of` returns it.
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
            f"AWS refuses your signature ({code}): the secret key is another one's, or "
            "this machine's clock is wrong; see `date -u`"
        )
    return None


def find_aws_error(exc: BaseException) -> BaseException:
    """Return what AWS, or botocore, had against a call.

    It is below the service's own word for it, and below PynamoDB's.
    """
    while not isinstance(exc, BotoCoreError | ClientError):
        below = getattr(exc, "cause", None) or exc.__cause__
        if below is None:
            return exc
        exc = below
    return exc
