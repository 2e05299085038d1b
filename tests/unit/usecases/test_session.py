"""POST /auth/session: a refresh, and how it extends an anonymous user's life."""

from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest

from support.service.harness import (
    APP,
    COMMON_HEADERS,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    GET_KEY,
    HEADS,
    HOST,
    JWKS,
    LINK,
    LIST_KEYS,
    LIST_SESSIONS,
    LOGOUT,
    MODULE,
    OPENAPI,
    OTHER_APP,
    PROFILE,
    ROUTES,
    SESSION,
    UNLINK,
    Deployment,
    Reply,
)
from support.service.wire import lost_reply

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_given_a_session_when_refreshed_then_there_is_a_new_access_token_only(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.advance(HOUR)
    assert service.send(PROFILE, token=body["access_token"]).status == 401

    reply = service.send(SESSION, token=body["refresh_token"])

    assert reply.status == 200
    assert reply.headers == {**COMMON_HEADERS, "cache-control": "no-store"}
    assert set(reply.json) == {"access_token"}
    profile = service.send(PROFILE, token=reply.json["access_token"])
    assert profile.json["user_id"] == body["user_id"]


@pytest.mark.parametrize("body", [None, "", "{", "[1]", "x" * 20_000, "\ud800"])
def test_given_any_body_when_refreshing_then_it_is_ignored(
    service: Deployment, body: str | None
) -> None:
    token = service.log_in()["refresh_token"]

    assert service.send(SESSION, token=token, body=body).status == 200


def test_given_refreshes_of_one_day_when_stored_then_the_item_is_written_once(
    service: Deployment,
) -> None:
    body = service.log_in()
    before = service.user_item(body["user_id"])

    service.advance(11 * HOUR)
    service.send(SESSION, token=body["refresh_token"])
    assert service.user_item(body["user_id"]) == before

    service.advance(HOUR)  # midnight
    service.send(SESSION, token=body["refresh_token"])
    after = service.user_item(body["user_id"])
    assert before is not None
    assert after is not None
    for name in ("expires_at", "ttl"):
        assert int(after[name]["N"]) - int(before[name]["N"]) == 86400
    assert after["last_active_day"] == {"S": "2026-03-11"}
    assert after["version"] == before["version"]


@pytest.mark.parametrize(
    ("silence", "status"),
    [
        pytest.param(89 * DAY + 23 * HOUR + 59 * MINUTE, 200, id="89 d 23 h 59 m"),
        pytest.param(90 * DAY, 200, id="90 d"),
        pytest.param(91 * DAY + 2 * HOUR, 401, id="91 d 2 h"),
        pytest.param(400 * DAY, 401, id="400 d"),
    ],
)
@pytest.mark.parametrize("hour", [0, 12, 23], ids=["midnight", "noon", "evening"])
def test_given_silence_when_refreshing_then_ninety_days_decide(
    service: Deployment, silence: timedelta, status: int, hour: int
) -> None:
    """The item is still in the table, because no sweep has run."""
    service.advance((hour + 12) * HOUR)
    body = service.log_in()

    service.advance(silence)
    reply = service.send(SESSION, token=body["refresh_token"])

    assert reply.status == status
    assert service.user_item(body["user_id"]) is not None
    if status == 401:
        assert reply.json["error_code"] == "InvalidSession"


def test_given_the_very_end_when_refreshing_then_the_second_decides(
    service: Deployment,
) -> None:
    body = service.log_in()
    item = service.user_item(body["user_id"])
    assert item is not None
    end = int(item["expires_at"]["N"])

    service.advance(timedelta(seconds=end - int(service.now.timestamp())))
    for route, token in (
        (SESSION, "refresh_token"),
        (LOGOUT, "refresh_token"),
    ):
        assert service.send(route, token=body[token]).status == 401
    service.advance(-timedelta(seconds=1))
    assert service.send(SESSION, token=body["refresh_token"]).status == 200


def test_given_a_user_active_every_60_days_when_3_years_pass_then_it_lives_on(
    service: Deployment,
) -> None:
    body = service.log_in()

    for _ in range(3 * 365 // 60 + 1):
        for _ in range(6):
            service.advance(10 * DAY)
        reply = service.send(SESSION, token=body["refresh_token"])
        assert reply.status == 200, service.now
        profile = service.send(PROFILE, token=reply.json["access_token"])
        assert profile.json["user_id"] == body["user_id"]


def test_given_an_expired_user_when_it_comes_back_then_every_route_refuses_it(
    service: Deployment,
) -> None:
    body = service.log_in()
    item = service.user_item(body["user_id"])
    assert item is not None
    # As after a restore: the access token is valid, but its user has expired.
    past = str(int(service.now.timestamp()))
    service.db.put_item(
        TableName=service.table, Item=item | {"expires_at": {"N": past}}
    )
    item = service.user_item(body["user_id"])
    access = body["access_token"]

    for route, token in (
        (SESSION, body["refresh_token"]),
        (LOGOUT, body["refresh_token"]),
        (PROFILE, access),
        (DELETE, access),
    ):
        assert service.send(route, token=token).status == 401
    assert service.user_item(body["user_id"]) == item


# Routes on which an expired user's token is tried, with the other fields they need.
WITH_TOKEN: dict[str, dict[str, Any]] = {
    SESSION: {},
    LOGOUT: {},
    LIST_SESSIONS: {},
    END_SESSION: {"parameters": {"id": "0" * 24}},
    PROFILE: {},
    DELETE: {},
    UNLINK: {"query": {"provider": "custom-token", "id": "ada"}},
    LINK: {
        "query": {"link": "true"},
        "parameters": {"provider": "local-userpass"},
        "body": '{"username": "ada@example.com", "password": "correct horse"}',
    },
    CREATE_KEY: {"body": '{"name": "ci"}'},
    LIST_KEYS: {},
    GET_KEY: {"parameters": {"id": "0" * 24}},
    DELETE_KEY: {"parameters": {"id": "0" * 24}},
    ENABLE_KEY: {"parameters": {"id": "0" * 24}},
    DISABLE_KEY: {"parameters": {"id": "0" * 24}},
}
TAKES_ACCESS_TOKEN = {PROFILE, DELETE, LINK}


def test_given_the_routes_when_listed_then_all_that_take_a_token_are_tried() -> None:
    without = {
        route
        for route in ROUTES
        if ("/app/{appId}" in route and route != LINK)
        or route in {OPENAPI, MODULE, *HEADS, "$default"}
    }

    assert set(WITH_TOKEN) == set(ROUTES) - without


@pytest.mark.parametrize("route", WITH_TOKEN)
def test_given_90_days_of_silence_when_any_route_is_tried_then_the_second_decides(
    service: Deployment, route: str
) -> None:
    """The item is still there, whatever DynamoDB's sweep does."""
    service.restart_with({"apps": {"*": {"local-userpass": {}, "api-key": {}}}})
    body = service.log_in()
    claims = service.services.tokens.read_refresh_token(
        body["refresh_token"], service.now
    )
    user = service.services.store.get_user(APP, body["user_id"])
    assert user is not None
    assert user.expires_at is not None
    session = user.sessions[claims.session_id]

    def attempt(now: datetime) -> int:
        service.now = now
        service.rotate()
        token = body["refresh_token"]
        if route in TAKES_ACCESS_TOKEN:
            token = service.services.tokens.access_token(
                user, session, base_url=f"https://{HOST}", now=now
            )
        return service.send(route, token=token, **WITH_TOKEN[route]).status

    before = service.user_item(body["user_id"])

    assert attempt(user.expires_at) == 401
    assert service.user_item(body["user_id"]) == before
    assert attempt(user.expires_at - timedelta(seconds=1)) != 401


def test_given_another_token_of_the_session_when_refreshing_then_401(
    service: Deployment,
) -> None:
    """The hash in the item decides, not our signature."""
    body = service.log_in()
    store, tokens = service.services.store, service.services.tokens
    user = store.get_user(APP, body["user_id"])
    assert user is not None
    (session,) = user.sessions.values()
    other = tokens.refresh_token(user, session, jti="another", now=service.now)

    for route in (SESSION, LOGOUT):
        assert service.send(route, token=other).status == 401
    assert service.send(SESSION, token=body["refresh_token"]).status == 200


def test_given_a_lost_reply_when_the_day_is_noted_then_the_refresh_succeeds(
    service: Deployment,
) -> None:
    """The repeated write is refused. A second read shows that the day is noted."""
    token = service.log_in()["refresh_token"]
    service.advance(DAY)
    service.send(JWKS)  # the ring is read again every five minutes
    service.wire.faults = [None, lost_reply]

    replies: list[Reply] = []
    calls = service.counted(lambda: replies.append(service.send(SESSION, token=token)))

    assert calls == ["GetItem", "UpdateItem", "UpdateItem", "GetItem"]
    assert [reply.status for reply in replies] == [200]


def test_given_a_deleted_user_when_refreshing_then_it_is_final(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.send(LOGOUT, token=body["refresh_token"])

    reply = service.send(SESSION, token=body["refresh_token"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")


def test_given_a_user_of_the_same_id_elsewhere_when_refreshing_then_apps_stay_apart(
    service: Deployment,
) -> None:
    """A token of one app never reaches another app's user, even with an equal id."""
    body = service.log_in()
    item = service.user_item(body["user_id"])
    assert item is not None
    twin = item | {"pk": {"S": f"USER#{OTHER_APP}#{body['user_id']}"}}
    service.db.put_item(TableName=service.table, Item=twin)

    assert service.send(DELETE, token=body["access_token"]).status == 200

    assert service.user_item(body["user_id"], APP) is None
    assert service.user_item(body["user_id"], OTHER_APP) == twin
    assert service.send(SESSION, token=body["refresh_token"]).status == 401


def test_given_a_host_when_another_replaces_it_then_sessions_go_on(
    service: Deployment,
) -> None:
    body = service.log_in(domain="a.example")
    service.restart(BASE_URL="https://b.example")

    access = service.send(SESSION, token=body["refresh_token"], domain="a.example")
    old = service.send(PROFILE, token=body["access_token"], domain="a.example")
    claims = jwt.decode(
        access.json["access_token"], options={"verify_signature": False}
    )

    assert old.json["user_id"] == body["user_id"]
    assert claims["iss"] == f"https://b.example/api/client/v2.0/app/{APP}"
    assert service.send(DELETE, token=body["access_token"]).status == 200
    assert service.user_item(body["user_id"]) is None
