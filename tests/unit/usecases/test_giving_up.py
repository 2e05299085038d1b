"""Other writers always win: use cases read again, but give up in the end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from anonauth.email_addresses import EmailSyntax
from anonauth.errors import StoreUnavailable
from anonauth.usecases.account_mail import AccountMail
from anonauth.usecases.login import OpenedSession
from anonauth.usecases.userpass import UserpassAccounts
from support.contracts.store_contract import APP, DAY, NOW, AnyStore
from support.memory_store import MemoryStore
from support.service.passwords import CountingPasswords
from support.service.rings import NumberedKeys, RingInMemory
from support.service.use_cases import UseCases
from support.time_machine import PlainTokens

EMAIL = "ada@example.org"
PASSWORD = "battery"


class Overtaken:
    """A store where another writer always wins, once `write` names an operation."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.write = ""
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name == self.write else getattr(self.store, name)

    def _refuse(self, *_: Any, **__: Any) -> bool:
        self.refused += 1
        return False


class Outbox:
    """A `Mailer` that keeps what it is given."""

    def __init__(self) -> None:
        self.mails: list[dict[str, str]] = []

    def send(self, **mail: str) -> None:
        self.mails.append(mail)


@dataclass
class World:
    """The use cases on an overtaken store, and a user with a record of each kind."""

    store: Overtaken
    cases: UseCases
    opened: OpenedSession
    key_id: str
    outbox: Outbox

    def accounts(self) -> UserpassAccounts:
        store = cast("AnyStore", self.store)
        mail = AccountMail(
            app=APP,
            sender="a@app.example",
            confirm_url="https://a/c",
            reset_url="https://a/r",
            per_hour=5,
            per_network=None,
            budgets=store,
            addresses=EmailSyntax(),
            mailer=self.outbox,
        )
        return UserpassAccounts(
            app=APP,
            store=store,
            users=store,
            passwords=CountingPasswords(),
            addresses=EmailSyntax(),
            min_password_length=6,
            mail=mail,
            registrations=None,
        )

    def register(self, password: str = PASSWORD) -> None:
        self.accounts().register(email=EMAIL, password=password, network="", now=NOW)


@pytest.fixture
def world() -> World:
    store = Overtaken()
    cases = UseCases(cast("AnyStore", store), PlainTokens())
    opened = cases.log_in()
    for subject in ("ada", "eve"):
        cases.link(opened, "custom-token", {"token": subject})
    key, _ = cases.create_api_key(opened, "ci", NOW)
    world = World(store, cases, opened, key.id, Outbox())
    world.register()
    world.outbox.mails.clear()
    return world


def link(world: World) -> None:
    world.cases.link(world.opened, "custom-token", {"token": "bob"})


def log_in(world: World, subject: str = "ada") -> None:
    world.cases.log_in_by("custom-token", {"token": subject})


def unlink(world: World) -> None:
    (identity,) = (
        i for i in world.cases.read(world.opened, NOW).identities if i.id == "eve"
    )
    world.cases.unlink(world.opened, "custom-token", identity.id)


def delete_key(world: World) -> None:
    world.cases.delete_api_key(world.opened, world.key_id)


def switch_key(world: World) -> None:
    world.cases.disable_api_key(world.opened, world.key_id)


def register(world: World) -> None:
    world.register()


def contest(world: World) -> None:
    world.register("another")


def resend(world: World) -> None:
    world.accounts().resend_confirmation(email=EMAIL, network="", now=NOW)


def rotate(world: World) -> None:
    rings = cast("Any", world.store)
    RingInMemory(rings, NumberedKeys()).rotate(NOW)


@pytest.mark.parametrize(
    ("act", "write", "decisions"),
    [
        pytest.param(
            lambda w: w.cases.refresh(w.opened, NOW + DAY),
            "record_activity",
            4,
            id="refresh",
        ),
        pytest.param(
            lambda w: w.cases.log_in(login_key="A" * 43),
            "create_user_once",
            4,
            id="log in with a login key",
        ),
        pytest.param(link, "link_identity", 10, id="link"),
        pytest.param(log_in, "open_session", 10, id="log in"),
        pytest.param(
            lambda w: log_in(w, "bob"), "create_linked_user", 10, id="first login"
        ),
        pytest.param(unlink, "unlink_identity", 4, id="unlink"),
        pytest.param(
            lambda w: w.cases.delete(w.opened, NOW), "delete_user", 4, id="delete"
        ),
        pytest.param(
            lambda w: w.cases.create_api_key(w.opened, "cd", NOW),
            "create_api_key",
            4,
            id="make a key",
        ),
        pytest.param(delete_key, "delete_api_key", 4, id="delete a key"),
        pytest.param(switch_key, "set_api_key_disabled", 4, id="switch a key off"),
        pytest.param(register, "register", 10, id="register"),
        pytest.param(contest, "contest", 10, id="note a contest"),
        pytest.param(resend, "set_confirmation", 10, id="send the mail again"),
        pytest.param(rotate, "save_ring", 4, id="rotate the keys"),
    ],
)
def test_given_a_writer_that_is_always_faster_when_writing_then_it_gives_up(
    world: World, act: Callable[[World], object], write: str, decisions: int
) -> None:
    """The answer in the end is 503, not a loop that a time-out would interrupt."""
    users, records = dict(world.store.store.users), dict(world.store.store.records)
    world.store.write = write

    with pytest.raises(StoreUnavailable):
        act(world)

    assert world.store.refused == decisions
    assert (world.store.store.users, world.store.store.records) == (users, records)
    assert world.store.store.ring is None
    assert not world.outbox.mails
