from collections.abc import Iterator

import pytest

from anonauth.cli.serve import LocalServer
from calls import APP, OTHER_APP


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """One service for the tests of a module that leave its clock alone."""
    with LocalServer(app_ids=(APP, OTHER_APP)) as running:
        yield running
