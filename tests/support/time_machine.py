"""Simulates months in the lives of users, and checks each event against an oracle.

The oracle knows only when each user was last active, and the promises of design.md §4
in its own words: it shares no rule with the code under test. Every difference is
counted in `Figures.broken`, by kind.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import Enum

from anonauth.domain.claims import AccessClaims, RefreshClaims
from anonauth.domain.encoding import hash_token_id
from anonauth.domain.users import Session, User
from anonauth.errors import AuthError, InvalidSession, Unavailable
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP, DAY, NOW, SECOND
from support.hostile.dice import dice_of
from support.memory_store import MemoryStore
from support.service.use_cases import UseCases

SEED = "TIME_MACHINE_SEED"
"""Environment variable that repeats a run."""

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
HALF_HOUR = timedelta(minutes=30)

CUSTOM = "custom-token"

# The promises of design.md §4 and §5. Not imported, on purpose.
_FULL_SILENCE = 90 * DAY  # no guest expires before
_FULL_IDLENESS = 60 * DAY  # no session of a permanent user ends before
_LATEST = DAY + HOUR  # both have ended this much later
_SWEPT_AFTER = DAY  # the TTL's distance from the expiry


@dataclass(frozen=True)
class World:
    """The service, and what only DynamoDB does or sees.

    `sweep` deletes a user as the table's TTL does, if its TTL is over. `ttl_writes` is
    the number of writes so far that set a user's TTL. `each_day` is called at the start
    of each day.
    """

    cases: UseCases
    sweep: Callable[[OpenedSession, datetime], bool]
    ttl_writes: Callable[[], int]
    each_day: Callable[[datetime], object] = lambda _: None


class PlainTokens:
    """`TokenIssuer` whose tokens are their claims: signatures take milliseconds."""

    def access_token(
        self, user: User, session: Session, *, base_url: str, now: datetime
    ) -> str:
        kind = "guest" if user.anonymous else "permanent"
        return f"{user.app} {user.id} {session.id} {kind} {now.timestamp()}"

    def refresh_token(
        self, user: User, session: Session, *, jti: str, now: datetime
    ) -> str:
        return f"{user.app} {user.id} {session.id} {hash_token_id(jti)}"

    def read_access_token(self, token: str, now: datetime) -> AccessClaims:
        app, user_id, session_id, kind, issued_at = token.split(" ")
        age = now.timestamp() - float(issued_at)
        if not 0 <= age < HALF_HOUR.total_seconds():
            raise InvalidSession
        return AccessClaims(
            app,
            user_id,
            session_id,
            anonymous=kind == "guest",
            issued_at=datetime.fromtimestamp(float(issued_at), UTC),
        )

    def read_refresh_token(self, token: str, now: datetime) -> RefreshClaims:
        return RefreshClaims(*token.split(" "))


def in_memory(store: MemoryStore) -> World:
    """Return a world that is fast enough for millions of days."""
    return World(
        UseCases(store, PlainTokens()),
        sweep=lambda guest, now: store.sweep_user(APP, guest.user.id, now),
        ttl_writes=lambda: store.ttl_writes,
    )


@dataclass
class Figures:
    """The counts of a run, and `broken`: how often a promise was not kept."""

    users: int = 0
    active_days: int = 0
    ttl_writes: int = 0
    calls: int = 0
    expired: int = 0
    logged_out: int = 0
    deleted: int = 0
    linked: int = 0
    linked_in_last_second: int = 0
    sessions_idled_out: int = 0
    near_the_end: int = 0
    at_the_very_end: int = 0
    saved_by_grace: int = 0
    dead_but_lying_there: int = 0
    dead_and_swept: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.users} users, {self.calls} calls; {self.expired} expired, "
            f"{self.logged_out} logged out, {self.deleted} deleted, "
            f"{self.linked} linked ({self.linked_in_last_second} in the last second); "
            f"{self.sessions_idled_out} sessions of permanent users idled out; "
            f"visits within a day of the end: {self.near_the_end}, within a second: "
            f"{self.at_the_very_end}, saved by the hour of grace: "
            f"{self.saved_by_grace}; to dead users: {self.dead_but_lying_there} "
            f"before the sweep, {self.dead_and_swept} after; "
            f"{self.ttl_writes} TTL writes in {self.active_days} active user-days; "
            f"{self.broken['lost early']} lost early, "
            f"{self.broken['alive late']} alive late, "
            f"{self.broken.total()} broken promises in all"
        )


class Habit(Enum):
    """How often a user comes back."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    AT_THE_EDGE = "around the end of its life"


class Fate(Enum):
    """The end of an anonymous user that does not fall silent."""

    STAYS = "stays"
    LINKS = "links"
    LOGS_OUT = "logs out"
    DELETES_ITSELF = "deletes itself"


# In percent.
_HABITS = {
    Habit.DAILY: 12,
    Habit.WEEKLY: 20,
    Habit.MONTHLY: 28,
    Habit.AT_THE_EDGE: 40,
}
_FATES = {
    Fate.STAYS: 60,
    Fate.LINKS: 20,
    Fate.LOGS_OUT: 10,
    Fate.DELETES_ITSELF: 10,
}
# The most visits until then.
_PATIENCE = {
    Habit.DAILY: 200,
    Habit.WEEKLY: 40,
    Habit.MONTHLY: 8,
    Habit.AT_THE_EDGE: 2,
}


@dataclass(slots=True, eq=False)
class Life:
    """The oracle's knowledge of a user: what was done, not what is stored.

    `noted_at` is the last login, refresh or link; `seen_at` the last use of any token
    that the user can really have had.
    """

    opened: OpenedSession
    habit: Habit
    fate: Fate
    visits_left: int
    noted_at: datetime
    seen_at: datetime
    access_token: str
    subject: str = ""
    uses_access_token: bool = False
    has_session: bool = True
    gone: bool = False

    @property
    def permanent(self) -> bool:
        return bool(self.subject)

    @property
    def silence(self) -> timedelta:
        return _FULL_IDLENESS if self.permanent else _FULL_SILENCE

    @property
    def end(self) -> datetime:
        """The user's last instant, or the last one of a permanent user's session."""
        midnight = datetime.combine(self.noted_at.date(), time(), UTC) + DAY
        return midnight + self.silence + HOUR

    def lives(self, now: datetime) -> bool:
        return not self.gone and self.has_session and now < self.end


def new_dice() -> tuple[random.Random, str]:
    """Return dice, and the setting that repeats their throws."""
    return dice_of(SEED)


def assert_kept(figures: Figures) -> None:
    """Check that every promise was kept."""
    assert not figures.broken, "\n".join([str(figures.broken), *figures.examples])
    assert figures.ttl_writes <= figures.active_days


def assert_not_vacuous(figures: Figures, users: int) -> None:
    """Check that the run had enough events: at least half of the usual counts."""
    assert figures.users > users * 1.2
    assert figures.active_days > users * 15
    assert figures.expired > users // 6
    assert figures.logged_out > users // 100
    assert figures.deleted > users // 50
    assert figures.linked > users // 20
    assert figures.linked_in_last_second > 0
    assert figures.sessions_idled_out >= users // 150
    assert figures.near_the_end > users // 3
    assert figures.at_the_very_end > users // 6
    assert figures.saved_by_grace >= users // 150
    assert figures.dead_but_lying_there > users // 8
    assert figures.dead_and_swept > users // 8


class TimeMachine:
    """Runs a number of users for a number of days; deleted users are replaced."""

    def __init__(
        self, world: World, dice: random.Random, *, users: int, days: int
    ) -> None:
        self.figures = Figures()
        self._world = world
        self._cases = world.cases
        self._dice = dice
        self._until = NOW + days * DAY
        self._order = itertools.count()
        self._agenda: list[tuple[datetime, int, Life | None]] = []
        self._tried_subject = ""
        self._routes = [
            self._refresh,
            self._read,
            self._log_out,
            self._delete,
            self._link,
            self._unlink,
            self._make_api_key,
        ]
        for _ in range(users):
            self._plan(self._arrival(NOW + self._days(0, 1)), None)

    def run(self) -> Figures:
        """Live all days, and check that the silence afterwards ends every guest."""
        day = NOW - DAY
        while self._agenda[0][0] < self._until:
            now, _, life = heapq.heappop(self._agenda)
            if now.date() > day.date():
                day = now
                self._world.each_day(now)
            if life is None:
                self._arrive(now)
            elif life.uses_access_token:
                self._use_access_token(life, now)
            else:
                self._visit(life, now)
        self._world.each_day(self._until)
        for _, _, life in self._agenda:
            if life is not None:
                self._see_off(life)
        return self.figures

    # Acts of users

    def _arrive(self, now: datetime) -> None:
        opened = self._cases.log_in(now)
        (habit,) = self._dice.choices([*_HABITS], [*_HABITS.values()])
        (fate,) = self._dice.choices([*_FATES], [*_FATES.values()])
        life = Life(
            opened,
            habit,
            fate,
            visits_left=self._dice.randint(1, _PATIENCE[habit]),
            noted_at=now,
            seen_at=now,
            access_token=opened.access_token,
        )
        self.figures.users += 1
        self._settle(life, now, active_days=1)
        self._rest(life, now)

    def _visit(self, life: Life, now: datetime) -> None:
        self._sweep_perhaps(life, now)
        if life.gone:
            self._haunt(life, now)
            return
        if life.permanent:
            self._visit_as_permanent(life, now)
            return
        distance = abs(now - life.end)
        self.figures.near_the_end += distance <= DAY
        self.figures.at_the_very_end += distance <= SECOND
        needs_grace = life.end - HOUR <= now < life.seen_at + life.silence
        self.figures.saved_by_grace += needs_grace
        if now < life.end:
            self._visit_as_guest(life, now)
        else:
            self.figures.expired += 1
            self._leave(life, now)
            self._haunt(life, now)

    def _visit_as_guest(self, life: Life, now: datetime) -> None:
        looks = life.habit is Habit.AT_THE_EDGE and life.visits_left > 1
        if looks and self._dice.random() < 0.3:
            # Reading is no activity, so the end stays where it is.
            if not self._is_let_in(self._read, life, now):
                self._leave(life, now)
                return
            if self._dice.random() < 0.5:
                self._settle(life, now)
                self._plan(life.end, life)
                return
        life.visits_left -= 1
        fate = Fate.STAYS if life.visits_left else life.fate
        in_last_second = life.end - now <= SECOND
        if fate is Fate.LINKS and self._is_let_in(self._link, life, now):
            self.figures.linked += 1
            self.figures.linked_in_last_second += in_last_second
            life.noted_at = life.seen_at = now
            self._settle(life, now)
            self._check_permanent(life, now)
            self._rest(life, now)
        elif fate is Fate.LOGS_OUT and self._is_let_in(self._log_out, life, now):
            self.figures.logged_out += 1
            self._settle(life, now)
            self._leave(life, now)
            self._haunt(life, now)
        elif fate is Fate.DELETES_ITSELF and self._is_let_in(self._delete, life, now):
            self.figures.deleted += 1
            self._settle(life, now)
            self._leave(life, now)
            self._haunt(life, now)
        elif fate is Fate.STAYS and self._is_let_in(self._refresh, life, now):
            self._note(life, now)
            self._rest(life, now)
        else:
            self._leave(life, now)

    def _visit_as_permanent(self, life: Life, now: datetime) -> None:
        if now - life.seen_at > 20 * DAY or self._dice.random() < 0.05:
            self._check_permanent(life, now)
        if not life.lives(now):
            self._try_all(life, now)
            self.figures.sessions_idled_out += life.has_session
        elif self._dice.random() < 0.02:
            self._is_let_in(self._log_out, life, now)
            life.has_session = False
        elif self._dice.random() < 0.01 and self._is_let_in(self._delete, life, now):
            self.figures.deleted += 1
            self._settle(life, now)
            self._leave(life, now)
            self._haunt(life, now)
            return
        elif self._is_let_in(self._refresh, life, now):
            self._note(life, now)
            self._rest(life, now)
            return
        try:
            again = self._cases.log_in_by(CUSTOM, {"token": life.subject}, now)
        except Unavailable:  # the answer for an identity whose user does not exist
            self._break("permanent user vanished", life, now, "login")
            self._leave(life, now)
            return
        if again.user.id != life.opened.user.id:
            self._break("permanent user vanished", life, now, "login")
        life.opened, life.has_session = again, True
        life.access_token = again.access_token
        self._note(life, now)
        self._rest(life, now)

    def _use_access_token(self, life: Life, now: datetime) -> None:
        """Use the last access token while it is valid, perhaps beyond midnight."""
        life.uses_access_token = False
        if self._is_let_in(self._read_with_last_token, life, now):
            life.seen_at = now
            self._settle(life, now)
            self._plan(self._next_visit(life, now), life)
        else:
            self._leave(life, now)

    def _haunt(self, life: Life, now: datetime) -> None:
        """Come back after the end: by every route, perhaps repeatedly, swept or not."""
        before = self._stored(life)
        if before is None:
            self.figures.dead_and_swept += 1
        else:
            self.figures.dead_but_lying_there += 1
        self._try_all(life, now)
        if self._stored(life) != before:
            self._break("dead user touched", life, now)
        self._settle(life, now)
        if before is not None and self._dice.random() < 0.3:
            self._check_deletion(life, now)
        if self._dice.random() < 0.3:
            self._plan(now + self._days(0, 200), life)

    def _leave(self, life: Life, now: datetime) -> None:
        life.gone = True
        self._plan(self._arrival(now + self._days(0, 2)), None)

    def _see_off(self, life: Life) -> None:
        """Check the end of the run, and silence: DynamoDB then has all the time."""
        self._is_let_in(self._read, life, self._until)
        if life.permanent and not life.gone:
            self._check_permanent(life, self._until)
            return
        self._world.sweep(life.opened, max(self._until, life.end) + _LATEST)
        if self._stored(life) is not None:
            self._break("never deleted", life, self._until)

    # The calls, which accept or refuse a user

    def _refresh(self, life: Life, now: datetime) -> None:
        life.access_token = self._cases.refresh(life.opened, now)

    def _read(self, life: Life, now: datetime) -> None:
        self._cases.read(life.opened, now)

    def _read_with_last_token(self, life: Life, now: datetime) -> None:
        self._cases.read_by(life.access_token, now)

    def _log_out(self, life: Life, now: datetime) -> None:
        self._cases.log_out(life.opened, now)

    def _delete(self, life: Life, now: datetime) -> None:
        self._cases.delete(life.opened, now)

    def _link(self, life: Life, now: datetime) -> None:
        self._tried_subject = subject = f"{self._dice.getrandbits(64):016x}"
        linked = self._cases.link(life.opened, CUSTOM, {"token": subject}, now)
        life.access_token = linked.access_token
        life.subject = life.subject or subject

    def _unlink(self, life: Life, now: datetime) -> None:
        self._cases.unlink(life.opened, CUSTOM, life.subject, now)

    def _make_api_key(self, life: Life, now: datetime) -> None:
        self._cases.create_api_key(life.opened, "ci", now)

    # The oracle's judgement of a call

    def _is_let_in(
        self, call: Callable[[Life, datetime], None], life: Life, now: datetime
    ) -> bool:
        expected, silence, permanent = life.lives(now), life.silence, life.permanent
        self.figures.calls += 1
        try:
            call(life, now)
        except InvalidSession:
            let_in = False
        except Unavailable:
            self._break("undecided", life, now, call.__name__)
            return False
        except AuthError:
            let_in = True  # it was recognised, and asked for something impossible
        else:
            let_in = True
        if let_in != expected:
            whole = now - life.seen_at
            if let_in and whole >= silence + _LATEST:
                kind = "alive late"
            elif let_in and now < life.end:
                kind = "alive after it was ended"
            elif not let_in and whole < silence:
                kind = "lost early"
            else:
                kind = "not to the second"
            kind = f"session of a permanent user {kind}" if permanent else kind
            self._break(kind, life, now, call.__name__)
        return let_in

    def _try_all(self, life: Life, now: datetime) -> None:
        """Try every route; all of them must refuse this user."""
        for route in self._dice.sample(self._routes, len(self._routes)):
            self._is_let_in(route, life, now)
        if self._cases.record(CUSTOM, self._tried_subject) is not None:
            self._break("identity bound to the dead", life, now)

    def _note(self, life: Life, now: datetime) -> None:
        new_day = now.date() > life.noted_at.date()
        life.noted_at = life.seen_at = now
        self._settle(life, now, active_days=int(new_day and not life.permanent))

    def _settle(self, life: Life, now: datetime, *, active_days: int = 0) -> None:
        """Count the writes; an anonymous user's new day may cost one."""
        written = self._world.ttl_writes() - self.figures.ttl_writes
        self.figures.ttl_writes += written
        self.figures.active_days += active_days
        if written > active_days:
            self._break("too many TTL writes", life, now)

    def _check_permanent(self, life: Life, now: datetime) -> None:
        swept = self._world.sweep(life.opened, now + 3650 * DAY)
        user = self._stored(life)
        if swept or user is None or user.anonymous or user.expires_at is not None:
            self._break("permanent user has an end", life, now)

    def _check_deletion(self, life: Life, now: datetime) -> None:
        due = life.end + _SWEPT_AFTER
        if self._world.sweep(life.opened, due):
            self._break("deleted too soon", life, now)
        elif not self._world.sweep(life.opened, due + SECOND):
            self._break("deleted too late", life, now)

    def _break(self, kind: str, life: Life, now: datetime, route: str = "") -> None:
        self.figures.broken[kind] += 1
        if len(self.figures.examples) < 10:
            self.figures.examples.append(
                f"{kind}: {route} at {now}, {now - life.end} from the end of "
                f"{life.opened.user.id}, which was noted at {life.noted_at} and seen "
                f"at {life.seen_at}"
            )

    def _stored(self, life: Life) -> User | None:
        return self._cases.store.get_user(APP, life.opened.user.id)

    # The next events

    def _plan(self, at: datetime, life: Life | None) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), life))

    def _sweep_perhaps(self, life: Life, now: datetime) -> None:
        """Let DynamoDB delete what has expired: at once, days late, or not yet."""
        if now - life.seen_at < 20 * DAY and self._dice.random() > 0.05:
            return
        lateness = self._dice.choice([timedelta(), self._days(0, 5), None])
        if lateness is None or not self._world.sweep(life.opened, now - lateness):
            return
        if not life.gone and (life.permanent or now <= life.end + _SWEPT_AFTER):
            self._break("deleted too soon", life, now)

    def _arrival(self, at: datetime) -> datetime:
        return max(at, self._evening(at)) if self._dice.random() < 0.3 else at

    def _rest(self, life: Life, now: datetime) -> None:
        late = now.hour == 23 and life.habit is Habit.AT_THE_EDGE
        if self._dice.random() < (0.8 if late else 0.1):
            life.uses_access_token = True
            self._plan(now + self._dice.random() * HALF_HOUR, life)
        else:
            self._plan(self._next_visit(life, now), life)

    def _next_visit(self, life: Life, now: datetime) -> datetime:
        chance = self._dice.random()
        if life.habit is Habit.AT_THE_EDGE or chance < 0.005:
            at = self._at_the_edge(life, now)
        elif life.habit is Habit.DAILY:
            if chance < 0.3:
                at = now + self._days(0.02, 0.3)
            else:
                at = now + self._days(0.6, 1.4)
        elif life.habit is Habit.WEEKLY:
            at = now + self._days(4, 10)
        else:
            at = now + self._days(20, 45)
        if life.habit is not Habit.AT_THE_EDGE and self._dice.random() < 0.05:
            midnight = datetime.combine(at.date(), time(), UTC)
            at = self._dice.choice([midnight, midnight - MICROSECOND])
        return max(at, now + MICROSECOND)

    def _at_the_edge(self, life: Life, now: datetime) -> datetime:
        end, silent = life.end, life.seen_at + life.silence
        moment = self._dice.choice([SECOND, MICROSECOND])
        if life.seen_at.date() > life.noted_at.date() and self._dice.random() < 0.8:
            return silent - moment
        if life.visits_left == 1 and self._dice.random() < 0.8:
            return end - moment
        return self._dice.choice(
            [
                end - SECOND,
                end - MICROSECOND,
                end,
                end + SECOND,
                silent - SECOND,
                silent,
                silent + SECOND,
                silent + _LATEST - SECOND,
                silent + _LATEST,
                silent + self._days(-2, 3),
                silent + self._days(-2, 3),
                silent + self._days(-0.5, 1.5),
                silent + self._days(-0.5, 1.5),
                end + _SWEPT_AFTER,
                end + _SWEPT_AFTER + SECOND,
                end + self._days(5, 200),
                self._evening(now + self._days(1, 60)),
                self._evening(now + self._days(1, 60)),
            ]
        )

    def _evening(self, day: datetime) -> datetime:
        """Return a moment in the last half-hour of a day.

        The hour of grace is for users that come then and stay beyond midnight.
        """
        half_past_eleven = datetime.combine(day.date(), time(23, 30), UTC)
        return half_past_eleven + self._dice.random() * HALF_HOUR

    def _days(self, least: float, most: float) -> timedelta:
        return self._dice.uniform(least, most) * DAY
