"""Events with fresh tokens, and every event through the function of its route."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from anonauth.cli.event import PLACEHOLDER, fill_event
from anonauth.cli.problem import Problem
from anonauth.cli.serve import LocalServer
from tools import ROOT

EVENTS = ROOT / "events"
ENV_VARS = EVENTS / "env.local.json"
NAMES = sorted(path.stem for path in EVENTS.glob("*.json") if path != ENV_VARS)


@pytest.fixture(scope="module")
def with_aws() -> Iterator[LocalServer]:
    with LocalServer(aws_port=0) as running:
        yield running


def fill(name: str, server: LocalServer) -> dict[str, Any]:
    return fill_event(
        name, events=EVENTS, env_vars=ENV_VARS, endpoint_url=server.aws_url
    )


def function_of(event: dict[str, Any], server: LocalServer) -> str:
    functions = server.stack.template.functions.values()
    if "routeKey" not in event:
        (name,) = [one.name for one in functions if one.scheduled]
    else:
        (name,) = [one.name for one in functions if event["routeKey"] in one.routes]
    return name


@pytest.mark.parametrize("name", NAMES)
def test_given_an_event_when_filled_then_its_function_answers_well(
    name: str, with_aws: LocalServer
) -> None:
    event = fill(name, with_aws)

    answer = with_aws.stack.invoke(function_of(event, with_aws), event)

    assert PLACEHOLDER not in json.dumps(event)
    assert answer.get("statusCode", 200) == 200, answer


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("session", "refresh", id="session"),
        pytest.param("logout", "refresh", id="logout"),
        pytest.param("profile", "access", id="profile"),
        pytest.param("profile-delete", "access", id="delete"),
    ],
)
def test_given_an_event_when_filled_then_it_has_the_token_its_route_takes(
    name: str, kind: str, with_aws: LocalServer
) -> None:
    authorization = fill(name, with_aws)["headers"]["authorization"]

    claims = jwt.decode(
        authorization.removeprefix("Bearer "), options={"verify_signature": False}
    )
    assert claims["typ"] == kind


def test_given_two_fillings_when_compared_then_each_has_a_user_of_its_own(
    with_aws: LocalServer,
) -> None:
    assert fill("profile", with_aws) != fill("profile", with_aws)


def test_given_an_unknown_name_when_filled_then_the_known_ones_are_listed() -> None:
    with pytest.raises(Problem) as problem:
        fill_event("env.local", events=EVENTS, env_vars=ENV_VARS, endpoint_url="")

    assert str(problem.value).endswith("there are " + ", ".join(NAMES))


def test_given_no_service_when_filled_then_it_says_what_to_start() -> None:
    with pytest.raises(Problem, match="start `anonauth serve --aws-port 4566`"):
        fill_event(
            "logout",
            events=EVENTS,
            env_vars=ENV_VARS,
            endpoint_url="http://127.0.0.1:1",
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "cannot read", id="no file"),
        pytest.param("{", "is not JSON", id="not JSON"),
        pytest.param("[]", "is not a JSON object", id="list"),
        pytest.param("{}", "APP_IDS: not set", id="no parameters"),
        pytest.param(
            json.dumps(
                {"Parameters": {"APP_IDS": "a", "TABLE_NAME": "t", "KMS_KEY_ID": "k"}}
            ),
            "BASE_URL: not set",
            id="no base URL",
        ),
    ],
)
def test_given_a_bad_variables_file_when_filled_then_one_line_says_so(
    text: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "env.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(Problem, match=message):
        fill_event("logout", events=EVENTS, env_vars=path, endpoint_url="")
