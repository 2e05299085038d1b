"""A spike: 200 clients at once, while the table throttles half of all calls.

The clients run the browser module, and every fourth answer to a login is lost. They
call the real functions over HTTP. The functions call AWS through a socket, which
refuses half of the calls to the table.
"""

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anonauth.local.aws import TABLE_NAME
from anonauth.local.server import LocalServer
from support.engine.engines import Engine
from support.engine.faults import KINDS
from support.project.tools import require_tool
from support.service.calls import APP
from support.service.socket_wire import Asked, Front, Said, Upstream, by_engine, pass_on

CLIENTS = 200

LIMITS = {"ThrottlingBurstLimit": "20", "ThrottlingRateLimit": "50"}
"""Limits of the API, so low that it refuses some of the first calls with 429."""

_THROTTLED = [
    KINDS[name] for name in ("throttled", "no throughput", "cancelled by throttling")
]


class Throttle:
    """A fault of half the calls of the table, from the moment that it is on."""

    def __init__(self, dice: random.Random) -> None:
        self.is_on = False
        self._dice = dice

    def __call__(self, asked: Asked, upstream: Upstream) -> Said:
        kinds = [kind for kind in _THROTTLED if kind.fits(asked.operation)]
        if self.is_on and asked.service == "dynamodb" and self._dice.random() < 0.5:
            return self._dice.choice(kinds).act(asked, upstream)
        return pass_on(asked, upstream)


@pytest.fixture
def server(
    engine: Engine, dice: random.Random, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalServer]:
    """The service, whose functions have read no key yet, on a throttled table."""
    # A busy machine must not look like a table that loses answers.
    monkeypatch.setattr("anonauth.store.table._CONNECT_TIMEOUT", 60.0)
    monkeypatch.setattr("anonauth.store.table._READ_TIMEOUT", 60.0)
    throttle = Throttle(dice)
    with (
        by_engine(engine.endpoint_url) as upstream,
        Front(upstream, throttle) as front,
        LocalServer(
            endpoint_url=front.url, app_ids=(APP,), parameters=LIMITS
        ) as running,
    ):
        # As on AWS, calls run at the same time. `serve` lets them wait for each other.
        running._gateway._invoke = running.deployment._run_function
        throttle.is_on = True
        yield running
    engine.db.delete_table(TableName=TABLE_NAME)


def users_of(engine: Engine) -> set[str]:
    pages = engine.db.get_paginator("scan").paginate(TableName=TABLE_NAME)
    keys = [item["pk"]["S"].split("#") for page in pages for item in page["Items"]]
    return {key[2] for key in keys if key[0] == "USER"}


def spike(server: LocalServer) -> Any:
    """Let the clients do their calls; return answers by kind, and the clients."""
    ended = subprocess.run(  # noqa: S603 - our own clients
        [require_tool("node"), Path(__file__).with_name("spike.mjs")],
        env={
            **os.environ,
            "BASE_URL": server.base_url,
            "APP": APP,
            "CLIENTS": str(CLIENTS),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["ministack"], indirect=True)
def test_given_a_spike_on_a_table_that_throttles_then_each_client_has_its_guest(
    server: LocalServer,
    engine: Engine,
    record_property: Callable[[str, object], None],
) -> None:
    seen = spike(server)

    record_property("figures", str(seen["answers"]))
    answers = [line.split() for line in seen["answers"]]
    assert {status for *_, status, _ in answers} == {"200", "429", "503"}
    assert {wait for *_, status, wait in answers if status == "503"} == {"2"}
    clients = seen["clients"]
    assert all(each["refreshed"] == each["first"] for each in clients)
    ids = {each["last"] for each in clients}
    assert len(ids) == CLIENTS
    assert users_of(engine) == ids
