"""Identities: linking them to users, displaying and unlinking them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pynamodb.exceptions import DoesNotExist
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from anonauth.domain.identities import Identity, IdentityRecord, VerifiedIdentity
from anonauth.domain.users import Session, User
from anonauth.store.conditions import as_read, asked_by, record_in_time, room
from anonauth.store.items import (
    IdentityItem,
    UserItem,
    epoch,
    identity_list,
    identity_pk,
    network_map,
    record_fields,
    record_of,
    user_pk,
)
from anonauth.store.table import WriteRefused
from anonauth.store.users import Users, opening


class Identities(Users):
    """`IdentityStore` on the table: writes to a user and an identity's record."""

    def get_identity(self, app: str, provider: str, key: str) -> IdentityRecord | None:
        """Read a record in one consistent GetItem; see `IdentityStore`."""
        pk = identity_pk(app, provider, key)
        try:
            item = self._send(lambda: self._identity_item.get(pk, consistent_read=True))
        except DoesNotExist:
            return None
        return record_of(item, app, provider, key)

    def link_identity(
        self,
        user: User,
        session: Session,
        identity: VerifiedIdentity,
        now: datetime,
        *,
        expires_at: datetime,
    ) -> bool:
        """Add an identity to a user that is as it was read; see `IdentityStore`.

        The version must be as read, although design.md §4 asks only for fewer than ten
        identities. So a second e-mail address cannot be linked at the same time.
        """
        item = self._user_item(user_pk(user.app, user.id))
        entries = identity_list([linked(identity)])
        actions: list[Action] = [
            UserItem.anonymous.set(False),
            UserItem.identities.set(UserItem.identities.append(entries)),
            UserItem.version.set(UserItem.version + 1),
            UserItem.sessions[session.id]["expires_at"].set(epoch(expires_at)),
            UserItem.expires_at.remove(),
            UserItem.ttl.remove(),
            # The session of a login that raced with an unlink would come back to life.
            *[
                UserItem.sessions[other.id].remove()
                for other in user.sessions.values()
                if user.live_session(other.id, now) is None
            ],
        ]
        if user.anonymous:
            # The session's limits begin now (see `usecases.link`), also for the next
            # refresh.
            actions.append(UserItem.sessions[session.id]["created_at"].set(epoch(now)))

        def fill(transaction: TransactWrite) -> None:
            transaction.update(item, actions, condition=asked_by(user, session, now))
            self._bind(transaction, user, identity, now)

        return self._try_write(self._transaction(fill))

    def create_linked_user(
        self, user: User, identity: VerifiedIdentity, now: datetime
    ) -> bool:
        """Write user and identity, in one transaction; see `IdentityStore`."""
        item = self._new_user_item(user)

        def fill(transaction: TransactWrite) -> None:
            transaction.save(item, condition=UserItem.pk.does_not_exist())
            self._bind(transaction, user, identity, now)

        return self._try_write(
            self._transaction(fill), is_written=lambda: self._has_sessions_of(user)
        )

    def make_user_again(self, user: User, record: IdentityRecord) -> bool:
        """Write a lost user, in one transaction; see `IdentityStore`."""

        def fill(transaction: TransactWrite) -> None:
            self._put_again(transaction, user)
            self._check_bound(transaction, user, record)

        return self._try_write(
            self._transaction(fill), is_written=lambda: self._has_sessions_of(user)
        )

    def add_back_identity(
        self,
        user: User,
        record: IdentityRecord,
        session: Session,
        ended: Sequence[Session],
        now: datetime,
    ) -> bool:
        """List an identity again, in one transaction; see `IdentityStore`."""
        entry = Identity(record.id, record.provider, record.key, record.version)
        actions = opening(session, ended, now)
        actions += [
            UserItem.identities.set(UserItem.identities.append(identity_list([entry]))),
            UserItem.version.set(UserItem.version + 1),
        ]
        item = self._user_item(user_pk(user.app, user.id))

        def fill(transaction: TransactWrite) -> None:
            transaction.update(
                item, actions, condition=as_read(user, now) & room(ended)
            )
            self._check_bound(transaction, user, record)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._user_shows(
                user, lambda u: session.id in u.sessions
            ),
        )

    def update_identity_data(
        self, record: IdentityRecord, data: Mapping[str, str]
    ) -> None:
        """Replace display data, in one UpdateItem; see `IdentityStore`."""
        item = self._record_item(record)
        unchanged = (IdentityItem.uid == record.user_id) & same_version(record)
        try:
            self._send(
                lambda: item.update([IdentityItem.data.set(dict(data))], unchanged)
            )
        except WriteRefused:
            return  # unlinked in the meantime: there is nothing to display

    def get_identity_data(
        self, app: str, identities: Sequence[Identity]
    ) -> list[Mapping[str, str]]:
        """Read display data in one BatchGetItem; see `IdentityStore`.

        The read is consistent: every SDK asks for the profile right after a link.
        """
        pks = [identity_pk(app, i.provider, i.key) for i in identities]
        wanted = [pk for pk, i in zip(pks, identities, strict=True) if i.key]
        if not wanted:
            return [{} for _ in identities]
        items = self._send(
            lambda: list(self._identity_item.batch_get(wanted, consistent_read=True))
        )
        found: dict[str, Any] = {
            item.pk: item.data.as_dict()  # type: ignore[no-untyped-call]
            for item in items
        }
        return [found.get(pk, {}) for pk in pks]

    def unlink_identity(
        self, user: User, session: Session, identity: Identity, now: datetime
    ) -> bool:
        """Remove an identity, in one transaction; see `IdentityStore`."""
        item = self._user_item(user_pk(user.app, user.id))
        place = user.identities.index(identity)
        actions: list[Action] = [
            UserItem.identities[place].remove(),
            UserItem.version.set(UserItem.version + 1),
            *[
                UserItem.sessions[other.id].remove()
                for other in user.sessions.values()
                if other.was_opened_by(identity)
            ],
        ]

        def fill(transaction: TransactWrite) -> None:
            transaction.update(item, actions, condition=asked_by(user, session, now))
            self._delete_record(transaction, user, identity.provider, identity.key)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._user_shows(
                user, lambda u: u.find_identity(identity.provider, identity.key) is None
            ),
        )

    def _bind(
        self,
        transaction: TransactWrite,
        user: User,
        identity: VerifiedIdentity,
        now: datetime,
    ) -> None:
        # If two users link one identity at once, one of them wins on these conditions.
        if identity.record is None:
            unclaimed = IdentityItem.pk.does_not_exist()
            record = IdentityRecord(
                app=user.app,
                provider=identity.provider,
                key=identity.key,
                id=identity.id,
                state="bound",
                user_id=user.id,
                data=identity.data,
            )
            item = self._record_item(record, **record_fields(record))
            transaction.save(item, condition=unclaimed)
            return
        record = identity.record
        if record.user_id == user.id:
            self._check_bound(transaction, user, record)
            return
        if record.user_id is not None:
            transaction.update(
                self._record_item(record),
                [IdentityItem.uid.set(user.id)],
                condition=_bound_to(record.user_id) & same_version(record),
            )
            return
        confirmed = IdentityItem.state == "confirmed"
        actions: list[Action] = [
            IdentityItem.uid.set(user.id),
            IdentityItem.state.set("bound"),
            IdentityItem.expires_at.remove(),
            IdentityItem.ttl.remove(),
        ]
        if record.networks:  # the network of this login is among them
            actions.append(IdentityItem.networks.set(network_map(record.networks)))
        transaction.update(
            self._record_item(record),
            actions,
            # A password reset in the meantime has raised the version.
            condition=confirmed & same_version(record) & record_in_time(now),
        )

    def _check_bound(
        self, transaction: TransactWrite, user: User, record: IdentityRecord
    ) -> None:
        transaction.condition_check(
            self._identity_item,
            identity_pk(record.app, record.provider, record.key),
            condition=_bound_to(user.id) & same_version(record),
        )

    def _record_item(self, record: IdentityRecord, **fields: Any) -> IdentityItem:
        pk = identity_pk(record.app, record.provider, record.key)
        return self._identity_item(pk, **fields)


def linked(identity: VerifiedIdentity) -> Identity:
    """Return the entry that a user gets for an identity."""
    version = 1 if identity.record is None else identity.record.version
    return Identity(identity.id, identity.provider, identity.key, version)


def _bound_to(user_id: str) -> Condition:
    condition: Condition = IdentityItem.uid == user_id
    return condition


def same_version(record: IdentityRecord) -> Condition:
    """Require that the credential of a record is still the one that was read."""
    # A record that was deleted and made again has its first version, but another id.
    same: Condition = IdentityItem.identity_id == record.id
    condition: Condition = same & (IdentityItem.version == record.version)
    return condition
