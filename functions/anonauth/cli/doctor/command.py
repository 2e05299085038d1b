"""`anonauth doctor`: its options; see `doctor` for what it looks at."""

from anonauth.cli.options import (
    DeploymentOptions,
    EndpointUrlOption,
    JsonOption,
    KmsKeyOption,
    RegionOption,
    StackOption,
    TableOption,
    arrow,
    print_json,
)
from anonauth.cli.preflight import check_options
from anonauth.local.command_error import CommandError

# ruff: noqa: PLC0415 - what the command does brings the service along


def doctor_command(
    *,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
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
    options = check_options(
        DeploymentOptions(stack, table, kms_key, region, endpoint_url)
    )
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.doctor.probe import DeploymentProbe
    from anonauth.cli.doctor.runner import run_checks
    from anonauth.cli.signals import block_signals_in_new_threads
    from anonauth.cli.text_table import make_console, print_table

    with open_deployment(options) as deployment:
        progress = make_console(stderr=True).status("")
        with block_signals_in_new_threads():
            progress.start()
        try:
            probe = DeploymentProbe(deployment)
            report = run_checks(
                probe, lambda name: progress.update(f"looking at {name}")
            )
        finally:
            progress.stop()
    if as_json:
        print_json(report.as_json())
    else:
        print_table(report.as_table(arrow()))
        print(f"\n{report.summary()}")
    if not report.is_healthy:
        raise CommandError(f"it is not well: {report.summary()}")
