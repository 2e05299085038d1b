"""Request bodies: JSON that anyone may send, checked before it is used."""

import base64
import binascii
import json
import re
from typing import Any

from anonauth.domain.users import NO_DEVICE, Device
from anonauth.errors import BadRequest, InvalidParameter

LONGEST_BODY = 16 * 1024  # bytes
_LONGEST_BASE64 = -(-LONGEST_BODY // 3) * 4  # characters
DEEPEST_BODY = 16  # levels

# The stored fields of a device. Each is cut to `_LONGEST_DEVICE_FIELD` bytes of UTF-8.
# With the longest app id the user item then stays under 1 KB, the unit of DynamoDB's
# bill for writes. `deviceName` is left out, because phones are named after people.
_DEVICE_FIELDS = (
    "platform",
    "platformVersion",
    "sdk",
    "sdkVersion",
    "appVersion",
    "frameworkName",
    "frameworkVersion",
)
_LONGEST_DEVICE_FIELD = 32  # bytes

# Numbers in canonical extended JSON, as realm-web and Core send them (client-api.md
# §1.6).
_NUMBERS = {"$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"}

# Turnstile's answers have 2048 characters at most, those of reCAPTCHA and hCaptcha
# twice as many.
_LONGEST_ANSWER = 8192  # characters

# 32 bytes as base64url. The last character has two bits too many, which are zero.
_LOGIN_KEY = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"

_LONGEST_TOKEN = 4096  # characters; a refresh token has about 900


def parse_body(body: str | None, *, is_base64: bool) -> dict[str, Any]:
    """Return the JSON object in a body, `{}` if the body is absent or empty.

    A body of blanks is not empty. It is not JSON either, so it is refused.

    Args:
        body: As in the event. Text, or base64 if its content type is not a text type.
        is_base64: Whether the body is base64.

    Raises:
        BadRequest: The body is not UTF-8, not JSON or not an object. Or it is longer
            than `LONGEST_BODY` or deeper than `DEEPEST_BODY`, an object has a name
            twice, or a string has a NUL or half a character. The text names the fault,
            and quotes nothing.
    """
    if not body:
        return {}
    # The length is checked first: Lambda passes up to 6 MB, which take long to decode.
    if len(body) > (_LONGEST_BASE64 if is_base64 else LONGEST_BODY):
        raise _too_long()
    try:
        raw = base64.b64decode(body, validate=True) if is_base64 else body.encode()
        if len(raw) > LONGEST_BODY:
            raise _too_long()
        text = raw.decode()
    except (UnicodeError, binascii.Error) as exc:
        raise BadRequest("the body is not UTF-8 text") from exc
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as exc:
        raise _too_deep() from exc
    except ValueError as exc:
        raise BadRequest("the body is not valid JSON") from exc
    _check(value, DEEPEST_BODY)
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    return value


def text(body: dict[str, Any], name: str) -> str:
    """Return a required string field; it may be empty.

    Raises:
        BadRequest: The field is missing, or of another type.
    """
    value = body.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"{name} is missing or not a string")
    return value


def parse_device(body: dict[str, Any]) -> Device | None:
    """Return the device in `options.device`, None if the client sent no device.

    realm-web sends its id as `{"$oid": …}`, Core sends none, and Stitch sends a plain
    string (client-api.md §2.2). An id that is not 24 hex digits counts as none. The
    other fields are only for display, so no value of them makes a login fail.

    Raises:
        BadRequest: `options` or the device is not an object.
    """
    device = _object(body, "options").get("device")
    if device is None:
        return None
    if not isinstance(device, dict):
        raise BadRequest("device is not an object")
    device_id = device.get("deviceId")
    if isinstance(device_id, dict):
        device_id = device_id.get("$oid")
    texts = {name: _device_text(device.get(name)) for name in _DEVICE_FIELDS}
    info = {name: text for name, text in texts.items() if text}
    return Device(_object_id(device_id) or NO_DEVICE, info)


def parse_challenge(body: dict[str, Any]) -> str | None:
    """Return the answer to a challenge in `options.challenge`, None if it is absent.

    Raises:
        BadRequest: The answer is not a string, or too long.
    """
    answer = _object(body, "options").get("challenge")
    if not isinstance(answer, str | None):
        raise BadRequest("options.challenge is not a string")
    if answer and len(answer) > _LONGEST_ANSWER:
        raise BadRequest(f"options.challenge is longer than {_LONGEST_ANSWER}")
    return answer


def parse_login_key(body: dict[str, Any]) -> str | None:
    """Return the key in `login_key`, None if it is absent.

    Raises:
        BadRequest: The field is not the base64url of 32 bytes.
    """
    key = body.get("login_key")
    if key is None:
        return None
    if not isinstance(key, str) or not re.fullmatch(_LOGIN_KEY, key):
        raise BadRequest("login_key is not 32 bytes as base64url, 43 characters")
    return key


def parse_merge(body: dict[str, Any]) -> str | None:
    """Return the refresh token in `merge`, None if it is absent or null.

    Raises:
        InvalidParameter: The field is not a string, or too long.
    """
    token = body.get("merge")
    if not isinstance(token, str | None):
        raise InvalidParameter("merge is not a string")
    if token is not None and len(token) > _LONGEST_TOKEN:
        raise InvalidParameter(f"merge is longer than {_LONGEST_TOKEN} characters")
    return token


def refuse_merge(body: dict[str, Any]) -> None:
    """Return if an anonymous login has no `merge`.

    Raises:
        InvalidParameter: It has. A guest is merged into a user that has an identity.
    """
    if body.get("merge") is not None:
        raise InvalidParameter("'merge' cannot go with an anonymous login")


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict | None):
        raise BadRequest(f"{name} is not an object")
    return value or {}


def _object_id(value: object) -> str | None:
    if isinstance(value, str) and re.fullmatch("[0-9A-Fa-f]{24}", value):
        return value
    return None


def _device_text(value: object) -> str:
    if isinstance(value, dict) and len(value) == 1 and _NUMBERS & value.keys():
        (value,) = value.values()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).encode()[:_LONGEST_DEVICE_FIELD].decode(errors="ignore")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two parsers may read different values for a repeated name, so it is refused.
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise BadRequest("the body has a name twice in one object")
    return unique


def _no_constant(name: str) -> float:
    raise BadRequest(f"{name} is not JSON")


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise BadRequest("a string in the body has a NUL or half a character")
    elif isinstance(value, dict | list):
        if not levels:
            raise _too_deep()
        for part in value.items() if isinstance(value, dict) else value:
            for inner in part if isinstance(part, tuple) else (part,):
                _check(inner, levels - 1)


def _too_long() -> BadRequest:
    return BadRequest(f"the body is longer than {LONGEST_BODY} bytes")


def _too_deep() -> BadRequest:
    return BadRequest(f"the body is deeper than {DEEPEST_BODY} levels")
