"""The key ring: rotation, a copy that is never stale, and what outages do."""

import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import jwt
import pytest

from anonauth.domain import Ring
from anonauth.errors import KeysUnavailable, StoreUnavailable
from anonauth.keys import RING_MAX_AGE
from rings import MemoryRings, RingInMemory

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def ring() -> RingInMemory:
    made = RingInMemory()
    made.rotate(NOW)
    return made


def test_given_no_ring_when_rotated_then_both_uses_have_a_key() -> None:
    ring = RingInMemory()

    made = ring.rotate(NOW)

    assert sorted(key.use for key in made.keys) == ["access", "refresh"]
    assert (made.version, ring.rings.ring) == (1, made)


def test_given_a_new_ring_when_rotated_again_then_nothing_is_written(
    ring: RingInMemory,
) -> None:
    before = ring.rings.ring

    assert ring.rotate(NOW + 88 * DAY) is before


def test_given_three_years_of_daily_rotation_when_keys_come_and_go_then_in_order(
    ring: RingInMemory,
) -> None:
    """Each key is public a day before it signs and a day after it stops."""
    published: dict[str, list[datetime]] = {}
    signed: dict[str, list[datetime]] = {}
    refresh_keys = set()
    for day in range(3 * 365):
        now = NOW + day * DAY
        ring.rotate(now)
        copy = ring.open()
        for key in copy.jwks(now)["keys"]:
            published.setdefault(key["kid"], []).append(now)
        signed.setdefault(copy.access_signing_key(now)[0], []).append(now)
        refresh_keys.add(copy.refresh_signing_key(now)[0])

    assert len(signed) == 13  # 1,095 days of 90
    assert len(refresh_keys) == 1
    for kid in list(signed)[1:-1]:
        assert len(signed[kid]) == 90
        assert published[kid][0] == signed[kid][0] - DAY
        assert published[kid][-1] >= signed[kid][-1] + DAY
    assert max(len(days) for days in published.values()) <= 90 + 1 + 7 + 1
    assert len(ring.rings.ring.keys if ring.rings.ring else ()) <= 3


def test_given_a_ring_that_moved_on_when_rotating_then_it_is_read_again(
    ring: RingInMemory,
) -> None:
    """A deployment and the daily schedule meet: one new key, not two."""
    due = NOW + 89 * DAY
    rival = RingInMemory()
    rival.rings, rival.wrapping = ring.rings, ring.wrapping

    class SlowerRings(MemoryRings):
        def save_ring(self, new: Ring) -> bool:
            if ring.rings.ring == before:
                rival.rotate(due)
            return ring.rings.save_ring(new)

        def load_ring(self, *, consistent: bool = False) -> Ring | None:
            return ring.rings.load_ring(consistent=consistent)

    before = ring.rings.ring
    slower = RingInMemory()
    slower.rings, slower.wrapping = SlowerRings(), ring.wrapping

    rotated = slower.rotate(due)

    assert rotated == ring.rings.ring
    assert [key.use for key in rotated.keys].count("access") == 2


def test_given_kms_is_down_when_rotating_then_the_ring_stays(
    ring: RingInMemory,
) -> None:
    before = ring.rings.ring
    ring.wrapping.down = True

    with pytest.raises(KeysUnavailable):
        ring.rotate(NOW + 89 * DAY)

    assert ring.rings.ring is before


def test_given_a_key_when_published_then_it_is_a_jwk_named_by_its_thumbprint(
    ring: RingInMemory,
) -> None:
    (jwk,) = ring.open().jwks(NOW)["keys"]

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

    for now in (NOW, NOW + SECOND, NOW + RING_MAX_AGE - SECOND):
        copy.jwks(now)
        copy.access_signing_key(now)
        copy.refresh_signing_key(now)
    assert ring.rings.loads == 1

    copy.jwks(NOW + RING_MAX_AGE)
    assert ring.rings.loads == 2


def test_given_an_unknown_key_when_sought_then_the_ring_is_read_once_a_minute(
    ring: RingInMemory,
) -> None:
    """A token of a key that is younger than the copy must not end a session."""
    copy = ring.open()
    (old,) = copy.jwks(NOW)["keys"]
    ring.rings.loads = 0
    ring.rotate(NOW + 89 * DAY)
    assert ring.rings.ring is not None
    (new,) = (
        k.kid for k in ring.rings.ring.keys if k.use == "access" and k.kid != old["kid"]
    )
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
    (jwk,) = copy.jwks(NOW)["keys"]

    assert copy.access_verifying_key(jwk["kid"], NOW) is not None
    assert copy.access_verifying_key("unknown", NOW) is None
    assert copy.refresh_verifying_key("unknown", NOW) is None
    assert ring.wrapping.unwrapped == 0


def test_given_a_revoked_key_when_reloaded_then_it_is_forgotten(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    kid, _ = copy.access_signing_key(NOW)
    assert copy.access_verifying_key(kid, NOW) is not None
    before = ring.rings.ring
    assert before is not None
    ring.rings.ring = Ring(2, tuple(key for key in before.keys if key.kid != kid))

    assert copy.access_verifying_key(kid, NOW + RING_MAX_AGE - SECOND) is not None
    assert copy.access_verifying_key(kid, NOW + RING_MAX_AGE) is None
    assert kid not in copy._private
    assert kid not in copy._public


@pytest.mark.parametrize("loss", ["table down", "item gone"])
def test_given_a_failing_reload_when_signing_then_the_old_ring_goes_on(
    ring: RingInMemory, loss: str
) -> None:
    copy = ring.open()
    kid, _ = copy.access_signing_key(NOW)
    whole = ring.rings.ring
    if loss == "table down":
        ring.rings.down = True
    else:
        ring.rings.ring = None
    ring.rings.loads = 0
    later = NOW + timedelta(hours=1)

    assert copy.access_signing_key(later)[0] == kid
    assert copy.access_signing_key(later + 9 * SECOND)[0] == kid
    assert ring.rings.loads == 1  # not each request waits for a time-out

    ring.rings.down, ring.rings.ring = False, whole
    assert copy.access_signing_key(later + 10 * SECOND)[0] == kid
    assert ring.rings.loads == 2


def test_given_an_old_copy_when_its_key_stops_then_it_signs_no_more(
    ring: RingInMemory,
) -> None:
    copy = ring.open()
    copy.access_signing_key(NOW)
    ring.rings.down = True
    stops_at = NOW + 97 * DAY

    copy.access_signing_key(stops_at - SECOND)
    with pytest.raises(KeysUnavailable):
        copy.access_signing_key(stops_at)


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

    assert copy.jwks(NOW + 98 * DAY - SECOND)["keys"]
    with pytest.raises(KeysUnavailable):
        copy.jwks(NOW + 98 * DAY)


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
