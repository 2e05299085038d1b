"""A Docker daemon for `sam local`: the machine's own, or one for the tests alone."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from support.project.tools import ROOT, give_up, require_tool

IMAGE = "samlocal-python:3.13"

_MOST_ATTEMPTS = 300  # with a pause of 0.2 s after each: a minute at least


@contextmanager
def running_daemon(directory: Path) -> Iterator[dict[str, str]]:
    """Yield the environment variables by which clients reach a daemon.

    A daemon that is started here keeps its data in `directory`, and ends at the end.
    Docker leaves a bridge `docker0` and rules of the packet filter behind.
    """
    require_tool("docker")
    if _answers({}):
        yield {}
        return
    daemon = require_tool("dockerd")
    if os.geteuid() != 0:
        give_up("a Docker daemon, which only root can start")
    address = {"DOCKER_HOST": f"unix://{directory}/sock"}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - constant words
            [
                daemon,
                *("--data-root", directory / "data"),
                *("--exec-root", directory / "exec"),
                *("--pidfile", directory / "pid"),
                *("--host", address["DOCKER_HOST"]),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(_MOST_ATTEMPTS):
            if _answers(address):
                break
            if process.poll() is not None:
                pytest.fail((directory / "log").read_text()[-2_000:])
            time.sleep(0.2)
        else:
            pytest.fail("the Docker daemon runs, and does not answer")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def make_image(variables: Mapping[str, str]) -> None:
    """Make the image that functions run in, if the daemon does not have it."""
    docker(variables, "info")
    if _run(variables, "docker", "image", "inspect", IMAGE).returncode == 0:
        return
    made = _run(
        {
            **variables,
            "PYTHON": str(require_tool("python3.13")),
            "RIC": str(require_tool("awslambdaric")),
        },
        str(ROOT / "tests/samlocal/make_image"),
        IMAGE,
    )
    assert made.returncode == 0, made.stderr


def bridge_address(variables: Mapping[str, str]) -> str:
    """Return the address at which containers reach this machine."""
    form = "{{with index .IPAM.Config 0}}{{.Subnet}} {{.Gateway}}{{end}}"
    inspected = docker(variables, "network", "inspect", "bridge", "--format", form)
    subnet, *gateway = inspected.split()
    # Docker 20.10 tells the gateway only if the bridge was there before the daemon. Its
    # own choice is the first address.
    return gateway[0] if gateway else str(ip_network(subnet)[1])


def docker(variables: Mapping[str, str], *arguments: str) -> str:
    """Run a command of Docker, and return what it prints."""
    ran = _run(variables, "docker", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _answers(variables: Mapping[str, str]) -> bool:
    return _run(variables, "docker", "info").returncode == 0


def _run(
    variables: Mapping[str, str], *command: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - constant words
        command,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
