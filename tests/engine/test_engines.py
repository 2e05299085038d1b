"""What an engine does to the process that uses it."""

import os

import pytest

from support.engine import engines

KEY_ID, SECRET = engines._ANYBODY

NOWHERE = ("nothing", "http://127.0.0.1:1", "eu-central-1")


def test_given_no_credentials_when_an_engine_ends_then_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(KEY_ID, raising=False)

    with engines._connected(*NOWHERE, engines._ANYBODY):
        assert os.environ[KEY_ID] == "engine"

    assert KEY_ID not in os.environ


def test_given_other_credentials_meanwhile_when_an_engine_ends_then_they_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """moto sets its own when it begins, and may begin after an engine."""
    monkeypatch.setenv(KEY_ID, "before")
    monkeypatch.setenv(SECRET, "before")

    with engines._connected(*NOWHERE, engines._ANYBODY):
        monkeypatch.setenv(KEY_ID, "meanwhile")

    assert os.environ[KEY_ID] == "meanwhile"
    assert os.environ[SECRET] == "before"
