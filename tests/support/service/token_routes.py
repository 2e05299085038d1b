"""Routes by the kind of token that they take."""

from typing import Any

from support.service.harness import (
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    GET_KEY,
    LINK,
    LIST_KEYS,
    LIST_SESSIONS,
    LOGOUT,
    PROFILE,
    SESSION,
    UNLINK,
)

KEY_ROUTES = [CREATE_KEY, LIST_KEYS, GET_KEY, DELETE_KEY, ENABLE_KEY, DISABLE_KEY]
REFRESH_ROUTES = [SESSION, LOGOUT, LIST_SESSIONS, END_SESSION, UNLINK, *KEY_ROUTES]
ACCESS_ROUTES = [PROFILE, DELETE, LINK]
TOKEN_ROUTES = REFRESH_ROUTES + ACCESS_ROUTES

NEEDED_OPTIONS: dict[str, dict[str, Any]] = {
    LINK: {"parameters": {"provider": "custom-token"}, "query": {"link": "true"}},
    UNLINK: {"query": {"provider": "custom-token", "id": "nobody"}},
    CREATE_KEY: {"body": '{"name": "ci"}'},
    END_SESSION: {"parameters": {"id": "0" * 24}},
    **{key: {"parameters": {"id": "0" * 24}} for key in KEY_ROUTES[2:]},
}
"""The parts of a guest's request beside its token, by route. No provider is on."""
