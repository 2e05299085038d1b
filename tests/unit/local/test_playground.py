"""The playground: its files, its description of the apps, and who may read them."""

import json
import re
from pathlib import Path

import pytest

from anonauth.local import playground
from anonauth.local.api_gateway import HttpRequest
from anonauth.local.control import LocalApi
from anonauth.local.server import LocalServer
from support.project.tools import ROOT
from support.service.calls import APP, OTHER_APP, call

DESCRIPTION = "/_local/stack"
HOST = ("Host", "127.0.0.1:8080")
CHALLENGE = {"verify_url": "https://challenges.example.com/", "secret": "secret"}
DIRECTORY = ROOT / "functions" / "anonauth" / "local" / "page"
PAGE_FILES = sorted(DIRECTORY.iterdir())


@pytest.mark.parametrize("path", playground.PAGE_FILES)
def test_given_a_file_of_the_page_when_read_then_other_sites_cannot_use_it(
    path: str, server: LocalServer
) -> None:
    answer = call(server.base_url, "GET", path)

    name, content_type = playground.PAGE_FILES[path]
    assert answer.status == 200
    assert answer.body == (DIRECTORY / name).read_bytes()
    assert answer.headers["content-type"] == content_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    policy = dict(
        part.split(" ", 1)
        for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}


def test_given_head_when_asked_then_the_headers_come_alone(server: LocalServer) -> None:
    got = call(server.base_url, "GET", "/")

    answer = call(server.base_url, "HEAD", "/")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(got.body))
    assert answer.headers["content-security-policy"]


def test_given_a_query_when_the_page_is_read_then_it_changes_nothing(
    server: LocalServer,
) -> None:
    plain = call(server.base_url, "GET", "/")

    assert call(server.base_url, "GET", "/?q=<script>").body == plain.body


@pytest.mark.parametrize(
    ("method", "status"),
    [("POST", 404), ("PUT", 404), ("DELETE", 404), ("OPTIONS", 200)],
)
def test_given_another_method_at_the_root_when_called_then_the_api_answers(
    method: str, status: int, server: LocalServer
) -> None:
    answer = call(server.base_url, method, "/")

    assert answer.status == status
    assert (status == 200) or answer.json()["error_code"] == "NotFound"
    assert "content-security-policy" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/_local/playground.js", DESCRIPTION])
@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        pytest.param("203.0.113.7", (HOST,), id="another machine"),
        pytest.param("127.0.0.1", (("Host", "evil.example"),), id="rebound name"),
        pytest.param("127.0.0.1", (("Host", "10.0.0.5:8080"),), id="own address"),
        pytest.param("127.0.0.1", (), id="no Host"),
        pytest.param(
            "127.0.0.1", (HOST, ("Origin", "https://evil.example")), id="other page"
        ),
        pytest.param(
            "127.0.0.1", (HOST, ("X-Forwarded-For", "203.0.113.7")), id="proxy"
        ),
    ],
)
def test_given_another_caller_when_asking_then_403_says_where_the_page_is(
    peer: str, headers: tuple[tuple[str, str], ...], path: str, server: LocalServer
) -> None:
    request = HttpRequest("GET", path, headers, peer=peer)

    answer = LocalApi(server.deployment).answer(request)

    assert LocalApi.takes(request)
    assert answer.status == 403
    assert "this machine only" in json.loads(answer.body)["error"]
    assert b"<" not in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "/_local/playground.js", 405, id="POST to a file"),
        pytest.param("DELETE", DESCRIPTION, 405, id="DELETE of the description"),
        pytest.param("HEAD", DESCRIPTION, 405, id="HEAD of the description"),
        pytest.param("GET", "/_local/playground", 404, id="no extension"),
        pytest.param("GET", "/_local/playground/", 404, id="directory"),
        pytest.param("GET", "/_local/index.html", 404, id="the page's own name"),
        pytest.param("GET", "/_local/playground.css.map", 404, id="longer name"),
        pytest.param("GET", "/_local/PLAYGROUND.css", 404, id="upper case"),
        pytest.param("GET", "/_local/../page.py", 404, id="above"),
        pytest.param("GET", "/_local/%2e%2e/page.py", 404, id="above, encoded"),
        pytest.param("GET", "/_local/..%2fpage.py", 404, id="slash, encoded"),
        pytest.param("GET", "/_local/..%5cpage.py", 404, id="backslash"),
        pytest.param("GET", "/_local//etc/passwd", 404, id="absolute"),
        pytest.param("GET", "/_local/playground.css%00.js", 404, id="NUL"),
        pytest.param("GET", "/index.html", 404, id="name at the root"),
        pytest.param("GET", "/.", 404, id="dot"),
    ],
)
def test_given_no_file_of_the_page_when_asked_then_it_is_refused(
    method: str, path: str, status: int, server: LocalServer
) -> None:
    answer = call(server.base_url, method, path)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert method == "HEAD" or answer.json()["error"]


def test_given_the_directory_when_listed_then_each_file_is_served() -> None:
    assert {path.name for path in PAGE_FILES} == {
        name for name, _ in playground.PAGE_FILES.values()
    }


@pytest.mark.parametrize("path", PAGE_FILES, ids=lambda path: path.name)
def test_given_a_file_when_read_then_it_loads_nothing_from_other_sites(
    path: Path,
) -> None:
    text = path.read_text()

    linked = set(re.findall(r"(?:href|src)=\"([^\"#][^\"]*)\"", text))
    assert linked <= playground.PAGE_FILES.keys()
    assert re.findall(r"(?:https?:)?//\w[\w.-]*\.\w+", text) in (
        [],
        ["http://www.w3.org"],  # a namespace, which no browser fetches
    )
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=|@import|url\(", text)


@pytest.mark.parametrize(
    ("word", "files"),
    [
        *[("innerHTML", []), ("outerHTML", []), ("insertAdjacentHTML", [])],
        *[("document.write", []), ("eval(", []), ("document.cookie", [])],
        *[("sessionStorage", []), ("indexedDB", []), ("localStorage", ["page.js"])],
    ],
)
def test_given_the_scripts_when_read_then_they_trust_no_text_and_one_file_keeps_tokens(
    word: str, files: list[str]
) -> None:
    scripts = DIRECTORY.glob("*.js")

    assert [path.name for path in scripts if word in path.read_text()] == files


def test_given_apps_when_they_are_described_then_each_has_its_providers(
    tmp_path: Path,
) -> None:
    mail = {
        "sender": "app@example.com",
        "confirm_url": "https://www.example.com/confirm",
        "reset_url": "https://www.example.com/reset",
    }
    document = {
        APP: {"local-userpass": {"mail": mail}, "anon-user": {"challenge": CHALLENGE}},
        "*": {"local-userpass": {"enabled": False, "mail": mail}, "api-key": {}},
    }
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"apps": document}))

    with LocalServer(
        settings=path,
        app_ids=(APP, OTHER_APP),
        parameters={"AnonymousChallenge": "true"},
    ) as server:
        answer = call(server.base_url, "GET", DESCRIPTION)

    assert answer.json() == {
        "apps": [
            {
                "id": APP,
                "providers": ["anon-user", "local-userpass"],
                "confirm_url": "https://www.example.com/confirm",
                "challenge": True,
            },
            {
                "id": OTHER_APP,
                "providers": ["anon-user", "api-key"],
                "confirm_url": None,
                "challenge": False,
            },
        ]
    }


@pytest.mark.parametrize(
    ("options", "url"),
    [
        pytest.param({}, "http://127.0.0.1:8080/", id="default"),
        pytest.param({"host": "localhost"}, "http://localhost:8080/", id="name"),
        pytest.param({"host": "::1"}, "http://[::1]:8080/", id="IPv6"),
        pytest.param({"host": "0.0.0.0"}, "http://127.0.0.1:8080/", id="every address"),  # noqa: S104
        pytest.param(
            {"base_url": "https://auth.example.com"},
            "http://127.0.0.1:8080/",
            id="an address for clients",
        ),
        pytest.param({"host": "192.0.2.1"}, "", id="for other machines only"),
    ],
)
def test_given_where_it_listens_when_asked_then_the_page_is_on_this_machine(
    options: dict[str, str], url: str
) -> None:
    assert LocalServer(port=8080, **options).page_url == url
