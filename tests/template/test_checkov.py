"""checkov's findings in the template as SAM translates it, with roles and stage."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.project import sam_template
from support.project.sam_template import Json
from support.project.tools import ROOT, require_tool

# One run for both tests: 7 s of processor time, most of it imports.
pytestmark = pytest.mark.long


def open_the_bucket(template: Json) -> None:
    bucket = template["Resources"]["FailedRecords"]["Properties"]
    del bucket["PublicAccessBlockConfiguration"]


def allow_everything(template: Json) -> None:
    role = template["Resources"]["LoginFunctionRole"]["Properties"]
    (policy,) = role["Policies"]
    policy["PolicyDocument"]["Statement"] = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}
    ]


def keep_one_key(template: Json) -> None:
    template["Resources"]["RingKey"]["Properties"]["EnableKeyRotation"] = False


MISTAKES: dict[str, Callable[[Json], None]] = {
    "CKV_AWS_53 FailedRecords": open_the_bucket,
    "CKV_AWS_111 LoginFunctionRole": allow_everything,
    "CKV_AWS_7 RingKey": keep_one_key,
}


@dataclass(frozen=True)
class Report:
    """Rule and resource of each check, for the template and for one with mistakes."""

    passed: set[str]
    failed: set[str]
    failed_with_mistakes: set[str]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    directory = tmp_path_factory.mktemp("templates")
    good, bad = sam_template.translated(), sam_template.translated()
    for make in MISTAKES.values():
        make(bad)
    for name, template in (("good", good), ("bad", bad)):
        (directory / f"{name}.json").write_text(json.dumps(template))
    run = subprocess.run(  # noqa: S603 - constant words
        [
            require_tool("checkov"),
            *("--config-file", ROOT / ".checkov.yaml", "--output", "json"),
            *("--file", directory / "good.json", directory / "bad.json"),
        ],
        # Without color codes in the JSON.
        env=os.environ | {"ANSI_COLORS_DISABLED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr  # the mistakes are found
    checked = json.loads(run.stdout)
    assert checked["summary"]["parsing_errors"] == 0
    return Report(
        of_file(checked["results"]["passed_checks"], "good"),
        of_file(checked["results"]["failed_checks"], "good"),
        of_file(checked["results"]["failed_checks"], "bad"),
    )


def of_file(checks: list[Json], name: str) -> set[str]:
    return {
        f"{check['check_id']} {check['resource'].rpartition('.')[2]}"
        for check in checks
        if Path(check["file_path"]).stem == name
    }


def test_given_the_template_when_checked_then_checkov_finds_nothing(
    report: Report,
) -> None:
    assert report.failed == set()
    assert len(report.passed) > 100  # 11 functions and their roles, table, key, stage


def test_given_mistakes_when_checked_then_checkov_finds_each(report: Report) -> None:
    assert report.failed_with_mistakes >= MISTAKES.keys()
