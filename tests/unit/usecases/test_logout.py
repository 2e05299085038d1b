"""DELETE /auth/session."""

from datetime import timedelta

import pytest

from support.service.harness import LOGOUT, PROFILE, SESSION, Deployment
from support.service.wire import lost_reply

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
