"""The built-in table's stream and TTL index, compared with the API's results."""

import gc
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.local.dynamodb.live_table import LiveTable, TableSource
from anonauth.local.dynamodb.moto_patches import patch_moto
from anonauth.local.dynamodb.moto_table import (
    MOST_ITERATORS_KEPT,
    MOST_RECORDS_KEPT,
    MotoTable,
    StreamRecords,
)
from anonauth.local.dynamodb.remote_table import RemoteTable
from support.hostile.dice import dice_of
from support.service.harness import make_table

TABLE = "anonauth-test"
MOTO = "https://streams.dynamodb.eu-central-1.amazonaws.com"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def by_api(db: DynamoDBClient) -> RemoteTable:
    # botocore would use an account's own host name, which moto does not answer.
    return RemoteTable(TABLE, db, boto3.client("dynamodbstreams", endpoint_url=MOTO))


@pytest.fixture
def sources(table: str, db: DynamoDBClient) -> tuple[MotoTable, TableSource]:
    return MotoTable(table), by_api(db)


def records(name: str = TABLE) -> StreamRecords:
    shard = (
        dynamodb_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].tables[name].stream_shard
    )
    assert shard is not None
    found: Any = shard.items
    assert isinstance(found, StreamRecords)
    return found


def put(db: DynamoDBClient, key: str, **attributes: Any) -> None:
    db.put_item(TableName=TABLE, Item={"pk": {"S": key}, **attributes})


def at(instant: datetime) -> dict[str, str]:
    return {"N": str(int(instant.timestamp()))}


def delivered(source: TableSource) -> list[Any]:
    """Return records as a function gets them, without their time."""
    live = LiveTable(TABLE, None, lambda: NOW)
    live._source = source
    return live.changes()


def test_given_changes_when_read_then_both_sources_have_the_same_records(
    db: DynamoDBClient, sources: tuple[MotoTable, TableSource]
) -> None:
    direct, api = sources
    everything: dict[str, Any] = {
        "text": {"S": "é"},
        "raw": {"B": b"\0\1"},
        "raws": {"BS": [b"\2", b"\3"]},
        "numbers": {"NS": ["1", "2"]},
        "flag": {"BOOL": True},
        "nothing": {"NULL": True},
        "list": {"L": [{"S": "a"}, {"M": {"raw": {"B": b"\4"}}}]},
        "map": {"M": {"deep": {"M": {"raw": {"B": b"\5"}, "n": {"N": "7"}}}}},
    }
    put(db, "a", **everything)
    put(db, "a", text={"S": "b"})
    db.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "a"}},
        UpdateExpression="ADD tags :t",
        ExpressionAttributeValues={":t": {"SS": ["x"]}},
    )
    db.delete_item(TableName=TABLE, Key={"pk": {"S": "a"}})

    by_api = delivered(api)
    directly = delivered(direct)

    assert directly == by_api
    assert [record["eventName"] for record in directly] == [
        "INSERT",
        "MODIFY",
        "MODIFY",
        "REMOVE",
    ]
    assert directly[0]["dynamodb"]["NewImage"]["raw"] == {"B": "AAE="}
    json.dumps(directly)  # everything is JSON, as in Lambda
    assert (delivered(direct), delivered(api)) == ([], [])


def test_given_a_record_when_its_item_changes_then_the_record_does_not(
    db: DynamoDBClient, sources: tuple[MotoTable, TableSource]
) -> None:
    put(db, "a", map={"M": {"n": {"N": "1"}}})
    (record,) = delivered(sources[0])
    before = json.dumps(record)

    db.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "a"}},
        UpdateExpression="SET #map.n = :two",
        ExpressionAttributeNames={"#map": "map"},
        ExpressionAttributeValues={":two": {"N": "2"}},
    )

    assert json.dumps(record) == before


def test_given_a_cancelled_transaction_when_others_go_on_then_only_they_have_records(
    db: DynamoDBClient, sources: tuple[MotoTable, TableSource]
) -> None:
    put(db, "a")
    assert [len(delivered(each)) for each in sources] == [1, 1]
    with patch_moto(), pytest.raises(ClientError):
        db.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": TABLE, "Item": {"pk": {"S": "b"}}}},
                {
                    "ConditionCheck": {
                        "TableName": TABLE,
                        "Key": {"pk": {"S": "c"}},
                        "ConditionExpression": "attribute_exists(pk)",
                    }
                },
            ]
        )
    put(db, "d")

    found = [delivered(each) for each in sources]

    assert found[0] == found[1]
    assert [record["dynamodb"]["Keys"]["pk"]["S"] for record in found[0]] == ["d"]


def test_given_a_new_table_of_that_name_when_read_then_all_its_records_come(
    db: DynamoDBClient, table: str
) -> None:
    source = MotoTable(table)
    put(db, "a", ttl=at(NOW))
    assert (len(source.records()), source.expired_keys(NOW)) == (1, ["a"])

    db.delete_table(TableName=TABLE)
    assert (source.records(), source.delete_expired("a", NOW)) == ([], False)
    make_table(db, TABLE)
    put(db, "b", ttl=at(NOW))

    assert [r["dynamodb"]["Keys"]["pk"]["S"] for r in source.records()] == ["b"]
    assert source.expired_keys(NOW) == ["b"]


def test_given_readers_when_each_has_read_then_no_record_is_kept(
    db: DynamoDBClient, table: str
) -> None:
    first, second = MotoTable(table), MotoTable(table)
    for number in range(3):
        put(db, str(number))

    assert (len(first.records()), records().number_kept) == (3, 3)
    assert (len(second.records()), records().number_kept) == (3, 0)

    put(db, "late")
    assert len(first.records()) == 1
    del second
    gc.collect()
    assert first.records() == []
    assert records().number_kept == 0  # nothing is kept for a deleted reader


def test_given_a_reader_by_the_api_when_others_have_read_then_it_reads_on(
    db: DynamoDBClient, sources: tuple[MotoTable, TableSource]
) -> None:
    direct, api = sources

    for number in range(3):
        put(db, str(number))
        assert len(direct.records()) == 1
    assert len(delivered(api)) == 3
    put(db, "late")

    assert [len(delivered(each)) for each in sources] == [1, 1]


def test_given_a_reader_by_the_api_that_stays_away_then_only_the_newest_are_kept(
    sources: tuple[MotoTable, TableSource], db: DynamoDBClient
) -> None:
    direct, api = sources
    put(db, "a")
    assert len(api.records()) == 1
    kept = records()
    (record,) = kept[:]

    for _ in range(MOST_RECORDS_KEPT + 1):
        kept.append(record)
    direct.records()

    assert (kept.number_kept, len(kept)) == (MOST_RECORDS_KEPT, MOST_RECORDS_KEPT + 2)
    # The reader continues with the oldest records that are left.
    assert kept[1:3] == [record] * 2


def test_given_many_iterators_when_made_then_the_oldest_are_expired(
    sources: tuple[MotoTable, TableSource],
) -> None:
    arn = sources[0].stream_arn
    streams = boto3.client("dynamodbstreams", endpoint_url=MOTO)
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]

    oldest, *_, newest = (
        streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="LATEST"
        )["ShardIterator"]
        for _ in range(MOST_ITERATORS_KEPT + 1)
    )

    assert streams.get_records(ShardIterator=newest)["Records"] == []
    with pytest.raises(ClientError) as refusal:
        streams.get_records(ShardIterator=oldest)
    assert refusal.value.response["Error"]["Code"] == "ExpiredIteratorException"


@pytest.fixture
def many(db: DynamoDBClient, table: str) -> Iterator[str]:
    """Random writes of all kinds. It yields their seed, to repeat a failure."""
    dice, seed = dice_of("DUE_SEED")
    early = MotoTable(table)
    strange: list[Any] = [
        {},
        {"ttl": {"N": "1" + "0" * 30}},
        {"ttl": {"N": "1773144000.5"}},
        {"expires_at": at(NOW)},
        {"ttl": {"N": "-1"}},
    ]
    for _ in range(150):
        key = f"USER#{dice.randrange(40)}"
        if dice.random() < 0.2:
            db.delete_item(TableName=TABLE, Key={"pk": {"S": key}})
        elif dice.random() < 0.2:
            put(db, key, **dice.choice(strange))
        else:
            end = NOW + timedelta(seconds=dice.randrange(-5, 5) * 40_000)
            put(db, key, ttl=at(end + DAY), expires_at=at(end))
        if dice.random() < 0.1:
            early.records()
    yield seed
    del early


def test_given_items_of_all_kinds_when_asked_then_a_scan_finds_the_same_due(
    many: str, db: DynamoDBClient
) -> None:
    fresh, api = MotoTable(TABLE), by_api(db)

    assert fresh.due_days() == api.due_days(), many
    for seconds in range(-400_000, 400_000, 20_000):
        now = NOW + timedelta(seconds=seconds)
        assert fresh.expired_keys(now) == api.expired_keys(now), many
        until = now + timedelta(seconds=50_000)
        scanned = [
            item
            for item in db.scan(TableName=TABLE)["Items"]
            if now.timestamp()
            < float(item.get("expires_at", {}).get("N", "0"))
            < until.timestamp()
        ]
        assert fresh.expiring_between(now, until) == scanned, many


def test_given_an_index_when_items_change_then_it_equals_a_new_index(
    db: DynamoDBClient, table: str
) -> None:
    early = MotoTable(table)
    ends = [NOW + n * DAY for n in range(4)]
    for number, end in enumerate(ends):
        put(db, str(number), ttl=at(end), expires_at=at(end))
    put(db, "1", ttl=at(ends[3]))
    put(db, "2", ttl={"S": "soon"})  # moto's own comparison fails on this value
    db.delete_item(TableName=TABLE, Key={"pk": {"S": "3"}})

    assert early.due_days() == {ends[0].date(), ends[3].date()}
    assert early.expired_keys(ends[3]) == ["0", "1"]
    assert [item["pk"] for item in early.expiring_between(NOW - DAY, ends[3])] == [
        {"S": "0"}
    ]
    assert len(early.records()) == 7  # the queries above have not consumed any


def test_given_a_table_without_a_stream_when_asked_then_its_items_are_read(
    db: DynamoDBClient, table: str
) -> None:
    db.delete_table(TableName=TABLE)
    make_table(db, TABLE, has_stream=False)
    source = MotoTable(TABLE)

    put(db, "a", ttl=at(NOW))

    assert source.stream_arn == ""
    assert (source.records(), source.due_days()) == ([], {date(2026, 3, 10)})
    assert source.expired_keys(NOW) == ["a"]
    assert source.delete_expired("a", NOW)
    assert not source.delete_expired("a", NOW)
    assert source.expired_keys(NOW) == []


@pytest.mark.parametrize(
    ("ttl", "gone"),
    [
        pytest.param(at(NOW), True, id="at its ttl"),
        pytest.param(at(NOW + timedelta(seconds=1)), False, id="a second before"),
        pytest.param({"S": "0"}, False, id="no number"),
    ],
)
def test_given_an_item_when_deleted_by_ttl_then_only_if_its_ttl_is_past(
    ttl: dict[str, str], gone: bool, db: DynamoDBClient, table: str
) -> None:
    put(db, "a", ttl=ttl)

    assert MotoTable(table).delete_expired("a", NOW) is gone

    assert ("Item" not in db.get_item(TableName=TABLE, Key={"pk": {"S": "a"}})) is gone
