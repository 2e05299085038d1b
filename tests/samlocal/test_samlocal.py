"""The functions in containers, by `sam local`, as events/README.md says."""

import json
import re
import subprocess
import urllib.error
import urllib.request

import pytest

from samlocal.sam import SERVED_AT, Json, SamLocal, post, sample
from support.engine.engines import free_port
from support.project import sam_template
from support.project.pages import block
from support.project.sam_template import resources
from support.project.tools import ROOT, require_tool
from support.service.authorizer import is_allowed
from support.service.calls import APP

pytestmark = pytest.mark.long

FUNCTIONS = sorted(resources(sam_template.load(), "AWS::Serverless::Function"))
NAMES = sorted(
    {path.stem for path in sam_template.EVENTS.glob("*.json")} - {"env.local"}
)


def assert_answered(name: str, event: Json, answer: Json) -> None:
    """Check that a function gave its documented answer to a sample event."""
    if "type" in event:
        assert is_allowed(answer), (name, answer)
    elif "routeKey" in event:
        assert answer["statusCode"] == 200, (name, answer)
    elif "Records" in event:
        assert answer == {"batchItemFailures": []}, name
    elif "ResponseURL" in event:
        assert answer["Status"] == "SUCCESS", (name, answer)
    else:
        assert "errorType" not in answer, (name, answer)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_given_a_function_when_invoked_with_its_sample_then_it_answers(
    sam: SamLocal, function: str
) -> None:
    name = sam_template.word_of(function)
    event = sample(name)

    answer = sam.invoke(function, event)

    assert_answered(name, json.loads(event), answer)


def test_given_every_sample_when_sent_to_start_lambda_then_it_is_answered(
    sam: SamLocal,
) -> None:
    port = free_port()
    with sam.serving("start-lambda", "--port", str(port)) as log:
        for name in NAMES:
            event = sample(name)
            function = sam_template.function_of(name)
            url = f"http://127.0.0.1:{port}/2015-03-31/functions/{function}/invocations"

            answer = post(url, event)

            assert_answered(name, json.loads(event), answer)
        with open(log, encoding="utf-8") as file:
            told = file.read()

    assert "pynamodb" not in told
    assert "botocore.credentials" not in told


def call(method: str, path: str, token: str = "", body: str = "") -> tuple[int, Json]:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{SERVED_AT}/api/client/v2.0{path}",
        method=method,
        data=body.encode() if body else None,
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_given_start_api_when_a_client_calls_then_it_is_served_to_the_end(
    sam: SamLocal,
) -> None:
    node = require_tool("node")
    sdk = ROOT / "tests/sdk"
    assert (sdk / "node_modules/realm-web").is_dir(), "`.ci/run` installs it"
    with sam.serving("start-api"):
        login = call("POST", f"/app/{APP}/auth/providers/anon-user/login")[1]
        access, refresh = login["access_token"], login["refresh_token"]
        profile = call("GET", "/auth/profile", access)
        renewed = call("POST", "/auth/session", refresh)
        location = call("GET", f"/app/{APP}/location")
        logout = call("DELETE", "/auth/session", refresh)
        again = call("DELETE", "/auth/session", refresh)
        unknown = call("GET", "/no/such/call")
        told = [
            subprocess.run(  # noqa: S603 - the page's own words
                [node, "--input-type=module", "--eval", block(name, SERVED_AT)],
                cwd=sdk,
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            ).stdout
            for name in ("the realm-web program", "the realm-web link")
        ]

    assert profile[1]["user_id"] == login["user_id"]
    assert renewed[0] == 200
    assert location[1]["hostname"] == SERVED_AT
    assert logout == (200, {})
    assert again[0] == 401
    assert (unknown[0], unknown[1]["error_code"]) == (404, "NotFound")
    assert re.fullmatch(r"user [0-9a-f]{24} \[.*the same one: true\n", told[0], re.S)
    assert told[1].endswith("the same one: true\n")
