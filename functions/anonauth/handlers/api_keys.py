"""/auth/api_keys: keys by which a user's programs log in (client-api.md §2.7).

Every call takes a refresh token. The token names the app, since the path does not.
"""

from datetime import datetime

from anonauth import wiring
from anonauth.handlers._answers import api_key, created_api_key
from anonauth.handlers._body import text
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.api_keys import ApiKeyManagement


def create(request: Request) -> Answer:
    """Answer with the new key, the only time that it is shown."""
    token, name = request.bearer_token(), text(request.body(), "name")
    key, secret = _management().create(token, name, _now())
    return Answer(created_api_key(key, secret))


def list_all(request: Request) -> Answer:
    """Answer with a bare array of all keys."""
    keys = _management().list_all(request.bearer_token(), _now())
    return Answer([api_key(key) for key in keys])


def get(request: Request) -> Answer:
    """Answer with one key, as it is in the array of all."""
    key_id = request.path_parameter("id")
    return Answer(api_key(_management().get(request.bearer_token(), key_id, _now())))


def delete(request: Request) -> Answer:
    """Answer `{}` once the key is deleted and its sessions have ended."""
    key_id = request.path_parameter("id")
    _management().delete(request.bearer_token(), key_id, _now())
    return Answer()


def enable(request: Request) -> Answer:
    """Answer `{}` once the key is enabled, even if it was enabled before."""
    return _switch(request, disabled=False)


def disable(request: Request) -> Answer:
    """Answer `{}` once the key is disabled and its sessions have ended."""
    return _switch(request, disabled=True)


def _switch(request: Request, *, disabled: bool) -> Answer:
    token, key_id = request.bearer_token(), request.path_parameter("id")
    _management().switch(token, key_id, _now(), disabled=disabled)
    return Answer()


def _management() -> ApiKeyManagement:
    services = wiring.services()
    return ApiKeyManagement(
        users=services.store,
        api_keys=services.store,
        providers=services.providers,
        tokens=services.tokens,
    )


def _now() -> datetime:
    return wiring.services().clock()


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
