"""Address, issuer, keys, OpenAPI document, web module. Other paths are answered 404."""

import functools
import hashlib
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from anonauth import wiring
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.discovery import (
    has_current,
    location,
    openapi_document,
    openid_configuration,
    refusal_of,
)

# Verifiers may cache the key set for some minutes, because keys are published months
# ahead. With a list of origins the gateway's CORS headers differ for each origin.
_CACHEABLE = {"cache-control": "public, max-age=300", "vary": "origin"}

# A 304 has the type as well, because a cache takes over its headers (RFC 9111 §3.2).
_MODULE = {"cache-control": "public, max-age=3600", "content-type": "text/javascript"}


def locate(request: Request) -> Answer:
    """Answer with the address to which the SDKs send all calls (client-api.md §2.1)."""
    _ = request.app_id
    region = wiring.services().settings.region
    return Answer(location(request.base_url, region), _CACHEABLE)


def configuration(request: Request) -> Answer:
    """Answer with issuer and key set address (OpenID Connect Discovery 1.0 §4)."""
    return Answer(openid_configuration(request.base_url, request.app_id), _CACHEABLE)


def jwks(request: Request) -> Answer:
    """Answer with the public keys (RFC 7517 §5)."""
    _ = request.app_id
    services = wiring.services()
    return Answer(services.ring.jwks(services.clock()), _CACHEABLE)


def openapi(request: Request) -> Answer:
    """Answer with the OpenAPI 3.1 document of all routes, with the address in it."""
    return Answer(openapi_document(_openapi(), request.base_url), _CACHEABLE)


def module(request: Request) -> Answer:
    """Answer with the JavaScript module for web pages, or 304 if the client has it."""
    text, tag = _module()
    headers = {**_CACHEABLE, **_MODULE, "etag": tag}
    if has_current(request.header("if-none-match"), tag):
        return Answer("", headers, HTTPStatus.NOT_MODIFIED)
    return Answer(text, headers)


def unknown(request: Request) -> Answer:
    """Refuse every call without a route of its own, except a browser's preflight.

    A `$default` route also receives OPTIONS. The gateway adds the CORS headers, but
    this function chooses the status, and a preflight succeeds only with 2xx (AWS,
    "Configure CORS for HTTP APIs": special considerations for `$default`).
    """
    if request.method == "OPTIONS":
        return Answer()
    raise refusal_of(request.path)


@functools.cache
def _openapi() -> dict[str, Any]:
    # Read on request only, since it costs 2 ms of a cold start.
    path = Path(__file__).parents[1] / "openapi.json"
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


@functools.cache
def _module() -> tuple[str, str]:
    # The tag is that of the content, so all deployments of a version have the same.
    text = (Path(__file__).parents[1] / "anonauth.mjs").read_text("utf-8")
    return text, f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


_APP = "/api/client/v2.0/app/{appId}"

_DOCUMENTS = {
    f"{_APP}/location": locate,
    f"{_APP}/.well-known/openid-configuration": configuration,
    f"{_APP}/.well-known/jwks.json": jwks,
    "/openapi.json": openapi,
    "/anonauth.mjs": module,
}

# HEAD is answered like GET, with the body. The gateway cuts the body off, and sends the
# length that it has for GET (RFC 9110 §9.3.2).
ROUTES = {
    f"{method} {path}": answers
    for method in ("GET", "HEAD")
    for path, answers in _DOCUMENTS.items()
} | {"$default": unknown}

# The documents are public, and verifiers such as API Gateway's authorizers cannot send
# the CDN's secret. `$default` reads nothing: it answers 404 and preflights.
handler = lambda_handler(ROUTES, only_by_cdn=False)
