"""Sessions of a user: which are alive, and which end when one more opens."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS, API_KEY
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
