"""The commands of `anonauth` and their options. Other modules do the work."""

import json
import logging
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anonauth.cli.doctor.command import doctor_command
from anonauth.cli.events.commands import events_app
from anonauth.cli.keys.commands import keys_app
from anonauth.cli.options import DEFAULT_ENDPOINT
from anonauth.cli.restore.command import restore_command
from anonauth.cli.signals import catch_stop_signals
from anonauth.cli.stats.command import stats_command
from anonauth.cli.typer_help import CommandGroup
from anonauth.cli.users.commands import users_app
from anonauth.cli.version import code_version
from anonauth.local.command_error import CommandError
from anonauth.local.names import ENVIRONMENT_FILE

if TYPE_CHECKING:
    from anonauth.local.server import LocalServer

# Differs from the addresses in README and on the page. A reader who tries one after
# the other would find the same address taken.
_EXAMPLE_ACCOUNT = '{"email": "alan@example.com", "password": "correct horse"}'


def _add_groups(command: typer.Typer, **groups: typer.Typer) -> typer.Typer:
    for name, group in groups.items():
        command.add_typer(group, name=name)
    return command


app = _add_groups(
    CommandGroup(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    ),
    events=events_app,
    keys=keys_app,
    users=users_app,
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if asked:
        print(f"anonauth {code_version()}")
        raise typer.Exit


@app.callback()
def anonauth(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
) -> None:
    """Anonymous authentication: run the service here, and operate a deployment.

    Start with `anonauth serve`, and copy the curl line that it prints.
    """
    del version


@app.command()
def serve(  # noqa: PLR0913 - an option each
    *,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port of the service. 0 takes a free port."
        ),
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on. 0.0.0.0 listens on all.")
    ] = "127.0.0.1",
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Address that clients use, if it differs from host and port. "
            "Tokens name it as their issuer.",
            show_default=False,
        ),
    ] = None,
    app_id: Annotated[
        list[str] | None,
        typer.Option(
            help="Client app id to serve. Repeat for several. "
            "By default those in template.yaml.",
            show_default=False,
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Parameter of template.yaml. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Provider settings, a JSON document that lists each app's providers. "
            "It is read once, so start again after a change. By default every app has "
            "e-mail/password and API keys.",
            show_default=False,
        ),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            help="Use the AWS services at this URL (DynamoDB and its streams, KMS, "
            "SSM, SES, EventBridge) instead of the built-in ones. Missing resources "
            "are created. Provider settings found there are used, unless --settings "
            "replaces them.",
            show_default=False,
        ),
    ] = None,
    aws_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Expose the built-in AWS services on this port. 0 takes a free port.",
            show_default=False,
        ),
    ] = None,
    aws_host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Further address for --aws-port, such as that of Docker's bridge. By "
            "default 127.0.0.1 alone, even with --host: any client of this port can "
            "read the secrets in the provider settings.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="SAM template. By default template.yaml in this directory or above."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep users, keys, settings and the clock in this directory for the "
            "next start, even after kill -9. By default they are kept in memory. The "
            "files are plain text.",
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Print the functions' whole log, as --parameter LogLevel=INFO does.",
        ),
    ] = False,
) -> None:
    """Run the whole API here, without Docker or an AWS account. Ctrl-C stops it.

    The real functions answer, behind the routes, CORS and throttling of
    template.yaml. Without `--data` every start begins empty. Open its address in a
    browser for a page that shows each call it makes.

    **Examples**

    * `anonauth serve`
    * `anonauth serve --port 0 --app-id myapp-abcde --app-id other-fghij`
    * `anonauth serve --parameter ThrottlingRateLimit=5 --verbose`
    * `anonauth serve --data users`, which keeps its users for the next start
    * `anonauth serve --aws-port 4566`, then in another terminal
      `anonauth sample logout | sam local invoke LogoutFunction -e -
      --env-vars events/env.local.json`

    **Move the clock**, to see what 90 days do to a user:

    * `curl -d '{"advance": "P91D"}' http://127.0.0.1:8080/_local/clock`

    **Read the mails** that are not really sent, to confirm an address or reset a
    password (by default the provider settings turn mail off):

    * `curl http://127.0.0.1:8080/_local/outbox`, and `-X DELETE` to empty it

    **Read the events** that an app could react to, such as an expired user:

    * `curl http://127.0.0.1:8080/_local/events`, and `-X DELETE` to empty the list
    """
    parameters = dict(map(_split_parameter, parameter or ()))
    if verbose:
        parameters.setdefault("LogLevel", "INFO")
    log = logging.getLogger("anonauth.serve")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.propagate = False
    with suppress(KeyboardInterrupt), catch_stop_signals() as wait:
        # This import loads the functions, which `anonauth --help` does not need.
        from anonauth.local.server import LocalServer  # noqa: PLC0415

        with LocalServer(
            host=host,
            port=port,
            base_url=base_url,
            app_ids=tuple(app_id or ()),
            parameters=parameters,
            endpoint_url=endpoint_url,
            aws_port=aws_port,
            aws_host=aws_host,
            template=template,
            settings=settings,
            data=data,
        ) as server:
            wait(partial(_print_addresses, server))
    print("anonauth has stopped")


@app.command()
def sample(
    name: Annotated[
        str, typer.Argument(help="Name of a file in events/, without .json.")
    ],
    *,
    endpoint_url: Annotated[
        str, typer.Option(help="URL of DynamoDB and KMS.")
    ] = DEFAULT_ENDPOINT,
    env_vars: Annotated[
        Path | None,
        typer.Option(
            help="The functions' environment variables. "
            f"By default events/{ENVIRONMENT_FILE}.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="SAM template beside the directory events/. By default template.yaml "
            "in this directory or above.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print a sample event with a fresh token, to pipe into `sam local invoke`.

    First run `anonauth serve --aws-port 4566` in another terminal. The command creates
    a user there, permanent if the function takes no other, and prints its token in the
    event. An e-mail address in the event is replaced by a new one. The steps before the
    event are done as well: an account to log in with is registered, a mail's token is
    created.

    **Examples**

    * `anonauth sample logout | sam local invoke LogoutFunction -e -
      --env-vars events/env.local.json`
    * `anonauth sample login`, which needs no token and no service
    """
    from anonauth.local.sample_event import fill_event  # noqa: PLC0415
    from anonauth.local.template import find_template  # noqa: PLC0415

    events = (template or find_template(Path.cwd())).parent / "events"
    filled = fill_event(
        name,
        events=events,
        env_vars=env_vars or events / ENVIRONMENT_FILE,
        endpoint_url=endpoint_url,
    )
    print(json.dumps(filled, indent=2))


doctor = app.command("doctor")(doctor_command)
restore = app.command("restore")(restore_command)
stats = app.command("stats")(stats_command)


def _split_parameter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--parameter {text}: expected KEY=VALUE")
    return key, value


def _print_addresses(server: "LocalServer") -> None:
    from anonauth.domain.providers import USERPASS  # noqa: PLC0415 - not for help

    base_url, first_app = server.base_url, server.app_ids[0]
    providers = f"{base_url}/api/client/v2.0/app/{first_app}/auth/providers"
    # Programs read the first line too.
    print(f"anonauth is listening on {base_url}")
    if server.page_url:
        print(f"open it in a browser: {server.page_url}")
    print(f"app ids: {', '.join(server.app_ids)}")
    print(f"providers of {first_app}: {', '.join(['anon-user', *server.providers])}")
    if server.deployment.data_summary:
        print(f"data in {server.options.data}: {server.deployment.data_summary}")
    if server.fault_on_aws:
        print(f"AWS would refuse these settings: {server.fault_on_aws}")
    if server.sends_mail:
        print(f"mails: {base_url}/_local/outbox")
    if server.deployment.publishes_events:
        print(f"events: {base_url}/_local/events")
    else:
        print("no events: the engine has no streams")
    if server.aws_url:
        print(f"AWS: {' and '.join(server.aws_urls)}")
    if server.needs_base_url:
        print("for clients on other machines, give --base-url http://HOST:PORT")
    if server.asks_challenge:
        print(
            f"\nlog in: {first_app} requires a challenge. POST its widget's answer as "
            f"options.challenge to\n  {providers}/anon-user/login"
        )
    else:
        print(f"\nlog in:\n  curl -X POST {providers}/anon-user/login")
    if USERPASS in server.providers:
        print(
            f"\nregister an e-mail address:\n  curl -d '{_EXAMPLE_ACCOUNT}' "
            f"{providers}/{USERPASS}/register"
        )
    print("\nCtrl-C stops it", flush=True)
