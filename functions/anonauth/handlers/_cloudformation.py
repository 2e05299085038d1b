"""The protocol of custom resources: CloudFormation waits for a PUT to a signed URL.

This module imports plain Python only. It has to answer even if the bundle's compiled
modules do not load (`_architecture`).
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3
from aws_lambda_powertools.logging import Logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger()

_ATTEMPTS = 4
_TIMEOUT = 5.0
"""Seconds for each attempt. With pauses of 2, 4 and 8 s between them the attempts take
34 s at most, and the function has 90 s."""


class Refused(Exception):
    """The resource cannot be made. The text tells the operator why."""


class AnswerNotAccepted(Exception):
    """The signed URL did not take the answer. The text has the last outcome only."""


def answer_custom_resource(
    event: dict[str, Any],
    context: "LambdaContext",
    apply: Callable[[], dict[str, Any]],
    *,
    pause: Callable[[float], None],
) -> dict[str, Any]:
    """Apply a create or update, and tell CloudFormation how it went.

    The function always answers, with FAILED if need be. A stack without an answer
    hangs for an hour. Deleting the resource does nothing. The ring is in the table,
    which is retained.
    Source: AWS CloudFormation User Guide, "Custom resource response objects".

    Raises:
        AnswerNotAccepted: CloudFormation did not get the answer. Lambda repeats an
            asynchronous call twice, and to rotate the keys again is safe.
    """
    answer = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get(
            "PhysicalResourceId", event["LogicalResourceId"]
        ),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    try:
        if event["RequestType"] != "Delete":
            answer["Data"] = apply()
    except Exception as exc:
        logger.exception("custom resource failed")
        answer["Status"] = "FAILED"
        told = str(exc) if isinstance(exc, Refused) else type(exc).__name__
        answer["Reason"] = f"{told}; see log {context.log_stream_name}"
    _put(event["ResponseURL"], json.dumps(answer), pause)
    return answer


def _put(url: str, body: str, pause: Callable[[float], None]) -> None:
    """Send the answer until it is accepted. The signed URL is in no log and no error.

    Raises:
        AnswerNotAccepted: Every attempt failed. Lambda calls the function again.
    """
    # urllib3 would retry by itself, but it logs the URL of each retry.
    send = urllib3.PoolManager(timeout=_TIMEOUT, retries=False).request
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            # The URL is signed for an empty content type.
            status = send("PUT", url, body=body, headers={"content-type": ""}).status
            if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                return
            outcome = f"HTTP status {status}"
        except urllib3.exceptions.HTTPError as exc:
            outcome = type(exc).__name__
        logger.error(
            "CloudFormation has not accepted the answer",
            extra={"outcome": outcome, "attempt": attempt},
        )
        if attempt < _ATTEMPTS:
            pause(2**attempt)
    raise AnswerNotAccepted(outcome)
