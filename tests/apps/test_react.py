"""The React hook of browser.md, on the module that the service publishes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from anonauth.local.server import LocalServer
from apps.running import SDK
from support.project.pages import block
from support.project.tools import ROOT, require_tool
from support.service.calls import APP

# A page with one component, which shows the user. Node lacks what a browser has.
PAGE = """
globalThis.navigator ??= {};
const kept = new Map();
globalThis.localStorage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => kept.set(name, value),
};
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
console.error = (text) => {
  if (!text.includes("react-test-renderer is deprecated")) console.log(text);
};
const { act, createElement } = await import("react");
const { create } = await import("react-test-renderer");
const { renderToString } = await import("react-dom/server");
const { auth, useUser } = await import("./user.mjs");

let renders = 0;
const Page = () => {
  renders += 1;
  const user = useUser();
  const kind = user?.anonymous ? "guest" : "permanent";
  return createElement("p", null, user ? `${kind} ${user.id}` : "nobody");
};
let page;
const shown = () => page.toJSON().children[0];
await act(async () => { page = create(createElement(Page)); });
console.log(shown());
await act(() => auth.token());
const guest = shown();
console.log(guest === `guest ${auth.user.id}`, renderToString(createElement(Page)));
await act(() => auth.token());
const email = `${auth.user.id}@example.com`;
const credential = { username: email, password: "correct horse" };
const register = "/app/myapp-abcde/auth/providers/local-userpass/register";
const body = JSON.stringify({ email, password: credential.password });
await fetch(`${process.env.API}${register}`, { method: "POST", body });
await act(() => auth.link("local-userpass", credential));
console.log(shown() === guest.replace("guest", "permanent"));
await act(() => auth.logOut());
console.log(shown(), renders);
await act(async () => page.unmount());
await auth.token();
console.log(renders);
"""


@pytest.mark.long
def test_given_a_component_when_the_user_changes_then_it_is_rendered_once_each_time(
    tmp_path: Path,
) -> None:
    node = require_tool("node")
    require_tool("react")
    (tmp_path / "node_modules").symlink_to(SDK / "node_modules")
    shutil.copy(ROOT / "functions/anonauth/anonauth.mjs", tmp_path)
    with LocalServer(app_ids=(APP,)) as server:
        code = block("the React hook", server.base_url)
        (tmp_path / "user.mjs").write_text(code)
        (tmp_path / "page.mjs").write_text(PAGE)
        ran = subprocess.run(  # noqa: S603 - the page's own words
            [node, "page.mjs"],
            cwd=tmp_path,
            env={"API": f"{server.base_url}/api/client/v2.0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ran.returncode == 0, ran.stderr
    assert len(code.splitlines()) <= 10
    assert ran.stdout.splitlines() == [
        "nobody",
        "true <p>nobody</p>",  # on a server nobody is logged in
        "true",
        "nobody 5",  # renderToString is one of these
        "5",
    ]
