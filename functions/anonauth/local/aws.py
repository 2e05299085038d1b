"""The local AWS: moto in this process, or an emulator at another address.

It has DynamoDB and its streams, KMS, SSM for the settings document, SES for mail, and
EventBridge.
"""

import functools
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from anonauth.aws_answers import check_answers
from anonauth.local.command_error import CommandError
from anonauth.local.dynamodb.moto_patches import patch_moto
from anonauth.local.template import REGION

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_ssm import SSMClient
    from werkzeug.wrappers import Request

TABLE_NAME = "anonauth-local"
KEY_ALIAS = "alias/anonauth-local"
APPS_PARAMETER = "/anonauth/local/app-ids"
"""SSM parameter with the local service's app ids. A stack has an output for them."""

# The template's properties that `create_table` takes. The others (protection,
# encryption) mean nothing here. Backups matter to `anonauth doctor` only.
_TABLE_PROPERTIES = (
    "AttributeDefinitions",
    "BillingMode",
    "GlobalSecondaryIndexes",
    "KeySchema",
)

# Services by the beginning of the X-Amz-Target header. SES has paths instead.
_SERVICES_BY_TARGET = {
    "DynamoDB_": "dynamodb",
    "DynamoDBStreams_": "streams.dynamodb",
    "TrentService.": "kms",
    "AmazonSSM.": "ssm",
    "AWSEvents.": "events",
}

# Variables that configure the SDK, its HTTP client and moto. Patterns, not a list: a
# variable that a new version adds must not send a call elsewhere.
_FOREIGN_VARIABLES = re.compile(
    r"(AWS|BOTO|BOTO3|BOTOCORE|MOTO)_.*|_X_AMZN_.*|.*_PROXY|(REQUESTS|CURL)_CA_BUNDLE"
    r"|TEST_(SERVER|PROXY)_MODE|INITIAL_NO_AUTH_ACTION_COUNT",
    re.IGNORECASE,
)
_LOCAL_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "NO_PROXY": "*",  # the system's settings may name a proxy
}


@contextmanager
def provide_table_and_key(
    table: Mapping[str, Any], endpoint_url: str | None
) -> Iterator[None]:
    """Context manager: make sure that table and KMS key exist while the block runs.

    Args:
        table: The properties of the template's table.
        endpoint_url: Address of the AWS emulator. None for moto, which then answers
            every AWS call of this process and forgets everything at the end.

    Raises:
        CommandError: No DynamoDB answers at the address, or it has no KMS.
    """
    with (
        isolate_environment(),
        _start_moto() if endpoint_url is None else nullcontext(),
    ):
        try:
            dynamodb: DynamoDBClient = connect("dynamodb", endpoint_url)
            is_made_here = _ensure_table(dynamodb, table)
        except (BotoCoreError, ClientError, ValueError) as exc:
            raise _missing_service("DynamoDB", endpoint_url, "", exc) from exc
        try:
            _ensure_key(connect("kms", endpoint_url))
        except (BotoCoreError, ClientError) as exc:
            raise _missing_service(
                "KMS", endpoint_url, ", and anonauth wraps its keys with it", exc
            ) from exc
        try:
            yield
        finally:
            # Moto forgets nothing while other code in this process mocks AWS too.
            if is_made_here and endpoint_url is None:
                dynamodb.delete_table(TableName=TABLE_NAME)


@contextmanager
def provide_parameter(
    name: str, text: str | None, *, default: str, endpoint_url: str | None
) -> Iterator[str]:
    """Context manager: store an SSM parameter while the block runs; yield its value.

    Args:
        name: The name of the parameter.
        text: The value. None keeps the stored one.
        default: The value if `text` is None and nothing is stored.
        endpoint_url: As for `provide_table_and_key`, which must be active.

    Raises:
        CommandError: No SSM answers at the address, or it refuses the value.
    """
    try:
        ssm: SSMClient = connect("ssm", endpoint_url)
        before = _read_parameter(ssm, name)
        document = text or before or default
        if document != before:
            ssm.put_parameter(
                Name=name,
                Value=document,
                Type="SecureString",
                Tier="Intelligent-Tiering",  # up to 8 KB, never a downgrade
                Overwrite=True,
            )
    except (BotoCoreError, ClientError) as exc:
        raise _missing_service(
            "SSM", endpoint_url, ", and anonauth reads the settings document there", exc
        ) from exc
    try:
        yield document
    finally:
        # For the same reason as the table.
        if before is None and endpoint_url is None:
            ssm.delete_parameters(Names=[name])  # no error if it is missing


def verify_senders(addresses: Iterable[str], endpoint_url: str | None) -> None:
    """Register addresses with SES, so that it sends mail from them.

    Raises:
        CommandError: No SES answers at the address.
    """
    try:
        ses: SESV2Client = connect("sesv2", endpoint_url)
        for address in addresses:
            try:
                ses.create_email_identity(EmailIdentity=address)
            except ses.exceptions.AlreadyExistsException:
                continue
    except (BotoCoreError, ClientError) as exc:
        raise _missing_service(
            "SES", endpoint_url, ", and the settings document sends mail", exc
        ) from exc


def moto_application(lock: threading.RLock) -> "WSGIApplication":
    """Return the services of moto that anonauth uses, as a WSGI application.

    Any region and any credentials reach the same local table and key. Each call holds
    the lock, because moto's transactions are not atomic between threads.
    """
    from botocore.awsrequest import AWSPreparedRequest  # noqa: PLC0415
    from botocore.compat import HTTPHeaders  # noqa: PLC0415
    from moto.core.models import botocore_stubber  # noqa: PLC0415
    from werkzeug.wrappers import Request, Response  # noqa: PLC0415

    # The same code answers this process's own clients. Moto's own server would need
    # Flask and much more.
    @Request.application
    def application(request: Request) -> Response:
        service = _requested_service(request)
        if service is None:
            text = '{"message":"only DynamoDB, KMS, SSM, SES and EventBridge are here"}'
            return Response(text, 404, content_type="application/json")
        signed = re.sub(
            r"Credential=[^/]+/([0-9]+)/[^/]+/",
            rf"Credential=local/\1/{REGION}/",
            request.headers.get("Authorization", ""),
        )
        headers = HTTPHeaders.from_dict({**request.headers, "Authorization": signed})
        # Read before the lock is taken: a slow sender must not hold up the service.
        # Werkzeug answers a client that has left or sends malformed chunks.
        body = request.get_data()
        url = f"https://{service}.{REGION}.amazonaws.com{request.full_path.rstrip('?')}"
        asked = AWSPreparedRequest(
            request.method, url, headers, body, stream_output=False
        )
        with lock:
            found = botocore_stubber.process_request(asked)
        status, answered, content = found or (404, {}, "")
        answer = Response(content, status)
        answer.headers.extend({name: str(value) for name, value in answered.items()})
        return answer

    return application


def _requested_service(request: "Request") -> str | None:
    """Return the service's prefix in AWS host names; None if it is not offered here."""
    if request.path.startswith("/v2/email/"):
        return "email"
    target = request.headers.get("X-Amz-Target", "")
    names = (
        name for start, name in _SERVICES_BY_TARGET.items() if target.startswith(start)
    )
    return next(names, None)


@contextmanager
def _start_moto() -> Iterator[None]:
    # The import takes 0.3 s. Another emulator does not need it.
    from moto import mock_aws  # noqa: PLC0415

    with patch_moto(), mock_aws():
        yield


@contextmanager
def isolate_environment() -> Iterator[None]:
    """Context manager: hide the user's AWS configuration while the block runs.

    AWS's tools then see neither the user's credentials nor proxies.
    """
    foreign = dict.fromkeys(filter(_FOREIGN_VARIABLES.fullmatch, os.environ))
    models = botocore.loaders.Loader.CUSTOMER_DATA_PATH
    with set_variables({**foreign, **_LOCAL_VARIABLES}):
        botocore.loaders.Loader.CUSTOMER_DATA_PATH = os.devnull  # not ~/.aws/models
        try:
            yield
        finally:
            botocore.loaders.Loader.CUSTOMER_DATA_PATH = models


def confine_session(
    endpoint_url: str | None, session: botocore.session.Session
) -> None:
    """Let clients of this session call only the local AWS.

    A call to any other address raises CommandError. Clients that the session made
    before are not affected.

    Args:
        endpoint_url: The address that calls may go to. None if moto answers them.
    """

    def refuse(**event: Any) -> None:
        request: AWSPreparedRequest = event["request"]
        asked = urlsplit(request.url)
        if _is_confined(asked, urlsplit(endpoint_url or "")):
            return
        raise CommandError(
            f"a call to {asked.netloc} was not sent: it would leave "
            f"{endpoint_url or 'the built-in AWS'}"
        )

    session.register("before-send", refuse)


def _is_confined(asked: SplitResult, own: SplitResult) -> bool:
    # In a host name S3 may put a bucket before the host, and AWS a service.
    host = f".{asked.hostname}"
    if own.netloc:
        is_port = (asked.scheme, asked.port) == (own.scheme, own.port)
        return is_port and host.endswith(f".{own.hostname}")
    from moto.core.models import botocore_stubber  # noqa: PLC0415 - costs 0.3 s

    # Moto answers every host with this ending, with 404 if it lacks the service. It
    # lets all other calls through.
    return botocore_stubber.enabled and host.endswith(".amazonaws.com")


@contextmanager
def set_variables(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Context manager: set environment variables; the value None unsets a variable."""
    before = {name: os.environ.get(name) for name in changes}
    _assign_variables(changes)
    try:
        yield
    finally:
        _assign_variables(before)


def _assign_variables(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def connect(service: str, endpoint_url: str | None, *, validates: bool = True) -> Any:
    """Return a client of one AWS service, with short timeouts.

    Args:
        validates: Whether the client checks parameters as AWS would.
    """
    config = Config(
        connect_timeout=1,
        read_timeout=5,
        retries={"mode": "standard"},
        parameter_validation=validates,
    )
    made = make_aws_session()
    confine_session(endpoint_url, made)
    return made.create_client(
        service, region_name=REGION, endpoint_url=endpoint_url, config=config
    )


def make_aws_session() -> botocore.session.Session:
    """Return a new botocore session that shares the service models of this process.

    It checks answers as the functions do, and repeats no call: the operator decides.
    """
    made = botocore.session.get_session()
    share_service_models(made)
    check_answers(made, repeats=False)
    return made


def share_service_models(session: botocore.session.Session) -> None:
    """Let a new session use the service models that are loaded already.

    Each copy would take 11 MB.
    """
    session.register_component("data_loader", _loader())


@functools.cache
def _loader() -> botocore.loaders.Loader:
    # Reading botocore's model of a service takes longer than all calls made here.
    return botocore.loaders.create_loader()


def _ensure_table(dynamodb: "DynamoDBClient", properties: Mapping[str, Any]) -> bool:
    if TABLE_NAME in dynamodb.list_tables()["TableNames"]:
        return False
    wanted = {
        name: properties[name] for name in _TABLE_PROPERTIES if name in properties
    }
    if stream := properties.get("StreamSpecification"):
        wanted["StreamSpecification"] = {"StreamEnabled": True, **stream}
    dynamodb.create_table(TableName=TABLE_NAME, **wanted)
    dynamodb.get_waiter("table_exists").wait(TableName=TABLE_NAME)
    if ttl := properties.get("TimeToLiveSpecification"):
        dynamodb.update_time_to_live(TableName=TABLE_NAME, TimeToLiveSpecification=ttl)
    if backups := properties.get("PointInTimeRecoverySpecification"):
        with suppress(ClientError):  # few emulators have it, and nothing here needs it
            dynamodb.update_continuous_backups(
                TableName=TABLE_NAME, PointInTimeRecoverySpecification=backups
            )
    return True


def _ensure_key(kms: "KMSClient") -> None:
    try:
        kms.describe_key(KeyId=KEY_ALIAS)
    except kms.exceptions.NotFoundException:
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key_id)


def _read_parameter(ssm: "SSMClient", name: str) -> str | None:
    try:
        found = ssm.get_parameter(Name=name, WithDecryption=True)
    except ssm.exceptions.ParameterNotFound:
        return None
    return found["Parameter"]["Value"]


def _missing_service(
    service: str, endpoint_url: str | None, why: str, exc: Exception
) -> CommandError:
    place = endpoint_url or "the built-in AWS"
    return CommandError(f"no {service} at {place}{why}: {_first_line(exc)}")


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
