"""Counts, the same on each machine: AWS calls, capacity units, imports, sizes."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import local
from bench.crowd import crowded
from bench.figures import say
from bench.meter import Call
from bench.operations import AUTHORIZE, Operation, People, is_success, operations
from bench.stage import Stage
from runtime.runtime_api import ISOLATED
from support.project.bundle_size import MAX_BYTES, MAX_ZIPPED, files
from support.project.sam_template import Json, resources, translated
from support.project.tools import require_tool

_LINK = (["GetItem", "TransactWriteItems"], 1, 4)
_LOG_IN = (["GetItem", "GetItem", "UpdateItem"], 2, 1)

EXPECTED: dict[str, tuple[list[str], float, float]] = {
    "login": (["UpdateItem", "PutItem"], 0, 2),
    "login, no budget": (["PutItem"], 0, 1),
    "login with a key, no budget": (["TransactWriteItems"], 0, 4),
    "refresh": (["GetItem"], 1, 0),
    "refresh, first of a day": (["GetItem", "UpdateItem"], 1, 1),
    "profile": (["GetItem"], 1, 0),
    AUTHORIZE: (["GetItem"], 1, 0),
    "logout": (["DeleteItem"], 0, 1),
    "logout, permanent user": (["DeleteItem", "UpdateItem"], 0, 2),
    "link custom-token": _LINK,
    "link custom-token HS256": _LINK,
    "link oauth2-google": _LINK,
    "link oauth2-apple": _LINK,
    # A failure is counted before Facebook is asked, and undone afterwards.
    "link oauth2-facebook": (
        ["GetItem", "UpdateItem", "UpdateItem", "TransactWriteItems"],
        1,
        6,
    ),
    # The account, three counters of wrong passwords, and a try that is undone.
    "link local-userpass": (
        ["GetItem", "BatchGetItem", "UpdateItem", "UpdateItem", "TransactWriteItems"],
        5,
        6,
    ),
    "log in custom-token": _LOG_IN,
    "log in api-key": _LOG_IN,
    "log in local-userpass": (
        ["BatchGetItem", "UpdateItem", "UpdateItem", "GetItem", "UpdateItem"],
        5,
        3,
    ),
    "log in custom-token, first time": _LINK,
    # It reads the identity, its user and the guest.
    "merge a guest": (["GetItem", "GetItem", "GetItem", "TransactWriteItems"], 3, 6),
    "register": (["UpdateItem", "GetItem", "PutItem"], 1, 2),
    "delete": _LINK,
}
"""AWS calls of each warm operation, and its read and write capacity units."""

EVERYWHERE = {
    "_cffi_backend",
    "_openssl",
    "anonauth",
    "aws_lambda_powertools",
    "botocore",
    "cryptography",
    "dateutil",
    "jmespath",
    "pynamodb",
    "six",
    "typing_extensions",
    "urllib3",
}

BESIDE: dict[str, set[str]] = {
    "ApiKeysFunction": {"jwt", "msgspec"},
    "AuthorizerFunction": {"jwt"},
    "DiscoveryFunction": set(),
    "ExpiringFunction": set(),
    "KeysFunction": set(),
    "LifecycleFunction": set(),
    "LinkFunction": {"jwt", "msgspec"},
    "LoginFunction": {"jwt"},
    "LogoutFunction": {"jwt"},
    "ProfileFunction": {"jwt"},
    "SessionFunction": {"jwt"},
    "UserpassFunction": {
        "_argon2_cffi_bindings",
        "argon2",
        "email_validator",
        "idna",
        "msgspec",
    },
}
"""Packages that a function imports at its start, beside those that all import."""

USERS = 20_000
"""Guests in the table: with more of them the counts must not grow."""

_TWICE = 2  # the second count shows whether the first is stable


def measure(stage: Stage) -> Json:
    """Return calls and units of each operation, packages and sizes.

    For the local service, return the figures that may not grow with its users.
    """
    return {
        "local": local.counted(),
        "operations": dict(_operations(stage)),
        "imports": _imports(stage),
        "sizes": _sizes(stage),
    }


def differences(counted: Json) -> list[str]:
    """Return a line for each count that is not as expected."""
    operations = {
        name: (found["calls"], found["read_units"], found["write_units"])
        for name, found in counted["operations"].items()
    }
    packages = {
        name: set(found["packages"]) for name, found in counted["imports"].items()
    }
    expected = {name: EVERYWHERE | beside for name, beside in BESIDE.items()}
    sizes = counted["sizes"]
    limits = {"bundle": MAX_BYTES, "zipped": MAX_ZIPPED}
    return [
        *_different("calls and units", operations, EXPECTED),
        *_different("imports", packages, expected),
        *[
            f"{name}: {sizes[name]} bytes, {limit} at most"
            for name, limit in limits.items()
            if sizes[name] > limit
        ],
        *local.differences(counted["local"]),
    ]


def _different(
    what: str, found: Mapping[str, object], expected: Mapping[str, object]
) -> Iterator[str]:
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            yield f"{what} of {name}: {found.get(name)}, not {expected.get(name)}"


def _imports(stage: Stage) -> Json:
    say("counting imports")
    handlers = resources(translated(), "AWS::Lambda::Function")
    return {
        name: _imported(stage, function["Handler"].rpartition(".")[0])
        for name, function in sorted(handlers.items())
    }


def _imported(stage: Stage, module: str) -> Json:
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "import importlib; importlib.import_module(sys.argv[2])\n"
        "print(*sys.modules.keys() - {'__main__'})\n"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [require_tool("python3.13"), *ISOLATED, code, stage.bundle, module],
        capture_output=True,
        check=True,
        text=True,
    )
    # The standard library's modules are not ours to choose, and differ with each
    # release of Python.
    modules = [
        name
        for name in ran.stdout.split()
        if name.partition(".")[0] not in sys.stdlib_module_names
    ]
    packages = {name.partition(".")[0] for name in modules}
    return {"packages": sorted(packages), "modules": len(modules)}


def _sizes(stage: Stage) -> Json:
    say("measuring the bundle")
    archive = stage.directory / "bundle"
    zipped = shutil.make_archive(str(archive), "zip", stage.bundle)
    return {
        "bundle": sum(path.stat().st_size for path in files(stage.bundle)),
        "zipped": Path(zipped).stat().st_size,
    }


def _operations(stage: Stage) -> Iterator[tuple[str, Json]]:
    say("counting calls and units")
    with ExitStack() as stack:
        grown = stack.enter_context(crowded(stage, People(stage, stack), USERS))
        people = People(grown, stack)
        for operation in operations():
            yield operation.name, count(grown, people, operation)


def count(stage: Stage, people: People, operation: Operation) -> Json:
    """Return the calls and units of an operation, once it is warm, and its log."""
    with stage.running(
        operation.function, is_metered=True, variables=operation.variables
    ) as function:

        def counted(event: Json) -> Json:
            del stage.meter.calls[:], stage.cloud.gate.calls[:]
            logged = len(function.log())
            answer: Any = function.invoke(event)
            if not is_success(answer):
                raise ValueError(f"{operation.name} was answered {answer}")
            calls = list(stage.meter.calls)
            # The calls to KMS and SSM; those to the table do not pass through here.
            others = [Call(name) for _, name in stage.cloud.gate.calls]
            return {
                "calls": [call.operation for call in others + calls],
                "read_units": sum(call.read_units for call in calls),
                "write_units": sum(call.write_units for call in calls),
                "log_bytes": len(function.log()) - logged,
            }

        cold, *warm = (counted(event) for event in operation.events(people, 1 + _TWICE))
    first, second = warm
    if first != second:
        raise ValueError(f"{operation.name}: {first} is once {second}")
    return first | {"cold_calls": cold["calls"]}
