"""POST …/anon-user/login with a login key: a repeated login is the same login."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest

from anonauth.domain.encoding import hash_secret, token_id_of
from anonauth.keys import KeyRing
from anonauth.store import Store
from support.service.harness import (
    APP,
    DELETE,
    LOGIN,
    LOGOUT,
    OTHER_APP,
    PROFILE,
    SESSION,
    START,
    Deployment,
    Reply,
)
from support.service.linked import link, open_session
from support.service.provider_logins import PROVIDERS_ON, by_token
from support.service.provider_logins import log_in as log_in_by
from support.service.story import Story
from support.service.wire import lost_reply, preceded_by, transaction_conflict

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
OTHER_KEY = "A" * 43


def send(service: Deployment, key: object = KEY, **options: Any) -> Reply:
    return service.send(LOGIN, body=json.dumps({"login_key": key}), **options)


def log_in(service: Deployment, key: object = KEY, **options: Any) -> dict[str, Any]:
    reply = send(service, key, **options)
    assert reply.status == 200, reply.text
    body: dict[str, Any] = reply.json
    return body


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def require_spent(service: Deployment, reply: Reply, before: Any) -> None:
    assert (reply.status, reply.json["error_code"]) == (409, "LoginKeySpent")
    assert "token" not in reply.json
    assert service.items() == before


def test_given_a_login_key_when_stored_then_user_and_key_are_and_no_secret(
    service: Deployment,
) -> None:
    body = log_in(service)

    until = str(int((START + DAY).timestamp()))
    users, keys = service.items("USER#"), service.items("ONCE#")
    assert list(users) == [f"USER#{APP}#{body['user_id']}"]
    assert keys == {
        f"ONCE#{APP}#{hash_secret(KEY)}": {
            "pk": {"S": f"ONCE#{APP}#{hash_secret(KEY)}"},
            "user_id": {"S": body["user_id"]},
            "expires_at": {"N": until},
            "ttl": {"N": until},
        }
    }
    jti = claims_of(body["refresh_token"])["jti"]
    stored = json.dumps([users, keys])
    assert KEY not in stored
    assert jti not in stored
    assert jti == token_id_of(KEY, APP, body["user_id"])


def test_given_a_login_key_when_used_again_then_user_and_session_are_the_same(
    service: Deployment,
) -> None:
    first = log_in(service)
    before = service.items()
    service.now += 30 * SECOND

    second = log_in(service)

    assert service.items() == before
    same = ("user_id", "device_id", "expires_at")
    assert [second[name] for name in same] == [first[name] for name in same]
    tokens = first["refresh_token"], second["refresh_token"]
    one, other = (claims_of(token) for token in tokens)
    assert one | {"iat": 0, "exp": 0} == other | {"iat": 0, "exp": 0}
    assert other["iat"] - one["iat"] == 30
    one, other = (claims_of(each["access_token"]) for each in (first, second))
    assert one["sid"] == other["sid"]
    for each in (first, second):
        assert service.send(SESSION, token=each["refresh_token"]).status == 200
        assert service.send(PROFILE, token=each["access_token"]).status == 200


def test_given_a_device_when_repeated_from_another_then_it_is_that_of_the_session(
    service: Deployment,
) -> None:
    def log_in_from(platform: str) -> Any:
        options = {"device": {"platform": platform}}
        body = json.dumps({"login_key": KEY, "options": options})
        return service.log_in(body=body)

    first, second = log_in_from("node"), log_in_from("firefox")

    assert second["device_id"] == first["device_id"]
    item = service.user_item(first["user_id"])
    assert item is not None
    ((_, session),) = item["sessions"]["M"].items()
    assert session["M"]["device"] == {"M": {"platform": {"S": "node"}}}


def test_given_other_keys_when_logging_in_then_each_makes_a_user(
    service: Deployment,
) -> None:
    users = {
        log_in(service)["user_id"],
        log_in(service, OTHER_KEY)["user_id"],
        log_in(service, app=OTHER_APP)["user_id"],
        log_in(service, None)["user_id"],
        service.log_in()["user_id"],
    }

    assert len(users) == 5
    assert len(service.items("USER#")) == 5
    assert len(service.items("ONCE#")) == 3


def test_given_a_key_used_twice_when_changes_are_told_then_one_user_was_created(
    service: Deployment, story: Story
) -> None:
    body = log_in(service)
    log_in(service)

    created = [(e["detail-type"], e["detail"]["uid"]) for e in story.told()]

    assert created == [("user.created", body["user_id"])]
    service.now += DAY + SECOND
    story.sweep()
    assert not service.items("ONCE#")
    assert story.told() == []


def test_given_two_apps_when_one_key_is_used_then_no_token_is_shared(
    service: Deployment,
) -> None:
    one, other = log_in(service), log_in(service, app=OTHER_APP)

    ids = {claims_of(each["refresh_token"])["jti"] for each in (one, other)}
    assert len(ids) == 2
    assert log_in(service, app=OTHER_APP)["user_id"] == other["user_id"]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param(KEY[:-1], id="42 characters"),
        pytest.param(KEY + "A", id="44 characters"),
        pytest.param(KEY + "=", id="padded"),
        pytest.param(KEY + "\n", id="a line feed behind it"),
        pytest.param(" " + KEY[1:], id="a blank"),
        pytest.param("+" + KEY[1:], id="plus"),
        pytest.param("/" + KEY[1:], id="slash"),
        pytest.param("é" + KEY[1:], id="not ASCII"),
        pytest.param("\u0660" + KEY[1:], id="a digit of another script"),
        pytest.param(KEY[:-1] + "9", id="bits too many, both set"),
        pytest.param("A" * 42 + "B", id="bits too many, the lower set"),
        pytest.param("A" * 42 + "C", id="bits too many, the upper set"),
        pytest.param("A" * 42 + "-", id="hyphen at the end"),
        pytest.param("A" * 42 + "_", id="underscore at the end"),
        pytest.param("0123456789abcdef" * 4, id="hex"),
        pytest.param(5, id="number"),
        pytest.param(True, id="boolean"),
        pytest.param([KEY], id="array"),
        pytest.param({"$oid": KEY}, id="object"),
    ],
)
def test_given_a_bad_login_key_when_logging_in_then_400_without_a_write(
    service: Deployment, key: object
) -> None:
    reply = send(service, key)

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert "login_key" in reply.json["error"]
    assert KEY[1:] not in reply.text
    assert not service.items("USER#")
    assert not service.items("ONCE#")


@pytest.mark.parametrize("end", "AEIMQUYcgkosw048")
def test_given_any_last_character_of_32_bytes_when_logging_in_then_it_is_taken(
    service: Deployment, end: str
) -> None:
    assert send(service, "-" * 41 + "_" + end).status == 200


def test_given_a_login_key_of_yesterday_when_used_then_it_makes_another_user(
    service: Deployment,
) -> None:
    first = log_in(service)

    service.now = START + DAY - SECOND
    last = log_in(service)
    service.now = START + DAY
    next_day = log_in(service)

    assert last["user_id"] == first["user_id"]
    assert next_day["user_id"] != first["user_id"]
    assert log_in(service)["user_id"] == next_day["user_id"]
    assert len(service.items("USER#")) == 2
    assert service.send(SESSION, token=first["refresh_token"]).status == 200


def log_out(service: Deployment, body: dict[str, Any]) -> None:
    assert service.send(LOGOUT, token=body["refresh_token"]).status == 200


def delete(service: Deployment, body: dict[str, Any]) -> None:
    assert service.send(DELETE, token=body["access_token"]).status == 200


def lose(service: Deployment, body: dict[str, Any]) -> None:
    pk = {"S": f"USER#{APP}#{body['user_id']}"}
    service.db.delete_item(TableName=service.table, Key={"pk": pk})


def expire(service: Deployment, body: dict[str, Any]) -> None:
    """Let the guest expire at once; by time it outlives its key."""
    item = service.user_item(body["user_id"])
    assert item is not None
    now = {"N": str(int(service.now.timestamp()))}
    service.db.put_item(TableName=service.table, Item=item | {"expires_at": now})


def link_and_log_out(service: Deployment, body: dict[str, Any]) -> None:
    link(service, body, "custom-token", "ada")
    log_out(service, body)


def merge(service: Deployment, body: dict[str, Any]) -> None:
    """Absorb the guest into the user that has the identity "ada"."""
    service.restart_with(PROVIDERS_ON)
    log_in_by(service, "custom-token", by_token())
    brought = by_token() | {"merge": body["refresh_token"]}
    assert log_in_by(service, "custom-token", brought).json["merged"] is True


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(log_out, id="logout"),
        pytest.param(delete, id="deletion"),
        pytest.param(lose, id="lost item"),
        pytest.param(expire, id="expiry"),
        pytest.param(merge, id="merge"),
        pytest.param(link_and_log_out, id="logout of a linked user"),
    ],
)
def test_given_a_session_that_has_ended_when_its_key_comes_late_then_409_for_24_h(
    service: Deployment, end: Any
) -> None:
    """A late duplicate must not bring the guest back, nor make another."""
    first = log_in(service)
    end(service, first)
    before = service.items()

    require_spent(service, send(service), before)
    service.now = START + DAY - SECOND
    require_spent(service, send(service), before)
    service.now = START + DAY
    assert log_in(service)["user_id"] != first["user_id"]


def test_given_a_guest_that_linked_when_its_key_is_repeated_then_it_is_that_user(
    service: Deployment,
) -> None:
    """Otherwise a second tab would make a second guest."""
    first = log_in(service)
    link(service, first, "custom-token", "ada")
    before = service.items()

    second = log_in(service)

    assert service.items() == before
    assert second["user_id"] == first["user_id"]
    assert "expires_at" not in second
    assert claims_of(second["access_token"])["anonymous"] is False
    assert service.send(SESSION, token=second["refresh_token"]).status == 200


def test_given_another_session_of_the_user_when_its_own_ended_then_409(
    service: Deployment,
) -> None:
    """The key gives back the session that it opened, and no other."""
    first = log_in(service)
    link(service, first, "custom-token", "ada")
    other = open_session(service, first["user_id"], "custom-token", "ada")
    log_out(service, first)
    before = service.items()

    require_spent(service, send(service), before)

    assert service.send(SESSION, token=other["refresh_token"]).status == 200


def test_given_a_login_key_when_linking_then_400_without_a_write(
    service: Deployment,
) -> None:
    reply = send(service, query={"link": "true"})

    assert (reply.status, reply.json["error_code"]) == (400, "InternalServerError")
    assert not service.items("ONCE#")


def test_given_a_warm_service_when_a_key_is_used_then_it_costs_what_it_must(
    service: Deployment,
) -> None:
    service.log_in()
    reads = ["GetItem", "GetItem"]

    assert service.counted(lambda: log_in(service)) == ["TransactWriteItems"]
    assert service.counted(lambda: log_in(service)) == ["TransactWriteItems", *reads]
    assert service.counted(service.log_in) == ["PutItem"]


def test_given_a_lost_reply_when_logging_in_by_a_key_then_there_is_one_user(
    service: Deployment,
) -> None:
    service.log_in()
    service.wire.reset()
    service.wire.faults = [lost_reply]

    body = log_in(service)

    assert len(service.items("USER#")) == 2
    assert log_in(service)["user_id"] == body["user_id"]
    assert service.send(SESSION, token=body["refresh_token"]).status == 200


def test_given_others_with_the_key_when_they_are_in_the_way_then_it_waits(
    service: Deployment,
) -> None:
    """DynamoDB refuses a transaction while another one writes the same item."""
    service.log_in()
    service.wire.reset()
    service.wire.faults = [transaction_conflict] * 12

    body = log_in(service)

    assert len(service.wire.calls) == 13
    assert log_in(service)["user_id"] == body["user_id"]
    service.wire.always = transaction_conflict
    assert send(service, OTHER_KEY).status == 503


def test_given_a_key_whose_time_ends_between_two_calls_when_used_then_it_is_new(
    service: Deployment,
) -> None:
    """Another function's clock may be ahead, and DynamoDB has a clock of its own."""
    first = log_in(service)
    pk = {"S": f"ONCE#{APP}#{hash_secret(KEY)}"}

    def sweep() -> None:
        service.db.delete_item(TableName=service.table, Key={"pk": pk})

    service.wire.reset()
    service.wire.faults = [None, preceded_by(sweep)]
    second = log_in(service)

    assert second["user_id"] != first["user_id"]
    write = "TransactWriteItems"
    assert service.wire.calls == [write, "GetItem", write]
    assert log_in(service)["user_id"] == second["user_id"]


def test_given_a_user_id_that_is_taken_when_logging_in_by_a_key_then_503(
    service: Deployment,
) -> None:
    class Full(Store):
        def create_user_once(self, *_: object, **__: object) -> bool:
            return False

    service.services.store = Full(service.table, region="eu-central-1")
    # The ring is read through the store that was there before.
    service.services.ring = KeyRing(
        service._clients.store(service.table), service.services.wrapping
    )

    reply = send(service)

    assert reply.status == 503
    assert "token" not in reply.text
