"""The deployer's first steps: `sam validate --lint` and `sam build`."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.project import sam_template
from support.project.sam_template import resources
from support.project.tools import ROOT, machine, require_tool

FUNCTIONS = sorted(resources(sam_template.load(), "AWS::Serverless::Function"))


def run_sam(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> str:
    sam = subprocess.run(  # noqa: S603 - constant words
        [require_tool("sam"), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-central-1",
            **(variables or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert sam.returncode == 0, sam.stdout
    return sam.stdout


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.long
def test_given_the_template_when_sam_validates_it_then_it_is_clean() -> None:
    said = run_sam("validate", "--lint")

    assert "is a valid SAM Template" in said


@pytest.mark.long
def test_given_the_template_when_sam_builds_it_then_all_functions_are_equal(
    tmp_path: Path,
) -> None:
    """SAM then uploads the bundle once."""
    run_sam(
        "build",
        "--build-dir",
        tmp_path,
        variables={"PLATFORM": machine(), "PYTHON": str(require_tool("python3.13"))},
    )

    built = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert built == set(FUNCTIONS)
    first = contents(tmp_path / FUNCTIONS[0])
    assert "anonauth/handlers/login.py" in first
    assert all(contents(tmp_path / name) == first for name in FUNCTIONS)


@pytest.mark.long
def test_given_paths_with_spaces_when_made_then_the_bundle_is_there(
    tmp_path: Path,
) -> None:
    """Make's functions split them: it built elsewhere, and said that all was well."""
    project = tmp_path / "my projects" / "guests"
    shutil.copytree(ROOT / "functions", project / "functions")
    (project / ".build").symlink_to(ROOT / ".build")  # with what is staged already
    (ROOT / ".build").mkdir(exist_ok=True)
    artifacts = tmp_path / "my artifacts"
    python = f"PYTHON={require_tool('python3.13')}"
    make = [str(require_tool("make")), "-C", str(project / "functions"), python]

    made = subprocess.run(  # noqa: S603 - constant words
        [
            *make,
            f"PLATFORM={machine()}",
            "build-LoginFunction",
            f"ARTIFACTS_DIR={artifacts}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert made.returncode == 0, made.stderr
    assert (artifacts / "anonauth/handlers/login.py").exists()
    assert (artifacts / "pynamodb").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"my projects", "my artifacts"}
