"""What `anonauth doctor` does: look at a deployment from all sides, and tell."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from anonauth.cli.deployment import Deployment, cause_of, credentials_trouble
from anonauth.cli.doctor import aws_checks, web_checks
from anonauth.cli.doctor.aws_checks import Case
from anonauth.cli.doctor.finding import Finding, State, failed
from anonauth.errors import Unavailable
from anonauth.local.command_error import CommandError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, and the IAM actions that it takes."""

    name: str
    look: Callable[[Case], Finding]
    actions: tuple[str, ...] = ()
    of_stack: bool = True


_DESCRIBE_TABLE = "dynamodb:DescribeTable"
_GET_ITEM = "dynamodb:GetItem"
_SCAN = "dynamodb:Scan"
_RESOURCES = "cloudformation:ListStackResources"
_STACK = "cloudformation:DescribeStacks"

CHECKS = (
    Check("stack", aws_checks.stack, (_STACK,)),
    Check("table", aws_checks.table, (_DESCRIBE_TABLE,), of_stack=False),
    Check("TTL", aws_checks.ttl, ("dynamodb:DescribeTimeToLive",), of_stack=False),
    Check("stream", aws_checks.stream, (_DESCRIBE_TABLE,), of_stack=False),
    Check(
        "backups",
        aws_checks.backups,
        ("dynamodb:DescribeContinuousBackups",),
        of_stack=False,
    ),
    Check(
        "deletion protection",
        aws_checks.deletion_protection,
        (_DESCRIBE_TABLE,),
        of_stack=False,
    ),
    Check(
        "lost users",
        aws_checks.lost_users,
        (_DESCRIBE_TABLE, _SCAN, _GET_ITEM),
        of_stack=False,
    ),
    Check("key ring", aws_checks.key_ring, (_GET_ITEM,), of_stack=False),
    Check("key rotation", aws_checks.key_rotation, (_GET_ITEM,), of_stack=False),
    Check("KMS key", aws_checks.kms_key, ("kms:DescribeKey",), of_stack=False),
    Check(
        "functions",
        aws_checks.functions,
        ("lambda:GetFunctionConfiguration", _RESOURCES),
    ),
    Check("schedules", aws_checks.schedules, ("events:DescribeRule", _RESOURCES)),
    Check(
        "events",
        aws_checks.lifecycle,
        ("lambda:ListEventSourceMappings", _DESCRIBE_TABLE),
    ),
    Check("failed events", aws_checks.failed_records, ("s3:ListBucket",)),
    Check("alarms", aws_checks.alarms, (_STACK,)),
    Check(
        "settings",
        aws_checks.settings,
        ("ssm:GetParameter", "ssm:GetParameters", _STACK),
    ),
    Check("key set", web_checks.jwks, (_GET_ITEM,)),
    Check("issuer", web_checks.openid_configuration),
    Check("location", web_checks.location),
    Check("clock", web_checks.clock),
)

# Codes of an AWS service that refuses what the caller may not do,
_DENIED = {"AccessDenied", "UnauthorizedOperation", "Forbidden", "403"}
# and that has nothing of that name.
_MISSING = {
    "NoSuchBucket",
    "NotFound",
    "ParameterNotFound",
    "ResourceNotFound",
    "TableNotFound",
}

# As IAM words it; the action may be of another service than the call (kms:Decrypt).
_MAY_NOT = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z]+)")

# Of the AWS CLI, whose own options come first.
_AWS_COMMAND = re.compile(r"\baws (?=[a-z])")

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "unknown": "cyan"}


def examine(case: Case, tell: Callable[[str], object] = str) -> "Report":
    """Carry out the checks that are due, one after the other.

    Args:
        tell: Is told the name of each check before it begins.

    Raises:
        Exception: Nobody is logged in to AWS.
    """
    findings = []
    for check in due(case):
        tell(check.name)
        findings.append(look(check, case))
    return Report(tuple(findings))


def due(case: Case) -> list[Check]:
    """Return the checks that a deployment's description suffices for."""
    return [
        check
        for check in CHECKS
        if (case.stack_name or not check.of_stack)
        and (case.deployment.kms_key or check.look is not aws_checks.kms_key)
    ]


def look(check: Check, case: Case) -> Finding:
    """Return what a check finds; that it cannot see is a finding too.

    Raises:
        Exception: Nobody is logged in to AWS, so that no check can see anything.
    """
    try:
        found = check.look(case)
    except web_checks.Unanswered as exc:
        found = failed(
            f"no answer: {exc}",
            "see the stack's API, and the DNS record of a custom domain",
        )
    except CommandError as exc:  # the stack has not the output
        found = failed(str(exc), "deploy this version")
    except (BotoCoreError, ClientError, Unavailable) as exc:
        cause = cause_of(exc)
        if credentials_trouble(cause):
            raise
        found = _unseen(check, cause)
    return replace(
        found, name=check.name, advice=_placed(found.advice, case.deployment)
    )


def _placed(advice: str, deployment: Deployment) -> str:
    """Return advice whose `aws` commands are for this deployment.

    Without them they would change what has the same name in the operator's own region.
    """
    options = f"--region {deployment.region}"
    if deployment.endpoint_url:
        options += f" --endpoint-url {deployment.endpoint_url}"
    return _AWS_COMMAND.sub(rf"aws {options} ", advice)


def _unseen(check: Check, cause: BaseException) -> Finding:
    text = str(cause).partition("\n")[0]
    if not isinstance(cause, ClientError):
        return Finding("unknown", text, "look again")
    error = cause.response.get("Error", {})
    code = error.get("Code", "").removesuffix("Exception")
    message = error.get("Message") or text
    if code in _DENIED:
        action = _missing_action(check, cause.operation_name, message)
        return Finding("unknown", f"you may not: {action}", f"needs {action}")
    if code in _MISSING:
        return failed(
            f"is not there ({cause.operation_name}: {message})", "deploy it again"
        )
    return Finding(
        "unknown", f"{cause.operation_name}: {code}: {message}", "look again"
    )


def _missing_action(check: Check, operation: str, message: str) -> str:
    told = _MAY_NOT.search(message)
    if told:
        return told[1]
    named = (each for each in check.actions if each.endswith(f":{operation}"))
    # ListObjectsV2 is s3:ListBucket, for one.
    return next(named, check.actions[0])


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about a deployment."""

    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing has failed, and everything could be seen.

        A scheduled job whose role lost its rights must not stay green.
        """
        return not {"failed", "unknown"} & {each.state for each in self.findings}

    def count(self) -> dict[State, int]:
        """Return how many there are of each state."""
        counted = Counter(finding.state for finding in self.findings)
        return {state: counted[state] for state in get_args(State)}

    def summary(self) -> str:
        """Return the numbers in words."""
        return ", ".join(f"{n} {state}" for state, n in self.count().items() if n)

    def as_json(self) -> dict[str, Any]:
        """Return the findings, and whether the deployment is well."""
        return {
            "well": self.is_well,
            "count": self.count(),
            "findings": [
                {
                    "name": finding.name,
                    "state": finding.state,
                    "says": finding.says,
                    "advice": finding.advice,
                }
                for finding in self.findings
            ],
        }

    def as_table(self, arrow: str = "→") -> Table:
        """Return the same for people.

        Args:
            arrow: Stands before what to do.
        """
        table = Table(box=None)
        table.add_column("check", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("what it says, and what to do", overflow="fold")
        for finding in self.findings:
            # Text, since square brackets in it would be taken for styles.
            told = Text(finding.says)
            if finding.advice and finding.state != "ok":
                told.append(f"\n{arrow} {finding.advice}", style="italic")
            state = Text(finding.state, style=_STYLES[finding.state])
            table.add_row(finding.name, state, told)
        return table
