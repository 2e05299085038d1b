"""DELETE /auth/identities: unlink one identity."""

from typing import Any

import pytest

from anonauth.domain.encoding import identity_key
from support.service.harness import (
    APP,
    LOGOUT,
    PROFILE,
    SESSION,
    UNLINK,
    Deployment,
    Reply,
)
from support.service.linked import (
    link,
    log_in_linked,
    open_session,
    stored_record,
    stored_user,
)
from support.service.wire import (
    FAULTS,
    Fault,
    lost_reply,
    preceded_by,
    server_error_after_effect,
)


def unlink(
    service: Deployment, token: str, provider: str, identity_id: str, **more: str
) -> Reply:
    query = {"provider": provider, "id": identity_id, **more}
    return service.send(UNLINK, token=token, query=query)


@pytest.fixture
def body(service: Deployment) -> dict[str, Any]:
    """The login of a guest that has linked a JWT's subject and a Google account."""
    opened = log_in_linked(service, "ada")
    link(service, opened, "oauth2-google", "108")
    return opened


def listed(service: Deployment, body: dict[str, Any]) -> list[tuple[str, str]]:
    user = stored_user(service, body["user_id"])
    return [(identity.provider, identity.id) for identity in user.identities][1:]


def test_given_two_identities_when_one_is_unlinked_then_user_and_record_say_so(
    service: Deployment, body: dict[str, Any]
) -> None:
    before = stored_user(service, body["user_id"])

    reply = unlink(service, body["refresh_token"], "custom-token", "ada")

    after = stored_user(service, body["user_id"])
    assert (reply.status, reply.text) == (200, "{}")
    assert after.identities == (before.identities[0], before.identities[2])
    assert after.version == before.version + 1
    assert after.anonymous is False
    assert after.sessions == before.sessions
    assert set(service.items("IDENT#")) == {
        f"IDENT#{APP}#oauth2-google#{identity_key('108')}"
    }
    profile = service.send(PROFILE, token=body["access_token"]).json
    assert [i["id"] for i in profile["identities"]] == [before.identities[0].id, "108"]


def test_given_an_unlinked_identity_when_another_user_links_it_then_it_is_free(
    service: Deployment, body: dict[str, Any]
) -> None:
    other = service.log_in()
    unlink(service, body["refresh_token"], "custom-token", "ada")

    link(service, other, "custom-token", "ada")

    record = stored_record(service, "custom-token", "ada")
    assert record is not None
    assert record.user_id == other["user_id"]


def test_given_an_unlinked_identity_when_linked_again_then_it_comes_last(
    service: Deployment, body: dict[str, Any]
) -> None:
    unlink(service, body["refresh_token"], "custom-token", "ada")

    link(service, body, "custom-token", "ada")

    assert listed(service, body) == [("oauth2-google", "108"), ("custom-token", "ada")]


def test_given_sessions_when_unlinked_then_those_of_the_identity_end(
    service: Deployment, body: dict[str, Any]
) -> None:
    """An attacker with the unlinked credential is out. Other sessions stay."""
    of_jwt = open_session(service, body["user_id"], "custom-token", "ada")
    of_google = open_session(service, body["user_id"], "oauth2-google", "108")

    reply = unlink(service, of_google["refresh_token"], "custom-token", "ada")

    assert reply.status == 200
    for opened, status in ((of_jwt, 401), (of_google, 200), (body, 200)):
        profile = service.send(PROFILE, token=opened["access_token"])
        refresh = service.send(SESSION, token=opened["refresh_token"])
        assert (profile.status, refresh.status) == (status, status)
    assert len(stored_user(service, body["user_id"]).sessions) == 2


def test_given_a_session_when_it_unlinks_what_opened_it_then_it_ends_with_it(
    service: Deployment, body: dict[str, Any]
) -> None:
    asking = open_session(service, body["user_id"], "custom-token", "ada")
    other = open_session(service, body["user_id"], "custom-token", "ada")

    reply = unlink(service, asking["refresh_token"], "custom-token", "ada")

    assert (reply.status, reply.text) == (200, "{}")
    for opened in (asking, other):
        profile = service.send(PROFILE, token=opened["access_token"])
        refresh = service.send(SESSION, token=opened["refresh_token"])
        assert (profile.status, refresh.status) == (401, 401)
    assert service.send(SESSION, token=body["refresh_token"]).status == 200
    assert len(stored_user(service, body["user_id"]).sessions) == 1


def test_given_one_identity_left_when_unlinking_it_then_it_has_to_stay(
    service: Deployment, body: dict[str, Any]
) -> None:
    """The anonymous identity does not count, because nobody can log in with it."""
    first = unlink(service, body["refresh_token"], "custom-token", "ada")
    before = service.items()

    last = unlink(service, body["refresh_token"], "oauth2-google", "108")

    assert first.status == 200
    assert (last.status, last.json["error_code"]) == (400, "InvalidParameter")
    assert last.json["error"] == "the last identity that can log in cannot be removed"
    assert service.items() == before


REFUSALS = [
    pytest.param(None, 400, "BadRequest", id="no query"),
    pytest.param({"provider": "custom-token"}, 400, "BadRequest", id="no id"),
    pytest.param({"id": "ada"}, 400, "BadRequest", id="no provider"),
    pytest.param({"provider": "", "id": "ada"}, 400, "BadRequest", id="provider empty"),
    pytest.param({"provider": "custom-token", "id": ""}, 400, "BadRequest", id="empty"),
    pytest.param(
        {"provider": "custom-token", "id": "a" * 2049}, 400, "BadRequest", id="overlong"
    ),
    pytest.param(
        {"provider": "custom-token", "id": "a" * 2048},
        404,
        "IdentityNotFound",
        id="as long as can be",
    ),
    pytest.param(
        {"provider": "custom-token", "id": "ada", "key": ""},
        400,
        "BadRequest",
        id="key empty",
    ),
    pytest.param(
        {"provider": "custom-token", "id": "ada", "key": "a" * 2049},
        400,
        "BadRequest",
        id="key overlong",
    ),
    pytest.param(
        {"provider": "custom-token", "id": "ada", "key": "a" * 2048},
        404,
        "IdentityNotFound",
        id="key of nobody",
    ),
    pytest.param(
        {"provider": "custom-token", "id": "ada", "key": identity_key("108")},
        404,
        "IdentityNotFound",
        id="key of another identity",
    ),
    pytest.param(
        {"provider": "custom-token", "key": identity_key("ada")},
        400,
        "BadRequest",
        id="a key and no id",
    ),
    pytest.param(
        {"provider": "custom-token", "id": "eve"}, 404, "IdentityNotFound", id="not its"
    ),
    pytest.param(
        {"provider": "custom-token", "id": "Ada"}, 404, "IdentityNotFound", id="case"
    ),
    pytest.param(
        {"provider": "oauth2-google", "id": "ada"},
        404,
        "IdentityNotFound",
        id="of another provider",
    ),
    pytest.param(
        {"provider": "no-such", "id": "ada"}, 404, "IdentityNotFound", id="no provider"
    ),
    pytest.param(
        {"provider": "anon-user", "id": "ada"}, 404, "IdentityNotFound", id="anonymous"
    ),
]


@pytest.mark.parametrize(("query", "status", "code"), REFUSALS)
def test_given_a_bad_query_when_unlinking_then_nothing_changes(
    service: Deployment,
    body: dict[str, Any],
    query: dict[str, str] | None,
    status: int,
    code: str,
) -> None:
    before = service.items()

    reply = service.send(UNLINK, token=body["refresh_token"], query=query)

    assert (reply.status, reply.json["error_code"]) == (status, code)
    assert service.items() == before


def test_given_an_api_key_when_unlinking_then_400_names_the_route_that_removes_it(
    service: Deployment, body: dict[str, Any]
) -> None:
    before = service.items()

    reply = unlink(service, body["refresh_token"], "api-key", "ada")

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert reply.json["error"] == (
        "API keys are removed by DELETE …/auth/api_keys/{id}"
    )
    assert service.items() == before


def test_given_an_identity_of_another_user_when_unlinking_then_404_and_it_stays(
    service: Deployment, body: dict[str, Any]
) -> None:
    other = log_in_linked(service, "eve")

    reply = unlink(service, body["refresh_token"], "custom-token", "eve")

    assert (reply.status, reply.json["error_code"]) == (404, "IdentityNotFound")
    assert listed(service, other) == [("custom-token", "eve")]
    assert stored_record(service, "custom-token", "eve") is not None


@pytest.mark.parametrize("is_linked", [False, True], ids=["guest", "permanent"])
def test_given_the_anonymous_identity_when_unlinking_then_it_has_to_stay(
    service: Deployment, is_linked: bool
) -> None:
    body = log_in_linked(service) if is_linked else service.log_in()
    anonymous = stored_user(service, body["user_id"]).identities[0]
    before = service.items()

    reply = unlink(service, body["refresh_token"], "anon-user", anonymous.id)

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert reply.json["error"] == "the anonymous identity cannot be removed"
    assert service.items() == before


@pytest.fixture
def twins(service: Deployment) -> dict[str, Any]:
    """The login of a guest that has linked the same subject of two issuers."""
    opened = service.log_in()
    for issuer in ("https://a.example.org", "https://b.example.org"):
        link(service, opened, "custom-token", "1001", issuer=issuer)
    return opened


def test_given_two_issuers_with_one_subject_when_unlinking_by_id_then_both_stay(
    service: Deployment, twins: dict[str, Any]
) -> None:
    before = service.items()

    reply = unlink(service, twins["refresh_token"], "custom-token", "1001")

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert reply.json["error"] == (
        "several identities have that id: name the one that is meant by 'key'"
    )
    assert service.items() == before


@pytest.mark.parametrize("removed", [1, 2], ids=["the first", "the second"])
def test_given_two_issuers_with_one_subject_when_unlinking_by_key_then_one_is_removed(
    service: Deployment, twins: dict[str, Any], removed: int
) -> None:
    """Only the sessions of that identity end. The profile shows the keys."""
    identities = stored_user(service, twins["user_id"]).identities
    opened = {
        identity.key: open_session(
            service, twins["user_id"], "custom-token", "1001", key=identity.key
        )
        for identity in identities[1:]
    }
    shown = service.send(PROFILE, token=twins["access_token"]).json["identities"]
    key, kept = shown[removed]["key"], identities[3 - removed]

    reply = unlink(service, twins["refresh_token"], "custom-token", "1001", key=key)

    assert (reply.status, reply.text) == (200, "{}")
    assert stored_user(service, twins["user_id"]).identities[1:] == (kept,)
    assert set(service.items("IDENT#")) == {f"IDENT#{APP}#custom-token#{kept.key}"}
    ended = {
        key: service.send(SESSION, token=each["refresh_token"]).status
        for key, each in opened.items()
    }
    assert ended == {key: 401, kept.key: 200}
    left = unlink(service, twins["refresh_token"], "custom-token", "1001")
    assert (left.status, left.json["error"]) == (
        400,
        "the last identity that can log in cannot be removed",
    )


def test_given_an_access_token_when_unlinking_then_401(
    service: Deployment, body: dict[str, Any]
) -> None:
    """Every API of the app gets the access token. It must not lock an owner out."""
    reply = unlink(service, body["access_token"], "custom-token", "ada")

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert len(listed(service, body)) == 2


def test_given_a_session_that_has_ended_when_unlinking_then_401(
    service: Deployment, body: dict[str, Any]
) -> None:
    service.send(LOGOUT, token=body["refresh_token"])

    reply = unlink(service, body["refresh_token"], "custom-token", "ada")

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert len(listed(service, body)) == 2


def test_given_a_warm_function_when_unlinking_then_one_read_and_one_transaction(
    service: Deployment, body: dict[str, Any]
) -> None:
    service.send(PROFILE, token=body["access_token"])

    calls = service.counted(
        lambda: unlink(service, body["refresh_token"], "custom-token", "ada")
    )

    assert calls == ["GetItem", "TransactWriteItems"]


def test_given_a_cold_function_when_unlinking_then_it_unwraps_the_refresh_key_alone(
    service: Deployment, body: dict[str, Any]
) -> None:
    service.restart()
    del service.wire.bodies[:]

    calls = service.counted(
        lambda: unlink(service, body["refresh_token"], "custom-token", "ada")
    )

    assert calls == ["GetItem", "Decrypt", "GetItem", "TransactWriteItems"]
    contexts = [sent.get("EncryptionContext") for sent in service.wire.bodies]
    assert [context["ring"] for context in contexts if context] == ["refresh"]


def test_given_the_other_one_unlinked_in_between_then_the_last_one_stays(
    service: Deployment, body: dict[str, Any]
) -> None:
    """Each unlink alone is allowed. The second must see the first."""
    service.send(PROFILE, token=body["access_token"])

    def unlink_other() -> None:
        assert (
            unlink(service, body["refresh_token"], "oauth2-google", "108").status == 200
        )

    service.wire.faults = [None, preceded_by(unlink_other)]
    reply = unlink(service, body["refresh_token"], "custom-token", "ada")

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert listed(service, body) == [("custom-token", "ada")]
    assert stored_record(service, "custom-token", "ada") is not None


def test_given_a_link_in_between_when_unlinking_then_it_is_read_again(
    service: Deployment, body: dict[str, Any]
) -> None:
    service.send(PROFILE, token=body["access_token"])

    service.wire.faults = [
        None,
        preceded_by(lambda: link(service, body, "oauth2-apple", "001")),
    ]
    reply = unlink(service, body["refresh_token"], "custom-token", "ada")

    assert reply.status == 200
    assert listed(service, body) == [("oauth2-google", "108"), ("oauth2-apple", "001")]


def test_given_a_user_that_always_changes_when_unlinking_then_503(
    service: Deployment, body: dict[str, Any]
) -> None:
    service.send(PROFILE, token=body["access_token"])

    def change() -> None:
        service.db.update_item(
            TableName=service.table,
            Key={"pk": {"S": f"USER#{APP}#{body['user_id']}"}},
            UpdateExpression="SET version = version + :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    service.wire.faults = [None, preceded_by(change)] * 4
    reply = unlink(service, body["refresh_token"], "custom-token", "ada")

    assert reply.status == 503
    assert len(listed(service, body)) == 2


@pytest.mark.parametrize(
    "fault", [lost_reply, server_error_after_effect], ids=lambda f: f.__name__
)
def test_given_a_lost_reply_when_unlinking_then_the_store_repeats_and_it_succeeds(
    service: Deployment, body: dict[str, Any], fault: Fault
) -> None:
    service.send(PROFILE, token=body["access_token"])
    service.wire.faults = [None, fault]

    reply = unlink(service, body["refresh_token"], "custom-token", "ada")

    assert (reply.status, reply.text) == (200, "{}")
    assert listed(service, body) == [("oauth2-google", "108")]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_aws_is_failing_when_unlinking_then_503_or_done_and_a_retry_settles_it(
    service: Deployment, body: dict[str, Any], fault: Fault
) -> None:
    service.send(PROFILE, token=body["access_token"])
    service.wire.faults = [None, fault, fault, fault]

    failed = unlink(service, body["refresh_token"], "custom-token", "ada")
    again = unlink(service, body["refresh_token"], "custom-token", "ada")

    assert failed.status in {200, 503}
    assert again.status in {200, 404}
    assert listed(service, body) == [("oauth2-google", "108")]
    assert stored_record(service, "custom-token", "ada") is None
    assert service.send(PROFILE, token=body["access_token"]).status == 200
