"""`anonauth users export`: the file is complete in the end, wherever it is killed."""

import json
import os
import secrets
import stat
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.cli.table_scan import ParallelScan
from anonauth.cli.users import export as export_module
from anonauth.cli.users.export import (
    ExportPlan,
    ExportProgress,
    open_export,
    write_users,
)
from anonauth.domain.users import User, UserFilter, UserPage
from anonauth.errors import StoreUnavailable
from anonauth.local.command_error import CommandError
from anonauth.ports import OverviewStore
from anonauth.store import Store
from support.contracts.identity_contract import a_linked_user
from support.contracts.merge_contract import a_user_with_guests
from support.contracts.store_contract import a_guest
from support.memory_store import MemoryStore
from support.project.pages import block
from support.service.harness import APP, OTHER_APP, TABLE, Clients

USERS = 20
SEGMENTS = 3
PLAN = ExportPlan("arn:aws:dynamodb:eu-central-1:1:table/t", SEGMENTS)


class Killed(BaseException):
    """Stands for the end of the process, which a test must survive."""


class DyingDisk:
    """`os`, whose process is killed at the nth call that changes the disk.

    A write that is hit is half done. After it no thread can change anything. Written
    data survives, so `fsync` only counts.
    """

    CHANGES = frozenset({"open", "write", "fsync", "replace", "ftruncate", "unlink"})

    def __init__(
        self, calls: int | None = None, end: type[BaseException] = Killed
    ) -> None:
        self._left = calls
        self._end = end
        self._lock = threading.Lock()
        self.made: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._dying(name, real) if name in self.CHANGES else real

    def _dying(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._lock:
                if self._left == 0:
                    raise self._end
                if self._left is not None:
                    self._left -= 1
                    if self._left == 0:
                        if name == "write":
                            file, text = arguments
                            os.write(file, text[: len(text) // 2])
                        raise self._end
                self.made[name] += 1
                return None if name == "fsync" else real(*arguments)

        return call


@pytest.fixture
def store() -> MemoryStore:
    """A store of twenty users that reads two at a time."""
    made = MemoryStore()
    made.page_size = 2
    for number in range(USERS):
        if number % 4:
            made.create_user(replace(a_guest(), app=APP if number % 2 else OTHER_APP))
        else:
            a_linked_user(made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.jsonl"


def run(
    store: OverviewStore,
    file: Path,
    plan: ExportPlan = PLAN,
    disk: DyingDisk | None = None,
) -> ExportProgress:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "os", disk or DyingDisk())
        with open_export(file, plan) as export:
            scan = ParallelScan(
                store, segments=plan.segments, user_filter=plan.user_filter
            )
            write_users(export, scan, store, lambda _: None)
            return export.progress


def resume(file: Path) -> Path:
    return file.with_name("users.jsonl.resume")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_complete(file: Path, store: MemoryStore) -> None:
    """Assert that each user is in the file once, no line is torn, no file is left."""
    found = [(line["app"], line["uid"]) for line in lines(file)]
    assert sorted(found) == sorted(store.users)
    assert file.read_text().endswith("\n")
    assert os.listdir(file.parent) == [file.name]


def calls_of_a_run(store: MemoryStore, directory: Path) -> int:
    disk = DyingDisk()
    run(store, directory / "counted.jsonl", disk=disk)
    (directory / "counted.jsonl").unlink()
    assert disk.made.keys() == disk.CHANGES
    return disk.made.total()


def test_given_users_when_exported_then_each_is_a_line_without_secrets(
    store: MemoryStore, file: Path
) -> None:
    progress = run(store, file)

    assert (progress.users, progress.read, progress.positions) == (USERS, USERS, {})
    assert_complete(file, store)
    user = next(user for user in store.users.values() if not user.anonymous)
    (line,) = [line for line in lines(file) if line["uid"] == user.id]
    assert line == {
        "app": APP,
        "uid": user.id,
        "anonymous": False,
        "created_at": "2026-03-10T12:00:00Z",
        "last_active_day": "2026-03-10",
        "expires_at": None,
        "identities": [
            {"provider": "anon-user", "id": user.identities[0].id},
            {
                "provider": "custom-token",
                "id": user.identities[1].id,
                "key": user.identities[1].key,
            },
        ],
    }
    (guest,) = [u for u in store.users.values() if u.anonymous][:1]
    (line,) = [line for line in lines(file) if line["uid"] == guest.id]
    assert line["expires_at"] == "2026-06-09T01:00:00Z"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_given_data_when_asked_for_then_each_identity_has_its_own(
    store: MemoryStore, file: Path
) -> None:
    run(store, file, replace(PLAN, with_data=True))

    linked = [line["identities"] for line in lines(file) if not line["anonymous"]]
    assert len(linked) == USERS / 4
    assert all([i["data"] for i in each] == [{}, {"name": "Ada"}] for each in linked)


def test_given_the_line_on_the_page_when_read_then_it_is_one_of_an_export(
    store: MemoryStore, file: Path
) -> None:
    told = json.loads(block("the export line"))

    run(store, file, replace(PLAN, with_data=True))

    for line in lines(file):
        assert list(line) == list(told)
        for identity in line["identities"]:
            of_issuer = identity["provider"] != "anon-user"
            assert list(identity) == [
                name for name in told["identities"][0] if of_issuer or name != "key"
            ]


def test_given_merged_guests_when_exported_then_only_their_user_names_them(
    table: str, clients: Clients, file: Path
) -> None:
    """On the real table, because its scan reads named attributes only."""
    store = clients.store(table)
    user, other = a_user_with_guests(store, 2), a_linked_user(store)

    result = command(str(file))

    assert result.exit_code == 0, result
    by_id = {line["uid"]: line for line in lines(file)}
    assert by_id.keys() == {user.id, other.id}
    assert list(by_id[user.id])[-1] == "former_ids"
    assert by_id[user.id]["former_ids"] == list(user.former_ids)
    assert "former_ids" not in by_id[other.id]


def test_given_an_app_when_exported_then_no_user_of_another(
    store: MemoryStore, file: Path
) -> None:
    progress = run(store, file, replace(PLAN, app=OTHER_APP))

    assert {line["app"] for line in lines(file)} == {OTHER_APP}
    assert (progress.users, progress.read) == (len(lines(file)), USERS)


def test_given_a_kill_at_any_point_when_run_again_then_the_file_is_whole(
    store: MemoryStore, file: Path
) -> None:
    """Each call that changes the disk is once the last call, and half done."""
    calls = calls_of_a_run(store, file.parent)
    resumed = 0

    for point in range(1, calls + 1):
        with pytest.raises(Killed):
            run(store, file, disk=DyingDisk(point))
        if resume(file).exists():
            resumed += json.loads(resume(file).read_text())["progress"]["users"] > 0
        run(store, file)
        assert_complete(file, store)
        file.unlink()

    assert calls > 6 * USERS / 2  # six of each page
    assert resumed > calls / 2  # otherwise each run would have started over


@pytest.mark.parametrize("lives", [15, 17, 30])
def test_given_kills_over_and_over_when_run_again_then_it_comes_to_its_end(
    store: MemoryStore, file: Path, lives: int
) -> None:
    runs = 0
    is_done = False
    while not is_done:
        runs += 1
        assert runs < 100
        try:
            run(store, file, disk=DyingDisk(lives))
            is_done = True
        except Killed:
            continue

    assert runs > 1
    assert_complete(file, store)


class Failing:
    """A store whose nth page cannot be read."""

    def __init__(self, store: MemoryStore, page: int, failure: BaseException) -> None:
        self._store = store
        self._pages = iter(range(1, 999))
        self._page = page
        self._failure = failure
        self.connect = store.connect
        self.get_data_of = store.get_data_of

    def scan_users(
        self, segment: int, segments: int, after: str, wanted: UserFilter
    ) -> UserPage:
        if next(self._pages) == self._page:
            raise self._failure
        return self._store.scan_users(segment, segments, after, wanted)


@pytest.mark.parametrize("page", range(1, 10))
@pytest.mark.parametrize("failure", [StoreUnavailable, KeyboardInterrupt])
def test_given_a_page_that_cannot_be_read_when_run_again_then_it_goes_on(
    store: MemoryStore,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    page: int,
    failure: type[BaseException],
) -> None:
    with pytest.raises(failure):
        run(Failing(store, page, failure()), file)
    before = json.loads(resume(file).read_text())["progress"]

    progress = run(store, file)

    assert capsys.readouterr().err == "not complete; run it again to continue\n"
    assert before["read"] < USERS
    assert (progress.users, progress.read) == (USERS, USERS)
    assert_complete(file, store)


def test_given_users_that_come_and_go_when_continued_then_those_that_stay_are_there(
    store: MemoryStore, file: Path
) -> None:
    with pytest.raises(StoreUnavailable):
        run(Failing(store, 6, StoreUnavailable()), file)
    before = set(store.users)
    written = [(line["app"], line["uid"]) for line in lines(file)]
    for gone in list(store.users)[::3]:
        del store.users[gone]
    for _ in range(5):
        store.create_user(a_guest())

    run(store, file)

    found = [(line["app"], line["uid"]) for line in lines(file)]
    assert len(found) == len(set(found))
    assert before & set(store.users) <= set(found)
    assert set(found) <= before | set(store.users)
    assert found[: len(written)] == written


def an_unfinished_export(
    store: MemoryStore, file: Path, plan: ExportPlan = PLAN
) -> None:
    with pytest.raises(StoreUnavailable):
        run(Failing(store, 6, StoreUnavailable()), file, plan)


@pytest.mark.parametrize(
    ("begun", "other", "difference"),
    [
        pytest.param(
            {}, {"table": "arn:other"}, f"on the table {PLAN.table}", id="table"
        ),
        pytest.param({}, {"segments": 4}, "with --segments 3", id="segments"),
        pytest.param({}, {"app": APP}, "without --app", id="an app"),
        pytest.param({"app": APP}, {}, f"with --app {APP}", id="all apps"),
        pytest.param({}, {"with_data": True}, "without --data", id="data"),
        pytest.param({"with_data": True}, {}, "with --data", id="no data"),
        pytest.param(
            {"app": APP},
            {"app": OTHER_APP, "with_data": True},
            f"with --app {APP}, without --data",
            id="two",
        ),
    ],
)
def test_given_other_options_when_continued_then_it_says_only_what_differs(
    store: MemoryStore,
    file: Path,
    begun: dict[str, Any],
    other: dict[str, Any],
    difference: str,
) -> None:
    an_unfinished_export(store, file, replace(PLAN, **begun))
    before = file.read_bytes(), resume(file).read_bytes()

    with pytest.raises(CommandError) as refused:
        run(store, file, replace(PLAN, **other))

    assert f", which was started {difference}. Give the same" in str(refused.value)
    assert (file.read_bytes(), resume(file).read_bytes()) == before


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="a list"),
        pytest.param('{"form": 1}', id="no plan"),
        pytest.param(
            json.dumps(
                {
                    "form": 2,
                    "plan": {"table": PLAN.table, "segments": SEGMENTS},
                    "progress": {"offset": 0, "positions": {}},
                }
            ),
            id="of another version",
        ),
        pytest.param(
            json.dumps(
                {
                    "form": 1,
                    "plan": {"table": PLAN.table, "segments": SEGMENTS},
                    "progress": {"offset": 0, "positions": []},
                }
            ),
            id="no positions",
        ),
    ],
)
def test_given_something_else_as_checkpoint_when_continued_then_it_is_refused(
    store: MemoryStore, file: Path, text: str
) -> None:
    resume(file).write_text(text)

    with pytest.raises(CommandError, match="not a checkpoint of this version"):
        run(store, file)

    assert resume(file).read_text() == text


def test_given_a_file_that_is_no_export_when_named_then_it_is_left_alone(
    store: MemoryStore, file: Path
) -> None:
    """Yesterday's complete export is such a file too."""
    run(store, file)
    before = file.read_bytes()

    with pytest.raises(CommandError, match="exists and is not an unfinished export"):
        run(store, file)

    assert file.read_bytes() == before
    assert not resume(file).exists()


def test_given_an_empty_file_when_named_then_it_is_taken_and_closed_to_others(
    store: MemoryStore, file: Path
) -> None:
    file.touch(0o644)

    run(store, file)

    assert_complete(file, store)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("of", ["users.jsonl", "users.jsonl.resume"])
@pytest.mark.parametrize("is_there", [True, False], ids=["a file", "nothing"])
def test_given_a_symbolic_link_when_exported_then_its_target_is_left_alone(
    store: MemoryStore, file: Path, tmp_path: Path, of: str, *, is_there: bool
) -> None:
    """Any user can put a link into /tmp, under the file name in operate.md."""
    mine = tmp_path / "mine"
    if is_there:
        mine.touch(0o644)
    (tmp_path / of).symlink_to(mine)

    with pytest.raises(CommandError, match=f"{of} is a symbolic link; remove it"):
        run(store, file)

    assert (tmp_path / of).is_symlink()
    assert mine.exists() == is_there
    if is_there:
        assert (mine.read_bytes(), stat.S_IMODE(mine.stat().st_mode)) == (b"", 0o644)


def test_given_a_link_where_the_next_checkpoint_goes_when_exported_then_it_is_refused(
    store: MemoryStore, file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "users.jsonl.resume.new").symlink_to(mine)

    with pytest.raises(
        CommandError, match=r"resume\.new is a symbolic link; remove it"
    ):
        run(store, file)

    assert mine.read_text() == "mine"


class AnotherUser(DyingDisk):
    """`os` of a user that owns none of the files that were there before."""

    def geteuid(self) -> int:
        return os.geteuid() + 1


@pytest.mark.parametrize(
    "of", ["users.jsonl", "users.jsonl.resume", "users.jsonl.resume.new"]
)
def test_given_another_users_file_when_exported_then_it_is_refused_and_left_alone(
    store: MemoryStore, file: Path, tmp_path: Path, of: str
) -> None:
    theirs = tmp_path / of
    theirs.touch(0o666)
    before = theirs.stat()

    with pytest.raises(
        CommandError, match=f"{of} belongs to another user; name another file"
    ):
        run(store, file, disk=AnotherUser())

    after = theirs.stat()
    assert (after.st_ino, after.st_mode, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_mode,
        before.st_size,
        before.st_mtime_ns,
    )


def test_given_another_users_unfinished_export_when_continued_then_it_is_refused(
    store: MemoryStore, file: Path
) -> None:
    """A checkpoint of another user could make the export leave users out."""
    an_unfinished_export(store, file)
    before = file.read_bytes(), resume(file).read_bytes()

    with pytest.raises(CommandError, match="belongs to another user"):
        run(store, file, disk=AnotherUser())

    assert (file.read_bytes(), resume(file).read_bytes()) == before


@pytest.mark.parametrize("of", ["users.jsonl", "users.jsonl.resume"])
@pytest.mark.parametrize("kind", ["a pipe", "a second name"])
def test_given_no_plain_file_when_exported_then_it_is_refused(
    store: MemoryStore, file: Path, tmp_path: Path, of: str, kind: str
) -> None:
    mine = tmp_path / "mine"
    mine.touch()
    if kind == "a pipe":
        os.mkfifo(tmp_path / of)
    else:
        (tmp_path / of).hardlink_to(mine)

    with pytest.raises(
        CommandError, match=f"{of} is not a plain file with a single name"
    ):
        run(store, file)

    assert mine.read_bytes() == b""


def test_given_what_a_killed_run_left_when_continued_then_it_is_replaced(
    store: MemoryStore, file: Path
) -> None:
    an_unfinished_export(store, file)
    resume(file).with_name("users.jsonl.resume.new").write_text("{")

    run(store, file)

    assert_complete(file, store)


def test_given_a_new_file_when_exported_then_it_is_closed_to_others_from_the_start(
    store: MemoryStore, file: Path
) -> None:
    an_unfinished_export(store, file)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (file, resume(file))}

    assert modes == {0o600}


def test_given_a_file_that_was_cut_when_continued_then_it_is_refused(
    store: MemoryStore, file: Path
) -> None:
    an_unfinished_export(store, file)
    file.write_bytes(file.read_bytes()[:-1])

    with pytest.raises(CommandError, match=r"shorter than users\.jsonl\.resume says"):
        run(store, file)


def test_given_an_export_that_runs_when_run_again_then_it_is_refused(
    store: MemoryStore, file: Path
) -> None:
    with (
        open_export(file, PLAN),
        pytest.raises(CommandError, match="another export is writing"),
    ):
        run(store, file)

    run(store, file)
    assert_complete(file, store)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("", "Is a directory", id="a directory"),
        pytest.param("none/users.jsonl", "No such file", id="no directory"),
    ],
)
def test_given_no_place_for_the_file_when_named_then_one_line(
    store: MemoryStore, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(CommandError, match=f"cannot write .+: {message}"):
        run(store, tmp_path / name)


def test_given_a_full_disk_when_there_is_room_again_then_it_goes_on(
    store: MemoryStore, file: Path
) -> None:
    class Full(DyingDisk):
        def write(self, file: int, text: bytes) -> int:
            if self.made["fsync"] > 9:
                raise OSError(28, "No space left on device")
            return os.write(file, text[:100])  # by pieces, as a write may

    with pytest.raises(CommandError, match=r"cannot write .+: No space left on device"):
        run(store, file, disk=Full())
    run(store, file)

    assert_complete(file, store)


def test_given_a_write_that_fails_once_when_others_follow_then_they_write_nothing(
    store: MemoryStore, file: Path
) -> None:
    """Lines that another thread appended to half a page would count as complete."""

    class Hiccup(DyingDisk):
        def write(self, file: int, text: bytes) -> int:
            if self.made["fsync"] == 1:  # that of the first checkpoint
                self.made["fsync"] += 1
                os.write(file, text[:7])
                raise OSError(5, "Input/output error")
            return os.write(file, text)

    first, second = (
        store.scan_users(n, SEGMENTS, "", PLAN.user_filter) for n in (0, 1)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "os", Hiccup())
        with open_export(file, PLAN) as export:
            with pytest.raises(CommandError, match="Input/output error"):
                export.add(0, first, store)
            export.add(1, second, store)

    assert file.stat().st_size == 7
    run(store, file)
    assert_complete(file, store)


def test_given_a_rate_when_scanned_then_it_waits_for_its_units(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Costly(Failing):
        def scan_users(self, *arguments: Any) -> UserPage:
            return replace(super().scan_users(*arguments), units=5.0)

    scan = ParallelScan(
        Costly(store, 999, Killed()), segments=2, user_filter=UserFilter(), rate=100
    )
    monkeypatch.setattr(scan._stopped, "wait", waits.append)
    pages: list[UserPage] = []
    scan.run({0: "", 1: ""}, lambda _, page: pages.append(page))

    assert waits == [0.1] * len(pages)  # 5 units, and the other segment's 5
    assert sum(page.read for page in pages) == USERS


@pytest.fixture
def on_moto(table: str, clients: Clients) -> list[User]:
    """Users in a table of moto."""
    store: Store = clients.store(table)
    users = [a_guest(), a_linked_user(store)]
    store.create_user(users[0])
    return users


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["users", "export", *arguments, "--table", TABLE])


def test_given_the_command_when_run_then_users_are_in_the_file(
    on_moto: list[User], file: Path
) -> None:
    result = command(str(file), "--data")

    assert result.exit_code == 0, result
    assert result.stdout == f"users in {file}: 2\n"
    assert {line["uid"] for line in lines(file)} == {user.id for user in on_moto}
    assert '"data":{"name":"Ada"}' in file.read_text()
    assert not resume(file).exists()


def test_given_the_command_when_stopped_by_ctrl_c_then_130_and_it_goes_on(
    on_moto: list[User], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = DyingDisk(14, KeyboardInterrupt)  # while the second page is written
        patch.setattr(export_module, "os", disk)
        stopped = command(str(file))
    result = command(str(file), "--json")

    assert stopped.exit_code == 130
    assert "run it again to continue" in stopped.stderr
    assert stopped.stdout == ""
    body = json.loads(result.stdout)
    assert body.keys() == {"file", "users", "items_read", "unreadable", "resumed"}
    assert (body["users"], body["items_read"], body["unreadable"]) == (2, 3, 0)
    assert {line["uid"] for line in lines(file)} == {user.id for user in on_moto}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_given_an_item_that_is_none_of_ours_when_exported_then_exit_code_1(
    on_moto: list[User], file: Path, db: Any, options: tuple[str, ...]
) -> None:
    """The file has all other users and is complete, so no run continues it."""
    pk = f"USER#{APP}#{secrets.token_hex(3)}"
    db.put_item(TableName=TABLE, Item={"pk": {"S": pk}, "state": {"S": "active"}})

    result = command(str(file), "--segments", "1", *options)

    assert result.exit_code == 1
    assert str(result.exception) == (
        f"items that could not be read: 1; they are left out, and {file} has all others"
    )
    assert isinstance(result.exception, CommandError)
    if options:
        assert json.loads(result.stdout)["unreadable"] == 1
    else:
        assert result.stdout == f"users in {file}: 2\n"
    assert {line["uid"] for line in lines(file)} == {user.id for user in on_moto}
    assert not resume(file).exists()
