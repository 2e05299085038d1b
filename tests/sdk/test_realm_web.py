"""The official SDKs from npm against a served instance: realm-web, Stitch, Core.

`package.json` pins all dependencies. The native client that Realm's package would fetch
is replaced by a package that is needed anyway: this Core is WebAssembly.
"""

import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from anonauth.local.server import LocalServer
from support.project.pages import block
from support.project.tools import require_tool
from support.service.calls import API, APP, OTHER_APP, log_in

HERE = Path(__file__).parent
SCENARIOS = sorted(HERE.glob("*.test.mjs"))
SETTINGS = HERE / "settings.json"


# Packages that the scenarios use beside realm-web.
OTHERS = ("realm-web-1", "mongodb-stitch-server-sdk", "realm")
OTHER_SDKS = {"fresh": OTHERS, "gone": OTHERS, "merge": ("realm-web-1",)}


def require_sdk(*others: str) -> None:
    """Require packages that npm installs here; see `require_tool`."""
    missing = [
        sdk
        for sdk in ("realm-web", *others)
        if not (HERE / "node_modules" / sdk).is_dir()
    ]
    if not missing:
        return
    reason = (
        f"needs {', '.join(missing)}; run `npm install --no-package-lock` in tests/sdk"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


# Scenarios that take seconds, for CI's long step. The programs of app-services.md log
# in and link in the default run.
LONG = {
    "apikeys",
    "apps",
    "everywhere",
    "expiry",
    "fresh",
    "gone",
    "link",
    "loginkeys",
    "merge",
    "refusals",
    "userpass",
}


@pytest.mark.parametrize(
    "scenarios",
    [
        pytest.param(
            path,
            id=(name := path.name.removesuffix(".test.mjs")),
            marks=pytest.mark.long if name in LONG else (),
        )
        for path in SCENARIOS
    ],
)
def test_given_a_service_when_the_sdk_uses_it_then_all_its_scenarios_pass(
    scenarios: Path,
) -> None:
    node = require_tool("node")
    require_sdk(*OTHER_SDKS.get(scenarios.name.removesuffix(".test.mjs"), ()))
    # Each file gets its own service, because one file moves the clock.
    with LocalServer(app_ids=(APP, OTHER_APP), settings=SETTINGS) as server:
        ended = subprocess.run(  # noqa: S603 - our own scenarios
            [node, "--test", "--test-reporter=spec", scenarios],
            cwd=HERE,
            env={**os.environ, "BASE_URL": server.base_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "fail 0" in ended.stdout
    assert "pass 0" not in ended.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param(
            "the realm-web program",
            r"user [0-9a-f]{24} \[.*the same one: true\n",
            id="guest",
        ),
        pytest.param(
            "the realm-web link",
            r"identities \[ 'anon-user', 'local-userpass' \]\nthe same one: true\n",
            id="link",
        ),
    ],
)
def test_given_a_program_of_a_page_when_copied_then_it_prints_what_it_says(
    name: str, told: str
) -> None:
    node = require_tool("node")
    require_sdk()
    with LocalServer(app_ids=(APP,)) as server:
        code = block(name, server.base_url)
        ended = subprocess.run(  # noqa: S603 - the page's own words
            [node, "--input-type=module", "--eval", code],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(told, ended.stdout, re.DOTALL)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("await app.currentUser.logOut();", id="logout"),
        pytest.param("await refuse(guest);", id="unnoticed", marks=pytest.mark.long),
        pytest.param(
            "await refuse(guest); await guest.refreshCustomData().catch(() => {});",
            id="noticed by another call",
            marks=pytest.mark.long,
        ),
    ],
)
def test_given_a_guest_that_has_ended_when_logging_in_by_the_page_then_a_new_guest(
    end: str,
) -> None:
    """A plain `logIn` fails in each of these cases. No connection costs no user."""
    node = require_tool("node")
    require_sdk()
    with LocalServer(app_ids=(APP,)) as server:
        code = f"""
            import * as Realm from "realm-web";
            {block("the realm-web guest")}
            let isOnline = true;
            const down = () => Promise.reject(new TypeError("offline"));
            const app = new Realm.App({{
              id: "{APP}",
              baseUrl: "{server.base_url}",
              fetch: (...call) => (isOnline ? fetch(...call) : down()),
            }});
            const refuse = ({{ accessToken }}) =>
              fetch("{server.base_url}{API}/auth/delete", {{
                method: "DELETE",
                headers: {{ Authorization: `Bearer ${{accessToken}}` }},
              }});
            const guest = await logInAsGuest(app);
            const same = await logInAsGuest(app);
            isOnline = false;
            const failed = await logInAsGuest(app).catch((error) => error.message);
            isOnline = true;
            const still = await logInAsGuest(app);
            {end}
            const plain = app.logIn(Realm.Credentials.anonymous());
            const status = await plain.catch((error) => error.statusCode);
            const next = await logInAsGuest(app);
            const last = await logInAsGuest(app);
            console.log(guest === same, failed, guest === still, status);
            console.log(next.id === guest.id, last === next, next.isLoggedIn);
            console.log(Object.keys(app.allUsers).length);
        """
        ended = subprocess.run(  # noqa: S603 - the page's own words
            [node, "--input-type=module", "--eval", code],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "true offline true 401",
        "false true true",
        "1",
    ]


def test_given_a_clock_that_moved_when_jose_takes_it_then_new_tokens_are_good() -> None:
    node = require_tool("node")
    require_sdk("jose")
    with LocalServer(app_ids=(APP,)) as server:
        before = log_in(server.base_url)["access_token"]
        server.advance(timedelta(days=1))
        token = log_in(server.base_url)["access_token"]
        code = (
            block("the verifier in Node", server.base_url)
            + f"""
            const told = (at) => ({{ payload }}) => `${{at}} ${{payload.aud}}`;
            const failed = (at) => (error) => `${{at}} ${{error.code}}`;
            for (const [name, token, at] of [
              ["new", "{token}", new Date(now)],
              ["old", "{before}", new Date(now)],
              ["not seen to be old", "{before}", undefined],
            ]) console.log(await verify(token, at).then(told(name), failed(name)));
        """
        )
        ended = subprocess.run(  # noqa: S603 - the page's own words
            [node, "--input-type=module", "--eval", code],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        f"new {APP}",
        "old ERR_JWT_EXPIRED",
        f"not seen to be old {APP}",
    ]


@pytest.mark.long
def test_given_the_module_when_compiled_then_its_types_are_what_its_users_need() -> (
    None
):
    require_sdk("typescript")

    checked = subprocess.run(  # noqa: S603 - our own types
        [
            HERE / "node_modules/.bin/tsc",
            *("--noEmit", "--allowJs", "--checkJs", "--strict"),
            *("--target", "es2022", "--lib", "es2022,dom"),
            *("--module", "esnext", "--moduleResolution", "bundler"),
            HERE / "module_types.mts",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout) == (0, "")
