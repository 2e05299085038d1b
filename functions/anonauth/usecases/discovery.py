"""Where the service is, and who vouches for its tokens. Pure."""

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

# What the SDKs call of the old service, and is not here.
_NOT_OFFERED = (
    (re.compile(f"{_APP}/functions/call"), FunctionNotFound),
    (re.compile(f"{_APP}/push/providers/[^/]+/registration"), ServiceNotFound),
)


def refusal_of(path: str) -> AuthError:
    """Return the refusal of a path that no route takes.

    Args:
        path: Of the request, without its query.
    """
    for pattern, refusal in _NOT_OFFERED:
        if pattern.fullmatch(path):
            return refusal()
    return RouteNotFound()


def location(base_url: str, region: str) -> dict[str, str]:
    """Return the address of all further requests of the SDKs (client-api.md §2.1).

    Core up to 13 needs all four fields. There is no sync service behind `ws_hostname`.
    """
    return {
        "deployment_model": "GLOBAL",
        "location": region,
        "hostname": base_url,
        "ws_hostname": "ws" + base_url.removeprefix("http"),
    }


def openapi_document(document: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """Return the API's description for who reads a copy: with the address in it.

    Args:
        document: That of the package, whose address is relative to where it is read.
        base_url: Public address of this service, without a trailing slash.
    """
    return {**document, "servers": [{"url": base_url}]}


def openid_configuration(base_url: str, app: str) -> dict[str, Any]:
    """Return what a verifier needs of OpenID Connect Discovery 1.0 §3.

    There is no authorization endpoint: users come without a browser flow.
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
        ],
    }
