"""How instants, subjects and secrets are written, wherever the machine stands."""

import base64
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from anonauth.domain.encoding import (
    MAX_SHOWN_LENGTH,
    base64url,
    hash_token_id,
    identity_key,
    internal_id,
    is_timestamp,
    rfc3339,
    shown,
)
from anonauth.domain.expiry import SessionLimits, expiry_after, utc_day

DAY = timedelta(days=1)
EVENING = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)


@pytest.fixture
def _far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local day is another one than the UTC day."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_east")
@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=-8))], ids=["UTC", "-08:00"]
)
def test_given_another_time_zone_when_days_are_counted_then_they_are_utc_days(
    zone: timezone,
) -> None:
    now = EVENING.astimezone(zone)
    limits = SessionLimits(idle=60 * DAY, total=1825 * DAY)
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    hour = timedelta(hours=1)

    assert rfc3339(now) == "2026-11-23T23:30:00Z"
    assert utc_day(now).isoformat() == "2026-11-23"
    assert expiry_after(now) == midnight + 90 * DAY + hour
    assert limits.expiry(now, now) == midnight + 60 * DAY + hour


@pytest.mark.parametrize(
    ("instant", "beyond"),
    [
        pytest.param(datetime(1, 1, 1, tzinfo=UTC), -1, id="first"),
        pytest.param(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 1, id="last"),
    ],
)
def test_given_a_number_when_it_is_within_all_years_then_it_is_a_date(
    instant: datetime, beyond: int
) -> None:
    seconds = int(instant.timestamp())

    assert is_timestamp(seconds)
    assert not is_timestamp(seconds + beyond)


def test_given_names_when_an_id_is_made_of_them_then_it_is_24_digits_of_a_hash() -> (
    None
):
    found = internal_id("myapp-abcde", "anon-user")

    assert found == hashlib.sha256(b"myapp-abcde/anon-user").hexdigest()[:24]
    assert len(found) == 24


@pytest.mark.parametrize("length", range(1, 7))
def test_given_octets_when_encoded_then_only_the_padding_is_left_out(
    length: int,
) -> None:
    octets = b"\x05\xd7" * 3  # so that letters X stand at the end, too
    padded = base64.urlsafe_b64encode(octets[:length])

    found = base64url(octets[:length])

    assert found.encode() == padded.replace(b"=", b"")
    assert base64.urlsafe_b64decode(found + "=" * (-len(found) % 4)) == octets[:length]


def test_given_a_token_id_when_hashed_then_it_is_base64url_of_sha256() -> None:
    # SHA-256 of "abc", FIPS 180-2 appendix B.1.
    assert hash_token_id("abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"


def test_given_a_subject_when_hashed_then_it_is_sha256_in_base64url() -> None:
    empty = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"  # FIPS 180-4, empty input

    assert identity_key("") == empty


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Ada \U0001f680", "Ada \U0001f680", id="whole"),
        pytest.param("A\0da", "Ada", id="NUL"),
        pytest.param("\ud83d", "?", id="lone surrogate"),
        pytest.param("x" * 1024, "x" * 1024, id="longest"),
        pytest.param("x" * 1025, "x" * MAX_SHOWN_LENGTH, id="too long"),
    ],
)
def test_given_a_text_when_shown_then_any_store_and_client_can_have_it(
    text: str, expected: str
) -> None:
    assert shown(text) == expected
