"""`anonauth events tail`: each event once, even if list or clock change."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.cli.events.tail import follow_events, format_event
from anonauth.local.command_error import CommandError
from anonauth.local.server import LocalServer
from support.project.tools import ROOT
from support.service.calls import API, APP, call, log_in
from support.service.ctrl_c import COMMAND, ended, in_the_background
from support.service.served import Direct


class Enough(Exception):
    """Ends the loop when the test has seen its events."""


def seen(server: LocalServer, *actions: Callable[[], object]) -> list[dict[str, Any]]:
    """Return the events that are told while a step runs at each pause."""
    ahead = iter(actions)

    def pause() -> None:
        action = next(ahead, None)
        if action is None:
            raise Enough
        action()

    told: list[dict[str, Any]] = []
    events = follow_events(server.base_url, pause)
    with suppress(Enough):
        while True:
            told.append(next(events))
    return told


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["detail-type"] for event in events]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(app_ids=(APP,), aws_port=0) as running:
        yield running


def test_given_events_when_followed_then_each_is_told_once(server: LocalServer) -> None:
    call(server.base_url, "DELETE", "/_local/events")
    first = log_in(server.base_url)

    told = seen(
        server,
        lambda: None,
        lambda: call(
            server.base_url,
            "DELETE",
            f"{API}/auth/session",
            token=first["refresh_token"],
        ),
        lambda: log_in(server.base_url),
    )

    assert types(told) == ["user.created", "user.deleted", "user.created"]
    assert told == call(server.base_url, "GET", "/_local/events").json()


def test_given_a_merge_when_followed_then_its_line_says_into_which_user(
    server: LocalServer,
) -> None:
    client, password = Direct(server), "correct horse"
    provider = f"{API}/app/{APP}/auth/providers/local-userpass"
    account = {"email": "ada@example.com", "password": password}
    client.send("POST", f"{provider}/register", body=account)
    credential = {"username": "ada@example.com", "password": password}
    owner = client.send("POST", f"{provider}/login", body=credential)
    guest = log_in(server.base_url)
    merge = credential | {"merge": guest["refresh_token"]}
    call(server.base_url, "DELETE", "/_local/events")

    told = seen(
        server,
        lambda: None,
        lambda: client.send("POST", f"{provider}/login", body=merge),
    )

    line = format_event(next(e for e in told if e["detail"]["uid"] == guest["user_id"]))
    assert sorted(types(told)) == ["user.logged_in", "user.merged"]
    assert line.split("  ")[1:] == [
        "user.merged",
        APP,
        guest["user_id"],
        f'into="{owner["user_id"]}"',
        'provider="local-userpass"',
    ]


def test_given_a_list_that_is_emptied_and_a_clock_that_moves_then_none_is_hidden(
    server: LocalServer,
) -> None:
    call(server.base_url, "DELETE", "/_local/events")
    log_in(server.base_url)

    told = seen(
        server,
        lambda: call(server.base_url, "DELETE", "/_local/events"),
        lambda: log_in(server.base_url),
        lambda: server.advance(timedelta(days=93)),
    )

    assert types(told)[:2] == ["user.created"] * 2
    ids = [event["detail"]["uid"] for event in told[:2]]
    gone = {e["detail"]["uid"] for e in told if e["detail-type"] == "user.deleted"}
    assert gone >= set(ids)
    assert len({event["detail"]["id"] for event in told}) == len(told)


def test_given_an_event_when_told_then_it_is_one_line_that_steers_no_terminal() -> None:
    event = {
        "time": "2026-11-24T12:00:00Z",
        "detail-type": "user.deleted",
        "detail": {
            "id": "1:user.deleted",
            "stack": "s",
            "app": "a",
            "uid": "u\x1b[2J",
            "identities": [],
            "reason": "expired",
        },
    }

    line = format_event(event)

    assert line == (
        r'2026-11-24T12:00:00Z  user.deleted  a  u\x1b[2J  reason="expired"'
    )


@pytest.mark.long
def test_given_a_service_when_it_ends_then_so_does_the_command() -> None:
    with LocalServer(app_ids=(APP,)) as server:
        events = follow_events(server.base_url, lambda: None)
        log_in(server.base_url)
        assert next(events)["detail-type"] == "user.created"

    with pytest.raises(CommandError, match="no local service answers at http"):
        next(events)


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        pytest.param("http://127.0.0.1:1", "start `anonauth serve`", id="nobody"),
        pytest.param("localhost:8080", "'localhost:8080' is not a URL", id="no URL"),
        pytest.param("ftp://127.0.0.1", "is not a URL", id="another scheme"),
    ],
)
def test_given_no_service_when_followed_then_one_line(
    base_url: str, message: str
) -> None:
    result = CliRunner().invoke(app, ["events", "tail", "--base-url", base_url])

    assert result.exit_code == 1
    assert isinstance(result.exception, CommandError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("of_aws", "message"),
    [
        pytest.param(False, "404 no such endpoint", id="another path"),
        pytest.param(True, "404 from a server that is not a local service", id="AWS"),
    ],
)
def test_given_something_else_that_answers_when_followed_then_one_line(
    server: LocalServer, of_aws: bool, message: str
) -> None:
    url = server.aws_url if of_aws else f"{server.base_url}/elsewhere"

    with pytest.raises(CommandError, match=message):
        next(follow_events(str(url), lambda: None))


@pytest.mark.long
def test_given_a_shell_when_ctrl_c_is_pressed_then_it_ends_with_0(
    server: LocalServer,
) -> None:
    log_in(server.base_url)
    command = ["events", "tail", "--json", "--base-url", server.base_url]
    with in_the_background():
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*COMMAND, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT / "functions")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with ended(process):
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.wait(10)

        assert first["detail-type"] == "user.created"
        assert (process.returncode, process.stderr.read()) == (0, "")
