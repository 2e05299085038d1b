"""What a user of an import file becomes: users and records of the service."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from anonauth.cli.options import printable
from anonauth.domain.encoding import identity_key, shown
from anonauth.domain.expiry import utc_day
from anonauth.domain.identities import Identity, IdentityRecord
from anonauth.domain.providers import ANONYMOUS, API_KEY, USERPASS
from anonauth.domain.restoring import RecordName, record_names
from anonauth.domain.users import MOST_FORMER_IDS, MOST_IDENTITIES, User
from anonauth.errors import BadRequest
from anonauth.ports import EmailAddresses
from anonauth.settings import APP_ID

_GOOGLE, _APPLE, _FACEBOOK = "oauth2-google", "oauth2-apple", "oauth2-facebook"
_CUSTOM_TOKEN = "custom-token"  # noqa: S105 - a provider's name
_CUSTOM_FUNCTION = "custom-function"  # App Services alone had it

# The key of their identities is made from the id alone.
_KEYED_BY_ID = (_GOOGLE, _APPLE, _FACEBOOK)
_LINKED = (USERPASS, _CUSTOM_TOKEN, *_KEYED_BY_ID)

_USER_ID = re.compile("[0-9a-f]{24}")
_KEY = re.compile("[A-Za-z0-9_-]{43}")
_FACEBOOK_ID = re.compile("[0-9]{1,64}")
_MOST_ID = 256  # characters, as of a subject in a token
_MOST_FIELDS = 32  # of an identity's data, as of a custom JWT
_MOST_NAME = 128  # characters of such a field's name
# Control characters, and lone surrogates, which cannot be encoded.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_ARGON2ID = re.compile(
    r"\$argon2id\$v=19"
    r"\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,9})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})"
)
# A login with more would take the function seconds, or memory that it does not have.
# The salt has 128 bits, so only four characters can be its last.
_BCRYPT = re.compile(
    r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)
_MOST_ROUNDS = 13  # as a power of two; half a second of a whole processor
_MOST_MEMORY = 128 * 1024  # KiB
_MOST_WORK = 512 * 1024  # KiB, memory times passes
_MOST_LANES = 8
_BLOCKS_PER_LANE = 8  # KiB at least (RFC 9106 §3.1)

LeftOut = Literal["guest", "disabled", "no_credential", "other_app"]
"""Why a sound user of the file is not imported.

A `guest` has no identity that can log in. A user with `no_credential` has some, but
none that this service can check.
"""


class BadUser(Exception):
    """The file's text of a user is wrong. The message says what."""


@dataclass(frozen=True, slots=True)
class DroppedIdentity:
    """An identity that is not imported, although its user may be."""

    app: str
    user_id: str
    provider: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileUser:
    """A user of the file, with the records of its identities.

    `left_out` says that it is not imported, and why. `user` is None then.
    """

    user: User | None = None
    records: Sequence[IdentityRecord] = ()
    left_out: LeftOut | None = None
    dropped: Sequence[DroppedIdentity] = ()

    def names(self) -> list[tuple[str, str]]:
        """Return all that no other user may have: ids and identities, with the app.

        A former id counts as an id.
        """
        if self.user is None:
            return []
        ids = [self.user.id, *self.user.former_ids]
        records = [f"{name[1]} {name[2]}" for name in record_names(self.user)]
        return [(self.user.app, each) for each in [*ids, *records]]

    def records_by_name(self) -> dict[RecordName, IdentityRecord]:
        """Return the records by the names that a restore looks for."""
        return {(each.app, each.provider, each.key): each for each in self.records}


@dataclass(frozen=True, slots=True)
class ImportForm:
    """What the operator says about the file.

    Args:
        app: The app of all users. In an export, None takes the users of all apps.
        issuer: Issuer of the JWTs of `custom-token`, for App Services.
        addresses: The syntax of e-mail addresses.
        verified_emails: Addresses count as verified, unless the file says otherwise.
        now: Aware UTC time of the import.
    """

    app: str | None
    issuer: str | None
    addresses: EmailAddresses
    verified_emails: bool
    now: datetime

    def of_export(self, value: object) -> FileUser:
        """Return the user of a line of `anonauth users export`.

        Raises:
            BadUser: The line is not of this form.
        """
        entry = _mapping(value, "the line")
        app = _text(entry, "app")
        if not APP_ID.fullmatch(app):
            raise BadUser("'app' is not an app id")
        if self.app not in {None, app}:
            return FileUser(left_out="other_app")
        user_id = _user_id(entry, "uid")
        if _flag(entry, "anonymous"):
            return FileUser(left_out="guest")
        if entry.get("expires_at") is not None:
            raise BadUser("'expires_at' is set, but 'anonymous' is false")
        created_at = self._past(_instant(entry, "created_at"), "created_at")
        active_on = _day(entry, "last_active_day")
        if active_on > utc_day(self.now):
            raise BadUser("'last_active_day' is later than today")
        maker = _Maker(self, app, user_id)
        for listed in _list(entry, "identities"):
            identity = _mapping(listed, "an identity")
            provider, identity_id = _text(identity, "provider"), _subject(identity)
            maker.add(provider, identity_id, identity, _data(identity))
        former_ids = tuple(
            _hex_id(each, "'former_ids'") for each in _optional_list(entry)
        )
        return maker.make(created_at, active_on, former_ids)

    def of_app_services(self, value: object) -> FileUser:
        """Return a user of the list that the admin API of App Services gives.

        The form is that of "GET /groups/{groupId}/apps/{appId}/users" in the App
        Services Admin API, v3.0.

        Raises:
            BadUser: The object is not of this form.
        """
        entry = _mapping(value, "the user")
        assert self.app is not None  # noqa: S101 - for the type  # nosec B101
        user_id = _user_id(entry, "_id")
        if entry.get("disabled") not in {None, False}:
            return FileUser(left_out="disabled")
        # The first 4 bytes of an ObjectId are the time at which it was made.
        made = int(user_id[:8], 16)
        created_at = self._past(_epoch(entry, "creation_date", made), "creation_date")
        last = "last_authentication_date"
        active_at = self._past(_epoch(entry, last, created_at.timestamp()), last)
        identities = [
            _mapping(each, "an identity") for each in _list(entry, "identities")
        ]
        with_data = [
            each
            for each in identities
            if _text(each, "provider_type") not in {ANONYMOUS, API_KEY}
        ]
        maker = _Maker(self, self.app, user_id)
        for identity in identities:
            provider, identity_id = _text(identity, "provider_type"), _subject(identity)
            # The user's own data are those of all its identities together.
            data = _data(identity)
            if not data and with_data == [identity]:
                data = _data(entry)
            fields: dict[str, Any] = {}
            if provider == _CUSTOM_TOKEN:
                if self.issuer is None:
                    raise BadUser(
                        "it logs in with JWTs: give --issuer, as in the provider "
                        "settings, or --issuer '' if they name none"
                    )
                fields["key"] = identity_key(f"{self.issuer} {identity_id}")
            maker.add(provider, identity_id, fields, data)
        return maker.make(created_at, utc_day(max(active_at, created_at)), ())

    def _past(self, instant: datetime, name: str) -> datetime:
        if instant > self.now:
            raise BadUser(f"'{name}' is later than now")
        return instant


class _Maker:
    """Makes one user, identity by identity."""

    def __init__(self, form: ImportForm, app: str, user_id: str) -> None:
        self._form = form
        self._app = app
        self._user_id = user_id
        self._anonymous: list[Identity] = []
        self._records: list[IdentityRecord] = []
        self._dropped: list[DroppedIdentity] = []

    def add(
        self,
        provider: str,
        identity_id: str,
        fields: Mapping[str, Any],
        data: Mapping[str, str],
    ) -> None:
        if provider == ANONYMOUS:
            self._anonymous.append(Identity(identity_id, provider))
        elif provider == API_KEY:
            self._drop(provider, identity_id, "the old service alone can check the key")
        elif provider == _CUSTOM_FUNCTION:
            self._drop(provider, identity_id, "this service has no such provider")
        elif provider not in _LINKED:
            raise BadUser(f"unknown provider '{printable(provider)}'")
        elif provider == USERPASS:
            self._add_account(identity_id, fields, data)
        else:
            key = _key(provider, identity_id, fields)
            self._records.append(self._record(provider, key, identity_id, data))

    def make(
        self, created_at: datetime, active_on: date, former_ids: tuple[str, ...]
    ) -> FileUser:
        records, dropped = self._records, self._dropped
        if not records:
            return FileUser(
                left_out="no_credential" if dropped else "guest", dropped=dropped
            )
        identities = [
            *self._anonymous,
            *[Identity(each.id, each.provider, each.key) for each in records],
        ]
        if len(identities) > MOST_IDENTITIES:
            raise BadUser(f"more than {MOST_IDENTITIES} identities")
        if len(self._anonymous) > 1:
            raise BadUser("more than one anonymous identity")
        if sum(each.provider == USERPASS for each in records) > 1:
            raise BadUser("more than one e-mail address")
        if len(former_ids) > MOST_FORMER_IDS:
            raise BadUser(f"more than {MOST_FORMER_IDS} former ids")
        user = User(
            app=self._app,
            id=self._user_id,
            anonymous=False,
            version=1,
            created_at=created_at,
            last_active_day=active_on,
            expires_at=None,
            sessions={},
            identities=tuple(identities),
            former_ids=former_ids,
        )
        made = FileUser(user, records, dropped=dropped)
        names = made.names()
        if len(set(names)) < len(names):
            raise BadUser("it has an id or identity twice")
        return made

    def _add_account(
        self, identity_id: str, fields: Mapping[str, Any], data: Mapping[str, str]
    ) -> None:
        if "email" not in data:
            self._drop(USERPASS, identity_id, "the file does not say its address")
            return
        try:
            address = self._form.addresses.check(data["email"])
        except BadRequest as exc:
            raise BadUser("the e-mail address is not one") from exc
        record = self._record(
            USERPASS, identity_key(address), identity_id, {"email": address}
        )
        verified = fields.get("verified", self._form.verified_emails)
        if not isinstance(verified, bool):
            raise BadUser("'verified' is not true or false")
        self._records.append(
            replace(record, password_hash=_password_hash(fields), verified=verified)
        )

    def _record(
        self, provider: str, key: str, identity_id: str, data: Mapping[str, str]
    ) -> IdentityRecord:
        return IdentityRecord(
            app=self._app,
            provider=provider,
            key=key,
            id=identity_id,
            state="bound",
            user_id=self._user_id,
            data=data,
        )

    def _drop(self, provider: str, identity_id: str, reason: str) -> None:
        self._dropped.append(
            DroppedIdentity(self._app, self._user_id, provider, identity_id, reason)
        )


def _key(provider: str, identity_id: str, fields: Mapping[str, Any]) -> str:
    if provider == _FACEBOOK and not _FACEBOOK_ID.fullmatch(identity_id):
        raise BadUser("an id of Facebook is not a number")
    if provider == _CUSTOM_TOKEN:
        key = _text(fields, "key")
        if not _KEY.fullmatch(key):
            raise BadUser("'key' is not 43 characters of base64url")
        return key
    key = identity_key(identity_id)
    # Otherwise the profile would name another person than the one that logs in.
    if fields.get("key", key) != key:
        raise BadUser(f"'key' does not belong to the id of '{provider}'")
    return key


def _password_hash(fields: Mapping[str, Any]) -> str:
    password_hash = fields.get("password_hash")
    if password_hash is None:
        return ""
    if not isinstance(password_hash, str):
        raise BadUser("'password_hash' is not a string")
    if not is_usable_hash(password_hash):
        raise BadUser(
            "'password_hash' is not of argon2id or bcrypt, or is too slow to check"
        )
    return password_hash


def is_usable_hash(password_hash: str) -> bool:
    """Tell whether a login can check a password with a hash from another program.

    It is the PHC string of argon2id or the 60 characters of bcrypt, with parameters
    that a function can afford.
    """
    if by_bcrypt := _BCRYPT.fullmatch(password_hash):
        return int(by_bcrypt[1]) <= _MOST_ROUNDS
    found = _ARGON2ID.fullmatch(password_hash)
    if found is None:
        return False
    memory, passes, lanes = map(int, found.groups()[:3])
    return (
        memory <= _MOST_MEMORY
        and memory * passes <= _MOST_WORK
        and lanes <= _MOST_LANES
        and _BLOCKS_PER_LANE * lanes <= memory
        and all(_is_base64(text) for text in found.groups()[3:])
    )


def _is_base64(text: str) -> bool:
    # Only one text of each length has no bits left over, and argon2 takes no other.
    return len(text) % 4 != 1 and _spare_bits(text) == 0


def _spare_bits(text: str) -> int:
    spare = {0: 0, 2: 4, 3: 2}[len(text) % 4]
    return _BASE64.index(text[-1]) & ((1 << spare) - 1)


_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadUser(f"{what} is not an object")
    return value


def _list(entry: Mapping[str, Any], name: str) -> list[Any]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise BadUser(f"'{name}' is missing or not a list")
    return value


def _optional_list(entry: Mapping[str, Any]) -> Iterable[Any]:
    return _list(entry, "former_ids") if "former_ids" in entry else ()


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise BadUser(f"'{name}' is missing or not a string")
    return value


def _flag(entry: Mapping[str, Any], name: str) -> bool:
    value = entry.get(name)
    if not isinstance(value, bool):
        raise BadUser(f"'{name}' is missing, or not true or false")
    return value


def _subject(identity: Mapping[str, Any]) -> str:
    value = _text(identity, "id")
    if not 0 < len(value) <= _MOST_ID or _UNFIT.search(value):
        raise BadUser("the id of an identity is empty, too long or not printable")
    return value


def _user_id(entry: Mapping[str, Any], name: str) -> str:
    return _hex_id(entry.get(name), f"'{name}'")


def _hex_id(value: object, what: str) -> str:
    if not isinstance(value, str) or not _USER_ID.fullmatch(value):
        raise BadUser(f"{what} is not 24 hex digits in lower case")
    return value


def _data(entry: Mapping[str, Any]) -> Mapping[str, str]:
    value = entry.get("data")
    if value is None:
        return {}
    return dict(_fields(_mapping(value, "'data'")))


def _fields(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if len(data) > _MOST_FIELDS:
        raise BadUser(f"'data' has more than {_MOST_FIELDS} fields")
    for name, value in data.items():
        if not 0 < len(name) <= _MOST_NAME or _UNFIT.search(name):
            raise BadUser("a name in 'data' is empty, too long or not printable")
        # Other values are not shown in any profile.
        if isinstance(value, str):
            yield name, shown(value)


def _instant(entry: Mapping[str, Any], name: str) -> datetime:
    try:
        instant = datetime.fromisoformat(_text(entry, name))
    except ValueError as exc:
        raise BadUser(f"'{name}' is not a time") from exc
    if instant.tzinfo is None:
        raise BadUser(f"'{name}' has no time zone")
    return _whole(instant.astimezone, name)


def _day(entry: Mapping[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(_text(entry, name))
    except ValueError as exc:
        raise BadUser(f"'{name}' is not a date") from exc


def _epoch(entry: Mapping[str, Any], name: str, otherwise: float) -> datetime:
    value = entry.get(name, otherwise) or otherwise
    if type(value) not in {int, float}:
        raise BadUser(f"'{name}' is not a number of seconds")
    return _whole(lambda zone: datetime.fromtimestamp(value, zone), name)


def _whole(make: Callable[[Any], datetime], name: str) -> datetime:
    try:
        instant: datetime = make(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError) as exc:
        raise BadUser(f"'{name}' is not a time") from exc
    if instant < datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=1):
        raise BadUser(f"'{name}' is not a time")
    return instant
