"""The use cases on one table of an engine, and calls to them at the same moment."""

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import Barrier
from typing import Any, TypeVar

from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain import API_KEY, MOST_IDENTITIES, MOST_SESSIONS, USERPASS
from anonauth.errors import AuthError
from anonauth.store import Store
from anonauth.usecases.login import OpenedSession
from store_contract import APP
from use_cases import UseCases

CALLERS = 8

T = TypeVar("T")
Item = dict[str, Any]


@dataclass(frozen=True)
class Service(UseCases):
    """The use cases on one table; `db` looks at the items behind them."""

    store: Store
    db: DynamoDBClient
    table: str

    def sweep(self, guest: OpenedSession, now: datetime) -> bool:
        """Delete as DynamoDB's TTL does; tell whether it was time."""
        try:
            self.db.delete_item(
                TableName=self.table,
                Key={"pk": {"S": f"USER#{APP}#{guest.user.id}"}},
                ConditionExpression="#ttl < :now",
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues={":now": {"N": str(int(now.timestamp()))}},
            )
        except self.db.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def item(self, guest: OpenedSession, kind: str = "USER") -> Item | None:
        answer = self.db.get_item(
            TableName=self.table,
            Key={"pk": {"S": f"{kind}#{APP}#{guest.user.id}"}},
            ConsistentRead=True,
        )
        return answer.get("Item")

    def items(self, prefix: str) -> list[Item]:
        """Return all items whose key begins like that."""
        pages = self.db.get_paginator("scan").paginate(
            TableName=self.table, ConsistentRead=True
        )
        return [
            item
            for page in pages
            for item in page["Items"]
            if item["pk"]["S"].startswith(prefix)
        ]


def race(*calls: Callable[[], T]) -> list[T | AuthError]:
    """Make these calls at the same moment; return what each gets, or its refusal."""
    line = Barrier(len(calls), timeout=10)

    def run(call: Callable[[], T]) -> T | AuthError:
        line.wait()
        try:
            return call()
        except AuthError as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def a_subject() -> str:
    return secrets.token_hex(8)


def assert_whole(item: Item) -> None:
    """Check the invariants of design §4 that one user's item can break."""
    assert item.keys() >= {"state", "anonymous", "version", "sessions"}, item
    providers = [entry["M"]["provider"]["S"] for entry in item["identities"]["L"]]
    assert len(providers) <= MOST_IDENTITIES, item
    assert len(item["sessions"]["M"]) <= MOST_SESSIONS, item
    assert providers.count(USERPASS) <= 1, item
    if item["anonymous"]["BOOL"]:
        day_after_expiry = int(item["expires_at"]["N"]) + 24 * 3600
        assert int(item["ttl"]["N"]) == day_after_expiry, item
        assert providers == ["anon-user"], item
    else:
        assert not {"ttl", "expires_at"} & item.keys(), item
        assert set(providers) - {"anon-user"}, item


def assert_all_whole(service: Service) -> None:
    """Check all invariants of design §4 on the table."""
    assert_whole_table(service.items(""))


def assert_whole_table(items: Sequence[Item]) -> None:
    """Check all invariants of design §4: each identity has one user that lists it."""
    listed: dict[str, str] = {}
    for item in _of("USER#", items):
        assert_whole(item)
        user_id = item["pk"]["S"].rpartition("#")[2]
        keys = [
            f"{entry['M']['provider']['S']}#{entry['M']['key']['S']}"
            for entry in item["identities"]["L"]
            if "key" in entry["M"]
        ]
        keys += [
            f"{API_KEY}#{k['M']['hash']['S']}" for k in item["api_keys"]["M"].values()
        ]
        for key in keys:
            assert listed.setdefault(key, user_id) == user_id, key
    bound = {}
    for item in _of("IDENT#", items):
        key = "#".join(item["pk"]["S"].split("#")[2:])
        if item["state"]["S"] == "bound":
            bound[key] = item["uid"]["S"]
            assert not {"ttl", "expires_at"} & item.keys(), item
        else:
            assert "uid" not in item, item
            assert int(item["ttl"]["N"]) > int(item["expires_at"]["N"]), item
    assert bound == listed


def _of(prefix: str, items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item["pk"]["S"].startswith(prefix)]
