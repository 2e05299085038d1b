"""The command `anonauth restore` and its options. `actions` does the work."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from anonauth.cli.options import (
    DATES,
    DeploymentOptions,
    EndpointUrlOption,
    JsonOption,
    KmsKeyOption,
    RateOption,
    RegionOption,
    SegmentsOption,
    StackOption,
    TableOption,
    YesOption,
    ask_to_go_on,
    parse_instant,
    print_json,
)
from anonauth.cli.preflight import check_options
from anonauth.local.command_error import CommandError

# ruff: noqa: PLC0415 - the command imports the service, its help does not need it


def restore_command(  # noqa: PLR0913 - an option each
    *,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TABLE",
            help="The table that DynamoDB has restored from the backup. It is only "
            "read.",
            show_default=False,
        ),
    ],
    guests: Annotated[
        bool,
        typer.Option(
            "--guests",
            help="Restore anonymous users too, with their session. Some had logged out "
            "after the backup, and come back all the same, in each run.",
        ),
    ] = False,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Restore anonymous users too, but nobody that was deleted according "
            "to these events. A file, or a directory of files, of JSON Lines.",
            show_default=False,
        ),
    ] = None,
    events_until: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_instant,
            metavar="DATE",
            help=f"Ignore later events (UTC), {DATES}. Give the time of the damage: "
            "items that it removed look like logouts.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be restored.")
    ] = False,
    yes: YesOption = False,
    segments: SegmentsOption = 4,
    rate: RateOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore users from a backup, without bringing back what was ended since then.

    DynamoDB restores a backup to a **new** table. In it, revoked keys, ended sessions,
    old passwords and deleted users are good again, so a stack must not use it. This
    command copies from it only what the live table has lost. It first counts what it
    would do, and asks. Run it again to continue: what is restored stays.

    * The live table wins. A user, password or identity that it has stays as it is.
    * A permanent user comes back without sessions, and has to log in again. An identity
      that another user has by now is left out, and reported.
    * What a password reset has ended stays ended, as far as the live table shows it.
      Addresses that no user has yet are not restored.
    * Anonymous users come back only with `--guests` or `--events`, because a logout
      leaves no mark.
    * A user that asked to be deleted stays deleted. The table remembers that for 30
      days.
    * Keys of the backup sign nothing. If the live table has no key ring, or a new one,
      the backup's refresh keys are taken over, so that guests stay logged in. KMS must
      still have the key that encrypted them.
    * No `user.created` is published.

    `--events` takes the events of an EventBridge archive. Replay the archive from the
    time of the backup to the time of the damage, with a target that writes them down,
    such as Firehose to S3, and download the files. Files may end in `.gz`.

    **Examples**

    * `anonauth restore --from anonauth-restored --stack anonauth --dry-run`
    * `anonauth restore --from anonauth-restored --stack anonauth --events archive/
      --events-until 2026-11-01T12:00:00Z`
    """
    if events_until is not None and events is None:
        raise typer.BadParameter("--events-until needs --events")
    options = check_options(
        DeploymentOptions(stack, table, kms_key, region, endpoint_url)
    )
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.restore.actions import (
        RestoreRun,
        describe_restore,
        open_backup,
        plan_ring,
        take_over_keys,
    )
    from anonauth.cli.restore.archive import read_archive
    from anonauth.cli.table_scan import read_table_size
    from anonauth.domain.restoring import Merges, RestoreRules

    archive = None if events is None else read_archive(events, events_until)
    with open_deployment(options) as deployment:
        if not deployment.kms_key:
            raise CommandError(
                "--table needs --kms-key too, to wrap keys. The key is the stack "
                "output RingKeyArn"
            )
        _, items = read_table_size(deployment)
        backup, live = open_backup(deployment, source), deployment.services()
        ring = plan_ring(live, backup.services)
        now = live.clock().replace(microsecond=0)
        told = describe_restore(
            backup,
            ring,
            place=deployment.place,
            guests=guests,
            archive=archive,
            now=now,
        )
        print(*told, sep="\n", file=sys.stderr)
        wants_guests = guests or archive is not None
        rules = RestoreRules(
            guests=wants_guests and ring.verifies,
            deletions={} if archive is None else archive.deletions,
            merges=Merges() if archive is None else archive.merges(),
        )
        run = RestoreRun(
            live.store,
            backup.services.store,
            rules,
            now,
            segments,
            rate,
            items,
            backup.items,
        )
        lost = run.find_lost_users()
        counts = run.run(lost, is_dry=True)
        is_needed = bool(counts.written) or ring.has_work
        if not dry_run and is_needed:
            print(*counts.lines(), sep="\n", file=sys.stderr)
            if not yes:
                ask_to_go_on("Restore them?")
            if ring.has_work:
                take_over_keys(ring, live)
            counts = run.run(lost, is_dry=False)
    for line in counts.conflict_lines():
        print(line, file=sys.stderr)
    if as_json:
        print_json(
            {
                "from": backup.name,
                "applied": not dry_run,
                **counts.as_json(),
                "refresh_keys": [key.kid for key in ring.former],
            }
        )
    else:
        print("would be done:" if dry_run else "done:")
        print(*counts.lines(), sep="\n")
    if counts.unreadable:
        raise CommandError(
            f"items that could not be read: {counts.unreadable}; they are left out, "
            "and all others are restored"
        )
