"""`requirements.lock`: the bundle is built from the wheels that were checked."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from bundle import lock
from support.project.tools import ROOT, machine, require_tool

FUNCTIONS = ROOT / "functions"
LOCK = (FUNCTIONS / "requirements.lock").read_text()
REQUIREMENTS = (FUNCTIONS / "requirements.txt").read_text()


def test_given_the_lock_when_read_then_its_pins_are_those_of_the_requirements() -> None:
    pins = re.findall(r"^[^#\s].*$", REQUIREMENTS, re.MULTILINE)

    assert lock.pins_of(LOCK) == pins
    assert lock.pins_of(REQUIREMENTS) == pins


def test_given_the_lock_when_read_then_it_has_hashes_and_no_address() -> None:
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]

    for line in lines:
        assert re.fullmatch(
            r"[\w.-]+==[\w.]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        )


def test_given_a_pin_when_locked_then_each_machine_has_its_wheel() -> None:
    locked = re.findall(
        r"^([\w.-]+)==[\w.]+((?: \\\n +--hash\S+)+)", LOCK, re.MULTILINE
    )

    assert len(locked) == len(lock.pins_of(REQUIREMENTS))
    for name, hashes in locked:
        wheel = distribution(name).read_text("WHEEL") or ""
        is_pure = "Root-Is-Purelib: true" in wheel
        assert len(set(re.findall("[0-9a-f]{64}", hashes))) == (1 if is_pure else 2)


def test_given_reports_of_pip_when_locked_then_the_program_prints_the_lock(
    tmp_path: Path,
) -> None:
    reports = []
    for machine_number in (0, -1):  # the first and the last hash of each pin
        wheels = [
            (*each[0].split("=="), each[1][machine_number])
            for each in (
                (pin, re.findall("[0-9a-f]{64}", hashes))
                for pin, hashes in re.findall(
                    r"^(\S+==\S+)((?: \\\n +--hash\S+)+)", LOCK, re.MULTILINE
                )
            )
        ]
        reports.append(tmp_path / f"{machine_number}.json")
        reports[-1].write_text(json.dumps(report(*wheels)))

    printed = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, FUNCTIONS / "bundle/lock.py", *reports],
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed.stdout == LOCK


def report(*wheels: tuple[str, str, str]) -> dict[str, Any]:
    """Return the parts of a report that are used, for names, versions and hashes."""
    return {
        "install": [
            {
                "metadata": {"name": name, "version": version},
                "download_info": {"archive_info": {"hashes": {"sha256": digest}}},
            }
            for name, version, digest in wheels
        ]
    }


def test_given_a_report_of_each_machine_when_locked_then_hashes_are_merged() -> None:
    arm = report(("some_pure", "1.0", "aa"), ("Compiled", "2.0", "cc"))
    intel = report(("some_pure", "1.0", "aa"), ("Compiled", "2.0", "bb"))

    lines = lock.lines_of(["some.pure==1.0", "compiled==2.0"], [arm, intel])

    assert lines == [
        "some.pure==1.0 \\\n    --hash=sha256:aa",
        "compiled==2.0 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc",
    ]


def test_given_another_version_in_the_report_when_locked_then_it_fails() -> None:
    with pytest.raises(KeyError):
        lock.lines_of(["a==1.0"], [report(("a", "1.1", "aa"))])


def copied(tmp_path: Path, lines: str) -> Path:
    """Return a copy of a build's input, with another lock."""
    copy = tmp_path / "functions"
    shutil.copytree(FUNCTIONS, copy, ignore=shutil.ignore_patterns("anonauth"))
    (copy / "anonauth").mkdir()
    (copy / "requirements.lock").write_text(lines)
    return copy


def make(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - constant words
        [require_tool("make"), "-C", directory, "build-LoginFunction", *options],
        env={
            **os.environ,
            "ARTIFACTS_DIR": str(directory / "out"),
            "PLATFORM": machine(),
            "PYTHON": str(require_tool("python3.13")),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_given_another_lock_when_built_then_dependencies_are_staged_anew(
    tmp_path: Path,
) -> None:
    """Only the lock is read. `make -n` prints what it would do."""
    for name, lines in (("same", LOCK), ("again", LOCK), ("other", LOCK + "#\n")):
        (tmp_path / name).mkdir()
        copied(tmp_path / name, lines)

    told = {
        name: make(tmp_path / name / "functions", "-n").stdout
        for name in ("same", "again", "other")
    }

    stages = {
        name: re.findall(r"\.build/(bundle-[\w.-]+)'", text)
        for name, text in told.items()
    }
    assert stages["same"]
    assert stages["same"] == stages["again"]
    assert not set(stages["same"]) & set(stages["other"])
    assert "--require-hashes --requirement requirements.lock" in told["same"]


@pytest.mark.long
def test_given_a_wheel_of_another_hash_when_built_then_the_build_stops(
    tmp_path: Path,
) -> None:
    (_, digest), *_ = re.findall(r"(six==.+\n.+sha256:)([0-9a-f]{64})", LOCK)
    copy = copied(tmp_path, LOCK.replace(digest, "0" * 64))

    built = make(copy)

    assert built.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in built.stdout
    assert not list((tmp_path / ".build").glob("bundle-*/*"))
    assert not (copy / "out").exists()
