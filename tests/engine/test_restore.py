"""The restore drill: 10,000 users, a backup, life, damage, and `anonauth restore`.

Part one: a third of the live table's users are deleted. Part two: the table is lost,
and the stack has a new one. Both are restored from the same backup.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.domain.encoding import rfc3339
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.errors import InvalidSession, WrongPassword
from anonauth.wiring import utc_now
from support.contracts.store_contract import APP
from support.engine import engines
from support.engine.accounts import OLD
from support.engine.drill import (
    CUSTOM,
    USERS,
    Drill,
    Person,
    Times,
    aws_of,
)
from support.engine.engines import Engine
from support.engine.racing import Item, Service, assert_items_whole
from support.hostile.dice import dice_of
from support.project.tools import ROOT
from support.service.ctrl_c import COMMAND, ended, in_the_background

pytestmark = [
    pytest.mark.long,
    pytest.mark.parametrize("engine", ["dynoxide"], indirect=True, scope="package"),
]


@pytest.fixture(scope="module")
def drill(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """The tables with their users, and the backup."""
    dice, _ = dice_of("DRILL_SEED")
    with (
        engines.running("ministack", tmp_path_factory.mktemp("kms")) as other,
        aws_of(engine, other) as kms,
        engine.table() as live,
        engine.table() as backup,
    ):
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        made = Drill(engine, kms, key, live, backup, Times.before(utc_now()), dice)
        try:
            made.fill()
            made.back_up()
            yield made
        finally:
            made.close()


def command(drill: Drill, *more: str) -> list[str]:
    return [
        "restore",
        *("--from", drill.backup, "--table", drill.live, "--kms-key", drill.kms_key),
        # More threads would wait for each other, and a busy machine reach time-outs.
        *("--segments", "2"),
        *more,
    ]


def restore(drill: Drill, *more: str) -> Any:
    result = CliRunner().invoke(app, command(drill, "--yes", "--json", *more))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def by_pk(items: list[Item]) -> dict[str, Item]:
    return {item["pk"]["S"]: item for item in items}


@dataclass
class Part:
    """A part of the drill, after its restore."""

    drill: Drill
    revoked_token: str = ""
    hit: list[Person] = field(default_factory=list)
    before: dict[str, Item] = field(default_factory=dict)
    dry: dict[str, Item] = field(default_factory=dict)
    killed: dict[str, Item] = field(default_factory=dict)
    after: dict[str, Item] = field(default_factory=dict)
    again: dict[str, Item] = field(default_factory=dict)
    dry_report: Any = None
    report: Any = None
    report_again: Any = None
    seconds: float = 0.0

    def people(self, kind: str) -> list[Person]:
        return self.drill.people[kind]


def kill_half_way(drill: Drill, awaited: list[Person], *more: str) -> None:
    """Run the command, and kill it when some of these users are back."""
    keys = [person.pk for person in awaited[:100]]
    with in_the_background():
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *command(drill, "--yes", *more)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "functions")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    with ended(process):
        while drill.there(keys) < len(keys) // 10:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                assert process.stderr is not None
                pytest.fail(f"it has ended: {process.stderr.read()}")
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def damaged(drill: Drill, tmp_path_factory: pytest.TempPathFactory) -> Part:
    """The live table after damage and restore, with an archive of the events."""
    archive = tmp_path_factory.mktemp("archive") / "events.jsonl"
    part = Part(drill)
    part.revoked_token = drill.live_on(archive)
    part.hit = drill.damage(archive)
    options = ["--events", str(archive)]
    options += ["--events-until", rfc3339(drill.times.revocation)]
    part.before = by_pk(drill.items())
    part.dry_report = restore(drill, "--dry-run", *options)
    part.dry = by_pk(drill.items())
    kill_half_way(drill, part.hit, *options)
    part.killed = by_pk(drill.items())
    restore(drill, *options)
    part.after = by_pk(drill.items())
    part.report_again = restore(drill, *options)
    part.again = by_pk(drill.items())
    drill.delete([person.pk for person in part.people("overwritten")])
    restore(drill, *options)
    return part


@pytest.fixture(scope="module")
def lost(damaged: Part, drill: Drill) -> Iterator[Part]:
    """A new table after the restore. Its key ring shares no key with the backup's."""
    with drill.engine.table() as new:
        part = Part(drill.with_new_table(new), damaged.revoked_token)
        start = time.monotonic()
        part.report = restore(part.drill, "--guests")
        part.seconds = time.monotonic() - start
        part.after = by_pk(part.drill.items())
        yield part


def logged_in(service: Service, person: Person) -> list[str]:
    """Log in by each credential; return the user ids."""
    return [
        service.log_in_by(provider, credential, utc_now()).user.id
        for provider, credential in person.credentials.items()
    ]


def assert_can_log_in(service: Service, person: Person) -> None:
    assert person.credentials
    assert set(logged_in(service, person)) == {person.user_id}


def assert_ended(service: Service, person: Person) -> None:
    with pytest.raises(InvalidSession):
        service.refresh(person.session, utc_now())


# -- Part one: damage ------------------------------------------------------------------


def test_given_damage_when_only_tried_then_nothing_is_written(damaged: Part) -> None:
    assert damaged.dry == damaged.before


def test_given_a_run_that_is_killed_when_run_again_then_all_are_back(
    damaged: Part,
) -> None:
    hit = {person.pk for person in damaged.hit}

    assert damaged.before.keys() & hit == set()
    assert 0 < len(damaged.killed.keys() & hit) < len(hit)
    assert damaged.after.keys() & hit == hit


def test_given_a_run_that_is_killed_then_no_user_is_half_there(damaged: Part) -> None:
    back = {p.pk: p for p in damaged.hit if p.pk in damaged.killed}

    for person in back.values():
        for provider in person.credentials:
            assert person.record_pk(provider) in damaged.killed


def test_given_a_restore_when_repeated_then_nothing_changes(damaged: Part) -> None:
    assert damaged.again == damaged.after
    told = damaged.report_again
    assert (told["restored"], told["restored_guest"], told["completed"]) == (0, 0, 0)


def test_given_a_restore_then_what_the_live_table_had_is_untouched(
    damaged: Part,
) -> None:
    assert {pk: damaged.after[pk] for pk in damaged.before} == damaged.before


def test_given_a_restore_then_the_invariants_hold(damaged: Part) -> None:
    overwritten = {
        person.pk: person.user_id for person in damaged.people("overwritten")
    }
    items = [item for pk, item in damaged.after.items() if pk not in overwritten]

    assert_items_whole(items, lost=overwritten.values())


def test_given_items_that_were_overwritten_when_deleted_then_they_come_back(
    damaged: Part,
) -> None:
    """restore.md says to delete them, because nothing replaces an item."""
    service = damaged.drill.service()

    for person in damaged.people("overwritten"):
        assert "junk" in damaged.again[person.pk]
        assert_can_log_in(service, person)


def test_given_users_that_were_deleted_then_they_stay_gone(damaged: Part) -> None:
    service = damaged.drill.service()
    gone = [
        person
        for kind in ("deleted", "deleted guest", "deleted, mark damaged", "logged out")
        for person in damaged.people(kind)
    ]

    for person in gone:
        assert person.pk not in damaged.after
        assert_ended(service, person)
        for provider in person.credentials:
            assert person.record_pk(provider) not in damaged.after


def test_given_restored_guests_then_their_sessions_go_on(damaged: Part) -> None:
    service = damaged.drill.service()

    for person in damaged.people("hit guest") + damaged.people("guest"):
        assert service.refresh(person.session, utc_now())


def test_given_restored_permanent_users_then_they_log_in_and_keep_their_ids(
    damaged: Part,
) -> None:
    service = damaged.drill.service()
    acting = [
        person
        for kind in ("hit mail", "hit jwt", "hit key")
        for person in damaged.people(kind)
    ]

    for person in acting:
        assert_ended(service, person)
        assert_can_log_in(service, person)
    crowd = [person for person in damaged.hit if person.credentials]
    for person in damaged.drill.dice.sample(crowd, 50):
        assert_can_log_in(service, person)


def test_given_damage_to_one_of_a_users_items_then_the_user_is_whole_again(
    damaged: Part,
) -> None:
    service = damaged.drill.service()

    for kind in ("user item damaged", "record damaged"):
        for person in damaged.people(kind):
            assert_can_log_in(service, person)


def test_given_users_that_were_linked_after_the_backup_then_none_is_lost(
    damaged: Part,
) -> None:
    """The record of the identity names the user whose item was lost."""
    service = damaged.drill.service()

    for kind in ("linked", "linked, then damaged"):
        for person in damaged.people(kind):
            opened = service.log_in_by(CUSTOM, person.credentials[CUSTOM], utc_now())
            assert opened.user.id == person.user_id
            assert not opened.user.anonymous


def test_given_passwords_that_were_reset_then_only_the_new_ones_are_good(
    damaged: Part,
) -> None:
    service = damaged.drill.service()

    for kind in ("reset", "reset, then damaged"):
        for person in damaged.people(kind):
            old = {**person.credentials[USERPASS], "password": OLD}
            with pytest.raises(WrongPassword):
                service.log_in_by(USERPASS, old, utc_now())
            assert_can_log_in(service, person)
            assert_ended(service, person)


def test_given_an_identity_that_was_unlinked_then_it_is_not_back(damaged: Part) -> None:
    service = damaged.drill.service()

    for person in damaged.people("unlinked"):
        assert person.record_pk(CUSTOM) not in damaged.after
        mail = person.credentials[USERPASS]
        assert service.log_in_by(USERPASS, mail, utc_now()).user.id == person.user_id


def test_given_an_identity_that_another_user_has_then_it_keeps_it_and_is_reported(
    damaged: Part,
) -> None:
    service = damaged.drill.service()
    moved = damaged.people("moved, then damaged")
    newcomers = damaged.people("newcomer")

    for former, newcomer in zip(moved, newcomers, strict=True):
        assert_can_log_in(service, former)
        assert_can_log_in(service, newcomer)
        assert service.refresh(newcomer.session, utc_now())
    told = {(each["app"], each["uid"]) for each in damaged.dry_report["conflicts"]}
    assert told == {(APP, person.user_id) for person in moved}


def test_given_a_key_that_was_revoked_then_its_token_stays_refused(
    damaged: Part,
) -> None:
    at = damaged.drill.times.revocation

    with pytest.raises(InvalidSession):
        damaged.drill.service().read_by(damaged.revoked_token, at)


def test_given_newcomers_since_the_backup_then_their_sessions_go_on(
    damaged: Part,
) -> None:
    service = damaged.drill.service()

    for person in damaged.people("new guest"):
        assert service.refresh(person.session, utc_now())


# -- Part two: the table is lost -------------------------------------------------------


def test_given_a_lost_table_when_restored_then_all_of_the_backup_are_there(
    lost: Part, record_property: Callable[[str, object], None]
) -> None:
    record_property("seconds", lost.seconds)
    users = [pk for pk in lost.after if pk.startswith("USER#")]

    assert len(users) == USERS
    assert_items_whole([*lost.after.values()])
    assert lost.report["restored"] + lost.report["restored_guest"] == USERS


def test_given_a_lost_table_when_restored_then_guests_go_on(lost: Part) -> None:
    """Their refresh tokens were signed by a key of the backup's ring."""
    service = lost.drill.service()

    for kind in ("guest", "hit guest", "linked"):
        for person in lost.people(kind):
            assert service.refresh(person.session, utc_now())


def test_given_a_lost_table_when_restored_then_permanent_users_log_in(
    lost: Part,
) -> None:
    service = lost.drill.service()

    for person in lost.people("hit mail") + lost.people("hit key"):
        assert_can_log_in(service, person)
    permanent = [person for person in lost.drill.crowd if person.credentials]
    for person in lost.drill.dice.sample(permanent, 50):
        assert_can_log_in(service, person)


def test_given_a_lost_table_when_restored_then_no_old_access_token_is_good(
    lost: Part,
) -> None:
    service, at = lost.drill.service(), lost.drill.times.revocation

    with pytest.raises(InvalidSession):
        service.read_by(lost.revoked_token, at)
    for person in lost.people("guest"):
        token = service.refresh(person.session, utc_now())
        assert service.read_by(token, utc_now()).id == person.user_id


def test_given_a_lost_table_when_restored_then_api_keys_are_good(lost: Part) -> None:
    service = lost.drill.service()

    for person in lost.people("user item damaged"):
        opened = service.log_in_by(API_KEY, person.credentials[API_KEY], utc_now())
        assert opened.user.id == person.user_id
