"""The restore drill: a table of 10,000 users, its backup, and what happens to both.

A few of the users act through the use cases. The crowd is written in batches, with the
store's own item classes.
"""

import json
import random
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from mypy_boto3_kms import KMSClient
from pynamodb.models import Model

from anonauth import wiring
from anonauth.domain.encoding import hash_secret, identity_key, rfc3339
from anonauth.domain.events import Change
from anonauth.domain.identities import Identity, IdentityRecord, MailToken
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.domain.signing_keys import Ring
from anonauth.domain.users import ApiKey, User
from anonauth.event_bus import SOURCE
from anonauth.settings import Settings
from anonauth.store import Store
from anonauth.store.items import (
    USER_PREFIX,
    gone_pk,
    identity_pk,
    record_fields,
    user_fields,
    user_in,
    user_pk,
)
from anonauth.usecases.events import events_of
from anonauth.usecases.key_ring import KeyRotation
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP, DAY, a_guest
from support.engine.accounts import OLD, accounts_of, an_account, an_address
from support.engine.engines import Engine
from support.engine.racing import Item, Service, a_subject

USERS = 10_000
CUSTOM = "custom-token"
NEW_PASSWORD = "new"
EACH = 4
"""How many users of each kind act through the use cases."""

_MOST_IN_BATCH = 25  # writes in a BatchWriteItem


@dataclass(frozen=True)
class Times:
    """When the drill's steps take place. They end an hour before the restore."""

    backup: datetime
    life: datetime
    revocation: datetime
    damage: datetime

    @classmethod
    def before(cls, now: datetime) -> "Times":
        now = now.replace(microsecond=0)
        hour = timedelta(hours=1)
        return cls(now - 2 * DAY, now - DAY, now - 12 * hour, now - hour)


@dataclass
class Person:
    """A user with its session, its credentials, and the keys of its items."""

    opened: OpenedSession | None
    user_id: str
    credentials: dict[str, dict[str, str]] = field(default_factory=dict)
    reset_token: str = ""

    @property
    def session(self) -> OpenedSession:
        assert self.opened is not None
        return self.opened

    @property
    def pk(self) -> str:
        return user_pk(APP, self.user_id)

    def record_pk(self, provider: str) -> str:
        return identity_pk(APP, provider, key_of(provider, self.credentials[provider]))


def key_of(provider: str, credential: Mapping[str, str]) -> str:
    if provider == API_KEY:
        return hash_secret(credential["key"])
    subject = credential["username" if provider == USERPASS else "token"]
    return identity_key(subject)


@dataclass
class Drill:
    """Two tables: the live one, and the one that a backup was restored to."""

    engine: Engine
    kms: KMSClient
    kms_key: str
    live: str
    backup: str
    times: Times
    dice: random.Random
    people: dict[str, list[Person]] = field(default_factory=dict)
    crowd: list[Person] = field(default_factory=list)
    _opened: list[Store] = field(default_factory=list)

    # -- Before the backup ------------------------------------------------------------

    def services(self) -> wiring.Services:
        """Return the services of a function that starts cold on the live table."""
        made = _Services(
            Settings.from_environment(
                {
                    "AWS_REGION": self.engine.region,
                    "TABLE_NAME": self.live,
                    "KMS_KEY_ID": self.kms_key,
                    "APP_IDS": APP,
                }
            )
        )
        made.kms = self.kms
        self._opened.append(made.store)
        return made

    def close(self) -> None:
        """Close the connections of all services."""
        for store in self._opened:
            client: Any = store._connection.client
            client.close()

    def service(self) -> Service:
        """Return the use cases on the live table, with a cold copy of its key ring."""
        services = self.services()
        return Service(services.store, services.tokens, self.engine.db, self.live)

    def rotate(self, now: datetime) -> Ring:
        services = self.services()
        return KeyRotation(services.store, services.key_maker).rotate(now)

    def fill(self) -> None:
        """Make the key ring and all users."""
        start = self.times.backup - 100 * DAY
        for days in (0, 50, 99):
            self.rotate(start + days * DAY)
        service = self.service()
        makers = {
            "guest": lambda: self._guest(service),
            "mail": lambda: self._by_mail(service),
            "jwt": lambda: self._by_jwt(service),
            "both": lambda: self._by_both(service),
            "key": lambda: self._with_key(service),
        }
        for name, kind in KINDS.items():
            self.people[name] = [makers[kind]() for _ in range(EACH)]
        acting = sum(map(len, self.people.values()))
        items: list[Model] = []
        for number in range(USERS - acting):
            person, made = self._one_of_the_crowd(service, number)
            self.crowd.append(person)
            items += made
        self._put(self.live, [item.serialize() for item in items])

    def _guest(self, service: Service) -> Person:
        opened = service.log_in(self.times.backup)
        return Person(opened, opened.user.id)

    def _by_mail(self, service: Service) -> Person:
        token = secrets.token_urlsafe(32)
        kept = MailToken(hash_secret(token), self.times.life + DAY)
        account = an_account(
            service,
            reset=kept,
            verified=True,
            expires_at=self.times.backup + 30 * DAY,
        )
        credential = {"username": account.data["email"], "password": OLD}
        opened = service.log_in_by(USERPASS, credential, self.times.backup)
        return Person(opened, opened.user.id, {USERPASS: credential}, token)

    def _by_jwt(self, service: Service) -> Person:
        credential = {"token": a_subject()}
        opened = service.log_in_by(CUSTOM, credential, self.times.backup)
        return Person(opened, opened.user.id, {CUSTOM: credential})

    def _by_both(self, service: Service) -> Person:
        person = self._by_mail(service)
        person.credentials[CUSTOM] = {"token": a_subject()}
        service.link(
            person.session, CUSTOM, person.credentials[CUSTOM], self.times.backup
        )
        return person

    def _with_key(self, service: Service) -> Person:
        person = self._by_jwt(service)
        _, text = service.create_api_key(person.session, "ci", self.times.backup)
        person.credentials[API_KEY] = {"key": text}
        return person

    def _one_of_the_crowd(
        self, service: Service, number: int
    ) -> tuple[Person, list[Model]]:
        """Return half guests, and permanent users of three kinds."""
        store = service.store
        user = a_guest(self.times.backup)
        credentials: dict[str, dict[str, str]] = {}
        records: list[IdentityRecord] = []
        if number % 2:
            kind = number // 2 % 5
            provider = USERPASS if kind in {0, 1} else CUSTOM
            if provider == USERPASS:
                credentials[USERPASS] = {"username": an_address(), "password": OLD}
            else:
                credentials[CUSTOM] = {"token": a_subject()}
            identity = Identity(
                secrets.token_hex(12),
                provider,
                key_of(provider, credentials[provider]),
                1,
            )
            user = replace(user, anonymous=False, expires_at=None, sessions={})
            user = replace(user, identities=(*user.identities, identity))
            records.append(_bound(user, provider, identity.key, identity.id))
            if kind == 4:
                text = secrets.token_urlsafe(48)
                key = ApiKey(
                    secrets.token_hex(12), "ci", hash_secret(text), self.times.backup
                )
                credentials[API_KEY] = {"key": text}
                user = replace(user, api_keys={key.id: key})
                records.append(_bound(user, API_KEY, key.hash, key.id))
        items: list[Model] = [
            store._user_item(user_pk(APP, user.id), **user_fields(user))
        ]
        items += [
            store._identity_item(
                identity_pk(APP, each.provider, each.key), **record_fields(each)
            )
            for each in records
        ]
        return Person(None, user.id, credentials), items

    # -- Backup, life and damage ------------------------------------------------------

    def back_up(self) -> None:
        """Copy the live table, as a restored table has it: without TTL and stream."""
        self._put(self.backup, self.items())

    def live_on(self, archive: Path) -> str:
        """Let users act after the backup, and archive the events.

        Returns:
            An access token, signed by a key that was revoked afterwards.
        """
        before = self.items()
        service, now = self.service(), self.times.life
        people = self.people
        for person in people["linked"] + people["linked, then damaged"]:
            person.credentials[CUSTOM] = {"token": a_subject()}
            service.link(person.session, CUSTOM, person.credentials[CUSTOM], now)
        for name in ("logged out", "logged out, permanent"):
            for person in people[name]:
                service.log_out(person.session, now)
        for name in ("deleted guest", "deleted", "deleted, mark damaged"):
            for person in people[name]:
                service.delete(person.session, now)
        for person in people["reset"] + people["reset, then damaged"]:
            credential = person.credentials[USERPASS]
            accounts_of(service).reset_password(
                token=person.reset_token,
                token_id=key_of(USERPASS, credential),
                password=NEW_PASSWORD,
                now=now,
            )
            person.credentials[USERPASS] = {**credential, "password": NEW_PASSWORD}
        for person in people["unlinked"] + people["moved, then damaged"]:
            service.unlink(
                person.session, CUSTOM, person.credentials[CUSTOM]["token"], now
            )
        people["newcomer"] = []
        for person in people["moved, then damaged"]:
            credential = person.credentials.pop(CUSTOM)
            opened = service.log_in_by(CUSTOM, credential, now)
            people["newcomer"].append(
                Person(opened, opened.user.id, {CUSTOM: credential})
            )
        people["new guest"] = []
        for _ in range(EACH):
            opened = service.log_in(now)
            people["new guest"].append(Person(opened, opened.user.id))
        token = self._revoke_a_key()
        self._archive(before, now, archive)
        return token

    def _revoke_a_key(self) -> str:
        services, at = self.services(), self.times.revocation
        service = self.service()
        opened = service.log_in_by(
            CUSTOM, self.people["revoker"][0].credentials[CUSTOM], at
        )
        token = service.access_token(opened, at)
        assert service.read_by(token, at).id == opened.user.id
        kid, _ = services.ring.access_signing_key(at)
        KeyRotation(services.store, services.key_maker).revoke(kid, at)
        return token

    def _archive(self, before: Iterable[Item], at: datetime, archive: Path) -> None:
        """Write the events of users that are gone since, as EventBridge has them."""
        there = {item["pk"]["S"] for item in self.items()}
        gone = [item for item in before if item["pk"]["S"] not in there]
        users = [
            user_in(item, item["pk"]["S"])
            for item in gone
            if item["pk"]["S"].startswith(USER_PREFIX)
        ]
        with archive.open("a") as file:
            for number, user in enumerate(users):
                change = Change(secrets.token_hex(), number, at, user, None)
                (event,) = events_of(change, {}, stack="anonauth")
                line = {
                    "version": "0",
                    "id": event.detail["id"],
                    "detail-type": event.type,
                    "source": SOURCE,
                    "time": rfc3339(event.at),
                    "detail": event.detail,
                }
                file.write(json.dumps(line) + "\n")

    def damage(self, archive: Path) -> list[Person]:
        """Delete a third of the crowd, and damage some others; return that third.

        Their deletions raise events too, as on AWS.
        """
        before = self.items()
        people = self.people
        hit = self.dice.sample(self.crowd, len(self.crowd) // 3)
        keys = [pk for person in hit for pk in _all_pks(person)]
        for name in ("hit guest", "hit mail", "hit jwt", "hit key"):
            keys += [pk for person in people[name] for pk in _all_pks(person)]
        for name in (
            "linked, then damaged",
            "reset, then damaged",
            "moved, then damaged",
            "user item damaged",
        ):
            keys += [person.pk for person in people[name]]
        keys += [person.record_pk(CUSTOM) for person in people["record damaged"]]
        keys += [
            gone_pk(APP, person.user_id) for person in people["deleted, mark damaged"]
        ]
        self.delete(keys)
        self._put(
            self.live,
            [{"pk": {"S": p.pk}, "junk": {"S": "x"}} for p in people["overwritten"]],
        )
        self._archive(before, self.times.damage, archive)
        return hit

    def with_new_table(self, table: str) -> "Drill":
        """Return the drill with an empty live table, which has a new key ring."""
        drill = replace(self, live=table)
        drill.rotate(self.times.damage)
        return drill

    # -- Reading and writing tables ---------------------------------------------------

    def items(self, table: str | None = None) -> list[Item]:
        """Return all items of a table, the live one by default."""
        pages = self.engine.db.get_paginator("scan").paginate(
            TableName=table or self.live, ConsistentRead=True
        )
        return [item for page in pages for item in page["Items"]]

    def delete(self, keys: Sequence[str]) -> None:
        self._write(
            self.live, [{"DeleteRequest": {"Key": {"pk": {"S": pk}}}} for pk in keys]
        )

    def there(self, keys: Sequence[str]) -> int:
        """Return how many of up to 100 items the live table has."""
        request: Any = {
            self.live: {
                "Keys": [{"pk": {"S": pk}} for pk in keys],
                "ProjectionExpression": "pk",
                "ConsistentRead": True,
            }
        }
        answer = self.engine.db.batch_get_item(RequestItems=request)
        return len(answer["Responses"][self.live])

    def _put(self, table: str, items: Iterable[Item]) -> None:
        self._write(table, [{"PutRequest": {"Item": item}} for item in items])

    def _write(self, table: str, requests: Sequence[Any]) -> None:
        for start in range(0, len(requests), _MOST_IN_BATCH):
            batch = requests[start : start + _MOST_IN_BATCH]
            answer = self.engine.db.batch_write_item(RequestItems={table: batch})
            assert not answer["UnprocessedItems"]


KINDS = {
    "guest": "guest",
    "revoker": "jwt",
    "linked": "guest",
    "linked, then damaged": "guest",
    "logged out": "guest",
    "logged out, permanent": "jwt",
    "deleted guest": "guest",
    "deleted": "both",
    "deleted, mark damaged": "jwt",
    "reset": "mail",
    "reset, then damaged": "mail",
    "unlinked": "both",
    "moved, then damaged": "both",
    "user item damaged": "key",
    "record damaged": "jwt",
    "overwritten": "jwt",
    "hit guest": "guest",
    "hit mail": "mail",
    "hit jwt": "jwt",
    "hit key": "key",
}
"""What happens to the users that act, and how they were made before the backup."""


class _Services(wiring.Services):
    """Services that share one client of KMS."""

    kms: KMSClient

    def _connect(self, service: str) -> Any:
        assert service == "kms"
        return self.kms


def _bound(user: User, provider: str, key: str, identity_id: str) -> IdentityRecord:
    return IdentityRecord(
        app=APP,
        provider=provider,
        key=key,
        id=identity_id,
        state="bound",
        user_id=user.id,
        password_hash=OLD if provider == USERPASS else "",
        verified=provider == USERPASS,
    )


def _all_pks(person: Person) -> list[str]:
    return [person.pk, *map(person.record_pk, person.credentials)]


@contextmanager
def aws_of(dynamodb: Engine, kms: Engine) -> Iterator[KMSClient]:
    """Context manager: let commands without --endpoint-url call these engines.

    dynoxide scans a table of 16,000 items fast, and has no KMS. ministack has one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint_url)
        patch.setenv("AWS_ENDPOINT_URL_KMS", kms.endpoint_url)
        patch.setenv("AWS_REGION", dynamodb.region)
        client = boto3.client("kms", region_name=dynamodb.region)
        try:
            yield client
        finally:
            client.close()
