"""The packages in the bundle, and that their licences have been checked."""

import re
from importlib.metadata import Distribution

import pytest

from support.project.licences import installed, licence_of, listed, required


class Of(Distribution):
    """A package with this metadata."""

    def __init__(self, *lines: str) -> None:
        self._said = "\n".join(["Metadata-Version: 2.4", "Name: a", *lines])

    def read_text(self, filename: str) -> str | None:
        return self._said if filename == "METADATA" else None

    def locate_file(self, path: object) -> object:  # type: ignore[override]
        raise NotImplementedError


def test_given_the_bundles_packages_then_each_is_pinned() -> None:
    loose = [line for line in required() if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]

    assert loose == []


def test_given_the_bundles_packages_when_installed_then_each_is_as_listed() -> None:
    found = [installed(requirement) for requirement in required()]

    assert found == listed()


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        pytest.param(["License-Expression: MIT-0"], "MIT-0", id="expression"),
        pytest.param(
            [
                "License: Dual License",
                "Classifier: License :: OSI Approved :: BSD License",
                "Classifier: License :: OSI Approved :: Apache Software License",
            ],
            "Apache-2.0 AND BSD-3-Clause",
            id="classifiers",
        ),
        pytest.param(["License: Apache-2.0"], "Apache-2.0", id="a field alone"),
        pytest.param([], "none", id="nothing"),
    ],
)
def test_given_what_a_package_says_then_its_licence_is_an_expression(
    lines: list[str], licence: str
) -> None:
    assert licence_of(Of(*lines)) == licence


def test_given_a_licence_that_nobody_has_looked_at_then_there_is_no_expression() -> (
    None
):
    package = Of("Classifier: License :: OSI Approved :: GNU Affero GPL v3")

    with pytest.raises(KeyError):
        licence_of(package)
