"""The command `anonauth doctor` and its options. `runner` has the checks."""

import os
import re
from typing import Annotated

import typer

from anonauth.cli.options import (
    AppOption,
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


def doctor_command(  # noqa: PLR0913 - an option each
    *,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    drive: Annotated[
        bool,
        typer.Option(
            "--drive", help="Also log in, link and delete as a client would do it."
        ),
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="JWT",
            help="With --drive: link by custom-token with this JWT. No user may have "
            "its subject yet.",
            show_default=False,
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --drive: address of the API. By default the stack's.",
            show_default=False,
        ),
    ] = None,
    app_id: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the health of a deployment, and say how to fix what is wrong.

    With `--stack` it checks the stack's state; the table, its TTL, stream, backups and
    protection; users whose item is lost; the key ring, the age of its keys and the KMS
    key; functions, schedules, events and alarms; the provider settings; and, over HTTP,
    the key set (an authorizer waits 1.5 s for it), the issuer, the location, the CDN in
    front and this machine's clock. The environment variable ANONAUTH_ORIGIN_SECRET may
    have the CDN's secret, which is then tried without the CDN. With `--table` it checks
    only the table and the key ring.

    Without `--drive` it changes nothing. A check that your credentials do not allow is
    **unknown**, and names the permission that it needs.

    With `--drive` it also takes the steps of a client over the public API: it logs in
    as a guest, refreshes, links, logs out, logs in again and deletes the user, whose
    tokens must be refused afterwards. It links by e-mail if the app sends no mail, or
    with `--token` by JWT, and otherwise says why it does not. Then it deletes what is
    left, also if a step has failed. Apps receive the events about its users.

    The exit code is 1 if a check failed or is unknown. Warnings do not count.

    **Examples**

    * `anonauth doctor --stack anonauth`
    * `anonauth doctor --stack anonauth --json`, for a scheduled job
    * `anonauth doctor --table NAME --kms-key ID`
    * `anonauth doctor --stack anonauth --drive`
    """
    if not drive and (token is not None or base_url or app_id):
        raise typer.BadParameter("--token, --base-url and --app need --drive")
    if token is not None and not token.strip():  # perhaps an unset shell variable
        raise typer.BadParameter("--token is empty")
    options = check_options(
        DeploymentOptions(stack, table, kms_key, region, endpoint_url)
    )
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.doctor import http_checks
    from anonauth.cli.doctor.drive import Drive, DriveOptions, find_base_url
    from anonauth.cli.doctor.probe import DeploymentProbe
    from anonauth.cli.doctor.report import DoctorReport
    from anonauth.cli.doctor.runner import run_checks
    from anonauth.cli.signals import block_signals_in_new_threads, interrupt_on_sigterm
    from anonauth.cli.text_table import make_console, print_table
    from anonauth.cli.users.actions import find_app

    origin_secret = os.environ.get(http_checks.SECRET_VARIABLE, "").strip()
    if not re.fullmatch(r"[!-~]*", origin_secret):
        raise CommandError(f"{http_checks.SECRET_VARIABLE}: not the text of a header")
    with open_deployment(options) as deployment:
        driven = None
        if drive:  # before the checks, which take a while
            app, url = find_app(deployment, app_id), find_base_url(deployment, base_url)
            driven = DriveOptions(url, app, token.strip() if token else None)
        progress = make_console(stderr=True).status("")
        with block_signals_in_new_threads():
            progress.start()
        try:
            probe = DeploymentProbe(deployment, origin_secret=origin_secret)
            report = run_checks(probe, lambda name: progress.update(f"checking {name}"))
            if driven:
                with interrupt_on_sigterm():
                    steps = Drive(probe, driven).run(progress.update)
                report = DoctorReport((*report.findings, *steps))
        finally:
            progress.stop()
    if as_json:
        print_json(report.as_json())
    else:
        print_table(report.as_table(arrow()))
        print(f"\n{report.summary()}")
    if not report.is_healthy:
        raise CommandError(report.verdict())
