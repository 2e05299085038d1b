"""POST …/anon-user/login."""

import base64
import json
import re
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest

from anonauth.domain.users import User
from anonauth.keys import KeyRing
from anonauth.store import Store
from support.hostile.bodies import BAD_BODIES, WRONG_TYPES
from support.service.harness import (
    APP,
    COMMON_HEADERS,
    LOGIN,
    NO_DEVICE,
    OTHER_APP,
    PROFILE,
    SESSION,
    START,
    Deployment,
)
from support.service.linked import UNREADABLE_LINK

DEVICE_ID = "5f0c3b2a1d9e8f7a6b5c4d3e"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({}, id="no body, no content type"),
        pytest.param({"body": ""}, id="empty body"),
        pytest.param(
            {"body": "{}", "headers": {"content-type": "application/json"}}, id="json"
        ),
        pytest.param(
            {
                "body": base64.b64encode(b"{}").decode(),
                "is_base64": True,
            },
            id="json without a type",
        ),
        pytest.param(
            {
                "body": '{"provider":"anon-user"}',
                "headers": {"content-type": "application/json;charset=utf-8"},
            },
            id="Core",
        ),
        pytest.param({"query": {"link": "false"}}, id="link=false"),
        pytest.param({"query": {"link": "False"}}, id="link=False"),
        pytest.param({"headers": {"authorization": "Bearer null"}}, id="Bearer null"),
        pytest.param({"headers": {"authorization": "Basic eA=="}}, id="other scheme"),
    ],
)
def test_given_any_empty_body_when_logging_in_then_there_is_a_new_user(
    service: Deployment, sent: dict[str, Any]
) -> None:
    reply = service.send(LOGIN, **sent)

    assert reply.status == 200
    assert reply.headers == {**COMMON_HEADERS, "cache-control": "no-store"}
    body = reply.json
    assert set(body) == {
        "access_token",
        "refresh_token",
        "user_id",
        "device_id",
        "expires_at",
    }
    assert re.fullmatch("[0-9a-f]{24}", body["user_id"])
    assert body["device_id"] == NO_DEVICE
    assert body["expires_at"] == "2026-06-09T01:00:00Z"
    assert list(service.items("USER#")) == [f"USER#{APP}#{body['user_id']}"]


def test_given_a_login_when_stored_then_the_item_is_the_whole_user(
    service: Deployment,
) -> None:
    body = service.log_in()

    item = service.user_item(body["user_id"])
    assert item is not None
    ((session_id, session),) = item["sessions"]["M"].items()
    expires_at = int(datetime.fromisoformat(body["expires_at"]).timestamp())
    assert item.keys() == {
        "pk",
        "state",
        "anonymous",
        "version",
        "created_at",
        "last_active_day",
        "expires_at",
        "ttl",
        "sessions",
        "identities",
        "api_keys",
    }
    assert item["anonymous"] == {"BOOL": True}
    assert item["state"] == {"S": "active"}
    assert item["expires_at"] == {"N": str(expires_at)}
    assert item["ttl"] == {"N": str(expires_at + 86400)}
    assert item["last_active_day"] == {"S": "2026-03-10"}
    assert item["created_at"] == {"N": str(int(START.timestamp()))}
    assert item["api_keys"] == {"M": {}}
    assert re.fullmatch("[0-9a-f]{24}", session_id)
    assert session["M"]["used_day"] == {"S": "2026-03-10"}
    (identity,) = item["identities"]["L"]
    assert identity["M"]["provider"] == {"S": "anon-user"}
    assert re.fullmatch("[0-9a-f]{24}-[a-z]{24}", identity["M"]["id"]["S"])


def size_of(value: dict[str, Any]) -> int:
    """Return the bytes of an attribute value (AWS: "DynamoDB item sizes")."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return (len(content) + 1) // 2 + 1
        case "BOOL":
            return 1
        case "M":
            pairs = content.items()
            return 3 + sum(1 + len(k.encode()) + size_of(v) for k, v in pairs)
        case "L":
            return 3 + sum(1 + size_of(v) for v in content)
    raise AssertionError(kind)


@pytest.mark.parametrize("text", ["x" * 99, "\u00fc" * 99], ids=["ASCII", "UTF-8"])
def test_given_the_longest_of_everything_when_stored_then_under_1_kb(
    service: Deployment, text: str
) -> None:
    """DynamoDB bills writes by the kilobyte."""
    # The longest values that realm-web, Core and Stitch send (contract 2.2).
    names = (
        "platform platformVersion sdk sdkVersion appId appVersion cpuArch deviceName "
        "deviceVersion frameworkName frameworkVersion coreVersion bundleId"
    )
    device = dict.fromkeys(names.split(), text) | {"deviceId": DEVICE_ID}
    app = "a" * 64
    service.restart(APP_IDS=app)

    body = service.log_in(app=app, body=json.dumps({"options": {"device": device}}))

    item = service.user_item(body["user_id"], app)
    assert item is not None
    ((_, session),) = item["sessions"]["M"].items()
    assert len(session["M"]["device"]["M"]) > 5
    assert size_of({"M": item}) < 1024


def test_given_a_login_when_stored_then_no_token_and_no_address_is(
    service: Deployment,
) -> None:
    body = service.log_in(headers={"x-forwarded-for": "203.0.113.9"})

    stored = json.dumps(service.items("USER#"))
    claims = jwt.decode(body["refresh_token"], options={"verify_signature": False})
    assert "203.0.113" not in stored
    for secret in (
        claims["jti"],
        body["access_token"].rpartition(".")[2],
        body["refresh_token"].rpartition(".")[2],
    ):
        assert secret not in stored


def test_given_a_valid_token_when_logging_in_then_it_is_still_a_new_user(
    service: Deployment,
) -> None:
    first = service.log_in()

    second = service.log_in(token=first["access_token"])

    assert second["user_id"] != first["user_id"]
    assert len(service.items("USER#")) == 2
    assert service.send(PROFILE, token=first["access_token"]).status == 200


def test_given_a_device_id_when_logging_in_then_it_comes_back_and_is_claimed(
    service: Deployment,
) -> None:
    options = {"device": {"deviceId": {"$oid": DEVICE_ID}, "platform": "node"}}

    body = service.log_in(body=json.dumps({"options": options}))

    assert body["device_id"] == DEVICE_ID
    for token in (body["access_token"], body["refresh_token"]):
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["baas_device_id"] == claims["stitch_devId"] == DEVICE_ID
    item = service.user_item(body["user_id"])
    assert item is not None
    ((_, session),) = item["sessions"]["M"].items()
    assert session["M"]["device"] == {"M": {"platform": {"S": "node"}}}


@pytest.mark.parametrize(
    "device",
    [
        pytest.param({"platform": "Linux", "sdk": "Dart"}, id="as Core sends it"),
        pytest.param({}, id="empty"),
        pytest.param({"deviceId": None}, id="null"),
        pytest.param({"deviceId": NO_DEVICE}, id="zeros"),
        pytest.param({"deviceId": {"$oid": NO_DEVICE}}, id="zeros of realm-web"),
        pytest.param({"deviceId": "phone"}, id="no id of ours"),
        pytest.param({"deviceId": 7}, id="number"),
        pytest.param({"platformVersion": 18.1}, id="version a number"),
    ],
)
def test_given_a_device_without_an_id_when_logging_in_then_it_gets_one(
    service: Deployment, device: dict[str, Any]
) -> None:
    """The old service did so (client-api.md §2.2). Native SDKs never send an id."""
    sent = json.dumps({"options": {"device": device}})

    body, other = service.log_in(body=sent), service.log_in(body=sent)

    device_id = body["device_id"]
    assert re.fullmatch("[0-9a-f]{24}", device_id)
    assert device_id not in {NO_DEVICE, other["device_id"], body["user_id"]}
    refreshed = service.send(SESSION, token=body["refresh_token"]).json
    for token in (
        body["access_token"],
        body["refresh_token"],
        refreshed["access_token"],
    ):
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["baas_device_id"] == claims["stitch_devId"] == device_id
    item = service.user_item(body["user_id"])
    assert item is not None
    ((_, session),) = item["sessions"]["M"].items()
    assert session["M"]["device_id"] == {"S": device_id}


def test_given_a_device_that_got_an_id_when_it_logs_in_again_then_it_keeps_it(
    service: Deployment,
) -> None:
    first = service.log_in(body='{"options": {"device": {}}}')
    device = {"deviceId": {"$oid": first["device_id"]}}

    second = service.log_in(body=json.dumps({"options": {"device": device}}))

    assert second["user_id"] != first["user_id"]
    assert second["device_id"] == first["device_id"]


def test_given_an_id_that_is_taken_when_logging_in_then_503_and_no_token(
    service: Deployment,
) -> None:
    class Full(Store):
        def create_user(self, user: User) -> bool:
            return False

    service.services.store = Full(service.table, region="eu-central-1")
    # The ring is read through the store that was there before.
    service.services.ring = KeyRing(
        service._clients.store(service.table), service.services.wrapping
    )

    reply = service.send(LOGIN)

    assert reply.status == 503
    assert "token" not in reply.text


def test_given_two_apps_when_logging_in_then_each_has_its_own_users(
    service: Deployment,
) -> None:
    one, other = service.log_in(), service.log_in(app=OTHER_APP)

    assert service.items("USER#").keys() == {
        f"USER#{APP}#{one['user_id']}",
        f"USER#{OTHER_APP}#{other['user_id']}",
    }


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"link": "true"}, id="link=true"),
        pytest.param({"link": "true", "x": "1"}, id="among others"),
        pytest.param({"link": "True"}, id="link=True"),
        pytest.param({"LINK": "TRUE"}, id="LINK=TRUE"),
    ],
)
@pytest.mark.parametrize("token", [None, "null", "good"])
def test_given_link_true_when_logging_in_then_refused_without_a_write(
    service: Deployment, query: dict[str, str], token: str | None
) -> None:
    if token == "good":
        token = service.log_in()["access_token"]
    before = service.items()

    reply = service.send(LOGIN, query=query, token=token)

    assert reply.status == 400
    assert reply.json["error"] == "linking an anonymous identity is not allowed"
    assert reply.json["error_code"] == "InternalServerError"
    assert service.items() == before


@pytest.mark.parametrize("query", UNREADABLE_LINK.values(), ids=UNREADABLE_LINK)
def test_given_an_unreadable_link_when_logging_in_then_400_without_a_write(
    service: Deployment, query: dict[str, str]
) -> None:
    """A new user would be wrong: the client that wants to link would lose its user."""
    before = service.items()

    reply = service.send(LOGIN, query=query)

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert reply.json["error"] == "expected 'link' to be true or false, once"
    assert service.items() == before


@pytest.mark.parametrize(
    "app", ["unknown", "MYAPP-ABCDE", "", f"{APP} ", f"{APP},{OTHER_APP}", "ä/../b"]
)
def test_given_an_unknown_app_when_logging_in_then_404_without_a_write(
    service: Deployment, app: str
) -> None:
    reply = service.send(LOGIN, app=app)

    assert reply.status == 404
    assert reply.json["error_code"] == "AppNotFound"
    assert reply.json["error"] == f"cannot find app using Client App ID '{app}'"
    assert not service.items("USER#")


@pytest.mark.parametrize(("body", "reason"), BAD_BODIES)
def test_given_a_bad_body_when_logging_in_then_400_without_a_write(
    service: Deployment, body: str, reason: str
) -> None:
    reply = service.send(LOGIN, body=body)

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert reason in reply.json["error"]
    assert not service.items("USER#")


@pytest.mark.parametrize(("body", "name"), WRONG_TYPES)
def test_given_a_wrong_type_when_logging_in_then_400_without_a_write(
    service: Deployment, body: dict[str, Any], name: str
) -> None:
    reply = service.send(LOGIN, body=json.dumps(body))

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert name in reply.json["error"]
    assert not service.items("USER#")


def test_given_a_moment_before_midnight_when_logging_in_then_expiry_is_a_day_later(
    service: Deployment,
) -> None:
    midnight = datetime.fromisoformat("2026-03-11T00:00:00Z")
    service.now = midnight - timedelta(seconds=1)
    before = service.log_in()["expires_at"]
    service.now = midnight
    after = service.log_in()["expires_at"]

    assert (before, after) == ("2026-06-09T01:00:00Z", "2026-06-10T01:00:00Z")
