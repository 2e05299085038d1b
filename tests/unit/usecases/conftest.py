from typing import Any

import pytest

from support.service.harness import Deployment
from support.service.mailed_accounts import MailedAccounts
from support.service.provider_logins import PROVIDERS_ON
from support.service.story import Story


@pytest.fixture
def world(service: Deployment, sent: list[Any]) -> MailedAccounts:
    """An app that confirms addresses by mail."""
    return MailedAccounts(service, sent)


@pytest.fixture
def mailless(world: MailedAccounts) -> MailedAccounts:
    """An app that sends no mail."""
    world.configure()
    return world


@pytest.fixture
def providers_on(service: Deployment) -> None:
    """Switch on the providers that need no server: mail, API keys and own JWTs."""
    service.restart_with(PROVIDERS_ON)


@pytest.fixture
def story(service: Deployment) -> Story:
    return Story(service)
