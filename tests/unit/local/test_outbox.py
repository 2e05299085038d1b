"""The outbox: its mails, which callers may read it, and accounts confirmed with it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from anonauth.errors import MailUnavailable
from anonauth.local.api_gateway import HttpRequest
from anonauth.local.control import LocalApi
from anonauth.local.outbox import (
    MOST_RECENT_ITEMS,
    RecentItems,
    RecordingMailer,
    SentMail,
)
from anonauth.local.server import LocalServer
from support.service.calls import API, APP, Answer, call

OUTBOX = "/_local/outbox"
HOST = ("Host", "127.0.0.1:8080")
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MAIL = {
    "sender": "The App <app@example.com>",
    "confirm_url": "https://www.example.com/confirm",
    "reset_url": "https://www.example.com/reset",
}
DOCUMENT = {"apps": {"*": {"local-userpass": {"mail": MAIL}}}}
ACCOUNT = {"email": "Ada@example.org", "password": "correct horse"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    path = tmp_path_factory.mktemp("settings") / "settings.json"
    path.write_text(json.dumps(DOCUMENT))
    with LocalServer(settings=path, app_ids=(APP,)) as running:
        yield running


@pytest.fixture(autouse=True)
def _emptied(server: LocalServer) -> None:
    server.deployment.outbox.clear()


def post(server: LocalServer, route: str, **body: str) -> Answer:
    path = f"{API}/app/{APP}/auth/providers/local-userpass/{route}"
    return call(server.base_url, "POST", path, body=json.dumps(body).encode())


def listed(server: LocalServer) -> Any:
    answer = call(server.base_url, "GET", OUTBOX)
    assert answer.status == 200
    return answer.json()


def token_in(mail: dict[str, str]) -> dict[str, str]:
    """Return the parameters of the link in a mail."""
    (url,) = re.findall(r"https://\S+", mail["text"])
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


def sent(number: int = 0) -> SentMail:
    return SentMail("ada@example.org", "app@example.com", str(number), "text", NOW)


def test_given_an_account_when_registered_then_its_mail_confirms_it(
    server: LocalServer,
) -> None:
    login = {"username": ACCOUNT["email"], "password": ACCOUNT["password"]}

    registered = post(server, "register", **ACCOUNT)
    (mail,) = listed(server)
    too_early = post(server, "login", **login)
    confirmed = post(server, "confirm", **token_in(mail))
    logged_in = post(server, "login", **login)

    assert (registered.status, registered.json()) == (200, {})
    assert mail.keys() == {"to", "from", "subject", "text", "sent_at"}
    assert mail["to"] == ACCOUNT["email"]
    assert mail["from"] == MAIL["sender"]
    assert too_early.status == 401
    assert confirmed.status == 200
    assert logged_in.status == 200


def test_given_a_mailed_reset_when_done_then_the_new_password_logs_in(
    server: LocalServer,
) -> None:
    post(server, "register", email="bob@example.org", password="the old one")
    post(server, "reset/send", email="bob@example.org")

    confirm, reset = listed(server)
    done = post(server, "reset", **token_in(reset), password="the new one")

    assert confirm["subject"] != reset["subject"]
    assert done.status == 200
    for password, status in (("the old one", 401), ("the new one", 200)):
        answer = post(server, "login", username="bob@example.org", password=password)
        assert answer.status == status


def test_given_a_clock_moved_on_when_mail_is_sent_then_it_has_that_time(
    server: LocalServer,
) -> None:
    now = server.advance(timedelta(days=40))

    post(server, "register", email="eve@example.org", password="correct horse")

    (mail,) = listed(server)
    assert mail["sent_at"].endswith("Z")
    sent_at = datetime.fromisoformat(mail["sent_at"])
    assert abs(sent_at - now) < timedelta(minutes=1)


def test_given_mails_when_deleted_then_the_outbox_is_empty(server: LocalServer) -> None:
    server.deployment.outbox.add(sent())

    answer = call(server.base_url, "DELETE", OUTBOX)

    assert (answer.status, answer.json()) == (200, {})
    assert listed(server) == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        pytest.param("203.0.113.7", (HOST,), id="another machine"),
        pytest.param("127.0.0.1", (("Host", "evil.example"),), id="rebound name"),
        pytest.param("127.0.0.1", (), id="no Host"),
        pytest.param(
            "127.0.0.1", (HOST, ("Origin", "https://evil.example")), id="other page"
        ),
        pytest.param("127.0.0.1", (HOST, ("Origin", "null")), id="null origin"),
    ],
)
def test_given_a_stranger_when_asking_then_the_outbox_is_neither_read_nor_emptied(
    peer: str, headers: tuple[tuple[str, str], ...], method: str, server: LocalServer
) -> None:
    server.deployment.outbox.add(sent())

    answer = LocalApi(server.deployment).answer(
        HttpRequest(method, OUTBOX, headers, peer=peer)
    )

    assert answer.status == 403
    assert b"ada@example.org" not in answer.body
    assert dict(answer.headers) == {"content-type": "application/json"}
    assert server.deployment.outbox.entries() == [sent()]


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "HEAD"])
def test_given_another_method_when_asked_then_405_without_cors(
    method: str, server: LocalServer
) -> None:
    answer = call(server.base_url, method, OUTBOX)

    assert answer.status == 405
    assert "access-control-allow-origin" not in answer.headers


def test_given_more_mails_than_are_kept_when_added_then_the_oldest_are_dropped() -> (
    None
):
    outbox: RecentItems[SentMail] = RecentItems()

    for number in range(MOST_RECENT_ITEMS + 1):
        outbox.add(sent(number))

    subjects = [mail.subject for mail in outbox.entries()]
    assert subjects == [str(number) for number in range(1, MOST_RECENT_ITEMS + 1)]


def test_given_mail_that_cannot_be_sent_when_recorded_then_it_is_not_listed() -> None:
    class Refusing:
        def send(self, **mail: str) -> None:
            raise MailUnavailable

    outbox: RecentItems[SentMail] = RecentItems()
    mailer = RecordingMailer(Refusing(), outbox, lambda: NOW)

    with pytest.raises(MailUnavailable):
        mailer.send(sender="a@example.com", recipient="b", subject="s", text="t")

    assert outbox.entries() == []
