"""The service with all providers on and without rate limits."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from support.forgery.key_server import Answer, KeyServer
from support.service.harness import APP, Deployment
from support.service.settings_documents import UNREACHABLE_PROVIDERS

ENDLESS = 10**9  # attempts


@pytest.fixture
def providers() -> Iterator[KeyServer]:
    """Google, Apple and Facebook, which know no user."""
    with KeyServer() as server:
        server.publish("/keys", {"keys": []})
        server.answers["/token"] = Answer({"error": "invalid_grant"}, 400)
        server.publish("/graph/debug_token", {"data": {"is_valid": False}})
        yield server


@pytest.fixture
def service(
    service: Deployment, providers: KeyServer, sent: list[Any]
) -> Iterator[Deployment]:
    document = copy.deepcopy(UNREACHABLE_PROVIDERS)
    app: dict[str, Any] = document["apps"][APP]
    app["local-userpass"]["budgets"] = dict.fromkeys(
        ("account_and_network", "account", "network", "mails", "registrations"), ENDLESS
    )
    for name in ("oauth2-google", "oauth2-apple"):
        app[name]["jwks_url"] = f"{providers.url}/keys"
    app["oauth2-google"]["token_url"] = f"{providers.url}/token"
    app["oauth2-facebook"]["graph_url"] = f"{providers.url}/graph"
    app["oauth2-facebook"]["jwks_url"] = f"{providers.url}/keys"
    service.restart_with(document, ALLOW_PRIVATE_ISSUERS="true")
    yield service
    service.wire.reset()
