"""The benchmark's meter, in front of an engine that reports consumed units."""

from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from bench.meter import Call, Meter
from support.engine import engines


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    directory = tmp_path_factory.mktemp("engine")
    with engines.running("dynoxide", directory) as engine, engine.table() as table:
        yield engine.endpoint_url, table


@pytest.fixture
def meter(table: tuple[str, str]) -> Iterator[Meter]:
    with Meter(table[0]) as meter:
        yield meter


@pytest.fixture
def db(meter: Meter) -> Iterator[DynamoDBClient]:
    client = boto3.client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url=meter.url,
        aws_access_key_id="meter",
        aws_secret_access_key="meter",
    )
    yield client
    client.close()


def test_given_a_meter_when_called_then_answers_are_the_engines_and_units_noted(
    db: DynamoDBClient, meter: Meter, table: tuple[str, str]
) -> None:
    key, text = {"pk": {"S": "a"}}, "x" * 1500

    db.put_item(TableName=table[1], Item={**key, "text": {"S": text}})
    found = db.get_item(TableName=table[1], Key=key, ConsistentRead=True)

    assert found["Item"]["text"] == {"S": text}
    assert meter.calls == [
        Call("PutItem", write_units=2),
        Call("GetItem", read_units=1),
    ]


@pytest.mark.parametrize(
    ("pk", "units"),
    [
        pytest.param("kept", 3, id="of the item that is there"),
        pytest.param("missing", 1, id="one, of none"),
    ],
)
def test_given_a_condition_when_it_does_not_hold_then_its_units_are_those_of_the_item(
    db: DynamoDBClient, meter: Meter, table: tuple[str, str], pk: str, units: int
) -> None:
    db.put_item(
        TableName=table[1], Item={"pk": {"S": "kept"}, "text": {"S": "x" * 2048}}
    )
    del meter.calls[:]

    with pytest.raises(ClientError):
        db.delete_item(
            TableName=table[1],
            Key={"pk": {"S": pk}},
            ConditionExpression="attribute_exists(nothing)",
        )

    assert meter.calls == [Call("DeleteItem", write_units=units)]
