"""What `anonauth keys` does: show the ring, rotate it, revoke a key of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from rich.table import Table

from anonauth import wiring
from anonauth.domain.encoding import rfc3339
from anonauth.domain.signing_keys import (
    PUBLISHED_AHEAD,
    KeyUse,
    Ring,
    RingKey,
)
from anonauth.local.command_error import CommandError
from anonauth.usecases.key_ring import KeyRotation, TooManyKeys, UnknownKey

KeyState = Literal["standby", "signing", "verifying", "spent"]
"""Published and yet to sign; the one that signs; good for what it has signed; due to
be dropped."""

_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class KeyList:
    """The key ring as it is at a time."""

    ring: Ring
    now: datetime

    def state(self, key: RingKey) -> KeyState:
        """Return what a key of the ring is for."""
        if key == self.ring.signing_key(key.use, self.now):
            return "signing"
        if key.signs_from > self.now:
            return "standby"
        return "spent" if key.is_spent(self.now) else "verifying"

    def clock_warning(self) -> str | None:
        """Return what is wrong with `now`, in one line: a key is from the future."""
        newest = max((key.published_at for key in self.ring.keys), default=self.now)
        if newest <= self.now + _CLOCK_SKEW:
            return None
        return (
            f"the ring's newest key was made at {rfc3339(newest)}, later than this "
            f"machine's clock says, {rfc3339(self.now)}: set the clock, or, if the "
            "clock of a local service was moved, restart that service"
        )

    def as_json(self) -> dict[str, Any]:
        """Return version and keys; times as RFC 3339, null for never."""
        return {
            "version": self.ring.version,
            "keys": [
                {"kid": key.kid, "use": key.use, "state": self.state(key)}
                | {name: at and rfc3339(at) for name, at in _key_times(key).items()}
                for key in self.ring.keys
            ],
        }

    def as_table(self) -> Table:
        """Return the same for people; times in UTC."""
        table = Table(title="Times are UTC", title_justify="left", box=None)
        table.add_column("kid", no_wrap=True)
        for name in ("use", "state"):
            table.add_column(name, no_wrap=True)
        for name in ("published", "signs from", "signs until", "dropped"):
            table.add_column(name)
        for key in self.ring.keys:
            times = _key_times(key) | {"stops_at": self._end(key)}
            told = [f"{at:%Y-%m-%d %H:%M}" if at else "never" for at in times.values()]
            table.add_row(key.kid, key.use, self.state(key), *told)
        return table

    def _end(self, key: RingKey) -> datetime | None:
        """Return when it stops to sign, if all goes on as it is; None: never.

        That is when the next one begins. Its own end is later, for the case that the
        next one is revoked, and would not agree with "verifying" beside it.
        """
        of_use = self.ring.of(key.use)
        later = of_use[of_use.index(key) + 1 :]
        starts = [
            other.signs_from
            for other in of_use
            if other.signs_from > key.signs_from
            or (other in later and other.signs_from == key.signs_from)
        ]
        return min([*starts, *filter(None, [key.stops_at])], default=None)

    def find(self, start: str) -> RingKey:
        """Return the key of an id, of which the beginning is enough if it is unique.

        Raises:
            CommandError: There is none, or more than one.
        """
        found = [key for key in self.ring.keys if key.kid.startswith(start)]
        if not start or not found:
            raise CommandError(
                f"no key '{start}' in the ring; `anonauth keys list` has all"
            )
        if len(found) > 1:
            raise CommandError(
                f"'{start}' begins the ids of {len(found)} keys; give more"
            )
        return found[0]


def read_keys(services: wiring.Services) -> KeyList:
    """Read the ring.

    Raises:
        CommandError: There is none.
    """
    ring = services.store.load_ring()
    if ring is None:
        raise CommandError(
            f"table '{services.settings.table_name}' has no key ring yet; "
            "the deployment makes it, and else the daily schedule"
        )
    return KeyList(ring, services.clock())


def read_keys_to_change(services: wiring.Services) -> KeyList:
    """Read the ring, to change it by this machine's clock.

    Raises:
        CommandError: There is none; or that clock is behind the one that made its keys,
        and
            times set by it could let a key sign when it may not, or nobody at all.
    """
    keys = read_keys(services)
    trouble = keys.clock_warning()
    if trouble:
        raise CommandError(trouble)
    return keys


@dataclass(frozen=True, slots=True)
class Rotation:
    """What came of a rotation: which key is the next one, or has just become it."""

    keys: KeyList
    next: RingKey

    def as_json(self) -> dict[str, Any]:
        """Return the next key and the ring."""
        start = rfc3339(self.next.signs_from)
        key = {"kid": self.next.kid, "use": self.next.use, "signs_from": start}
        return key | self.keys.as_json()

    def lines(self) -> Iterator[str]:
        """Yield the same in words."""
        key, at = self.next, rfc3339(self.next.signs_from)
        if key.signs(self.keys.now):
            yield (
                f"{key.use} key {key.kid} signs since {at}; "
                "functions that run take it up within 5 minutes"
            )
        else:
            public = "when it has been public for a day"
            known = "when every function knows it"
            why = public if key.use == "access" else known
            yield f"{key.use} key {key.kid} signs from {at}, {why}"
        yield "what the keys before it have signed stays good"


def rotate_key_use(use: KeyUse, services: wiring.Services) -> Rotation:
    """Have the next key of a use take over, as soon as it may.

    Raises:
        CommandError: As for `keys_to_change`, or the ring is full.
    """
    before = read_keys_to_change(services)
    try:
        ring = KeyRotation(services.store, services.key_maker).rotate_now(
            use, before.now
        )
    except TooManyKeys as exc:
        raise CommandError(
            f"the ring has {exc.args[0]} keys, and rotations by hand make no more: "
            "revoke those that are no longer needed, or wait until old access keys "
            "are dropped"
        ) from exc
    keys = KeyList(ring, before.now)
    signer = ring.signing_key(use, keys.now)
    was = before.ring.signing_key(use, keys.now)
    waits = ring.standby(use, keys.now) if signer == was else None
    chosen = waits or signer
    assert chosen is not None  # noqa: S101 - a ring that was just written has one  # nosec B101
    return Rotation(keys, chosen)


def describe_revocation(key: RingKey, keys: KeyList) -> Iterator[str]:
    """Yield what the revocation of a key will do, in words."""
    state = keys.state(key)
    yield f"Revoking {key.use} key {key.kid} ({state}):"
    if key.use == "refresh":
        yield from _describe_lost_sessions(key, keys)
    elif state == "standby":
        yield "- It has signed nothing. A new standby is made, and nobody notices."
    else:
        yield (
            "- Access tokens that it signed are refused: by this service within "
            "5 minutes, by others when their cached key set is renewed (by an API "
            "Gateway authorizer up to 2 hours later)."
        )
        yield "- No session ends: clients get a new access token by themselves."
        if state == "signing":
            yield (
                "- For up to 5 minutes functions that run go on signing with it, and "
                "others refuse those tokens: until then a call can fail even with a "
                "new one. That ends no session either."
            )
            yield _describe_next_access_key(key, keys)


def revoke_ring_key(key: RingKey, services: wiring.Services) -> KeyList:
    """Take a key out of the ring; return what is left.

    Raises:
        CommandError: Somebody else was faster.
    """
    now = services.clock()
    try:
        ring = KeyRotation(services.store, services.key_maker).revoke(key.kid, now)
    except UnknownKey as exc:
        raise CommandError(f"key {key.kid} is no longer in the ring") from exc
    return KeyList(ring, now)


def _describe_lost_sessions(key: RingKey, keys: KeyList) -> Iterator[str]:
    later = [k.signs_from for k in keys.ring.of("refresh")]
    until = min((at for at in later if at > key.signs_from), default=None)
    end = "" if until is None else f" and before {rfc3339(until)}"
    if key.signs_from > keys.now:
        yield "- It has signed nothing. No session ends."
        return
    yield (
        "- Every session whose refresh token it signed ends within 5 minutes: those "
        f"begun since {rfc3339(key.signs_from)}{end}."
    )
    yield (
        "- THE ANONYMOUS USERS OF THESE SESSIONS ARE LOST FOR GOOD: nobody can ever "
        "log in to them again. Users with a linked identity have to log in."
    )
    if keys.state(key) == "signing":
        yield _describe_next_refresh_key(key, keys)


def _describe_next_refresh_key(key: RingKey, keys: KeyList) -> str:
    rest = keys.ring.revoke(key, keys.now)
    if rest.signing_key("refresh", keys.now) is not None:
        return (
            "- A new key signs from then on. (`anonauth keys rotate --use refresh` "
            "makes one too, and ends nothing.)"
        )
    standby = rest.standby("refresh", keys.now)
    if standby is not None:
        return f"- Nobody can log in until {rfc3339(standby.signs_from)}."
    return (
        "- Nobody can log in for two minutes, until every function can know the new "
        "key. `anonauth keys rotate --use refresh` first, and revoke after ten "
        "minutes, avoids that."
    )


def _describe_next_access_key(key: RingKey, keys: KeyList) -> str:
    later = keys.ring.revoke(key, keys.now).signing_key("access", keys.now)
    if later is None:
        return (
            "- There is no other key. A new one signs at once, and others refuse its "
            "tokens until their key set is renewed."
        )
    taken = f"- Key {later.kid} signs from now on"
    if later.published_at + PUBLISHED_AHEAD <= keys.now:
        return f"{taken}; others know it since {rfc3339(later.published_at)}."
    return (
        f"{taken}, but is public only since {rfc3339(later.published_at)}: others "
        "whose key set is older refuse its tokens until it is renewed."
    )


def _key_times(key: RingKey) -> dict[str, datetime | None]:
    return {
        "published_at": key.published_at,
        "signs_from": key.signs_from,
        "stops_at": key.stops_at,
        "dropped_at": key.dropped_at,
    }
