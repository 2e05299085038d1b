"""POST …/local-userpass/…: rate limits, refusals and faults of all calls."""

import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.providers import USERPASS
from anonauth.errors import MailUnavailable
from support.service.harness import (
    APP,
    OTHER_APP,
    USERPASS_PREFIX,
    Reply,
)
from support.service.mailed_accounts import (
    AFTER_EFFECT,
    CALLS,
    EMAIL,
    MAIL,
    OTHER,
    PASSWORD,
    REGISTRATIONS,
    SECOND,
    SENDING,
    TOKEN_INVALID,
    MailedAccounts,
    refusal,
)
from support.service.rate_limits import CLIENT_PAIRS, NETWORK, assert_spent
from support.service.wire import EACH_FAULT, FAULTS, Fault


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_given_a_failing_counter_when_registering_then_the_contest_is_noted(
    world: MailedAccounts, fault: Fault
) -> None:
    """The contest is noted first, so a client that gives up has left its trace."""
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
    """The password is not checked, which would take a hash."""
    world.configure(mail=MAIL, budgets={"registrations": 1})
    data = world.registered()
    before, hashed = world.stored(), len(world.passwords.asked)

    assert_spent(world.register(password=OTHER), 3600)

    assert world.stored() == replace(before, contested=True)
    assert len(world.passwords.asked) == hashed
    assert world.post("confirm", **data).status == 200
    assert world.log_in() == "ok"


def fill(world: MailedAccounts, calls: int, network: str = NETWORK) -> None:
    """Register so many new addresses from a network."""
    for number in range(calls):
        email = f"{number}@{network.replace(':', '-')}.example"
        reply = world.post("register", network=network, email=email, password=PASSWORD)
        assert reply.status == 200, reply.text


@pytest.mark.parametrize("email", [EMAIL, "eve@example.com"], ids=["known", "unknown"])
@pytest.mark.parametrize("call", SENDING)
def test_given_a_spent_network_when_it_goes_on_then_429_and_nothing_happens(
    world: MailedAccounts, call: str, email: str
) -> None:
    """The refusal reveals nothing: it is one refused write, whatever is asked."""
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
    # A pending address notes the registration. Any other address is tried.
    assert made == ["UpdateItem"] * (2 if call == "register" else 1)
    items = world.service.items()
    if call == "register" and email == EMAIL:
        (pk,) = {key for key, item in items.items() if item != before[key]}
        assert items[pk].pop("contested") == {"BOOL": True}
    assert items == before
    assert len(world.passwords.asked) == hashed
    assert len(world.sent) == 3


def test_given_a_limit_when_three_calls_share_it_then_the_last_is_within_it(
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


def test_given_no_limit_of_its_own_when_a_network_registers_then_500_are_allowed(
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
    """Each app has its own limit for a count that all apps share."""
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


def test_given_a_network_at_its_limit_when_people_have_mails_or_passwords_then_200(
    world: MailedAccounts,
) -> None:
    """Only new registrations and mails are limited. No user is stopped halfway."""
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
def test_given_an_invalid_request_when_refused_then_it_does_not_count(
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
            # It is another password than before, so the contest is noted first.
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


@pytest.mark.parametrize("fault", EACH_FAULT)
@pytest.mark.parametrize("call", SENDING)
@pytest.mark.parametrize(
    "start", [pytest.param("cold", marks=pytest.mark.long), "warm"]
)
def test_given_faults_from_any_call_on_when_called_then_503_and_a_retry_converges(
    world: MailedAccounts, call: str, fault: Fault, start: str
) -> None:
    world.registered()
    budgets = {"mails": 99, "registrations": 99}
    fields = {"email": EMAIL, "password": OTHER}
    world.configure(mail=MAIL, budgets=budgets)
    # From now on the password equals that of the record, and is no contest.
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


@pytest.mark.parametrize("fault", EACH_FAULT)
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
        # The first call had taken effect, and used the token up.
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
