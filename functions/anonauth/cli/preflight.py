"""Checks of an operator's options, before the service is imported."""

import http.client
import json
import socket
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

from anonauth.cli.options import DEFAULT_ENDPOINT, DeploymentOptions
from anonauth.local.command_error import CommandError

_TIMEOUT_SECONDS = 2

_START_ADVICE = (
    "start `anonauth serve --aws-port 4566` and give --endpoint-url " + DEFAULT_ENDPOINT
)


def check_options(options: DeploymentOptions) -> DeploymentOptions:
    """Return the options, if they name one deployment.

    Raises:
        CommandError: They name no deployment, or two. Or nothing answers at the
            endpoint. Or the API of a local service does, instead of its AWS port.
    """
    url = options.endpoint_url
    endpoint = _parse_endpoint(url) if url else None
    if options.stack and options.table:
        raise CommandError(
            "--stack and --table both name a deployment; give one of them"
        )
    if not (options.stack or options.table or url):
        raise CommandError(
            "which deployment? Give --stack NAME, or --table NAME; for a local one "
            f"{_START_ADVICE}"
        )
    if endpoint:
        _check_endpoint_answers(str(url), endpoint)
    return options


def _parse_endpoint(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise CommandError(f"--endpoint-url: '{url}' is not a URL") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError(f"--endpoint-url: '{url}' is not a URL")
    return parts


def _check_endpoint_answers(url: str, endpoint: SplitResult) -> None:
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        with socket.create_connection((endpoint.hostname, port), _TIMEOUT_SECONDS):
            pass
    except OSError as exc:
        raise CommandError(
            f"nothing answers at {url} ({exc.strerror or exc}); for a local service "
            f"{_START_ADVICE}"
        ) from exc
    if endpoint.scheme == "http" and _is_service_itself(endpoint.hostname or "", port):
        raise CommandError(
            f"{url} is the API of a local service, not its AWS port: {_START_ADVICE}; "
            "the service prints that address in its line `AWS:`"
        )


def _is_service_itself(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    with suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", "/_local/clock")
        answer = connection.getresponse()
        body = json.loads(answer.read(1000))
        return answer.status == http.HTTPStatus.OK and list(body) == ["now"]
    connection.close()
    return False
