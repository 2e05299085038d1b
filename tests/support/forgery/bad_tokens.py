"""JWTs that no issuer would make, shared by tables and generators of bad tokens."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt

from support.forgery.key_server import Signer


def encoded(value: Any) -> str:
    """Return a value as JSON in base64url; bytes are encoded unchanged."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(claims: Mapping[str, Any], **header: Any) -> str:
    """Return a token with an empty signature."""
    return f"{encoded(header)}.{encoded(claims)}."


def hmac_signed(
    claims: Mapping[str, Any] | bytes, key: bytes, alg: str = "HS256", **header: Any
) -> str:
    """Return a token signed by HMAC with any bytes: a short secret, or a public key.

    Claims in bytes are used unchanged, JSON or not.
    """
    signed = f"{encoded({'alg': alg, **header})}.{encoded(claims)}"
    digest = hmac.digest(key, signed.encode(), f"sha{alg.removeprefix('HS')}")
    return f"{signed}.{encoded(digest)}"


def signed(key: Any, header: Mapping[str, Any], payload: Any) -> str:
    """Return a token signed as its header says, over any payload, JSON or not."""
    text = f"{encoded(header)}.{encoded(payload)}"
    algorithm = jwt.get_algorithm_by_name(header["alg"])
    return f"{text}.{encoded(algorithm.sign(text.encode(), key))}"


def with_payload(signer: Signer, payload: bytes, **header: Any) -> str:
    """Return a token of an issuer, over any payload."""
    named = {"alg": signer.algorithm, "kid": signer.kid, **header}
    return signed(signer.private, named, payload)


def edited(token: str) -> str:
    """Return the token with another subject under the old signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{encoded({**claims, 'sub': 'somebody-else'})}.{signature}"


def other_signature(token: str) -> str:
    """Return the token with one bit of its signature changed."""
    head, _, signature = token.rpartition(".")
    changed = "A" if signature[0] != "A" else "B"
    return f"{head}.{changed}{signature[1:]}"


NOT_TOKENS = {
    "not a JWT": "x",
    "dots": "..",
    "two parts": "e30.e30",
    "four parts": "e30.e30.e30.e30",
    "JWE": ".".join([encoded({"alg": "RSA-OAEP", "enc": "A256GCM"}), *["eA"] * 4]),
    "header not base64url": "!!.e30.eA",
    "header not JSON": f"{encoded(b'{')}.e30.eA",
    "header not UTF-8": f"{encoded(bytes([255, 254]))}.e30.eA",
    "header a list": f"{encoded([])}.e30.eA",
    "header too deep": f"{encoded(b'[' * 4000)}.e30.eA",
    "kid not a string": f"{encoded({'alg': 'RS256', 'kid': 1})}.e30.eA",
    "kid a list": f"{encoded({'alg': 'RS256', 'kid': ['key-1']})}.e30.eA",
    "payload not JSON": f"{encoded({'alg': 'RS256'})}.{encoded(b'x')}.eA",
    "payload a list": f"{encoded({'alg': 'RS256'})}.{encoded([])}.eA",
    "payload too deep": f"{encoded({'alg': 'RS256'})}.{encoded(b'[' * 4000)}.eA",
    "detached payload": f"{encoded({'alg': 'RS256', 'b64': False})}..eA",
    "blank": " ",
    "NUL": "\x00.\x00.\x00",
}
"""Tokens that every provider refuses as malformed."""

WRONG_TIMES: list[tuple[str, Any]] = [
    ("null", None),
    ("bool", True),
    ("text", "2147483647"),
    ("list", [2147483647]),
    ("object", {"$numberLong": "2147483647"}),
    ("NaN", float("nan")),
    ("infinity", float("inf")),
    ("minus infinity", float("-inf")),
    ("huge", 10**400),
    ("huge fraction", 1e300),
    ("milliseconds", 1_773_144_000_000),
    ("the year 10000", 253_402_300_800),
    ("before the year 1", -62_135_596_801),
]
"""Values that are no NumericDates, for `exp`, `nbf` and `iat`."""

WRONG_SUBJECTS: list[tuple[str, Any]] = [
    ("missing", ...),
    ("null", None),
    ("empty", ""),
    ("number", 7),
    ("bool", True),
    ("list", ["u1"]),
    ("object", {}),
    ("too long", "x" * 257),
    ("NUL", "u1\x00"),
    ("line break", "u1\n"),
    ("C1 control", "u1\x85"),
    ("delete", "u1\x7f"),
    ("half a character", "u1\ud800"),
]
