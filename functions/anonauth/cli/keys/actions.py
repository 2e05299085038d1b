"""The work of `anonauth keys`: show the key ring, rotate it, revoke a key."""

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
"""standby: published, but does not sign yet. signing: signs new tokens. verifying: only
verifies what it has signed. spent: removed by the next rotation."""

_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class KeyList:
    """The key ring at one moment."""

    ring: Ring
    now: datetime

    def state(self, key: RingKey) -> KeyState:
        """Return the state of a key in the ring."""
        if key == self.ring.signing_key(key.use, self.now):
            return "signing"
        if key.signs_from > self.now:
            return "standby"
        return "spent" if key.is_spent(self.now) else "verifying"

    def clock_warning(self) -> str | None:
        """Return a warning that the newest key is from the future, or None."""
        newest = max((key.published_at for key in self.ring.keys), default=self.now)
        if newest <= self.now + _CLOCK_SKEW:
            return None
        return (
            f"the ring's newest key was created at {rfc3339(newest)}, later than this "
            f"machine's clock says, {rfc3339(self.now)}: set the clock, or restart the "
            "local service if its clock was moved"
        )

    def as_json(self) -> dict[str, Any]:
        """Return version and keys. Times are RFC 3339, or null for never."""
        return {
            "version": self.ring.version,
            "keys": [
                {"kid": key.kid, "use": key.use, "state": self.state(key)}
                | {name: at and rfc3339(at) for name, at in _key_times(key).items()}
                for key in self.ring.keys
            ],
        }

    def as_table(self) -> Table:
        """Return the keys as a table for people. Times are UTC."""
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
        """Return when a key stops to sign, or None for never.

        That is when the next key begins. The key's own end is later, in case the next
        key is revoked, and would contradict the state "verifying" beside it.
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
        """Return the key whose id begins with `start`.

        Raises:
            CommandError: No key or more than one has such an id.
        """
        found = [key for key in self.ring.keys if key.kid.startswith(start)]
        if not start or not found:
            raise CommandError(
                f"no key '{start}' in the ring; `anonauth keys list` shows all"
            )
        if len(found) > 1:
            raise CommandError(
                f"'{start}' begins the ids of {len(found)} keys; give more of it"
            )
        return found[0]


def read_keys(services: wiring.Services) -> KeyList:
    """Read the key ring.

    Raises:
        CommandError: The table has no key ring yet.
    """
    ring = services.store.load_ring()
    if ring is None:
        raise CommandError(
            f"table '{services.settings.table_name}' has no key ring yet; "
            "the deployment creates it, or the daily schedule"
        )
    return KeyList(ring, services.clock())


def read_keys_to_change(services: wiring.Services) -> KeyList:
    """Read the key ring, to change it by this machine's clock.

    Raises:
        CommandError: The table has no key ring. Or the clock is behind the newest key:
            times set by it could let a key sign too early, or no key at all.
    """
    keys = read_keys(services)
    trouble = keys.clock_warning()
    if trouble:
        raise CommandError(trouble)
    return keys


@dataclass(frozen=True, slots=True)
class Rotation:
    """The result of a rotation: the ring, and the key that signs next or already."""

    keys: KeyList
    next: RingKey

    def as_json(self) -> dict[str, Any]:
        """Return the key and the ring as JSON."""
        start = rfc3339(self.next.signs_from)
        key = {"kid": self.next.kid, "use": self.next.use, "signs_from": start}
        return key | self.keys.as_json()

    def lines(self) -> Iterator[str]:
        """Yield the result of the rotation in words."""
        key, at = self.next, rfc3339(self.next.signs_from)
        if key.signs(self.keys.now):
            yield (
                f"{key.use} key {key.kid} has signed since {at}; "
                "warm functions use it within 5 minutes"
            )
        else:
            public = "when it has been public for a day"
            known = "when every function knows it"
            why = public if key.use == "access" else known
            yield f"{key.use} key {key.kid} signs from {at}, {why}"
        yield "tokens that earlier keys have signed stay valid"


def rotate_key_use(use: KeyUse, services: wiring.Services) -> Rotation:
    """Let the next key of a use take over, as soon as it may sign.

    Raises:
        CommandError: As for `read_keys_to_change`, or the ring is full.
    """
    before = read_keys_to_change(services)
    try:
        ring = KeyRotation(services.store, services.key_maker).rotate_now(
            use, before.now
        )
    except TooManyKeys as exc:
        raise CommandError(
            f"the ring has {exc.args[0]} keys, and a rotation by hand adds no more: "
            "revoke keys that are no longer needed, or wait until old access keys are "
            "dropped"
        ) from exc
    keys = KeyList(ring, before.now)
    signer = ring.signing_key(use, keys.now)
    was = before.ring.signing_key(use, keys.now)
    waits = ring.standby(use, keys.now) if signer == was else None
    chosen = waits or signer
    assert chosen is not None  # noqa: S101 - a ring that was just written has one  # nosec B101
    return Rotation(keys, chosen)


def describe_revocation(key: RingKey, keys: KeyList) -> Iterator[str]:
    """Yield in words what the revocation of a key will do."""
    state = keys.state(key)
    yield f"Revoking {key.use} key {key.kid} ({state}):"
    if key.use == "refresh":
        yield from _describe_lost_sessions(key, keys)
    elif state == "standby":
        yield "- It has signed nothing. A new standby is created. No client notices."
    else:
        yield (
            "- Access tokens that it signed are refused: by this service within "
            "5 minutes, by other verifiers when they fetch the key set again (by an "
            "API Gateway authorizer up to 2 hours later)."
        )
        yield "- No session ends. Clients fetch a new access token by themselves."
        if state == "signing":
            yield (
                "- For up to 5 minutes warm functions still sign with it, and others "
                "refuse these tokens. Until then a call can fail even with a new "
                "token. That ends no session either."
            )
            yield _describe_next_access_key(key, keys)


def revoke_ring_key(key: RingKey, services: wiring.Services) -> KeyList:
    """Remove a key from the ring, and return the remaining keys.

    Raises:
        CommandError: The key is no longer in the ring.
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
        "- Every session whose refresh token it signed ends within 5 minutes. These "
        f"are the sessions begun since {rfc3339(key.signs_from)}{end}."
    )
    yield (
        "- THE ANONYMOUS USERS OF THESE SESSIONS ARE LOST FOR GOOD: they can never "
        "log in again. Users with a linked identity have to log in."
    )
    if keys.state(key) == "signing":
        yield _describe_next_refresh_key(key, keys)


def _describe_next_refresh_key(key: RingKey, keys: KeyList) -> str:
    rest = keys.ring.revoke(key, keys.now)
    if rest.signing_key("refresh", keys.now) is not None:
        return (
            "- A new key signs from then on. (`anonauth keys rotate --use refresh` "
            "creates one too, and ends no session.)"
        )
    standby = rest.standby("refresh", keys.now)
    if standby is not None:
        return f"- No user can log in until {rfc3339(standby.signs_from)}."
    return (
        "- No user can log in for two minutes, until every function can know the new "
        "key. To avoid that, run `anonauth keys rotate --use refresh` first, and "
        "revoke after ten minutes."
    )


def _describe_next_access_key(key: RingKey, keys: KeyList) -> str:
    later = keys.ring.revoke(key, keys.now).signing_key("access", keys.now)
    if later is None:
        return (
            "- There is no other key. A new one signs at once, and others refuse its "
            "tokens until they fetch the key set again."
        )
    taken = f"- Key {later.kid} signs from now on"
    if later.published_at + PUBLISHED_AHEAD <= keys.now:
        return f"{taken}; others have known it since {rfc3339(later.published_at)}."
    return (
        f"{taken}, but has been public only since {rfc3339(later.published_at)}. "
        "Verifiers with an older key set refuse its tokens until they fetch it again."
    )


def _key_times(key: RingKey) -> dict[str, datetime | None]:
    return {
        "published_at": key.published_at,
        "signs_from": key.signs_from,
        "stops_at": key.stops_at,
        "dropped_at": key.dropped_at,
    }
