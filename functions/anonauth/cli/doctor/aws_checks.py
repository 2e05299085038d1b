"""Checks of `anonauth doctor` that ask AWS about the deployment."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args

from anonauth.cli.doctor.check_result import CheckResult, failure, ok, warning
from anonauth.cli.doctor.probe import DeploymentProbe
from anonauth.cli.events.replay import FAILED_BATCH_PREFIX
from anonauth.cli.keys.actions import KeyList
from anonauth.cli.version import code_version
from anonauth.domain.encoding import rfc3339
from anonauth.domain.signing_keys import KEY_LIFETIME, KeyUse, Ring
from anonauth.domain.users import UserPage
from anonauth.errors import SettingsUnavailable
from anonauth.local.settings_file import apps_with_challenge, mail_senders
from anonauth.provider_settings.document import DocumentError

RUNTIME = "python3.13"
"""Runtime of the functions. The bundle has bytecode for this version only."""

# The schedule that makes keys runs once a day. After a second run without the key that
# is due, the rotation fails.
_ROTATION_GRACE = timedelta(days=2)

# States of a function that is being created, or was not used for weeks.
_INACTIVE_STATES = {"Pending", "Inactive"}

_COMPLETE_STATES = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


def check_stack(probe: DeploymentProbe) -> CheckResult:
    """Check that the last deployment is complete, and is of the command's version."""
    status = probe.stack["StackStatus"]
    if status in _COMPLETE_STATES:
        return _check_version(status, probe.deployment.outputs.get("Version", ""))
    if status.endswith("_IN_PROGRESS"):
        return warning(
            status, "a deployment is in progress; run doctor again when it is complete"
        )
    if status == "UPDATE_ROLLBACK_COMPLETE":
        return warning(
            f"{status}: the last deployment failed, and the previous one is in effect",
            "the stack's events say why; deploy again",
        )
    return failure(status, "the stack's events say why; deploy again")


def _check_version(status: str, deployed: str) -> CheckResult:
    ours = code_version()
    if deployed == ours:
        return ok(f"{status}, version {deployed}")
    return warning(
        f"{status}, version {deployed or 'unknown'}; this command has version {ours}",
        "use the command of the version that is deployed, or deploy this version",
    )


def check_table(probe: DeploymentProbe) -> CheckResult:
    """Check that the table is active, and has the key that the functions use."""
    keys = [(key["AttributeName"], key["KeyType"]) for key in probe.table["KeySchema"]]
    if keys != [("pk", "HASH")]:
        return failure(
            f"'{probe.table_name}' has another key than pk",
            "this is not an anonauth table; name the right one",
        )
    status = probe.table["TableStatus"]
    if status in {"ACTIVE", "UPDATING"}:
        return ok(f"'{probe.table_name}' is {status}")
    return failure(
        f"'{probe.table_name}' is {status}", "no user can log in until it is ACTIVE"
    )


def check_ttl(probe: DeploymentProbe) -> CheckResult:
    """Check that DynamoDB deletes expired users."""
    found = probe.connect("dynamodb").describe_time_to_live(TableName=probe.table_name)
    described = found["TimeToLiveDescription"]
    status = described["TimeToLiveStatus"]
    attribute = described.get("AttributeName", "")
    command = (
        f"aws dynamodb update-time-to-live --table-name {probe.table_name} "
        "--time-to-live-specification "
    )
    if status == "DISABLED":
        return failure(
            "off: expired users are refused, but never deleted, and no event reports "
            "their end",
            f"{command}Enabled=true,AttributeName=ttl",
        )
    if attribute != "ttl":
        return failure(
            f"on attribute '{attribute}' instead of 'ttl'",
            f"{command}Enabled=false,AttributeName={attribute}, and an hour later the "
            "same with Enabled=true,AttributeName=ttl",
        )
    if status != "ENABLED":
        return warning(
            f"{status} on 'ttl'", "this takes up to an hour; run doctor again"
        )
    return ok("on, by attribute 'ttl'")


def check_stream(probe: DeploymentProbe) -> CheckResult:
    """Check that the table's stream reports changes with old and new images."""
    specification = probe.table.get("StreamSpecification", {})
    view = specification.get("StreamViewType")
    if specification.get("StreamEnabled") and view == "NEW_AND_OLD_IMAGES":
        return ok(view)
    has = f"has {view} only" if specification.get("StreamEnabled") else "off"
    return failure(
        f"{has}: no events about users",
        f"turn it on again (aws dynamodb update-table --table-name {probe.table_name} "
        "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES), "
        "then create an event source mapping from the new stream to LifecycleFunction, "
        "with the settings of the old one",
    )


def check_backups(probe: DeploymentProbe) -> CheckResult:
    """Check that the table can be restored to any second."""
    found = probe.connect("dynamodb").describe_continuous_backups(
        TableName=probe.table_name
    )
    described = found["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    if described["PointInTimeRecoveryStatus"] != "ENABLED":
        return failure(
            "no point-in-time recovery: overwritten and deleted items are lost",
            f"aws dynamodb update-continuous-backups --table-name {probe.table_name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )
    earliest = described.get("EarliestRestorableDateTime")
    return ok(
        "point-in-time recovery" + (f" to {earliest:%Y-%m-%d}" if earliest else "")
    )


def check_deletion_protection(probe: DeploymentProbe) -> CheckResult:
    """Check that the table is protected from deletion by mistake."""
    if probe.table.get("DeletionProtectionEnabled"):
        return ok("on")
    return warning(
        "off: one call deletes all users",
        f"aws dynamodb update-table --table-name {probe.table_name} "
        "--deletion-protection-enabled, and deploy with DeletionProtection=true",
    )


class _TableTooLarge(Exception):
    """The table is larger than a check may read."""


def check_lost_users(probe: DeploymentProbe) -> CheckResult:
    """Check that each identity has a user, as `anonauth stats` counts them.

    This is the only check that scans. A scheduled job must not pay for a large table
    each time, so a large table is left to `stats`. The result is then ok.
    """
    left_out = ok(
        f"not checked: over {probe.most_items:,} items, or {probe.most_units:,} read "
        "units; `anonauth stats` counts them"
    )
    # DynamoDB updates ItemCount every six hours only, so the scan counts too.
    if probe.table.get("ItemCount", 0) > probe.most_items:
        return left_out
    items, units = 0, 0.0

    def stop_if_too_large(page: UserPage) -> None:
        nonlocal items, units
        items, units = items + page.read, units + page.units
        if items > probe.most_items or units > probe.most_units:
            raise _TableTooLarge

    try:
        orphans = probe.count_orphans(stop_if_too_large)
    except _TableTooLarge:
        return left_out
    if not orphans:
        return ok("each identity has its user")
    return warning(
        f"identities whose user's item is lost: {orphans}",
        "find out what deletes user items; a login with such an identity, or a reset "
        "of its password, creates the user again under its id",
    )


def check_events(probe: DeploymentProbe) -> CheckResult:
    """Check that the stream is read, and that events that fail are kept.

    A disabled mapping rings no alarm, because nothing is late if nothing is read.
    """
    function = probe.deployment.output("LifecycleFunctionName")
    found = probe.connect("lambda").list_event_source_mappings(FunctionName=function)
    mappings = found["EventSourceMappings"]
    wanted = probe.table.get("LatestStreamArn")
    reading = [each for each in mappings if each.get("EventSourceArn") == wanted]
    if not wanted or not reading:
        other = "reads another stream than the table's" if mappings else "reads nothing"
        return failure(
            f"{function} {other}: no events about users",
            "create an event source mapping from the table's stream to it, as "
            "LifecycleStream in template.yaml describes it",
        )
    return _check_stream_mapping(
        reading[0], probe.deployment.output("FailedRecordsBucket")
    )


def _check_stream_mapping(mapping: Mapping[str, Any], bucket: str) -> CheckResult:
    state, result = mapping["State"], mapping.get("LastProcessingResult", "")
    command = f"aws lambda update-event-source-mapping --uuid {mapping['UUID']}"
    if state in {"Disabled", "Disabling"}:
        return failure(
            f"{state}: no events about users, and changes older than 24 hours are lost",
            f"{command} --enabled",
        )
    on_failure = mapping.get("DestinationConfig", {}).get("OnFailure", {})
    destination = on_failure.get("Destination", "")
    if destination.rpartition(":")[2] != bucket:
        return failure(
            "events that cannot be published do not go to the bucket, and are lost",
            f"{command} --destination-config "
            f"OnFailure={{Destination=arn:aws:s3:::{bucket}}}",
        )
    if state != "Enabled":
        return warning(state, "this takes a minute; run doctor again")
    if result.startswith("PROBLEM"):
        return warning(
            f"the last batch failed ({result}): events are late",
            "the function's log says why",
        )
    return ok(f"{state}, last result: {result or 'none yet'}")


def check_failed_events(probe: DeploymentProbe) -> CheckResult:
    """Check that no events wait to be replayed."""
    bucket = probe.deployment.output("FailedRecordsBucket")
    found = probe.connect("s3").list_objects_v2(
        Bucket=bucket, Prefix=FAILED_BATCH_PREFIX
    )
    waiting = found.get("KeyCount", 0)
    if not waiting:
        return ok("none")
    more = " or more" if found.get("IsTruncated") else ""
    return warning(
        f"batches whose events were not published: {waiting}{more}",
        f"fix the cause, then run anonauth events replay --stack {probe.stack_name}",
    )


def check_alarms(probe: DeploymentProbe) -> CheckResult:
    """Check that alarms are sent."""
    topic = probe.parameter("AlarmTopic")
    if topic:
        return ok(f"they go to {topic}")
    return warning("alarms are not sent", "deploy with AlarmTopic=ARN, an SNS topic")


def check_functions(probe: DeploymentProbe) -> CheckResult:
    """Check that all functions are active, on the runtime of their bundle."""
    names = probe.resources("AWS::Lambda::Function")
    client = probe.connect("lambda")
    return _check_configurations(
        {
            logical: client.get_function_configuration(FunctionName=name)
            for logical, name in sorted(names.items())
        }
    )


def _check_configurations(found: Mapping[str, Mapping[str, Any]]) -> CheckResult:
    if "KeysFunction" not in found:
        return failure("the stack has no KeysFunction", "deploy the whole template")
    trouble = [
        f"{name} {fault}" for name, f in found.items() if (fault := _function_fault(f))
    ]
    if trouble:
        return failure("; ".join(trouble), "build and deploy again")
    idle = [
        name for name, each in found.items() if each.get("State") in _INACTIVE_STATES
    ]
    if idle:
        return warning(
            f"not active yet: {', '.join(idle)}", "run doctor again in a minute"
        )
    return ok(f"{len(found)} are Active, on {RUNTIME}")


def _function_fault(function: Mapping[str, Any]) -> str:
    for name, reason in (
        ("State", "StateReason"),
        ("LastUpdateStatus", "LastUpdateStatusReason"),
    ):
        if function.get(name) == "Failed":
            return f"has failed: {function.get(reason, 'no reason given')}"
    runtime = function.get("Runtime")
    return "" if runtime == RUNTIME else f"runs on {runtime} instead of {RUNTIME}"


def check_schedules(probe: DeploymentProbe) -> CheckResult:
    """Check that the schedules for keys and expiry warnings are enabled."""
    rules = probe.resources("AWS::Events::Rule")
    client = probe.connect("events")
    off = [
        (logical, name)
        for logical, name in sorted(rules.items())
        if client.describe_rule(Name=name)["State"] == "DISABLED"
    ]
    if off:
        return failure(
            "disabled: " + ", ".join(logical for logical, _ in off),
            "; ".join(f"aws events enable-rule --name {name}" for _, name in off),
        )
    if not any(logical.startswith("KeysFunction") for logical in rules):
        return failure("nothing rotates the keys", "deploy the whole template")
    return ok("enabled: " + ", ".join(sorted(rules)))


def check_key_ring(probe: DeploymentProbe) -> CheckResult:
    """Check that tokens can be signed now."""
    ring = probe.ring
    if ring is None:
        return failure(
            "there is none, so no user can log in",
            "invoke the stack's KeysFunction; its log says why it has not created one",
        )
    keys = KeyList(ring, probe.clock())
    trouble = keys.clock_warning()
    if trouble:
        return failure(trouble, "set this machine's clock if it is wrong")
    idle = [use for use in get_args(KeyUse) if ring.signing_key(use, keys.now) is None]
    if idle:
        return failure(
            f"version {ring.version}: no key signs {' and '.join(idle)} tokens",
            "invoke the stack's KeysFunction; its log says what fails",
        )
    return ok(
        f"version {ring.version}, {len(ring.keys)} keys, each use has a signing key"
    )


def check_key_rotation(probe: DeploymentProbe) -> CheckResult:
    """Check the age of the key that signs access tokens, and its standby."""
    ring = probe.ring or Ring(0, ())
    now = probe.clock()
    signer = ring.signing_key("access", now)
    if signer is None:
        return failure("no access key signs", "see 'key ring'")
    age = now - signer.signs_from
    says = (
        f"the access key has signed since {rfc3339(signer.signs_from)}, {age.days} days"
    )
    invoke = (
        "the daily rotation fails; invoke the stack's KeysFunction and read its log"
    )
    standby = ring.standby("access", now)
    if standby is not None:
        says += f"; the next one from {rfc3339(standby.signs_from)}"
        # The standby takes over by itself. If it is late, the rotation was late.
        return (
            ok(says) if age <= KEY_LIFETIME + _ROTATION_GRACE else warning(says, invoke)
        )
    if age < _ROTATION_GRACE:
        return ok(f"{says}; the next standby is due at the next daily rotation")
    until = signer.stops_at and rfc3339(signer.stops_at)
    return failure(f"{says}; there is no standby, and it stops at {until}", invoke)


def check_kms_key(probe: DeploymentProbe) -> CheckResult:
    """Check that the key ring can be unwrapped."""
    key = probe.deployment.kms_key
    state = probe.connect("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
    if state == "Enabled":
        return ok("Enabled")
    consequence = "functions that start cannot sign, and no token can be issued"
    if state == "PendingDeletion":
        return failure(
            f"{state}: {consequence}; once it is deleted every session is lost",
            f"at once: aws kms cancel-key-deletion --key-id {key}, then aws kms "
            f"enable-key --key-id {key}",
        )
    return failure(f"{state}: {consequence}", f"aws kms enable-key --key-id {key}")


def check_settings(probe: DeploymentProbe) -> CheckResult:
    """Check the provider settings and their secrets. No value is shown."""
    name = probe.parameter("SettingsParameter")
    if not name:
        return ok("none: anonymous login only")
    try:
        document = probe.settings(name).document(probe.clock())
    except SettingsUnavailable as exc:
        if not isinstance(exc.__cause__, DocumentError):
            raise
        return failure(
            f"{name}: {exc.__cause__}",
            "fix it; functions that start answer 503 to requests that need it",
        )
    apps = probe.deployment.output("ClientAppIds").split(",")
    with_challenge = apps_with_challenge(document, apps)
    is_asked = probe.parameter("AnonymousChallenge") == "true"
    if with_challenge and not is_asked:
        return failure(
            f"no anonymous login asks for the challenge that {name} has for "
            f"{', '.join(with_challenge)}",
            "deploy with AnonymousChallenge=true",
        )
    mail_sender = probe.parameter("MailSender")
    if any(sender != mail_sender for sender in mail_senders(document)):
        return warning(
            f"{name} sends mail from another address than MailSender: no mail goes out",
            "deploy with MailSender=ADDRESS, the bare address of `sender`",
        )
    open_to_all = [app for app in apps if app not in with_challenge]
    # The last check: an operator may want this, so it must not hide a real fault.
    if is_asked and open_to_all:
        return warning(
            f"{name} has no challenge for {', '.join(open_to_all)}: anonymous logins "
            "there ask for none",
            "give each of these apps a challenge, since an app's own entry replaces "
            "the entry `*`; or deploy with AnonymousChallenge=false",
        )
    return ok(f"{name} and its secrets are valid")
