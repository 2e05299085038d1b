"""The built bundle as files."""

import json
import shutil
from importlib.metadata import distribution
from pathlib import Path

import pytest

from bundle.trim import OPERATIONS
from runtime.runtime_api import importable
from support.project.bundle_size import MAX_BYTES, MAX_ZIPPED, files
from support.project.licences import listed


def test_given_a_bundle_when_measured_then_it_is_small(bundle: Path) -> None:
    size = sum(path.stat().st_size for path in files(bundle))

    assert size <= MAX_BYTES


@pytest.mark.long
def test_given_a_bundle_when_zipped_as_sam_does_then_it_is_small(
    bundle: Path, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "bundle"), "zip", bundle)

    assert Path(archive).stat().st_size <= MAX_ZIPPED


def test_given_a_bundle_then_it_carries_nothing_that_no_function_uses(
    bundle: Path,
) -> None:
    services = {
        path.name for path in (bundle / "botocore/data").iterdir() if path.is_dir()
    }
    endpoints = json.loads((bundle / "botocore/data/endpoints.json").read_text())

    assert services == OPERATIONS.keys()
    assert {
        service
        for partition in endpoints["partitions"]
        for service in partition["services"]
    } <= services
    assert not (bundle / "anonauth/cli").exists()
    assert not (bundle / "anonauth/local").exists()
    assert list(bundle.rglob("*.dist-info")) == []


def test_given_a_bundle_then_all_of_it_is_of_packages_whose_licences_are_listed(
    bundle: Path,
) -> None:
    theirs = {
        file.parts[0]
        for package in listed()
        for file in distribution(package.name).files or []
    }

    unknown = {path.name for path in bundle.iterdir()} - theirs - {"anonauth"}

    assert unknown == set()


def test_given_a_function_when_it_imports_then_only_the_bundle_is_there(
    bundle: Path,
) -> None:
    ours = ["anonauth", "argon2", "botocore", "cryptography", "email_validator", "jwt"]
    ours += ["msgspec", "pynamodb"]
    runtime = ["awslambdaric"]
    not_ours = ["boto3", "moto", "pip", "pytest", "yaml"]
    not_ours += ["anonauth.cli", "anonauth.local"]
    not_needed = ["cffi", "dns", "pycparser", "aws_lambda_powertools.event_handler"]
    not_needed += [
        f"aws_lambda_powertools.utilities.{name}"
        for name in ("idempotency", "kafka", "parameters", "parser", "streaming")
    ]

    found = importable([*ours, *runtime, *not_ours, *not_needed], bundle=bundle)

    assert found == [*ours, *runtime]
