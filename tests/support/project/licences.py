"""The packages that go into the bundle, with their licences: `licences.csv`.

A new version is a new row, so that each update means a look at the licence.
"""

import csv
from importlib.metadata import Distribution, distribution
from typing import NamedTuple

from support.project.tools import ROOT

REQUIREMENTS = ROOT / "functions/requirements.txt"
LIST = ROOT / "tests/template/licences.csv"

# The names that packages use which do not use SPDX expressions (PEP 639) yet.
_SPDX = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "The Unlicense (Unlicense)": "Unlicense",
}


class Package(NamedTuple):
    """A row of the list."""

    name: str
    version: str
    licence: str


def listed() -> list[Package]:
    """Return the checked list."""
    with LIST.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    assert tuple(header) == ("package", "version", "licence")
    return [Package(*row) for row in rows]


def required() -> list[str]:
    """Return the packages in the bundle, name and version."""
    lines = REQUIREMENTS.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def installed(requirement: str) -> Package:
    """Return name, version and licence from an installed package's metadata."""
    name, _, _ = requirement.partition("==")
    found = distribution(name)
    return Package(name, found.version, licence_of(found))


def licence_of(package: Distribution) -> str:
    """Return the licence of a package as an SPDX expression."""
    said = package.metadata.json
    if expression := said.get("license_expression"):
        return str(expression)
    prefix = "License :: OSI Approved :: "
    classified = [
        _SPDX[classifier.removeprefix(prefix)]
        for classifier in said.get("classifier", [])
        if classifier.startswith(prefix)
    ]
    return " AND ".join(sorted(classified)) or str(said.get("license", "none"))
