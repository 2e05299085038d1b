"""Mails of local-userpass: their text, and the limits of an address and a network."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.providers import USERPASS
from anonauth.email_addresses import EmailSyntax
from anonauth.errors import BudgetSpent, MailRefused, MailUnavailable
from anonauth.local.server import LOCAL_PARAMETERS
from anonauth.usecases.account_mail import AccountMail
from anonauth.usecases.userpass import UserpassAccounts
from support.project.sam_template import load
from support.service.harness import APP, LINK
from support.service.mailed_accounts import (
    EMAIL,
    KEY,
    MAIL,
    NAME_IN_USE,
    OTHER,
    PASSWORD,
    SECOND,
    SENDING,
    MailedAccounts,
    refusal,
)
from support.service.passwords import CountingPasswords
from support.service.rate_limits import assert_spent

NETWORK_COUNTS = "RATE#mail-network#"
MAILBOXES = ("RATE#mail-confirm#", "RATE#mail-reset#")
HOUR = 3600


def limit(world: MailedAccounts, per_network: int, **budgets: int) -> None:
    """Restart the service with a limit of mails per network."""
    settings = {APP: {USERPASS: {"mail": MAIL, "budgets": budgets}}}
    world.service.restart_with({"apps": settings}, MAILS_PER_NETWORK=str(per_network))
    world.service.services.passwords = world.passwords


def counts(world: MailedAccounts, *prefixes: str) -> list[int]:
    return [
        int(item["number"]["N"])
        for prefix in prefixes
        for item in world.service.items(prefix).values()
    ]


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        pytest.param("Ada+1@example.com", "ada@example.com", id="tag"),
        pytest.param("ada+1+2@example.com", "ada@example.com", id="two tags"),
        pytest.param("ada+@example.com", "ada@example.com", id="empty tag"),
        pytest.param("a.d.a@example.com", "ada@example.com", id="dots"),
        pytest.param("a.da+b.c@exam.ple.com", "ada@exam.ple.com", id="dots and tag"),
        pytest.param("+tag@example.com", "+tag@example.com", id="nothing but a tag"),
        pytest.param(" ada@xn--bcher-kva.de", "ada@b\u00fccher.de", id="spelling"),
        pytest.param("ada-1@example.com", "ada-1@example.com", id="hyphen"),
        pytest.param("ada", "ada", id="no address"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_given_an_address_when_its_mails_are_counted_then_by_mailbox(
    address: str, mailbox: str
) -> None:
    assert (
        EmailSyntax().mailbox(address).rpartition("@")[2]
        == (mailbox.rpartition("@")[2])
    )
    assert EmailSyntax().mailbox(address) == mailbox


@pytest.mark.parametrize("call", ["register", "reset/send"])
def test_given_tags_and_dots_when_mails_are_spent_then_they_are_of_one_mailbox(
    world: MailedAccounts, call: str
) -> None:
    """Spellings such as `victim+1@` and `victim+2@` sent one person forty mails."""
    spellings = [f"victim+{n}@example.com" for n in range(6)] + ["vic.tim@example.com"]
    statuses = []
    for email in spellings:
        reply = world.post(call, email=email, password=PASSWORD)
        statuses.append(reply.status)

    if call == "register":  # it is registered; only sent mails have a limit
        assert statuses == [200] * 7
        assert len(world.sent) == 5
        assert len(world.service.items("IDENT#")) == 7
    else:
        assert statuses == [200] * 5 + [429] * 2
    assert world.post(call, email="other@example.com", password=OTHER).status == 200


@pytest.mark.parametrize("call", SENDING)
def test_given_a_network_at_its_mail_limit_when_it_goes_on_then_429(
    world: MailedAccounts, call: str
) -> None:
    limit(world, 2)
    world.registered()
    world.registered("eve@example.com")
    before = world.service.items("IDENT#")

    assert_spent(world.post(call, email=EMAIL, password=PASSWORD), HOUR)

    assert len(world.sent) == 2
    assert world.service.items("IDENT#") == before
    assert counts(world, NETWORK_COUNTS) == [2]
    assert sum(counts(world, *MAILBOXES)) == 2  # the strangers' limit is untouched
    other = world.post(call, network="203.0.113.77", email=EMAIL, password=PASSWORD)
    assert other.status == 200
    world.wait(timedelta(hours=1))
    assert world.post(call, email=EMAIL, password=PASSWORD).status == 200


def test_given_a_network_at_its_mail_limit_when_it_registers_then_a_contest_is_noted(
    world: MailedAccounts,
) -> None:
    limit(world, 1)
    world.registered()

    assert_spent(world.register(password=OTHER), HOUR)

    assert world.stored().contested


def test_given_a_network_at_its_mail_limit_when_an_unknown_is_asked_for_then_429_too(
    world: MailedAccounts,
) -> None:
    """The count is the same whether or not an address is registered."""
    limit(world, 2)

    statuses = [
        world.post("reset/send", email=f"nobody{n}@example.com").status
        for n in range(3)
    ]

    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("call", SENDING)
def test_given_a_mailbox_at_its_mail_limit_when_asked_then_the_network_is_not_charged(
    world: MailedAccounts, call: str
) -> None:
    limit(world, 9, mails=1)
    world.registered()
    world.post("reset/send", email=EMAIL)
    before = counts(world, NETWORK_COUNTS)

    reply = world.post(call, email=EMAIL, password=PASSWORD)

    assert reply.status == (200 if call == "register" else 429)
    assert counts(world, NETWORK_COUNTS) == before == [2]


def test_given_no_limit_when_mails_are_sent_then_no_network_is_counted(
    world: MailedAccounts,
) -> None:
    world.registered()

    assert counts(world, NETWORK_COUNTS) == []


def test_given_no_mail_when_registering_then_no_mail_is_counted(
    world: MailedAccounts,
) -> None:
    settings: dict[str, Any] = {APP: {USERPASS: {}}}
    world.service.restart_with({"apps": settings}, MAILS_PER_NETWORK="1")

    assert [world.register(f"{n}@example.com").status for n in (1, 2)] == [200, 200]

    assert counts(world, NETWORK_COUNTS) == []


def test_given_a_local_service_when_served_then_mails_have_no_limit() -> None:
    assert LOCAL_PARAMETERS["MailsPerNetwork"] == "0"
    assert load()["Parameters"]["MailsPerNetwork"]["Default"] == "100"


class Failing:
    """A `Mailer` that raises the error it is given."""

    def __init__(self, failure: Callable[[], Exception]) -> None:
        self._failure = failure

    def send(self, **_: str) -> None:
        raise self._failure()


@pytest.mark.parametrize("call", SENDING)
def test_given_ses_refuses_when_it_works_again_then_no_mail_was_counted(
    world: MailedAccounts, call: str
) -> None:
    """Five attempts once made an hour of 429, although no mail was ever sent."""
    world.registered()
    limit(world, 3, mails=2)
    before = counts(world, NETWORK_COUNTS, *MAILBOXES)
    mailer = world.service.services.mailer
    world.service.services.mailer = Failing(MailRefused)

    failed = [world.post(call, email=EMAIL, password=PASSWORD).status for _ in range(6)]

    assert failed == [503] * 6
    assert sum(counts(world, NETWORK_COUNTS, *MAILBOXES)) == sum(before)
    world.service.services.mailer = mailer
    assert world.post(call, email=EMAIL, password=PASSWORD).status == 200
    assert len(world.sent) == 2


def test_given_ses_does_not_answer_when_asked_then_the_mail_is_counted(
    world: MailedAccounts,
) -> None:
    """SES may have sent the mail."""
    world.registered()
    limit(world, 9)
    world.service.services.mailer = Failing(MailUnavailable)

    assert world.post("reset/send", email=EMAIL).status == 503

    assert counts(world, NETWORK_COUNTS, "RATE#mail-reset#") == [1, 1]


# Requests of strangers, and requests of the owner.

HOME, AWAY = "203.0.113.1", "192.0.2.1"


def logged_in_from_home(world: MailedAccounts) -> None:
    world.confirmed()
    credential = json.dumps({"username": EMAIL, "password": PASSWORD})
    reply = world.service.send(
        LINK, parameters={"provider": USERPASS}, body=credential, network=HOME
    )
    assert reply.status == 200


def ask_for_resets(
    world: MailedAccounts, network: str, email: str = EMAIL
) -> list[int]:
    return [
        world.post("reset/send", network=network, email=email).status for _ in range(6)
    ]


def test_given_resets_asked_for_by_a_stranger_when_the_owner_asks_then_a_mail_is_sent(
    world: MailedAccounts,
) -> None:
    logged_in_from_home(world)

    by_stranger = ask_for_resets(world, "198.51.100.7")
    elsewhere = world.post("reset/send", network=AWAY, email=EMAIL)
    del world.sent[:]
    at_home = ask_for_resets(world, HOME)

    assert by_stranger == [200] * 5 + [429]
    assert_spent(elsewhere, HOUR)
    assert at_home == [200] * 5 + [429]
    assert len(world.sent) == 5
    assert sorted(counts(world, "RATE#mail-reset#")) == [5, 5]


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
def test_given_unknown_networks_when_asking_for_resets_then_they_share_a_limit(
    world: MailedAccounts, email: str
) -> None:
    world.confirmed()

    first, second = (ask_for_resets(world, network, email) for network in (HOME, AWAY))

    assert first == [200] * 5 + [429]
    assert second == [429] * 6
    assert counts(world, "RATE#mail-reset#") == [5]


def test_given_a_reset_that_was_done_when_asking_again_then_home_is_unknown(
    world: MailedAccounts,
) -> None:
    """An attacker with the old password may have logged in from that network."""
    logged_in_from_home(world)
    data = world.asked_for_reset()
    assert world.post("reset", **data, password=OTHER).status == 200
    ask_for_resets(world, AWAY)

    assert_spent(world.post("reset/send", network=HOME, email=EMAIL), HOUR)


def test_given_an_operator_when_asking_for_a_reset_then_no_network_is_counted(
    world: MailedAccounts,
) -> None:
    logged_in_from_home(world)
    services = world.service.services
    mail = AccountMail(
        app=APP,
        **MAIL,
        per_hour=1,
        per_network=None,
        budgets=services.store,
        addresses=EmailSyntax(),
        mailer=services.mailer,
    )
    accounts = UserpassAccounts(
        app=APP,
        store=services.store,
        users=services.store,
        passwords=world.passwords,
        addresses=EmailSyntax(),
        min_password_length=6,
        mail=mail,
        registrations=None,
    )
    del world.sent[:]

    accounts.send_reset(email=EMAIL, network="", now=world.now)
    with pytest.raises(BudgetSpent):
        accounts.send_reset(email=EMAIL, network="", now=world.now)

    assert len(world.sent) == 1


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


def test_given_resets_of_an_unknown_address_when_at_the_limit_then_it_can_register(
    world: MailedAccounts,
) -> None:
    """Otherwise a stranger could lock out an address, and nobody would notice."""
    for _ in range(6):
        spent = world.post("reset/send", email=EMAIL)
    assert spent.status == 429

    assert world.post("register", email=EMAIL, password=PASSWORD).status == 200
    assert len(world.sent) == 1


def test_given_an_unknown_address_when_asked_for_resets_then_the_same_limit(
    world: MailedAccounts,
) -> None:
    world.configure(mail=MAIL, budgets={"mails": 2})

    statuses = [world.post("reset/send", email=EMAIL).status for _ in range(3)]

    assert statuses == [200, 200, 429]


def test_given_a_reached_limit_when_others_register_then_they_have_their_own(
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
def test_given_a_reached_mail_limit_when_registering_then_only_the_contest_is_noted(
    world: MailedAccounts, password: str, contested: bool
) -> None:
    """Sent mails have a limit, and notes about an address have none.

    The password stays that of the registration whose mail can be opened. The answer is
    the same.
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


def test_given_a_reached_mail_limit_when_the_address_is_new_then_it_is_registered(
    world: MailedAccounts,
) -> None:
    """The user can ask for a mail when the hour is over."""
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


def test_given_a_reached_mail_limit_when_it_is_confirmed_meanwhile_then_409(
    world: MailedAccounts,
) -> None:
    """The address is confirmed between our read and our note. The client learns it."""
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
