"""A check of AWS's answers before the SDK parses them. It turns damage into an error.

The SDK (botocore 1.44.5) accepts a body that is shorter than its Content-Length,
ignores `x-amz-crc32`, and reads a body that is not JSON as an empty result. A damaged
answer to GetItem then says that the item does not exist. The client is answered 401 and
discards its guest.
"""

import json
from binascii import crc32
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET  # nosec B405

from botocore.model import OperationModel, StructureShape
from botocore.session import Session

DAMAGED = "DamagedAnswer"
"""Code of the error that a damaged answer becomes.

AWS has no such code, so the outcome of the call counts as unknown.
"""

_JSON = {"json", "rest-json"}
_XML = {"query", "ec2", "rest-xml"}
_ALWAYS_XML = {"query", "ec2"}  # bodies of S3 may be empty
_PAGE = (b"<html", b"<!doctype html")  # may be XML, but AWS did not send it

# A member that each answer of an operation has and that our code reads. The SDK's
# models do not say that it is always there.
_ALWAYS_THERE = {
    "BatchGetItem": "Responses",
    "Decrypt": "Plaintext",
    "Encrypt": "CiphertextBlob",
    "GetParameter": "Parameter",
    "GetParameters": "Parameters",
    "PutEvents": "Entries",
    "Scan": "Items",
    "SendEmail": "MessageId",
}


def check_answers(session: Session, *, repeats: bool = True) -> None:
    """Check the answers to all clients that this session makes from now on.

    A damaged answer becomes a 500 with the code `DamagedAnswer`, which the client
    raises as a `ClientError`. The check takes 7 µs for a guest's item.

    Args:
        repeats: Let the SDK repeat such a call as often as it repeats other calls.
    """
    session.register("before-parse.*.*", _before_parse)
    # The SDK decides in events such as `needs-retry.dynamodb`. Handlers of the longer
    # name are called earlier.
    session.register("needs-retry.*.*" if repeats else "needs-retry", _set_status)


def _before_parse(**event: Any) -> None:
    answer: dict[str, Any] = event["response_dict"]
    if not is_damaged(event["operation_model"], answer):
        return
    # The SDK's parser would fail on some bodies. It accepts an empty body of a 5xx.
    answer["body"] = b""
    if answer["status_code"] < 500:
        answer["status_code"] = 500
        event["customized_response_dict"]["Error"] = {
            "Code": DAMAGED,
            "Message": "the answer was cut off, altered, or not the service's",
        }


def _set_status(**event: Any) -> None:
    # The SDK decides by the status that was received. It changes that itself for errors
    # of S3 that have the status 200 (botocore.handlers).
    response: tuple[Any, Mapping[str, Any]] | None = event["response"]
    if response is not None and response[1].get("Error", {}).get("Code") == DAMAGED:
        response[0].status_code = 500


def is_damaged(operation: OperationModel, answer: Mapping[str, Any]) -> bool:
    """Say whether an answer differs from what the service must have sent.

    Args:
        operation: The operation that was called.
        answer: `status_code`, `headers` (looked up in lower case) and `body`, as
            received. A body that is a stream is not checked.
    """
    body = answer["body"]
    if not isinstance(body, bytes) or operation.http.get("method") == "HEAD":
        return False
    return _is_altered(answer["headers"], body) or not _is_in_form(
        operation, body, is_error=answer["status_code"] >= 300
    )


def _is_altered(headers: Mapping[str, str], body: bytes) -> bool:
    # Chunks have their own lengths, which urllib3 checks.
    is_chunked = "transfer-encoding" in headers
    length = None if is_chunked else headers.get("content-length")
    return _differs(length, len(body)) or _differs(
        headers.get("x-amz-crc32"), crc32(body)
    )


def _differs(told: str | None, found: int) -> bool:
    return told is not None and told.strip() != str(found)


def _is_in_form(operation: OperationModel, body: bytes, *, is_error: bool) -> bool:
    shape = operation.output_shape
    if not is_error and (shape is None or "payload" in shape.serialization):
        return True  # no code reads the body, or it has a form of its own
    protocol = operation.service_model.resolved_protocol
    if protocol in _JSON:
        if not body and not is_error:
            return not _has_body(shape)
        needed = None if is_error else _ALWAYS_THERE.get(operation.name)
        return _is_json_object(body, needed)
    if protocol in _XML:
        return _is_xml(body) if body else protocol not in _ALWAYS_XML
    return True


def _has_body(shape: StructureShape | None) -> bool:
    return shape is not None and any(
        "location" not in m.serialization for m in shape.members.values()
    )


def _is_json_object(body: bytes, needed: str | None) -> bool:
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and (needed is None or needed in found)


def _is_xml(body: bytes) -> bool:
    if body.lstrip()[:15].lower().startswith(_PAGE):
        return False
    try:
        # The text comes from AWS over TLS, and the SDK parses it next in the same way.
        ET.fromstring(body)  # noqa: S314  # nosec B314
    except ET.ParseError:
        return False
    return True
