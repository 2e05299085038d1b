"""Options that the operator's commands share, and helpers to print and ask."""

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from anonauth.local.command_error import CommandError

EXIT_CODES = (
    "Exit codes: 0 success; 1 failure or a failed check, and one line on stderr says "
    "why; 2 the command line is not understood; 130 Ctrl-C (0 for "
    "`serve` and `events tail`)."
)
"""The exit codes of every command, printed below its help."""

DATES = "such as 2026-11-01 or 2026-11-01T12:00:00Z"
"""The forms of a time in an option (`parse_instant`)."""

DEFAULT_ENDPOINT = "http://127.0.0.1:4566"
"""Address of the AWS services of `anonauth serve --aws-port 4566`."""

StackOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The deployment's CloudFormation stack. Its outputs name the rest.",
        show_default=False,
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The deployment's DynamoDB table, instead of a stack.",
        show_default=False,
    ),
]
KmsKeyOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="With --table: the KMS key that wraps new keys, as id, ARN or alias.",
        show_default=False,
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        help="AWS region. By default the one in your AWS configuration.",
        show_default=False,
    ),
]
EndpointUrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Use the AWS services at this URL, such as those of "
        "`anonauth serve --aws-port 4566`. Its table is then the default.",
        show_default=False,
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="ID",
        help="The client app id. You can leave it out if the stack, or the local "
        "service, has only one.",
        show_default=False,
    ),
]
SegmentsOption = Annotated[
    int,
    typer.Option(min=1, max=10, help="Number of table segments to read in parallel."),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Limit in read units (8 KB) a second. By default there is none.",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """The options that name a deployment."""

    stack: str | None = None
    table: str | None = None
    kms_key: str | None = None
    region: str | None = None
    endpoint_url: str | None = None


def print_json(body: object) -> None:
    """Print a body as JSON, for `--json`."""
    print(json.dumps(body, indent=2))


def arrow() -> str:
    """Return an arrow in characters that stdout can encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "→".encode(encoding)
    except UnicodeEncodeError:
        return "->"
    return "→"


def ask_to_go_on(question: str) -> None:
    """Ask a question on the terminal, and return if the answer is yes.

    Raises:
        CommandError: The answer is no, or stdin is not a terminal.
        KeyboardInterrupt: Ctrl-C. Typer's own prompt would turn it into a no.
    """
    if not sys.stdin.isatty():
        raise CommandError("no terminal to confirm on; pass --yes")
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was changed")


def parse_instant(text: str) -> datetime:
    """Return the time (UTC) that an option names.

    Raises:
        BadParameter: It has none of the forms in `DATES`.
    """
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"):
        with suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC)
    raise typer.BadParameter(f"'{printable(text)}' is not a date {DATES}")


def printable(text: str) -> str:
    """Return a client's text with characters that control a terminal escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
