"""The state of the repository that was released last, out of its history."""

import io
import os
import subprocess
import tarfile
import tomllib
from functools import cache
from pathlib import Path

from support.project.tools import ROOT, give_up


@cache
def released_commit() -> str:
    """Return the last release's tag, or the commit that gave the package its version.

    `RELEASED` names any other commit. Without the history, the test is skipped.
    """
    if named := os.environ.get("RELEASED"):
        return named
    if tag := _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"):
        return tag
    # The oldest commit that a shallow clone has seems to have made everything.
    if _git("rev-parse", "--is-shallow-repository") == "false":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        line = f'version = "{project["version"]}"'
        search = ("log", "-1", "--format=%H", f"-S{line}", "--", "pyproject.toml")
        if commit := _git(*search):
            return commit
    return give_up("the tag of the last release, or the whole history, from git")


def extract_release(directory: Path) -> None:
    """Write what was released into a directory, without a worktree in the clone."""
    archive = subprocess.run(  # noqa: S603 - git, and a commit's name
        _command("archive", "--format=tar", released_commit()),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")


def released_file(path: str) -> str:
    """Return the text of a file as it was released."""
    return subprocess.run(  # noqa: S603 - git, and a path in this repository
        _command("show", f"{released_commit()}:{path}"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _git(*arguments: str) -> str:
    """Return what git answers, or nothing if it refuses or is not there."""
    try:
        ran = subprocess.run(  # noqa: S603 - constant words
            _command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _command(*arguments: str) -> list[str]:
    return ["git", *arguments]
