"""Users that an anonymous login makes once for each login key."""

from datetime import datetime

from pynamodb.exceptions import DoesNotExist
from pynamodb.transactions import TransactWrite

from anonauth.domain.users import User
from anonauth.store.items import OnceItem, UserItem, once_pk
from anonauth.store.users import MOST_CONFLICTS, Users


class LoginKeys(Users):
    """The methods of `UserStore` that take the hash of a login key."""

    def create_user_once(
        self, user: User, key_hash: str, now: datetime, *, until: datetime
    ) -> bool:
        """Write user and key, in one transaction; see `UserStore`."""
        item = self._new_user_item(user)
        once = self._once_item(
            once_pk(user.app, key_hash), user_id=user.id, expires_at=until, ttl=until
        )
        unused = OnceItem.pk.does_not_exist()
        over = OnceItem.expires_at <= now  # DynamoDB deletes it late

        def fill(transaction: TransactWrite) -> None:
            transaction.save(once, condition=unused | over)
            transaction.save(item, condition=UserItem.pk.does_not_exist())

        # Logins with one key that come at once are in each other's way.
        return self._try_write(self._transaction(fill), conflicts=MOST_CONFLICTS)

    def get_user_id_of_key(self, app: str, key_hash: str, now: datetime) -> str | None:
        """Read the key in one consistent GetItem; see `UserStore`."""
        pk = once_pk(app, key_hash)
        try:
            item = self._send(lambda: self._once_item.get(pk, consistent_read=True))
        except DoesNotExist:
            return None
        return item.user_id if item.expires_at > now else None
