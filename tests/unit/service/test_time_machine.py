"""The time machine in memory: 400 days of ten thousand users, and a test of its oracle.

Each fault below breaks one rule of the store, and the oracle must name that rule.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from anonauth.domain.claims import RefreshClaims
from anonauth.domain.identities import VerifiedIdentity
from anonauth.domain.users import Session, User
from support.contracts.store_contract import DAY, NOW, SECOND
from support.memory_store import MemoryStore
from support.time_machine import (
    TimeMachine,
    assert_kept,
    assert_not_vacuous,
    in_memory,
    new_dice,
)

DAYS = 400


@pytest.mark.parametrize(
    "users",
    [
        pytest.param(300, id="300 users"),
        pytest.param(10_000, id="10,000 users", marks=pytest.mark.long),
    ],
)
def test_given_users_of_all_habits_when_400_days_pass_then_each_dies_on_the_second(
    users: int, record_property: Callable[[str, object], None]
) -> None:
    dice, seed = new_dice()
    record_property("seed", seed)
    store = MemoryStore()

    figures = TimeMachine(in_memory(store), dice, users=users, days=DAYS).run()

    record_property("figures", f"{users} at a time for {DAYS} days: {figures}")
    assert_kept(figures)
    assert_not_vacuous(figures, users)
    # Guests that no sweep has reached count too. Silence deletes guests only.
    last_visit = NOW + DAYS * DAY
    permanent = {key for key, user in store.users.items() if not user.anonymous}
    store.sweep(last_visit + 92 * DAY + timedelta(hours=1, seconds=1))
    assert set(store.users) == permanent


class ExpiryMoved(MemoryStore):
    """Puts the expiry of guests elsewhere, at every write."""

    by = timedelta()

    def create_user(self, user: User) -> bool:
        if user.expires_at is not None:
            user = replace(user, expires_at=user.expires_at + self.by)
        return super().create_user(user)

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        if user.anonymous:
            expires_at += self.by
        return super().record_activity(user, session, now, expires_at=expires_at)


class ADayLate(ExpiryMoved):
    by = DAY


class ADayEarly(ExpiryMoved):
    by = -DAY


class Never(ExpiryMoved):
    by = 9999 * DAY


class WithoutTheHourOfGrace(ExpiryMoved):
    by = -timedelta(hours=1)


class ASecondLate(ExpiryMoved):
    by = SECOND


class ASecondEarly(ExpiryMoved):
    by = -SECOND


class NoExpiryAtRefresh(MemoryStore):
    """Leaves the expiry where the login has put it."""

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        expires_at = user.expires_at or expires_at
        return super().record_activity(user, session, now, expires_at=expires_at)


class LogoutOfTheDead(MemoryStore):
    """Ends a session whether or not its user has expired."""

    def end_session(self, claims: RefreshClaims, now: datetime) -> bool:
        user = self.get_user(claims.app, claims.user_id)
        if user is not None and user.expires_at is not None:
            now = min(now, user.expires_at - SECOND)
        return super().end_session(claims, now)


class AWriteAtEveryRefresh(MemoryStore):
    """Forgets that the day was noted."""

    def get_user(self, app: str, user_id: str) -> User | None:
        user = super().get_user(app, user_id)
        if user is None:
            return None
        sessions = {
            session.id: replace(session, used_day=date.min)
            for session in user.sessions.values()
        }
        self.users[app, user_id] = replace(user, sessions=sessions)
        return self.users[app, user_id]


class TtlTooSoon(MemoryStore):
    """Sets a TTL that DynamoDB takes for due before the user has expired."""

    def sweep_user(self, app: str, user_id: str, now: datetime) -> bool:
        return super().sweep_user(app, user_id, now + 30 * DAY)


class TtlAtTheExpiry(MemoryStore):
    """Leaves no day between the expiry and the TTL."""

    def sweep_user(self, app: str, user_id: str, now: datetime) -> bool:
        return super().sweep_user(app, user_id, now + DAY)


class NoTtl(MemoryStore):
    """Leaves the dead in the table for good."""

    def sweep_user(self, app: str, user_id: str, now: datetime) -> bool:
        return False


class LinkThatKeepsTheTtl(MemoryStore):
    """Makes a user permanent for ninety days."""

    def link_identity(
        self,
        user: User,
        session: Session,
        identity: VerifiedIdentity,
        now: datetime,
        *,
        expires_at: datetime,
    ) -> bool:
        done = super().link_identity(
            user, session, identity, now, expires_at=expires_at
        )
        if done and user.anonymous:
            linked = self.users[user.app, user.id]
            self.users[user.app, user.id] = replace(linked, expires_at=user.expires_at)
        return done


class SessionsTwoDaysLonger(MemoryStore):
    """Gives the sessions of permanent users more idle time than they have."""

    def record_activity(
        self, user: User, session: Session, now: datetime, *, expires_at: datetime
    ) -> bool:
        if not user.anonymous:
            expires_at += 2 * DAY
        return super().record_activity(user, session, now, expires_at=expires_at)

    def link_identity(
        self,
        user: User,
        session: Session,
        identity: VerifiedIdentity,
        now: datetime,
        *,
        expires_at: datetime,
    ) -> bool:
        late = expires_at + 2 * DAY
        return super().link_identity(user, session, identity, now, expires_at=late)


@pytest.mark.long
@pytest.mark.parametrize(
    ("faulty", "kind"),
    [
        pytest.param(ADayEarly, "lost early", id="expiry a day early"),
        pytest.param(WithoutTheHourOfGrace, "lost early", id="no hour of grace"),
        pytest.param(NoExpiryAtRefresh, "lost early", id="expiry not pushed"),
        pytest.param(TtlTooSoon, "lost early", id="TTL too soon"),
        pytest.param(ADayLate, "alive late", id="expiry a day late"),
        pytest.param(Never, "alive late", id="no expiry"),
        pytest.param(LogoutOfTheDead, "alive late", id="logout alone lets in"),
        pytest.param(LogoutOfTheDead, "dead user touched", id="logout deletes"),
        pytest.param(ASecondEarly, "not to the second", id="a second early"),
        pytest.param(ASecondLate, "not to the second", id="a second late"),
        pytest.param(AWriteAtEveryRefresh, "too many TTL writes", id="writes"),
        pytest.param(TtlAtTheExpiry, "deleted too soon", id="no day before the TTL"),
        pytest.param(NoTtl, "deleted too late", id="no TTL"),
        pytest.param(NoTtl, "never deleted", id="no TTL, at the end"),
        pytest.param(
            LinkThatKeepsTheTtl, "permanent user has an end", id="link keeps the TTL"
        ),
        pytest.param(
            SessionsTwoDaysLonger,
            "session of a permanent user alive late",
            id="idle too long",
        ),
    ],
)
def test_given_a_store_with_a_fault_when_400_days_pass_then_it_is_named(
    faulty: type[MemoryStore], kind: str
) -> None:
    dice = random.Random(1)  # noqa: S311 - whose life, not secrets

    figures = TimeMachine(in_memory(faulty()), dice, users=100, days=DAYS).run()

    assert figures.broken[kind], figures
    with pytest.raises(AssertionError, match=kind):
        assert_kept(figures)


def test_given_a_seed_when_run_again_then_the_same_lives_are_lived() -> None:
    first, second = (
        TimeMachine(
            in_memory(MemoryStore()),
            random.Random("same"),  # noqa: S311 - whose life, not secrets
            users=20,
            days=DAYS,
        ).run()
        for _ in range(2)
    )

    assert first == second
