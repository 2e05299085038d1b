"""GET /auth/sessions, DELETE /auth/sessions/{id}."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.users import MOST_SESSIONS
from support.service.harness import (
    END_SESSION,
    LIST_SESSIONS,
    LOGIN,
    LOGOUT,
    NO_DEVICE,
    PROFILE,
    SESSION,
    Deployment,
    Reply,
)
from support.service.linked import (
    log_in_linked,
    open_key_session,
    open_session,
    stored_user,
)
from support.service.wire import (
    Fault,
    lost_reply,
    preceded_by,
    server_error_after_effect,
    transaction_conflict,
)

DAY = timedelta(days=1)


@pytest.fixture
def laptop(service: Deployment) -> dict[str, Any]:
    """The session of a guest that has linked a JWT's subject."""
    return log_in_linked(service)


@pytest.fixture
def phone(service: Deployment, laptop: dict[str, Any]) -> dict[str, str]:
    """A later login of the same user."""
    return open_session(service, laptop["user_id"], "custom-token", "ada")


def id_of(service: Deployment, opened: Mapping[str, str]) -> str:
    """Return the id of the session of a login's answer."""
    tokens = service.services.tokens
    claims = tokens.read_refresh_token(opened["refresh_token"], service.now)
    return claims.session_id


def listed(service: Deployment, opened: Mapping[str, str]) -> Any:
    reply = service.send(LIST_SESSIONS, token=opened["refresh_token"])
    assert reply.status == 200, reply.text
    return reply.json


def end(service: Deployment, opened: Mapping[str, str], session_id: str) -> Reply:
    return service.send(
        END_SESSION, token=opened["refresh_token"], parameters={"id": session_id}
    )


def is_out(service: Deployment, opened: Mapping[str, str]) -> bool:
    """Tell whether both tokens of a session are refused."""
    statuses = {
        service.send(PROFILE, token=opened["access_token"]).status,
        service.send(SESSION, token=opened["refresh_token"]).status,
    }
    assert statuses in ({200}, {401})
    return statuses == {401}


def test_given_a_guest_when_it_lists_its_sessions_then_its_own_with_all_that_it_told(
    service: Deployment,
) -> None:
    device = {
        "platform": "firefox",
        "sdkVersion": "2.0.1",
        "deviceId": "6923a1f0c4d5e6f708192a3c",
    }
    sent = json.dumps({"options": {"device": device}})
    opened = service.send(LOGIN, body=sent).json

    (session,) = listed(service, opened)

    assert session == {
        "id": id_of(service, opened),
        "current": True,
        "provider": "anon-user",
        "device": {
            "id": "6923a1f0c4d5e6f708192a3c",
            "info": {"platform": "firefox", "sdkVersion": "2.0.1"},
        },
        "created_at": "2026-03-10T12:00:00Z",
        "used_day": "2026-03-10",
        "expires_at": opened["expires_at"],
    }


def test_given_three_sessions_when_listed_then_the_last_used_comes_first(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    service.advance(timedelta(hours=1))
    tablet = open_session(service, laptop["user_id"], "custom-token", "ada")
    service.advance(timedelta(hours=1))
    phone = open_session(service, laptop["user_id"], "custom-token", "ada")
    service.advance(DAY)
    service.send(SESSION, token=laptop["refresh_token"])

    sessions = listed(service, tablet)

    order = [id_of(service, each) for each in (laptop, phone, tablet)]
    assert [session["id"] for session in sessions] == order
    assert [session["current"] for session in sessions] == [False, False, True]
    assert [s["used_day"] for s in sessions] == ["2026-03-11", *["2026-03-10"] * 2]
    assert [s["provider"] for s in sessions] == ["anon-user", *["custom-token"] * 2]
    assert sessions[1]["created_at"] == "2026-03-10T14:00:00Z"
    assert sessions[1]["device"] == {"id": NO_DEVICE, "info": {}}
    for session in sessions:
        stored = stored_user(service, laptop["user_id"]).sessions[session["id"]]
        told = datetime.fromisoformat(session["expires_at"])
        assert told == stored.expires_at
        assert date.fromisoformat(session["used_day"]) == stored.used_day
        assert told.tzinfo == UTC


def test_given_a_user_with_all_sessions_there_can_be_when_listed_then_no_secret_of_any(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    for _ in range(MOST_SESSIONS - 1):
        open_session(service, laptop["user_id"], "custom-token", "ada")

    text = service.send(LIST_SESSIONS, token=laptop["refresh_token"]).text

    sessions = stored_user(service, laptop["user_id"]).sessions
    assert len(json.loads(text)) == len(sessions) == MOST_SESSIONS
    for session in sessions.values():
        assert session.token_hash not in text
    assert stored_user(service, laptop["user_id"]).identities[1].key not in text


@pytest.mark.parametrize(
    ("ahead", "seen"), [(timedelta(seconds=-1), 2), (timedelta(0), 1)], ids=str
)
def test_given_a_session_when_its_time_comes_then_it_is_not_listed_and_cannot_be_ended(
    service: Deployment, laptop: dict[str, Any], ahead: timedelta, seen: int
) -> None:
    session_id = id_of(service, laptop)
    end_of_laptop = stored_user(service, laptop["user_id"]).sessions[session_id]
    assert end_of_laptop.expires_at is not None
    service.advance(DAY)
    phone = open_session(service, laptop["user_id"], "custom-token", "ada")
    service.now = end_of_laptop.expires_at + ahead

    sessions = listed(service, phone)
    reply = end(service, phone, session_id)

    assert len(sessions) == seen
    assert reply.status == (200 if seen == 2 else 404)


def test_given_the_session_of_a_disabled_key_when_listed_then_it_is_not_there(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    """Its item may be there still: whoever reads it looks for the opener."""
    program = open_key_session(service, laptop)
    session_id = id_of(service, program)
    user = stored_user(service, laptop["user_id"])
    (key,) = user.api_keys.values()
    assert len(listed(service, laptop)) == 2
    service.db.update_item(
        TableName=service.table,
        Key={"pk": {"S": f"USER#{user.app}#{user.id}"}},
        UpdateExpression="SET api_keys.#k.disabled = :true",
        ExpressionAttributeNames={"#k": key.id},
        ExpressionAttributeValues={":true": {"BOOL": True}},
    )

    assert [each["id"] for each in listed(service, laptop)] == [id_of(service, laptop)]
    assert end(service, laptop, session_id).status == 404


def test_given_two_devices_when_one_ends_the_other_then_only_that_one_is_out(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    before = stored_user(service, laptop["user_id"])

    reply = end(service, laptop, id_of(service, phone))

    assert (reply.status, reply.text) == (200, "{}")
    after = stored_user(service, laptop["user_id"])
    own = id_of(service, laptop)
    assert after == replace(before, sessions={own: before.sessions[own]})
    assert is_out(service, phone)
    assert not is_out(service, laptop)


def test_given_its_own_id_when_ended_then_it_is_a_logout(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    reply = end(service, phone, id_of(service, phone))

    assert (reply.status, reply.text) == (200, "{}")
    assert is_out(service, phone)
    assert not is_out(service, laptop)
    again = end(service, phone, id_of(service, laptop))
    assert (again.status, again.json["error_code"]) == (401, "InvalidSession")
    assert not is_out(service, laptop)


def test_given_a_guest_when_it_ends_its_own_session_then_it_is_deleted(
    service: Deployment,
) -> None:
    body = service.log_in()

    reply = end(service, body, id_of(service, body))

    assert reply.status == 200
    assert service.user_item(body["user_id"]) is None


@pytest.mark.parametrize(
    "session_id",
    [
        pytest.param("0" * 24, id="of nobody"),
        pytest.param("x", id="not an id"),
        pytest.param("a.b", id="with a dot"),
        pytest.param("a b/ö", id="encoded"),
        pytest.param("x" * 5000, id="long"),
        pytest.param("of another user", id="of another user"),
        pytest.param("of the user", id="the user's id"),
    ],
)
def test_given_an_id_that_the_user_does_not_have_when_ended_then_404_and_all_stays(
    service: Deployment, laptop: dict[str, Any], session_id: str
) -> None:
    other = service.log_in()
    ids = {"of another user": id_of(service, other), "of the user": laptop["user_id"]}
    before = service.items()

    reply = end(service, laptop, ids.get(session_id, session_id))

    assert (reply.status, reply.json["error_code"]) == (404, "SessionNotFound")
    assert reply.json["error"] == "this user has no such session"
    assert service.items() == before


def test_given_an_ended_session_when_the_call_is_repeated_then_404(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    ended = id_of(service, phone)

    statuses = [end(service, laptop, ended).status for _ in range(2)]

    assert statuses == [200, 404]


def test_given_a_session_that_ends_in_between_when_ended_then_404(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    ended = id_of(service, phone)

    def log_out() -> None:
        service.wire.faults = []
        assert service.send(LOGOUT, token=phone["refresh_token"]).status == 200

    service.wire.faults = [None, preceded_by(log_out)]

    reply = end(service, laptop, ended)

    assert (reply.status, reply.json["error_code"]) == (404, "SessionNotFound")
    assert not is_out(service, laptop)


def test_given_a_refresh_in_between_when_a_session_is_ended_then_it_ends_all_the_same(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    """The hash of its token stays the same, so no refresh can keep it open."""
    service.advance(DAY)

    def refresh() -> None:
        service.wire.faults = []
        assert service.send(SESSION, token=phone["refresh_token"]).status == 200

    service.wire.faults = [None, preceded_by(refresh)]

    assert end(service, laptop, id_of(service, phone)).status == 200
    assert is_out(service, phone)


def test_given_a_session_of_an_api_key_when_it_ends_others_then_403_and_nothing_ends(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    program = open_key_session(service, laptop)
    second = open_session(
        service,
        laptop["user_id"],
        "api-key",
        next(iter(stored_user(service, laptop["user_id"]).api_keys)),
    )
    before = service.items()

    assert len(listed(service, program)) == 4
    others = [id_of(service, each) for each in (laptop, phone, second)]
    for session_id in (*others, "nobody's"):
        reply = end(service, program, session_id)
        assert (reply.status, reply.json["error_code"]) == (403, "AuthError")

    assert service.items() == before
    assert end(service, program, id_of(service, program)).status == 200
    assert is_out(service, program)
    assert not is_out(service, second)


def test_given_a_session_of_an_api_key_when_its_owner_ends_it_then_it_is_out(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    program = open_key_session(service, laptop)

    assert end(service, laptop, id_of(service, program)).status == 200
    assert is_out(service, program)


def test_given_calls_about_sessions_when_counted_then_as_few_as_can_be(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    guest, ended = service.log_in(), id_of(service, phone)

    assert service.counted(lambda: listed(service, laptop)) == ["GetItem"]
    assert service.counted(lambda: end(service, laptop, "x")) == ["GetItem"]
    assert service.counted(lambda: end(service, laptop, ended)) == [
        "GetItem",
        "DeleteItem",
        "UpdateItem",
    ]
    assert service.counted(lambda: end(service, guest, id_of(service, guest))) == [
        "GetItem",
        "DeleteItem",
    ]


@pytest.mark.parametrize("fault", [lost_reply, server_error_after_effect])
def test_given_a_lost_reply_when_the_store_repeats_then_the_session_has_ended(
    service: Deployment,
    laptop: dict[str, Any],
    phone: dict[str, str],
    fault: Fault,
) -> None:
    ended = id_of(service, phone)
    service.wire.faults = [None, None, fault]

    reply = end(service, laptop, ended)

    assert (reply.status, reply.text) == (200, "{}")
    assert is_out(service, phone)


@pytest.mark.parametrize(("conflicts", "status"), [(14, 200), (15, 503)])
def test_given_an_item_that_its_holder_keeps_busy_when_ended_then_it_ends_all_the_same(
    service: Deployment,
    laptop: dict[str, Any],
    phone: dict[str, str],
    conflicts: int,
    status: int,
) -> None:
    """12 conflicts do not count, and 2 of 3 attempts may fail."""
    ended = id_of(service, phone)
    service.wire.faults = [None, None, *[transaction_conflict] * conflicts]

    reply = end(service, laptop, ended)

    assert reply.status == status
    assert is_out(service, phone) == (status == 200)
