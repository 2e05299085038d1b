"""`anonauth keys`: its commands and their options; see `keys` for what they do."""

import re
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from anonauth.cli.options import (
    AsJson,
    EndpointUrl,
    KmsKey,
    Region,
    Stack,
    Table,
    Target,
    Yes,
    ask,
    print_json,
    print_table,
)
from anonauth.cli.preflight import checked
from anonauth.cli.typer_help import Command, Commands

app = Commands()


class Use(StrEnum):
    """Which tokens a key signs."""

    access = "access"
    refresh = "refresh"


@app.callback()
def keys() -> None:
    """The keys that sign tokens: list, rotate, revoke.

    They rotate by themselves every 90 days. For the day on which one has leaked:

    * `anonauth keys list --stack anonauth`
    * `anonauth keys revoke KID --stack anonauth`
    """


@app.command("list")
def list_keys(
    *,
    stack: Stack = None,
    table: Table = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the keys with what each is for, and when.

    A key is on **standby** (published, yet to sign), **signing**, or **verifying** what
    it has signed; **spent** ones go with the next daily rotation.

    **Examples**

    * `anonauth keys list --stack anonauth`
    * `anonauth keys list --endpoint-url http://127.0.0.1:4566`, of
      `anonauth serve --aws-port 4566`
    """
    target = checked(Target(stack, table, None, region, endpoint_url))
    # These bring the service along; `anonauth --help` does without.
    from anonauth.cli.deployment import opened  # noqa: PLC0415
    from anonauth.cli.keys.actions import read_keys  # noqa: PLC0415

    with opened(target) as services:
        found = read_keys(services)
    trouble = found.clock_trouble()
    if trouble:  # the times are right, but not what each key is for
        print(f"anonauth: {trouble}", file=sys.stderr)
    if as_json:
        print_json(found.as_json())
    else:
        print_table(found.as_table())


@app.command()
def rotate(
    *,
    use: Annotated[Use, typer.Option(help="Which tokens' key.")] = Use.access,
    stack: Stack = None,
    table: Table = None,
    kms_key: KmsKey = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Have the next key take over before its time. Nothing that is signed goes bad.

    The standby signs at once, or as soon as it has been public for a day, so that
    everyone who verifies tokens knows it. A new refresh key signs after ten minutes.
    Repeated within a day it makes no more keys than that.

    **Examples**

    * `anonauth keys rotate --stack anonauth`
    * `anonauth keys rotate --stack anonauth --use refresh`
    """
    target = checked(Target(stack, table, kms_key, region, endpoint_url))
    from anonauth.cli.deployment import opened  # noqa: PLC0415
    from anonauth.cli.keys.actions import rotate as rotate_one  # noqa: PLC0415

    with opened(target, with_key=True) as services:
        rotation = rotate_one(use.value, services)
    if as_json:
        print_json(rotation.as_json())
    else:
        print(*rotation.lines(), sep="\n")


# An id is 43 characters of base64url, so that every 64th begins with a hyphen.
_ESCAPE = "(Before a KID that begins with -- put a -- of its own: `revoke -- KID`.)"


class _WithKid(Command):
    """A command whose argument may begin with a hyphen, as the id of a key may."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `-hK` for an id, but not `-h`, and not `--stak`."""
        known = {name for each in self.get_params(ctx) for name in each.opts}
        end = args.index("--") if "--" in args else len(args)
        for arg in args[:end]:
            name = arg.partition("=")[0]
            if name.startswith("--") and name not in known:
                ctx.fail(f"No such option: {name}. {_ESCAPE}")
        ids = [a for a in args[:end] if re.match("-[^-]", a) and a not in known]
        rest = [arg for arg in args[:end] if arg not in ids]
        return super().parse_args(ctx, [*rest, "--", *ids, *args[end + 1 :]])


@app.command(cls=_WithKid)
def revoke(
    kid: Annotated[
        str,
        typer.Argument(
            metavar="KID",
            help="The key's id, or a beginning that no other has. One that begins "
            "with -- comes last, after a -- of its own.",
        ),
    ],
    *,
    yes: Yes = False,
    stack: Stack = None,
    table: Table = None,
    kms_key: KmsKey = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> None:
    """Take a key out of use at once: what it has signed is refused from then on.

    By this service within 5 minutes, by others when their cached key set is renewed.
    Says what will happen, and asks. Revoking an access key ends no session, but for up
    to 5 minutes functions that run still sign with it, and others refuse what they
    sign. Revoking a refresh key ends the sessions that it signed, and loses their
    anonymous users for good.

    **Examples**

    * `anonauth keys revoke 8Fq2 --stack anonauth`
    * `anonauth keys revoke 8Fq2 --stack anonauth --yes --json`
    """
    target = checked(Target(stack, table, kms_key, region, endpoint_url))
    from anonauth.cli.deployment import opened  # noqa: PLC0415
    from anonauth.cli.keys.actions import consequences, keys_to_change  # noqa: PLC0415
    from anonauth.cli.keys.actions import revoke as revoke_one  # noqa: PLC0415

    with opened(target, with_key=True) as services:
        found = keys_to_change(services)
        key = found.find(kid)
        print(*consequences(key, found), sep="\n", file=sys.stderr)
        if not yes:
            ask("Revoke it?")
        left = revoke_one(key, services)
    if as_json:
        print_json({"revoked": key.kid, **left.as_json()})
    else:
        print(f"{key.use} key {key.kid} is revoked\n")
        print_table(left.as_table())
