"""POST …/local-userpass/confirm, confirm/send and confirm/call."""

from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.providers import USERPASS
from support.service.harness import (
    APP,
    OTHER_APP,
)
from support.service.mailed_accounts import (
    AUTOMATIC,
    EMAIL,
    HALF_AN_HOUR,
    KEY,
    MAIL,
    OTHER,
    SECOND,
    TOKEN_INVALID,
    TOKEN_MALFORMED,
    MailedAccounts,
    refusal,
)


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
    """A link in a mail is opened twice: by a scanner and by the reader."""
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


def test_given_a_registration_when_24_hours_pass_then_its_mail_confirms_nothing(
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
    """The answer is the same without mail (realm-js, email-password-auth.test.ts)."""
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


def test_given_a_confirmation_meanwhile_when_asking_for_a_mail_then_none_is_sent(
    world: MailedAccounts,
) -> None:
    """The address is confirmed between our read and our write. The write decides."""
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
