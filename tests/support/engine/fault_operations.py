"""The operations that run while AWS fails, and the state that each has to reach.

An operation is prepared once, on a healthy table. Its result makes a `Wish` for each
case: the request, which its client repeats unchanged, and the state that was asked for.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from anonauth.cached_copy import MAX_AGE
from anonauth.domain.encoding import hash_secret
from anonauth.domain.expiry import expiry_after, utc_day
from anonauth.domain.providers import USERPASS
from anonauth.errors import Unavailable
from anonauth.passwords import Argon2Passwords
from support.engine.fault_world import NEW_PASSWORD, PASSWORD, Items, Json, World, done
from support.service.authorizer import ask, is_allowed, question
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    JWKS,
    LIST_KEYS,
    LIST_SESSIONS,
    LOGIN,
    LOGOUT,
    OTHER_APP,
    PROFILE,
    SESSION,
    UNLINK,
    Reply,
)

DAY = timedelta(days=1)
LOGIN_KEY = "A" * 43

# The answer to a client that repeats a request which had already succeeded.
NO_SESSION = (401, "InvalidSession")


@dataclass(frozen=True)
class Wish:
    """A client's request and its expected outcome.

    Args:
        ask: Sends the request, the same each time.
        holds: Checks the resulting state, by the table's items and by the answer if
            there was one.
        answer: Status of the answer if nothing fails.
        spent: Status and code of the answer to a repetition after success.
    """

    ask: Callable[[], Reply]
    holds: Callable[[Reply | None, Items], object]
    answer: int = 200
    spent: tuple[int, str] | None = None


Prepared = Callable[[], Wish]


@dataclass(frozen=True)
class Operation:
    """An operation to try; `environment` has its function's variables."""

    prepare: Callable[[World], Prepared]
    environment: Mapping[str, str] = field(default_factory=dict)


# -- Sessions ------------------------------------------------------------------------


def login(world: World) -> Prepared:
    challenged = json.dumps({"options": {"challenge": "passed"}})
    return lambda: Wish(
        lambda: world.service.send(LOGIN, body=challenged),
        lambda reply, items: assert_logged_in(world, reply, items),
    )


def login_by_key(world: World) -> Prepared:
    """A request that its client can repeat: there is never a second guest."""
    body = json.dumps({"login_key": LOGIN_KEY})

    def holds(reply: Reply | None, items: Items) -> None:
        assert_logged_in(world, reply, items)
        assert len(of("USER#", items)) == len(of("ONCE#", items)) == 1

    return lambda: Wish(lambda: world.service.send(LOGIN, body=body), holds)


def login_by_key_again(world: World) -> Prepared:
    """Its guest is permanent by now, and is given back."""
    body = json.dumps({"login_key": LOGIN_KEY})
    user = done(world.service.send(LOGIN, body=body))
    link = world.by(
        "custom-token", world.credential("custom-token"), link=user["access_token"]
    )
    done(link)

    def holds(reply: Reply | None, items: Items) -> None:
        assert assert_logged_in(world, reply, items)["user_id"] == user["user_id"]
        assert_sessions(world, [user], items)
        assert len(of("USER#", items)) == 1

    return lambda: Wish(lambda: world.service.send(LOGIN, body=body), holds)


def login_by_spent_key(world: World) -> Prepared:
    """A late duplicate: its guest does not come back, and no other is made."""
    body = json.dumps({"login_key": LOGIN_KEY})
    user = done(world.service.send(LOGIN, body=body))
    done(world.service.send(LOGOUT, token=user["refresh_token"]))

    def holds(_: Reply | None, items: Items) -> None:
        assert of("USER#", items) == []

    return lambda: Wish(lambda: world.service.send(LOGIN, body=body), holds, answer=409)


def login_without_challenge_service(world: World) -> Prepared:
    """This has its own 503, because the challenge's service is not part of AWS."""
    challenged = json.dumps({"options": {"challenge": "passed"}})

    def holds(_: Reply | None, items: Items) -> None:
        assert of("USER#", items) == []

    def begin() -> Wish:
        world.challenge_is_up(False)
        return Wish(
            lambda: world.service.send(LOGIN, body=challenged), holds, answer=503
        )

    return begin


def refresh(world: World) -> Prepared:
    user = world.service.log_in()

    def holds(reply: Reply | None, items: Items) -> None:
        assert_token_of(world, user, reply)
        assert int(item_of(user, items)["expires_at"]["N"]) == expiry(world)

    return lambda: Wish(
        lambda: world.service.send(SESSION, token=user["refresh_token"]), holds
    )


def refresh_of_the_day(world: World) -> Prepared:
    prepared = refresh(world)
    world.service.now += DAY
    return prepared


def refresh_of_the_day_permanent(world: World) -> Prepared:
    user = world.linked("custom-token")
    world.service.now += DAY

    def holds(reply: Reply | None, items: Items) -> None:
        assert_token_of(world, user, reply)
        (session,) = item_of(user, items)["sessions"]["M"].values()
        today = utc_day(world.service.now).isoformat()
        assert session["M"]["used_day"]["S"] == today

    return lambda: Wish(
        lambda: world.service.send(SESSION, token=user["refresh_token"]), holds
    )


def profile(world: World) -> Prepared:
    user = world.linked(USERPASS, "custom-token")

    def ask() -> Reply:
        return world.service.send(PROFILE, token=user["access_token"])

    wanted = done(ask())

    def holds(reply: Reply | None, _: Items) -> None:
        assert reply is not None
        assert reply.json == wanted

    return lambda: Wish(ask, holds)


def authorize(world: World) -> Prepared:
    """Another API asks whether a call may pass: yes or an error, and never no."""
    guest = world.service.log_in()
    asked = question("authorizer", guest["access_token"])

    def of_gateway() -> Reply:
        answer = ask(world.service, asked)
        failed = isinstance(answer, str)
        return _reply(503) if failed else Reply(200, {}, json.dumps(answer))

    wanted = done(of_gateway())
    assert is_allowed(wanted)

    def holds(reply: Reply | None, _: Items) -> None:
        assert reply is not None
        assert reply.json == wanted

    return lambda: Wish(of_gateway, holds)


def logout(world: World) -> Prepared:
    user = world.service.log_in()

    def holds(_: Reply | None, items: Items) -> None:
        assert of("USER#", items) == []
        assert of("GONE#", items) == []

    return lambda: Wish(
        lambda: world.service.send(LOGOUT, token=user["refresh_token"]),
        holds,
        spent=NO_SESSION,
    )


def logout_permanent(world: World) -> Prepared:
    user = world.linked("custom-token")
    other = done(world.by("custom-token", world.credential("custom-token")))

    def holds(_: Reply | None, items: Items) -> None:
        assert_sessions(world, [other], items)

    return lambda: Wish(
        lambda: world.service.send(LOGOUT, token=user["refresh_token"]),
        holds,
        spent=NO_SESSION,
    )


def logout_everywhere(world: World) -> Prepared:
    user = world.service.log_in()

    def holds(_: Reply | None, items: Items) -> None:
        assert of("USER#", items) == []
        assert of("GONE#", items) == []

    return lambda: Wish(lambda: _everywhere(world, user), holds, spent=NO_SESSION)


def logout_everywhere_permanent(world: World) -> Prepared:
    user = world.linked("custom-token")
    done(world.by("custom-token", world.credential("custom-token")))

    def holds(_: Reply | None, items: Items) -> None:
        assert item_of(user, items)["sessions"] == {"M": {}}

    return lambda: Wish(lambda: _everywhere(world, user), holds, spent=NO_SESSION)


def _everywhere(world: World, user: Json) -> Reply:
    everywhere = {"everywhere": "true"}
    return world.service.send(LOGOUT, token=user["refresh_token"], query=everywhere)


def list_sessions(world: World) -> Prepared:
    user = world.linked("custom-token")
    other = done(world.by("custom-token", world.credential("custom-token")))
    ids = {session_id_of(world, each) for each in (user, other)}

    def holds(reply: Reply | None, _: Items) -> None:
        assert reply is not None
        assert {entry["id"] for entry in reply.json} == ids

    return lambda: Wish(
        lambda: world.service.send(LIST_SESSIONS, token=user["refresh_token"]), holds
    )


def end_session(world: World) -> Prepared:
    user = world.linked("custom-token")
    other = done(world.by("custom-token", world.credential("custom-token")))
    ended = {"id": session_id_of(world, other)}

    def holds(_: Reply | None, items: Items) -> None:
        assert_sessions(world, [user], items)

    return lambda: Wish(
        lambda: world.service.send(
            END_SESSION, token=user["refresh_token"], parameters=ended
        ),
        holds,
        spent=(404, "SessionNotFound"),
    )


def delete(world: World) -> Prepared:
    user = world.linked(USERPASS, "custom-token")
    make_key(world, user)

    def holds(_: Reply | None, items: Items) -> None:
        assert of("USER#", items) == []
        assert of("IDENT#", items) == []
        assert f"GONE#{APP}#{user['user_id']}" in items

    return lambda: Wish(
        lambda: world.service.send(DELETE, token=user["access_token"]),
        holds,
        spent=NO_SESSION,
    )


# -- Identities ----------------------------------------------------------------------


def link_with(provider: str) -> Callable[[World], Prepared]:
    def prepare(world: World) -> Prepared:
        if provider == USERPASS:
            world.registered()
        user = world.service.log_in()
        credential = world.credential(provider)

        def holds(reply: Reply | None, items: Items) -> None:
            assert_token_of(world, user, reply)
            assert providers_of(user, items) == ["anon-user", provider]
            assert item_of(user, items)["anonymous"] == {"BOOL": False}
            assert_sessions(world, [user], items)

        return lambda: Wish(
            lambda: world.by(provider, credential, link=user["access_token"]), holds
        )

    return prepare


def link_of_others(world: World) -> Prepared:
    """A request that is refused while AWS works is also refused while AWS fails."""
    world.linked("custom-token")
    user = world.service.log_in()
    credential = world.credential("custom-token")

    def holds(_: Reply | None, items: Items) -> None:
        assert item_of(user, items)["anonymous"] == {"BOOL": True}
        assert_sessions(world, [user], items)

    return lambda: Wish(
        lambda: world.by("custom-token", credential, link=user["access_token"]),
        holds,
        answer=409,
    )


def first_login_with(provider: str) -> Callable[[World], Prepared]:
    def prepare(world: World) -> Prepared:
        if provider == USERPASS:
            world.registered()
        credential = world.credential(provider)

        def holds(reply: Reply | None, items: Items) -> None:
            opened = assert_logged_in(world, reply, items)
            assert len(of("USER#", items)) == 1
            assert providers_of(opened, items) == [provider]

        return lambda: Wish(lambda: world.by(provider, credential), holds)

    return prepare


def login_with(provider: str) -> Callable[[World], Prepared]:
    def prepare(world: World) -> Prepared:
        user = world.linked(provider)
        return _login_of(world, user, provider, world.credential(provider))

    return prepare


def login_with_news(world: World) -> Prepared:
    """The provider sends new display data."""
    user = world.linked("oauth2-facebook")
    (item,) = world.service.items("IDENT#").values()
    old = {**item, "data": {"M": {"name": {"S": "Augusta"}}}}
    world.service.db.put_item(TableName=world.service.table, Item=old)
    credential = world.credential("oauth2-facebook")
    return _login_of(world, user, "oauth2-facebook", credential)


def login_with_outdated_hash(world: World) -> Prepared:
    """The password is hashed again, with today's parameters."""
    user = world.linked(USERPASS)
    (item,) = world.service.items("IDENT#").values()
    hashed = Argon2Passwords(memory_cost=16, time_cost=1).hash(PASSWORD)
    old = {**item, "password_hash": {"S": hashed}}
    world.service.db.put_item(TableName=world.service.table, Item=old)
    prepared = _login_of(world, user, USERPASS, world.credential(USERPASS))

    def holds(items: Items) -> None:
        assert items[item["pk"]["S"]]["password_hash"]["S"] != hashed

    return _then(prepared, holds)


def login_after_a_wrong_password(world: World) -> Prepared:
    """Failures are cleared and the network is recorded; neither may fail a login."""
    user = world.linked(USERPASS)
    (item,) = world.service.items("IDENT#").values()
    del item["networks"]
    world.service.db.put_item(TableName=world.service.table, Item=item)
    credential = world.credential(USERPASS)
    world.by(USERPASS, {**credential, "password": "wrong"})
    return _login_of(world, user, USERPASS, credential)


def login_with_api_key(world: World) -> Prepared:
    user = world.linked("custom-token")
    credential = {"key": make_key(world, user)["key"]}
    return _login_of(world, user, "api-key", credential)


def login_of_a_lost_user(provider: str) -> Callable[[World], Prepared]:
    """The user's item was deleted by hand; it is made again, under its id."""

    def prepare(world: World) -> Prepared:
        user = world.linked(USERPASS, "custom-token")
        lose(world, user)
        prepared = _login_of(world, user, provider, world.credential(provider))
        return _then(prepared, lambda items: assert_back(user, [provider], items))

    return prepare


def login_that_comes_back(world: World) -> Prepared:
    """The user was made again by its other identity."""
    user = world.linked(USERPASS, "custom-token")
    lose(world, user)
    first = done(world.by(USERPASS, world.credential(USERPASS)))
    prepared = _login_of(world, user, "custom-token", world.credential("custom-token"))

    def holds(items: Items) -> None:
        assert_back(user, [USERPASS, "custom-token"], items)
        assert session_id_of(world, first) in item_of(user, items)["sessions"]["M"]

    return _then(prepared, holds)


def _then(prepared: Prepared, more: Callable[[Items], None]) -> Prepared:
    """Return the operation with another check, whatever was answered."""

    def begin() -> Wish:
        wish = prepared()

        def holds(reply: Reply | None, items: Items) -> None:
            wish.holds(reply, items)
            more(items)

        return replace(wish, holds=holds)

    return begin


def merge_into_a_free_identity(world: World) -> Prepared:
    """The guest keeps its id and its session, also in a repetition."""
    guest = world.service.log_in()

    def holds(reply: Reply | None, items: Items) -> None:
        opened = assert_logged_in(world, reply, items)
        assert (opened["user_id"], opened["merged"]) == (guest["user_id"], False)
        assert providers_of(guest, items) == ["anon-user", "custom-token"]
        assert len(of("USER#", items)) == 1
        assert of("GONE#", items) == []

    return _merge_of(world, guest, holds)


def merge_into_a_user(world: World) -> Prepared:
    """The guest is merged once, and a repetition is told so."""
    user = world.linked("custom-token")
    guest = world.service.log_in()

    def holds(reply: Reply | None, items: Items) -> None:
        opened = assert_logged_in(world, reply, items)
        assert (opened["user_id"], opened["merged"]) == (user["user_id"], True)
        (kept,) = of("USER#", items)
        assert kept["former_ids"] == {"L": [{"S": guest["user_id"]}]}
        (mark,) = of("GONE#", items)
        assert mark["pk"]["S"].endswith(guest["user_id"])
        assert mark["into"] == {"S": user["user_id"]}
        assert "ttl" not in mark

    return _merge_of(world, guest, holds)


def _merge_of(
    world: World, guest: Json, holds: Callable[[Reply | None, Items], None]
) -> Prepared:
    body = {**world.credential("custom-token"), "merge": guest["refresh_token"]}
    return lambda: Wish(lambda: world.by("custom-token", body), holds)


def _login_of(world: World, user: Json, provider: str, credential: Json) -> Prepared:
    def holds(reply: Reply | None, items: Items) -> None:
        opened = assert_logged_in(world, reply, items)
        assert opened["user_id"] == user["user_id"]
        assert len(of("USER#", items)) == 1

    return lambda: Wish(lambda: world.by(provider, credential), holds)


def login_with_wrong_password(world: World) -> Prepared:
    """The only 401 that is right; the failure is counted."""
    world.linked(USERPASS)
    credential = {**world.credential(USERPASS), "password": "wrong"}

    def holds(_: Reply | None, items: Items) -> None:
        counted = of("RATE#password", items)
        assert len(counted) == 3
        assert all(int(item["number"]["N"]) >= 1 for item in counted)

    return lambda: Wish(lambda: world.by(USERPASS, credential), holds, answer=401)


def unlink(world: World) -> Prepared:
    user = world.linked(USERPASS, "custom-token")
    query = {"provider": "custom-token", "id": "ada"}

    def holds(_: Reply | None, items: Items) -> None:
        assert providers_of(user, items) == ["anon-user", USERPASS]
        assert_sessions(world, [user], items)

    return lambda: Wish(
        lambda: world.service.send(UNLINK, token=user["refresh_token"], query=query),
        holds,
        spent=(404, "IdentityNotFound"),
    )


# -- E-mail and password -------------------------------------------------------------


def register(world: World) -> Prepared:
    return _registration(world, PASSWORD)


def register_again(world: World) -> Prepared:
    """The address was registered before and not confirmed."""
    world.registered(confirmed=False)
    return _registration(world, NEW_PASSWORD)


def _registration(world: World, password: str) -> Prepared:
    fields = {"email": "ada@example.com", "password": password}

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "pending", password)
        assert_mailed(world, items, "confirm_hash")

    return lambda: Wish(lambda: world.userpass("register", **fields), holds)


def register_without_a_mail_left(world: World) -> Prepared:
    """The address was registered before, and all its mails were sent.

    A count with an unknown outcome may allow one more mail, which is then complete. The
    attempt is recorded in either case.
    """
    for _ in range(5):
        world.registered(confirmed=False)

    def holds(_: Reply | None, items: Items) -> None:
        (account,) = of("IDENT#", items)
        assert account["contested"] == {"BOOL": True}
        is_sent = account["version"] == {"N": "6"}
        assert_account(world, items, "pending", NEW_PASSWORD if is_sent else PASSWORD)
        if is_sent:
            assert_mailed(world, items, "confirm_hash")

    fields = {"email": "ada@example.com", "password": NEW_PASSWORD}
    return lambda: Wish(lambda: world.userpass("register", **fields), holds)


def register_without_mail(world: World) -> Prepared:
    fields = {"email": "ada@example.com", "password": PASSWORD}

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "confirmed", PASSWORD)

    return lambda: Wish(
        lambda: world.userpass("register", OTHER_APP, **fields),
        holds,
        spent=(409, "AccountNameInUse"),
    )


def confirm(world: World) -> Prepared:
    data = world.registered(confirmed=False)

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "confirmed", PASSWORD)

    return lambda: Wish(lambda: world.userpass("confirm", **data), holds)


def confirm_send(world: World) -> Prepared:
    world.registered(confirmed=False)

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "pending", PASSWORD)
        assert_mailed(world, items, "confirm_hash")

    email = "ada@example.com"
    return lambda: Wish(lambda: world.userpass("confirm/send", email=email), holds)


def reset_send(world: World) -> Prepared:
    world.registered()

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "confirmed", PASSWORD)
        assert_mailed(world, items, "reset_hash")

    email = "ada@example.com"
    return lambda: Wish(lambda: world.userpass("reset/send", email=email), holds)


def reset(world: World) -> Prepared:
    user = world.linked("custom-token", USERPASS)
    make_key(world, user)

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "bound", NEW_PASSWORD)
        assert item_of(user, items)["sessions"] == {"M": {}}
        assert item_of(user, items)["api_keys"] == {"M": {}}
        assert providers_of(user, items) == ["anon-user", "custom-token", USERPASS]

    return _reset(world, holds)


def reset_unbound(world: World) -> Prepared:
    """The password of an account without a user."""
    world.registered()

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "confirmed", NEW_PASSWORD)

    return _reset(world, holds)


def reset_of_a_lost_user(world: World) -> Prepared:
    user = world.linked("custom-token", USERPASS)
    lose(world, user)

    def holds(_: Reply | None, items: Items) -> None:
        assert_account(world, items, "bound", NEW_PASSWORD)
        assert_back(user, [USERPASS], items)
        assert item_of(user, items)["sessions"] == {"M": {}}

    return _reset(world, holds)


def _reset(world: World, holds: Callable[[Reply | None, Items], None]) -> Prepared:
    done(world.userpass("reset/send", email="ada@example.com"))
    fields = {**world.mailed(), "password": NEW_PASSWORD}
    spent = (400, "UserpassTokenInvalid")
    return lambda: Wish(lambda: world.userpass("reset", **fields), holds, spent=spent)


# -- API keys ------------------------------------------------------------------------


def create_key(world: World) -> Prepared:
    user = world.linked("custom-token")

    def holds(reply: Reply | None, items: Items) -> None:
        (entry,) = keys_of(user, items)
        assert entry["name"]["S"] == "laptop"
        if reply is not None:
            assert entry["hash"]["S"] == hash_secret(reply.json["key"])

    return lambda: Wish(
        lambda: _create(world, user), holds, spent=(409, "APIKeyAlreadyExists")
    )


def read_keys(world: World) -> Prepared:
    user = world.linked("custom-token")
    make_key(world, user)

    def holds(reply: Reply | None, _: Items) -> None:
        assert reply is not None
        assert [entry["name"] for entry in reply.json] == ["laptop"]

    return lambda: Wish(
        lambda: world.service.send(LIST_KEYS, token=user["refresh_token"]), holds
    )


def delete_key(world: World) -> Prepared:
    user, key = _with_key_in_use(world)

    def holds(_: Reply | None, items: Items) -> None:
        assert keys_of(user, items) == []
        assert_sessions(world, [user], items)

    return lambda: Wish(
        lambda: _to_key(world, user, DELETE_KEY, key),
        holds,
        spent=(404, "APIKeyNotFound"),
    )


def disable_key(world: World) -> Prepared:
    user, key = _with_key_in_use(world)

    def holds(_: Reply | None, items: Items) -> None:
        assert [entry["disabled"]["BOOL"] for entry in keys_of(user, items)] == [True]
        assert_sessions(world, [user], items)

    return lambda: Wish(lambda: _to_key(world, user, DISABLE_KEY, key), holds)


def enable_key(world: World) -> Prepared:
    user, key = _with_key_in_use(world)
    done(_to_key(world, user, DISABLE_KEY, key))

    def holds(_: Reply | None, items: Items) -> None:
        assert [entry["disabled"]["BOOL"] for entry in keys_of(user, items)] == [False]

    return lambda: Wish(lambda: _to_key(world, user, ENABLE_KEY, key), holds)


# -- Functions that no client calls --------------------------------------------------


def lifecycle(world: World) -> Prepared:
    """A batch of several steps, with a deletion on request."""
    service = world.service
    with world.stream() as stream:
        user = world.linked("custom-token", "oauth2-google")
        leaving = service.log_in()
        for number in range(9):
            service.log_in(network=f"198.51.100.{number}")
        done(service.send(LOGOUT, token=leaving["refresh_token"]))
        guest = service.log_in()
        done(service.send(DELETE, token=guest["access_token"]))
        query = {"provider": "custom-token", "id": "ada"}
        done(service.send(UNLINK, token=user["refresh_token"], query=query))
        records = stream.changes()
    told: list[list[str]] = []

    def begin() -> Wish:
        left = list(records)

        def ask() -> Reply:
            answer = service.invoke("LifecycleFunction", {"Records": left})
            failed = answer["batchItemFailures"]
            if not failed:
                return _reply(200)
            # Lambda passes it the batch again from the first failed record on.
            first = failed[0]["itemIdentifier"]
            numbers = [each["dynamodb"]["SequenceNumber"] for each in left]
            del left[: numbers.index(first)]
            return _reply(503)

        def holds(_: Reply | None, __: Items) -> None:
            events = published(world)
            if not told:  # the clean run
                told.append(sorted(each["id"] for each in events))
            assert sorted({each["id"] for each in events}) == told[0]
            assert_in_order(events)

        return Wish(ask, holds)

    return begin


def expiring(world: World) -> Prepared:
    users = {
        world.service.log_in(network=f"198.51.100.{number}")["user_id"]
        for number in range(3)
    }
    world.service.now += 77 * DAY

    def ask() -> Reply:
        return _invoked(world, "ExpiringFunction", lambda report: report["is_done"])

    def holds(_: Reply | None, items: Items) -> None:
        events = published(world)
        assert {each["uid"] for each in events} == users
        assert len({each["id"] for each in events}) == len(users)
        assert items["SCAN#expiring"]["positions"]["M"] == {}

    return lambda: Wish(ask, holds)


def first_ring(world: World) -> Prepared:
    world.restore({}, world.service.now)
    return _rotation(world, version=1)


def rotation(world: World) -> Prepared:
    world.service.now += 91 * DAY
    return _rotation(world, version=2)


def _rotation(world: World, *, version: int) -> Prepared:
    def holds(_: Reply | None, items: Items) -> None:
        # It was written once, and its keys can be unwrapped: a login succeeds.
        assert int(items["KEY#ring"]["version"]["N"]) == version
        world.service.now += MAX_AGE
        done(world.service.send(LOGIN))

    return lambda: Wish(lambda: _invoked(world, "KeysFunction"), holds)


def jwks(world: World) -> Prepared:
    def holds(reply: Reply | None, _: Items) -> None:
        assert reply is not None
        assert len(reply.json["keys"]) == 2

    return lambda: Wish(lambda: world.service.send(JWKS), holds)


# -- What these share ----------------------------------------------------------------


def _invoked(
    world: World, function: str, is_done: Callable[[Json], bool] = lambda _: True
) -> Reply:
    try:
        report = world.service.invoke(function, {"detail-type": "Scheduled Event"})
    except Unavailable:  # Lambda repeats these
        return _reply(503)
    return _reply(200 if is_done(report) else 503)


def _reply(status: int) -> Reply:
    return Reply(status, {"retry-after": "2"}, "{}")


def _create(world: World, user: Json) -> Reply:
    body = json.dumps({"name": "laptop"})
    return world.service.send(CREATE_KEY, token=user["refresh_token"], body=body)


def make_key(world: World, user: Json) -> Json:
    return done(_create(world, user))


def _to_key(world: World, user: Json, route: str, key: Json) -> Reply:
    token, parameters = user["refresh_token"], {"id": key["_id"]}
    return world.service.send(route, token=token, parameters=parameters)


def _with_key_in_use(world: World) -> tuple[Json, Json]:
    """Return a user and its key, which has opened a session."""
    user = world.linked("custom-token")
    key = make_key(world, user)
    done(world.by("api-key", {"key": key["key"]}))
    return user, key


def lose(world: World, user: Json) -> None:
    """Delete the user's item; the records of its identities stay."""
    pk = {"S": f"USER#{APP}#{user['user_id']}"}
    world.service.db.delete_item(TableName=world.service.table, Key={"pk": pk})


def assert_back(user: Json, providers: Sequence[str], items: Items) -> None:
    """Check that a lost user was made again, with these identities."""
    assert providers_of(user, items) == providers
    assert item_of(user, items)["made_again"] == {"S": "open"}
    assert len(of("USER#", items)) == 1
    assert {item["uid"]["S"] for item in of("IDENT#", items)} == {user["user_id"]}


def of(prefix: str, items: Items) -> list[dict[str, Any]]:
    return [item for key, item in items.items() if key.startswith(prefix)]


def item_of(user: Json, items: Items) -> dict[str, Any]:
    return items[f"USER#{APP}#{user['user_id']}"]


def providers_of(user: Json, items: Items) -> list[str]:
    identities = item_of(user, items)["identities"]["L"]
    return [each["M"]["provider"]["S"] for each in identities]


def keys_of(user: Json, items: Items) -> list[dict[str, Any]]:
    return [each["M"] for each in item_of(user, items)["api_keys"]["M"].values()]


def expiry(world: World) -> float:
    return expiry_after(world.service.now).timestamp()


def assert_token_of(world: World, user: Json, reply: Reply | None) -> None:
    """Check that an answer has an access token of that user."""
    assert reply is not None
    token, now = reply.json["access_token"], world.service.now
    claims = world.service.services.tokens.read_access_token(token, now)
    assert claims.user_id == user["user_id"]


def assert_sessions(world: World, logins: Sequence[Json], items: Items) -> None:
    """Check that a user has the sessions of these logins, and no others."""
    tokens, now = world.service.services.tokens, world.service.now
    claims = [tokens.read_refresh_token(each["refresh_token"], now) for each in logins]
    kept = item_of(logins[0], items)["sessions"]["M"]
    found = {session_id: each["M"]["hash"]["S"] for session_id, each in kept.items()}
    assert found == {each.session_id: each.token_hash for each in claims}


def session_id_of(world: World, opened: Json) -> str:
    tokens, now = world.service.services.tokens, world.service.now
    return tokens.read_refresh_token(opened["refresh_token"], now).session_id


def assert_logged_in(world: World, reply: Reply | None, items: Items) -> Json:
    """Check that both tokens of a login are good; return its answer."""
    assert reply is not None
    opened = done(reply)
    assert_token_of(world, opened, reply)
    tokens, now = world.service.services.tokens, world.service.now
    claims = tokens.read_refresh_token(opened["refresh_token"], now)
    session = item_of(opened, items)["sessions"]["M"][claims.session_id]
    assert session["M"]["hash"]["S"] == claims.token_hash
    return opened


def assert_account(world: World, items: Items, state: str, password: str) -> None:
    """Check the only account with e-mail address and password."""
    (account,) = [item for item in of("IDENT#", items) if USERPASS in item["pk"]["S"]]
    assert account["state"] == {"S": state}
    hashed = account["password_hash"]["S"]
    assert world.service.services.passwords.verify(password, hashed)


def assert_mailed(world: World, items: Items, name: str) -> None:
    """Check that the account's only token is the hash of that in the latest mail."""
    (account,) = of("IDENT#", items)
    assert account[name] == {"S": hash_secret(world.mailed()["token"])}


def published(world: World) -> list[Json]:
    """Return the details of the events that EventBridge accepted, in their order."""
    return [
        json.loads(entry["Detail"])
        for call, body in world.wire.taken
        if call == "PutEvents"
        for entry in body["Entries"]
    ]


def assert_in_order(events: Sequence[Json]) -> None:
    """Check that no change of a user is published before an earlier one."""
    first_heard: dict[str, dict[str, str]] = {}
    for event in events:
        of_user = first_heard.setdefault(event["uid"], {})
        of_user.setdefault(event["id"], event["sequence"])
    for of_user in first_heard.values():
        assert all(a <= b for a, b in pairwise(of_user.values()))


_LIMITED = {"PROVIDER_FAILURES_PER_NETWORK": "60"}
_GUARDED = {"LOGINS_PER_NETWORK": "40", "ANONYMOUS_CHALLENGE": "true"}

_SESSIONS = {
    "login": Operation(login),
    "login, guarded": Operation(login, _GUARDED),
    "login, login key": Operation(login_by_key),
    "login, login key again": Operation(login_by_key_again),
    "login, login key spent": Operation(login_by_spent_key),
    "login, challenge down": Operation(login_without_challenge_service, _GUARDED),
    "refresh": Operation(refresh),
    "refresh, first of a day": Operation(refresh_of_the_day),
    "refresh, first of a day, permanent user": Operation(refresh_of_the_day_permanent),
    "profile": Operation(profile),
    "authorize": Operation(authorize),
    "logout": Operation(logout),
    "logout, permanent user": Operation(logout_permanent),
    "logout everywhere": Operation(logout_everywhere),
    "logout everywhere, permanent user": Operation(logout_everywhere_permanent),
    "list sessions": Operation(list_sessions),
    "end a session": Operation(end_session),
    "delete": Operation(delete),
}
_LINKS = {
    "link local-userpass": Operation(link_with(USERPASS)),
    "link custom-token": Operation(link_with("custom-token")),
    "link oauth2-google": Operation(link_with("oauth2-google")),
    "link oauth2-apple": Operation(link_with("oauth2-apple")),
    "link oauth2-facebook": Operation(link_with("oauth2-facebook"), _LIMITED),
    "link, somebody else's": Operation(link_of_others),
    "unlink": Operation(unlink),
}
_LOGINS = {
    "log in local-userpass, first time": Operation(first_login_with(USERPASS)),
    "log in custom-token, first time": Operation(first_login_with("custom-token")),
    "log in local-userpass": Operation(login_with(USERPASS)),
    "log in local-userpass, outdated hash": Operation(login_with_outdated_hash),
    "log in local-userpass, wrong password": Operation(login_with_wrong_password),
    "log in local-userpass, after one": Operation(login_after_a_wrong_password),
    "log in custom-token": Operation(login_with("custom-token")),
    "log in oauth2-facebook, news": Operation(login_with_news, _LIMITED),
    "log in api-key": Operation(login_with_api_key),
    "log in local-userpass, user lost": Operation(login_of_a_lost_user(USERPASS)),
    "log in custom-token, user lost": Operation(login_of_a_lost_user("custom-token")),
    "log in custom-token, comes back": Operation(login_that_comes_back),
    "merge into a free identity": Operation(merge_into_a_free_identity),
    "merge into a user": Operation(merge_into_a_user),
}
_ACCOUNTS = {
    "register": Operation(register),
    "register again": Operation(register_again),
    "register, mails spent": Operation(register_without_a_mail_left),
    "register, no mail": Operation(register_without_mail),
    "confirm": Operation(confirm),
    "confirm/send": Operation(confirm_send),
    "reset/send": Operation(reset_send),
    "reset/send, guarded": Operation(reset_send, {"MAILS_PER_NETWORK": "999"}),
    "reset": Operation(reset),
    "reset, nobody's": Operation(reset_unbound),
    "reset, user lost": Operation(reset_of_a_lost_user),
}
_API_KEYS = {
    "create API key": Operation(create_key),
    "list API keys": Operation(read_keys),
    "delete API key": Operation(delete_key),
    "disable API key": Operation(disable_key),
    "enable API key": Operation(enable_key),
}
_BACKGROUND = {
    "lifecycle": Operation(lifecycle),
    "expiring": Operation(expiring),
    "first ring": Operation(first_ring),
    "rotation": Operation(rotation),
    "jwks": Operation(jwks),
}

GROUPS = {
    "sessions": _SESSIONS,
    "links": _LINKS,
    "logins": _LOGINS,
    "accounts": _ACCOUNTS,
    "API keys": _API_KEYS,
    "background": _BACKGROUND,
}
"""All operations that call AWS, except an operator's commands."""

OPERATIONS = {
    name: each for of_group in GROUPS.values() for name, each in of_group.items()
}

HOT = (
    "login",
    "login, login key",
    "refresh",
    "refresh, first of a day",
    "logout",
)
"""The most frequent operations."""
