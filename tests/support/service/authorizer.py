"""The authorizer as API Gateway asks it, for each kind of API."""

import json
from typing import Any

from support.project.sam_template import EVENTS, Json, event
from support.service.harness import Deployment

SHAPES = sorted(path.stem for path in EVENTS.glob("authorizer*.json"))
"""The sample events, one for each form in which an API asks."""

REQUESTS = [name for name in SHAPES if name != "authorizer-rest-token"]
"""Those with the request, and not with the token alone."""


def question(shape: str, token: str) -> Json:
    """Return a sample event with a token, whatever characters the token has."""
    text = json.dumps(event(shape))
    filled: Json = json.loads(
        text.replace("REPLACE_WITH_TOKEN", json.dumps(token)[1:-1])
    )
    return filled


def with_headers(shape: str, headers: dict[str, list[str]]) -> Json:
    """Return a sample event with other headers, as its gateway writes them.

    An HTTP API joins the values of a name by commas. The others keep a list, and the
    last value beside it.
    """
    asked = event(shape)
    is_http2 = asked.get("version") == "2.0"
    asked["headers"] = {
        name: ",".join(values) if is_http2 else values[-1]
        for name, values in headers.items()
    }
    if not is_http2:
        asked["multiValueHeaders"] = headers
    return asked


def ask(service: Deployment, asked: Json) -> Any:
    """Return the authorizer's answer, or the text of the error that it raises."""
    try:
        return service.invoke("AuthorizerFunction", asked)
    except Exception as exc:  # noqa: BLE001 - the gateway sees texts only
        return f"{type(exc).__name__}: {exc}"


def is_allowed(answer: Any) -> bool:
    """Tell whether the gateway lets a call pass.

    Raises:
        ValueError: The gateway would answer 500.
    """
    match answer:
        case {"isAuthorized": bool(allowed)}:
            return allowed
        case {
            "policyDocument": {"Statement": [{"Effect": "Allow" | "Deny" as effect}]}
        }:
            return bool(effect == "Allow")
        case "Exception: Unauthorized":
            return False
    raise ValueError(answer)
