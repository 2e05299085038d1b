"""The 90-day rule and the life of a key, at their boundaries."""

from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain import (
    KEY_LIFETIME,
    PUBLISHED_AFTER,
    PUBLISHED_AHEAD,
    Ring,
    RingKey,
    Session,
    User,
    expiry_after,
    hash_token_id,
    next_signing_period,
)

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    "active_at",
    [
        pytest.param(datetime(2026, 3, 10, 0, 0, 0, tzinfo=UTC), id="first second"),
        pytest.param(NOON, id="noon"),
        pytest.param(datetime(2026, 3, 10, 23, 59, 59, tzinfo=UTC), id="last second"),
        pytest.param(
            datetime.fromisoformat("2026-03-11T01:30:00+02:00"), id="another zone"
        ),
    ],
)
def test_given_activity_on_a_day_when_it_counts_then_the_day_decides(
    active_at: datetime,
) -> None:
    expires_at = expiry_after(active_at)

    assert expires_at == datetime(2026, 6, 9, 1, tzinfo=UTC)
    assert timedelta(days=90) < expires_at - active_at <= timedelta(days=91, hours=1)


def test_given_a_session_of_its_own_end_when_that_comes_then_it_is_expired() -> None:
    session = Session("s", "h", "p", NOON, NOON.date(), expires_at=NOON)

    assert not session.is_expired(NOON - SECOND)
    assert session.is_expired(NOON)


@pytest.mark.parametrize(
    ("session_ends", "user_ends", "alive"),
    [
        pytest.param(None, None, True, id="neither ends"),
        pytest.param(SECOND, SECOND, True, id="both end later"),
        pytest.param(0 * SECOND, None, False, id="the session has ended"),
        pytest.param(None, 0 * SECOND, False, id="the user has expired"),
    ],
)
def test_given_a_session_when_sought_then_it_and_its_user_have_to_live(
    session_ends: timedelta | None, user_ends: timedelta | None, alive: bool
) -> None:
    def after(delta: timedelta | None) -> datetime | None:
        return None if delta is None else NOON + delta

    session = Session("s", "h", "p", NOON, NOON.date(), expires_at=after(session_ends))
    user = User(
        app="a",
        id="u",
        anonymous=True,
        version=1,
        created_at=NOON,
        last_active_day=NOON.date(),
        expires_at=after(user_ends),
        sessions={"s": session},
        identities=(),
    )

    assert user.live_session("s", NOON) == (session if alive else None)
    assert user.live_session("another", NOON) is None


def test_given_a_token_id_when_hashed_then_it_is_base64url_of_sha256() -> None:
    # SHA-256 of "abc", FIPS 180-2 appendix B.1.
    assert hash_token_id("abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"


def access_key(kid: str, signs_from: datetime, stops_at: datetime) -> RingKey:
    return RingKey(kid, "access", b"", b"", signs_from, stops_at)


def test_given_no_ring_when_a_key_is_due_then_it_signs_at_once() -> None:
    assert next_signing_period(Ring(0, ()), NOON) == (
        NOON,
        NOON + KEY_LIFETIME + 7 * DAY,
    )


def test_given_a_key_when_its_last_day_begins_then_the_next_one_is_due() -> None:
    _, stops_at = next_signing_period(Ring(0, ()), NOON) or (NOON, NOON)
    ring = Ring(1, (access_key("a", NOON, stops_at),))
    last_day = NOON + KEY_LIFETIME - PUBLISHED_AHEAD

    assert next_signing_period(ring, last_day - SECOND) is None
    assert next_signing_period(ring, last_day) == (
        NOON + KEY_LIFETIME,
        NOON + 2 * KEY_LIFETIME + 7 * DAY,
    )


@pytest.mark.parametrize(
    ("days_late", "signs_in"),
    [
        pytest.param(0, DAY, id="in time"),
        pytest.param(3, DAY, id="late: still a day ahead"),
        pytest.param(7.5, DAY / 2, id="very late: when the old one stops"),
        pytest.param(8, 0 * DAY, id="too late: at once"),
        pytest.param(400, 0 * DAY, id="after a year: at once"),
    ],
)
def test_given_a_late_rotation_when_it_comes_then_signing_never_pauses(
    days_late: float, signs_in: timedelta
) -> None:
    ring = Ring(1, (access_key("a", NOON, NOON + KEY_LIFETIME + 7 * DAY),))
    now = NOON + KEY_LIFETIME - PUBLISHED_AHEAD + days_late * DAY

    period = next_signing_period(ring, now)

    assert period is not None
    assert period[0] == now + signs_in


def test_given_two_keys_when_signing_then_the_youngest_able_one_signs() -> None:
    old = access_key("old", NOON, NOON + 97 * DAY)
    new = access_key("new", NOON + 90 * DAY, NOON + 187 * DAY)
    ring = Ring(1, (new, old))

    at = [NOON + n * DAY for n in (0, 89, 90, 97, 186, 187)]
    signers = [ring.signing_key("access", now) for now in at]

    assert [s and s.kid for s in signers] == ["old", "old", "new", "new", "new", None]


def test_given_a_stopped_key_when_a_day_has_passed_then_it_is_spent() -> None:
    key = access_key("a", NOON, NOON + DAY)

    assert not key.is_spent(NOON + DAY + PUBLISHED_AFTER - SECOND)
    assert key.is_spent(NOON + DAY + PUBLISHED_AFTER)


def test_given_a_key_of_one_use_when_sought_for_another_then_it_is_not_found() -> None:
    key = access_key("a", NOON, NOON + DAY)
    ring = Ring(1, (key,))

    assert ring.find("access", "a") is key
    assert ring.find("refresh", "a") is None
    assert ring.signing_key("refresh", NOON) is None
