"""/auth/api_keys: the keys of a permanent user, and logging in with an API key."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from support.service.harness import (
    APP,
    COMMON_HEADERS,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    GET_KEY,
    LINK,
    LIST_KEYS,
    LOGOUT,
    OTHER_APP,
    PROFILE,
    SESSION,
    Deployment,
    Reply,
    provider_id,
)
from support.service.linked import link, log_in_linked, open_session, stored_user
from support.service.wire import (
    FAULTS,
    Fault,
    error,
    lost_reply,
    preceded_by,
    server_error_after_effect,
)

KEY_ROUTES = [CREATE_KEY, LIST_KEYS, GET_KEY, DELETE_KEY, ENABLE_KEY, DISABLE_KEY]
UNKNOWN_ID = "0123456789abcdef01234567"


def create(service: Deployment, body: dict[str, Any], name: str) -> Reply:
    return service.send(
        CREATE_KEY, token=body["refresh_token"], body=json.dumps({"name": name})
    )


def created(service: Deployment, body: dict[str, Any], name: str) -> dict[str, Any]:
    reply = create(service, body, name)
    assert reply.status == 200, reply.text
    made: dict[str, Any] = reply.json
    return made


def send(
    service: Deployment, route: str, body: dict[str, Any], key_id: str = UNKNOWN_ID
) -> Reply:
    """Send a valid request to any of the routes, if the id is valid."""
    return service.send(
        route,
        token=body["refresh_token"],
        parameters={"id": key_id} if "{id}" in route else None,
        body='{"name":"another"}' if route == CREATE_KEY else None,
    )


def log_in_with(service: Deployment, key: str) -> Reply:
    return service.send(
        LINK, parameters={"provider": "api-key"}, body=json.dumps({"key": key})
    )


def listed(service: Deployment, body: dict[str, Any]) -> list[dict[str, Any]]:
    reply = send(service, LIST_KEYS, body)
    assert reply.status == 200, reply.text
    keys: list[dict[str, Any]] = reply.json
    return keys


@pytest.fixture
def service(service: Deployment) -> Deployment:
    """The service with API keys switched on, in one of its apps."""
    service.restart_with({"apps": {APP: {"api-key": {}}}})
    return service


@pytest.fixture
def body(service: Deployment) -> dict[str, Any]:
    """The login of a permanent user."""
    return log_in_linked(service)


def test_given_a_permanent_user_when_it_makes_a_key_then_the_answer_shows_it(
    service: Deployment, body: dict[str, Any]
) -> None:
    reply = create(service, body, "laptop")

    made = reply.json
    assert reply.status == 200
    assert reply.headers == {**COMMON_HEADERS, "cache-control": "no-store"}
    assert set(made) == {"_id", "key", "name", "disabled"}
    assert (made["name"], made["disabled"]) == ("laptop", False)
    assert re.fullmatch("[0-9a-f]{24}", made["_id"])
    assert re.fullmatch("[A-Za-z0-9_-]{43}", made["key"])


def test_given_a_key_when_made_then_only_its_hash_is_stored(
    service: Deployment, body: dict[str, Any]
) -> None:
    before = stored_user(service, body["user_id"])

    made = created(service, body, "laptop")

    item = service.user_item(body["user_id"])
    record = service.items(f"IDENT#{APP}#api-key#")
    hashed = hash_secret(made["key"])
    assert item is not None
    assert item["api_keys"] == {
        "M": {
            made["_id"]: {
                "M": {
                    "name": {"S": "laptop"},
                    "hash": {"S": hashed},
                    "created_at": {"N": str(int(service.now.timestamp()))},
                    "disabled": {"BOOL": False},
                }
            }
        }
    }
    assert set(record) == {f"IDENT#{APP}#api-key#{hashed}"}
    assert record.popitem()[1]["uid"] == {"S": body["user_id"]}
    assert stored_user(service, body["user_id"]).version == before.version + 1
    assert made["key"] not in json.dumps(service.items(), default=repr)


def test_given_keys_when_listed_then_in_order_of_their_making_and_without_the_key(
    service: Deployment, body: dict[str, Any]
) -> None:
    names = ["c", "a", "d", "b"]
    for name in names:
        created(service, body, name)
        service.now += timedelta(milliseconds=1)

    keys = listed(service, body)

    assert [key["name"] for key in keys] == names
    assert all(set(key) == {"_id", "name", "disabled"} for key in keys)
    assert all(type(key["_id"]) is str for key in keys)


def test_given_no_keys_when_listed_then_an_empty_array(
    service: Deployment, body: dict[str, Any]
) -> None:
    assert send(service, LIST_KEYS, body).text == "[]"


def test_given_a_key_when_asked_for_then_its_entry_comes(
    service: Deployment, body: dict[str, Any]
) -> None:
    created(service, body, "other")
    made = created(service, body, "laptop")

    reply = send(service, GET_KEY, body, made["_id"])

    assert reply.status == 200
    assert reply.json == {"_id": made["_id"], "name": "laptop", "disabled": False}


NAMES = "can only contain ASCII letters, numbers, underscores, and hyphens"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param("", "BadRequest", id="no body"),
        pytest.param("{}", "BadRequest", id="no name"),
        pytest.param('{"name":null}', "BadRequest", id="null"),
        pytest.param('{"name":5}', "BadRequest", id="number"),
        pytest.param('{"name":["a"]}', "BadRequest", id="array"),
        pytest.param('["name"]', "BadRequest", id="not an object"),
        pytest.param("{", "BadRequest", id="not JSON"),
        pytest.param('{"name":""}', "InvalidParameter", id="empty"),
        pytest.param('{"name":" "}', "InvalidParameter", id="space"),
        pytest.param('{"name":"my key"}', "InvalidParameter", id="a space within"),
        pytest.param('{"name":"key?"}', "InvalidParameter", id="other sign"),
        pytest.param('{"name":"a.b"}', "InvalidParameter", id="dot"),
        pytest.param('{"name":"a/b"}', "InvalidParameter", id="slash"),
        pytest.param('{"name":"key\\n"}', "InvalidParameter", id="line end"),
        pytest.param('{"name":"clé"}', "InvalidParameter", id="not ASCII"),
        pytest.param('{"name":"\\uff11"}', "InvalidParameter", id="a digit elsewhere"),
    ],
)
def test_given_a_bad_name_when_making_a_key_then_400_and_nothing_is_written(
    service: Deployment, body: dict[str, Any], sent: str, code: str
) -> None:
    before = service.items()

    reply = service.send(CREATE_KEY, token=body["refresh_token"], body=sent)

    assert (reply.status, reply.json["error_code"]) == (400, code)
    if code == "InvalidParameter":
        assert reply.json["error"] == NAMES
    assert service.items() == before


@pytest.mark.parametrize(
    ("name", "status"),
    [
        pytest.param("a", 200, id="one letter"),
        pytest.param("-", 200, id="one hyphen"),
        pytest.param("Az09_-", 200, id="all kinds"),
        pytest.param("a" * 64, 200, id="64 characters"),
        pytest.param("a" * 65, 400, id="65 characters"),
    ],
)
def test_given_a_name_at_the_limit_when_making_a_key_then_length_and_letters_decide(
    service: Deployment, body: dict[str, Any], name: str, status: int
) -> None:
    assert create(service, body, name).status == status


def test_given_a_name_that_is_taken_when_making_a_key_then_409_until_it_is_free(
    service: Deployment, body: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")
    before = service.items()

    taken = create(service, body, "laptop")
    unchanged = service.items() == before
    send(service, DELETE_KEY, body, made["_id"])
    free = create(service, body, "laptop")

    assert (taken.status, taken.json["error_code"]) == (409, "APIKeyAlreadyExists")
    assert taken.json["error"] == "API key with name already exists"
    assert unchanged
    assert free.status == 200
    assert free.json["key"] != made["key"]


def test_given_another_users_key_when_making_one_of_that_name_then_it_is_free(
    service: Deployment, body: dict[str, Any]
) -> None:
    created(service, log_in_linked(service, "eve"), "laptop")

    assert create(service, body, "laptop").status == 200


def test_given_twenty_keys_when_making_another_then_400(
    service: Deployment, body: dict[str, Any]
) -> None:
    statuses = [create(service, body, f"key-{n}").status for n in range(20)]
    before = service.items()

    one_more = create(service, body, "key-20")

    assert statuses == [200] * 20
    assert (one_more.status, one_more.json["error_code"]) == (400, "InvalidParameter")
    assert one_more.json["error"] == "this user has 20 API keys, the most there can be"
    assert service.items() == before
    assert len(listed(service, body)) == 20


@pytest.mark.long
def test_given_twenty_keys_and_ten_identities_when_the_user_deletes_itself_then_all_go(
    service: Deployment, body: dict[str, Any]
) -> None:
    for number in range(8):
        link(service, body, "oauth2-google", str(number))
    for number in range(20):
        created(service, body, f"key-{number}")

    reply = service.send(DELETE, token=body["access_token"])

    assert reply.status == 200
    assert set(service.items()) == {f"GONE#{APP}#{body['user_id']}", "KEY#ring"}


def test_given_an_anonymous_user_when_calling_any_route_then_403_and_it_lives_on(
    service: Deployment,
) -> None:
    body = service.log_in()
    before = service.items()

    for route in KEY_ROUTES:
        reply = send(service, route, body)
        assert (reply.status, reply.json["error_code"]) == (403, "AuthError")

    assert service.items() == before
    assert service.send(PROFILE, token=body["access_token"]).status == 200


def test_given_a_refused_guest_when_it_links_then_it_can_make_a_key(
    service: Deployment,
) -> None:
    body = service.log_in()
    refused = create(service, body, "laptop")

    link(service, body, "custom-token", "ada")

    assert refused.status == 403
    assert create(service, body, "laptop").status == 200


@pytest.mark.parametrize("route", KEY_ROUTES)
def test_given_an_access_token_when_calling_then_401(
    service: Deployment, body: dict[str, Any], route: str
) -> None:
    made = created(service, body, "laptop")
    before = service.items()

    reply = send(service, route, {"refresh_token": body["access_token"]}, made["_id"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.items() == before


@pytest.mark.parametrize("route", KEY_ROUTES)
def test_given_a_session_that_has_ended_when_calling_then_401(
    service: Deployment, body: dict[str, Any], route: str
) -> None:
    made = created(service, body, "laptop")
    service.send(LOGOUT, token=body["refresh_token"])
    before = service.items()

    reply = send(service, route, body, made["_id"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.items() == before


@pytest.mark.parametrize("route", KEY_ROUTES)
def test_given_a_signed_token_that_is_not_the_sessions_when_calling_then_401(
    service: Deployment, body: dict[str, Any], route: str
) -> None:
    """The hash in the item decides, not the signature (design.md §5)."""
    made = created(service, body, "laptop")
    user = stored_user(service, body["user_id"])
    (session,) = user.sessions.values()
    other = service.services.tokens.refresh_token(
        user, session, jti="another", now=service.now
    )
    before = service.items()

    reply = send(service, route, {"refresh_token": other}, made["_id"])

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.items() == before


def test_given_a_session_when_its_time_passes_then_it_is_good_until_the_last_second(
    service: Deployment, body: dict[str, Any]
) -> None:
    (session,) = stored_user(service, body["user_id"]).sessions.values()
    assert session.expires_at is not None

    service.advance(session.expires_at - timedelta(seconds=1) - service.now)
    before = send(service, LIST_KEYS, body)
    service.advance(timedelta(seconds=1))
    after = send(service, LIST_KEYS, body)

    assert (before.status, after.status) == (200, 401)


@pytest.mark.parametrize("route", [GET_KEY, DELETE_KEY, ENABLE_KEY, DISABLE_KEY])
@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param(UNKNOWN_ID, id="of nothing"),
        pytest.param("laptop", id="its name"),
        pytest.param("no.such#path[0]", id="signs of expressions"),
        pytest.param("é" * 2000, id="long, not ASCII"),
    ],
)
def test_given_an_id_of_no_key_when_calling_then_404(
    service: Deployment, body: dict[str, Any], route: str, unknown: str
) -> None:
    created(service, body, "laptop")
    before = service.items()

    reply = send(service, route, body, unknown)

    assert (reply.status, reply.json["error_code"]) == (404, "APIKeyNotFound")
    assert reply.json["error"] == "API key not found"
    assert service.items() == before


@pytest.mark.parametrize("route", [GET_KEY, DELETE_KEY, ENABLE_KEY, DISABLE_KEY])
def test_given_a_key_of_another_user_when_calling_then_404_and_it_stays(
    service: Deployment, body: dict[str, Any], route: str
) -> None:
    other = log_in_linked(service, "eve")
    made = created(service, other, "laptop")
    before = service.items()

    reply = send(service, route, body, made["_id"])

    assert (reply.status, reply.json["error_code"]) == (404, "APIKeyNotFound")
    assert service.items() == before


@pytest.mark.parametrize("route", KEY_ROUTES)
def test_given_an_app_without_api_keys_when_calling_then_404_and_no_write(
    service: Deployment, route: str
) -> None:
    body = service.log_in(app=OTHER_APP)
    link(service, body, "custom-token", "ada", app=OTHER_APP)
    before = service.items()

    reply = send(service, route, body)

    assert (reply.status, reply.json["error_code"]) == (404, "AuthProviderNotFound")
    assert service.items() == before


def test_given_a_key_when_disabled_and_enabled_twice_then_one_write_each(
    service: Deployment, body: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")

    def switch(route: str) -> list[str]:
        def act() -> None:
            reply = send(service, route, body, made["_id"])
            assert (reply.status, reply.text) == (200, "{}")

        return service.counted(act)

    assert switch(ENABLE_KEY) == ["GetItem"]
    assert switch(DISABLE_KEY) == ["GetItem", "UpdateItem"]
    assert listed(service, body)[0]["disabled"] is True
    assert switch(DISABLE_KEY) == ["GetItem"]
    assert switch(ENABLE_KEY) == ["GetItem", "UpdateItem"]
    assert listed(service, body)[0]["disabled"] is False


def test_given_a_warm_function_when_called_then_each_route_costs_what_it_must(
    service: Deployment, body: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")

    def calls(route: str) -> list[str]:
        return service.counted(lambda: send(service, route, body, made["_id"]))

    assert calls(CREATE_KEY) == ["GetItem", "TransactWriteItems"]
    assert calls(LIST_KEYS) == ["GetItem"]
    assert calls(GET_KEY) == ["GetItem"]
    assert calls(DELETE_KEY) == ["GetItem", "TransactWriteItems"]


def test_given_a_cold_function_when_called_then_it_unwraps_the_refresh_key_alone(
    service: Deployment, body: dict[str, Any]
) -> None:
    service.restart_with({"apps": {APP: {"api-key": {}}}})

    calls = service.counted(lambda: send(service, LIST_KEYS, body))

    assert calls == ["GetItem", "Decrypt", "GetItem", "GetParameter"]


@pytest.mark.parametrize("route", KEY_ROUTES)
def test_given_settings_that_cannot_be_read_when_calling_then_503_and_later_200(
    service: Deployment, body: dict[str, Any], route: str
) -> None:
    """Off is not the same as unreadable, which is the service's fault."""
    made = created(service, body, "laptop")
    service.restart_with({"apps": {APP: {"api-key": {}}}})
    before = service.items()
    service.wire.faults = [
        None,
        None,
        None,
        lambda request, _: error(request, 400, "AccessDeniedException"),
    ]

    failed = send(service, route, body, made["_id"])
    unchanged = service.items() == before
    again = send(service, route, body, made["_id"])

    assert (failed.status, again.status) == (503, 200)
    assert unchanged


def test_given_a_key_when_logging_in_with_it_then_the_session_is_its_users(
    service: Deployment, body: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")

    reply = log_in_with(service, made["key"])

    opened = reply.json
    assert reply.status == 200
    assert opened["user_id"] == body["user_id"]
    assert opened["refresh_token"] != body["refresh_token"]
    profile = service.send(PROFILE, token=opened["access_token"]).json
    assert profile["type"] == "server"
    assert profile["identities"][-1] == {
        "id": made["_id"],
        "provider_type": "api-key",
        "provider_id": provider_id("api-key"),
        "data": {"name": "laptop"},
    }


@pytest.mark.parametrize(
    ("route", "revived"),
    [
        pytest.param(DISABLE_KEY, True, id="disabled"),
        pytest.param(DELETE_KEY, False, id="deleted"),
    ],
)
def test_given_a_disabled_or_deleted_key_when_used_then_login_and_sessions_are_refused(
    service: Deployment, body: dict[str, Any], route: str, revived: bool
) -> None:
    made, other = created(service, body, "laptop"), created(service, body, "other")
    by_key = log_in_with(service, made["key"]).json
    by_other = log_in_with(service, other["key"]).json

    reply = send(service, route, body, made["_id"])

    refused = log_in_with(service, made["key"])
    assert (reply.status, reply.text) == (200, "{}")
    assert (refused.status, refused.json["error_code"]) == (401, "AuthError")
    assert refused.json["error"] == "unauthorized"
    for opened, status in ((by_key, 401), (by_other, 200), (body, 200)):
        profile = service.send(PROFILE, token=opened["access_token"])
        refresh = service.send(SESSION, token=opened["refresh_token"])
        keys = send(service, LIST_KEYS, opened)
        assert {profile.status, refresh.status, keys.status} == {status}
    assert len(stored_user(service, body["user_id"]).sessions) == 2
    # A session that has ended stays ended, also when its key is enabled again.
    send(service, ENABLE_KEY, body, made["_id"])
    assert (log_in_with(service, made["key"]).status == 200) == revived
    assert service.send(SESSION, token=by_key["refresh_token"]).status == 401


@pytest.mark.parametrize(
    "disabled",
    [
        pytest.param({"NULL": True}, id="null"),
        pytest.param({"S": "false"}, id="text"),
        pytest.param({"N": "0"}, id="number"),
    ],
)
def test_given_a_key_with_a_damaged_state_when_logging_in_then_503_and_no_session(
    service: Deployment, body: dict[str, Any], disabled: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")
    service.db.update_item(
        TableName=service.table,
        Key={"pk": {"S": f"USER#{APP}#{body['user_id']}"}},
        UpdateExpression="SET api_keys.#key.disabled = :disabled",
        ExpressionAttributeNames={"#key": made["_id"]},
        ExpressionAttributeValues={":disabled": disabled},
    )
    before = service.items()

    reply = log_in_with(service, made["key"])

    assert reply.status == 503
    assert service.items() == before


def test_given_a_deleted_key_when_the_table_is_read_then_no_trace_of_it(
    service: Deployment, body: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")

    send(service, DELETE_KEY, body, made["_id"])

    again = send(service, DELETE_KEY, body, made["_id"])
    assert stored_user(service, body["user_id"]).api_keys == {}
    assert service.items(f"IDENT#{APP}#api-key#") == {}
    assert (again.status, again.json["error_code"]) == (404, "APIKeyNotFound")


@pytest.mark.parametrize("route", [DELETE_KEY, DISABLE_KEY])
@pytest.mark.parametrize("whose", ["its own", "another"])
def test_given_a_session_of_a_key_when_any_key_would_end_then_403_and_it_stays(
    service: Deployment, body: dict[str, Any], route: str, whose: str
) -> None:
    """client-api.md §2.7 requires this for the session's own key.

    A copied key must not lock out the program that owns it. test_takeover has the other
    cases.
    """
    made, other = created(service, body, "laptop"), created(service, body, "other")
    by_key = log_in_with(service, made["key"]).json
    before = service.items()

    key = made if whose == "its own" else other
    refused = send(service, route, by_key, key["_id"])

    assert (refused.status, refused.json["error_code"]) == (403, "AuthError")
    assert service.items() == before
    assert send(service, LIST_KEYS, by_key).status == 200


def test_given_a_subject_like_a_keys_id_when_deleting_the_key_then_it_is_not_its_own(
    service: Deployment, body: dict[str, Any]
) -> None:
    made = created(service, body, "laptop")
    link(service, body, "custom-token", made["_id"])
    by_jwt = open_session(service, body["user_id"], "custom-token", made["_id"])

    reply = send(service, DELETE_KEY, by_jwt, made["_id"])

    assert reply.status == 200
    assert send(service, LIST_KEYS, by_jwt).text == "[]"


def test_given_the_same_name_made_in_between_when_making_a_key_then_409(
    service: Deployment, body: dict[str, Any]
) -> None:
    send(service, LIST_KEYS, body)

    service.wire.faults = [None, preceded_by(lambda: created(service, body, "laptop"))]
    reply = create(service, body, "laptop")

    assert reply.status == 409
    assert [key["name"] for key in listed(service, body)] == ["laptop"]
    assert len(service.items(f"IDENT#{APP}#api-key#")) == 1


def test_given_nineteen_keys_and_one_made_in_between_when_making_one_then_400(
    service: Deployment, body: dict[str, Any]
) -> None:
    for number in range(19):
        created(service, body, f"key-{number}")

    service.wire.faults = [None, preceded_by(lambda: created(service, body, "last"))]
    reply = create(service, body, "one-more")

    assert reply.status == 400
    assert len(listed(service, body)) == 20


def test_given_another_key_made_in_between_when_making_one_then_both_are_there(
    service: Deployment, body: dict[str, Any]
) -> None:
    send(service, LIST_KEYS, body)

    service.wire.faults = [None, preceded_by(lambda: created(service, body, "other"))]
    reply = create(service, body, "laptop")

    assert reply.status == 200
    assert {key["name"] for key in listed(service, body)} == {"laptop", "other"}
    assert log_in_with(service, reply.json["key"]).status == 200


def test_given_a_user_that_always_changes_when_making_a_key_then_503(
    service: Deployment, body: dict[str, Any]
) -> None:
    send(service, LIST_KEYS, body)

    def change() -> None:
        service.db.update_item(
            TableName=service.table,
            Key={"pk": {"S": f"USER#{APP}#{body['user_id']}"}},
            UpdateExpression="SET version = version + :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    service.wire.faults = [None, preceded_by(change)] * 4
    reply = create(service, body, "laptop")

    assert reply.status == 503
    assert listed(service, body) == []


def test_given_a_logout_in_between_when_making_a_key_then_401_and_no_key(
    service: Deployment, body: dict[str, Any]
) -> None:
    send(service, LIST_KEYS, body)

    service.wire.faults = [
        None,
        preceded_by(lambda: service.send(LOGOUT, token=body["refresh_token"])),
    ]
    reply = create(service, body, "laptop")

    assert reply.status == 401
    assert service.items(f"IDENT#{APP}#api-key#") == {}


WRITES = [
    pytest.param(CREATE_KEY, id="create"),
    pytest.param(DELETE_KEY, id="delete"),
    pytest.param(DISABLE_KEY, id="disable"),
]


def is_done(service: Deployment, body: dict[str, Any], route: str) -> bool:
    keys = {key["name"]: key for key in listed(service, body)}
    match route:
        case _ if route == CREATE_KEY:
            return "another" in keys
        case _ if route == DELETE_KEY:
            return "laptop" not in keys
        case _:
            return bool(keys["laptop"]["disabled"])


@pytest.mark.parametrize("route", WRITES)
@pytest.mark.parametrize(
    "fault", [lost_reply, server_error_after_effect], ids=lambda f: f.__name__
)
def test_given_a_lost_reply_when_writing_then_the_store_repeats_and_it_succeeds(
    service: Deployment, body: dict[str, Any], route: str, fault: Fault
) -> None:
    made = created(service, body, "laptop")
    service.wire.faults = [None, fault]

    reply = send(service, route, body, made["_id"])

    assert reply.status == 200
    assert is_done(service, body, route)
    if route == CREATE_KEY:
        assert log_in_with(service, reply.json["key"]).status == 200


@pytest.mark.parametrize("route", WRITES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_aws_is_failing_when_writing_then_503_or_done_and_a_retry_settles_it(
    service: Deployment, body: dict[str, Any], route: str, fault: Fault
) -> None:
    """A client that repeats a create may find the name taken, by a key it never got."""
    made = created(service, body, "laptop")
    service.wire.faults = [None, fault, fault, fault]

    failed = send(service, route, body, made["_id"])
    again = send(service, route, body, made["_id"])

    assert failed.status in {200, 503}
    assert again.status in {200, {CREATE_KEY: 409, DELETE_KEY: 404}.get(route)}
    assert is_done(service, body, route)
    records = service.items(f"IDENT#{APP}#api-key#")
    assert len(records) == len(listed(service, body))


def test_given_keys_when_made_and_used_then_no_log_line_has_one(
    service: Deployment, body: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = created(service, body, "laptop")
    log_in_with(service, made["key"])
    send(service, DELETE_KEY, body, made["_id"])
    log_in_with(service, made["key"])

    logged = capsys.readouterr().out

    assert made["key"] not in logged
    assert body["refresh_token"] not in logged
