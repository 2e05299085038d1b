"""The table: items, the conditions on every write, and what an unclear outcome means.

The only importer of PynamoDB. Design §4 has the data model; two rules run through all
of this module:

- DynamoDB deletes expired items late, so every condition checks the expiry itself.
- A reply can be lost after the write took effect. The SDK would repeat the write
  and report its own success as a failed condition; so its retries are off, `_send`
  repeats calls itself, and only what a first attempt refuses counts as refused.
"""

import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from pynamodb.attributes import (
    Attribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.constants import NUMBER
from pynamodb.exceptions import DoesNotExist, PynamoDBException, TransactWriteError
from pynamodb.expressions.condition import Condition
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from anonauth.domain import (
    SWEEP_DELAY,
    Device,
    Identity,
    RefreshClaims,
    Ring,
    RingKey,
    Session,
    User,
    expiry_after,
    utc_day,
)
from anonauth.errors import StoreUnavailable

ATTEMPTS = 3
"""Of each call, within a function's 29 s: 3 times 0.5 s to connect and 2 s to read."""

_CONNECT_TIMEOUT = 0.5  # seconds; PynamoDB's default is 15
_READ_TIMEOUT = 2.0  # seconds; PynamoDB's default is 30
_PAUSE = 0.05  # seconds before the second attempt, doubled before each further one

_GONE_FOR = timedelta(days=30)

# Codes that say for sure that nothing was written. (TransactionConflict also hits
# plain updates, and botocore does not know that it can be repeated.)
_NOT_APPLIED = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingError",
        "TransactionConflict",
    }
)

_T = TypeVar("_T")


class InstantAttribute(Attribute[datetime]):
    """An aware instant as whole epoch seconds: the form that TTL needs."""

    attr_type = NUMBER

    def serialize(self, value: datetime) -> str:
        """Drop fractions of a second, towards the past."""
        return str(_epoch(value))

    def deserialize(self, value: str) -> datetime:
        """Return an aware UTC datetime."""
        return _instant(int(value))


class TableItem(Model):
    """What every item has; bound to a table by `Store`."""

    pk = UnicodeAttribute(hash_key=True)
    ttl = InstantAttribute(null=True)


class UserItem(TableItem):
    """`USER#<app>#<uid>`: a user with its sessions, so that nothing can be orphaned.

    `sessions` maps session ids to raw maps (see `_session_map`); like `api_keys` it
    is written empty and never left out, since a path into an absent map is an error.
    """

    state = UnicodeAttribute()
    anonymous = BooleanAttribute()
    version = NumberAttribute()
    created_at = InstantAttribute()
    last_active_day = UnicodeAttribute()
    expires_at = InstantAttribute(null=True)
    sessions: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    identities: ListAttribute[Any] = ListAttribute()
    api_keys: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]


class GoneItem(TableItem):
    """`GONE#<app>#<uid>`: the user was deleted on request."""

    reason = UnicodeAttribute()


class RingItem(TableItem):
    """`KEY#ring`: the key ring, its secret halves wrapped by KMS."""

    version = NumberAttribute()
    keys: ListAttribute[Any] = ListAttribute()


class Refused(Exception):
    """A condition did not hold; `perhaps_ours` if an earlier attempt may have won."""

    def __init__(self, *, perhaps_ours: bool) -> None:
        super().__init__()
        self.perhaps_ours = perhaps_ours


class Store:
    """`UserStore` and `RingStore` on one DynamoDB table.

    Args:
        endpoint_url: Of another engine; None for AWS.
        pause: Waits that many seconds between attempts; tests pass one that does not.
    """

    def __init__(
        self,
        table_name: str,
        *,
        region: str,
        endpoint_url: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        meta = {
            "table_name": table_name,
            "region": region,
            "host": endpoint_url,
            "connect_timeout_seconds": _CONNECT_TIMEOUT,
            "read_timeout_seconds": _READ_TIMEOUT,
            # `retry_configuration` would be ignored here.
            "max_retry_attempts": 0,
        }
        # PynamoDB configures classes, not objects: each store binds its own. The
        # shared base makes them share one connection.
        base: type[TableItem] = type(
            "TableItem", (TableItem,), {"Meta": type("Meta", (), meta)}
        )
        self._connection = base._get_connection().connection  # noqa: SLF001
        self._user_item: type[UserItem] = type("UserItem", (UserItem, base), {})
        self._gone_item: type[GoneItem] = type("GoneItem", (GoneItem, base), {})
        self._ring_item: type[RingItem] = type("RingItem", (RingItem, base), {})

    def create_user(self, user: User) -> bool:
        """Write a new user in one PutItem; see `UserStore`."""
        item = self._user_item(
            _user_pk(user.app, user.id),
            state="active",
            anonymous=user.anonymous,
            version=user.version,
            created_at=user.created_at,
            last_active_day=user.last_active_day.isoformat(),
            expires_at=user.expires_at,
            ttl=None if user.expires_at is None else user.expires_at + SWEEP_DELAY,
            sessions={s.id: _session_map(s) for s in user.sessions.values()},
            identities=[{"id": i.id, "provider": i.provider} for i in user.identities],
            api_keys={},
        )
        try:
            self._send(lambda: item.save(condition=UserItem.pk.does_not_exist()))
        except Refused as refused:
            if not refused.perhaps_ours:
                return False
            written = self.get_user(user.app, user.id)
            return written is not None and _hashes(written) == _hashes(user)
        return True

    def get_user(self, app: str, user_id: str) -> User | None:
        """Read a user in one consistent GetItem; see `UserStore`."""
        pk = _user_pk(app, user_id)
        try:
            item = self._send(lambda: self._user_item.get(pk, consistent_read=True))
        except DoesNotExist:
            return None
        return _user(item, app, user_id) if item.state == "active" else None

    def record_activity(self, user: User, session: Session, now: datetime) -> bool:
        """Write once per session and UTC day, in one UpdateItem; see `UserStore`."""
        today = utc_day(now).isoformat()
        path = UserItem.sessions[session.id]
        first_use_today = path["used_day"] < today
        actions = [path["used_day"].set(today), UserItem.last_active_day.set(today)]
        condition = (
            _alive(now)
            & _mine(session.id, session.token_hash, now)
            & first_use_today
            # Else a racing link is undone: its user would die 90 days later.
            & (UserItem.anonymous == user.anonymous)
        )
        if user.anonymous:
            expires_at = expiry_after(now)
            actions += [
                UserItem.expires_at.set(expires_at),
                UserItem.ttl.set(expires_at + SWEEP_DELAY),
            ]
        item = self._user_item(_user_pk(user.app, user.id))
        try:
            self._send(lambda: item.update(actions, condition))
        except Refused:
            # Ours or somebody else's: the caller reads again and sees.
            return False
        return True

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        """Delete the anonymous user, or else remove only the session; see `UserStore`.

        One DeleteItem for an anonymous user; one UpdateItem more for others.
        """
        item = self._user_item(_user_pk(claims.app, claims.user_id))
        session_is_there = _alive(now) & _mine(
            claims.session_id, claims.token_hash, now
        )
        is_anonymous = UserItem.anonymous == True  # noqa: E712 - an expression
        remove = [UserItem.sessions[claims.session_id].remove()]
        perhaps_ours = False
        for call in (
            lambda: item.delete(session_is_there & is_anonymous),
            lambda: item.update(remove, session_is_there),
        ):
            try:
                self._send(call)
            except Refused as refused:
                perhaps_ours = perhaps_ours or refused.perhaps_ours
            else:
                return True
        # Repeated after a lost reply: the session that is gone now was there.
        return perhaps_ours

    def delete_user(self, user: User, session: Session, now: datetime) -> bool:
        """Delete the user and leave the mark of it, in one transaction."""
        item = self._user_item(_user_pk(user.app, user.id))
        unchanged = (
            _alive(now)
            & _mine(session.id, session.token_hash, now)
            & (UserItem.version == user.version)
        )
        gone = self._gone_item(
            f"GONE#{user.app}#{user.id}", reason="requested", ttl=now + _GONE_FOR
        )
        token = str(uuid.uuid4())

        def transact() -> None:
            with TransactWrite(
                connection=self._connection, client_request_token=token
            ) as transaction:
                transaction.delete(item, condition=unchanged)
                transaction.save(gone)

        try:
            self._send(transact)
        except Refused as refused:
            return refused.perhaps_ours and self.get_user(user.app, user.id) is None
        return True

    def load_ring(self, *, consistent: bool = False) -> Ring | None:
        """Read the key ring in one GetItem; see `RingStore`."""
        try:
            item = self._send(
                lambda: self._ring_item.get(_RING_PK, consistent_read=consistent)
            )
        except DoesNotExist:
            return None
        return Ring(int(item.version), tuple(_ring_key(key) for key in item.keys))

    def save_ring(self, new: Ring) -> bool:
        """Write the key ring in one PutItem; see `RingStore`."""
        item = self._ring_item(
            _RING_PK, version=new.version, keys=[_ring_key_map(k) for k in new.keys]
        )
        none_yet = RingItem.pk.does_not_exist()
        one_before = RingItem.version == new.version - 1
        try:
            self._send(lambda: item.save(condition=none_yet | one_before))
        except Refused as refused:
            written = self.load_ring(consistent=True) if refused.perhaps_ours else None
            return written is not None and _kids(written) == _kids(new)
        return True

    def _send(self, call: Callable[[], _T]) -> _T:
        """Make one call to the table, at most `ATTEMPTS` times.

        Raises:
            Refused: A condition did not hold.
            StoreUnavailable: No attempt was answered; a write may have taken effect.
        """
        perhaps_ours = False
        for attempt in range(ATTEMPTS):
            if attempt:
                # Full jitter, so that callers in step fall out of it.
                self._pause(random.uniform(0, _PAUSE * 2**attempt))  # noqa: S311
            try:
                return call()
            except DoesNotExist:
                raise
            except PynamoDBException as exc:
                failure = exc
            # One class is raised for a refusal and for an unreachable engine: only
            # the codes tell. Without one, or with a 5xx, the write may have happened.
            codes = _codes(failure)
            if "ConditionalCheckFailed" in codes:
                raise Refused(perhaps_ours=perhaps_ours) from failure
            if not codes or not codes <= _NOT_APPLIED:
                perhaps_ours = True
        raise StoreUnavailable from failure


def _alive(now: datetime) -> Condition:
    # Also says that the item exists.
    active: Condition = UserItem.state == "active"
    permanent: Condition = UserItem.expires_at.does_not_exist()
    not_expired: Condition = UserItem.expires_at > now
    alive: Condition = active & (permanent | not_expired)
    return alive


def _mine(session_id: str, token_hash: str, now: datetime) -> Condition:
    session = UserItem.sessions[session_id]
    same_token: Condition = session["hash"] == token_hash
    unlimited: Condition = session["expires_at"].does_not_exist()
    not_expired: Condition = session["expires_at"] > _epoch(now)
    mine: Condition = same_token & (unlimited | not_expired)
    return mine


def _codes(failure: PynamoDBException) -> set[str]:
    # A cancelled transaction has one code for each item that was in its way.
    if isinstance(failure, TransactWriteError) and failure.cancellation_reasons:
        codes = {r.code for r in failure.cancellation_reasons if r is not None}
    else:
        # Not `cause_response_code`: it fails on a time-out, whose response is None.
        response = getattr(failure.cause, "response", None) or {}
        codes = {response.get("Error", {}).get("Code", "")}
    return {code.removesuffix("Exception") for code in codes if code}


_RING_PK = "KEY#ring"


def _user_pk(app: str, user_id: str) -> str:
    return f"USER#{app}#{user_id}"


def _user(item: UserItem, app: str, user_id: str) -> User:
    sessions: dict[str, dict[str, Any]] = item.sessions.as_dict()  # type: ignore[no-untyped-call]
    return User(
        app=app,
        id=user_id,
        anonymous=item.anonymous,
        version=int(item.version),
        created_at=item.created_at,
        last_active_day=date.fromisoformat(item.last_active_day),
        expires_at=item.expires_at,
        sessions={sid: _session(sid, entry) for sid, entry in sessions.items()},
        identities=tuple(
            Identity(entry["id"], entry["provider"]) for entry in item.identities
        ),
    )


def _hashes(user: User) -> set[str]:
    return {session.token_hash for session in user.sessions.values()}


def _session_map(session: Session) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "hash": session.token_hash,
        "provider": session.provider,
        "created_at": _epoch(session.created_at),
        "used_day": session.used_day.isoformat(),
        "device_id": session.device.id,
        "device": dict(session.device.info),
    }
    if session.expires_at is not None:
        entry["expires_at"] = _epoch(session.expires_at)
    return entry


def _session(session_id: str, entry: dict[str, Any]) -> Session:
    expires_at = entry.get("expires_at")
    return Session(
        id=session_id,
        token_hash=entry["hash"],
        provider=entry["provider"],
        created_at=_instant(entry["created_at"]),
        used_day=date.fromisoformat(entry["used_day"]),
        device=Device(entry["device_id"], entry["device"]),
        expires_at=None if expires_at is None else _instant(expires_at),
    )


def _kids(ring: Ring) -> set[str]:
    return {key.kid for key in ring.keys}


def _ring_key_map(key: RingKey) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kid": key.kid,
        "use": key.use,
        "wrapped": key.wrapped,
        "signs_from": _epoch(key.signs_from),
    }
    if key.public is not None:
        entry["public"] = key.public
    if key.stops_at is not None:
        entry["stops_at"] = _epoch(key.stops_at)
    return entry


def _ring_key(entry: dict[str, Any]) -> RingKey:
    stops_at = entry.get("stops_at")
    return RingKey(
        kid=entry["kid"],
        use=entry["use"],
        wrapped=entry["wrapped"],
        public=entry.get("public"),
        signs_from=_instant(entry["signs_from"]),
        stops_at=None if stops_at is None else _instant(stops_at),
    )


def _epoch(instant: datetime) -> int:
    return int(instant.timestamp())


def _instant(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
