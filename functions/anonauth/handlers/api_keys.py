"""/auth/api_keys: keys with which a user's programs log in (client-api.md §2.7).

All by refresh token, whose app is the one that counts: none is in the path.
"""

from anonauth import wiring
from anonauth.handlers._answers import api_key, created_api_key
from anonauth.handlers._body import text
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.api_keys import (
    create_api_key,
    delete_api_key,
    get_api_key,
    list_api_keys,
    switch_api_key,
)


def create(request: Request) -> Answer:
    """Answer with the key, this once."""
    services = wiring.services()
    key, secret = create_api_key(
        request.bearer_token(),
        text(request.body(), "name"),
        users=services.store,
        api_keys=services.store,
        providers=services.providers,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer(created_api_key(key, secret))


def list_all(request: Request) -> Answer:
    """Answer with a bare array."""
    services = wiring.services()
    keys = list_api_keys(
        request.bearer_token(),
        users=services.store,
        providers=services.providers,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer([api_key(key) for key in keys])


def get(request: Request) -> Answer:
    """Answer with one entry of that array."""
    services = wiring.services()
    key = get_api_key(
        request.bearer_token(),
        request.path_parameter("id"),
        users=services.store,
        providers=services.providers,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer(api_key(key))


def delete(request: Request) -> Answer:
    """Answer `{}`; the key and its sessions are no more."""
    services = wiring.services()
    delete_api_key(
        request.bearer_token(),
        request.path_parameter("id"),
        users=services.store,
        api_keys=services.store,
        providers=services.providers,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer()


def enable(request: Request) -> Answer:
    """Answer `{}`; the key is good, whether or not it was before."""
    return _switch(request, disabled=False)


def disable(request: Request) -> Answer:
    """Answer `{}`; the key is refused, and its sessions have ended."""
    return _switch(request, disabled=True)


def _switch(request: Request, *, disabled: bool) -> Answer:
    services = wiring.services()
    switch_api_key(
        request.bearer_token(),
        request.path_parameter("id"),
        disabled=disabled,
        users=services.store,
        api_keys=services.store,
        providers=services.providers,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer()


ROUTES = {
    "POST /api/client/v2.0/auth/api_keys": create,
    "GET /api/client/v2.0/auth/api_keys": list_all,
    "GET /api/client/v2.0/auth/api_keys/{id}": get,
    "DELETE /api/client/v2.0/auth/api_keys/{id}": delete,
    "PUT /api/client/v2.0/auth/api_keys/{id}/enable": enable,
    "PUT /api/client/v2.0/auth/api_keys/{id}/disable": disable,
}

handler = lambda_handler(
    ROUTES,
    preload=(
        "anonauth.tokens",
        "anonauth.providers.registry",
        "anonauth.providers.api_key",
    ),
)
