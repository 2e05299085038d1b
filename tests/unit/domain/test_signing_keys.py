"""The key ring: which key signs when, and what comes after it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain.signing_keys import (
    CLOCK_MARGIN,
    KEY_LIFETIME,
    PUBLISHED_AFTER,
    PUBLISHED_AHEAD,
    Ring,
    RingKey,
)

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def access_key(kid: str, signs_from: datetime, stops_at: datetime) -> RingKey:
    published_at = signs_from - PUBLISHED_AHEAD
    return RingKey(kid, "access", b"", b"", published_at, signs_from, stops_at)


def a_ring(*starts: float) -> Ring:
    """Return a ring of keys that begin so many days after noon and sign for 97 days."""
    keys = [(NOON + n * DAY, NOON + (n + 97) * DAY) for n in starts]
    return Ring(1, tuple(access_key(f"k{n}", *times) for n, times in enumerate(keys)))


def test_given_no_key_when_one_is_due_then_it_signs_at_once() -> None:
    assert Ring(0, ()).first_signing_period(NOON) == (NOON, NOON + 97 * DAY)


def test_given_a_key_that_can_sign_when_asked_for_a_first_one_then_none_is_due() -> (
    None
):
    ring = a_ring(0)

    assert ring.first_signing_period(NOON + 97 * DAY - SECOND) is None
    assert ring.first_signing_period(NOON + 97 * DAY) is not None
    assert ring.first_signing_period(NOON - DAY) is None  # the key has yet to begin


@pytest.mark.parametrize(
    ("days", "signs_on"),
    [
        pytest.param(0, 90, id="the day it begins to sign"),
        pytest.param(88.9, 90, id="in time"),
        pytest.param(89.5, 90.5, id="late: still a day ahead"),
        pytest.param(96.5, 97.5, id="very late: still a day ahead"),
        pytest.param(400, 401, id="after a year: still a day ahead"),
    ],
)
def test_given_no_standby_when_one_is_due_then_it_signs_90_days_on_or_a_day_ahead(
    days: float, signs_on: float
) -> None:
    begins = NOON + signs_on * DAY

    period = a_ring(0).standby_signing_period(NOON + days * DAY)

    assert period == (begins, begins + 97 * DAY)


def test_given_a_standby_when_one_is_due_then_only_once_it_signs() -> None:
    ring = a_ring(0, 90)

    assert ring.standby_signing_period(NOON + 90 * DAY - SECOND) is None
    assert ring.standby_signing_period(NOON + 90 * DAY) == (
        NOON + 2 * KEY_LIFETIME,
        NOON + 2 * KEY_LIFETIME + 97 * DAY,
    )


def test_given_a_standby_when_the_last_key_stops_before_it_then_that_key_lasts() -> (
    None
):
    ring = a_ring(0, 97)
    late = a_ring(0, 97.5)

    bridged = late.cover_gap(NOON + 96.5 * DAY)

    assert bridged.keys[0].stops_at == NOON + 97.5 * DAY
    assert bridged.keys[1] == late.keys[1]
    assert ring.cover_gap(NOON) is ring  # the first key stops when the second begins
    assert a_ring(0).cover_gap(NOON) == a_ring(0)


def test_given_two_keys_when_signing_then_the_youngest_able_one_signs() -> None:
    old = access_key("old", NOON, NOON + 97 * DAY)
    new = access_key("new", NOON + 90 * DAY, NOON + 187 * DAY)
    ring = Ring(1, (new, old))

    at = [NOON + n * DAY for n in (0, 89, 90, 97, 186, 187)]
    signers = [ring.signing_key("access", now) for now in at]

    assert [s and s.kid for s in signers] == ["old", "old", "new", "new", "new", None]


@pytest.mark.parametrize(
    ("ago", "begins"),
    [
        pytest.param(0 * SECOND, 0 * SECOND, id="this second"),
        pytest.param(SECOND, -SECOND, id="a second ago"),
        pytest.param(CLOCK_MARGIN, -CLOCK_MARGIN, id="as long ago as the margin"),
        pytest.param(CLOCK_MARGIN + SECOND, -CLOCK_MARGIN, id="longer ago"),
    ],
)
def test_given_a_signer_that_has_just_begun_when_the_next_is_due_then_the_next_signs(
    ago: timedelta, begins: timedelta
) -> None:
    """The youngest key signs, so the standby must not begin before the other key."""
    signer = access_key("signer", NOON - ago, NOON + 97 * DAY)
    standby = replace(
        access_key("standby", NOON + 90 * DAY, NOON + 187 * DAY),
        published_at=NOON - 2 * DAY,
    )
    revoked = access_key("revoked", NOON, NOON + 97 * DAY)

    moved = Ring(1, (signer, standby)).advance_standby(NOON)
    left = Ring(1, (signer, revoked, standby)).revoke(revoked, NOON)

    taken_over = replace(standby, signs_from=NOON + begins)
    assert moved.signing_key("access", NOON) == taken_over
    assert left.signing_key("access", NOON) == taken_over


@pytest.mark.parametrize(
    ("published", "begins"),
    [
        pytest.param(DAY, 0 * SECOND, id="a day ago"),
        pytest.param(DAY + SECOND, -SECOND, id="a second more"),
        pytest.param(DAY + CLOCK_MARGIN, -CLOCK_MARGIN, id="the margin more"),
        pytest.param(DAY + CLOCK_MARGIN + SECOND, -CLOCK_MARGIN, id="longer"),
        pytest.param(DAY - SECOND, SECOND, id="less than a day"),
    ],
)
def test_given_a_standby_when_advanced_then_it_was_public_for_a_day(
    published: timedelta, begins: timedelta
) -> None:
    standby = replace(
        access_key("standby", NOON + 9 * DAY, NOON + 187 * DAY),
        published_at=NOON - published,
    )
    ring = Ring(1, (*a_ring(-3).keys, standby))

    moved = ring.advance_standby(NOON)

    assert moved.keys[1] == replace(standby, signs_from=NOON + begins)
    assert moved.signing_key("access", NOON + max(begins, 0 * SECOND)) == moved.keys[1]


def test_given_no_signing_key_when_a_standby_is_advanced_then_it_begins() -> None:
    (standby,) = a_ring(5).keys
    standby = replace(standby, published_at=NOON - 2 * DAY)

    moved = Ring(1, (standby,)).advance_standby(NOON)

    assert moved.keys == (replace(standby, signs_from=NOON - CLOCK_MARGIN),)


def test_given_no_signing_key_when_there_is_a_standby_then_the_standby_signs() -> None:
    ring = a_ring(5)

    moved = ring.ensure_signer("access", NOON)

    assert [k.signs_from for k in moved.keys] == [NOON - CLOCK_MARGIN]
    assert moved.ensure_signer("access", NOON) is moved
    assert ring.ensure_signer("refresh", NOON) is ring
    assert ring.ensure_signer("access", NOON + 5 * DAY) is ring


def test_given_a_stopped_key_when_a_day_has_passed_then_it_is_spent() -> None:
    key = access_key("a", NOON, NOON + DAY)

    assert not key.is_spent(NOON + DAY + PUBLISHED_AFTER - SECOND)
    assert key.is_spent(NOON + DAY + PUBLISHED_AFTER)


def test_given_a_key_of_one_use_when_looked_up_for_another_then_it_is_not_found() -> (
    None
):
    key = access_key("a", NOON, NOON + DAY)
    ring = Ring(1, (key,))

    assert ring.find("access", "a") is key
    assert ring.find("refresh", "a") is None
    assert ring.signing_key("refresh", NOON) is None


def refresh_key(kid: str, signs_from: datetime) -> RingKey:
    return RingKey(kid, "refresh", kid.encode(), None, signs_from, signs_from, None)


def test_given_rings_when_compared_then_a_key_in_both_makes_them_the_same() -> None:
    a, b, c = (access_key(kid, NOON, NOON + DAY) for kid in "abc")
    ring = Ring(1, (a, b))

    assert ring.is_same_ring(ring)
    assert ring.is_same_ring(Ring(9, (b, c)))
    assert not ring.is_same_ring(Ring(1, (c,)))
    assert not ring.is_same_ring(Ring(1, ()))


@pytest.mark.parametrize(
    ("signs_from", "expected"),
    [
        pytest.param(NOON - DAY, NOON - DAY, id="older"),
        pytest.param(NOON - SECOND, NOON - SECOND, id="a second older"),
        pytest.param(NOON, NOON - SECOND, id="as old"),
        pytest.param(NOON + DAY, NOON - SECOND, id="younger"),
    ],
)
def test_given_a_former_refresh_key_when_added_then_it_never_signs(
    signs_from: datetime, expected: datetime
) -> None:
    own, later = refresh_key("own", NOON), refresh_key("later", NOON + 2 * DAY)
    ring = Ring(3, (own, access_key("a", NOON, NOON + DAY), later))
    former = replace(refresh_key("former", signs_from), stops_at=NOON + DAY)

    added = ring.with_verifying_keys([former, own])

    verifying = replace(former, signs_from=expected, stops_at=None)
    assert added == replace(ring, keys=(verifying, *ring.keys))
    assert added.signing_key("refresh", NOON) == own
    assert added.signing_key("refresh", NOON + 2 * DAY) == later
    assert added.with_verifying_keys([former]) == added
