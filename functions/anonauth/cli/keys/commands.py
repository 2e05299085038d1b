"""`anonauth keys`: its commands and their options; see `keys` for what they do."""

import re
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from anonauth.cli.options import (
    DeploymentOptions,
    EndpointUrlOption,
    JsonOption,
    KmsKeyOption,
    RegionOption,
    StackOption,
    TableOption,
    YesOption,
    ask_to_go_on,
    print_json,
)
from anonauth.cli.preflight import check_options
from anonauth.cli.typer_help import CommandGroup, TypedHelpCommand

keys_app = CommandGroup()


class KeyUseOption(StrEnum):
    """Which tokens a key signs."""

    access = "access"
    refresh = "refresh"


@keys_app.callback()
def keys() -> None:
    """The keys that sign tokens: list, rotate, revoke.

    They rotate by themselves every 90 days. For the day on which one has leaked:

    * `anonauth keys list --stack anonauth`
    * `anonauth keys revoke KID --stack anonauth`
    """


@keys_app.command("list")
def keys_list(
    *,
    stack: StackOption = None,
    table: TableOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys with what each is for, and when.

    A key is on **standby** (published, yet to sign), **signing**, or **verifying** what
    it has signed; **spent** ones go with the next daily rotation.

    **Examples**

    * `anonauth keys list --stack anonauth`
    * `anonauth keys list --endpoint-url http://127.0.0.1:4566`, of
      `anonauth serve --aws-port 4566`
    """
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    # These bring the service along; `anonauth --help` does without.
    from anonauth.cli.deployment import open_services  # noqa: PLC0415
    from anonauth.cli.keys.actions import read_keys  # noqa: PLC0415
    from anonauth.cli.text_table import print_table  # noqa: PLC0415

    with open_services(options) as services:
        found = read_keys(services)
    trouble = found.clock_warning()
    if trouble:  # the times are right, but not what each key is for
        print(f"anonauth: {trouble}", file=sys.stderr)
    if as_json:
        print_json(found.as_json())
    else:
        print_table(found.as_table())


@keys_app.command("rotate")
def keys_rotate(
    *,
    use: Annotated[
        KeyUseOption, typer.Option(help="Which tokens' key.")
    ] = KeyUseOption.access,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the next key take over before its time. Nothing that is signed goes bad.

    The standby signs at once, or as soon as it has been public for a day, so that
    everyone who verifies tokens knows it. A new refresh key signs after ten minutes.
    Repeated within a day it makes no more keys than that.

    **Examples**

    * `anonauth keys rotate --stack anonauth`
    * `anonauth keys rotate --stack anonauth --use refresh`
    """
    options = check_options(
        DeploymentOptions(stack, table, kms_key, region, endpoint_url)
    )
    from anonauth.cli.deployment import open_services  # noqa: PLC0415
    from anonauth.cli.keys.actions import rotate_key_use  # noqa: PLC0415

    with open_services(options, with_key=True) as services:
        rotation = rotate_key_use(use.value, services)
    if as_json:
        print_json(rotation.as_json())
    else:
        print(*rotation.lines(), sep="\n")


# An id is 43 characters of base64url, so that every 64th begins with a hyphen.
_ESCAPE = "(Before a KID that begins with -- put a -- of its own: `revoke -- KID`.)"


class _RevokeCommand(TypedHelpCommand):
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


@keys_app.command("revoke", cls=_RevokeCommand)
def keys_revoke(
    kid: Annotated[
        str,
        typer.Argument(
            metavar="KID",
            help="The key's id, or a beginning that no other has. One that begins "
            "with -- comes last, after a -- of its own.",
        ),
    ],
    *,
    yes: YesOption = False,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
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
    options = check_options(
        DeploymentOptions(stack, table, kms_key, region, endpoint_url)
    )
    from anonauth.cli.deployment import open_services  # noqa: PLC0415
    from anonauth.cli.keys.actions import (  # noqa: PLC0415
        describe_revocation,
        read_keys_to_change,
        revoke_ring_key,
    )
    from anonauth.cli.text_table import print_table  # noqa: PLC0415

    with open_services(options, with_key=True) as services:
        found = read_keys_to_change(services)
        key = found.find(kid)
        print(*describe_revocation(key, found), sep="\n", file=sys.stderr)
        if not yes:
            ask_to_go_on("Revoke it?")
        left = revoke_ring_key(key, services)
    if as_json:
        print_json({"revoked": key.kid, **left.as_json()})
    else:
        print(f"{key.use} key {key.kid} is revoked\n")
        print_table(left.as_table())
