"""Pre-hijacking: whatever a stranger prepares, the owner of an address is alone there.

The variants are those of Sudhodanan and Paverd, "Pre-hijacked Accounts" (USENIX
Security 2022): classic-federated merge, unexpired session, trojan identifier, unexpired
e-mail change (there is none here) and non-verifying identity provider. Mallory
comes first, and Ada owns the address. What happens at the same moment is in
`tests/engine/test_link_races.py`: a reset racing a login or a link by the old password.

After each test the table is checked: every identity and API key has one user, which
lists it.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anonauth.domain.encoding import hash_secret
from anonauth.domain.providers import API_KEY, USERPASS
from support.forgery.key_server import KeyServer, Signer
from support.hostile.prehijacking import (
    CUSTOM,
    EMAIL,
    GOOGLE,
    IDP,
    KEY,
    LAX,
    NEW,
    OF_ADA,
    OF_MALLORY,
    ContestedAddress,
    Opened,
    by_password,
    by_token,
)
from support.service.harness import (
    APP,
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    GET_KEY,
    LINK,
    LIST_KEYS,
    LOGOUT,
    PROFILE,
    SESSION,
    START,
    UNLINK,
    Deployment,
)

CLIENT_ID = "web.apps.example.com"


@pytest.fixture
def world(service: Deployment, sent: list[Any]) -> Iterator[ContestedAddress]:
    yield ContestedAddress(service, sent)
    assert_each_has_one_user(service)


def assert_each_has_one_user(service: Deployment) -> None:
    """Check that no identity or API key is in two users, in both directions."""
    listed: list[tuple[str, str]] = []
    for pk, user in service.items("USER#").items():
        for entry in user["identities"]["L"]:
            if "key" in entry["M"]:
                provider, key = entry["M"]["provider"]["S"], entry["M"]["key"]["S"]
                listed.append((f"IDENT#{APP}#{provider}#{key}", pk))
        listed += [
            (f"IDENT#{APP}#{API_KEY}#{entry['M']['hash']['S']}", pk)
            for entry in user["api_keys"]["M"].values()
        ]
    bound = {
        pk: f"USER#{APP}#{item['uid']['S']}"
        for pk, item in service.items("IDENT#").items()
        if "uid" in item
    }
    assert sorted(listed) == sorted(bound.items())


TROJAN = by_token("mallory")

BY_ACCESS_TOKEN = (PROFILE, LINK, DELETE)
BY_REFRESH_TOKEN = (
    SESSION,
    CREATE_KEY,
    LIST_KEYS,
    GET_KEY,
    ENABLE_KEY,
    DISABLE_KEY,
    DELETE_KEY,
    UNLINK,
    LOGOUT,
)
SOME_ID = "0123456789abcdef01234567"


def assert_shut_out(world: ContestedAddress, opened: Opened) -> None:
    """Check that no route takes the tokens of a session any more."""
    before = world.service.items()
    for name, routes in (
        ("access_token", BY_ACCESS_TOKEN),
        ("refresh_token", BY_REFRESH_TOKEN),
    ):
        for route in routes:
            query = {UNLINK: {"provider": USERPASS, "id": SOME_ID}}
            parameters = {"provider": CUSTOM} if "{provider}" in route else {}
            parameters |= {"id": SOME_ID} if "{id}" in route else {}
            reply = world.service.send(
                route,
                token=opened[name],
                query={"link": "true"} if route == LINK else query.get(route),
                parameters=parameters,
                body=json.dumps(TROJAN | {"name": "back"}),
            )
            assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert world.service.items() == before


def assert_password_is_dead(world: ContestedAddress, password: str) -> None:
    """Check that it neither logs in nor links."""
    guest = world.service.log_in()
    before = world.service.items("USER#"), world.account()
    login = world.try_log_in(USERPASS, by_password(password))
    linking = world.try_link(guest, USERPASS, by_password(password))
    assert (login.status, login.json["error_code"]) == (401, "InvalidPassword")
    assert (linking.status, linking.json["error_code"]) == (403, "InvalidPassword")
    assert (world.service.items("USER#"), world.account()) == before


def assert_token_is_dead(
    world: ContestedAddress, call: str, data: dict[str, str]
) -> None:
    before = world.account()
    extra = {"password": OF_MALLORY} if call == "reset" else {}
    reply = world.post(call, **data, **extra)
    assert (reply.status, reply.json["error_code"]) == (400, "UserpassTokenInvalid")
    assert world.account() == before


def test_given_an_unconfirmed_squat_when_the_owner_registers_then_it_is_all_replaced(
    world: ContestedAddress,
) -> None:
    """Unconfirmed squatting: Mallory's password never becomes one of the address."""
    world.register(OF_MALLORY)
    old = world.newest_mail()
    old_id = world.account()["identity_id"]

    world.register(OF_ADA)

    assert_token_is_dead(world, "confirm", old)
    world.confirm_newest()
    assert_token_is_dead(world, "confirm", old)
    assert_password_is_dead(world, OF_MALLORY)
    ada = world.log_in(USERPASS, by_password(OF_ADA))
    assert world.providers(ada) == [USERPASS]
    record = world.account()
    assert record["uid"] == {"S": ada["user_id"]}
    assert record["version"] == {"N": "2"}
    assert record["identity_id"] != old_id


def test_given_an_unconfirmed_squat_when_its_owner_resets_then_it_is_the_owners(
    world: ContestedAddress,
) -> None:
    world.register(OF_MALLORY)
    old = world.newest_mail()

    world.reset()

    before = world.account()
    # The address is confirmed: as always, opening the mail again changes nothing.
    assert world.post("confirm", **old).status == 200
    assert world.account() == before
    assert_password_is_dead(world, OF_MALLORY)
    ada = world.log_in(USERPASS, by_password(NEW))
    assert world.providers(ada) == [USERPASS]


def test_given_an_unconfirmed_address_when_linked_by_who_registered_it_then_refused(
    world: ContestedAddress,
) -> None:
    """Linking would bind Ada's address to Mallory's guest."""
    world.register(OF_MALLORY)
    mallory = world.service.log_in()
    before = world.service.items("IDENT#"), world.service.items("USER#")

    reply = world.try_link(mallory, USERPASS, by_password(OF_MALLORY))

    assert (reply.status, reply.json["error_code"]) == (403, "AuthError")
    assert reply.json["error"] == "confirmation required"
    assert (world.service.items("IDENT#"), world.service.items("USER#")) == before
    assert "uid" not in world.account()
    assert world.is_alive(mallory)
    world.register(OF_ADA)
    world.confirm_newest()
    ada = world.log_in(USERPASS, by_password(OF_ADA))
    assert ada["user_id"] != mallory["user_id"]


def squat_by_login(world: ContestedAddress) -> Opened:
    return world.log_in(USERPASS, by_password(OF_MALLORY))


def squat_from_a_guest(world: ContestedAddress) -> Opened:
    guest = world.service.log_in()
    world.link(guest, USERPASS, by_password(OF_MALLORY))
    return guest


def squat_from_a_trojan(world: ContestedAddress) -> Opened:
    opened = world.log_in(CUSTOM, TROJAN)
    world.link(opened, USERPASS, by_password(OF_MALLORY))
    return opened


SQUATS = pytest.mark.parametrize(
    "squat",
    [
        pytest.param(squat_by_login, id="by login"),
        pytest.param(squat_from_a_guest, id="from a guest"),
        pytest.param(squat_from_a_trojan, id="from a JWT's user"),
    ],
)


@SQUATS
def test_given_a_confirmed_squat_when_its_owner_resets_then_the_owner_is_alone(
    world: ContestedAddress, squat: Callable[[ContestedAddress], Opened]
) -> None:
    """Confirmed squatting: Mallory has all there is to have, while mail is off."""
    world.switch_mail(on=False)
    world.register(OF_MALLORY)
    mallory = squat(world)
    world.link(mallory, CUSTOM, TROJAN)
    key = world.make_key(mallory)
    by_trojan, by_key = world.log_in(CUSTOM, TROJAN), world.log_in(API_KEY, key)
    sessions = [mallory, by_trojan, by_key]
    assert {opened["user_id"] for opened in sessions} == {mallory["user_id"]}
    world.switch_mail(on=True)

    world.reset()

    for opened in sessions:
        assert_shut_out(world, opened)
    assert_password_is_dead(world, OF_MALLORY)
    refused = world.try_log_in(API_KEY, key)
    assert (refused.status, refused.json["error_code"]) == (401, "AuthError")
    ada = world.log_in(USERPASS, by_password(NEW))
    assert set(world.providers(ada)) <= {"anon-user", USERPASS}
    item = world.service.user_item(ada["user_id"])
    assert item is not None
    assert len(item["sessions"]["M"]) == 1
    assert item["api_keys"] == {"M": {}}

    again = world.log_in(CUSTOM, TROJAN)
    assert again["user_id"] != ada["user_id"]
    assert world.providers(again) == [CUSTOM]
    taken = world.try_link(again, USERPASS, by_password(NEW))
    assert (taken.status, taken.json["error_code"]) == (409, "AccountNameInUse")


def test_given_a_confirmed_squat_never_used_when_its_owner_resets_then_it_is_the_owners(
    world: ContestedAddress,
) -> None:
    world.switch_mail(on=False)
    world.register(OF_MALLORY)
    world.switch_mail(on=True)

    world.reset()

    assert_password_is_dead(world, OF_MALLORY)
    ada = world.log_in(USERPASS, by_password(NEW))
    assert world.providers(ada) == [USERPASS]


def test_given_no_mail_when_an_address_is_squatted_then_the_squatter_gets_nothing(
    world: ContestedAddress,
) -> None:
    """Nothing proves whose the address is: the second comer gets no part of it."""
    world.switch_mail(on=False)
    world.register(OF_MALLORY)
    mallory = world.log_in(USERPASS, by_password(OF_MALLORY))
    before = world.account()

    register = world.post("register", email=EMAIL, password=OF_ADA)
    reset = world.post("reset/send", email=EMAIL)

    assert (register.status, reset.status) == (409, 400)
    assert world.account() == before
    assert_password_is_dead(world, OF_ADA)
    assert world.is_alive(mallory)


def confirmed(world: ContestedAddress) -> Opened:
    """Register and confirm Ada's address by mail, and log in."""
    world.register(OF_ADA)
    world.confirm_newest()
    return world.log_in(USERPASS, by_password(OF_ADA))


def test_given_old_sessions_when_the_password_is_reset_then_no_token_is_good(
    world: ContestedAddress,
) -> None:
    """Unexpired session: at once, although the access tokens live on by their `exp`."""
    first = confirmed(world)
    world.link(first, CUSTOM, by_token("ada"))
    sessions = [
        first,
        world.log_in(USERPASS, by_password(OF_ADA)),
        world.log_in(CUSTOM, by_token("ada")),
    ]
    assert all(world.is_alive(opened) for opened in sessions)

    world.reset()

    for opened in sessions:
        assert_shut_out(world, opened)
    item = world.service.user_item(first["user_id"])
    assert item is not None
    assert item["sessions"] == {"M": {}}
    again = world.log_in(USERPASS, by_password(NEW))
    assert again["user_id"] == first["user_id"]


def test_given_an_api_key_when_the_password_is_reset_then_it_is_gone_for_good(
    world: ContestedAddress,
) -> None:
    first = confirmed(world)
    key = world.make_key(first)
    program = world.log_in(API_KEY, key)
    record = f"IDENT#{APP}#{API_KEY}#{hash_secret(key['key'])}"
    assert record in world.service.items("IDENT#")

    world.reset()

    assert_shut_out(world, program)
    assert world.try_log_in(API_KEY, key).status == 401
    assert record not in world.service.items("IDENT#")
    again = world.log_in(USERPASS, by_password(NEW))
    listed = world.service.send(LIST_KEYS, token=again["refresh_token"])
    assert listed.json == []
    own = world.make_key(again)  # of the same name
    assert world.log_in(API_KEY, own)["user_id"] == first["user_id"]
    assert world.try_log_in(API_KEY, key).status == 401


def test_given_a_trojan_in_a_verified_account_when_reset_then_only_the_trojan_stays(
    world: ContestedAddress,
) -> None:
    """What remains of the trojan identifier: providers.md, "Somebody else's address".

    The owner has opened the confirm mail of Mallory's registration. From then on it is
    as if the owner had registered, and a reset must not remove the other identities of
    an owner that has only forgotten a password. Session, API key and password end all
    the same. The profile shows the identity, and the owner can unlink it.
    """
    world.register(OF_MALLORY)
    world.confirm_newest()
    mallory = world.log_in(USERPASS, by_password(OF_MALLORY))
    world.link(mallory, CUSTOM, TROJAN)
    key = world.make_key(mallory)

    world.reset()

    assert_shut_out(world, mallory)
    assert_password_is_dead(world, OF_MALLORY)
    assert world.try_log_in(API_KEY, key).status == 401
    ada = world.log_in(USERPASS, by_password(NEW))
    assert world.providers(ada) == [USERPASS, CUSTOM]
    trojan = world.log_in(CUSTOM, TROJAN)
    assert trojan["user_id"] == ada["user_id"]

    assert world.unlink(ada, CUSTOM, "mallory").status == 200
    assert_shut_out(world, trojan)
    assert world.log_in(CUSTOM, TROJAN)["user_id"] != ada["user_id"]


@pytest.mark.parametrize(
    "registrations",
    [
        pytest.param([OF_ADA, OF_MALLORY], id="second"),
        pytest.param([OF_ADA, OF_MALLORY, OF_MALLORY], id="second and third"),
        pytest.param([OF_MALLORY, OF_ADA, OF_MALLORY], id="first and third"),
    ],
)
def test_given_a_trojan_in_a_contested_account_when_reset_then_it_is_gone(
    world: ContestedAddress, registrations: list[str]
) -> None:
    """Ada expects a mail, and opens the latest: that of Mallory's registration."""
    for password in registrations:
        world.register(password)
    world.confirm_newest()
    mallory = world.log_in(USERPASS, by_password(OF_MALLORY))
    world.link(mallory, CUSTOM, TROJAN)
    by_trojan = world.log_in(CUSTOM, TROJAN)
    assert_password_is_dead(world, OF_ADA)

    world.reset()

    assert_shut_out(world, mallory)
    assert_shut_out(world, by_trojan)
    assert_password_is_dead(world, OF_MALLORY)
    ada = world.log_in(USERPASS, by_password(NEW))
    assert world.providers(ada) == [USERPASS]
    assert world.log_in(CUSTOM, TROJAN)["user_id"] != ada["user_id"]


def test_given_mails_that_mallory_has_spent_when_ada_registers_then_a_reset_evicts(
    world: ContestedAddress,
) -> None:
    """Ada's own registration sends no mail, and leaves its trace all the same."""
    for _ in range(5):
        world.register(OF_MALLORY)
    world.register(OF_ADA)
    assert len(world.sent) == 5
    world.confirm_newest()
    mallory = world.log_in(USERPASS, by_password(OF_MALLORY))
    world.link(mallory, CUSTOM, TROJAN)
    by_trojan = world.log_in(CUSTOM, TROJAN)
    assert_password_is_dead(world, OF_ADA)

    world.reset()

    assert_shut_out(world, mallory)
    assert_shut_out(world, by_trojan)
    assert_password_is_dead(world, OF_MALLORY)
    ada = world.log_in(USERPASS, by_password(NEW))
    assert world.providers(ada) == [USERPASS]
    assert world.log_in(CUSTOM, TROJAN)["user_id"] != ada["user_id"]


@pytest.fixture(scope="module")
def signer() -> Signer:
    """Google's key, made once because making one is slow."""
    return Signer()


@pytest.fixture
def of_address(
    world: ContestedAddress, signer: Signer
) -> Iterator[dict[str, dict[str, str]]]:
    """Credentials by provider, each with the same address in it."""
    claims = {
        "iss": "https://accounts.google.com",
        "aud": CLIENT_ID,
        "sub": "10769",
        "exp": int(START.timestamp()) + 3600,
        "email": EMAIL,
        "email_verified": True,
    }
    with KeyServer() as server:
        url = server.publish("/certs", {"keys": [signer.jwk()]})
        world.google = {"client_ids": [CLIENT_ID], "jwks_url": url}
        world.switch_mail(on=True)
        world.register(OF_ADA)
        world.confirm_newest()
        yield {
            USERPASS: by_password(OF_ADA),
            CUSTOM: by_token("10769", email=EMAIL, email_verified=True),
            GOOGLE: {"id_token": signer.sign(claims)},
        }


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.permutations([USERPASS, CUSTOM, GOOGLE], 2)]
)
def test_given_one_address_at_two_providers_when_logged_in_then_two_users(
    world: ContestedAddress,
    of_address: dict[str, dict[str, str]],
    first: str,
    second: str,
) -> None:
    """Classic-federated merge: an address merges nothing, in whatever order."""
    before = world.log_in(first, of_address[first])

    after = world.log_in(second, of_address[second])

    assert before["user_id"] != after["user_id"]
    for opened, provider in ((before, first), (after, second)):
        shown = world.profile(opened)
        assert [i["provider_type"] for i in shown["identities"]] == [provider]
        assert shown["data"]["email"] == EMAIL
    conflict = world.try_link(after, first, of_address[first])
    assert (conflict.status, conflict.json["error_code"]) == (409, "AccountNameInUse")
    assert len(world.service.items("USER#")) == 2
    assert world.is_alive(before)
    assert world.is_alive(after)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"email": EMAIL}, id="her address"),
        pytest.param({"email": EMAIL, "email_verified": True}, id="called verified"),
        pytest.param({"sub": EMAIL}, id="her address as subject"),
        pytest.param({"sub": KEY}, id="her address's key as subject"),
        pytest.param({"sub": "{user_id}"}, id="her user id as subject"),
        pytest.param({"sub": "{identity_id}"}, id="her identity's id as subject"),
        pytest.param({"sub": "ada"}, id="her subject at another issuer"),
        pytest.param({"sub": f"ada {IDP}"}, id="her issuer in the subject"),
    ],
)
def test_given_an_issuer_that_verifies_nothing_when_it_names_her_then_another_user(
    world: ContestedAddress, claims: dict[str, str | bool]
) -> None:
    """Non-verifying identity provider: its word is good for its own subjects only."""
    ada = confirmed(world)
    world.link(ada, CUSTOM, by_token("ada"))
    shown = world.profile(ada)
    hers = {"user_id": ada["user_id"], "identity_id": shown["identities"][0]["id"]}
    sub = str(claims.get("sub", "mallory")).format(**hers)
    forged = by_token(sub, LAX, **{k: v for k, v in claims.items() if k != "sub"})

    mallory = world.log_in(CUSTOM, forged)

    assert mallory["user_id"] != ada["user_id"]
    assert world.providers(mallory) == [CUSTOM]
    assert world.profile(ada) == shown
    register = world.post("register", email=EMAIL, password=OF_MALLORY)
    assert register.status == 409


def test_given_a_guest_token_from_before_the_link_when_used_then_nothing_is_replaced(
    world: ContestedAddress,
) -> None:
    """The token says `anonymous: true` until it expires. The table has the truth."""
    guest = world.service.log_in()
    old = guest["access_token"]
    world.register(OF_ADA)
    world.confirm_newest()
    world.link(guest, USERPASS, by_password(OF_ADA))
    address = "mallory@example.com"
    world.post("register", email=address, password=OF_MALLORY)
    world.post("confirm", **world.newest_mail(address))
    before = [world.service.items(prefix) for prefix in ("USER#", "IDENT#")]

    second = world.try_link(
        {"access_token": old}, USERPASS, {"username": address, "password": OF_MALLORY}
    )
    deleted = world.service.send(DELETE, token=old)
    anew = world.post("register", email=EMAIL, password=OF_MALLORY)

    assert (second.status, second.json["error_code"]) == (401, "InvalidSession")
    assert (deleted.status, deleted.json["error_code"]) == (401, "InvalidSession")
    assert (anew.status, anew.json["error_code"]) == (409, "AccountNameInUse")
    after = [world.service.items(prefix) for prefix in ("USER#", "IDENT#")]
    assert after == before
    ada = world.log_in(USERPASS, by_password(OF_ADA))
    assert ada["user_id"] == guest["user_id"]
    world.service.send(LOGOUT, token=guest["refresh_token"])
    assert_shut_out(world, guest)


def test_given_an_unlinked_identity_when_its_sessions_go_on_then_they_have_ended(
    world: ContestedAddress,
) -> None:
    """A stranger that held the credential loses the user, and gets a new one."""
    ada = confirmed(world)
    world.link(ada, CUSTOM, TROJAN)
    mallory = world.log_in(CUSTOM, TROJAN)
    assert mallory["user_id"] == ada["user_id"]

    assert world.unlink(ada, CUSTOM, "mallory").status == 200

    assert_shut_out(world, mallory)
    assert world.is_alive(ada)
    again = world.log_in(CUSTOM, TROJAN)
    assert again["user_id"] != ada["user_id"]
    assert world.providers(ada) == [USERPASS]


def test_given_a_copied_api_key_when_it_is_deleted_then_nothing_of_its_holder_stays(
    world: ContestedAddress,
) -> None:
    """With the key Mallory is in, but cannot settle: no identity, no key, no unlink."""
    ada = confirmed(world)
    world.link(ada, CUSTOM, by_token("ada"))
    key = world.make_key(ada)
    mallory = world.log_in(API_KEY, key)
    before = world.service.items("USER#"), world.service.items("IDENT#")

    linking = world.try_link(mallory, CUSTOM, TROJAN)
    making = world.service.send(
        CREATE_KEY, token=mallory["refresh_token"], body='{"name":"another"}'
    )
    unlinking = world.unlink(mallory, CUSTOM, "ada")

    assert (linking.status, linking.json["error_code"]) == (403, "AuthError")
    assert (making.status, making.json["error_code"]) == (403, "AuthError")
    assert (unlinking.status, unlinking.json["error_code"]) == (403, "AuthError")
    assert (world.service.items("USER#"), world.service.items("IDENT#")) == before
    (listed,) = world.service.send(LIST_KEYS, token=ada["refresh_token"]).json
    deleted = world.service.send(
        DELETE_KEY, token=ada["refresh_token"], parameters={"id": listed["_id"]}
    )
    assert deleted.status == 200
    assert_shut_out(world, mallory)
    assert world.try_log_in(API_KEY, key).status == 401
    assert world.is_alive(ada)


def test_given_a_deleted_account_when_its_address_is_registered_then_nothing_is_left(
    world: ContestedAddress,
) -> None:
    """A recycled address: neither tokens, nor mails, nor identities of before."""
    world.switch_mail(on=False)
    world.register(OF_MALLORY)
    mallory = world.log_in(USERPASS, by_password(OF_MALLORY))
    world.link(mallory, CUSTOM, TROJAN)
    key = world.make_key(mallory)
    world.switch_mail(on=True)
    world.post("reset/send", email=EMAIL)
    old = world.newest_mail()
    deleted = world.service.send(DELETE, token=mallory["access_token"])
    assert deleted.status == 200

    ada = confirmed(world)

    assert ada["user_id"] != mallory["user_id"]
    assert_shut_out(world, mallory)
    assert_token_is_dead(world, "reset", old)
    assert_password_is_dead(world, OF_MALLORY)
    assert world.try_log_in(API_KEY, key).status == 401
    assert world.log_in(CUSTOM, TROJAN)["user_id"] not in {
        ada["user_id"],
        mallory["user_id"],
    }
