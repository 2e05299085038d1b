"""What a stolen access token, or a copied API key, is not enough for.

Every API of an app receives access tokens, so a copy of one is to be expected.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest

from anonauth.usecases._authenticate import FRESH_FOR
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    GET_KEY,
    LINK,
    LIST_KEYS,
    LIST_SESSIONS,
    LOGOUT,
    PROFILE,
    REGISTER,
    ROUTES,
    SESSION,
    START,
    UNLINK,
    Deployment,
    Reply,
)

SECRET = "0123456789abcdef0123456789abcdef"
EMAIL, PASSWORD = "ada@example.org", "correct horse"
USERPASS, CUSTOM = "local-userpass", "custom-token"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BAD_SESSION = 401, "InvalidSession"
TOO_OLD = "invalid session: this takes a fresh access token"
FROM_BEFORE = "invalid session: the token is from before the link"


@pytest.fixture
def service(service: Deployment) -> Deployment:
    issuers = {"issuers": [{"algorithm": "HS256", "secret": SECRET}]}
    app = {USERPASS: {}, "api-key": {}, CUSTOM: issuers}
    service.restart_with({"apps": {APP: app}})
    return service


def by_token(sub: str) -> dict[str, str]:
    exp = int(START.timestamp()) + 10**6
    claims = {"sub": sub, "aud": APP, "exp": exp}
    return {"token": jwt.encode(claims, SECRET, "HS256")}


def by_password(service: Deployment, password: str = PASSWORD) -> dict[str, str]:
    """Register an address, and return its credential."""
    account = json.dumps({"email": EMAIL, "password": PASSWORD})
    assert service.send(REGISTER, body=account).status == 200
    return {"username": EMAIL, "password": password}


def log_in(service: Deployment, credential: Mapping[str, str], **options: Any) -> Reply:
    provider = USERPASS if "username" in credential else CUSTOM
    provider = "api-key" if "key" in credential else provider
    return service.send(
        LINK,
        parameters={"provider": provider},
        body=json.dumps(credential),
        **options,
    )


def link(service: Deployment, token: str, credential: Mapping[str, str]) -> Reply:
    return log_in(service, credential, token=token, query={"link": "true"})


def a_linked_guest(service: Deployment, sub: str = "ada") -> tuple[dict[str, Any], str]:
    """Return a login with the token that its link gave, and its guest's token."""
    opened = service.log_in()
    linked = link(service, opened["access_token"], by_token(sub))
    assert linked.status == 200, linked.text
    return opened | linked.json, opened["access_token"]


def answer(reply: Reply) -> tuple[int, str]:
    return reply.status, "" if reply.status == 200 else reply.json["error_code"]


AGES = [
    pytest.param(FRESH_FOR - SECOND, 200, id="young for a second more"),
    pytest.param(FRESH_FOR, 401, id="6 minutes old"),
    pytest.param(timedelta(minutes=29), 401, id="nearly expired"),
]


@pytest.mark.parametrize("is_linked", [False, True], ids=["guest", "permanent"])
@pytest.mark.parametrize(("age", "status"), AGES)
def test_given_an_access_token_when_it_grows_old_then_it_deletes_nobody(
    service: Deployment, age: timedelta, status: int, is_linked: bool
) -> None:
    opened = a_linked_guest(service)[0] if is_linked else service.log_in()
    service.now += age
    before = service.items()

    reply = service.send(DELETE, token=opened["access_token"])

    assert reply.status == status
    assert (service.user_item(opened["user_id"]) is None) == (status == 200)
    if status == 401:
        assert answer(reply) == BAD_SESSION
        assert reply.json["error"] == TOO_OLD
        assert service.items() == before


@pytest.mark.parametrize(("age", "status"), AGES)
def test_given_an_access_token_when_it_grows_old_then_a_permanent_user_links_no_more(
    service: Deployment, age: timedelta, status: int
) -> None:
    opened, _ = a_linked_guest(service)
    service.now += age
    before = service.items()

    reply = link(service, opened["access_token"], by_token("second"))

    assert reply.status == status
    assert len(service.items("IDENT#")) == (2 if status == 200 else 1)
    if status == 401:
        assert answer(reply) == BAD_SESSION
        assert reply.json["error"] == TOO_OLD
        assert service.items() == before


def test_given_an_old_token_when_a_guest_links_then_any_good_one_does(
    service: Deployment,
) -> None:
    guest = service.log_in()
    service.now += timedelta(minutes=29)

    assert link(service, guest["access_token"], by_token("ada")).status == 200


@pytest.mark.parametrize("deletes", [False, True], ids=["link", "delete"])
def test_given_a_token_that_is_too_old_when_refreshed_then_the_repetition_succeeds(
    service: Deployment, deletes: bool
) -> None:
    """SDKs do this. A 401 that a refresh does not end would repeat for ever."""
    opened, _ = a_linked_guest(service)
    service.now += 10 * MINUTE

    def attempt(token: str) -> int:
        if deletes:
            return service.send(DELETE, token=token).status
        return link(service, token, by_token("second")).status

    refused = attempt(opened["access_token"])
    fresh = service.send(SESSION, token=opened["refresh_token"]).json["access_token"]

    assert (refused, attempt(fresh)) == (401, 200)


def test_given_a_token_that_is_too_old_when_linking_then_no_credential_is_looked_at(
    service: Deployment,
) -> None:
    """An authorization code works once, and a wrong password spends a limit."""
    opened, _ = a_linked_guest(service)
    wrong = by_password(service, "wrong horse")
    service.now += FRESH_FOR
    replies: list[Reply] = []
    before = service.items()

    calls = service.counted(
        lambda: replies.append(link(service, opened["access_token"], wrong))
    )

    assert [answer(reply) for reply in replies] == [BAD_SESSION]
    assert calls[-1:] == ["GetItem"]
    assert set(calls) == {"GetItem"}
    assert service.items() == before


@pytest.mark.parametrize("minutes", [0, 20])
def test_given_a_token_from_before_the_link_when_it_repeats_the_link_then_200(
    service: Deployment, minutes: int
) -> None:
    """Its client may not have heard that the first call succeeded."""
    opened, old = a_linked_guest(service)
    service.now += minutes * MINUTE
    before = service.items()

    reply = link(service, old, by_token("ada"))

    assert reply.status == 200
    assert reply.json["user_id"] == opened["user_id"]
    assert service.items() == before


def test_given_a_token_from_before_the_link_when_used_then_it_reads_and_no_more(
    service: Deployment,
) -> None:
    opened, old = a_linked_guest(service)
    before = service.items()

    same_provider = link(service, old, by_token("mallory"))
    nearly_its_own = link(service, old, by_token("ada "))
    deletion = service.send(DELETE, token=old)
    profile = service.send(PROFILE, token=old)

    for reply in (same_provider, nearly_its_own, deletion):
        assert answer(reply) == BAD_SESSION
        assert reply.json["error"] == FROM_BEFORE
    assert profile.json["user_id"] == opened["user_id"]
    assert service.items() == before


def test_given_a_token_from_before_the_link_when_of_another_user_then_401_not_409(
    service: Deployment,
) -> None:
    _, old = a_linked_guest(service)
    a_linked_guest(service, "eve")
    before = service.items()

    reply = link(service, old, by_token("eve"))

    assert answer(reply) == BAD_SESSION
    assert service.items() == before


def test_given_a_provider_the_user_lacks_when_linking_by_a_token_from_before_then_401(
    service: Deployment,
) -> None:
    """It repeats nothing, so that no credential is looked at and no limit spent."""
    _, old = a_linked_guest(service)
    wrong = by_password(service, "wrong horse")
    replies: list[Reply] = []
    before = service.items()

    calls = service.counted(lambda: replies.append(link(service, old, wrong)))

    assert [answer(reply) for reply in replies] == [BAD_SESSION]
    assert calls == ["GetItem"]
    assert service.items() == before


def test_given_a_wrong_password_when_a_token_from_before_guesses_then_403_and_a_limit(
    service: Deployment,
) -> None:
    """It is worth what a login is, which takes no token: the same limits hold."""
    right = by_password(service)
    guest = service.log_in()
    assert link(service, guest["access_token"], right).status == 200
    wrong = right | {"password": "wrong horse"}

    replies = [link(service, guest["access_token"], wrong) for _ in range(12)]

    assert answer(replies[0]) == (403, "InvalidPassword")
    assert answer(replies[-1]) == (429, "RateLimitExceeded")


def test_given_a_stolen_access_token_when_it_is_all_a_thief_has_then_the_owner_stays(
    service: Deployment,
) -> None:
    """This once worked: link an identity of the thief, then remove the owner's."""
    owner, before_the_link = a_linked_guest(service)
    service.now += FRESH_FOR
    ada = {"provider": CUSTOM, "id": "ada"}
    before = service.items()

    for stolen in (owner["access_token"], before_the_link):
        for reply in (
            link(service, stolen, by_token("thief")),
            service.send(UNLINK, token=stolen, query=ada),
            service.send(CREATE_KEY, token=stolen, body='{"name":"thief"}'),
            service.send(DELETE, token=stolen),
        ):
            assert answer(reply) == BAD_SESSION

    assert service.items() == before
    assert log_in(service, by_token("ada")).json["user_id"] == owner["user_id"]


# What the session of an API key gets: it may read, go on and end itself.
BY_API_KEY = {
    SESSION: 200,
    LOGOUT: 200,
    PROFILE: 200,
    LIST_SESSIONS: 200,
    LIST_KEYS: 200,
    GET_KEY: 200,
    CREATE_KEY: 403,
    ENABLE_KEY: 403,
    DISABLE_KEY: 403,
    DELETE_KEY: 403,
    END_SESSION: 403,  # another than its own
    UNLINK: 403,
    LINK: 403,
    DELETE: 403,
}
TAKE_ACCESS_TOKENS = {PROFILE, LINK, DELETE}


def with_keys(service: Deployment) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a permanent user with a disabled key, and the login of another key."""
    owner, _ = a_linked_guest(service)
    second = link(service, owner["access_token"], by_token("second"))
    owner |= second.json
    made = [
        service.send(
            CREATE_KEY, token=owner["refresh_token"], body=f'{{"name":"{name}"}}'
        ).json
        for name in ("ci", "other")
    ]
    disabled = {"id": made[1]["_id"]}
    service.send(DISABLE_KEY, token=owner["refresh_token"], parameters=disabled)
    program = log_in(service, {"key": made[0]["key"]})
    assert program.status == 200, program.text
    return owner | {"disabled": made[1]["_id"]}, program.json


def test_given_the_routes_when_listed_then_each_says_what_an_api_key_may_do() -> None:
    without = {
        route
        for route in ROUTES
        if ("/app/{appId}" in route and route != LINK)
        or route.endswith(("/openapi.json", "/anonauth.mjs", "$default"))
    }

    assert set(BY_API_KEY) == set(ROUTES) - without


@pytest.mark.parametrize(("route", "status"), BY_API_KEY.items(), ids=BY_API_KEY)
@pytest.mark.parametrize("age", [0, 20], ids=["young", "20 minutes old"])
def test_given_a_session_of_an_api_key_when_calling_then_it_changes_nothing_of_its_user(
    service: Deployment, route: str, status: int, age: int
) -> None:
    """A thief of a key must not stay, lock the owner out, or delete the user.

    Never a 401, at which SDKs would refresh and ask again.
    """
    owner, program = with_keys(service)
    service.now += age * MINUTE
    before = service.items()
    kind = "access_token" if route in TAKE_ACCESS_TOKENS else "refresh_token"
    parameters = {"id": owner["disabled"]} if "{id}" in route else {}
    parameters |= {"provider": CUSTOM} if route == LINK else {}
    queries = {
        LINK: {"link": "true"},
        UNLINK: {"provider": CUSTOM, "id": "ada"},
    }
    bodies = {LINK: by_token("thief"), CREATE_KEY: {"name": "more"}}

    reply = service.send(
        route,
        token=program[kind],
        parameters=parameters,
        query=queries.get(route),
        body=json.dumps(bodies[route]) if route in bodies else None,
    )

    assert reply.status == status
    if status == 403:
        assert answer(reply) == (403, "AuthError")
        assert reply.json["error"] == (
            "this session was opened with an API key, which cannot change its user"
        )
    if route != LOGOUT:
        assert service.items() == before
