"""Changes of users, read from the table's stream."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anonauth.domain.events import Change
from anonauth.domain.users import DeletionMark, User
from anonauth.store.items import USER_PREFIX, gone_pk, mark_of, user_in
from anonauth.store.table import Table

# The identity that deletes expired items (Amazon DynamoDB Developer Guide, "DynamoDB
# Streams and Time to Live").
_SWEEPER = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class Changes(Table):
    """`ChangeStore`."""

    def read_change(self, record: Mapping[str, Any]) -> Change | None:
        """Return the change in a record as Lambda passes it; see `ChangeStore`.

        The form is that of the example event in AWS, "Using AWS Lambda with Amazon
        DynamoDB".
        """
        try:
            stream = record["dynamodb"]
            pk: str = stream["Keys"]["pk"]["S"]
            if not pk.startswith(USER_PREFIX):
                return None
            identity = record.get("userIdentity") or {}
            return Change(
                record_id=record["eventID"],
                sequence=int(stream["SequenceNumber"]),
                at=datetime.fromtimestamp(stream["ApproximateCreationDateTime"], UTC),
                before=user_in(stream["OldImage"], pk)
                if "OldImage" in stream
                else None,
                after=user_in(stream["NewImage"], pk) if "NewImage" in stream else None,
                swept=_SWEEPER.items() <= identity.items(),
            )
        except Exception as exc:
            # See `user_in`.
            raise ValueError(f"stream record {record.get('eventID')}") from exc

    def marks_of(self, users: Sequence[User]) -> dict[tuple[str, str], DeletionMark]:
        """Read the marks of deletions, in one BatchGetItem; see `ChangeStore`.

        The read is consistent, and a mark is written together with the deletion. So no
        mark is missed.
        """
        keys = {gone_pk(user.app, user.id): (user.app, user.id) for user in users}
        if not keys:
            return {}
        items = self._send(
            lambda: list(self._gone_item.batch_get(keys, consistent_read=True))
        )
        return {keys[item.pk]: mark_of(item) for item in items}
