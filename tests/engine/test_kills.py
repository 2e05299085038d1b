"""`kill -9` of `anonauth serve --data` under load: answered writes are kept.

A merge, which changes three items at once, is kept as a whole or not at all.
"""

import http.client
import itertools
import json
import queue
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.project.tools import ROOT
from support.service.calls import API, APP, call, log_in
from support.service.ctrl_c import COMMAND, ended
from support.service.provider_logins import PROVIDERS_ON, by_token, claims_of

KILLS = 3
CLIENTS = 8
LOGINS = 60  # before each kill

Session = dict[str, str]

UNLIMITED = [
    f"--parameter={name}"
    for name in (
        "LoginsPerNetwork=0",
        "ThrottlingRateLimit=10000",
        "ThrottlingBurstLimit=5000",
    )
]


@contextmanager
def serving(
    data: Path, settings: Path
) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Yield the command, its address, and the counts it reports at its start."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [
            *(*COMMAND, "serve", "--port=0", f"--data={data}"),
            *(f"--settings={settings}", *UNLIMITED),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with ended(process):
        assert process.stdout is not None
        first = process.stdout.readline()
        match = re.fullmatch(r"anonauth is listening on (http://\S+)\n", first)
        assert match, first
        found = next(
            line for line in process.stdout if line.startswith(f"data in {data}: ")
        )
        yield process, match[1], found.rpartition(": ")[2].strip()


@dataclass
class Client:
    """A client, and what it was answered until the service was killed.

    Args:
        subject: The name of its identity.
        opened: Sessions that are good.
        ended: Sessions that have ended: of a logout, or of a guest that was merged.
        sent: Guests that came along to a login. The last may not have been answered.
    """

    subject: str
    opened: list[Session] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)
    sent: list[Session] = field(default_factory=list)

    def run(self, base_url: str, logins: queue.Queue[None]) -> None:
        """Log in until the service stops answering.

        One session in three is ended, and one in three comes along to a login.
        """
        with suppress(OSError, http.client.HTTPException):  # it was killed
            for number in itertools.count():
                session = log_in(base_url)
                logins.put(None)
                if number % 3 == 0:
                    path, token = f"{API}/auth/session", session["refresh_token"]
                    answer = call(base_url, "DELETE", path, token=token)
                    assert answer.status == 200, answer
                    self.ended.append(session)
                elif number % 3 == 1:
                    self.sent.append(session)
                    merged = self.merge(base_url, session)
                    self.opened.append(merged)
                    if merged["merged"]:
                        self.ended.append(session)
                else:
                    self.opened.append(session)

    def merge(self, base_url: str, guest: Session) -> Any:
        """Log in by the identity and bring a guest along; return the answer."""
        sent = by_token(self.subject) | {"merge": guest["refresh_token"]}
        path = f"{API}/app/{APP}/auth/providers/custom-token/login"
        answer = call(base_url, "POST", path, body=json.dumps(sent).encode())
        assert answer.status == 200, answer
        return answer.json()

    def check_merges(self, base_url: str) -> None:
        """Repeat all merges: each is done once, also the one without an answer.

        The first guest got the identity, because it was free, and has the others.
        """
        answers = [self.merge(base_url, guest) for guest in self.sent]
        ids = [guest["user_id"] for guest in self.sent]
        assert [each["user_id"] for each in answers] == ids[:1] * len(ids)
        assert [each["merged"] for each in answers[1:]] == [True] * len(ids[1:])
        claims = claims_of(answers[-1]["access_token"])
        assert claims.get("former_ids", []) == ids[1:]


def refresh(base_url: str, session: Session) -> int:
    path = f"{API}/auth/session"
    return call(base_url, "POST", path, token=session["refresh_token"]).status


@pytest.mark.long
def test_given_kills_under_load_when_started_again_then_all_that_was_answered_is_good(
    tmp_path: Path,
) -> None:
    data, settings = tmp_path / "data", tmp_path / "settings.json"
    settings.write_text(json.dumps(PROVIDERS_ON))
    clients: list[Client] = []
    found = []
    for kill in range(KILLS):
        with serving(data, settings) as (process, base_url, told):
            found.append(told)
            these = [Client(f"{kill}-{number}") for number in range(CLIENTS)]
            clients += these
            with ThreadPoolExecutor(CLIENTS) as threads:
                logins: queue.Queue[None] = queue.Queue()
                running = [threads.submit(c.run, base_url, logins) for c in these]
                try:
                    for _ in range(LOGINS):
                        logins.get(timeout=30)
                finally:
                    process.kill()
            for each in running:
                each.result()
    opened = [session for client in clients for session in client.opened]
    ended_ones = [session for client in clients for session in client.ended]
    with serving(data, settings) as (_, base_url, told):
        found.append(told)
        statuses = {refresh(base_url, session) for session in opened}
        gone = {refresh(base_url, session) for session in ended_ones}
        brought = [client for client in clients if client.sent]
        for client in brought:
            client.check_merges(base_url)
        log_in(base_url, APP)

    # Without the guests whose last call was not answered, who may be either.
    answered = len({session["user_id"] for session in opened})
    assert answered + len(ended_ones) >= KILLS * (LOGINS - CLIENTS)
    assert statuses == {200}
    assert gone == {401}
    merges = sum(len(client.sent) - 1 for client in brought)
    assert merges > KILLS * CLIENTS // 2
    assert found[0] == "new"
    # A few calls may have been stored, but no longer answered.
    users = int(found[-1].partition(" ")[0])
    assert answered <= users <= answered + KILLS * CLIENTS
