"""The key ring: rotation, a copy that is never stale, and what outages do."""

import hmac
import json
import logging
import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import jwt
import pytest

from anonauth.cached_copy import MAX_AGE
from anonauth.domain.signing_keys import (
    CLOCK_MARGIN,
    FOUND_AHEAD,
    MOST_RING_KEYS,
    PUBLISHED_AFTER,
    PUBLISHED_AHEAD,
    KeyUse,
    Ring,
)
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.keys import KeyMaker, KeyRing
from anonauth.usecases.key_ring import TooManyKeys, UnknownKey
from support.service.rings import (
    MemoryRings,
    NumberedKeys,
    RingInMemory,
    TaggedWrapping,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
USES: tuple[KeyUse, ...] = ("access", "refresh")


@pytest.fixture
def ring() -> RingInMemory:
    made = RingInMemory()
    made.rotate(NOW)
    return made


def kids(ring: Ring) -> list[str]:
    return [key.kid for key in ring.of("access")]


def test_given_no_ring_when_rotated_then_both_uses_have_a_key_and_one_stands_by() -> (
    None
):
    ring = RingInMemory()

    made = ring.rotate(NOW)

    assert [key.use for key in made.keys] == ["refresh", "access", "access"]
    first, standby = made.of("access")
    assert (first.published_at, first.signs_from) == (NOW, NOW)
    assert (standby.published_at, standby.signs_from) == (NOW, NOW + 90 * DAY)
    assert made.standby("access", NOW) is standby
    assert (made.version, ring.ring) == (1, made)


def test_given_a_new_ring_when_opened_then_its_keys_are_of_the_sizes_promised(
    ring: RingInMemory,
) -> None:
    """An HTTP API's authorizer needs RSA-2048. HMAC has 256 bits (design.md §5)."""
    copy = ring.open()

    _, private = copy.access_signing_key(NOW)
    kid, shared = copy.refresh_signing_key(NOW)

    published = copy.jwks(NOW)["keys"][0]
    assert (len(published["n"]), published["e"]) == (342, "AQAB")  # no octet too many
    assert private.key_size == 2048
    assert private.public_key().public_numbers().e == 65537
    assert (len(shared), len(bytes.fromhex(kid))) == (32, 16)


def test_given_a_new_ring_when_rotated_again_then_nothing_is_written(
    ring: RingInMemory,
) -> None:
    before = ring.ring

    assert ring.rotate(NOW + 90 * DAY - SECOND) is before
    assert ring.rotate(NOW + 90 * DAY) is not before


def test_given_three_years_of_daily_rotation_when_keys_come_and_go_then_in_order() -> (
    None
):
    """Each key is public for months before it signs and a day after it could."""
    ring = RingInMemory(keys=NumberedKeys())
    published: dict[str, list[datetime]] = {}
    signed: dict[str, list[datetime]] = {}
    for day in range(3 * 365):
        now = NOW + day * DAY
        for key in ring.rotate(now).of("access"):
            published.setdefault(key.kid, []).append(now)
        signer = ring.ring.signing_key("access", now)
        assert signer is not None
        signed.setdefault(signer.kid, []).append(now)
        assert ring.ring.standby("access", now) is not None
        assert len(ring.ring.keys) <= 4

    assert len(signed) == 13  # 1,095 days of 90
    assert len(ring.ring.of("refresh")) == 1
    for kid in list(signed)[1:-1]:
        assert len(signed[kid]) == 90
        assert signed[kid][0] - published[kid][0] == 90 * DAY
        assert published[kid][-1] >= signed[kid][-1] + (7 + 1) * DAY
    assert max(len(days) for days in published.values()) <= 90 + 90 + 7 + 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        pytest.param("203.0.113.9", "203.0.113.9", id="IPv4"),
        pytest.param("::ffff:203.0.113.9", "203.0.113.9", id="IPv4 in IPv6"),
        pytest.param("2001:db8::1", "2001:db8::/64", id="IPv6, first of its /64"),
        pytest.param("2001:db8:0:0:f::1", "2001:db8::/64", id="IPv6, same /64"),
        pytest.param("2001:db8:0:1::1", "2001:db8:0:1::/64", id="IPv6, next /64"),
        pytest.param("test-invoke-source-ip", "test-invoke-source-ip", id="a name"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_given_an_address_when_hashed_then_it_is_the_keyed_hash_of_its_network(
    ring: RingInMemory, address: str, network: str
) -> None:
    opened = ring.open()
    _, key = opened.refresh_signing_key(NOW)

    hashed = opened.hash_network(address, NOW)

    assert hashed == keyed_hash(key, network)


@pytest.mark.parametrize(
    ("address", "prefix", "network"),
    [
        pytest.param("2001:db8:1:2ff::1", 64, "2001:db8:1:2ff::/64", id="/64"),
        pytest.param("2001:db8:1:2ff::1", 56, "2001:db8:1:200::/56", id="/56"),
        pytest.param("2001:db8:1:2ff::1", 48, "2001:db8:1::/48", id="/48"),
        pytest.param("203.0.113.9", 48, "203.0.113.9", id="IPv4"),
        pytest.param("::ffff:203.0.113.9", 48, "203.0.113.9", id="IPv4 in IPv6"),
        pytest.param("a name", 48, "a name", id="a name"),
    ],
)
def test_given_a_prefix_when_hashed_then_it_is_of_the_ipv6_network_of_so_many_bits(
    ring: RingInMemory, address: str, prefix: int, network: str
) -> None:
    opened = ring.open()
    _, key = opened.refresh_signing_key(NOW)

    hashed = opened.hash_network(address, NOW, prefix=prefix)

    assert hashed == keyed_hash(key, network)


def test_given_a_new_refresh_key_when_a_network_is_hashed_then_it_keeps_its_name(
    ring: RingInMemory,
) -> None:
    """Or a rotation would forget what was counted, and the networks of logins."""
    before = ring.open().hash_network("203.0.113.9", NOW)
    first, *_ = ring.ring.of("refresh")

    ring.rotate_now("refresh", NOW)
    later = NOW + DAY
    copy = ring.open()

    assert copy.refresh_signing_key(later)[0] != first.kid
    assert copy.hash_network("203.0.113.9", later) == before
    ring.revoke(first.kid, later)
    assert ring.open().hash_network("203.0.113.9", later) != before


def test_given_no_refresh_key_when_a_network_is_hashed_then_it_cannot_be(
    ring: RingInMemory,
) -> None:
    opened = ring.open()

    with pytest.raises(KeysUnavailable):
        opened.hash_network("203.0.113.9", NOW - DAY)


def keyed_hash(key: bytes, network: str) -> str:
    digest = hmac.digest(key, b"network:" + network.encode(), "sha256")
    return urlsafe_b64encode(digest[:16]).decode().rstrip("=")


@dataclass
class History:
    """A ring whose schedule fails now and then, and all that was ever stored."""

    ring: RingInMemory
    written: list[tuple[datetime, Ring]] = field(default_factory=list)

    def rotate(self, now: datetime) -> None:
        made = self.ring.rotate(now)
        assert made.standby("access", now) is not None
        if not self.written or self.written[-1][1] is not made:
            self.written.append((now, made))

    def moments(self, until: datetime) -> Iterator[tuple[datetime, Ring]]:
        """Yield each ring at its first and last second and wherever a time passes."""
        ends = [written_at for written_at, _ in self.written[1:]] + [until]
        for (written_at, ring), end in zip(self.written, ends, strict=True):
            times = {written_at, end - SECOND}
            for key in ring.keys:
                for edge in (key.signs_from, key.stops_at, key.dropped_at):
                    times |= {edge - SECOND, edge} if edge else set()
            for now in sorted(times):
                if written_at <= now < end:
                    yield now, ring


def next_rotation(chance: random.Random, ring: Ring, now: datetime) -> datetime:
    """Mostly the next day, sometimes months later or as the last key is to stop."""
    kind = chance.random()
    if kind < 0.97:
        return now + DAY + (chance.random() - 0.5) * timedelta(minutes=1)
    if kind < 0.985:
        return now + chance.choice([3, 8, 60, 97, 188, 300]) * DAY * chance.random()
    last_stop = max(key.stops_at or now for key in ring.of("access"))
    return last_stop + (chance.random() * 26 - 25) * timedelta(hours=1)


@pytest.mark.parametrize("seed", range(40))
def test_given_a_schedule_that_fails_for_months_when_it_is_back_then_the_rules_held(
    seed: int,
) -> None:
    """Checked for every copy of the ring there may be, however old it is."""
    chance = random.Random(seed)  # noqa: S311 - to be the same each time
    history, now = History(RingInMemory(keys=NumberedKeys())), NOW
    history.rotate(now)
    lapsed_until = {NOW}  # when a key had to sign at once, since none could
    while now < NOW + 3 * 365 * DAY:
        before, now = now, next_rotation(chance, history.ring.ring, now)
        if all(key.has_stopped(now) for key in history.ring.ring.of("access")):
            assert now - before > 97 * DAY
            lapsed_until.add(now.replace(microsecond=0))
        history.rotate(now)

    # Never signed with before a day has passed, by any copy.
    copies = [key for _, ring in history.written for key in ring.of("access")]
    for key in copies:
        if key.signs_from != key.published_at or key.signs_from not in lapsed_until:
            assert key.signs_from >= key.published_at + PUBLISHED_AHEAD
    # Published for a day after any copy could last sign with it.
    for kid in {key.kid for key in copies}:
        stops = [key.stops_at or now for key in copies if key.kid == kid]
        assert stops == sorted(stops)  # old copies stop early
        last = next(at for at, ring in reversed(history.written) if kid in kids(ring))
        gone = [at for at, ring in history.written if at > last]
        assert not gone or gone[0] >= stops[-1] + PUBLISHED_AFTER
    # There is always a signing key, unless all keys have stopped.
    for moment, ring in history.moments(now):
        stopped = all(key.has_stopped(moment) for key in ring.of("access"))
        assert stopped or ring.signing_key("access", moment) is not None


def test_given_the_last_key_about_to_stop_when_the_schedule_is_back_then_no_gap(
    ring: RingInMemory,
) -> None:
    """Three months of failures: the last key signs on until the standby may."""
    back = NOW + (90 + 97) * DAY - SECOND
    copy = ring.open()
    first, last = kids(ring.ring)

    ring.rotate(back)

    assert first not in kids(ring.ring)
    standby = ring.ring.standby("access", back)
    assert standby is not None
    assert standby.signs_from == back + PUBLISHED_AHEAD
    assert copy.access_signing_key(standby.signs_from - SECOND)[0] == last
    assert copy.access_signing_key(standby.signs_from)[0] == standby.kid


def test_given_a_ring_of_the_first_release_when_rotated_then_a_standby_is_added(
    ring: RingInMemory,
) -> None:
    """It published the next key no sooner than a day before its use."""
    first = ring.ring.of("access")[0]
    ring.rings.ring = Ring(1, tuple(k for k in ring.ring.keys if k.signs_from == NOW))

    ring.rotate(NOW + DAY)

    assert ring.ring.of("access")[0] == first
    assert [k.signs_from for k in ring.ring.of("access")] == [NOW, NOW + 90 * DAY]


class MeetingRings(MemoryRings):
    """Rings where something else happens just before a write, once."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens: Callable[[], object] | None = happens

    def save_ring(self, new: Ring) -> bool:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().save_ring(new)


def test_given_a_ring_that_moved_on_when_rotating_then_it_is_read_again() -> None:
    """A deployment and the daily schedule meet: one new key, not two."""
    rings = MeetingRings(lambda: rival.rotate(NOW))
    ring = RingInMemory(rings, NumberedKeys())
    rival = RingInMemory(rings, NumberedKeys())

    rotated = ring.rotate(NOW)

    assert rotated == ring.ring
    assert rotated.version == 1
    assert len(rotated.of("access")) == 2


def test_given_kms_is_down_when_rotating_then_the_ring_stays(
    ring: RingInMemory,
) -> None:
    before = ring.rings.ring
    ring.wrapping.down = True

    with pytest.raises(KeysUnavailable):
        ring.rotate(NOW + 90 * DAY)

    assert ring.rings.ring is before


def test_given_a_key_when_published_then_it_is_a_jwk_named_by_its_thumbprint(
    ring: RingInMemory,
) -> None:
    jwk, standby = ring.open().jwks(NOW)["keys"]

    assert jwk["kid"] != standby["kid"]
    assert {name: jwk[name] for name in ("kty", "alg", "use", "e")} == {
        "kty": "RSA",
        "alg": "RS256",
        "use": "sig",
        "e": "AQAB",
    }
    assert set(jwk) == {"kty", "alg", "use", "e", "n", "kid"}
    # RFC 7638 §3.3, in the order of its example.
    canonical = json.dumps(
        {"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}, separators=(",", ":")
    )
    assert urlsafe_b64decode(jwk["kid"] + "=") == sha256(canonical.encode()).digest()
    assert jwt.PyJWK(jwk).key.key_size == 2048


def test_given_a_copy_when_used_for_five_minutes_then_it_is_read_once(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    ring.rings.loads = 0

    for now in (NOW, NOW + SECOND, NOW + MAX_AGE - SECOND):
        copy.jwks(now)
        copy.access_signing_key(now)
        copy.refresh_signing_key(now)
    assert ring.rings.loads == 1

    copy.jwks(NOW + MAX_AGE)
    assert ring.rings.loads == 2


def test_given_an_unknown_key_when_looked_up_then_the_ring_is_read_once_a_minute(
    ring: RingInMemory,
) -> None:
    """A token of a key that is younger than the copy must not end a session."""
    copy = ring.open()
    old = copy.jwks(NOW)["keys"]
    ring.rotate(NOW + 90 * DAY)
    (new,) = set(kids(ring.ring)) - {key["kid"] for key in old}
    ring.rings.loads = 0

    assert copy.access_verifying_key(new, NOW + 59 * SECOND) is None
    assert ring.rings.loads == 0
    assert copy.access_verifying_key(new, NOW + 60 * SECOND) is not None
    assert ring.rings.loads == 1
    for seconds in range(60, 120):
        assert copy.access_verifying_key("forged", NOW + seconds * SECOND) is None
        assert copy.refresh_verifying_key("forged", NOW + seconds * SECOND) is None
    assert ring.rings.loads == 1
    assert copy.refresh_verifying_key("forged", NOW + 120 * SECOND) is None
    assert ring.rings.loads == 2


def test_given_a_clock_that_was_set_back_when_used_then_the_copy_is_renewed(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    copy.jwks(NOW + DAY)
    ring.rings.loads = 0

    copy.jwks(NOW)

    assert ring.rings.loads == 1


def test_given_keys_in_use_when_reloaded_then_kms_is_not_asked_again(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    for minutes in range(0, 60, 5):
        now = NOW + timedelta(minutes=minutes)
        copy.access_signing_key(now)
        kid, _ = copy.refresh_signing_key(now)
        copy.refresh_verifying_key(kid, now)

    assert ring.wrapping.unwrapped == 2


def test_given_verification_only_when_used_then_kms_is_never_asked(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    jwk, _ = copy.jwks(NOW)["keys"]

    assert copy.access_verifying_key(jwk["kid"], NOW) is not None
    assert copy.access_verifying_key("unknown", NOW) is None
    assert copy.refresh_verifying_key("unknown", NOW) is None
    assert ring.wrapping.unwrapped == 0


def test_given_a_rotation_by_hand_when_the_standby_is_a_day_old_then_it_signs_at_once(
    ring: RingInMemory,
) -> None:
    first, standby = ring.ring.of("access")
    now = NOW + DAY

    rotated = ring.rotate_now("access", now)

    kept, signer, new = rotated.of("access")
    assert kept == first  # it stops when it would have stopped
    assert signer == replace(standby, signs_from=now)
    assert rotated.signing_key("access", now) == signer
    assert (new.published_at, new.signs_from) == (now, now + 90 * DAY)
    assert ring.open().access_signing_key(now)[0] == standby.kid


def test_given_a_rotation_by_hand_when_the_standby_is_younger_then_it_waits(
    ring: RingInMemory,
) -> None:
    first, standby = ring.ring.of("access")
    ahead = NOW + PUBLISHED_AHEAD

    rotated = ring.rotate_now("access", NOW + DAY - SECOND)

    assert rotated.of("access") == [first, replace(standby, signs_from=ahead)]
    copy = ring.open()
    assert copy.access_signing_key(ahead - SECOND)[0] == first.kid
    assert copy.access_signing_key(ahead)[0] == standby.kid


def test_given_a_rotation_by_hand_when_repeated_within_a_day_then_no_keys_pile_up(
    ring: RingInMemory,
) -> None:
    now = NOW + 5 * DAY
    once = ring.rotate_now("access", now)

    for minutes in range(1, 24 * 60, 30):
        again = ring.rotate_now("access", now + timedelta(minutes=minutes))

    assert kids(again) == kids(once)
    assert again.version == once.version + 1  # the new standby is due tomorrow


def test_given_a_rotation_of_refresh_keys_when_made_then_all_know_it_before_it_signs(
    ring: RingInMemory,
) -> None:
    """A function that does not know the key would end the session with a 401."""
    now = NOW + 5 * DAY
    (old,) = ring.ring.of("refresh")
    stale, fresh = ring.open(), ring.open()
    stale.refresh_signing_key(now)

    ring.rotate_now("refresh", now)
    _, new = ring.ring.of("refresh")

    assert old in ring.ring.keys
    assert stale.refresh_signing_key(now + MAX_AGE - SECOND)[0] == old.kid
    assert new.signs_from > now + MAX_AGE
    assert fresh.refresh_signing_key(new.signs_from - SECOND)[0] == old.kid
    assert fresh.refresh_signing_key(new.signs_from)[0] == new.kid
    assert stale.refresh_verifying_key(new.kid, new.signs_from) is not None
    assert fresh.refresh_verifying_key(old.kid, new.signs_from + 365 * DAY) is not None
    assert {key["kid"] for key in fresh.jwks(now)["keys"]} == set(kids(ring.ring))


def test_given_a_rotation_of_refresh_keys_when_repeated_then_one_a_day(
    ring: RingInMemory,
) -> None:
    for hours in range(24):
        ring.rotate_now("refresh", NOW + hours * timedelta(hours=1))
    assert len(ring.ring.of("refresh")) == 2

    ring.rotate_now("refresh", NOW + DAY)
    assert len(ring.ring.of("refresh")) == 3


def test_given_a_refresh_key_that_is_yet_to_sign_when_revoked_then_no_other_is_made(
    ring: RingInMemory,
) -> None:
    (signer,) = ring.ring.of("refresh")
    waiting = ring.rotate_now("refresh", NOW).of("refresh")[1]

    ring.revoke(waiting.kid, waiting.signs_from - SECOND)

    assert ring.ring.of("refresh") == [signer]


@pytest.mark.parametrize(
    ("earlier", "made"),
    [
        pytest.param(timedelta(), 0, id="as young: it signs"),
        pytest.param(SECOND, 1, id="older: another is made"),
    ],
)
def test_given_another_refresh_key_when_one_is_revoked_then_its_age_decides(
    ring: RingInMemory, earlier: timedelta, made: int
) -> None:
    (revoked,) = ring.ring.of("refresh")
    other = replace(revoked, kid="other", signs_from=revoked.signs_from - earlier)
    ring.rings.ring = ring.ring.added(other)

    ring.revoke(revoked.kid, NOW)

    first, *rest = ring.ring.of("refresh")
    assert first == other
    assert len(rest) == made


def rotated_daily(use: KeyUse, keys: int) -> tuple[RingInMemory, datetime]:
    """Return a ring of the given number of keys, and its last rotation by hand."""
    ring = RingInMemory(keys=NumberedKeys())
    now = NOW
    ring.rotate(now)
    while len(ring.ring.keys) < keys:
        now += DAY
        ring.rotate_now(use, now)
    return ring, now


@pytest.mark.parametrize("use", USES)
def test_given_a_rotation_by_hand_every_day_when_the_ring_is_full_then_no_more(
    use: KeyUse,
) -> None:
    """The ring would reach the 400 KB of an item, and then it cannot be written."""
    almost, now = rotated_daily(use, MOST_RING_KEYS - 1)
    assert len(almost.rotate_now(use, now + DAY).keys) == MOST_RING_KEYS
    ring, now = rotated_daily(use, MOST_RING_KEYS)
    full = ring.ring

    with pytest.raises(TooManyKeys) as refused:
        ring.rotate_now(use, now + DAY)

    assert refused.value.args == (MOST_RING_KEYS,)
    assert ring.ring is full
    ring.revoke(full.of(use)[0].kid, now + DAY)
    assert len(ring.rotate_now(use, now + DAY).keys) == MOST_RING_KEYS


def test_given_a_full_ring_when_old_keys_are_spent_then_it_rotates_again() -> None:
    ring, _ = rotated_daily("access", MOST_RING_KEYS)
    spent_at = ring.ring.of("access")[0].dropped_at
    assert spent_at is not None

    with pytest.raises(TooManyKeys):
        ring.rotate_now("access", spent_at - SECOND)
    assert len(ring.rotate_now("access", spent_at).keys) == MOST_RING_KEYS


def test_given_a_full_ring_when_rotated_by_schedule_or_revoked_then_it_grows() -> None:
    """The schedule and a leak must never be refused."""
    ring, _ = rotated_daily("refresh", MOST_RING_KEYS)
    standby = ring.ring.of("access")[1]
    now = standby.signs_from

    by_schedule = ring.rotate(now)
    access = ring.revoke(standby.kid, now + DAY)
    refresh = ring.revoke(ring.ring.of("refresh")[-1].kid, now + DAY)

    assert len(by_schedule.keys) == MOST_RING_KEYS + 1
    assert (
        len(access.keys) == len(refresh.keys) == MOST_RING_KEYS + 1
    )  # with successors


def test_given_a_full_ring_when_a_rotation_makes_no_key_then_it_is_not_refused() -> (
    None
):
    ring, now = rotated_daily("access", MOST_RING_KEYS)
    *_, signer, standby = ring.ring.of("access")

    moved = ring.rotate_now("access", now + DAY - SECOND)

    assert moved.of("access")[-1] == replace(standby, signs_from=now + DAY)
    assert moved.signing_key("access", now + DAY - SECOND) == signer


def test_given_a_leaked_key_when_revoked_then_copies_refuse_it_within_five_minutes(
    ring: RingInMemory,
) -> None:
    now = NOW + DAY
    copy = ring.open()
    leaked, _ = copy.access_signing_key(now)
    assert copy.access_verifying_key(leaked, now) is not None
    _, standby = ring.ring.of("access")

    ring.revoke(leaked, now)

    assert ring.ring.find("access", leaked) is None
    last_second, refused_at = now + MAX_AGE - SECOND, now + MAX_AGE
    assert copy.access_verifying_key(leaked, last_second) is not None
    assert copy.access_signing_key(last_second)[0] == leaked
    assert copy.access_verifying_key(leaked, refused_at) is None
    assert copy.access_signing_key(refused_at)[0] == standby.kid
    assert ring.open().access_signing_key(now)[0] == standby.kid
    assert leaked not in copy._private
    assert leaked not in copy._public
    assert leaked not in {key["kid"] for key in copy.jwks(refused_at)["keys"]}
    assert ring.ring.standby("access", now) is not None


@dataclass(frozen=True)
class Revocation:
    """A ring, which of its access keys is revoked, and which key signs afterwards.

    `rotated` lists the hours of earlier rotations by hand. Keys are numbered in the
    order of their publication, also the ones that sign now and a day later.
    """

    rotated: tuple[int, ...]
    hours: int
    revoked: int
    signs_now: int
    signs_tomorrow: int


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Revocation((), 24, 0, 1, 1), id="signer: the standby at once"),
        pytest.param(Revocation((), 23, 0, 1, 1), id="signer, standby young: at once"),
        pytest.param(Revocation((), 24, 1, 0, 0), id="standby: there is a new one"),
        pytest.param(Revocation((48,), 96, 1, 2, 2), id="not the one before it"),
        pytest.param(Revocation((48,), 49, 1, 0, 2), id="but it is, for a day"),
        pytest.param(Revocation((48,), 96, 0, 1, 1), id="one that is replaced"),
    ],
)
def test_given_a_ring_when_a_key_is_revoked_then_the_right_one_takes_over(
    case: Revocation,
) -> None:
    ring = RingInMemory(keys=NumberedKeys())
    ring.rotate(NOW)
    for hours in case.rotated:
        ring.rotate_now("access", NOW + hours * timedelta(hours=1))
    now = NOW + case.hours * timedelta(hours=1)
    numbered = kids(ring.ring)

    revoked = ring.revoke(numbered[case.revoked], now)

    assert numbered[case.revoked] not in kids(revoked)
    for at, number in ((now, case.signs_now), (now + DAY, case.signs_tomorrow)):
        signer = revoked.signing_key("access", at)
        assert signer is not None
        assert signer.kid == numbered[number]
    standby = revoked.standby("access", now)
    assert standby is not None
    assert standby.signs_from >= standby.published_at + PUBLISHED_AHEAD
    last_stop = max(k.stops_at or NOW for k in revoked.of("access") if k.signs(now))
    assert last_stop >= standby.signs_from  # no gap


@pytest.mark.parametrize("ahead", [SECOND, 3 * HOUR, 60 * DAY], ids=str)
def test_given_a_revocation_by_a_clock_that_is_ahead_when_rotated_then_the_ring_heals(
    ring: RingInMemory, ahead: timedelta
) -> None:
    """The standby was to sign later, so that every login had a 503 until then."""
    now = NOW + 5 * DAY
    signer, standby = kids(ring.ring)
    (shared,) = ring.ring.of("refresh")
    ring.revoke(signer, now + ahead)
    ring.revoke(shared.kid, now + ahead)
    (successor,) = ring.ring.of("refresh")

    healed = ring.rotate(now)

    copy = ring.open()
    assert copy.access_signing_key(now)[0] == standby
    found_at = now + FOUND_AHEAD
    assert copy.refresh_signing_key(found_at)[0] == successor.kid
    assert healed.of("refresh") == [replace(successor, signs_from=found_at)]
    assert ring.rotate(now + ahead) is healed


def test_given_a_clock_five_minutes_ahead_when_a_key_is_revoked_then_another_signs(
    ring: RingInMemory,
) -> None:
    """An operator's clock that is a little fast stopped all signing until then."""
    now = NOW + 5 * DAY
    signer, standby = kids(ring.ring)

    ring.revoke(signer, now + CLOCK_MARGIN)

    copy = ring.open()
    with pytest.raises(KeysUnavailable):
        copy.access_signing_key(now - SECOND)
    assert copy.access_signing_key(now)[0] == standby


@pytest.mark.parametrize("age", [0 * SECOND, SECOND, 24 * HOUR], ids=str)
def test_given_only_a_young_standby_when_a_key_is_revoked_by_a_fast_clock_then_it_signs(
    ring: RingInMemory, age: timedelta
) -> None:
    """Even if it was made by the same clock a moment ago."""
    now = NOW + 5 * DAY
    signer, standby = kids(ring.ring)
    ring.revoke(standby, now + CLOCK_MARGIN - age)
    (_, new) = kids(ring.ring)

    ring.revoke(signer, now + CLOCK_MARGIN)

    assert ring.open().access_signing_key(now)[0] == new


def test_given_a_rotation_by_hand_by_a_fast_clock_when_made_then_it_counts_at_once(
    ring: RingInMemory,
) -> None:
    now = NOW + 5 * DAY
    first, standby = kids(ring.ring)

    ring.rotate_now("access", now + CLOCK_MARGIN)

    copy = ring.open()
    assert copy.access_signing_key(now - SECOND)[0] == first
    assert copy.access_signing_key(now)[0] == standby


@pytest.mark.parametrize("later", [0 * SECOND, SECOND, DAY - SECOND, DAY], ids=str)
def test_given_a_key_that_has_just_begun_when_rotated_by_hand_then_the_next_follows(
    ring: RingInMemory, later: timedelta
) -> None:
    """At once if it was public for a day, else after that day. Never out of order."""
    begun = NOW + 5 * DAY
    _, second = kids(ring.rotate_now("access", begun))[:2]

    rotated = ring.rotate_now("access", begun + later)

    third = rotated.of("access")[2]
    takes_over = begun + DAY
    assert third.signs_from == takes_over
    copy = ring.open()
    assert copy.access_signing_key(takes_over - SECOND)[0] == second
    assert copy.access_signing_key(takes_over)[0] == third.kid


def test_given_a_signing_key_when_rotated_then_the_standby_waits(
    ring: RingInMemory,
) -> None:
    """The ring heals only when it has to."""
    first, standby = ring.ring.of("access")
    waiting = Ring(1, (*ring.ring.of("refresh"), first, standby))
    ring.rings.ring = waiting
    assert first.stops_at is not None

    assert ring.rotate(first.signs_from) is waiting
    healed = ring.rotate(first.signs_from - SECOND)
    assert healed.of("access")[0] == replace(
        first, signs_from=NOW - SECOND - CLOCK_MARGIN
    )
    assert healed.of("access")[1] == standby


def test_given_all_access_keys_when_revoked_then_a_new_one_signs_at_once(
    ring: RingInMemory,
) -> None:
    """The one exception to a day of publication, besides a standby of yesterday."""
    now = NOW + 5 * DAY
    first, standby = kids(ring.ring)
    ring.revoke(standby, now)
    ring.revoke(first, now)
    (_, new) = kids(ring.ring)
    last = ring.open().access_signing_key(now)[0]

    assert {first, standby, last}.isdisjoint({new})
    assert last in kids(ring.ring)
    ring.revoke(last, now)
    assert ring.open().access_signing_key(now)[0] in kids(ring.ring)


@pytest.mark.parametrize("rotated", [False, True], ids=["the only one", "the second"])
def test_given_the_refresh_key_in_use_when_revoked_then_a_new_one_is_in_the_same_write(
    ring: RingInMemory, rotated: bool
) -> None:
    now = NOW + 5 * DAY
    (first,) = ring.ring.of("refresh")
    if rotated:
        ring.rotate_now("refresh", NOW)
    copy = ring.open()
    leaked, _ = copy.refresh_signing_key(now)
    version = ring.ring.version

    ring.revoke(leaked, now)

    assert ring.ring.version == version + 1
    *before, new = ring.ring.of("refresh")
    assert copy.refresh_verifying_key(leaked, now + MAX_AGE) is None
    # With an older key the new one waits until all know it, else until they can.
    assert before == ([first] if rotated else [])
    at = now + timedelta(minutes=10 if rotated else 2)
    assert (new.published_at, new.signs_from) == (now, at)
    assert ring.open().refresh_signing_key(at)[0] == new.kid


@pytest.mark.parametrize(
    ("age", "begins"),
    [
        pytest.param(SECOND, FOUND_AHEAD, id="too young: when all can know it"),
        pytest.param(FOUND_AHEAD - SECOND, FOUND_AHEAD, id="almost"),
        pytest.param(FOUND_AHEAD, FOUND_AHEAD, id="old enough"),
        pytest.param(FOUND_AHEAD + SECOND, FOUND_AHEAD + SECOND, id="older: at once"),
    ],
)
def test_given_a_refresh_key_on_its_way_when_the_old_one_is_revoked_then_it_signs(
    ring: RingInMemory, age: timedelta, begins: timedelta
) -> None:
    now = NOW + 5 * DAY
    ring.rotate_now("refresh", now)
    old, new = ring.ring.of("refresh")

    ring.revoke(old.kid, now + age)

    assert ring.ring.of("refresh") == [replace(new, signs_from=now + begins)]


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 61, 119, 299])
def test_given_the_only_refresh_key_when_revoked_then_a_new_guest_is_known_to_all(
    ring: RingInMemory, seconds: int
) -> None:
    """A copy of seconds ago may not look again yet: its 401 lost the guest for good."""
    now = NOW + 5 * DAY
    (old,) = ring.ring.of("refresh")
    copy = ring.open()
    copy.refresh_verifying_key(old.kid, now - seconds * SECOND)
    ring.revoke(old.kid, now)
    (new,) = ring.ring.of("refresh")

    signing = ring.open()
    with pytest.raises(KeysUnavailable):
        signing.refresh_signing_key(new.signs_from - SECOND)
    assert signing.refresh_signing_key(new.signs_from)[0] == new.kid
    assert copy.refresh_verifying_key(new.kid, new.signs_from) is not None


def test_given_a_successor_that_waits_when_rotated_or_revoked_then_one_is_enough(
    ring: RingInMemory,
) -> None:
    now = NOW + 5 * DAY
    (old,) = ring.ring.of("refresh")
    waiting = ring.revoke(old.kid, now)
    (new,) = waiting.of("refresh")

    assert ring.rotate(now + FOUND_AHEAD - SECOND) is waiting
    assert ring.rotate(now + FOUND_AHEAD) is waiting
    (newer,) = ring.revoke(new.kid, now + SECOND).of("refresh")
    assert newer.signs_from == now + SECOND + FOUND_AHEAD


def test_given_a_refresh_key_that_was_replaced_when_revoked_then_that_is_all(
    ring: RingInMemory,
) -> None:
    ring.rotate_now("refresh", NOW)
    old, new = ring.ring.of("refresh")

    ring.revoke(old.kid, NOW + DAY)

    assert ring.ring.of("refresh") == [new]


@pytest.mark.parametrize("made", [True, False], ids=["other ids", "no ring"])
def test_given_an_unknown_id_when_revoked_then_nothing_is_written(made: bool) -> None:
    ring = RingInMemory(keys=NumberedKeys())
    if made:
        ring.rotate(NOW)
    before = ring.rings.ring

    with pytest.raises(UnknownKey, match="nobody"):
        ring.revoke("nobody", NOW)

    assert ring.rings.ring is before


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda r: r.rotate_now("access", NOW + DAY), id="rotate"),
        pytest.param(lambda r: r.rotate_now("refresh", NOW + DAY), id="refresh"),
        pytest.param(lambda r: r.revoke(kids(r.ring)[0], NOW + DAY), id="revoke"),
    ],
)
def test_given_kms_is_down_when_an_operator_acts_then_the_ring_stays(
    ring: RingInMemory, act: Callable[[RingInMemory], Ring]
) -> None:
    before = ring.ring
    ring.wrapping.down = True

    with pytest.raises(KeysUnavailable):
        act(ring)

    assert ring.ring is before


@pytest.mark.parametrize("first", ["revoke", "rotate", "rotate_now"])
def test_given_a_rotation_and_a_revoke_that_meet_then_the_key_does_not_come_back(
    first: str,
) -> None:
    """Whichever reads first and writes last."""
    now = NOW + 90 * DAY  # a standby is due
    rings = MeetingRings(lambda: None)
    ring = RingInMemory(rings, NumberedKeys())
    ring.rotate(NOW)
    leaked = kids(ring.ring)[0]
    acts: dict[str, Callable[[], Ring]] = {
        "revoke": lambda: ring.revoke(leaked, now),
        "rotate": lambda: ring.rotate(now),
        "rotate_now": lambda: ring.rotate_now("access", now),
    }
    other = acts["rotate"] if first == "revoke" else acts["revoke"]
    met: list[Ring] = []
    rings.happens = lambda: met.append(other())

    acts[first]()

    assert met
    assert leaked not in kids(ring.ring)
    assert ring.ring.signing_key("access", now) is not None
    assert ring.ring.standby("access", now) is not None


def test_given_a_rotated_key_when_no_copy_can_reload_then_none_signs_past_its_stop(
    ring: RingInMemory,
) -> None:
    first, _ = ring.ring.of("access")
    copy = ring.open()
    copy.access_signing_key(NOW + DAY)
    ring.rings.ring = Ring(2, ring.ring.keys[:2])  # the copy has no successor either
    alone = ring.open()
    alone.access_signing_key(NOW + DAY)
    ring.rings.down = True
    assert first.stops_at is not None

    assert alone.access_signing_key(first.stops_at - SECOND)[0] == first.kid
    with pytest.raises(KeysUnavailable):
        alone.access_signing_key(first.stops_at)
    for days in range(97, 187):
        assert copy.access_signing_key(NOW + days * DAY)[0] != first.kid


@pytest.mark.parametrize("loss", ["table down", "item gone"])
def test_given_a_failing_reload_when_a_key_is_unknown_then_no_token_is_refused(
    ring: RingInMemory, loss: str
) -> None:
    """The key may be younger than the copy, and a 401 would end the session."""
    copy = ring.open()
    copy.jwks(NOW)
    whole = ring.rings.ring
    if loss == "table down":
        ring.rings.down = True
    else:
        ring.rings.ring = None

    assert copy.refresh_verifying_key("unknown", NOW + 59 * SECOND) is None
    for seconds in (60, 61, 80, 600):
        for find in (copy.access_verifying_key, copy.refresh_verifying_key):
            with pytest.raises(KeysUnavailable):
                find("unknown", NOW + seconds * SECOND)

    ring.rings.down, ring.rings.ring = False, whole
    assert copy.refresh_verifying_key("unknown", NOW + 610 * SECOND) is None


def test_given_a_copy_without_a_signing_key_when_asked_then_it_looks_again(
    ring: RingInMemory,
) -> None:
    """The rotation came seconds before the last key's stop, which it moved."""
    copy = ring.open()
    stop = NOW + (90 + 97) * DAY
    copy.jwks(stop - 60 * SECOND)
    ring.rotate(stop - 30 * SECOND)
    ring.rings.loads = 0

    assert copy.access_signing_key(stop)[0] in kids(ring.ring)
    assert ring.rings.loads == 1


@pytest.mark.parametrize("loss", ["table down", "item gone"])
def test_given_a_failing_reload_when_signing_then_the_old_ring_goes_on(
    ring: RingInMemory, loss: str
) -> None:
    """Tokens that it has signed stay good, so no user is logged out."""
    copy = ring.open()
    kid, _ = copy.access_signing_key(NOW)
    known = copy.access_verifying_key(kid, NOW)
    whole = ring.rings.ring
    if loss == "table down":
        ring.rings.down = True
    else:
        ring.rings.ring = None
    ring.rings.loads = 0
    later = NOW + timedelta(hours=1)

    assert copy.access_signing_key(later)[0] == kid
    assert copy.access_verifying_key(kid, later) is known
    assert copy.access_signing_key(later + 9 * SECOND)[0] == kid
    assert ring.rings.loads == 1  # not each request waits for a time-out

    ring.rings.down, ring.rings.ring = False, whole
    assert copy.access_signing_key(later + 10 * SECOND)[0] == kid
    assert ring.rings.loads == 2


def test_given_an_old_copy_when_its_key_stops_then_it_signs_no_more(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    first, standby = ring.ring.of("access")
    copy.access_signing_key(NOW)
    ring.rings.down = True
    assert standby.stops_at is not None

    assert copy.access_signing_key(NOW + 90 * DAY - SECOND)[0] == first.kid
    assert copy.access_signing_key(NOW + 90 * DAY)[0] == standby.kid
    assert copy.access_signing_key(standby.stops_at - SECOND)[0] == standby.kid
    with pytest.raises(KeysUnavailable):
        copy.access_signing_key(standby.stops_at)


def test_given_no_ring_yet_when_used_then_it_is_unavailable_and_never_empty() -> None:
    ring = RingInMemory()
    copy = ring.open()

    for use in (copy.jwks, copy.access_signing_key, copy.refresh_signing_key):
        with pytest.raises(KeysUnavailable):
            use(NOW)

    ring.rotate(NOW)
    assert copy.jwks(NOW)["keys"]


def test_given_a_lapsed_ring_when_published_then_it_is_unavailable_and_never_empty(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    lapses_at = NOW + (90 + 97 + 1) * DAY

    assert copy.jwks(lapses_at - SECOND)["keys"]
    with pytest.raises(KeysUnavailable):
        copy.jwks(lapses_at)


def test_given_a_cold_start_when_the_table_is_down_then_it_is_unavailable(
    ring: RingInMemory,
) -> None:
    ring.rings.down = True

    with pytest.raises(StoreUnavailable):
        ring.open().jwks(NOW)


def test_given_kms_is_down_when_warm_then_it_goes_on_and_when_cold_it_does_not(
    ring: RingInMemory,
) -> None:
    warm, cold = ring.open(), ring.open()
    warm.access_signing_key(NOW)
    warm.refresh_signing_key(NOW)
    ring.wrapping.down = True

    warm.access_signing_key(NOW + SECOND)
    warm.refresh_signing_key(NOW + SECOND)
    with pytest.raises(KeysUnavailable):
        cold.access_signing_key(NOW)
    with pytest.raises(KeysUnavailable):
        cold.refresh_signing_key(NOW)


def signers(copy: KeyRing, now: datetime) -> list[str]:
    return [copy.access_signing_key(now)[0], copy.refresh_signing_key(now)[0]]


@pytest.mark.parametrize("use", USES)
def test_given_kms_is_down_when_the_next_key_begins_then_the_one_before_it_goes_on(
    ring: RingInMemory, use: KeyUse, caplog: pytest.LogCaptureFixture
) -> None:
    """Warm functions answered 503 from `signs_from` of the next key on."""
    ring.rotate_now(use, NOW + 5 * DAY - HOUR)
    old, new = ring.ring.of(use)[:2]
    begins = new.signs_from
    number = USES.index(use)
    warm, cold = ring.open(), ring.open()
    signers(warm, begins - SECOND)
    ring.wrapping.down = True
    ring.wrapping.unwrapped = 0

    with caplog.at_level(logging.WARNING):
        kept = [signers(warm, begins + n * SECOND)[number] for n in (0, *range(60))]

    assert kept == [old.kid] * 61
    assert ring.wrapping.unwrapped == 1  # not each request waits for a time-out
    (logged,) = caplog.messages
    assert logged == f"key {old.kid} signs on: {new.kid} is not unwrapped: None"
    signers(warm, begins + 60 * SECOND)
    assert ring.wrapping.unwrapped == 2
    with pytest.raises(KeysUnavailable):
        signers(cold, begins)

    ring.wrapping.down = False
    assert signers(warm, begins + 119 * SECOND)[number] == old.kid
    assert signers(warm, begins + 120 * SECOND)[number] == new.kid
    assert signers(cold, begins)[number] == new.kid


@pytest.mark.parametrize("use", USES)
def test_given_kms_is_down_when_a_key_is_revoked_then_it_never_signs_on(
    ring: RingInMemory, use: KeyUse
) -> None:
    now = NOW + 5 * DAY
    warm = ring.open()
    ring.rotate_now(use, NOW)
    revoked = signers(warm, now)[USES.index(use)]
    ring.revoke(revoked, now)
    ring.wrapping.down = True
    sign = warm.access_signing_key if use == "access" else warm.refresh_signing_key

    assert sign(now + MAX_AGE - SECOND)[0] == revoked
    with pytest.raises(KeysUnavailable):
        sign(now + MAX_AGE)


def test_given_kms_is_down_when_the_key_before_stops_then_it_signs_no_more(
    ring: RingInMemory,
) -> None:
    old, new = ring.ring.of("access")
    assert old.stops_at is not None
    warm = ring.open()
    warm.access_signing_key(new.signs_from - SECOND)
    ring.wrapping.down = True

    assert warm.access_signing_key(old.stops_at - SECOND)[0] == old.kid
    with pytest.raises(KeysUnavailable):
        warm.access_signing_key(old.stops_at)


def test_given_kms_is_down_when_several_keys_are_in_use_then_the_youngest_goes_on(
    ring: RingInMemory,
) -> None:
    warm = ring.open()
    for days in (0, 2, 4):
        warm.refresh_signing_key(NOW + days * DAY)
        ring.rotate_now("refresh", NOW + days * DAY + HOUR)
    _, _, in_use, new = ring.ring.of("refresh")
    warm.refresh_signing_key(new.signs_from - SECOND)
    ring.wrapping.down = True

    assert warm.refresh_signing_key(new.signs_from)[0] == in_use.kid


def test_given_kms_was_down_when_the_clock_is_set_back_then_it_is_asked_again(
    ring: RingInMemory,
) -> None:
    _, new = ring.ring.of("access")
    warm = ring.open()
    warm.access_signing_key(new.signs_from - SECOND)
    ring.wrapping.down = True
    warm.access_signing_key(new.signs_from + DAY)
    ring.wrapping.down = False

    assert warm.access_signing_key(new.signs_from)[0] == new.kid


def test_given_a_key_wrapped_for_one_use_when_unwrapped_for_another_then_refused(
    ring: RingInMemory,
) -> None:
    """The context binds each wrapped key to its use, and the policies rely on it."""
    assert ring.rings.ring is not None
    for key in ring.rings.ring.keys:
        other = "refresh" if key.use == "access" else "access"
        ring.wrapping.unwrap(key.wrapped, {"ring": key.use, "kid": key.kid})
        with pytest.raises(KeysUnavailable):
            ring.wrapping.unwrap(key.wrapped, {"ring": other, "kid": key.kid})


# Keys of a backup


def test_given_no_ring_when_a_former_key_is_taken_over_then_new_keys_sign() -> None:
    lost, ring = RingInMemory(), RingInMemory()
    lost.rotate(NOW - DAY)
    (former,) = lost.ring.of("refresh")

    made = ring.take_over([former], NOW + 0.5 * SECOND)

    assert [key.use for key in made.keys] == ["refresh", "refresh", "access", "access"]
    assert made.keys[0] == former
    assert (made, made.version) == (ring.ring, 1)
    assert not {key.kid for key in made.of("access")} & {k.kid for k in lost.ring.keys}
    copy = ring.open()
    assert copy.refresh_signing_key(NOW)[0] != former.kid
    assert copy.refresh_verifying_key(former.kid, NOW) == (
        lost.open().refresh_verifying_key(former.kid, NOW)
    )
    assert ring.take_over([former], NOW) == made


def test_given_a_key_of_another_wrapping_when_rewrapped_then_only_its_wrapping_changes(
    ring: RingInMemory,
) -> None:
    (key,) = ring.ring.of("refresh")
    maker = KeyMaker(OtherWrapping())

    rewrapped = maker.rewrap(key, ring.wrapping)

    assert rewrapped.wrapped != key.wrapped
    assert replace(rewrapped, wrapped=key.wrapped) == key
    back = KeyMaker(ring.wrapping).rewrap(rewrapped, OtherWrapping())
    assert back == key


def test_given_a_lost_kms_key_when_rewrapped_then_it_fails(ring: RingInMemory) -> None:
    (key,) = ring.ring.of("refresh")
    ring.wrapping.down = True

    with pytest.raises(KeysUnavailable):
        KeyMaker(OtherWrapping()).rewrap(key, ring.wrapping)


class OtherWrapping:
    """A `KeyWrapping` by another KMS key than that of the ring."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        return b"other:" + TaggedWrapping().wrap(key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        assert wrapped.startswith(b"other:")
        return TaggedWrapping().unwrap(wrapped.removeprefix(b"other:"), context)
