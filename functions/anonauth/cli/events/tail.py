"""What `anonauth events tail` does: follow the events of a local service."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from anonauth.cli.options import printable
from anonauth.local.command_error import CommandError

_TIMEOUT_SECONDS = 10

# Of every event; the line has them already, or does without.
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
        "uid",
    }
)


def follow_events(
    base_url: str, pause: Callable[[], object]
) -> Iterator[dict[str, Any]]:
    """Yield the events that the service has, and then those to come; for ever.

    They are told apart by their ids: neither a list that is emptied nor a clock that
    is moved hides one.

    Args:
        base_url: Of the running service.
        pause: Waits before the next look.

    Raises:
        CommandError: No such service is there, or not any more.
    """
    if urlsplit(base_url).scheme not in {"http", "https"}:
        raise CommandError(f"--base-url: '{base_url}' is not a URL")
    seen: set[str] = set()
    while True:
        events = _fetch_events(f"{base_url.rstrip('/')}/_local/events")
        for event in events:
            if event["detail"]["id"] not in seen:
                yield event
        # Those that the service has forgotten can be forgotten here.
        seen = {event["detail"]["id"] for event in events}
        pause()


def format_event(event: dict[str, Any]) -> str:
    """Return an event in one line: when, what, whose, and what only this type says."""
    detail = event["detail"]
    more = [
        f"{name}={json.dumps(value, separators=(',', ':'))}"
        for name, value in detail.items()
        if name not in _COMMON_FIELDS
    ]
    words = [event["time"], event["detail-type"], detail["app"], detail["uid"], *more]
    return printable("  ".join(words))


def _fetch_events(url: str) -> list[dict[str, Any]]:
    # The service answers this machine only, so no proxy.
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
        return "from something else than a local service"
