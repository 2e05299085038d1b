"""`anonauth doctor --drive` against a local service, over HTTP.

A proxy in front of the service breaks one call, before or after the service sees it.
"""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from anonauth.cli.commands import app
from anonauth.cli.doctor.drive import CLEAN_UP, STEPS, Drive
from anonauth.local import aws
from anonauth.local.api_gateway import HttpRequest, HttpResponse
from anonauth.local.command_error import CommandError
from anonauth.local.http import HttpServer, wsgi_application
from anonauth.local.server import LocalServer
from anonauth.local.settings_file import MAIL_APP
from anonauth.usecases.operator import OperatorActions, UserChanged
from support.forgery.key_server import KeyServer, Signer
from support.project.pages import section
from support.service.calls import API, APP, OTHER_APP, call, log_in
from support.service.served import UNLIMITED

JWT_APP = "token-abcde"
CHALLENGED_APP = "asked-abcde"
NAMES = [*STEPS, CLEAN_UP]
JSON_TYPE = (("content-type", "application/json"),)

LOGIN = "POST anon-user/login"
REFRESH = "POST auth/session"
PROFILE = "GET auth/profile"
REGISTER = "POST local-userpass/register"
LINK = "POST local-userpass/login?link=true"
LOGOUT = "DELETE auth/session"
AGAIN = "POST local-userpass/login"
DELETE = "DELETE auth/delete"


@dataclass
class Proxy:
    """Passes calls on. The call of `broken` is answered 503, or as `answers` says.

    `reaches` says whether the service sees that call. `times` is how often it fails.
    """

    target: str
    url: str = ""
    broken: str = ""
    reaches: bool = False
    times: int = 1
    answers: HttpResponse = field(
        default_factory=lambda: HttpResponse(503, JSON_TYPE, b"<html>busy</html>")
    )
    secrets: set[str] = field(default_factory=set)

    def answer(self, request: HttpRequest) -> HttpResponse:
        asked = f"{request.method} {request.target}"
        method, _, end = self.broken.partition(" ")
        is_broken = (
            self.times > 0
            and bool(end)
            and asked.startswith(f"{method} ")
            and asked.endswith(f"/{end}")
        )
        self._note(request.body)
        self.times -= is_broken
        if is_broken and not self.reaches:
            return self.answers
        headers = {
            name: value
            for name, value in request.headers
            if name.lower() in {"authorization", "content-type"}
        }
        answer = call(
            self.target,
            request.method,
            request.target,
            headers=headers,
            body=request.body or None,
        )
        self._note(answer.body)
        if is_broken:
            return self.answers
        return HttpResponse(answer.status, tuple(answer.headers.items()), answer.body)

    def _note(self, body: bytes) -> None:
        found = json.loads(body) if body else {}
        for name in ("access_token", "refresh_token", "password", "token"):
            if name in found:
                self.secrets.add(found[name])


@dataclass(frozen=True)
class Steps:
    result: Result
    found: dict[str, dict[str, str]]

    @property
    def states(self) -> list[str]:
        return [each["state"] for each in self.found.values()]

    def says(self, name: str) -> str:
        return self.found[f"drive: {name}"]["says"]


@dataclass(frozen=True)
class Service:
    server: LocalServer
    signer: Signer

    def jwt(self, subject: str) -> str:
        exp = int((self.server.deployment.clock() + timedelta(hours=1)).timestamp())
        return self.signer.sign({"aud": JWT_APP, "sub": subject, "exp": exp})

    def drive(self, *options: str, base_url: str = "", app_id: str = APP) -> Result:
        target = ["--endpoint-url", self.server.aws_url, "--app", app_id]
        target += ["--base-url", base_url or self.server.base_url]
        return CliRunner().invoke(app, ["doctor", "--drive", *target, *options])

    def steps(self, *options: str, base_url: str = "", app_id: str = APP) -> Steps:
        result = self.drive("--json", *options, base_url=base_url, app_id=app_id)
        findings = json.loads(result.stdout)["findings"]
        found = {f["name"]: f for f in findings if f["name"].startswith("drive: ")}
        return Steps(result, found)

    def items(self) -> dict[str, Any]:
        """Return what is stored, but counters and marks, which expire by themselves."""
        pages = aws.connect("dynamodb", self.server.aws_url).get_paginator("scan")
        return {
            item["pk"]["S"]: item
            for page in pages.paginate(TableName=aws.TABLE_NAME)
            for item in page["Items"]
            if not item["pk"]["S"].startswith(("RATE#", "GONE#"))
        }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    signer = Signer()
    path: Path = tmp_path_factory.mktemp("drive") / "settings.json"
    mail = {
        "sender": "app@example.com",
        "confirm_url": "https://www.example.com/confirm",
        "reset_url": "https://www.example.com/reset",
    }
    with KeyServer() as keys:
        url = keys.publish("/jwks.json", {"keys": [signer.jwk()]})
        verify = keys.publish("/verify", {"success": True})
        challenge = {"verify_url": verify, "secret": "s"}
        apps = {
            APP: {"local-userpass": {}},
            OTHER_APP: {},
            MAIL_APP: {"local-userpass": {"mail": mail}},
            JWT_APP: {"custom-token": {"issuers": [{"jwks_url": url}]}},
            CHALLENGED_APP: {"anon-user": {"challenge": challenge}},
        }
        path.write_text(json.dumps({"apps": apps}))
        parameters = {**UNLIMITED, "AnonymousChallenge": "true"}
        with LocalServer(
            aws_port=0, settings=path, app_ids=tuple(apps), parameters=parameters
        ) as server:
            log_in(server.base_url)  # somebody who must not be touched
            yield Service(server, signer)


@contextmanager
def proxied(service: Service, **faults: Any) -> Iterator[Proxy]:
    proxy = Proxy(service.server.base_url, **faults)
    server = HttpServer("127.0.0.1", 0)
    server.serve(wsgi_application(proxy.answer))
    proxy.url = f"http://127.0.0.1:{server.port}"
    try:
        yield proxy
    finally:
        server.close()


def test_given_an_app_without_mail_when_driven_then_all_steps_are_ok(
    service: Service,
) -> None:
    before = service.items()

    steps = service.steps()

    assert list(steps.found) == NAMES
    assert steps.states == ["ok"] * len(NAMES), steps.found
    assert steps.result.exit_code == 0
    assert steps.says("link") == "by local-userpass; the user is permanent"
    assert steps.says("log in again") == "by local-userpass, as the same user"
    assert service.items() == before


def test_given_a_jwt_when_driven_then_it_is_linked(service: Service) -> None:
    before = service.items()

    steps = service.steps("--token", service.jwt("nobody"), app_id=JWT_APP)

    assert steps.states == ["ok"] * len(NAMES), steps.found
    assert steps.says("link") == "by custom-token; the user is permanent"
    assert service.items() == before


@pytest.mark.parametrize(
    ("app_id", "reason"),
    [
        pytest.param(
            MAIL_APP, "skipped: the app sends mail to confirm an address", id="mail"
        ),
        pytest.param(
            OTHER_APP,
            "skipped: local-userpass is off, and there is no --token",
            id="off",
        ),
    ],
)
def test_given_an_app_that_cannot_link_when_driven_then_the_link_is_skipped(
    service: Service, app_id: str, reason: str
) -> None:
    before, mails = service.items(), outbox(service)

    steps = service.steps(app_id=app_id)

    assert steps.says("link") == reason
    assert steps.states == ["ok", "ok", "warning", *["ok"] * 5], steps.found
    assert steps.says("log in again").startswith("as another guest, ")
    assert steps.result.exit_code == 0
    assert service.items() == before
    assert outbox(service) == mails


def outbox(service: Service) -> Any:
    answer = call(service.server.base_url, "GET", "/_local/outbox")
    assert answer.status == 200
    return answer.json()


def test_given_an_app_with_a_challenge_when_driven_then_nothing_is_made(
    service: Service,
) -> None:
    before = service.items()

    steps = service.steps(app_id=CHALLENGED_APP)

    assert steps.states == [*["warning"] * 7, "ok"]
    assert "asks for a challenge" in steps.says("log in")
    assert steps.says("delete") == "skipped after 'drive: log in'"
    assert service.items() == before


def test_given_a_jwt_of_an_existing_user_when_driven_then_that_user_stays(
    service: Service,
) -> None:
    jwt = service.jwt("ada")
    path = f"{API}/app/{JWT_APP}/auth/providers/custom-token/login"
    body = json.dumps({"token": jwt}).encode()
    assert call(service.server.base_url, "POST", path, body=body).status == 200
    before = service.items()

    steps = service.steps("--token", jwt, app_id=JWT_APP)

    assert steps.found["drive: link"]["state"] == "failed"
    assert steps.says("link") == (
        "answers 409 AccountNameInUse: another user has the identity of the JWT"
    )
    assert steps.found[CLEAN_UP]["state"] == "ok"
    assert service.items() == before


@pytest.mark.long
@pytest.mark.parametrize("reaches", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("broken", "step"),
    [
        (LOGIN, "log in"),
        (REFRESH, "refresh"),
        (PROFILE, "refresh"),
        (REGISTER, "link"),
        (LINK, "link"),
        (LOGOUT, "log out"),
        (AGAIN, "log in again"),
        (DELETE, "delete"),
    ],
)
def test_given_a_call_that_fails_when_driven_then_nothing_is_left(
    service: Service, broken: str, step: str, reaches: bool
) -> None:
    """`after` loses the answer of a call that has taken effect."""
    before = service.items()
    with proxied(service, broken=broken, reaches=reaches) as proxy:
        steps = service.steps(base_url=proxy.url)

    failed = [name for name, f in steps.found.items() if f["state"] == "failed"]
    after = NAMES.index(f"drive: {step}") + 1
    assert proxy.times == 0
    assert failed == [f"drive: {step}"], steps.found
    assert steps.says(step) == "answers 503"
    assert set(steps.states[after:-1]) <= {"warning"}
    is_unclear = broken == LOGIN and not reaches
    assert steps.found[CLEAN_UP]["state"] == ("warning" if is_unclear else "ok")
    assert steps.result.exit_code == 1
    assert service.items() == before


@pytest.mark.parametrize("broken", [DELETE, LINK])
def test_given_an_api_that_deletes_nothing_when_driven_then_the_table_is_cleaned(
    service: Service, broken: str
) -> None:
    before = service.items()
    with proxied(service, broken=broken, times=100) as proxy:
        steps = service.steps(base_url=proxy.url)

    assert steps.found[CLEAN_UP]["state"] == "ok", steps.found
    assert service.items() == before


def test_given_an_api_that_deletes_nothing_but_says_so_when_driven_then_it_failed(
    service: Service,
) -> None:
    before = service.items()
    done = HttpResponse(200, JSON_TYPE, b"{}")
    with proxied(service, broken=DELETE, times=100, answers=done) as proxy:
        steps = service.steps(base_url=proxy.url)

    assert steps.found["drive: refused"]["state"] == "failed"
    assert steps.says("refused") == (
        "the access token is not refused afterwards: answers 200"
    )
    assert service.items() == before


def stop(_: Drive) -> Any:
    signal.raise_signal(signal.SIGTERM)


def press_ctrl_c(_: Drive) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("step", "end"),
    [
        pytest.param("drive: refresh", press_ctrl_c, id="a guest"),
        pytest.param("drive: log out", press_ctrl_c, id="a linked user"),
        pytest.param("drive: log out", stop, id="SIGTERM"),
    ],
)
def test_given_a_signal_when_driven_then_nothing_is_left(
    service: Service, monkeypatch: pytest.MonkeyPatch, step: str, end: Any
) -> None:
    before = service.items()

    monkeypatch.setitem(STEPS, step, end)
    result = service.drive()

    assert result.exit_code == 130
    assert service.items() == before


def test_given_ctrl_c_in_the_clean_up_when_driven_then_it_begins_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = service.items()
    clean_up, interrupts = Drive._clean_up, [KeyboardInterrupt]

    def interrupted(drive: Drive) -> Any:
        for each in interrupts:
            interrupts.clear()
            raise each
        return clean_up(drive)

    monkeypatch.setattr(Drive, "_clean_up", interrupted)
    with proxied(service, broken=DELETE) as proxy:
        result = service.drive(base_url=proxy.url)

    assert result.exit_code == 130
    assert service.items() == before


def test_given_a_table_that_cannot_be_written_when_driven_then_it_says_what_is_left(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserChanged

    monkeypatch.setattr(OperatorActions, "delete_as_shown", refuse)
    with proxied(service, broken=DELETE, times=100) as proxy:
        steps = service.steps(base_url=proxy.url)
        monkeypatch.setitem(STEPS, "drive: delete", press_ctrl_c)
        stopped = service.drive(base_url=proxy.url)
    monkeypatch.undo()

    (user_id,) = re.findall(r"user ([0-9a-f]{24})", steps.found[CLEAN_UP]["says"])
    (other_id,) = re.findall(r"user ([0-9a-f]{24})", str(stopped.exception))
    there = ["--app", APP, "--endpoint-url", service.server.aws_url, "--yes"]
    for each in (user_id, other_id):
        deleted = CliRunner().invoke(app, ["users", "delete", each, *there])
        assert deleted.exit_code == 0
    assert steps.found[CLEAN_UP]["state"] == "failed"
    assert "anonauth users delete" in steps.found[CLEAN_UP]["advice"]
    assert isinstance(stopped.exception, CommandError)


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["table", "JSON"])
@pytest.mark.parametrize("broken", ["", DELETE], ids=["good", "broken"])
def test_given_secrets_when_driven_then_none_is_printed(
    service: Service, json_option: list[str], broken: str
) -> None:
    jwt = service.jwt("secretive")
    with proxied(service, broken=broken) as proxy:
        result = service.drive(
            "--token", jwt, *json_option, base_url=proxy.url, app_id=JWT_APP
        )

    told = result.output + str(result.exception)
    assert jwt in proxy.secrets
    assert len(proxy.secrets) >= 4
    assert [secret for secret in proxy.secrets if secret in told] == []
    assert "drive: delete" in result.stdout


def test_given_a_server_that_repeats_a_token_when_driven_then_it_is_not_printed(
    service: Service,
) -> None:
    body = {"error": "seen aaa.bbb.ccc", "error_code": "seen aaa.bbb.ccc"}
    echo = HttpResponse(400, JSON_TYPE, json.dumps(body).encode())
    with proxied(service, broken=LOGIN, answers=echo) as proxy:
        steps = service.steps(base_url=proxy.url)

    assert steps.says("log in") == "answers 400"
    assert "aaa.bbb.ccc" not in steps.result.output


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"user_id": "x"}, id="no tokens"),
        pytest.param(
            {"user_id": "a" * 24, "access_token": "a\nb", "refresh_token": "c"},
            id="a line break",
        ),
        pytest.param(
            {"user_id": "../x", "access_token": "a", "refresh_token": "c"}, id="no id"
        ),
        pytest.param([], id="no object"),
    ],
)
def test_given_a_wrong_answer_when_driven_then_the_step_failed(
    service: Service, body: Any
) -> None:
    before = service.items()
    wrong = HttpResponse(200, JSON_TYPE, json.dumps(body).encode())
    with proxied(service, broken=LOGIN, reaches=True, answers=wrong) as proxy:
        steps = service.steps(base_url=proxy.url)

    assert steps.found["drive: log in"]["state"] == "failed"
    assert service.items() == before


def test_given_a_proxy_that_caches_when_driven_then_the_other_user_stays(
    service: Service,
) -> None:
    """Its answer to a login is that of somebody else, with good tokens."""
    other = json.dumps(log_in(service.server.base_url)).encode()
    before = service.items()
    cached = HttpResponse(200, JSON_TYPE, other)
    with proxied(service, broken=LOGIN, times=100, answers=cached) as proxy:
        steps = service.steps(base_url=proxy.url)

    assert steps.says("log in") == "the answer belongs to the login of another device"
    assert service.items() == before


def test_given_no_drive_when_run_then_nothing_changes(service: Service) -> None:
    before = service.items()

    there = ["--endpoint-url", service.server.aws_url, "--json"]
    result = CliRunner().invoke(app, ["doctor", *there])

    names = {each["name"] for each in json.loads(result.stdout)["findings"]}
    assert not any(name.startswith("drive") for name in names)
    assert service.items() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param(["--token", "x"], "need --drive", id="token alone"),
        pytest.param(["--base-url", "http://x"], "need --drive", id="address alone"),
        pytest.param(["--app", APP], "need --drive", id="app alone"),
        pytest.param(["--drive", "--token", " "], "--token is empty", id="no token"),
    ],
)
def test_given_options_that_do_not_fit_when_run_then_usage(
    options: list[str], told: str
) -> None:
    result = CliRunner().invoke(app, ["doctor", "--stack", "x", *options])

    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param([], "needs the address of the API", id="none"),
        pytest.param(["--base-url", "http://[::1"], "is not a URL", id="no URL"),
        pytest.param(["--base-url", "ftp://x"], "is not a base URL", id="no http"),
        pytest.param(["--base-url", "http://x/y"], "without a path", id="a path"),
    ],
)
def test_given_no_good_address_when_driven_then_one_line(
    service: Service, options: list[str], told: str
) -> None:
    there = ["--endpoint-url", service.server.aws_url, "--app", APP]
    result = CliRunner().invoke(app, ["doctor", "--drive", *there, *options])

    assert isinstance(result.exception, CommandError)
    assert told in str(result.exception)


def test_given_an_address_of_nothing_when_driven_then_the_login_failed(
    service: Service,
) -> None:
    steps = service.steps(base_url="http://127.0.0.1:1")

    assert steps.says("log in").startswith("no answer: ")
    assert steps.states == ["failed", *["warning"] * 7]


def test_given_the_page_when_read_then_it_has_the_steps() -> None:
    table = section("operate.md", "## Try it as a client: anonauth doctor --drive")

    assert re.findall(r"^\| `(drive: .+?)` \|", table, re.MULTILINE) == NAMES
