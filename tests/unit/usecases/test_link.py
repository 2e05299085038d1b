"""POST …/auth/providers/{provider}/login, with `?link=true` and without."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import identity_key
from support.service.harness import (
    APP,
    CREATE_KEY,
    LINK,
    LOGOUT,
    NO_DEVICE,
    OTHER_APP,
    SESSION,
    START,
    Deployment,
)
from support.service.linked import UNREADABLE_LINK
from support.service.provider_logins import (
    DAY,
    DEVICE_ID,
    EMAIL,
    EXPIRED,
    NEW_PASSWORD,
    OTHER_SECRET,
    PASSWORD,
    PROVIDERS_ON,
    a_jwt,
    by_password,
    by_token,
    claims_of,
    forget,
    is_as_before,
    link,
    log_in,
    on_device,
    profile,
    register,
    register_anew,
    reset_by_mail,
)
from support.service.wire import FAULTS, no_connection, preceded_by

pytestmark = pytest.mark.usefixtures("providers_on")


def test_given_a_guest_when_linked_then_it_is_permanent_and_goes_on(
    service: Deployment,
) -> None:
    guest = service.log_in()

    reply = link(service, guest, "custom-token", by_token(nick="Ada"))

    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json.keys() == {"access_token", "user_id", "device_id"}
    assert reply.json["user_id"] == guest["user_id"]
    claims = claims_of(reply.json["access_token"])
    assert claims["anonymous"] is False
    assert claims["sub"] == guest["user_id"]
    assert claims["sid"] == claims_of(guest["access_token"])["sid"]
    item = service.user_item(guest["user_id"])
    assert item is not None
    assert item["anonymous"] == {"BOOL": False}
    assert not {"ttl", "expires_at"} & item.keys()
    assert item["version"] == {"N": "2"}
    ((_, session),) = item["sessions"]["M"].items()
    assert "expires_at" in session["M"]
    record = service.items()[f"IDENT#{APP}#custom-token#{identity_key(' ada')}"]
    assert record["uid"] == {"S": guest["user_id"]}
    assert "ttl" not in record

    refreshed = service.send(SESSION, token=guest["refresh_token"])
    assert claims_of(refreshed.json["access_token"])["anonymous"] is False
    shown = profile(service, refreshed.json["access_token"])
    providers = [identity["provider_type"] for identity in shown["identities"]]
    assert providers == ["anon-user", "custom-token"]
    assert shown["data"] == {"name": "Ada"}
    assert "expires_at" not in shown


@pytest.mark.parametrize("query", UNREADABLE_LINK.values(), ids=UNREADABLE_LINK)
def test_given_an_unreadable_link_when_a_guest_means_one_then_400_and_it_still_can(
    service: Deployment, query: dict[str, str]
) -> None:
    """A login instead would give the identity to another user, for good."""
    guest = service.log_in()
    before = service.items()

    reply = link(service, guest, "custom-token", by_token(), query=query)

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert reply.json["error"] == "expected 'link' to be true or false, once"
    assert service.items() == before
    right = link(service, guest, "custom-token", by_token())
    assert right.json["user_id"] == guest["user_id"]


@pytest.mark.parametrize(
    ("query", "is_link"),
    [
        pytest.param({"link": "True"}, True, id="as Python writes it"),
        pytest.param({"link": "TRUE"}, True, id="in capitals"),
        pytest.param({"Link": "True"}, True, id="the name too"),
        pytest.param({"link": "False"}, False, id="false, as Python writes it"),
        pytest.param({"LINK": "FALSE"}, False, id="false in capitals"),
        pytest.param({"links": "true"}, False, id="another name"),
    ],
)
def test_given_a_link_in_capitals_when_asked_for_then_it_is_understood(
    service: Deployment, query: dict[str, str], *, is_link: bool
) -> None:
    guest = service.log_in()

    reply = link(service, guest, "custom-token", by_token(), query=query)

    assert reply.status == 200
    assert (reply.json["user_id"] == guest["user_id"]) is is_link
    assert len(service.items("USER#")) == (1 if is_link else 2)


def test_given_a_linked_user_when_it_logs_in_elsewhere_then_it_is_the_same_user(
    service: Deployment,
) -> None:
    guest = service.log_in()
    link(service, guest, "custom-token", by_token())

    reply = log_in(service, "custom-token", by_token())

    assert reply.status == 200
    assert reply.json.keys() == {
        "access_token",
        "refresh_token",
        "user_id",
        "device_id",
    }
    assert reply.json["user_id"] == guest["user_id"]
    assert claims_of(reply.json["access_token"])["provider"] == "custom-token"
    identity = claims_of(reply.json["refresh_token"])["baas_identity"]
    assert identity["id"] == "ada"
    item = service.user_item(guest["user_id"])
    assert item is not None
    assert len(item["sessions"]["M"]) == 2
    for opened in (guest, reply.json):
        assert service.send(SESSION, token=opened["refresh_token"]).status == 200


def test_given_a_linked_user_when_it_logs_out_then_only_that_session_ends(
    service: Deployment,
) -> None:
    guest = service.log_in()
    link(service, guest, "custom-token", by_token())
    other = log_in(service, "custom-token", by_token()).json

    assert service.send(LOGOUT, token=guest["refresh_token"]).status == 200

    assert service.send(SESSION, token=guest["refresh_token"]).status == 401
    assert service.send(SESSION, token=other["refresh_token"]).status == 200
    assert service.user_item(guest["user_id"]) is not None
    again = log_in(service, "custom-token", by_token())
    assert again.json["user_id"] == guest["user_id"]


def test_given_a_new_identity_when_it_logs_in_then_a_permanent_user_is_made(
    service: Deployment,
) -> None:
    reply = log_in(service, "custom-token", by_token())

    assert reply.status == 200
    item = service.user_item(reply.json["user_id"])
    assert item is not None
    assert item["anonymous"] == {"BOOL": False}
    assert not {"ttl", "expires_at"} & item.keys()
    (identity,) = item["identities"]["L"]
    assert identity["M"]["provider"] == {"S": "custom-token"}
    assert identity["M"]["id"] == {"S": "ada"}
    second = log_in(service, "custom-token", by_token())
    assert second.json["user_id"] == reply.json["user_id"]
    assert second.json["refresh_token"] != reply.json["refresh_token"]


def test_given_a_registered_address_when_linked_then_it_logs_in_to_the_guest(
    service: Deployment,
) -> None:
    register(service)
    guest = service.log_in()
    assert list(service.items("USER#")) == [f"USER#{APP}#{guest['user_id']}"]

    linked = link(service, guest, "local-userpass", by_password())

    assert linked.status == 200
    opened = log_in(service, "local-userpass", by_password(username="ADA@example.org"))
    assert opened.json["user_id"] == guest["user_id"]
    shown = profile(service, opened.json["access_token"])
    assert shown["data"] == {"email": EMAIL}
    assert shown["identities"][1]["provider_type"] == "local-userpass"


def test_given_several_providers_when_linked_then_they_are_listed_in_that_order(
    service: Deployment,
) -> None:
    register(service)
    guest = service.log_in()

    for provider, body in (
        ("custom-token", by_token("first", nick="First")),
        ("local-userpass", by_password()),
        ("custom-token", by_token("second", nick="Second")),
    ):
        assert link(service, guest, provider, body).status == 200

    shown = profile(service, guest["access_token"])
    assert [identity["id"] for identity in shown["identities"]][1::2] == [
        "first",
        "second",
    ]
    assert shown["data"] == {"name": "First", "email": EMAIL}


def test_given_an_identity_of_the_user_when_linked_again_then_nothing_is_written(
    service: Deployment,
) -> None:
    register(service)
    guest = service.log_in()
    for provider, body in (
        ("custom-token", by_token()),
        ("local-userpass", by_password()),
    ):
        assert link(service, guest, provider, body).status == 200
        before = service.items()

        again = link(service, guest, provider, body)

        assert again.status == 200
        assert claims_of(again.json["access_token"])["anonymous"] is False
        assert service.items() == before


def test_given_an_identity_of_another_when_linked_then_409_and_both_live_on(
    service: Deployment,
) -> None:
    register(service)
    owner, guest = service.log_in(), service.log_in()
    for provider, body in (
        ("custom-token", by_token()),
        ("local-userpass", by_password()),
    ):
        assert link(service, owner, provider, body).status == 200
        before = service.items()

        reply = link(service, guest, provider, body)

        assert (reply.status, reply.json["error_code"]) == (409, "AccountNameInUse")
        assert (
            reply.json["error"] == "a user already exists with the specified provider"
        )
        assert service.items() == before
    assert is_as_before(service, guest)


def test_given_a_linked_address_when_a_second_is_linked_then_the_old_services_refusal(
    service: Deployment,
) -> None:
    register(service)
    register(service, "eve@example.org")
    guest = service.log_in()
    assert link(service, guest, "local-userpass", by_password()).status == 200

    reply = link(
        service, guest, "local-userpass", by_password(username="eve@example.org")
    )

    assert (reply.status, reply.json["error_code"]) == (400, "InternalServerError")
    assert reply.json["error"] == (
        "linking a local-userpass identity is not allowed when one is already linked"
    )
    assert profile(service, guest["access_token"])["data"] == {"email": EMAIL}
    opened = log_in(service, "local-userpass", by_password())
    assert opened.json["user_id"] == guest["user_id"]


def test_given_ten_identities_when_one_more_is_linked_then_400(
    service: Deployment,
) -> None:
    guest = service.log_in()
    for number in range(9):
        body = by_token(f"sub-{number}")
        assert link(service, guest, "custom-token", body).status == 200

    reply = link(service, guest, "custom-token", by_token("sub-9"))

    assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
    assert link(service, guest, "custom-token", by_token("sub-0")).status == 200
    assert len(service.items("IDENT#")) == 9


# Provider, body, then code and status of a login and of a link (client-api.md §4, §7).
REFUSED = [
    pytest.param(
        "custom-token", {"token": a_jwt(secret=OTHER_SECRET)}, "AuthError", id="forged"
    ),
    pytest.param("custom-token", {"token": "x"}, "AuthError", id="not a JWT"),
    pytest.param("custom-token", by_token(aud=OTHER_APP), "AuthError", id="other aud"),
    pytest.param("custom-token", by_token(exp=EXPIRED), "AuthError", id="expired"),
    pytest.param("local-userpass", by_password("wrong"), "InvalidPassword", id="wrong"),
    pytest.param(
        "local-userpass",
        by_password(username="nobody@example.org"),
        "InvalidPassword",
        id="unknown e-mail",
    ),
]


@pytest.mark.parametrize(("provider", "body", "code"), REFUSED)
def test_given_a_bad_credential_when_used_then_401_to_log_in_and_403_to_link(
    service: Deployment, provider: str, body: dict[str, Any], code: str
) -> None:
    register(service)
    guest = service.log_in()
    users = service.items("USER#")

    login = log_in(service, provider, body)
    linking = link(service, guest, provider, body)

    assert (login.status, login.json["error_code"]) == (401, code)
    assert login.json["error"] == "unauthorized"
    assert (linking.status, linking.json["error_code"]) == (403, code)
    assert linking.json["error"] != "unauthorized"
    assert service.items("USER#") == users
    assert is_as_before(service, guest)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        pytest.param("custom-token", {}, id="no token"),
        pytest.param("custom-token", {"token": 1}, id="token of another type"),
        pytest.param("local-userpass", {"username": EMAIL}, id="no password"),
        pytest.param("local-userpass", {"password": PASSWORD}, id="no username"),
        pytest.param("local-userpass", by_password() | {"options": 1}, id="options"),
    ],
)
def test_given_a_malformed_credential_when_used_then_400_and_nothing_changes(
    service: Deployment, provider: str, body: dict[str, Any]
) -> None:
    guest = service.log_in()
    before = service.items()

    for reply in (
        log_in(service, provider, body),
        link(service, guest, provider, body),
    ):
        assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert service.items() == before


@pytest.mark.parametrize(
    "provider", ["oauth2-google", "custom-function", "oauth2-facebook", "nonsense", ""]
)
def test_given_a_provider_that_is_off_when_used_then_the_contracts_answers(
    service: Deployment, provider: str
) -> None:
    guest = service.log_in()
    before = service.items()

    login = log_in(service, provider, by_token())
    linking = link(service, guest, provider, by_token())

    text = f"authentication via '{provider}' is unsupported"
    assert (login.status, login.json["error_code"]) == (401, "InvalidSession")
    assert login.json["error"] == text
    assert (linking.status, linking.json["error_code"]) == (404, "AuthProviderNotFound")
    assert linking.json["error"] == text
    assert service.items() == before


def test_given_a_provider_of_another_app_when_used_then_it_is_off(
    service: Deployment,
) -> None:
    assert log_in(service, "custom-token", by_token(), app=OTHER_APP).status == 401
    service.restart()  # no settings at all
    assert log_in(service, "custom-token", by_token()).status == 401


def test_given_an_app_when_identities_are_used_then_they_are_of_that_app(
    service: Deployment,
) -> None:
    service.restart_with({"apps": {"*": {"local-userpass": {}}}})
    register(service)
    here = log_in(service, "local-userpass", by_password())

    there = log_in(service, "local-userpass", by_password(), app=OTHER_APP)

    assert here.status == 200
    assert (there.status, there.json["error_code"]) == (401, "InvalidPassword")


def test_given_a_token_of_another_app_when_linking_then_400_not_401(
    service: Deployment,
) -> None:
    """A refresh would give the same again, and realm-web would ask for ever."""
    guest = service.log_in(app=OTHER_APP)

    reply = link(service, guest, "custom-token", by_token())

    assert (reply.status, reply.json["error_code"]) == (400, "UserAppDomainMismatch")
    assert service.items("IDENT#") == {}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no header"),
        pytest.param({"authorization": "Bearer null"}, id="Bearer null"),
        pytest.param({"authorization": "Basic eA=="}, id="other scheme"),
    ],
)
def test_given_no_access_token_when_linking_then_401_before_anything_else(
    service: Deployment, headers: dict[str, str]
) -> None:
    for provider in ("custom-token", "nonsense"):
        reply = link(service, {"access_token": None}, provider, {}, headers=headers)

        assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.items("IDENT#") == {}


def test_given_a_guest_that_logged_out_when_linking_then_401(
    service: Deployment,
) -> None:
    guest = service.log_in()
    service.send(LOGOUT, token=guest["refresh_token"])

    reply = link(service, guest, "custom-token", by_token())

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.items("IDENT#") == {}
    assert service.items("USER#") == {}


def test_given_a_guest_in_its_last_second_when_linking_then_it_is_saved(
    service: Deployment,
) -> None:
    service.restart_with(PROVIDERS_ON, ACCESS_TOKEN_MINUTES="60")
    early, late = service.log_in(), service.log_in()
    expires_at = datetime.fromisoformat(early["expires_at"])

    service.now = expires_at - timedelta(seconds=1)
    service.rotate()
    fresh = {"access_token": access_token_of(service, early)}
    assert link(service, fresh, "custom-token", by_token("early")).status == 200
    stale = {"access_token": access_token_of(service, late)}
    service.now = expires_at
    assert link(service, stale, "custom-token", by_token("late")).status == 401


def access_token_of(service: Deployment, guest: dict[str, Any]) -> str:
    """Sign an access token without a refresh, which would push the expiry."""
    store, tokens = service.services.store, service.services.tokens
    user = store.get_user(APP, guest["user_id"])
    assert user is not None
    (session,) = user.sessions.values()
    return tokens.access_token(
        user, session, base_url="https://x.example", now=service.now
    )


def test_given_an_api_key_when_linked_then_it_is_refused_whoevers_it_is(
    service: Deployment,
) -> None:
    owner, guest = service.log_in(), service.log_in()
    link(service, owner, "custom-token", by_token())
    made = service.send(
        CREATE_KEY, token=owner["refresh_token"], body=json.dumps({"name": "ci"})
    )
    body = {"key": made.json["key"]}

    for user in (owner, guest):
        reply = link(service, user, "api-key", body)
        assert (reply.status, reply.json["error_code"]) == (400, "InvalidParameter")
        assert reply.json["error"] == "invalid user link request"
    opened = log_in(service, "api-key", body)
    assert opened.json["user_id"] == owner["user_id"]
    assert profile(service, opened.json["access_token"])["type"] == "server"


def test_given_a_guest_older_than_the_cap_when_linked_then_its_session_goes_on(
    service: Deployment,
) -> None:
    """The cap is for permanent users: it counts from the link."""
    service.restart_with(PROVIDERS_ON, SESSION_MAX_DAYS="30")
    guest = service.log_in()
    for _ in range(4):
        service.advance(10 * DAY)
        guest |= service.send(SESSION, token=guest["refresh_token"]).json

    assert link(service, guest, "custom-token", by_token()).status == 200

    service.advance(29 * DAY)
    assert service.send(SESSION, token=guest["refresh_token"]).status == 200
    service.advance(DAY)
    assert service.send(SESSION, token=guest["refresh_token"]).status == 401


def test_given_a_device_id_when_logging_in_by_an_identity_then_it_comes_back(
    service: Deployment,
) -> None:
    opened = log_in(service, "custom-token", by_token() | on_device(DEVICE_ID)).json

    assert opened["device_id"] == DEVICE_ID
    for token in (opened["access_token"], opened["refresh_token"]):
        assert claims_of(token)["baas_device_id"] == DEVICE_ID


def test_given_a_device_without_an_id_when_logging_in_again_then_each_session_has_one(
    service: Deployment,
) -> None:
    ids = set()
    for _ in range(2):
        opened = log_in(service, "custom-token", by_token() | on_device(None)).json
        ids.add(opened["device_id"])
        for token in (opened["access_token"], opened["refresh_token"]):
            assert claims_of(token)["baas_device_id"] == opened["device_id"]

    assert len(ids - {NO_DEVICE}) == 2
    (user,) = service.items("USER#").values()
    sessions = user["sessions"]["M"].values()
    assert {session["M"]["device_id"]["S"] for session in sessions} == ids


@pytest.mark.parametrize("before", [NO_DEVICE, DEVICE_ID], ids=["none", "an id"])
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"options": {"device": {"platform": "ios"}}}, id="no id"),
        pytest.param({"options": {"device": {"deviceId": "a" * 24}}}, id="another"),
    ],
)
def test_given_a_session_when_it_links_then_its_own_device_id_is_answered(
    service: Deployment, before: str, sent: dict[str, Any]
) -> None:
    """The one that its tokens have: a link goes on with its session."""
    has_id = before != NO_DEVICE
    guest = service.log_in(body=json.dumps(on_device(before) if has_id else {}))

    linked = link(service, guest, "custom-token", by_token() | sent).json
    repeated = link(service, guest, "custom-token", by_token() | sent).json

    refreshed = service.send(SESSION, token=guest["refresh_token"]).json
    for answer in (guest, linked, repeated):
        assert answer["device_id"] == before
    for answer in (guest, linked, repeated, refreshed):
        assert claims_of(answer["access_token"])["baas_device_id"] == before


def test_given_a_get_when_it_starts_a_browser_login_then_a_clear_answer(
    service: Deployment,
) -> None:
    for provider in ("oauth2-google", "anon-user"):
        reply = service.send(
            LINK.replace("POST", "GET"), parameters={"provider": provider}
        )

        assert (reply.status, reply.json["error_code"]) == (404, "AuthProviderNotFound")
        assert "login by redirects is not offered" in reply.json["error"]


def test_given_display_data_that_changed_when_logging_in_then_the_profile_follows(
    service: Deployment,
) -> None:
    log_in(service, "custom-token", by_token(nick="Ada"))

    opened = log_in(service, "custom-token", by_token(nick="Ada L."))

    assert profile(service, opened.json["access_token"])["data"] == {"name": "Ada L."}


def test_given_33_logins_when_counted_then_32_sessions_are_left_the_newest(
    service: Deployment,
) -> None:
    opened = [log_in(service, "custom-token", by_token()).json]
    for _ in range(32):
        service.now += timedelta(seconds=1)
        opened.append(log_in(service, "custom-token", by_token()).json)

    item = service.user_item(opened[0]["user_id"])
    assert item is not None
    assert len(item["sessions"]["M"]) == 32
    assert service.send(SESSION, token=opened[0]["refresh_token"]).status == 401
    for body in opened[1:]:
        assert service.send(SESSION, token=body["refresh_token"]).status == 200


def test_given_a_linked_user_when_3_years_pass_then_it_logs_in_and_a_guest_does_not(
    service: Deployment,
) -> None:
    linked, guest = service.log_in(), service.log_in()
    link(service, linked, "custom-token", by_token())

    for _ in range(3 * 12):
        service.advance(timedelta(days=31))

    opened = log_in(service, "custom-token", by_token())
    assert opened.json["user_id"] == linked["user_id"]
    assert service.send(SESSION, token=guest["refresh_token"]).status == 401
    # Nobody used that session for more than 60 days.
    assert service.send(SESSION, token=linked["refresh_token"]).status == 401


def test_given_an_early_and_a_late_device_when_used_daily_then_both_live(
    service: Deployment,
) -> None:
    """For a year in the engine tier, where a year takes seconds."""
    early = service.log_in()
    link(service, early, "custom-token", by_token())
    late = log_in(service, "custom-token", by_token()).json

    midnight = START.replace(hour=0)
    for day in range(1, 63):  # two days more than a session may rest
        service.now = midnight + day * DAY + timedelta(minutes=1)
        if not day % 30:
            service.rotate()
        assert service.send(SESSION, token=early["refresh_token"]).status == 200
        service.now = midnight + day * DAY + timedelta(hours=23, minutes=59)
        assert service.send(SESSION, token=late["refresh_token"]).status == 200


@pytest.mark.parametrize(
    ("wait", "status"),
    [
        pytest.param(timedelta(seconds=-1), 200, id="last second"),
        pytest.param(timedelta(), 401, id="over"),
    ],
)
def test_given_a_permanent_session_when_idle_then_it_lives_for_60_full_days(
    service: Deployment, wait: timedelta, status: int
) -> None:
    opened = log_in(service, "custom-token", by_token()).json

    service.now = START.replace(hour=1) + 61 * DAY + wait
    service.rotate()
    service.rotate()

    assert service.send(SESSION, token=opened["refresh_token"]).status == status


def test_given_a_cap_when_a_session_is_used_daily_then_it_ends_at_the_cap(
    service: Deployment,
) -> None:
    service.restart_with(PROVIDERS_ON, SESSION_MAX_DAYS="3", SESSION_IDLE_DAYS="2")
    opened = log_in(service, "custom-token", by_token()).json

    for _ in range(2):
        service.advance(DAY)
        assert service.send(SESSION, token=opened["refresh_token"]).status == 200
    service.advance(DAY - timedelta(seconds=1))
    assert service.send(SESSION, token=opened["refresh_token"]).status == 200
    service.advance(timedelta(seconds=1))
    assert service.send(SESSION, token=opened["refresh_token"]).status == 401


def test_given_each_operation_when_counted_then_it_costs_what_it_must(
    service: Deployment,
) -> None:
    register(service)
    guest, other = service.log_in(), service.log_in()
    log_in(service, "custom-token", by_token("warm"))

    def calls(reply: Any) -> list[str]:
        return service.counted(reply)

    transaction = ["GetItem", "TransactWriteItems"]
    # A password needs its record and its counts, and a try that is given back.
    password = ["BatchGetItem", "UpdateItem", "UpdateItem"]
    # Link: the user as well.
    assert (
        calls(lambda: link(service, guest, "custom-token", by_token())) == transaction
    )
    assert calls(lambda: link(service, guest, "local-userpass", by_password())) == [
        "GetItem",
        *password,
        "TransactWriteItems",
    ]
    # Again: no write. Somebody else's: both are read again, to say so.
    assert calls(lambda: link(service, guest, "custom-token", by_token())) == [
        "GetItem"
    ]
    assert calls(lambda: link(service, other, "custom-token", by_token())) == [
        *transaction,
        "GetItem",
        "GetItem",
    ]
    # First login, and later ones.
    assert (
        calls(lambda: log_in(service, "custom-token", by_token("new"))) == transaction
    )
    later = ["GetItem", "UpdateItem"]
    assert calls(lambda: log_in(service, "custom-token", by_token())) == [
        "GetItem",
        *later,
    ]
    assert calls(lambda: log_in(service, "local-userpass", by_password())) == [
        *password,
        *later,
    ]
    # A wrong password is counted for the account, the network, and both.
    assert calls(lambda: log_in(service, "local-userpass", by_password("no"))) == [
        "BatchGetItem",
        *["UpdateItem"] * 3,
    ]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("call", range(5))
@pytest.mark.parametrize("provider", ["custom-token", "local-userpass"])
def test_given_a_fault_at_any_call_when_linking_then_a_retry_converges(
    service: Deployment, provider: str, call: int, fault: Any
) -> None:
    """503 or done, never 401 or 403; and afterwards one user has it, and is whole."""
    register(service)
    guest = service.log_in()
    body = by_password() if provider == "local-userpass" else by_token()
    service.wire.faults = [None] * call + [fault] * 3

    first = link(service, guest, provider, body)
    service.wire.faults = []
    again = link(service, guest, provider, body)

    assert first.status in {200, 503}
    assert again.status == 200
    assert len(profile(service, guest["access_token"])["identities"]) == 2
    assert service.send(SESSION, token=guest["refresh_token"]).status == 200


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("provider", ["custom-token", "local-userpass"])
@pytest.mark.parametrize("times", ["first", "later"])
def test_given_a_fault_at_any_call_when_logging_in_then_a_retry_converges(
    service: Deployment, provider: str, times: str, call: int, fault: Any
) -> None:
    register(service)
    body = by_password() if provider == "local-userpass" else by_token()
    if times == "later":
        log_in(service, provider, body)
    service.wire.faults = [None] * call + [fault] * 3

    first = log_in(service, provider, body)
    service.wire.faults = []
    again = log_in(service, provider, body)

    assert first.status in {200, 503}
    assert again.status == 200
    assert len(service.items("USER#")) == 1
    assert service.send(SESSION, token=again.json["refresh_token"]).status == 200


def test_given_settings_that_are_wrong_when_linking_then_503_and_the_guest_lives(
    service: Deployment,
) -> None:
    guest = service.log_in()
    service.restart_with('{"apps": {"*": {"api-key": {"enabled": "yes"}}}}')

    assert link(service, guest, "custom-token", by_token()).status == 503
    assert log_in(service, "custom-token", by_token()).status == 503
    assert is_as_before(service, guest)


def test_given_settings_that_change_when_5_minutes_pass_then_they_are_in_effect(
    service: Deployment,
) -> None:
    assert log_in(service, "custom-token", by_token()).status == 200
    running = service.services
    service.restart_with({"apps": {}})
    service.services = running

    service.now += timedelta(minutes=5) - timedelta(seconds=1)
    assert log_in(service, "custom-token", by_token()).status == 200
    service.now += timedelta(seconds=1)
    assert log_in(service, "custom-token", by_token()).status == 401


def test_given_a_user_whose_session_raced_a_deletion_when_linking_then_401(
    service: Deployment,
) -> None:
    """The transaction is refused; the user read again is not there any more."""
    guest = service.log_in()
    store = service.services.store

    class Deleting:
        def link_identity(
            self, user: Any, session: Any, *rest: Any, **how: Any
        ) -> bool:
            assert store.delete_user(user, session, service.now)
            return store.link_identity(user, session, *rest, **how)

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    service.services.store = Deleting()  # type: ignore[assignment]

    reply = link(service, guest, "custom-token", by_token())

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    assert service.items("IDENT#") == {}


def test_given_records_and_users_that_disagree_when_logging_in_then_503_not_401(
    service: Deployment,
) -> None:
    """The user's own list is the authority; damage of ours is not the client's."""
    opened = log_in(service, "custom-token", by_token()).json
    store = service.services.store
    user = store.get_user(APP, opened["user_id"])
    assert user is not None
    service.db.delete_item(
        TableName=service.table, Key={"pk": {"S": f"USER#{APP}#{user.id}"}}
    )
    store.create_user(replace(user, identities=user.identities[:0]))

    assert log_in(service, "custom-token", by_token()).status == 503


def test_given_kms_is_down_when_linking_cold_then_nothing_was_linked(
    service: Deployment,
) -> None:
    """A client may have nothing to repeat the call with, such as a spent auth code."""
    guest = service.log_in()
    service.restart_with(PROVIDERS_ON)

    def no_kms(request: Any, forward: Any) -> Any:
        return no_connection(request, forward) if "kms" in request.url else forward()

    service.wire.always = no_kms
    reply = link(service, guest, "custom-token", by_token())
    service.wire.always = None

    assert reply.status == 503
    assert is_as_before(service, guest)
    assert service.items("IDENT#") == {}


def test_given_a_refused_link_when_logged_then_the_log_says_why(
    service: Deployment, log: io.StringIO
) -> None:
    guest = service.log_in()

    link(service, guest, "custom-token", by_token(exp=EXPIRED))

    line = json.loads(log.getvalue().splitlines()[-1])
    assert line["message"] == "CredentialRefused"
    assert line["reason"] == "invalid custom auth token: expired"


@pytest.mark.parametrize("change", [reset_by_mail, forget, register_anew])
def test_given_another_password_in_between_when_linking_then_403_and_a_guest_stays(
    service: Deployment, change: Callable[[Deployment], None]
) -> None:
    register(service)
    log_in(service, "custom-token", by_token("warm"))
    guest = service.log_in()
    service.wire.faults = [None, None, preceded_by(lambda: change(service))]

    reply = link(service, guest, "local-userpass", by_password())

    assert (reply.status, reply.json["error_code"]) == (403, "InvalidPassword")
    assert is_as_before(service, guest)


@pytest.mark.parametrize(
    ("provider", "credential", "calls"),
    [
        pytest.param("custom-token", by_token("bob"), 2, id="a token"),
        pytest.param("local-userpass", by_password(), 3, id="a password"),
    ],
)
def test_given_another_link_in_between_when_linking_then_the_user_has_both(
    service: Deployment, provider: str, credential: dict[str, Any], calls: int
) -> None:
    """What was verified still holds, though the user is another version."""
    register(service)
    log_in(service, "custom-token", by_token("warm"))
    guest = service.log_in()
    link(service, guest, "custom-token", by_token("first"))
    other = preceded_by(lambda: link(service, guest, "custom-token", by_token()))
    service.wire.faults = [*[None] * (calls - 1), other]

    reply = link(service, guest, provider, credential)

    assert reply.status == 200
    linked = profile(service, reply.json["access_token"])["identities"]
    assert [i["provider_type"] for i in linked] == [
        *("anon-user", "custom-token", "custom-token", provider)
    ]
    item = service.user_item(guest["user_id"])
    assert item is not None
    assert item["version"] == {"N": "4"}


def test_given_a_guest_linked_in_between_when_linking_then_its_token_is_from_before(
    service: Deployment,
) -> None:
    """The user as it is at the write decides, not as it was first read."""
    log_in(service, "custom-token", by_token("warm"))
    guest = service.log_in()
    old = guest["access_token"]
    other = preceded_by(lambda: link(service, guest, "custom-token", by_token()))
    service.wire.faults = [None, other]

    reply = link(service, guest, "custom-token", by_token("thief"), token=old)

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidSession")
    linked = profile(service, old)["identities"]
    assert [identity["id"] for identity in linked][1:] == ["ada"]
    assert len(service.items("IDENT#")) == 2


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(1, id="before the user is read"),
        pytest.param(2, id="before the session is written"),
    ],
)
def test_given_a_reset_in_between_when_the_old_password_logs_in_then_401(
    service: Deployment, calls: int
) -> None:
    register(service)
    user_id = log_in(service, "local-userpass", by_password()).json["user_id"]
    service.wire.faults = [
        *[None] * calls,
        preceded_by(lambda: reset_by_mail(service)),
    ]

    reply = log_in(service, "local-userpass", by_password())

    assert (reply.status, reply.json["error_code"]) == (401, "InvalidPassword")
    item = service.user_item(user_id)
    assert item is not None
    assert item["sessions"] == {"M": {}}


def test_given_a_reset_before_the_first_login_when_logging_in_twice_then_one_user(
    service: Deployment,
) -> None:
    register(service)
    reset_by_mail(service)
    credential = by_password(NEW_PASSWORD)

    first, second = (log_in(service, "local-userpass", credential) for _ in range(2))

    assert (first.status, second.status) == (200, 200)
    assert first.json["user_id"] == second.json["user_id"]


def test_given_an_account_made_anew_in_between_when_logging_in_then_its_session_lives(
    service: Deployment,
) -> None:
    register(service)
    log_in(service, "custom-token", by_token("warm"))
    service.wire.faults = [None, preceded_by(lambda: register_anew(service))]

    opened = log_in(service, "local-userpass", by_password())

    assert opened.status == 200
    assert profile(service, opened.json["access_token"])


def test_given_another_address_of_somebody_else_when_linked_then_409_not_400(
    service: Deployment,
) -> None:
    register(service)
    register(service, "eve@example.org")
    owner, user = service.log_in(), service.log_in()
    link(service, owner, "local-userpass", by_password())
    eves = by_password(username="eve@example.org")
    assert link(service, user, "local-userpass", eves).status == 200

    reply = link(service, user, "local-userpass", by_password())

    assert (reply.status, reply.json["error_code"]) == (409, "AccountNameInUse")
