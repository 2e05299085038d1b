"""Users and their sessions."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pynamodb.exceptions import DoesNotExist
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from anonauth.domain.claims import RefreshClaims
from anonauth.domain.expiry import SWEEP_DELAY, utc_day
from anonauth.domain.identities import Identity
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import ApiKey, DeletionMark, Session, User
from anonauth.store.conditions import alive, as_read, asked_by, mine, room
from anonauth.store.items import (
    GoneItem,
    IdentityItem,
    UserItem,
    epoch,
    gone_pk,
    identity_pk,
    mark_fields,
    mark_of,
    session_map,
    user_fields,
    user_of,
    user_pk,
)
from anonauth.store.table import Table, WriteRefused

_GONE_FOR = timedelta(days=30)

_MERGED_FOR = timedelta(days=100)
"""How long the mark of a merged guest stays once no user lists the guest.

An event of the guest may be sent again for 90 days (see `events replay`), and the mark
tells then that the guest was merged.
"""

MOST_CONFLICTS = 12
"""Conflicts that some writes meet before they give up: 1.4 s on average.

The holder of a session may keep the user's item busy with transactions.
DynamoDB refuses a write to an item that a transaction is about to change.
"""


class Users(Table):
    """`UserStore` on the table, and the write of a login to a user that exists."""

    def create_user(self, user: User) -> bool:
        """Write a new user in one PutItem; see `UserStore`."""
        item = self._new_user_item(user)
        return self._try_write(
            lambda: item.save(condition=UserItem.pk.does_not_exist()),
            is_written=lambda: self._has_sessions_of(user),
        )

    def get_user(self, app: str, user_id: str) -> User | None:
        """Read a user in one consistent GetItem; see `UserStore`."""
        pk = user_pk(app, user_id)
        try:
            item = self._send(lambda: self._user_item.get(pk, consistent_read=True))
        except DoesNotExist:
            return None
        return user_of(item, app, user_id) if item.state == "active" else None

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        """Write once per session and UTC day, in one UpdateItem; see `UserStore`."""
        today = utc_day(now).isoformat()
        path = UserItem.sessions[session.id]
        first_use_today = path["used_day"] < today
        actions: list[Action] = [
            path["used_day"].set(today),
            UserItem.last_active_day.set(today),
        ]
        condition = (
            alive(now)
            & mine(session.id, session.token_hash, now)
            & first_use_today
            # Otherwise this undoes a link that races with it, and the user would be
            # deleted 90 days later.
            & (UserItem.anonymous == user.anonymous)
        )
        if user.anonymous:
            actions += [
                UserItem.expires_at.set(expires_at),
                UserItem.ttl.set(expires_at + SWEEP_DELAY),
            ]
        else:
            actions += [path["expires_at"].set(epoch(expires_at))]
        item = self._user_item(user_pk(user.app, user.id))
        return self._try_write(lambda: item.update(actions, condition))

    def open_session(
        self, user: User, session: Session, ended: Sequence[Session], now: datetime
    ) -> bool:
        """Add a session in one UpdateItem; see `IdentityStore`.

        The version must be as read: a password reset in between must win, even if the
        old password was still good a moment ago.
        """
        actions = opening(session, ended, now)
        condition = as_read(user, now) & room(ended)
        item = self._user_item(user_pk(user.app, user.id))
        return self._try_write(
            lambda: item.update(actions, condition),
            is_written=lambda: self._user_shows(
                user, lambda u: session.id in u.sessions
            ),
        )

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        """Delete an anonymous user, or remove the session of another; see `UserStore`.

        An anonymous user takes one DeleteItem. Others take one UpdateItem more.
        Conflicts count little, as in `end_sessions`: the holder of the session that
        ends may be the one that keeps the item busy.
        """
        item = self._user_item(user_pk(claims.app, claims.user_id))
        session_is_there = alive(now) & mine(claims.session_id, claims.token_hash, now)
        is_anonymous = UserItem.anonymous == True  # noqa: E712 - an expression
        # Nobody could log in to a guest without its session again. If this clock is
        # behind, the second call may see a guest that the first saw as expired.
        is_permanent = UserItem.anonymous == False  # noqa: E712 - an expression
        remove = [UserItem.sessions[claims.session_id].remove()]
        perhaps_ours = False
        calls: tuple[Callable[[], Any], ...] = (
            lambda: item.delete(session_is_there & is_anonymous),
            lambda: item.update(remove, session_is_there & is_permanent),
        )
        for call in calls:
            try:
                self._send(call, conflicts=MOST_CONFLICTS)
            except WriteRefused as refused:
                perhaps_ours = perhaps_ours or refused.perhaps_ours
            else:
                return True
        # If a reply was lost, the repeated write was refused because the session, which
        # existed, was removed by the first attempt.
        return perhaps_ours

    def delete_user(self, user: User, session: Session | None, now: datetime) -> bool:
        """Delete user, identities and keys and leave a mark, in one transaction."""
        asked = as_read(user, now) if session is None else asked_by(user, session, now)
        item = self._user_item(user_pk(user.app, user.id))
        gone = self._mark_item(
            user.app,
            user.id,
            DeletionMark("requested"),
            # Records of identities that the user does not list may name it for ever.
            ttl=None if user.made_again else now + _GONE_FOR,
        )

        def fill(transaction: TransactWrite) -> None:
            transaction.delete(item, condition=asked)
            self._delete_records(transaction, user, user.usable_identities())
            self._delete_keys(transaction, user, user.api_keys.values())
            transaction.save(gone)
            for former_id in user.former_ids:
                self._release_mark(transaction, user, former_id, now)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self.get_user(user.app, user.id) is None,
        )

    def get_mark(self, app: str, user_id: str) -> DeletionMark | None:
        """Read a deletion mark in one consistent GetItem; see `UserStore`."""
        pk = gone_pk(app, user_id)
        try:
            item = self._send(lambda: self._gone_item.get(pk, consistent_read=True))
        except DoesNotExist:
            return None
        return mark_of(item)

    def end_sessions(self, app: str, user_id: str, now: datetime) -> User | None:
        """Empty the map of sessions, in one UpdateItem; see `UserStore`.

        The version need not be as read, because the holder of a session could raise it
        for ever. The update raises it too, so that a login that has read the user
        before cannot add its session.
        """
        actions: list[Action] = [
            UserItem.sessions.set({}),
            UserItem.version.set(UserItem.version + 1),
        ]
        # Nobody could log in to a guest without its session again.
        is_permanent = UserItem.anonymous == False  # noqa: E712 - an expression
        item = self._user_item(user_pk(app, user_id))
        try:
            self._send(
                lambda: item.update(actions, alive(now) & is_permanent),
                conflicts=MOST_CONFLICTS,
            )
        except WriteRefused:
            return None
        return user_of(item, app, user_id)  # PynamoDB has filled it in

    def _new_user_item(self, user: User) -> UserItem:
        return self._user_item(user_pk(user.app, user.id), **user_fields(user))

    def _mark_item(
        self, app: str, user_id: str, mark: DeletionMark, *, ttl: datetime | None = None
    ) -> GoneItem:
        return self._gone_item(gone_pk(app, user_id), ttl=ttl, **mark_fields(mark))

    def _release_mark(
        self, transaction: TransactWrite, user: User, former_id: str, now: datetime
    ) -> None:
        """Let the mark of a guest expire that the user no longer lists."""
        # A mark that is missing, as after a partial restore, is written again.
        transaction.update(
            self._gone_item(gone_pk(user.app, former_id)),
            [
                GoneItem.reason.set("merged"),
                GoneItem.into.set(user.id),
                GoneItem.ttl.set(now + _MERGED_FOR),
            ],
        )

    def _put_again(self, transaction: TransactWrite, user: User) -> None:
        # A user that was deleted on request must not come back.
        transaction.condition_check(
            self._gone_item,
            gone_pk(user.app, user.id),
            condition=GoneItem.pk.does_not_exist(),
        )
        transaction.save(
            self._new_user_item(user), condition=UserItem.pk.does_not_exist()
        )

    def _user_shows(self, user: User, change: Callable[[User], bool]) -> bool:
        written = self.get_user(user.app, user.id)
        return written is not None and change(written)

    def _has_sessions_of(self, user: User) -> bool:
        return self._user_shows(user, lambda u: _hashes(u) == _hashes(user))

    def _delete_records(
        self, transaction: TransactWrite, user: User, identities: Iterable[Identity]
    ) -> None:
        for identity in identities:
            self._delete_record(transaction, user, identity.provider, identity.key)

    def _delete_keys(
        self, transaction: TransactWrite, user: User, keys: Iterable[ApiKey]
    ) -> None:
        for key in keys:
            self._delete_record(transaction, user, API_KEY, key.hash)

    def _delete_record(
        self, transaction: TransactWrite, user: User, provider: str, key: str
    ) -> None:
        # A record that is missing, as after a partial restore, must not stop the rest.
        missing = IdentityItem.pk.does_not_exist()
        transaction.delete(
            self._identity_item(identity_pk(user.app, provider, key)),
            condition=missing | (IdentityItem.uid == user.id),
        )


def opening(session: Session, ended: Sequence[Session], now: datetime) -> list[Action]:
    """Return the actions that add a session and drop others, if there is `room`."""
    return [
        UserItem.sessions[session.id].set(session_map(session)),
        UserItem.last_active_day.set(utc_day(now).isoformat()),
        *[UserItem.sessions[old.id].remove() for old in ended],
    ]


def _hashes(user: User) -> set[str]:
    return {session.token_hash for session in user.sessions.values()}
