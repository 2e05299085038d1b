"""POST …/local-userpass/register, with and without mail."""

import re
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.expiry import SWEEP_DELAY
from anonauth.domain.providers import USERPASS
from support.service.harness import (
    APP,
    OTHER_APP,
    START,
)
from support.service.mailed_accounts import (
    EMAIL,
    KEY,
    MAIL,
    NAME_IN_USE,
    OTHER,
    PASSWORD,
    SECOND,
    TOKEN_INVALID,
    MailedAccounts,
    refusal,
)
from support.service.passwords import CountingPasswords


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
    assert len(data["token"]) == 43  # 256 bits
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
    """Chromium sends the domain in Punycode, and phones add a blank."""
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
    """Nobody can squat an address, because the first mail's link stops working."""
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
    del world.passwords.asked[:]

    assert world.register(password=OTHER).status == 200
    # Without mail nothing proves whose the address is, so nothing is compared.
    assert world.passwords.asked == ["hash"]
    assert not world.stored().contested
    assert world.log_in(OTHER) == "ok"


def test_given_a_contested_address_when_registered_again_then_it_stays_contested(
    world: MailedAccounts,
) -> None:
    """The second person repeats its password: the first one's is still another."""
    world.register(password=PASSWORD)
    world.register(password=OTHER)
    del world.passwords.asked[:]

    assert world.register(password=OTHER).status == 200

    assert world.passwords.asked == ["hash"]  # nothing is left to compare
    assert (world.stored().version, world.stored().contested) == (3, True)


def test_given_an_expired_registration_when_registered_anew_then_it_is_no_contest(
    world: MailedAccounts,
) -> None:
    """DynamoDB deletes the record later. Its mail confirms nothing any more."""
    world.register(password=PASSWORD)
    world.wait(timedelta(hours=24))
    del world.passwords.asked[:]

    assert world.register(password=OTHER).status == 200

    assert world.passwords.asked == ["hash"]
    assert (world.stored().version, world.stored().contested) == (2, False)
    assert world.post("confirm", **world.token_data()).status == 200
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
    """The address is confirmed between our read and our write. The write decides."""
    data = world.registered()
    store = world.service.services.store

    class Racing(CountingPasswords):
        def hash(self, password: str) -> str:
            assert store.confirm(APP, KEY, hash_secret(data["token"]), world.now)
            return super().hash(password)

    world.service.services.passwords = Racing()

    assert refusal(world.register(password=OTHER)) == NAME_IN_USE
    assert world.log_in() == "ok"


def test_given_fields_that_sdks_add_when_registering_then_they_are_ignored(
    mailless: MailedAccounts,
) -> None:
    options = {"device": {"sdkVersion": {"$numberInt": "5"}}}
    reply = mailless.post(
        "register", email=EMAIL, password=PASSWORD, provider=USERPASS, options=options
    )

    assert reply.status == 200
