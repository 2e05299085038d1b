"""The local service's list of events, and the events that its clock causes."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.dynamodb.models.table import Table

from anonauth.errors import EventsUnavailable
from anonauth.event_bus import EventBridgeBus
from anonauth.local.dynamodb.live_table import LiveTable
from anonauth.local.outbox import MOST_RECENT_ITEMS, RecentItems, RecordingBus
from anonauth.local.server import LocalServer
from support.service.calls import API, APP, call, log_in
from support.service.story import VALIDATOR, types

EVENTS = "/_local/events"
PROVIDERS = f"{API}/app/{APP}/auth/providers"
ADA = {"email": "ada@example.com", "username": "ada@example.com"}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A service for one test, which may move its clock."""
    with LocalServer(app_ids=(APP,)) as running:
        yield running


def events(server: LocalServer) -> list[dict[str, Any]]:
    answer = call(server.base_url, "GET", EVENTS)
    assert answer.status == 200
    told: list[dict[str, Any]] = answer.json()
    for event in told:
        assert event["time"] == event["detail"]["at"]
        VALIDATOR.validate(event)
    return told


def post_ada(server: LocalServer, path: str, token: str | None = None) -> Any:
    body = json.dumps({**ADA, "password": "correct horse"}).encode()
    answer = call(
        server.base_url,
        "POST",
        f"{PROVIDERS}/local-userpass{path}",
        token=token,
        body=body,
    )
    assert answer.status == 200, answer
    return answer.json()


def test_given_users_lives_when_followed_then_each_event_is_listed_at_once(
    server: LocalServer,
) -> None:
    guest, other, third = (log_in(server.base_url) for _ in range(3))
    post_ada(server, "/register")
    post_ada(server, "/login?link=true", guest["access_token"])
    post_ada(server, "/login")
    logout = f"{API}/auth/session"
    call(server.base_url, "DELETE", logout, token=other["refresh_token"])
    call(server.base_url, "DELETE", f"{API}/auth/delete", token=third["access_token"])

    told = events(server)

    assert types(told) == [
        "user.created",
        "user.created",
        "user.created",
        "user.linked",
        "user.logged_in",
        "user.deleted",
        "user.deleted",
    ]
    assert [e["detail"].get("reason") for e in told[5:]] == ["logout", "requested"]
    assert [e["detail"]["uid"] for e in told[3:5]] == [guest["user_id"]] * 2
    assert "ada@example.com" not in json.dumps(told)


def test_given_a_guest_when_the_clock_moves_then_it_is_warned_and_then_deleted(
    server: LocalServer,
) -> None:
    guest = log_in(server.base_url)
    table = LiveTable("anonauth-local", None, server.deployment.clock)
    first_day = server.deployment.clock().date()

    body = b'{"advance": "P93D"}'
    assert call(server.base_url, "POST", "/_local/clock", body=body).status == 200

    created, *warnings, deleted = events(server)
    assert types(warnings) == ["user.expiring"] * 2
    assert [w["detail"]["days_left"] for w in warnings] == [14, 3]
    ahead = [first_day + timedelta(days=91 - days) for days in (14, 3)]
    assert [w["time"][:10] for w in warnings] == [day.isoformat() for day in ahead]
    assert deleted["detail"]["reason"] == "expired"
    assert deleted["time"] > deleted["detail"]["expires_at"]
    assert {e["detail"]["uid"] for e in (created, *warnings, deleted)} == {
        guest["user_id"]
    }
    removed = [r for r in table.changes() if r["eventName"] == "REMOVE"]
    keys = {r["dynamodb"]["Keys"]["pk"]["S"] for r in removed}
    assert {key for key in keys if not key.startswith("RATE#")} == {
        f"USER#{APP}#{guest['user_id']}"
    }


@pytest.mark.long
def test_given_a_guest_that_comes_back_when_the_clock_moves_then_it_lives(
    server: LocalServer,
) -> None:
    token = log_in(server.base_url)["refresh_token"]

    for _ in range(4):
        server.advance(timedelta(days=80))
        refreshed = call(server.base_url, "POST", f"{API}/auth/session", token=token)
        assert refreshed.status == 200

    assert types(events(server)) == ["user.created", *["user.expiring"] * 4]


def test_given_no_notices_when_the_clock_moves_then_only_the_deletion_is_an_event() -> (
    None
):
    with LocalServer(app_ids=(APP,), parameters={"ExpiryNoticeDays": ""}) as server:
        log_in(server.base_url)
        server.advance(timedelta(days=93))

        assert types(events(server)) == ["user.created", "user.deleted"]


def test_given_events_when_emptied_then_there_are_none(server: LocalServer) -> None:
    log_in(server.base_url)

    assert call(server.base_url, "DELETE", EVENTS).json() == {}

    assert events(server) == []
    assert call(server.base_url, "POST", EVENTS).status == 405


def test_given_a_bus_that_fails_when_it_recovers_then_no_event_is_missing(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = EventBridgeBus.publish

    def refuse(*_: Any) -> None:
        raise EventsUnavailable

    monkeypatch.setattr(EventBridgeBus, "publish", refuse)
    guest = log_in(server.base_url)
    token = guest["refresh_token"]
    assert (
        call(server.base_url, "DELETE", f"{API}/auth/session", token=token).status
        == 200
    )
    assert events(server) == []

    monkeypatch.setattr(EventBridgeBus, "publish", publish)

    assert types(events(server)) == ["user.created", "user.deleted"]


@pytest.mark.long
def test_given_an_unreadable_record_when_delivered_then_the_others_are_published(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    """AWS would store the record in the bucket."""
    log_in(server.base_url)
    boto3.client("dynamodb", "eu-central-1").put_item(
        TableName="anonauth-local", Item={"pk": {"S": f"USER#{APP}#by-hand"}}
    )
    log_in(server.base_url)

    assert types(events(server)) == ["user.created"] * 2
    assert server.deployment._undelivered == []
    assert "raised BatchProcessingError on 1 records" in caplog.text


def test_given_a_refused_link_when_others_go_on_then_all_their_events_come(
    server: LocalServer,
) -> None:
    """moto undoes a transaction by replacing table and stream with a copy."""
    account = {"email": "ada@example.com", "password": "correct horse"}
    credential = {"username": account["email"], "password": account["password"]}
    provider = f"{API}/app/{APP}/auth/providers/local-userpass"

    def post(path: str, body: Any, token: str | None = None) -> int:
        sent = json.dumps(body).encode()
        return call(server.base_url, "POST", path, body=sent, token=token).status

    assert post(f"{provider}/register", account) == 200
    for status in (200, 409):
        guest = log_in(server.base_url)["access_token"]
        assert post(f"{provider}/login?link=true", credential, guest) == status
    log_in(server.base_url)

    assert types(events(server)) == [
        "user.created",
        "user.linked",
        "user.created",
        "user.created",
    ]


def test_given_a_stream_that_fails_when_a_request_succeeds_then_its_answer_stays(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = server.deployment._table
    assert table is not None

    def fail(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "InternalFailure"}}, "GetRecords")

    with monkeypatch.context() as patch:
        patch.setattr(table._source, "records", fail)
        log_in(server.base_url)

    assert types(events(server)) == ["user.created"]


@pytest.mark.long
def test_given_another_aws_when_its_table_changes_then_events_are_listed_here() -> None:
    with (
        LocalServer(aws_port=0) as host,
        LocalServer(endpoint_url=host.aws_url, app_ids=(APP,)) as guest,
    ):
        log_in(host.base_url)  # another program that writes to the table

        told = events(guest)

    assert types(told) == ["user.created"]


def test_given_an_engine_without_streams_when_asked_then_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Table, "set_stream_specification", lambda *_: None)

    with LocalServer(app_ids=(APP,)) as server:
        log_in(server.base_url)
        server.advance(timedelta(days=93))
        answer = call(server.base_url, "GET", EVENTS)

    assert answer.status == 501
    assert answer.json()["error"] == "the DynamoDB engine has no streams"


def test_given_many_items_when_added_then_the_oldest_are_dropped() -> None:
    items: RecentItems[int] = RecentItems()

    items.add(*range(MOST_RECENT_ITEMS + 1))

    assert items.entries() == list(range(1, MOST_RECENT_ITEMS + 1))


def test_given_a_bus_that_fails_when_publishing_then_nothing_is_recorded() -> None:
    class Down:
        def publish(self, _: Any) -> None:
            raise EventsUnavailable

    items: RecentItems[Any] = RecentItems()

    with pytest.raises(EventsUnavailable):
        RecordingBus(Down(), items).publish([])
    assert items.entries() == []
