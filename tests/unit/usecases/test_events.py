"""Events about users: when each is published, its form, and the order of events."""

import copy
import io
import json
import random
from datetime import timedelta
from typing import Any, cast

import jsonschema
import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from anonauth.domain.encoding import identity_key
from anonauth.domain.expiry import expiry_after
from anonauth.local.dynamodb.live_table import Record
from support.project import sam_template
from support.service import wire
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    LOGOUT,
    OTHER_APP,
    SESSION,
    START,
    UNLINK,
)
from support.service.linked import link, log_in_linked, open_session, stored_user
from support.service.story import SCHEMA, VALIDATOR, Story, as_event, types
from support.service.wire import FAULTS, Fault, Forward

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def uid_of(record: Record) -> str:
    pk: str = record["dynamodb"]["Keys"]["pk"]["S"]
    return pk.rpartition("#")[2]


def identity_told(provider: str, subject: str) -> dict[str, str]:
    return {"provider": provider, "id": subject, "key": identity_key(subject)}


# -- Which change publishes which event ----------------------------------------------


def test_given_a_guest_when_it_logs_in_then_it_was_created(story: Story) -> None:
    body = story.service.log_in(app=OTHER_APP)

    (event,) = story.told()

    detail = event["detail"]
    item = story.service.user_item(body["user_id"], OTHER_APP)
    assert item is not None
    identity = item["identities"]["L"][0]["M"]
    assert event["source"] == "anonauth"
    assert event["detail-type"] == "user.created"
    assert detail == {
        "id": detail["id"],
        "stack": "anonauth-local",
        "app": OTHER_APP,
        "uid": body["user_id"],
        "anonymous": True,
        "identities": [{"provider": "anon-user", "id": identity["id"]["S"]}],
        "created_at": "2026-03-10T12:00:00Z",
        "last_active_day": "2026-03-10",
        "expires_at": "2026-06-09T01:00:00Z",
        "at": "2026-03-10T12:00:00Z",
        "sequence": detail["sequence"],
        "provider": "anon-user",
    }


def test_given_a_guest_when_it_refreshes_then_no_event_is_published(
    story: Story,
) -> None:
    token = story.service.log_in()["refresh_token"]
    story.told()

    assert story.service.send(SESSION, token=token).status == 200
    story.service.now += DAY
    assert story.service.send(SESSION, token=token).status == 200

    assert len(records := story.records()) == 1  # the write of the day
    assert story.tell(records) == {"batchItemFailures": []}
    assert story.published() == []


def test_given_a_guest_when_it_logs_out_then_it_was_deleted_by_logout(
    story: Story,
) -> None:
    body = story.service.log_in()
    story.told()

    story.service.send(LOGOUT, token=body["refresh_token"])

    (event,) = story.told()
    assert event["detail-type"] == "user.deleted"
    assert event["detail"]["reason"] == "logout"
    assert event["detail"]["uid"] == body["user_id"]
    assert event["detail"]["anonymous"] is True


def test_given_a_permanent_user_when_its_mark_is_missing_then_deletion_was_requested(
    story: Story,
) -> None:
    """A replay after months has no mark. A logout never deletes a permanent user."""
    body = log_in_linked(story.service)
    story.told()
    story.service.send(DELETE, token=body["access_token"])
    mark = {"pk": {"S": f"GONE#{APP}#{body['user_id']}"}}
    story.service.db.delete_item(TableName=story.service.table, Key=mark)

    (event,) = story.told()

    assert event["detail"]["reason"] == "requested"


@pytest.mark.parametrize("is_linked", [False, True], ids=["guest", "permanent"])
def test_given_a_user_when_it_deletes_itself_then_it_was_deleted_on_request(
    story: Story, *, is_linked: bool
) -> None:
    body = story.service.log_in()
    if is_linked:
        link(story.service, body, "custom-token", "ada")
    story.told()

    story.service.send(DELETE, token=body["access_token"])

    (event,) = story.told()
    assert event["detail-type"] == "user.deleted"
    assert event["detail"]["reason"] == "requested"
    assert event["detail"]["anonymous"] is not is_linked
    assert len(event["detail"]["identities"]) == 1 + is_linked


def test_given_a_silent_guest_when_swept_then_it_was_deleted_as_expired(
    story: Story,
) -> None:
    body = story.service.log_in()
    story.told()
    story.service.now = expiry_after(START) + DAY - SECOND
    assert story.sweep() == 0
    story.service.now += SECOND

    assert story.sweep() == 1

    (event,) = story.told()
    assert event["detail-type"] == "user.deleted"
    assert event["detail"]["reason"] == "expired"
    assert event["detail"]["expires_at"] == "2026-06-09T01:00:00Z"
    assert event["detail"]["at"] == "2026-06-10T01:00:00Z"
    assert story.service.user_item(body["user_id"]) is None


def test_given_a_link_of_the_last_second_when_swept_then_no_user_was_deleted(
    story: Story,
) -> None:
    body = story.service.log_in()
    story.told()
    story.service.now = expiry_after(START) - SECOND
    link(story.service, body, "custom-token", "ada")

    story.service.now += 400 * DAY
    swept = story.sweep()

    (event,) = story.told()
    assert swept == 0
    assert event["detail-type"] == "user.linked"
    assert event["detail"]["was_anonymous"] is True
    assert event["detail"]["anonymous"] is False
    assert "expires_at" not in event["detail"]


def test_given_a_user_when_it_links_logs_in_and_unlinks_then_each_is_told(
    story: Story,
) -> None:
    service = story.service
    body = log_in_linked(service)
    link(service, body, "oauth2-google", "ada-at-google")
    again = open_session(service, body["user_id"], "custom-token", "ada")
    query = {"provider": "oauth2-google", "id": "ada-at-google"}
    service.send(UNLINK, token=body["refresh_token"], query=query)
    service.send(LOGOUT, token=again["refresh_token"])  # the user remains

    events = story.told()

    assert types(events) == [
        "user.created",
        "user.linked",
        "user.linked",
        "user.logged_in",
        "user.unlinked",
    ]
    google = [identity_told("oauth2-google", "ada-at-google")]
    assert events[1]["detail"]["linked"] == [identity_told("custom-token", "ada")]
    assert events[2]["detail"]["linked"] == google
    assert events[2]["detail"]["was_anonymous"] is False
    assert events[3]["detail"]["provider"] == "custom-token"
    assert events[4]["detail"]["unlinked"] == google
    assert google[0] not in events[4]["detail"]["identities"]
    sequences = [event["detail"]["sequence"] for event in events]
    assert sequences == sorted(sequences)
    assert len({event["detail"]["id"] for event in events}) == len(events)


def test_given_one_id_of_two_issuers_when_unlinked_then_the_key_tells_which(
    story: Story,
) -> None:
    body = story.service.log_in()
    for issuer in ("https://a.example.org", "https://b.example.org"):
        link(story.service, body, "custom-token", "1001", issuer=issuer)
    _, first, second = stored_user(story.service, body["user_id"]).identities
    query = {"provider": "custom-token", "id": "1001", "key": second.key}

    story.service.send(UNLINK, token=body["refresh_token"], query=query)

    unlinked = story.told()[-1]["detail"]
    told = {"provider": "custom-token", "id": "1001"}
    assert unlinked["unlinked"] == [{**told, "key": second.key}]
    assert unlinked["identities"][1:] == [{**told, "key": first.key}]


def test_given_an_address_when_linked_then_its_hash_is_not_published(
    story: Story,
) -> None:
    """A reader of the event could find the address by its hash. The id is enough."""
    body = story.service.log_in()
    link(story.service, body, "local-userpass", "ada")

    events = story.told()

    key = stored_user(story.service, body["user_id"]).identities[1].key
    assert set(events[1]["detail"]["linked"][0]) == {"provider", "id"}
    assert key not in json.dumps(events)


def test_given_a_permanent_user_when_it_makes_api_keys_then_no_event_is_published(
    story: Story,
) -> None:
    body = log_in_linked(story.service)
    story.service.restart_with({"apps": {"*": {"api-key": {}}}})
    story.told()

    made = story.service.send(
        CREATE_KEY, token=body["refresh_token"], body='{"name": "ci"}'
    )

    assert made.status == 200
    assert story.told() == []


def test_given_an_id_that_is_an_email_address_when_linked_then_it_is_not_published(
    story: Story,
) -> None:
    """An issuer may use addresses as subjects."""
    body = story.service.log_in()
    link(story.service, body, "custom-token", "ada@example.com")
    query = {"provider": "custom-token", "id": "ada@example.com"}

    events = story.told()
    item = story.service.user_item(body["user_id"])
    link(story.service, body, "oauth2-google", "g")
    story.service.send(UNLINK, token=body["refresh_token"], query=query)
    events += story.told()

    assert item is not None
    key = item["identities"]["L"][1]["M"]["key"]["S"]
    told = {"provider": "custom-token", "id": key, "key": key}
    assert events[1]["detail"]["linked"] == [told]
    assert events[3]["detail"]["unlinked"] == events[1]["detail"]["linked"]
    assert "@" not in json.dumps(events)


def test_given_other_items_when_they_change_then_no_event_is_published(
    story: Story,
) -> None:
    db, table = story.service.db, story.service.table
    for pk in ("IDENT#a#local-userpass#x", "RATE#x", "GONE#a#b", "KEY#ring", "USERS#"):
        db.put_item(TableName=table, Item={"pk": {"S": pk}, "n": {"N": "1"}})
        db.delete_item(TableName=table, Key={"pk": {"S": pk}})

    assert len(records := story.records()) == 10
    assert story.tell(records) == {"batchItemFailures": []}
    assert story.published() == []


def test_given_a_change_without_images_when_told_then_no_event_is_published(
    story: Story,
) -> None:
    """An operator may have changed our stream to one that has keys only."""
    story.service.log_in()
    (record,) = story.records()
    del record["dynamodb"]["NewImage"]
    story.service.wire.reset()

    assert story.tell([record]) == {"batchItemFailures": []}

    assert story.published() == []


# -- The record as AWS writes it -----------------------------------------------------


def recorded() -> Record:
    (record,) = sam_template.event("lifecycle")["Records"]
    fresh: Record = copy.deepcopy(record)
    return fresh


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        pytest.param(
            {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
            "expired",
            id="TTL",
        ),
        pytest.param(None, "logout", id="a call"),
        pytest.param({}, "logout", id="empty"),
        pytest.param(
            {"type": "Service", "principalId": "replication.dynamodb.amazonaws.com"},
            "logout",
            id="another service",
        ),
        pytest.param(
            {"type": "AssumedRole", "principalId": "dynamodb.amazonaws.com"},
            "logout",
            id="a role of that name",
        ),
    ],
)
def test_given_a_recorded_removal_when_told_then_its_author_is_the_reason(
    story: Story, identity: dict[str, str] | None, reason: str
) -> None:
    record = recorded()
    record.pop("userIdentity")
    if identity is not None:
        record["userIdentity"] = identity

    story.tell([record])

    (event,) = story.published()
    assert event["detail"]["reason"] == reason
    assert event["detail"]["id"] == f"{record['eventID']}:user.deleted"
    assert event["detail"]["sequence"] == record["dynamodb"]["SequenceNumber"].zfill(40)


def test_given_the_mark_of_another_user_when_told_then_it_is_a_logout(
    story: Story,
) -> None:
    record = recorded()
    del record["userIdentity"]
    for pk in (f"GONE#{APP}#other", f"GONE#other#{uid_of(record)}"):
        item = {"pk": {"S": pk}, "reason": {"S": "requested"}}
        story.service.db.put_item(TableName=story.service.table, Item=item)

    story.tell([record])

    assert story.published()[0]["detail"]["reason"] == "logout"


def test_given_instants_with_fractions_when_told_then_seconds_are_told(
    story: Story,
) -> None:
    record = recorded()
    record["dynamodb"]["ApproximateCreationDateTime"] = 1795491000.987

    story.tell([record])

    assert story.published()[0]["detail"]["at"].endswith(":00Z")


# -- How events are sent -------------------------------------------------------------


def test_given_a_batch_when_told_then_calls_are_few(story: Story) -> None:
    """Ten events in a call, and one look-up for all deletions that may be requested."""
    bodies = [story.service.log_in() for _ in range(25)]
    for body in bodies[:6]:
        story.service.send(LOGOUT, token=body["refresh_token"])
    records = story.records()
    story.service.restart()
    story.service.wire.reset()

    story.tell(records)

    assert story.service.wire.calls == ["BatchGetItem", *["PutEvents"] * 4]
    sizes = [len(b["Entries"]) for b in story.service.wire.bodies if "Entries" in b]
    assert sizes == [10, 10, 10, 1]


def test_given_no_deletion_by_a_call_when_told_then_no_mark_is_looked_up(
    story: Story,
) -> None:
    """Guests that expire are most of the deletions. They never have a mark."""
    story.service.log_in()
    log_in_linked(story.service)
    story.service.now = expiry_after(START) + DAY
    assert story.sweep() == 1
    records = story.records()
    story.service.restart()
    story.service.wire.reset()

    story.tell(records)

    assert set(story.service.wire.calls) == {"PutEvents"}
    assert sorted(types(story.published())) == [
        *["user.created"] * 2,
        "user.deleted",
        "user.linked",
    ]


def test_given_an_entry_when_sent_then_it_names_source_stack_bus_and_time(
    story: Story,
) -> None:
    story.service.restart(EVENT_BUS="users", POWERTOOLS_SERVICE_NAME="my-stack")
    boto = story.service._clients.connect("events")
    boto.create_event_bus(Name="users")
    story.service.log_in()
    records = story.records()
    story.service.wire.reset()

    story.tell(records)

    (entry,) = story.service.wire.bodies[-1]["Entries"]
    assert entry["EventBusName"] == "users"
    assert entry["Source"] == "anonauth"
    assert json.loads(entry["Detail"])["stack"] == "my-stack"
    assert entry["Time"] == int(START.timestamp())
    boto.delete_event_bus(Name="users")


@pytest.mark.parametrize("character", ["\N{GRINNING FACE}", "\x01", '"', "\xe9"])
def test_given_the_longest_ids_when_told_then_one_call_is_not_too_large(
    story: Story, character: str
) -> None:
    """PutEvents takes 256 KB for all entries together (Amazon EventBridge)."""
    story.service.log_in()
    (record,) = story.records()
    image = record["dynamodb"]["NewImage"]
    entry = {
        "id": {"S": character * 256},
        "provider": {"S": "custom-token"},
        "version": {"N": "1"},
    }
    records = []
    for user in range(10):
        changed = copy.deepcopy(record)
        more = [{"M": entry | {"key": {"S": f"{k:043d}"}}} for k in range(9)]
        identities = image["identities"]["L"] + more
        changed["dynamodb"] |= {
            "Keys": {"pk": {"S": f"USER#{APP}#{user:024x}"}},
            "OldImage": image | {"identities": {"L": identities[:-1]}},
            "NewImage": image | {"identities": {"L": identities}},
        }
        records.append(changed)
    story.service.wire.reset()

    story.tell(records)

    (call,) = [body for body in story.service.wire.bodies if "Entries" in body]
    assert len(call["Entries"]) == 10
    sizes = [len(entry["Detail"].encode()) for entry in call["Entries"]]
    assert sum(sizes) < 256 * 1024 * 0.9
    assert max(sizes) < 20 * 1024


def test_given_a_replay_when_told_again_then_its_events_are_identical(
    story: Story,
) -> None:
    story.service.log_in()
    records = story.records()

    story.service.wire.reset()
    story.tell(records)
    first = story.published()
    story.service.now += DAY
    story.tell(records)

    assert story.published() == first


def test_given_the_schema_then_it_is_valid_and_refuses_other_events(
    story: Story,
) -> None:
    jsonschema.Draft4Validator.check_schema(SCHEMA)
    story.service.log_in()
    (event,) = story.told()

    for path, value in (
        (("detail-type",), "user.gone"),
        (("source",), "other"),
        (("detail", "email"), "ada@example.com"),
        (("detail", "identities"), [{"provider": "anon-user", "id": "a@b"}]),
        (("detail", "reason"), None),
        (("detail", "id"), "x:user.deleted"),
        (("detail", "stack"), ""),
        (("detail", "at"), "yesterday"),
    ):
        spoilt = copy.deepcopy(event)
        place = spoilt
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert not VALIDATOR.is_valid(spoilt), path


# -- What goes wrong -----------------------------------------------------------------


class Killed(BaseException):
    """The function's environment is killed in the middle of a call."""


def killed_before(_: AWSPreparedRequest, __: Forward) -> AWSResponse:
    raise Killed


def killed_after(_: AWSPreparedRequest, forward: Forward) -> AWSResponse:
    forward()
    raise Killed


class Taken(list[dict[str, Any]]):
    """The events that EventBridge has taken, in order, whatever reply Lifecycle got."""

    def through(self, fault: Fault) -> Fault:
        """Return a fault that also records in this list which entries take effect."""

        def watched(
            request: AWSPreparedRequest, forward: Forward
        ) -> AWSResponse | None:
            def taking() -> AWSResponse | None:
                self.extend(entries_of(request))
                return forward()

            return fault(request, taking)

        return watched

    def only_some(
        self, request: AWSPreparedRequest, forward: Forward
    ) -> AWSResponse | None:
        """Take every other entry of a PutEvents; let other calls pass."""
        entries = entries_of(request)
        if not entries:
            return forward()
        self += entries[1::2]
        answers = [
            {"EventId": str(place)}
            if place % 2
            else {"ErrorCode": "ThrottlingException", "ErrorMessage": "injected"}
            for place in range(len(entries))
        ]
        failed = sum("ErrorCode" in answer for answer in answers)
        return wire.reply(
            request, 200, {"FailedEntryCount": failed, "Entries": answers}
        )


def entries_of(request: AWSPreparedRequest) -> list[dict[str, Any]]:
    entries = json.loads(cast("bytes", request.body)).get("Entries", [])
    return [as_event(entry) for entry in entries]


def passing(_: AWSPreparedRequest, forward: Forward) -> AWSResponse | None:
    return forward()


def a_busy_batch(story: Story) -> list[Record]:
    """Return the records of some users, some of them busy."""
    service, dice = story.service, random.Random(4)  # noqa: S311 - a mix, no secret
    for number in range(6):
        body = service.log_in()
        for step in range(dice.randrange(3)):
            link(service, body, "custom-token", f"s{number}-{step}")
        if "custom-token" in str(service.user_item(body["user_id"])):
            open_session(service, body["user_id"], "custom-token", f"s{number}-0")
        match number % 3:
            case 0:
                service.send(LOGOUT, token=body["refresh_token"])
            case 1:
                service.send(DELETE, token=body["access_token"])
    records = story.records()
    service.wire.reset()
    return [r for r in records if r["dynamodb"]["Keys"]["pk"]["S"].startswith("USER#")]


class Lambda:
    """An event source mapping: repeats a batch until all of it is done.

    It does not bisect batches, which would only change their sizes.
    """

    def __init__(self, story: Story) -> None:
        self._story = story

    def deliver(self, records: list[Record], *, most: int = 40) -> int:
        """Deliver the records, and return the number of invocations."""
        for count in range(1, most):
            try:
                answer = self._story.tell(records)
            except (Killed, BatchProcessingError):
                continue
            failed = {f["itemIdentifier"] for f in answer["batchItemFailures"]}
            numbers = [r["dynamodb"]["SequenceNumber"] for r in records]
            if not failed:
                return count
            records = records[min(numbers.index(number) for number in failed) :]
        pytest.fail("the batch never came to an end")


FAILURES: dict[str, Fault] = {
    "killed before": killed_before,
    "killed after": killed_after,
    **FAULTS,
}


# The other failures are much like one of these two.
USUAL = {"some refused", "killed after"}


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(name, marks=() if name in USUAL else pytest.mark.long)
        for name in ("some refused", *FAILURES)
    ],
)
def test_given_a_failure_anywhere_in_a_batch_when_retried_then_all_is_told_in_order(
    story: Story, failure: str
) -> None:
    """Fail at each call in turn: once, and until Lifecycle gives up."""
    records = a_busy_batch(story)
    story.tell(records)
    calls = len(story.service.wire.calls)
    expected = [(e["detail"]["uid"], e["detail"]["id"]) for e in story.published()]
    assert len({event_id for _, event_id in expected}) == len(expected) > 15

    for place in range(calls):
        for times in (1, 5):
            taken = Taken()
            fault = (
                taken.only_some
                if failure == "some refused"
                else taken.through(FAILURES[failure])
            )
            story.service.restart()
            story.service.wire.always = taken.through(passing)
            story.service.wire.faults = [
                *[taken.through(passing)] * place,
                *[fault] * times,
            ]
            Lambda(story).deliver(records)

            got = [(e["detail"]["uid"], e["detail"]["id"]) for e in taken]
            assert set(got) == set(expected)
            for user in {who for who, _ in expected}:
                mine = [event for who, event in expected if who == user]
                heard = [event for who, event in got if who == user]
                # No event before an earlier one: each new event is the next in order.
                assert list(dict.fromkeys(heard)) == mine


def test_given_a_mark_that_cannot_be_read_when_told_then_no_record_is_done(
    story: Story,
) -> None:
    """The reason of a deletion would be a guess, and the order must stay."""
    body = story.service.log_in()
    story.service.send(DELETE, token=body["access_token"])
    records = [r for r in story.records() if uid_of(r) == body["user_id"]]
    story.service.restart()
    story.service.wire.reset()
    story.service.wire.faults = [FAULTS["throttled"]] * 9

    answer = story.tell(records)
    story.service.wire.faults = []
    early = story.published()
    again = story.tell(records)

    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert failed == [r["dynamodb"]["SequenceNumber"] for r in records]
    assert early == []
    assert again == {"batchItemFailures": []}
    told = story.published()
    assert types(told) == ["user.created", "user.deleted"]
    assert told[1]["detail"]["reason"] == "requested"


def test_given_an_unreadable_record_when_told_then_those_before_it_are_published(
    story: Story, log: io.StringIO
) -> None:
    for _ in range(3):
        story.service.log_in()
    first, bad, last = story.records()
    bad["dynamodb"]["NewImage"]["created_at"] = {"S": "ada@example.com"}
    story.service.wire.reset()

    answer = story.tell([first, bad, last])

    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert failed[0] == bad["dynamodb"]["SequenceNumber"]
    assert [e["detail"]["uid"] for e in story.published()] == [uid_of(first)]
    assert bad["eventID"] in log.getvalue()
    assert "ada@example.com" not in log.getvalue()


def test_given_an_unreadable_first_record_when_told_then_the_function_raises(
    story: Story,
) -> None:
    """Lambda halves a batch only if the function raises. So the bad record is found."""
    for _ in range(2):
        story.service.log_in()
    bad, last = story.records()
    del bad["dynamodb"]["NewImage"]["identities"]
    story.service.wire.reset()

    with pytest.raises(BatchProcessingError) as caught:
        story.tell([bad, last])

    assert story.published() == []
    assert uid_of(bad) not in str(caught.value)


def written_back(story: Story, **changes: Any) -> None:
    """Put a permanent user's item back, as an operator does from a backup."""
    body = log_in_linked(story.service)
    item = story.service.user_item(body["user_id"])
    assert item is not None
    story.service.db.delete_item(TableName=story.service.table, Key={"pk": item["pk"]})
    story.records()
    story.service.log_in()
    story.service.db.put_item(TableName=story.service.table, Item=item | changes)
    story.service.log_in()
    story.service.wire.reset()


def test_given_a_user_without_sessions_when_written_then_it_was_made_by_its_identity(
    story: Story,
) -> None:
    """Only an import leaves such an item. It is not a guest any more."""
    written_back(story, sessions={"M": {}})

    answer = story.tell()

    events = story.published()
    assert answer == {"batchItemFailures": []}
    assert types(events) == ["user.created"] * 3
    assert events[1]["detail"]["anonymous"] is False
    assert events[1]["detail"]["provider"] == "custom-token"


def test_given_a_user_that_is_restored_when_written_then_no_event_says_it_is_new(
    story: Story,
) -> None:
    written_back(story, sessions={"M": {}}, restored_at={"N": "1773144000"})

    answer = story.tell()

    events = story.published()
    assert answer == {"batchItemFailures": []}
    assert types(events) == ["user.created"] * 2
    assert all(event["detail"]["anonymous"] for event in events)


def identity(**key: Any) -> dict[str, Any]:
    return {"L": [{"M": {"id": {"S": "a"}, "provider": {"S": "b"}, **key}}]}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"identities": {"L": []}}, id="no identity"),
        pytest.param({"identities": identity(key={"M": {}})}, id="key a map"),
        pytest.param({"identities": identity(id={"N": "1"})}, id="id a number"),
        pytest.param({"created_at": {"NULL": True}}, id="made at no time"),
        pytest.param({"anonymous": {"NULL": True}}, id="neither guest nor permanent"),
    ],
)
def test_given_an_unknown_form_of_item_when_written_then_those_before_are_published(
    story: Story, changes: dict[str, Any]
) -> None:
    written_back(story, **changes)
    records = story.records()

    answer = story.tell(records)

    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert failed == [r["dynamodb"]["SequenceNumber"] for r in records[1:]]
    assert types(story.published()) == ["user.created"]


def test_given_little_time_when_told_then_it_says_how_far_it_came(
    story: Story, log: io.StringIO
) -> None:
    for _ in range(25):
        story.service.log_in()
    records = story.records()
    left = iter([60_000, 30_001, 30_000])
    story.service.wire.reset()

    answer = story.tell(records, remaining=lambda: next(left))

    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert failed == [r["dynamodb"]["SequenceNumber"] for r in records[20:]]
    assert len(story.published()) == 20
    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["message"], line["detail"]) == ("EventsUnavailable", "out of time")
    assert (line["done"], line["of"]) == (20, 25)


@pytest.mark.parametrize("fault", FAULTS)
def test_given_an_error_when_told_then_the_log_names_it_and_quotes_no_user(
    story: Story, log: io.StringIO, fault: str
) -> None:
    story.service.log_in()
    records = story.records()
    story.service.wire.reset()
    story.service.wire.always = FAULTS[fault]

    answer = story.tell(records)

    number = records[0]["dynamodb"]["SequenceNumber"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": number}]}
    line = json.loads(log.getvalue().splitlines()[-1])
    assert line["message"] == "EventsUnavailable"
    assert (line["done"], line["of"]) == (0, 1)
    assert line["record"] == records[0]["eventID"]
    if fault == "throttled":
        assert line["detail"] == "ThrottlingException"
    if fault == "lost_reply":
        assert line["detail"] == "ReadTimeoutError"
    session = records[0]["dynamodb"]["NewImage"]["sessions"]["M"]
    (entry,) = session.values()
    assert entry["M"]["hash"]["S"] not in log.getvalue()
