"""The use cases on one table of an engine, and calls to them at the same moment."""

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any, TypeVar

from mypy_boto3_dynamodb import DynamoDBClient

from anonauth.domain import (
    API_KEY,
    MOST_IDENTITIES,
    MOST_SESSIONS,
    USERPASS,
    Device,
    IdentityRecord,
    SessionLimits,
    User,
    VerifiedIdentity,
    identity_key,
)
from anonauth.errors import AuthError, WrongPassword
from anonauth.ports import Provider
from anonauth.providers.api_key import ApiKeys
from anonauth.store import Store
from anonauth.tokens import Tokens
from anonauth.usecases.link import (
    Attempt,
    LinkedSession,
    Parts,
    link_identity,
    log_in,
)
from anonauth.usecases.login import OpenedSession, log_in_anonymously
from anonauth.usecases.logout import log_out
from anonauth.usecases.profile import delete_user, read_profile, unlink_identity
from anonauth.usecases.session import refresh
from store_contract import APP, NOW

HOST = "https://anonauth.example"
CALLERS = 8
LIMITS = SessionLimits(idle=timedelta(days=60), total=timedelta(days=1825))

T = TypeVar("T")
Item = dict[str, Any]


class Vouching:
    """A `Provider` whose credentials are the subjects themselves: `{"token": sub}`."""

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        subject = credential["token"]
        return VerifiedIdentity("custom-token", identity_key(subject), subject)


class Passwords:
    """A `Provider` of `local-userpass` whose hashes are the passwords in clear.

    It reads the record as the real one does; what it leaves out takes 40 ms.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        key = identity_key(credential["username"])
        record, _ = self._store.get_account_and_counts(APP, key, [])
        if record is None or record.password_hash != credential["password"]:
            raise WrongPassword
        return VerifiedIdentity(USERPASS, key, record.id, record.data, record)


@dataclass(frozen=True)
class Service:
    """The use cases on one table; `db` looks at the items behind them."""

    store: Store
    tokens: Tokens
    db: DynamoDBClient
    table: str

    def find(self, app: str, provider: str) -> Provider | None:
        """Return a provider, as `Providers` does."""
        providers: dict[str, Provider] = {
            "custom-token": Vouching(),
            USERPASS: Passwords(self.store),
            API_KEY: ApiKeys(app, identities=self.store),
        }
        return providers.get(provider)

    def log_in(self, now: datetime = NOW) -> OpenedSession:
        return log_in_anonymously(
            APP,
            link=False,
            device=Device(),
            base_url=HOST,
            users=self.store,
            tokens=self.tokens,
            now=now,
        )

    @property
    def parts(self) -> Parts:
        """What logins and links are decided with."""
        return Parts(self.store, self.store, self, self.tokens, LIMITS)

    def log_in_by(
        self, provider: str, credential: Mapping[str, str], now: datetime = NOW
    ) -> OpenedSession:
        return log_in(_attempt(provider, credential), parts=self.parts, now=now)

    def link(
        self,
        opened: OpenedSession,
        provider: str,
        credential: Mapping[str, str],
        now: datetime = NOW,
    ) -> LinkedSession:
        token = self.access_token(opened, now)
        attempt = _attempt(provider, credential)
        return link_identity(token, attempt, parts=self.parts, now=now)

    def unlink(self, opened: OpenedSession, provider: str, identity_id: str) -> None:
        linked = replace(opened, user=replace(opened.user, anonymous=False))
        unlink_identity(
            self.access_token(linked, NOW),
            provider,
            identity_id,
            users=self.store,
            identities=self.store,
            tokens=self.tokens,
            now=NOW,
        )

    def refresh(self, opened: OpenedSession, now: datetime) -> str:
        return refresh(
            opened.refresh_token,
            base_url=HOST,
            users=self.store,
            tokens=self.tokens,
            limits=LIMITS,
            now=now,
        )

    def log_out(self, opened: OpenedSession, now: datetime) -> None:
        log_out(opened.refresh_token, users=self.store, tokens=self.tokens, now=now)

    def read(self, opened: OpenedSession, now: datetime) -> User:
        return read_profile(
            self.access_token(opened, now),
            users=self.store,
            identities=self.store,
            tokens=self.tokens,
            now=now,
        ).user

    def delete(self, opened: OpenedSession, now: datetime) -> None:
        token = self.access_token(opened, now)
        delete_user(token, users=self.store, tokens=self.tokens, now=now)

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

    def record(self, provider: str, subject: str) -> IdentityRecord | None:
        return self.store.get_identity(APP, provider, identity_key(subject))

    def access_token(self, opened: OpenedSession, now: datetime) -> str:
        """Return an access token of a session, whether or not it still lives."""
        return self.tokens.access_token(
            opened.user, opened.session, base_url=HOST, now=now
        )


def _attempt(provider: str, credential: Mapping[str, str]) -> Attempt:
    return Attempt(APP, provider, credential, Device(), "203.0.113.9", HOST)


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
    """Check all invariants of design §4: each identity has one user that lists it."""
    listed: dict[str, str] = {}
    for item in service.items("USER#"):
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
    for item in service.items("IDENT#"):
        key = "#".join(item["pk"]["S"].split("#")[2:])
        if item["state"]["S"] == "bound":
            bound[key] = item["uid"]["S"]
            assert not {"ttl", "expires_at"} & item.keys(), item
        else:
            assert "uid" not in item, item
            assert int(item["ttl"]["N"]) > int(item["expires_at"]["N"]), item
    assert bound == listed
