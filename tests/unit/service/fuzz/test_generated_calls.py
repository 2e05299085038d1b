"""The served OpenAPI document against generated calls."""

import json
from collections.abc import Callable

import jwt
import pytest

from support.contracts.openapi_contract import head_operations, operations
from support.hostile.fuzzing import new_seed
from support.hostile.generated_calls import Plan, Tally, call_all
from support.memory_store import MemoryStore
from support.service.harness import (
    APP,
    CONFIRM,
    CREATE_KEY,
    OPENAPI,
    REGISTER,
    RESET,
    UNLINK,
    Deployment,
)
from support.service.linked import log_in_linked
from support.service.settings_documents import UNREACHABLE_PROVIDERS

Record = Callable[[str, object], None]

ACCOUNT = {"email": "ada@example.com", "password": "correct horse"}

# Schemathesis leaves out where it has the document from.
ROUTES = [route for route, _ in (*operations(), *head_operations()) if route != OPENAPI]
# The tokens of a mail, and an identity that is not the user's last.
NEED_LUCK = {CONFIRM, RESET, UNLINK, OPENAPI}
CAN_SUCCEED = {route for route, each in operations() if "200" in each["responses"]}


def words(service: Deployment, session: dict[str, str]) -> dict[str, list[str]]:
    """Return what only a client with a past can know, by where it belongs."""
    service.send(REGISTER, body=json.dumps(ACCOUNT))
    key = service.send(
        CREATE_KEY, token=session["refresh_token"], body='{"name": "ci"}'
    ).json
    claims_of_session = service.services.tokens.read_refresh_token(
        session["refresh_token"], service.now
    )
    (issuer,) = UNREACHABLE_PROVIDERS["apps"][APP]["custom-token"]["issuers"]
    claims = {"sub": "grace", "aud": APP, "exp": int(service.now.timestamp()) + 3600}
    return {
        "path.appId": [APP],
        "path.id": [key["_id"], claims_of_session.session_id],
        "body.email": [ACCOUNT["email"], "grace@example.com"],
        "body.username": [ACCOUNT["email"]],
        "body.password": [ACCOUNT["password"]],
        "body.key": [key["key"]],
        "body.token": [jwt.encode(claims, issuer["secret"], "HS256")],
    }


def call(
    service: Deployment,
    record: Record,
    examples: int,
    *,
    least: int = 0,
    is_thorough: bool = False,
) -> Tally:
    """Call all operations, with further seeds until `least` calls have been made.

    Hypothesis ends early when it has tried every case that it can think of.
    """
    seed, told = new_seed()
    record("seed", told)
    session = log_in_linked(service)
    known, tally = words(service, session), Tally()
    while True:
        plan = Plan(seed, examples, is_thorough, known)
        call_all(service, session, plan, tally)
        if tally.calls.total() >= least:
            return tally
        seed += 1


def tell(record: Record, tally: Tally) -> None:
    for route, calls in tally.calls.most_common():
        record(route, f"{calls} calls, {tally.successes[route]} with success")
    for check, times in tally.checks.most_common():
        record(f"check {check}", times)
    record("calls", tally.calls.total())


@pytest.mark.long
def test_given_the_document_when_calls_are_made_up_then_no_answer_differs(
    service: Deployment, record_property: Record
) -> None:
    tally = call(service, record_property, 8)

    assert tally.failures == []
    assert set(tally.calls) == set(ROUTES)
    assert tally.calls.total() > 150


@pytest.mark.long
def test_given_the_document_when_its_limits_are_tried_then_no_answer_differs(
    service: Deployment, record_property: Record
) -> None:
    tally = call(service, record_property, 8, is_thorough=True)

    tell(record_property, tally)
    assert tally.failures == []
    assert set(tally.calls) == set(ROUTES)
    assert tally.calls.total() > 2_000


@pytest.mark.long
def test_given_the_document_when_20000_calls_are_made_up_then_no_answer_differs(
    service: Deployment, record_property: Record
) -> None:
    """In memory, where a call takes half the time."""
    memory = MemoryStore()
    memory.ring = service.services.store.load_ring()
    service.services.store = memory  # type: ignore[assignment] # keeps its contracts

    tally = call(service, record_property, 925, least=20_000)

    tell(record_property, tally)
    assert tally.failures == []
    assert set(tally.calls) == set(ROUTES)
    succeeded = {route for route in ROUTES if tally.successes[route]}
    assert succeeded >= CAN_SUCCEED - NEED_LUCK
