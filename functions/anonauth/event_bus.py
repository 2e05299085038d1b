"""Publishing events about users to Amazon EventBridge, for apps to build on."""

import functools
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.backoff import jittered_pause
from anonauth.domain.events import UserEvent
from anonauth.errors import EventsUnavailable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "anonauth"
"""The source of every event, which EventBridge rules match on."""

MOST_ENTRIES = 10
"""PutEvents takes at most 10 entries and 256 KB. Our events are at most 20 KB each."""

_ATTEMPTS = 4  # each takes at most 5 s
_PAUSE = 0.1  # seconds after the first attempt, on average; see `jittered_pause`


class EventBridgeBus:
    """`EventBus` that publishes to Amazon EventBridge.

    Args:
        connect: Makes the client on first use.
        bus_name: Name or ARN of the bus.
        pause: Waits that many seconds between attempts.
    """

    def __init__(
        self,
        connect: "Callable[[], EventBridgeClient]",
        bus_name: str,
        *,
        pause: Callable[[float], None],
    ) -> None:
        self._connect = connect
        self._bus_name = bus_name
        self._pause = pause

    def publish(self, events: Sequence[UserEvent]) -> None:
        """Publish events, each at least once; see `EventBus`."""
        entries = [self._entry(event) for event in events]
        for start in range(0, len(entries), MOST_ENTRIES):
            self._put(entries[start : start + MOST_ENTRIES])

    def _put(self, entries: "list[PutEventsRequestEntryTypeDef]") -> None:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(jittered_pause(attempt, _PAUSE))
            entries, cause = self._attempt(entries)
            if not entries:
                return
        raise EventsUnavailable(detail=cause)

    def _attempt(
        self, entries: "list[PutEventsRequestEntryTypeDef]"
    ) -> "tuple[list[PutEventsRequestEntryTypeDef], str]":
        """Return the entries that EventBridge did not take, and why."""
        try:
            results = self._client.put_events(Entries=entries)["Entries"]
        except ClientError as exc:
            return entries, exc.response["Error"]["Code"]
        except BotoCoreError as exc:
            return entries, type(exc).__name__
        # A call that succeeds may have taken only some of the entries.
        left = [
            entry
            for entry, result in zip(entries, results, strict=True)
            if "ErrorCode" in result
        ]
        return left, ", ".join(
            sorted({r["ErrorCode"] for r in results if r.get("ErrorCode")})
        )

    def _entry(self, event: UserEvent) -> "PutEventsRequestEntryTypeDef":
        return {
            "Time": event.at,
            "Source": SOURCE,
            "DetailType": event.type,
            # No ASCII escapes: they would make ids with other scripts or emoji three
            # times as long, and ten events with ten such identities would not fit in
            # one call.
            "Detail": json.dumps(
                event.detail, ensure_ascii=False, separators=(",", ":")
            ),
            "EventBusName": self._bus_name,
        }

    @functools.cached_property
    def _client(self) -> "EventBridgeClient":
        return self._connect()
