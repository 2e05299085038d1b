"""What the local service sent to others, kept to be looked at: mails and events."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from anonauth.domain.events import UserEvent
from anonauth.ports import EventBus, Mailer

MOST_RECENT_ITEMS = 1000
"""The oldest are dropped first."""

_T = TypeVar("_T")


class RecentItems(Generic[_T]):
    """The last ones of a kind, in the order in which they were sent."""

    def __init__(self) -> None:
        self._entries: deque[_T] = deque(maxlen=MOST_RECENT_ITEMS)
        self._lock = threading.Lock()

    def add(self, *entries: _T) -> None:
        """Note what was sent."""
        with self._lock:
            self._entries.extend(entries)

    def entries(self) -> list[_T]:
        """Return all, the newest last."""
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail as it was given to SES; `sent_at` by the clock of the service."""

    recipient: str
    sender: str
    subject: str
    text: str
    sent_at: datetime


class RecordingMailer:
    """`Mailer` that notes what another one has sent.

    Reading the engine instead would work with one engine only: moto, for one, keeps
    nothing but the HTML of a mail that has both bodies.
    """

    def __init__(
        self,
        mailer: Mailer,
        outbox: RecentItems[SentMail],
        clock: Callable[[], datetime],
    ) -> None:
        self._mailer = mailer
        self._outbox = outbox
        self._clock = clock

    def send(self, *, sender: str, recipient: str, subject: str, text: str) -> None:
        """Send one plain text mail, and note it.

        Raises:
            MailUnavailable: It was not sent, and is not in the outbox.
        """
        self._mailer.send(
            sender=sender, recipient=recipient, subject=subject, text=text
        )
        self._outbox.add(SentMail(recipient, sender, subject, text, self._clock()))


class RecordingBus:
    """`EventBus` that notes what another one has published."""

    def __init__(self, bus: EventBus, log: RecentItems[UserEvent]) -> None:
        self._bus = bus
        self._log = log

    def publish(self, events: Sequence[UserEvent]) -> None:
        """Publish events, and note them.

        Raises:
            EventsUnavailable: Not all were taken, and none is in the log.
        """
        self._bus.publish(events)
        self._log.add(*events)
