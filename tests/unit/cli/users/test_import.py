"""`anonauth users import`: permanent users of a file keep their ids and identities."""

import json
import os
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import bcrypt
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.cli.table_scan import ParallelScan
from anonauth.cli.users.export import ExportPlan, open_export, write_users
from anonauth.cli.users.import_file import read_arrays, read_lines
from anonauth.cli.users.import_forms import ImportForm
from anonauth.cli.users.import_run import ImportCounts, ImportRun
from anonauth.domain.encoding import identity_key
from anonauth.domain.restoring import RestoreRules
from anonauth.domain.users import User
from anonauth.email_addresses import EmailSyntax
from anonauth.ports import RestoreStore
from anonauth.wiring import utc_now
from support.contracts.identity_contract import (
    a_foreign_identity,
    a_linked_user,
    a_stored_guest,
    a_user_with_account,
)
from support.contracts.merge_contract import a_user_with_guests
from support.contracts.store_contract import NOW
from support.forgery.key_server import KeyServer, Signer
from support.memory_store import MemoryStore
from support.project.pages import block
from support.project.tools import require_tool
from support.service.command_results import printed, problem
from support.service.harness import APP, DELETE, OTHER_APP, TABLE, Deployment
from support.service.linked import log_in_linked, stored_user
from support.service.mailed_accounts import MAIL, MailedAccounts
from support.service.provider_logins import ISSUERS, a_jwt, log_in, profile
from support.service.story import Story, types
from support.service.wire import Fault, Forward, lost_reply, throttled

CLIENT_ID = "web.apps.example.com"
FACEBOOK_APP = "138483919580948"
ADA = "5f0c3b2a1d9e8f7a6b5c4d3e"
EMAIL = "ada@example.com"


def uid(number: int) -> str:
    return f"{0x60000000 + number:08x}{number:016x}"


def old_user(*identities: tuple[str, str], number: int = 0, **more: Any) -> Any:
    """Return a user as the admin API of App Services lists it."""
    return {
        "_id": uid(number) if number else ADA,
        "identities": [
            {"id": subject, "provider_type": provider, "provider_id": "64aa"}
            for provider, subject in identities
        ],
        "type": "normal",
        "creation_date": 1_650_000_000,
        "last_authentication_date": 1_760_000_000,
        "disabled": False,
        "data": {},
        **more,
    }


@pytest.fixture
def live(service: Deployment) -> Deployment:
    """A service at the time of this machine, which the command goes by."""
    service.now = utc_now().replace(microsecond=0)
    service.rotate()
    service.restart()
    return service


class Importer:
    def __init__(self, live: Deployment, directory: Path) -> None:
        self.live = live
        self.file = directory / "users.json"

    def write(self, *users: Any) -> None:
        self.file.write_text("".join(json.dumps(each) + "\n" for each in users))

    def run(self, *arguments: str) -> Result:
        command = ["users", "import", str(self.file), "--table", TABLE]
        result = CliRunner().invoke(app, [*command, "--segments", "1", *arguments])
        self.live.now = utc_now().replace(microsecond=0)
        return result

    def imported(self, *arguments: str) -> Any:
        """Import without a question, and return what is not 0 or empty."""
        body = printed(self.run("--yes", "--json", *arguments))
        assert body.pop("file") == str(self.file)
        return {name: value for name, value in body.items() if value}

    def moved(self, *users: Any, options: tuple[str, ...] = ()) -> Any:
        """Import users of App Services."""
        self.write(*users)
        return self.imported("--from", "app-services", "--app", APP, *options)


@pytest.fixture
def importer(live: Deployment, tmp_path: Path) -> Importer:
    return Importer(live, tmp_path)


# -- From App Services -----------------------------------------------------------------


@pytest.fixture(scope="module")
def issuer() -> Iterator[tuple[Signer, str]]:
    """An issuer, and the address of its keys."""
    signer = Signer()
    with KeyServer() as keys:
        yield signer, keys.publish("/keys", {"keys": [signer.jwk()]})


@pytest.fixture
def issued(
    live: Deployment, issuer: tuple[Signer, str]
) -> Callable[[str, str], dict[str, str]]:
    """Turn all providers on; return credentials that prove an id to a provider."""
    signer, keys = issuer
    settings = {
        "custom-token": ISSUERS,
        "oauth2-google": {"client_ids": [CLIENT_ID], "jwks_url": keys},
        "oauth2-apple": {"client_ids": [CLIENT_ID], "jwks_url": keys},
        "oauth2-facebook": {
            "app_id": FACEBOOK_APP,
            "app_secret": "secret",
            "jwks_url": keys,
        },
    }
    live.restart_with({"apps": {APP: settings}}, ALLOW_PRIVATE_ISSUERS="true")
    issuers = {
        "oauth2-google": ("https://accounts.google.com", CLIENT_ID, "id_token"),
        "oauth2-apple": ("https://appleid.apple.com", CLIENT_ID, "id_token"),
        "oauth2-facebook": ("https://www.facebook.com", FACEBOOK_APP, "accessToken"),
    }

    def credential(provider: str, subject: str) -> dict[str, str]:
        if provider == "custom-token":
            return {"token": a_jwt(subject)}
        issuer, audience, field = issuers[provider]
        claims = {"iss": issuer, "aud": audience, "sub": subject, "exp": 4102444800}
        return {field: signer.sign(claims)}

    return credential


@pytest.mark.parametrize(
    ("provider", "subject"),
    [
        pytest.param("oauth2-google", "104857600000000000001", id="Google"),
        pytest.param("oauth2-apple", "001234.5f0c3b2a1d9e8f7a.0815", id="Apple"),
        pytest.param("oauth2-facebook", "10223456789", id="Facebook"),
        pytest.param("custom-token", "auth0|5f0c3b", id="JWT"),
    ],
)
def test_given_a_user_of_app_services_when_imported_then_it_logs_in_under_its_id(
    importer: Importer,
    issued: Callable[[str, str], dict[str, str]],
    provider: str,
    subject: str,
) -> None:
    anonymous = ("anon-user", "5f0c3b2a1d9e8f7a6b5c4d3f-abcdefghijklmnopqrstuvwx")
    user = old_user(anonymous, (provider, subject), data={"name": "Ada"})

    told = importer.moved(user, options=("--issuer", ""))

    assert told == {"applied": True, "imported": 1}
    reply = log_in(importer.live, provider, issued(provider, subject))
    assert reply.status == 200
    assert reply.json["user_id"] == ADA
    stored = stored_user(importer.live, ADA)
    assert [i.provider for i in stored.identities] == ["anon-user", provider]
    assert stored.created_at.timestamp() == 1_650_000_000
    assert stored.restored_at is not None
    assert profile(importer.live, reply.json["access_token"])["user_id"] == ADA


def test_given_a_user_when_imported_then_its_items_are_those_of_a_login(
    importer: Importer, issued: Callable[[str, str], dict[str, str]]
) -> None:
    """The attributes that only an imported user has, and that only a login writes."""
    importer.moved(old_user(("custom-token", "ada")), options=("--issuer", ""))
    (made,) = importer.live.items("USER#").values()
    (record,) = importer.live.items("IDENT#").values()

    log_in(importer.live, "custom-token", issued("custom-token", "eva"))

    users = importer.live.items("USER#")
    (other,) = (item for pk, item in users.items() if pk != made["pk"]["S"])
    assert made.keys() - other.keys() == {"restored_at"}
    assert other.keys() <= made.keys()
    assert made["sessions"] == {"M": {}}
    records = importer.live.items("IDENT#").values()
    assert [each.keys() for each in records] == [record.keys()] * 2


@pytest.mark.parametrize(
    ("user", "told"),
    [
        pytest.param(old_user(("anon-user", "a-1")), {"guest": 1}, id="guest"),
        pytest.param(old_user(), {"guest": 1}, id="no identity"),
        pytest.param(
            old_user(("oauth2-google", "1"), disabled=True),
            {"disabled": 1},
            id="disabled",
        ),
        pytest.param(
            old_user(("api-key", "1"), type="server"),
            {"no_credential": 1, "identities_left_out": 1},
            id="API key",
        ),
        pytest.param(
            old_user(("anon-user", "a"), ("custom-function", "1")),
            {"no_credential": 1, "identities_left_out": 1},
            id="function",
        ),
        pytest.param(
            old_user(("local-userpass", "1")),
            {"no_credential": 1, "identities_left_out": 1},
            id="address unknown",
        ),
    ],
)
def test_given_a_user_that_cannot_log_in_here_when_imported_then_it_is_counted(
    importer: Importer, user: Any, told: dict[str, int]
) -> None:
    before = importer.live.items()

    found = importer.moved(user)

    found.pop("dropped", None)
    assert found == {"applied": True, **told}
    assert importer.live.items() == before


def test_given_an_address_that_may_be_anothers_when_imported_then_it_is_left_out(
    importer: Importer,
) -> None:
    """The user's data are those of all its identities. The address may be Google's."""
    user = old_user(
        ("local-userpass", "1"), ("oauth2-google", "2"), data={"email": EMAIL}
    )

    told = importer.moved(user)

    (left,) = told["dropped"]
    assert (left["provider"], left["uid"]) == ("local-userpass", ADA)
    assert left["reason"] == "the file does not say its address"
    identities = stored_user(importer.live, ADA).identities
    assert [i.provider for i in identities] == ["oauth2-google"]


def test_given_jwts_without_an_issuer_when_imported_then_the_option_is_named(
    importer: Importer,
) -> None:
    importer.write(old_user(("custom-token", "ada")))

    result = importer.run("--from", "app-services", "--app", APP, "--yes")

    assert result.exit_code == 1
    assert "user 1, line 1: it logs in with JWTs: give --issuer" in result.stderr
    assert importer.live.items("USER#") == {}


def test_given_pages_of_the_admin_api_when_downloaded_as_the_page_says_then_all_are_in(
    importer: Importer, tmp_path: Path
) -> None:
    """Each call names the last user of the page before. The second one fails once."""
    users = [old_user(("oauth2-google", str(n)), number=n) for n in range(1, 6)]
    asked: list[str | None] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            after = parse_qs(urlsplit(self.path).query).get("after", [None])[0]
            asked.append(after)
            if len(asked) == 2:
                self.send_error(401)
                return
            left = [user for user in users if user["_id"] > (after or "")]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(left[:2]).encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        text = block("the download of users").replace(
            "https://services.cloud.mongodb.com", f"http://127.0.0.1:{api.server_port}"
        )
        head, loop = text.split("\nwhile ", 1)
        ran = subprocess.run(  # noqa: S603 - the page's own words
            [require_tool("sh"), "-c", f"{head}\nwhile {loop}\nwhile {loop}"],
            cwd=tmp_path,
            env={**os.environ, "GROUP": "g", "APP": "a", "ACCESS_TOKEN": "t"},
            capture_output=True,
            text=True,
            check=True,
        )
        api.shutdown()

    assert asked == [None, uid(2), uid(2), uid(4), uid(5)]
    assert (ran.stdout, "401" in ran.stderr) == ("complete\n", True)
    told = importer.imported("--from", "app-services", "--app", APP)
    assert told == {"applied": True, "imported": 5}


# -- E-mail addresses ------------------------------------------------------------------


@pytest.mark.parametrize("is_verified", [True, False])
def test_given_an_address_when_imported_then_its_owner_gets_in_by_a_reset(
    importer: Importer, sent: list[Any], is_verified: bool
) -> None:
    user = old_user(("local-userpass", "1"), ("oauth2-google", "2"))
    user["identities"][0]["data"] = {"email": "Ada@Example.com"}
    importer.moved(user, options=("--verified-emails",) if is_verified else ())
    accounts = MailedAccounts(importer.live, sent)
    accounts.configure(mail=MAIL)
    before = accounts.log_in("", EMAIL), accounts.log_in("any", EMAIL)

    reset = accounts.post(
        "reset", **accounts.asked_for_reset(EMAIL), password="new horse"
    )

    assert before == ("WrongPassword", "WrongPassword")
    assert reset.status == 200
    body = {"username": EMAIL, "password": "new horse"}
    reply = log_in(importer.live, "local-userpass", body)
    assert (reply.status, reply.json["user_id"]) == (200, ADA)
    # An address that nobody has verified may have been squatted.
    kept = {i.provider for i in stored_user(importer.live, ADA).identities}
    assert kept == {"local-userpass"} | ({"oauth2-google"} if is_verified else set())


def exported(**identity: Any) -> Any:
    """Return a line of an export, with the fields of its account."""
    return {
        "app": APP,
        "uid": ADA,
        "anonymous": False,
        "created_at": "2024-11-24T12:00:00Z",
        "last_active_day": "2025-11-24",
        "expires_at": None,
        "identities": [
            {
                "provider": "local-userpass",
                "id": "66b0c3c2f5a1e7d8c9b0a1f5",
                "data": {"email": EMAIL},
                **identity,
            }
        ],
    }


def test_given_a_hash_of_argon2id_when_imported_then_the_old_password_is_good(
    importer: Importer, sent: list[Any]
) -> None:
    accounts = MailedAccounts(importer.live, sent)
    importer.write(exported(password_hash=accounts.passwords.hash("old horse")))

    told = importer.imported()

    assert told == {"applied": True, "imported": 1}
    assert accounts.log_in("old horse", EMAIL) == "ok"
    assert accounts.log_in("new horse", EMAIL) == "WrongPassword"


def test_given_a_hash_of_bcrypt_when_imported_then_the_first_login_replaces_it(
    importer: Importer, sent: list[Any]
) -> None:
    accounts = MailedAccounts(importer.live, sent)
    made = bcrypt.hashpw(b"old horse", bcrypt.gensalt(4)).decode()
    importer.write(exported(password_hash=made))

    told = importer.imported()
    ((pk, before),) = importer.live.items("IDENT#").items()
    wrong = accounts.log_in("new horse", EMAIL)
    still = importer.live.items("IDENT#")[pk]
    right = accounts.log_in("old horse", EMAIL)
    after = importer.live.items("IDENT#")[pk]

    assert told == {"applied": True, "imported": 1}
    assert (wrong, right) == ("WrongPassword", "ok")
    assert before["password_hash"] == still["password_hash"] == {"S": made}
    assert after["password_hash"]["S"].startswith("$argon2id$")
    assert accounts.log_in("old horse", EMAIL) == "ok"


def test_given_a_hash_that_is_too_slow_when_imported_then_its_user_is_refused(
    importer: Importer,
) -> None:
    made = bcrypt.hashpw(b"old horse", bcrypt.gensalt(4)).decode()
    slow = made.replace("$04$", "$14$")
    importer.write(exported(password_hash=slow))

    result = importer.run("--yes")

    assert "line 1: 'password_hash' is not of argon2id or bcrypt" in result.stderr
    assert slow not in result.output
    assert importer.live.items("USER#") == {}


# -- The table wins --------------------------------------------------------------------


def test_given_an_identity_that_another_user_has_when_imported_then_it_stays_its(
    importer: Importer, issued: Callable[[str, str], dict[str, str]]
) -> None:
    body = log_in(importer.live, "custom-token", issued("custom-token", "ada")).json
    before = importer.live.items()
    users = (
        old_user(("custom-token", "ada"), number=1),
        old_user(("custom-token", "ada2"), ("oauth2-google", "1"), number=2),
    )

    told = importer.moved(*users, options=("--issuer", ""))

    (taken,) = told["dropped"]
    assert (taken["uid"], taken["reason"]) == (uid(1), "another user has it")
    assert (told["imported"], told["unreachable"]) == (1, 1)
    assert before.items() <= importer.live.items().items()
    again = log_in(importer.live, "custom-token", issued("custom-token", "ada"))
    assert again.json["user_id"] == body["user_id"]


def test_given_users_that_are_there_or_gone_when_imported_then_they_stay_so(
    importer: Importer,
) -> None:
    present, deleted = log_in_linked(importer.live), importer.live.log_in()
    importer.live.send(DELETE, token=deleted["access_token"])
    before = importer.live.items()
    users = [
        old_user(("oauth2-google", str(number)), _id=each["user_id"])
        for number, each in enumerate((present, deleted))
    ]

    assert importer.moved(*users) == {"applied": True, "present": 1, "gone": 1}
    assert importer.live.items() == before


def test_given_an_import_when_repeated_then_nothing_changes(
    importer: Importer,
) -> None:
    users = [old_user(("oauth2-google", str(n)), number=n) for n in range(1, 6)]
    importer.moved(*users[:3])
    before = importer.live.items()

    told = importer.moved(*users)

    assert told == {"applied": True, "imported": 2, "present": 3}
    assert before.items() <= importer.live.items().items()
    # Nothing to do: it does not ask.
    assert importer.run("--from", "app-services", "--app", APP).exit_code == 0


def test_given_a_dry_run_then_it_counts_and_writes_nothing(
    importer: Importer,
) -> None:
    importer.write(old_user(("oauth2-google", "1")), old_user(("anon-user", "a")))
    before = importer.live.items()

    result = importer.run("--from", "app-services", "--app", APP, "--dry-run")

    head, imported, guests = result.stdout.splitlines()
    assert head == "would be done:"
    assert imported == "          1  users: imported, without sessions"
    assert guests.startswith("          1  guests: left out, since only the old")
    assert "Guests cannot be imported" in result.stderr
    assert importer.live.items() == before


def test_given_no_terminal_when_imported_without_yes_then_nothing_is_written(
    importer: Importer,
) -> None:
    importer.write(exported())
    before = importer.live.items()

    assert problem(importer.run()) == "no terminal to confirm on; pass --yes"
    assert importer.live.items() == before


# -- Events ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param((), [], id="by default"),
        pytest.param(("--tell-created",), ["user.created"], id="asked for"),
    ],
)
def test_given_imported_users_when_told_then_they_are_new_only_if_asked_for(
    importer: Importer, options: tuple[str, ...], expected: list[str]
) -> None:
    story = Story(importer.live)
    anonymous = ("anon-user", "5f0c3b2a1d9e8f7a6b5c4d3f-abcdefghijklmnopqrstuvwx")
    importer.moved(old_user(anonymous, ("oauth2-google", "1")), options=options)

    events = story.told()

    assert types(events) == expected
    for event in events:
        assert event["detail"]["provider"] == "oauth2-google"
        assert event["detail"]["anonymous"] is False


# -- What the file may have in it ------------------------------------------------------


def test_given_bad_lines_when_imported_then_each_is_told_and_the_others_are_imported(
    importer: Importer,
) -> None:
    sound = exported()
    bad = ["{", "[]", json.dumps(sound | {"uid": "1"}), "\xff", "1" * 5000]
    text = "\n".join([*bad, "", json.dumps(sound), json.dumps(sound)])
    importer.file.write_bytes(text.encode("latin-1"))

    result = importer.run("--yes", "--json")

    assert result.exit_code == 1
    body = json.loads(result.stdout)
    assert (body["imported"], body["invalid"]) == (1, 6)
    assert body["problems"] == [
        {"place": "line 1", "reason": "not JSON"},
        {"place": "line 2", "reason": "the line is not an object"},
        {"place": "line 3", "reason": "'uid' is not 24 hex digits in lower case"},
        {"place": "line 4", "reason": "not JSON"},
        {"place": "line 5", "reason": "not JSON"},
        {
            "place": "line 8",
            "reason": "its id or an identity of it is in line 7 already",
        },
    ]
    assert "line 3: 'uid' is not" in result.stderr
    assert "users that the file does not describe right: 6" in str(result.exception)
    assert len(importer.live.items("USER#")) == 1


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(old_user(("oauth2-apple", "1")), id="id"),
        pytest.param(old_user(("oauth2-google", "1"), number=2), id="identity"),
    ],
)
def test_given_a_user_or_identity_twice_in_a_file_then_the_first_has_it(
    importer: Importer, second: Any
) -> None:
    importer.write(old_user(("oauth2-google", "1")), second)

    result = importer.run("--from", "app-services", "--app", APP, "--yes")

    told = "user 2, line 2: its id or an identity of it is in user 1, line 1 already"
    assert told in result.stderr
    assert result.exit_code == 1
    (item,) = importer.live.items("USER#").values()
    assert item["pk"] == {"S": f"USER#{APP}#{ADA}"}


def test_given_an_app_when_imported_then_users_of_others_are_left_out(
    importer: Importer,
) -> None:
    importer.write(exported(), exported() | {"app": OTHER_APP, "uid": uid(1)})

    told = importer.imported("--app", OTHER_APP)

    assert told == {"applied": True, "imported": 1, "other_app": 1}
    assert importer.live.user_item(uid(1), OTHER_APP)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda path: None, "No such file or directory", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is not a plain file", id="directory"),
        pytest.param(
            lambda path: path.write_text("[{},\n<html>"), "line 2: not JSON", id="HTML"
        ),
        pytest.param(
            lambda path: path.write_bytes(b"[\xff]"), "line 1: not JSON", id="binary"
        ),
    ],
)
def test_given_a_file_that_cannot_be_read_when_imported_then_the_command_says_so(
    importer: Importer, make: Callable[[Path], None], said: str
) -> None:
    make(importer.file)

    told = problem(importer.run("--from", "app-services", "--app", APP, "--yes"))

    assert said in told
    assert str(importer.file) in told


def test_given_an_issuer_for_an_export_then_the_command_line_is_refused(
    importer: Importer,
) -> None:
    assert importer.run("--issuer", "x").exit_code == 2


# -- The run ---------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for Ctrl-C or another end of the process."""


def a_run(store: RestoreStore, file: Path, **changes: Any) -> ImportRun:
    form = ImportForm(None, None, EmailSyntax(), verified_emails=False, now=NOW)
    run = ImportRun(
        file, read_lines, form.of_export, store, RestoreRules(), {}, NOW, threads=1
    )
    return replace(run, **changes)


def lines_of(number: int) -> list[Any]:
    lines = [exported() for _ in range(number)]
    for n, line in enumerate(lines):
        line["uid"] = uid(n)
        line["identities"][0]["data"] = {"email": f"user-{n}@example.com"}
    return lines


@pytest.mark.parametrize("takes_effect", [True, False])
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("tells", [True, False])
def test_given_a_run_that_is_killed_when_run_again_then_it_imports_the_others(
    importer: Importer,
    capsys: pytest.CaptureFixture[str],
    at: int,
    takes_effect: bool,
    tells: bool,
) -> None:
    importer.write(*lines_of(4))
    count = iter(range(100))
    live = importer.live

    def kill(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
        is_write = live.wire.calls[-1] == "TransactWriteItems"
        if not is_write or next(count) != at:
            return forward()
        if takes_effect:
            forward()
        raise Killed

    live.wire.always = kill
    rules = RestoreRules(tells_created=tells)
    run = a_run(live.services.store, importer.file, rules=rules)
    with pytest.raises(Killed):
        run.run(is_dry=False)
    told = capsys.readouterr().err
    live.wire.reset()

    counts = run.run(is_dry=False)

    done = at + takes_effect
    assert told == f"not complete; users written: {at}; run it again to continue\n"
    assert (counts["present"], counts["imported"]) == (done, 4 - done)
    assert len(live.items("USER#")) == len(live.items("IDENT#")) == 4


@pytest.mark.parametrize("fault", [throttled, lost_reply])
@pytest.mark.parametrize("fails", ["TransactWriteItems", "BatchGetItem"])
@pytest.mark.parametrize("tells", [True, False])
def test_given_a_table_that_fails_for_a_while_when_run_then_it_waits_and_goes_on(
    importer: Importer, fails: str, fault: Fault, tells: bool
) -> None:
    importer.write(*lines_of(3))
    left = [fault] * 10
    live = importer.live

    def maybe(request: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
        if live.wire.calls[-1] == fails and left:
            return left.pop()(request, forward)
        return forward()

    live.wire.always = maybe
    pauses: list[float] = []
    rules = RestoreRules(tells_created=tells)
    run = a_run(live.services.store, importer.file, rules=rules, pause=pauses.append)

    counts = run.run(is_dry=False)

    assert counts["imported"] == 3
    assert pauses
    assert len(live.items("USER#")) == 3


def test_given_a_thread_that_fails_when_run_then_the_run_ends_with_its_error(
    tmp_path: Path,
) -> None:
    class Broken(MemoryStore):
        def restore_user(self, *_: Any) -> bool:
            raise ValueError("a bug")

    file = tmp_path / "users"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines_of(250)))

    with pytest.raises(ValueError, match="a bug"):
        a_run(Broken(), file, threads=2).run(is_dry=False)


class Locked(MemoryStore):
    """A store in memory that several threads may write."""

    def __init__(self) -> None:
        super().__init__()
        self._write_lock = threading.Lock()

    def restore_user(self, *arguments: Any) -> bool:
        with self._write_lock:
            return super().restore_user(*arguments)


def export_of(store: MemoryStore, file: Path) -> None:
    plan = ExportPlan("table", 1, with_data=True)
    with open_export(file, plan) as export:
        scan = ParallelScan(store, segments=1, user_filter=plan.user_filter)
        write_users(export, scan, store, lambda _: None)


def as_exported(store: MemoryStore) -> list[User]:
    """Return the permanent users of a store, without what an export leaves out."""
    return sorted(
        (
            replace(user, sessions={}, api_keys={}, restored_at=None, version=1)
            for user in store.users.values()
            if not user.anonymous
        ),
        key=lambda user: user.id,
    )


def test_given_an_export_of_many_users_when_imported_then_all_are_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = MemoryStore(), Locked()
    for number in range(1_200):
        match number % 4:
            case 0:
                a_stored_guest(old)
            case 1:
                address = f"user-{number}@example.com"
                data = {"email": address}
                a_user_with_account(old, key=identity_key(address), data=data)
            case 2:
                a_linked_user(old)
            case 3:
                a_linked_user(old, a_foreign_identity(), a_foreign_identity())
    guests = a_user_with_guests(old, 3)
    file = tmp_path / "users.jsonl"
    export_of(old, file)

    run = a_run(new, file, threads=4)
    dry = run.run(is_dry=True)
    counts = run.run(is_dry=False, users=dry.total)

    assert dry.as_json() == counts.as_json()
    assert (counts["imported"], counts["guest"], counts.total) == (901, 300, 1_201)
    assert as_exported(new) == as_exported(old)
    assert new.users[APP, guests.id].former_ids == guests.former_ids
    assert {k: v[0].into for k, v in new.gone.items()} == {
        k: v[0].into for k, v in old.gone.items()
    }
    for name, record in old.records.items():
        kept = replace(record, password_hash="", networks={}, verified=False)
        assert new.records[name] == kept
    assert "users: 1," in capsys.readouterr().err
    again = run.run(is_dry=False)
    assert (again["imported"], again["present"]) == (0, 901)


class Forgetful(MemoryStore):
    """A table that takes every user and keeps none."""

    def restore_user(self, *_: Any) -> bool:
        return True


@pytest.mark.long
def test_given_a_file_ten_times_as_long_then_the_command_needs_no_more_memory(
    tmp_path: Path,
) -> None:
    def peak(users: int) -> int:
        file = tmp_path / "users"
        with file.open("w") as lines:
            for line in lines_of(users):
                lines.write(json.dumps(line) + "\n")
                lines.write("not JSON\n")
        run = a_run(Forgetful(), file, threads=2)
        tracemalloc.start()
        try:
            counts = run.run(is_dry=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert (counts["imported"], counts["invalid"]) == (users, users)

    first = peak(2_000)

    assert peak(20_000) < 1.25 * first


def test_given_more_problems_than_are_listed_then_the_rest_is_counted() -> None:
    counts = ImportCounts()
    for number in range(1_003):
        counts.add_problem(f"line {number}", "not JSON")

    assert counts["invalid"] == 1_003
    assert len(counts.as_json()["problems"]) == 1_000
    assert [*counts.problem_lines()][-1] == "and 3 more"


def test_given_pages_one_after_the_other_when_read_then_all_users_are_there(
    tmp_path: Path,
) -> None:
    file = tmp_path / "pages.json"
    pages = [
        [{"_id": f"{page}-{n}", "x": "é" * 999} for n in range(50)] for page in "ab"
    ]
    file.write_text("\ufeff" + "\n".join(json.dumps(p, indent=1) for p in pages))

    found = [*read_arrays(file)]

    assert [entry.value for entry in found] == [*pages[0], *pages[1]]
    assert found[0].place == "user 1, line 2"
    assert found[99].place.startswith("user 100, line ")
