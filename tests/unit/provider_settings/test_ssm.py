"""The settings document in SSM: read, kept for minutes, and kept on in trouble."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from anonauth.cached_copy import MAX_AGE
from anonauth.errors import SettingsUnavailable
from anonauth.provider_settings.document import DocumentError
from anonauth.provider_settings.ssm import SettingsSource
from support.service.harness import Clients
from support.service.wire import error

NAME = "/anonauth/test-source"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PAUSE = timedelta(seconds=10)
SECRET = "2k66QfKeTRk3MdZ5vpDYgZCu" * 2
API_KEYS: dict[str, Any] = {"apps": {"*": {"api-key": {}}}}
BROKEN: dict[str, Any] = {"apps": {"*": {"api-key": 1}}}


class Ssm:
    """The parameters of this test, and the source that reads them."""

    def __init__(self, clients: Clients) -> None:
        self._client = clients.connect("ssm")
        self._names: set[str] = set()
        self.wire = clients.wire
        self.source = SettingsSource(lambda: clients.connect("ssm"), NAME)

    def put(self, value: Any, name: str = NAME) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        self._client.put_parameter(
            Name=name, Value=text, Type="SecureString", Overwrite=True
        )
        self._names.add(name)

    def clear(self) -> None:
        for name in self._names:
            self._client.delete_parameter(Name=name)

    def calls(self, now: datetime) -> list[str]:
        """Return the calls that asking for the document takes."""
        del self.wire.calls[:]
        self.source.document(now)
        return list(self.wire.calls)


@pytest.fixture
def ssm(clients: Clients) -> Iterator[Ssm]:
    ssm = Ssm(clients)
    yield ssm
    clients.wire.reset()
    ssm.clear()


def test_given_no_parameter_when_asked_then_no_provider_is_on_and_nothing_is_read(
    clients: Clients,
) -> None:
    source = SettingsSource(lambda: clients.connect("ssm"), "")

    document = source.document(NOW)

    assert document.apps == {}
    assert clients.wire.calls == []
    assert source.document(NOW) is document


def test_given_a_document_when_asked_for_five_minutes_then_it_is_read_once(
    ssm: Ssm,
) -> None:
    ssm.put(API_KEYS)

    assert ssm.calls(NOW) == ["GetParameter"]
    copy = ssm.source.document(NOW)
    assert copy.app("myapp-abcde").api_key is not None
    assert ssm.calls(NOW + MAX_AGE - SECOND) == []
    assert ssm.source.document(NOW + MAX_AGE - SECOND) is copy
    assert ssm.calls(NOW + MAX_AGE) == ["GetParameter"]


def test_given_a_change_when_the_copy_is_old_then_the_change_is_seen(ssm: Ssm) -> None:
    ssm.put(API_KEYS)
    ssm.source.document(NOW)
    ssm.put({"apps": {}})

    before = ssm.source.document(NOW + MAX_AGE - SECOND)
    after = ssm.source.document(NOW + MAX_AGE)

    assert (len(before.apps), len(after.apps)) == (1, 0)


def test_given_a_clock_that_is_set_back_when_asked_then_it_is_read_again(
    ssm: Ssm,
) -> None:
    ssm.put(API_KEYS)
    ssm.source.document(NOW)

    assert ssm.calls(NOW - SECOND) == ["GetParameter"]


def test_given_secrets_by_reference_when_asked_then_ten_come_in_one_call(
    ssm: Ssm,
) -> None:
    issuers = []
    for number in range(11):
        ssm.put(f"{SECRET}{number}", f"{NAME}/jwt-{number}")
        secret = {"ssm": f"jwt-{number}"}
        issuers.append({"issuer": f"i{number}", "algorithm": "HS256", "secret": secret})
    ssm.put({"apps": {"*": {"custom-token": {"issuers": issuers}}}})

    calls = ssm.calls(NOW)

    assert calls == ["GetParameter", "GetParameters", "GetParameters"]
    settings = ssm.source.document(NOW).app("myapp-abcde").custom_token
    assert settings is not None
    assert [each.secret for each in settings.issuers] == [
        f"{SECRET}{number}" for number in range(11)
    ]


GOOGLE = {"client_ids": ["a"], "client_secret": {"ssm": "google"}}


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        pytest.param(None, "SSM: ParameterNotFound", id="no parameter"),
        pytest.param("{", "Input data was truncated", id="not JSON"),
        pytest.param(BROKEN, "apps.*.api-key: Expected", id="wrong type"),
        pytest.param(
            {"apps": {"*": {"oauth2-google": GOOGLE}}},
            "apps.*.oauth2-google.client_secret: there is no such SSM parameter",
            id="missing secret",
        ),
    ],
)
def test_given_an_unusable_document_when_asked_first_then_the_detail_names_the_key(
    ssm: Ssm, value: Any, detail: str
) -> None:
    if value is not None:
        ssm.put(value)

    with pytest.raises(SettingsUnavailable) as unavailable:
        ssm.source.document(NOW)

    assert unavailable.value.detail.startswith(detail)
    assert unavailable.value.__cause__ is not None
    assert str(unavailable.value) == SettingsUnavailable.description


def test_given_an_unusable_document_when_it_is_fixed_then_it_is_read_at_once(
    ssm: Ssm,
) -> None:
    """No copy, no pause: every request would fail for it."""
    ssm.put(BROKEN)
    with pytest.raises(SettingsUnavailable) as unavailable:
        ssm.source.document(NOW)
    ssm.put(API_KEYS)

    document = ssm.source.document(NOW)

    assert isinstance(unavailable.value.__cause__, DocumentError)
    assert document.app("myapp-abcde").api_key is not None


def deny(ssm: Ssm) -> None:
    ssm.wire.always = lambda request, _: error(request, 400, "AccessDeniedException")


def break_document(ssm: Ssm) -> None:
    ssm.put(BROKEN)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        pytest.param(deny, "SSM: AccessDeniedException", id="SSM refuses"),
        pytest.param(break_document, "apps.*.api-key: ", id="invalid by now"),
    ],
)
def test_given_trouble_when_the_copy_is_old_then_it_goes_on_and_the_log_says_why(
    ssm: Ssm,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Ssm], None],
    says: str,
) -> None:
    ssm.put(API_KEYS)
    copy = ssm.source.document(NOW)
    trouble(ssm)
    late = NOW + MAX_AGE

    with caplog.at_level(logging.ERROR):
        kept = ssm.source.document(late)

    assert kept is copy
    (record,) = caplog.records
    assert says in record.getMessage()
    assert ssm.calls(late + PAUSE - SECOND) == []
    assert ssm.calls(late + PAUSE) == ["GetParameter"]
    ssm.wire.reset()
    ssm.put({"apps": {}})
    assert ssm.source.document(late + 2 * PAUSE).apps == {}


def test_given_no_way_to_ssm_when_asked_then_the_detail_says_so() -> None:
    def connect() -> Any:
        raise EndpointConnectionError(endpoint_url="https://ssm.example")

    source = SettingsSource(connect, NAME)

    with pytest.raises(SettingsUnavailable) as unavailable:
        source.document(NOW)

    assert unavailable.value.detail == "SSM: EndpointConnectionError"
