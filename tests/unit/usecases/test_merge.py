"""POST …/auth/providers/{provider}/login with `merge`: a guest comes along."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.expiry import expiry_after
from support.contracts.store_contract import NOW
from support.memory_store import MemoryStore
from support.service.harness import (
    APP,
    DELETE,
    LOGIN,
    LOGOUT,
    OTHER_APP,
    SESSION,
    START,
    Deployment,
    Reply,
)
from support.service.provider_logins import (
    by_password,
    by_token,
    claims_of,
    is_as_before,
    link,
    log_in,
    profile,
    register,
)
from support.service.story import Story
from support.service.use_cases import UseCases
from support.service.wire import EACH_FAULT, lost_reply, preceded_by
from support.time_machine import PlainTokens

pytestmark = pytest.mark.usefixtures("providers_on")

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def merge(
    service: Deployment,
    guest: dict[str, Any],
    sub: str = "ada",
    provider: str = "custom-token",
    body: dict[str, Any] | None = None,
) -> Reply:
    """Log in by an identity, and bring the guest along."""
    sent = by_token(sub) if body is None else body
    return log_in(service, provider, sent | {"merge": guest["refresh_token"]})


def refreshes(service: Deployment, opened: dict[str, Any]) -> bool:
    return service.send(SESSION, token=opened["refresh_token"]).status == 200


def mark_of(service: Deployment, user_id: str) -> dict[str, Any] | None:
    return service.items("GONE#").get(f"GONE#{APP}#{user_id}")


def former_ids(service: Deployment, user_id: str) -> list[str]:
    item = service.user_item(user_id)
    assert item is not None
    return [each["S"] for each in item.get("former_ids", {"L": []})["L"]]


def sessions_of(service: Deployment, user_id: str) -> int:
    item = service.user_item(user_id)
    assert item is not None
    return len(item["sessions"]["M"])


@pytest.fixture
def owner(service: Deployment) -> dict[str, Any]:
    """A permanent user, who has the identity "ada"."""
    return dict(log_in(service, "custom-token", by_token()).json)


def test_given_a_taken_identity_when_merging_then_the_guest_is_in_its_user(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guest = service.log_in()

    reply = merge(service, guest)

    assert reply.status == 200
    assert reply.json["merged"] is True
    assert reply.json["user_id"] == owner["user_id"]
    assert claims_of(reply.json["access_token"])["former_ids"] == [guest["user_id"]]
    assert profile(service, reply.json["access_token"])["former_ids"] == [
        guest["user_id"]
    ]
    assert refreshes(service, reply.json)
    assert refreshes(service, owner)
    assert not refreshes(service, guest)
    assert service.user_item(guest["user_id"]) is None
    assert former_ids(service, owner["user_id"]) == [guest["user_id"]]
    session = claims_of(guest["refresh_token"])["baas_id"]
    mark = mark_of(service, guest["user_id"])
    assert mark is not None
    assert mark.keys() == {"pk", "reason", "into", "provider", "hash"}
    assert mark["into"] == {"S": owner["user_id"]}
    assert mark["provider"] == {"S": "custom-token"}
    assert session not in json.dumps(mark)


def test_given_a_merge_when_a_session_refreshes_then_its_token_names_the_guest(
    service: Deployment, owner: dict[str, Any]
) -> None:
    assert "former_ids" not in claims_of(owner["access_token"])
    assert "former_ids" not in profile(service, owner["access_token"])
    guest = service.log_in()
    merge(service, guest)

    fresh = service.send(SESSION, token=owner["refresh_token"]).json["access_token"]

    assert claims_of(fresh)["former_ids"] == [guest["user_id"]]
    assert claims_of(fresh)["sub"] == owner["user_id"]


def test_given_a_free_identity_when_merging_then_it_is_linked_to_the_guest(
    service: Deployment,
) -> None:
    guest = service.log_in()

    reply = merge(service, guest)

    assert reply.status == 200
    assert reply.json == {
        "access_token": reply.json["access_token"],
        "refresh_token": guest["refresh_token"],
        "user_id": guest["user_id"],
        "device_id": guest["device_id"],
        "merged": False,
    }
    claims, before = (claims_of(b["access_token"]) for b in (reply.json, guest))
    assert claims["anonymous"] is False
    assert [claims[name] for name in ("iss", "sid")] == [before["iss"], before["sid"]]
    assert refreshes(service, guest)
    item = service.user_item(guest["user_id"])
    assert item is not None
    assert item["anonymous"] == {"BOOL": False}
    assert not {"ttl", "expires_at", "former_ids"} & item.keys()
    assert mark_of(service, guest["user_id"]) is None


def test_given_a_confirmed_address_of_nobody_when_merging_then_it_is_linked(
    service: Deployment,
) -> None:
    register(service)
    guest = service.log_in()

    reply = merge(service, guest, provider="local-userpass", body=by_password())

    assert (reply.status, reply.json["merged"]) == (200, False)
    assert reply.json["user_id"] == guest["user_id"]
    assert len(service.items("USER#")) == 1


@pytest.mark.parametrize("sent", [None, ...], ids=["null", "absent"])
def test_given_no_guest_when_logging_in_then_none_was_merged(
    service: Deployment, owner: dict[str, Any], sent: object
) -> None:
    body = by_token() | ({} if sent is ... else {"merge": sent})

    reply = log_in(service, "custom-token", body)

    assert (reply.status, reply.json["merged"]) == (200, False)
    assert reply.json["user_id"] == owner["user_id"]


def test_given_a_link_when_it_has_merge_then_it_is_only_a_link(
    service: Deployment, owner: dict[str, Any]
) -> None:
    """realm-web's `linkCredentials` throws when the user id changes."""
    guest, other = service.log_in(), service.log_in()

    taken = link(service, guest, "custom-token", by_token() | {"merge": "x"})
    body = by_token("new") | {"merge": other["refresh_token"]}
    free = link(service, guest, "custom-token", body)

    assert (taken.status, taken.json["error_code"]) == (409, "AccountNameInUse")
    assert free.status == 200
    assert "merged" not in free.json
    assert refreshes(service, other)


# A guest that is no longer alive and anonymous.


def linked_to(sub: str) -> Callable[[Deployment, dict[str, Any]], None]:
    def change(service: Deployment, guest: dict[str, Any]) -> None:
        assert link(service, guest, "custom-token", by_token(sub)).status == 200

    return change


def merged_into(sub: str) -> Callable[[Deployment, dict[str, Any]], None]:
    def change(service: Deployment, guest: dict[str, Any]) -> None:
        log_in(service, "custom-token", by_token(sub))
        assert merge(service, guest, sub).json["merged"] is True

    return change


def logged_out(service: Deployment, guest: dict[str, Any]) -> None:
    assert service.send(LOGOUT, token=guest["refresh_token"]).status == 200


def deleted(service: Deployment, guest: dict[str, Any]) -> None:
    assert service.send(DELETE, token=guest["access_token"]).status == 200


def linked_and_logged_out(service: Deployment, guest: dict[str, Any]) -> None:
    linked_to("eve")(service, guest)
    logged_out(service, guest)


def expired(service: Deployment, _: dict[str, Any]) -> None:
    service.now = expiry_after(START)
    service.rotate()
    service.rotate()


@pytest.mark.parametrize("identity", ["nobody's", "ada"])
def test_given_a_guest_that_is_permanent_when_merging_then_400_and_no_login(
    service: Deployment, owner: dict[str, Any], identity: str
) -> None:
    guest = service.log_in()
    linked_to("eve")(service, guest)
    before = service.items()

    reply = merge(service, guest, identity)

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert guest["user_id"] in reply.json["error"]
    assert service.items() == before


@pytest.mark.parametrize(
    ("change", "sub", "merged"),
    [
        pytest.param(linked_to("ada-2"), "ada-2", False, id="linked to this identity"),
        pytest.param(merged_into("ada"), "ada", True, id="merged into this user"),
        pytest.param(merged_into("ada"), "new", False, id="merged, and nobody's"),
        pytest.param(merged_into("eve"), "ada", False, id="merged into another user"),
        pytest.param(logged_out, "ada", False, id="logged out"),
        pytest.param(logged_out, "new", False, id="logged out, and nobody's"),
        pytest.param(deleted, "ada", False, id="deleted"),
        pytest.param(linked_and_logged_out, "ada", False, id="linked, logged out"),
        pytest.param(linked_and_logged_out, "eve", False, id="its own, logged out"),
        pytest.param(expired, "ada", False, id="expired"),
        pytest.param(expired, "new", False, id="expired, and nobody's"),
    ],
)
def test_given_a_guest_that_is_gone_when_merging_then_it_is_a_plain_login(
    service: Deployment,
    owner: dict[str, Any],
    change: Callable[[Deployment, dict[str, Any]], None],
    sub: str,
    *,
    merged: bool,
) -> None:
    guest = service.log_in()
    change(service, guest)
    plain = log_in(service, "custom-token", by_token(sub)).json
    marks, sessions = service.items("GONE#"), sessions_of(service, plain["user_id"])

    for _ in range(2):  # also at the third try
        reply = merge(service, guest, sub)

    assert (reply.status, reply.json["merged"]) == (200, merged)
    assert reply.json["user_id"] == plain["user_id"]
    assert reply.json["refresh_token"] != guest["refresh_token"]
    assert refreshes(service, reply.json)
    assert service.items("GONE#") == marks
    assert sessions_of(service, plain["user_id"]) == sessions + 2


@pytest.mark.parametrize(
    ("wait", "merged"),
    [
        pytest.param(-SECOND, True, id="last second"),
        pytest.param(timedelta(), False, id="over"),
    ],
)
def test_given_a_silent_guest_when_merging_then_until_it_expires(
    service: Deployment, owner: dict[str, Any], wait: timedelta, *, merged: bool
) -> None:
    guest = service.log_in()
    service.now = expiry_after(START) + wait
    service.rotate()
    service.rotate()

    reply = merge(service, guest)

    assert (reply.status, reply.json["merged"]) == (200, merged)
    assert (service.user_item(guest["user_id"]) is None) is merged


@pytest.mark.parametrize("is_merged", [False, True], ids=["alive", "merged"])
def test_given_another_token_of_its_session_when_merging_then_it_is_a_plain_login(
    *, is_merged: bool
) -> None:
    tokens = PlainTokens()
    cases = UseCases(MemoryStore(), tokens)
    ada = {"token": "ada"}
    owner, guest = cases.log_in_by("custom-token", ada), cases.log_in()
    if is_merged:
        assert cases.log_in_by("custom-token", ada, guest=guest).merged
    before = cases.store.get_user(APP, guest.user.id)
    another = tokens.refresh_token(guest.user, guest.session, jti="another", now=NOW)

    opened = cases.log_in_by(
        "custom-token", ada, guest=guest._replace(refresh_token=another)
    )

    assert opened.user.id == owner.user.id
    assert opened.refresh_token != another
    assert not opened.merged
    assert cases.store.get_user(APP, guest.user.id) == before


# Bad input.


NO_TOKEN = "'merge' is not a valid refresh token"


@pytest.mark.parametrize(
    ("token", "text"),
    [
        pytest.param(7, "merge is not a string", id="a number"),
        pytest.param("", NO_TOKEN, id="empty"),
        pytest.param("x" * 4097, "merge is longer than 4096 characters", id="too long"),
        pytest.param("a.b.c", NO_TOKEN, id="not a token"),
        pytest.param("access", NO_TOKEN, id="an access token"),
        pytest.param("altered", NO_TOKEN, id="altered"),
        pytest.param(
            "foreign", "'merge' is a refresh token of another app", id="of another app"
        ),
    ],
)
def test_given_a_bad_token_when_merging_then_400_before_the_credential_is_tried(
    service: Deployment, owner: dict[str, Any], token: Any, text: str
) -> None:
    guest = service.log_in()
    good = guest["refresh_token"]
    tokens = {
        "access": guest["access_token"],
        "altered": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "foreign": service.log_in(app=OTHER_APP)["refresh_token"],
    }
    register(service)
    counted = service.items("RATE#")
    body = by_password("wrong") | {"merge": tokens.get(token, token)}

    reply = log_in(service, "local-userpass", body)

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert reply.json["error"] == text
    assert service.items("RATE#") == counted  # a wrong password would be in it
    assert is_as_before(service, guest)


def test_given_a_bad_credential_when_merging_then_nothing_is_told_of_the_guest(
    service: Deployment, owner: dict[str, Any]
) -> None:
    alive, permanent, gone = service.log_in(), service.log_in(), service.log_in()
    linked_to("eve")(service, permanent)
    logged_out(service, gone)
    bad = {"token": by_token()["token"][:-4] + "AAAA"}

    replies = [merge(service, g, body=bad) for g in (alive, permanent, gone)]

    assert {(r.status, r.json["error"]) for r in replies} == {(401, "unauthorized")}
    assert is_as_before(service, alive)


def test_given_an_api_key_when_merging_then_400_and_the_guest_stays(
    service: Deployment,
) -> None:
    guest = service.log_in()

    reply = merge(service, guest, provider="api-key", body={"key": "x" * 43})

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert reply.json["error"] == "'merge' cannot go with an API key"
    assert is_as_before(service, guest)


@pytest.mark.parametrize(("sent", "status"), [("x", 400), (7, 400), (None, 200)])
def test_given_an_anonymous_login_when_it_has_merge_then_400(
    service: Deployment, sent: object, status: int
) -> None:
    reply = service.send(LOGIN, body=json.dumps({"merge": sent}))

    assert reply.status == status
    assert len(service.items("USER#")) == (status == 200)
    if status != 200:
        assert reply.json["error_code"] == "InvalidParameter"


# Other requests at the same time, and lost answers.


def test_given_a_merge_when_counted_then_it_is_three_reads_and_one_transaction(
    service: Deployment, owner: dict[str, Any]
) -> None:
    register(service)
    log_in(service, "local-userpass", by_password())
    guest, other, third, gone = (service.log_in() for _ in range(4))
    linked_and_logged_out(service, gone)

    assert service.counted(lambda: merge(service, guest)) == [
        *["GetItem"] * 3,
        "TransactWriteItems",
    ]
    by_mail = service.counted(
        lambda: merge(service, other, provider="local-userpass", body=by_password())
    )
    assert by_mail.count("TransactWriteItems") == 1
    assert len(by_mail) - by_mail.count("UpdateItem") == 4
    assert service.counted(lambda: merge(service, third, "new")) == [
        *["GetItem"] * 2,
        "TransactWriteItems",
    ]
    # A user that is there cannot have been merged, so its mark is not looked for.
    assert service.counted(lambda: merge(service, gone)) == [
        *["GetItem"] * 3,
        "UpdateItem",
    ]


@pytest.mark.parametrize("call", [2, 3], ids=["before it is read", "before the write"])
@pytest.mark.parametrize(
    ("change", "status", "merged"),
    [
        pytest.param(linked_to("eve"), 400, None, id="linked"),
        pytest.param(linked_to("ada-2"), 400, None, id="linked elsewhere"),
        pytest.param(logged_out, 200, False, id="logged out"),
        pytest.param(merged_into("ada"), 200, True, id="merged by a second try"),
        pytest.param(merged_into("eve"), 200, False, id="merged elsewhere"),
    ],
)
def test_given_a_guest_that_changes_when_merging_then_it_is_decided_anew(
    service: Deployment,
    owner: dict[str, Any],
    call: int,
    change: Callable[[Deployment, dict[str, Any]], None],
    status: int,
    merged: bool | None,
) -> None:
    guest = service.log_in()
    service.wire.faults = [
        *[None] * call,
        preceded_by(lambda: change(service, guest)),
    ]

    reply = merge(service, guest)

    assert (reply.status, reply.json.get("merged")) == (status, merged)
    listed = former_ids(service, owner["user_id"])
    assert (guest["user_id"] in listed) is (merged is True)


def test_given_an_owner_that_is_deleted_when_merging_then_the_guest_is_linked(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guest = service.log_in()
    service.wire.faults = [
        *[None] * 3,
        preceded_by(lambda: deleted(service, owner)),
    ]

    reply = merge(service, guest)

    assert (reply.status, reply.json["merged"]) == (200, False)
    assert reply.json["user_id"] == guest["user_id"]
    assert refreshes(service, guest)


def test_given_a_login_that_is_faster_when_merging_then_both_have_a_session(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guest = service.log_in()
    service.wire.faults = [
        *[None] * 3,
        preceded_by(lambda: log_in(service, "custom-token", by_token())),
    ]

    reply = merge(service, guest)

    assert reply.json["merged"] is True
    assert sessions_of(service, owner["user_id"]) == 3


@pytest.mark.parametrize("fault", EACH_FAULT)
@pytest.mark.parametrize("call", range(5))
@pytest.mark.parametrize("taken", [True, False], ids=["taken", "free"])
def test_given_a_fault_at_any_call_when_merging_then_a_retry_converges(
    service: Deployment,
    fault: Any,
    call: int,
    *,
    taken: bool,
) -> None:
    guest = service.log_in()
    before = len(service.items("USER#"))
    if taken:
        log_in(service, "custom-token", by_token())
    service.wire.faults = [None] * call + [fault] * 3

    first = merge(service, guest)
    service.wire.faults = []
    again = merge(service, guest)

    assert first.status in {200, 503}
    assert again.status == 200
    assert again.json["merged"] is taken
    assert (again.json["user_id"] == guest["user_id"]) is not taken
    assert len(service.items("USER#")) == before
    assert refreshes(service, again.json)


def test_given_a_lost_reply_when_merging_then_one_session_is_opened(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guest = service.log_in()
    service.wire.faults = [None, None, None, lost_reply]

    reply = merge(service, guest)

    assert (reply.status, reply.json["merged"]) == (200, True)
    assert sessions_of(service, owner["user_id"]) == 2
    assert former_ids(service, owner["user_id"]) == [guest["user_id"]]


def test_given_an_owner_whose_item_was_lost_when_merging_then_it_is_back_with_the_guest(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guest = service.log_in()
    pk = f"USER#{APP}#{owner['user_id']}"
    service.db.delete_item(TableName=service.table, Key={"pk": {"S": pk}})

    reply = merge(service, guest)

    assert (reply.status, reply.json["merged"]) == (200, True)
    assert reply.json["user_id"] == owner["user_id"]
    assert former_ids(service, owner["user_id"]) == [guest["user_id"]]
    assert service.user_item(guest["user_id"]) is None


# The list of former ids, and the marks.


def test_given_twenty_guests_when_one_more_is_merged_then_the_oldest_expires(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guests: list[str] = []
    for _ in range(21):
        guest = service.log_in()
        guests.append(guest["user_id"])
        reply = merge(service, guest)

    assert former_ids(service, owner["user_id"]) == guests[1:]
    assert claims_of(reply.json["access_token"])["former_ids"] == guests[1:]
    marks = [mark_of(service, guest) for guest in guests]
    in_100_days = int((service.now + 100 * DAY).timestamp())
    assert [mark and mark.get("ttl") for mark in marks] == [
        {"N": str(in_100_days)},
        *[None] * 20,
    ]
    assert marks[-1] is not None
    assert marks[-1]["dropped"] == {"S": guests[0]}


def test_given_an_owner_with_guests_when_deleted_then_their_marks_expire(
    service: Deployment, owner: dict[str, Any]
) -> None:
    guest = service.log_in()
    fresh = merge(service, guest).json

    deleted(service, fresh)

    mark = mark_of(service, guest["user_id"])
    assert mark is not None
    assert mark["reason"] == {"S": "merged"}
    assert mark["ttl"] == {"N": str(int((service.now + 100 * DAY).timestamp()))}
    assert mark_of(service, owner["user_id"]) is not None
    again = merge(service, guest).json
    assert again["merged"] is False
    assert again["user_id"] not in {owner["user_id"], guest["user_id"]}


# Events.


def test_given_a_merge_then_one_event_tells_of_it_and_none_of_a_deletion(
    story: Story,
) -> None:
    owner = log_in(story.service, "custom-token", by_token()).json
    guest = story.service.log_in()
    story.told()

    merge(story.service, guest)

    records = story.records()
    story.tell(records)
    by_type = {event["detail-type"]: event["detail"] for event in story.published()}
    assert by_type.keys() == {"user.logged_in", "user.merged"}
    merged = by_type["user.merged"]
    assert merged["uid"] == guest["user_id"]
    assert merged["into"] == owner["user_id"]
    assert merged["provider"] == "custom-token"
    assert merged["anonymous"] is True
    assert "dropped" not in merged
    assert by_type["user.logged_in"]["uid"] == owner["user_id"]
    story.service.advance(89 * DAY)
    story.tell(records)
    again = {event["detail-type"]: event["detail"] for event in story.published()}
    assert again["user.merged"] == merged


def test_given_an_owner_with_guests_when_deleted_then_the_event_names_them(
    story: Story,
) -> None:
    log_in(story.service, "custom-token", by_token())
    guest = story.service.log_in()
    fresh = merge(story.service, guest).json
    story.told()

    deleted(story.service, fresh)

    (event,) = story.told()
    assert event["detail-type"] == "user.deleted"
    assert event["detail"]["former_ids"] == [guest["user_id"]]


def test_given_the_21st_merge_then_its_event_names_the_id_that_fell_off(
    story: Story,
) -> None:
    log_in(story.service, "custom-token", by_token())
    guests = [story.service.log_in() for _ in range(21)]
    for guest in guests[:-1]:
        merge(story.service, guest)
    story.told()

    merge(story.service, guests[-1])

    events = {event["detail-type"]: event["detail"] for event in story.told()}
    assert events["user.merged"]["dropped"] == guests[0]["user_id"]
