"""A client of the functions: sends the events of `events/` and reads the answers."""

import base64
import json
from typing import Any

from anonauth.local.settings_file import MAIL_APP
from runtime.runtime_api import Function
from support.project.sam_template import Json, event

HOST = "https://abcde12345.execute-api.eu-central-1.amazonaws.com"
APP = "myapp-abcde"
ISSUER = f"{HOST}/api/client/v2.0/app/{APP}"


def call(
    function: Function, name: str, token: str = "", **changes: Any
) -> tuple[int, Any]:
    """Send an event of `events/` and return status and body of the answer.

    Args:
        name: Name of the event.
        token: Replaces the placeholder.
        changes: Members of the event to replace; a `body` is given as an object.
    """
    answer = function.invoke(request(name, token, **changes))
    assert answer["headers"]["content-type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"])


def request(name: str, token: str = "", **changes: Any) -> Json:
    """Return an event of `events/` as `call` sends it."""
    if "body" in changes:
        changes["body"] = json.dumps(changes["body"])
    filled = json.dumps(event(name)).replace("REPLACE_WITH_TOKEN", token)
    # Two samples name an app of their own, since the local service mails for it alone.
    filled = filled.replace(MAIL_APP, APP)
    sent: Json = json.loads(filled) | changes
    return sent


def log_in(functions: dict[str, Function]) -> Json:
    """Return the answer to an anonymous login."""
    status, body = call(functions["LoginFunction"], "login")
    assert status == 200, body
    opened: Json = body
    return opened


def claims(token: str) -> Json:
    """Return a token's claims without verifying it."""
    payload = token.split(".")[1]
    decoded: Json = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return decoded
