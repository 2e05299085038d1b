"""Logins and links that ask Google or Facebook: a network's failures have a limit."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from support.forgery.key_server import Answer, KeyServer, Signer
from support.service.harness import APP, LINK, OTHER_APP, START, Deployment, Reply
from support.service.wire import FAULTS, Fault

NETWORK, OTHER_NETWORK = "198.51.100.7", "198.51.100.8"
FACEBOOK, GOOGLE = "oauth2-facebook", "oauth2-google"
FACEBOOK_APP, CLIENT_ID, USER_ID = "138483919580948", "web.apps.example", "1207059"
EXPIRES = int(START.timestamp()) + 10 * 86400
ID_TOKENS: dict[str, Any] = {
    GOOGLE: {
        "iss": "https://accounts.google.com",
        "aud": CLIENT_ID,
        "sub": "10769",
        "exp": EXPIRES,
    },
    FACEBOOK: {
        "iss": "https://www.facebook.com",
        "aud": FACEBOOK_APP,
        "sub": USER_ID,
        "exp": EXPIRES,
    },
}
FIELD = {GOOGLE: "id_token", FACEBOOK: "accessToken"}
ASKED = {GOOGLE: {"authCode": "4/0Ab"}, FACEBOOK: {"accessToken": "EAAB"}}
JUNK = {"oauth2-google": "/token", "oauth2-facebook": "/graph/debug_token"}


class World:
    """An app with Google and Facebook, both on loopback, with one user each."""

    def __init__(
        self, service: Deployment, server: KeyServer, signer: Signer, limit: str = "2"
    ) -> None:
        self.service = service
        self.server = server
        self.signer = signer
        self.keys = server.publish("/keys", {"keys": [signer.jwk()]})
        self.knows_all()
        self.restart(limit)

    def restart(self, limit: str, more: Mapping[str, Any] | None = None) -> None:
        app = {
            GOOGLE: {
                "client_ids": [CLIENT_ID],
                "client_secret": "s",
                "jwks_url": self.keys,
                "token_url": self.server.url + "/token",
            },
            FACEBOOK: {
                "app_id": FACEBOOK_APP,
                "app_secret": "s",
                "graph_url": self.server.url + "/graph",
                "jwks_url": self.keys,
            },
        }
        self.service.restart_with(
            {"apps": {"*": app, **(more or {})}},
            ALLOW_PRIVATE_ISSUERS="true",
            PROVIDER_FAILURES_PER_NETWORK=limit,
        )

    def knows_all(self) -> None:
        """Let both take whatever they are asked about."""
        token = self.signer.sign(ID_TOKENS[GOOGLE])
        self.server.publish("/token", {"id_token": token})
        inspected = {"app_id": FACEBOOK_APP, "user_id": USER_ID, "is_valid": True}
        self.server.publish("/graph/debug_token", {"data": inspected})
        self.server.publish("/graph/me", {"id": USER_ID})

    def knows_nobody(self) -> None:
        """Let both refuse whatever they are asked about."""
        self.server.answers["/token"] = Answer({"error": "invalid_grant"}, 400)
        self.server.publish("/graph/debug_token", {"data": {"is_valid": False}})

    def log_in(
        self,
        provider: str = FACEBOOK,
        credential: Mapping[str, Any] | None = None,
        *,
        network: str = NETWORK,
        **options: Any,
    ) -> Reply:
        return self.service.send(
            LINK,
            body=json.dumps(credential or ASKED[provider]),
            parameters={"provider": provider},
            network=network,
            **options,
        )

    def link(self, provider: str = FACEBOOK) -> Reply:
        token = self.service.log_in()["access_token"]
        return self.log_in(provider, token=token, query={"link": "true"})

    def id_token(self, provider: str) -> dict[str, str]:
        return {FIELD[provider]: self.signer.sign(ID_TOKENS[provider])}

    @property
    def questions(self) -> int:
        """How often either was asked in our name."""
        return sum(self.server.count(path) for path in JUNK.values())

    @property
    def counted(self) -> list[int]:
        """The failures that are counted, network by network."""
        found = self.service.items("RATE#provider#").values()
        return [int(item["number"]["N"]) for item in found]


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def world(service: Deployment, signer: Signer) -> Iterator[World]:
    with KeyServer() as server:
        yield World(service, server, signer)
        service.wire.reset()


@pytest.mark.parametrize(
    ("network", "asked"),
    [
        pytest.param("2001:db8:1:2::{:x}", 5, id="one /64"),
        pytest.param("2001:db8:1:2{:02x}::1", 6, id="one /56"),
        pytest.param("2001:db8:1:{:x}00::1", 7, id="one /48"),
        pytest.param("2001:db8:{:x}::1", 9, id="others"),
    ],
)
def test_given_networks_of_one_household_when_they_fail_then_they_count_together(
    world: World, network: str, asked: int
) -> None:
    world.restart("5")
    world.knows_nobody()

    statuses = [
        world.log_in(network=network.format(number)).status for number in range(9)
    ]

    assert statuses == [401] * asked + [429] * (9 - asked)
    assert len(world.service.items("RATE#provider#")) == (9 if asked == 9 else 1)


def assert_spent(reply: Reply, retry_after: int) -> None:
    assert (reply.status, reply.json["error_code"]) == (429, "RateLimitExceeded")
    assert reply.headers["retry-after"] == str(retry_after)


@pytest.mark.parametrize("provider", [GOOGLE, FACEBOOK])
def test_given_junk_when_a_network_had_its_failures_then_no_further_request_is_sent(
    provider: str, world: World
) -> None:
    world.knows_nobody()

    assert [world.log_in(provider).status for _ in range(2)] == [401, 401]
    world.service.now += timedelta(minutes=20)
    for _ in range(3):
        assert_spent(world.log_in(provider), 40 * 60)
    assert world.questions == 2
    assert world.counted == [2]
    assert world.service.items("USER#") == {}

    world.service.now += timedelta(minutes=40)
    assert world.log_in(provider).status == 401


def test_given_spent_failures_when_asked_otherwise_then_they_are_one_for_all(
    world: World,
) -> None:
    world.knows_nobody()
    assert world.log_in(GOOGLE).status == 401
    assert world.link(FACEBOOK).status == 403

    assert_spent(world.log_in(FACEBOOK), 3600)
    assert_spent(world.log_in(GOOGLE), 3600)
    assert_spent(world.log_in(GOOGLE, app=OTHER_APP), 3600)
    assert_spent(world.log_in(FACEBOOK, network=NETWORK), 3600)
    assert world.log_in(FACEBOOK, network=OTHER_NETWORK).status == 401


def test_given_spent_failures_when_linking_then_429_and_the_guest_stays_one(
    world: World,
) -> None:
    world.restart("1")
    world.knows_nobody()
    world.log_in()
    world.knows_all()
    guest = world.service.log_in()

    reply = world.log_in(token=guest["access_token"], query={"link": "true"})

    assert_spent(reply, 3600)
    item = world.service.user_item(guest["user_id"])
    assert item is not None
    assert item["anonymous"] == {"BOOL": True}


@pytest.mark.parametrize("provider", [GOOGLE, FACEBOOK])
def test_given_good_credentials_when_used_often_then_none_is_counted(
    provider: str, world: World
) -> None:
    statuses = [world.log_in(provider).status for _ in range(5)]

    assert statuses == [200] * 5
    assert world.counted == [0]
    (item,) = world.service.items("RATE#provider#").values()
    over = world.service.now + timedelta(hours=1)
    assert world.service.now.timestamp() < int(item["ttl"]["N"])
    assert int(item["ttl"]["N"]) <= over.timestamp() + 3600
    assert NETWORK not in str(world.service.items())


@pytest.mark.parametrize("provider", [GOOGLE, FACEBOOK])
def test_given_spent_failures_when_an_id_token_comes_then_it_is_taken(
    provider: str, world: World
) -> None:
    world.knows_nobody()
    for _ in range(2):
        world.log_in(provider)

    reply = world.log_in(provider, world.id_token(provider))

    assert reply.status == 200
    assert world.questions == 2


def test_given_both_tokens_of_facebook_when_used_then_it_is_one_user(
    world: World,
) -> None:
    by_access_token = world.log_in(FACEBOOK)
    by_id_token = world.log_in(FACEBOOK, world.id_token(FACEBOOK))

    assert by_access_token.json["user_id"] == by_id_token.json["user_id"]
    assert len(world.service.items("IDENT#")) == 1


LOGIN = ["GetItem", "GetItem", "UpdateItem"]


@pytest.mark.parametrize(
    ("provider", "by", "limit", "status", "calls"),
    [
        pytest.param(
            FACEBOOK, "asking", "2", 200, ["UpdateItem", "UpdateItem", *LOGIN], id="F"
        ),
        pytest.param(
            GOOGLE, "asking", "2", 200, ["UpdateItem", "UpdateItem", *LOGIN], id="G"
        ),
        pytest.param(FACEBOOK, "junk", "2", 401, ["UpdateItem"], id="F, refused"),
        pytest.param(GOOGLE, "junk", "2", 401, ["UpdateItem"], id="G, refused"),
        pytest.param(FACEBOOK, "asking", "0", 200, LOGIN, id="F, no limit"),
        pytest.param(GOOGLE, "junk", "0", 401, [], id="G, refused, no limit"),
        pytest.param(FACEBOOK, "ID token", "2", 200, LOGIN, id="F, ID token"),
        pytest.param(GOOGLE, "ID token", "2", 200, LOGIN, id="G, ID token"),
    ],
)
def test_given_a_warm_login_when_counted_then_only_asking_costs_two_writes_more(
    provider: str, by: str, limit: str, status: int, calls: list[str], world: World
) -> None:
    world.restart(limit)
    assert world.log_in(provider).status == 200
    if by == "junk":
        world.knows_nobody()
    credential = world.id_token(provider) if by == "ID token" else ASKED[provider]

    replies: list[Reply] = []
    made = world.service.counted(
        lambda: replies.append(world.log_in(provider, credential))
    )

    assert made == calls
    assert [reply.status for reply in replies] == [status]


def test_given_a_limit_of_zero_when_junk_comes_then_it_is_never_spent(
    world: World,
) -> None:
    world.restart("0")
    world.knows_nobody()

    assert {world.log_in().status for _ in range(5)} == {401}
    assert world.service.items("RATE#") == {}


OUTAGE = [
    pytest.param(Answer({}, 503), id="503"),
    pytest.param(Answer({}, 429), id="too many requests"),
    pytest.param(Answer({}, 200), id="nonsense"),
    pytest.param(lambda write: write(b"HTTP/1.1 200 OK\r\n\r\n{"), id="half an answer"),
]
UNCLEAR = [
    pytest.param(Answer(b"<html>", 414), id="too long"),
    pytest.param(Answer({"error": "invalid_client"}, 401), id="our secret"),
    pytest.param(Answer({"error": {"code": 190}}, 400), id="our secret, at Facebook"),
]


@pytest.mark.parametrize("provider", [GOOGLE, FACEBOOK])
@pytest.mark.parametrize("answer", OUTAGE)
def test_given_a_provider_in_trouble_when_asked_then_it_is_not_counted(
    answer: Any, provider: str, world: World
) -> None:
    world.server.answers[JUNK[provider]] = answer

    assert {world.log_in(provider).status for _ in range(3)} == {503}
    assert world.counted == [0]
    world.knows_all()
    assert world.log_in(provider).status == 200


@pytest.mark.parametrize("provider", [GOOGLE, FACEBOOK])
@pytest.mark.parametrize("answer", UNCLEAR)
def test_given_an_unclear_refusal_when_asked_then_it_stays_counted(
    answer: Any, provider: str, world: World
) -> None:
    """A client may have provoked it with its credentials."""
    world.server.answers[JUNK[provider]] = answer

    assert [world.log_in(provider).status for _ in range(3)] == [503, 503, 429]
    assert world.questions == world.counted[0] == 2


def test_given_a_good_code_when_the_keys_cannot_be_fetched_then_it_is_not_counted(
    world: World,
) -> None:
    del world.server.answers["/keys"]

    assert world.log_in(GOOGLE).status == 503
    assert world.counted == [0]


@pytest.mark.parametrize(
    ("provider", "credential"),
    [
        pytest.param(FACEBOOK, {"accessToken": 1}, id="access token a number"),
        pytest.param(FACEBOOK, {"token": "x"}, id="no access token"),
        pytest.param(FACEBOOK, {"accessToken": "eyJ.eyJ.x"}, id="no ID token"),
        pytest.param(GOOGLE, {"authCode": 1}, id="code a number"),
        pytest.param(GOOGLE, {"x": "y"}, id="nothing"),
        pytest.param(GOOGLE, {"id_token": "x.y.z"}, id="no JWT"),
    ],
)
def test_given_no_provider_to_ask_when_refused_then_nothing_is_counted(
    provider: str, credential: dict[str, Any], world: World
) -> None:
    assert world.log_in(provider, credential).status in {400, 401}

    assert world.questions == 0
    assert world.service.items("RATE#") == {}


@pytest.mark.parametrize("fault", ["no_connection", "server_error", "throttled"])
def test_given_trouble_with_the_counter_when_logging_in_then_503_and_no_request_is_sent(
    fault: str, world: World
) -> None:
    world.log_in()  # warm
    asked = world.questions
    world.service.wire.faults = [FAULTS[fault]] * 9

    assert world.log_in().status == 503
    assert world.questions == asked


@pytest.mark.parametrize("fault", ["no_connection", "server_error", "throttled"])
def test_given_a_failure_that_cannot_be_taken_back_then_the_login_goes_on(
    fault: str, world: World
) -> None:
    world.log_in()  # warm
    attempts = _attempts(world, FAULTS[fault])

    world.service.wire.faults = [None, *[FAULTS[fault]] * attempts]
    reply = world.log_in()

    assert reply.status == 200
    assert world.counted == [1]
    # one try less in this hour, and no more than that
    world.knows_nobody()
    assert [world.log_in().status for _ in range(2)] == [401, 429]


def _attempts(world: World, fault: Fault) -> int:
    """Return how often the store tries before it gives up."""
    world.service.wire.always = fault
    made = world.service.counted(world.log_in)
    world.service.wire.reset()
    return len(made)


def test_given_the_own_apps_settings_when_a_code_cannot_be_exchanged_then_no_count(
    world: World,
) -> None:
    google = {"client_ids": [CLIENT_ID], "jwks_url": world.keys}
    world.restart("2", {APP: {GOOGLE: google}})

    assert world.log_in(GOOGLE).status == 400
    assert world.service.items("RATE#") == {}
