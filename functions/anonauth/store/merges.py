"""Merging a guest into the permanent user of an identity."""

from collections.abc import Sequence
from datetime import datetime

from pynamodb.transactions import TransactWrite

from anonauth.domain.users import DeletionMark, Session, User, user_after_merge
from anonauth.store.conditions import alive, as_read, mine, room
from anonauth.store.identities import Identities
from anonauth.store.items import UserItem, user_pk
from anonauth.store.users import opening


class Merges(Identities):
    """The merge of `IdentityStore` on the table."""

    def absorb_guest(
        self,
        user: User,
        session: Session,
        ended: Sequence[Session],
        guest: User,
        guest_session: Session,
        now: datetime,
    ) -> bool:
        """Merge a guest into a user, in one transaction; see `IdentityStore`."""
        after, dropped = user_after_merge(user, guest.id)
        actions = opening(session, ended, now)
        actions += [
            UserItem.former_ids.set(list(after.former_ids)),
            UserItem.version.set(after.version),
        ]
        is_permanent = UserItem.anonymous == False  # noqa: E712 - an expression
        is_anonymous = UserItem.anonymous == True  # noqa: E712 - an expression
        its_session = mine(guest_session.id, guest_session.token_hash, now)
        mark = DeletionMark(
            "merged",
            into=user.id,
            provider=session.provider,
            token_hash=guest_session.token_hash,
            dropped=dropped,
        )

        def fill(transaction: TransactWrite) -> None:
            transaction.update(
                self._user_item(user_pk(user.app, user.id)),
                actions,
                condition=as_read(user, now) & is_permanent & room(ended),
            )
            transaction.delete(
                self._user_item(user_pk(guest.app, guest.id)),
                # A guest that was linked in the meantime has data of its own.
                condition=alive(now) & its_session & is_anonymous,
            )
            # Without a `ttl`, since the mark must not go before the former id does.
            transaction.save(self._mark_item(guest.app, guest.id, mark))
            if dropped:
                self._release_mark(transaction, user, dropped, now)

        return self._try_write(
            self._transaction(fill),
            is_written=lambda: self._user_shows(
                user, lambda u: session.id in u.sessions
            ),
        )
