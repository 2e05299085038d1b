"""`sam local` as events/README.md uses it, with a daemon and the local service."""

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.project.pages import block
from support.project.tools import ROOT, machine, require_tool
from support.service.command import run, serving
from support.service.docker import IMAGE, bridge_address, make_image, running_daemon

Json = dict[str, Any]

SERVED_AT = "http://127.0.0.1:3000"
"""Where `sam local start-api` listens by default."""

_MOST_ATTEMPTS = 600  # with a pause of 0.1 s after each: a minute at least


@dataclass(frozen=True)
class SamLocal:
    """The options that the page names, and where the build is."""

    options: list[str]
    variables: Mapping[str, str]
    build: Path

    def invoke(self, function: str, event: str) -> Json:
        """Run `sam local invoke` with an event on stdin; return the answer."""
        ran = subprocess.run(  # noqa: S603 - constant words
            [
                str(require_tool("sam")),
                "local",
                "invoke",
                function,
                "-e",
                "-",
                *self._all_options(),
            ],
            cwd=ROOT,
            env={**os.environ, **self.variables},
            input=event,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        answer: Json = json.loads(ran.stdout)
        return answer

    @contextmanager
    def serving(self, command: str, *arguments: str) -> Iterator[str]:
        """Run `sam local start-lambda` or `start-api`; yield what it writes to."""
        log = self.build.parent / f"{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - constant words
                [
                    str(require_tool("sam")),
                    "local",
                    command,
                    *arguments,
                    "--warm-containers",
                    "LAZY",
                    *self._all_options(),
                ],
                cwd=ROOT,
                env={**os.environ, **self.variables},
                stdout=output,
                stderr=output,
            )
        try:
            for _ in range(_MOST_ATTEMPTS):
                if "Running on" in log.read_text():
                    break
                assert process.poll() is None, log.read_text()[-2_000:]
                time.sleep(0.1)
            else:
                pytest.fail(f"sam local {command} does not say that it listens")
            yield str(log)
        finally:
            process.terminate()  # it removes its containers
            process.wait(timeout=60)

    def _all_options(self) -> list[str]:
        return [
            *self.options,
            # Docker Hub cannot be reached from every machine that runs the tests.
            *("--skip-pull-image", "--invoke-image", IMAGE),
            *("--template", str(self.build / "template.yaml")),
        ]


def sample(name: str) -> str:
    """Return what `anonauth sample` prints."""
    ran = run("sample", name)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode()


def post(url: str, body: str) -> Json:
    """Send an event to `sam local start-lambda`, and return the function's answer."""
    request = urllib.request.Request(url, data=body.encode(), method="POST")  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - same
        found: Json = json.load(answer)
        return found


@contextmanager
def running_sam(directory: Path) -> Iterator[SamLocal]:
    """Build the project, and run a daemon and the service that the page names."""
    sam = str(require_tool("sam"))
    with running_daemon(directory) as address:
        make_image(address)
        variables = {
            **address,
            "SAM_CLI_TELEMETRY": "0",
            "PLATFORM": machine(),
            "PYTHON": str(require_tool("python3.13")),
        }
        build = directory / "build"
        built = subprocess.run(  # noqa: S603 - constant words
            [sam, "build", "--build-dir", str(build)],
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr
        bridge = bridge_address(address)
        assert bridge in block("the service for containers").split()
        with serving("--aws-port", "4566", "--aws-host", bridge):
            yield SamLocal(documented_options(), variables, build)


def documented_options() -> list[str]:
    """Return the options of the page's line for Linux on x86, or on ARM."""
    words = re.search(r'OPTIONS="([^"]+)"', block("one function on Linux"))
    assert words is not None
    options = words[1].split()
    if machine() == "x86_64":
        options += ["--parameter-overrides", "Architecture=x86_64"]
    return options
