"""The command `anonauth stats` and its options. `counts` does the work."""

from typing import TYPE_CHECKING, Annotated

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
    print_json,
)
from anonauth.cli.preflight import check_options
from anonauth.local.command_error import CommandError

if TYPE_CHECKING:
    from anonauth.cli.deployment import Deployment
    from anonauth.cli.stats.counts import DayRange, UserFlow, UserStock

# ruff: noqa: PLC0415 - the command imports the service, its help does not need it

# CloudWatch keeps no metric for longer (its user guide, "Metrics retention").
_METRIC_RETENTION_DAYS = 455


def stats_command(  # noqa: PLR0913 - an option each
    *,
    days: Annotated[
        int,
        typer.Option(
            min=1,
            max=_METRIC_RETENTION_DAYS,
            help="Number of UTC days, today included.",
        ),
    ] = 30,
    no_scan: Annotated[
        bool,
        typer.Option("--no-scan", help="Show only the metrics, without a scan."),
    ] = False,
    segments: SegmentsOption = 4,
    rate: RateOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count current users, and those created, linked, merged or deleted on each day.

    **Current users** are counted by a scan of the whole table: anonymous and permanent
    users, by app and by provider, the day on which they were created, and the users
    that guests were merged into. Scanning a million guests (0.5 KB each) costs less
    than a cent.

    **History**, deleted users included, comes from the CloudWatch metrics of a
    `--stack`: users created, linked, merged, and deleted with the reason, and the
    share of new guests that became permanent, by provider. Metrics are some minutes
    late. They are 0 if the stack was deployed with `Metrics=false`. An expired user is
    counted on the day on which DynamoDB deletes it.

    **Examples**

    * `anonauth stats --stack anonauth`
    * `anonauth stats --stack anonauth --days 7 --no-scan --json`
    """
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    from anonauth.cli.deployment import open_deployment
    from anonauth.cli.stats.counts import DayRange, make_day_table, read_flow
    from anonauth.cli.text_table import print_table
    from anonauth.wiring import utc_now

    if no_scan and not stack:
        raise CommandError("--no-scan shows only metrics, and these need --stack NAME")
    now = utc_now()
    window = DayRange.until(now, days)
    with open_deployment(options) as deployment:
        flow: UserFlow | None = None
        if stack:
            # The metrics come first, so that an error in them does not cost a scan.
            service = stack.split("/")[1] if stack.startswith("arn:") else stack
            flow = read_flow(
                deployment.connect("cloudwatch"), service=service, days=window
            )
        stock = (
            None
            if no_scan
            else _count_with_progress(deployment, window, segments, rate)
        )
    if as_json:
        print_json(
            {
                "from": window.first.isoformat(),
                "days": window.count,
                "stock": stock and stock.as_json(),
                "flow": flow and flow.as_json(),
            }
        )
        return
    if stock:
        print_table(stock.as_table())
        print(*stock.lines(), "", sep="\n")
    print_table(make_day_table(window, stock, flow))
    if flow:
        print(*flow.lines(), "metrics are some minutes late", sep="\n")
    else:
        print(
            "The history, deleted users included, is in the metrics of a stack: give "
            "--stack NAME."
        )


def _count_with_progress(
    deployment: "Deployment", days: "DayRange", segments: int, rate: float | None
) -> "UserStock":
    from anonauth.cli.stats.counts import count_users
    from anonauth.cli.table_scan import read_table_size, show_progress

    _, items = read_table_size(deployment)
    with show_progress(items) as advance:
        return count_users(
            deployment.services(),
            days,
            segments=segments,
            rate=rate,
            on_page=lambda page: advance(page.read),
        )
