"""Each function of the built bundle, in AWS's runtime client, answers its event.

The tests of this module share one table and run in order: the first makes the key ring.
"""

import json
import secrets
import threading

import pytest

from runtime.aws import PARAMETERS, Aws
from runtime.client import HOST, ISSUER, call, claims, log_in
from runtime.conftest import Start
from runtime.runtime_api import Function, ResponseUrl
from support.project.sam_template import event

pytestmark = pytest.mark.usefixtures("granted")


def test_given_no_key_ring_when_the_schedule_fires_then_there_is_one(
    start: Start, cloud: Aws
) -> None:
    keys = start("KeysFunction")

    answer = keys.invoke(event("key_ring"))

    ring = cloud.item("KEY#ring")
    assert ring is not None
    assert answer["kids"]


def test_given_a_key_ring_when_a_stack_is_deployed_then_cloudformation_hears_success(
    functions: dict[str, Function],
) -> None:
    with ResponseUrl() as response_url:
        threading.Thread(
            target=response_url.serve_forever, args=[0.02], daemon=True
        ).start()

        functions["KeysFunction"].invoke(
            {
                "RequestType": "Create",
                "ResponseURL": response_url.url,
                "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/s/1",
                "RequestId": "8f1a",
                "ResourceType": "Custom::KeyRing",
                "LogicalResourceId": "KeyRing",
                "ResourceProperties": {},
            }
        )

        answer = response_url.answers.get(timeout=10)
        response_url.shutdown()
    assert answer["Status"] == "SUCCESS"
    assert answer["LogicalResourceId"] == "KeyRing"
    assert answer["PhysicalResourceId"]


def test_given_a_visitor_when_logging_in_then_there_is_a_user_with_tokens(
    functions: dict[str, Function], cloud: Aws
) -> None:
    opened = log_in(functions)

    access = claims(opened["access_token"])
    assert (access["iss"], access["aud"]) == (ISSUER, "myapp-abcde")
    assert access["sub"] == opened["user_id"]
    assert len(opened["device_id"]) == 24
    assert cloud.item(f"USER#myapp-abcde#{opened['user_id']}") is not None


def test_given_a_login_when_logged_then_there_are_metrics_for_cloudwatch(
    functions: dict[str, Function],
) -> None:
    log_in(functions)

    lines = functions["LoginFunction"].log().splitlines()
    metrics = [json.loads(line) for line in lines if line.startswith('{"_aws"')]
    assert [each["provider"] for each in metrics if "Logins" in each][-1] == "anon-user"
    cold = [each["function"] for each in metrics if "ColdStarts" in each]
    assert cold == ["anonauth.handlers.login.handler"]  # what the client here calls it


def test_given_a_challenge_when_logging_in_then_the_service_is_asked(
    start: Start, functions: dict[str, Function], cloud: Aws
) -> None:
    """No service answers at that address, so the challenge cannot be judged."""
    assert functions
    login = start(
        "LoginFunction",
        ANONYMOUS_CHALLENGE="true",
        SETTINGS_PARAMETER=PARAMETERS["SettingsParameter"],
    )
    answered = {"options": {"challenge": "answer"}}
    path = {"appId": "other-fghij"}

    without, _ = call(login, "login", pathParameters=path)
    given, _ = call(login, "login", pathParameters=path, body=answered)

    assert (without, given) == (400, 503)
    assert '"ProviderUnavailable"' in login.log()


def test_given_a_login_key_when_a_login_is_repeated_then_it_is_the_same_user(
    functions: dict[str, Function], cloud: Aws
) -> None:
    body = {"login_key": secrets.token_urlsafe(32)}

    first, again = (
        call(functions["LoginFunction"], "login", body=body) for _ in range(2)
    )

    assert (first[0], again[0]) == (200, 200)
    assert again[1]["user_id"] == first[1]["user_id"]
    # With the logins above, each grant of the function was needed.
    assert cloud.gate.policies.unused("LoginFunction") == []


def test_given_a_session_when_refreshed_then_there_is_a_new_access_token(
    functions: dict[str, Function],
) -> None:
    opened = log_in(functions)

    status, body = call(
        functions["SessionFunction"], "session", opened["refresh_token"]
    )

    assert status == 200, body
    assert body.keys() == {"access_token"}
    assert claims(body["access_token"])["sub"] == opened["user_id"]


def test_given_an_access_token_when_asking_who_i_am_then_it_is_the_user(
    functions: dict[str, Function],
) -> None:
    opened = log_in(functions)

    status, body = call(functions["ProfileFunction"], "profile", opened["access_token"])

    assert status == 200, body
    assert body["user_id"] == opened["user_id"]
    assert body["type"] == "normal"
    assert body["data"] == {}
    assert [i["provider_type"] for i in body["identities"]] == ["anon-user"]


def test_given_a_session_when_logging_out_twice_then_the_second_finds_none(
    functions: dict[str, Function], cloud: Aws
) -> None:
    opened = log_in(functions)
    logout = functions["LogoutFunction"]

    first = call(logout, "logout", opened["refresh_token"])
    status, body = call(logout, "logout", opened["refresh_token"])

    assert first == (200, {})
    assert (status, body["error_code"]) == (401, "InvalidSession")
    assert body["error"] == "invalid session: failed to find refresh token"
    assert cloud.item(f"USER#myapp-abcde#{opened['user_id']}") is None


def test_given_a_user_when_it_deletes_itself_then_its_tokens_are_refused(
    functions: dict[str, Function], cloud: Aws
) -> None:
    opened = log_in(functions)

    deleted = call(
        functions["ProfileFunction"], "profile-delete", opened["access_token"]
    )

    profile, _ = call(functions["ProfileFunction"], "profile", opened["access_token"])
    session, _ = call(functions["SessionFunction"], "session", opened["refresh_token"])
    assert deleted == (200, {})
    assert (profile, session) == (401, 401)
    assert cloud.item(f"USER#myapp-abcde#{opened['user_id']}") is None
    assert cloud.item(f"GONE#myapp-abcde#{opened['user_id']}") is not None


@pytest.mark.parametrize(
    ("function", "name"),
    [
        pytest.param("SessionFunction", "session", id="session"),
        pytest.param("LogoutFunction", "logout", id="logout"),
        pytest.param("LogoutFunction", "logout-everywhere", id="logout everywhere"),
        pytest.param("LogoutFunction", "logout-list", id="list sessions"),
        pytest.param("LogoutFunction", "logout-end", id="end a session"),
        pytest.param("ProfileFunction", "profile", id="profile"),
        pytest.param("ProfileFunction", "profile-delete", id="delete"),
        pytest.param("ProfileFunction", "profile-unlink", id="unlink"),
        pytest.param("LinkFunction", "link", id="link"),
        pytest.param("ApiKeysFunction", "api_keys", id="create an API key"),
        pytest.param("ApiKeysFunction", "api_keys-list", id="list API keys"),
    ],
)
def test_given_the_placeholder_for_a_token_when_sent_then_it_is_a_401(
    functions: dict[str, Function], function: str, name: str
) -> None:
    status, body = call(functions[function], name, "REPLACE_WITH_TOKEN")

    assert (status, body["error_code"]) == (401, "InvalidSession")


def test_given_an_app_when_asking_where_it_is_then_all_four_fields_are_there(
    functions: dict[str, Function],
) -> None:
    status, body = call(functions["DiscoveryFunction"], "discovery")

    assert status == 200
    assert body["hostname"] == HOST
    assert body.keys() >= {"deployment_model", "location", "hostname", "ws_hostname"}


def test_given_a_key_ring_when_asking_for_keys_then_only_public_parts_are_shown(
    functions: dict[str, Function],
) -> None:
    status, body = call(functions["DiscoveryFunction"], "discovery-jwks")

    assert status == 200
    assert body["keys"]
    for key in body["keys"]:
        assert key.keys() == {"kty", "n", "e", "use", "alg", "kid"}


def test_given_the_bundle_when_asking_for_the_api_then_its_document_is_in_it(
    functions: dict[str, Function],
) -> None:
    status, body = call(functions["DiscoveryFunction"], "discovery-openapi")

    assert status == 200
    assert body["servers"] == [{"url": HOST}]
    assert "/openapi.json" in body["paths"]


def test_given_a_cold_start_when_asking_for_keys_then_an_authorizer_would_wait(
    start: Start, functions: dict[str, Function]
) -> None:
    """API Gateway's JWT authorizer waits 1.5 s; the function has one core."""
    assert functions  # there is a key ring
    cold = start("DiscoveryFunction")

    status, _ = call(cold, "discovery-jwks")

    assert status == 200
    assert cold.cpu_seconds() < 1.0


def test_given_a_preflight_when_the_catch_all_route_gets_it_then_it_is_a_success(
    functions: dict[str, Function],
) -> None:
    """API Gateway hands OPTIONS to `$default`; any status but 200 blocks browsers."""
    preflight = event("discovery")
    del preflight["pathParameters"]
    preflight["routeKey"] = preflight["requestContext"]["routeKey"] = "$default"
    preflight["rawPath"] = "/api/client/v2.0/auth/session"
    preflight["requestContext"]["http"] |= {
        "method": "OPTIONS",
        "path": "/api/client/v2.0/auth/session",
    }
    preflight["headers"] |= {"access-control-request-method": "POST"}

    answer = functions["DiscoveryFunction"].invoke(preflight)

    assert answer["statusCode"] in {200, 204}


def test_given_all_these_requests_when_logs_are_read_then_no_secret_is_in_them(
    functions: dict[str, Function],
) -> None:
    opened = log_in(functions)
    call(functions["SessionFunction"], "session", opened["refresh_token"])
    call(functions["ProfileFunction"], "profile", opened["access_token"])
    call(functions["LogoutFunction"], "logout", opened["refresh_token"])

    logs = "".join(function.log() for function in functions.values())

    assert "KeysFunction" in logs or "key ring" in logs  # there is a log at all
    for secret in (opened["access_token"], opened["refresh_token"]):
        assert secret not in logs
        assert secret.rpartition(".")[2] not in logs
    assert "203.0.113.7" not in logs
