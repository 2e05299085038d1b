"""Good requests with small changes at random: no answer is our trouble."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from support.hostile.fuzzing import VALUES, Mutator, new_seed, timely
from support.hostile.routes import BODIES, Caller, succeeded
from support.service.harness import (
    END_SESSION,
    GET_KEY,
    LINK,
    LOGOUT,
    UNLINK,
    Deployment,
)
from support.service.linked import log_in_linked

Record = Callable[[str, object], None]

REPETITIONS = pytest.mark.parametrize(
    "times", [6, pytest.param(200, marks=pytest.mark.long)]
)


@REPETITIONS
def test_given_a_good_body_when_changed_then_it_is_taken_or_refused_within_50_ms(
    service: Deployment, times: int, record_property: Record
) -> None:
    """`Deployment.send` compares each answer with the document."""
    seed, told = new_seed()
    mutator, caller, statuses = Mutator(seed), Caller(service), set()

    for route, name, good in BODIES:
        for number in range(times):
            value = json.dumps(mutator.value(good)).encode()
            body = mutator.text(json.dumps(good).encode()) if number % 2 else value
            is_link = route == LINK and number % 3 == 0
            request = caller.request(route, body, name=name, is_link=is_link)
            status = timely(request, unless=succeeded).status
            assert 200 <= status < 500, (told, route, body)
            statuses.add(status)

    record_property("seed", told)
    record_property("bodies", f"{len(BODIES) * times}, answered {sorted(statuses)}")
    # Few changes leave a credential that can be read and is wrong.
    assert {200, 400} | ({401} if times > 6 else set()) <= statuses


def test_given_a_hostile_text_when_said_of_everywhere_then_refused_and_nothing_ends(
    service: Deployment,
) -> None:
    opened = log_in_linked(service)
    before = service.items()

    for text in VALUES:
        if not isinstance(text, str) or text.lower() in {"true", "false"}:
            continue
        for query in ({"everywhere": text}, {"EVERYWHERE": text, "everywhere": "true"}):
            token = opened["refresh_token"]
            send = partial(service.send, LOGOUT, token=token, query=query)
            assert timely(send).status == 400, text

    assert service.items() == before


def test_given_a_hostile_text_when_in_path_or_query_then_refused_within_50_ms(
    service: Deployment,
) -> None:
    caller = Caller(service)
    before = service.items()

    for text in VALUES:
        # Half a character cannot be in a URL: the gateway decodes UTF-8.
        if not isinstance(text, str) or "\ud800" in text or "\udc00" in text:
            continue
        sent: list[tuple[str, dict[str, Any]]] = [
            (GET_KEY, {"parameters": {"id": text}}),
            (END_SESSION, {"parameters": {"id": text}}),
            (UNLINK, {"query": {"provider": text, "id": "nobody"}}),
            (UNLINK, {"query": {"provider": "custom-token", "id": text}}),
            (UNLINK, {"query": {text: text}}),
            (LINK, {"parameters": {"provider": text}}),
            (LINK, {"query": {"link": text}}),
        ]
        for route, options in sent:
            request = caller.request(route, b"{}", name="api-key", **options)
            reply = timely(request)
            assert 400 <= reply.status < 500, (route, options)

    assert service.items() == before
