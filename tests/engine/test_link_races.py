"""Simultaneous links, first logins, resets and API keys (design.md §4).

After each test `service` checks the invariants over the whole table: each bound
identity has one user, and that user lists it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from anonauth.domain.providers import USERPASS
from anonauth.domain.users import (
    MOST_API_KEYS,
    MOST_IDENTITIES,
    MOST_SESSIONS,
    User,
)
from anonauth.errors import (
    AuthError,
    CredentialRefused,
    IdentityTaken,
    InvalidParameter,
    InvalidSession,
    LastIdentity,
    SecondUserpassRefused,
    StoreUnavailable,
    TooManyIdentities,
    WrongPassword,
)
from anonauth.usecases.link import LinkedSession
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import DAY, NOW
from support.engine.accounts import a_mail_token, an_account, by_password, reset
from support.engine.engines import Engine
from support.engine.racing import CALLERS, Service, a_subject, race, refusals, user_of

CUSTOM = "custom-token"

# The mixed races cover these as well, among others.
pytestmark = pytest.mark.long


def test_given_one_identity_when_many_guests_link_it_then_one_wins_and_all_live(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 8):
        guests = [service.log_in() for _ in range(CALLERS)]
        credential = {"token": a_subject()}

        outcomes = race(*[partial(service.link, g, CUSTOM, credential) for g in guests])

        winners = [o for o in outcomes if isinstance(o, LinkedSession)]
        assert len(winners) == 1
        assert {type(o) for o in refusals(outcomes)} == {IdentityTaken}
        record = service.record(CUSTOM, credential["token"])
        assert record is not None
        assert record.user_id == winners[0].user.id
        for guest in guests:
            user = user_of(service, guest)
            assert user.anonymous == (user.id != record.user_id)
            assert service.refresh(guest, NOW + DAY)


def test_given_one_guest_when_it_links_many_identities_then_all_are_listed(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 20):
        guest = service.log_in()
        subjects = [a_subject() for _ in range(CALLERS)]

        outcomes = race(
            *[partial(service.link, guest, CUSTOM, {"token": s}) for s in subjects]
        )

        assert refusals(outcomes) == []
        listed = {identity.id for identity in user_of(service, guest).identities[1:]}
        assert listed == set(subjects)


def test_given_one_identity_when_one_guest_links_it_at_once_then_all_succeed(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 20):
        guest = service.log_in()
        credential = {"token": a_subject()}

        outcomes = race(*[partial(service.link, guest, CUSTOM, credential)] * CALLERS)

        assert refusals(outcomes) == []
        assert len(user_of(service, guest).identities) == 2


def test_given_room_for_one_when_many_identities_are_linked_then_one_fits(
    service: Service,
) -> None:
    guest = service.log_in()
    for _ in range(MOST_IDENTITIES - 2):
        service.link(guest, CUSTOM, {"token": a_subject()})

    outcomes = race(
        *[
            partial(service.link, guest, CUSTOM, {"token": a_subject()})
            for _ in range(CALLERS)
        ]
    )

    assert len(refusals(outcomes)) == CALLERS - 1
    assert {type(o) for o in refusals(outcomes)} == {TooManyIdentities}
    assert len(user_of(service, guest).identities) == MOST_IDENTITIES


def test_given_two_addresses_when_one_guest_links_both_then_it_has_one(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 8):
        guest = service.log_in()
        addresses = [an_account(service).data["email"] for _ in range(2)]

        outcomes = race(
            *[
                partial(service.link, guest, USERPASS, by_password(address))
                for address in addresses
            ]
        )

        assert [type(o) for o in refusals(outcomes)] == [SecondUserpassRefused]
        assert len(user_of(service, guest).identities) == 2


def test_given_a_new_identity_when_many_log_in_by_it_then_there_is_one_user(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 20):
        credential = {"token": a_subject()}

        outcomes = race(*[partial(service.log_in_by, CUSTOM, credential)] * CALLERS)

        opened = [o for o in outcomes if isinstance(o, OpenedSession)]
        assert len(opened) == CALLERS, outcomes
        assert len({o.user.id for o in opened}) == 1
        assert len(user_of(service, opened[0]).sessions) == CALLERS


def test_given_a_login_and_a_link_of_a_new_account_when_racing_then_one_has_it(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 8):
        guest = service.log_in()
        credential = by_password(an_account(service).data["email"])

        calls: list[Callable[[], object]] = [
            partial(service.link, guest, USERPASS, credential),
            partial(service.log_in_by, USERPASS, credential),
        ]
        linked, opened = race(*calls)

        assert isinstance(opened, OpenedSession), opened
        if isinstance(linked, LinkedSession):
            assert opened.user.id == guest.user.id
        else:
            assert isinstance(linked, IdentityTaken)
            assert user_of(service, guest).anonymous


def test_given_sessions_to_the_limit_when_many_log_in_then_it_is_kept(
    service: Service, engine: Engine
) -> None:
    credential = {"token": a_subject()}
    opened = service.log_in_by(CUSTOM, credential)
    for _ in range(MOST_SESSIONS - 3):
        service.log_in_by(CUSTOM, credential)

    for _ in range(engine.rounds // 20):
        outcomes = race(*[partial(service.log_in_by, CUSTOM, credential)] * CALLERS)
        assert {type(o) for o in refusals(outcomes)} <= {StoreUnavailable}
        assert len(user_of(service, opened).sessions) <= MOST_SESSIONS
    assert len(user_of(service, opened).sessions) == MOST_SESSIONS


def resetting(service: Service, address: str) -> Callable[[], None]:
    """Mail a reset token; return the call that sets the password `NEW` with it."""
    token, kept = a_mail_token()
    record = service.record(USERPASS, address)
    assert record is not None
    assert service.store.set_reset(record, kept, NOW)
    return partial(reset, service, record.key, token)


def log_in_while_resetting(service: Service) -> tuple[list[Any], str, User]:
    address = an_account(service).data["email"]
    opened = service.log_in_by(USERPASS, by_password(address))
    log_in = partial(service.log_in_by, USERPASS, by_password(address))
    calls: list[Callable[[], object]] = [*[log_in] * (CALLERS - 1)]
    outcomes = race(*calls, resetting(service, address))
    return outcomes, address, user_of(service, opened)


def test_given_a_reset_when_the_old_password_logs_in_then_no_session_is_left(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 5):
        outcomes, address, user = log_in_while_resetting(service)

        assert outcomes.pop() is None
        assert {type(o) for o in refusals(outcomes)} <= {WrongPassword}
        assert user.sessions == {}
        for opened in outcomes:
            if isinstance(opened, OpenedSession):
                with pytest.raises(InvalidSession):
                    service.refresh(opened, NOW)
        assert service.log_in_by(USERPASS, by_password(address, "new"))


def test_given_a_reset_when_a_link_with_the_old_password_races_then_it_has_lost(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 8):
        address = an_account(service).data["email"]
        guest = service.log_in()

        calls: list[Callable[[], object]] = [
            partial(service.link, guest, USERPASS, by_password(address)),
            resetting(service, address),
        ]
        linked, was_reset = race(*calls)

        assert was_reset is None
        user = user_of(service, guest)
        if isinstance(linked, LinkedSession):
            # The login was first, so the reset has ended its session.
            assert user.sessions == {}
        else:
            assert isinstance(linked, CredentialRefused)
            assert user.anonymous


def test_given_two_identities_when_both_are_unlinked_then_the_last_one_stays(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 8):
        guest = service.log_in()
        subjects = [a_subject(), a_subject()]
        for subject in subjects:
            service.link(guest, CUSTOM, {"token": subject})

        outcomes = race(
            *[partial(service.unlink, guest, CUSTOM, subject) for subject in subjects]
        )

        assert [type(o) for o in refusals(outcomes)] == [LastIdentity]
        assert len(user_of(service, guest).identities) == 2


def test_given_room_for_one_when_many_keys_are_made_then_one_fits(
    service: Service,
) -> None:
    opened = service.log_in_by(CUSTOM, {"token": a_subject()})

    make = partial(service.create_api_key, opened)

    for number in range(MOST_API_KEYS - 1):
        make(f"key-{number}")

    outcomes = race(*[partial(make, f"last-{n}") for n in range(3)])

    assert [type(o) for o in refusals(outcomes)] == [InvalidParameter] * 2
    assert len(user_of(service, opened).api_keys) == MOST_API_KEYS


def test_given_a_key_when_disabled_while_it_logs_in_then_no_session_of_it_lives(
    service: Service, engine: Engine
) -> None:
    for _ in range(engine.rounds // 20):
        opened = service.log_in_by(CUSTOM, {"token": a_subject()})
        key, secret = service.create_api_key(opened, "ci")

        log_in = partial(service.log_in_by, "api-key", {"key": secret})
        disable = partial(service.disable_api_key, opened, key.id)
        calls: list[Callable[[], object]] = [*[log_in] * 5, disable]
        *logins, disabled = race(*calls)

        assert not isinstance(disabled, AuthError), disabled
        for login in logins:
            if isinstance(login, OpenedSession):
                with pytest.raises(InvalidSession):
                    service.refresh(login, NOW)
