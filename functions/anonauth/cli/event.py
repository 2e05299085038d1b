"""`anonauth event`: an event of `events/` with a fresh token in it."""

import json
from pathlib import Path
from typing import Any

from anonauth import wiring
from anonauth.cli import engine
from anonauth.cli.problem import Problem
from anonauth.cli.template import REGION
from anonauth.domain import Device
from anonauth.errors import Unavailable
from anonauth.settings import Settings, SettingsError
from anonauth.usecases.login import OpenedSession, log_in_anonymously

PLACEHOLDER = "REPLACE_WITH_TOKEN"
"""Stands in an event's Authorization header for a token."""

DEFAULT_ENDPOINT = "http://127.0.0.1:4566"
"""Where `anonauth serve --aws-port 4566` has DynamoDB and KMS."""

ENVIRONMENT_FILE = "env.local.json"

# The one path whose calls carry the refresh token (client API contract §2).
_TAKES_REFRESH_TOKEN = "/auth/session"  # noqa: S105 - a path


def fill_event(
    name: str, *, events: Path, env_vars: Path, endpoint_url: str
) -> dict[str, Any]:
    """Return an event, with the token of a user logged in just now if it needs one.

    Args:
        name: Of the file, without `.json`.
        events: The directory of the events.
        env_vars: The functions' variables, as `sam local invoke --env-vars` takes them.
        endpoint_url: Where DynamoDB and KMS are; replaces ENDPOINT_URL, which is
            an address as seen from a container.

    Raises:
        Problem: No such event, or nobody can log in there.
    """
    names = sorted(path.stem for path in events.glob("*.json"))
    if ENVIRONMENT_FILE.removesuffix(".json") in names:
        names.remove(ENVIRONMENT_FILE.removesuffix(".json"))
    if name not in names:
        raise Problem(f"no event '{name}' in {events}; there are {', '.join(names)}")
    event: dict[str, Any] = _read_json(events / f"{name}.json")
    authorization = event.get("headers", {}).get("authorization", "")
    if PLACEHOLDER not in authorization:
        return event
    opened = _log_in(_read_json(env_vars), endpoint_url)
    takes_refresh_token = event["rawPath"].endswith(_TAKES_REFRESH_TOKEN)
    token = opened.refresh_token if takes_refresh_token else opened.access_token
    event["headers"]["authorization"] = authorization.replace(PLACEHOLDER, token)
    return event


def _log_in(env_vars: dict[str, Any], endpoint_url: str) -> OpenedSession:
    variables = {
        "AWS_REGION": REGION,
        **env_vars.get("Parameters", {}),
        "ENDPOINT_URL": endpoint_url,
    }
    try:
        settings = Settings.from_environment(variables)
    except SettingsError as exc:
        raise Problem(f"--env-vars: {exc}") from exc
    if not settings.base_url:
        raise Problem("--env-vars: BASE_URL: not set")
    services = wiring.Services(settings)
    with engine.environment():
        try:
            return log_in_anonymously(
                sorted(settings.app_ids)[0],
                link=False,
                device=Device(),
                base_url=settings.base_url,
                users=services.store,
                tokens=services.tokens,
                now=services.clock(),
            )
        except (Unavailable, ValueError) as exc:  # the second: not a URL
            raise Problem(
                f"cannot log in with DynamoDB and KMS at {endpoint_url}; "
                "start `anonauth serve --aws-port 4566`, or name another --endpoint-url"
            ) from exc


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except OSError as exc:
        raise Problem(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise Problem(f"{path} is not JSON: {exc}") from exc
    if not isinstance(read, dict):
        raise Problem(f"{path} is not a JSON object")
    return read
