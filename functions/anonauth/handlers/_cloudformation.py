"""The protocol of custom resources: CloudFormation waits for a PUT to a signed URL."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3

from anonauth import wiring
from anonauth.handlers._http import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_ATTEMPTS = 4
_TIMEOUT = 5.0
"""Seconds for each attempt. With pauses of 2, 4 and 8 s between them the attempts take
34 s at most, and the function has 90 s."""


class AnswerNotAccepted(Exception):
    """The signed URL did not take the answer. The text has the last outcome only."""


def answer_custom_resource(
    event: dict[str, Any], context: "LambdaContext", apply: Callable[[], dict[str, Any]]
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
    except Exception as exc:  # noqa: BLE001 - every failure is reported
        logger.exception("custom resource failed")
        answer["Status"] = "FAILED"
        answer["Reason"] = f"{type(exc).__name__}; see log {context.log_stream_name}"
    _put(event["ResponseURL"], json.dumps(answer))
    return answer


def _put(url: str, body: str) -> None:
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
            wiring.services().pause(2**attempt)
    raise AnswerNotAccepted(outcome)
