"""Finds the programs that some tests need and a laptop may lack.

Without its program a test is skipped. On CI (`CI=true`) it fails, so that no tier can
drop out unnoticed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / ".ci" / "tools"


def require_tool(name: str) -> Path:
    """Return the path of a program or script, or of a directory to import from.

    It is looked for on PATH and where `.ci/run` installs it. `SAM_CLI` may name another
    sam.
    """
    return _find(name) or give_up(name)


def machine() -> str:
    """Return this machine as the Makefile's PLATFORM, in Linux's own words."""
    if sys.platform != "linux":
        give_up("linux, which the built bundle runs on")
    return os.uname().machine


@cache
def _find(name: str) -> Path | None:
    if name == "sam" and (named := os.environ.get("SAM_CLI")):
        return Path(named)
    if search := _SEARCHES.get(name):
        return search()
    if on_path := shutil.which(name):
        return Path(on_path)
    installed = TOOLS / name / "bin" / name
    return installed if installed.exists() else None


def _python313() -> Path | None:
    if sys.version_info[:2] == (3, 13):
        return Path(sys.executable)
    # A pyenv shim works in some directories only, so ask it for its interpreter.
    command = ["python3.13", "-c", "import sys; print(sys.executable)"]
    if shutil.which("python3.13") is None:
        return None
    found = subprocess.run(  # noqa: S603 - constant words
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def _awslambdaric() -> Path | None:
    directory = TOOLS / "ric"
    return directory if (directory / "awslambdaric").is_dir() else None


def _dynoxide() -> Path | None:
    if on_path := shutil.which("dynoxide"):
        return Path(on_path)
    binary = TOOLS / "dynoxide/node_modules/@dynoxide/linux-x64/dynoxide"
    return binary if binary.exists() else None


def _playwright() -> Path | None:
    if installed := importlib.util.find_spec("playwright"):
        return Path(str(installed.origin)).parent.parent
    directory = TOOLS / "playwright"
    # Playwright has compiled code, for the Python version that installed it.
    version = f"cpython-{sys.version_info.major}{sys.version_info.minor}-"
    fits = any((directory / "greenlet").glob(f"_greenlet.{version}*"))
    return directory if fits else None


def _chromium() -> Path | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found) if found else None


def _axe() -> Path | None:
    script = TOOLS / "axe/node_modules/axe-core/axe.min.js"
    return script if script.exists() else None


def _frameworks() -> Path | None:
    python = TOOLS / "frameworks/bin/python"
    return python if python.exists() else None


def _npm_package(name: str) -> Path | None:
    package = ROOT / "tests/sdk/node_modules" / name
    return package if package.is_dir() else None


def _cdk() -> Path | None:
    directory = TOOLS / "cdk"
    return directory if (directory / "node_modules/aws-cdk-lib").is_dir() else None


_SEARCHES: dict[str, Callable[[], Path | None]] = {
    "python3.13": _python313,
    "awslambdaric": _awslambdaric,
    "dynoxide": _dynoxide,
    "playwright": _playwright,
    "chromium": _chromium,
    "axe-core": _axe,
    "frameworks": _frameworks,
    "express": partial(_npm_package, "express"),
    "react": partial(_npm_package, "react-dom"),
    "cdk": _cdk,
}


def give_up(name: str) -> NoReturn:
    """Skip the test that needs something, or fail on CI."""
    reason = f"needs {name}; `.ci/run` installs what the tests need"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
