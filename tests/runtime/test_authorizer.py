"""The authorizer in the built bundle, as Lambda and API Gateway see it."""

import json
from typing import Any

import pytest

from runtime.aws import Aws
from runtime.client import APP, call, log_in
from runtime.conftest import Start
from runtime.runtime_api import Function, LambdaError
from support.project.sam_template import Json
from support.service.authorizer import SHAPES, is_allowed, question

pytestmark = pytest.mark.usefixtures("granted")

CHECKS = 50  # each takes a tenth of a second here


def ask(function: Function, asked: Json) -> Any:
    """Return the answer, or the text of the error that API Gateway gets."""
    try:
        return function.invoke(asked)
    except LambdaError as exc:
        error, _ = json.JSONDecoder().raw_decode(str(exc))
        return f"{error['errorType']}: {error['errorMessage']}"


@pytest.mark.parametrize("shape", SHAPES)
def test_given_a_guest_when_it_logs_out_then_its_next_call_is_refused(
    functions: dict[str, Function], shape: str
) -> None:
    guest = log_in(functions)
    asked = question(shape, guest["access_token"])

    before = ask(functions["AuthorizerFunction"], asked)
    call(functions["LogoutFunction"], "logout", guest["refresh_token"])
    after = ask(functions["AuthorizerFunction"], asked)

    assert is_allowed(before)
    assert before["context"]["sub"] == guest["user_id"]
    assert before["context"]["app"] == APP
    assert not is_allowed(after)


def test_given_no_table_when_an_api_asks_then_it_gets_an_error_and_no_401(
    functions: dict[str, Function], start: Start
) -> None:
    guest = log_in(functions)
    alone = start("AuthorizerFunction", ENDPOINT_URL="http://127.0.0.1:1")

    answers = [ask(alone, question(each, guest["access_token"])) for each in SHAPES]

    assert answers == ["NotDecided: "] * len(SHAPES)
    assert '"StoreUnavailable"' in alone.log()


@pytest.mark.long
def test_given_many_checks_when_counted_then_each_is_one_read(
    functions: dict[str, Function], start: Start, cloud: Aws
) -> None:
    """The key ring is one more, and stays in memory for five minutes."""
    guest = log_in(functions)
    authorizer = start("AuthorizerFunction")
    asked = [question(shape, guest["access_token"]) for shape in SHAPES]
    del cloud.gate.calls[:]

    answers = [ask(authorizer, asked[number % len(asked)]) for number in range(CHECKS)]

    assert all(is_allowed(answer) for answer in answers)
    assert cloud.gate.calls == [("AuthorizerFunction", "GetItem")] * (1 + CHECKS)


def test_given_all_these_questions_when_logs_are_read_then_no_token_is_in_them(
    functions: dict[str, Function],
) -> None:
    """Lambda itself logs the errors that the function raises."""
    guest = log_in(functions)
    good, authorizer = guest["access_token"], functions["AuthorizerFunction"]
    bad = good[:-8] + "AAAAAAAA"
    for shape in SHAPES:
        ask(authorizer, question(shape, good))
        ask(authorizer, question(shape, bad))
        ask(authorizer, {**question(shape, good), "type": good})

    logged = authorizer.log()

    assert "Unauthorized" in logged
    assert '"InvalidSession"' in logged
    for part in (*good.split("."), *bad.split("."), guest["user_id"]):
        assert part not in logged
