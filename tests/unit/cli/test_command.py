"""The command as a shell runs it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.local.server import LocalServer
from support.project.pages import block, section
from support.project.tools import ROOT
from support.service.calls import API, APP, OTHER_APP, call, log_in
from support.service.ctrl_c import ended, in_the_background

RUN = "from anonauth.cli.main import main; main()"
EVENTS = ROOT / "events"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "functions"), "COLUMNS": "100"}


def run(
    *arguments: str, code: str = RUN, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the running command and the address in its first line."""
    # `serve` handles the signal itself. .ci/run needs that: it starts the command in
    # the background and sends it SIGINT.
    with in_the_background():
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", RUN, "serve", "--port", "0", *arguments],
            env=environment(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with ended(process):
        assert process.stdout is not None
        first = process.stdout.readline()
        match = re.fullmatch(r"anonauth is listening on (http://\S+)\n", first)
        assert match, first
        yield process, match[1]


def end(
    process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT
) -> tuple[str, str]:
    """Stop the command, and return its output after the first line."""
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(number)
    process.wait(5)
    return process.stdout.read(), process.stderr.read()


@pytest.mark.long
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_given_a_service_when_told_to_end_then_it_does_with_one_line(
    number: signal.Signals,
) -> None:
    with serving("--app-id", APP, "--app-id", OTHER_APP) as (process, base_url):
        log_in(base_url, OTHER_APP)
        idle = socket.create_connection(("127.0.0.1", int(base_url.rpartition(":")[2])))

        out, err = end(process, number)
        idle.close()

    assert process.returncode == 0
    assert out.splitlines()[-1] == "anonauth has stopped"
    assert re.fullmatch(r"POST \S+/login  200  \d+ ms(  LoginFunction)?\n", err)


@pytest.mark.long
def test_given_verbose_when_a_call_is_refused_then_the_functions_log_is_there() -> None:
    with serving("--verbose") as (process, base_url):
        call(base_url, "GET", f"{API}/auth/profile")
        _, err = end(process)

    logged = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert logged[-1]["message"] == "InvalidSession"
    assert logged[-1]["function_name"] == "ProfileFunction"


def test_given_a_start_when_it_prints_its_addresses_then_its_curl_line_works() -> None:
    with serving("--aws-port", "0") as (process, base_url):
        path = f"{API}/app/{APP}/auth/providers/local-userpass/login"
        call(base_url, "POST", path, body=b'{"username": "a", "password": "b"}')
        out, err = end(process)

    assert re.fullmatch(
        r"POST \S+/login  401  \d+ ms(  \w+Function)?  "
        r"WrongPassword: invalid username/password\n",
        err,
    )
    assert out.startswith(f"open it in a browser: {base_url}/\n")
    assert "app ids: myapp-abcde\n" in out
    assert "providers of myapp-abcde: anon-user, local-userpass, api-key\n" in out
    assert re.search(r"AWS: http://127\.0\.0\.1:\d+\n", out)
    providers = f"{base_url}/api/client/v2.0/app/myapp-abcde/auth/providers"
    assert f"  curl -X POST {providers}/anon-user/login\n" in out
    assert re.search(
        rf"  curl -d '.+' {re.escape(providers)}/local-userpass/register\n", out
    )
    assert "Ctrl-C" in out
    # Each of them registers an address, and a newcomer tries one after the other. The
    # address in README contains the guest's id, so that its session can be run again.
    page = (ROOT / "functions/anonauth/local/page/index.html").read_text()
    used = [set(re.findall(r"\w+@example\.com", text)) for text in (out, page)]
    assert [len(addresses) for addresses in used] == [1, 1]
    assert len(set.union(*used)) == 2
    session = block("the link session")
    assert re.findall(r"\S+@example\.com", session) == ["EMAIL=$ID@example.com"]


@pytest.mark.parametrize(
    ("providers", "told", "untold"),
    [
        pytest.param(
            {"custom-token": {"issuers": [{"jwks_url": "http://127.0.0.1:1/"}]}},
            [
                "providers of myapp-abcde: anon-user, custom-token\n",
                "AWS would refuse these settings: apps.*.custom-token.issuers",
            ],
            ["register", "mails: "],
            id="no e-mail",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {
                "local-userpass": {
                    "mail": {
                        "sender": "app@example.com",
                        "confirm_url": "https://www.example.com/confirm",
                        "reset_url": "https://www.example.com/reset",
                    }
                }
            },
            ["/local-userpass/register\n", "mails: {base_url}/_local/outbox\n"],
            ["AWS would refuse"],
            id="e-mail with mails",
            marks=pytest.mark.long,
        ),
    ],
)
def test_given_settings_when_it_starts_then_it_prints_what_is_on(
    providers: dict[str, object], told: list[str], untold: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"apps": {"*": providers}}))

    with serving("--settings", str(path)) as (process, base_url):
        out, _ = end(process)

    assert all(line.format(base_url=base_url) in out for line in told)
    assert not any(words in out for words in untold)


@pytest.mark.long
def test_given_a_challenge_when_it_prints_its_addresses_then_no_line_would_fail(
    tmp_path: Path,
) -> None:
    challenge = {"verify_url": "https://challenges.example.com/", "secret": "secret"}
    path = tmp_path / "settings.json"
    path.write_text(
        json.dumps({"apps": {"myapp-abcde": {"anon-user": {"challenge": challenge}}}})
    )

    with serving(
        *("--settings", str(path), "--parameter", "AnonymousChallenge=true")
    ) as (process, _):
        out, _ = end(process)

    assert "log in: myapp-abcde requires a challenge. " in out
    assert "options.challenge" in out
    assert "curl" not in out


@pytest.mark.long
def test_given_a_call_when_logged_then_it_is_one_line_on_stderr() -> None:
    with serving() as (process, base_url):
        answer = call(base_url, "GET", "/nothing")
        _, err = end(process)

    assert answer.status == 404
    assert re.fullmatch(r"GET \$default  404  \d+ ms  RouteNotFound\n", err)


def test_given_a_taken_port_when_served_then_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        ended = run("serve", "--port", str(port))

    assert ended.returncode == 1
    assert ended.stderr == (
        f"anonauth: port {port} is taken; name another, or --port 0 for a free one\n"
    )
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["serve", "--parameter", "LogLevel"], "expected KEY=VALUE", id="no equals"
        ),
        pytest.param(
            ["serve", "--parameter", "LogLevel=LOUD"],
            "parameter LogLevel: 'LOUD' is not allowed",
            id="bad value",
        ),
        pytest.param(
            ["serve", "--template", "nowhere.yaml"],
            "cannot read nowhere.yaml: No such file",
            id="no template",
        ),
        pytest.param(
            ["serve", "--port", "0", "--endpoint-url", "http://127.0.0.1:1"],
            "no DynamoDB at http://127.0.0.1:1",
            id="no engine",
        ),
        pytest.param(
            ["serve", "--data", "d", "--endpoint-url", "http://127.0.0.1:1"],
            "--data keeps the built-in AWS; leave out --endpoint-url",
            id="data elsewhere",
        ),
        pytest.param(
            ["serve", "--port", "0", "--data", "README.md"],
            "--data README.md: File exists",
            id="data in a file",
        ),
        pytest.param(
            ["serve", "--settings", "nowhere.json"],
            "cannot read nowhere.json: No such file",
            id="no settings",
        ),
        pytest.param(["sample", "nonsense"], "no event 'nonsense'", id="no event"),
        pytest.param(["serve", "--host", ""], "--host is empty", id="no host"),
        pytest.param(["keys", "list"], "which deployment?", id="no deployment"),
        pytest.param(
            ["sample", "logout", "--endpoint-url", "foo"],
            "cannot log in with DynamoDB and KMS at foo",
            id="no URL",
        ),
    ],
)
def test_given_what_cannot_work_when_run_then_one_line_and_exit_code_1(
    arguments: list[str], message: str
) -> None:
    ended = run(*arguments)

    assert ended.returncode == 1
    assert ended.stderr.startswith("anonauth: ")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--port", "70000"]])
def test_given_a_command_line_that_is_not_understood_then_exit_code_2(
    arguments: list[str],
) -> None:
    ended = run(*arguments)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--help"], ["serve", "sample", "keys"], id="anonauth"),
        pytest.param([], ["serve", "sample", "keys"], id="nothing"),
        pytest.param(
            ["serve", "--help"],
            ["--port", "--settings", "--aws-port", "_local/clock", "_local/outbox"],
            id="serve",
        ),
        pytest.param(
            ["sample", "--help"], ["sam local invoke", "--env-vars"], id="sample"
        ),
        pytest.param(
            ["keys", "--help"],
            ["list", "rotate", "revoke", "--stack", "Exit code"],
            id="keys",
        ),
        pytest.param(
            ["users", "--help"],
            ["show", "list", "delete", "revoke", "export", "--email", "Exit code"],
            id="users",
        ),
        pytest.param(
            ["users", "export", "--help"], ["FILE.resume", "expires_at"], id="export"
        ),
        pytest.param(
            ["stats", "--help"], ["--no-scan", "CloudWatch", "UTC"], id="stats"
        ),
        pytest.param(
            ["events", "tail", "--help"], ["aws logs tail", "put-rule"], id="tail"
        ),
    ],
)
def test_given_help_when_asked_for_then_it_teaches(
    arguments: list[str], words: list[str]
) -> None:
    ended = run(*arguments)

    assert all(word in ended.stdout + ended.stderr for word in words)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serve"],
        ["stats"],
        ["doctor"],
        ["events"],
        ["events", "replay"],
        ["keys", "revoke"],
        ["users", "list"],
        ["users", "export"],
    ],
    ids=" ".join,
)
def test_given_a_flag_when_help_is_asked_for_then_it_takes_no_value(
    arguments: list[str],
) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"])

    assert result.exit_code == 0
    assert "Show this message" in result.stdout
    assert "<bool>" not in result.stdout


def test_given_the_exit_codes_when_read_then_help_and_page_have_the_same() -> None:
    table = section("operate.md", "## Exit codes")
    told = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)

    ended = run("--help")

    words = " ".join(ended.stdout.split())
    assert "Exit codes: 0 success;" in words
    assert "130 Ctrl-C (0 for serve and events tail)." in words
    assert told == re.findall(r"(?:Exit codes:|;) (\d+)", words)


def test_given_an_installation_without_the_extra_when_run_then_it_says_which() -> None:
    code = f"import sys; sys.modules['typer'] = None; {RUN}"

    ended = run("serve", code=code)

    assert ended.returncode == 1
    assert ended.stderr == ("anonauth: typer is missing; pip install 'anonauth[cli]'\n")


def test_given_an_event_without_a_token_when_printed_then_it_is_the_file(
    tmp_path: Path,
) -> None:
    ended = run("sample", "login", cwd=tmp_path)

    assert ended.returncode == 0
    assert json.loads(ended.stdout) == json.loads((EVENTS / "login.json").read_text())


@pytest.mark.long
def test_given_a_service_when_an_event_is_printed_then_its_token_is_good() -> None:
    with LocalServer(aws_port=0) as server:
        ended = run("sample", "logout", "--endpoint-url", server.aws_url)
        event = json.loads(ended.stdout)
        answer = server.deployment.invoke("LogoutFunction", event)

    assert ended.stderr == ""
    assert answer["statusCode"] == 200
