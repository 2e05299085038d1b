"""The domain's rules at their boundaries: expiry, keys, sessions and counters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain.budgets import Budget, Count, Counter, failures_counter
from anonauth.domain.encoding import hash_token_id, identity_key
from anonauth.domain.expiry import SessionLimits, expiry_after
from anonauth.domain.identities import MOST_NETWORKS, Identity, IdentityRecord
from anonauth.domain.providers import ANONYMOUS, API_KEY, USERPASS
from anonauth.domain.signing_keys import (
    CLOCK_MARGIN,
    KEY_LIFETIME,
    PUBLISHED_AFTER,
    PUBLISHED_AHEAD,
    Ring,
    RingKey,
)
from anonauth.domain.users import (
    MOST_API_KEY_SESSIONS,
    MOST_SESSIONS,
    ApiKey,
    Session,
    User,
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
def test_given_a_session_when_looked_up_then_it_and_its_user_must_be_alive(
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
        identities=(Identity("i", "p"),),
    )

    assert user.live_session("s", NOON) == (session if alive else None)
    assert user.live_session("another", NOON) is None


def test_given_a_token_id_when_hashed_then_it_is_base64url_of_sha256() -> None:
    # SHA-256 of "abc", FIPS 180-2 appendix B.1.
    assert hash_token_id("abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"


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


def a_session(
    session_id: str, provider: str = "custom-token", day: int = 0, opener: str = "k"
) -> Session:
    created_at = NOON + day * DAY
    return Session(
        session_id, "h", provider, created_at, created_at.date(), identity_key=opener
    )


def a_user(*sessions: Session) -> User:
    return User(
        app="a",
        id="u",
        anonymous=False,
        version=1,
        created_at=NOON,
        last_active_day=NOON.date(),
        expires_at=None,
        sessions={session.id: session for session in sessions},
        identities=(Identity("g", ANONYMOUS), Identity("i", "custom-token", "k")),
        api_keys={"key": ApiKey("key", "ci", "hash", NOON)},
    )


def ended(user: User, opening: Session) -> list[str]:
    return [session.id for session in user.sessions_to_end(opening, NOON)]


@pytest.mark.parametrize(
    ("provider", "opener", "opened_by"),
    [
        pytest.param(ANONYMOUS, "", "g", id="the anonymous one"),
        pytest.param("custom-token", "k", "i", id="an identity of the user"),
        pytest.param("custom-token", "", None, id="none of that provider"),
        pytest.param("oauth2-google", "k", None, id="of another provider"),
        pytest.param("custom-token", "i", None, id="its id, which is no key"),
        pytest.param("custom-token", "x", None, id="unlinked"),
        pytest.param(API_KEY, "hash", "key", id="an API key"),
        pytest.param(API_KEY, "k", None, id="an identity's key"),
        pytest.param("custom-token", "hash", None, id="the hash of an API key"),
    ],
)
def test_given_a_session_when_its_identity_or_key_is_removed_then_it_is_dead(
    provider: str, opener: str, opened_by: str | None
) -> None:
    session = a_session("s", provider, opener=opener)
    user = a_user(session)

    found = user.opener_of(session)

    assert (found and found.id) == opened_by
    assert (user.live_session("s", NOON) is not None) == (opened_by is not None)


def test_given_one_id_of_two_issuers_when_a_session_is_looked_up_then_keys_decide() -> (
    None
):
    """An id is unique only within its issuer."""
    session = a_session("s", opener="second")
    twin = Identity("i", "custom-token", "second")
    user = a_user(session)
    both = replace(user, identities=(*user.identities, twin))

    assert both.opener_of(session) is twin
    assert both.live_session("s", NOON) is session
    assert user.live_session("s", NOON) is None


@pytest.mark.parametrize(
    ("keys", "alive"),
    [
        pytest.param({"key": ApiKey("key", "ci", "h", NOON)}, True, id="there"),
        pytest.param(
            {"key": ApiKey("key", "ci", "h", NOON, disabled=True)}, False, id="disabled"
        ),
        pytest.param({"key": ApiKey("key", "ci", "h2", NOON)}, False, id="another"),
        pytest.param({}, False, id="deleted"),
    ],
)
def test_given_a_session_of_an_api_key_when_the_key_is_off_then_it_is_dead(
    keys: dict[str, ApiKey], alive: bool
) -> None:
    user = replace(a_user(a_session("s", API_KEY, opener="h")), api_keys=keys)

    assert (user.live_session("s", NOON) is not None) == alive


def test_given_room_when_a_session_opens_then_none_ends() -> None:
    most = [a_session(f"s{n}") for n in range(MOST_SESSIONS - 1)]

    assert ended(a_user(*most), a_session("new")) == []


def test_given_the_most_sessions_when_one_opens_then_the_least_recently_used_ends() -> (
    None
):
    most = [a_session(f"s{n}", day=n) for n in range(MOST_SESSIONS)]
    most[0] = replace(most[0], used_day=(NOON + 99 * DAY).date())

    assert ended(a_user(*most), a_session("new")) == ["s1"]


def test_given_dead_sessions_when_one_opens_then_all_of_them_are_removed() -> None:
    expired = replace(a_session("expired"), expires_at=NOON)
    unlinked = a_session("unlinked", opener="x")
    last_second = replace(a_session("alive"), expires_at=NOON + SECOND)

    user = a_user(expired, unlinked, last_second)

    assert ended(user, a_session("new")) == ["expired", "unlinked"]


def test_given_sessions_of_keys_when_one_more_opens_then_the_oldest_of_them_ends() -> (
    None
):
    people = [a_session(f"p{n}") for n in range(3)]
    keys = [
        a_session(f"k{n}", API_KEY, day=n + 1, opener="hash")
        for n in range(MOST_API_KEY_SESSIONS)
    ]
    new = a_session("new", API_KEY, opener="hash")

    assert ended(a_user(*people, *keys[1:]), new) == []
    assert ended(a_user(*people, *keys), new) == ["k0"]


def test_given_too_many_key_sessions_when_a_person_logs_in_then_key_sessions_end() -> (
    None
):
    """Logins at the same moment miss each other, and a person must not pay for it."""
    person = a_session("p")
    keys = [
        a_session(f"k{n}", API_KEY, day=n, opener="hash")
        for n in range(MOST_SESSIONS - 1)
    ]

    gone = ended(a_user(person, *keys), a_session("new"))

    assert gone == [key.id for key in keys[: len(keys) - MOST_API_KEY_SESSIONS]]


def test_given_a_dead_session_in_a_full_list_when_one_opens_then_only_that_ends() -> (
    None
):
    dead = replace(a_session("dead"), expires_at=NOON)
    live = [a_session(f"s{n}") for n in range(MOST_SESSIONS - 1)]

    assert ended(a_user(*live, dead), a_session("new")) == ["dead"]


def test_given_sessions_of_one_day_when_one_must_end_then_the_oldest_does() -> None:
    later = [
        replace(a_session(f"s{n}"), created_at=NOON + n * SECOND)
        for n in range(MOST_SESSIONS, 0, -1)
    ]

    assert ended(a_user(*later), a_session("new")) == ["s1"]


def test_given_a_full_list_when_a_key_or_a_person_logs_in_then_its_own_kind_ends() -> (
    None
):
    people = [a_session(f"p{n}", day=n) for n in range(MOST_SESSIONS - 1)]
    old_key = a_session("k", API_KEY, day=-1, opener="hash")
    user = a_user(*people, old_key)

    assert ended(user, a_session("new")) == ["p0"]
    assert ended(user, a_session("new", API_KEY, opener="hash")) == ["k"]
    only_people = a_user(*people, a_session("p99", day=99))
    assert ended(only_people, a_session("new", API_KEY, opener="hash")) == ["p0"]


def test_given_a_window_when_it_is_over_then_a_new_counter_begins() -> None:
    budget = Budget("kind", 3, timedelta(minutes=15))

    first = budget.counter("app", "who", now=NOON)
    last_second = budget.counter("app", "who", now=NOON + 900 * SECOND - SECOND)
    next_window = budget.counter("app", "who", now=NOON + 900 * SECOND)

    assert first == last_second
    assert first.limit == 3
    assert first.ends_at == NOON + timedelta(minutes=15)
    assert next_window.name != first.name
    assert budget.counter("app", "other", now=NOON).name != first.name


def test_given_a_subject_when_hashed_then_it_is_sha256_in_base64url() -> None:
    empty = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"  # FIPS 180-4, empty input

    assert identity_key("") == empty


@pytest.mark.parametrize(
    ("limit", "limits"),
    [
        pytest.param(10, (10, 12, 14), id="10"),
        pytest.param(100, (100, 120, 140), id="100"),
        pytest.param(3, (3, 4, 5), id="rounded up"),
        pytest.param(1, (1, 2, 2), id="least"),
    ],
)
def test_given_networks_within_each_other_when_counted_then_limits_rise(
    limit: int, limits: tuple[int, int, int]
) -> None:
    budget = Budget("kind", limit, timedelta(minutes=15))
    networks = ["narrow", "wider", "widest"]

    counter = budget.network_counter("subject", networks=networks, now=NOON)

    assert counter.name.startswith("kind#subject#widest#")
    assert (*counter.parts.values(), counter.limit) == limits
    assert list(counter.parts) == ["0:narr", "1:wide"]


def test_given_one_network_when_counted_then_its_counter_has_no_parts() -> None:
    budget = Budget("kind", 3, timedelta(minutes=15))

    counter = budget.network_counter("subject", networks=["one"], now=NOON)

    assert counter == budget.counter("subject", "one", now=NOON)
    assert counter.narrowest() == counter


@pytest.mark.parametrize(
    ("count", "is_spent", "narrowest_is"),
    [
        pytest.param(Count(), False, False, id="nothing"),
        pytest.param(Count(13, {"0:a": 9, "1:b": 11}), False, False, id="one left"),
        pytest.param(Count(13, {"0:a": 10, "1:b": 11}), True, True, id="narrowest"),
        pytest.param(Count(13, {"0:a": 9, "1:b": 12}), True, False, id="wider"),
        pytest.param(Count(14, {"0:a": 9, "1:b": 11}), True, False, id="widest"),
        pytest.param(Count(13, {"0:other": 10}), False, False, id="another one"),
    ],
)
def test_given_counts_of_networks_when_one_is_spent_then_the_counter_is_spent(
    count: Count, is_spent: bool, narrowest_is: bool
) -> None:
    counter = Counter("name", 14, NOON, {"0:a": 10, "1:b": 12})

    assert counter.is_spent(count) == is_spent
    assert counter.narrowest().is_spent(count) == narrowest_is


def test_given_failures_when_15_minutes_are_over_then_only_the_part_is_new() -> None:
    first = failures_counter("app", "key", NOON, limit=100)
    last = failures_counter("app", "key", NOON + timedelta(minutes=15) - SECOND)
    other = failures_counter("app", "key", NOON + timedelta(minutes=15))

    assert first.name == other.name
    assert first.ends_at == NOON + timedelta(minutes=15)
    assert list(first.parts.values()) == [100]
    assert first.parts.keys() == last.parts.keys() != other.parts.keys()
    assert first.kept_until == NOON + 30 * DAY


def a_record(**networks: int) -> IdentityRecord:
    """Return a record that noted these networks so many days ago."""
    record = IdentityRecord("app", USERPASS, "key", "id", "bound", user_id="user")
    for network, days in networks.items():
        noted = record.networks_with(network, NOON - days * DAY)
        assert noted is not None
        record = replace(record, networks={**record.networks, **noted})
    return record


@pytest.mark.parametrize(
    ("days", "is_due"),
    [
        pytest.param(0, False, id="today"),
        pytest.param(6, False, id="six days ago"),
        pytest.param(7, True, id="seven days ago"),
    ],
)
def test_given_a_network_that_is_known_when_noted_then_once_a_week(
    days: int, is_due: bool
) -> None:
    record = a_record(home=days)

    networks = record.networks_with("home", NOON)

    assert record.knows("home")
    assert not record.knows("elsewhere")
    assert (networks is not None) == is_due
    if networks is not None:
        assert list(networks.values()) == [NOON.date()]


def test_given_the_most_networks_when_one_is_added_then_the_oldest_is_removed() -> None:
    known = {f"n{days}": days for days in range(1, MOST_NETWORKS + 1)}
    record = a_record(**dict(sorted(known.items(), key=lambda item: -item[1])))

    networks = record.networks_with("new", NOON)

    assert networks is not None
    after = replace(record, networks=networks)
    assert len(networks) == MOST_NETWORKS
    assert [name for name in (*known, "new") if not after.knows(name)] == ["n8"]
