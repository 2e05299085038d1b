"""Options that the operator's commands share; `target` makes a deployment of them."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from anonauth.local.command_error import CommandError

EXIT_CODES = (
    "Exit codes: 0 done; 1 not done, or the answer is no, and one line on stderr says "
    "why; 2 the command line is not understood; 130 Ctrl-C (0 for "
    "`serve` and `events tail`)."
)
"""Of every command; the foot of its help."""

DEFAULT_ENDPOINT = "http://127.0.0.1:4566"
"""Where `anonauth serve --aws-port 4566` has its AWS."""

StackOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The deployment's CloudFormation stack, whose outputs say the rest.",
        show_default=False,
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Its DynamoDB table, instead of a stack.",
        show_default=False,
    ),
]
KmsKeyOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="With --table: the KMS key that wraps new keys; id, ARN or alias.",
        show_default=False,
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(help="By default that of the AWS configuration.", show_default=False),
]
EndpointUrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Another AWS, such as that of `anonauth serve --aws-port 4566`, whose "
        "table is then the default.",
        show_default=False,
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="ID",
        help="The client app id; not needed where only one is served: a --stack or a "
        "local service says so.",
        show_default=False,
    ),
]
SegmentsOption = Annotated[
    int,
    typer.Option(min=1, max=10, help="Parts of the table that are read at a time."),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="At most so many read units a second, each 8 KB. By default no limit.",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class DeploymentOptions:
    """A deployment, as options name it; see there."""

    stack: str | None = None
    table: str | None = None
    kms_key: str | None = None
    region: str | None = None
    endpoint_url: str | None = None


def print_json(body: object) -> None:
    """Print what `--json` asks for."""
    print(json.dumps(body, indent=2))


def arrow() -> str:
    """Return an arrow that stdout can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "→".encode(encoding)
    except UnicodeEncodeError:
        return "->"
    return "→"


def ask_to_go_on(question: str) -> None:
    """Ask on the terminal; return if the answer is yes.

    Raises:
        CommandError: It is no, or nobody is there.
        KeyboardInterrupt: Ctrl-C, which typer's own prompt turns into a no.
    """
    if not sys.stdin.isatty():
        raise CommandError("nobody is here to be asked; --yes if this is what you want")
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was changed")


def printable(text: str) -> str:
    """Return what a stranger wrote without what would steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
