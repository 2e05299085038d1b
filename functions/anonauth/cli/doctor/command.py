"""`anonauth doctor`: its options; see `doctor` for what it looks at."""

from anonauth.cli.options import (
    AsJson,
    EndpointUrl,
    KmsKey,
    Region,
    Stack,
    Table,
    Target,
    arrow,
    print_json,
    print_table,
)
from anonauth.cli.preflight import checked
from anonauth.local.command_error import CommandError

# ruff: noqa: PLC0415 - what the command does brings the service along


def doctor(
    *,
    stack: Stack = None,
    table: Table = None,
    kms_key: KmsKey = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Look whether a deployment is well, and say what to do where it is not.

    With `--stack` from all sides: the stack's state; the table, its TTL, stream,
    backups and protection; users whose item is lost; the key ring, the age of its keys,
    and the KMS key; functions, schedules, the way of events, and that of alarms; the
    settings document; and, over HTTP, the key set (an authorizer waits 1.5 s for it),
    the issuer, the location, and this machine's clock. With `--table` only the table
    and the ring.

    It changes nothing. What your credentials do not let it see is **unknown**, with
    the permission that it takes.

    The answer is no, exit code 1, if anything has failed or is unknown; warnings do
    not count.

    **Examples**

    * `anonauth doctor --stack anonauth`
    * `anonauth doctor --stack anonauth --json`, for a scheduled job
    * `anonauth doctor --table NAME --kms-key ID`
    """
    target = checked(Target(stack, table, kms_key, region, endpoint_url))
    from anonauth.cli.deployment import reached
    from anonauth.cli.doctor.aws_checks import Case
    from anonauth.cli.doctor.examination import examine
    from anonauth.cli.signals import left_to_the_main_thread
    from anonauth.cli.text_table import console

    with reached(target) as found:
        progress = console(stderr=True).status("")
        with left_to_the_main_thread():
            progress.start()
        try:
            case = Case(found, stack=stack or "")
            report = examine(case, lambda name: progress.update(f"looking at {name}"))
        finally:
            progress.stop()
    if as_json:
        print_json(report.as_json())
    else:
        print_table(report.as_table(arrow()))
        print(f"\n{report.summary()}")
    if not report.is_well:
        raise CommandError(f"it is not well: {report.summary()}")
