import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from runtime import aws, runtime_api
from support.project import sam_template
from support.project.policies import REGION
from support.project.sam_template import event, resources
from support.project.tools import ROOT, machine, require_tool

FUNCTIONS = sorted(resources(sam_template.load(), "AWS::Serverless::Function"))

PARTNER = "https://partner.example.com"
PARTNER_SECRET = "partner-secret-of-at-least-32-bytes"

_MAIL = {
    "sender": "Example <noreply@example.com>",
    "confirm_url": "https://www.example.com/confirm",
    "reset_url": "https://www.example.com/reset",
}
SETTINGS = {
    "apps": {
        "myapp-abcde": {
            "local-userpass": {"mail": _MAIL},
            "api-key": {},
            "oauth2-facebook": {
                "app_id": "138483919580948",
                "app_secret": {"ssm": "partner"},
                "graph_url": "https://graph.invalid",
            },
            "custom-token": {
                "issuers": [
                    {
                        "issuer": PARTNER,
                        "algorithm": "HS256",
                        "secret": {"ssm": "partner"},
                        "metadata_fields": [{"name": "nickname", "field_name": "nick"}],
                    }
                ]
            },
        },
        # In the same domain, but not the sender that the stack allows.
        "other-fghij": {
            "local-userpass": {"mail": _MAIL | {"sender": "ceo@example.com"}},
            "anon-user": {
                "challenge": {
                    "verify_url": "https://challenge.invalid/verify",
                    "secret": {"ssm": "partner"},
                }
            },
        },
    }
}
"""The settings document in SSM, and one secret that it refers to."""


class Start(Protocol):
    """Starts an execution environment; variables are those of the deployment."""

    def __call__(self, name: str, **variables: str) -> runtime_api.Function: ...


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as `sam build` builds it, for this machine.

    The processes of a test run share it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    directory = shared / "bundle"
    with (shared / "bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            part = tmp_path_factory.mktemp("bundle")
            build(part)
            part.rename(directory)
    return directory


def build(directory: Path, platform: str | None = None, root: Path = ROOT) -> None:
    """Build the bundle of a function, for this machine unless another is named.

    `root` is the directory of the repository, or of another state of it.
    """
    platform = platform or machine()
    subprocess.run(  # noqa: S603 - our own Makefile
        [
            require_tool("make"),
            "--directory",
            root / "functions",
            "build-LoginFunction",
            f"ARTIFACTS_DIR={directory}",
            f"PLATFORM={platform}",
            f"PYTHON={require_tool('python3.13')}",
        ],
        # A `make` that runs these tests would pass on its own options.
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
        check=True,
        stdout=2,  # stderr: the benchmark prints its figures on stdout
    )


@pytest.fixture(scope="module")
def cloud() -> Iterator[aws.Aws]:
    """DynamoDB, KMS, SSM, SES and EventBridge, without a key ring yet."""
    name = aws.PARAMETERS["SettingsParameter"]
    secrets = {name: json.dumps(SETTINGS), f"{name}/partner": PARTNER_SECRET}
    with aws.serving(FUNCTIONS, secrets) as served:
        yield served


@pytest.fixture(scope="module")
def start(
    bundle: Path, cloud: aws.Aws, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts a new execution environment of a function."""
    logs = tmp_path_factory.mktemp("logs")
    functions = resources(sam_template.translated(), "AWS::Lambda::Function")
    with ExitStack() as environments:

        def start(name: str, **variables: str) -> runtime_api.Function:
            environment = environment_of(functions[name]) | {
                "TABLE_NAME": cloud.table_name,
                "KMS_KEY_ID": cloud.key_arn,
                "ENDPOINT_URL": cloud.endpoint_url,
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": name,
                "AWS_SECRET_ACCESS_KEY": "secret",
                **variables,
            }
            return environments.enter_context(
                runtime_api.running(
                    functions[name]["Handler"],
                    bundle=bundle,
                    environment=environment,
                    timeout=functions[name]["Timeout"],
                    log=logs / f"{name}-{len(list(logs.iterdir()))}",
                )
            )

        yield start


@pytest.fixture
def granted(cloud: aws.Aws) -> Iterator[None]:
    """Fail a test if a function's role refused one of its calls."""
    yield
    refused = cloud.gate.policies.forget_refusals()
    assert refused == []


@pytest.fixture(scope="module")
def functions(start: Start) -> dict[str, runtime_api.Function]:
    """One execution environment of each function, and a key ring."""
    started = {name: start(name) for name in FUNCTIONS}
    started["KeysFunction"].invoke(event("key_ring"))
    return started


def environment_of(function: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a function as the deployment sets them."""
    parameters = sam_template.load()["Parameters"]

    def resolve(value: Any) -> str:
        match value:
            case {"Ref": name} if name in parameters:
                return aws.PARAMETERS.get(name, str(parameters[name]["Default"]))
            case {"Fn::Join": [",", value]}:
                return resolve(value)
            case {"Fn::If": ["HasDomain" | "HasChallenge", _, value]}:
                return resolve(value)
            case dict():
                return "set by the test"
        return str(value)

    variables = function["Environment"]["Variables"]
    return {name: resolve(value) for name, value in variables.items()}
