"""The deletions in an archive of events, which a restore honours."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from anonauth.cli.options import printable
from anonauth.domain.encoding import rfc3339
from anonauth.domain.restoring import Merges, UserName
from anonauth.event_bus import SOURCE
from anonauth.local.command_error import CommandError

_DECODER = json.JSONDecoder()

# A guest that was merged into a permanent user has no `user.deleted`.
_DELETIONS = {"user.deleted", "user.merged"}


@dataclass(slots=True)
class EventArchive:
    """The events of an archive, as far as a restore needs them.

    `deletions` has the time at which each user was last deleted or merged, and `into`
    the user that each guest was merged into. `ignored` counts the events after `until`.
    """

    until: datetime | None
    events: int = 0
    ignored: int = 0
    first: datetime | None = None
    last: datetime | None = None
    deletions: dict[UserName, datetime] = field(default_factory=dict)
    into: dict[UserName, str] = field(default_factory=dict)

    def add(self, event: dict[str, Any]) -> None:
        """Count an event, and note the user that it deletes.

        Raises:
            ValueError, LookupError, TypeError: It is not an event of EventBridge.
        """
        kind, detail = event["detail-type"], event["detail"]
        if event["source"] != SOURCE:
            return
        at = datetime.fromisoformat(detail["at"])
        if self.until is not None and at > self.until:
            self.ignored += 1
            return
        self.events += 1
        self.first = min(at, self.first or at)
        self.last = max(at, self.last or at)
        if kind in _DELETIONS:
            user = (str(detail["app"]), str(detail["uid"]))
            self.deletions[user] = max(at, self.deletions.get(user, at))
            if kind == "user.merged":
                self.into[user] = str(detail["into"])

    def merges(self) -> Merges:
        """Return the merges, oldest first."""
        merges = Merges()
        for app, uid in sorted(self.into, key=self.deletions.__getitem__):
            merges.add(app, uid, self.into[app, uid])
        return merges

    def line(self) -> str:
        """Return the content of the archive in words."""
        ignored = f"; {self.ignored:,} later ones are ignored" if self.ignored else ""
        period = (
            f" from {rfc3339(self.first)} to {rfc3339(self.last)}"
            if self.first and self.last
            else ""
        )
        return (
            f"{self.events:,} events{period}, deleted users: "
            f"{len(self.deletions):,}{ignored}"
        )


def read_archive(path: Path, until: datetime | None) -> EventArchive:
    """Read the events in a file, or in all files of a directory.

    Each line has events of EventBridge as JSON. Firehose may write several into a line,
    and CloudWatch Logs a time before an event. Files may be compressed with gzip.

    Args:
        until: Later events are ignored.

    Raises:
        CommandError: A file cannot be read or has something else in it, or there is no
            event of the service.
    """
    archive = EventArchive(until)
    try:
        files = sorted(f for f in path.rglob("*") if f.is_file())
        for file in files if path.is_dir() else [path]:
            _read_file(file, archive)
    except (OSError, EOFError) as exc:
        told = getattr(exc, "strerror", None) or exc
        name = getattr(exc, "filename", None) or path
        raise CommandError(f"cannot read {printable(str(name))}: {told}") from exc
    if not archive.events:
        told = " up to that time" if archive.ignored else ""
        raise CommandError(f"no events of anonauth in {printable(str(path))}{told}")
    return archive


def _read_file(file: Path, archive: EventArchive) -> None:
    is_compressed = file.suffix == ".gz"
    with (gzip.open if is_compressed else open)(file, "rt", encoding="utf-8") as lines:
        number = 1
        try:
            for number, line in enumerate(lines, 1):  # noqa: B007 - for the message
                for event in _events_in(line):
                    archive.add(event)
        except (ValueError, LookupError, TypeError) as exc:
            raise CommandError(
                f"{printable(str(file))}, line {number}: not an event of EventBridge"
            ) from exc


def _events_in(line: str) -> Iterator[dict[str, Any]]:
    start = line.find("{")
    if start < 0 and line.strip():
        raise ValueError(line)
    while start >= 0:
        event, end = _DECODER.raw_decode(line, start)
        yield event
        start = line.find("{", end)
