"""Accounts of `local-userpass`, and the counters of rate limits."""

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any

from pynamodb.attributes import UnicodeAttribute
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from anonauth.domain.budgets import Count, Counter
from anonauth.domain.encoding import hash_token_id
from anonauth.domain.expiry import SWEEP_DELAY, UNBOUND_LIFETIME
from anonauth.domain.identities import IdentityRecord, MailToken
from anonauth.domain.providers import USERPASS
from anonauth.domain.users import User, user_after_reset
from anonauth.store.conditions import all_of, as_read, record_in_time
from anonauth.store.identities import Identities, same_version
from anonauth.store.items import (
    CounterItem,
    IdentityItem,
    UserItem,
    counter_pk,
    identity_list,
    identity_pk,
    network_map,
    record_fields,
    record_of,
    user_pk,
)
from anonauth.store.table import WriteRefused
from anonauth.store.users import MOST_CONFLICTS

_NO_TOKEN = hash_token_id("")  # as many bytes as the hash of a token


class AccountRecords(Identities):
    """`AccountStore` on the table."""

    def count(self, counter: Counter, *, over: Collection[str] = ()) -> None:
        """Add one to a counter, in one UpdateItem; see `BudgetStore`."""
        item = self._counter_item(counter_pk(counter.name))
        actions = [*_add_one(counter), *[Path(name).remove() for name in over]]
        self._send(lambda: item.update(actions))

    def spend(self, counter: Counter) -> bool:
        """Add one if it is below the limit, in one UpdateItem; see `BudgetStore`."""
        item = self._counter_item(counter_pk(counter.name))
        limits = {"number": counter.limit, **counter.parts}
        below = all_of(
            Path(name).does_not_exist() | (Path(name) < limit)
            for name, limit in limits.items()
        )
        return self._try_write(
            lambda: item.update(_add_one(counter), below),
            # The attempt whose reply was lost may have taken the last one.
            is_written=lambda: True,
        )

    def give_back(self, counter: Counter) -> None:
        """Take one from a counter, in one UpdateItem; see `BudgetStore`."""
        item = self._counter_item(counter_pk(counter.name))
        taken: list[Action] = [
            Path(name).add(-1) for name in ("number", *counter.parts)
        ]
        with suppress(WriteRefused):  # there is nothing to take
            self._send(lambda: item.update(taken, CounterItem.number > 0))

    def clear(self, counter: Counter) -> None:
        """Set a count to 0, in one UpdateItem; see `AccountStore`."""
        item = self._counter_item(counter_pk(counter.name))
        counted: list[Action] = [
            Path(name).remove() for name in ("number", *counter.parts)
        ]
        with suppress(WriteRefused):  # there is no item, and none must be created
            self._send(lambda: item.update(counted, CounterItem.pk.exists()))

    def get_account_and_counts(
        self, app: str, key: str, counters: Sequence[Counter]
    ) -> tuple[IdentityRecord | None, list[Count]]:
        """Read a record and counts in one BatchGetItem; see `AccountStore`."""
        account = identity_pk(app, USERPASS, key)
        pks = [counter_pk(counter.name) for counter in counters]
        items = self._send(
            lambda: list(
                self._account_item.batch_get([account, *pks], consistent_read=True)
            )
        )
        found = {item.pk: item for item in items}
        counts = [
            Count(int(found[pk].number or 0), found[pk].parts)
            if pk in found
            else Count()
            for pk in pks
        ]
        item = found.get(account)
        record = None if item is None else record_of(item, app, USERPASS, key)
        return record, counts

    def register(self, record: IdentityRecord, now: datetime) -> bool:
        """Write a record, in one PutItem; see `AccountStore`."""
        item = self._record_item(record, **record_fields(record))
        free = IdentityItem.pk.does_not_exist()
        pending = IdentityItem.state == "pending"
        expired = IdentityItem.expires_at <= now
        # Otherwise two registrations at once would have one version, and neither would
        # know of the other.
        as_read = IdentityItem.version == record.version - 1
        condition = free | ((pending | expired) & as_read)
        return self._try_write(
            lambda: item.save(condition=condition),
            is_written=lambda: self._record_shows(record, lambda r: r.id == record.id),
        )

    def contest(self, app: str, key: str, now: datetime) -> bool:
        """Mark a pending record, in one UpdateItem; see `AccountStore`."""
        pending = IdentityItem.state == "pending"
        item = self._identity_item(identity_pk(app, USERPASS, key))
        mark = IdentityItem.contested.set(True)
        return self._try_write(
            lambda: item.update([mark], pending & record_in_time(now)),
            # The attempt whose reply was lost may have marked the record, which was
            # confirmed since.
            is_written=lambda: True,
        )

    def set_confirmation(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        """Replace the confirm token, in one UpdateItem; see `AccountStore`."""
        pending = IdentityItem.state == "pending"
        actions: list[Action] = [
            IdentityItem.confirm_hash.set(token.hash),
            IdentityItem.confirm_expires_at.set(token.expires_at),
        ]
        # Otherwise a write that its client has given up on could still arrive. It would
        # replace the token of the mail that was sent in its place.
        as_read = _unchanged(IdentityItem.confirm_hash, record.confirmation)
        condition = pending & same_version(record) & as_read & record_in_time(now)
        item = self._record_item(record)
        return self._try_write(
            lambda: item.update(actions, condition),
            is_written=lambda: self._record_shows(
                record, lambda r: _is(r.confirmation, token)
            ),
        )

    def confirm(self, app: str, key: str, token_hash: str, now: datetime) -> bool:
        """Confirm a record, in one UpdateItem; see `AccountStore`."""
        expires_at = now + UNBOUND_LIFETIME
        actions: list[Action] = [
            IdentityItem.state.set("confirmed"),
            IdentityItem.verified.set(True),
            IdentityItem.expires_at.set(expires_at),
            IdentityItem.ttl.set(expires_at + SWEEP_DELAY),
        ]
        pending = IdentityItem.state == "pending"
        same_token = IdentityItem.confirm_hash == token_hash
        in_time = IdentityItem.confirm_expires_at > now
        condition = pending & same_token & in_time & record_in_time(now)
        item = self._identity_item(identity_pk(app, USERPASS, key))
        if self._try_write(lambda: item.update(actions, condition)):
            return True
        # A link in a mail may be opened twice: by a mail scanner, and by the reader.
        record = self.get_identity(app, USERPASS, key)
        return (
            record is not None
            and record.state != "pending"
            and not record.is_expired(now)  # swept or not yet: the same answer
            and record.confirmation is not None
            and hmac.compare_digest(record.confirmation.hash, token_hash)
        )

    def set_reset(
        self, record: IdentityRecord, token: MailToken, now: datetime
    ) -> bool:
        """Replace the reset token, in one UpdateItem; see `AccountStore`."""
        actions: list[Action] = [
            IdentityItem.reset_hash.set(token.hash),
            IdentityItem.reset_expires_at.set(token.expires_at),
        ]
        as_read = _unchanged(IdentityItem.reset_hash, record.reset)  # as above
        condition = same_version(record) & as_read & record_in_time(now)
        item = self._record_item(record)
        return self._try_write(
            lambda: item.update(actions, condition),
            is_written=lambda: self._record_shows(
                record, lambda r: _is(r.reset, token)
            ),
        )

    def reset_password(
        self,
        record: IdentityRecord,
        user: User | None,
        *,
        token_hash: str,
        password_hash: str,
        now: datetime,
        is_lost: bool = False,
    ) -> bool:
        """Replace the password, in one transaction always; see `AccountStore`."""
        item = self._record_item(record)
        actions: list[Action] = [
            IdentityItem.password_hash.set(password_hash),
            IdentityItem.version.set(record.version + 1),
            IdentityItem.verified.set(True),
            IdentityItem.contested.remove(),
            IdentityItem.reset_hash.remove(),
            IdentityItem.reset_expires_at.remove(),
            # An attacker with the old password may have logged in from one of them.
            IdentityItem.networks.remove(),
        ]
        same_owner: Condition = IdentityItem.uid.does_not_exist()
        if user is None:
            expires_at = now + UNBOUND_LIFETIME
            actions += [
                IdentityItem.state.set("confirmed"),
                IdentityItem.expires_at.set(expires_at),
                IdentityItem.ttl.set(expires_at + SWEEP_DELAY),
            ]
        else:
            same_owner = IdentityItem.uid == user.id
        same_token = IdentityItem.reset_hash == token_hash
        in_time = IdentityItem.reset_expires_at > now
        condition = (
            same_owner
            & same_version(record)
            & same_token
            & in_time
            & record_in_time(now)
        )

        def fill(transaction: TransactWrite) -> None:
            transaction.update(item, actions, condition=condition)
            if user is not None and is_lost:
                self._put_again(transaction, user)
            elif user is not None:
                self._end_all(transaction, user, record, now)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._record_shows(
                record, lambda r: r.password_hash == password_hash
            ),
            conflicts=MOST_CONFLICTS,
        )

    def replace_password_hash(self, record: IdentityRecord, password_hash: str) -> bool:
        """Replace the hash, in one UpdateItem; see `AccountStore`."""
        item = self._record_item(record)
        action = IdentityItem.password_hash.set(password_hash)
        unchanged = IdentityItem.password_hash == record.password_hash
        return self._try_write(lambda: item.update([action], unchanged))

    def delete_account(self, record: IdentityRecord) -> bool:
        """Delete a record, in one DeleteItem; see `AccountStore`."""
        item = self._record_item(record)
        same_owner: Condition = IdentityItem.uid.does_not_exist()
        if record.user_id is not None:
            same_owner = IdentityItem.uid == record.user_id
        return self._try_write(
            lambda: item.delete(same_version(record) & same_owner),
            is_written=lambda: (
                self.get_identity(record.app, record.provider, record.key) is None
            ),
        )

    def remember_networks(
        self, record: IdentityRecord, networks: Mapping[str, date]
    ) -> None:
        """Replace the networks, in one UpdateItem; see `AccountStore`."""
        item = self._record_item(record)
        action = IdentityItem.networks.set(network_map(networks))
        with suppress(WriteRefused):  # the password was reset, which forgets networks
            self._send(lambda: item.update([action], same_version(record)))

    def _end_all(
        self,
        transaction: TransactWrite,
        user: User,
        record: IdentityRecord,
        now: datetime,
    ) -> None:
        after = user_after_reset(user, record)
        left = {(i.provider, i.key) for i in after.identities}
        detached = [i for i in user.identities if (i.provider, i.key) not in left]
        self._delete_records(transaction, user, detached)
        # Either all keys or none: see `user_after_reset`.
        keys = [] if after.api_keys else user.api_keys.values()
        self._delete_keys(transaction, user, keys)
        actions: list[Action] = [
            UserItem.sessions.set({}),
            UserItem.identities.set(identity_list(after.identities)),
            UserItem.version.set(user.version + 1),
        ]
        if not after.api_keys:
            actions.append(UserItem.api_keys.set({}))
        if after.made_again is not None:
            actions.append(UserItem.made_again.set(after.made_again))
        transaction.update(
            self._user_item(user_pk(user.app, user.id)),
            actions,
            condition=as_read(user, now),
        )

    def _record_shows(
        self, record: IdentityRecord, change: Callable[[IdentityRecord], bool]
    ) -> bool:
        written = self.get_identity(record.app, record.provider, record.key)
        return written is not None and change(written)


def _unchanged(path: UnicodeAttribute, token: MailToken | None) -> Condition:
    """Require that the token is the one that was read, or that it was removed.

    Whatever removes a token also raises the version. The condition has the same length
    whether a token was read or not, so that it does not tell who is registered.
    """
    read = _NO_TOKEN if token is None else token.hash
    condition: Condition = path.does_not_exist() | (path == read)
    return condition


def _is(stored: MailToken | None, token: MailToken) -> bool:
    # The hash alone decides, because the table stores times in whole seconds.
    return stored is not None and hmac.compare_digest(stored.hash, token.hash)


def _add_one(counter: Counter) -> list[Any]:
    parts = [Path(name).add(1) for name in counter.parts]
    kept_until = counter.kept_until or counter.ends_at
    return [CounterItem.number.add(1), *parts, CounterItem.ttl.set(kept_until)]
