"""Forged tokens at every route that takes one: 401, and nothing stored changes.

The routes are those of `openapi.json`, so that a new one is covered by itself.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.keys import KeyRing
from anonauth.usecases.key_ring import KeyRotation
from support.contracts.error_contract import is_contract_error
from support.contracts.openapi_examples import (
    TOKEN_KINDS,
    TOKEN_OF_ROUTE,
    TokenKind,
    options_of,
)
from support.forgery.bad_tokens import signed
from support.forgery.forgeries import (
    ACCESS_CLAIMS,
    REFRESH_CLAIMS,
    Target,
    forgeries,
    of_issuer,
)
from support.forgery.key_server import Signer
from support.service.authorizer import SHAPES, ask, question
from support.service.harness import (
    APP,
    DELETE,
    LINK,
    LOGOUT,
    OTHER_APP,
    Deployment,
    Reply,
)
from support.service.linked import log_in_linked
from support.service.mailed_accounts import MailedAccounts
from support.service.provider_logins import (
    PASSWORD,
    PROVIDERS_ON,
    by_password,
    log_in,
    register,
)
from support.service.rings import RingInMemory

Forged = list[tuple[str, str]]
"""Forged tokens with their names."""


class World:
    """A deployment, the tokens of its users, and what is forged of them.

    Args:
        service: With a key ring that is a day old, so that its next key is published.
    """

    def __init__(self, service: Deployment) -> None:
        self.service = service
        service.advance(timedelta(days=1))
        # Their keys are stolen, and revoked.
        self._stolen = self._keys()
        for kid, _ in self._stolen.values():
            KeyRotation(service.services.store, service.services.key_maker).revoke(
                kid, service.now
            )
        service.advance(timedelta(minutes=10))
        self.user, self.other = log_in_linked(service), service.log_in()

    def _keys(self) -> dict[TokenKind, tuple[str, Any]]:
        return _signing_keys(self.service.services.ring, self.service.now)

    def target(self, kind: TokenKind) -> Target:
        wrong: TokenKind = "refresh" if kind == "access" else "access"
        keys = self._keys()
        token = self.user[f"{kind}_token"]
        return Target(
            token,
            {
                "": self.other[f"{kind}_token"],
                wrong: self.user[f"{wrong}_token"],
                f"another's {wrong}": self.other[f"{wrong}_token"],
            },
            key=keys[kind][1],
            other_key=keys[wrong],
            public=keys["access"][1].public_key(),
            required=ACCESS_CLAIMS if kind == "access" else REFRESH_CLAIMS,
        )

    def strangers(self, kind: TokenKind) -> Iterator[tuple[str, str]]:
        """Yield valid tokens of users that this service does not have."""
        target = self.target(kind)
        session = "sid" if kind == "access" else "baas_id"
        others = jwt.decode(target.others[""], options={"verify_signature": False})
        for name, changes in {
            "of nobody": {"sub": "0" * 24},
            "of an empty subject": {"sub": ""},
            "of a key of the table": {"sub": f"x#{target.claims['sub']}"},
            "of a user and a blank": {"sub": target.claims["sub"] + " "},
            "of a user in capitals": {"sub": target.claims["sub"].upper() + "A"},
            "of no session": {session: "0" * 24},
            "of an empty session": {session: ""},
            "of another's session": {session: others[session]},
            "of another, with one's own session": {"sub": others["sub"]},
        }.items():
            yield name, target.signed(target.claims | changes)
        if kind == "refresh":
            for name, jti in (("another's", others["jti"]), ("a new", "j" * 43)):
                yield f"of {name} jti", target.signed(target.claims | {"jti": jti})
        yield "of another app's user", self._moved(target, kind)
        yield from self._ended(kind)
        yield from self.of_other_keys(kind)

    def _moved(self, target: Target, kind: TokenKind) -> str:
        token = self.service.log_in(app=OTHER_APP)[f"{kind}_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        return target.signed(
            claims | {name: target.claims[name] for name in ("aud", "iss")}
        )

    def _ended(self, kind: TokenKind) -> Iterator[tuple[str, str]]:
        send = self.service.send
        gone = self.service.log_in()
        assert send(LOGOUT, token=gone["refresh_token"]).status == 200
        yield "of a guest that logged out", gone[f"{kind}_token"]
        deleted = log_in_linked(self.service, "bob")
        assert send(DELETE, token=deleted["access_token"]).status == 200
        yield "of a deleted user", deleted[f"{kind}_token"]
        left = log_in_linked(self.service, f"eve, {kind}")
        assert send(LOGOUT, token=left["refresh_token"]).status == 200
        yield "of an ended session", left[f"{kind}_token"]

    def of_other_keys(self, kind: TokenKind) -> Iterator[tuple[str, str]]:
        """Yield tokens by keys that were revoked, or that another service has."""
        target = self.target(kind)
        elsewhere = RingInMemory()
        elsewhere.rotate(self.service.now)
        theirs = _signing_keys(elsewhere.open(), self.service.now)
        for whose, keys in (("a revoked", self._stolen), ("another service's", theirs)):
            kid, key = keys[kind]
            for named in (kid, target.header["kid"]):
                header = target.header | {"kid": named}
                name = f"by {whose} key, {'its' if named == kid else 'our'} kid"
                yield name, signed(key, header, target.claims)

    def forged(self, kind: TokenKind) -> dict[str, str]:
        """Return forged tokens by name, and those of strangers."""
        return forgeries(self.target(kind)) | dict(self.strangers(kind))

    def send(self, route: str, token: str) -> Reply:
        return self.service.send(route, token=token, **options_of(route))


def _signing_keys(ring: KeyRing, now: datetime) -> dict[TokenKind, tuple[str, Any]]:
    return {
        "access": ring.access_signing_key(now),
        "refresh": ring.refresh_signing_key(now),
    }


@pytest.fixture
def world(service: Deployment) -> World:
    return World(service)


@pytest.fixture
def mailed(service: Deployment, sent: list[Any]) -> MailedAccounts:
    """An app that sends mail."""
    return MailedAccounts(service, sent)


def assert_refused(world: World, route: str, forged: Mapping[str, str]) -> None:
    """Check that the answer to each is the contract's 401."""
    replies = {name: world.send(route, token) for name, token in forged.items()}
    other = {
        name: (reply.status, reply.text)
        for name, reply in replies.items()
        if (reply.status, reply.json["error_code"]) != (401, "InvalidSession")
        or not is_contract_error(reply)
    }
    assert other == {}, route


def test_given_forged_tokens_when_calling_then_401_and_nothing_changes(
    world: World,
) -> None:
    """Each route gets another twelfth of the forged tokens."""
    forged = {kind: list(world.forged(kind).items()) for kind in TOKEN_KINDS.values()}
    before = world.service.items()

    for at, (route, kind) in enumerate(TOKEN_OF_ROUTE.items()):
        assert_refused(world, route, dict(forged[kind][at % 12 :: 12]))

    assert world.service.items() == before


@pytest.mark.long
@pytest.mark.parametrize(("route", "kind"), TOKEN_OF_ROUTE.items(), ids=TOKEN_OF_ROUTE)
def test_given_all_forged_tokens_when_calling_then_401_and_nothing_changes(
    route: str,
    kind: TokenKind,
    world: World,
    record_property: Callable[[str, object], None],
) -> None:
    forged = world.forged(kind)
    before = world.service.items()

    assert_refused(world, route, forged)

    assert world.service.items() == before
    record_property("forged tokens, all refused", len(forged))
    assert len(forged) > 300


def test_given_the_good_token_when_calling_as_a_forger_does_then_it_is_no_401(
    service: Deployment,
) -> None:
    """This shows that the refusals above are caused by the token alone."""
    answered = {}
    for route, kind in TOKEN_OF_ROUTE.items():
        token = log_in_linked(service, route)[f"{kind}_token"]
        answered[route] = service.send(route, token=token, **options_of(route)).status

    assert 401 not in answered.values(), answered


def refused_by_the_authorizer(world: World, shape: str, forged: Forged) -> None:
    """Check that no call with one of the tokens passes, and none makes a 500."""
    answers = {
        name: ask(world.service, question(shape, token)) for name, token in forged
    }
    refusals = {
        "authorizer": "{'isAuthorized': False}",
        "authorizer-http1": "'Effect': 'Deny'",
    }
    refusal = refusals.get(shape, "Exception: Unauthorized")
    other = {
        name: answer for name, answer in answers.items() if refusal not in str(answer)
    }
    assert other == {}, shape


def test_given_forged_tokens_when_other_apis_ask_then_none_of_their_calls_passes(
    world: World,
) -> None:
    """Each kind of API gets another fifteenth of the forged tokens."""
    forged = list(world.forged("access").items())
    before = world.service.items()

    for at, shape in enumerate(SHAPES):
        refused_by_the_authorizer(world, shape, forged[at::15])

    assert world.service.items() == before


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES)
def test_given_all_forged_tokens_when_an_api_asks_then_none_of_their_calls_passes(
    world: World, shape: str
) -> None:
    forged = list(world.forged("access").items())
    before = world.service.items()

    refused_by_the_authorizer(world, shape, forged)

    assert world.service.items() == before
    assert len(forged) > 300


@pytest.mark.parametrize(
    ("query", "status"), [({}, 401), ({"link": "true"}, 403)], ids=["login", "link"]
)
def test_given_forged_tokens_of_an_issuer_when_presented_then_no_user_comes_of_it(
    query: dict[str, str], status: int, world: World
) -> None:
    """A refused link is no 401, at which SDKs would ask again (client-api.md §7)."""
    signer = Signer()
    service = world.service
    issuer = {"issuer": "https://issuer.example", "pem": signer.pem}
    service.restart_with({"apps": {APP: {"custom-token": {"issuers": [issuer]}}}})
    at = int(service.now.timestamp())
    claims = {"iss": issuer["issuer"], "aud": APP, "sub": "ada", "exp": at + 300}
    target = of_issuer(
        signer,
        {**claims, "iat": at},
        {kind: world.user[f"{kind}_token"] for kind in TOKEN_KINDS.values()},
    )
    forged = forgeries(target)
    token = world.user["access_token"] if query else None
    before = service.items()

    def present(credential: str) -> Reply:
        return service.send(
            LINK,
            parameters={"provider": "custom-token"},
            body=json.dumps({"token": credential}),
            query=query,
            token=token,
        )

    replies = {name: present(each) for name, each in list(forged.items())[::6]}
    other = {
        name: (reply.status, reply.text)
        for name, reply in replies.items()
        if (reply.status, reply.json["error_code"])
        not in ((status, "AuthError"), (400, "BadRequest"))
        or not is_contract_error(reply)
    }
    assert other == {}
    assert service.items() == before
    assert present(target.token).status == 200


def merge(world: World, token: str, password: str) -> Reply:
    """Log in by a password, and bring along the guest of a refresh token."""
    body = by_password(password) | {"merge": token}
    return log_in(world.service, "local-userpass", body)


def refusal(token: str) -> str:
    """Return the code of the answer to a token in a body (client-api.md §1.6)."""
    breaks_body = len(token) > 16_000 or re.search("[\x00\ud800-\udfff]", token)
    return "BadRequest" if breaks_body else "InvalidParameter"


def test_given_forged_tokens_when_merging_then_400_before_the_credential_is_tried(
    world: World,
) -> None:
    """A wrong password that was tried would be counted in the table."""
    service = world.service
    service.restart_with(PROVIDERS_ON)
    register(service)
    elsewhere = service.log_in(app=OTHER_APP)["refresh_token"]
    forged = (
        forgeries(world.target("refresh"))
        | dict(world.of_other_keys("refresh"))
        | {"of another app": elsewhere}
    )
    before = service.items()

    replies = {name: merge(world, token, "wrong") for name, token in forged.items()}

    other = {
        name: (reply.status, reply.text)
        for name, reply in replies.items()
        if (reply.status, reply.json["error_code"]) != (400, refusal(forged[name]))
        or not is_contract_error(reply)
    }
    assert other == {}
    assert service.items() == before
    assert len(forged) > 300
    good = service.log_in()["refresh_token"]
    assert merge(world, good, "wrong").status == 401
    assert service.items("RATE#").keys() - before.keys()


def test_given_tokens_of_strangers_when_merging_then_they_bring_nobody_along(
    world: World,
) -> None:
    """The service has signed them, so their guests are looked for, and are gone."""
    service = world.service
    service.restart_with(PROVIDERS_ON)
    register(service)
    owner = log_in(service, "local-userpass", by_password()).json["user_id"]
    strangers = dict(world.strangers("refresh"))
    for name, _ in world.of_other_keys("refresh"):
        del strangers[name]
    before = service.items()

    replies = {name: merge(world, t, PASSWORD) for name, t in strangers.items()}

    refused = {name for name, reply in replies.items() if reply.status == 400}
    assert refused == {"of an empty subject", "of an empty session"}
    for name in replies.keys() - refused:
        answer = replies[name].json
        assert (answer["user_id"], answer["merged"]) == (owner, False), name
    after = service.items()
    pk = f"USER#{APP}#{owner}"
    assert {key for key in after if after[key] != before.get(key)} == {pk}
    assert after.keys() == before.keys()
    assert "former_ids" not in after[pk]


@pytest.mark.parametrize("call", ["confirm", "reset"])
def test_given_forged_tokens_of_a_mail_when_presented_then_the_account_is_as_it_was(
    call: str, mailed: MailedAccounts
) -> None:
    data = {"confirm": mailed.registered(), "reset": mailed.asked_for_reset()}
    good, other = data.pop(call), data.popitem()[1]
    guest = mailed.service.log_in()
    text = good["token"]
    forged = {
        "of the other call": other["token"],
        "an access token": guest["access_token"],
        "a refresh token": guest["refresh_token"],
        "its hash": hash_secret(text),
        "its record": good["tokenId"],
        "empty": "",
        "null": None,
        "a list": [text],
        "padded": text + "=",
        "in capitals": text.upper() + "A",
        "and a blank": text + " ",
        "and a line break": text + "\n",
        "and NUL": text + "\x00",
        "cut": text[:-1],
        "longer": text + "A",
        "unused bits": text[:-1] + chr(ord(text[-1]) + 1),
        "another": "A" * 43,
        "true": True,
        "huge": "A" * 9000,
    }
    before = mailed.accounts()

    def present(token: Any) -> Reply:
        fields = {**good, "token": token, "password": "another password"}
        return mailed.post(call, **fields)

    replies = {name: present(token) for name, token in forged.items()}
    for name, reply in replies.items():
        assert reply.status == 400, name
        assert reply.json["error_code"] in {"BadRequest", "UserpassTokenInvalid"}, name
        assert is_contract_error(reply)
    assert mailed.accounts() == before
    assert present(good["token"]).status == 200
