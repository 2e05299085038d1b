"""The command `anonauth users import` and its options. `import_run` does the work."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anonauth.cli.options import (
    DeploymentOptions,
    EndpointUrlOption,
    JsonOption,
    RateOption,
    RegionOption,
    SegmentsOption,
    StackOption,
    TableOption,
    YesOption,
    ask_to_go_on,
    print_json,
)
from anonauth.cli.preflight import check_options
from anonauth.local.command_error import CommandError

# ruff: noqa: PLC0415 - the command imports the service, its help does not need it


class ImportSource(StrEnum):
    """Where the file comes from."""

    EXPORT = "export"
    APP_SERVICES = "app-services"


def users_import(  # noqa: PLR0913 - an option each
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    *,
    source: Annotated[
        ImportSource,
        typer.Option(
            "--from",
            help="Form of the file: that of `anonauth users export`, or the list of "
            "users from the admin API of MongoDB Atlas App Services.",
        ),
    ] = ImportSource.EXPORT,
    app_id: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="ID",
            help="Of an export, import only users of this app. Users of App Services "
            "become users of this app; you can leave it out if there is only one.",
            show_default=False,
        ),
    ] = None,
    issuer: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With app-services: the issuer of the app's JWTs, exactly as the "
            "provider settings name it. '' if they name none.",
            show_default=False,
        ),
    ] = None,
    verified_emails: Annotated[
        bool,
        typer.Option(
            "--verified-emails",
            help="The old service confirmed all e-mail addresses by a mail. Otherwise "
            "the first reset of a password removes the user's other identities.",
        ),
    ] = False,
    tell_created: Annotated[
        bool,
        typer.Option(
            "--tell-created", help="Publish `user.created` for imported users."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be imported.")
    ] = False,
    yes: YesOption = False,
    segments: SegmentsOption = 4,
    rate: RateOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the permanent users of FILE into the table, with their ids and identities.

    The command first reads the whole file, counts what it would do, and asks. Run it
    again to continue: users that are there stay as they are.

    * Nothing that the table has is overwritten. A user who was deleted on request stays
      deleted for 30 days. An identity that another user has is left out, and reported.
    * Imported users have no sessions, and log in again: with Google, Apple, Facebook or
      a JWT at once. A person with an e-mail address asks for a new password by mail
      (`reset/send`), unless the file has a hash of the old one by argon2id.
    * Guests cannot be imported. Their only credential was a token of the old service.
    * A user that is not described right is left out, and reported with its line. The
      exit code is then 1.

    **An export** has e-mail addresses only if it was made with `--data`. You can add to
    an identity of `local-userpass`:

    `"password_hash": "$argon2id$v=19$m=19456,t=2,p=1$…", "verified": true`

    **From App Services**: download all pages of the list into one file. Each page is a
    JSON array of 50 users at most, and `after` is the last `_id` of the page before:

    `GET https://services.cloud.mongodb.com/api/admin/v3.0/groups/GROUP/apps/APP/users?after=ID`

    API keys and users of `custom-function` cannot be imported.

    **Examples**

    * `anonauth users import users.jsonl --stack anonauth --dry-run`
    * `anonauth users import pages.json --from app-services --stack anonauth --issuer
      https://issuer.example.com`
    """
    is_export = source is ImportSource.EXPORT
    if is_export and issuer is not None:
        raise typer.BadParameter("--issuer is for --from app-services alone")
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.restore.lost_users import find_lost_users
    from anonauth.cli.table_scan import read_table_size
    from anonauth.cli.users.actions import find_app
    from anonauth.cli.users.import_file import read_arrays, read_lines, require_file
    from anonauth.cli.users.import_forms import ImportForm
    from anonauth.cli.users.import_run import ImportRun
    from anonauth.domain.restoring import RestoreRules

    with open_deployment(options) as deployment:
        _, items = read_table_size(deployment)
        require_file(file)
        if not is_export:
            app_id = find_app(deployment, app_id)
        services = deployment.services()
        now = services.clock().replace(microsecond=0)
        form = ImportForm(app_id, issuer, services.addresses, verified_emails, now)
        told = _describe(file, deployment.place, tell_created=tell_created)
        print(*told, sep="\n", file=sys.stderr)
        rules = RestoreRules(tells_created=tell_created)
        lost = find_lost_users(
            services.store, rules.merges, segments=segments, rate=rate, items=items
        )
        run = ImportRun(
            file,
            read_lines if is_export else read_arrays,
            form.of_export if is_export else form.of_app_services,
            services.store,
            rules,
            lost,
            now,
            segments,
        )
        counts = run.run(is_dry=True)
        if not dry_run and counts.written:
            print(*counts.lines(), sep="\n", file=sys.stderr)
            if not yes:
                ask_to_go_on("Import them?")
            counts = run.run(is_dry=False, users=counts.total)
    for line in counts.problem_lines():
        print(line, file=sys.stderr)
    if as_json:
        print_json({"file": str(file), "applied": not dry_run, **counts.as_json()})
    else:
        print("would be done:" if dry_run else "done:")
        print(*counts.lines(), sep="\n")
    if counts["invalid"]:
        raise CommandError(
            f"users that the file does not describe right: {counts['invalid']}; they "
            "are left out"
        )


def _describe(file: Path, place: str, *, tell_created: bool) -> Iterator[str]:
    from anonauth.cli.options import printable

    yield f"Importing users from {printable(str(file))}"
    yield f"to {place}."
    yield "- The table wins: users and identities that it has stay as they are."
    yield "- Imported users have no sessions, and have to log in."
    yield "- Guests cannot be imported: only the old service knows their credential."
    if tell_created:
        yield "- `user.created` is published for each imported user."
    else:
        yield "- No `user.created` is published. --tell-created publishes it."
