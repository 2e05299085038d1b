"""When guests and sessions expire: at their boundaries."""

from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain.expiry import SessionLimits, expiry_after

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


LIMITS = SessionLimits(idle=60 * DAY, total=365 * DAY)


@pytest.mark.parametrize(
    ("used_at", "expires_at"),
    [
        pytest.param(NOON, datetime(2026, 5, 10, 1, tzinfo=UTC), id="noon"),
        pytest.param(
            datetime(2026, 3, 10, 23, 59, 59, tzinfo=UTC),
            datetime(2026, 5, 10, 1, tzinfo=UTC),
            id="last second of the day",
        ),
        pytest.param(
            datetime(2026, 3, 11, tzinfo=UTC),
            datetime(2026, 5, 11, 1, tzinfo=UTC),
            id="first second of the next",
        ),
        pytest.param(
            NOON + 304 * DAY, datetime(2027, 3, 10, 1, tzinfo=UTC), id="below the cap"
        ),
        pytest.param(NOON + 305 * DAY, NOON + 365 * DAY, id="capped"),
    ],
)
def test_given_a_session_when_used_then_it_lives_for_60_full_days_up_to_its_cap(
    used_at: datetime, expires_at: datetime
) -> None:
    found = LIMITS.expiry(NOON, used_at)

    assert found == expires_at
    assert found - used_at > 60 * DAY or found == NOON + LIMITS.total
