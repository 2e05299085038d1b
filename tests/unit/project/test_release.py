"""What belongs to a release: one version, a changelog, the promises of the last one.

The promises are compared with what was released last: a later version may add to it.
`tests/runtime/test_upgrade.py` does the same with users, and a table.
"""

import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]
from typer.testing import CliRunner

from anonauth.cli.commands import app
from anonauth.cli.users.import_forms import ImportForm
from anonauth.email_addresses import EmailSyntax
from anonauth.provider_settings.document import parse
from support.contracts.openapi_contract import DOCUMENT, validator
from support.contracts.openapi_examples import OPERATIONS, bodies
from support.project import sam_template
from support.project.pages import page, section, section_of
from support.project.promises import (
    facts_of_schema,
    facts_of_template,
    promises_of_api,
    required_parameters,
)
from support.project.released import extract_release, released_file
from support.project.tools import ROOT
from support.service.story import SCHEMA

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

NOW = datetime(2026, 11, 28, tzinfo=UTC)

# keepachangelog.com 1.1.0, in its order.
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_given_the_version_when_read_anywhere_then_it_is_that_of_the_package() -> None:
    operation = DOCUMENT["paths"]["/openapi.json"]["get"]
    (served,) = operation["responses"]["200"]["content"].values()
    shown = CliRunner().invoke(app, ["--version"])

    assert sam_template.load()["Outputs"]["Version"]["Value"] == VERSION
    assert DOCUMENT["info"]["version"] == VERSION
    assert served["example"]["info"]["version"] == VERSION
    assert (shown.exit_code, shown.stdout) == (0, f"anonauth {VERSION}\n")


def test_given_the_changelog_when_read_then_its_versions_are_in_order() -> None:
    headings = re.findall(r"^## (.*)$", page("changelog.md"), re.MULTILINE)
    first = headings.index("Unreleased")
    versions = [
        found.groups()
        for each in headings[first + 1 :]
        if (found := re.fullmatch(r"([0-9.]+) - (\d{4}-\d\d-\d\d)", each))
    ]

    assert versions[0][0] == VERSION
    for number, day in versions:
        assert re.fullmatch(r"\d+\.\d+\.\d+", number)
        assert datetime.fromisoformat(day).replace(tzinfo=UTC)
    days = [day for _, day in versions]
    assert days == sorted(days, reverse=True)
    assert set(re.findall(r"^### (.*)$", page("changelog.md"), re.M)) <= set(KINDS)


def test_given_calls_of_the_release_when_compared_then_none_has_lost_anything() -> None:
    released = json.loads(released_file("functions/anonauth/openapi.json"))

    lost = promises_of_api(released) - promises_of_api(DOCUMENT)
    of_old_calls = {
        need
        for need in required_parameters(DOCUMENT)
        if need.partition(" needs ")[0] in promises_of_api(released)
    }

    assert lost == set()
    assert of_old_calls <= required_parameters(released)


def test_given_requests_of_the_release_when_compared_then_they_are_still_good() -> None:
    """The examples of the released document, each for its call."""
    released = json.loads(released_file("functions/anonauth/openapi.json"))
    refused = [
        (route, name)
        for route, operation in OPERATIONS.items()
        for name, body in bodies(_operation(released, route)).items()
        if not validator(_body_schema(operation)).is_valid(body)
    ]

    assert refused == []


def _operation(document: Any, route: str) -> Any:
    method, path = route.split(" ")
    return document["paths"].get(path, {}).get(method.lower(), {})


def _body_schema(operation: Any) -> Any:
    return operation["requestBody"]["content"]["application/json"]["schema"]


def test_given_events_of_the_release_when_compared_then_no_field_is_lost() -> None:
    released = json.loads(released_file("functions/anonauth/events.schema.json"))

    assert facts_of_schema(released) - facts_of_schema(SCHEMA) == set()


def test_given_the_stack_of_the_release_when_compared_then_its_settings_are_there() -> (
    None
):
    released = yaml_parse(released_file("template.yaml"))

    lost = facts_of_template(released) - facts_of_template(sam_template.load())

    assert lost == set()


def names_in_tables(text: str) -> set[str]:
    """Return the words in code font of all tables of a section."""
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.parametrize(
    ("file", "heading"),
    [
        pytest.param("client-api.md", "## 3 Tokens", id="claims"),
        pytest.param("client-api.md", "## 4 Errors", id="codes and texts"),
        pytest.param("operate.md", "## Logs and metrics", id="metrics"),
        pytest.param("browser.md", "## The module `anonauth.mjs`", id="the module"),
    ],
)
def test_given_a_table_of_the_release_when_compared_then_no_name_is_lost(
    file: str, heading: str
) -> None:
    released = section_of(released_file(f"functions/docs/{file}"), heading)

    lost = names_in_tables(released) - names_in_tables(section(file, heading))

    assert lost == set()
    assert len(names_in_tables(released)) > 5


DOCUMENTED: dict[str, Any] = {
    "info": {},
    "paths": {
        "/a": {
            "get": {
                "parameters": [{"name": "x"}],
                "responses": {
                    "200": {"$ref": "#/components/responses/Fine"},
                    "409": {},
                },
            }
        }
    },
    "components": {
        "responses": {
            "Fine": {
                "content": {
                    "json": {
                        "schema": {
                            "properties": {"id": {"enum": ["p", "q"]}, "more": {}},
                            "required": ["id"],
                        }
                    }
                }
            }
        }
    },
}


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        pytest.param('"/a"', '"/b"', "GET /a", id="a call"),
        pytest.param('"get"', '"put"', "GET /a", id="a method"),
        pytest.param('"409"', '"410"', "GET /a: 409", id="a status"),
        pytest.param('"more"', '"other"', "GET /a: 200 json more", id="a field"),
        pytest.param('["id"]', "[]", "GET /a: 200 json id always", id="its presence"),
        pytest.param('"q"', '"r"', "GET /a: 200 json id.= q", id="a value"),
        pytest.param('["id"]', '["id", "more"]', None, id="nothing: present always"),
        pytest.param('"q"', '"q", "r"', None, id="nothing: a further value"),
        pytest.param('"/a"', '"/b": {}, "/a"', None, id="nothing: a further call"),
    ],
)
def test_given_a_changed_document_when_compared_then_only_what_is_lost_counts(
    old: str, new: str, lost: str | None
) -> None:
    text = json.dumps(DOCUMENTED)
    assert old in text

    missing = promises_of_api(DOCUMENTED) - promises_of_api(
        json.loads(text.replace(old, new))
    )

    assert (lost in missing) if lost else (missing == set())


def test_given_a_parameter_when_it_becomes_required_then_it_is_noticed() -> None:
    changed = json.loads(json.dumps(DOCUMENTED).replace('"x"', '"x", "required": true'))

    assert required_parameters(DOCUMENTED) == set()
    assert required_parameters(changed) == {"GET /a needs x"}


def block_of_release(name: str, file: str) -> str:
    text = released_file(f"functions/docs/{file}")
    (found,) = re.findall(rf"<!-- {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return str(found)


def test_given_files_of_the_release_when_read_then_they_are_understood() -> None:
    """The settings document of its page, and a line of its export."""
    form = ImportForm(None, None, EmailSyntax(), verified_emails=False, now=NOW)

    document = parse(block_of_release("the settings document", "providers.md"))
    user = form.of_export(json.loads(block_of_release("the export line", "operate.md")))

    assert document.app("myapp-abcde")
    assert user.left_out is None


# Prints each command with its options, in the code that PYTHONPATH names.
COMMANDS = """
import json, typer.main
from anonauth.cli.commands import app
def walk(command, name):
    for each in command.params:
        yield [name, *each.opts]
    for key, part in getattr(command, "commands", {}).items():
        yield [f"{name} {key}"]
        yield from walk(part, f"{name} {key}")
print(json.dumps(list(walk(typer.main.get_command(app), "anonauth"))))
"""


def commands_of(root: Path) -> set[tuple[str, ...]]:
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", COMMANDS],
        env={"PYTHONPATH": str(root / "functions")},
        capture_output=True,
        text=True,
        check=True,
    )
    return {tuple(each) for each in json.loads(ran.stdout)}


@pytest.mark.long
def test_given_the_commands_of_the_release_when_compared_then_all_are_there(
    tmp_path: Path,
) -> None:
    extract_release(tmp_path)

    lost = commands_of(tmp_path) - commands_of(ROOT)

    assert lost == set()
    assert ("anonauth users export", "--json") in commands_of(ROOT)
