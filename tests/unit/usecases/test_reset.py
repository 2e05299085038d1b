"""POST …/local-userpass/reset, reset/send and reset/call."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.identities import IdentityRecord
from anonauth.domain.providers import ANONYMOUS, USERPASS
from anonauth.domain.users import User
from anonauth.errors import AuthError
from anonauth.usecases.userpass import UserpassAccounts
from support.service.harness import (
    APP,
    LINK,
    Reply,
)
from support.service.mailed_accounts import (
    EMAIL,
    KEY,
    MAIL,
    OTHER,
    PASSWORD,
    TOKEN_INVALID,
    MailedAccounts,
    refusal,
)
from support.service.rate_limits import NETWORK


def test_given_no_mail_when_asking_for_a_reset_then_refused(
    mailless: MailedAccounts,
) -> None:
    mailless.register()
    before = mailless.service.items()

    reply = mailless.post("reset/send", email=EMAIL)

    text = "please use reset password via function"
    assert refusal(reply) == (400, "BadRequest", text)
    assert mailless.service.items() == before


def test_given_an_account_when_reset_then_the_new_password_works_and_not_the_old(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    data = world.asked_for_reset("ADA@example.COM")
    old = world.stored()

    reply = world.post("reset", **data, password=OTHER)

    assert (reply.status, reply.text) == (200, "{}")
    assert world.sent[-1].destinations["ToAddresses"] == [EMAIL]
    assert world.stored() == replace(
        old,
        version=2,
        reset=None,
        password_hash=world.stored().password_hash,
        expires_at=world.now + timedelta(days=30),
    )
    assert (world.log_in(PASSWORD), world.log_in(OTHER)) == ("WrongPassword", "ok")


@pytest.mark.parametrize("budget", ["account", "consecutive"])
def test_given_guesses_that_lock_strangers_out_when_the_owner_resets_then_it_logs_in(
    world: MailedAccounts, budget: str
) -> None:
    """The owner's network is unknown to the account, but a reset is always possible."""
    world.configure(mail=MAIL, budgets={budget: 2})
    world.confirmed()
    attempts = [
        world.log_in("a guess", network=f"198.51.100.{number}") for number in range(4)
    ]
    data = world.asked_for_reset()

    reply = world.post("reset", **data, password=OTHER)

    assert attempts[-1] == "BudgetSpent"
    assert reply.status == 200
    (counter,) = world.service.items("RATE#password-account#").values()
    assert counter.keys() == {"pk", "ttl"}
    assert world.log_in(OTHER, network="192.0.2.1") == "ok"


def test_given_a_wrong_token_when_resetting_then_guesses_still_count(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    world.log_in("a guess")
    data = world.asked_for_reset()

    world.post("reset", **(data | {"token": "x" * 43}), password=OTHER)

    (counter,) = world.service.items("RATE#password-account#").values()
    assert counter["number"] == {"N": "1"}


def test_given_a_used_token_when_used_again_then_it_is_dead(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    data = world.asked_for_reset()
    world.post("reset", **data, password=OTHER)

    assert refusal(world.post("reset", **data, password="third password")) == (
        TOKEN_INVALID
    )
    assert world.log_in(OTHER) == "ok"


def test_given_two_reset_mails_when_reset_then_only_the_later_works(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    first, second = world.asked_for_reset(), world.asked_for_reset()

    assert refusal(world.post("reset", **first, password=OTHER)) == TOKEN_INVALID
    assert world.post("reset", **second, password=OTHER).status == 200


def test_given_a_pending_account_when_reset_then_it_is_confirmed(
    world: MailedAccounts,
) -> None:
    """The owner has opened a mail, and an attacker who squatted the address is out."""
    world.registered()

    world.post("reset", **world.asked_for_reset(), password=OTHER)

    assert (world.stored().state, world.stored().verified) == ("confirmed", True)
    assert (world.log_in(PASSWORD), world.log_in(OTHER)) == ("WrongPassword", "ok")


def test_given_a_reset_mail_when_registered_anew_then_it_is_dead(
    world: MailedAccounts,
) -> None:
    world.registered()
    data = world.asked_for_reset()
    world.register(password=OTHER)

    reply = world.post("reset", **data, password="third password")

    assert refusal(reply) == TOKEN_INVALID


@pytest.mark.parametrize("verified", [True, False])
def test_given_a_user_when_its_password_is_reset_then_all_else_ends(
    world: MailedAccounts, verified: bool
) -> None:
    """Other identities stay if a mail had verified the address before."""
    if verified:
        world.confirmed()
    else:
        world.configure()
        world.register()
        world.configure(mail=MAIL)
    before = world.bind()
    data = world.asked_for_reset()

    assert world.post("reset", **data, password=OTHER).status == 200

    user, record = world.user(), world.stored()
    assert (user.sessions, user.api_keys) == ({}, {})
    # One write ends the sessions, and one sets the password.
    assert user.version == before.version + 2
    kept = {identity.provider for identity in user.identities}
    assert kept == {ANONYMOUS, USERPASS} | ({"custom-token"} if verified else set())
    mine = user.find_identity(USERPASS, KEY)
    assert mine is not None
    assert (record.state, record.user_id, record.version) == ("bound", user.id, 2)
    assert (mine.version, record.verified) == (2, True)
    keys = set(world.service.items("IDENT#"))
    assert any("api-key" in key for key in keys) is False
    assert any("custom-token" in key for key in keys) is verified
    assert (world.log_in(PASSWORD), world.log_in(OTHER)) == ("WrongPassword", "ok")


def test_given_a_user_when_its_password_is_reset_then_one_call_follows_its_sessions(
    world: MailedAccounts,
) -> None:
    """A session that opens in between takes more calls, so it cannot win every time."""
    world.confirmed()
    world.bind()
    data = world.asked_for_reset()

    calls = world.service.counted(lambda: world.post("reset", **data, password=OTHER))

    assert calls == ["GetItem", "UpdateItem", "UpdateItem", "TransactWriteItems"]
    assert world.log_in(OTHER) == "ok"


def test_given_the_user_was_deleted_when_resetting_then_the_token_is_invalid(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    world.bind()
    data = world.asked_for_reset()
    pk = {"S": f"USER#{APP}#{world.user().id}"}
    mark = {"pk": {"S": f"GONE#{APP}#{world.user().id}"}, "reason": {"S": "requested"}}
    world.service.db.delete_item(TableName=world.service.table, Key={"pk": pk})
    world.service.db.put_item(TableName=world.service.table, Item=mark)
    before = world.service.items()

    assert refusal(world.post("reset", **data, password=OTHER)) == TOKEN_INVALID
    assert world.service.items() == before


@pytest.mark.parametrize(
    ("races", "ends"), [(1, "ok"), (9, "ok"), (10, "StoreUnavailable")]
)
def test_given_a_user_that_changes_when_resetting_then_it_is_read_again(
    world: MailedAccounts, races: int, ends: str
) -> None:
    """The password is hashed once, however often the decision is repeated."""
    world.confirmed()
    world.bind()
    data = world.asked_for_reset()
    store = world.service.services.store
    reads: list[User] = []

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def end_sessions(self, app: str, user_id: str, now: datetime) -> User | None:
            user: User | None = store.end_sessions(app, user_id, now)
            assert user is not None
            reads.append(user)
            if len(reads) <= races:
                user = replace(user, version=user.version - 1)
            return user

    accounts = UserpassAccounts(
        app=APP,
        store=store,
        users=Racing(),
        passwords=world.passwords,
        addresses=world.service.services.addresses,
        min_password_length=6,
        mail=None,
        registrations=None,
    )
    del world.passwords.asked[:]
    outcome = "ok"
    try:
        accounts.reset_password(
            token=data["token"],
            token_id=data["tokenId"],
            password=OTHER,
            now=world.now,
        )
    except AuthError as exc:
        outcome = type(exc).__name__

    assert outcome == ends
    assert world.passwords.asked == ["hash"]
    assert world.log_in(OTHER) == ("ok" if ends == "ok" else "WrongPassword")


@pytest.mark.parametrize("is_home", [False, True], ids=["away", "at home"])
def test_given_an_unknown_address_when_asking_for_a_reset_then_only_no_mail_is_sent(
    world: MailedAccounts, is_home: bool
) -> None:
    world.confirmed()
    if is_home:  # the account then knows the network, which has mails of its own
        credential = json.dumps({"username": EMAIL, "password": PASSWORD})
        reply = world.service.send(
            LINK, parameters={"provider": USERPASS}, body=credential, network=NETWORK
        )
        assert reply.status == 200
    assert world.post("reset/send", email="bob@example.com").status == 200  # warm

    def ask(email: str) -> list[tuple[str, int]]:
        wire = world.service.wire
        wire.reset()
        replies.append(world.post("reset/send", email=email))
        sizes = [len(json.dumps(body)) for body in wire.bodies]
        return list(zip(wire.calls, sizes, strict=True))

    replies: list[Reply] = []
    known, unknown = ask(EMAIL), ask("eve@example.com")

    assert known[:-1] == unknown  # so many bytes, too
    assert known[-1][0] == "SendEmail"
    assert [(r.status, r.text, r.headers) for r in replies[:1]] == [
        (r.status, r.text, r.headers) for r in replies[1:]
    ]
    assert len(world.service.items("IDENT#")) == 1


def test_given_a_registration_meanwhile_when_asking_for_a_reset_then_as_if_unknown(
    world: MailedAccounts,
) -> None:
    """The address is registered between our read and our write, which changes nothing.

    Who asks again gets a mail.
    """
    store = world.service.services.store

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def set_reset(self, *args: Any) -> bool:
            world.service.services.store = store
            assert world.register().status == 200
            return store.set_reset(*args)

    world.service.services.store = Racing()  # type: ignore[assignment]

    reply = world.post("reset/send", email=EMAIL)

    assert (reply.status, len(world.sent)) == (200, 1)  # the confirm mail
    assert (world.stored().version, world.stored().reset) == (1, None)


def test_given_an_expired_account_when_asking_for_a_reset_then_as_if_unknown(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    del world.sent[:]
    world.wait(timedelta(days=30))

    reply = world.post("reset/send", email=EMAIL)

    assert (reply.status, world.sent) == (200, [])
    assert world.stored().reset is None


@pytest.mark.parametrize(
    ("races", "status"),
    [pytest.param(9, 200, id="9 times"), pytest.param(10, 503, id="10 times")],
)
def test_given_registrations_meanwhile_when_asking_for_a_reset_then_the_latest_gets_it(
    world: MailedAccounts, races: int, status: int
) -> None:
    world.configure(mail=MAIL, budgets={"mails": 20})
    world.registered()
    store = world.service.services.store
    tried: list[int] = []

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def set_reset(self, record: IdentityRecord, *args: Any) -> bool:
            tried.append(record.version)
            if len(tried) <= races:
                newer = replace(record, version=record.version + 1)
                assert store.register(newer, world.now)
            return store.set_reset(record, *args)

    world.service.services.store = Racing()  # type: ignore[assignment]

    reply = world.post("reset/send", email=EMAIL)

    assert reply.status == status
    assert tried == list(range(1, 11))
    assert len(world.sent) == (2 if status == 200 else 1)


def test_given_arguments_that_are_no_array_when_calling_reset_then_400(
    world: MailedAccounts,
) -> None:
    reply = world.post("reset/call", email=EMAIL, password=OTHER, arguments="x")

    assert refusal(reply) == (400, "BadRequest", "arguments is not an array")
