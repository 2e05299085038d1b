"""The list of the checks of `anonauth doctor`, and how they are run."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.cli.deployment import (
    Deployment,
    explain_credentials_error,
    find_aws_error,
)
from anonauth.cli.doctor import aws_checks, http_checks
from anonauth.cli.doctor.check_result import CheckResult, failure
from anonauth.cli.doctor.probe import DeploymentProbe
from anonauth.cli.doctor.report import DoctorReport
from anonauth.errors import Unavailable
from anonauth.local.command_error import CommandError


@dataclass(frozen=True, slots=True)
class Check:
    """A check, and the IAM actions that it needs."""

    name: str
    run: Callable[[DeploymentProbe], CheckResult]
    actions: tuple[str, ...] = ()
    of_stack: bool = True


_DESCRIBE_TABLE = "dynamodb:DescribeTable"
_GET_ITEM = "dynamodb:GetItem"
_SCAN = "dynamodb:Scan"
_RESOURCES = "cloudformation:ListStackResources"
_STACK = "cloudformation:DescribeStacks"

CHECKS = (
    Check("stack", aws_checks.check_stack, (_STACK,)),
    Check("table", aws_checks.check_table, (_DESCRIBE_TABLE,), of_stack=False),
    Check(
        "TTL", aws_checks.check_ttl, ("dynamodb:DescribeTimeToLive",), of_stack=False
    ),
    Check("stream", aws_checks.check_stream, (_DESCRIBE_TABLE,), of_stack=False),
    Check(
        "backups",
        aws_checks.check_backups,
        ("dynamodb:DescribeContinuousBackups",),
        of_stack=False,
    ),
    Check(
        "deletion protection",
        aws_checks.check_deletion_protection,
        (_DESCRIBE_TABLE,),
        of_stack=False,
    ),
    Check(
        "lost users",
        aws_checks.check_lost_users,
        (_DESCRIBE_TABLE, _SCAN, _GET_ITEM),
        of_stack=False,
    ),
    Check("key ring", aws_checks.check_key_ring, (_GET_ITEM,), of_stack=False),
    Check("key rotation", aws_checks.check_key_rotation, (_GET_ITEM,), of_stack=False),
    Check("KMS key", aws_checks.check_kms_key, ("kms:DescribeKey",), of_stack=False),
    Check(
        "functions",
        aws_checks.check_functions,
        ("lambda:GetFunctionConfiguration", _RESOURCES),
    ),
    Check("schedules", aws_checks.check_schedules, ("events:DescribeRule", _RESOURCES)),
    Check(
        "events",
        aws_checks.check_events,
        ("lambda:ListEventSourceMappings", _DESCRIBE_TABLE),
    ),
    Check("failed events", aws_checks.check_failed_events, ("s3:ListBucket",)),
    Check("alarms", aws_checks.check_alarms, (_STACK,)),
    Check(
        "settings",
        aws_checks.check_settings,
        ("ssm:GetParameter", "ssm:GetParameters", _STACK),
    ),
    Check("key set", http_checks.check_key_set, (_GET_ITEM,)),
    Check("issuer", http_checks.check_issuer),
    Check("location", http_checks.check_location),
    Check("CDN", http_checks.check_cdn, (_STACK,)),
    Check("clock", http_checks.check_clock),
)

# Error codes for a missing permission.
_DENIED_CODES = {"AccessDenied", "UnauthorizedOperation", "Forbidden", "403"}
# Error codes for a missing resource.
_MISSING_CODES = {
    "NoSuchBucket",
    "NotFound",
    "ParameterNotFound",
    "ResourceNotFound",
    "TableNotFound",
}

# The wording of IAM. The action may be of another service than the call (kms:Decrypt).
_DENIED_ACTION = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z]+)")

# A command of the AWS CLI, whose global options come first.
_AWS_COMMAND = re.compile(r"\baws (?=[a-z])")


def run_checks(
    probe: DeploymentProbe, tell: Callable[[str], object] = str
) -> DoctorReport:
    """Run the checks that apply, one after the other.

    Args:
        tell: Called with the name of each check before it begins.

    Raises:
        Exception: The AWS credentials are missing or refused.
    """
    findings = []
    for check in select_checks(probe):
        tell(check.name)
        findings.append(run_check(check, probe))
    return DoctorReport(tuple(findings))


def select_checks(probe: DeploymentProbe) -> list[Check]:
    """Return the checks that apply: of a table alone, not those of a stack."""
    return [
        check
        for check in CHECKS
        if (probe.stack_name or not check.of_stack)
        and (probe.deployment.kms_key or check.run is not aws_checks.check_kms_key)
    ]


def run_check(check: Check, probe: DeploymentProbe) -> CheckResult:
    """Run a check, and return its result. An error of AWS is a result too.

    Raises:
        Exception: The AWS credentials are missing or refused, so no check can work.
    """
    try:
        found = check.run(probe)
    except http_checks.NoAnswer as exc:
        found = failure(
            f"no answer: {exc}",
            "check the stack's API, and the DNS record of a custom domain",
        )
    except CommandError as exc:  # the stack lacks the output
        found = failure(str(exc), "deploy this version")
    except (BotoCoreError, ClientError, Unavailable) as exc:
        cause = find_aws_error(exc)
        if explain_credentials_error(cause):
            raise
        found = _explain_unknown(check, cause)
    return replace(
        found,
        name=check.name,
        advice=_add_region_options(found.advice, probe.deployment),
    )


def _add_region_options(advice: str, deployment: Deployment) -> str:
    """Add the deployment's region and endpoint to the `aws` commands in advice.

    Without these options a command would change a resource of the same name in the
    operator's default region.
    """
    options = f"--region {deployment.region}"
    if deployment.endpoint_url:
        options += f" --endpoint-url {deployment.endpoint_url}"
    return _AWS_COMMAND.sub(rf"aws {options} ", advice)


def _explain_unknown(check: Check, cause: BaseException) -> CheckResult:
    text = str(cause).partition("\n")[0]
    if not isinstance(cause, ClientError):
        return CheckResult("unknown", text, "run doctor again")
    error = cause.response.get("Error", {})
    code = error.get("Code", "").removesuffix("Exception")
    message = error.get("Message") or text
    if code in _DENIED_CODES:
        action = _missing_action(check, cause.operation_name, message)
        return CheckResult("unknown", f"no permission: {action}", f"allow {action}")
    if code in _MISSING_CODES:
        return failure(
            f"does not exist ({cause.operation_name}: {message})", "deploy it again"
        )
    return CheckResult(
        "unknown", f"{cause.operation_name}: {code}: {message}", "run doctor again"
    )


def _missing_action(check: Check, operation: str, message: str) -> str:
    told = _DENIED_ACTION.search(message)
    if told:
        return told[1]
    named = (each for each in check.actions if each.endswith(f":{operation}"))
    # Names may differ: ListObjectsV2 needs s3:ListBucket.
    return next(named, check.actions[0])
