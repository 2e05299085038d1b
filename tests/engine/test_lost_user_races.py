"""All that can make a lost user again do so at the same moment.

Its item was deleted by hand. In every case there is one user under the old id. After
each test `service` checks the invariants over the whole table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from anonauth.domain.providers import USERPASS
from anonauth.domain.users import User
from anonauth.errors import InvalidSession, WrongPassword
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP, NOW
from support.engine.accounts import NEW, a_mail_token, an_account, by_password, reset
from support.engine.engines import Engine
from support.engine.racing import Service, a_subject, race, refusals

CUSTOM = "custom-token"

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Lost:
    """A user whose item is lost, with its credentials and its reset."""

    id: str
    address: str
    jwt: dict[str, str]
    reset: Callable[[], None]

    def by_password(self, service: Service) -> Callable[[], OpenedSession]:
        return partial(service.log_in_by, USERPASS, by_password(self.address))

    def by_jwt(self, service: Service) -> Callable[[], OpenedSession]:
        return partial(service.log_in_by, CUSTOM, self.jwt)


def a_lost_user(service: Service, *, verified: bool) -> Lost:
    token, kept = a_mail_token()
    account = an_account(service, reset=kept, verified=verified)
    address = account.data["email"]
    opened = service.log_in_by(USERPASS, by_password(address))
    jwt = {"token": a_subject()}
    service.link(opened, CUSTOM, jwt)
    item = service.item(opened)
    assert item is not None
    service.drop([item])
    resetting = partial(reset, service, account.key, token)
    return Lost(opened.user.id, address, jwt, resetting)


def user_of(service: Service, lost: Lost) -> User:
    user = service.store.get_user(APP, lost.id)
    assert user is not None
    return user


def providers_of(user: User) -> list[str]:
    return sorted(identity.provider for identity in user.identities)


def test_given_a_lost_user_when_two_identities_log_in_then_they_are_one_user(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 8):
        lost = a_lost_user(service, verified=True)

        outcomes = race(
            *[lost.by_password(service), lost.by_jwt(service)] * 4,
        )

        opened = [each for each in outcomes if isinstance(each, OpenedSession)]
        assert refusals(outcomes) == []
        assert {each.user.id for each in opened} == {lost.id}
        user = user_of(service, lost)
        assert providers_of(user) == [CUSTOM, USERPASS]
        assert set(user.sessions) == {each.session.id for each in opened}
        for each in opened:
            assert service.refresh(each, NOW)


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "never verified"])
def test_given_a_lost_user_when_a_reset_and_logins_race_then_the_reset_wins(
    service: Service, engine: Engine, verified: bool
) -> None:
    for _ in range(engine.rounds // 5):
        lost = a_lost_user(service, verified=verified)
        by_old_password = [lost.by_password(service)] * 4

        calls: list[Callable[[], object]] = [*by_old_password]
        calls += [lost.by_jwt(service)] * 3
        outcomes = race(*calls, lost.reset)

        assert outcomes.pop() is None
        by_jwt = [each for each in outcomes[4:] if isinstance(each, OpenedSession)]
        assert {type(each) for each in refusals(outcomes)} <= {WrongPassword}
        assert len(by_jwt) == 3
        assert_ended(service, outcomes[:4])
        assert_jwt_is_in(service, lost, by_jwt, its_user=verified)
        with pytest.raises(WrongPassword):
            service.log_in_by(USERPASS, by_password(lost.address))
        owner = service.log_in_by(USERPASS, by_password(lost.address, NEW))
        assert owner.user.id == lost.id


def assert_ended(service: Service, outcomes: list[object]) -> None:
    for each in outcomes:
        if isinstance(each, OpenedSession):
            with pytest.raises(InvalidSession):
                service.refresh(each, NOW)


def assert_jwt_is_in(
    service: Service, lost: Lost, opened: list[OpenedSession], *, its_user: bool
) -> None:
    """Check that the JWT's own sessions belong to the user, or to another for good."""
    users = {each.user.id for each in opened}
    again = service.log_in_by(CUSTOM, lost.jwt)
    alive = {*user_of(service, lost).sessions}
    assert (again.user.id == lost.id) is its_user
    if its_user:
        assert users == {lost.id}
        assert providers_of(user_of(service, lost)) == [CUSTOM, USERPASS]
        assert alive - {again.session.id} <= {each.session.id for each in opened}
    else:
        # A login that came first made the lost user again; the reset ended its session.
        assert users <= {lost.id, again.user.id}
        assert providers_of(user_of(service, lost)) == [USERPASS]
        assert alive == set()
