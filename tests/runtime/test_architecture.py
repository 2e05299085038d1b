"""The bundle of another processor, run on this machine."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.conftest import build
from runtime.runtime_api import Function, LambdaError, ResponseUrl, running
from support.project import sam_template
from support.project.tools import machine

pytestmark = pytest.mark.long

WORDS = {"aarch64": "arm64", "x86_64": "x86_64"}
OTHER = {"aarch64": "x86_64", "x86_64": "aarch64"}
REASON = (
    f"The bundle was built for {WORDS[OTHER[machine()]]}, and the function runs on "
    f"{WORDS[machine()]}. Build with PLATFORM={WORDS[machine()]} sam build, or deploy "
    f"with Architecture={WORDS[OTHER[machine()]]}."
)
HANDLERS = {
    name: function["Handler"]
    for name, function in sam_template.resources(
        sam_template.load(), "AWS::Serverless::Function"
    ).items()
}


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as `sam build` builds it for the other processor."""
    directory = tmp_path_factory.mktemp("other")
    build(directory, OTHER[machine()])
    return directory


@contextmanager
def started(name: str, bundle: Path, directory: Path) -> Iterator[Function]:
    with running(
        HANDLERS[name],
        bundle=bundle,
        environment={"POWERTOOLS_SERVICE_NAME": "anonauth"},
        timeout=90,
        log=directory / "log",
    ) as function:
        yield function


@contextmanager
def response_url() -> Iterator[ResponseUrl]:
    with ResponseUrl() as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


def from_cloudformation(request: str, url: str) -> dict[str, Any]:
    name = {"Create": "key_ring-create", "Delete": "key_ring-delete"}[request]
    event = sam_template.event(name)
    assert event["RequestType"] == request
    return {**event, "ResponseURL": url}


def test_given_the_other_processor_when_a_stack_is_made_then_it_hears_why_at_once(
    other_bundle: Path, tmp_path: Path
) -> None:
    with response_url() as server:
        begun = time.monotonic()
        with started("KeysFunction", other_bundle, tmp_path) as function:
            function.invoke(from_cloudformation("Create", server.url))
            log = function.log()
        seconds = time.monotonic() - begun
        answer = server.answers.get(timeout=1)

    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == f"{REASON}; see log stream"
    assert answer["PhysicalResourceId"]
    assert seconds < 20  # CloudFormation waited for 180 s
    assert "signature=" not in log


def test_given_the_other_processor_when_the_stack_rolls_back_then_nothing_is_in_the_way(
    other_bundle: Path, tmp_path: Path
) -> None:
    """CloudFormation deletes the resource that it could not make."""
    with response_url() as server:
        with started("KeysFunction", other_bundle, tmp_path) as function:
            function.invoke(from_cloudformation("Delete", server.url))
        answer = server.answers.get(timeout=1)

    assert answer["Status"] == "SUCCESS"


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_given_the_other_processor_when_a_function_is_called_then_the_log_says_why(
    other_bundle: Path, tmp_path: Path, name: str
) -> None:
    event = sam_template.event(sam_template.word_of(name))

    with (
        started(name, other_bundle, tmp_path) as function,
        pytest.raises(LambdaError) as failed,
    ):
        function.invoke(event)

    told = json.loads(str(failed.value).partition("\n}")[0] + "\n}")
    assert told["errorType"] == "WrongArchitecture"
    assert told["errorMessage"] == REASON


def test_given_a_module_is_missing_when_a_function_starts_then_that_is_the_error(
    bundle: Path, tmp_path: Path
) -> None:
    """The processor is the right one, and is not blamed."""
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "cryptography/hazmat/bindings/_rust.abi3.so").unlink()

    with (
        started("LoginFunction", broken, tmp_path) as function,
        pytest.raises(LambdaError) as failed,
    ):
        function.invoke(sam_template.event("login"))

    assert "Runtime.ImportModuleError" in str(failed.value)
    assert "WrongArchitecture" not in str(failed.value)
