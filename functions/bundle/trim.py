"""Reduces the dependencies in the bundle to what the functions use.

The Makefile runs `python bundle/trim.py DIRECTORY`. A cold start reads, parses and runs
the bundle, so a smaller one starts faster. Each replaced file was reviewed in the
version that requirements.txt pins. If the file is a different one, the build stops.
"""

import gzip
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

OPERATIONS: Mapping[str, frozenset[str]] = {
    "dynamodb": frozenset(
        {
            "BatchGetItem",
            "DeleteItem",
            "GetItem",
            "PutItem",
            "Scan",
            "TransactWriteItems",
            "UpdateItem",
        }
    ),
    "events": frozenset({"PutEvents"}),
    "kms": frozenset({"Decrypt", "Encrypt"}),
    "sesv2": frozenset({"SendEmail"}),
    "ssm": frozenset({"GetParameter", "GetParameters"}),
}
"""Operations that the functions call, by service. sts is not needed, because Lambda
provides the credentials."""

UNUSED = (
    "*.dist-info",
    "bin",
    "**/*.pyi",
    "botocore/data/*/*/examples-1.json",
    # handlers/_http.py replaces it.
    "aws_lambda_powertools/event_handler",
    # LifecycleFunction needs only the utility batch, which needs data_classes.
    "aws_lambda_powertools/utilities/auth_alpha",
    "aws_lambda_powertools/utilities/circuit_breaker",
    "aws_lambda_powertools/utilities/data_masking",
    "aws_lambda_powertools/utilities/feature_flags",
    "aws_lambda_powertools/utilities/idempotency",
    "aws_lambda_powertools/utilities/kafka",
    "aws_lambda_powertools/utilities/parameters",
    "aws_lambda_powertools/utilities/parser",
    "aws_lambda_powertools/utilities/streaming",
    "aws_lambda_powertools/utilities/validation",
    # Compiled cffi modules need cffi's backend, but not cffi and its C parser.
    "cffi",
    "pycparser",
    # email-validator uses it (3 MB) only to check domains, which is off here: the
    # confirmation mail proves that an address exists.
    "dns",
)
"""Glob patterns of files that no function imports."""

STUBS: Mapping[str, str] = {
    "botocore/docs/__init__.py": (
        "331c7a7a2cbbebe4b13e952c3cc50fa074be5a3cbc323d600dfae8c02bb44b85"
    ),
    "botocore/docs/docstring.py": (
        "268f650386453eaef970d0947e9cfbcd689794307e0a7ddb3fad9c66f067b5f0"
    ),
    "cryptography/hazmat/primitives/serialization/ssh.py": (
        "162b177bf9d429d3c67ea10d5612a99a86b399a23ca87f067be5466dcd1dca4c"
    ),
    "dateutil/parser/__init__.py": (
        "c1693a185bb14e98e8820086b6091c789a2d8b8a558e5e3f7c7417a4d39a4988"
    ),
    "typing_extensions.py": (
        "4040ca1a1ecbee00d1385c12a93084d1c5bd46f0b774f07e5ae7e91c4f55e696"
    ),
    "urllib3/http2/__init__.py": (
        "c73ac0487ed1e4035190f24ea2de651a70133aadca2aec97cc8e36adc9f09aab"
    ),
}
"""Files that are replaced by those in the directory `stubs`, each with the SHA-256 of
the version that was reviewed."""

AUTHORITIES = (
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
)
"""Certificate authorities of Amazon Trust Services, for AWS's commercial regions
(anonauth/aws_session.py)."""


class Changed(Exception):
    """A file to replace differs from the version that was reviewed."""


def trim(directory: Path) -> None:
    """Trim the packages that pip has installed into a directory.

    Raises:
        Changed: A file to replace differs from the version that was reviewed.
    """
    for pattern in UNUSED:
        for path in list(directory.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name, digest in STUBS.items():
        path = directory / name
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Changed(f"{name} has changed: review it, then stubs/{name}")
        shutil.copyfile(Path(__file__).parent / "stubs" / name, path)
    data = directory / "botocore" / "data"
    for path in data.iterdir():
        if path.is_dir() and path.name not in OPERATIONS:
            shutil.rmtree(path)
    _cut_endpoints(data / "endpoints.json")
    for path in list(data.glob("*/*/*.json.gz")):
        _unpack(path)
    _select_authorities(directory / "botocore")
    for service, operations in OPERATIONS.items():
        for path in (data / service).glob("*/service-2.json"):
            _cut_model(path, operations)


def _unpack(path: Path) -> None:
    _write(path.with_suffix(""), json.loads(gzip.decompress(path.read_bytes())))
    path.unlink()


def _select_authorities(directory: Path) -> None:
    """Write Amazon's certificate authorities to a file of their own."""
    whole = (directory / "cacert.pem").read_text()
    certificates = dict(
        re.findall(
            r'^# Label: "([^"]+)"$.*?(^-----BEGIN.+?^-----END CERTIFICATE-----$)',
            whole,
            re.MULTILINE | re.DOTALL,
        )
    )
    selected = "\n".join(certificates[name] for name in AUTHORITIES)
    (directory / "amazon.pem").write_text(f"{selected}\n")


def _cut_endpoints(path: Path) -> None:
    endpoints = _read(path)
    for partition in endpoints["partitions"]:
        partition["services"] = {
            name: service
            for name, service in partition["services"].items()
            if name in OPERATIONS
        }
    _write(path, endpoints)


def _cut_model(path: Path, operations: frozenset[str]) -> None:
    """Keep our operations and their shapes in a service's model, nothing else."""
    model = _without_documentation(_read(path))
    model["operations"] = {
        name: operation
        for name, operation in model["operations"].items()
        if name in operations
    }
    shapes = model["shapes"]
    used: set[str] = set()
    found = set(_shapes_in(model["operations"]))
    while found:
        used |= found
        found = {name for each in found for name in _shapes_in(shapes[each])} - used
    model["shapes"] = {name: shapes[name] for name in sorted(used)}
    _write(path, model)


def _shapes_in(model: Any) -> Iterator[str]:
    if isinstance(model, dict):
        if isinstance(model.get("shape"), str):
            yield model["shape"]
        for each in model.values():
            yield from _shapes_in(each)
    elif isinstance(model, list):
        for each in model:
            yield from _shapes_in(each)


def _without_documentation(model: Any) -> Any:
    if isinstance(model, dict):
        return {
            name: _without_documentation(each)
            for name, each in model.items()
            # A member named "documentation" would be an object, not a string.
            if not (name == "documentation" and isinstance(each, str))
        }
    if isinstance(model, list):
        return [_without_documentation(each) for each in model]
    return model


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")))


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
