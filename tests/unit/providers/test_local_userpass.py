"""The provider `local-userpass`, on the real store and the real argon2."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain import (
    UNBOUND_LIFETIME,
    USERPASS,
    Identity,
    IdentityRecord,
    MailToken,
    User,
    VerifiedIdentity,
    identity_key,
)
from anonauth.errors import (
    AuthError,
    BadRequest,
    BudgetSpent,
    NotConfirmed,
    StoreUnavailable,
    WrongPassword,
)
from anonauth.providers.document import LocalUserpassSettings, PasswordBudgets
from anonauth.providers.local_userpass import LocalUserpass
from anonauth.providers.passwords import Argon2Passwords
from anonauth.store import Store
from harness import APP, OTHER_APP, START, Clients
from wire import FAULTS, Fault

EMAIL = "Ada@example.com"
KEY = identity_key("ada@example.com")
PASSWORD = "correct horse"
HOME = "203.0.113.9"
ELSEWHERE = "198.51.100.7"
SECOND = timedelta(seconds=1)
# START is on the boundary of a quarter of an hour.
WINDOW = timedelta(minutes=15)


class Networks:
    """`NetworkHashing` without a ring."""

    def hash_network(self, address: str, now: datetime) -> str:
        return hmac.new(b"key", address.encode(), hashlib.sha256).hexdigest()


class Counting:
    """`Passwords` that writes down what it is asked, with the least argon2 takes."""

    def __init__(self, **parameters: int) -> None:
        self._passwords = Argon2Passwords(
            **{"memory_cost": 8, "time_cost": 1, **parameters}
        )
        self.asked: list[str] = []

    def normalise(self, password: str) -> str:
        return self._passwords.normalise(password)

    def hash(self, password: str) -> str:
        self.asked.append("hash")
        return self._passwords.hash(password)

    def verify(self, password: str, password_hash: str | None) -> bool:
        self.asked.append("verify")
        return self._passwords.verify(password, password_hash)

    def is_outdated(self, password_hash: str) -> bool:
        return self._passwords.is_outdated(password_hash)


class World:
    """The provider of one app, its store and its passwords."""

    def __init__(self, store: Store, clients: Clients) -> None:
        self.store = store
        self.wire = clients.wire
        self.passwords = Counting()
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
        """Try a wrong password so many times."""
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


def test_given_an_account_when_verified_then_the_identity_as_registered(
    world: World,
) -> None:
    record = world.account()

    identity = world.verify()

    assert (identity.provider, identity.key) == (USERPASS, KEY)
    assert identity.id == record.id
    assert identity.data == {"email": EMAIL}
    assert identity.record == record


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
    identity = VerifiedIdentity(USERPASS, KEY, "5f" * 12, record=world.account())
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

    later = world.verify(now=START + timedelta(days=3 * 365))

    assert later.record is not None
    assert (later.record.state, later.record.user_id) == ("bound", "u1")


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

    calls = ["BatchGetItem", *["UpdateItem"] * 3]
    assert cost == (WrongPassword, ["verify", *calls])


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

    assert world.cost() == (None, ["verify", "BatchGetItem"])


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

    calls = ["BatchGetItem", *["UpdateItem"] * 3]
    assert at_expiry == (WrongPassword, ["verify", *calls])
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
    world: World,
) -> None:
    world.account()
    for number in range(10):
        world.fail(10, network=f"198.51.100.{number}")

    assert world.cost(network=HOME)[0] is BudgetSpent
    assert world.cost(username="bob@example.com", network=HOME)[0] is WrongPassword


def test_given_guesses_at_everybody_when_a_network_has_100_then_it_is_closed(
    world: World,
) -> None:
    world.account()
    for number in range(100):
        world.fail(username=f"user{number}@example.com", network=ELSEWHERE)

    assert world.cost(network=ELSEWHERE)[0] is BudgetSpent
    assert world.cost(network=HOME)[0] is None


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
        assert item["ttl"]["N"] == str(int((START + WINDOW).timestamp()))
        assert "ada" not in str(item).lower()
        assert HOME not in str(item)


def test_given_an_old_hash_when_the_password_is_right_then_it_is_hashed_anew(
    world: World,
) -> None:
    old = world.account()
    world.passwords = Counting(time_cost=3)

    renewed = world.verify().record
    again = world.cost()

    stored = world.store.get_identity(APP, USERPASS, KEY)
    assert stored == renewed
    assert stored is not None
    assert "t=3" in stored.password_hash
    assert replace(stored, password_hash=old.password_hash) == old
    assert again == (None, ["verify", "BatchGetItem"])


def test_given_an_old_hash_when_the_password_is_wrong_then_it_stays(
    world: World,
) -> None:
    old = world.account()
    world.passwords = Counting(time_cost=3)

    world.fail()

    assert world.store.get_identity(APP, USERPASS, KEY) == old


def test_given_a_reset_meanwhile_when_hashed_anew_then_the_new_password_stays(
    world: World,
) -> None:
    token = MailToken("hash of a reset token", START + timedelta(minutes=30))
    record = world.account(reset=token)

    class Racing(Counting):
        def verify(self, password: str, password_hash: str | None) -> bool:
            right = super().verify(password, password_hash)
            assert world.store.reset_password(
                record, None, token_hash=token.hash, password_hash="new", now=START
            )
            return right

    world.passwords = Racing(time_cost=3)

    identity = world.verify()

    # Whoever goes on with this record finds that the version has moved on.
    assert identity.record == record
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
