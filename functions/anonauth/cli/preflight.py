"""What is wrong with a command at first sight, before it brings the service along."""

import http.client
import json
import socket
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from anonauth.cli.options import DEFAULT_ENDPOINT, Target
from anonauth.local.command_error import CommandError

_SECONDS = 2

_START = (
    "start `anonauth serve --aws-port 4566` and give --endpoint-url " + DEFAULT_ENDPOINT
)


def checked(target: Target) -> Target:
    """Return the deployment that an operator's options name, if they name one.

    Raises:
        CommandError: They name none, or two; or nothing answers at the endpoint, or the
            local service, which is not its AWS.
    """
    url = target.endpoint_url
    endpoint = _endpoint(url) if url else None
    if target.stack and target.table:
        raise CommandError(
            "--stack and --table both name a deployment; give one of them"
        )
    if not (target.stack or target.table or url):
        raise CommandError(
            "which deployment? Give --stack NAME, or --table NAME; for a local one "
            f"{_START}"
        )
    if endpoint:
        _look(str(url), endpoint)
    return target


def _endpoint(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise CommandError(f"--endpoint-url: '{url}' is not a URL") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError(f"--endpoint-url: '{url}' is not a URL")
    return parts


def _look(url: str, endpoint: SplitResult) -> None:
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        with socket.create_connection((endpoint.hostname, port), _SECONDS):
            pass
    except OSError as exc:
        raise CommandError(
            f"nothing answers at {url} ({exc.strerror or exc}); for a local service "
            f"{_START}"
        ) from exc
    if endpoint.scheme == "http" and _is_the_service(endpoint.hostname or "", port):
        raise CommandError(
            f"the service at {url} does not show its AWS there: {_START}; the address "
            "is in its line `AWS:`"
        )


def _is_the_service(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    with suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", "/_local/clock")
        answer = connection.getresponse()
        body = json.loads(answer.read(1000))
        return answer.status == http.HTTPStatus.OK and list(body) == ["now"]
    connection.close()
    return False
