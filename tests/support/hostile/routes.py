"""The parts of a good request to each route, found in the OpenAPI document."""

import base64
import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from support.contracts.openapi_examples import OPERATIONS, bodies, provider_of
from support.service.harness import DELETE, LINK, LOGOUT, UNLINK, Deployment, Reply
from support.service.linked import log_in_linked
from support.service.token_routes import REFRESH_ROUTES

# (route, what a body is for, body): each kind of body that a route takes.
BODIES: list[tuple[str, str, Any]] = [
    (route, name, body)
    for route, operation in OPERATIONS.items()
    for name, body in bodies(operation).items()
]

WITHOUT_BODY = [
    route for route, operation in OPERATIONS.items() if "requestBody" not in operation
]


def succeeded(reply: Reply) -> bool:
    return reply.status == HTTPStatus.OK


class Caller:
    """A permanent user's client, which completes requests to any route."""

    def __init__(self, service: Deployment) -> None:
        self._service = service
        self._session: Mapping[str, str] = log_in_linked(service)

    def request(
        self,
        route: str,
        raw: bytes | None = None,
        *,
        name: str = "",
        is_link: bool = False,
        **options: Any,
    ) -> Callable[[], Reply]:
        """Return a function that sends a prepared request.

        Args:
            raw: The body. API Gateway encodes it in base64 unless its type is text.
            name: Purpose of the body, which names the provider.
            is_link: Link, with an access token, instead of logging in.
        """
        operation = OPERATIONS[route]
        needs_token = operation["security"] and (route != LINK or is_link)
        if needs_token and "token" not in options:
            kind = "refresh" if route in REFRESH_ROUTES else "access"
            # These end the session, so each has its own.
            ends = route in {LOGOUT, DELETE}
            session = self._service.log_in() if ends else self._session
            options["token"] = session[f"{kind}_token"]
        in_path = {
            each["name"]: each["example"]
            for each in operation["parameters"]
            if each["in"] == "path" and each["name"] != "appId"
        }
        if route == LINK:
            in_path["provider"] = provider_of(name)
        options.setdefault("parameters", in_path or None)
        if is_link:
            options["query"] = {"link": "true"}
        if route == UNLINK:
            options.setdefault("query", {"provider": "custom-token", "id": "nobody"})
        if raw is not None:
            options |= {"body": base64.b64encode(raw).decode(), "is_base64": True}
        return functools.partial(self._service.send, route, **options)
