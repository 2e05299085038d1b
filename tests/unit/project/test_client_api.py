"""client-api.md names every call and every error that a client can get."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from anonauth import errors
from anonauth.handlers._http import STATUS
from support.project import endpoint_table
from support.project.generated_table import written
from support.project.pages import section

# Errors whose text differs each time they are raised.
WORDED_EACH_TIME = {errors.BadRequest}


@dataclass(frozen=True)
class Row:
    """A row of the page's error table."""

    status: int
    code: str
    texts: str


def rows() -> Iterator[Row]:
    for line in section(endpoint_table.PAGE, "## 4 Errors").splitlines():
        found = re.match(r"\| (\d{3}) \| `(\w+)` \| (.+?) \| .+ \|$", line)
        if found is not None:
            yield Row(int(found[1]), found[2], found[3])


def refusals(
    root: type[errors.AuthError] = errors.AuthError,
) -> Iterator[type[errors.AuthError]]:
    yield root
    for kind in root.__subclasses__():
        yield from refusals(kind)


ROWS = list(rows())
REFUSALS = [
    pytest.param(kind, id=kind.__name__)
    for kind in refusals()
    if kind.__module__ == errors.__name__
]


def test_given_openapi_when_the_page_is_read_then_its_endpoints_are_up_to_date() -> (
    None
):
    found = written(endpoint_table.PAGE, endpoint_table.NAME)

    assert found == endpoint_table.endpoint_table(), endpoint_table.__doc__


@pytest.mark.parametrize("kind", REFUSALS)
def test_given_an_error_when_the_page_is_read_then_it_has_status_code_and_text(
    kind: type[errors.AuthError],
) -> None:
    own = kind.__dict__.get("description", "")
    text = f"`{own}`" if own and kind not in WORDED_EACH_TIME else ""

    matching = [
        row
        for row in ROWS
        if (row.status, row.code) == (STATUS[kind], kind.code) and text in row.texts
    ]

    assert matching


def test_given_the_page_when_read_then_it_has_no_error_that_nothing_raises() -> None:
    raised = {(int(STATUS[kind]), kind.code) for kind in refusals() if kind in STATUS}

    assert {(row.status, row.code) for row in ROWS} == raised
