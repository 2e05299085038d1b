"""What an anonymous login has to pass: its network's rate limit, and a challenge."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from anonauth.challenges import SiteVerify
from anonauth.errors import SettingsUnavailable
from anonauth.issuers.fetch import Fetcher
from anonauth.provider_settings.schema import ChallengeSettings, Secret, SecretReference
from support.forgery.key_server import Answer, KeyServer, changed
from support.service.harness import APP, LOGIN, OTHER_APP, SESSION, Deployment, Reply
from support.service.rate_limits import CLIENT_PAIRS, NETWORK, assert_spent
from support.service.wire import FAULTS

VERIFY = "/turnstile/v0/siteverify"
SECRET = "0x4AAAAAAA-challenge-secret"
ANSWER = "0.challenge-answer"
PASSED = {
    "success": True,
    "error-codes": [],
    "hostname": "www.example.com",
    "action": "login",
    "score": 0.9,
}


def log_in(service: Deployment, network: str = NETWORK, **options: Any) -> Reply:
    return service.send(LOGIN, network=network, **options)


def test_given_a_rate_limit_when_it_is_reached_then_further_logins_wait_for_the_hour(
    service: Deployment,
) -> None:
    service.restart(LOGINS_PER_NETWORK="2")

    assert [log_in(service).status for _ in range(2)] == [200, 200]
    service.now += timedelta(minutes=20)
    assert_spent(log_in(service), 40 * 60)
    assert_spent(log_in(service, app=OTHER_APP), 40 * 60)
    service.now += timedelta(minutes=40, seconds=-1)
    assert_spent(log_in(service), 1)
    assert len(service.items("USER#")) == 2

    service.now += timedelta(seconds=1)
    assert log_in(service).status == 200


@pytest.mark.parametrize(("first", "second", "is_same"), CLIENT_PAIRS)
def test_given_two_clients_when_one_network_is_spent_then_the_other_goes_on(
    service: Deployment, first: str, second: str, is_same: bool
) -> None:
    service.restart(LOGINS_PER_NETWORK="1")
    log_in(service, first)

    reply = log_in(service, second)

    assert reply.status == (429 if is_same else 200)


def test_given_a_spent_budget_when_a_user_of_that_network_refreshes_then_it_may(
    service: Deployment,
) -> None:
    service.restart(LOGINS_PER_NETWORK="1")
    body = log_in(service).json
    assert log_in(service).status == 429

    reply = service.send(SESSION, token=body["refresh_token"], network=NETWORK)

    assert reply.status == 200


def test_given_a_budget_when_counted_then_the_item_goes_by_itself_and_has_no_address(
    service: Deployment,
) -> None:
    service.restart(LOGINS_PER_NETWORK="5")
    log_in(service)
    log_in(service)

    ((key, item),) = service.items("RATE#").items()
    assert key.startswith("RATE#login#")
    assert item["number"] == {"N": "2"}
    over = service.now + timedelta(hours=1)
    assert service.now.timestamp() < int(item["ttl"]["N"]) <= over.timestamp() + 3600
    assert NETWORK not in str(service.items())


@pytest.mark.parametrize(
    ("limit", "status", "calls"),
    [
        pytest.param("0", 200, ["PutItem"], id="off: no further write"),
        pytest.param("2", 200, ["UpdateItem", "PutItem"], id="within"),
        pytest.param("1", 429, ["UpdateItem"], id="over"),
    ],
)
def test_given_a_warm_login_when_counted_then_it_costs_one_write_more_at_most(
    service: Deployment, limit: str, status: int, calls: list[str]
) -> None:
    service.restart(LOGINS_PER_NETWORK=limit)
    log_in(service)

    replies: list[Reply] = []
    made = service.counted(lambda: replies.append(log_in(service)))

    assert made == calls
    assert [reply.status for reply in replies] == [status]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param({"query": {"link": "true"}}, 400, id="asks to link"),
        pytest.param({"body": "{"}, 400, id="bad body"),
        pytest.param({"app": "nobody-knows"}, 404, id="unknown app"),
    ],
)
def test_given_an_invalid_login_when_refused_then_nothing_is_counted(
    service: Deployment, sent: dict[str, Any], status: int
) -> None:
    service.restart(LOGINS_PER_NETWORK="1")

    assert log_in(service, **sent).status == status

    assert service.items("RATE#") == {}
    assert log_in(service).status == 200


@pytest.mark.parametrize("fault", FAULTS)
def test_given_a_failing_counter_when_logging_in_then_503_and_no_user(
    service: Deployment, fault: str
) -> None:
    service.restart(LOGINS_PER_NETWORK="9")
    log_in(service)  # warm
    before = service.items("USER#")
    service.wire.faults = [FAULTS[fault]] * 3

    reply = log_in(service)

    # With lost replies all three writes took effect, and the answer is still 503.
    assert reply.status == 503
    assert service.items("USER#") == before


@pytest.mark.parametrize("fault", ["lost_reply", "server_error_after_effect"])
def test_given_a_lost_reply_at_the_limit_when_repeated_then_the_login_goes_on(
    service: Deployment, fault: str
) -> None:
    service.restart(LOGINS_PER_NETWORK="2")
    log_in(service)
    service.wire.faults = [FAULTS[fault]]

    assert log_in(service).status == 200
    assert log_in(service).status == 429


# A CDN passes the client's address on in a header.

CLOUDFRONT = "CloudFront-Viewer-Address"
CLOUDFLARE = "CF-Connecting-IP"


@pytest.mark.parametrize(
    ("header", "told", "counts_as"),
    [
        pytest.param(CLOUDFLARE, "203.0.113.5", "203.0.113.5", id="IPv4"),
        pytest.param(CLOUDFLARE, " 203.0.113.5 ", "203.0.113.5", id="blanks"),
        pytest.param(CLOUDFLARE, "2001:db8:1:2::9", "2001:db8:1:2::1", id="IPv6"),
        pytest.param(CLOUDFLARE, "203.0.113.5:443", NETWORK, id="a port here"),
        pytest.param(CLOUDFLARE, "", NETWORK, id="empty"),
        pytest.param(CLOUDFLARE, "unknown", NETWORK, id="no address"),
        pytest.param(CLOUDFLARE, "203.0.113.5,198.51.100.9", NETWORK, id="twice"),
        pytest.param(CLOUDFLARE, None, NETWORK, id="absent: it came around the CDN"),
        pytest.param(CLOUDFRONT, "203.0.113.5:46532", "203.0.113.5", id="and port"),
        pytest.param(
            CLOUDFRONT, "2001:db8:1:2::9:46532", "2001:db8:1:2::1", id="IPv6 and port"
        ),
        # A port of four digits is not part of the address, whose groups 3 and 4 are 0.
        pytest.param(
            CLOUDFRONT, "2001:db8::5:6:7:8:4653", "2001:db8::1", id="four digits"
        ),
        pytest.param(
            CLOUDFRONT, "2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2::1", id="in full"
        ),
        pytest.param(
            CLOUDFRONT, "[2001:db8:1:2::9]:443", "2001:db8:1:2::1", id="in brackets"
        ),
        pytest.param(CLOUDFRONT, "203.0.113.5", NETWORK, id="no port here"),
    ],
)
def test_given_a_cdn_in_front_when_it_tells_the_address_then_that_counts(
    service: Deployment,
    log: io.StringIO,
    header: str,
    told: str | None,
    counts_as: str,
) -> None:
    service.restart(LOGINS_PER_NETWORK="1")
    log_in(service, counts_as)
    service.restart(LOGINS_PER_NETWORK="1", CLIENT_ADDRESS_HEADER=header)
    headers = {} if told is None else {header.lower(): told}

    reply = log_in(service, NETWORK, headers=headers)

    assert reply.status == 429
    unreadable = told is not None and counts_as == NETWORK
    assert ("no address in the header" in log.getvalue()) == unreadable
    assert NETWORK not in log.getvalue()


def test_given_no_cdn_when_a_client_sends_its_header_then_it_means_nothing(
    service: Deployment,
) -> None:
    service.restart(LOGINS_PER_NETWORK="1")
    log_in(service)

    for number in range(3):
        headers = {"cloudfront-viewer-address": f"203.0.113.{number}"}
        assert log_in(service, headers=headers).status == 429


# The challenge


@pytest.fixture
def verifier() -> Iterator[KeyServer]:
    """The challenge's service, which accepts any answer."""
    with KeyServer() as server:
        server.publish(VERIFY, PASSED)
        yield server


def ask(
    service: Deployment,
    verifier: KeyServer,
    secret: Any = SECRET,
    environment: dict[str, str] | None = None,
    **settings: Any,
) -> None:
    """Deploy with a challenge for `APP`, and none for other apps."""
    challenge = {"verify_url": verifier.url + VERIFY, "secret": secret, **settings}
    service.restart_with(
        {"apps": {APP: {"anon-user": {"challenge": challenge}}}},
        ALLOW_PRIVATE_ISSUERS="true",
        **{
            "ANONYMOUS_CHALLENGE": "true",
            "LOGINS_PER_NETWORK": "9",
            **(environment or {}),
        },
    )


def answering(answer: Any = ANSWER) -> dict[str, str]:
    return {"body": json.dumps({"options": {"challenge": answer}})}


def test_given_a_challenge_when_passed_then_there_is_a_user(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier)

    reply = log_in(service, **answering())

    assert reply.status == 200
    assert service.user_item(reply.json["user_id"]) is not None
    (asked,) = verifier.asked
    assert (asked.method, asked.path) == ("POST", VERIFY)
    assert asked.form == {"secret": SECRET, "response": ANSWER}  # no address


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({}, id="no body"),
        pytest.param({"body": '{"options": {}}'}, id="none"),
        pytest.param(answering(None), id="null"),
        pytest.param(answering(""), id="empty"),
    ],
)
def test_given_a_challenge_when_not_answered_then_nothing_is_asked_or_counted(
    service: Deployment, verifier: KeyServer, sent: dict[str, str]
) -> None:
    ask(service, verifier)

    reply = log_in(service, **sent)

    assert (reply.status, reply.json["error_code"]) == (400, "ChallengeFailed")
    assert "options.challenge" in reply.json["error"]
    assert verifier.asked == []
    assert service.items("USER#") == service.items("RATE#") == {}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(7, "not a string", id="a number"),
        pytest.param({}, "not a string", id="an object"),
        pytest.param("a" * 8193, "longer than 8192", id="overlong"),
    ],
)
def test_given_an_answer_of_another_kind_when_logging_in_then_bad_request(
    service: Deployment, verifier: KeyServer, answer: Any, text: str
) -> None:
    ask(service, verifier)

    reply = log_in(service, **answering(answer))

    assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")
    assert text in reply.json["error"]
    assert verifier.asked == []


@pytest.mark.parametrize("length", [2048, 8192])
def test_given_a_long_answer_when_logging_in_then_it_is_passed_on(
    service: Deployment, verifier: KeyServer, length: int
) -> None:
    ask(service, verifier)

    assert log_in(service, **answering("a" * length)).status == 200
    assert verifier.asked[0].form["response"] == "a" * length


FULL: Any = {"hostnames": ["WWW.example.com"], "action": "login", "min_score": 0.5}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({}, 200, id="all as it should be"),
        pytest.param({"hostname": "evil.example"}, 400, id="another page"),
        pytest.param({"hostname": ...}, 400, id="no page"),
        pytest.param({"hostname": "www.Example.com"}, 200, id="page in capitals"),
        pytest.param({"action": "register"}, 400, id="another action"),
        pytest.param({"action": ...}, 400, id="no action"),
        pytest.param({"score": 0.5}, 200, id="just enough"),
        pytest.param({"score": 0.49}, 400, id="not quite a person"),
        pytest.param({"score": "0.9"}, 400, id="score as text"),
        pytest.param({"score": True}, 400, id="score true"),
        pytest.param({"score": ...}, 400, id="no score"),
        pytest.param({"score": 1}, 200, id="the highest score"),
        pytest.param({"score": 1.01}, 400, id="more than the highest"),
        pytest.param({"score": float("nan")}, 400, id="score not a number"),
        pytest.param({"score": float("inf")}, 400, id="infinite score"),
        pytest.param({"score": 10**400}, 400, id="score of 401 digits"),
        pytest.param({"success": 1}, 503, id="success is no truth value"),
        pytest.param({"success": ...}, 503, id="says nothing"),
        pytest.param({"success": False}, 400, id="no, without a reason"),
        pytest.param({"success": False, "error-codes": ...}, 400, id="just no"),
        *(
            pytest.param({"success": False, "error-codes": [code]}, status, id=code)
            for code, status in {
                "invalid-input-response": 400,
                "missing-input-response": 400,
                "timeout-or-duplicate": 400,
                "expired-input-response": 400,
                "already-seen-response": 400,
                "browser-error": 400,
                "invalid-or-already-seen-response": 400,
                "invalid-input-secret": 503,
                "missing-input-secret": 503,
                "bad-request": 503,
                "internal-error": 503,
                "something-new": 503,
            }.items()
        ),
        pytest.param(
            {
                "success": False,
                "error-codes": ["invalid-input-response", "invalid-input-secret"],
            },
            503,
            id="both are wrong: ours first",
        ),
        pytest.param({"success": False, "error-codes": "x"}, 503, id="codes as text"),
        pytest.param({"success": False, "error-codes": [7]}, 503, id="code a number"),
    ],
)
def test_given_a_verdict_of_the_challenge_when_logging_in_then_it_decides(
    service: Deployment, verifier: KeyServer, changes: dict[str, Any], status: int
) -> None:
    ask(service, verifier, **FULL)
    verifier.publish(VERIFY, changed(PASSED, changes))

    reply = log_in(service, **answering())

    assert reply.status == status
    if status == 400:
        assert reply.json["error_code"] == "ChallengeFailed"
        assert reply.json["error"] == "the challenge was not passed"
    assert len(service.items("USER#")) == (status == 200)
    assert len(service.items("RATE#")) == 1  # the network has one login less


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer({}, 503), id="down"),
        pytest.param(Answer(PASSED, 429), id="busy"),
        pytest.param(Answer(PASSED, 400), id="refused, and yet a success"),
        pytest.param(Answer(b"<html>"), id="no JSON"),
        pytest.param(Answer({}, 302, {"location": "/"}), id="a redirect"),
    ],
)
def test_given_a_failing_challenge_when_logging_in_then_503_and_no_user(
    service: Deployment, verifier: KeyServer, answer: Answer
) -> None:
    ask(service, verifier)
    verifier.answers[VERIFY] = answer

    reply = log_in(service, **answering())

    assert reply.status == 503
    assert "retry-after" in reply.headers
    assert service.items("USER#") == {}


def test_given_a_challenge_that_was_down_when_it_is_back_then_no_login_was_counted(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier, environment={"LOGINS_PER_NETWORK": "2"})
    verifier.down = True

    # Clients repeat the request, as the answer tells them to.
    statuses = [log_in(service, **answering()).status for _ in range(5)]
    verifier.down = False
    statuses += [log_in(service, **answering()).status for _ in range(3)]

    assert statuses == [503] * 5 + [200, 200, 429]


def test_given_no_rate_limit_when_the_challenge_is_down_then_503_and_no_change(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier, environment={"LOGINS_PER_NETWORK": "0"})
    verifier.down = True
    before = service.items()

    assert log_in(service, **answering()).status == 503

    assert service.items() == before


def test_given_a_failing_counter_too_when_the_challenge_is_down_then_still_503(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier)
    log_in(service, **answering())  # warm
    verifier.down = True
    service.wire.faults = [None, *[FAULTS["no_connection"]] * 3]

    assert log_in(service, **answering()).status == 503


def test_given_invalid_settings_of_other_providers_when_logging_in_then_200(
    service: Deployment, verifier: KeyServer
) -> None:
    challenge = {"verify_url": verifier.url + VERIFY, "secret": SECRET}
    google = {"client_ids": ["x"], "client_secret": {"ssm": "is-missing"}}
    service.restart_with(
        {
            "apps": {
                APP: {"anon-user": {"challenge": challenge}, "oauth2-google": google},
                OTHER_APP: {"oauth2-apple": "a slip"},
            }
        },
        ANONYMOUS_CHALLENGE="true",
        ALLOW_PRIVATE_ISSUERS="true",
    )

    assert log_in(service, **answering()).status == 200
    assert log_in(service).status == 400


def test_given_an_app_without_a_challenge_when_logging_in_then_nothing_is_asked(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier)

    assert log_in(service, app=OTHER_APP).status == 200
    assert verifier.asked == []


def test_given_a_spent_budget_when_answering_then_the_service_is_not_called(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier, environment={"LOGINS_PER_NETWORK": "1"})
    log_in(service, **answering())

    assert_spent(log_in(service, **answering("another")), 3600)
    assert len(verifier.asked) == 1


def test_given_challenges_off_when_logging_in_then_the_settings_are_not_read(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier, environment={"ANONYMOUS_CHALLENGE": "false"})

    calls = service.counted(lambda: log_in(service))

    assert "GetParameter" not in calls
    assert verifier.asked == []


def test_given_a_challenge_when_warm_then_it_costs_no_call_to_aws(
    service: Deployment, verifier: KeyServer
) -> None:
    ask(service, verifier)
    log_in(service, **answering())

    calls = service.counted(lambda: log_in(service, **answering("another")))

    assert calls == ["UpdateItem", "PutItem"]


def test_given_a_secret_by_reference_when_logging_in_then_it_is_resolved(
    service: Deployment, verifier: KeyServer
) -> None:
    ssm = service.services._connect("ssm")
    ssm.put_parameter(
        Name="/anonauth-test/settings/turnstile",
        Value="from-its-own-parameter",
        Type="SecureString",
        Overwrite=True,
    )
    ask(service, verifier, {"ssm": "turnstile"})

    assert log_in(service, **answering()).status == 200
    assert verifier.asked[0].form["secret"] == "from-its-own-parameter"


def test_given_a_challenge_that_cannot_be_read_when_logging_in_then_503(
    service: Deployment, log: io.StringIO
) -> None:
    service.restart_with(
        {"apps": {"x": {"anon-user": {"challenge": 1}}}}, ANONYMOUS_CHALLENGE="true"
    )

    assert log_in(service, **answering()).status == 503
    assert service.items("USER#") == {}
    assert "apps.x" in log.getvalue()


@pytest.mark.parametrize(
    "secret", [pytest.param(SecretReference(ssm="x"), id="not resolved")]
)
def test_given_an_unresolved_secret_when_verifying_then_settings_unavailable(
    secret: Secret,
) -> None:
    settings = ChallengeSettings(verify_url="https://x.example/verify", secret=secret)
    challenge = SiteVerify(settings, Fetcher())

    with pytest.raises(SettingsUnavailable) as refused:
        challenge.verify(ANSWER)
    assert "reference" in refused.value.detail
