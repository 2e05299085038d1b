"""The work of `anonauth users export`: a file of all users that survives interruption.

Beside the file is its checkpoint. It has the length of the file up to the last complete
page, and the position in each segment. A page's lines are on the disk before the
checkpoint counts them. Lines beyond the checkpoint belong to a page that will be read
again, and are cut off. So no line is torn or doubled, and no page is left out.
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

_CHECKPOINT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """The content of an export, which stays the same when it continues.

    `table` is the full name. If `app` is None, all apps are exported. `with_data` adds
    the data of identities.
    """

    table: str
    segments: int
    app: str | None = None
    with_data: bool = False

    @property
    def user_filter(self) -> UserFilter:
        """The filter for the users to export."""
        return UserFilter(app=self.app)


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """The progress of an export.

    The file is complete up to `offset` (bytes), and has this number of `users` there.
    `positions` has the segments that are not at their end. `read` counts the items that
    were read, and `unreadable` those among them that were left out.
    """

    offset: int
    positions: Mapping[int, str]
    users: int = 0
    read: int = 0
    unreadable: int = 0


class ExportFile:
    """A file that grows page by page, from `open_export`. Threads may share it."""

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
        """Append a page's users, and count them in the checkpoint.

        Args:
            store: Read for the data of identities, if the plan has it.

        Raises:
            CommandError: The file cannot be written.
        """
        text = b"".join(_export_lines(page, self._plan, store))
        with self._lock:
            if self._is_torn:
                return  # another thread failed, which ends this one too
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
        """Remove the checkpoint, because the file is complete."""
        with _disk_errors(self._path):
            os.unlink(_checkpoint_path(self._path))


def write_users(
    export: ExportFile,
    scan: ParallelScan,
    store: OverviewStore,
    advance: Callable[[int], None],
) -> None:
    """Write the remaining users, and finish the export.

    An interruption, Ctrl-C included, leaves an export that can continue, and a line on
    stderr says so.

    Args:
        advance: Called with the number of items of each page.
    """

    def take(segment: int, page: UserPage) -> None:
        export.add(segment, page, store)
        advance(page.read)

    try:
        scan.run(export.progress.positions, take)
    except BaseException:
        print("not complete; run it again to continue", file=sys.stderr)
        raise
    export.finish()


@contextmanager
def open_export(path: Path, plan: ExportPlan) -> Iterator[ExportFile]:
    """Yield a new export into a file, or the unfinished one that is there.

    Raises:
        CommandError: The file is not an unfinished export of the same plan, or it
            belongs to another user. Another process writes it, or the disk refuses.
    """
    checkpoint = _checkpoint_path(path)
    with _disk_errors(path):
        try:
            file = _create_private_file(path, os.O_RDWR)
        except FileExistsError:
            # Do not truncate it yet: it may not be an export.
            file = _open_own_file(path, os.O_RDWR)
    try:
        with _disk_errors(path):
            _lock_export(file, path)
            before = _load_checkpoint(checkpoint, plan)
            size = os.fstat(file).st_size
            if before is None and size:
                raise CommandError(
                    f"{path} exists and is not an unfinished export: remove it, or "
                    "name another file"
                )
            if before is None:
                before = ExportProgress(0, dict.fromkeys(range(plan.segments), ""))
                os.fchmod(file, 0o600)  # an empty file may have been there
                _save_checkpoint(checkpoint, plan, before)
            if size < before.offset:
                raise CommandError(
                    f"{path} is shorter than {checkpoint.name} says, so it was "
                    "changed. Remove both to start over"
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
    """Create a file that only this user can read. Never follow a link, even a dead one.

    Raises:
        FileExistsError: The path exists.
    """
    return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _open_own_file(path: Path, flags: int) -> int:
    """Open an existing file, if it belongs to this user.

    In a directory like /tmp another user may have put it there: a link to one of this
    user's files, or a file of their own, which they can still read and change.

    Raises:
        CommandError: The path is a link, not a plain file, or another user's file.
        FileNotFoundError: The path does not exist.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for a writer.
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
        raise CommandError(
            f"{path} is not a plain file with a single name; name another file"
        )
    raise CommandError(f"{path} belongs to another user; name another file")


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
        os.close(_open_own_file(new, os.O_WRONLY))  # left by a run that was killed
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
            f"{checkpoint} belongs to another export, which was started "
            f"{', '.join(_plan_differences(before, plan))}. Give the same options, or "
            "remove it and the file beside it to start over"
        )
    return replace(progress, positions=positions)


def _unknown_checkpoint_message(checkpoint: Path) -> str:
    return (
        f"{checkpoint} is not a checkpoint of this version; remove it and the file "
        "beside it to start over"
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
        # The lock ends with the process, however that ends.
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
