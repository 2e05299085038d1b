"""One round of the mixed race: a small world, and callers that act all at once.

Many callers do the same to the same few users and identities, since a race needs two. A
round is dealt from dice, or directed: then its plan assigns the acts.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from anonauth.domain.encoding import identity_key
from anonauth.domain.providers import USERPASS
from anonauth.domain.signing_keys import (
    Ring,
    RingKey,
)
from anonauth.domain.users import User
from anonauth.errors import AuthError
from anonauth.keys import KeyMaker, KeyRing
from anonauth.tokens import Tokens
from anonauth.usecases.key_ring import KeyRotation
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP, DAY, NOW
from support.engine.accounts import a_mail_token, an_account, by_password, reset
from support.engine.racing import CALLERS, Service, a_subject, race
from support.service.rings import MemoryRings, TaggedWrapping

CUSTOM = "custom-token"
LONG_AGO = NOW - 90 * DAY  # guests that logged in then expire within a day of NOW

ACTS = (
    "log in",
    "log in by",
    "refresh",
    "refresh tomorrow",
    "read",
    "link",
    "merge",
    "unlink",
    "log out",
    "log out everywhere",
    "delete",
    "reset",
    "rotate",
    "rotate access",
    "rotate refresh",
    "sweep",
)
"""`refresh tomorrow` has the daily write. `sweep` deletes as TTL does, with a clock two
days ahead. With the right clock it would never meet the other acts (design.md §4, TTL).
"""


@dataclass(frozen=True)
class Subject:
    """An identity that clients can prove, with a mail to reset its password."""

    provider: str
    name: str
    id: str
    reset_token: str = ""

    @property
    def key(self) -> str:
        """The key of its record."""
        return identity_key(self.name)

    @property
    def credential(self) -> dict[str, str]:
        """The client's credential; the password is that from before any reset."""
        if self.provider == USERPASS:
            return by_password(self.name)
        return {"token": self.name}

    def __repr__(self) -> str:
        return f"{self.provider}:{self.name[:4]}"


@dataclass(frozen=True)
class Member:
    """A user of a world: the subjects it has, and its number of sessions."""

    holds: tuple[int, ...] = ()
    sessions: int = 1
    expiring: bool = False


@dataclass(frozen=True)
class Plan:
    """The plan of a round.

    `subjects` has a letter for each: `c` for a custom token, `a` for an e-mail address.
    As many callers act at once as there are `acts`; dice choose the user of each.
    """

    acts: tuple[str, ...]
    members: tuple[Member, ...] = (Member(), Member())
    subjects: str = "ca"


@dataclass(frozen=True)
class Act:
    """A caller's act, its clock at that time, and its delay.

    The delay is a number of table reads: otherwise an act of few calls would always be
    first.
    """

    name: str
    opened: OpenedSession
    subject: Subject
    now: datetime = NOW
    late: int = 0

    def __repr__(self) -> str:
        user, session = self.opened.user.id[:4], self.opened.session.id[:4]
        late = f" after {self.late}" if self.late else ""
        when = f"{self.now:%m-%d}{late}"
        return f"<{self.name} on {when}: {user}/{session}, {self.subject}>"


@dataclass(frozen=True)
class World:
    """The state before the race: users as they were read then."""

    users: dict[str, User]
    opened: list[OpenedSession]
    subjects: list[Subject]
    ring: Ring


@dataclass(frozen=True)
class Played:
    """The outcome of a round: for each act its result, or its refusal."""

    world: World
    outcomes: list[tuple[Act, object]]

    @property
    def effects(self) -> list[tuple[Act, object]]:
        """The acts that were not refused, and did something."""
        return [
            (act, outcome)
            for act, outcome in self.outcomes
            if not isinstance(outcome, AuthError) and outcome is not False
        ]

    @property
    def refusals(self) -> list[tuple[Act, AuthError]]:
        """The acts that were refused."""
        return [
            (act, outcome)
            for act, outcome in self.outcomes
            if isinstance(outcome, AuthError)
        ]


class PooledKeys:
    """`KeyMaking` that hands out prepared keys, because an RSA key takes 0.1 s.

    `ring` is the initial ring of a table, with other keys.
    """

    def __init__(self, size: int = 12) -> None:
        maker = KeyMaker(TaggedWrapping())
        self.ring = KeyRotation(MemoryRings(), maker).rotate(LONG_AGO)
        self._access = itertools.cycle(
            [
                maker.make_access_key(published_at=NOW, signs_from=NOW, stops_at=NOW)
                for _ in range(size)
            ]
        )
        self.make_refresh_key = maker.make_refresh_key

    def make_access_key(
        self, *, published_at: datetime, signs_from: datetime, stops_at: datetime
    ) -> RingKey:
        return replace(
            next(self._access),
            published_at=published_at,
            signs_from=signs_from,
            stops_at=stops_at,
        )


class Mix:
    """Plays rounds on one table; the key ring in it signs the callers' tokens."""

    def __init__(self, service: Service, keys: PooledKeys) -> None:
        self._service = service
        self._keys = keys

    def play(self, plan: Plan, dice: random.Random) -> Played:
        """Make a world, and race in it."""
        if self._service.store.load_ring() is None:
            assert self._service.store.save_ring(self._keys.ring)
        # Two functions that start cold: one verifies what the other signs.
        served = [self._cold_start(), self._cold_start()]
        world = self._make_world(served[0], plan)
        acts = [_deal_act(name, world, dice) for name in plan.acts]
        services = itertools.cycle(served)
        outcomes = race(*[partial(self._perform, next(services), act) for act in acts])
        return Played(world, list(zip(acts, outcomes, strict=True)))

    def clear(self) -> None:
        """Delete the items of a round, all of which have been checked."""
        self._service.drop(self._service.items())

    def _cold_start(self) -> Service:
        ring = KeyRing(self._service.store, TaggedWrapping())
        tokens = Tokens(ring, app_ids=frozenset({APP}), access_lifetime=DAY / 48)
        return replace(self._service, tokens=tokens)

    def _make_world(self, service: Service, plan: Plan) -> World:
        subjects = [_make_subject(service, letter) for letter in plan.subjects]
        opened: list[OpenedSession] = []
        for member in plan.members:
            first = service.log_in(LONG_AGO if member.expiring else NOW)
            held = [subjects[number] for number in member.holds]
            for subject in held:
                service.link(first, subject.provider, subject.credential)
            opened.append(first)
            opened += [
                service.log_in_by(held[0].provider, held[0].credential)
                for _ in range(member.sessions - 1)
            ]
        users = {}
        for user_id in {each.user.id for each in opened}:
            user = service.store.get_user(APP, user_id)
            assert user is not None
            users[user_id] = user
        # Sessions as they are now: a link has set the limits of the guest's session.
        opened = [
            o._replace(session=users[o.user.id].sessions[o.session.id]) for o in opened
        ]
        return World(users, opened, subjects, self._keys.ring)

    def _perform(self, service: Service, act: Act) -> object:
        opened, subject, now = act.opened, act.subject, act.now
        by, credential = subject.provider, subject.credential
        rotation = KeyRotation(service.store, self._keys)
        calls: dict[str, Callable[[], object]] = {
            "log in": lambda: service.log_in(now),
            "log in by": lambda: service.log_in_by(by, credential),
            "refresh": lambda: service.refresh(opened, now),
            "refresh tomorrow": lambda: service.refresh(opened, now),
            "read": lambda: service.read(opened, now),
            "link": lambda: service.link(opened, by, credential),
            "merge": lambda: service.log_in_by(by, credential, guest=opened),
            "unlink": lambda: service.unlink(opened, by, subject.id),
            "log out": lambda: service.log_out(opened, now),
            "log out everywhere": lambda: service.log_out_everywhere(opened, now),
            "delete": lambda: service.delete(opened, now),
            "reset": lambda: reset(service, subject.key, subject.reset_token),
            "rotate": lambda: rotation.rotate(now),
            "rotate access": lambda: rotation.rotate_now("access", now),
            "rotate refresh": lambda: rotation.rotate_now("refresh", now),
            "sweep": lambda: service.sweep(opened, now),
        }
        return coming_late(service, act.late, calls[act.name])()


def coming_late(
    service: Service, reads: int, call: Callable[[], object]
) -> Callable[[], object]:
    """Return the call with a delay of this many reads."""

    def made_late() -> object:
        for _ in range(reads):
            service.record(CUSTOM, "nobody")
        return call()

    return made_late


def deal_plan(dice: random.Random) -> Plan:
    """Deal a world of one or two users, and a few kinds of acts to eight callers.

    There are few kinds, so that most acts meet their like. Who owns what is random.
    """
    subjects = "".join(dice.choice("ca") for _ in range(dice.randint(2, 4)))
    free = dice.sample(range(len(subjects)), k=len(subjects))
    possible = [name for name in ACTS if name != "reset" or "a" in subjects]
    kinds = dice.sample(possible, k=dice.randint(2, 5))
    users = dice.choices(
        ("guest", "expiring", "permanent", "permanent"), k=dice.randint(1, 2)
    )
    if "merge" in kinds and dice.randint(0, 1):
        # Few worlds would have both, and few merges would absorb a guest.
        users = [dice.choice(("guest", "expiring")), "permanent"]
    members = []
    for kind in users:
        if kind == "permanent" and free:
            holds = [free.pop() for _ in range(dice.randint(1, len(free)))]
            # A user has one address at most: the others stay free.
            addresses = [number for number in holds if subjects[number] == "a"]
            kept = tuple(n for n in holds if n not in addresses[1:])
            members.append(Member(kept, sessions=dice.randint(1, 2)))
        else:
            members.append(Member(expiring=kind == "expiring"))
    acts = dice.choices(kinds, k=CALLERS)
    return Plan(tuple(acts), tuple(members), subjects)


def _deal_act(name: str, world: World, dice: random.Random) -> Act:
    """Deal for each act its user, its subject and its clock.

    Clocks differ by up to two days, but agree on whether a guest has expired.
    """
    expiring = [each for each in world.opened if each.user.created_at == LONG_AGO]
    guests = [each for each in world.opened if world.users[each.user.id].anonymous]
    likely = {"sweep": expiring, "merge": guests * 3 + world.opened}
    opened = dice.choice(likely.get(name) or world.opened)
    addresses = [s for s in world.subjects if s.provider == USERPASS]
    user = world.users[opened.user.id]
    held = [s for s in world.subjects if user.find_identity(s.provider, s.key)]
    taken = [
        s
        for s in world.subjects
        if any(each.find_identity(s.provider, s.key) for each in world.users.values())
    ]
    subjects = {
        "reset": addresses,
        "unlink": held + world.subjects,
        "merge": taken * 2 + world.subjects,
    }
    subject = dice.choice(subjects.get(name, world.subjects))
    days = 0
    if name == "sweep":
        days = 2
    elif name == "refresh tomorrow" and opened.user.created_at == NOW:
        days = dice.choice((1, 2))
    elif name == "rotate":
        days = dice.choice((0, 1))
    late = dice.choice((0, 0, 0, 1, 2, 3))
    return Act(name, opened, subject, NOW + days * DAY, late)


def _make_subject(service: Service, letter: str) -> Subject:
    if letter == "c":
        name = a_subject()
        return Subject(CUSTOM, name, name)
    token, kept = a_mail_token()
    record = an_account(service, reset=kept)
    return Subject(USERPASS, record.data["email"], record.id, token)
