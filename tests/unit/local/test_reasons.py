"""Why a call was refused or failed: in the terminal, and behind the answer's `link`."""

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest

from anonauth.local import aws
from anonauth.local.api_gateway import Gateway, HttpRequest
from anonauth.local.control import LocalApi
from anonauth.local.outbox import MOST_RECENT_ITEMS
from anonauth.local.reasons import (
    Reason,
    RefusedCall,
    collect_notes,
    last_place,
    note_wait,
)
from anonauth.local.server import LocalServer
from anonauth.local.template import find_template, read_template
from support.contracts.store_contract import NOW
from support.project.tools import ROOT
from support.service.calls import API, APP, Answer, call

PROVIDERS = f"{API}/app/{APP}/auth/providers"
SECRET = "a-secret-of-32-characters-or-more"
SETTINGS = """{"apps": {"*": {
    "local-userpass": {},
    "custom-token": {"issuers": [{"algorithm": "HS256", "secret": "%s"}]}
}}}"""
PASSWORD = "correct horse"
ADDRESS = "ada@example.com"
TOKEN = jwt.encode({"sub": "ada", "aud": "other", "exp": 4102444800}, SECRET, "HS256")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    settings = tmp_path_factory.mktemp("why") / "settings.json"
    settings.write_text(SETTINGS % SECRET)
    with LocalServer(app_ids=(APP,), settings=Path(settings)) as running:
        yield running


def refused(server: LocalServer, route: str, body: str) -> Answer:
    return call(server.base_url, "POST", f"{PROVIDERS}/{route}", body=body.encode())


def explained(server: LocalServer, answer: Answer) -> Answer:
    """Follow the `link` of an error answer, and return the explanation."""
    link = urlsplit(answer.json()["link"])
    return call(f"http://{link.netloc}", "GET", f"{link.path}?{link.query}")


@pytest.mark.parametrize(
    ("route", "body", "line", "name", "reason"),
    [
        pytest.param(
            "custom-token/login",
            f'{{"token": "{TOKEN}"}}',
            r"401  \d+ ms.*  BadCredential: invalid custom auth token: wrong audience",
            "BadCredential",
            "invalid custom auth token: wrong audience",
            id="bad token",
        ),
        pytest.param(
            "local-userpass/login",
            f'{{"username": "{ADDRESS}", "password": "{PASSWORD}"}}',
            r"401  \d+ ms.*  WrongPassword: invalid username/password",
            "WrongPassword",
            "invalid username/password",
            id="wrong password",
        ),
        pytest.param(
            "local-userpass/login",
            "{",
            r"400  \d+ ms.*  BadRequest",
            "BadRequest",
            None,
            id="no JSON",
        ),
    ],
)
def test_given_a_refusal_when_logged_or_followed_then_it_says_why_without_secrets(
    route: str,
    body: str,
    line: str,
    name: str,
    reason: str | None,
    server: LocalServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "anonauth.serve"):
        answer = refused(server, route, body)
    told = explained(server, answer)

    (logged,) = [r.getMessage() for r in caplog.records if r.name == "anonauth.serve"]
    label = f"POST {API}/app/{{appId}}/auth/providers/"
    assert logged.startswith(label)
    assert re.fullmatch(line, logged.partition("login  ")[2])
    assert told.status == 200
    assert told.json()["error"] == name
    assert told.json().get("reason") == reason
    assert told.json()["status"] == answer.status
    assert (
        told.json()["function"]
        == server.deployment.template.functions[told.json()["function"]].name
    )
    assert answer.json()["link"].endswith(told.json()["co_id"])
    for secret in (TOKEN, PASSWORD, ADDRESS, SECRET):
        assert secret not in logged + told.body.decode()


def test_given_a_bad_token_when_it_is_refused_then_the_line_says_what_is_wrong(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "anonauth.serve"):
        answer = call(server.base_url, "GET", f"{API}/auth/profile", token=TOKEN)
    told = explained(server, answer)

    reason = "signature is invalid"
    (logged,) = [r.getMessage() for r in caplog.records if r.name == "anonauth.serve"]
    assert answer.status == 401
    assert logged.endswith(f"InvalidSession: {reason}")
    assert told.json()["reason"] == reason
    assert TOKEN not in logged + told.body.decode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(("GET", "/logs?co_id=0"), 404, id="unknown"),
        pytest.param(("GET", "/logs?co_id="), 404, id="empty"),
        pytest.param(("GET", "/logs"), 404, id="none"),
        pytest.param(("POST", "/logs?co_id=0"), 405, id="method"),
    ],
)
def test_given_an_unknown_co_id_when_asked_for_then_404(
    request_: tuple[str, str], status: int, server: LocalServer
) -> None:
    # The gateway's own answers have no co_id. A request without one must not find them.
    server.deployment.refused_calls.add(
        RefusedCall(NOW, "r", "f", 503, 1, Reason("FunctionTimedOut"))
    )

    answer = call(server.base_url, *request_)

    assert answer.status == status
    assert answer.json()["error"]


def test_given_another_machine_when_it_follows_a_link_then_it_learns_nothing(
    server: LocalServer,
) -> None:
    link = urlsplit(refused(server, "local-userpass/login", "{").json()["link"])
    request = HttpRequest(
        "GET",
        f"/logs?{link.query}",
        (("Host", "127.0.0.1:8080"),),
        peer="203.0.113.7",
    )

    assert LocalApi.takes(request)
    assert LocalApi(server.deployment).answer(request).status == 403


def test_given_many_refusals_when_asked_then_the_newest_are_known(
    server: LocalServer,
) -> None:
    first = refused(server, "local-userpass/login", "{")
    before = explained(server, first).status
    for number in range(MOST_RECENT_ITEMS):
        why = Reason("BadRequest", co_id=str(number))
        server.deployment.refused_calls.add(
            RefusedCall(NOW, "route", "Function", 400, 1, why)
        )

    statuses = [
        explained(server, first).status,
        call(server.base_url, "GET", "/logs?co_id=0").status,
    ]

    assert (before, statuses) == (200, [404, 200])


def test_given_an_error_when_a_call_fails_then_the_line_says_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with LocalServer(app_ids=(APP,)) as server:
        aws.connect("ssm", None).put_parameter(
            Name=server.deployment.template.settings_parameter,
            Value="{",
            Overwrite=True,
        )
        with caplog.at_level(logging.INFO, "anonauth.serve"):
            answer = refused(server, "local-userpass/login", '{"username": "a"}')
        told = explained(server, answer)

    lines = [r.getMessage() for r in caplog.records if r.name == "anonauth.serve"]
    assert answer.status == 503
    assert re.search(
        r"  503  \d+ ms  LinkFunction  SettingsUnavailable: Input data was truncated "
        r"\(DocumentError at provider_settings/document\.py:\d+ parse\)$",
        lines[-1],
    )
    assert told.json()["error"] == "SettingsUnavailable"
    assert told.json()["detail"]


@pytest.mark.parametrize(
    ("seconds", "waited", "end"),
    [
        pytest.param(0.999, 0.999, "  200  999 ms", id="not slow"),
        pytest.param(1.0, 0.499, "  200  1000 ms  SessionFunction", id="slow"),
        pytest.param(
            1.0,
            0.5,
            "  200  1000 ms  SessionFunction (waited 500 ms for other calls)",
            id="for others",
        ),
    ],
)
def test_given_a_slow_call_when_logged_then_the_line_says_where(
    seconds: float, waited: float, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]

    def invoke(_name: str, _event: object) -> dict[str, object]:
        now[0] += seconds
        note_wait(waited)
        return {"statusCode": 200}

    gateway = Gateway(
        read_template(find_template(ROOT), {}),
        invoke=invoke,
        clock=lambda: NOW,
        domain_name="abcde.example",
        ticks=lambda: now[0],
    )
    with caplog.at_level(logging.INFO, "anonauth.serve"):
        gateway.answer(HttpRequest("POST", f"{API}/auth/session"))

    assert caplog.messages == [f"POST {API}/auth/session{end}"]


def test_given_a_call_that_waits_for_another_when_it_ends_then_the_delay_is_noted(
    server: LocalServer,
) -> None:
    def call_it() -> float:
        with collect_notes() as said:
            server.deployment.invoke("DiscoveryFunction", {})
        return said.waited

    with ThreadPoolExecutor(1) as others:
        with server.deployment.lock:
            waiting = others.submit(call_it)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
        waited = waiting.result()

    assert 0.1 < waited < 30
    assert call_it() < waited


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        pytest.param([], ("", ""), id="nothing"),
        pytest.param(
            ["ValueError", "/x/anonauth/store/table.py:7 _send", "/y/lib.py:1 f"],
            ("ValueError", "store/table.py:7 _send"),
            id="the last in this package",
        ),
        pytest.param(
            [
                "A",
                "/x/anonauth/a.py:1 f",
                "B",
                "/x/anonauth/b.py:2 g",
                "C",
                "/y.py:3 h",
            ],
            ("C", "b.py:2 g"),
            id="causes",
        ),
        pytest.param(["B", "/y.py:3 h"], ("B", ""), id="none in this package"),
    ],
)
def test_given_a_trace_when_shortened_then_the_last_exception_and_our_last_place(
    trace: list[str], expected: tuple[str, str]
) -> None:
    assert last_place(trace) == expected
