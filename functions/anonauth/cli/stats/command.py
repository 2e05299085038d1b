"""`anonauth stats`: its options; see `stats` for what it counts."""

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

# ruff: noqa: PLC0415 - what the command does brings the service along

# CloudWatch keeps no metric for longer (its user guide, "Metrics retention").
_MOST_DAYS = 455


def stats_command(  # noqa: PLR0913 - an option each
    *,
    days: Annotated[
        int,
        typer.Option(min=1, max=_MOST_DAYS, help="So many UTC days, today included."),
    ] = 30,
    no_scan: Annotated[
        bool,
        typer.Option("--no-scan", help="Only what happened, without a scan."),
    ] = False,
    segments: SegmentsOption = 4,
    rate: RateOption = None,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the users: who there is now, and what happened on each day.

    **Who there is** comes of a scan of the whole table: anonymous and permanent users,
    by app and by provider, and on which day those were made that are still here. A
    million guests (0.5 KB each) cost less than a cent.

    **What happened** comes of the CloudWatch metrics of a `--stack`, those users
    included that are gone: who came, who was linked, who was deleted and why, and the
    part of the guests that became permanent, by provider. Metrics lag some minutes, are
    0 where `Metrics=false` was deployed, and count an expired user on the day on which
    DynamoDB deletes it.

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
        raise CommandError("--no-scan leaves the metrics, and these need --stack NAME")
    now = utc_now()
    window = DayRange.until(now, days)
    with open_deployment(options) as deployment:
        flow: UserFlow | None = None
        if stack:
            # The metrics before the scan: what is wrong with them should not cost one.
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
        print(*flow.lines(), "metrics lag some minutes", sep="\n")
    else:
        print(
            "What happened, users included that are gone, is in the metrics of a "
            "stack: give --stack NAME."
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
            see=lambda page: advance(page.read),
        )
