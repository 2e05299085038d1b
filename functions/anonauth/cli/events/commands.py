"""The commands of `anonauth events` and their options."""

import json
import sys
import time
from contextlib import suppress
from typing import Annotated

import typer

from anonauth.cli.options import DeploymentOptions, JsonOption, RegionOption, print_json
from anonauth.cli.preflight import check_options
from anonauth.cli.streams import has_reader
from anonauth.cli.typer_help import CommandGroup

events_app = CommandGroup()

_POLL_SECONDS = 1  # between two requests to a local service


@events_app.callback()
def events() -> None:
    """Follow events about users on a local service, or replay failed ones on AWS."""


@events_app.command("replay")
def events_replay(
    *,
    stack: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The deployment's CloudFormation stack. Its outputs name the rest.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the batches to replay.")
    ] = False,
    region: RegionOption = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Use the AWS services at this URL.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish events again that Lambda has given up on. First fix the cause.

    The command sends each batch in the bucket to the function again, in the order of
    the changes, and removes it when all its events are published. A batch that is too
    large for one call is split. A batch with a record that cannot be published stays in
    the bucket, and the others are published all the same. The exit code is then 1. The
    command is safe to repeat, because a repeated event has the same id.

    **Examples**

    * `anonauth events replay --stack anonauth --dry-run`
    * `anonauth events replay --stack anonauth`
    """
    options = check_options(
        DeploymentOptions(stack, region=region, endpoint_url=endpoint_url)
    )
    from anonauth.cli.deployment import open_deployment  # noqa: PLC0415
    from anonauth.cli.events.replay import FailedBatchBucket  # noqa: PLC0415
    from anonauth.domain.encoding import rfc3339  # noqa: PLC0415
    from anonauth.local.command_error import CommandError  # noqa: PLC0415

    with open_deployment(options) as deployment:
        failed = FailedBatchBucket(
            deployment.connect("s3"),
            # A little more than the timeout of the function.
            deployment.connect("lambda", seconds=70),
            bucket=deployment.output("FailedRecordsBucket"),
            function=deployment.output("LifecycleFunctionName"),
        )
        batches, stay = failed.find()
        for other in stay:
            print(other.problem, file=sys.stderr)
        records = published = 0
        for replayed in [] if dry_run else failed.replay(batches):
            records += replayed.records
            if replayed.problem:
                stay.append(replayed)
                print(replayed.problem, file=sys.stderr)
                continue
            published += 1
            print(f"{published} of {len(batches)} batches published", file=sys.stderr)
    if as_json:
        print_json(
            {
                "batches": [
                    {"key": batch.key, "failed_at": rfc3339(batch.failed_at)}
                    for batch in batches
                ],
                "failed": [{"key": each.key, "problem": each.problem} for each in stay],
                "records": records,
                "replayed": not dry_run,
            }
        )
    elif dry_run:
        for batch in batches:
            print(f"{rfc3339(batch.failed_at)}  {batch.key}")
        print(f"batches to publish: {len(batches)}")
    else:
        print(f"published batches: {published}, records: {records}")
    if stay:
        raise CommandError(
            f"objects that stay in the bucket: {len(stay)}; the lines above name them"
        )


@events_app.command("tail")
def events_tail(
    *,
    base_url: Annotated[
        str,
        typer.Option(metavar="URL", help="Address of the running `anonauth serve`."),
    ] = "http://127.0.0.1:8080",
    as_json: JsonOption = False,
) -> None:
    """Follow the events of a local service, one event a line. Ctrl-C ends it.

    The command begins with the events that the service already has. A local service
    publishes nothing. Each event is as a target of EventBridge would receive it, and
    `--json` prints it whole (JSON Lines).

    **On AWS** use a rule with a log group as its target (the log group's resource
    policy must let EventBridge write):

    * `aws events put-rule --name anonauth-tail
      --event-pattern '{"source": ["anonauth"]}'`
    * `aws events put-targets --rule anonauth-tail
      --targets Id=log,Arn=arn:aws:logs:REGION:ACCOUNT:log-group:/aws/events/anonauth`
    * `aws logs tail /aws/events/anonauth --follow`

    **Examples**

    * `anonauth events tail`
    * `anonauth events tail --json | jq 'select(."detail-type" == "user.deleted")'`
    """
    with suppress(KeyboardInterrupt):
        from anonauth.cli.events.tail import follow_events, format_event  # noqa: PLC0415

        for event in follow_events(base_url, lambda: time.sleep(_POLL_SECONDS)):
            print(json.dumps(event) if as_json else format_event(event), flush=True)
            if not has_reader():
                break
