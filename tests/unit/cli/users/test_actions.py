"""`anonauth users`: find, show, log out and delete the user who wrote in."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.cli.users.actions import UserList
from anonauth.domain.encoding import hash_secret, identity_key, rfc3339
from anonauth.domain.identities import IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.users import ApiKey, Device, User
from anonauth.email_addresses import EmailSyntax
from anonauth.local.command_error import CommandError
from anonauth.local.server import LocalServer
from anonauth.store import Store
from anonauth.wiring import utc_now
from support.contracts.identity_contract import a_foreign_identity
from support.contracts.merge_contract import a_user_with_guests, absorb
from support.contracts.store_contract import (
    DAY,
    a_guest,
    a_permanent_user,
    a_session,
    only_session,
)
from support.service.calls import call, log_in
from support.service.command import run_on_terminal
from support.service.command_results import printed, problem
from support.service.harness import APP, OTHER_APP, TABLE, Deployment
from support.service.stacks import template_with_outputs
from support.service.story import Story

ADA = "Ada@Example.com"
THERE = ["--table", TABLE, "--app", APP]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["users", *arguments])


def a_record(**fields: Any) -> IdentityRecord:
    key = identity_key(EmailSyntax().normalise(ADA))
    record = IdentityRecord(
        app=APP,
        provider=USERPASS,
        key=key,
        id="account-1",
        state="confirmed",
        data={"email": ADA},
        password_hash="$argon2id$secret",
        expires_at=utc_now() + DAY,
    )
    return replace(record, **fields)


def hashes(user: User) -> list[str]:
    """Return all hashes of a user, which no output may show."""
    return [
        "$argon2id",
        *[session.token_hash for session in user.sessions.values()],
        *[i.key for i in user.identities if i.provider == USERPASS],
        *[key.hash for key in user.api_keys.values()],
    ]


class _Terminal:
    """The input of a terminal, as far as a question needs it."""

    def isatty(self) -> bool:
        return True


def stored(store: Store, user: User) -> User:
    found = store.get_user(user.app, user.id)
    assert found is not None
    return found


@pytest.fixture
def ada(store: Store) -> User:
    """A user with an e-mail address, an API key, and a session of each kind."""
    now = utc_now()
    store.register(a_record(), now)
    record = store.get_identity(APP, USERPASS, a_record().key)
    assert record is not None
    guest = a_guest(now)
    session = replace(
        only_session(guest), device=Device("d" * 24, {"platform": "node\x1b[2J"})
    )
    guest = replace(guest, sessions={session.id: session})
    store.create_user(guest)
    identity = VerifiedIdentity(USERPASS, record.key, record.id, record.data, record)
    assert store.link_identity(guest, session, identity, now, expires_at=now + 60 * DAY)
    user = stored(store, guest)
    key = ApiKey("k" * 24, "ci", hash_secret("key"), now)
    assert store.create_api_key(user, only_session(user), key, now)
    by_key = replace(a_session(now), provider=API_KEY, identity_key=key.hash)
    assert store.open_session(stored(store, guest), by_key, [], now)
    return stored(store, guest)


def test_given_a_user_when_shown_then_all_of_it_that_is_not_secret(ada: User) -> None:
    result = run("show", ada.id, *THERE, "--json")

    body = printed(result)
    assert (body["app"], body["uid"]) == (APP, ada.id)
    assert (body["anonymous"], body["expires_at"], body["expired"]) == (
        False,
        None,
        False,
    )
    assert body["last_active_day"] == ada.last_active_day.isoformat()
    assert body["identities"] == [
        {"provider": "anon-user", "id": "i-x", "data": {}},
        {"provider": USERPASS, "id": "account-1", "data": {"email": ADA}},
    ]
    assert {s["provider"]: s["live"] for s in body["sessions"]} == {
        "anon-user": True,
        API_KEY: True,
    }
    of_guest = next(s for s in body["sessions"] if s["provider"] == "anon-user")
    assert of_guest["device"] == {"id": "d" * 24, "info": {"platform": "node\x1b[2J"}}
    assert [(k["id"], k["name"], k["disabled"]) for k in body["api_keys"]] == [
        ("k" * 24, "ci", False)
    ]
    assert not [each for each in hashes(ada) if each in result.stdout]


def test_given_a_user_when_shown_to_people_then_no_stranger_steers_the_terminal(
    ada: User,
) -> None:
    told = run("show", ada.id, *THERE).stdout

    assert told.startswith(f"user {ada.id} of app {APP}\n  permanent\n")
    assert "(email: Ada@Example.com)" in told
    assert "sessions: 2" in told
    assert r"platform: node\x1b[2J" in told
    assert "\x1b" not in told
    assert f"{'k' * 24}  ci, created 2" in told
    assert not [each for each in hashes(ada) if each in told]


def test_given_a_user_with_merged_guests_when_shown_then_their_ids(
    store: Store,
) -> None:
    user = a_user_with_guests(store, 2)

    body = printed(run("show", user.id, *THERE, "--json"))
    told = run("show", user.id, *THERE).stdout

    assert body["former_ids"] == list(user.former_ids)
    first, second = user.former_ids
    heading = "guests merged into it, the newest last: 2"
    assert f"\n{heading}\n  {first}\n  {second}\nidentities: 2\n" in told


def test_given_a_user_without_merged_guests_when_shown_then_no_word_of_them(
    ada: User,
) -> None:
    assert "former_ids" not in printed(run("show", ada.id, *THERE, "--json"))
    assert "merged" not in run("show", ada.id, *THERE).stdout


@pytest.mark.parametrize(
    "command", [["show"], ["delete", "--yes"], ["delete"], ["revoke", "--yes"]]
)
def test_given_a_merged_guest_when_named_then_it_says_into_which_user(
    store: Store, command: list[str]
) -> None:
    user = a_user_with_guests(store, 1)
    (guest_id,) = user.former_ids

    told = problem(run(*command, guest_id, *THERE))

    assert told == (
        f"user '{guest_id}' of app '{APP}' was a guest, and was merged into user "
        f"'{user.id}'"
    )
    assert stored(store, user) == user


def test_given_a_merged_guest_when_shown_as_json_then_the_id_of_its_user(
    store: Store,
) -> None:
    user = a_user_with_guests(store, 1)
    (guest_id,) = user.former_ids

    result = run("show", guest_id, *THERE, "--json")

    assert result.exit_code == 1
    assert isinstance(result.exception, CommandError)
    assert json.loads(result.stdout) == {
        "app": APP,
        "uid": guest_id,
        "merged_into": user.id,
    }


def test_given_a_user_that_was_deleted_on_request_when_shown_then_it_is_unknown(
    store: Store, ada: User
) -> None:
    assert store.delete_user(ada, None, utc_now())

    told = problem(run("show", ada.id, *THERE, "--json"))

    assert told == f"no user '{ada.id}' in app '{APP}'"


@pytest.mark.parametrize(
    ("age", "state"),
    [
        pytest.param(timedelta(), "anonymous; expires at ", id="new"),
        pytest.param(200 * DAY, "anonymous; expired at ", id="expired"),
    ],
)
def test_given_a_guest_when_shown_then_it_says_when_it_expires(
    store: Store, age: timedelta, state: str
) -> None:
    guest = a_guest(utc_now() - age)
    store.create_user(guest)

    body = printed(run("show", guest.id, *THERE, "--json"))
    told = run("show", guest.id, *THERE).stdout

    assert guest.expires_at is not None
    end = f"{guest.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    assert (body["expires_at"], body["expired"]) == (end, age > DAY)
    assert f"  {state}{end}" in told


@pytest.mark.parametrize(
    "spelling", [ADA, "ada@example.com", "ADA@EXAMPLE.COM", " ada@example.com\n"]
)
def test_given_an_address_when_shown_then_whose_it_is(ada: User, spelling: str) -> None:
    body = printed(run("show", "--email", spelling, *THERE, "--json"))

    assert body["uid"] == ada.id


def test_given_a_domain_in_punycode_when_shown_then_it_is_the_same(
    store: Store,
) -> None:
    address = "ada@b\u00fccher.example"
    key = EmailSyntax().normalise(address)
    assert store.register(replace(a_record(), key=identity_key(key)), utc_now())

    line = problem(run("show", "--email", "ada@xn--bcher-kva.example", *THERE))

    assert "is registered and confirmed, but no user has it yet" in line


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(None, f"no user has registered {ADA} in app '{APP}'", id="nobody"),
        pytest.param(
            {"expires_at": utc_now() - DAY},
            f"no user has registered {ADA} in app '{APP}'; an earlier registration "
            "ended at ",
            id="registered too long ago",
        ),
        pytest.param(
            {},
            f"{ADA} is registered and confirmed, but no user has it yet: unless "
            "it is used, it ends by itself at ",
            id="no user",
        ),
        pytest.param(
            {"state": "pending"},
            f"{ADA} is registered and pending, but no user has it yet: unless "
            "it is used, it ends by itself at ",
            id="pending",
        ),
    ],
)
def test_given_an_address_of_no_user_when_shown_then_it_says_what_it_is(
    store: Store, db: DynamoDBClient, fields: dict[str, Any] | None, message: str
) -> None:
    """The message says when the record of the address ends."""
    end = ""
    if fields is not None:
        record = a_record(**fields)
        assert store.register(record, utc_now() - 2 * DAY)
        (item,) = db.scan(TableName=TABLE)["Items"]
        assert record.expires_at is not None
        ttl = datetime.fromtimestamp(int(item["ttl"]["N"]), UTC)
        end = (
            f"{rfc3339(record.expires_at)}, and DynamoDB deletes its record after "
            f"{rfc3339(ttl)}, usually within days"
        )

    line = problem(run("show", "--email", ADA, *THERE))

    assert line == message + end


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(
            ["show"], 2, "give either a user's id or --email", id="nobody named"
        ),
        pytest.param(
            ["show", "u", "--email", "e"], 2, "give either a", id="named twice"
        ),
        pytest.param(["list", "--limit", "0"], 2, "--limit", id="none wanted"),
        pytest.param(
            ["list", "--created-after", "yesterday"],
            2,
            "Invalid value for '--created-after': 'yesterday' is not a date such as "
            "2026-11-01 or 2026-11-01T12:00:00Z",
            id="no date",
        ),
        pytest.param(
            ["list", "--created-after", "2026-11-01T12:00:00"],
            2,
            "is not a date such as 2026-11-01",
            id="no zone",
        ),
        pytest.param(
            ["list", "--anonymous", "--permanent"], 2, "give either", id="no users"
        ),
        pytest.param(["export"], 2, "FILE", id="no file"),
        pytest.param(["export", "-"], 2, "give the name of a file", id="a pipe"),
        pytest.param(
            ["export", "f", "--segments", "99"], 2, "--segments", id="segments"
        ),
        pytest.param(["delete", "u"], 1, "which deployment?", id="no deployment"),
        pytest.param(
            ["show", "u", "--table", TABLE],
            1,
            "which app? Give --app ID. A table does not name its apps; "
            "`anonauth users list` shows them",
            id="no app",
        ),
        pytest.param(
            ["show", "u", *THERE], 1, f"no user 'u' in app '{APP}'", id="show"
        ),
        pytest.param(["delete", "u", *THERE], 1, "no user 'u'", id="delete"),
        pytest.param(["revoke", "u", *THERE], 1, "no user 'u'", id="revoke"),
        pytest.param(
            ["list", "--table", "none-such"], 1, "no table 'none-such'", id="no table"
        ),
        pytest.param(
            ["show", "\x1b[2J", *THERE], 1, r"no user '\x1b[2J'", id="no user at all"
        ),
    ],
)
def test_given_what_cannot_work_when_run_then_the_exit_code_is_as_documented(
    table: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    result = run(*arguments)

    assert result.exit_code == code
    told = _unboxed(result.stderr) if code == 2 else problem(result)
    assert message in told
    assert list(tmp_path.iterdir()) == []


def _unboxed(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def stack(table: str, key_id: str) -> Iterator[list[str]]:
    """The options that name a stack with two apps and a table."""
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName="anonauth",
        TemplateBody=template_with_outputs(
            TableName=table, RingKeyArn=key_id, ClientAppIds=f"{APP},{OTHER_APP}"
        ),
    )
    yield ["--stack", "anonauth"]
    client.delete_stack(StackName="anonauth")


def test_given_a_stack_of_two_apps_when_none_is_named_then_it_asks_for_one(
    stack: list[str], ada: User
) -> None:
    line = problem(run("show", ada.id, *stack))
    body = printed(run("show", ada.id, *stack, "--app", APP, "--json"))

    assert line == f"which app? Give --app ID. It is one of {APP}, {OTHER_APP}"
    assert body["uid"] == ada.id


def test_given_a_stack_of_one_app_when_none_is_named_then_it_is_that(
    table: str, key_id: str, ada: User
) -> None:
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName="single",
        TemplateBody=template_with_outputs(
            TableName=table, RingKeyArn=key_id, ClientAppIds=APP
        ),
    )

    body = printed(run("show", ada.id, "--stack", "single", "--json"))
    client.delete_stack(StackName="single")

    assert body["app"] == APP


def test_given_users_when_listed_then_filters_and_the_limit_hold(store: Store) -> None:
    now = utc_now()
    old, new = a_guest(now - 40 * DAY), a_guest(now)
    other = replace(a_guest(now), app=OTHER_APP)
    linked = replace(a_permanent_user(), created_at=now)
    for user in (old, new, other, linked):
        store.create_user(user)
    there = ["list", "--table", TABLE, "--json"]
    week = f"{now - 7 * DAY:%Y-%m-%d}"
    second = f"{now:%Y-%m-%dT%H:%M:%SZ}"

    def ids(*options: str) -> set[str]:
        return {user["uid"] for user in printed(run(*there, *options))["users"]}

    assert ids("--permanent") == {linked.id}
    assert ids("--anonymous", "--app", OTHER_APP) == {other.id}
    assert ids("--created-after", week) == {new.id, other.id, linked.id}
    assert ids("--created-after", second) == {new.id, other.id, linked.id}
    assert ids("--created-after", second, "--anonymous") == {new.id, other.id}
    limited = printed(run(*there, "--limit", "3"))
    assert (len(limited["users"]), limited["more"]) == (3, True)
    whole = printed(run(*there, "--limit", "4"))
    assert (len(whole["users"]), whole["more"], whole["items_read"]) == (4, False, 4)


def test_given_users_when_listed_for_people_then_it_says_what_it_cost(
    store: Store, ada: User
) -> None:
    expired = a_guest(utc_now() - 200 * DAY)
    store.create_user(expired)

    result = run("list", "--table", TABLE)

    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines()[2:]}
    assert rows[ada.id][1:3] == [APP, "permanent"]
    assert rows[ada.id][-2:] == ["anon-user,", USERPASS]
    assert rows[expired.id][2] == "expired"
    assert result.stderr == (
        "users: 2; read 4 items of the table: 1 read unit, less than a cent\n"
    )


def test_given_an_item_that_is_none_of_ours_when_listed_then_it_is_told(
    ada: User, db: DynamoDBClient
) -> None:
    pk = f"USER#{APP}#0123"
    item: Any = {"pk": {"S": pk}, "state": {"S": "active"}}
    db.put_item(TableName=TABLE, Item=item)

    result = run("list", "--table", TABLE)
    body = printed(run("list", "--table", TABLE, "--json"))

    assert result.exit_code == 0
    assert result.stderr.splitlines()[1:] == [
        "items that could not be read and are left out: 1"
    ]
    assert ada.id in result.stdout
    assert [user["uid"] for user in body["users"]] == [ada.id]
    assert body["unreadable"] == 1


@pytest.mark.parametrize(
    ("read", "units", "told"),
    [
        pytest.param(0, 0.5, "0 items of the table: 1 read unit,", id="none"),
        pytest.param(1, 0.5, "1 item of the table: 1 read unit,", id="1"),
        pytest.param(9, 1.5, "2 read units, less than a cent", id="a half"),
        pytest.param(9, 79_999, "79,999 read units, less than a cent", id="below"),
        pytest.param(9, 80_000, "80,000 read units, $0.01 on demand", id="a cent"),
        pytest.param(9, 1e10, "10,000,000,000 read units, $1,250.00 on", id="dollars"),
    ],
)
def test_given_a_scan_when_told_of_then_what_it_cost(
    read: int, units: float, told: str
) -> None:
    found = UserList([], utc_now(), more=False, read=read, units=units)

    (note,) = found.notes()
    assert told in note


def test_given_a_user_when_deleted_then_apps_hear_that_it_was_requested(
    service: Deployment,
) -> None:
    story = Story(service)
    guest = a_guest(utc_now())
    service.services.store.create_user(guest)

    body = printed(run("delete", guest.id, *THERE, "--yes", "--json"))
    story.tell()

    assert body == {"deleted": guest.id, "app": APP}
    deleted = story.published()[-1]
    assert deleted["detail-type"] == "user.deleted"
    assert deleted["detail"]["reason"] == "requested"
    assert deleted["detail"]["uid"] == guest.id


def test_given_a_permanent_user_when_deleted_then_nothing_of_it_is_left(
    store: Store, db: DynamoDBClient, ada: User
) -> None:
    result = run("delete", ada.id, *THERE, "--yes")

    assert result.exit_code == 0, result
    assert result.stdout == f"user {ada.id} is deleted\n"
    assert result.stderr.startswith(
        f"In table '{TABLE}' in eu-central-1:\nDeleting\nuser {ada.id} of app {APP}\n"
    )
    assert "(email: Ada@Example.com)" in result.stderr
    assert "reason `requested`" in result.stderr
    left = [item["pk"]["S"] for item in db.scan(TableName=TABLE)["Items"]]
    assert left == [f"GONE#{APP}#{ada.id}"]


@pytest.mark.parametrize("command", ["delete", "revoke"])
def test_given_a_stack_when_a_user_is_to_be_changed_then_where_comes_first(
    stack: list[str], ada: User, command: str
) -> None:
    result = run(command, ada.id, *stack, "--app", APP)

    assert "--yes" in problem(result)
    place = f"stack 'anonauth', table '{TABLE}' in eu-central-1"
    assert result.stderr.splitlines()[0] == f"In {place}:"


@pytest.mark.parametrize("command", ["delete", "revoke"])
def test_given_no_terminal_when_a_user_is_to_be_changed_then_nothing_is(
    store: Store, ada: User, command: str
) -> None:
    assert "--yes" in problem(run(command, ada.id, *THERE))

    assert stored(store, ada) == ada


def test_given_a_user_that_changes_while_it_is_shown_when_deleted_then_it_stays(
    store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user changes while the question waits for an answer."""

    class Terminal(_Terminal):
        def readline(self) -> str:
            now = utc_now()
            session = next(
                s for s in ada.sessions.values() if s.provider == "anon-user"
            )
            assert store.link_identity(
                ada, session, a_foreign_identity(), now, expires_at=now + DAY
            )
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(
        CommandError, match="has changed while it was shown, and was not"
    ):
        app(["users", "delete", ada.id, *THERE], standalone_mode=False)

    assert len(stored(store, ada).identities) == len(ada.identities) + 1


def test_given_a_guest_that_is_merged_while_it_is_shown_when_deleted_then_it_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = a_user_with_guests(store, 0)
    guest = a_guest(utc_now())
    store.create_user(guest)

    class Terminal(_Terminal):
        def readline(self) -> str:
            assert absorb(store, user, guest)
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(CommandError, match=f"was merged into user '{user.id}'"):
        app(["users", "delete", guest.id, *THERE], standalone_mode=False)

    assert stored(store, user).former_ids == (guest.id,)


def test_given_keys_that_go_while_it_is_shown_when_deleted_then_it_is_gone(
    store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client with a session cannot prevent the deletion by changing API keys."""

    class Terminal(_Terminal):
        def readline(self) -> str:
            key = ada.api_keys["k" * 24]
            session = next(
                s for s in ada.sessions.values() if s.provider == "anon-user"
            )
            assert store.delete_api_key(ada, session, key, utc_now())
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Terminal())
    app(["users", "delete", ada.id, *THERE], standalone_mode=False)

    assert store.get_user(APP, ada.id) is None


def test_given_an_expired_guest_when_deleted_then_it_says_that_dynamodb_does(
    store: Store,
) -> None:
    guest = a_guest(utc_now() - 200 * DAY)
    store.create_user(guest)

    line = problem(run("delete", guest.id, *THERE, "--yes"))

    assert line.startswith(f"user {guest.id} has expired: ")
    assert stored(store, guest).id == guest.id


def test_given_a_permanent_user_when_revoked_then_only_its_sessions_end(
    store: Store, ada: User
) -> None:
    result = run("revoke", ada.id, *THERE, "--yes", "--json")

    assert printed(result) == {"revoked": ada.id, "app": APP, "sessions": 2}
    assert "AccessTokenMinutes at most" in result.stderr
    assert "API keys stay" in result.stderr
    after = stored(store, ada)
    assert after == replace(ada, sessions={}, version=ada.version + 1)


def test_given_a_user_without_sessions_when_revoked_then_it_does_not_ask(
    store: Store, ada: User
) -> None:
    assert run("revoke", ada.id, *THERE, "--yes").exit_code == 0
    before = stored(store, ada)

    result = run("revoke", ada.id, *THERE)
    body = printed(run("revoke", ada.id, *THERE, "--json"))

    assert result.exit_code == 0, result
    assert result.stdout == f"user {ada.id} has no sessions; nothing was changed\n"
    assert result.stderr == ""
    assert body == {"revoked": ada.id, "app": APP, "sessions": 0}
    assert stored(store, ada) == before


def test_given_a_guest_when_revoked_then_it_names_delete(store: Store) -> None:
    guest = a_guest(utc_now())
    store.create_user(guest)

    line = problem(run("revoke", guest.id, *THERE, "--yes"))

    assert f"To delete it, run `anonauth users delete {guest.id}`" in line
    assert len(stored(store, guest).sessions) == 1


@pytest.mark.long
def test_given_a_local_service_when_a_user_is_deleted_then_it_asks_first() -> None:
    """Run as a shell runs it, and answered with no and yes."""
    with LocalServer(app_ids=(APP,), aws_port=0) as server:
        there = ["--app", APP, "--endpoint-url", str(server.aws_url)]
        guest = log_in(server.base_url)
        said_no = run_on_terminal(
            "users", "delete", guest["user_id"], *there, answer="n\n"
        )
        still = printed(run("show", guest["user_id"], *there, "--json"))
        said_yes = run_on_terminal(
            "users", "delete", guest["user_id"], *there, answer="y\n"
        )
        refused = call(
            server.base_url,
            "POST",
            "/api/client/v2.0/auth/session",
            token=guest["refresh_token"],
        )
        events = call(server.base_url, "GET", "/_local/events").json()

    assert said_no[0] == 1
    assert f"eu-central-1, at {server.aws_url}:" in said_no[1]
    assert "Delete it? [y/N]: " in said_no[1]
    assert said_no[1].endswith("anonauth: nothing was changed\r\n")
    assert len(still["sessions"]) == 1
    assert said_yes[0] == 0, said_yes[1]
    assert refused.status == 401
    assert events[-1]["detail"]["reason"] == "requested"


def test_given_a_question_when_answered_by_ctrl_c_then_130_and_nothing_changed(
    store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(_Terminal):
        def readline(self) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(SystemExit) as ended:
        app(["users", "delete", ada.id, *THERE])

    assert ended.value.code == 130
    assert stored(store, ada) == ada
