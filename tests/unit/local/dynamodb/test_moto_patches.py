"""The patched moto compared with the original: it is faster and answers the same."""

import copy
import gzip
import importlib.metadata
import random
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import moto.backends
import moto.kms.models
import moto.kms.utils
import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from moto.core.responses import BaseResponse
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from moto.events.responses import EventsHandler
from moto.kms.responses import KmsResponse
from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.local.command_error import CommandError
from anonauth.local.dynamodb import moto_patches
from anonauth.local.dynamodb.moto_patches import (
    MOTO_VERSION,
    patch_moto,
    require_moto_version,
)
from support.hostile.dice import dice_of
from support.project.tools import ROOT

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE"
PLAIN, QUICK = "plain-moto", "quick-moto"
TRANSACTIONS = 150
CALLS = 150

_KEYS = [f"USER#{letter}" for letter in "abcdef"]
_CONDITIONS: list[dict[str, Any]] = [
    {},
    {"ConditionExpression": "attribute_exists(pk)"},
    {"ConditionExpression": "attribute_not_exists(pk)"},
    {
        "ConditionExpression": "version < :low",
        "ExpressionAttributeValues": {":low": {"N": "5"}},
    },
    {
        "ConditionExpression": "attribute_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    },
]
_UPDATES: list[dict[str, Any]] = [
    {"UpdateExpression": "ADD version :one", "values": {":one": {"N": "1"}}},
    {"UpdateExpression": "SET labels.ada = :n", "values": {":n": {"S": "Ada"}}},
    {"UpdateExpression": "SET tags = :t", "values": {":t": {"SS": ["a", "b"]}}},
    {"UpdateExpression": "SET labels = :m", "values": {":m": {"M": {}}}},
    {"UpdateExpression": "REMOVE labels", "values": {}},
    {
        "UpdateExpression": "ADD labels :one",
        "values": {":one": {"N": "1"}},
    },  # no number
    {"UpdateExpression": "SET missing.deep = :n", "values": {":n": {"S": "x"}}},
    {"UpdateExpression": "SET version = :gone", "values": {}},
    {
        "UpdateExpression": "SET every = :e, words = list_append(words, :l)",
        "values": {":l": {"L": [{"S": "c"}]}},
    },
    {
        "UpdateExpression": "SET version = version + :one REMOVE words[1], words[0]",
        "values": {":one": {"N": "1"}},
    },
    {
        "UpdateExpression": "SET names.ada = :n",
        "values": {":n": {"S": "Ada"}},
    },  # reserved
]
_EVERY_TYPE: dict[str, Any] = {
    "M": {
        "text": {"S": "Ada, Ägypten"},
        "empty": {"S": ""},
        "number": {"N": "1.50"},
        "yes": {"BOOL": True},
        "nothing": {"NULL": True},
        "binary": {"B": b"\0\xff"},
        "texts": {"SS": ["a", "b"]},
        "numbers": {"NS": ["1", "2"]},
        "binaries": {"BS": [b"\1"]},
        "list": {"L": [{"S": "a"}, {"L": []}, {"M": {"deep": {"N": "1"}}}]},
        "map": {"M": {}},
    }
}


@pytest.fixture(scope="module", autouse=True)
def plain_moto(moto: None) -> Iterator[None]:
    """Suspend the patches that the suite uses."""
    with pytest.MonkeyPatch.context() as patch:
        (suspended,) = set(moto_patches._active_patches)
        patch.setattr(moto_patches, "_active_patches", [])
        suspended.stop()
        yield
        suspended.start()


@pytest.fixture
def tables(db: DynamoDBClient) -> Iterator[None]:
    for name in (PLAIN, QUICK):
        db.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={
                "StreamEnabled": True,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        )
    yield
    for name in (PLAIN, QUICK):
        db.delete_table(TableName=name)


def moto_table(name: str) -> Table:
    return dynamodb_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].tables[name]


def an_action(dice: random.Random, table: str) -> dict[str, Any]:
    key = {"pk": {"S": dice.choice(_KEYS)}}
    condition = dice.choice(_CONDITIONS)
    kind = dice.choice(["Put", "Put", "Update", "Update", "Delete", "ConditionCheck"])
    action: dict[str, Any] = {"TableName": table, **condition}
    if kind == "Put":
        version = str(dice.randrange(10))
        raw = {"version": {"N": version}, "raw": {"B": b"\0\1"}}
        labels = {"labels": {"M": {"bob": {"S": "Bob"}, "raw": {"B": b"\2"}}}}
        action["Item"] = {**key, **raw, **(labels if dice.random() < 0.5 else {})}
        return {kind: action}
    action["Key"] = key
    if kind == "Update":
        update = dice.choice(_UPDATES)
        values = {
            **condition.get("ExpressionAttributeValues", {}),
            **update["values"],
        }
        action["UpdateExpression"] = update["UpdateExpression"]
        action |= {"ExpressionAttributeValues": values} if values else {}
    if kind == "ConditionCheck":
        action.setdefault("ConditionExpression", "attribute_exists(pk)")
    return {kind: action}


def a_call(dice: random.Random, table: str) -> tuple[str, dict[str, Any]]:
    """Return a random operation other than a transaction, and its arguments."""
    key = {"pk": {"S": dice.choice(_KEYS)}}
    operation = dice.choice(
        ["get", "put", "update", "update", "update", "many", "scan"]
    )
    condition: dict[str, Any] = dict(dice.choice(_CONDITIONS))
    if operation == "get":
        return "get_item", {"TableName": table, "Key": key}
    if operation == "many":
        keys = [{"pk": {"S": each}} for each in _KEYS]
        return "batch_get_item", {"RequestItems": {table: {"Keys": keys}}}
    if operation == "scan":
        condition.pop("ReturnValuesOnConditionCheckFailure", None)
        if "ConditionExpression" in condition:
            condition["FilterExpression"] = condition.pop("ConditionExpression")
        return "scan", {
            "TableName": table,
            "ReturnConsumedCapacity": "TOTAL",
        } | condition
    if operation == "put":
        words = {"words": {"L": [{"S": "a"}, {"S": "b"}]}}
        item = {**key, "version": {"N": "3"}, "every": _EVERY_TYPE, **words}
        returned = dice.choice(["NONE", "ALL_OLD"])
        put = {"TableName": table, "Item": item, "ReturnValues": returned}
        return "put_item", put | condition
    update = dice.choice(_UPDATES)
    values = condition.pop("ExpressionAttributeValues", {}) | update["values"]
    if ":e" in update["UpdateExpression"]:
        values[":e"] = _EVERY_TYPE
    return "update_item", {
        "TableName": table,
        "Key": key,
        "UpdateExpression": update["UpdateExpression"],
        "ReturnValues": dice.choice(["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_NEW"]),
        **({"ExpressionAttributeValues": values} if values else {}),
        **condition,
    }


def transact(db: DynamoDBClient, actions: list[Any]) -> Any:
    """Return the answer, without the parts that differ each time."""
    return call(db, "transact_write_items", {"TransactItems": actions})


def call(db: DynamoDBClient, operation: str, arguments: dict[str, Any]) -> Any:
    """Return the answer, without the parts that differ each time."""
    try:
        answer: Any = getattr(db, operation)(**arguments)
    except ClientError as exc:
        answer = dict(exc.response)
    except Exception as exc:  # noqa: BLE001 - moto may raise anything
        return type(exc), str(exc)
    del answer["ResponseMetadata"]
    return answer


def stream_of(table: Table, newest: int = 0) -> list[Any]:
    """Return all or the newest records, without the parts that differ each time."""
    assert table.stream_shard is not None
    records = [record.to_json() for record in table.stream_shard.items[-newest:]]
    return [
        (
            record["eventName"],
            {
                name: value
                for name, value in record["dynamodb"].items()
                # The size includes a text with the time.
                if name not in {"ApproximateCreationDateTime", "SizeBytes"}
            },
        )
        for record in records
    ]


def items_of(table: Table) -> dict[str, Any]:
    items: Any = table.items.values()
    return {item.hash_key.value: item.to_json() for item in items}


def test_given_random_transactions_when_compared_then_moto_answers_the_same(
    db: DynamoDBClient, tables: None
) -> None:
    dice, seed = dice_of("TRANSACTION_SEED")
    outcomes = set()

    for _ in range(TRANSACTIONS):
        number = dice.choice([1, 1, 2, 3, 5])
        state = dice.getstate()
        plain = transact(db, [an_action(dice, PLAIN) for _ in range(number)])
        dice.setstate(state)
        with patch_moto():
            quick = transact(db, [an_action(dice, QUICK) for _ in range(number)])

        assert quick == plain, seed
        outcomes.add(str(plain.get("Error", {}).get("Code")))
        assert items_of(moto_table(QUICK)) == items_of(moto_table(PLAIN)), seed
        newest = stream_of(moto_table(QUICK), 10), stream_of(moto_table(PLAIN), 10)
        assert newest[0] == newest[1], seed

    assert stream_of(moto_table(QUICK)) == stream_of(moto_table(PLAIN)), seed
    assert {"None", "TransactionCanceledException"} <= outcomes


def test_given_random_calls_when_compared_then_moto_answers_the_same(
    db: DynamoDBClient, tables: None
) -> None:
    dice, seed = dice_of("CALL_SEED")
    outcomes = set()

    for _ in range(CALLS):
        state = dice.getstate()
        plain = call(db, *a_call(dice, PLAIN))
        dice.setstate(state)
        with patch_moto():
            quick = call(db, *a_call(dice, QUICK))

        assert renamed(quick) == plain, seed
        outcomes.add(str(plain.get("Error", {}).get("Code")))
        assert items_of(moto_table(QUICK)) == items_of(moto_table(PLAIN)), seed

    assert stream_of(moto_table(QUICK)) == stream_of(moto_table(PLAIN)), seed
    assert outcomes == {
        "None",
        "ConditionalCheckFailedException",
        "ValidationException",
    }


def renamed(answer: Any) -> Any:
    """Return the answer as if it came from the other table."""
    if isinstance(answer, dict):
        return {renamed(name): renamed(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [renamed(value) for value in answer]
    return PLAIN if answer == QUICK else answer


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", "https://dynamodb.eu-central-1.amazonaws.com/", b'{"A": "\\u00e4"}'),
        ("POST", "https://dynamodb.eu-central-1.amazonaws.com/", b""),
        ("POST", "http://kms.eu-central-1.amazonaws.com/", b"{}"),
        ("POST", "http://localhost:8000/", b"{}"),
        ("POST", "https://email.eu-central-1.amazonaws.com/v2/email", b"{}"),
        ("POST", "https://sts.amazonaws.com/?Action=GetCallerIdentity", b""),
        ("GET", "https://email.eu-central-1.amazonaws.com/", None),
    ],
)
def test_given_a_request_when_moto_reads_it_then_as_before(
    method: str, url: str, body: bytes | None
) -> None:
    headers = {"Content-Type": b"application/x-amz-json-1.0", "X-Amz-Target": "A.B"}

    plain = Request.from_primitives(method, url, headers, body)
    with patch_moto():
        quick = Request.from_primitives(method, url, headers, body)

    own = ("wsgi.input", "wsgi.errors", "werkzeug.request")
    assert {k: v for k, v in quick.environ.items() if k not in own} == {
        k: v for k, v in plain.environ.items() if k not in own
    }
    assert quick.data == plain.data
    assert quick.raw_url == plain.raw_url


@pytest.mark.parametrize("response", [DynamoHandler, KmsResponse, EventsHandler])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"{SIGNED}/20260310/eu-west-1/dynamodb/aws4_request, Sig=0"},
        {"Authorization": f"{SIGNED}/20260310/eu-west-1/kms/aws4_request,Sig=a/b:c"},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=x/2026/us-east-1/kms/a, Sig=0"},
        {"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"},
        {"User-Agent": "Boto3 region/ap-south-1"},
        {"x-moto-account-id": "210987654321"},
        {"Content-Encoding": "gzip"},
    ],
)
@pytest.mark.parametrize(
    "url",
    ["https://kms.eu-central-1.amazonaws.com/", "https://x.example/"],
)
def test_given_a_request_when_moto_sets_itself_up_then_as_before(
    response: Callable[[], Any], headers: dict[str, str], url: str
) -> None:
    body = b'{"TableName": "t", "Action": "a"}'
    if "Content-Encoding" in headers:
        body = gzip.compress(body)
    headers |= {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.DescribeTable",
    }

    def set_up() -> dict[str, Any]:
        made: BaseResponse = response()
        made.setup_class(Request.from_primitives("POST", url, headers, body))
        made.response_headers["date"] = made.response_headers["date"][:16]  # the day
        made.headers = dict(made.headers)
        # A form, which JSON has none of.
        for name in ("normalized_request", "querystring", "data", "form_data"):
            delattr(made, name)
        return vars(made)

    plain = set_up()
    with patch_moto():
        quick = set_up()

    assert quick == plain


@pytest.mark.parametrize(
    "values",
    [{":a": {"S": "Ada"}, ":low": {"N": "5"}, ":high": {"N": "9"}}, {":a": {}}, None],
    ids=["all values", "an empty value", "no values"],
)
@pytest.mark.parametrize("names", [{"#a": "ada"}, {}, None], ids=str)
@pytest.mark.parametrize(
    "expression",
    [
        "",
        "attribute_not_exists(pk)",
        "#a = :a AND version < :low",
        "attribute_exists(pk) AND (version <> :low OR NOT contains(tags, :a))",
        "size(#a) >= :low",
        "#a BETWEEN :low AND :high",
        "version IN (:a, :low, :high)",
        "labels.#a[0].deep = :a OR begins_with(labels[1], :a)",
        "attribute_type(#a, :a)",
        "(#a = :a)",
        "((#a = :a))",
        "#gone = :a",
        "#a = :gone",
        "name = :a",
        "#a = ",
        "#a = :a :low",
        "#a ! :a",
        "AND",
    ],
)
def test_given_a_condition_when_moto_parses_it_then_as_before(
    expression: str, names: dict[str, str] | None, values: dict[str, Any] | None
) -> None:
    def parse() -> Any:
        parser = ConditionExpressionParser(expression, names, values)
        try:
            made = shape_of(parser.parse())
        except Exception as exc:  # noqa: BLE001 - moto may raise anything
            return type(exc), str(exc)
        return made, parser.expr_attr_names_found, parser.expr_attr_values_found

    plain = parse()
    with patch_moto():
        quick, remembered = parse(), parse()

    assert quick == plain
    assert remembered == plain


def test_given_the_modules_of_moto_when_listed_again_then_as_before() -> None:
    plain = set(moto.backends.list_of_moto_modules())
    with patch_moto():
        quick = [moto.backends.list_of_moto_modules() for _ in range(2)]

    assert quick == [plain, plain]
    assert "dynamodb" in plain


def test_given_a_key_of_kms_when_made_then_only_an_asymmetric_one_is_an_rsa_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    models: Any = moto.kms.models
    original = moto.kms.utils.RSAPrivateKey

    def record(key_size: int) -> Any:
        made.append(key_size)
        return original(key_size)

    monkeypatch.setattr(moto.kms.utils, "RSAPrivateKey", record)
    with patch_moto():
        symmetric = models.generate_private_key("SYMMETRIC_DEFAULT")
        assert made == []
        models.generate_private_key("RSA_3072")
        assert made == [3072]
        # Nobody asks for this one; if somebody did, it would be as before.
        assert copy.deepcopy(symmetric).public_key() == symmetric.public_key()
        assert made == [3072, 2048]


def shape_of(made: Any) -> Any:
    """Return a parsed condition as something that can be compared."""
    if isinstance(made, list | tuple):
        return [shape_of(each) for each in made]
    if hasattr(made, "__dict__"):
        return type(made), {name: shape_of(each) for name, each in vars(made).items()}
    return made


@pytest.mark.parametrize(
    "actions",
    [
        pytest.param(
            lambda table: [
                {"Put": {"TableName": table, "Item": {"pk": {"S": "a"}}}},
                {"Delete": {"TableName": table, "Key": {"pk": {"S": "a"}}}},
            ],
            id="one item twice",
        ),
        pytest.param(
            lambda table: [
                {"Put": {"TableName": table, "Item": {"pk": {"S": str(number)}}}}
                for number in range(101)
            ],
            id="too many",
        ),
        pytest.param(
            lambda table: [
                {"Put": {"TableName": table, "Item": {"pk": {"S": "a"}}}},
                {"Put": {"TableName": table, "Item": {"pk": {"S": ""}}}},
            ],
            id="an empty key",
        ),
        pytest.param(
            lambda table: [
                {"Put": {"TableName": table, "Item": {"pk": {"S": "a"}}}},
                {"Put": {"TableName": "nowhere", "Item": {"pk": {"S": "a"}}}},
            ],
            id="no such table",
        ),
        pytest.param(
            lambda table: [
                {"Put": {"TableName": table, "Item": {"pk": {"S": "a"}}}},
                {"Delete": {"TableName": table, "Key": {"sk": {"S": "a"}}}},
            ],
            id="another key",
        ),
        pytest.param(
            lambda table: [
                {"Put": {"TableName": table, "Item": {"pk": {"S": "a"}}}},
                {"Put": {"TableName": table, "Item": {"pk": {"N": "1"}}}},
            ],
            id="a key of another type",
        ),
    ],
)
def test_given_an_invalid_transaction_when_sent_then_it_is_refused_as_by_moto(
    actions: Callable[[str], list[Any]], db: DynamoDBClient, tables: None
) -> None:
    plain = transact(db, actions(PLAIN))
    with patch_moto():
        quick = transact(db, actions(QUICK))

    assert quick == plain
    assert quick
    assert items_of(moto_table(QUICK)) == items_of(moto_table(PLAIN)) == {}
    assert stream_of(moto_table(QUICK)) == stream_of(moto_table(PLAIN)) == []


def test_given_a_transaction_when_it_runs_then_no_table_is_copied(
    db: DynamoDBClient, tables: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def copy(self: Table, _: Any) -> Table:
        copied.append(self.name)
        return self

    monkeypatch.setattr(Table, "__deepcopy__", copy, raising=False)
    actions: list[Any] = [
        {"Put": {"TableName": QUICK, "Item": {"pk": {"S": key}}}} for key in _KEYS
    ]

    with patch_moto():
        transact(db, actions)
    assert copied == []
    transact(db, actions)
    assert copied == [QUICK] * len(actions)  # otherwise the test proves nothing


def test_given_two_blocks_when_one_ends_then_the_other_keeps_the_patches() -> None:
    before = DynamoDBBackend.transact_write_items
    first, second = patch_moto(), patch_moto()

    first.__enter__()
    second.__enter__()
    quick = DynamoDBBackend.transact_write_items
    first.__exit__(None, None, None)

    assert DynamoDBBackend.transact_write_items is quick is not before
    second.__exit__(None, None, None)
    assert DynamoDBBackend.transact_write_items is before


def test_given_another_moto_when_required_then_the_message_says_what_to_do() -> None:
    with pytest.raises(CommandError) as refusal:
        require_moto_version("5.3.0")

    assert str(refusal.value) == (
        f"moto is 5.3.0, but the built-in AWS needs {MOTO_VERSION}: "
        "install anonauth[cli] again"
    )


def test_given_the_pinned_moto_when_required_then_the_patches_are_for_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = [
        requirement
        for requirement in project["optional-dependencies"]["cli"]
        if requirement.startswith("moto")
    ]

    assert [each.rpartition("==")[2] for each in pinned] == [MOTO_VERSION]
    assert importlib.metadata.version("moto") == MOTO_VERSION
    require_moto_version(MOTO_VERSION)
