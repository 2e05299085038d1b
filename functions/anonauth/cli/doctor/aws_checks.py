"""What `anonauth doctor` looks at in AWS: each check asks, and judges the answer."""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, get_args

from anonauth.cli.deployment import Deployment
from anonauth.cli.doctor.finding import Finding, failed, ok, warning
from anonauth.cli.events.replay import PREFIX
from anonauth.cli.keys.actions import KeyList
from anonauth.cli.stats.counts import Days, count_stock
from anonauth.domain.encoding import rfc3339
from anonauth.domain.signing_keys import KEY_LIFETIME, KeyUse, Ring
from anonauth.domain.users import UserPage
from anonauth.errors import SettingsUnavailable
from anonauth.local.settings_file import apps_with_challenge, mail_senders
from anonauth.provider_settings.document import DocumentError
from anonauth.provider_settings.ssm import SettingsSource

JWKS_LIMIT = timedelta(seconds=1.5)
"""For the key set; an API Gateway authorizer waits no longer (design.md §3)."""

MOST_ITEMS = 20_000
"""A table with more items is not scanned."""

MOST_UNITS = 5_000
"""Read units after which a scan is given up: a third of a cent, at most."""

RUNTIME = "python3.13"
"""Of the functions: the bundle carries bytecode of this version only."""

# A key is due on a day, and the schedule comes by once a day: after a second one that
# has brought nothing it is no longer a matter of patience.
_MISSED = timedelta(days=2)

# Being made, or not used for weeks.
_NOT_YET = {"Pending", "Inactive"}

_COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


class Case:
    """A deployment that is looked at; what several checks need is asked for once.

    Args:
        deployment: Where it is.
        stack: Its stack's name, empty where only a table was named.
        clock: By which its keys are judged; by default that of the service's parts.
        jwks_limit: For the key set to come.
        patience: For any answer over HTTP to come.
        most_items: In a table that is scanned.
        most_units: Read units that a scan may take.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        stack: str = "",
        clock: Callable[[], datetime] | None = None,
        jwks_limit: timedelta = JWKS_LIMIT,
        patience: timedelta = timedelta(seconds=10),
        most_items: int = MOST_ITEMS,
        most_units: float = MOST_UNITS,
    ) -> None:
        self.deployment = deployment
        self.stack_name = stack
        self.jwks_limit = jwks_limit
        self.patience = patience
        self.most_items = most_items
        self.most_units = most_units
        self._services = deployment.services()
        self.clock = clock or self._services.clock
        self._clients: dict[str, Any] = {}

    def connect(self, service: str) -> Any:
        """Return the client of an AWS service; to make one takes a while."""
        if service not in self._clients:
            self._clients[service] = self.deployment.connect(service)
        return self._clients[service]

    @property
    def table_name(self) -> str:
        """The table's name."""
        return self.deployment.table

    @functools.cached_property
    def stack(self) -> Mapping[str, Any]:
        """The stack, as DescribeStacks has it."""
        found = self.connect("cloudformation").describe_stacks(
            StackName=self.stack_name
        )
        stack: Mapping[str, Any] = found["Stacks"][0]
        return stack

    def parameter(self, name: str) -> str:
        """Return what the stack was deployed with; empty for none."""
        for parameter in self.stack.get("Parameters", []):
            if parameter["ParameterKey"] == name:
                return str(parameter["ParameterValue"])
        return ""

    def resources(self, kind: str) -> dict[str, str]:
        """Return logical and physical id of the stack's resources of one type."""
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in self._resources
            if each["ResourceType"] == kind and each.get("PhysicalResourceId")
        }

    @functools.cached_property
    def _resources(self) -> list[Any]:
        pages = self.connect("cloudformation").get_paginator("list_stack_resources")
        return [
            each
            for page in pages.paginate(StackName=self.stack_name)
            for each in page["StackResourceSummaries"]
        ]

    @functools.cached_property
    def table(self) -> Mapping[str, Any]:
        """The table, as DescribeTable has it."""
        found = self.connect("dynamodb").describe_table(TableName=self.table_name)
        table: Mapping[str, Any] = found["Table"]
        return table

    @functools.cached_property
    def ring(self) -> Ring | None:
        """The key ring, None if there is none."""
        return self._services.store.load_ring()

    def count_orphans(self, see: Callable[[UserPage], object]) -> int:
        """Return how many identities have no user, by a scan of the table.

        Args:
            see: Called with each page; what it raises ends the scan.
        """
        today = Days.until(self._services.clock(), 1)
        return count_stock(self._services, today, segments=1, see=see).orphans

    def settings(self, parameter: str) -> SettingsSource:
        """Return the settings document in SSM."""
        # Keys of issuers at private addresses are for a local service only.
        is_local = self.deployment.endpoint_url is not None
        return SettingsSource(
            lambda: self.connect("ssm"), parameter, allow_private=is_local
        )


def stack(case: Case) -> Finding:
    """Judge the last deployment."""
    status = case.stack["StackStatus"]
    if status in _COMPLETE:
        return ok(status)
    if status.endswith("_IN_PROGRESS"):
        return warning(
            status, "a deployment is under way: look again when it is complete"
        )
    if status == "UPDATE_ROLLBACK_COMPLETE":
        return warning(
            f"{status}: the last deployment failed, the one before it is in effect",
            "the stack's events say why; deploy again",
        )
    return failed(status, "the stack's events say why; deploy again")


def table(case: Case) -> Finding:
    """Judge whether it is there, and has the key that the functions use."""
    keys = [(key["AttributeName"], key["KeyType"]) for key in case.table["KeySchema"]]
    if keys != [("pk", "HASH")]:
        return failed(
            f"'{case.table_name}' has another key than pk",
            "this is not a table of anonauth: name the right one",
        )
    status = case.table["TableStatus"]
    if status in {"ACTIVE", "UPDATING"}:
        return ok(f"'{case.table_name}' is {status}")
    return failed(f"'{case.table_name}' is {status}", "no user can log in until ACTIVE")


def ttl(case: Case) -> Finding:
    """Judge whether expired users are swept."""
    found = case.connect("dynamodb").describe_time_to_live(TableName=case.table_name)
    described = found["TimeToLiveDescription"]
    status = described["TimeToLiveStatus"]
    attribute = described.get("AttributeName", "")
    command = (
        f"aws dynamodb update-time-to-live --table-name {case.table_name} "
        "--time-to-live-specification "
    )
    if status == "DISABLED":
        return failed(
            "off: expired users are refused, but never deleted, and no event tells of "
            "their end",
            f"{command}Enabled=true,AttributeName=ttl",
        )
    if attribute != "ttl":
        return failed(
            f"on attribute '{attribute}' instead of 'ttl'",
            f"{command}Enabled=false,AttributeName={attribute}, and an hour later the "
            "same with Enabled=true,AttributeName=ttl",
        )
    if status != "ENABLED":
        return warning(f"{status} on 'ttl'", "that takes up to an hour: look again")
    return ok("on, by attribute 'ttl'")


def stream(case: Case) -> Finding:
    """Judge whether the table tells of what changes in it."""
    specification = case.table.get("StreamSpecification", {})
    view = specification.get("StreamViewType")
    if specification.get("StreamEnabled") and view == "NEW_AND_OLD_IMAGES":
        return ok(view)
    has = f"has {view} only" if specification.get("StreamEnabled") else "off"
    return failed(
        f"{has}: no events about users",
        f"turn it on anew (aws dynamodb update-table --table-name {case.table_name} "
        "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES), "
        "then have the Lifecycle function read the new stream, by a new event source "
        "mapping that is otherwise like the old one",
    )


def backups(case: Case) -> Finding:
    """Judge whether the table can be restored as of any second."""
    found = case.connect("dynamodb").describe_continuous_backups(
        TableName=case.table_name
    )
    described = found["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    if described["PointInTimeRecoveryStatus"] != "ENABLED":
        return failed(
            "no point-in-time recovery: what is overwritten or deleted is lost",
            f"aws dynamodb update-continuous-backups --table-name {case.table_name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )
    earliest = described.get("EarliestRestorableDateTime")
    return ok(
        "point-in-time recovery" + (f" to {earliest:%Y-%m-%d}" if earliest else "")
    )


def deletion_protection(case: Case) -> Finding:
    """Judge whether a slip can delete the table."""
    if case.table.get("DeletionProtectionEnabled"):
        return ok("on")
    return warning(
        "off: one call deletes all users",
        f"aws dynamodb update-table --table-name {case.table_name} "
        "--deletion-protection-enabled, and deploy with DeletionProtection=true",
    )


class _TooMany(Exception):
    """The table is larger than a check may read."""


def lost_users(case: Case) -> Finding:
    """Judge whether each identity has a user, as `anonauth stats` counts them.

    The only check that scans. A scheduled job must not pay for a large table each time,
    so such a table is left to `stats`; that is no fault of the deployment.
    """
    left_out = ok(
        f"not looked: over {case.most_items:,} items, or {case.most_units:,} read "
        "units; `anonauth stats` counts them"
    )
    # DynamoDB counts the items every six hours only.
    if case.table.get("ItemCount", 0) > case.most_items:
        return left_out
    items, units = 0, 0.0

    def see(page: UserPage) -> None:
        nonlocal items, units
        items, units = items + page.read, units + page.units
        if items > case.most_items or units > case.most_units:
            raise _TooMany

    try:
        orphans = case.count_orphans(see)
    except _TooMany:
        return left_out
    if not orphans:
        return ok("each identity has its user")
    return warning(
        f"identities whose user's item is lost: {orphans}",
        "look for what deletes users by hand; a login by such an identity, or a reset "
        "of its password, makes the user again under its id",
    )


def lifecycle(case: Case) -> Finding:
    """Judge whether the stream is read, and what cannot be published is kept.

    A mapping that is disabled rings no alarm, for nothing is late where nobody reads.
    """
    function = case.deployment.output("LifecycleFunctionName")
    found = case.connect("lambda").list_event_source_mappings(FunctionName=function)
    mappings = found["EventSourceMappings"]
    wanted = case.table.get("LatestStreamArn")
    reading = [each for each in mappings if each.get("EventSourceArn") == wanted]
    if not wanted or not reading:
        other = "reads another stream than the table's" if mappings else "reads nothing"
        return failed(
            f"{function} {other}: no events about users",
            "make an event source mapping from the table's stream to it, as "
            "LifecycleStream in template.yaml describes it",
        )
    return _mapping(reading[0], case.deployment.output("FailedRecordsBucket"))


def _mapping(mapping: Mapping[str, Any], bucket: str) -> Finding:
    state, result = mapping["State"], mapping.get("LastProcessingResult", "")
    command = f"aws lambda update-event-source-mapping --uuid {mapping['UUID']}"
    if state in {"Disabled", "Disabling"}:
        return failed(
            f"{state}: no events about users, and those of more than 24 hours ago are "
            "lost",
            f"{command} --enabled",
        )
    on_failure = mapping.get("DestinationConfig", {}).get("OnFailure", {})
    destination = on_failure.get("Destination", "")
    if destination.rpartition(":")[2] != bucket:
        return failed(
            "what cannot be published does not go to the bucket, and is lost",
            f"{command} --destination-config "
            f"OnFailure={{Destination=arn:aws:s3:::{bucket}}}",
        )
    if state != "Enabled":
        return warning(state, "that takes a minute: look again")
    if result.startswith("PROBLEM"):
        return warning(
            f"the last batch failed ({result}): events are late",
            "the function's log says why",
        )
    return ok(f"{state}, last result: {result or 'none yet'}")


def failed_records(case: Case) -> Finding:
    """Judge whether events wait to be replayed."""
    bucket = case.deployment.output("FailedRecordsBucket")
    found = case.connect("s3").list_objects_v2(Bucket=bucket, Prefix=PREFIX)
    waiting = found.get("KeyCount", 0)
    if not waiting:
        return ok("none waits")
    more = " or more" if found.get("IsTruncated") else ""
    return warning(
        f"batches whose events nobody has heard of: {waiting}{more}",
        f"mend the cause, then anonauth events replay --stack {case.stack_name}",
    )


def alarms(case: Case) -> Finding:
    """Judge whether alarms tell somebody."""
    topic = case.parameter("AlarmTopic")
    if topic:
        return ok(f"they go to {topic}")
    return warning("alarms tell nobody", "deploy with AlarmTopic=, an SNS topic's ARN")


def functions(case: Case) -> Finding:
    """Judge whether all can run what was built for them."""
    names = case.resources("AWS::Lambda::Function")
    client = case.connect("lambda")
    return _functions(
        {
            logical: client.get_function_configuration(FunctionName=name)
            for logical, name in sorted(names.items())
        }
    )


def _functions(found: Mapping[str, Mapping[str, Any]]) -> Finding:
    if "KeysFunction" not in found:
        return failed("the stack has no KeysFunction", "deploy the whole template")
    trouble = [f"{name} {fault}" for name, f in found.items() if (fault := _fault(f))]
    if trouble:
        return failed("; ".join(trouble), "build and deploy again")
    idle = [name for name, each in found.items() if each.get("State") in _NOT_YET]
    if idle:
        return warning(f"not active yet: {', '.join(idle)}", "look again in a minute")
    return ok(f"{len(found)} are Active, on {RUNTIME}")


def _fault(function: Mapping[str, Any]) -> str:
    for name, reason in (
        ("State", "StateReason"),
        ("LastUpdateStatus", "LastUpdateStatusReason"),
    ):
        if function.get(name) == "Failed":
            return f"has failed: {function.get(reason, 'no reason given')}"
    runtime = function.get("Runtime")
    return "" if runtime == RUNTIME else f"runs on {runtime} instead of {RUNTIME}"


def schedules(case: Case) -> Finding:
    """Judge whether keys are rotated, and warnings sent."""
    rules = case.resources("AWS::Events::Rule")
    client = case.connect("events")
    off = [
        (logical, name)
        for logical, name in sorted(rules.items())
        if client.describe_rule(Name=name)["State"] == "DISABLED"
    ]
    if off:
        return failed(
            "disabled: " + ", ".join(logical for logical, _ in off),
            "; ".join(f"aws events enable-rule --name {name}" for _, name in off),
        )
    if not any(logical.startswith("KeysFunction") for logical in rules):
        return failed("nothing rotates the keys", "deploy the whole template")
    return ok("enabled: " + ", ".join(sorted(rules)))


def key_ring(case: Case) -> Finding:
    """Judge whether tokens can be signed now."""
    ring = case.ring
    if ring is None:
        return failed(
            "there is none: nobody can log in",
            "invoke the stack's KeysFunction; its log says why it has not made one",
        )
    keys = KeyList(ring, case.clock())
    trouble = keys.clock_trouble()
    if trouble:
        return failed(trouble, "set this machine's clock, if it is that one")
    idle = [use for use in get_args(KeyUse) if ring.signing_key(use, keys.now) is None]
    if idle:
        return failed(
            f"version {ring.version}: no key signs {' and '.join(idle)} tokens",
            "invoke the stack's KeysFunction; its log says what it cannot do",
        )
    return ok(f"version {ring.version}, {len(ring.keys)} keys, both uses have a signer")


def key_rotation(case: Case) -> Finding:
    """Judge how old the key is that signs access tokens, and whether one follows."""
    ring = case.ring or Ring(0, ())
    now = case.clock()
    signer = ring.signing_key("access", now)
    if signer is None:
        return failed("no access key signs", "see 'key ring'")
    age = now - signer.signs_from
    says = f"the access key signs since {rfc3339(signer.signs_from)}, {age.days} days"
    invoke = "the daily rotation fails: invoke the stack's KeysFunction, see its log"
    standby = ring.standby("access", now)
    if standby is not None:
        says += f"; the next one from {rfc3339(standby.signs_from)}"
        # It follows by itself: what is late are those who should have made it earlier.
        return ok(says) if age <= KEY_LIFETIME + _MISSED else warning(says, invoke)
    if age < _MISSED:
        return ok(f"{says}; the next standby is due by the daily rotation")
    until = signer.stops_at and rfc3339(signer.stops_at)
    return failed(f"{says}; there is no standby, and it stops at {until}", invoke)


def kms_key(case: Case) -> Finding:
    """Judge whether the ring can be unwrapped."""
    key = case.deployment.kms_key
    state = case.connect("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
    if state == "Enabled":
        return ok("Enabled")
    consequence = "functions that start cannot sign, and no token can be made"
    if state == "PendingDeletion":
        return failed(
            f"{state}: {consequence}; once it is gone every session is lost",
            f"at once: aws kms cancel-key-deletion --key-id {key}, then aws kms "
            f"enable-key --key-id {key}",
        )
    return failed(f"{state}: {consequence}", f"aws kms enable-key --key-id {key}")


def settings(case: Case) -> Finding:
    """Judge the settings document and its secrets; no value of them is told."""
    name = case.parameter("SettingsParameter")
    if not name:
        return ok("none: anonymous login only")
    try:
        document = case.settings(name).document(case.clock())
    except SettingsUnavailable as exc:
        if not isinstance(exc.__cause__, DocumentError):
            raise
        return failed(
            f"{name}: {exc.__cause__}",
            "mend it: functions that start answer 503 to all that need it",
        )
    apps = case.deployment.output("ClientAppIds").split(",")
    with_challenge = apps_with_challenge(document, apps)
    is_asked = case.parameter("AnonymousChallenge") == "true"
    if with_challenge and not is_asked:
        return failed(
            f"{name} has a challenge that no anonymous login asks for, of "
            f"{', '.join(with_challenge)}",
            "deploy with AnonymousChallenge=true",
        )
    mail_sender = case.parameter("MailSender")
    if any(sender != mail_sender for sender in mail_senders(document)):
        return warning(
            f"{name} sends mail from another address than MailSender: no mail goes out",
            "deploy with MailSender=, the bare address of `sender`",
        )
    open_to_all = [app for app in apps if app not in with_challenge]
    # Last: that may be meant for one app, and is not to hide what is meant for none.
    if is_asked and open_to_all:
        return warning(
            f"{name} has no challenge for {', '.join(open_to_all)}: anonymous logins "
            "there ask for nothing",
            "give each one of its own, since an app's own entry replaces that of `*`; "
            "or deploy with AnonymousChallenge=false",
        )
    return ok(f"{name} is good, and so are its secrets")
