"""The Lambda authorizer, asked by each kind of API, with API Gateway's own events."""

import io
import json
import logging
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.expiry import expiry_after
from support.forgery.bad_tokens import other_signature, unsigned
from support.project import sam_template
from support.project.sam_template import Json
from support.service.authorizer import (
    REQUESTS,
    SHAPES,
    ask,
    is_allowed,
    question,
    with_headers,
)
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    DISABLE_KEY,
    END_SESSION,
    LIST_SESSIONS,
    LOGOUT,
    OTHER_APP,
    UNLINK,
    Deployment,
)
from support.service.linked import log_in_linked, open_key_session, open_session
from support.service.provider_logins import (
    PROVIDERS_ON,
    by_token,
    claims_of,
    link,
    log_in,
)
from support.service.wire import FAULTS, access_denied

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
NOT_DECIDED = "NotDecided: "
UNAUTHORIZED = "Exception: Unauthorized"
UNSIGNED = unsigned({}, alg="RS256", kid="a key")
CONNECT = "authorizer-websocket"
STAGES = {
    "authorizer-http1": "fghij67890/$default/*",
    "authorizer-rest-request": "klmno12345/prod/*",
    "authorizer-rest-token": "klmno12345/prod/*",
    "authorizer-websocket": "pqrst67890/prod/*",
}


def policy(shape: str, effect: str, principal: str) -> Json:
    resource = f"arn:aws:execute-api:eu-central-1:123456789012:{STAGES[shape]}"
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }


def context_of(service: Deployment, token: str) -> Any:
    return ask(service, question("authorizer", token))["context"]


@pytest.fixture
def guest(service: Deployment) -> dict[str, Any]:
    return service.log_in()


@pytest.mark.parametrize("shape", SHAPES)
def test_given_an_open_session_when_an_api_asks_then_its_call_may_pass(
    service: Deployment, guest: dict[str, Any], shape: str
) -> None:
    answer = ask(service, question(shape, guest["access_token"]))

    context = {
        "sub": guest["user_id"],
        "app": APP,
        "sid": claims_of(guest["access_token"])["sid"],
        "anonymous": "true",
        "provider": "anon-user",
        "former_ids": "",
        "expires_at": guest["expires_at"],
    }
    if shape == "authorizer":
        assert answer == {"isAuthorized": True, "context": context}
    else:
        allowed = policy(shape, "Allow", guest["user_id"])
        assert answer == allowed | {"context": context}


@pytest.mark.parametrize(
    ("shape", "refusal"),
    [
        pytest.param("authorizer", {"isAuthorized": False}, id="HTTP API, 2.0"),
        pytest.param(
            "authorizer-http1",
            policy("authorizer-http1", "Deny", "unauthorized"),
            id="HTTP API, 1.0",
        ),
        # The gateway turns exactly this text into a 401, and any other into a 500.
        pytest.param("authorizer-rest-token", UNAUTHORIZED, id="REST API, token"),
        pytest.param("authorizer-rest-request", UNAUTHORIZED, id="REST API, request"),
        pytest.param("authorizer-websocket", UNAUTHORIZED, id="WebSocket API"),
    ],
)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(other_signature, id="signature edited"),
        pytest.param(lambda token: "", id="empty"),
        pytest.param(lambda token: "x", id="not a JWT"),
    ],
)
def test_given_a_bad_token_when_an_api_asks_then_it_is_refused_in_its_own_way(
    service: Deployment,
    guest: dict[str, Any],
    shape: str,
    refusal: Any,
    spoil: Callable[[str], str],
) -> None:
    answer = ask(service, question(shape, spoil(guest["access_token"])))

    assert answer == refusal


def test_given_a_refresh_token_when_an_api_asks_then_it_is_refused(
    service: Deployment, guest: dict[str, Any]
) -> None:
    """A REST API's log could keep it, and it is not for other APIs."""
    answers = [ask(service, question(each, guest["refresh_token"])) for each in SHAPES]

    assert [is_allowed(answer) for answer in answers] == [False] * len(SHAPES)


def test_given_the_shapes_then_each_policy_is_for_all_of_its_stage() -> None:
    """HTTP API's payload format 2.0 has a simple answer instead."""
    assert STAGES.keys() == set(SHAPES) - {"authorizer"}


# -- Where the token is ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATION"]
)
def test_given_any_spelling_of_the_header_when_an_api_asks_then_it_is_read(
    service: Deployment, guest: dict[str, Any], name: str
) -> None:
    for shape in REQUESTS:
        asked = with_headers(shape, {name: [f"Bearer {guest['access_token']}"]})

        assert is_allowed(ask(service, asked)), shape


@pytest.mark.parametrize("missing", ["headers", "multiValueHeaders"])
@pytest.mark.parametrize("empty", [None, {}], ids=["null", "no header"])
def test_given_one_form_of_headers_when_an_api_asks_then_the_other_is_not_needed(
    service: Deployment, guest: dict[str, Any], missing: str, empty: Any
) -> None:
    """`sam local` and other people's tests leave one of them out."""
    # Payload format 2.0 has no lists.
    for shape in set(REQUESTS) - ({"authorizer"} if missing == "headers" else set()):
        asked = question(shape, guest["access_token"])
        asked[missing] = empty

        assert is_allowed(ask(service, asked)), shape


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no header"),
        pytest.param({"Authorization": ["{}"]}, id="no scheme"),
        pytest.param({"Authorization": ["Basic {}"]}, id="other scheme"),
        pytest.param({"Authorization": ["Bearer "]}, id="no token"),
        pytest.param({"Authorization": ["Bearer x", "Bearer {}"]}, id="good one last"),
        pytest.param({"Authorization": ["Bearer {}", "Bearer x"]}, id="good one first"),
        pytest.param({"Authorization": ["Bearer {}", "Bearer {}"]}, id="twice"),
        pytest.param(
            {"Authorization": ["Bearer {}"], "authorization": ["Bearer x"]},
            id="in two spellings",
        ),
        pytest.param({"X-Access-Token": ["Bearer {}"]}, id="another header"),
        pytest.param({"Cookie": ["access_token={}"]}, id="cookie"),
    ],
)
def test_given_no_single_bearer_token_when_an_api_asks_then_it_is_refused(
    service: Deployment, guest: dict[str, Any], headers: dict[str, list[str]]
) -> None:
    """A gateway could keep the answer under the one of two tokens that is bad."""
    filled = {
        name: [value.replace("{}", guest["access_token"]) for value in values]
        for name, values in headers.items()
    }

    answers = [ask(service, with_headers(shape, filled)) for shape in REQUESTS]

    assert [is_allowed(answer) for answer in answers] == [False] * len(REQUESTS)


@pytest.mark.parametrize(
    ("offered", "is_taken"),
    [
        pytest.param(["bearer, {}"], True, id="as browsers send it"),
        pytest.param(["bearer,{}"], True, id="without a blank"),
        pytest.param(["bearer", "{}"], True, id="two headers"),
        pytest.param(["chat.v1, bearer, {}"], True, id="the app's own first"),
        pytest.param(["bearer, {}, chat.v1"], True, id="the app's own last"),
        pytest.param(["{}"], False, id="the token alone"),
        pytest.param(["{}, bearer"], False, id="the wrong way round"),
        pytest.param(["bearer"], False, id="no token"),
        pytest.param(["bearer, "], False, id="an empty token"),
        pytest.param(["Bearer, {}"], False, id="another protocol: names have a case"),
        pytest.param(["bearer, chat.v1, {}"], False, id="not next to it"),
        pytest.param([""], False, id="nothing"),
    ],
)
def test_given_a_browser_when_it_connects_then_a_subprotocol_is_the_token(
    service: Deployment, guest: dict[str, Any], offered: list[str], is_taken: bool
) -> None:
    values = [each.replace("{}", guest["access_token"]) for each in offered]
    asked = with_headers(CONNECT, {"Sec-WebSocket-Protocol": values})

    assert is_allowed(ask(service, asked)) == is_taken


def test_given_both_ways_when_a_client_connects_then_the_header_decides(
    service: Deployment, guest: dict[str, Any]
) -> None:
    token = guest["access_token"]

    def connects(authorization: str, offered: str) -> bool:
        headers = {
            "Authorization": [f"Bearer {authorization}"],
            "Sec-WebSocket-Protocol": [f"bearer, {offered}"],
        }
        return is_allowed(ask(service, with_headers(CONNECT, headers)))

    assert connects(token, "x")
    assert not connects("x", token)


def test_given_a_subprotocol_when_a_plain_api_asks_then_it_is_no_token(
    service: Deployment, guest: dict[str, Any]
) -> None:
    headers = {"Sec-WebSocket-Protocol": [f"bearer, {guest['access_token']}"]}

    for shape in set(REQUESTS) - {CONNECT}:
        assert not is_allowed(ask(service, with_headers(shape, headers))), shape


def test_given_a_token_in_the_query_when_an_api_asks_then_it_is_refused(
    service: Deployment, guest: dict[str, Any]
) -> None:
    """Servers and proxies log query strings (RFC 9700 §4.3.2)."""
    query = {"access_token": guest["access_token"]}
    for shape in REQUESTS:
        asked = with_headers(shape, {"Host": ["api.example.com"]})
        asked["queryStringParameters"] = query
        asked["multiValueQueryStringParameters"] = {k: [v] for k, v in query.items()}

        assert not is_allowed(ask(service, asked)), shape


# -- What an API is told --------------------------------------------------------------


def test_given_a_user_with_merged_guests_when_an_api_asks_then_it_is_told_of_them(
    service: Deployment,
) -> None:
    service.restart_with(PROVIDERS_ON)
    guests = [service.log_in() for _ in range(2)]
    log_in(service, "custom-token", by_token())
    for each in guests:
        merge = {"merge": each["refresh_token"]}
        owner = log_in(service, "custom-token", by_token() | merge).json

    context = context_of(service, owner["access_token"])

    assert context["sub"] == owner["user_id"]
    assert context["former_ids"].split() == [each["user_id"] for each in guests]
    assert (context["anonymous"], context["provider"]) == ("false", "custom-token")
    assert context["expires_at"] == ""


def test_given_a_guests_token_when_it_has_linked_since_then_the_present_is_told(
    service: Deployment, guest: dict[str, Any]
) -> None:
    """The token says that its user is anonymous. The item says that it was."""
    service.restart_with(PROVIDERS_ON)
    old = guest["access_token"]
    assert link(service, guest, "custom-token", by_token()).status == 200

    context = context_of(service, old)

    assert claims_of(old)["anonymous"] is True
    assert (context["anonymous"], context["expires_at"]) == ("false", "")
    assert context["provider"] == "anon-user"  # it opened the session


def test_given_any_user_when_an_api_asks_then_all_that_it_is_told_is_text(
    service: Deployment, guest: dict[str, Any]
) -> None:
    """A REST API answers 500 to a list or an object in the context."""
    linked = log_in_linked(service)
    by_key = open_key_session(service, linked)

    for opened in (guest, linked, by_key):
        context = context_of(service, opened["access_token"])
        assert {type(value) for value in context.values()} == {str}
    assert context["provider"] == "api-key"


def test_given_apps_of_one_stack_when_an_api_asks_then_it_is_told_which_one(
    service: Deployment,
) -> None:
    other = service.log_in(app=OTHER_APP)

    assert context_of(service, other["access_token"])["app"] == OTHER_APP


# -- What has ended -------------------------------------------------------------------


def log_out(service: Deployment) -> str:
    guest = service.log_in()
    assert service.send(LOGOUT, token=guest["refresh_token"]).status == 200
    return str(guest["access_token"])


def log_out_everywhere(service: Deployment) -> str:
    user = log_in_linked(service)
    other = open_session(service, user["user_id"], "custom-token", "ada")
    service.send(LOGOUT, token=user["refresh_token"], query={"everywhere": "true"})
    return other["access_token"]


def end_from_elsewhere(service: Deployment) -> str:
    user = log_in_linked(service)
    phone = open_session(service, user["user_id"], "custom-token", "ada")
    sessions = service.send(LIST_SESSIONS, token=user["refresh_token"]).json
    (ended,) = (each["id"] for each in sessions if not each["current"])
    parameters = {"id": ended}
    service.send(END_SESSION, token=user["refresh_token"], parameters=parameters)
    return phone["access_token"]


def delete(service: Deployment) -> str:
    user = log_in_linked(service)
    assert service.send(DELETE, token=user["access_token"]).status == 200
    return str(user["access_token"])


def merge_into_another(service: Deployment) -> str:
    service.restart_with(PROVIDERS_ON)
    log_in(service, "custom-token", by_token())
    guest = service.log_in()
    merge = by_token() | {"merge": guest["refresh_token"]}
    assert log_in(service, "custom-token", merge).json["merged"] is True
    return str(guest["access_token"])


def unlink(service: Deployment) -> str:
    user = log_in_linked(service)
    phone = open_session(service, user["user_id"], "custom-token", "ada")
    service.restart_with(PROVIDERS_ON)
    link(service, user, "custom-token", by_token("grace"))
    query = {"provider": "custom-token", "id": "ada"}
    reply = service.send(UNLINK, token=user["refresh_token"], query=query)
    assert reply.status == 200, reply.text
    return phone["access_token"]


def disable_key(service: Deployment) -> str:
    service.restart_with(PROVIDERS_ON)
    user = log_in(service, "custom-token", by_token()).json
    token = user["refresh_token"]
    key = service.send(CREATE_KEY, token=token, body='{"name": "ci"}').json
    by_key = log_in(service, "api-key", {"key": key["key"]}).json
    service.send(DISABLE_KEY, token=token, parameters={"id": key["_id"]})
    return str(by_key["access_token"])


@pytest.mark.parametrize(
    "end",
    [
        log_out,
        log_out_everywhere,
        end_from_elsewhere,
        delete,
        merge_into_another,
        unlink,
        disable_key,
    ],
)
def test_given_a_session_that_has_ended_when_an_api_asks_then_the_call_is_refused(
    service: Deployment, end: Callable[[Deployment], str]
) -> None:
    """The token itself is good for half an hour more, as every verifier would say."""
    token = end(service)

    answers = [ask(service, question(shape, token)) for shape in SHAPES]

    service.services.tokens.read_access_token(token, service.now)
    assert [is_allowed(answer) for answer in answers] == [False] * len(SHAPES)


def test_given_a_session_when_it_ends_between_two_calls_then_the_second_is_refused(
    service: Deployment, guest: dict[str, Any]
) -> None:
    def pass_calls() -> list[bool]:
        asked = (question(shape, guest["access_token"]) for shape in SHAPES)
        return [is_allowed(ask(service, each)) for each in asked]

    before = pass_calls()
    service.send(LOGOUT, token=guest["refresh_token"])

    assert before == [True] * len(SHAPES)
    assert pass_calls() == [False] * len(SHAPES)


@pytest.mark.parametrize(
    ("after", "passes"),
    [
        pytest.param(31 * MINUTE - SECOND, True, id="in the last second"),
        pytest.param(31 * MINUTE, False, id="a minute of tolerance later"),
    ],
)
def test_given_the_end_of_a_token_when_an_api_asks_then_a_minute_is_tolerated(
    service: Deployment, guest: dict[str, Any], after: timedelta, passes: bool
) -> None:
    asked = question("authorizer", guest["access_token"])
    service.now += after

    assert is_allowed(ask(service, asked)) == passes


@pytest.mark.parametrize(
    ("after", "passes"),
    [
        pytest.param(-SECOND, True, id="in the last second"),
        pytest.param(0 * SECOND, False, id="at its end"),
    ],
)
def test_given_the_end_of_a_guest_when_an_api_asks_then_its_token_ends_too(
    service: Deployment, guest: dict[str, Any], after: timedelta, passes: bool
) -> None:
    ends = expiry_after(service.now)
    service.advance(ends - MINUTE - service.now)
    user = service.services.store.get_user(APP, guest["user_id"])
    assert user is not None
    (session,) = user.sessions.values()
    url = "https://auth.example.com"
    late = service.services.tokens.access_token(
        user, session, base_url=url, now=service.now
    )
    service.now = ends + after

    assert is_allowed(ask(service, question("authorizer", late))) == passes


# -- Trouble --------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*FAULTS.values(), access_denied])
def test_given_a_table_in_trouble_when_an_api_asks_then_500_and_never_401(
    service: Deployment, guest: dict[str, Any], fault: Any
) -> None:
    asked = [question(shape, guest["access_token"]) for shape in SHAPES]
    assert all(is_allowed(ask(service, each)) for each in asked)
    service.wire.always = fault

    answers = [ask(service, each) for each in asked]

    assert [str(answer)[: len(NOT_DECIDED)] for answer in answers] == [
        NOT_DECIDED
    ] * len(SHAPES)


def test_given_a_table_in_trouble_when_a_function_starts_then_500_and_never_401(
    service: Deployment, guest: dict[str, Any]
) -> None:
    """Without the key ring nothing can be said of any token."""
    service.restart()
    service.wire.always = FAULTS["no_connection"]

    answers = [
        ask(service, question(shape, token))
        for token in (guest["access_token"], other_signature(guest["access_token"]))
        for shape in SHAPES
    ]

    assert all(str(answer).startswith(NOT_DECIDED) for answer in answers)


def test_given_a_bad_token_when_the_table_is_in_trouble_then_it_is_refused(
    service: Deployment, guest: dict[str, Any]
) -> None:
    """The keys in memory suffice, so strangers' tokens cost no attempts."""
    ask(service, question("authorizer", guest["access_token"]))
    service.wire.always = FAULTS["throttled"]

    bad = question("authorizer", other_signature(guest["access_token"]))

    assert service.counted(lambda: ask(service, bad)) == []
    assert not is_allowed(ask(service, bad))


def test_given_no_key_ring_when_an_api_asks_then_500_and_never_401(
    new_service: Deployment,
) -> None:
    answers = [ask(new_service, question(shape, "a.b.c")) for shape in SHAPES]
    unsigned = [ask(new_service, question(shape, UNSIGNED)) for shape in SHAPES]

    assert all(is_allowed(answer) is False for answer in answers)
    assert all(answer.startswith(NOT_DECIDED) for answer in unsigned)


def test_given_an_app_that_is_no_longer_served_when_an_api_asks_then_500(
    service: Deployment,
) -> None:
    """An operator who drops an app by mistake must not log its users out."""
    other = service.log_in(app=OTHER_APP)
    service.restart(APP_IDS=APP)

    answer = ask(service, question("authorizer-rest-token", other["access_token"]))

    assert answer.startswith(NOT_DECIDED)


def test_given_a_clock_that_is_wrong_when_an_api_asks_then_500(
    service: Deployment, guest: dict[str, Any]
) -> None:
    service.now -= timedelta(minutes=5)

    answer = ask(service, question("authorizer", guest["access_token"]))

    assert answer.startswith(NOT_DECIDED)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"type": "TOKEN"}, id="no token and no method"),
        pytest.param({"type": "REQUEST", "headers": {}}, id="no context"),
        pytest.param({"type": "REQUEST", "requestContext": {}}, id="no headers"),
        pytest.param(sam_template.event("session"), id="a request"),
        pytest.param({"source": "aws.events"}, id="a schedule"),
    ],
)
def test_given_no_question_of_an_api_when_called_then_it_lets_nobody_pass(
    service: Deployment, event: Json
) -> None:
    assert isinstance(ask(service, event), str)


# -- Calls, and the log ---------------------------------------------------------------


def test_given_a_warm_function_when_apis_ask_then_each_call_is_one_consistent_read(
    service: Deployment, guest: dict[str, Any]
) -> None:
    asked = [question(shape, guest["access_token"]) for shape in SHAPES]

    service.restart()
    first = service.counted(lambda: ask(service, asked[0]))
    reads = service.counted(lambda: [ask(service, each) for each in asked])
    read = service.wire.bodies[-1]
    service.now += 5 * MINUTE
    later = service.counted(lambda: ask(service, asked[0]))

    assert first == ["GetItem", "GetItem"]  # of a cold function: the key ring, too
    assert reads == ["GetItem"] * len(SHAPES)
    assert read["Key"] == {"pk": {"S": f"USER#{APP}#{guest['user_id']}"}}
    assert read["ConsistentRead"] is True
    assert later == ["GetItem", "GetItem"]  # the key ring is read every 5 minutes


@pytest.mark.long
def test_given_a_thousand_checks_when_counted_then_a_thousand_reads_and_the_rings(
    service: Deployment, guest: dict[str, Any]
) -> None:
    asked = [question(shape, guest["access_token"]) for shape in SHAPES]
    service.restart()

    def check() -> None:
        for number in range(1000):
            assert is_allowed(ask(service, asked[number % len(asked)]))

    calls = service.counted(check)

    assert calls == ["GetItem"] * 1001
    read = [body["Key"]["pk"]["S"] for body in service.wire.bodies[-1001:]]
    assert read == ["KEY#ring"] + [f"USER#{APP}#{guest['user_id']}"] * 1000


def test_given_refusals_and_trouble_when_logged_then_no_token_is_told(
    service: Deployment,
    guest: dict[str, Any],
    log: io.StringIO,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    good, bad = guest["access_token"], other_signature(guest["access_token"])
    raised = []

    def try_all(token: str) -> None:
        for shape in SHAPES:
            asked = question(shape, token)
            asked["unexpected"] = token
            try:
                service.invoke("AuthorizerFunction", asked)
            except Exception as exc:  # noqa: BLE001 - Lambda logs it, with its causes
                raised.extend(traceback.format_exception(exc))

    try_all(good)
    try_all(bad)
    try_all("canary \udcff")
    service.wire.always = FAULTS["server_error"]
    try_all(good)
    service.restart(TABLE_NAME="canary")
    try_all(good)

    logged = log.getvalue()
    lines = [json.loads(line) for line in logged.splitlines()]
    told = "".join([logged, caplog.text, *capsys.readouterr(), *raised])
    assert {line["message"] for line in lines} == {
        "InvalidSession",
        "StoreUnavailable",
    }
    assert "Exception: Unauthorized" in told
    for part in (*good.split("."), *bad.split("."), "canary", guest["user_id"]):
        assert part not in told


def test_given_a_refusal_when_logged_then_it_says_why_and_at_which_request(
    service: Deployment, guest: dict[str, Any], log: io.StringIO
) -> None:
    service.send(LOGOUT, token=guest["refresh_token"])
    asked = question("authorizer", guest["access_token"])

    ask(service, asked)

    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["level"], line["message"]) == ("INFO", "InvalidSession")
    assert line["reason"] == "invalid session: user or session not found"
    assert line["correlation_id"] == asked["requestContext"]["requestId"]


def test_given_trouble_when_logged_then_it_says_what_is_down_and_where(
    service: Deployment, guest: dict[str, Any], log: io.StringIO
) -> None:
    service.now -= timedelta(minutes=5)

    ask(service, question("authorizer", guest["access_token"]))

    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["level"], line["message"]) == ("ERROR", "ClockBehind")
    assert line["detail"] == "issued 300 s after this function's time"
    assert line["trace"][0] == "ClockBehind"
