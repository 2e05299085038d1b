"""Discovery documents: the address of the service, and the issuer of its tokens.

These functions need no ports.
"""

import re
from collections.abc import Mapping
from typing import Any

from anonauth.domain.claims import issuer_of
from anonauth.errors import (
    AuthError,
    FunctionNotFound,
    RouteNotFound,
    ServiceNotFound,
)

_APP = r"/api/client/v2\.0/app/[^/]+"

# Parts of App Services that the SDKs may call, and that this service does not have.
_NOT_OFFERED = (
    (re.compile(f"{_APP}/functions/call"), FunctionNotFound),
    (re.compile(f"{_APP}/push/providers/[^/]+/registration"), ServiceNotFound),
)


def refusal_of(path: str) -> AuthError:
    """Return the error for a path that has no route.

    Args:
        path: Path of the request, without its query.
    """
    for pattern, refusal in _NOT_OFFERED:
        if pattern.fullmatch(path):
            return refusal()
    return RouteNotFound()


def location(base_url: str, region: str) -> dict[str, str]:
    """Return the address to which the SDKs send all further calls (client-api.md §2.1).

    Core up to 13 needs all four fields. There is no sync service behind `ws_hostname`.
    """
    return {
        "deployment_model": "GLOBAL",
        "location": region,
        "hostname": base_url,
        "ws_hostname": "ws" + base_url.removeprefix("http"),
    }


def openapi_document(document: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """Return the OpenAPI document with the address of this service in it.

    A copy of the document then still names the address.

    Args:
        document: The package's own document. Its address is relative to its own URL.
        base_url: Public address of this service, without a trailing slash.
    """
    return {**document, "servers": [{"url": base_url}]}


def has_current(known: str | None, tag: str) -> bool:
    """Say whether a client knows the current version of a document (RFC 9110 §13.1.2).

    Args:
        known: The header `If-None-Match`: entity tags with commas between, or `*`. A
            cache may have marked a tag as weak, which does not matter here.
        tag: The current version's entity tag.
    """
    tags = [each.strip(" \t") for each in (known or "").split(",")]
    return "*" in tags or tag in [each.removeprefix("W/") for each in tags]


def openid_configuration(base_url: str, app: str) -> dict[str, Any]:
    """Return the fields of OpenID Connect Discovery 1.0 §3 that a verifier needs.

    There is no authorization endpoint, because users log in without a browser flow.
    """
    issuer = issuer_of(base_url, app)
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": [
            "iss",
            "aud",
            "sub",
            "sid",
            "jti",
            "iat",
            "exp",
            "anonymous",
            "provider",
            "former_ids",
        ],
    }
