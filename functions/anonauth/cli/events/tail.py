"""The work of `anonauth events tail`: follow the events of a local service."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from anonauth.cli.options import printable
from anonauth.local.command_error import CommandError

_TIMEOUT_SECONDS = 10

# Fields of every event. The line has them already, or leaves them out.
_COMMON_FIELDS = frozenset(
    {
        "anonymous",
        "app",
        "at",
        "created_at",
        "expires_at",
        "id",
        "identities",
        "last_active_day",
        "sequence",
        "stack",
        "uid",
    }
)


def follow_events(
    base_url: str, pause: Callable[[], object]
) -> Iterator[dict[str, Any]]:
    """Yield the events that the service has, and then each new one, for ever.

    Events are told apart by their ids, so an emptied list or a moved clock hides none.

    Args:
        base_url: Address of the running service.
        pause: Called to wait before the next request.

    Raises:
        CommandError: The service does not answer, or has ended.
    """
    if urlsplit(base_url).scheme not in {"http", "https"}:
        raise CommandError(f"--base-url: '{base_url}' is not a URL")
    seen: set[str] = set()
    while True:
        events = _fetch_events(f"{base_url.rstrip('/')}/_local/events")
        for event in events:
            if event["detail"]["id"] not in seen:
                yield event
        # Ids that the service no longer has are not needed here either.
        seen = {event["detail"]["id"] for event in events}
        pause()


def format_event(event: dict[str, Any]) -> str:
    """Return an event in one line: time, type, app, user, and the type's own fields."""
    detail = event["detail"]
    more = [
        f"{name}={json.dumps(value, separators=(',', ':'))}"
        for name, value in detail.items()
        if name not in _COMMON_FIELDS
    ]
    words = [event["time"], event["detail-type"], detail["app"], detail["uid"], *more]
    return printable("  ".join(words))


def _fetch_events(url: str) -> list[dict[str, Any]]:
    # The service answers this machine only, so no proxy is used.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            events: list[dict[str, Any]] = json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            raise CommandError(f"{url}: {exc.code} {_error_text(exc.read())}") from exc
    except (OSError, ValueError) as exc:
        raise CommandError(
            f"no local service answers at {url}: start `anonauth serve`, or give its "
            "address by --base-url"
        ) from exc
    return events


def _error_text(body: bytes) -> str:
    try:
        return printable(str(json.loads(body)["error"]))
    except (ValueError, LookupError, TypeError):
        return "from a server that is not a local service"
