"""Cost of checking an answer of the table before the SDK parses it."""

import json
import time
from binascii import crc32
from typing import Any

from botocore.awsrequest import HeadersDict
from botocore.session import get_session

from anonauth.aws_answers import is_damaged
from support.project.sam_template import Json

MOST = 20e-6
"""Seconds that checking a guest's item may take."""

_SESSIONS = (1, 8, 32)
_CALLS = 1000

_SESSION = {
    "hash": {"S": "x" * 43},
    "created_at": {"S": "2026-03-10T12:00:00Z"},
    "used_day": {"S": "2026-03-10"},
    "device": {"M": {"id": {"S": "0" * 24}}},
    "provider": {"S": "anon-user"},
}


def measure(rounds: int) -> Json:
    """Return bytes and seconds of processor time, by number of sessions."""
    operation = get_session().get_service_model("dynamodb").operation_model("GetItem")
    figures: Json = {}
    for sessions in _SESSIONS:
        answer = _answer(sessions)
        spent = []
        for _ in range(rounds):
            before = time.thread_time()
            for _ in range(_CALLS):
                is_damaged(operation, answer)
            spent.append((time.thread_time() - before) / _CALLS)
        figures[str(sessions)] = {"bytes": len(answer["body"]), "seconds": min(spent)}
    return figures


def _answer(sessions: int) -> dict[str, Any]:
    item = {
        "pk": {"S": "USER#myapp-abcde#" + "0" * 24},
        "sessions": {"M": {f"{n:024x}": {"M": _SESSION} for n in range(sessions)}},
        "expires_at": {"N": "1795487400"},
        "version": {"N": "1"},
    }
    body = json.dumps({"Item": item, "ConsumedCapacity": {"CapacityUnits": 1.0}})
    raw = body.encode()
    headers = HeadersDict(
        {"Content-Length": str(len(raw)), "x-amz-crc32": str(crc32(raw))}
    )
    return {"status_code": 200, "headers": headers, "body": raw}
