"""The oracle of the mixed race rejects unexplained refusals, and wrong tables.

`test_power` shows that it misses nothing that a guard of the store prevents.
"""

import copy
import random
from dataclasses import dataclass, replace

import pytest

from anonauth.errors import (
    AuthError,
    BadRequest,
    IdentityNotFound,
    IdentityTaken,
    InvalidParameter,
    InvalidSession,
    KeysUnavailable,
    LastIdentity,
    PasswordRefused,
    SecondUserpassRefused,
    SessionNotFound,
    StoreUnavailable,
    UserpassTokenInvalid,
    WrongPassword,
)
from anonauth.store import Store
from anonauth.tokens import Tokens
from support.contracts.store_contract import DAY
from support.engine.engines import Engine
from support.engine.mix import Member, Mix, Plan, Played, PooledKeys
from support.engine.oracle import assert_explained
from support.engine.racing import CALLERS, Item, Service

# A user with an identity and an address, and an identity without a user.
PLAN = Plan(("read",) * CALLERS, (Member(holds=(0, 1)),), "cac")
MINE, MY_ADDRESS, NOBODYS = range(3)


@dataclass(frozen=True)
class Looked:
    """A round in which all callers only read, and the table after it."""

    played: Played
    items: list[Item]

    def with_one(
        self, name: str, subject: int, outcome: object, *, days: int = 0
    ) -> Played:
        """Return the round with its first act replaced."""
        (act, _), *others = self.played.outcomes
        act = replace(
            act,
            name=name,
            subject=self.played.world.subjects[subject],
            now=act.now + days * DAY,
        )
        return replace(self.played, outcomes=[(act, outcome), *others])


@pytest.fixture(scope="class")
def looked(
    engine: Engine, table: str, store: Store, tokens: Tokens, pooled_keys: PooledKeys
) -> Looked:
    service = Service(store, tokens, engine.db, table)
    played = Mix(service, pooled_keys).play(PLAN, random.Random(1))  # noqa: S311
    return Looked(played, service.items())


@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
class TestOracle:
    def test_given_a_round_in_which_all_only_looked_when_judged_then_it_is_explained(
        self, looked: Looked
    ) -> None:
        assert_explained(looked.played, looked.items)

    @pytest.mark.parametrize(
        ("name", "subject", "refusal"),
        [
            ("read", MINE, InvalidSession()),
            ("read", MINE, StoreUnavailable()),
            ("read", MINE, KeysUnavailable()),
            ("refresh", MINE, SessionNotFound()),
            ("log out", MINE, SessionNotFound()),
            ("log out everywhere", MINE, SessionNotFound()),
            ("delete", MINE, InvalidSession()),
            ("link", NOBODYS, InvalidSession()),
            ("link", NOBODYS, IdentityTaken()),
            ("link", NOBODYS, SecondUserpassRefused()),
            ("merge", MINE, InvalidParameter("")),
            ("merge", NOBODYS, InvalidSession()),
            ("merge", NOBODYS, StoreUnavailable()),
            ("merge", MY_ADDRESS, WrongPassword()),
            ("link", NOBODYS, PasswordRefused("")),
            ("link", MY_ADDRESS, PasswordRefused("")),
            ("link", MY_ADDRESS, SecondUserpassRefused()),
            ("log in by", MY_ADDRESS, WrongPassword()),
            ("log in by", MINE, BadRequest()),
            ("unlink", MINE, IdentityNotFound()),
            ("unlink", MINE, LastIdentity()),
            ("reset", MY_ADDRESS, UserpassTokenInvalid()),
        ],
        ids=str,
    )
    def test_given_a_refusal_that_nobody_has_caused_when_judged_then_it_is_seen(
        self, looked: Looked, name: str, subject: int, refusal: AuthError
    ) -> None:
        with pytest.raises(AssertionError, match="got"):
            assert_explained(looked.with_one(name, subject, refusal), looked.items)

    @pytest.mark.parametrize(
        ("name", "subject", "days"),
        [
            ("link", NOBODYS, 0),
            ("unlink", MINE, 0),
            ("log out", MINE, 0),
            ("log out everywhere", MINE, 0),
            ("delete", MINE, 0),
            ("reset", MY_ADDRESS, 0),
            ("refresh tomorrow", MINE, 1),
        ],
    )
    def test_given_a_success_that_is_not_in_the_table_when_judged_then_it_is_seen(
        self, looked: Looked, name: str, subject: int, days: int
    ) -> None:
        faked = looked.with_one(name, subject, outcome=None, days=days)

        with pytest.raises(AssertionError):
            assert_explained(faked, looked.items)

    def test_given_a_session_that_nobody_ended_when_it_is_gone_then_it_is_seen(
        self, looked: Looked
    ) -> None:
        items = copy.deepcopy(looked.items)
        (user,) = [item for item in items if item["pk"]["S"].startswith("USER#")]
        user["sessions"]["M"].clear()

        with pytest.raises(AssertionError, match="nobody ended"):
            assert_explained(looked.played, items)
