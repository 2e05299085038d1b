"""The command `anonauth doctor` and its options. `runner` has the checks."""

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

# ruff: noqa: PLC0415 - the command imports the service, its help does not need it


def doctor_command(
    *,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the health of a deployment, and say how to fix what is wrong.

    With `--stack` it checks the stack's state; the table, its TTL, stream, backups and
    protection; users whose item is lost; the key ring, the age of its keys and the KMS
    key; functions, schedules, events and alarms; the provider settings; and, over HTTP,
    the key set (an authorizer waits 1.5 s for it), the issuer, the location and this
    machine's clock. With `--table` it checks only the table and the key ring.

    It changes nothing. A check that your credentials do not allow is **unknown**, and
    names the permission that it needs.

    The exit code is 1 if a check failed or is unknown. Warnings do not count.

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
            report = run_checks(probe, lambda name: progress.update(f"checking {name}"))
        finally:
            progress.stop()
    if as_json:
        print_json(report.as_json())
    else:
        print_table(report.as_table(arrow()))
        print(f"\n{report.summary()}")
    if not report.is_healthy:
        raise CommandError(report.verdict())
