"""What the table's stream tells of users."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from anonauth.domain import Change, User
from anonauth.store.items import USER_PREFIX, gone_pk, user_of
from anonauth.store.table import Table

# Who deletes by TTL (Amazon DynamoDB Developer Guide, "DynamoDB Streams and Time to
# Live").
_SWEEPER = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class Changes(Table):
    """`ChangeStore`."""

    def read_change(self, record: Mapping[str, Any]) -> Change | None:
        """Return what a record says, as Lambda hands it over; see `ChangeStore`.

        Source: AWS, "Using AWS Lambda with Amazon DynamoDB", example event.
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
                before=self._user_in(stream.get("OldImage"), pk),
                after=self._user_in(stream.get("NewImage"), pk),
                swept=_SWEEPER.items() <= identity.items(),
            )
        except Exception as exc:
            # Whatever PynamoDB makes of an image that no version of ours has written.
            raise ValueError(f"stream record {record.get('eventID')}") from exc

    def deleted_on_request(self, users: Sequence[User]) -> set[tuple[str, str]]:
        """Look for the marks of requests, in one BatchGetItem; see `ChangeStore`.

        Consistent, and a mark is written together with the deletion: none is missed.
        """
        keys = {gone_pk(user.app, user.id): (user.app, user.id) for user in users}
        if not keys:
            return set()
        items = self._send(
            lambda: list(self._gone_item.batch_get(keys, consistent_read=True))
        )
        return {keys[item.pk] for item in items}

    def _user_in(self, image: Mapping[str, Any] | None, pk: str) -> User | None:
        if image is None:
            return None
        app, _, user_id = pk.removeprefix(USER_PREFIX).rpartition("#")
        return user_of(self._user_item.from_raw_data(dict(image)), app, user_id)
