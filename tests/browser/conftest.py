import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from anonauth.local.server import LocalServer
from browser.person import Person
from support.project.tools import require_tool
from support.service.calls import APP

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Visit = Callable[..., Person]


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """Debian's browser, headless. The driver's own would have to be downloaded."""
    directory, program = require_tool("playwright"), require_tool("chromium")
    sys.path.append(str(directory))
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as driver:
        # The sandbox does not start for root, and CI runs as root.
        browser = driver.chromium.launch(
            executable_path=program, chromium_sandbox=False
        )
        yield browser
        browser.close()
    sys.path.remove(str(directory))


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A service for one test, which may move its clock."""
    with LocalServer(app_ids=(APP,), aws_port=0) as running:
        yield running


@pytest.fixture
def visit(chromium: "Browser") -> Iterator[Visit]:
    """A function that opens the page. At the end the page must have had no errors."""
    with ExitStack() as pages:

        def open_page(server: LocalServer, **look: Any) -> Person:
            person = Person(chromium, server.page_url, **look)
            pages.callback(person.close)
            return person

        yield open_page
