"""What belongs to a release: one version, wherever somebody reads it."""

import tomllib

from typer.testing import CliRunner

from anonauth.cli.commands import app
from support.contracts.openapi_contract import DOCUMENT
from support.project import sam_template
from support.project.tools import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


def test_given_the_version_when_read_anywhere_then_it_is_that_of_the_package() -> None:
    operation = DOCUMENT["paths"]["/openapi.json"]["get"]
    (served,) = operation["responses"]["200"]["content"].values()
    shown = CliRunner().invoke(app, ["--version"])

    assert sam_template.load()["Outputs"]["Version"]["Value"] == VERSION
    assert DOCUMENT["info"]["version"] == VERSION
    assert served["example"]["info"]["version"] == VERSION
    assert (shown.exit_code, shown.stdout) == (0, f"anonauth {VERSION}\n")
