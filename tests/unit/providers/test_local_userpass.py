"""The provider `local-userpass`, on the real store and the real argon2."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.budgets import FAILURES_KEPT
from anonauth.domain.encoding import identity_key
from anonauth.domain.expiry import UNBOUND_LIFETIME
from anonauth.domain.identities import (
    Identity,
    IdentityRecord,
    MailToken,
    VerifiedIdentity,
)
from anonauth.domain.providers import USERPASS
from anonauth.domain.users import User
from anonauth.errors import (
    AuthError,
    BadRequest,
    BudgetSpent,
    NotConfirmed,
    StoreUnavailable,
    WrongPassword,
)
from anonauth.keys import _network
from anonauth.provider_settings.schema import LocalUserpassSettings, PasswordBudgets
from anonauth.providers.local_userpass import LocalUserpass
from anonauth.store import Store
from support.memory_store import MemoryStore
from support.service.harness import APP, OTHER_APP, START, Clients
from support.service.passwords import CountingPasswords
from support.service.wire import FAULTS, Fault

EMAIL = "Ada@example.com"
KEY = identity_key("ada@example.com")
PASSWORD = "correct horse"
HOME = "203.0.113.9"
ELSEWHERE = "198.51.100.7"
SECOND = timedelta(seconds=1)
# START is on the boundary of a quarter of an hour.
WINDOW = timedelta(minutes=15)
# The account and its counts, the try that is spent, then given back or kept, the rest.
RIGHT = ["BatchGetItem", "UpdateItem", "UpdateItem"]
WRONG = ["BatchGetItem", "UpdateItem", "UpdateItem", "UpdateItem"]


class Networks:
    """`NetworkHashing` without a ring."""

    def hash_network(self, address: str, now: datetime, *, prefix: int = 64) -> str:
        network = _network(address, prefix).encode()
        return hmac.new(b"key", network, hashlib.sha256).hexdigest()


class World:
    """The provider of one app, its store and its passwords."""

    def __init__(self, store: Store | MemoryStore, clients: Clients) -> None:
        self.store = store
        self.wire = clients.wire
        self.passwords = CountingPasswords()
        self.settings = LocalUserpassSettings()

    def account(
        self, email: str = EMAIL, *, app: str = APP, **fields: Any
    ) -> IdentityRecord:
        record = IdentityRecord(
            app=app,
            provider=USERPASS,
            key=identity_key(email.lower()),
            id="5f" * 12,
            state="confirmed",
            data={"email": email},
            password_hash=self.passwords.hash(PASSWORD),
            expires_at=START + UNBOUND_LIFETIME,
        )
        record = replace(record, **fields)
        assert self.store.register(record, START)
        return record

    def user(self, email: str = EMAIL, **fields: Any) -> IdentityRecord:
        """Register an address that has a user, and return its record."""
        record = self.account(email, **fields)
        identity = VerifiedIdentity(USERPASS, record.key, record.id, record=record)
        entry = Identity(record.id, USERPASS, record.key)
        user = User(
            app=record.app,
            id=f"user-of-{email}",
            anonymous=False,
            version=1,
            created_at=START,
            last_active_day=START.date(),
            expires_at=None,
            sessions={},
            identities=(entry,),
        )
        assert self.store.create_linked_user(user, identity, START)
        return self.record(record)

    def record(self, record: IdentityRecord) -> IdentityRecord:
        stored = self.store.get_identity(record.app, USERPASS, record.key)
        assert stored is not None
        return stored

    def verify(
        self,
        username: Any = EMAIL,
        password: Any = PASSWORD,
        *,
        app: str = APP,
        network: str = HOME,
        now: datetime = START,
    ) -> VerifiedIdentity:
        provider = LocalUserpass(
            app,
            self.settings,
            accounts=self.store,
            passwords=self.passwords,
            networks=Networks(),
        )
        credential = {"username": username, "password": password}
        return provider.verify(credential, network=network, now=now)

    def fail(self, times: int = 1, **options: Any) -> None:
        """Try a wrong password a given number of times."""
        for _ in range(times):
            with pytest.raises(WrongPassword):
                self.verify(password="wrong guess", **options)

    def cost(self, **options: Any) -> tuple[type[Exception] | None, list[str]]:
        """Return how a login ends, and its hashing and AWS calls."""
        del self.wire.calls[:], self.passwords.asked[:]
        error: type[Exception] | None = None
        try:
            self.verify(**options)
        except AuthError as exc:
            error = type(exc)
        return error, self.passwords.asked + self.wire.calls


@pytest.fixture
def world(store: Store, clients: Clients) -> World:
    return World(store, clients)


@pytest.fixture
def crowded(clients: Clients) -> World:
    """Return a world of many guesses, in memory: it makes no calls."""
    return World(MemoryStore(), clients)


def test_given_an_account_when_verified_then_the_identity_as_registered(
    world: World,
) -> None:
    record = world.account()

    identity = world.verify()

    assert (identity.provider, identity.key) == (USERPASS, KEY)
    assert identity.id == record.id
    assert identity.data == {"email": EMAIL}
    assert identity.record is not None
    assert replace(identity.record, networks={}) == record


@pytest.mark.parametrize(
    "username",
    [
        pytest.param("ada@example.com", id="lower case"),
        pytest.param("ADA@EXAMPLE.COM", id="upper case"),
    ],
)
def test_given_another_spelling_when_verified_then_it_is_the_same_account(
    world: World, username: str
) -> None:
    record = world.account()

    assert world.verify(username).id == record.id


def test_given_a_domain_in_nfd_when_verified_then_it_is_the_same_account(
    world: World,
) -> None:
    record = world.account("ada@b\u00fccher.example")

    assert world.verify("ada@bu\u0308cher.example").id == record.id


def test_given_a_bound_account_when_verified_then_its_record_names_the_user(
    world: World,
) -> None:
    record = world.user()

    later = world.verify(now=START + timedelta(days=3 * 365))

    assert later.record is not None
    assert (later.record.state, later.record.user_id) == ("bound", record.user_id)


@pytest.mark.parametrize(
    ("credential", "named"),
    [
        pytest.param({}, "username", id="nothing"),
        pytest.param({"username": EMAIL}, "password", id="no password"),
        pytest.param({"password": PASSWORD}, "username", id="no username"),
        pytest.param(
            {"email": EMAIL, "password": PASSWORD}, "username", id="email instead"
        ),
        pytest.param(
            {"username": None, "password": PASSWORD}, "username", id="null username"
        ),
        pytest.param({"username": EMAIL, "password": 1}, "password", id="number"),
        pytest.param({"username": EMAIL, "password": ["x"]}, "password", id="array"),
        pytest.param(
            {"username": {"$oid": "x"}, "password": "x"}, "username", id="map"
        ),
    ],
)
def test_given_a_bad_credential_when_verified_then_the_field_is_named(
    world: World, credential: Mapping[str, Any], named: str
) -> None:
    provider = LocalUserpass(
        APP,
        world.settings,
        accounts=world.store,
        passwords=world.passwords,
        networks=Networks(),
    )

    with pytest.raises(BadRequest) as caught:
        provider.verify(credential, network=HOME, now=START)

    assert str(caught.value) == f"{named} is missing or not a string"
    assert world.wire.calls == []


@pytest.mark.parametrize(
    ("username", "password"),
    [
        pytest.param(EMAIL, "wrong guess", id="wrong password"),
        pytest.param(EMAIL, "", id="empty password"),
        pytest.param(EMAIL, PASSWORD * 100, id="overlong password"),
        pytest.param("eve@example.com", PASSWORD, id="unknown address"),
        pytest.param("", PASSWORD, id="empty address"),
        pytest.param("x" * 9000, PASSWORD, id="overlong address"),
        pytest.param("no address", PASSWORD, id="no address"),
        pytest.param(EMAIL.replace("@", " @"), PASSWORD, id="white space"),
    ],
)
def test_given_a_wrong_one_when_verified_then_same_answer_calls_and_hashing(
    world: World, username: str, password: str
) -> None:
    world.account()

    cost = world.cost(username=username, password=password)

    assert cost == (WrongPassword, ["verify", *WRONG])


def test_given_an_account_of_another_app_when_verified_then_it_is_unknown(
    world: World,
) -> None:
    world.account(app=OTHER_APP)

    with pytest.raises(WrongPassword):
        world.verify()
    assert world.verify(app=OTHER_APP).record is not None


def test_given_a_right_password_when_verified_then_one_read_and_one_hashing(
    world: World,
) -> None:
    world.account()

    assert world.cost() == (None, ["verify", *RIGHT])


def test_given_a_pending_account_when_verified_then_only_the_right_password_shows_it(
    world: World,
) -> None:
    world.account(state="pending")

    with pytest.raises(NotConfirmed):
        world.verify()
    with pytest.raises(WrongPassword):
        world.verify(password="wrong guess")


@pytest.mark.parametrize("state", ["pending", "confirmed"])
def test_given_an_expired_account_when_verified_then_it_is_as_unknown(
    world: World, state: str
) -> None:
    """DynamoDB deletes late: the item is still there."""
    record = world.account(state=state)
    assert record.expires_at is not None

    at_expiry = world.cost(now=record.expires_at)
    before = world.cost(now=record.expires_at - SECOND)

    assert at_expiry == (WrongPassword, ["verify", *WRONG])
    assert before[0] is (NotConfirmed if state == "pending" else None)


@pytest.mark.parametrize(
    "budgets",
    [
        pytest.param({"account_and_network": 10}, id="account and network"),
        pytest.param({"account": 10, "account_and_network": 99}, id="account"),
        pytest.param({"network": 10, "account_and_network": 99}, id="network"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_given_wrong_passwords_when_the_11th_comes_then_nothing_is_hashed(
    world: World, budgets: dict[str, int], known: bool
) -> None:
    world.settings = LocalUserpassSettings(budgets=PasswordBudgets(**budgets))
    if known:
        world.account()
    world.fail(10, now=START + timedelta(minutes=5))

    cost = world.cost(now=START + timedelta(minutes=5))
    with pytest.raises(BudgetSpent) as caught:
        world.verify(now=START + timedelta(minutes=5))

    assert cost == (BudgetSpent, ["BatchGetItem"])
    assert caught.value.retry_after == 600


def test_given_nine_wrong_passwords_when_the_right_one_comes_then_it_is_taken(
    world: World,
) -> None:
    world.account()
    world.fail(9)

    assert world.verify().record is not None


def test_given_a_spent_budget_when_its_window_is_over_then_passwords_work_again(
    world: World,
) -> None:
    world.account()
    world.fail(10)

    before = world.cost(now=START + WINDOW - SECOND)
    after = world.cost(now=START + WINDOW)

    assert before[0] is BudgetSpent
    assert after[0] is None


def test_given_part_of_a_second_left_when_refused_then_the_client_waits_it_out(
    world: World,
) -> None:
    world.account()
    world.fail(10)

    with pytest.raises(BudgetSpent) as caught:
        world.verify(now=START + WINDOW - timedelta(milliseconds=1))

    assert caught.value.retry_after == 1


def test_given_a_guesser_elsewhere_when_the_owner_logs_in_then_it_is_not_locked_out(
    world: World,
) -> None:
    world.account()
    world.fail(10, network=ELSEWHERE)

    assert world.cost(network=ELSEWHERE)[0] is BudgetSpent
    assert world.cost(network=HOME)[0] is None


def test_given_guesses_from_everywhere_when_an_account_has_100_then_it_is_closed(
    crowded: World,
) -> None:
    crowded.account()
    for number in range(10):
        crowded.fail(10, network=f"198.51.100.{number}")

    assert crowded.cost(network=HOME)[0] is BudgetSpent
    assert crowded.cost(username="bob@example.com", network=HOME)[0] is WrongPassword


def test_given_guesses_at_everybody_when_a_network_has_100_then_it_is_closed(
    crowded: World,
) -> None:
    crowded.account()
    for number in range(100):
        crowded.fail(username=f"user{number}@example.com", network=ELSEWHERE)

    assert crowded.cost(network=ELSEWHERE)[0] is BudgetSpent
    assert crowded.cost(network=HOME)[0] is None


def test_given_a_spent_budget_when_another_app_is_asked_then_it_has_its_own(
    world: World,
) -> None:
    world.account(app=OTHER_APP)
    world.fail(10)

    assert world.cost(app=OTHER_APP)[0] is None


def test_given_counters_when_stored_then_no_address_is_in_them(
    world: World, db: Any, table: str
) -> None:
    world.fail()

    items = db.scan(TableName=table)["Items"]
    assert len(items) == 3
    for item in items:
        assert item["pk"]["S"].startswith("RATE#")
        kept_until = START + WINDOW
        if item["pk"]["S"].startswith("RATE#password-account#"):
            kept_until = START + FAILURES_KEPT
        assert item["ttl"]["N"] == str(int(kept_until.timestamp()))
        assert "ada" not in str(item).lower()
        assert HOME not in str(item)


def test_given_an_old_hash_when_the_password_is_right_then_it_is_hashed_anew(
    world: World,
) -> None:
    old = world.account()
    world.passwords = CountingPasswords(time_cost=3)

    renewed = world.verify().record
    again = world.cost()

    stored = world.store.get_identity(APP, USERPASS, KEY)
    assert stored is not None
    assert renewed is not None
    assert stored == replace(renewed, networks={})
    assert "t=3" in stored.password_hash
    assert replace(stored, password_hash=old.password_hash) == old
    assert again == (None, ["verify", *RIGHT])


def test_given_an_old_hash_when_the_password_is_wrong_then_it_stays(
    world: World,
) -> None:
    old = world.account()
    world.passwords = CountingPasswords(time_cost=3)

    world.fail()

    assert world.store.get_identity(APP, USERPASS, KEY) == old


def test_given_a_reset_meanwhile_when_hashed_anew_then_the_new_password_stays(
    world: World,
) -> None:
    token = MailToken("hash of a reset token", START + timedelta(minutes=30))
    record = world.account(reset=token)

    class Racing(CountingPasswords):
        def verify(self, password: str, password_hash: str | None) -> bool:
            right = super().verify(password, password_hash)
            assert world.store.reset_password(
                record, None, token_hash=token.hash, password_hash="new", now=START
            )
            return right

    world.passwords = Racing(time_cost=3)

    identity = world.verify()

    # A caller that goes on with this record finds a newer version.
    assert identity.record is not None
    assert replace(identity.record, networks={}) == record
    stored = world.store.get_identity(APP, USERPASS, KEY)
    assert stored is not None
    assert (stored.password_hash, stored.version) == ("new", 2)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("password", [PASSWORD, "wrong guess"], ids=["right", "wrong"])
def test_given_the_table_is_failing_when_verified_then_nothing_is_known(
    world: World, fault: Fault, password: str
) -> None:
    world.account()
    world.wire.always = fault

    with pytest.raises(StoreUnavailable):
        world.verify(password=password)

    world.wire.always = None
    assert world.verify().record is not None


# Guesses at the same moment: each begins while those before it are being hashed.


class Crowd(CountingPasswords):
    """`Passwords` of a world where, while one is hashed, the next is presented."""

    def __init__(self, world: World, attempts: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self._world = world
        self._attempts = attempts
        self.outcomes: list[type[Exception] | None] = []

    def verify(self, password: str, password_hash: str | None) -> bool:
        self.present()
        return super().verify(password, password_hash)

    def present(self) -> None:
        while self._attempts:
            error: type[Exception] | None = None
            try:
                self._world.verify(**self._attempts.pop())
            except AuthError as exc:
                error = type(exc)
            self.outcomes.append(error)


def at_once(world: World, attempts: list[Mapping[str, Any]]) -> Crowd:
    world.passwords = crowd = Crowd(world, attempts)
    crowd.present()
    return crowd


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_given_30_guesses_at_once_when_10_are_allowed_then_10_are_hashed(
    world: World, known: bool
) -> None:
    if known:
        world.user()

    crowd = at_once(world, [{"password": f"guess {number}"} for number in range(30)])

    assert crowd.asked == ["verify"] * 10
    assert crowd.outcomes.count(WrongPassword) == 10
    assert crowd.outcomes.count(BudgetSpent) == 20


def test_given_30_guesses_at_once_when_from_many_64s_of_a_48_then_14_are_hashed(
    world: World,
) -> None:
    world.user()

    crowd = at_once(
        world,
        [
            {"password": "guess", "network": f"2001:db8:1:{number:x}00::1"}
            for number in range(30)
        ],
    )

    assert crowd.outcomes.count(WrongPassword) == 14
    assert crowd.outcomes.count(BudgetSpent) == 16


def test_given_the_right_password_30_times_at_once_then_none_is_called_wrong(
    world: World,
) -> None:
    world.user()

    crowd = at_once(world, [{} for _ in range(30)])

    assert crowd.outcomes.count(None) == 10
    assert crowd.outcomes.count(BudgetSpent) == 20
    # All were given back.
    world.fail(9)
    assert world.cost()[0] is None


def test_given_the_right_password_when_repeated_then_it_spends_nothing(
    crowded: World,
) -> None:
    crowded.user()

    assert [crowded.cost()[0] for _ in range(30)] == [None] * 30


@pytest.mark.parametrize("state", ["pending", "confirmed"])
def test_given_the_right_password_when_nothing_comes_back_then_it_is_one_try_fewer(
    world: World, state: str
) -> None:
    world.account(state=state)
    refused = NotConfirmed if state == "pending" else None
    world.wire.faults = [None, None, *[FAULTS["throttled"]] * 3]

    assert world.cost()[0] is refused

    world.fail(9)
    assert world.cost()[0] is BudgetSpent


def test_given_trouble_with_all_that_follows_when_the_password_is_right_then_it_is(
    world: World,
) -> None:
    """Count, networks and try: the next login repeats or does without."""
    record = world.user()
    world.fail()
    world.wire.faults = [None, None, *[FAULTS["throttled"]] * 9]

    assert world.verify().record is not None

    assert world.record(record).networks == {}
    assert world.cost()[0] is None
    assert len(world.record(record).networks) == 1


# 100 wrong passwords in a row.

QUARTERS = 10


def fail_100_times(world: World, start: datetime = START, **options: Any) -> datetime:
    """Let many networks guess within all windows, and return the time afterwards."""
    for quarter in range(QUARTERS):
        now = start + quarter * WINDOW
        world.fail(10, network=f"198.51.100.{quarter}", now=now, **options)
    return start + QUARTERS * WINDOW


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_given_100_wrong_in_a_row_when_strangers_come_then_one_try_an_hour(
    crowded: World, known: bool
) -> None:
    if known:
        crowded.user()
    now = fail_100_times(crowded)
    hour = now.replace(minute=0)

    crowded.fail(now=now, network="192.0.2.1")
    spent = [
        crowded.cost(now=at, network=f"192.0.2.{number}", password="wrong guess")
        for number, at in ((1, now), (2, now), (3, hour + timedelta(minutes=59)))
    ]
    with pytest.raises(BudgetSpent) as caught:
        crowded.verify(now=now)
    crowded.fail(now=hour + timedelta(hours=1), network="192.0.2.3")

    assert spent == [(BudgetSpent, [])] * 3
    assert now + timedelta(seconds=caught.value.retry_after) == hour + timedelta(
        hours=1
    )


def test_given_99_wrong_in_a_row_when_strangers_come_then_each_has_its_tries(
    crowded: World,
) -> None:
    crowded.user()
    now = START
    for number in range(9):
        crowded.fail(10, network=f"198.51.100.{number}", now=now)
    crowded.fail(9, network="198.51.100.9", now=now)

    crowded.fail(network="192.0.2.1", now=now + WINDOW)

    crowded.fail(network="192.0.2.2", now=now + WINDOW)
    assert crowded.cost(network="192.0.2.3", now=now + WINDOW)[0] is BudgetSpent


def test_given_fewer_in_a_row_when_an_app_says_so_then_they_are_enough(
    world: World,
) -> None:
    world.settings = LocalUserpassSettings(budgets=PasswordBudgets(consecutive=2))
    world.user()
    world.fail(2)

    first = world.cost(password="wrong guess")
    second = world.cost()

    # The try of the hour is spent before that of the network, and in one write.
    assert first == (WrongPassword, ["verify", "BatchGetItem", *["UpdateItem"] * 4])
    assert second == (BudgetSpent, ["BatchGetItem", "UpdateItem"])


def test_given_100_wrong_in_a_row_when_the_owner_tries_first_then_it_gets_in(
    crowded: World,
) -> None:
    """The owner uses the one try of the hour. Strangers then begin again at zero."""
    crowded.user()
    now = fail_100_times(crowded)

    assert crowded.cost(now=now, network="192.0.2.1")[0] is None

    crowded.fail(10, now=now, network="192.0.2.2")


def test_given_99_wrong_when_the_owner_logs_in_then_they_are_forgotten(
    world: World,
) -> None:
    world.user()
    world.fail(9)

    cost = world.cost()
    again = world.cost()

    # Given back, forgotten, and the network is noted.
    assert cost == (None, ["verify", *RIGHT, "UpdateItem", "UpdateItem"])
    assert again == (None, ["verify", *RIGHT])


def test_given_the_owner_between_when_an_account_has_100_then_the_quarter_goes_on(
    crowded: World,
) -> None:
    """A login does not give attackers another hundred guesses within 15 minutes."""
    crowded.user()
    for number in range(10):
        crowded.fail(9, network=f"198.51.100.{number}")
        assert crowded.cost(network=HOME)[0] is None
    crowded.fail(10, network="198.51.100.10")

    assert crowded.cost(network="192.0.2.1")[0] is BudgetSpent
    assert crowded.cost(network="192.0.2.1", now=START + WINDOW)[0] is None


def test_given_an_account_when_guessed_at_for_long_then_its_counter_does_not_grow(
    world: World, db: Any, table: str
) -> None:
    for quarter in range(3):
        world.fail(2, now=START + quarter * WINDOW)

    items = db.scan(TableName=table)["Items"]
    (item,) = [i for i in items if i["pk"]["S"].startswith("RATE#password-account#")]
    parts = {name: n["N"] for name, n in item.items() if name.startswith("q#")}
    assert item["number"] == {"N": "6"}
    assert list(parts.values()) == ["2"]


# Networks that the account knows.


def test_given_a_network_of_a_login_when_strangers_spend_all_then_it_goes_on(
    crowded: World,
) -> None:
    crowded.user()
    crowded.verify(network=HOME)
    for number in range(10):
        crowded.fail(10, network=f"198.51.100.{number}")
    assert crowded.cost(network=ELSEWHERE)[0] is BudgetSpent

    assert crowded.cost(network=HOME)[0] is None


def test_given_100_wrong_in_a_row_when_a_known_network_comes_then_it_goes_on(
    crowded: World,
) -> None:
    crowded.user()
    crowded.verify(network=HOME)
    now = fail_100_times(crowded)

    crowded.fail(network="192.0.2.1", now=now)
    assert crowded.cost(network="192.0.2.1", now=now)[0] is BudgetSpent

    crowded.fail(9, network=HOME, now=now)
    assert crowded.cost(network=HOME, now=now)[0] is None


def test_given_a_known_network_when_it_guesses_itself_then_its_own_limit_holds(
    world: World,
) -> None:
    world.user()
    world.verify(network=HOME)
    world.fail(10, network=HOME)

    assert world.cost(network=HOME) == (BudgetSpent, ["BatchGetItem"])


def test_given_a_known_network_when_it_tries_everybody_then_its_limit_holds(
    crowded: World,
) -> None:
    crowded.user()
    crowded.verify(network=HOME)
    for number in range(100):
        crowded.fail(username=f"user{number}@example.com", network=HOME)

    assert crowded.cost(network=HOME) == (BudgetSpent, [])


def test_given_a_wrong_password_when_presented_then_its_network_is_not_known(
    world: World,
) -> None:
    record = world.user()

    world.fail(network=ELSEWHERE)

    assert world.record(record).networks == {}


def test_given_a_pending_account_when_its_password_comes_then_no_network_is_known(
    world: World,
) -> None:
    record = world.account(state="pending")

    with pytest.raises(NotConfirmed):
        world.verify()

    assert world.record(record).networks == {}


def test_given_a_first_login_when_it_makes_the_user_then_its_network_comes_along(
    world: World,
) -> None:
    """In the transaction that binds the identity: no write of its own."""
    record = world.account()
    identity = world.verify(network=HOME)
    assert world.record(record).networks == {}

    user = User(
        app=APP,
        id="u1",
        anonymous=False,
        version=1,
        created_at=START,
        last_active_day=START.date(),
        expires_at=None,
        sessions={},
        identities=(Identity(identity.id, USERPASS, KEY),),
    )
    assert world.store.create_linked_user(user, identity, START)

    assert len(world.record(record).networks) == 1
    assert world.cost(network=HOME) == (None, ["verify", *RIGHT])


def test_given_a_known_network_when_a_week_passes_then_it_is_written_once(
    world: World,
) -> None:
    world.user()
    world.verify()

    days = [START + timedelta(days=days) for days in range(1, 15)]
    written = [day for day in days if len(world.cost(now=day)[1]) > 1 + len(RIGHT)]

    assert written == [START + timedelta(days=7), START + timedelta(days=14)]


def test_given_nine_networks_when_they_have_logged_in_then_eight_are_known(
    world: World,
) -> None:
    record = world.user()
    networks = [f"203.0.113.{number}" for number in range(9)]
    for day, network in enumerate(networks):
        world.verify(network=network, now=START + timedelta(days=day))

    stored = world.record(record)

    hashed = [Networks().hash_network(network, START) for network in networks]
    assert len(stored.networks) == 8
    assert [stored.knows(network) for network in hashed] == [False, *[True] * 8]


def test_given_known_networks_when_stored_then_they_cannot_be_recognised(
    world: World, db: Any, table: str
) -> None:
    """Not even that two accounts have one in common."""
    ada, bob = world.user(), world.user("bob@example.com")
    world.verify(network=HOME)
    world.verify("bob@example.com", network=HOME)

    hashed = Networks().hash_network(HOME, START)
    items = str(db.scan(TableName=table)["Items"])
    of_ada, of_bob = (world.record(record).networks for record in (ada, bob))
    assert HOME not in items
    assert all(hashed not in name for name in (*of_ada, *of_bob))
    assert not of_ada.keys() & of_bob.keys()


def test_given_a_reset_when_it_is_done_then_no_network_is_known_any_more(
    world: World,
) -> None:
    """An attacker that had the old password may have come from one of them."""
    token = MailToken("hash of a reset token", START + timedelta(minutes=30))
    record = world.account(reset=token)
    world.store.remember_networks(record, {"network": START.date()})

    assert world.store.reset_password(
        record, None, token_hash=token.hash, password_hash="new", now=START
    )
    world.store.remember_networks(record, {"network": START.date()})

    assert world.record(record).networks == {}


# IPv6: an attacker with a wide network has many narrow ones.


@pytest.mark.parametrize(
    ("network", "most"),
    [
        pytest.param("2001:db8:1:2::{:x}", 10, id="one /64"),
        pytest.param("2001:db8:1:2{:02x}::1", 12, id="one /56"),
        pytest.param("2001:db8:1:{:x}00::1", 14, id="one /48"),
        pytest.param("2001:db8:{:x}::1", 30, id="many /48"),
        pytest.param("198.51.100.{:d}", 30, id="many IPv4 addresses"),
    ],
)
def test_given_guesses_at_one_account_when_networks_are_near_then_they_count_as_one(
    crowded: World, network: str, most: int
) -> None:
    crowded.user()

    outcomes = [
        crowded.cost(password="a guess", network=network.format(number))[0]
        for number in range(30)
    ]

    assert outcomes == [WrongPassword] * most + [BudgetSpent] * (30 - most)


@pytest.mark.parametrize(
    ("network", "most"),
    [
        pytest.param("2001:db8:1:2::{:x}", 100, id="one /64"),
        pytest.param("2001:db8:1:2{:02x}::1", 120, id="one /56"),
        pytest.param("2001:db8:1:{:02x}00::1", 140, id="one /48"),
    ],
)
def test_given_150_accounts_when_one_network_tries_them_then_it_comes_to_its_end(
    crowded: World, network: str, most: int
) -> None:
    outcomes = [
        crowded.cost(
            username=f"user{number}@example.com", network=network.format(number)
        )[0]
        for number in range(150)
    ]

    assert outcomes == [WrongPassword] * most + [BudgetSpent] * (150 - most)


def test_given_ten_64s_of_a_household_when_they_guess_then_the_owner_gets_in(
    crowded: World,
) -> None:
    crowded.user()
    for number in range(100):
        network = f"2001:db8:1:2{number // 10:02x}::1"
        assert crowded.cost(password="a guess", network=network)[0] is not None

    assert crowded.cost(network="2001:db8:2::1")[0] is None


def test_given_neighbours_that_guess_when_a_known_64_comes_then_it_goes_on(
    crowded: World,
) -> None:
    """It is counted by its own /64 only, although the /56 and the /48 are full."""
    crowded.user()
    crowded.verify(network="2001:db8:1:200::1")
    for number in range(1, 20):
        network = f"2001:db8:1:2{number:02x}::1"
        crowded.cost(password="a guess", network=network)
    assert crowded.cost(network="2001:db8:1:2ff::1")[0] is BudgetSpent

    crowded.fail(9, network="2001:db8:1:200::1")
    assert crowded.cost(network="2001:db8:1:200::2")[0] is None
    crowded.fail(network="2001:db8:1:200::1")
    assert crowded.cost(network="2001:db8:1:200::1")[0] is BudgetSpent


@pytest.mark.parametrize("network", [HOME, "2001:db8:1:2::1"], ids=["IPv4", "IPv6"])
def test_given_any_network_when_a_password_is_wrong_then_three_writes(
    world: World, network: str
) -> None:
    world.user()

    wrong = world.cost(password="a guess", network=network)

    assert wrong == (WrongPassword, ["verify", *WRONG])
