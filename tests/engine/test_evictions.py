"""An intruder that holds on: it is put out by each way while it keeps trying.

It has everything it could have: a session, the old password, its own JWT identity and
API keys. Whatever it does with them, the owner's reset succeeds.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.providers import API_KEY, USERPASS
from anonauth.errors import AuthError, WrongPassword
from anonauth.usecases.login import OpenedSession
from anonauth.usecases.operator import OperatorActions
from support.contracts.store_contract import APP, NOW
from support.engine.accounts import NEW, a_mail_token, an_account, by_password, reset
from support.engine.engines import Engine
from support.engine.racing import Service, a_subject, assert_items_whole, user_of

CUSTOM = "custom-token"
THREADS = 12

pytestmark = pytest.mark.long


@dataclass
class Intruder:
    """Makes and deletes API keys in many threads; comes back by every way it knows."""

    service: Service
    address: str
    opened: OpenedSession
    trojan: str = field(default_factory=a_subject)
    secret: str = ""
    names: Iterator[int] = field(default_factory=itertools.count)
    made: int = 0

    def settle(self) -> None:
        """Link its own identity, and make a key that lasts."""
        self.service.link(self.opened, CUSTOM, {"token": self.trojan})
        _, self.secret = self.service.create_api_key(self.opened, "lasting", NOW)

    def ways_in(self) -> dict[str, dict[str, str]]:
        return {
            USERPASS: by_password(self.address),
            CUSTOM: {"token": self.trojan},
            API_KEY: {"key": self.secret},
        }

    def change_keys(self, opened: OpenedSession) -> None:
        """Raise the user's version twice."""
        key, _ = self.service.create_api_key(opened, f"key-{next(self.names)}", NOW)
        self.made += 1
        self.service.delete_api_key(opened, key.id)

    @contextmanager
    def holding_on(self, *, comes_back: bool) -> Iterator[None]:
        """Keep trying from many threads until the end of the block.

        Args:
            comes_back: Whether it logs in again by every way it knows, repeatedly.
        """
        over = threading.Event()

        def hold_on(number: int) -> None:
            opened = self.opened
            for turn in itertools.count(number):
                if over.is_set():
                    return
                try:
                    self.change_keys(opened)
                except AuthError:
                    if comes_back:
                        way = list(self.ways_in())[turn % 3]
                        with suppress(AuthError):
                            opened = self.service.log_in_by(way, self.ways_in()[way])

        with ThreadPoolExecutor(THREADS) as threads:
            running = [threads.submit(hold_on, n) for n in range(THREADS)]
            try:
                self.wait_for_keys()
                yield
            finally:
                over.set()
            for each in running:
                each.result()

    def wait_for_keys(self) -> None:
        before = self.made
        for _ in range(1000):
            if self.made > before + THREADS // 2:
                return
            threading.Event().wait(0.01)
        pytest.fail("the intruder does nothing")


def an_intruder(service: Service) -> tuple[Intruder, Callable[[], None]]:
    """Return an intruder in another person's user, and the reset of its password."""
    token, kept = a_mail_token()
    account = an_account(service, reset=kept)
    address = account.data["email"]
    opened = service.log_in_by(USERPASS, by_password(address))
    intruder = Intruder(service, address, opened)
    intruder.settle()
    return intruder, lambda: reset(service, account.key, token)


def test_given_an_intruder_in_twelve_threads_when_the_owner_resets_then_it_is_out(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 5):
        intruder, reset_it = an_intruder(service)

        with intruder.holding_on(comes_back=True):
            reset_it()
            after = user_of(service, intruder.opened)
            # It keeps trying every way it knows.
            threading.Event().wait(0.2)

        last = user_of(service, intruder.opened)
        for user in (after, last):
            assert (user.sessions, user.api_keys) == ({}, {})
            assert [i.provider for i in user.usable_identities()] == [USERPASS]
        with pytest.raises(WrongPassword):
            service.log_in_by(USERPASS, by_password(intruder.address))
        key = service.store.get_identity(APP, API_KEY, hash_secret(intruder.secret))
        assert key is None
        back = service.log_in_by(CUSTOM, {"token": intruder.trojan})
        assert back.user.id != last.id
        owner = service.log_in_by(USERPASS, by_password(intruder.address, NEW))
        assert owner.user.id == last.id
        assert_items_whole(service.items())


def test_given_an_intruder_in_twelve_threads_when_revoked_then_no_session_is_left(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 5):
        intruder, _ = an_intruder(service)
        user_id = intruder.opened.user.id

        with intruder.holding_on(comes_back=False):
            OperatorActions(service.store).revoke_sessions(APP, user_id, NOW)

        assert user_of(service, intruder.opened).sessions == {}
        assert_items_whole(service.items())


def test_given_an_intruder_in_twelve_threads_when_logged_out_everywhere_then_it_is_out(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 5):
        intruder, _ = an_intruder(service)
        owner = service.log_in_by(USERPASS, by_password(intruder.address))

        with intruder.holding_on(comes_back=False):
            service.log_out_everywhere(owner)

        assert user_of(service, owner).sessions == {}
        assert_items_whole(service.items())


def test_given_an_intruder_in_twelve_threads_when_its_session_is_ended_then_it_is_out(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 5):
        intruder, _ = an_intruder(service)
        owner = service.log_in_by(USERPASS, by_password(intruder.address))

        with intruder.holding_on(comes_back=False):
            service.end(owner, intruder.opened.session.id)

        assert set(user_of(service, owner).sessions) == {owner.session.id}
        assert_items_whole(service.items())


def test_given_an_intruder_in_twelve_threads_when_an_operator_deletes_then_it_is_done(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 5):
        intruder, _ = an_intruder(service)
        shown = user_of(service, intruder.opened)

        with intruder.holding_on(comes_back=False):
            OperatorActions(service.store).delete_as_shown(shown, NOW)

        assert service.store.get_user(APP, shown.id) is None
        assert_items_whole(service.items())
