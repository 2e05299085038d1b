"""The outbox: the mails that the local service would have sent."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from anonauth.ports import Mailer

MOST_MAILS = 1000
"""The oldest are dropped first."""


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail as it was given to SES; `sent_at` by the clock of the service."""

    recipient: str
    sender: str
    subject: str
    text: str
    sent_at: datetime


class Outbox:
    """Mails in the order in which they were sent, the newest last."""

    def __init__(self) -> None:
        self._mails: deque[SentMail] = deque(maxlen=MOST_MAILS)
        self._lock = threading.Lock()

    def add(self, mail: SentMail) -> None:
        """Note a mail."""
        with self._lock:
            self._mails.append(mail)

    def mails(self) -> list[SentMail]:
        """Return all mails."""
        with self._lock:
            return list(self._mails)

    def clear(self) -> None:
        """Forget all mails."""
        with self._lock:
            self._mails.clear()


class RecordingMailer:
    """`Mailer` that notes what another one has sent.

    Reading the engine instead would work with one engine only: moto, for one, keeps
    nothing but the HTML of a mail that has both bodies.
    """

    def __init__(
        self, mailer: Mailer, outbox: Outbox, clock: Callable[[], datetime]
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
