"""Repeating calls for minutes, for long work that Ctrl-C or an outage may end."""

import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from anonauth.backoff import jittered_pause
from anonauth.cli.deployment import find_aws_error
from anonauth.errors import StoreUnavailable

_T = TypeVar("_T")

# A table that throttles adapts within minutes. Each of these attempts is three calls.
_ATTEMPTS = 40
_FIRST_PAUSE = 0.5  # seconds, on average
_LONGEST_PAUSE = 5.0  # seconds, for which Ctrl-C may have to wait

# Codes by which DynamoDB says that it may answer later.
_PASSING_CODES = {
    "InternalFailure",
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "TransactionConflict",
    "TransactionCanceled",
}


def repeat_patiently(
    call: Callable[[], _T], pause: Callable[[float], None] = time.sleep
) -> _T:
    """Repeat a call for some minutes while the table throttles or is away.

    Args:
        call: A call that can be repeated whatever its outcome was.
        pause: Waits that many seconds while the table throttles.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return call()
        except StoreUnavailable as exc:
            if not _may_pass(find_aws_error(exc)):
                raise
        pause(jittered_pause(attempt, _FIRST_PAUSE, _LONGEST_PAUSE))
    return call()


def aws_error_code(exc: BaseException) -> str:
    """Return the code of the AWS error that is the cause of an exception, or ""."""
    cause = find_aws_error(exc)
    if not isinstance(cause, ClientError):
        return ""
    code: str = cause.response.get("Error", {}).get("Code", "")
    return code.removesuffix("Exception")


def _may_pass(cause: BaseException) -> bool:
    if isinstance(cause, ClientError):
        return aws_error_code(cause) in _PASSING_CODES
    return isinstance(cause, HTTPClientError | AwsConnectionError)
