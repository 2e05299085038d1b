"""POST …/auth/providers/{provider}/login?link=true: link an identity to a user."""

import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from anonauth.domain.encoding import identity_key
from anonauth.domain.providers import USERPASS
from support.memory_store import MemoryStore
from support.service.harness import (
    APP,
    CREATE_KEY,
    LINK,
    LOGOUT,
    NO_DEVICE,
    OTHER_APP,
    SESSION,
    Deployment,
)
from support.service.linked import UNREADABLE_LINK
from support.service.provider_logins import (
    DAY,
    DEVICE_ID,
    EMAIL,
    EXPIRED,
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
from support.service.use_cases import UseCases
from support.service.wire import EACH_FAULT, no_connection, preceded_by
from support.time_machine import PlainTokens

pytestmark = pytest.mark.usefixtures("providers_on")

WRONG_PASSWORD = "invalid username/password"


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
    before = claims_of(guest["access_token"])
    assert [claims[name] for name in ("iss", "sid")] == [before["iss"], before["sid"]]
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
def test_given_an_unreadable_link_when_a_guest_means_to_link_then_400_and_a_retry_works(
    service: Deployment, query: dict[str, str]
) -> None:
    """A login instead would bind the identity to another user for good."""
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


# Provider, body, the error code of a login and of a link, and the link's text
# (client-api.md §4, §7).
REFUSED = [
    pytest.param(
        "custom-token",
        {"token": a_jwt(secret=OTHER_SECRET)},
        "AuthError",
        "invalid custom auth token: bad signature",
        id="forged",
    ),
    pytest.param(
        "custom-token",
        {"token": "x"},
        "AuthError",
        "invalid custom auth token: malformed",
        id="not a JWT",
    ),
    pytest.param(
        "custom-token",
        by_token(aud=OTHER_APP),
        "AuthError",
        "invalid custom auth token: wrong audience",
        id="other aud",
    ),
    pytest.param(
        "custom-token",
        by_token(exp=EXPIRED),
        "AuthError",
        "invalid custom auth token: expired",
        id="expired",
    ),
    pytest.param(
        "local-userpass",
        by_password("wrong"),
        "InvalidPassword",
        WRONG_PASSWORD,
        id="wrong",
    ),
    pytest.param(
        "local-userpass",
        by_password(username="nobody@example.org"),
        "InvalidPassword",
        WRONG_PASSWORD,
        id="unknown e-mail",
    ),
]


@pytest.mark.parametrize(("provider", "body", "code", "text"), REFUSED)
def test_given_a_bad_credential_when_used_then_401_to_log_in_and_403_to_link(
    service: Deployment, provider: str, body: dict[str, Any], code: str, text: str
) -> None:
    register(service)
    guest = service.log_in()
    users = service.items("USER#")

    login = log_in(service, provider, body)
    linking = link(service, guest, provider, body)

    assert (login.status, login.json["error_code"]) == (401, code)
    assert login.json["error"] == "unauthorized"
    assert (linking.status, linking.json["error_code"]) == (403, code)
    assert linking.json["error"] == text
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
def test_given_a_provider_that_is_off_when_used_then_the_documented_answers(
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


def test_given_a_token_of_another_app_when_linking_then_400_not_401(
    service: Deployment,
) -> None:
    """A refresh would return the same token, and realm-web would repeat it forever."""
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
    """Sign an access token without a refresh, which would postpone the expiry."""
    store, tokens = service.services.store, service.services.tokens
    user = store.get_user(APP, guest["user_id"])
    assert user is not None
    (session,) = user.sessions.values()
    return tokens.access_token(
        user, session, base_url="https://x.example", now=service.now
    )


def test_given_an_api_key_when_linked_then_it_is_refused_for_every_user(
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
    """The cap is for permanent users, so it counts from the link."""
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


@pytest.mark.parametrize(
    ("wait", "status"),
    [
        pytest.param(timedelta(seconds=-1), 200, id="last second"),
        pytest.param(timedelta(), 401, id="over"),
    ],
)
def test_given_a_permanent_user_when_it_links_again_then_its_session_has_the_same_cap(
    service: Deployment, wait: timedelta, status: int
) -> None:
    service.restart_with(PROVIDERS_ON, SESSION_MAX_DAYS="30")
    body = service.log_in()
    link(service, body, "custom-token", by_token("first"))
    service.advance(20 * DAY)
    body |= service.send(SESSION, token=body["refresh_token"]).json

    assert link(service, body, "custom-token", by_token()).status == 200

    service.advance(10 * DAY + wait)
    assert service.send(SESSION, token=body["refresh_token"]).status == status


def test_given_a_guest_when_linked_then_the_user_that_is_returned_is_permanent() -> (
    None
):
    cases = UseCases(MemoryStore(), PlainTokens())
    guest = cases.log_in()

    linked = cases.link(guest, "custom-token", {"token": "ada"})

    assert (linked.user.anonymous, linked.user.expires_at) == (False, None)


@pytest.mark.parametrize("before", [NO_DEVICE, DEVICE_ID], ids=["none", "an id"])
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"options": {"device": {"platform": "ios"}}}, id="no id"),
        pytest.param({"options": {"device": {"deviceId": "a" * 24}}}, id="another"),
    ],
)
def test_given_a_session_when_it_links_then_the_answer_has_its_own_device_id(
    service: Deployment, before: str, sent: dict[str, Any]
) -> None:
    """It is the id in the session's tokens, because a link continues the session."""
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


def test_given_each_operation_when_counted_then_it_costs_what_it_must(
    service: Deployment,
) -> None:
    register(service)
    guest, other = service.log_in(), service.log_in()
    log_in(service, "custom-token", by_token("warm"))

    def calls(reply: Any) -> list[str]:
        return service.counted(reply)

    transaction = ["GetItem", "TransactWriteItems"]
    # A password costs its record, its counts, and an attempt that is given back.
    password = ["BatchGetItem", "UpdateItem", "UpdateItem"]
    # A link reads the user as well.
    assert (
        calls(lambda: link(service, guest, "custom-token", by_token())) == transaction
    )
    assert calls(lambda: link(service, guest, "local-userpass", by_password())) == [
        "GetItem",
        *password,
        "TransactWriteItems",
    ]
    # Linking again writes nothing. If another user has it, both are read again.
    assert calls(lambda: link(service, guest, "custom-token", by_token())) == [
        "GetItem"
    ]
    assert calls(lambda: link(service, other, "custom-token", by_token())) == [
        *transaction,
        "GetItem",
        "GetItem",
    ]
    # The first login, and later ones.
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


@pytest.mark.parametrize("fault", EACH_FAULT)
@pytest.mark.parametrize("call", range(5))
@pytest.mark.parametrize("provider", ["custom-token", "local-userpass"])
def test_given_a_fault_at_any_call_when_linking_then_a_retry_converges(
    service: Deployment, provider: str, call: int, fault: Any
) -> None:
    """The answer is 503 or 200, never 401 or 403. In the end one user has it all."""
    body = by_token()
    if provider == "local-userpass":
        register(service)
        body = by_password()
    guest = service.log_in()
    service.wire.faults = [None] * call + [fault] * 3

    first = link(service, guest, provider, body)
    service.wire.faults = []
    again = link(service, guest, provider, body)

    assert first.status in {200, 503}
    assert again.status == 200
    assert len(profile(service, guest["access_token"])["identities"]) == 2
    assert service.send(SESSION, token=guest["refresh_token"]).status == 200


def test_given_invalid_settings_when_linking_then_503_and_the_guest_lives(
    service: Deployment,
) -> None:
    guest = service.log_in()
    service.restart_with('{"apps": {"*": {"api-key": {"enabled": "yes"}}}}')

    assert link(service, guest, "custom-token", by_token()).status == 503
    assert log_in(service, "custom-token", by_token()).status == 503
    assert is_as_before(service, guest)


def test_given_a_user_whose_session_raced_a_deletion_when_linking_then_401(
    service: Deployment,
) -> None:
    """The transaction is refused, and the second read finds no user."""
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


def test_given_kms_is_down_when_linking_cold_then_nothing_was_linked(
    service: Deployment,
) -> None:
    """The client may have nothing to repeat the call with: an auth code works once."""
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
    assert reply.json["error"] == WRONG_PASSWORD
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
    """The credential is still verified, although the user has another version."""
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


def test_given_another_link_in_between_when_linking_then_the_network_is_known(
    service: Deployment,
) -> None:
    """The account knows the network of its link, however often the link is decided."""
    register(service)
    log_in(service, "custom-token", by_token("warm"))
    guest = service.log_in()
    link(service, guest, "custom-token", by_token("first"))
    other = preceded_by(lambda: link(service, guest, "custom-token", by_token()))
    service.wire.faults = [None, None, other]

    reply = link(service, guest, "local-userpass", by_password())

    assert reply.status == 200
    assert service.wire.faults == []
    record = service.services.store.get_identity(APP, USERPASS, identity_key(EMAIL))
    assert record is not None
    assert len(record.networks) == 1


def test_given_a_guest_linked_in_between_when_linking_then_its_token_is_from_before(
    service: Deployment,
) -> None:
    """The user at the time of the write decides, not the user that was read first."""
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


def test_given_an_address_of_another_user_when_a_second_is_linked_then_409_not_400(
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
