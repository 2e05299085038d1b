"""One build, one daemon and one local service for all tests of this tier."""

from collections.abc import Iterator

import pytest

from samlocal.sam import SamLocal, running_sam


@pytest.fixture(scope="package")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamLocal]:
    with running_sam(tmp_path_factory.mktemp("samlocal")) as started:
        yield started
