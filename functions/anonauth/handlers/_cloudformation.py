"""The protocol of custom resources: CloudFormation waits for a PUT to a signed URL."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import urllib3

from anonauth.handlers._http import logger

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def answer_custom_resource(
    event: dict[str, Any], context: "LambdaContext", apply: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Apply a create or update, and tell CloudFormation how it went.

    The function always answers, with FAILED if need be. A stack without an answer
    hangs for an hour. Deleting the resource does nothing. The ring is in the table,
    which is retained.
    Source: AWS CloudFormation User Guide, "Custom resource response objects".
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
    urllib3.PoolManager().request(
        "PUT",
        event["ResponseURL"],
        body=json.dumps(answer),
        # The URL is signed for an empty content type.
        headers={"content-type": ""},
        timeout=5,
        retries=urllib3.Retry(3, allowed_methods=["PUT"]),
    )
    return answer
