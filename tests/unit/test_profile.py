"""GET /auth/profile and DELETE /auth/delete."""

from datetime import timedelta
from typing import Any

import pytest

from harness import APP, DELETE, LOGOUT, PROFILE, SESSION, Deployment
from wire import Forward, lost_reply


def test_given_a_guest_when_it_asks_then_its_profile_is_the_contracts(
    service: Deployment,
) -> None:
    body = service.log_in()

    reply = service.send(PROFILE, token=body["access_token"])

    item = service.user_item(body["user_id"])
    assert item is not None
    assert reply.status == 200
    assert reply.headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
    }
    assert reply.json == {
        "user_id": body["user_id"],
        "type": "normal",
        "identities": [
            {
                "id": item["identities"]["L"][0]["M"]["id"]["S"],
                "provider_type": "anon-user",
                "data": {},
            }
        ],
        "data": {},
        "expires_at": body["expires_at"],
    }


def test_given_activity_when_asking_then_the_profile_tells_the_later_expiry(
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
    """A link that gets in first only delays the deletion."""
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


@pytest.mark.parametrize("route", [PROFILE, DELETE])
def test_given_a_session_that_is_gone_when_asking_then_401(
    service: Deployment, route: str
) -> None:
    body = service.log_in()
    service.send(LOGOUT, token=body["refresh_token"])

    reply = service.send(route, token=body["access_token"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
