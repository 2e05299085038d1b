"""`anonauth restore`: users of a backup come back, and what was ended does not."""

import gzip
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from moto.kms.models import KmsBackend
from mypy_boto3_dynamodb import DynamoDBClient
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.store import Store
from anonauth.wiring import utc_now
from support.service.command_results import printed, problem
from support.service.harness import (
    APP,
    DELETE,
    PROFILE,
    SESSION,
    TABLE,
    Clients,
    Deployment,
    make_table,
)
from support.service.linked import (
    link,
    log_in_linked,
    open_session,
    stored_record,
    stored_user,
)
from support.service.stacks import template_with_outputs
from support.service.story import Story, types

BACKUP = "anonauth-restored"
HOUR = timedelta(hours=1)


@pytest.fixture
def live(service: Deployment) -> Deployment:
    """A service at the time of this machine, which the command goes by."""
    service.now = utc_now().replace(microsecond=0)
    service.rotate()
    service.restart()
    return service


class Disaster:
    """The live table, and a table that its backup is restored to."""

    def __init__(self, live: Deployment, db: DynamoDBClient, clients: Clients) -> None:
        self.live = live
        self.db = db
        self.key_id = live.services.settings.kms_key_id
        self.backup: Store = clients.store(BACKUP)

    def back_up(self) -> None:
        for item in self.live.items().values():
            self.db.put_item(TableName=BACKUP, Item=item)

    def lose(self, *prefixes: str) -> None:
        """Remove the items of these prefixes from the live table."""
        for prefix in prefixes:
            for pk in self.live.items(prefix):
                self.db.delete_item(TableName=TABLE, Key={"pk": {"S": pk}})

    def lose_users(self) -> None:
        self.lose("USER#", "IDENT#")

    def restore(self, *arguments: str) -> Result:
        result = CliRunner().invoke(
            app,
            [
                *["restore", "--from", BACKUP, "--table", TABLE],
                *["--kms-key", self.key_id, "--segments", "1", *arguments],
            ],
        )
        self.live.now = utc_now().replace(microsecond=0)
        return result

    def restored(self, *arguments: str) -> Any:
        """Restore without a question, and return the counts that are not 0."""
        body = printed(self.restore("--yes", "--json", *arguments))
        return {name: value for name, value in body.items() if value}

    def renews(self, body: dict[str, Any]) -> bool:
        """Tell whether the refresh token of a login still gets access tokens."""
        self.live.restart()
        status = self.live.send(SESSION, token=body["refresh_token"]).status
        assert status in {200, 401}
        return status == 200


@pytest.fixture
def disaster(
    live: Deployment, db: DynamoDBClient, clients: Clients
) -> Iterator[Disaster]:
    make_table(db, BACKUP, has_stream=False)
    yield Disaster(live, db, clients)
    db.delete_table(TableName=BACKUP)


def counts(**values: object) -> dict[str, object]:
    return {"from": BACKUP, "applied": True, **values}


def test_given_lost_users_when_restored_then_guests_keep_and_others_lose_sessions(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest, ada = live.log_in(), log_in_linked(live)
    before = live.items()
    disaster.back_up()
    disaster.lose_users()

    told = disaster.restored("--guests")

    assert told == counts(restored=1, restored_guest=1)
    assert disaster.renews(guest)
    assert not disaster.renews(ada)
    again = open_session(live, ada["user_id"], "custom-token", "ada")
    assert live.send(PROFILE, token=again["access_token"]).status == 200
    after = live.items()
    assert after.keys() == before.keys()
    identities = [pk for pk in before if pk.startswith("IDENT#")]
    assert [after[pk] for pk in identities] == [before[pk] for pk in identities]


def test_given_lost_users_when_restored_then_no_event_says_that_they_are_new(
    disaster: Disaster,
) -> None:
    live = disaster.live
    story = Story(live)
    log_in_linked(live)
    body = live.log_in()
    disaster.back_up()
    disaster.lose_users()
    story.told()

    disaster.restored("--guests")

    assert story.told() == []
    live.restart()
    assert live.send(DELETE, token=body["access_token"]).status == 200
    assert types(story.told()) == ["user.deleted"]


def test_given_lost_users_when_counted_then_nothing_is_written(
    disaster: Disaster,
) -> None:
    disaster.live.log_in()
    log_in_linked(disaster.live)
    disaster.back_up()
    disaster.lose("USER#", "KEY#")
    before = disaster.live.items()

    result = disaster.restore("--dry-run", "--json", "--guests")

    told = {name: value for name, value in printed(result).items() if value}
    assert told.pop("refresh_keys")
    assert told == {"from": BACKUP, "restored": 1, "restored_guest": 1}
    assert disaster.live.items() == before
    lines = disaster.restore("--dry-run").stdout.splitlines()
    assert lines[0] == "would be done:"
    assert [line.split(":")[0].split("  ")[-1] for line in lines[1:]] == [
        "permanent users",
        "guests",
    ]


def test_given_no_terminal_when_restored_without_yes_then_nothing_is_written(
    disaster: Disaster,
) -> None:
    log_in_linked(disaster.live)
    disaster.back_up()
    disaster.lose_users()
    before = disaster.live.items()

    result = disaster.restore()

    assert problem(result) == "no terminal to confirm on; pass --yes"
    assert "1  permanent users: restored, without sessions" in result.stderr
    assert disaster.live.items() == before


def test_given_nothing_lost_when_restored_then_it_does_not_ask(
    disaster: Disaster,
) -> None:
    log_in_linked(disaster.live)
    disaster.back_up()
    before = disaster.live.items()

    result = disaster.restore()

    assert result.exit_code == 0
    assert "1  users of the live table: as they are" in result.stdout
    assert disaster.live.items() == before


def test_given_guests_when_they_are_not_asked_for_then_they_stay_out(
    disaster: Disaster,
) -> None:
    disaster.live.log_in()
    disaster.back_up()
    disaster.lose_users()

    assert disaster.restored() == counts(guest_left_out=1)
    assert disaster.live.items("USER#") == {}
    told = disaster.restore("--guests", "--dry-run")
    assert "GUESTS COME BACK THAT HAD LOGGED OUT" in told.stderr


def test_given_a_user_that_deleted_itself_when_restored_then_it_stays_gone(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest, ada = live.log_in(), log_in_linked(live)
    disaster.back_up()
    for body in (guest, ada):
        assert live.send(DELETE, token=body["access_token"]).status == 200

    assert disaster.restored("--guests") == counts(gone=2)
    assert live.items("USER#") == live.items("IDENT#") == {}


def test_given_a_user_linked_after_the_backup_when_restored_then_it_is_as_it_is(
    disaster: Disaster,
) -> None:
    live = disaster.live
    body = live.log_in()
    disaster.back_up()
    link(live, body, "custom-token", "ada")
    before = live.items()

    assert disaster.restored("--guests") == counts(present=1)
    assert live.items() == before


def test_given_a_guest_linked_later_and_lost_when_restored_then_it_is_permanent(
    disaster: Disaster,
) -> None:
    """Otherwise a login with the identity would find a user that does not list it."""
    live = disaster.live
    body = live.log_in()
    disaster.back_up()
    link(live, body, "custom-token", "ada")
    linked = stored_user(live, body["user_id"])
    disaster.lose("USER#")

    assert disaster.restored() == counts(restored=1)
    user = stored_user(live, body["user_id"])
    assert user.identities == linked.identities
    assert (user.anonymous, user.expires_at, user.sessions) == (False, None, {})
    assert "ttl" not in (live.user_item(user.id) or {"ttl": 1})


def test_given_an_identity_that_another_user_has_when_restored_then_that_user_wins(
    disaster: Disaster,
) -> None:
    live = disaster.live
    ada = log_in_linked(live)
    link(live, ada, "oauth2-google", "ada@example.com")
    disaster.back_up()
    disaster.lose_users()
    other = log_in_linked(live)
    before = live.items("IDENT#")

    told = disaster.restore("--yes", "--json")

    (conflict,) = printed(told)["conflicts"]
    assert conflict == {
        "app": APP,
        "uid": ada["user_id"],
        "provider": "custom-token",
        "id": "ada",
        "reason": "another user has it",
    }
    assert f"user {ada['user_id']} of app {APP} does not get back" in told.stderr
    assert [i.provider for i in stored_user(live, ada["user_id"]).identities] == [
        "anon-user",
        "oauth2-google",
    ]
    record = stored_record(live, "custom-token", "ada")
    assert record is not None
    assert record.user_id == other["user_id"]
    assert before.items() <= live.items("IDENT#").items()


def test_given_a_user_whose_only_identity_is_taken_when_restored_then_it_is_not(
    disaster: Disaster,
) -> None:
    live = disaster.live
    log_in_linked(live)
    disaster.back_up()
    disaster.lose_users()
    log_in_linked(live)
    before = live.items()

    told = disaster.restored()

    assert len(told.pop("conflicts")) == 1
    assert told == counts(unreachable=1)
    assert live.items() == before


def test_given_a_record_that_is_lost_when_restored_then_its_live_user_gets_it_back(
    disaster: Disaster,
) -> None:
    live = disaster.live
    body = log_in_linked(live)
    before = live.items()
    disaster.back_up()
    disaster.lose("IDENT#")

    assert disaster.restored() == counts(completed=1)
    assert live.items() == before
    assert disaster.renews(body)


def event(kind: str, uid: str, at: Any, **fields: Any) -> dict[str, Any]:
    """Return an event as EventBridge replays it to a target."""
    return {
        "version": "0",
        "source": "anonauth",
        "detail-type": kind,
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "replay-name": "restore",
        "detail": {"app": APP, "uid": uid, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}"},
        **fields,
    }


def merge_event(guest_id: str, owner_id: str, at: datetime) -> dict[str, Any]:
    merged = event("user.merged", guest_id, at)
    merged["detail"]["into"] = owner_id
    return merged


def merge(live: Deployment, owner: dict[str, Any], guest: dict[str, Any]) -> None:
    """Merge a guest into a user, as a login with `merge` does."""
    user, merged = (stored_user(live, each["user_id"]) for each in (owner, guest))
    (old,), (own,) = user.sessions.values(), merged.sessions.values()
    session = replace(old, id=secrets.token_hex(12), token_hash=secrets.token_hex())
    store = live.services.store
    assert store.absorb_guest(user, session, [], merged, own, live.now)


def assert_merged(
    live: Deployment, owner: dict[str, Any], guest: dict[str, Any]
) -> None:
    """The guest is gone and its owner lists it, as design.md §4.7 has it."""
    guest_id, owner_id = guest["user_id"], owner["user_id"]
    assert live.user_item(guest_id) is None
    assert stored_user(live, owner_id).former_ids == (guest_id,)
    mark = live.items("GONE#")[f"GONE#{APP}#{guest_id}"]
    assert (mark["into"]["S"], mark.get("ttl")) == (owner_id, None)


@pytest.mark.parametrize(
    ("lost", "tells"),
    [
        pytest.param(("USER#", "IDENT#"), False, id="marks kept"),
        pytest.param(("USER#", "IDENT#", "GONE#"), True, id="archived"),
    ],
)
def test_given_a_merge_after_the_backup_when_restored_then_the_owner_lists_the_guest(
    disaster: Disaster, tmp_path: Path, lost: tuple[str, ...], *, tells: bool
) -> None:
    live = disaster.live
    guest, owner = live.log_in(), log_in_linked(live)
    disaster.back_up()
    merge(live, owner, guest)
    disaster.lose(*lost)
    archive = tmp_path / "events.jsonl"
    archived = merge_event(guest["user_id"], owner["user_id"], live.now)
    archive.write_text(json.dumps(archived))

    disaster.restored("--guests", *(["--events", str(archive)] if tells else []))

    assert_merged(live, owner, guest)


def test_given_a_lost_mark_when_restored_then_a_guest_that_is_listed_stays_gone(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest, owner = live.log_in(), log_in_linked(live)
    disaster.back_up()
    merge(live, owner, guest)
    disaster.lose("GONE#")

    assert disaster.restored("--guests") == counts(present=1, gone=1)

    assert live.user_item(guest["user_id"]) is None
    assert stored_user(live, owner["user_id"]).former_ids == (guest["user_id"],)


def test_given_a_guest_that_is_back_when_its_owner_is_restored_then_it_is_not_listed(
    disaster: Disaster,
) -> None:
    """The guest came back from an older backup."""
    live = disaster.live
    guest, owner = live.log_in(), log_in_linked(live)
    item = live.user_item(guest["user_id"])
    assert item is not None
    merge(live, owner, guest)
    disaster.back_up()
    disaster.lose("USER#", "IDENT#", "GONE#")
    disaster.db.put_item(TableName=TABLE, Item=item)

    assert disaster.restored("--guests") == counts(restored=1)

    assert stored_user(live, owner["user_id"]).former_ids == ()
    assert not live.items("GONE#")


def test_given_archived_deletions_when_restored_then_these_users_stay_gone(
    disaster: Disaster, tmp_path: Path
) -> None:
    live = disaster.live
    stays, left, merged = live.log_in(), live.log_in(), live.log_in()
    gone = log_in_linked(live)
    disaster.back_up()
    disaster.lose_users()
    archive = tmp_path / "events.jsonl"
    events = [
        event("user.created", stays["user_id"], live.now),
        event("user.deleted", left["user_id"], live.now),
        merge_event(merged["user_id"], gone["user_id"], live.now),
        event("user.deleted", gone["user_id"], live.now),
        event("user.deleted", stays["user_id"], live.now, source="other"),
        event("user.deleted", stays["user_id"], live.now + HOUR),
    ]
    archive.write_text("".join(f"{json.dumps(each)}\n" for each in events))
    until = f"{live.now:%Y-%m-%dT%H:%M:%SZ}"

    told = disaster.restored("--events", str(archive), "--events-until", until)

    assert told == counts(restored_guest=1, deleted=3)
    assert disaster.renews(stays)
    assert not disaster.renews(merged)
    assert not disaster.renews(left)
    assert not disaster.renews(gone)


def test_given_a_deletion_before_a_user_was_made_when_restored_then_it_comes_back(
    disaster: Disaster, tmp_path: Path
) -> None:
    """Its item was lost once, and came back before the backup."""
    live = disaster.live
    body = live.log_in()
    disaster.back_up()
    disaster.lose_users()
    archive = tmp_path / "events.jsonl"
    earlier = live.now - timedelta(seconds=1)
    archive.write_text(json.dumps(event("user.deleted", body["user_id"], earlier)))

    assert disaster.restored("--events", str(archive)) == counts(restored_guest=1)


def test_given_another_damage_when_restored_again_then_old_deletions_do_not_count(
    disaster: Disaster, tmp_path: Path
) -> None:
    """What the first damage removed looks like a logout in the archive."""
    live = disaster.live
    body = live.log_in()
    disaster.back_up()
    disaster.lose_users()
    disaster.restored("--guests")
    disaster.back_up()
    disaster.lose_users()
    archive = tmp_path / "events.jsonl"
    archive.write_text(
        json.dumps(event("user.deleted", body["user_id"], live.now - HOUR))
    )

    assert disaster.restored("--events", str(archive)) == counts(restored_guest=1)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(
            lambda folder, texts: (folder / "a.jsonl").write_text("\n\n".join(texts)),
            id="empty lines",
        ),
        pytest.param(
            lambda folder, texts: (folder / "a").write_text("".join(texts)),
            id="Firehose, without line breaks",
        ),
        pytest.param(
            lambda folder, texts: (folder / "a.log").write_text(
                "".join(f"2026-11-28T12:00:00.000Z {text}\n" for text in texts)
            ),
            id="CloudWatch Logs",
        ),
        pytest.param(
            lambda folder, texts: [
                (folder / str(n)).mkdir()
                or (folder / str(n) / "a.gz").write_bytes(gzip.compress(text.encode()))
                for n, text in enumerate(texts)
            ],
            id="folders of compressed files",
        ),
    ],
)
def test_given_an_archive_in_any_form_when_read_then_its_deletions_count(
    disaster: Disaster, tmp_path: Path, write: Callable[[Path, list[str]], object]
) -> None:
    live = disaster.live
    guests = [live.log_in() for _ in range(2)]
    disaster.back_up()
    disaster.lose_users()
    texts = [
        json.dumps(event("user.deleted", each["user_id"], live.now)) for each in guests
    ]
    write(tmp_path, texts)

    assert disaster.restored("--events", str(tmp_path)) == counts(deleted=2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "no events of anonauth in {}", id="empty"),
        pytest.param(
            json.dumps(event("user.deleted", "u", utc_now(), source="aws.ec2")),
            "no events of anonauth in {}",
            id="of others",
        ),
        pytest.param(
            "\nno event", "{}, line 2: not an event of EventBridge", id="no JSON"
        ),
        pytest.param("[1]", "{}, line 1: not an event of EventBridge", id="no object"),
        pytest.param("{}", "{}, line 1: not an event of EventBridge", id="no source"),
        pytest.param('{"a', "{}, line 1: not an event of EventBridge", id="cut off"),
        pytest.param(
            json.dumps(event("user.deleted", "u", utc_now(), detail={"at": "now"})),
            "{}, line 1: not an event of EventBridge",
            id="no time",
        ),
        pytest.param(
            json.dumps(event("user.deleted", "u", utc_now(), detail=[])),
            "{}, line 1: not an event of EventBridge",
            id="no detail",
        ),
    ],
)
def test_given_no_archive_when_read_then_it_says_so_and_nothing_is_written(
    text: str, told: str, tmp_path: Path
) -> None:
    archive = tmp_path / "events.jsonl"
    archive.write_text(text)

    result = CliRunner().invoke(
        app,
        ["restore", "--from", BACKUP, "--table", TABLE, "--events", str(archive)],
    )

    assert problem(result) == told.format(archive)


def test_given_an_archive_that_is_missing_when_read_then_it_says_so(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "missing"

    result = CliRunner().invoke(
        app,
        ["restore", "--from", BACKUP, "--table", TABLE, "--events", str(missing)],
    )

    assert problem(result) == f"cannot read {missing}: No such file or directory"


def test_given_only_later_events_when_read_then_it_says_so(tmp_path: Path) -> None:
    archive = tmp_path / "events.jsonl"
    archive.write_text(json.dumps(event("user.deleted", "u", utc_now())))

    result = CliRunner().invoke(
        app,
        [
            *["restore", "--from", BACKUP, "--table", TABLE],
            *["--events", str(archive), "--events-until", "2026-01-01"],
        ],
    )

    assert problem(result) == f"no events of anonauth in {archive} up to that time"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param("missing", "no table 'missing' in eu-central-1", id="missing"),
        pytest.param(TABLE, f"'{TABLE}' is the live table itself", id="the live one"),
        pytest.param(
            "foreign", "table 'foreign' is not a table of anonauth", id="other"
        ),
    ],
)
def test_given_a_table_that_is_no_backup_when_restored_then_it_is_refused(
    live: Deployment, db: DynamoDBClient, source: str, told: str
) -> None:
    if source == "foreign":
        db.create_table(
            TableName=source,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    result = CliRunner().invoke(
        app,
        [
            *["restore", "--from", source, "--table", TABLE],
            *["--kms-key", live.services.settings.kms_key_id],
        ],
    )

    assert problem(result) == told
    if source == "foreign":
        db.delete_table(TableName=source)


def test_given_a_table_without_a_kms_key_when_restored_then_it_asks_for_one(
    live: Deployment,
) -> None:
    result = CliRunner().invoke(app, ["restore", "--from", BACKUP, "--table", TABLE])

    assert problem(result).startswith("--table needs --kms-key too")


def test_given_a_time_without_events_when_restored_then_the_command_line_is_wrong() -> (
    None
):
    result = CliRunner().invoke(
        app,
        ["restore", "--from", BACKUP, "--table", TABLE, "--events-until", "2026-01-01"],
    )

    assert result.exit_code == 2
    assert "--events-until needs --events" in result.stderr


# The key ring


def kids(store: Store, use: str) -> list[str]:
    ring = store.load_ring()
    assert ring is not None
    return [key.kid for key in ring.keys if key.use == use]


def test_given_no_live_ring_when_restored_then_new_keys_sign_and_guests_stay(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest, ada = live.log_in(), log_in_linked(live)
    disaster.back_up()
    disaster.lose("")
    before = kids(disaster.backup, "access")

    told = disaster.restored("--guests")

    (former,) = kids(disaster.backup, "refresh")
    assert told == counts(restored=1, restored_guest=1, refresh_keys=[former])
    store = live.services.store
    assert not set(kids(store, "access")) & set(before)
    assert disaster.renews(guest)
    assert not disaster.renews(ada)
    live.restart()
    assert live.send(PROFILE, token=guest["access_token"]).status == 401
    ring = store.load_ring()
    assert ring is not None
    signer = ring.signing_key("refresh", live.now + HOUR)
    assert signer is not None
    assert signer.kid != former


def test_given_a_ring_of_a_new_deployment_when_restored_then_the_old_key_verifies(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest = live.log_in()
    disaster.back_up()
    disaster.lose("")
    live.restart()
    live.rotate()
    new = live.log_in()
    before = kids(live.services.store, "access")
    (own,) = kids(live.services.store, "refresh")
    (former,) = kids(disaster.backup, "refresh")

    told = disaster.restored("--guests")

    assert told == counts(restored_guest=1, refresh_keys=[former])
    assert kids(live.services.store, "access") == before
    assert disaster.renews(guest)
    assert disaster.renews(new)
    ring = live.services.store.load_ring()
    assert ring is not None
    signer = ring.signing_key("refresh", live.now)
    assert signer is not None
    assert signer.kid == own
    # A second run has nothing to take over.
    assert disaster.restored("--guests") == counts(present=1)


def test_given_a_clock_behind_a_new_ring_when_restored_then_nothing_is_written(
    disaster: Disaster,
) -> None:
    live = disaster.live
    disaster.back_up()
    disaster.lose("")
    live.now += timedelta(days=1)
    live.restart()
    live.rotate()
    before = live.items()

    assert "later than this machine's clock says" in problem(disaster.restore("--yes"))
    assert live.items() == before


def test_given_the_same_ring_when_restored_then_a_revoked_key_stays_revoked(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest = live.log_in()
    disaster.back_up()
    (revoked,) = kids(live.services.store, "refresh")
    _revoke(disaster, revoked)
    disaster.lose_users()
    before = live.items("KEY#")

    result = disaster.restore("--yes", "--json", "--guests")

    assert printed(result)["guest_left_out"] == 1
    assert f"key {revoked} was revoked after the backup" in result.stderr
    assert "Guests stay out all the same" in result.stderr
    assert live.items("KEY#") == before
    assert not disaster.renews(guest)


def _revoke(disaster: Disaster, kid: str) -> None:
    revoked = CliRunner().invoke(
        app,
        [
            *["keys", "revoke", kid, "--yes"],
            *["--table", TABLE, "--kms-key", disaster.key_id],
        ],
    )
    assert revoked.exit_code == 0, revoked


def test_given_a_revoked_access_key_when_restored_then_its_tokens_stay_refused(
    disaster: Disaster,
) -> None:
    live = disaster.live
    guest = live.log_in()
    disaster.back_up()
    _revoke(disaster, kids(live.services.store, "access")[0])
    disaster.lose_users()

    assert disaster.restored("--guests") == counts(restored_guest=1)
    assert disaster.renews(guest)
    assert live.send(PROFILE, token=guest["access_token"]).status == 401


def test_given_a_lost_kms_key_when_restored_then_it_says_so_and_goes_on_without(
    disaster: Disaster,
) -> None:
    live = disaster.live
    live.log_in()
    ada = log_in_linked(live)
    disaster.back_up()
    disaster.lose("")
    item = live.db.get_item(TableName=BACKUP, Key={"pk": {"S": "KEY#ring"}})["Item"]
    (key,) = [k for k in item["keys"]["L"] if k["M"]["use"]["S"] == "refresh"]
    lost = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    wrapped: Any = key["M"]["wrapped"]["B"]
    key["M"]["wrapped"]["B"] = lost.encode() + wrapped[len(lost) :]
    live.db.put_item(TableName=BACKUP, Item=item)

    result = disaster.restore("--yes", "--json", "--guests")

    body = printed(result)
    assert (body["restored"], body["guest_left_out"]) == (1, 1)
    assert body["refresh_keys"] == []
    assert "cannot be decrypted (InvalidCiphertext)" in result.stderr
    assert "Guests stay out all the same" in result.stderr
    live.restart()
    open_session(live, ada["user_id"], "custom-token", "ada")
    assert live.log_in()


def test_given_a_backup_without_a_ring_when_restored_then_guests_stay_out(
    disaster: Disaster,
) -> None:
    disaster.live.log_in()
    disaster.back_up()
    disaster.lose_users()
    disaster.db.delete_item(TableName=BACKUP, Key={"pk": {"S": "KEY#ring"}})

    assert disaster.restored("--guests") == counts(guest_left_out=1)


def test_given_an_item_that_cannot_be_read_when_restored_then_the_others_are(
    disaster: Disaster,
) -> None:
    log_in_linked(disaster.live)
    disaster.back_up()
    disaster.db.put_item(
        TableName=BACKUP,
        Item={"pk": {"S": f"USER#{APP}#broken"}, "state": {"S": "active"}},
    )
    disaster.lose_users()

    result = disaster.restore("--yes")

    assert result.exit_code == 1
    assert str(result.exception) == (
        "items that could not be read: 1; they are left out, and all others are "
        "restored"
    )
    assert "1  permanent users" in result.stdout
    assert len(disaster.live.items("USER#")) == 1


def test_given_a_stack_when_restored_then_its_outputs_name_the_rest(
    disaster: Disaster,
) -> None:
    body = log_in_linked(disaster.live)
    disaster.back_up()
    disaster.lose_users()
    stacks = boto3.client("cloudformation")
    template = template_with_outputs(TableName=TABLE, RingKeyArn=disaster.key_id)
    stacks.create_stack(StackName="restoring", TemplateBody=template)

    result = CliRunner().invoke(
        app, ["restore", "--from", BACKUP, "--stack", "restoring", "--yes", "--json"]
    )

    stacks.delete_stack(StackName="restoring")
    assert printed(result)["restored"] == 1
    assert f"to stack 'restoring', table '{TABLE}' in eu-central-1" in result.stderr
    assert stored_user(disaster.live, body["user_id"])


@pytest.mark.parametrize(
    ("code", "operation"),
    [
        pytest.param("KMSInternalException", "Decrypt", id="trouble that may pass"),
        pytest.param("AccessDeniedException", "Encrypt", id="no live KMS key"),
    ],
)
def test_given_kms_that_refuses_for_another_reason_when_restored_then_it_ends(
    disaster: Disaster, code: str, operation: str
) -> None:
    """A refresh key that is only out of reach for now must not be given up."""
    disaster.live.log_in()
    disaster.back_up()
    disaster.lose("")
    refused = botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": "injected"}}, operation
    )

    def refuse(**_: Any) -> None:
        raise refused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KmsBackend, operation.lower(), lambda *_, **__: refuse())
        result = disaster.restore("--yes", "--guests")

    assert f"{operation}: {code.removesuffix('Exception')}" in problem(result)
    assert disaster.live.items() == {}
