"""Moving the service's clock. Each test has a service of its own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from anonauth.local.api_gateway import HttpRequest, HttpResponse
from anonauth.local.control import LocalApi
from anonauth.local.server import LocalServer
from support.service.calls import API, APP, call, log_in

CLOCK = "/_local/clock"
HOST = ("Host", "127.0.0.1:8080")


@pytest.fixture
def travelling() -> Iterator[LocalServer]:
    with LocalServer(app_ids=(APP,)) as running:
        yield running


def now(answer: HttpResponse) -> datetime:
    text = answer.body.decode().removeprefix('{"now":"').removesuffix('"}')
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("duration", "low", "high"),
    [
        pytest.param(
            "PT31M", timedelta(minutes=31), timedelta(minutes=31), id="31 min"
        ),
        pytest.param("P91D", timedelta(days=91), timedelta(days=91), id="91 days"),
        pytest.param("P1DT23H59M", timedelta(days=2), timedelta(days=2), id="mixed"),
        pytest.param("P1W", timedelta(days=7), timedelta(days=7), id="week"),
        pytest.param(
            "P1M",
            timedelta(days=28),
            timedelta(days=31),
            id="month",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "P3Y",
            timedelta(days=1095),
            timedelta(days=1096),
            id="3 years",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "P1830D",
            timedelta(days=1830),
            timedelta(days=1830),
            id="5 years, the most",
            marks=pytest.mark.long,
        ),
    ],
)
def test_given_a_duration_when_posted_then_the_clock_has_moved_and_keys_can_sign(
    duration: str, low: timedelta, high: timedelta, travelling: LocalServer
) -> None:
    before = travelling.deployment.clock()
    minute = timedelta(minutes=2)

    body = b'{"advance": "%s"}' % duration.encode()
    answer = LocalApi(travelling.deployment).answer(
        HttpRequest("POST", CLOCK, (HOST,), body)
    )

    assert answer.status == 200
    assert low - minute <= now(answer) - before <= high + minute
    read = LocalApi(travelling.deployment).answer(HttpRequest("GET", CLOCK, (HOST,)))
    assert now(read) - now(answer) < minute
    log_in(travelling.base_url)


@pytest.mark.long
@pytest.mark.usefixtures("moto")
def test_given_a_process_that_mocks_aws_when_served_twice_then_each_time_is_fresh() -> (
    None
):
    with LocalServer() as first:
        first.advance(timedelta(days=400))

    with LocalServer() as second:
        log_in(second.base_url)


@pytest.mark.long
def test_given_90_days_of_silence_when_travelled_then_the_user_is_removed(
    travelling: LocalServer,
) -> None:
    token = log_in(travelling.base_url)["refresh_token"]

    def refresh() -> int:
        path = f"{API}/auth/session"
        return call(travelling.base_url, "POST", path, token=token).status

    def advance(duration: str) -> None:
        body = b'{"advance": "%s"}' % duration.encode()
        assert call(travelling.base_url, "POST", CLOCK, body=body).status == 200

    advance("P89DT23H59M")
    assert refresh() == 200
    advance("P91DT2H")
    assert refresh() == 401


@pytest.mark.long
def test_given_a_user_active_every_60_days_when_3_years_pass_then_it_lives(
    travelling: LocalServer,
) -> None:
    token = log_in(travelling.base_url)["refresh_token"]

    for _ in range(18):
        travelling.advance(timedelta(days=60))
        answer = call(travelling.base_url, "POST", f"{API}/auth/session", token=token)
        assert answer.status == 200

    access = answer.json()["access_token"]
    profile = call(travelling.base_url, "GET", f"{API}/auth/profile", token=access)
    assert profile.status == 200
