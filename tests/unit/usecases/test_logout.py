"""DELETE /auth/session."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.service.harness import (
    APP,
    DELETE,
    LOGOUT,
    OTHER_APP,
    PROFILE,
    SESSION,
    Deployment,
    Reply,
)
from support.service.linked import (
    link,
    log_in_linked,
    open_key_session,
    open_session,
    stored_user,
    unreadable_flag,
)
from support.service.wire import (
    Fault,
    lost_reply,
    preceded_by,
    server_error_after_effect,
    transaction_conflict,
)

NOT_FOUND = "invalid session: failed to find refresh token"


def test_given_a_guest_when_it_logs_out_then_it_is_deleted(service: Deployment) -> None:
    body = service.log_in()

    reply = service.send(LOGOUT, token=body["refresh_token"])

    assert (reply.status, reply.text) == (200, "{}")
    assert reply.headers["content-type"] == "application/json"
    assert service.user_item(body["user_id"]) is None
    assert service.send(PROFILE, token=body["access_token"]).status == 401
    assert service.send(SESSION, token=body["refresh_token"]).status == 401


def test_given_a_guest_when_it_logs_out_twice_then_the_sdks_text_comes(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.send(LOGOUT, token=body["refresh_token"])

    reply = service.send(LOGOUT, token=body["refresh_token"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert reply.json["error"] == NOT_FOUND


@pytest.mark.parametrize(
    "token", ["null", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30.x"], ids=str
)
def test_given_an_unreadable_token_when_logging_out_then_the_text_that_sdks_expect(
    service: Deployment, token: str
) -> None:
    """realm-web's removeUser would fail forever on any other text."""
    reply = service.send(LOGOUT, token=token)

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert reply.json["error"] == NOT_FOUND


@pytest.mark.parametrize("body", ["", "{", "[1]", "x" * 20_000])
def test_given_any_body_when_logging_out_then_it_is_ignored(
    service: Deployment, body: str
) -> None:
    token = service.log_in()["refresh_token"]

    assert service.send(LOGOUT, token=token, body=body).status == 200


def test_given_a_lost_reply_when_the_store_repeats_then_logout_succeeds(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.wire.faults = [lost_reply]
    del service.wire.calls[:]

    reply = service.send(LOGOUT, token=body["refresh_token"])

    assert (reply.status, reply.text) == (200, "{}")
    assert service.wire.calls[:2] == ["DeleteItem", "DeleteItem"]
    assert service.user_item(body["user_id"]) is None
    assert service.send(LOGOUT, token=body["refresh_token"]).json["error"] == NOT_FOUND


def test_given_two_guests_when_one_logs_out_then_the_other_stays(
    service: Deployment,
) -> None:
    one, other = service.log_in(), service.log_in()

    service.send(LOGOUT, token=one["refresh_token"])

    assert service.user_item(other["user_id"]) is not None
    assert service.send(SESSION, token=other["refresh_token"]).status == 200


def test_given_an_access_token_when_logging_out_then_nothing_happens(
    service: Deployment,
) -> None:
    body = service.log_in()

    assert service.send(LOGOUT, token=body["access_token"]).status == 401
    assert service.user_item(body["user_id"]) is not None


def test_given_an_expired_access_token_when_logging_out_then_it_is_ignored(
    service: Deployment,
) -> None:
    body = service.log_in()
    service.advance(timedelta(days=89))

    assert service.send(LOGOUT, token=body["refresh_token"]).status == 200


def everywhere(service: Deployment, token: str, said: str = "true") -> Reply:
    return service.send(LOGOUT, token=token, query={"everywhere": said})


def is_out(service: Deployment, opened: dict[str, Any]) -> bool:
    """Tell whether both tokens of a session are refused."""
    statuses = {
        service.send(PROFILE, token=opened["access_token"]).status,
        service.send(SESSION, token=opened["refresh_token"]).status,
    }
    assert statuses in ({200}, {401})
    return statuses == {401}


@pytest.fixture
def laptop(service: Deployment) -> dict[str, Any]:
    """The session of a guest that has linked a JWT's subject."""
    return log_in_linked(service)


@pytest.fixture
def phone(service: Deployment, laptop: dict[str, Any]) -> dict[str, str]:
    """A later login of the same user."""
    return open_session(service, laptop["user_id"], "custom-token", "ada")


@pytest.mark.parametrize("said", ["true", "TRUE", "True"])
def test_given_three_devices_when_logged_out_everywhere_then_no_token_is_good(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str], said: str
) -> None:
    tablet = open_session(service, laptop["user_id"], "custom-token", "ada")
    other = service.log_in()
    before = stored_user(service, laptop["user_id"])

    reply = everywhere(service, phone["refresh_token"], said)

    assert (reply.status, reply.text) == (200, "{}")
    after = stored_user(service, laptop["user_id"])
    assert after == replace(before, sessions={}, version=before.version + 1)
    assert all(is_out(service, each) for each in (laptop, phone, tablet))
    assert not is_out(service, other)
    back = open_session(service, laptop["user_id"], "custom-token", "ada")
    assert not is_out(service, back)


@pytest.mark.parametrize("query", [None, {}, {"everywhere": "false"}, {"every": "1"}])
def test_given_two_devices_when_one_logs_out_without_the_parameter_then_one_is_out(
    service: Deployment,
    laptop: dict[str, Any],
    phone: dict[str, str],
    query: dict[str, str] | None,
) -> None:
    calls = service.counted(
        lambda: service.send(LOGOUT, token=phone["refresh_token"], query=query)
    )

    assert calls == ["DeleteItem", "UpdateItem"]
    assert is_out(service, phone)
    assert not is_out(service, laptop)


@pytest.mark.parametrize(
    "query", unreadable_flag("everywhere").values(), ids=unreadable_flag("everywhere")
)
@pytest.mark.parametrize("token", ["its own", "null"])
def test_given_an_unreadable_parameter_when_logging_out_then_400_and_nothing_ends(
    service: Deployment,
    laptop: dict[str, Any],
    phone: dict[str, str],
    query: dict[str, str],
    token: str,
) -> None:
    """To end one session instead of all would look like a success."""
    before = service.items()
    sent = laptop["refresh_token"] if token == "its own" else token

    calls = service.counted(lambda: service.send(LOGOUT, token=sent, query=query))
    reply = service.send(LOGOUT, token=sent, query=query)

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert reply.json["error"] == "expected 'everywhere' to be true or false, once"
    assert calls == []
    assert service.items() == before
    assert not is_out(service, phone)


def test_given_a_guest_when_it_logs_out_everywhere_then_it_is_deleted(
    service: Deployment,
) -> None:
    body, other = service.log_in(), service.log_in()

    calls = service.counted(lambda: everywhere(service, body["refresh_token"]))

    assert calls == ["GetItem", "DeleteItem", "UpdateItem"]
    assert service.user_item(body["user_id"]) is None
    assert service.items("GONE#") == {}
    assert is_out(service, body)
    assert not is_out(service, other)


def test_given_a_permanent_user_when_it_logs_out_everywhere_then_two_calls(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    calls = service.counted(lambda: everywhere(service, laptop["refresh_token"]))

    assert calls == ["GetItem", "UpdateItem"]


@pytest.mark.parametrize("is_linked", [False, True], ids=["guest", "permanent"])
def test_given_a_logout_everywhere_when_it_is_repeated_then_the_text_that_sdks_expect(
    service: Deployment, *, is_linked: bool
) -> None:
    body = log_in_linked(service) if is_linked else service.log_in()
    everywhere(service, body["refresh_token"])

    reply = everywhere(service, body["refresh_token"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert reply.json["error"] == NOT_FOUND


@pytest.mark.parametrize(
    "token", ["null", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30.x", "access", "other app"]
)
def test_given_a_bad_token_when_logging_out_everywhere_then_that_text_and_nothing_ends(
    service: Deployment, laptop: dict[str, Any], token: str
) -> None:
    if token == "access":
        token = laptop["access_token"]
    elif token == "other app":
        stranger = service.log_in(app=OTHER_APP)
        own = replace(stored_user(service, stranger["user_id"], OTHER_APP), app=APP)
        (session,) = own.sessions.values()
        tokens, now = service.services.tokens, service.now
        token = tokens.refresh_token(own, session, jti="x" * 43, now=now)
    before = service.items()

    reply = everywhere(service, token)

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert reply.json["error"] == NOT_FOUND
    assert service.items() == before


def test_given_another_token_of_the_session_when_logging_out_everywhere_then_401(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    """The signature is good, and the hash of its random part is not the stored one."""
    user = stored_user(service, laptop["user_id"])
    (session,) = user.sessions.values()
    tokens = service.services.tokens
    forged = tokens.refresh_token(user, session, jti="x" * 43, now=service.now)

    reply = everywhere(service, forged)

    assert (reply.status, reply.json["error"]) == (401, NOT_FOUND)
    assert not is_out(service, laptop)


@pytest.mark.parametrize(
    ("ahead", "status"), [(timedelta(seconds=-1), 200), (timedelta(0), 401)], ids=str
)
def test_given_a_session_when_its_time_comes_then_it_logs_nobody_out(
    service: Deployment, laptop: dict[str, Any], ahead: timedelta, status: int
) -> None:
    (session,) = stored_user(service, laptop["user_id"]).sessions.values()
    assert session.expires_at is not None
    service.now = session.expires_at - timedelta(days=1)
    service.advance(timedelta(hours=1))
    open_session(service, laptop["user_id"], "custom-token", "ada")
    service.now = session.expires_at + ahead

    reply = everywhere(service, laptop["refresh_token"])

    assert reply.status == status
    left = stored_user(service, laptop["user_id"]).sessions
    assert len(left) == (0 if status == 200 else 2)


def test_given_a_session_of_an_api_key_when_it_logs_out_everywhere_then_403(
    service: Deployment, laptop: dict[str, Any], phone: dict[str, str]
) -> None:
    program = open_key_session(service, laptop)
    before = service.items()

    refused = everywhere(service, program["refresh_token"])

    assert (refused.status, refused.json["error_code"]) == (403, "AuthError")
    assert service.items() == before
    assert service.send(LOGOUT, token=program["refresh_token"]).status == 200
    assert not is_out(service, phone)


def test_given_a_session_of_an_api_key_when_its_owner_logs_out_everywhere_then_it_ends(
    service: Deployment, laptop: dict[str, Any]
) -> None:
    """The key itself stays: a program may log in with it again."""
    program = open_key_session(service, laptop)

    everywhere(service, laptop["refresh_token"])

    assert is_out(service, program)
    user = stored_user(service, laptop["user_id"])
    assert [key.disabled for key in user.api_keys.values()] == [False]


@pytest.mark.parametrize("fault", [lost_reply, server_error_after_effect])
@pytest.mark.parametrize("is_linked", [False, True], ids=["guest", "permanent"])
def test_given_a_lost_reply_when_the_store_repeats_then_all_sessions_have_ended(
    service: Deployment, fault: Fault, *, is_linked: bool
) -> None:
    body = log_in_linked(service) if is_linked else service.log_in()
    service.wire.faults = [None, fault]

    reply = everywhere(service, body["refresh_token"])

    assert (reply.status, reply.text) == (200, "{}")
    assert is_out(service, body)


def test_given_a_link_and_a_login_when_a_guest_is_logging_out_everywhere_then_all_end(
    service: Deployment,
) -> None:
    """The guest was read as one, and is permanent when its session is to end."""
    body = service.log_in()
    opened: list[dict[str, Any]] = []

    def link_and_log_in_elsewhere() -> None:
        service.wire.faults = []
        link(service, body, "custom-token", "ada")
        opened.append(open_session(service, body["user_id"], "custom-token", "ada"))

    service.wire.faults = [None, preceded_by(link_and_log_in_elsewhere)]

    reply = everywhere(service, body["refresh_token"])

    assert reply.status == 200
    assert stored_user(service, body["user_id"]).sessions == {}
    assert is_out(service, body)
    assert is_out(service, opened[0])


@pytest.mark.parametrize("is_linked", [False, True], ids=["guest", "permanent"])
def test_given_a_user_that_is_gone_in_between_when_logging_out_everywhere_then_401(
    service: Deployment, *, is_linked: bool
) -> None:
    body = log_in_linked(service) if is_linked else service.log_in()

    def delete_the_user() -> None:
        service.wire.faults = []
        assert service.send(DELETE, token=body["access_token"]).status == 200

    service.wire.faults = [None, preceded_by(delete_the_user)]

    reply = everywhere(service, body["refresh_token"])

    assert (reply.status, reply.json["error"]) == (401, NOT_FOUND)


@pytest.mark.parametrize("is_everywhere", [False, True], ids=["one", "all"])
@pytest.mark.parametrize(("conflicts", "status"), [(14, 200), (15, 503)])
def test_given_an_item_that_is_kept_busy_when_sessions_end_then_only_long_trouble_wins(
    service: Deployment,
    laptop: dict[str, Any],
    conflicts: int,
    status: int,
    *,
    is_everywhere: bool,
) -> None:
    """12 conflicts do not count, and 2 of 3 attempts may fail."""
    # First the read, or the Delete that a guest would take.
    service.wire.faults = [None, *[transaction_conflict] * conflicts]
    query = {"everywhere": "true"} if is_everywhere else None

    reply = service.send(LOGOUT, token=laptop["refresh_token"], query=query)

    assert reply.status == status
    assert is_out(service, laptop) == (status == 200)
