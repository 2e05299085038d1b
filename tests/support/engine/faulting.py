"""Runs an operation while calls to AWS fail, and checks the result."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.engine.fault_operations import Operation, Wish
from support.engine.fault_world import Items, World
from support.engine.faults import KINDS, Trouble, cuts, kind_of
from support.engine.racing import assert_items_whole, lost_users
from support.project import sam_template
from support.service.harness import Reply
from support.service.socket_wire import Break

LONGEST = min(
    function["Timeout"]
    for function in sam_template.resources(
        sam_template.translated(), "AWS::Lambda::Function"
    ).values()
)
"""The least time limit of each function, in seconds."""


@dataclass(frozen=True)
class Strike:
    """A fault of the call at that position."""

    place: int
    kind: str


@dataclass
class Tally:
    """The number of cases; `str` is the figure that a run prints."""

    cases: Counter[str] = field(default_factory=Counter)
    sites: set[tuple[str, int]] = field(default_factory=set)
    hidden: int = 0
    refused: int = 0
    longest: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.cases.total()} cases of {len(self.sites)} (operation, call) and "
            f"{len(self.cases)} kinds: {self.hidden} unnoticed by the client, "
            f"{self.refused} answered 503 and well after one retry; the slowest would "
            f"take {self.longest:.1f} s of {LONGEST} s"
        )


class Faults:
    """An operation, prepared once; each case starts with the same table."""

    def __init__(
        self, name: str, operation: Operation, world: World, *, is_warm: bool = False
    ) -> None:
        self.name = name
        self._operation = operation
        self._world = world
        world.clear()
        self._begin = operation.prepare(world)
        self._items, self._now = world.items(), world.service.now
        self._lost = lost_users(list(self._items.values()))
        self._is_warm = False
        self._run_clean()
        self._is_warm = is_warm
        self.calls, self.sites, self._lengths = self._run_clean()

    def _run_clean(self) -> tuple[list[str], list[str], list[int]]:
        wish = self._start()
        reply = wish.ask()
        wire = self._world.wire
        made = list(wire.calls), list(wire.sites), list(wire.lengths)
        self._check(wish, reply, self._world.items())
        return made

    def try_all(self, tally: Tally, *, without_variants: Container[str] = ()) -> None:
        """Let each call fail in each way, once and persistently.

        Args:
            without_variants: The sites whose calls do not fail in variants of a kind.
        """
        for strike in _strikes(self.calls):
            is_variant = kind_of(strike.kind).is_variant
            if is_variant and self.sites[strike.place] in without_variants:
                continue
            with self._named(strike):
                self._fail_once(strike, tally)
            if not is_variant:
                with self._named(strike, "from then on"):
                    self._fail_from_then_on(strike, tally)

    def try_cuts(
        self, tally: Tally, *, once: int, always: int, without: Container[str] = ()
    ) -> None:
        """Cut off each answer at a number of positions, once and persistently.

        Args:
            without: The sites whose answers stay whole.
        """
        for place, length in enumerate(self._lengths):
            if self.sites[place] in without:
                continue
            for kind in cuts(length, once):
                with self._named(strike := Strike(place, kind)):
                    self._fail_once(strike, tally)
            for kind in cuts(length, always):
                with self._named(strike := Strike(place, kind), "from then on"):
                    self._fail_from_then_on(strike, tally)

    def try_pairs(self, tally: Tally) -> None:
        """Let each pair of calls fail, each in each way.

        Variants are left out: what a call leaves behind is the same as after the kind
        that they are a form of.
        """
        for first in _plain(_strikes(self.calls)):
            with self._named(first):
                calls = self._fail_once(first, Tally())
            # A late call arrives with the one after it, which does not fail.
            after = first.place + len(Trouble().once(first.kind))
            for second in _plain(_strikes(calls, after)):
                with self._named(first, second):
                    self._fail_twice(first, second, tally)

    @contextmanager
    def _named(self, *what: object) -> Iterator[None]:
        try:
            yield
        except AssertionError as broken:
            broken.add_note(f"{self.name}: {self.calls}; {what}")
            raise

    def _fail_once(self, strike: Strike, tally: Tally) -> list[str]:
        # The client must not notice.
        wish, trouble = self._start(), Trouble()
        faults = trouble.once(strike.kind)
        reply = self._ask(wish, [*_passing(strike.place), *faults], trouble)
        calls = list(self._world.wire.calls)
        assert trouble.struck == [strike.kind]
        assert reply.status == wish.answer, reply
        self._settle(wish, reply, trouble, tally, strike)
        return calls

    def _fail_from_then_on(self, strike: Strike, tally: Tally) -> None:
        # Until the client asks again.
        wish, trouble = self._start(), Trouble()
        self._world.wire.breaks_always = trouble.always(strike.kind)
        reply = self._ask(wish, _passing(strike.place), trouble)
        assert trouble.struck
        assert reply.status in {wish.answer, 503}, reply
        if kind_of(strike.kind).is_harmless:
            assert reply.status == wish.answer, reply
        self._settle(wish, reply, trouble, tally, strike)

    def _fail_twice(self, first: Strike, second: Strike, tally: Tally) -> None:
        wish, trouble = self._start(), Trouble()
        faults = _passing(first.place) + trouble.once(first.kind)
        faults += _passing(second.place - len(faults))
        faults += trouble.once(second.kind)
        reply = self._ask(wish, faults, trouble)
        assert trouble.struck == [first.kind, second.kind]
        assert reply.status in {wish.answer, 503}, reply
        self._settle(wish, reply, trouble, tally, second)

    def _start(self) -> Wish:
        self._world.restore(self._items, self._now)
        if self._is_warm:
            self._world.go_on()
        else:
            self._world.start(**self._operation.environment)
        return self._begin()

    def _ask(self, wish: Wish, faults: list[Break | None], trouble: Trouble) -> Reply:
        wire = self._world.wire
        wire.breaks = faults
        reply = wish.ask()
        trouble.seconds += self._world.clients.waited
        wire.front.settle()
        trouble.arrive()
        wire.clear_breaks()
        return reply

    def _settle(
        self,
        wish: Wish,
        reply: Reply,
        trouble: Trouble,
        tally: Tally,
        strike: Strike,
    ) -> None:
        tally.cases[strike.kind] += 1
        tally.sites.add((self.name, strike.place))
        tally.longest = max(tally.longest, trouble.seconds)
        assert trouble.seconds < LONGEST
        is_done = reply.status == wish.answer
        items = self._whole_items(is_done=is_done)
        if is_done:
            tally.hidden += 1
        else:
            tally.refused += 1
            assert "retry-after" in reply.headers
            reply = wish.ask()
            items = self._whole_items()
        self._check(wish, reply, items)
        if trouble.arrive_at_last():
            self._check(wish, reply, self._whole_items())

    def _whole_items(self, *, is_done: bool = True) -> Items:
        """Check the invariants. After a refusal, a lost user may still be lost.

        Then nothing that names it has changed.
        """
        items = self._world.items()
        found = list(items.values())
        assert_items_whole(found, lost=() if is_done else self._lost)
        still_lost = lost_users(found)
        for pk, before in self._items.items():
            if "uid" in before and before["uid"]["S"] in still_lost:
                assert items[pk] == before
        return items

    def _check(self, wish: Wish, reply: Reply, items: Items) -> None:
        is_spent = wish.spent is not None and wish.spent == _refusal(reply)
        assert reply.status == wish.answer or is_spent, reply
        wish.holds(None if is_spent else reply, items)


def _passing(number: int) -> list[Break | None]:
    return [None] * number


def _strikes(calls: Sequence[str], start: int = 0) -> list[Strike]:
    return [
        Strike(place, name)
        for place in range(start, len(calls))
        for name, kind in KINDS.items()
        if kind.fits(calls[place])
    ]


def _plain(strikes: Iterable[Strike]) -> Iterable[Strike]:
    return (strike for strike in strikes if not kind_of(strike.kind).is_variant)


def _refusal(reply: Reply) -> tuple[int, Any]:
    body = reply.json
    return reply.status, body.get("error_code") if isinstance(body, dict) else None
