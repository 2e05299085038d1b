"""The use cases on one table of an engine, and simultaneous calls to them."""

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Barrier
from typing import Any, TypeVar

from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_dynamodb.type_defs import WriteRequestTypeDef

from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.users import (
    MOST_API_KEYS,
    MOST_FORMER_IDS,
    MOST_IDENTITIES,
    MOST_SESSIONS,
    User,
)
from anonauth.errors import AuthError
from anonauth.store import Store
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP
from support.service.use_cases import UseCases

CALLERS = 8

_MOST_IN_BATCH = 25  # writes in a BatchWriteItem

T = TypeVar("T")
Item = dict[str, Any]


@dataclass(frozen=True)
class Service(UseCases):
    """The use cases on one table; `db` reads the items behind them."""

    store: Store
    db: DynamoDBClient
    table: str

    def sweep(self, guest: OpenedSession, now: datetime) -> bool:
        """Delete an item as DynamoDB's TTL does; tell whether it was due."""
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

    def items(self, prefix: str = "") -> list[Item]:
        """Return all items whose key has this prefix."""
        pages = self.db.get_paginator("scan").paginate(
            TableName=self.table, ConsistentRead=True
        )
        return [
            item
            for page in pages
            for item in page["Items"]
            if item["pk"]["S"].startswith(prefix)
        ]

    def drop(self, items: Sequence[Item]) -> None:
        """Delete these items, to keep the next round's scan short."""
        requests: list[WriteRequestTypeDef] = [
            {"DeleteRequest": {"Key": {"pk": item["pk"]}}} for item in items
        ]
        for start in range(0, len(requests), _MOST_IN_BATCH):
            batch = requests[start : start + _MOST_IN_BATCH]
            answer = self.db.batch_write_item(RequestItems={self.table: batch})
            assert not answer["UnprocessedItems"]


def race(*calls: Callable[[], T]) -> list[T | AuthError]:
    """Make these calls at the same moment; return each result or refusal."""
    line = Barrier(len(calls), timeout=10)

    def run(call: Callable[[], T]) -> T | AuthError:
        line.wait()
        try:
            return call()
        except AuthError as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


@contextmanager
def counted_updates(store: Store) -> Iterator[list[int]]:
    """Collect the HTTP status of each UpdateItem."""
    statuses: list[int] = []

    def note(http_response: Any, **_: Any) -> None:
        statuses.append(http_response.status_code)

    client: Any = store._connection.client
    client.meta.events.register("after-call.dynamodb.UpdateItem", note)
    try:
        yield statuses
    finally:
        client.meta.events.unregister("after-call.dynamodb.UpdateItem", note)


def a_subject() -> str:
    return secrets.token_hex(8)


def refusals(outcomes: Sequence[object]) -> list[AuthError]:
    return [outcome for outcome in outcomes if isinstance(outcome, AuthError)]


def user_of(service: Service, opened: OpenedSession) -> User:
    user = service.store.get_user(APP, opened.user.id)
    assert user is not None
    return user


def assert_whole(item: Item) -> None:
    """Check the invariants of design.md §4 that one user's item can break."""
    assert item.keys() >= {"state", "anonymous", "version", "sessions"}, item
    providers = [entry["M"]["provider"]["S"] for entry in item["identities"]["L"]]
    assert len(providers) <= MOST_IDENTITIES, item
    assert len(item["sessions"]["M"]) <= MOST_SESSIONS, item
    assert len(item["api_keys"]["M"]) <= MOST_API_KEYS, item
    assert len(_former_ids(item)) <= MOST_FORMER_IDS, item
    assert providers.count(USERPASS) <= 1, item
    if item["anonymous"]["BOOL"]:
        day_after_expiry = int(item["expires_at"]["N"]) + 24 * 3600
        assert int(item["ttl"]["N"]) == day_after_expiry, item
        assert providers == ["anon-user"], item
        assert len(item["sessions"]["M"]) == 1, item
        assert "former_ids" not in item, item
    else:
        assert not {"ttl", "expires_at"} & item.keys(), item
        assert set(providers) - {"anon-user"}, item


def assert_all_whole(service: Service) -> None:
    """Check the invariant of design.md §4 that one user lists each identity."""
    assert_items_whole(service.items())


def lost_users(items: Sequence[Item]) -> set[str]:
    """Return the user ids that identities name, but whose item is missing."""
    there = {item["pk"]["S"].rpartition("#")[2] for item in items if _is_user(item)}
    return {item["uid"]["S"] for item in items if "uid" in item} - there


def _is_user(item: Item) -> bool:
    return bool(item["pk"]["S"].startswith("USER#"))


def assert_items_whole(items: Sequence[Item], lost: Collection[str] = ()) -> None:
    """Check the invariants on all items of a table.

    Identities of a user that was made again may name it unlisted until they come back.

    Args:
        lost: Ids of users whose item may be lost.
    """
    listed: dict[str, _Entry] = {}
    bound: dict[str, _Entry] = {}
    made_again = {
        item["pk"]["S"].rpartition("#")[2]
        for item in items
        if _is_user(item) and "made_again" in item
    }
    for item in items:
        kind, _, rest = item["pk"]["S"].partition("#")
        _, _, name = rest.partition("#")
        if kind == "USER":
            assert_whole(item)
            for key, entry in _entries(item, user_id=name):
                assert listed.setdefault(key, entry) == entry, key
        elif kind == "IDENT":
            assert item.keys() >= {"state", "version", "identity_id"}, item
            if item["state"]["S"] == "bound":
                bound[name] = _Entry(
                    item["uid"]["S"], item["identity_id"]["S"], item["version"]["N"]
                )
                assert not {"ttl", "expires_at"} & item.keys(), item
            else:
                assert "uid" not in item, item
                assert int(item["ttl"]["N"]) > int(item["expires_at"]["N"]), item
        elif kind == "ONCE":
            assert item["ttl"] == item["expires_at"], item
    _assert_merges_whole(items, lost)
    unlisted = {key: entry for key, entry in bound.items() if key not in listed}
    assert {entry.user_id for entry in unlisted.values()} <= made_again | {*lost}
    assert {key: bound[key] for key in bound.keys() - unlisted.keys()} == listed


def _assert_merges_whole(items: Sequence[Item], lost: Collection[str]) -> None:
    """Check that users list exactly the guests whose marks name them for good."""
    users = {item["pk"]["S"]: item for item in items if _is_user(item)}
    listed = [
        (pk.replace("USER#", "GONE#").rpartition("#")[0] + f"#{former_id}", pk)
        for pk, item in users.items()
        for former_id in _former_ids(item)
    ]
    marked = {}
    for item in items:
        kind, _, rest = item["pk"]["S"].partition("#")
        if kind == "GONE":
            assert f"USER#{rest}" not in users, item
        if kind == "GONE" and item["reason"]["S"] == "merged" and "ttl" not in item:
            into = item["into"]["S"]
            if into not in lost:
                marked[f"GONE#{rest}"] = f"USER#{rest.partition('#')[0]}#{into}"
    assert len(dict(listed)) == len(listed), listed
    assert dict(listed) == marked


def _former_ids(item: Item) -> list[str]:
    return [each["S"] for each in item.get("former_ids", {"L": []})["L"]]


@dataclass(frozen=True)
class _Entry:
    """The fields that a user's entry and the identity's record have in common."""

    user_id: str
    id: str
    version: str


def _entries(item: Item, user_id: str) -> list[tuple[str, _Entry]]:
    identities = [entry["M"] for entry in item["identities"]["L"]]
    entries = [
        (
            f"{entry['provider']['S']}#{entry['key']['S']}",
            _Entry(user_id, entry["id"]["S"], entry["version"]["N"]),
        )
        for entry in identities
        if "key" in entry
    ]
    entries += [
        (f"{API_KEY}#{entry['M']['hash']['S']}", _Entry(user_id, key_id, "1"))
        for key_id, entry in item["api_keys"]["M"].items()
    ]
    assert len(dict(entries)) == len(entries), item
    return entries
