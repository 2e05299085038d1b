"""`anonauth stats`: current users from the table, history from CloudWatch."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.cli.stats.counts import (
    LINKABLE_PROVIDERS,
    DayRange,
    UserFlow,
    UserStock,
    make_day_table,
    read_flow,
)
from anonauth.domain.providers import ANONYMOUS, API_KEY
from anonauth.domain.users import UserFilter
from anonauth.local.command_error import CommandError
from anonauth.provider_settings.schema import AppSettings
from support.contracts.identity_contract import (
    a_foreign_identity,
    a_linked_user,
    a_user_with_account,
    lose,
)
from support.contracts.merge_contract import a_user_with_guests, absorb
from support.contracts.store_contract import DAY, NOW, a_guest
from support.memory_store import MemoryStore
from support.service.harness import APP, DELETE, LOGOUT, OTHER_APP, TABLE, Deployment
from support.service.linked import link, stored_user
from support.service.stacks import template_with_outputs
from support.service.story import Story

OURS = {"service": "anonauth", "provider": "anon-user"}
WEEK = DayRange.until(NOW, 7)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["stats", *arguments])


def counted(store: MemoryStore, days: DayRange = WEEK) -> UserStock:
    stock = UserStock(days, NOW)
    stock.add(store.scan_users(0, 1, "", UserFilter(with_owners=True)))
    return stock


def test_given_the_last_instant_of_a_day_when_counted_then_the_day_is_utc() -> None:
    end = datetime(2026, 3, 10, 23, 59, 59, tzinfo=UTC)
    local = end.astimezone(datetime(2026, 1, 1).astimezone().tzinfo)

    assert DayRange.until(local, 3).all() == [date(2026, 3, day) for day in (8, 9, 10)]
    assert DayRange.until(end + timedelta(seconds=1), 1).all() == [date(2026, 3, 11)]


def test_given_users_when_counted_then_by_kind_app_provider_and_day() -> None:
    store = MemoryStore()
    store.create_user(a_guest(NOW - 3 * DAY))
    store.create_user(replace(a_guest(), app=OTHER_APP))
    store.create_user(a_guest(NOW - 7 * DAY))  # before the week
    store.create_user(a_guest(NOW - 200 * DAY))  # expired
    a_linked_user(store)
    a_user_with_account(store)

    body = counted(store).as_json()

    assert (body["anonymous"], body["permanent"], body["expired"]) == (3, 2, 1)
    assert body["by_app"] == {
        APP: {"anonymous": 2, "permanent": 2, "expired": 1},
        OTHER_APP: {"anonymous": 1, "permanent": 0, "expired": 0},
    }
    assert body["by_provider"] == {
        "local-userpass": 1,
        "custom-token": 1,
        "oauth2-google": 0,
        "oauth2-apple": 0,
        "oauth2-facebook": 0,
    }
    assert body["created"] == {
        f"2026-03-{day:02}": {7: 1, 10: 3}.get(day, 0) for day in range(4, 11)
    }


def test_given_identities_whose_user_is_lost_when_counted_then_they_are_orphans() -> (
    None
):
    store = MemoryStore()
    a_linked_user(store)
    lost = a_linked_user(store, a_foreign_identity(), a_foreign_identity())
    late = a_linked_user(store)
    for user in (lost, late):
        lose(store, user)
    stock = counted(store)
    assert stock.orphans == 3

    store.users[APP, late.id] = late
    stock.recheck_owners(store)

    assert stock.as_json()["orphans"] == 2
    assert "identities whose user's item is lost: 2" in "".join(stock.lines())


def test_given_all_users_there_when_counted_then_no_orphan_is_told() -> None:
    store = MemoryStore()
    a_user_with_account(store)

    stock = counted(store)

    assert stock.as_json()["orphans"] == 0
    assert "lost" not in "".join(stock.lines())


@pytest.mark.parametrize(
    ("guests", "counts", "told"),
    [
        pytest.param((), (0, 0), [], id="none"),
        pytest.param((0, 1), (1, 1), ["into: 1; they list 1 former ids"], id="one"),
        pytest.param((2, 0, 1), (2, 3), ["into: 2; they list 3 former ids"], id="some"),
    ],
)
def test_given_merged_guests_when_counted_then_their_users_and_ids_are(
    guests: tuple[int, ...], counts: tuple[int, int], told: list[str]
) -> None:
    store = MemoryStore()
    for number in guests:
        a_user_with_guests(store, number)

    stock = counted(store)

    body = stock.as_json()
    assert (body["merged_into"], body["former_ids"]) == counts
    assert body["permanent"] == len(guests)
    lines = [line for line in stock.lines() if "guests were merged" in line]
    assert lines == [f"users that guests were merged {each}" for each in told]


def test_given_the_providers_that_can_be_linked_then_each_has_a_column() -> None:
    configurable = AppSettings.__struct_encode_fields__

    assert set(LINKABLE_PROVIDERS) == set(configurable) - {API_KEY, ANONYMOUS}


def put(cloudwatch: Any, name: str, value: float, at: datetime, **more: str) -> None:
    dimensions = {"service": "counted", **more}
    cloudwatch.put_metric_data(
        Namespace="anonauth",
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                "Timestamp": at,
                "Value": value,
                "Unit": "Count",
            }
        ],
    )


@pytest.fixture(scope="module")
def cloudwatch(moto: None) -> Any:
    """The metrics that LifecycleFunction of two deployments wrote in three days."""
    client = boto3.client("cloudwatch")
    before = NOW - 2 * DAY
    for _ in range(3):
        put(client, "UsersCreated", 5, before, provider="anon-user")
    put(client, "UsersCreated", 5, NOW, provider="anon-user")
    put(client, "UsersCreated", 2, NOW, provider="custom-token")
    put(client, "UsersLinked", 4, NOW, provider="local-userpass")
    put(client, "UsersLinked", 1, before, provider="oauth2-google")
    put(client, "UsersMerged", 6, NOW, provider="local-userpass")
    put(client, "UsersMerged", 2, before, provider="oauth2-apple")
    put(client, "UsersDeleted", 3, NOW, reason="logout")
    put(client, "UsersDeleted", 2, before, reason="expired")
    put(client, "UsersDeleted", 7, NOW - 20 * DAY, reason="expired")
    put(client, "UsersCreated", 900, NOW, service="another-stack", provider="anon-user")
    return client


def test_given_metrics_when_read_then_each_day_has_its_own_and_others_are_0(
    cloudwatch: Any,
) -> None:
    flow = read_flow(cloudwatch, service="counted", days=WEEK)

    body = flow.as_json()
    assert [each["day"] for each in body["days"]] == [
        f"2026-03-{day:02}" for day in range(4, 11)
    ]
    by_day = {each["day"][-2:]: each for each in body["days"]}
    assert by_day["08"]["created"]["anon-user"] == 15
    assert by_day["08"]["deleted"] == {"logout": 0, "expired": 2, "requested": 0}
    assert by_day["10"]["created"]["anon-user"] == 5
    assert by_day["10"]["created"]["custom-token"] == 2
    assert by_day["10"]["linked"]["local-userpass"] == 4
    assert by_day["10"]["merged"]["local-userpass"] == 6
    assert by_day["08"]["merged"]["oauth2-apple"] == 2
    assert not any(
        count
        for kind in ("created", "linked", "merged", "deleted")
        for count in by_day["09"][kind].values()
    )
    assert body["total"]["created"]["anon-user"] == 20
    assert sum(body["total"]["merged"].values()) == 8
    assert body["total"]["deleted"] == {"logout": 3, "expired": 2, "requested": 0}
    assert body["conversion"] == {
        "local-userpass": 0.2,
        "custom-token": 0.0,
        "oauth2-google": 0.05,
        "oauth2-apple": 0.0,
        "oauth2-facebook": 0.0,
    }
    assert list(flow.lines()) == [
        "conversion: 5 of 20 guests, 25.0% (local-userpass 20.0%, oauth2-google 5.0%)"
    ]


def test_given_what_the_functions_write_when_read_then_it_is_what_happened(
    service: Deployment, capsys: pytest.CaptureFixture[str], moto: None
) -> None:
    """The functions and `stats` use the same names."""
    story = Story(service)
    capsys.readouterr()
    guests = [service.log_in() for _ in range(4)]
    link(service, guests[0], "custom-token", "ada")
    service.send(DELETE, token=guests[1]["access_token"])
    service.send(LOGOUT, token=guests[2]["refresh_token"])
    owner, guest = (stored_user(service, guests[n]["user_id"]) for n in (0, 3))
    assert absorb(service.services.store, owner, guest)
    story.tell()
    client = boto3.client("cloudwatch")

    for line in capsys.readouterr().out.splitlines():
        blob = json.loads(line)
        for directive in blob.get("_aws", {}).get("CloudWatchMetrics", []):
            _put_embedded(client, directive, blob)
    today = DayRange.until(datetime.now(UTC), 2)  # noqa: TID251 - as the functions write it
    name = service.services.settings.stack_name
    body = read_flow(client, service=name, days=today).as_json()

    assert body["total"]["created"]["anon-user"] == 4
    assert body["total"]["merged"]["custom-token"] == 1
    assert body["total"]["deleted"] == {"logout": 1, "expired": 0, "requested": 1}
    assert body["conversion"]["custom-token"] == pytest.approx(1 / 4)


def _put_embedded(client: Any, directive: dict[str, Any], blob: dict[str, Any]) -> None:
    # CloudWatch turns a line of the log into metrics like this.
    at = datetime.fromtimestamp(blob["_aws"]["Timestamp"] / 1000, UTC)
    client.put_metric_data(
        Namespace=directive["Namespace"],
        MetricData=[
            {
                "MetricName": metric["Name"],
                "Dimensions": [{"Name": n, "Value": blob[n]} for n in dimensions],
                "Timestamp": at,
                "Values": blob[metric["Name"]],
                "Unit": metric["Unit"],
            }
            for metric in directive["Metrics"]
            for dimensions in directive["Dimensions"]
        ],
    )


def test_given_metrics_in_pages_when_read_then_all_of_them_count() -> None:
    """CloudWatch may hand out a metric's days in several answers."""

    class Paged:
        def get_paginator(self, name: str) -> "Paged":
            assert name == "get_metric_data"
            return self

        def paginate(self, **_: Any) -> Iterator[Any]:
            for day in (8, 9):
                at = datetime(2026, 3, day, tzinfo=UTC)
                result = {"Id": "m0", "Timestamps": [at], "Values": [2.0]}
                yield {"MetricDataResults": [result]}

    body = read_flow(Paged(), service="s", days=WEEK).as_json()

    assert body["total"]["created"]["anon-user"] == 4


def test_given_no_new_guests_when_counted_then_there_is_no_rate() -> None:
    flow = UserFlow(WEEK)

    assert set(flow.conversion().values()) == {None}
    assert list(flow.lines()) == [
        "conversion: the metrics show no new guests in these days"
    ]


def test_given_both_when_shown_to_people_then_a_row_a_day_and_their_sums(
    cloudwatch: Any,
) -> None:
    store = MemoryStore()
    store.create_user(a_guest())
    flow = read_flow(cloudwatch, service="counted", days=WEEK)

    table = make_day_table(WEEK, counted(store), flow)

    cells = [list(column.cells) for column in table.columns]
    assert [column.header for column in table.columns] == [
        "day",
        "new guests",
        "other new users",
        "guests linked",
        "guests merged",
        "logout",
        "expired",
        "requested",
        "still existing",
    ]
    rows = list(zip(*cells, strict=True))
    assert rows[-2] == ("2026-03-10", "5", "2", "4", "6", "3", "0", "0", "1")
    assert rows[-1] == ("all", "20", "2", "5", "8", "3", "2", "0", "1")
    assert len(make_day_table(WEEK, None, flow).columns) == 8
    assert len(make_day_table(WEEK, counted(store), None).columns) == 2


@pytest.fixture
def stack(table: str, key_id: str) -> Iterator[str]:
    client = boto3.client("cloudformation")
    made = client.create_stack(
        StackName="anonauth",
        TemplateBody=template_with_outputs(
            TableName=table, RingKeyArn=key_id, ClientAppIds=APP
        ),
    )
    yield made["StackId"]
    client.delete_stack(StackName="anonauth")


def test_given_a_stack_when_asked_then_both_sources_answer(
    stack: str, store: Any
) -> None:
    now = datetime.now(UTC)  # noqa: TID251 - as the command has it
    put(boto3.client("cloudwatch"), "UsersCreated", 8, now, **OURS)
    store.create_user(a_guest(now))

    # The ARN works too. The metrics have the name of the stack.
    whole = json.loads(run("--stack", stack, "--days", "3", "--json").stdout)
    flow_only = json.loads(run("--stack", "anonauth", "--no-scan", "--json").stdout)

    assert (whole["days"], whole["stock"]["anonymous"]) == (3, 1)
    assert whole["flow"]["total"]["created"]["anon-user"] >= 8
    assert flow_only["stock"] is None
    assert len(flow_only["flow"]["days"]) == 30


def test_given_a_table_alone_when_asked_then_it_says_what_the_rest_needs(
    store: Any,
) -> None:
    store.create_user(a_guest())

    result = run("--table", TABLE, "--days", "2")
    body = json.loads(run("--table", TABLE, "--json").stdout)

    assert result.exit_code == 0, result
    assert re.search(rf"{APP} +0 +0 +1 *\n", result.stdout)  # has expired long ago
    assert (
        "\nThe history, deleted users included, is in the metrics of a stack: "
        "give --stack NAME.\n"
    ) in result.stdout
    assert body["flow"] is None


def test_given_no_source_at_all_when_asked_then_one_line() -> None:
    result = run("--table", TABLE, "--no-scan")

    assert isinstance(result.exception, CommandError)
    assert "these need --stack NAME" in str(result.exception)


def test_given_a_policy_that_refuses_when_asked_then_one_line(
    refusing: str,
) -> None:
    result = run("--endpoint-url", refusing)

    assert isinstance(result.exception, CommandError)
    assert str(result.exception).startswith("DescribeTable: AccessDenied: User: ada")
