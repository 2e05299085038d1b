"""GET /auth/profile and DELETE /auth/delete."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest

from anonauth.domain.encoding import identity_key
from support.service.harness import (
    APP,
    COMMON_HEADERS,
    CREATE_KEY,
    DELETE,
    LOGOUT,
    OTHER_APP,
    PROFILE,
    SESSION,
    Deployment,
    provider_id,
)
from support.service.linked import link, log_in_linked, open_session
from support.service.wire import FAULTS, Forward, lost_reply, preceded_by


def an_identity(
    id_: str, provider: str, data: Mapping[str, str], key: str | None = None
) -> dict[str, Any]:
    """Return an entry of a profile; only linked identities have a key."""
    return {
        "id": id_,
        "provider_type": provider,
        "provider_id": provider_id(provider),
        "data": data,
    } | ({} if key is None else {"key": key})


def test_given_a_guest_when_it_asks_then_its_profile_is_the_documented_one(
    service: Deployment,
) -> None:
    body = service.log_in()

    reply = service.send(PROFILE, token=body["access_token"])

    item = service.user_item(body["user_id"])
    assert item is not None
    assert reply.status == 200
    assert reply.headers == {**COMMON_HEADERS, "cache-control": "no-store"}
    assert reply.json == {
        "user_id": body["user_id"],
        "type": "normal",
        "identities": [
            {
                "id": item["identities"]["L"][0]["M"]["id"]["S"],
                "provider_type": "anon-user",
                "provider_id": provider_id("anon-user"),
                "data": {},
            }
        ],
        "data": {},
        "expires_at": body["expires_at"],
    }


def test_given_linked_identities_when_asking_then_they_come_in_order_with_their_data(
    service: Deployment,
) -> None:
    """If two identities have the same field, the one that was linked first wins."""
    body = service.log_in()
    google = {"name": "Ada Lovelace", "picture": "https://example.org/ada.png"}
    ada = {"name": "ada", "email": "ada@example.org"}
    link(service, body, "oauth2-google", "108", data=google)
    link(service, body, "custom-token", "ada", data=ada)

    reply = service.send(PROFILE, token=body["access_token"])

    item = service.user_item(body["user_id"])
    assert item is not None
    anonymous_id = item["identities"]["L"][0]["M"]["id"]["S"]
    assert reply.status == 200
    assert reply.json == {
        "user_id": body["user_id"],
        "type": "normal",
        "identities": [
            an_identity(anonymous_id, "anon-user", {}),
            an_identity("108", "oauth2-google", google, identity_key("108")),
            an_identity("ada", "custom-token", ada, identity_key("ada")),
        ],
        "data": {**google, "email": "ada@example.org"},
    }


def test_given_many_identities_when_asking_then_two_calls_in_all(
    service: Deployment,
) -> None:
    body = service.log_in()
    for number in range(9):
        link(service, body, "custom-token", f"user-{number}")
    service.send(PROFILE, token=body["access_token"])

    calls = service.counted(lambda: service.send(PROFILE, token=body["access_token"]))

    assert calls == ["GetItem", "BatchGetItem"]


def test_given_sessions_of_a_user_when_asking_then_their_tokens_have_the_provider_id(
    service: Deployment,
) -> None:
    """realm-web 1.0.0 reads it from the profile."""
    guest = service.log_in()
    link(service, guest, "custom-token", "ada")
    opened = open_session(service, guest["user_id"], "custom-token", "ada")

    shown = service.send(PROFILE, token=guest["access_token"]).json["identities"]

    for identity, session in zip(shown, (guest, opened), strict=True):
        token = jwt.decode(
            session["refresh_token"], options={"verify_signature": False}
        )
        assert token["baas_identity"]["id"] == identity["id"]
        assert token["baas_identity"]["provider_id"] == identity["provider_id"]
        assert re.fullmatch("[0-9a-f]{24}", identity["provider_id"])


@pytest.fixture
def with_keys(service: Deployment) -> None:
    """The service with API keys switched on."""
    service.restart_with({"apps": {APP: {"api-key": {}}}})


@pytest.mark.usefixtures("with_keys")
def test_given_a_session_of_an_api_key_when_asking_then_type_and_key_say_so(
    service: Deployment,
) -> None:
    """client-api.md §2.4, §2.7. The key's name does not rename the user."""
    body = service.log_in()
    link(service, body, "custom-token", "ada", data={"name": "Ada"})
    made = service.send(
        CREATE_KEY, token=body["refresh_token"], body='{"name":"laptop"}'
    ).json
    by_key = open_session(service, body["user_id"], "api-key", made["_id"])

    profile = service.send(PROFILE, token=by_key["access_token"]).json
    other = service.send(PROFILE, token=body["access_token"]).json

    key = an_identity(made["_id"], "api-key", {"name": "laptop"})
    assert profile["user_id"] == body["user_id"]
    assert profile["type"] == "server"
    assert profile["identities"] == [*other["identities"], key]
    assert profile["data"] == {"name": "Ada"}
    assert other["type"] == "normal"


@pytest.mark.usefixtures("with_keys")
def test_given_a_user_without_data_when_a_key_asks_then_the_name_is_the_keys(
    service: Deployment,
) -> None:
    body = log_in_linked(service)
    made = service.send(
        CREATE_KEY, token=body["refresh_token"], body='{"name":"laptop"}'
    ).json
    by_key = open_session(service, body["user_id"], "api-key", made["_id"])

    profile = service.send(PROFILE, token=by_key["access_token"]).json

    assert profile["data"] == {"name": "laptop"}


def test_given_an_identity_without_its_record_when_asking_then_it_has_no_data(
    service: Deployment,
) -> None:
    body = log_in_linked(service)
    pk = f"IDENT#{APP}#custom-token#{identity_key('ada')}"
    service.db.delete_item(TableName=service.table, Key={"pk": {"S": pk}})

    profile = service.send(PROFILE, token=body["access_token"]).json

    assert profile["identities"][1] == an_identity(
        "ada", "custom-token", {}, identity_key("ada")
    )


def test_given_the_same_subject_in_two_apps_when_asking_then_each_has_its_own_data(
    service: Deployment,
) -> None:
    one, other = service.log_in(), service.log_in(app=OTHER_APP)
    link(service, one, "custom-token", "ada", data={"name": "one"})
    link(service, other, "custom-token", "ada", data={"name": "other"}, app=OTHER_APP)

    names = [
        service.send(PROFILE, token=body["access_token"]).json["data"]["name"]
        for body in (one, other)
    ]

    assert names == ["one", "other"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_no_answer_to_the_second_read_when_asking_then_503_and_later_200(
    service: Deployment, fault: Any
) -> None:
    body = log_in_linked(service)
    service.send(PROFILE, token=body["access_token"])
    service.wire.faults = [None, fault, fault, fault]

    failed = service.send(PROFILE, token=body["access_token"])
    again = service.send(PROFILE, token=body["access_token"])

    assert (failed.status, again.status) == (503, 200)


def test_given_activity_when_asking_then_the_profile_has_the_later_expiry(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.advance(timedelta(days=10))

    access = service.send(SESSION, token=body["refresh_token"]).json["access_token"]
    profile = service.send(PROFILE, token=access).json

    assert body["expires_at"] == "2026-06-09T01:00:00Z"
    assert profile["expires_at"] == "2026-06-19T01:00:00Z"


def test_given_a_profile_when_read_then_nothing_is_written(service: Deployment) -> None:
    body = service.log_in()
    before = service.items()

    service.send(PROFILE, token=body["access_token"])

    assert service.items() == before


def test_given_a_guest_when_it_deletes_itself_then_every_token_is_refused(
    service: Deployment,
) -> None:
    body = service.log_in()
    newer = service.send(SESSION, token=body["refresh_token"]).json["access_token"]

    reply = service.send(DELETE, token=body["access_token"])

    assert (reply.status, reply.text) == (200, "{}")
    assert set(service.items()) == {f"GONE#{APP}#{body['user_id']}", "KEY#ring"}
    for route, token in (
        (PROFILE, body["access_token"]),
        (PROFILE, newer),
        (DELETE, newer),
        (SESSION, body["refresh_token"]),
        (LOGOUT, body["refresh_token"]),
    ):
        again = service.send(route, token=token)
        assert (again.status, again.json["error_code"]) == (401, "InvalidSession")


@pytest.mark.usefixtures("with_keys")
def test_given_a_permanent_user_when_it_deletes_itself_then_all_of_it_is_deleted(
    service: Deployment,
) -> None:
    """Identities and keys are deleted too. The next login with them is a new user."""
    body = log_in_linked(service)
    link(service, body, "oauth2-google", "108")
    service.send(CREATE_KEY, token=body["refresh_token"], body='{"name":"laptop"}')

    reply = service.send(DELETE, token=body["access_token"])

    assert (reply.status, reply.text) == (200, "{}")
    assert set(service.items()) == {f"GONE#{APP}#{body['user_id']}", "KEY#ring"}
    assert log_in_linked(service)["user_id"] != body["user_id"]


def test_given_a_lost_reply_when_deleting_then_the_store_repeats_and_it_succeeds(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.wire.faults = [None, lost_reply]

    assert service.send(DELETE, token=body["access_token"]).status == 200
    assert service.user_item(body["user_id"]) is None


def test_given_a_change_in_between_when_deleting_then_it_is_read_again(
    service: Deployment,
) -> None:
    """A link that comes first only delays the deletion."""
    body = service.log_in()

    def link(_: object, forward: Forward) -> Any:
        service.db.update_item(
            TableName=service.table,
            Key={"pk": {"S": f"USER#{APP}#{body['user_id']}"}},
            UpdateExpression="SET version = version + :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
        return forward()

    service.wire.faults = [None, link]
    del service.wire.calls[:]

    assert service.send(DELETE, token=body["access_token"]).status == 200
    assert service.wire.calls.count("GetItem") == 2
    assert service.user_item(body["user_id"]) is None


def test_given_a_logout_in_between_when_deleting_then_the_user_stays(
    service: Deployment,
) -> None:
    body = log_in_linked(service)
    log_out = preceded_by(lambda: service.send(LOGOUT, token=body["refresh_token"]))
    service.wire.faults = [None, log_out]

    reply = service.send(DELETE, token=body["access_token"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.user_item(body["user_id"]) is not None


@pytest.mark.parametrize("route", [PROFILE, DELETE])
def test_given_a_session_that_has_ended_when_asking_then_401(
    service: Deployment, route: str
) -> None:
    body = service.log_in()
    service.send(LOGOUT, token=body["refresh_token"])

    reply = service.send(route, token=body["access_token"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
