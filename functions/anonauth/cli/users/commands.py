"""The commands of `anonauth users` and their options."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from anonauth.cli.options import (
    DATES,
    AppOption,
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
    parse_instant,
    print_json,
)
from anonauth.cli.preflight import check_options
from anonauth.cli.typer_help import CommandGroup
from anonauth.cli.users.import_command import users_import
from anonauth.local.command_error import CommandError

# ruff: noqa: PLC0415 - the commands import the service, their help does not need it

users_app = CommandGroup()

_UserIdArgument = Annotated[str, typer.Argument(metavar="UID", help="The user's id.")]


@users_app.callback()
def users() -> None:
    """Show, list, delete, export and import users, and end their sessions.

    No secret is ever shown. If a person asks to be forgotten:

    * `anonauth users show --email ada@example.com --stack anonauth`
    * `anonauth users delete UID --stack anonauth`
    """


@users_app.command("show")
def users_show(
    user_id: Annotated[
        str | None,
        typer.Argument(metavar="[UID]", help="The user's id.", show_default=False),
    ] = None,
    *,
    email: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Find the user by the e-mail address that it logs in with, instead of "
            "by id. (Addresses from Google and other providers are not searched.)",
            show_default=False,
        ),
    ] = None,
    app_id: AppOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a user: its state, former ids, identities, sessions and API keys.

    Reads two items of the table, three with `--email`. The exit code is 1 if there is
    no such user. If a guest was merged into another user, the command says into which.

    **Examples**

    * `anonauth users show 65f0c1d2e3a4b5c6d7e8f901 --stack anonauth`
    * `anonauth users show --email ada@example.com --stack anonauth`
    * `anonauth users show UID --endpoint-url http://127.0.0.1:4566`,
      for `anonauth serve --aws-port 4566`
    """
    if (user_id is None) == (email is None):
        raise typer.BadParameter("give either a user's id or --email")
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.users.actions import (
        MergedGuest,
        find_app,
        find_user_by_email,
        read_user,
    )

    with open_deployment(options) as deployment:
        app_of_user, services = find_app(deployment, app_id), deployment.services()
        if user_id is None:
            user_id = find_user_by_email(services, app_of_user, email or "")
        try:
            shown = read_user(services, app_of_user, user_id)
        except MergedGuest as exc:
            if as_json:
                print_json(exc.as_json())
            raise
    if as_json:
        print_json(shown.as_json())
    else:
        print(*shown.lines(), sep="\n")


@users_app.command("list")
def users_list(  # noqa: PLR0913 - an option each
    *,
    app_id: Annotated[
        str | None,
        typer.Option("--app", metavar="ID", help="Only users of this app."),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Only anonymous users.")
    ] = False,
    permanent: Annotated[
        bool, typer.Option("--permanent", help="Only permanent users.")
    ] = False,
    created_after: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_instant,
            metavar="DATE",
            help=f"Only users created at that time (UTC) or later, {DATES}.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of users.")] = 100,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the first users that a scan of the table finds, in no order.

    The scan reads 1 MB at a time, until it has found enough users. If few users match,
    it reads the whole table. One read unit is 8 KB, so a million guests (0.5 KB each)
    cost less than a cent. For all users use `anonauth users export`.

    **Examples**

    * `anonauth users list --stack anonauth --limit 10`
    * `anonauth users list --stack anonauth --permanent --created-after 2026-11-01`
    """
    if anonymous and permanent:
        raise typer.BadParameter("give either --anonymous or --permanent")
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_services
    from anonauth.cli.text_table import print_table
    from anonauth.cli.users.actions import scan_users
    from anonauth.domain.users import UserFilter

    kind = anonymous if anonymous or permanent else None
    wanted = UserFilter(app_id, kind, created_after)
    with open_services(options) as services:
        found = scan_users(services.store, wanted, limit=limit, now=services.clock())
    for note in found.notes():
        print(note, file=sys.stderr)
    if as_json:
        print_json(found.as_json())
    else:
        print_table(found.as_table())


@users_app.command("delete")
def users_delete(
    user_id: _UserIdArgument,
    *,
    yes: YesOption = False,
    app_id: AppOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a user with its identities, sessions and API keys, for good.

    The command shows the user and its deployment, and asks. It deletes the user as if
    the user had asked for that itself: apps receive `user.deleted` with the reason
    `requested`. If the user has changed since it was shown, nothing is deleted, and you
    run the command again.

    **Examples**

    * `anonauth users delete 65f0c1d2e3a4b5c6d7e8f901 --stack anonauth`
    * `anonauth users delete 65f0c1d2e3a4b5c6d7e8f901 --stack anonauth --yes --json`
    """
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.users.actions import (
        delete_shown_user,
        describe_deletion,
        find_app,
        read_user,
    )

    with open_deployment(options) as deployment:
        services = deployment.services()
        shown = read_user(services, find_app(deployment, app_id), user_id)
        print(*describe_deletion(shown, deployment.place), sep="\n", file=sys.stderr)
        if not yes:
            ask_to_go_on("Delete it?")
        delete_shown_user(shown, services)
    if as_json:
        print_json({"deleted": shown.user.id, "app": shown.user.app})
    else:
        print(f"user {shown.user.id} is deleted")


@users_app.command("revoke")
def users_revoke(
    user_id: _UserIdArgument,
    *,
    yes: YesOption = False,
    app_id: AppOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """End all sessions of a permanent user, so that it has to log in again everywhere.

    The command says what will happen, and asks. Passwords, linked identities and API
    keys stay valid. This service refuses the user's access tokens at once. Your own API
    accepts them until they expire, after AccessTokenMinutes at most. Anonymous users
    are refused, because they could never log in again. Use `delete` for them.

    **Examples**

    * `anonauth users revoke 65f0c1d2e3a4b5c6d7e8f901 --stack anonauth`
    """
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.users.actions import (
        describe_session_end,
        end_sessions,
        find_app,
        read_user,
    )

    with open_deployment(options) as deployment:
        services = deployment.services()
        shown = read_user(services, find_app(deployment, app_id), user_id)
        words = list(describe_session_end(shown, deployment.place))
        ended = 0
        if shown.user.sessions:
            print(*words, sep="\n", file=sys.stderr)
            if not yes:
                ask_to_go_on("Revoke them?")
            ended = end_sessions(shown.user, services)
    if as_json:
        print_json({"revoked": shown.user.id, "app": shown.user.app, "sessions": ended})
    elif not shown.user.sessions:
        print(f"user {shown.user.id} has no sessions; nothing was changed")
    else:
        print(f"user {shown.user.id}: sessions ended: {ended}")


@users_app.command("export")
def users_export(  # noqa: PLR0913 - an option each
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    *,
    app_id: Annotated[
        str | None,
        typer.Option("--app", metavar="ID", help="Only users of this app."),
    ] = None,
    data: Annotated[
        bool,
        typer.Option(
            "--data",
            help="Include the data of each identity, such as its e-mail address. "
            "Costs half a read unit more for each.",
        ),
    ] = False,
    segments: SegmentsOption = 4,
    rate: RateOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all users to FILE as JSON, one user a line. Run it again to continue.

    If it is interrupted by Ctrl-C, a crash or a full disk, run it again with the same
    FILE and options. It then continues, with the help of FILE.resume. In the end FILE
    has each user that existed during the whole export exactly once. A user that was
    created or deleted meanwhile may be in it or not. Expired users are in it until
    DynamoDB deletes them. Only you can read the file.

    Items that cannot be read are left out. The file then has all other users, and the
    exit code is 1.

    A line has no secrets and no sessions. `expires_at` is null unless the user is
    anonymous. `former_ids` come last if guests were merged into the user:

    `{"app": "myapp-abcde", "uid": "65f0…", "anonymous": true, "created_at":
    "2026-11-24T12:00:00Z", "last_active_day": "2026-11-24", "expires_at":
    "2027-02-23T01:00:00Z", "identities": [{"provider": "anon-user", "id": "65f1…"}]}`

    **Examples**

    * `anonauth users export users.jsonl --stack anonauth`
    * `anonauth users export users.jsonl --stack anonauth --data --rate 500`
    """
    if str(file) == "-":
        raise typer.BadParameter(
            "give the name of a file; an export to stdout could not be continued"
        )
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.table_scan import ParallelScan, read_table_size, show_progress
    from anonauth.cli.users.export import ExportPlan, open_export, write_users

    with open_deployment(options) as deployment:
        name, items = read_table_size(deployment)
        plan, store = (
            ExportPlan(name, segments, app_id, data),
            deployment.services().store,
        )
        scan = ParallelScan(
            store, segments=segments, user_filter=plan.user_filter, rate=rate
        )
        with open_export(file, plan) as into:
            before = into.progress
            if before.read:
                print(f"continuing; users so far: {before.users:,}", file=sys.stderr)
            with show_progress(items, before.read) as advance:
                write_users(into, scan, store, advance)
            done = into.progress
    if as_json:
        print_json(
            {
                "file": str(file),
                "users": done.users,
                "items_read": done.read,
                "unreadable": done.unreadable,
                "resumed": before.read > 0,
            }
        )
    else:
        print(f"users in {file}: {done.users:,}")
    if done.unreadable:
        raise CommandError(
            f"items that could not be read: {done.unreadable}; they are left out, and "
            f"{file} has all others"
        )


import_command = users_app.command("import")(users_import)
