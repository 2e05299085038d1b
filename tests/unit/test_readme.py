"""A newcomer who copies a block of README.md gets what the text says."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import sam_template
from anonauth.cli.serve import LocalServer
from anonauth.providers.document import parse
from harness import ROUTES
from readme import block
from tools import ROOT, require_tool

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(app_ids=("myapp-abcde",)) as server:
        yield server


def run(*command: str) -> list[str]:
    ran = subprocess.run(  # noqa: S603 - README's own words
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_given_the_curl_session_when_copied_then_it_goes_from_login_to_logout(
    server: LocalServer,
) -> None:
    bash, _ = require_tool("bash"), require_tool("curl")

    lived, profile, logout, again = run(
        str(bash), "-euo", "pipefail", "-c", block("the curl session", server.base_url)
    )

    user = re.fullmatch(r"user ([0-9a-f]{24}) lives until (\S+Z)", lived)
    assert user is not None
    assert f'"user_id":"{user[1]}"' in profile
    assert f'"expires_at":"{user[2]}"' in profile
    assert logout == "{}"
    assert "failed to find refresh token" in again


def test_given_the_link_session_when_copied_then_the_guest_is_permanent(
    server: LocalServer,
) -> None:
    bash, _ = require_tool("bash"), require_tool("curl")

    guest, registered, profile, login = run(
        str(bash), "-euo", "pipefail", "-c", block("the link session", server.base_url)
    )

    user_id = guest.removeprefix("guest ")
    assert registered == "{}"
    assert f'"user_id":"{user_id}"' in profile
    assert '"data":{"email":"ada@example.com"}' in profile
    assert "expires_at" not in profile
    assert login == f"login {user_id}"


def test_given_the_settings_document_when_copied_then_it_is_a_good_one() -> None:
    text = README.partition("## Identity providers")[2].partition("```json")[2]

    document = parse(text.partition("```")[0])

    app = document.app("myapp-abcde")
    assert all(getattr(app, name) for name in app.__struct_fields__)


def test_given_the_verifier_when_copied_then_it_verifies(server: LocalServer) -> None:
    """A plain OIDC verifier against the running service: RS256, kid, iss, aud."""
    (line,) = run(sys.executable, "-c", block("the verifier", server.base_url))

    assert re.fullmatch(r"[0-9a-f]{24} True", line)


def test_given_the_settings_table_when_read_then_it_is_the_templates() -> None:
    table = README.partition("### Settings")[2].partition("###")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", table, re.MULTILINE)
    told = {
        name: default.strip("`")
        for names, defaults in rows
        for name, default in zip(
            re.findall(r"`(\w+)`", names), itertools.cycle(defaults.split(", "))
        )
    }
    declared = {
        name: str(parameter["Default"]) or "empty"
        for name, parameter in sam_template.load()["Parameters"].items()
    }

    assert told == declared


def test_given_the_endpoints_when_read_then_they_are_the_templates() -> None:
    table = README.partition("## Endpoints")[2].partition("Errors are")[0]
    told = {
        call.replace("{app}", "/api/client/v2.0/app/{appId}")
        for call in re.findall(
            r"^\| `((?:GET|POST|PUT|DELETE) \S+)`", table, re.MULTILINE
        )
    }

    assert told == set(ROUTES) - {"$default"}
