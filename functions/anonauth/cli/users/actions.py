"""The work of `anonauth users`: find, show and delete users, end their sessions."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from anonauth import wiring
from anonauth.cli.deployment import Deployment
from anonauth.cli.options import printable
from anonauth.domain.encoding import identity_key, rfc3339
from anonauth.domain.expiry import SWEEP_DELAY
from anonauth.domain.providers import USERPASS
from anonauth.domain.users import Session, User, UserFilter
from anonauth.local.command_error import CommandError
from anonauth.ports import OverviewStore
from anonauth.usecases.operator import (
    AnonymousUser,
    OperatorActions,
    UnknownUser,
    UserChanged,
)

_DOLLARS_PER_MILLION = 0.125  # read units on demand, us-east-1, as events.md counts
_CENT = 0.01


@dataclass(frozen=True, slots=True)
class ShownUser:
    """A user and the data of its identities at one moment, without secrets or hashes.

    `data` is in the order of the identities.
    """

    user: User
    data: Sequence[Mapping[str, str]]
    now: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the user as JSON. Times are RFC 3339, or null for never."""
        user = self.user
        return {
            **user_as_json(user, self.data),
            "expired": user.is_expired(self.now),
            "sessions": [self._session(each) for each in user.sessions.values()],
            "api_keys": [
                {
                    "id": key.id,
                    "name": key.name,
                    "created_at": rfc3339(key.created_at),
                    "disabled": key.disabled,
                }
                for key in user.api_keys.values()
            ],
        }

    def lines(self) -> Iterator[str]:
        """Yield the user in lines for people. Times are UTC."""
        user = self.user
        yield f"user {printable(user.id)} of app {printable(user.app)}"
        yield f"  {self._state()}"
        yield (
            f"  created {rfc3339(user.created_at)}, last active on "
            f"{user.last_active_day}"
        )
        if user.former_ids:
            yield f"guests merged into it, the newest last: {len(user.former_ids)}"
            yield from (f"  {printable(former_id)}" for former_id in user.former_ids)
        yield f"identities: {len(user.identities)}"
        for identity, data in zip(user.identities, self.data, strict=True):
            named = f"  key {identity.key}" if identity.has_issuer else ""
            told = _format_pairs(data)
            yield f"  {identity.provider}  {printable(identity.id)}{named}{told}"
        yield f"sessions: {len(user.sessions)}"
        for session in user.sessions.values():
            yield f"  {self._session_line(session)}"
        yield f"API keys: {len(user.api_keys)}"
        for key in user.api_keys.values():
            off = ", disabled" if key.disabled else ""
            yield (
                f"  {key.id}  {printable(key.name)}, created {rfc3339(key.created_at)}"
                f"{off}"
            )

    def _state(self) -> str:
        user = self.user
        if user.expires_at is None:
            return "permanent"
        at = rfc3339(user.expires_at)
        if user.is_expired(self.now):
            return (
                f"anonymous; expired at {at}: its tokens are refused, and DynamoDB "
                "deletes it, usually within days"
            )
        return f"anonymous; expires at {at} unless it is active before"

    def _session(self, session: Session) -> dict[str, Any]:
        return {
            "id": session.id,
            "provider": session.provider,
            "created_at": rfc3339(session.created_at),
            "used_day": session.used_day.isoformat(),
            "expires_at": session.expires_at and rfc3339(session.expires_at),
            "live": self._is_live(session),
            "device": {"id": session.device.id, "info": dict(session.device.info)},
        }

    def _session_line(self, session: Session) -> str:
        until = f", until {rfc3339(session.expires_at)}" if session.expires_at else ""
        over = "" if self._is_live(session) else ", ended"
        return (
            f"{session.id}  {session.provider}, since {rfc3339(session.created_at)}, "
            f"last used on {session.used_day}{until}{over}"
            f"{_format_pairs(session.device.info)}"
        )

    def _is_live(self, session: Session) -> bool:
        return self.user.live_session(session.id, self.now) is not None


class MergedGuest(CommandError):
    """The user was a guest that was merged into another user, and exists no more."""

    def __init__(self, app: str, user_id: str, into: str) -> None:
        super().__init__(
            f"user '{printable(user_id)}' of app '{printable(app)}' was a guest, and "
            f"was merged into user '{printable(into)}'"
        )
        self._as_json = {"app": app, "uid": user_id, "merged_into": into}

    def as_json(self) -> dict[str, str]:
        """Return the ids as JSON."""
        return self._as_json


@dataclass(frozen=True, slots=True)
class UserList:
    """The users that a scan has found, and the cost of the scan.

    `more` says that there may be more users. `read` counts items of the table, and
    `unreadable` those among them that are left out.
    """

    users: Sequence[User]
    now: datetime
    more: bool
    read: int
    units: float
    unreadable: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the users as in an export, and the cost of reading them."""
        return {
            "users": [user_as_json(user) for user in self.users],
            "more": self.more,
            "items_read": self.read,
            "unreadable": self.unreadable,
            "read_units": self.units,
        }

    def as_table(self) -> Table:
        """Return the users as a table for people. Times are UTC."""
        table = Table(title="Times are UTC", title_justify="left", box=None)
        table.add_column("uid", no_wrap=True)
        table.add_column("app", overflow="fold")
        for name in ("state", "created", "last active", "providers"):
            table.add_column(name)
        for user in self.users:
            providers = [identity.provider for identity in user.identities]
            row = (
                user.id,
                user.app,
                _state_word(user, self.now),
                f"{user.created_at:%Y-%m-%d %H:%M}",
                user.last_active_day.isoformat(),
                ", ".join(providers),
            )
            table.add_row(*[Text(printable(cell)) for cell in row])
        return table

    def notes(self) -> Iterator[str]:
        """Yield the cost of the scan, and how many items it could not read."""
        units = math.ceil(self.units)
        dollars = units * _DOLLARS_PER_MILLION / 1_000_000
        cost = f"${dollars:,.2f} on demand" if dollars >= _CENT else "less than a cent"
        more = "; there may be more users, see --limit" if self.more else ""
        yield (
            f"users: {len(self.users)}; read {_with_unit(self.read, 'item')} of the "
            "table: "
            f"{_with_unit(units, 'read unit')}, {cost}{more}"
        )
        if self.unreadable:
            yield f"items that could not be read and are left out: {self.unreadable}"


def user_as_json(
    user: User, data: Sequence[Mapping[str, str]] | None = None
) -> dict[str, Any]:
    """Return a user as JSON without sessions and API keys, as in an export.

    An identity has a `key` if its id comes from an issuer. The key of `local-userpass`
    would let a reader confirm a guessed e-mail address. `former_ids` are there only if
    guests were merged into the user.

    Args:
        data: Data of the identities, in their order. None leaves it out.
    """
    identities: list[dict[str, Any]] = [
        {"provider": each.provider, "id": each.id}
        | ({"key": each.key} if each.has_issuer else {})
        for each in user.identities
    ]
    for identity, known in zip(identities, data or (), strict=False):
        identity["data"] = dict(known)
    return {
        "app": user.app,
        "uid": user.id,
        "anonymous": user.anonymous,
        "created_at": rfc3339(user.created_at),
        "last_active_day": user.last_active_day.isoformat(),
        "expires_at": user.expires_at and rfc3339(user.expires_at),
        "identities": identities,
        **({"former_ids": list(user.former_ids)} if user.former_ids else {}),
    }


def find_app(deployment: Deployment, app: str | None) -> str:
    """Return the app id given, or the only app of the deployment.

    An app that is no longer served may still have users.

    Raises:
        CommandError: No app was named, and the deployment does not have exactly one.
    """
    if app:
        return app
    served = deployment.read_app_ids()
    if len(served) != 1:
        which = (
            f"It is one of {', '.join(served)}"
            if served
            else "A table does not name its apps; `anonauth users list` shows them"
        )
        raise CommandError(f"which app? Give --app ID. {which}")
    return served[0]


def read_user(services: wiring.Services, app: str, user_id: str) -> ShownUser:
    """Read a user and the data of its identities, with two calls.

    Raises:
        MergedGuest: The user was a guest that was merged into another user.
        CommandError: The app has no user with that id.
    """
    user = services.store.get_user(app, user_id)
    if user is None:
        raise _absent_user_error(services, app, user_id)
    data = services.store.get_identity_data(app, user.identities)
    return ShownUser(user, data, services.clock())


def find_user_by_email(services: wiring.Services, app: str, address: str) -> str:
    """Return the id of the user that logs in with an e-mail address, with one call.

    Raises:
        CommandError: No user has the address. If a record without a user has it, the
            message says when the record ends, because a person who wants to be
            forgotten needs to know.
    """
    key = identity_key(services.addresses.normalise(address))
    record = services.store.get_identity(app, USERPASS, key)
    not_registered = f"no user has registered {printable(address)} in app '{app}'"
    if record is not None and record.user_id is not None:
        return record.user_id
    if record is None or record.expires_at is None:
        raise CommandError(not_registered)
    end, ttl = rfc3339(record.expires_at), rfc3339(record.expires_at + SWEEP_DELAY)
    swept = f"and DynamoDB deletes its record after {ttl}, usually within days"
    if record.is_expired(services.clock()):
        raise CommandError(
            f"{not_registered}; an earlier registration ended at {end}, {swept}"
        )
    raise CommandError(
        f"{printable(address)} is registered and {record.state}, but no user has it "
        f"yet: unless it is used, it ends by itself at {end}, {swept}"
    )


def scan_users(
    store: OverviewStore, wanted: UserFilter, *, limit: int, now: datetime
) -> UserList:
    """Read the table page by page, until `limit` users are found."""
    users: list[User] = []
    position: str | None = ""
    read, units, unreadable = 0, 0.0, 0
    while position is not None and len(users) < limit:
        page = store.scan_users(0, 1, position, wanted)
        users += page.users
        position = page.position
        read, units = read + page.read, units + page.units
        unreadable += page.unreadable
    more = position is not None or len(users) > limit
    return UserList(users[:limit], now, more, read, units, unreadable)


def describe_deletion(shown: ShownUser, place: str) -> Iterator[str]:
    """Yield in words what the deletion of a user will do.

    Args:
        place: The deployment, named first, because ids look alike everywhere.

    Raises:
        CommandError: The user has expired.
    """
    user = shown.user
    if user.is_expired(shown.now):
        raise CommandError(
            f"user {user.id} has expired: its tokens are refused, and DynamoDB "
            "deletes it, usually within days"
        )
    yield f"In {place}:"
    yield "Deleting"
    yield from shown.lines()
    yield (
        "- All of this is deleted for good. A later login with the same identity "
        "creates a new user."
    )
    yield (
        "- Apps receive `user.deleted` with the reason `requested`. They have to "
        "remove their own data about the user."
    )
    yield _BEARER_NOTE


def delete_shown_user(shown: ShownUser, services: wiring.Services) -> None:
    """Delete a user, if it still is as it was shown.

    Raises:
        MergedGuest: The user was a guest and was merged while it was shown.
        CommandError: The user has changed and was not deleted, or no longer exists.
    """
    user = shown.user
    try:
        OperatorActions(services.store).delete_as_shown(user, services.clock())
    except UnknownUser as exc:
        raise _absent_user_error(services, user.app, user.id) from exc
    except UserChanged as exc:
        raise CommandError(
            f"user {user.id} has changed while it was shown, and was not deleted: "
            "run the command again"
        ) from exc


def describe_session_end(shown: ShownUser, place: str) -> Iterator[str]:
    """Yield in words what the end of all sessions of a user will do.

    Args:
        place: As for `describe_deletion`.

    Raises:
        CommandError: The user is anonymous.
    """
    user = shown.user
    if user.anonymous:
        raise CommandError(_anonymous_user_message(user.id))
    yield f"In {place}:"
    yield "Revoking the sessions of"
    yield from shown.lines()
    yield (
        f"- Sessions that end: {len(user.sessions)}, those of API keys included. "
        "Clients have to log in again."
    )
    yield "- Passwords, linked identities and API keys stay valid."
    yield _BEARER_NOTE


def end_sessions(user: User, services: wiring.Services) -> int:
    """End all sessions of a user, and return their number.

    Raises:
        CommandError: The user does not exist, or is anonymous.
    """
    try:
        was = OperatorActions(services.store).revoke_sessions(
            user.app, user.id, services.clock()
        )
    except UnknownUser as exc:
        raise _absent_user_error(services, user.app, user.id) from exc
    except AnonymousUser as exc:
        raise CommandError(_anonymous_user_message(user.id)) from exc
    return len(was.sessions)


_BEARER_NOTE = (
    "- This service refuses access tokens at once. Your own API accepts them until "
    "they expire, after AccessTokenMinutes at most (30 unless set)."
)


def _absent_user_error(
    services: wiring.Services, app: str, user_id: str
) -> CommandError:
    mark = services.store.get_mark(app, user_id)
    if mark is not None and mark.reason == "merged":
        return MergedGuest(app, user_id, mark.into)
    return CommandError(f"no user '{printable(user_id)}' in app '{printable(app)}'")


def _anonymous_user_message(user_id: str) -> str:
    return (
        f"user {user_id} is anonymous: without its session it could never log in "
        f"again. To delete it, run `anonauth users delete {user_id}`"
    )


def _with_unit(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _state_word(user: User, now: datetime) -> str:
    if user.is_expired(now):
        return "expired"
    return "anonymous" if user.anonymous else "permanent"


def _format_pairs(values: Mapping[str, str]) -> str:
    told: Iterable[str] = (f"{name}: {text}" for name, text in values.items())
    return f"  ({printable(', '.join(told))})" if values else ""
