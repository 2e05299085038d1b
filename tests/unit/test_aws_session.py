"""The SDK's session of the functions."""

from pathlib import Path

import pytest
from botocore.handlers import BUILTIN_HANDLERS
from botocore.utils import EVENT_ALIASES

from anonauth.aws_session import make_session
from bundle.trim import OPERATIONS


@pytest.fixture(autouse=True)
def no_roots_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the roots of the machine that runs the tests."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def test_given_the_sdk_when_it_has_handlers_for_single_services_then_none_is_ours() -> (
    None
):
    session = make_session("eu-central-1")

    ours = {
        session.get_service_model(name).service_id.hyphenize() for name in OPERATIONS
    }
    single = {event.split(".")[1] for event, *_ in BUILTIN_HANDLERS if "." in event}

    assert {"s3", "ec2"} < single
    assert not ours & single


def test_given_the_sdk_when_it_has_old_names_of_services_then_ours_are_new() -> None:
    """The session does not look for old names in the names of events."""
    session = make_session("eu-central-1")

    ours = {
        session.get_service_model(name).service_id.hyphenize() for name in OPERATIONS
    }

    assert EVENT_ALIASES["events"] in ours
    assert not ours & EVENT_ALIASES.keys()


@pytest.mark.parametrize(
    ("region", "trusts_only_amazon"),
    [
        ("eu-central-1", True),
        ("us-east-1", True),
        ("cn-north-1", False),
        ("us-gov-west-1", False),
        ("us-iso-east-1", False),
        ("eusc-de-east-1", False),
        ("of-another-cloud-1", False),
    ],
)
def test_given_a_region_when_aws_is_called_then_only_commercial_ones_need_amazons_roots(
    region: str, trusts_only_amazon: bool, tmp_path: Path
) -> None:
    authorities = tmp_path / "amazon.pem"
    authorities.touch()

    session = make_session(region, authorities=authorities)

    trusted = session.get_config_variable("ca_bundle")
    assert trusted == (str(authorities) if trusts_only_amazon else None)


def test_given_no_file_of_amazons_roots_when_aws_is_called_then_all_are_trusted(
    tmp_path: Path,
) -> None:
    session = make_session("eu-central-1", authorities=tmp_path / "amazon.pem")

    assert session.get_config_variable("ca_bundle") is None


def test_given_roots_of_the_operator_when_aws_is_called_then_those_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "amazon.pem"
    authorities.touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/ssl/company.pem")

    session = make_session("eu-central-1", authorities=authorities)

    assert session.get_config_variable("ca_bundle") == "/etc/ssl/company.pem"
