"""Bodies that no parser likes: refused at once, by every route that takes a body."""

from collections.abc import Callable

import pytest

from support.hostile.fuzzing import HOSTILE, Body, timely
from support.hostile.routes import BODIES, WITHOUT_BODY, Caller
from support.service.harness import LINK, Deployment


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_given_a_hostile_body_when_sent_then_400_within_50_ms_and_nothing_changes(
    service: Deployment, make: Callable[[Body], bytes]
) -> None:
    caller = Caller(service)
    before = service.items()

    for route, name, good in BODIES:
        for is_link in {False, route == LINK}:
            request = caller.request(route, make(good), name=name, is_link=is_link)
            reply = timely(request)
            # While linking too: realm-web would repeat a 401 for ever.
            assert (reply.status, reply.json["error_code"]) == (400, "BadRequest")

    assert service.items() == before


def test_given_a_hostile_body_when_none_is_read_then_the_answer_is_as_without(
    service: Deployment,
) -> None:
    caller = Caller(service)
    expected = {route: caller.request(route)().status for route in WITHOUT_BODY}

    for name in ("10,000 arrays", "NUL, raw", "not UTF-8", "megabytes of text"):
        body = HOSTILE[name]({})
        told = {r: caller.request(r, body)().status for r in WITHOUT_BODY}
        assert told == expected, name

    assert {200, 404} == set(expected.values())
