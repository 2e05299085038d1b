"""API keys of permanent users."""

from datetime import datetime

from pynamodb.expressions.update import Action, RemoveAction
from pynamodb.transactions import TransactWrite

from anonauth.domain.identities import IdentityRecord
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import ApiKey, Session, User
from anonauth.store.conditions import asked_by
from anonauth.store.identities import Identities
from anonauth.store.items import (
    IdentityItem,
    UserItem,
    api_key_map,
    record_fields,
    user_pk,
)


class ApiKeyRecords(Identities):
    """`ApiKeyStore` on the table."""

    def create_api_key(
        self, user: User, session: Session, key: ApiKey, now: datetime
    ) -> bool:
        """Write the user's entry and the key's record; see `ApiKeyStore`."""
        record = IdentityRecord(
            app=user.app,
            provider=API_KEY,
            key=key.hash,
            id=key.id,
            state="bound",
            user_id=user.id,
        )
        item = self._user_item(user_pk(user.app, user.id))
        actions: list[Action] = [
            UserItem.api_keys[key.id].set(api_key_map(key)),
            UserItem.version.set(UserItem.version + 1),
        ]

        def fill(transaction: TransactWrite) -> None:
            transaction.update(item, actions, condition=asked_by(user, session, now))
            transaction.save(
                self._record_item(record, **record_fields(record)),
                condition=IdentityItem.pk.does_not_exist(),
            )

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._user_shows(user, lambda u: key.id in u.api_keys),
        )

    def delete_api_key(
        self, user: User, session: Session, key: ApiKey, now: datetime
    ) -> bool:
        """Remove entry, record and sessions of a key; see `ApiKeyStore`."""
        item = self._user_item(user_pk(user.app, user.id))
        actions: list[Action] = [
            UserItem.api_keys[key.id].remove(),
            UserItem.version.set(UserItem.version + 1),
            *_end_sessions_of(user, key),
        ]

        def fill(transaction: TransactWrite) -> None:
            transaction.update(item, actions, condition=asked_by(user, session, now))
            self._delete_record(transaction, user, API_KEY, key.hash)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._user_shows(
                user, lambda u: key.id not in u.api_keys
            ),
        )

    def set_api_key_disabled(
        self,
        user: User,
        session: Session,
        key: ApiKey,
        now: datetime,
        *,
        disabled: bool,
    ) -> bool:
        """Switch a key off or on, in one UpdateItem; see `ApiKeyStore`."""
        item = self._user_item(user_pk(user.app, user.id))
        actions: list[Action] = [
            UserItem.api_keys[key.id]["disabled"].set(disabled),
            UserItem.version.set(UserItem.version + 1),
            # Also when the key is switched on: a login that raced with the switching
            # off may have left a session.
            *_end_sessions_of(user, key),
        ]
        return self._try_write(
            lambda: item.update(actions, asked_by(user, session, now))
        )


def _end_sessions_of(user: User, key: ApiKey) -> list[RemoveAction]:
    return [
        UserItem.sessions[session.id].remove()
        for session in user.sessions.values()
        if session.was_opened_by(key)
    ]
