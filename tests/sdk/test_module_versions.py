"""A browser gets another version of `anonauth.mjs`, and keeps its user."""

import json
import subprocess
from pathlib import Path

import pytest

from anonauth.local.server import LocalServer
from support.project.released import released_file
from support.project.tools import ROOT, require_tool
from support.service.calls import APP

MODULE = "functions/anonauth/anonauth.mjs"

PROGRAM = """
const [first, second, app, url] = process.argv.slice(1);
const kept = new Map();
const getItem = (key) => kept.get(key) ?? null;
const storage = { getItem, setItem: (key, text) => kept.set(key, text) };
const open = async (file) => (await import(file)).anonauth({ app, url, storage });

const before = await open(first);
const token = await before.token();
const after = await open(second);
const same = (await after.token()) === token;
await after.token({ fresh: true });
console.log(JSON.stringify([before.user.id, after.user.id, same]));
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "order",
    [
        pytest.param(("released", "present"), id="updated"),
        pytest.param(("present", "released"), id="rolled back"),
    ],
)
def test_given_a_user_of_one_version_when_a_page_loads_the_other_then_it_is_the_same(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    files = {name: tmp_path / f"{name}.mjs" for name in order}
    files["released"].write_text(released_file(MODULE))
    files["present"].write_text((ROOT / MODULE).read_text())
    node = require_tool("node")

    with LocalServer(app_ids=(APP,)) as server:
        arguments = [*(files[name].as_uri() for name in order), APP, server.base_url]
        ran = subprocess.run(  # noqa: S603 - our own program
            [str(node), "--input-type=module", "--eval", PROGRAM, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ran.returncode == 0, ran.stderr
    first, second, same_token = json.loads(ran.stdout)
    assert first == second
    assert same_token
