"""Metrics in the embedded format, as CloudWatch Logs takes them from a log."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_args

import pytest

from anonauth.domain.events import ExpiryScan, MetricName
from anonauth.domain.expiry import utc_day
from anonauth.metrics import NAMESPACE, Metrics
from anonauth.usecases.key_ring import signing_key_age
from support.project.sam_template import passes_filter
from support.service.harness import APP, LOGIN, LOGOUT, PROFILE, SESSION, Deployment
from support.service.linked import log_in_linked
from support.service.provider_logins import (
    PROVIDERS_ON,
    a_jwt,
    by_password,
    by_token,
    link,
    log_in,
    register,
)
from support.service.story import Story, types

# As in operate.md, by metric. The others have no dimension.
DIMENSIONS = {
    "ColdStarts": "function",
    "Logins": "provider",
    "Links": "provider",
    "Refusals": "error_code",
    "UsersCreated": "provider",
    "UsersLinked": "provider",
    "UsersDeleted": "reason",
    "UsersMerged": "provider",
}

Figure = tuple[str, str]  # a metric, and the value of its dimension, if it has one


class Figures:
    """What CloudWatch makes of what was printed since the last look."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self) -> Counter[Figure]:
        figures: Counter[Figure] = Counter()
        for line in self._capsys.readouterr().out.splitlines():
            blob = json.loads(line)
            if "_aws" in blob:
                figures.update(_read(blob))
        return figures


def _read(blob: dict[str, Any]) -> dict[Figure, float]:
    # Amazon CloudWatch User Guide, "Specification: Embedded metric format".
    (directive,) = blob["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == NAMESPACE
    ((service, *others),) = directive["Dimensions"]
    assert (service, blob[service]) == ("service", "anonauth-local")
    (metric,) = directive["Metrics"]
    assert (others or [None]) == [DIMENSIONS.get(metric["Name"])]
    assert metric["Name"] in get_args(MetricName)
    assert metric["Unit"] in {"Count", "None"}
    # Nothing beside: no id of anybody, which would be searchable in the log.
    assert blob.keys() == {"_aws", service, *others, metric["Name"]}
    (value,) = blob[metric["Name"]]
    return {(metric["Name"], *(blob[other] for other in others)): value}


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str], service: Deployment) -> Figures:
    service.restart_with(PROVIDERS_ON)
    service.services.metrics.start("")  # warm
    figures = Figures(capsys)
    figures()
    return figures


def test_given_a_new_environment_when_called_then_one_cold_start_is_counted(
    service: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = Figures(capsys)
    service.restart()

    service.log_in()
    assert figures()["ColdStarts", "LoginFunction"] == 1
    service.log_in()
    assert figures() == {("Logins", "anon-user"): 1}
    service.restart()
    service.send(SESSION, token="x")
    assert figures()["ColdStarts", "SessionFunction"] == 1


def test_given_each_operation_when_it_succeeds_then_it_is_counted_once(
    service: Deployment, figures: Figures
) -> None:
    guest = service.log_in()
    assert figures() == {("Logins", "anon-user"): 1}
    service.send(SESSION, token=guest["refresh_token"])
    assert figures() == {("Refreshes",): 1}
    service.send(PROFILE, token=guest["access_token"])
    assert figures() == {}
    register(service)
    assert figures() == {}
    link(service, guest, "local-userpass", by_password())
    assert figures() == {("Links", "local-userpass"): 1}
    log_in(service, "local-userpass", by_password())
    assert figures() == {("Logins", "local-userpass"): 1}
    service.send(LOGOUT, token=guest["refresh_token"])
    assert figures() == {("Logouts",): 1}


def test_given_refusals_when_counted_then_by_code_and_conflicts_apart(
    service: Deployment, figures: Figures
) -> None:
    one, two = service.log_in(), service.log_in()
    token = {"token": a_jwt()}
    link(service, one, "custom-token", token)
    figures()

    link(service, two, "custom-token", token)
    assert figures() == {("Refusals", "AccountNameInUse"): 1, ("Conflicts",): 1}
    service.send(SESSION, token="x")
    assert figures() == {("Refusals", "InvalidSession"): 1}
    service.send(LOGIN, query={"link": "true"})
    assert figures() == {("Refusals", "InternalServerError"): 1}
    service.send("$default", parameters={})
    assert figures() == {("Refusals", "NotFound"): 1}


def test_given_an_unknown_provider_when_refused_then_it_is_no_dimension(
    service: Deployment, figures: Figures
) -> None:
    """A client could make as many metrics, which are billed, as it likes."""
    for number in range(3):
        log_in(service, f"made-up-{number}", {})

    assert figures() == {("Refusals", "InvalidSession"): 3}


def test_given_users_when_they_come_and_go_then_lifecycle_counts_them(
    service: Deployment, figures: Figures
) -> None:
    story = Story(service)
    guests = [service.log_in() for _ in range(4)]
    figures()
    story.tell()
    assert figures() == {("UsersCreated", "anon-user"): 4}

    link(service, guests[0], "custom-token", {"token": a_jwt("a")})
    link(service, guests[0], "custom-token", {"token": a_jwt("b")})
    log_in_linked(service, "c")
    service.send(LOGOUT, token=guests[1]["refresh_token"])
    figures()
    story.tell()
    assert figures() == {
        ("UsersLinked", "custom-token"): 2,  # two guests, three identities
        ("UsersCreated", "anon-user"): 1,
        ("UsersDeleted", "logout"): 1,
    }

    for guest in guests[2:]:
        log_in(
            service, "custom-token", by_token("a") | {"merge": guest["refresh_token"]}
        )
    figures()
    story.tell()
    assert figures() == {("UsersMerged", "custom-token"): 2}

    for _ in range(2):
        service.log_in()
    story.tell()
    figures()
    service.now += timedelta(days=95)
    story.sweep()
    story.tell()
    assert figures() == {("UsersDeleted", "expired"): 2}


@pytest.mark.parametrize("done", [0, 1, 3])
def test_given_a_batch_that_stops_when_it_comes_again_then_each_is_counted_once(
    service: Deployment, figures: Figures, done: int
) -> None:
    story = Story(service)
    guest = service.log_in()
    for _ in range(3):  # each in a step of its own: one user
        link(service, guest, "custom-token", {"token": a_jwt(str(_))})
    records = [record for record in story.records() if passes_filter(record)]
    figures()

    # The time is over after this number of steps.
    left = iter([60_000] * done + [0] * 9)
    answer = story.tell(records, remaining=lambda: next(left))
    first = figures()
    failed = answer["batchItemFailures"][0]["itemIdentifier"]
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    story.tell(records[numbers.index(failed) :])

    assert numbers.index(failed) == done
    assert first + figures() == {
        ("UsersCreated", "anon-user"): 1,
        ("UsersLinked", "custom-token"): 1,
    }


def test_given_a_record_of_two_events_when_one_is_published_then_neither_is_counted(
    service: Deployment, figures: Figures
) -> None:
    """The record comes again, and its events are counted then."""
    story = Story(service)
    guest = service.log_in()
    story.records()
    link(service, guest, "custom-token", by_token())
    log_in(service, "custom-token", by_token())
    linked, opened = (r for r in story.records() if passes_filter(r))
    # The two changes, in one write.
    opened["dynamodb"]["OldImage"] = linked["dynamodb"]["OldImage"]
    figures()

    left = iter([60_000, 0])
    service.wire.reset()
    assert story.tell([opened], remaining=lambda: next(left))["batchItemFailures"]
    assert types(story.published()) == ["user.linked"]
    assert figures() == {}
    story.tell([opened])

    assert types(story.published()) == ["user.linked", "user.logged_in"]
    assert figures() == {("UsersLinked", "custom-token"): 1}


def test_given_the_daily_rotation_when_run_then_the_signing_keys_age_is_told(
    service: Deployment, figures: Figures
) -> None:
    ages = []
    for _ in range(100):
        service.advance(timedelta(days=1))
        ages.append(figures()["SigningKeyAgeDays",])  # type: ignore[index]

    assert ages[:5] == [1, 2, 3, 4, 5]
    assert max(ages) == 89  # one day before the next takes over
    assert ages[-1] == 10


@pytest.mark.parametrize("late", [0, 1, 7])
def test_given_a_scan_of_an_earlier_day_when_it_goes_on_then_it_tells_how_late_it_is(
    service: Deployment, figures: Figures, late: int
) -> None:
    service.restart(EXPIRY_NOTICE_DAYS="14,3")
    day = utc_day(service.now) - timedelta(days=late)
    left = ExpiryScan(version=1, since=None, day=day, positions={0: ""})
    assert service.services.store.save_expiry_scan(left)
    figures()

    told = []
    for _ in range(2):
        service.invoke("ExpiringFunction", {})
        told.append(figures())

    # The run completes the late scan, and the next run makes that of the day.
    assert told == [Counter({("ExpiryScanDaysLate",): late} if late else {}), Counter()]


def test_given_no_key_that_signs_when_asked_for_its_age_then_there_is_none(
    service: Deployment,
) -> None:
    ring = service.services.store.load_ring()
    assert ring is not None

    assert signing_key_age(ring, service.now) == timedelta()
    assert signing_key_age(ring, service.now - timedelta(days=9)) is None
    assert signing_key_age(ring, service.now + timedelta(days=999)) is None


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda m: m.count("Refreshes"), id="a count"),
        pytest.param(lambda m: m.gauge("SigningKeyAgeDays", 1), id="a gauge"),
        pytest.param(lambda m: m.start("LoginFunction"), id="a cold start"),
    ],
)
def test_given_metrics_off_when_written_then_nothing_is_printed(
    write: Callable[[Metrics], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write(Metrics("stack", on=True))
    assert capsys.readouterr().out
    write(Metrics("stack", on=False))
    assert capsys.readouterr().out == ""


def test_given_an_app_id_when_logging_in_then_metrics_do_not_have_it(
    service: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    service.log_in()

    lines = [x for x in capsys.readouterr().out.splitlines() if '"_aws"' in x]
    assert lines
    assert not any(APP in line for line in lines)
