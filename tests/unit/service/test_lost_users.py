"""A user's item is lost, but its identities remain: they make the user again.

The item was deleted by hand, or the table is damaged in part. An app keeps its data
under the user's id, so the user gets that id again. A user that deleted itself does not
come back.
"""

from typing import Any

import pytest

from anonauth.domain.providers import USERPASS
from support.hostile.prehijacking import (
    CUSTOM,
    EMAIL,
    NEW,
    OF_ADA,
    OF_MALLORY,
    ContestedAddress,
    Opened,
    by_password,
    by_token,
)
from support.service.harness import APP, DELETE, Deployment, Reply
from support.service.linked import stored_user
from support.service.story import Story, types
from support.service.wire import (
    FAULTS,
    Fault,
    lost_reply,
    preceded_by,
    server_error_after_effect,
)

JWT = by_token("ada")
OTHER_JWT = by_token("ada at home")


@pytest.fixture
def world(service: Deployment, sent: list[Any]) -> ContestedAddress:
    return ContestedAddress(service, sent)


@pytest.fixture
def ada(world: ContestedAddress) -> Opened:
    """A login of a user with an address of its own and a JWT's subject."""
    world.register(OF_ADA)
    world.confirm_newest()
    opened = world.log_in(USERPASS, by_password(OF_ADA))
    world.link(opened, CUSTOM, JWT)
    return opened


def lose(world: ContestedAddress, user_id: str) -> None:
    """Delete the user's item, as by hand. The records of its identities stay."""
    service = world.service
    service.db.delete_item(
        TableName=service.table, Key={"pk": {"S": f"USER#{APP}#{user_id}"}}
    )


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error_code"]


def identities_of(world: ContestedAddress, user_id: str) -> list[str]:
    return [i.provider for i in stored_user(world.service, user_id).identities]


def owners(world: ContestedAddress) -> set[str]:
    return {item["uid"]["S"] for item in world.service.items("IDENT#").values()}


# -- Login ---------------------------------------------------------------------------


def test_given_a_lost_user_when_it_logs_in_then_it_is_made_again_under_its_id(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])
    records = world.service.items("IDENT#")

    opened = world.log_in(CUSTOM, JWT)

    assert opened["user_id"] == ada["user_id"]
    user = stored_user(world.service, ada["user_id"])
    assert user.made_again == "open"
    assert user.created_at == world.service.now.replace(microsecond=0)
    assert not user.anonymous
    assert identities_of(world, ada["user_id"]) == [CUSTOM]
    assert len(user.sessions) == 1
    assert world.service.items("IDENT#") == records
    assert world.providers(opened) == [CUSTOM]
    assert world.is_alive(opened)
    assert not world.is_alive(ada)


def test_given_a_user_made_again_when_its_other_identity_logs_in_then_it_is_back(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])
    first = world.log_in(CUSTOM, JWT)

    opened = world.log_in(USERPASS, by_password(OF_ADA))

    assert opened["user_id"] == ada["user_id"]
    assert world.providers(opened) == [CUSTOM, USERPASS]
    assert world.is_alive(first)
    assert world.is_alive(opened)
    again = world.log_in(USERPASS, by_password(OF_ADA))
    assert again["user_id"] == ada["user_id"]
    assert identities_of(world, ada["user_id"]) == [CUSTOM, USERPASS]


def test_given_a_lost_user_when_it_logs_in_then_three_reads_and_one_transaction(
    world: ContestedAddress, ada: Opened
) -> None:
    world.log_in(CUSTOM, JWT)
    lose(world, ada["user_id"])

    calls = world.service.counted(lambda: world.try_log_in(CUSTOM, JWT))

    assert calls == ["GetItem"] * 3 + ["TransactWriteItems"]


@pytest.mark.parametrize("is_mark_late", [False, True], ids=["before", "in between"])
def test_given_a_mark_of_a_deletion_when_its_identity_logs_in_then_a_new_user(
    world: ContestedAddress, ada: Opened, is_mark_late: bool
) -> None:
    """As after a restore in parts, which has brought the record back."""
    world.log_in(CUSTOM, JWT)
    lose(world, ada["user_id"])
    gone = {"pk": {"S": f"GONE#{APP}#{ada['user_id']}"}, "reason": {"S": "requested"}}

    def mark() -> None:
        world.service.db.put_item(TableName=world.service.table, Item=gone)

    if is_mark_late:
        world.service.wire.faults = [None, None, None, preceded_by(mark)]
    else:
        mark()
    opened = world.log_in(CUSTOM, JWT)

    assert opened["user_id"] != ada["user_id"]
    assert world.service.user_item(ada["user_id"]) is None
    user = stored_user(world.service, opened["user_id"])
    assert (user.made_again, identities_of(world, user.id)) == (None, [CUSTOM])
    assert owners(world) == {ada["user_id"], user.id}
    assert world.log_in(CUSTOM, JWT)["user_id"] == user.id


def test_given_a_user_made_again_when_it_deletes_itself_then_no_identity_brings_it_back(
    world: ContestedAddress, ada: Opened
) -> None:
    """Its other identity had not come back: the mark of the deletion stays for good."""
    lose(world, ada["user_id"])
    opened = world.log_in(CUSTOM, JWT)

    reply = world.service.send(DELETE, token=opened["access_token"])

    assert reply.status == 200
    mark = world.service.items("GONE#")[f"GONE#{APP}#{ada['user_id']}"]
    assert set(mark) == {"pk", "reason"}
    other = world.log_in(USERPASS, by_password(OF_ADA))
    assert other["user_id"] != ada["user_id"]
    assert world.service.user_item(ada["user_id"]) is None
    assert owners(world) == {other["user_id"]}


def test_given_an_api_key_of_a_lost_user_when_it_logs_in_then_401(
    world: ContestedAddress, ada: Opened
) -> None:
    """Keys are in the user's item. What is not there may have been disabled."""
    key = world.make_key(ada)
    lose(world, ada["user_id"])

    lost = world.try_log_in("api-key", key)
    world.log_in(CUSTOM, JWT)
    made_again = world.try_log_in("api-key", key)

    assert code(lost) == code(made_again) == (401, "AuthError")


def test_given_a_user_that_is_there_and_lists_it_not_when_logging_in_then_503(
    world: ContestedAddress, ada: Opened
) -> None:
    """Not lost, so its own list is the authority: an operator has to look."""
    user = stored_user(world.service, ada["user_id"])
    place = [i.provider for i in user.identities].index(CUSTOM)
    world.service.db.update_item(
        TableName=world.service.table,
        Key={"pk": {"S": f"USER#{APP}#{user.id}"}},
        UpdateExpression=f"REMOVE identities[{place}]",
    )
    before = world.service.items()

    reply = world.try_log_in(CUSTOM, JWT)

    assert reply.status == 503
    assert world.service.items() == before


def test_given_two_identities_when_both_make_the_user_again_then_both_are_listed(
    world: ContestedAddress, ada: Opened
) -> None:
    world.log_in(CUSTOM, JWT)
    lose(world, ada["user_id"])

    def log_in_by_password() -> None:
        opened = world.log_in(USERPASS, by_password(OF_ADA))
        assert opened["user_id"] == ada["user_id"]

    world.service.wire.faults = [None, None, None, preceded_by(log_in_by_password)]
    opened = world.log_in(CUSTOM, JWT)

    assert opened["user_id"] == ada["user_id"]
    assert world.providers(opened) == [USERPASS, CUSTOM]
    assert len(stored_user(world.service, ada["user_id"]).sessions) == 2


@pytest.mark.parametrize(
    "fault", [lost_reply, server_error_after_effect], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("is_back", [False, True], ids=["made again", "comes back"])
def test_given_a_lost_reply_when_it_logs_in_then_the_store_repeats_and_it_succeeds(
    world: ContestedAddress, ada: Opened, fault: Fault, is_back: bool
) -> None:
    world.log_in(CUSTOM, JWT)
    lose(world, ada["user_id"])
    if is_back:
        world.log_in(USERPASS, by_password(OF_ADA))
    reads = 2 if is_back else 3
    world.service.wire.faults = [*[None] * reads, fault]

    opened = world.log_in(CUSTOM, JWT)

    assert opened["user_id"] == ada["user_id"]
    assert len(stored_user(world.service, ada["user_id"]).sessions) == 1 + is_back
    assert world.is_alive(opened)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("call", range(4))
def test_given_aws_is_failing_when_it_logs_in_then_503_or_done_and_later_200(
    world: ContestedAddress, ada: Opened, fault: Fault, call: int
) -> None:
    world.log_in(CUSTOM, JWT)
    lose(world, ada["user_id"])
    world.service.wire.faults = [*[None] * call, fault, fault, fault]

    failed = world.try_log_in(CUSTOM, JWT)
    again = world.log_in(CUSTOM, JWT)

    assert failed.status in {200, 503}
    assert again["user_id"] == ada["user_id"]


# -- No room --------------------------------------------------------------------------


def test_given_ten_identities_by_now_when_an_11th_comes_back_then_400(
    world: ContestedAddress, ada: Opened
) -> None:
    """It is refused for a reason that the user can do something about."""
    lose(world, ada["user_id"])
    opened = world.log_in(CUSTOM, JWT)
    for number in range(9):
        world.link(opened, CUSTOM, by_token(f"{number}"))
    before = world.service.items("USER#")

    reply = world.try_log_in(USERPASS, by_password(OF_ADA))

    assert code(reply) == (400, "InvalidParameter")
    assert world.service.items("USER#") == before
    shown = world.profile(opened)["identities"][-1]
    assert world.unlink(opened, CUSTOM, shown["id"]).status == 200
    back = world.log_in(USERPASS, by_password(OF_ADA))
    assert back["user_id"] == ada["user_id"]


# -- Link and register ---------------------------------------------------------------


def test_given_an_identity_of_a_lost_user_when_a_guest_links_it_then_409(
    world: ContestedAddress, ada: Opened
) -> None:
    """The identity has an owner, who can come back."""
    lose(world, ada["user_id"])
    guest = world.service.log_in()
    before = world.service.items()

    replies = [
        world.try_link(guest, CUSTOM, JWT),
        world.try_link(guest, USERPASS, by_password(OF_ADA)),
    ]

    assert [code(reply) for reply in replies] == [(409, "AccountNameInUse")] * 2
    assert {pk: item for pk, item in world.service.items().items() if pk in before} == (
        before
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((CUSTOM, JWT), (USERPASS, by_password(OF_ADA)), id="address"),
        pytest.param((USERPASS, by_password(OF_ADA)), (CUSTOM, JWT), id="jwt"),
    ],
)
def test_given_a_user_made_again_when_it_links_what_it_had_then_it_is_back(
    world: ContestedAddress, ada: Opened, first: Any, second: Any
) -> None:
    lose(world, ada["user_id"])
    opened = world.log_in(*first)
    records = world.service.items("IDENT#")

    world.link(opened, *second)

    assert world.providers(opened) == [first[0], second[0]]
    assert world.service.items("IDENT#") == records
    assert world.log_in(*second)["user_id"] == ada["user_id"]


def test_given_an_address_of_a_lost_user_when_registered_then_409(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])

    reply = world.post("register", email=EMAIL, password=OF_MALLORY)

    assert code(reply) == (409, "AccountNameInUse")


# -- Reset ---------------------------------------------------------------------------


def test_given_a_lost_user_when_it_resets_its_password_then_it_is_made_again(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])

    world.reset()

    user = stored_user(world.service, ada["user_id"])
    assert (user.made_again, user.sessions) == ("open", {})
    assert identities_of(world, user.id) == [USERPASS]
    assert code(world.try_log_in(USERPASS, by_password(OF_ADA))) == (
        401,
        "InvalidPassword",
    )
    assert world.log_in(USERPASS, by_password(NEW))["user_id"] == user.id
    opened = world.log_in(CUSTOM, JWT)
    assert opened["user_id"] == user.id
    assert world.providers(opened) == [USERPASS, CUSTOM]


@pytest.mark.parametrize("mallory_is_back", [False, True])
def test_given_a_lost_user_of_a_squatter_when_its_owner_resets_then_it_is_alone(
    world: ContestedAddress, mallory_is_back: bool
) -> None:
    """The squatter's identity named the user. It must not get back into that user."""
    world.switch_mail(on=False)
    world.register(OF_MALLORY)
    squatter = world.log_in(USERPASS, by_password(OF_MALLORY))
    world.link(squatter, CUSTOM, JWT)
    world.switch_mail(on=True)
    lose(world, squatter["user_id"])
    if mallory_is_back:
        world.log_in(CUSTOM, JWT)

    world.reset()

    owner = world.log_in(USERPASS, by_password(NEW))
    assert owner["user_id"] == squatter["user_id"]
    assert stored_user(world.service, owner["user_id"]).made_again == "closed"
    other = world.log_in(CUSTOM, JWT)
    assert other["user_id"] != owner["user_id"]
    assert world.providers(owner) == [USERPASS]
    assert owners(world) == {owner["user_id"], other["user_id"]}


def test_given_a_user_made_again_when_its_address_is_reset_then_it_is_back(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])
    first = world.log_in(CUSTOM, JWT)

    world.reset()

    assert not world.is_alive(first)
    assert identities_of(world, ada["user_id"]) == [CUSTOM, USERPASS]
    assert world.log_in(USERPASS, by_password(NEW))["user_id"] == ada["user_id"]
    assert world.log_in(CUSTOM, JWT)["user_id"] == ada["user_id"]


def test_given_a_mark_of_a_deletion_when_its_address_is_reset_then_400(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])
    gone = {"pk": {"S": f"GONE#{APP}#{ada['user_id']}"}, "reason": {"S": "requested"}}
    world.service.db.put_item(TableName=world.service.table, Item=gone)
    assert world.post("reset/send", email=EMAIL).status == 200

    reply = world.post("reset", **world.newest_mail(), password=NEW)

    assert code(reply) == (400, "UserpassTokenInvalid")
    assert world.service.user_item(ada["user_id"]) is None


def test_given_a_user_that_shut_an_address_out_when_that_is_reset_then_it_stays_whole(
    world: ContestedAddress,
) -> None:
    """The address's record still names the user, which is no right to change it."""
    other = "ada.other@example.org"
    old = contest_and_link(world, EMAIL, None)
    lose(world, old["user_id"])
    squatter = world.log_in(CUSTOM, OTHER_JWT)
    contest_and_link(world, other, squatter)
    assert world.post("reset/send", email=other).status == 200
    mail = world.newest_mail(other)
    assert world.post("reset", **mail, password=NEW).status == 200
    owner = world.log_in(USERPASS, {"username": other, "password": NEW})
    key = world.make_key(owner)
    before = stored_user(world.service, owner["user_id"])

    world.reset()

    after = stored_user(world.service, owner["user_id"])
    assert after.made_again == "closed"
    assert (after.identities, after.api_keys) == (before.identities, before.api_keys)
    assert world.log_in("api-key", key)["user_id"] == owner["user_id"]
    back = world.log_in(USERPASS, {"username": other, "password": NEW})
    assert back["user_id"] == owner["user_id"]
    apart = world.log_in(USERPASS, by_password(NEW))
    assert apart["user_id"] != owner["user_id"]


@pytest.mark.parametrize("call", range(7))
def test_given_a_reset_in_between_when_the_old_password_logs_in_then_200_or_401(
    world: ContestedAddress, ada: Opened, call: int
) -> None:
    """At any of its calls. Never 400, as for a second address of a user."""
    lose(world, ada["user_id"])
    assert world.post("reset/send", email=EMAIL).status == 200
    mail = world.newest_mail()

    def set_password() -> None:
        assert world.post("reset", **mail, password=NEW).status == 200

    world.service.wire.faults = [*[None] * call, preceded_by(set_password)]
    reply = world.try_log_in(USERPASS, by_password(OF_ADA))

    if reply.status == 200:
        assert not world.is_alive(reply.json)
    else:
        assert code(reply) == (401, "InvalidPassword")
    assert identities_of(world, ada["user_id"]) == [USERPASS]


def contest_and_link(
    world: ContestedAddress, email: str, opened: Opened | None
) -> Opened:
    """Confirm an address that two people registered, and link it or a JWT."""
    for password in (OF_MALLORY, OF_ADA):
        assert world.post("register", email=email, password=password).status == 200
    assert world.post("confirm", **world.newest_mail(email)).status == 200
    credential = {"username": email, "password": OF_ADA}
    if opened is None:
        opened = world.log_in(USERPASS, credential)
        world.link(opened, CUSTOM, OTHER_JWT)
    else:
        world.link(opened, USERPASS, credential)
    return opened


def test_given_a_lost_user_of_a_contested_address_when_reset_then_it_is_alone(
    world: ContestedAddress,
) -> None:
    """A mail has confirmed the address, but perhaps with a stranger's password."""
    old = contest_and_link(world, EMAIL, None)
    lose(world, old["user_id"])

    world.reset()

    assert stored_user(world.service, old["user_id"]).made_again == "closed"
    owner = world.log_in(USERPASS, by_password(NEW))
    assert owner["user_id"] == old["user_id"]
    assert world.log_in(CUSTOM, OTHER_JWT)["user_id"] != owner["user_id"]
    assert world.providers(owner) == [USERPASS]


def test_given_a_login_in_between_when_a_lost_user_resets_then_both_take_effect(
    world: ContestedAddress, ada: Opened
) -> None:
    lose(world, ada["user_id"])
    assert world.post("reset/send", email=EMAIL).status == 200
    mail = world.newest_mail()
    late: list[Opened] = []

    def log_in() -> None:
        late.append(world.log_in(CUSTOM, JWT))

    world.service.wire.faults = [None, None, None, preceded_by(log_in)]
    reply = world.post("reset", **mail, password=NEW)

    assert reply.status == 200
    assert identities_of(world, ada["user_id"]) == [CUSTOM, USERPASS]
    assert not world.is_alive(late[0])


# -- What is told --------------------------------------------------------------------


def test_given_a_user_made_again_when_told_then_the_events_say_so(
    world: ContestedAddress, ada: Opened
) -> None:
    story = Story(world.service)
    story.told()
    lose(world, ada["user_id"])
    story.told()

    world.log_in(CUSTOM, JWT)
    world.log_in(USERPASS, by_password(OF_ADA))
    events = story.told()

    assert types(events) == ["user.created", "user.linked", "user.logged_in"]
    assert {event["detail"]["uid"] for event in events} == {ada["user_id"]}
    assert events[0]["detail"]["made_again"] is True
    assert events[0]["detail"]["provider"] == CUSTOM
    assert events[1]["detail"]["was_anonymous"] is False
    assert [i["provider"] for i in events[1]["detail"]["linked"]] == [USERPASS]
