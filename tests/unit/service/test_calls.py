"""AWS calls of each operation, counted on the wire (design.md §4), and imports."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest
from botocore.awsrequest import AWSPreparedRequest

from anonauth.handlers import userpass
from support.project.tools import ROOT
from support.service.harness import (
    APP,
    CONFIGURATION,
    DELETE,
    HANDLERS,
    JWKS,
    LOCATION,
    LOGIN,
    LOGOUT,
    MODULE,
    OPENAPI,
    PROFILE,
    SENDER,
    SESSION,
    Deployment,
)

DAY = timedelta(days=1)


def test_given_a_warm_service_when_used_then_each_operation_costs_what_it_must(
    service: Deployment,
) -> None:
    """Without the budget of networks, which is one write more: see test_admission."""
    body = service.log_in()
    guest = service.log_in()
    refresh, access = body["refresh_token"], body["access_token"]

    def calls(route: str, token: str | None = None) -> list[str]:
        return service.counted(lambda: service.send(route, token=token))

    assert calls(LOGIN) == ["PutItem"]
    assert calls(SESSION, refresh) == ["GetItem"]
    assert calls(PROFILE, access) == ["GetItem"]
    assert calls(LOCATION) == []
    assert calls(CONFIGURATION) == []
    assert calls(JWKS) == []
    assert calls(OPENAPI) == []
    assert calls(MODULE) == []
    assert calls(LOGOUT, refresh) == ["DeleteItem"]
    assert calls(DELETE, guest["access_token"]) == ["GetItem", "TransactWriteItems"]


def test_given_a_call_of_aws_when_sent_then_its_user_agent_is_ours(
    service: Deployment,
) -> None:
    """The SDK would make up its own for each call, in 0.1 ms. Powertools adds to it."""
    agents = []

    def note(request: AWSPreparedRequest, **_: object) -> None:
        agents.append(str(request.headers["User-Agent"]))

    service.restart()
    store = service.services.store
    store.connect()
    store._connection.client.meta.events.register_first("before-send", note)
    service.log_in()

    assert {agent.partition(" ")[0] for agent in agents} == {"b'anonauth"}


def test_given_a_new_day_when_refreshing_then_one_update_and_then_none(
    service: Deployment,
) -> None:
    token = service.log_in()["refresh_token"]

    for _ in range(3):
        service.advance(DAY)
        service.send(JWKS)  # the ring's own five minutes
        first = service.counted(lambda: service.send(SESSION, token=token))
        second = service.counted(lambda: service.send(SESSION, token=token))
        assert first == ["GetItem", "UpdateItem"]
        assert second == ["GetItem"]


def test_given_an_environment_when_five_minutes_pass_then_the_ring_is_read_once(
    service: Deployment,
) -> None:
    def calls() -> list[str]:
        return service.counted(lambda: service.send(LOGIN))

    assert calls() == ["GetItem", "Decrypt", "Decrypt", "PutItem"]
    for _ in range(4):
        service.now += timedelta(minutes=1)
        assert calls() == ["PutItem"]
    service.now += timedelta(minutes=1)
    assert calls() == ["GetItem", "PutItem"]


@pytest.mark.parametrize(
    ("route", "kind", "decrypts"),
    [
        pytest.param(LOGIN, None, 2, id="login: both keys"),
        pytest.param(SESSION, "refresh_token", 2, id="session: both keys"),
        pytest.param(LOGOUT, "refresh_token", 1, id="logout: the refresh key"),
        pytest.param(PROFILE, "access_token", 0, id="profile: public keys"),
        pytest.param(DELETE, "access_token", 0, id="delete: public keys"),
        pytest.param(JWKS, None, 0, id="key set: public keys"),
    ],
)
def test_given_a_cold_start_when_called_then_only_the_keys_it_uses_are_unwrapped(
    service: Deployment, route: str, kind: str | None, decrypts: int
) -> None:
    """The policies in template.yaml allow no more."""
    body = service.log_in()
    service.restart()

    calls = service.counted(
        lambda: service.send(route, token=body[kind] if kind else None)
    )

    assert calls.count("Decrypt") == decrypts


ACCOUNT = {"email": "ada@example.com", "password": "correct horse"}
TOKEN = {"token": "x" * 43, "tokenId": "x" * 43}


@pytest.mark.parametrize(
    ("call", "body", "ring"),
    [
        pytest.param("register", ACCOUNT, ["GetItem", "Decrypt"], id="register"),
        pytest.param("confirm", TOKEN, [], id="confirm: no network"),
        pytest.param(
            "confirm/send", ACCOUNT, ["GetItem", "Decrypt"], id="confirm mail"
        ),
        pytest.param("reset", ACCOUNT | TOKEN, [], id="reset: no network"),
        pytest.param("reset/send", ACCOUNT, ["GetItem", "Decrypt"], id="reset mail"),
    ],
)
def test_given_a_cold_userpass_when_called_then_one_key_at_most_hashes_the_network(
    service: Deployment, call: str, body: dict[str, str], ring: list[str]
) -> None:
    """The refresh key: the policy in template.yaml allows no other."""
    pages = {"confirm_url": "https://a.example/c", "reset_url": "https://a.example/r"}
    mail = {"sender": SENDER, **pages}
    service.restart_with({"apps": {APP: {"local-userpass": {"mail": mail}}}})

    del service.wire.bodies[:]
    calls = service.counted(
        lambda: service.send(userpass._PREFIX + call, body=json.dumps(body))
    )

    assert calls[: 1 + len(ring)] == ["GetParameter", *ring]
    assert calls.count("Decrypt") == ring.count("Decrypt")
    contexts = [sent.get("EncryptionContext") for sent in service.wire.bodies]
    unwrapped = [context["ring"] for context in contexts if context]
    assert unwrapped == (["refresh"] if ring else [])


def test_given_the_daily_schedule_when_nothing_is_due_then_one_read(
    service: Deployment,
) -> None:
    assert service.counted(service.rotate) == ["GetItem"]


# Heavy parts, and the functions that need them (design.md §10).
NEEDS: dict[str, set[str]] = {
    "jwt": {"ApiKeys", "Authorizer", "Link", "Login", "Logout", "Profile", "Session"},
    "pynamodb": {*(name.removesuffix("Function") for name in HANDLERS)},
    "argon2": {"Userpass"},  # Link, only if a password is linked
    "email_validator": {"Userpass"},
    "msgspec": {"Link", "Userpass", "ApiKeys"},
    "anonauth.event_bus": set(),  # Lifecycle and Expiring, when they publish
    "aws_lambda_powertools.utilities.batch": {"Lifecycle"},
    "anonauth.providers": {"Link", "Userpass", "ApiKeys"},
    "anonauth.issuers.fetch": set(),  # only if an identity of others comes
    "boto3": set(),
    "pydantic": set(),
    "requests": set(),
    "aws_xray_sdk": set(),
    "aws_lambda_powertools.event_handler": set(),
    "anonauth.cli": set(),
    "anonauth.local": set(),
}


@pytest.mark.parametrize("function", HANDLERS)
def test_given_a_function_when_it_starts_then_it_imports_only_what_it_needs(
    function: str,
) -> None:
    module = HANDLERS[function].rpartition(".")[0]
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    ran = subprocess.run(  # noqa: S603 - constant words
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "functions",
    )
    loaded = set(ran.stdout.split())

    name = function.removesuffix("Function")
    for heavy, functions in NEEDS.items():
        assert (heavy in loaded) == (name in functions), heavy
