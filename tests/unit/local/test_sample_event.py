"""Sample events with fresh tokens, each answered by the function of its route."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest

from anonauth.cli.options import DEFAULT_ENDPOINT
from anonauth.local.command_error import CommandError
from anonauth.local.lambdas import LocalDeployment
from anonauth.local.sample_event import fill_event
from anonauth.local.server import LOCAL_PARAMETERS, LocalServer
from anonauth.local.settings_file import MAIL_APP
from anonauth.local.template import find_template, read_template
from support.project import sam_template
from support.project.tools import ROOT
from support.service.authorizer import SHAPES, is_allowed

EVENTS = ROOT / "events"
ENV_VARS = EVENTS / "env.local.json"
NAMES = sorted(path.stem for path in EVENTS.glob("*.json") if path != ENV_VARS)


@pytest.fixture(scope="module")
def with_aws() -> Iterator[LocalServer]:
    """The default service; its functions serve the apps that `sam local` is told of."""
    apps = json.loads(ENV_VARS.read_text())["Parameters"]["APP_IDS"]
    with LocalServer(aws_port=0, app_ids=tuple(apps.split(","))) as running:
        yield running


def fill(name: str, server: LocalServer) -> dict[str, Any]:
    return fill_event(
        name, events=EVENTS, env_vars=ENV_VARS, endpoint_url=server.aws_url
    )


def claims_in(event: dict[str, Any]) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in event["headers"].items()}
    token = headers["authorization"].removeprefix("Bearer ")
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def user_of(event: dict[str, Any], server: LocalServer) -> Any:
    """Return the stored user whose token is in an event."""
    (item,) = [
        item
        for item in boto3.client("dynamodb", "eu-central-1").scan(
            TableName="anonauth-local"
        )["Items"]
        if item["pk"]["S"].endswith(f"#{claims_in(event)['sub']}")
    ]
    return item


def providers_of(user: Any) -> list[str]:
    return [identity["M"]["provider"]["S"] for identity in user["identities"]["L"]]


def test_given_the_variables_for_sam_when_read_then_they_match_the_service() -> None:
    deployment = LocalDeployment(read_template(find_template(ROOT), LOCAL_PARAMETERS))

    served = deployment.environment("LinkFunction")

    told = json.loads(ENV_VARS.read_text())["Parameters"]
    assert told.pop("ENDPOINT_URL").endswith(DEFAULT_ENDPOINT.rpartition(":")[2])
    assert told.pop("BASE_URL") == "http://127.0.0.1:3000"  # of `sam local start-api`
    apps = told.pop("APP_IDS").split(",")
    assert apps == [served["APP_IDS"], MAIL_APP]
    assert told.items() <= served.items()


@pytest.mark.parametrize("name", NAMES)
def test_given_an_event_when_filled_then_its_function_succeeds(
    name: str, with_aws: LocalServer
) -> None:
    event = fill(name, with_aws)

    for_container = json.loads(ENV_VARS.read_text())["Parameters"]["ENDPOINT_URL"]
    text = json.dumps(event).replace(for_container, with_aws.aws_url)

    answer = with_aws.deployment.invoke(
        sam_template.function_of(name), json.loads(text)
    )

    assert "REPLACE" not in text
    assert answer.get("statusCode", 200) == 200, answer
    assert not answer.get("batchItemFailures"), answer


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("session", "refresh", id="session"),
        pytest.param("session-capitals", "refresh", id="header in capitals"),
        pytest.param("logout", "refresh", id="logout"),
        pytest.param("profile", "access", id="profile"),
        pytest.param("profile-delete", "access", id="delete"),
        pytest.param("profile-unlink", "refresh", id="unlink"),
        pytest.param("link", "access", id="link"),
        pytest.param("api_keys", "refresh", id="API keys"),
    ],
)
def test_given_an_event_when_filled_then_it_has_the_token_its_route_takes(
    name: str, kind: str, with_aws: LocalServer
) -> None:
    event = fill(name, with_aws)

    assert claims_in(event)["typ"] == kind


@pytest.mark.parametrize(
    ("name", "anonymous", "providers"),
    [
        pytest.param("link", True, ["anon-user"], id="link"),
        pytest.param("api_keys", False, ["custom-token"], id="API keys"),
    ],
)
def test_given_an_event_when_filled_then_its_user_fits_the_route(
    name: str, providers: list[str], with_aws: LocalServer, *, anonymous: bool
) -> None:
    event = fill(name, with_aws)

    user = user_of(event, with_aws)
    assert user["anonymous"]["BOOL"] is anonymous
    assert providers_of(user) == providers


@pytest.mark.parametrize("name", SHAPES)
def test_given_an_event_of_the_authorizer_when_filled_then_its_call_may_pass(
    name: str, with_aws: LocalServer
) -> None:
    answer = with_aws.deployment.invoke("AuthorizerFunction", fill(name, with_aws))

    assert is_allowed(answer)


def test_given_an_event_that_unlinks_when_filled_then_that_identity_is_there(
    with_aws: LocalServer,
) -> None:
    event = fill("profile-unlink", with_aws)

    before = providers_of(user_of(event, with_aws))
    with_aws.deployment.invoke("ProfileFunction", event)
    after = providers_of(user_of(event, with_aws))

    assert before == ["custom-token", event["queryStringParameters"]["provider"]]
    assert after == ["custom-token"]


def test_given_an_event_that_merges_when_filled_then_a_new_guest_comes_along(
    with_aws: LocalServer,
) -> None:
    event = fill("link-merge", with_aws)

    answer = with_aws.deployment.invoke("LinkFunction", event)

    guest = jwt.decode(
        json.loads(event["body"])["merge"], options={"verify_signature": False}
    )
    opened = json.loads(answer["body"])
    assert guest["typ"] == "refresh"
    # Nobody has the address yet, so it is linked to the guest.
    assert (opened["user_id"], opened["merged"]) == (guest["sub"], False)


def test_given_the_event_of_a_merged_guest_when_filled_then_user_merged_is_published(
    with_aws: LocalServer,
) -> None:
    event = fill("lifecycle-merged", with_aws)
    (record,) = event["Records"]
    guest = record["dynamodb"]["Keys"]["pk"]["S"].rpartition("#")[2]

    with_aws.deployment.invoke("LifecycleFunction", event)

    event_id = f"{record['eventID']}:user.merged"
    *_, told = [e for e in with_aws.deployment.events.entries() if e.id == event_id]
    assert (told.type, told.user_id) == ("user.merged", guest)
    into = boto3.client("dynamodb", "eu-central-1").get_item(
        TableName="anonauth-local",
        Key={"pk": {"S": f"USER#{told.app}#{told.detail['into']}"}},
    )["Item"]
    assert into["former_ids"] == {"L": [{"S": guest}]}


@pytest.mark.long
@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("link", "user"))])
def test_given_an_event_with_an_address_when_filled_then_the_address_is_new(
    name: str, with_aws: LocalServer
) -> None:
    events = [fill(name, with_aws) for _ in range(2)]

    assert events[0]["body"] != events[1]["body"]
    for event in events:
        assert event["headers"]["content-length"] == str(len(event["body"]))
        answer = with_aws.deployment.invoke(sam_template.function_of(name), event)
        assert answer["statusCode"] == 200


def test_given_an_event_that_registers_when_filled_then_no_service_is_needed() -> None:
    event = fill_event("userpass", events=EVENTS, env_vars=ENV_VARS, endpoint_url="")

    assert "@" in json.loads(event["body"])["email"]


def test_given_two_fillings_when_compared_then_each_has_a_user_of_its_own(
    with_aws: LocalServer,
) -> None:
    assert fill("profile", with_aws) != fill("profile", with_aws)


def test_given_an_unknown_name_when_filled_then_the_known_ones_are_listed() -> None:
    with pytest.raises(CommandError) as problem:
        fill_event("env.local", events=EVENTS, env_vars=ENV_VARS, endpoint_url="")

    assert str(problem.value).endswith("there are " + ", ".join(NAMES))


def test_given_no_service_when_filled_then_the_message_says_what_to_start() -> None:
    with pytest.raises(CommandError, match="start `anonauth serve --aws-port 4566`"):
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

    with pytest.raises(CommandError, match=message):
        fill_event("logout", events=EVENTS, env_vars=path, endpoint_url="")
