"""POST …/local-userpass/…: register, confirm and reset, with and without mail."""

import io
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.expiry import SWEEP_DELAY
from anonauth.domain.identities import IdentityRecord
from anonauth.domain.providers import ANONYMOUS, USERPASS
from anonauth.domain.users import User
from anonauth.errors import AuthError, MailUnavailable
from anonauth.usecases.userpass import Accounts, reset_password
from support.service.harness import (
    APP,
    OTHER_APP,
    START,
    USERPASS_PREFIX,
    Reply,
)
from support.service.mailed_accounts import (
    AFTER_EFFECT,
    AUTOMATIC,
    CALLS,
    EMAIL,
    HALF_AN_HOUR,
    KEY,
    MAIL,
    NAME_IN_USE,
    OTHER,
    PASSWORD,
    REGISTRATIONS,
    SECOND,
    SENDING,
    TOKEN_INVALID,
    TOKEN_MALFORMED,
    MailedAccounts,
    refusal,
)
from support.service.passwords import CountingPasswords
from support.service.rate_limits import CLIENT_PAIRS, NETWORK, assert_spent
from support.service.wire import FAULTS, Fault


def test_given_no_mail_when_registering_then_it_is_confirmed_and_makes_no_user(
    mailless: MailedAccounts,
) -> None:
    reply = mailless.register()

    assert (reply.status, reply.text) == (200, "{}")
    record = mailless.stored()
    assert (record.state, record.verified, record.version) == ("confirmed", False, 1)
    assert record.user_id is None
    assert record.data == {"email": EMAIL}
    assert record.confirmation is None
    assert record.expires_at == START + timedelta(days=30)
    assert re.fullmatch("[0-9a-f]{24}", record.id)
    assert mailless.service.items("USER#") == {}
    assert mailless.sent == []
    assert mailless.log_in() == "ok"


def test_given_mail_when_registering_then_it_is_pending_and_a_mail_is_sent(
    world: MailedAccounts,
) -> None:
    reply = world.register()

    assert (reply.status, reply.text) == (200, "{}")
    record = world.stored()
    assert (record.state, record.verified) == ("pending", False)
    assert record.expires_at == START + timedelta(hours=24)
    (mail,) = world.sent
    assert mail.source == MAIL["sender"]
    assert mail.destinations["ToAddresses"] == [EMAIL]
    assert world.log_in() == "NotConfirmed"
    assert world.service.items("USER#") == {}


def test_given_a_registration_when_stored_then_no_secret_is_in_clear(
    world: MailedAccounts,
) -> None:
    data = world.registered()

    (item,) = world.service.items("IDENT#").values()
    assert item["pk"]["S"] == f"IDENT#{APP}#{USERPASS}#{data['tokenId']}"
    assert item["ttl"]["N"] == str(
        int((START + timedelta(hours=24) + SWEEP_DELAY).timestamp())
    )
    assert item["password_hash"]["S"].startswith("$argon2id$v=19$")
    assert PASSWORD not in str(item)
    assert data["token"] not in str(item)
    assert world.stored().confirmation is not None


@pytest.mark.parametrize(
    ("password", "shortest", "status"),
    [
        pytest.param("", 6, 400, id="empty"),
        pytest.param("12345", 6, 400, id="5 characters"),
        pytest.param("123456", 6, 200, id="6 characters"),
        pytest.param("\u2603" * 5, 6, 400, id="5 characters of 3 bytes"),
        pytest.param("\u2603" * 128, 6, 200, id="128 characters of 3 bytes"),
        pytest.param("x" * 128, 6, 200, id="128 characters"),
        pytest.param("x" * 129, 6, 400, id="129 characters"),
        pytest.param("x" * 11, 12, 400, id="11 of 12"),
        pytest.param("x" * 12, 12, 200, id="12 of 12"),
        pytest.param("      ", 6, 200, id="white space"),
        pytest.param("e\u0301" * 5, 6, 400, id="5 characters in 10 parts"),
        pytest.param("e\u0301" * 6, 6, 200, id="6 characters in 12 parts"),
        pytest.param("e\u0301" * 128, 6, 200, id="128 characters in 256 parts"),
        pytest.param("e\u0301" * 129, 6, 400, id="129 characters in 258 parts"),
    ],
)
@pytest.mark.parametrize("call", ["register", "reset"])
def test_given_a_password_when_set_then_its_length_decides(
    world: MailedAccounts, call: str, password: str, shortest: int, status: int
) -> None:
    world.configure(mail=MAIL, min_password_length=shortest)
    fields = {"email": EMAIL}
    if call == "reset":
        assert world.register(password="x" * 20).status == 200
        fields = world.asked_for_reset()
    before = world.record()

    reply = world.post(call, password=password, **fields)

    assert reply.status == status
    assert (world.record() == before) == (status == 400)
    if status == 400:
        assert refusal(reply) == (
            400,
            "BadRequest",
            f"password must be between {shortest} and 128 characters",
        )


@pytest.mark.parametrize(
    "email",
    ["", "ada", "ada@localhost", "ada @example.com", "ada@example.com\r\nBcc: e@x.de"],
    ids=repr,
)
def test_given_no_address_when_registering_then_email_invalid_and_nothing_is_done(
    world: MailedAccounts, email: str
) -> None:
    """tests/unit/test_email_addresses.py has the whole table."""
    reply = world.register(email)

    assert refusal(reply) == (400, "BadRequest", "email invalid")
    assert world.service.items("IDENT#") == world.service.items("RATE#") == {}
    assert world.passwords.asked == world.sent == []


@pytest.mark.parametrize(
    ("registered", "typed"),
    [
        pytest.param("ada@b\u00fccher.example", "ada@xn--bcher-kva.example", id="A"),
        pytest.param("ada@xn--bcher-kva.example", "ada@b\u00fccher.example", id="U"),
        pytest.param("ada@example.com", "\tAda@example.com ", id="blanks typed"),
        pytest.param("\tAda@example.com ", "ada@example.com", id="blanks registered"),
    ],
)
def test_given_two_spellings_when_used_then_they_are_one_address_at_every_entry(
    world: MailedAccounts, registered: str, typed: str
) -> None:
    """Chromium hands over the domain in Punycode; phones add a blank."""
    data = world.registered(registered)
    (item,) = world.service.items("IDENT#").values()
    assert item["data"]["M"]["email"]["S"] == registered.strip()

    assert world.post("confirm/send", email=typed).status == 200
    assert refusal(world.post("confirm", **data)) == TOKEN_INVALID
    assert world.post("confirm", **world.token_data()).status == 200
    assert world.log_in(email=typed) == "ok"
    assert refusal(world.register(typed)) == NAME_IN_USE
    reset = world.asked_for_reset(typed)
    assert len(world.sent) == 3
    assert world.post("reset", **reset, password=OTHER).status == 200
    assert world.log_in(OTHER, typed) == "ok"
    (item,) = world.service.items("IDENT#").values()
    assert item["version"] == {"N": "2"}
    (to,) = {mail.destinations["ToAddresses"][0] for mail in world.sent}
    assert to.isascii()
    assert to == to.strip()


def test_given_a_password_in_two_forms_when_used_then_it_is_one(
    world: MailedAccounts,
) -> None:
    world.register(password="p\u00e4ssword")
    world.register(password="pa\u0308ssword")
    assert not world.stored().contested
    assert world.post("confirm", **world.token_data()).status == 200

    assert world.log_in("pa\u0308ssword") == world.log_in("p\u00e4ssword") == "ok"


@pytest.mark.parametrize("bound", [False, True], ids=["confirmed", "bound"])
def test_given_a_registered_address_when_registering_then_409_and_no_effort(
    world: MailedAccounts, bound: bool
) -> None:
    world.confirmed()
    if bound:
        world.bind()
    before = world.accounts()
    del world.passwords.asked[:], world.sent[:]

    replies = [world.register("ADA@EXAMPLE.COM", OTHER), world.register()]

    assert [refusal(reply) for reply in replies] == [NAME_IN_USE] * 2
    assert world.accounts() == before
    assert world.passwords.asked == world.sent == []
    assert world.log_in() == "ok"


def test_given_a_pending_address_when_registered_anew_then_all_of_it_is_replaced(
    world: MailedAccounts,
) -> None:
    """Nobody squats an address: the first mail's link is dead."""
    first = world.registered()
    old = world.stored()

    assert world.register("ADA@example.com", OTHER).status == 200

    new = world.stored()
    assert (new.version, new.state) == (2, "pending")
    assert new.id != old.id
    assert new.data == {"email": "ADA@example.com"}
    assert refusal(world.post("confirm", **first)) == TOKEN_INVALID
    assert world.post("confirm", **world.token_data()).status == 200
    assert (world.log_in(PASSWORD), world.log_in(OTHER)) == ("WrongPassword", "ok")


def test_given_a_pending_address_when_mail_is_switched_off_then_anew_confirms_it(
    world: MailedAccounts,
) -> None:
    world.registered()

    world.configure()

    assert world.register(password=OTHER).status == 200
    assert world.log_in(OTHER) == "ok"


def test_given_an_unused_account_when_30_days_pass_then_the_address_is_free(
    mailless: MailedAccounts,
) -> None:
    mailless.register()

    mailless.wait(timedelta(days=30) - SECOND)
    before = mailless.register(password=OTHER)
    mailless.wait(SECOND)
    after = mailless.register(password=OTHER)

    assert refusal(before) == NAME_IN_USE
    assert after.status == 200
    assert mailless.stored().version == 2
    assert mailless.log_in(OTHER) == "ok"


def test_given_a_bound_account_when_years_pass_then_the_address_is_taken(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    world.bind()

    world.wait(timedelta(days=3 * 365))

    assert refusal(world.register()) == NAME_IN_USE


def test_given_one_address_in_two_apps_when_registering_then_two_accounts(
    mailless: MailedAccounts,
) -> None:
    both: dict[str, Any] = {app: {USERPASS: {}} for app in (APP, OTHER_APP)}
    mailless.settle(both)

    for app in (APP, OTHER_APP):
        reply = mailless.post("register", app, email=EMAIL, password=PASSWORD)
        assert reply.status == 200

    assert len(mailless.service.items("IDENT#")) == 2


def test_given_a_confirmation_meanwhile_when_registering_anew_then_409(
    world: MailedAccounts,
) -> None:
    """Between our read and our write: the write decides."""
    data = world.registered()
    store = world.service.services.store

    class Racing(CountingPasswords):
        def hash(self, password: str) -> str:
            assert store.confirm(APP, KEY, hash_secret(data["token"]), world.now)
            return super().hash(password)

    world.service.services.passwords = Racing()

    assert refusal(world.register(password=OTHER)) == NAME_IN_USE
    assert world.log_in() == "ok"


def test_given_a_mail_when_confirmed_then_the_account_can_be_used_for_30_days(
    world: MailedAccounts,
) -> None:
    data = world.registered()
    world.wait(timedelta(minutes=5))

    reply = world.post("confirm", **data)

    assert (reply.status, reply.text) == (200, "{}")
    record = world.stored()
    assert (record.state, record.verified) == ("confirmed", True)
    assert record.expires_at == world.now + timedelta(days=30)
    assert world.log_in() == "ok"


def test_given_a_token_when_confirming_twice_then_both_succeed(
    world: MailedAccounts,
) -> None:
    """A link in a mail is opened twice: by a scanner, and by its reader."""
    data = world.registered()

    assert [world.post("confirm", **data).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("age", "status"),
    [
        pytest.param(HALF_AN_HOUR - SECOND, 200, id="29:59"),
        pytest.param(HALF_AN_HOUR, 400, id="30:00"),
    ],
)
@pytest.mark.parametrize("call", ["confirm", "reset"])
def test_given_a_token_when_30_minutes_pass_then_it_is_too_old(
    world: MailedAccounts, call: str, age: timedelta, status: int
) -> None:
    data = world.registered() if call == "confirm" else {}
    if call == "reset":
        world.confirmed()
        data = world.asked_for_reset() | {"password": OTHER}

    world.wait(age)
    reply = world.post(call, **data)

    assert reply.status == status
    if status == 400:
        assert refusal(reply) == TOKEN_INVALID


def test_given_a_registration_when_24_hours_pass_then_a_late_mail_is_of_no_use(
    world: MailedAccounts,
) -> None:
    world.registered()
    world.wait(timedelta(hours=23, minutes=45))
    assert world.post("confirm/send", email=EMAIL).status == 200
    data = world.token_data()

    world.wait(timedelta(minutes=15))

    assert refusal(world.post("confirm", **data)) == TOKEN_INVALID
    assert world.log_in() == "WrongPassword"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"token": "x" * 43}, TOKEN_INVALID, id="other token"),
        pytest.param({"tokenId": "x" * 43}, TOKEN_INVALID, id="other id"),
        # A token of the old service, from realm-dart's tests.
        pytest.param(
            {"token": "0e6340a4" * 16, "tokenId": "6268f7dd73fafea76b730fc9"},
            TOKEN_INVALID,
            id="old service",
        ),
        pytest.param({"token": "abc", "tokenId": "123"}, TOKEN_MALFORMED, id="dart"),
        pytest.param(
            {"token": "e30=", "tokenId": "some-token-id"}, TOKEN_MALFORMED, id="web"
        ),
        pytest.param({"token": ""}, TOKEN_MALFORMED, id="empty token"),
        pytest.param({"tokenId": ""}, TOKEN_MALFORMED, id="empty id"),
        pytest.param({"token": "x" * 42 + "="}, TOKEN_MALFORMED, id="padded"),
        pytest.param({"token": "x" * 42 + "\n"}, TOKEN_MALFORMED, id="line end"),
        pytest.param({"token": "x" * 42 + "#"}, TOKEN_MALFORMED, id="separator"),
        pytest.param({"tokenId": "x" * 42 + "#"}, TOKEN_MALFORMED, id="id separator"),
        pytest.param({"token": "x" * 129}, TOKEN_MALFORMED, id="overlong"),
        pytest.param({"tokenId": "x" * 129}, TOKEN_MALFORMED, id="overlong id"),
    ],
)
@pytest.mark.parametrize("call", ["confirm", "reset"])
def test_given_bad_token_data_when_used_then_refused_and_nothing_changes(
    world: MailedAccounts,
    call: str,
    changes: dict[str, str],
    expected: tuple[int, str, str],
) -> None:
    data = world.registered()
    if call == "reset":
        data = world.asked_for_reset() | {"password": OTHER}
    before = world.service.items()
    del world.passwords.asked[:]

    reply = world.post(call, **(data | changes))

    assert refusal(reply) == expected
    assert world.service.items() == before
    assert world.passwords.asked == []


@pytest.mark.parametrize("call", ["confirm", "reset"])
def test_given_the_other_kind_of_token_when_used_then_it_is_invalid(
    world: MailedAccounts, call: str
) -> None:
    confirmation = world.registered()
    reset = world.asked_for_reset()
    data = reset if call == "confirm" else confirmation | {"password": OTHER}

    assert refusal(world.post(call, **data)) == TOKEN_INVALID


def test_given_a_token_of_another_app_when_used_then_it_is_invalid(
    world: MailedAccounts,
) -> None:
    data = world.registered()
    reset = world.asked_for_reset()
    both = {app: {USERPASS: {"mail": MAIL}} for app in (APP, OTHER_APP)}
    world.settle(both)

    confirmed = world.post("confirm", OTHER_APP, **data)
    renewed = world.post("reset", OTHER_APP, **reset, password=OTHER)

    assert refusal(confirmed) == refusal(renewed) == TOKEN_INVALID


def test_given_a_pending_address_when_asked_then_a_new_mail_replaces_the_old(
    world: MailedAccounts,
) -> None:
    first = world.registered()
    world.wait(HALF_AN_HOUR)

    reply = world.post("confirm/send", email="ADA@EXAMPLE.COM")

    assert (reply.status, reply.text) == (200, "{}")
    assert [mail.destinations["ToAddresses"] for mail in world.sent] == [[EMAIL]] * 2
    assert refusal(world.post("confirm", **first)) == TOKEN_INVALID
    assert world.post("confirm", **world.token_data()).status == 200
    assert world.log_in() == "ok"


def test_given_an_unknown_address_when_asking_for_a_mail_then_404(
    world: MailedAccounts,
) -> None:
    reply = world.post("confirm/send", email=EMAIL)

    assert refusal(reply) == (404, "UserNotFound", "user not found")
    assert world.sent == []
    assert world.service.items("RATE#mail") == {}


def test_given_an_expired_address_when_asking_for_a_mail_then_404(
    world: MailedAccounts,
) -> None:
    world.registered()

    world.wait(timedelta(hours=24) - SECOND)
    assert world.post("confirm/send", email=EMAIL).status == 200
    world.wait(SECOND)
    assert world.post("confirm/send", email=EMAIL).status == 404


@pytest.mark.parametrize("mail", [MAIL, None], ids=["mail", "no mail"])
def test_given_a_confirmed_address_when_asking_for_a_mail_then_already_confirmed(
    world: MailedAccounts, mail: Any
) -> None:
    """Without mail too: realm-js, email-password-auth.test.ts, "resend email"."""
    world.confirmed()
    world.configure(mail=mail)
    del world.sent[:]

    reply = world.post("confirm/send", email=EMAIL)

    assert refusal(reply) == (400, "UserAlreadyConfirmed", "already confirmed")
    assert world.sent == []


def test_given_a_pending_address_when_mail_was_switched_off_then_none_is_sent(
    world: MailedAccounts,
) -> None:
    world.registered()
    world.configure()

    reply = world.post("confirm/send", email=EMAIL)

    assert refusal(reply) == (400, "BadRequest", AUTOMATIC.format(EMAIL))
    assert len(world.sent) == 1


@pytest.mark.parametrize("mail", [MAIL, None], ids=["mail", "no mail"])
def test_given_a_call_of_a_function_when_asked_then_the_sdks_text(
    world: MailedAccounts, mail: Any
) -> None:
    world.configure(mail=mail)
    before = world.service.items()

    confirm = world.post("confirm/call", email=EMAIL)
    reset = world.post("reset/call", email=EMAIL, password=OTHER, arguments=["x"])
    bare = world.post("reset/call", email=EMAIL, password=OTHER)

    failed = f'failed to reset password for user "{EMAIL}"'
    assert refusal(confirm) == (400, "BadRequest", AUTOMATIC.format(EMAIL))
    assert refusal(reset) == refusal(bare) == (400, "BadRequest", failed)
    assert world.service.items() == before


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
def test_given_guesses_that_lock_strangers_out_when_the_owner_resets_then_it_gets_in(
    world: MailedAccounts, budget: str
) -> None:
    """From a network that the account does not know; a reset is always open."""
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


def test_given_a_token_that_is_wrong_when_resetting_then_guesses_still_count(
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
    """The mail has come back; and whoever squatted the address is out."""
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
    """Other identities stay if the address had been verified by mail before."""
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
    # Once when the sessions end, and once with the password.
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
    """Hashed once, however often it is decided anew."""
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

    accounts = Accounts(
        app=APP,
        store=store,
        passwords=world.passwords,
        addresses=world.service.services.addresses,
        mailer=world.service.services.mailer,
        min_password_length=6,
        mail=None,
        registrations=None,
        mails=None,
    )
    del world.passwords.asked[:]
    outcome = "ok"
    try:
        reset_password(
            accounts,
            token=data["token"],
            token_id=data["tokenId"],
            password=OTHER,
            users=Racing(),
            now=world.now,
        )
    except AuthError as exc:
        outcome = type(exc).__name__

    assert outcome == ends
    assert world.passwords.asked == ["hash"]
    assert world.log_in(OTHER) == ("ok" if ends == "ok" else "WrongPassword")


def test_given_an_unknown_address_when_asking_for_a_reset_then_only_the_mail_lacks(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    assert world.post("reset/send", email="bob@example.com").status == 200  # warm

    def ask(email: str) -> list[str]:
        return world.service.counted(
            lambda: replies.append(world.post("reset/send", email=email))
        )

    replies: list[Reply] = []
    known, unknown = ask(EMAIL), ask("eve@example.com")

    assert known == [*unknown, "SendEmail"]
    assert [(r.status, r.text, r.headers) for r in replies[:1]] == [
        (r.status, r.text, r.headers) for r in replies[1:]
    ]
    assert len(world.service.items("IDENT#")) == 1


def test_given_an_expired_account_when_asking_for_a_reset_then_it_is_as_unknown(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    del world.sent[:]
    world.wait(timedelta(days=30))

    reply = world.post("reset/send", email=EMAIL)

    assert (reply.status, world.sent) == (200, [])
    assert world.stored().reset is None


def test_given_a_mail_when_read_then_it_says_what_it_is_and_links_to_the_app(
    world: MailedAccounts,
) -> None:
    world.confirmed()
    world.asked_for_reset()
    confirm, reset = world.sent

    assert confirm.subject == "Confirm your e-mail address"
    assert re.search(
        r"^https://app\.example/confirm\?token=[\w-]{43}&tokenId=[\w-]{43}$",
        confirm.body,
        re.MULTILINE,
    )
    assert "If you did not register, do not open the link" in confirm.body
    assert reset.subject == "Set a new password"
    assert re.search(
        r"^https://app\.example/reset\?lang=en"
        r"&token=[\w-]{43}&tokenId=[\w-]{43}#top$",
        reset.body,
        re.MULTILINE,
    )
    for mail in world.sent:
        assert "within 30 minutes" in mail.body
        assert PASSWORD not in mail.body


@pytest.mark.parametrize(
    ("url", "link"),
    [
        pytest.param("https://a.example", "https://a.example?DATA", id="host"),
        pytest.param("https://a.example/c?", "https://a.example/c?&DATA", id="mark"),
        pytest.param("https://a.example/?x=%20#y?", "https://a.example/?x=%20&DATA#y?"),
        pytest.param("https://a.example/#/c", "https://a.example/?DATA#/c", id="hash"),
        pytest.param("myapp:///confirm", "myapp:///confirm?DATA", id="native app"),
    ],
)
def test_given_a_page_of_the_app_when_linked_then_only_the_token_data_is_added(
    world: MailedAccounts, url: str, link: str
) -> None:
    world.configure(mail=MAIL | {"confirm_url": url})

    data = world.registered()

    query = f"token={data['token']}&tokenId={data['tokenId']}"
    assert world.link() == link.replace("DATA", query)


def test_given_a_confirmation_meanwhile_when_asking_for_a_mail_then_none_is_sent(
    world: MailedAccounts,
) -> None:
    """Between our read and our write: the write decides, and we read again."""
    data = world.registered()
    store = world.service.services.store

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def set_confirmation(self, *args: Any) -> bool:
            assert store.confirm(APP, KEY, hash_secret(data["token"]), world.now)
            return store.set_confirmation(*args)

    world.service.services.store = Racing()  # type: ignore[assignment]

    reply = world.post("confirm/send", email=EMAIL)

    assert (reply.status, reply.json["error_code"]) == (400, "UserAlreadyConfirmed")
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("races", "status"),
    [pytest.param(9, 200, id="9 times"), pytest.param(10, 503, id="10 times")],
)
def test_given_registrations_meanwhile_when_asking_for_a_reset_then_of_the_latest(
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


@pytest.mark.parametrize("call", ["confirm/send", "reset/send"])
def test_given_5_mails_in_an_hour_when_the_6th_is_due_then_429_and_nothing_changes(
    world: MailedAccounts, call: str
) -> None:
    world.registered()
    # The first confirm mail came with the registration.
    mails = ["reset/send"] * 5 if call == "reset/send" else ["confirm/send"] * 4
    for sending in mails:
        assert world.post(sending, email="ADA@example.com").status == 200
    del world.sent[:-5]
    world.wait(timedelta(minutes=10))
    before = world.accounts()
    hashed = len(world.passwords.asked)

    reply = world.post(call, email=EMAIL, password=OTHER)

    assert (reply.status, reply.json["error_code"]) == (429, "RateLimitExceeded")
    assert reply.headers["retry-after"] == "3000"
    assert world.accounts() == before
    assert len(world.passwords.asked) == hashed
    assert len(world.sent) == 5
    world.wait(timedelta(minutes=50) - SECOND)
    assert world.post(call, email=EMAIL, password=OTHER).status == 429
    world.wait(SECOND)
    assert world.post(call, email=EMAIL, password=OTHER).status == 200
    assert len(world.sent) == 6


def test_given_resets_of_nobody_when_the_budget_is_spent_then_it_can_still_register(
    world: MailedAccounts,
) -> None:
    """Else a stranger could lock an address out, and nothing would show."""
    for _ in range(6):
        spent = world.post("reset/send", email=EMAIL)
    assert spent.status == 429

    assert world.post("register", email=EMAIL, password=PASSWORD).status == 200
    assert len(world.sent) == 1


def test_given_an_unknown_address_when_asked_for_resets_then_the_same_budget(
    world: MailedAccounts,
) -> None:
    world.configure(mail=MAIL, budgets={"mails": 2})

    statuses = [world.post("reset/send", email=EMAIL).status for _ in range(3)]

    assert statuses == [200, 200, 429]


def test_given_a_spent_budget_when_others_register_then_they_have_their_own(
    world: MailedAccounts,
) -> None:
    world.configure(mail=MAIL, budgets={"mails": 1})
    world.registered()

    assert world.register().status == 200
    assert world.register("bob@example.com").status == 200
    sent = [mail.destinations["ToAddresses"] for mail in world.sent]
    assert sent == [[EMAIL], ["bob@example.com"]]


@pytest.mark.parametrize(
    ("password", "contested"),
    [
        pytest.param(PASSWORD, False, id="the same password"),
        pytest.param(OTHER, True, id="another password"),
    ],
)
def test_given_mails_that_are_spent_when_registering_then_only_the_contest_is_noted(
    world: MailedAccounts, password: str, contested: bool
) -> None:
    """What is sent has a limit, and what is known of an address has none.

    The password stays that of the mail which can be opened; the answer is the same.
    """
    world.configure(mail=MAIL, budgets={"mails": 1})
    data = world.registered()
    before = world.stored()

    reply = world.register(password=password)

    assert (reply.status, reply.text) == (200, "{}")
    assert world.stored() == replace(before, contested=contested)
    assert len(world.sent) == 1
    assert world.post("confirm", **data).status == 200
    assert world.log_in(PASSWORD) == "ok"
    assert world.stored().contested == contested


def test_given_mails_that_are_spent_when_nobody_had_registered_then_it_is_registered(
    world: MailedAccounts,
) -> None:
    """A mail can be asked for when the hour is over."""
    world.configure(mail=MAIL, budgets={"mails": 1})
    world.registered()
    world.service.db.delete_item(
        TableName=world.service.table,
        Key={"pk": {"S": f"IDENT#{APP}#{USERPASS}#{KEY}"}},
    )

    assert world.register(password=OTHER).status == 200

    record = world.stored()
    assert (record.state, record.version, record.confirmation) == ("pending", 1, None)
    assert len(world.sent) == 1
    assert world.log_in(OTHER) == "NotConfirmed"
    assert world.post("confirm/send", email=EMAIL).status == 429
    world.wait(timedelta(hours=1))
    assert world.post("confirm/send", email=EMAIL).status == 200
    assert world.post("confirm", **world.token_data()).status == 200
    assert world.log_in(OTHER) == "ok"


def test_given_mails_that_are_spent_when_it_is_confirmed_meanwhile_then_409(
    world: MailedAccounts,
) -> None:
    """Between our read and our note: who registers hears that it is too late."""
    world.configure(mail=MAIL, budgets={"mails": 1})
    data = world.registered()
    store = world.service.services.store

    class Racing(CountingPasswords):
        def verify(self, password: str, password_hash: str | None) -> bool:
            assert store.confirm(APP, KEY, hash_secret(data["token"]), world.now)
            return super().verify(password, password_hash)

    world.service.services.passwords = Racing()

    assert refusal(world.register(password=OTHER)) == NAME_IN_USE
    assert not world.stored().contested


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_trouble_with_a_limit_when_registering_then_the_contest_is_noted(
    world: MailedAccounts, fault: Fault
) -> None:
    """It is noted first: a client that gives up has left its trace."""
    world.registered()
    wire = world.service.wire
    calls = world.service.counted(world.register)
    assert calls == ["UpdateItem", "GetItem", "UpdateItem", "PutItem", "SendEmail"]
    wire.faults, wire.always = [None] * 3, fault

    assert world.register(password=OTHER).status == 503

    wire.faults, wire.always = [], None
    assert world.stored().contested


def test_given_a_spent_network_when_it_registers_then_the_contest_is_noted(
    world: MailedAccounts,
) -> None:
    """Without a look at the password, which would take hashing."""
    world.configure(mail=MAIL, budgets={"registrations": 1})
    data = world.registered()
    before, hashed = world.stored(), len(world.passwords.asked)

    assert_spent(world.register(password=OTHER), 3600)

    assert world.stored() == replace(before, contested=True)
    assert len(world.passwords.asked) == hashed
    assert world.post("confirm", **data).status == 200
    assert world.log_in() == "ok"


# The budget of a network.


def fill(world: MailedAccounts, calls: int, network: str = NETWORK) -> None:
    """Have a network register so many addresses of its own."""
    for number in range(calls):
        email = f"{number}@{network.replace(':', '-')}.example"
        reply = world.post("register", network=network, email=email, password=PASSWORD)
        assert reply.status == 200, reply.text


@pytest.mark.parametrize("email", [EMAIL, "eve@example.com"], ids=["known", "unknown"])
@pytest.mark.parametrize("call", SENDING)
def test_given_a_spent_network_when_it_goes_on_then_429_and_nothing_happens(
    world: MailedAccounts, call: str, email: str
) -> None:
    """The refusal is no oracle either: one refused write, whatever is asked."""
    world.configure(mail=MAIL, budgets={"registrations": 3})
    world.wait(timedelta(minutes=20))
    world.registered()
    fill(world, 2)
    before, hashed = world.service.items(), len(world.passwords.asked)
    replies: list[Reply] = []

    made = world.service.counted(
        lambda: replies.append(world.post(call, email=email, password=OTHER))
    )

    assert_spent(replies[0], 40 * 60)
    # A registration is noted where somebody else's is pending, and is tried elsewhere.
    assert made == ["UpdateItem"] * (2 if call == "register" else 1)
    items = world.service.items()
    if call == "register" and email == EMAIL:
        (pk,) = {key for key, item in items.items() if item != before[key]}
        assert items[pk].pop("contested") == {"BOOL": True}
    assert items == before
    assert len(world.passwords.asked) == hashed
    assert len(world.sent) == 3


def test_given_a_limit_when_the_three_calls_share_it_then_the_last_one_fits(
    world: MailedAccounts,
) -> None:
    world.configure(mail=MAIL, budgets={"registrations": 3})
    assert world.register().status == 200
    assert world.post("confirm/send", email=EMAIL).status == 200

    assert world.post("reset/send", email="eve@example.com").status == 200

    for call in SENDING:
        assert_spent(world.post(call, email=EMAIL, password=OTHER), 3600)


def test_given_a_spent_network_when_the_hour_is_over_then_it_goes_on(
    mailless: MailedAccounts,
) -> None:
    mailless.configure(budgets={"registrations": 1})
    fill(mailless, 1)

    mailless.wait(timedelta(hours=1) - SECOND)
    assert_spent(mailless.register(), 1)
    assert mailless.record() is None
    mailless.wait(SECOND)
    assert mailless.register().status == 200


def test_given_no_budget_of_its_own_when_a_network_registers_then_it_has_500(
    mailless: MailedAccounts,
) -> None:
    fill(mailless, 1)
    ((key, item),) = mailless.service.items(REGISTRATIONS).items()
    count = item | {"number": {"N": "499"}}
    mailless.service.db.put_item(TableName=mailless.service.table, Item=count)

    statuses = [mailless.register(email).status for email in (EMAIL, "eve@example.com")]

    assert statuses == [200, 429]
    assert mailless.service.items(REGISTRATIONS)[key]["number"] == {"N": "500"}


def test_given_two_apps_when_a_network_is_spent_in_one_then_in_both(
    mailless: MailedAccounts,
) -> None:
    """Each has a limit of its own for what all together count."""
    mailless.settle(
        {
            APP: {USERPASS: {"budgets": {"registrations": 2}}},
            OTHER_APP: {USERPASS: {"budgets": {"registrations": 3}}},
        }
    )
    fill(mailless, 2)

    assert_spent(mailless.register(), 3600)
    fields = {"email": EMAIL, "password": PASSWORD}
    statuses = [
        mailless.post("register", OTHER_APP, **fields | {"email": email}).status
        for email in (EMAIL, "eve@example.com")
    ]

    assert statuses == [200, 429]


@pytest.mark.parametrize(("first", "second", "is_same"), CLIENT_PAIRS)
@pytest.mark.parametrize("call", SENDING)
def test_given_two_clients_when_one_network_is_spent_then_the_other_goes_on(
    world: MailedAccounts, call: str, first: str, second: str, is_same: bool
) -> None:
    world.registered()
    world.configure(mail=MAIL, budgets={"registrations": 1})
    world.post("reset/send", network=first, email="eve@example.com")

    reply = world.post(call, network=second, email=EMAIL, password=OTHER)

    assert reply.status == (429 if is_same else 200)


def test_given_a_network_when_counted_then_the_item_goes_by_itself_and_has_no_address(
    world: MailedAccounts, log: io.StringIO
) -> None:
    world.registered()
    world.post("confirm/send", email=EMAIL)
    world.post("reset/send", email=EMAIL)

    ((key, item),) = world.service.items(REGISTRATIONS).items()
    assert re.fullmatch(r"RATE#register#[\w-]{22}#\d+", key)
    assert item["number"] == {"N": "3"}
    over = world.now + timedelta(hours=1)
    assert world.now.timestamp() < int(item["ttl"]["N"]) <= over.timestamp()
    assert NETWORK not in str(world.service.items())
    assert NETWORK not in log.getvalue()


def test_given_a_spent_network_when_people_have_mails_or_passwords_then_they_go_on(
    world: MailedAccounts,
) -> None:
    """What is bounded is to begin; nobody is stopped halfway, and nobody locked out."""
    world.confirmed()
    reset = world.asked_for_reset()
    confirm = world.registered("eve@example.com")
    world.configure(mail=MAIL, budgets={"registrations": 1})
    assert world.register("bob@example.com").status == 429

    assert world.post("confirm", **confirm).status == 200
    assert world.post("reset", **reset, password=OTHER).status == 200
    assert world.log_in(OTHER) == "ok"


def test_given_a_spent_network_when_it_goes_on_then_strangers_keep_their_mails(
    world: MailedAccounts,
) -> None:
    world.configure(mail=MAIL, budgets={"registrations": 1, "mails": 1})
    fill(world, 1)

    for call in SENDING:
        assert_spent(world.post(call, email=EMAIL, password=PASSWORD), 3600)

    assert world.post("register", network="198.51.100.8", **GOOD).status == 200
    reset = world.post("reset/send", network="198.51.100.9", email=EMAIL)
    assert reset.status == 200


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        pytest.param("register", {"email": "ada"}, id="no address"),
        pytest.param("register", {"password": "12345"}, id="a short password"),
        pytest.param("register", {"password": None}, id="no password"),
        pytest.param("confirm/send", {"email": 7}, id="confirm: a number"),
        pytest.param("reset/send", {"email": None}, id="reset: none"),
        pytest.param("confirm/call", {}, id="not offered"),
        pytest.param("confirm", {"token": "x"}, id="no token"),
    ],
)
def test_given_a_request_that_makes_no_sense_when_refused_then_it_does_not_count(
    world: MailedAccounts, call: str, fields: dict[str, Any]
) -> None:
    world.configure(mail=MAIL, budgets={"registrations": 1})

    assert world.post(call, **GOOD | fields).status == 400

    assert world.service.items("RATE#") == {}
    assert world.register().status == 200


def test_given_no_mail_when_asking_for_a_reset_then_it_does_not_count(
    mailless: MailedAccounts,
) -> None:
    assert mailless.post("reset/send", email=EMAIL).status == 400

    assert mailless.service.items("RATE#") == {}


@pytest.mark.parametrize(
    ("call", "mail", "calls"),
    [
        pytest.param("register", None, ["GetItem", "PutItem"], id="register, no mail"),
        pytest.param(
            "register",
            MAIL,
            # Another password than the one before: that is noted first.
            ["GetItem", "UpdateItem", "UpdateItem", "PutItem", "SendEmail"],
            id="register",
        ),
        pytest.param(
            "confirm/send",
            MAIL,
            ["GetItem", "UpdateItem", "UpdateItem", "SendEmail"],
            id="confirm/send",
        ),
        pytest.param(
            "reset/send",
            MAIL,
            ["GetItem", "UpdateItem", "UpdateItem", "SendEmail"],
            id="reset/send",
        ),
    ],
)
def test_given_a_warm_function_when_called_then_the_network_costs_one_write(
    world: MailedAccounts, call: str, mail: dict[str, str] | None, calls: list[str]
) -> None:
    world.registered()
    world.configure(mail=mail)
    world.post("register", email="eve@example.com", password=PASSWORD)  # warm

    made = world.service.counted(lambda: world.post(call, email=EMAIL, password=OTHER))

    assert made == ["UpdateItem", *calls]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("call", SENDING)
@pytest.mark.parametrize(
    "start", [pytest.param("cold", marks=pytest.mark.long), "warm"]
)
def test_given_trouble_from_any_call_on_when_called_then_503_and_a_retry_converges(
    world: MailedAccounts, call: str, fault: Fault, start: str
) -> None:
    world.registered()
    budgets = {"mails": 99, "registrations": 99}
    fields = {"email": EMAIL, "password": OTHER}
    world.configure(mail=MAIL, budgets=budgets)
    # From here on the password is that of the record, and contests it no more.
    world.post(call, **fields)
    if start == "cold":
        world.configure(mail=MAIL, budgets=budgets)
    calls = world.service.counted(lambda: world.post(call, **fields))

    for number in range(len(calls)):
        if start == "cold":
            world.configure(mail=MAIL, budgets=budgets)
        wire = world.service.wire
        wire.faults, wire.always = [None] * number, fault
        before = len(world.sent)
        failed = world.post(call, **fields)
        wire.faults, wire.always = [], None
        is_sent = len(world.sent) > before
        again = world.post(call, **fields)

        assert failed.status == 503, calls[number]
        assert is_sent == (
            calls[number] == "SendEmail" and fault.__name__ in AFTER_EFFECT
        )
        assert again.status == 200, calls[number]
    if call == "register":
        assert world.post("confirm", **world.token_data()).status == 200
        assert world.log_in(OTHER) == "ok"


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_given_a_lost_reply_at_the_limit_when_repeated_then_it_goes_on(
    mailless: MailedAccounts, fault: str
) -> None:
    fill(mailless, 1)
    mailless.configure(budgets={"registrations": 2})
    mailless.post("confirm", **GOOD)  # warm: the settings are read
    mailless.service.services.ring.hash_network(NETWORK, mailless.now)
    mailless.service.wire.faults = [FAULTS[fault]]

    assert mailless.register().status == 200
    assert_spent(mailless.register("eve@example.com"), 3600)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="nothing is on"),
        pytest.param({APP: {"api-key": {}}}, id="another provider"),
        pytest.param({APP: {USERPASS: {"enabled": False}}}, id="switched off"),
        pytest.param({OTHER_APP: {USERPASS: {}}}, id="another app"),
    ],
)
def test_given_the_provider_is_off_when_called_then_404(
    world: MailedAccounts, settings: dict[str, Any]
) -> None:
    world.settle(settings)

    for call in CALLS:
        reply = world.post(call, email=EMAIL, password=PASSWORD)

        assert refusal(reply) == (
            404,
            "AuthProviderNotFound",
            "authentication via 'local-userpass' is unsupported",
        )


def test_given_an_unknown_app_when_called_then_404(world: MailedAccounts) -> None:
    for call in CALLS:
        reply = world.post(call, "unknown-app", email=EMAIL, password=PASSWORD)

        assert (reply.status, reply.json["error_code"]) == (404, "AppNotFound")


REQUIRED = {
    "register": ("email", "password"),
    "confirm": ("token", "tokenId"),
    "confirm/send": ("email",),
    "confirm/call": ("email",),
    "reset": ("token", "tokenId", "password"),
    "reset/send": ("email",),
    "reset/call": ("email", "password"),
}
GOOD = {
    "email": EMAIL,
    "password": PASSWORD,
    "token": "x" * 43,
    "tokenId": "x" * 43,
}


@pytest.mark.parametrize(
    ("call", "field"),
    [(call, field) for call, fields in REQUIRED.items() for field in fields],
)
def test_given_a_bad_field_when_called_then_it_is_named(
    world: MailedAccounts, call: str, field: str
) -> None:
    absent: dict[str, Any] = {k: v for k, v in GOOD.items() if k != field}
    bad: tuple[Any, ...] = (None, 1, True, [], {"$oid": "x"})
    wrong = [absent | {field: value} for value in bad]

    for fields in (absent, *wrong):
        reply = world.post(call, **fields)

        text = f"{field} is missing or not a string"
        assert refusal(reply) == (400, "BadRequest", text)
    assert world.service.items("IDENT#") == {}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("{", id="not JSON"),
        pytest.param("[]", id="array"),
        pytest.param('{"email": "a\\u0000@b.de"}', id="NUL"),
        pytest.param('{"email": "\\ud800"}', id="half a character"),
        pytest.param(json.dumps({"email": "x" * 17_000}), id="overlong"),
    ],
)
def test_given_a_bad_body_when_called_then_400(
    world: MailedAccounts, body: str | None
) -> None:
    for call in CALLS:
        reply = world.service.send(f"{USERPASS_PREFIX}{call}", body=body)

        assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")


def test_given_arguments_that_are_no_array_when_calling_reset_then_400(
    world: MailedAccounts,
) -> None:
    reply = world.post("reset/call", email=EMAIL, password=OTHER, arguments="x")

    assert refusal(reply) == (400, "BadRequest", "arguments is not an array")


def test_given_fields_that_sdks_add_when_registering_then_they_are_ignored(
    mailless: MailedAccounts,
) -> None:
    options = {"device": {"sdkVersion": {"$numberInt": "5"}}}
    reply = mailless.post(
        "register", email=EMAIL, password=PASSWORD, provider=USERPASS, options=options
    )

    assert reply.status == 200


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize(
    "call", ["register", "confirm", "confirm/send", "reset", "reset/send"]
)
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_given_aws_is_failing_when_called_then_503_and_a_retry_converges(
    world: MailedAccounts, call: str, fault: Fault, start: str
) -> None:
    if start == "cold":
        world.configure(mail=MAIL)
    data = world.registered() if call.startswith("confirm") else {}
    if call.startswith("reset"):
        world.confirmed()
    if call == "reset":
        data = world.asked_for_reset()
    if start == "cold":
        world.configure(mail=MAIL)
    fields = {"email": EMAIL, "password": OTHER} | data
    world.service.wire.always = fault

    reply = world.post(call, **fields)

    assert reply.status == 503
    assert reply.headers["retry-after"] == "2"
    world.service.wire.always = None
    again = world.post(call, **fields)
    if call == "reset" and again.status != 200:
        # It had taken effect, and used the token up.
        assert refusal(again) == TOKEN_INVALID
    else:
        assert again.status == 200
    if call == "register":
        assert world.post("confirm", **world.token_data()).status == 200
    if call in {"register", "reset"}:
        assert world.log_in(OTHER) == "ok"


@pytest.mark.parametrize("call", ["register", "confirm/send", "reset/send"])
def test_given_ses_is_failing_when_called_then_503_and_a_retry_sends_the_mail(
    world: MailedAccounts, call: str
) -> None:
    world.registered()
    world.post("confirm/send", email=EMAIL)
    del world.sent[:]

    class Failing:
        def send(self, **_: str) -> None:
            raise MailUnavailable

    mailer = world.service.services.mailer
    world.service.services.mailer = Failing()
    failed = world.post(call, email=EMAIL, password=OTHER)
    world.service.services.mailer = mailer
    again = world.post(call, email=EMAIL, password=OTHER)

    assert (failed.status, failed.headers["retry-after"]) == (503, "2")
    assert again.status == 200
    assert len(world.sent) == 1


def test_given_canaries_when_refused_then_no_log_line_has_one(
    world: MailedAccounts, log: io.StringIO
) -> None:
    email, password = "canary-mail@example.com", "canary-password"
    data = world.registered(email)
    reset = world.asked_for_reset(email)
    for always in (None, FAULTS["throttled"], None):
        world.service.wire.always = always
        for call in CALLS:
            for tokens in (data, reset, {"token": "canary", "tokenId": "canary"}):
                world.post(call, email=email, password=password, **tokens)
        world.service.wire.always = None

    logged = log.getvalue()
    assert logged.count("\n") > 40
    for secret in ("canary", data["token"], data["tokenId"], reset["token"]):
        assert secret not in logged
