"""Three rotations under load, seen by verifiers that hold a key set of two hours ago.

Tokens and keys are real. The functions that sign have copies of the ring up to five
minutes old. The verifiers use PyJWT and the published key set alone, and the function
that published it had a copy as old. Only time is simulated.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from anonauth.cached_copy import MAX_AGE
from anonauth.domain.claims import issuer_of
from anonauth.domain.expiry import expiry_after
from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS
from anonauth.domain.signing_keys import (
    Ring,
)
from anonauth.domain.users import Session, User
from anonauth.keys import KeyRing
from anonauth.ports import RingStore
from anonauth.tokens import Tokens
from support.service.rings import RingInMemory

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
APP = "myapp-abcde"
BASE_URL = "https://auth.example.com"
TOKEN_LIFETIME = timedelta(minutes=30)
KEY_SET_AGE = 2 * HOUR  # as API Gateway's JWT authorizer keeps it
FUNCTIONS = 8
VERIFIERS = 20
EACH = 8  # verifications of a token
END = 152 * DAY

SESSION = Session("5" * 24, "hash", ANONYMOUS, NOW, NOW.date())
USER = User(
    app=APP,
    id="a" * 24,
    anonymous=True,
    version=1,
    created_at=NOW,
    last_active_day=NOW.date(),
    expires_at=expiry_after(NOW),
    sessions={SESSION.id: SESSION},
    identities=(Identity("i" * 24 + "-" + "x" * 24, ANONYMOUS),),
)


class Verifier:
    """Another API: it renews its key set every two hours, and verifies with PyJWT.

    It is stricter than most, which ask for the key set anew when a key is unknown.
    """

    def __init__(self) -> None:
        self.source: KeyRing
        self._keys: dict[str, jwt.PyJWK] = {}

    def renew(self, now: datetime) -> None:
        published = json.loads(json.dumps(self.source.jwks(now)))
        self._keys = {key["kid"]: jwt.PyJWK(key) for key in published["keys"]}

    def accepts(self, token: str, now: datetime) -> bool:
        key = self._keys.get(jwt.get_unverified_header(token)["kid"])
        if key is None:
            return False
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=APP,
            issuer=issuer_of(BASE_URL, APP),
            options={"verify_exp": False, "verify_iat": False},  # not by its own clock
        )
        at = now.timestamp()
        return bool(claims["iat"] <= at < claims["exp"])


class Load:
    """Logins all the time, most of them around the times at which the signer changes.

    `results` counts the verifications by their outcome, `signed` the tokens by key.
    """

    def __init__(
        self, tokens: int, see: Callable[[RingStore], RingStore] = lambda ring: ring
    ) -> None:
        self.now = NOW
        self.results: Counter[bool] = Counter()
        self.signed: Counter[str] = Counter()
        self._ring = RingInMemory()
        self._see = see
        self._chance = random.Random(tokens)  # noqa: S311 - to be the same each time
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._fetched: set[tuple[int, int]] = set()
        self._functions: list[Tokens] = []
        self._verifiers = [Verifier() for _ in range(VERIFIERS)]
        self._phases = [self._chance.random() * KEY_SET_AGE for _ in self._verifiers]
        self._tokens = tokens

    def run(self) -> None:
        self._operate()
        self._ring.rotate(NOW)
        self._functions = [
            Tokens(
                self._open(), app_ids=frozenset({APP}), access_lifetime=TOKEN_LIFETIME
            )
            for _ in range(FUNCTIONS)
        ]
        for moment in self._moments():
            self._log_in(moment)
        self._events.sort()
        for moment, _, happens in self._events:
            self.now = moment
            happens()

    def _open(self) -> KeyRing:
        return KeyRing(self._see(self._ring.rings), self._ring.wrapping)

    def _at(self, moment: datetime, happens: Callable[[], None]) -> None:
        # The number makes the order of one moment that of the calls.
        self._events.append((moment, len(self._events), happens))

    def _operate(self) -> None:
        for days in range(1, END.days):
            self._at(NOW + days * DAY, self._rotate)
        for moment in ROTATIONS_BY_HAND:
            self._at(moment, self._rotate_now)

    def _rotate(self) -> None:
        self._ring.rotate(self.now)

    def _rotate_now(self) -> None:
        self._ring.rotate_now("access", self.now)

    def _moments(self) -> Iterator[datetime]:
        for number in range(self._tokens):
            if number % 25:
                middle = HANDOVERS[number % len(HANDOVERS)]
                yield middle + (self._chance.random() * 2 - 1) * 3 * HOUR
            else:
                yield NOW + KEY_SET_AGE + self._chance.random() * (END - DAY)

    def _log_in(self, moment: datetime) -> None:
        function = self._chance.randrange(FUNCTIONS)
        issued: list[str] = []

        def sign() -> None:
            token = self._functions[function].access_token(
                USER, SESSION, base_url=BASE_URL, now=self.now
            )
            self.signed[jwt.get_unverified_header(token)["kid"]] += 1
            issued.append(token)

        self._at(moment, sign)
        for _ in range(EACH):
            age = self._chance.random() * (TOKEN_LIFETIME - timedelta(seconds=1))
            self._verify(issued, self._chance.randrange(VERIFIERS), moment + age)

    def _verify(self, issued: list[str], number: int, moment: datetime) -> None:
        verifier, phase = self._verifiers[number], self._phases[number]
        period = (moment - NOW - phase) // KEY_SET_AGE
        if (number, period) not in self._fetched:
            self._fetched.add((number, period))
            self._fetch(verifier, NOW + phase + period * KEY_SET_AGE)

        def verify() -> None:
            self.results[verifier.accepts(issued[0], self.now)] += 1

        self._at(moment, verify)

    def _fetch(self, verifier: Verifier, moment: datetime) -> None:
        def start() -> None:
            verifier.source = self._open()
            verifier.source.jwks(self.now)

        self._at(moment - self._chance.random() * MAX_AGE, start)
        self._at(moment, lambda: verifier.renew(self.now))


# The first is the schedule's own. The second is asked for when the standby is half a
# day old, the third when the standby is old enough to sign at once.
HANDOVERS = [NOW + 90 * DAY, NOW + 91 * DAY, NOW + 150 * DAY + 7 * HOUR]
ROTATIONS_BY_HAND = [NOW + 90.5 * DAY, HANDOVERS[2]]


def test_given_three_rotations_under_load_when_verified_then_none_is_refused() -> None:
    load = Load(tokens=190)

    load.run()

    assert load.results == {True: 190 * EACH}
    assert len(load.signed) == 4


@pytest.mark.long
def test_given_three_rotations_when_verified_100_000_times_then_none_is_refused(
    record_property: Callable[[str, object], None],
) -> None:
    load = Load(tokens=12_500)

    load.run()

    record_property(
        "figures",
        f"{load.signed.total():,} tokens by {len(load.signed)} keys, "
        f"{load.results.total():,} verifications, {load.results[False]:,} refused",
    )
    assert load.results == {True: 100_000}
    assert len(load.signed) == len(HANDOVERS) + 1
    assert min(load.signed.values()) > 1_000


class LateRings:
    """A ring that publishes a key only an hour ahead of its use."""

    def __init__(self, rings: RingStore, clock: Callable[[], datetime]) -> None:
        self._rings = rings
        self._clock = clock

    def load_ring(self) -> Ring | None:
        ring = self._rings.load_ring()
        assert ring is not None
        soon = self._clock() + HOUR
        return Ring(ring.version, tuple(k for k in ring.keys if k.signs_from <= soon))

    def save_ring(self, new: Ring) -> bool:
        return self._rings.save_ring(new)


def test_given_keys_published_an_hour_ahead_when_rotated_then_it_is_noticed() -> None:
    """The load can tell: what holds for a day does not hold for an hour."""
    load = Load(190, see=lambda rings: LateRings(rings, lambda: load.now))

    load.run()

    assert load.results[False] > 20
    assert load.results.total() == 190 * EACH
