"""What `anonauth users export` does: all users into a file, however often it is killed.

Beside the file stands its checkpoint: how long the file is up to the last page that is
whole, and where each segment goes on. A page's lines are on the disk before the
checkpoint says so; what the file has beyond it is of a page that will be read again,
and is cut off. So no line is torn, none is doubled, and no page is left out.
"""

import errno
import fcntl
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from anonauth.cli.table_scan import ParallelScan
from anonauth.cli.users.actions import user_as_json
from anonauth.domain.users import UserFilter, UserPage
from anonauth.local.command_error import CommandError
from anonauth.ports import OverviewStore

_CHECKPOINT_VERSION = 1  # of the checkpoint


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What an export is of: the same each time that it goes on.

    `table` is the full name; `app` None: of all apps; `with_data` adds what is
    displayed of identities.
    """

    table: str
    segments: int
    app: str | None = None
    with_data: bool = False

    @property
    def user_filter(self) -> UserFilter:
        """Which users it has."""
        return UserFilter(app=self.app)


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export has come.

    The file is good up to `offset` (bytes) and has so many `users` by then. `positions`
    are those of the segments that are not at their end. Of the items that were `read`
    so many were `unreadable`.
    """

    offset: int
    positions: Mapping[int, str]
    users: int = 0
    read: int = 0
    unreadable: int = 0


class ExportFile:
    """A file that grows page by page; made by `opened`. Threads may share it."""

    def __init__(
        self, path: Path, file: int, plan: ExportPlan, progress: ExportProgress
    ) -> None:
        self._path = path
        self._file = file
        self._plan = plan
        self._lock = threading.Lock()
        self._is_torn = False
        self.progress = progress

    def add(self, segment: int, page: UserPage, store: OverviewStore) -> None:
        """Append a page's users, and note that they are there.

        Args:
            store: Asked for what is displayed of identities, if the plan has that.

        Raises:
            CommandError: The disk does not take it.
        """
        text = b"".join(_export_lines(page, self._plan, store))
        with self._lock:
            if self._is_torn:
                return  # a failure of another thread ends this one, too
            self._is_torn = True
            ahead = {s: p for s, p in self.progress.positions.items() if s != segment}
            if page.position is not None:
                ahead[segment] = page.position
            after = ExportProgress(
                self.progress.offset + len(text),
                ahead,
                self.progress.users + len(page.users),
                self.progress.read + page.read,
                self.progress.unreadable + page.unreadable,
            )
            with _disk_errors(self._path):
                _write_bytes(self._file, text)
                os.fsync(self._file)
                _save_checkpoint(_checkpoint_path(self._path), self._plan, after)
            self.progress = after
            self._is_torn = False

    def finish(self) -> None:
        """Remove the checkpoint: the file is complete."""
        with _disk_errors(self._path):
            os.unlink(_checkpoint_path(self._path))


def write_users(
    export: ExportFile,
    scan: ParallelScan,
    store: OverviewStore,
    advance: Callable[[int], None],
) -> None:
    """Read what is left, write it, and finish.

    Whatever ends it before, Ctrl-C included, leaves an export to go on with, and a line
    on stderr that says so.

    Args:
        advance: Told of each page's items.
    """

    def take(segment: int, page: UserPage) -> None:
        export.add(segment, page, store)
        advance(page.read)

    try:
        scan.run(export.progress.positions, take)
    except BaseException:
        print("not complete; run it again to go on", file=sys.stderr)
        raise
    export.finish()


@contextmanager
def open_export(path: Path, plan: ExportPlan) -> Iterator[ExportFile]:
    """Yield the export into a file, begun or gone on with.

    Raises:
        CommandError: The file is there and not an unfinished export, or one of
        something
            else, or of another user; or another process writes it; or the disk refuses.
    """
    checkpoint = _checkpoint_path(path)
    with _disk_errors(path):
        try:
            file = _create_private_file(path, os.O_RDWR)
        except FileExistsError:
            # Not truncated by that: it may be something else.
            file = _open_own_file(path, os.O_RDWR)
    try:
        with _disk_errors(path):
            _lock_export(file, path)
            before = _load_checkpoint(checkpoint, plan)
            size = os.fstat(file).st_size
            if before is None and size:
                raise CommandError(
                    f"{path} is there already, and is no unfinished export: remove it, "
                    "or name another file"
                )
            if before is None:
                before = ExportProgress(0, dict.fromkeys(range(plan.segments), ""))
                os.fchmod(file, 0o600)  # an empty one may have been there
                _save_checkpoint(checkpoint, plan, before)
            if size < before.offset:
                raise CommandError(
                    f"{path} is shorter than {checkpoint.name} says: it was changed. "
                    "Remove both to start over"
                )
            os.ftruncate(file, before.offset)
            os.lseek(file, 0, os.SEEK_END)
        yield ExportFile(path, file, plan, before)
    finally:
        os.close(file)


def _export_lines(
    page: UserPage, plan: ExportPlan, store: OverviewStore
) -> Iterator[bytes]:
    data: Sequence[Any] = (
        store.get_data_of(page.users) if plan.with_data else [None] * len(page.users)
    )
    for user, known in zip(page.users, data, strict=True):
        yield (
            json.dumps(user_as_json(user, known), separators=(",", ":")).encode()
            + b"\n"
        )


def _write_bytes(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]


def _create_private_file(path: Path, flags: int) -> int:
    """Make a file that nobody else can read; never what a link names, even a dead one.

    Raises:
        FileExistsError: Something is there.
    """
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _open_own_file(path: Path, flags: int) -> int:
    """Open a file that is there, if it is this user's own.

    In a directory like /tmp others may have put it there: a link to a file of this
    user's, or a file of theirs, which they go on reading and changing.

    Raises:
        CommandError: It is a link or no plain file, or another user's.
        FileNotFoundError: It is not there.
    """
    try:
        # Not to wait until somebody writes into a pipe.
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise CommandError(
                f"{path} is a symbolic link; remove it, or name the file itself"
            ) from exc
        raise
    status = os.fstat(file)
    is_plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if is_plain and status.st_uid == os.geteuid():
        return file
    os.close(file)
    if not is_plain:
        raise CommandError(f"{path} is no plain file with one name; name another file")
    raise CommandError(f"{path} is another user's; name another file")


def _save_checkpoint(
    checkpoint: Path, plan: ExportPlan, progress: ExportProgress
) -> None:
    body = {
        "form": _CHECKPOINT_VERSION,
        "plan": asdict(plan),
        "progress": asdict(progress),
    }
    new = checkpoint.with_name(checkpoint.name + ".new")
    try:
        file = _create_private_file(new, os.O_WRONLY)
    except FileExistsError:
        os.close(_open_own_file(new, os.O_WRONLY))  # of a run that was killed
        os.unlink(new)
        file = _create_private_file(new, os.O_WRONLY)
    try:
        _write_bytes(file, json.dumps(body).encode())
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(new, checkpoint)


def _load_checkpoint(checkpoint: Path, plan: ExportPlan) -> ExportProgress | None:
    try:
        file = _open_own_file(checkpoint, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as opened_file:
        text = opened_file.read()
    try:
        body = json.loads(text)
        form, before = body["form"], ExportPlan(**body["plan"])
        progress = ExportProgress(**body["progress"])
        positions = {int(s): str(p) for s, p in progress.positions.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise CommandError(_unknown_checkpoint_message(checkpoint)) from exc
    if form != _CHECKPOINT_VERSION:
        raise CommandError(_unknown_checkpoint_message(checkpoint))
    if before != plan:
        raise CommandError(
            f"{checkpoint} is of another export: it was begun "
            f"{', '.join(_plan_differences(before, plan))}. Give the same options, or "
            "remove it and the file beside it to start over"
        )
    return replace(progress, positions=positions)


def _unknown_checkpoint_message(checkpoint: Path) -> str:
    return (
        f"{checkpoint} is no checkpoint of this version; remove it and the file beside "
        "it to start over"
    )


def _plan_differences(before: ExportPlan, plan: ExportPlan) -> Iterator[str]:
    if before.table != plan.table:
        yield f"on the table {before.table}"
    if before.app != plan.app:
        yield f"with --app {before.app}" if before.app else "without --app"
    if before.segments != plan.segments:
        yield f"with --segments {before.segments}"
    if before.with_data != plan.with_data:
        yield "with --data" if before.with_data else "without --data"


def _checkpoint_path(path: Path) -> Path:
    return path.with_name(path.name + ".resume")


def _lock_export(file: int, path: Path) -> None:
    try:
        # Gone with the process, however it ends.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise CommandError(f"another export is writing {path}") from exc


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise CommandError(
            f"cannot write {exc.filename or path}: {exc.strerror}"
        ) from exc
