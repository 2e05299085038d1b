"""The items of the table, and their conversion to and from `domain` (design.md §4)."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from pynamodb.attributes import (
    Attribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.constants import NUMBER
from pynamodb.models import Model

from anonauth.domain.expiry import SWEEP_DELAY
from anonauth.domain.identities import Identity, IdentityRecord, MailToken
from anonauth.domain.signing_keys import Ring, RingKey
from anonauth.domain.users import ApiKey, DeletionMark, Device, Session, User

RING_PK = "KEY#ring"
SCAN_PK = "SCAN#expiring"
USER_PREFIX = "USER#"


_OF_EVERY_USER = {"anonymous", "version", "created_at", "last_active_day", "identities"}


class InstantAttribute(Attribute[datetime]):
    """An aware datetime, stored as whole epoch seconds: the form that TTL needs."""

    attr_type = NUMBER

    def serialize(self, value: datetime) -> str:
        """Drop fractions of a second, towards the past."""
        return str(epoch(value))

    def deserialize(self, value: str) -> datetime:
        """Return an aware UTC datetime."""
        return _instant(int(value))


class TableItem(Model):
    """The attributes that every item has. `Table` binds the class to a table."""

    pk = UnicodeAttribute(hash_key=True)
    ttl = InstantAttribute(null=True)


class UserItem(TableItem):
    """`USER#<app>#<uid>`: a user and its sessions, so that no session is orphaned.

    `sessions` and `api_keys` map ids to raw maps (see `session_map`, `api_key_map`).
    An empty map is written as well, because a path into an absent map is an error.
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
    made_again = UnicodeAttribute(null=True)
    restored_at = InstantAttribute(null=True)
    former_ids: ListAttribute[Any] = ListAttribute(null=True)


class IdentityItem(TableItem):
    """`IDENT#<app>#<provider>#<key>`: an identity or an API key, and its user.

    Attributes without a value are absent. `uid` exists if and only if the identity is
    bound to a user.
    """

    uid = UnicodeAttribute(null=True)
    identity_id = UnicodeAttribute()
    state = UnicodeAttribute()
    version = NumberAttribute()
    data: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]
    expires_at = InstantAttribute(null=True)
    password_hash = UnicodeAttribute(null=True)
    verified = BooleanAttribute(null=True)
    contested = BooleanAttribute(null=True)
    confirm_hash = UnicodeAttribute(null=True)
    confirm_expires_at = InstantAttribute(null=True)
    reset_hash = UnicodeAttribute(null=True)
    reset_expires_at = InstantAttribute(null=True)
    networks: MapAttribute[str, Any] = MapAttribute(null=True)  # type: ignore[no-untyped-call]


class CounterItem(TableItem):
    """`RATE#<counter>`: the count of a rate limit, in `number`.

    Each part of the counter is one more attribute, whose name no class can know.
    """

    number = NumberAttribute(null=True)


class AccountItem(IdentityItem, CounterItem):
    """An identity or a counter, since one BatchGetItem of a password login reads both.

    `parts` has the counts of a counter's parts, by name.
    """

    parts: Mapping[str, int] = {}

    @classmethod
    def from_raw_data(cls, data: dict[str, Any]) -> "AccountItem":
        """Return the item of DynamoDB's own form, with its parts.

        An account may have attributes of a later version, which need not be numbers.
        """
        item = super().from_raw_data(data)
        known = cls.get_attributes()
        item.parts = {
            name: int(value[NUMBER])
            for name, value in data.items()
            if name not in known and NUMBER in value
        }
        return item


class GoneItem(TableItem):
    """`GONE#<app>#<uid>`: the user was deleted on request, or merged into another."""

    reason = UnicodeAttribute()
    into = UnicodeAttribute(null=True)
    provider = UnicodeAttribute(null=True)
    hash = UnicodeAttribute(null=True)
    dropped = UnicodeAttribute(null=True)


class OnceItem(TableItem):
    """`ONCE#<app>#<hash>`: the user that a login key made, and until when it counts.

    The name `uid` is left to the records of identities, by which a scan knows them.
    """

    user_id = UnicodeAttribute()
    expires_at = InstantAttribute()


class ScanItem(TableItem):
    """`SCAN#expiring`: how far the scan for users that will expire has come."""

    version = NumberAttribute()
    since = UnicodeAttribute(null=True)
    day = UnicodeAttribute()
    positions: MapAttribute[str, Any] = MapAttribute()  # type: ignore[no-untyped-call]


class RingItem(TableItem):
    """`KEY#ring`: the key ring, its secret halves wrapped by KMS."""

    version = NumberAttribute()
    keys: ListAttribute[Any] = ListAttribute()


def user_pk(app: str, user_id: str) -> str:
    """Return the key of a user's item."""
    return f"{USER_PREFIX}{app}#{user_id}"


def gone_pk(app: str, user_id: str) -> str:
    """Return the key of the mark that a deletion on request or a merge leaves."""
    return f"GONE#{app}#{user_id}"


def once_pk(app: str, key_hash: str) -> str:
    """Return the key of the item that a login key leaves."""
    return f"ONCE#{app}#{key_hash}"


def identity_pk(app: str, provider: str, key: str) -> str:
    """Return the key of an identity's item. For an API key, `key` is its hash."""
    return f"IDENT#{app}#{provider}#{key}"


def counter_pk(name: str) -> str:
    """Return the key of a counter's item."""
    return f"RATE#{name}"


def user_fields(user: User) -> dict[str, Any]:
    """Return the attributes of a new user's item."""
    return {
        "state": "active",
        "anonymous": user.anonymous,
        "version": user.version,
        "created_at": user.created_at,
        "last_active_day": user.last_active_day.isoformat(),
        "expires_at": user.expires_at,
        "ttl": None if user.expires_at is None else user.expires_at + SWEEP_DELAY,
        "sessions": {s.id: session_map(s) for s in user.sessions.values()},
        "identities": identity_list(user.identities),
        "api_keys": {key.id: api_key_map(key) for key in user.api_keys.values()},
        "made_again": user.made_again,
        "restored_at": user.restored_at,
        "former_ids": list(user.former_ids) or None,
    }


def user_of(item: UserItem, app: str, user_id: str) -> User:
    """Return the user that an item holds."""
    sessions, api_keys = _entries(item.sessions), _entries(item.api_keys)
    return User(
        app=app,
        id=user_id,
        anonymous=_flag(item.anonymous),
        version=int(item.version),
        created_at=item.created_at,
        last_active_day=date.fromisoformat(item.last_active_day),
        expires_at=item.expires_at,
        sessions={sid: _session(sid, entry) for sid, entry in sessions.items()},
        identities=tuple(_identity(entry) for entry in item.identities),
        api_keys={kid: _api_key(kid, entry) for kid, entry in api_keys.items()},
        made_again=item.made_again,  # type: ignore[arg-type]
        restored_at=item.restored_at,
        former_ids=tuple(item.former_ids or ()),
    )


def user_in(image: Mapping[str, Any], pk: str) -> User:
    """Return the user that an item holds in DynamoDB's own form.

    An item that no version of this code has written raises `ValueError`, or some error
    of PynamoDB.
    """
    if not image.keys() >= _OF_EVERY_USER:
        raise ValueError(pk)
    app, _, user_id = pk.removeprefix(USER_PREFIX).rpartition("#")
    user = user_of(UserItem.from_raw_data(dict(image)), app, user_id)
    if not _is_sound(user):
        raise ValueError(pk)
    return user


def _is_sound(user: User) -> bool:
    # PynamoDB does not check what is in maps, and reads NULL as None everywhere.
    texts = [
        *(text for i in user.identities for text in (i.id, i.provider, i.key)),
        *(session.provider for session in user.sessions.values()),
        *user.former_ids,
    ]
    return (
        isinstance(user.created_at, datetime)
        and bool(user.identities)
        and all(isinstance(text, str) for text in texts)
    )


def mark_fields(mark: DeletionMark) -> dict[str, Any]:
    """Return the attributes of a deletion mark's item, but for its `ttl`."""
    return {
        "reason": mark.reason,
        "into": mark.into or None,
        "provider": mark.provider or None,
        "hash": mark.token_hash or None,
        "dropped": mark.dropped or None,
    }


def mark_of(item: GoneItem) -> DeletionMark:
    """Return the deletion mark that an item holds."""
    return DeletionMark(
        "merged" if item.reason == "merged" else "requested",
        into=item.into or "",
        provider=item.provider or "",
        token_hash=item.hash or "",
        dropped=item.dropped or "",
    )


def session_map(session: Session) -> dict[str, Any]:
    """Return the entry of a session in its user's item."""
    entry: dict[str, Any] = {
        "hash": session.token_hash,
        "provider": session.provider,
        "created_at": epoch(session.created_at),
        "used_day": session.used_day.isoformat(),
        "device_id": session.device.id,
        "device": dict(session.device.info),
    }
    if session.expires_at is not None:
        entry["expires_at"] = epoch(session.expires_at)
    if session.identity_key:
        entry["identity_key"] = session.identity_key
    return entry


def identity_list(identities: Iterable[Identity]) -> list[dict[str, Any]]:
    """Return the entries of identities in their user's item."""
    return [
        {"id": i.id, "provider": i.provider}
        | ({"key": i.key, "version": i.version} if i.key else {})
        for i in identities
    ]


def api_key_map(key: ApiKey) -> dict[str, Any]:
    """Return the entry of an API key in its user's item."""
    return {
        "name": key.name,
        "hash": key.hash,
        "created_at": epoch(key.created_at),
        "disabled": key.disabled,
    }


def record_fields(record: IdentityRecord) -> dict[str, Any]:
    """Return the attributes of an identity's item."""
    confirmation, reset = record.confirmation, record.reset
    return {
        "uid": record.user_id,
        "identity_id": record.id,
        "state": record.state,
        "version": record.version,
        "data": dict(record.data),
        "expires_at": record.expires_at,
        "ttl": record.expires_at and record.expires_at + SWEEP_DELAY,
        "password_hash": record.password_hash or None,
        "verified": record.verified or None,
        "contested": record.contested or None,
        "confirm_hash": confirmation and confirmation.hash,
        "confirm_expires_at": confirmation and confirmation.expires_at,
        "reset_hash": reset and reset.hash,
        "reset_expires_at": reset and reset.expires_at,
        "networks": network_map(record.networks) or None,
    }


def network_map(networks: Mapping[str, date]) -> dict[str, str]:
    """Return the entry of an account's networks in its identity's item."""
    return {name: noted.isoformat() for name, noted in networks.items()}


def record_of(item: IdentityItem, app: str, provider: str, key: str) -> IdentityRecord:
    """Return the record that an identity's item holds."""
    if item.state not in {"pending", "confirmed", "bound"}:
        raise ValueError(item.state)
    return IdentityRecord(
        app=app,
        provider=provider,
        key=key,
        id=item.identity_id,
        state=item.state,  # type: ignore[arg-type]
        user_id=item.uid,
        version=int(item.version),
        data=item.data.as_dict(),  # type: ignore[no-untyped-call]
        password_hash=item.password_hash or "",
        verified=bool(item.verified),
        contested=bool(item.contested),
        confirmation=_mail_token(item.confirm_hash, item.confirm_expires_at),
        reset=_mail_token(item.reset_hash, item.reset_expires_at),
        networks={
            name: date.fromisoformat(noted)
            for name, noted in _entries(item.networks).items()
        },
        expires_at=item.expires_at,
    )


def ring_of(item: RingItem) -> Ring:
    """Return the key ring that an item holds."""
    return Ring(int(item.version), tuple(_ring_key(key) for key in item.keys))


def ring_key_map(key: RingKey) -> dict[str, Any]:
    """Return the entry of a key in the ring's item."""
    entry: dict[str, Any] = {
        "kid": key.kid,
        "use": key.use,
        "wrapped": key.wrapped,
        "published_at": epoch(key.published_at),
        "signs_from": epoch(key.signs_from),
    }
    if key.public is not None:
        entry["public"] = key.public
    if key.stops_at is not None:
        entry["stops_at"] = epoch(key.stops_at)
    return entry


def epoch(instant: datetime) -> int:
    """Return an instant as whole epoch seconds."""
    return int(instant.timestamp())


def _entries(attribute: Any) -> dict[str, Any]:
    # The attribute is None if it was not among those that were read.
    return {} if attribute is None else attribute.as_dict()


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
        identity_key=entry.get("identity_key", ""),
    )


def _identity(entry: dict[str, Any]) -> Identity:
    if "key" not in entry:  # the anonymous one
        return Identity(entry["id"], entry["provider"])
    return Identity(entry["id"], entry["provider"], entry["key"], int(entry["version"]))


def _api_key(key_id: str, entry: dict[str, Any]) -> ApiKey:
    return ApiKey(
        id=key_id,
        name=entry["name"],
        hash=entry["hash"],
        created_at=_instant(entry["created_at"]),
        disabled=_flag(entry["disabled"]),
    )


def _flag(value: object) -> bool:
    # An unreadable value must not count as false: a disabled key would be good again,
    # and a guest would be permanent.
    if not isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004 - like other faults of an item
    return value


def _mail_token(
    token_hash: str | None, expires_at: datetime | None
) -> MailToken | None:
    if token_hash is None or expires_at is None:
        return None
    return MailToken(token_hash, expires_at)


def _ring_key(entry: dict[str, Any]) -> RingKey:
    stops_at = entry.get("stops_at")
    return RingKey(
        kid=entry["kid"],
        use=entry["use"],
        wrapped=entry["wrapped"],
        public=entry.get("public"),
        published_at=_instant(entry["published_at"]),
        signs_from=_instant(entry["signs_from"]),
        stops_at=None if stops_at is None else _instant(stops_at),
    )


def _instant(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
