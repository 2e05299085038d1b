"""POST …/auth/providers/{provider}/login without `?link=true`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import identity_key
from anonauth.domain.users import ApiKey
from anonauth.errors import BadCredential
from support.contracts.store_contract import NOW
from support.memory_store import MemoryStore
from support.service.harness import (
    APP,
    LOGOUT,
    NO_DEVICE,
    OTHER_APP,
    SESSION,
    START,
    Deployment,
)
from support.service.provider_logins import (
    DAY,
    DEVICE_ID,
    NEW_PASSWORD,
    PROVIDERS_ON,
    by_password,
    by_token,
    claims_of,
    link,
    log_in,
    on_device,
    profile,
    register,
    register_anew,
    reset_by_mail,
)
from support.service.use_cases import UseCases
from support.service.wire import EACH_FAULT, no_connection, preceded_by
from support.time_machine import PlainTokens

pytestmark = pytest.mark.usefixtures("providers_on")


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
        "merged",
    }
    assert reply.json["user_id"] == guest["user_id"]
    claims = claims_of(reply.json["access_token"])
    assert claims["provider"] == "custom-token"
    assert claims["iss"] == claims_of(guest["access_token"])["iss"]
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
    assert item["version"] == {"N": "1"}
    assert item["last_active_day"] == {"S": "2026-03-10"}
    (identity,) = item["identities"]["L"]
    assert identity["M"]["provider"] == {"S": "custom-token"}
    assert identity["M"]["id"] == {"S": "ada"}
    second = log_in(service, "custom-token", by_token())
    assert second.json["user_id"] == reply.json["user_id"]
    assert second.json["refresh_token"] != reply.json["refresh_token"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: {}, id="not listed"),
        pytest.param(
            lambda key: {key.id: replace(key, disabled=True)}, id="switched off"
        ),
        pytest.param(lambda key: {key.id: replace(key, hash="x")}, id="other hash"),
    ],
)
def test_given_a_key_that_the_user_does_not_list_so_when_logging_in_then_it_is_invalid(
    change: Callable[[ApiKey], dict[str, ApiKey]],
) -> None:
    """The user's item decides, not the record by which the key was found."""
    store = MemoryStore()
    cases = UseCases(store, PlainTokens())
    opened = cases.log_in_by("custom-token", {"token": "ada"})
    key, secret = cases.create_api_key(opened, "ci")
    by_key = cases.log_in_by("api-key", {"key": secret})
    user = cases.read(opened, NOW)
    store.users[APP, user.id] = replace(user, api_keys=change(key))

    with pytest.raises(BadCredential) as refused:
        cases.log_in_by("api-key", {"key": secret})

    assert by_key.user.id == opened.user.id
    assert refused.value.reason == "invalid API key"


def test_given_a_user_made_again_when_an_identity_is_back_then_it_is_as_it_was() -> (
    None
):
    """The login returns the user as it is stored. Other tests: test_lost_users.py."""
    store = MemoryStore()
    cases = UseCases(store, PlainTokens())
    opened = cases.log_in_by("custom-token", {"token": "ada"})
    cases.link(opened, "custom-token", {"token": "bob"})
    del store.users[APP, opened.user.id]
    cases.log_in_by("custom-token", {"token": "ada"})
    place = (APP, "custom-token", identity_key("bob"))
    store.records[place] = replace(store.records[place], version=2)

    back = cases.log_in_by("custom-token", {"token": "bob"})

    assert back.user.identities == cases.read(back, NOW).identities
    assert [(i.id, i.version) for i in back.user.identities] == [("ada", 1), ("bob", 2)]


def test_given_a_provider_of_another_app_when_used_then_it_is_off(
    service: Deployment,
) -> None:
    assert log_in(service, "custom-token", by_token(), app=OTHER_APP).status == 401
    service.restart()  # without any settings
    assert log_in(service, "custom-token", by_token()).status == 401


def test_given_an_address_of_one_app_when_used_in_another_then_401(
    service: Deployment,
) -> None:
    service.restart_with({"apps": {"*": {"local-userpass": {}}}})
    register(service)
    here = log_in(service, "local-userpass", by_password())

    there = log_in(service, "local-userpass", by_password(), app=OTHER_APP)

    assert here.status == 200
    assert (there.status, there.json["error_code"]) == (401, "InvalidPassword")


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


def test_given_display_data_that_changed_when_logging_in_then_the_profile_follows(
    service: Deployment,
) -> None:
    log_in(service, "custom-token", by_token(nick="Ada"))

    opened = log_in(service, "custom-token", by_token(nick="Ada L."))

    assert profile(service, opened.json["access_token"])["data"] == {"name": "Ada L."}


def test_given_display_data_that_cannot_be_written_when_logging_in_then_later_it_is(
    service: Deployment,
) -> None:
    """The session is open by then, so the login succeeds."""
    log_in(service, "custom-token", by_token(nick="Ada"))
    service.wire.faults = [*[None] * 3, *[no_connection] * 3]

    first = log_in(service, "custom-token", by_token(nick="Ada L."))

    assert (first.status, service.wire.faults) == (200, [])
    assert profile(service, first.json["access_token"])["data"] == {"name": "Ada"}
    later = log_in(service, "custom-token", by_token(nick="Ada L."))
    assert profile(service, later.json["access_token"])["data"] == {"name": "Ada L."}


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
    # The session was not used for more than 60 days.
    assert service.send(SESSION, token=linked["refresh_token"]).status == 401


def test_given_an_early_and_a_late_device_when_used_daily_then_both_live(
    service: Deployment,
) -> None:
    """The engine tier runs a whole year, which takes seconds there."""
    early = service.log_in()
    link(service, early, "custom-token", by_token())
    late = log_in(service, "custom-token", by_token()).json

    midnight = START.replace(hour=0)
    for day in range(1, 63):  # two days longer than a session may be idle
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


@pytest.mark.parametrize("fault", EACH_FAULT)
@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("provider", ["custom-token", "local-userpass"])
@pytest.mark.parametrize("times", ["first", "later"])
def test_given_a_fault_at_any_call_when_logging_in_then_a_retry_converges(
    service: Deployment, provider: str, times: str, call: int, fault: Any
) -> None:
    body = by_token()
    if provider == "local-userpass":
        register(service)
        body = by_password()
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


def test_given_records_and_users_that_disagree_when_logging_in_then_503_not_401(
    service: Deployment,
) -> None:
    """The user's own list decides. Damage to our data is not the client's fault."""
    opened = log_in(service, "custom-token", by_token()).json
    store = service.services.store
    user = store.get_user(APP, opened["user_id"])
    assert user is not None
    service.db.delete_item(
        TableName=service.table, Key={"pk": {"S": f"USER#{APP}#{user.id}"}}
    )
    store.create_user(replace(user, identities=user.identities[:0]))

    assert log_in(service, "custom-token", by_token()).status == 503


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
