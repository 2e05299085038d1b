"""No stranger finds out by a login or a reset whether an address is registered.

Neither the answer nor the work shows it. `register` and `confirm/send` do show it, by
contract (providers.md, "What strangers can find out"). The benchmark measures the
times: `python tests/bench --only enumeration`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from argon2 import extract_parameters

from anonauth.domain.encoding import identity_key
from anonauth.domain.expiry import PENDING_LIFETIME
from anonauth.domain.providers import USERPASS
from support.service.harness import APP, LINK, OTHER_APP, Deployment, Reply
from support.service.mailed_accounts import MAIL, PASSWORD, MailedAccounts

UNKNOWN = "nobody@example.com"
WRONG = "wrong password"

# The callers, and the accounts they ask about. Each has its own address.
CASES = {
    "unknown": UNKNOWN,
    "pending": "pending@example.com",
    "confirmed": "confirmed@example.com",
    "with a user": "user@example.com",
    "pending, and over": "late@example.com",
    "of another app": "other@example.com",
    "no address": "nobody",
    "in capitals": "CONFIRMED@example.com",
}


@dataclass(frozen=True)
class Seen:
    """What a stranger sees of a request, and what it costs.

    `sent` is the operations of AWS with the bytes that each was sent.
    """

    status: int
    headers: Mapping[str, str]
    body: str
    sent: tuple[tuple[str, int], ...]
    hashes: tuple[Any, ...]


class People:
    """An app with mail, an account in each state, and a guest who asks."""

    def __init__(
        self, service: Deployment, sent: list[Any], verified: list[str]
    ) -> None:
        self.world = MailedAccounts(service, sent)
        self.service = service
        self._verified = verified
        settings = {USERPASS: {"mail": MAIL}}
        self.world.settle({APP: settings, OTHER_APP: settings})
        self.world.registered(CASES["pending, and over"])
        service.now += PENDING_LIFETIME
        self._register_all()
        self.guest = service.log_in()
        # Not a part of any case: keys are loaded, and the client of SES is made.
        self.log_in("warm-up@example.com")
        self.world.post("reset/send", email=CASES["confirmed"])

    def _register_all(self) -> None:
        self.world.registered(CASES["pending"])
        for case in ("confirmed", "with a user"):
            data = self.world.registered(CASES[case])
            assert self.world.post("confirm", **data).status == 200
        assert self.log_in(CASES["with a user"], PASSWORD).status == 200
        fields = {"email": CASES["of another app"], "password": PASSWORD}
        assert self.world.post("register", app=OTHER_APP, **fields).status == 200

    def log_in(self, address: str, password: str = WRONG, **options: Any) -> Reply:
        return self.service.send(
            LINK,
            parameters={"provider": USERPASS},
            body=json.dumps({"username": address, "password": password}),
            **options,
        )

    def link(self, address: str) -> Reply:
        token = self.guest["access_token"]
        return self.log_in(address, query={"link": "true"}, token=token)

    def seen(self, ask: Callable[[str], Reply], address: str) -> Seen:
        wire, asked = self.service.wire, self.world.passwords.asked
        del wire.calls[:], wire.bodies[:], asked[:], self._verified[:]
        reply = ask(address)
        sizes = [len(json.dumps(body)) for body in wire.bodies]
        assert len(asked) == len(self._verified)  # argon2 hashed no new password
        return Seen(
            reply.status,
            reply.headers,
            re.sub("co_id=[0-9a-f]{32}", "co_id=ID", reply.text),
            tuple(zip(wire.calls, sizes, strict=True)),
            tuple(extract_parameters(each) for each in self._verified),
        )

    def in_each_case(self, ask: Callable[[str], Reply]) -> dict[str, Seen]:
        return {case: self.seen(ask, address) for case, address in CASES.items()}


def unlike_the_unknown(seen: Mapping[str, Seen]) -> dict[str, Seen]:
    return {case: each for case, each in seen.items() if each != seen["unknown"]}


@pytest.fixture
def people(service: Deployment, sent: list[Any], verified: list[str]) -> People:
    return People(service, sent, verified)


def test_given_a_wrong_password_when_presented_then_it_does_not_tell_who_is_registered(
    people: People,
) -> None:
    at_login = people.in_each_case(people.log_in)
    at_link = people.in_each_case(people.link)

    for seen, status in ((at_login, 401), (at_link, 403)):
        assert unlike_the_unknown(seen) == {}
        assert json.loads(seen["unknown"].body)["error_code"] == "InvalidPassword"
        assert seen["unknown"].status == status
        assert len(seen["unknown"].hashes) == 1
        assert len(seen["unknown"].sent) >= 4  # what is read, and what is counted


def test_given_a_spent_budget_when_presented_then_it_does_not_tell_who_is_registered(
    people: People,
) -> None:
    people.world.configure(mail=MAIL, budgets={"account_and_network": 1})
    people.in_each_case(people.log_in)

    seen = people.in_each_case(people.log_in)

    assert unlike_the_unknown(seen) == {}
    assert seen["unknown"].status == 429
    assert seen["unknown"].hashes == ()


@pytest.mark.parametrize("network", ["192.0.2.1", "2001:db8::1"])
def test_given_too_many_wrong_in_a_row_when_presented_then_registration_stays_hidden(
    people: People, network: str
) -> None:
    people.world.configure(mail=MAIL, budgets={"consecutive": 1})
    # Not in capitals: that is one of the others, and would be the second for it.
    cases = {name: address for name, address in CASES.items() if "capitals" not in name}

    def guess(address: str) -> Reply:
        return people.log_in(address, network=network)

    guess("warm-up@example.com")

    first, try_of_the_hour, refused = (
        {case: people.seen(guess, address) for case, address in cases.items()}
        for _ in range(3)
    )

    for seen, status, sent in (
        (first, 401, ["BatchGetItem", *["UpdateItem"] * 3]),
        (try_of_the_hour, 401, ["BatchGetItem", *["UpdateItem"] * 4]),
        (refused, 429, ["BatchGetItem", "UpdateItem"]),
    ):
        assert unlike_the_unknown(seen) == {}
        assert seen["unknown"].status == status
        assert [call for call, _ in seen["unknown"].sent] == sent


def test_given_an_unconfirmed_address_when_its_password_comes_then_only_that_is_told(
    people: People,
) -> None:
    """The caller knows the password, so it registered it. argon2 runs once here too."""

    def log_in(address: str) -> Reply:
        return people.log_in(address, PASSWORD)

    right = people.seen(log_in, CASES["pending"])
    wrong = people.seen(people.log_in, CASES["pending"])
    over = people.seen(log_in, CASES["pending, and over"])

    assert json.loads(right.body)["error_code"] == "AuthError"
    assert len(right.hashes) == 1
    assert over == wrong


def test_given_an_address_when_a_reset_is_asked_for_then_only_the_mail_is_more(
    people: People,
) -> None:
    def ask(address: str) -> Reply:
        return people.world.post("reset/send", email=address)

    asked = people.in_each_case(ask)

    mailed = {case for case, each in asked.items() if each.sent[-1][0] == "SendEmail"}
    assert mailed == {"pending", "confirmed", "with a user", "in capitals"}
    for case in mailed:
        asked[case] = replace(asked[case], sent=asked[case].sent[:-1])
    unknown = asked["unknown"]
    assert unlike_the_unknown(asked) == {}
    assert (unknown.status, unknown.body, unknown.hashes) == (200, "{}", ())
    assert len(unknown.sent) >= 3


def test_given_a_guessed_token_when_presented_then_it_does_not_tell_who_is_registered(
    people: People,
) -> None:
    """An attacker that knows an address knows its `tokenId`, a hash of the address."""
    for call in ("confirm", "reset"):

        def guess(address: str, call: str = call) -> Reply:
            key = identity_key(address.lower())
            fields = {"token": "A" * 43, "tokenId": key, "password": PASSWORD}
            return people.world.post(call, **fields)

        seen = people.in_each_case(guess)

        assert unlike_the_unknown(seen) == {}, call
        assert json.loads(seen["unknown"].body)["error_code"] == "UserpassTokenInvalid"
        assert seen["unknown"].hashes == ()


def test_given_a_function_that_is_not_offered_when_called_then_nothing_is_looked_up(
    people: People,
) -> None:
    for call in ("confirm/call", "reset/call"):

        def ask(address: str, call: str = call) -> Reply:
            return people.world.post(call, email=address, password=PASSWORD)

        seen = people.in_each_case(ask)

        for case, each in seen.items():
            assert (each.sent, each.hashes) == ((), ())
            assert each.body.replace(CASES[case], UNKNOWN) == seen["unknown"].body


TOLD = {
    # status, error code, runs of argon2
    "register": {
        "unknown": (200, None, 1),
        "pending": (200, None, 2),
        "confirmed": (409, "AccountNameInUse", 0),
        "with a user": (409, "AccountNameInUse", 0),
        "pending, and over": (200, None, 1),
        "of another app": (200, None, 1),
    },
    "confirm/send": {
        "unknown": (404, "UserNotFound", 0),
        "pending": (200, None, 0),
        "confirmed": (400, "UserAlreadyConfirmed", 0),
        "with a user": (400, "UserAlreadyConfirmed", 0),
        "pending, and over": (404, "UserNotFound", 0),
        "of another app": (404, "UserNotFound", 0),
    },
}


@pytest.mark.parametrize("call", TOLD)
def test_given_a_call_that_tells_when_asked_then_it_tells_no_more_than_readme_does(
    call: str, people: People
) -> None:
    told = {}
    for case in TOLD[call]:
        del people.world.passwords.asked[:]
        fields = {"password": PASSWORD + "!"} if call == "register" else {}
        reply = people.world.post(call, email=CASES[case], **fields)
        runs = len(people.world.passwords.asked)
        told[case] = reply.status, reply.json.get("error_code"), runs

    assert told == TOLD[call]
