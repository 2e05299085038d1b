"""Restoring users from a backup, for an operator. No request calls it."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from pynamodb.transactions import TransactWrite

from anonauth.backoff import jittered_pause
from anonauth.domain.identities import IdentityRecord
from anonauth.domain.users import User
from anonauth.store.conditions import as_read
from anonauth.store.identities import Identities
from anonauth.store.items import (
    GoneItem,
    IdentityItem,
    UserItem,
    gone_pk,
    identity_pk,
    record_fields,
    record_of,
    user_in,
    user_pk,
)
from anonauth.store.users import MOST_CONFLICTS

_MOST_IN_BATCH = 100  # keys in a BatchGetItem
_PAUSE = 0.1  # seconds on average, before keys that were not processed are read again


class Restoring(Identities):
    """`RestoreStore`."""

    def get_users(
        self, names: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], User | None]:
        """Read users, 100 items per BatchGetItem; see `RestoreStore`."""
        pks = {user_pk(*name): name for name in names}
        found: dict[tuple[str, str], User | None] = {}
        for pk, raw in self._read_raw(pks):
            found[pks[pk]] = None
            # An item that cannot be read is there all the same.
            with suppress(Exception):
                found[pks[pk]] = user_in(raw, pk)
        return found

    def get_records(
        self, names: Collection[tuple[str, str, str]]
    ) -> dict[tuple[str, str, str], IdentityRecord | None]:
        """Read records, 100 items per BatchGetItem; see `RestoreStore`."""
        pks = {identity_pk(*name): name for name in names}
        found: dict[tuple[str, str, str], IdentityRecord | None] = {}
        for pk, raw in self._read_raw(pks):
            found[pks[pk]] = None
            with suppress(Exception):
                item = self._identity_item.from_raw_data(raw)
                found[pks[pk]] = record_of(item, *pks[pk])
        return found

    def restore_user(
        self,
        user: User,
        records: Sequence[IdentityRecord],
        kept: Sequence[IdentityRecord],
        now: datetime,
    ) -> bool:
        """Write a user and its records, in one transaction; see `RestoreStore`."""

        def fill(transaction: TransactWrite) -> None:
            self._put_again(transaction, user)
            self._put_records(transaction, records, now)
            for record in kept:
                self._check_bound(transaction, user, record)
            for former_id in user.former_ids:
                transaction.condition_check(
                    self._user_item,
                    user_pk(user.app, former_id),
                    condition=UserItem.pk.does_not_exist(),
                )
                self._list_mark(transaction, user, former_id)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._user_shows(
                user,
                # `restored_at` may be None, also in a user made again by a login.
                lambda u: (
                    (u.restored_at, u.created_at) == (user.restored_at, user.created_at)
                ),
            ),
            conflicts=MOST_CONFLICTS,
        )

    def restore_records(
        self, user: User, records: Sequence[IdentityRecord], now: datetime
    ) -> bool:
        """Write records of a live user, in one transaction; see `RestoreStore`."""

        def fill(transaction: TransactWrite) -> None:
            transaction.condition_check(
                self._user_item,
                user_pk(user.app, user.id),
                condition=as_read(user, now),
            )
            self._put_records(transaction, records, now)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: all(
                self.get_identity(each.app, each.provider, each.key) == each
                for each in records
            ),
            conflicts=MOST_CONFLICTS,
        )

    def _list_mark(
        self, transaction: TransactWrite, user: User, former_id: str
    ) -> None:
        # As `absorb_guest` leaves it. The hash of the guest's token is lost if the mark
        # is: a merge that is repeated then counts as a plain login.
        transaction.update(
            self._gone_item(gone_pk(user.app, former_id)),
            [
                GoneItem.reason.set("merged"),
                GoneItem.into.set(user.id),
                GoneItem.ttl.remove(),
            ],
        )

    def _put_records(
        self,
        transaction: TransactWrite,
        records: Sequence[IdentityRecord],
        now: datetime,
    ) -> None:
        # An expired record counts as absent everywhere else too.
        free = IdentityItem.pk.does_not_exist() | (IdentityItem.expires_at <= now)
        for record in records:
            item = self._record_item(record, **record_fields(record))
            transaction.save(item, condition=free)

    def _read_raw(self, pks: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        # The connection does it, because a model fails on the first item that it
        # cannot read.
        table = self._user_item.Meta.table_name
        left = list(pks)
        while left:
            batch, left = left[:_MOST_IN_BATCH], left[_MOST_IN_BATCH:]
            keys: Any = [{"pk": {"S": pk}} for pk in batch]
            answer = self._send(
                lambda keys=keys: self._connection.batch_get_item(  # type: ignore[misc]
                    table, keys, consistent_read=True
                )
            )
            for raw in answer["Responses"].get(table, []):
                yield raw["pk"]["S"], raw
            unprocessed = answer.get("UnprocessedKeys", {}).get(table, {})
            if unprocessed:
                left += [key["pk"]["S"] for key in unprocessed["Keys"]]
                self._pause(jittered_pause(1, _PAUSE))
