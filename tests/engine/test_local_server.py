"""`anonauth serve --endpoint-url`: the whole service on an AWS that is not moto."""

from collections.abc import Iterator
from typing import Any

import pytest

from anonauth.local.aws import TABLE_NAME
from anonauth.local.server import LocalServer
from support.engine import engines
from support.service.calls import API, APP, call, log_in

# The other engines have no KMS.
pytestmark = pytest.mark.parametrize(
    "engine", ["ministack"], indirect=True, scope="package"
)


@pytest.fixture(scope="module")
def server(engine: engines.Engine) -> Iterator[LocalServer]:
    with LocalServer(endpoint_url=engine.endpoint_url, app_ids=(APP,)) as running:
        yield running
    engine.db.delete_table(TableName=TABLE_NAME)


def events(server: LocalServer, user: dict[str, str]) -> list[Any]:
    """Return the events of a user at GET /_local/events, oldest first."""
    answer = call(server.base_url, "GET", "/_local/events")
    assert answer.status == 200, answer
    return [each for each in answer.json() if each["detail"]["uid"] == user["user_id"]]


def test_given_a_table_without_a_stream_then_there_are_no_events_but_all_else(
    engine: engines.Engine,
) -> None:
    """The table is like that of an earlier version of `serve`."""
    engine.db.create_table(
        TableName=TABLE_NAME,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        with LocalServer(endpoint_url=engine.endpoint_url, app_ids=(APP,)) as server:
            log_in(server.base_url)

            answer = call(server.base_url, "GET", "/_local/events")

        assert answer.status == 501
        assert "stream" in answer.json()["error"]
    finally:
        engine.db.delete_table(TableName=TABLE_NAME)


def test_given_a_login_and_a_logout_then_the_events_show_both(
    server: LocalServer,
) -> None:
    user = log_in(server.base_url)
    made = events(server, user)
    path = f"{API}/auth/session"
    answer = call(server.base_url, "DELETE", path, token=user["refresh_token"])
    assert answer.status == 200

    told = events(server, user)

    assert [each["detail-type"] for each in made] == ["user.created"]
    assert [each["detail-type"] for each in told] == ["user.created", "user.deleted"]
    assert told[0] == made[0]
    assert told[1]["detail"]["reason"] == "logout"


def test_given_a_user_that_deletes_itself_then_the_reason_is_its_request(
    server: LocalServer,
) -> None:
    user = log_in(server.base_url)

    path = f"{API}/auth/delete"
    answer = call(server.base_url, "DELETE", path, token=user["access_token"])

    assert answer.status == 200
    *_, deleted = events(server, user)
    assert deleted["detail"]["reason"] == "requested"


def test_given_a_guest_when_its_life_passes_then_it_is_warned_and_has_expired(
    server: LocalServer,
) -> None:
    """Runs last: the clock of the module's service moves."""
    user = log_in(server.base_url)

    answer = call(server.base_url, "POST", "/_local/clock", body=b'{"advance": "P94D"}')

    assert answer.status == 200, answer
    told = events(server, user)
    assert [each["detail-type"] for each in told] == [
        "user.created",
        "user.expiring",
        "user.expiring",
        "user.deleted",
    ]
    assert [each["detail"].get("notice_days") for each in told[1:3]] == [14, 3]
    assert told[-1]["detail"]["reason"] == "expired"
