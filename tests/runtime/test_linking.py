"""Linking, accounts and API keys in the built bundle, with the template's roles.

The tests of this module share one table; each has its own e-mail addresses.
"""

import json
import re
from pathlib import Path
from typing import Any

import bcrypt
import jwt
import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from runtime.aws import PARAMETERS, Aws
from runtime.client import call, claims, log_in
from runtime.conftest import PARTNER, PARTNER_SECRET, Start
from runtime.runtime_api import Function
from support.project.sam_template import Json

PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "a new horse"

FUNCTIONS = ("LinkFunction", "UserpassFunction", "ApiKeysFunction", "ProfileFunction")

pytestmark = pytest.mark.usefixtures("granted")


class Client:
    """Calls functions as an app would, and reads its user's mail."""

    def __init__(self, functions: dict[str, Function], cloud: Aws) -> None:
        self._functions = functions
        self._cloud = cloud

    def register(self, email: str, password: str = PASSWORD) -> tuple[int, Any]:
        return self._userpass("userpass", email=email, password=password)

    def confirm(self, email: str) -> tuple[int, Any]:
        return self._userpass("userpass-confirm", **self._token_in_mail(email))

    def reset(self, email: str, password: str) -> tuple[int, Any]:
        assert self._userpass("userpass-reset-send", email=email) == (200, {})
        return self._userpass(
            "userpass-reset", **self._token_in_mail(email), password=password
        )

    def account(self, email: str) -> Json:
        """Register and confirm an address; return its credential."""
        assert self.register(email) == (200, {})
        assert self.confirm(email) == (200, {})
        return {"username": email, "password": PASSWORD}

    def guest(self) -> Json:
        return log_in(self._functions)

    def log_in(
        self, credential: Json, provider: str = "local-userpass"
    ) -> tuple[int, Any]:
        return self._login("link-login", "", credential, provider)

    def link(
        self, user: Json, credential: Json, provider: str = "local-userpass"
    ) -> tuple[int, Any]:
        """Link, and continue with the new access token, as SDKs do."""
        status, body = self._login("link", user["access_token"], credential, provider)
        if status == 200:
            user["access_token"] = body["access_token"]
        return status, body

    def refresh(self, user: Json) -> tuple[int, Any]:
        session = self._functions["SessionFunction"]
        return call(session, "session", user["refresh_token"])

    def profile(self, user: Json, name: str = "profile") -> tuple[int, Any]:
        profile = self._functions["ProfileFunction"]
        return call(profile, name, user["access_token"])

    def unlink(self, user: Json, provider: str, identity_id: str) -> tuple[int, Any]:
        return call(
            self._functions["ProfileFunction"],
            "profile-unlink",
            user["refresh_token"],
            queryStringParameters={"provider": provider, "id": identity_id},
        )

    def create_key(self, user: Json, name: str = "laptop") -> tuple[int, Any]:
        api_keys = self._functions["ApiKeysFunction"]
        return call(api_keys, "api_keys", user["refresh_token"], body={"name": name})

    def key(
        self, user: Json, method: str, key_id: str, verb: str = ""
    ) -> tuple[int, Any]:
        route = f"{method} /api/client/v2.0/auth/api_keys/{{id}}{verb}"
        return call(
            self._functions["ApiKeysFunction"],
            "api_keys-list",
            user["refresh_token"],
            routeKey=route,
            pathParameters={"id": key_id},
        )

    def keys(self, user: Json) -> tuple[int, Any]:
        api_keys = self._functions["ApiKeysFunction"]
        return call(api_keys, "api_keys-list", user["refresh_token"])

    def _login(
        self, event: str, token: str, credential: Json, provider: str
    ) -> tuple[int, Any]:
        return call(
            self._functions["LinkFunction"],
            event,
            token,
            body=credential,
            pathParameters={"appId": "myapp-abcde", "provider": provider},
        )

    def _userpass(self, event: str, **body: str) -> tuple[int, Any]:
        return call(self._functions["UserpassFunction"], event, body=body)

    def _token_in_mail(self, email: str) -> dict[str, str]:
        newest = self._cloud.mails_to(email)[-1]
        found = re.search(r"\?token=([^&\s]+)&tokenId=(\S+)", newest)
        assert found is not None, newest
        return {"token": found[1], "tokenId": found[2]}


@pytest.fixture(scope="module")
def client(functions: dict[str, Function], cloud: Aws) -> Client:
    return Client(functions, cloud)


def partner_token(subject: str, **fields: str) -> Json:
    payload = {
        "iss": PARTNER,
        "aud": "myapp-abcde",
        "sub": subject,
        "exp": 4102444800,  # 2100
        **fields,
    }
    return {"token": jwt.encode(payload, PARTNER_SECRET, algorithm="HS256")}


def user_item(cloud: Aws, user: Json) -> Json | None:
    return cloud.item(f"USER#myapp-abcde#{user['user_id']}")


def providers(profile: Json) -> list[str]:
    return [identity["provider_type"] for identity in profile["identities"]]


def test_given_no_account_when_registering_then_a_mail_confirms_it(
    client: Client, cloud: Aws
) -> None:
    email = "ada@example.com"
    credential = {"username": email, "password": PASSWORD}

    registered = client.register(email)

    pending = client.log_in(credential)
    confirmed = client.confirm(email)
    status, opened = client.log_in(credential)
    assert registered == confirmed == (200, {})
    assert (pending[0], pending[1]["error_code"]) == (401, "AuthError")
    assert status == 200, opened
    item = user_item(cloud, opened)
    assert item is not None
    assert item["anonymous"] == {"BOOL": False}
    assert "ttl" not in item


@pytest.mark.parametrize(
    "email",
    [
        pytest.param("ada", id="no domain"),
        pytest.param("ada@example..com", id="empty label"),
        pytest.param("ada lovelace@example.com", id="space"),
    ],
)
def test_given_no_e_mail_address_when_registering_then_the_bundle_can_tell(
    client: Client, email: str
) -> None:
    """The bundle has no `dns`, which email-validator may import."""
    status, body = client.register(email)

    assert (status, body["error_code"]) == (400, "BadRequest")


def test_given_an_international_domain_when_registering_then_it_is_one(
    client: Client, cloud: Aws
) -> None:
    status, body = client.register("ada@bücher.example.com")

    assert (status, body) == (200, {})
    assert cloud.mails_to("ada@xn--bcher-kva.example.com")


def test_given_a_guest_when_linking_a_password_then_it_is_permanent(
    client: Client, cloud: Aws
) -> None:
    credential = client.account("grace@example.com")
    guest = client.guest()

    status, linked = client.link(guest, credential)

    refreshed = client.refresh(guest)
    again = client.log_in(credential)
    _, profile = client.profile(linked)
    item = user_item(cloud, guest)
    assert status == 200, linked
    assert linked["user_id"] == again[1]["user_id"] == guest["user_id"]
    assert claims(linked["access_token"])["anonymous"] is False
    assert refreshed[0] == 200
    assert providers(profile) == ["anon-user", "local-userpass"]
    assert profile["data"] == {"email": "grace@example.com"}
    assert item is not None
    assert "ttl" not in item


def test_given_a_wrong_password_then_a_login_is_401_and_a_link_403(
    client: Client, cloud: Aws
) -> None:
    wrong = client.account("wrong@example.com") | {"password": "a guess"}
    guest = client.guest()

    login, link = client.log_in(wrong), client.link(guest, wrong)

    item = user_item(cloud, guest)
    assert (login[0], login[1]["error_code"]) == (401, "InvalidPassword")
    assert (link[0], link[1]["error_code"]) == (403, "InvalidPassword")
    assert item is not None
    assert item["anonymous"] == {"BOOL": True}


def test_given_a_secret_in_ssm_when_a_partner_vouches_then_its_subject_logs_in(
    client: Client,
) -> None:
    first = client.log_in(partner_token("s-1", nickname="ada"), "custom-token")

    status, again = client.log_in(
        partner_token("s-1", nickname="countess"), "custom-token"
    )

    _, profile = client.profile(again)
    assert (first[0], status) == (200, 200), again
    assert again["user_id"] == first[1]["user_id"]
    assert profile["data"] == {"nick": "countess"}


def test_given_another_secret_when_a_partner_vouches_then_it_is_refused(
    client: Client,
) -> None:
    forged = jwt.encode(
        {"iss": PARTNER, "aud": "myapp-abcde", "sub": "s-1", "exp": 4102444800},
        "another-secret-of-at-least-32-bytes",
        algorithm="HS256",
    )

    status, body = client.log_in({"token": forged}, "custom-token")

    assert (status, body["error_code"]) == (401, "AuthError")


def test_given_two_identities_when_one_is_unlinked_then_the_other_logs_in(
    client: Client, cloud: Aws
) -> None:
    guest = client.guest()
    client.link(guest, client.account("unlink@example.com"))
    client.link(guest, partner_token("s-2"), "custom-token")
    _, before = client.profile(guest)
    unlinked = before["identities"][1]

    answer = client.unlink(guest, unlinked["provider_type"], unlinked["id"])

    _, after = client.profile(guest)
    _, opened = client.log_in(partner_token("s-2"), "custom-token")
    assert unlinked["provider_type"] == "local-userpass"
    assert answer == (200, {})
    assert providers(after) == ["anon-user", "custom-token"]
    assert opened["user_id"] == guest["user_id"]
    assert user_item(cloud, guest) is not None


def test_given_an_api_key_when_logging_in_with_it_then_it_is_its_user(
    client: Client,
) -> None:
    _, user = client.log_in(client.account("keys@example.com"))

    status, key = client.create_key(user)

    logged_in = client.log_in({"key": key["key"]}, "api-key")
    listed = client.keys(user)
    found = client.key(user, "GET", key["_id"])
    assert status == 200, key
    assert logged_in[1]["user_id"] == user["user_id"]
    assert listed[1] == [found[1]]
    assert found[1] == {"_id": key["_id"], "name": "laptop", "disabled": False}


def test_given_an_api_key_when_disabled_then_only_enabling_makes_it_good_again(
    client: Client,
) -> None:
    _, user = client.log_in(client.account("switch@example.com"))
    _, key = client.create_key(user)

    answers = []
    for verb in ("/disable", "/enable"):
        switched = client.key(user, "PUT", key["_id"], verb)
        logged_in, _ = client.log_in({"key": key["key"]}, "api-key")
        answers.append((switched, logged_in))
    deleted = client.key(user, "DELETE", key["_id"])

    assert answers == [((200, {}), 401), ((200, {}), 200)]
    assert deleted == (200, {})
    assert client.log_in({"key": key["key"]}, "api-key")[0] == 401


def test_given_sessions_and_keys_when_the_password_is_reset_then_they_are_over(
    client: Client,
) -> None:
    credential = client.account("reset@example.com")
    _, user = client.log_in(credential)
    _, key = client.create_key(user)

    answer = client.reset("reset@example.com", NEW_PASSWORD)

    with_new = client.log_in(credential | {"password": NEW_PASSWORD})
    assert answer == (200, {})
    assert client.refresh(user)[0] == 401
    assert client.log_in({"key": key["key"]}, "api-key")[0] == 401
    assert client.log_in(credential)[0] == 401
    assert with_new[1]["user_id"] == user["user_id"]


def test_given_a_permanent_user_when_it_deletes_itself_then_its_identity_is_free(
    client: Client, cloud: Aws
) -> None:
    _, user = client.log_in(partner_token("s-3"), "custom-token")

    deleted = client.profile(user, "profile-delete")

    _, other = client.log_in(partner_token("s-3"), "custom-token")
    assert deleted == (200, {})
    assert user_item(cloud, user) is None
    assert cloud.item(f"GONE#myapp-abcde#{user['user_id']}") is not None
    assert other["user_id"] != user["user_id"]


def test_given_a_sender_that_the_stack_does_not_allow_then_no_mail_is_sent(
    functions: dict[str, Function], cloud: Aws
) -> None:
    status, body = call(
        functions["UserpassFunction"],
        "userpass",
        body={"email": "eve@example.com", "password": PASSWORD},
        pathParameters={"appId": "other-fghij"},
    )

    refused = cloud.gate.policies.forget_refusals()
    assert status == 503, body
    assert len(refused) == 1
    assert "ses:SendEmail" in refused[0]
    assert cloud.mails_to("eve@example.com") == []


def test_given_no_settings_when_logging_in_with_a_password_then_it_is_off(
    start: Start, client: Client
) -> None:
    credential = client.account("off@example.com")
    link = start("LinkFunction", SETTINGS_PARAMETER="")

    status, body = call(link, "link-login", body=credential)

    assert (status, body["error_code"]) == (401, "InvalidSession")


def test_given_a_provider_that_is_down_when_logging_in_then_no_failure_is_counted(
    client: Client, cloud: Aws
) -> None:
    status, body = client.log_in({"accessToken": "EAAB"}, "oauth2-facebook")

    found = cloud.db.scan(
        TableName=cloud.table_name,
        FilterExpression="begins_with(pk, :counters)",
        ExpressionAttributeValues={":counters": {"S": "RATE#provider#"}},
    )["Items"]
    assert (status, body["error_code"]) == (503, "InternalServerError")
    assert [item["number"] for item in found] == [{"N": "0"}]


def test_given_a_user_whose_item_is_lost_when_it_comes_back_then_its_id_is_the_same(
    client: Client, cloud: Aws
) -> None:
    email = "lost@example.com"
    credential = client.account(email)
    _, user = client.log_in(credential)
    lose(cloud, user)

    _, by_login = client.log_in(credential)
    lose(cloud, user)
    reset = client.reset(email, NEW_PASSWORD)
    _, by_reset = client.log_in(credential | {"password": NEW_PASSWORD})

    assert reset == (200, {})
    assert by_login["user_id"] == by_reset["user_id"] == user["user_id"]


def lose(cloud: Aws, user: Json) -> None:
    pk = {"S": f"USER#myapp-abcde#{user['user_id']}"}
    cloud.db.delete_item(TableName=cloud.table_name, Key={"pk": pk})


@pytest.mark.parametrize(
    ("number", "kept"), [(3, 3), pytest.param(21, 20, marks=pytest.mark.long)]
)
def test_given_guests_when_merged_into_a_user_then_it_has_the_last_20_as_former_ids(
    client: Client, cloud: Aws, number: int, kept: int
) -> None:
    _, owner = client.log_in(partner_token(f"joan-{number}"), "custom-token")
    guests = [client.guest() for _ in range(number)]

    for guest in guests:
        credential = partner_token(f"joan-{number}")
        credential |= {"merge": guest["refresh_token"]}
        status, merged = client.log_in(credential, "custom-token")
        assert (status, merged.get("merged")) == (200, True), merged

    ids = [guest["user_id"] for guest in guests]
    assert merged["user_id"] == owner["user_id"]
    assert claims(merged["access_token"])["former_ids"] == ids[-kept:]
    assert cloud.item(f"USER#myapp-abcde#{ids[0]}") is None
    marks = [cloud.item(f"GONE#myapp-abcde#{each}") for each in ids]
    ending = [mark is not None and "ttl" in mark for mark in marks]
    assert ending == [True] * (number - kept) + [False] * kept


def test_given_all_these_requests_then_no_grant_was_needless(
    client: Client, cloud: Aws
) -> None:
    """Runs last: it checks all calls that the tests above have made."""
    assert client

    unused = {name: cloud.gate.policies.unused(name) for name in FUNCTIONS}

    assert unused == {name: [] for name in FUNCTIONS}


def test_given_all_these_requests_when_logs_are_read_then_no_secret_is_in_them(
    functions: dict[str, Function], client: Client
) -> None:
    credential = client.account("secret@example.com")
    _, user = client.log_in(credential)
    _, key = client.create_key(user, "diary")
    forged = partner_token("s-4")

    client.log_in(forged, "custom-token")
    client.log_in({"key": key["key"]}, "api-key")

    logs = "".join(functions[name].log() for name in FUNCTIONS)
    assert '"error_code"' in logs  # there is a log at all
    for secret in (
        PASSWORD,
        PARTNER_SECRET,
        key["key"],
        forged["token"],
        user["refresh_token"],
        "@example.com",
        PARAMETERS["MailSender"],
        "203.0.113.7",
    ):
        assert secret not in logs


def test_given_users_of_app_services_when_imported_then_the_bundle_knows_them(
    client: Client, cloud: Aws, tmp_path: Path
) -> None:
    """A JWT at once, and an e-mail address by a reset, under the ids that they had."""
    email = "moved@example.com"
    moved = [
        ("custom-token", "moved", {"nick": "ada"}),
        ("local-userpass", "5f0c3b2a1d9e8f7a6b5c4d01", {"email": email}),
    ]
    users = [
        {
            "_id": f"5f0c3b2a1d9e8f7a6b5c4d3{number}",
            "identities": [{"id": subject, "provider_type": provider}],
            "creation_date": 1_650_000_000,
            "data": data,
        }
        for number, (provider, subject, data) in enumerate(moved)
    ]
    file = tmp_path / "users.json"
    file.write_text(json.dumps(users))
    command = ["users", "import", str(file), "--from", "app-services", "--yes"]
    command += ["--app", "myapp-abcde", "--issuer", PARTNER, "--segments", "1"]
    where = ["--table", cloud.table_name, "--endpoint-url", cloud.endpoint_url]

    result = CliRunner().invoke(app, [*command, *where])

    password = {"username": email, "password": NEW_PASSWORD}
    by_token = client.log_in(partner_token("moved"), "custom-token")
    without = client.log_in(password)
    reset = client.reset(email, NEW_PASSWORD)
    by_password = client.log_in(password)
    assert result.exit_code == 0, result.output
    assert (by_token[0], by_token[1]["user_id"]) == (200, users[0]["_id"])
    assert (without[0], without[1]["error_code"]) == (401, "InvalidPassword")
    assert reset == (200, {})
    assert (by_password[0], by_password[1]["user_id"]) == (200, users[1]["_id"])


def test_given_a_hash_by_bcrypt_when_imported_then_the_bundle_can_check_it(
    client: Client, cloud: Aws, tmp_path: Path
) -> None:
    email, uid = "hashed@example.com", "5f0c3b2a1d9e8f7a6b5c4d41"
    made = bcrypt.hashpw(NEW_PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    identity = {
        "provider": "local-userpass",
        "id": "5f0c3b2a1d9e8f7a6b5c4d42",
        "data": {"email": email},
        "password_hash": made,
    }
    user = {
        "app": "myapp-abcde",
        "uid": uid,
        "anonymous": False,
        "created_at": "2024-11-24T12:00:00Z",
        "last_active_day": "2025-11-24",
        "expires_at": None,
        "identities": [identity],
    }
    file = tmp_path / "users.jsonl"
    file.write_text(f"{json.dumps(user)}\n")
    command = ["users", "import", str(file), "--yes", "--segments", "1"]
    where = ["--table", cloud.table_name, "--endpoint-url", cloud.endpoint_url]

    result = CliRunner().invoke(app, [*command, *where])

    wrong = client.log_in({"username": email, "password": f"{NEW_PASSWORD}x"})
    right = [client.log_in({"username": email, "password": NEW_PASSWORD}) for _ in "12"]
    assert result.exit_code == 0, result.output
    assert (wrong[0], wrong[1]["error_code"]) == (401, "InvalidPassword")
    assert [(status, body["user_id"]) for status, body in right] == [(200, uid)] * 2
