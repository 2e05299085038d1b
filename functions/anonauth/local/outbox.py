"""Mails and events that the local service has sent, kept for its user to look at."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from anonauth.domain.events import UserEvent
from anonauth.ports import EventBus, Mailer

MOST_RECENT_ITEMS = 1000
"""Items that a list keeps. The oldest are dropped first."""

_T = TypeVar("_T")


class RecentItems(Generic[_T]):
    """A list of the latest items of one kind, in the order in which they were added."""

    def __init__(self) -> None:
        self._entries: deque[_T] = deque(maxlen=MOST_RECENT_ITEMS)
        self._lock = threading.Lock()

    def add(self, *entries: _T) -> None:
        """Add items; the oldest make room."""
        with self._lock:
            self._entries.extend(entries)

    def entries(self) -> list[_T]:
        """Return all items, the newest last."""
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        """Remove all items."""
        with self._lock:
            self._entries.clear()


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail as it was given to SES. `sent_at` is by the clock of the service."""

    recipient: str
    sender: str
    subject: str
    text: str
    sent_at: datetime


class RecordingMailer:
    """A `Mailer` that sends through another mailer and records each mail.

    Reading the mails from the emulator would depend on the emulator. Moto, for example,
    keeps only the HTML of a mail that has both bodies.
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
        """Send one plain text mail, and record it.

        Raises:
            MailUnavailable: The mail was not sent, and is not in the outbox.
        """
        self._mailer.send(
            sender=sender, recipient=recipient, subject=subject, text=text
        )
        self._outbox.add(SentMail(recipient, sender, subject, text, self._clock()))


class RecordingBus:
    """An `EventBus` that publishes through another bus and records each event."""

    def __init__(self, bus: EventBus, log: RecentItems[UserEvent]) -> None:
        self._bus = bus
        self._log = log

    def publish(self, events: Sequence[UserEvent]) -> None:
        """Publish events, and record them.

        Raises:
            EventsUnavailable: Not all events were taken. None of them is recorded.
        """
        self._bus.publish(events)
        self._log.add(*events)
