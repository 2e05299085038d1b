"""The commands of `anonauth keys` and their options. `actions` does the work."""

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
    """The kind of tokens that a key signs."""

    access = "access"
    refresh = "refresh"


@keys_app.callback()
def keys() -> None:
    """List, rotate and revoke the keys that sign tokens.

    Keys rotate by themselves every 90 days. If an access key has leaked:

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
    """List the keys with their state and times.

    A **standby** key is published but does not sign yet. The **signing** key signs new
    tokens. A **verifying** key only verifies tokens that it has signed. A **spent** key
    is removed by the next daily rotation.

    **Examples**

    * `anonauth keys list --stack anonauth`
    * `anonauth keys list --endpoint-url http://127.0.0.1:4566`, for
      `anonauth serve --aws-port 4566`
    """
    options = check_options(DeploymentOptions(stack, table, None, region, endpoint_url))
    # These imports load the service, which `anonauth --help` does not need.
    from anonauth.cli.deployment import open_services  # noqa: PLC0415
    from anonauth.cli.keys.actions import read_keys  # noqa: PLC0415
    from anonauth.cli.text_table import print_table  # noqa: PLC0415

    with open_services(options) as services:
        found = read_keys(services)
    trouble = found.clock_warning()
    if trouble:  # the times are right, but the states may be wrong
        print(f"anonauth: {trouble}", file=sys.stderr)
    if as_json:
        print_json(found.as_json())
    else:
        print_table(found.as_table())


@keys_app.command("rotate")
def keys_rotate(
    *,
    use: Annotated[
        KeyUseOption, typer.Option(help="Key for access or for refresh tokens.")
    ] = KeyUseOption.access,
    stack: StackOption = None,
    table: TableOption = None,
    kms_key: KmsKeyOption = None,
    region: RegionOption = None,
    endpoint_url: EndpointUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the next key take over early. All tokens stay valid.

    The standby access key signs at once, or as soon as it has been public for a day, so
    that every verifier knows it. A new refresh key signs after ten minutes. Repeating
    the command within a day creates no further keys.

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


# An id is 43 characters of base64url, so one in 64 begins with a hyphen.
_ESCAPE = "(Put -- before a KID that begins with --: `revoke -- KID`.)"


class _RevokeCommand(TypedHelpCommand):
    """A command whose argument may begin with a hyphen, as a key's id may."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `-hK` as an id, but neither `-h` nor `--stak`."""
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
            help="The key's id, or a beginning of it that is unique. Put an id that "
            "begins with -- last, after a separate --.",
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
    """Revoke a key, so that all tokens it has signed are refused.

    This service refuses them within 5 minutes, other verifiers when they fetch the key
    set again. The command says what will happen, and asks. Revoking an access key ends
    no session, but for up to 5 minutes warm functions still sign with it, and others
    refuse these tokens. Revoking a refresh key ends the sessions that it signed, and
    their anonymous users are lost for good.

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
