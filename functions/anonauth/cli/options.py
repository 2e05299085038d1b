"""Options that the operator's commands share; `target` makes a deployment of them."""

import json
from dataclasses import dataclass
from typing import Annotated

import typer

Stack = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The deployment's CloudFormation stack, whose outputs say the rest.",
        show_default=False,
    ),
]
Table = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Its DynamoDB table, instead of a stack.",
        show_default=False,
    ),
]
KmsKey = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="With --table: the KMS key that wraps new keys; id, ARN or alias.",
        show_default=False,
    ),
]
Region = Annotated[
    str | None,
    typer.Option(help="By default that of the AWS configuration.", show_default=False),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Another AWS, such as that of `anonauth serve --aws-port 4566`, whose "
        "table is then the default.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment, as options name it; see there."""

    stack: str | None = None
    table: str | None = None
    kms_key: str | None = None
    region: str | None = None
    endpoint_url: str | None = None


def print_json(body: object) -> None:
    """Print what `--json` asks for."""
    print(json.dumps(body, indent=2))
