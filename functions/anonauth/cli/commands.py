"""The commands and their options; what they do is in the modules beside this one."""

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
from anonauth.cli.signals import catch_stop_signals
from anonauth.cli.stats.command import stats_command
from anonauth.cli.typer_help import CommandGroup
from anonauth.cli.users.commands import users_app
from anonauth.local.command_error import CommandError
from anonauth.local.names import ENVIRONMENT_FILE

if TYPE_CHECKING:
    from anonauth.local.server import LocalServer

# Not the address of README's sessions, nor the page's: it would be taken for whoever
# tries one after the other.
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
        from importlib.metadata import version  # noqa: PLC0415

        print(f"anonauth {version('anonauth')}")
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
    """Anonymous authentication: the service on this machine, and an operator's tools.

    Start with `anonauth serve`, and copy the curl line that it prints.
    """
    del version


@app.command()
def serve(  # noqa: PLR0913 - an option each
    *,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of the service; 0 for any free one."),
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every one.")
    ] = "127.0.0.1",
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Address that clients use, if it is not that of host and port; "
            "it is the issuer in tokens.",
            show_default=False,
        ),
    ] = None,
    app_id: Annotated[
        list[str] | None,
        typer.Option(
            help="Client app id to serve; repeat for several. "
            "By default those of template.yaml.",
            show_default=False,
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Parameter of template.yaml; repeat for several.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The settings document: which providers each app has. Read once: "
            "start again after a change. By default e-mail/password and API keys "
            "are on for every app.",
            show_default=False,
        ),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            help="Another AWS (DynamoDB and its streams, KMS, SSM, SES, EventBridge) "
            "than the built-in one, which forgets all at the end. What is absent there "
            "is made; a settings document that is there counts unless --settings "
            "replaces it.",
            show_default=False,
        ),
    ] = None,
    aws_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Expose the built-in AWS on this port; 0 for any.",
            show_default=False,
        ),
    ] = None,
    aws_host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where to expose it, by default on 127.0.0.1 whatever --host is: who "
            "reaches it reads the settings' secrets.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(help="By default the template.yaml here or above."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep users, keys, settings and the clock in this directory, for the "
            "next start: also after kill -9. By default they live in memory. All is "
            "in plain text there.",
            show_default=False,
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Print the functions' whole log too: --parameter LogLevel=INFO.",
        ),
    ] = False,
) -> None:
    """Serve the whole API here: no Docker, no AWS account. Ctrl-C stops it.

    The real functions answer behind the routes, CORS and throttling of
    template.yaml; without `--data` each start is a fresh one. At its address a
    page for your browser shows each call that it makes.

    **Examples**

    * `anonauth serve`
    * `anonauth serve --port 0 --app-id myapp-abcde --app-id other-fghij`
    * `anonauth serve --parameter ThrottlingRateLimit=5 --verbose`
    * `anonauth serve --data users`, which finds its users again at the next start
    * `anonauth serve --aws-port 4566`, then in another terminal
      `anonauth sample logout | sam local invoke LogoutFunction -e -
      --env-vars events/env.local.json`

    **Travel in time**, to see what 90 days do to a user:

    * `curl -d '{"advance": "P91D"}' http://127.0.0.1:8080/_local/clock`

    **Read the mails** that nobody gets, to confirm an address or reset a password
    (the settings document says whether mail is sent; by default none is):

    * `curl http://127.0.0.1:8080/_local/outbox`, and `-X DELETE` to empty it

    **Read the events** that an app could build on, such as that a user has expired:

    * `curl http://127.0.0.1:8080/_local/events`, likewise
    """
    parameters = dict(map(_split_parameter, parameter or ()))
    if verbose:
        parameters.setdefault("LogLevel", "INFO")
    log = logging.getLogger("anonauth.serve")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.propagate = False
    with suppress(KeyboardInterrupt), catch_stop_signals() as wait:
        # Brings the functions along; `anonauth --help` does without.
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
    name: Annotated[str, typer.Argument(help="A file of events/, without .json.")],
    *,
    endpoint_url: Annotated[
        str, typer.Option(help="Where DynamoDB and KMS are.")
    ] = DEFAULT_ENDPOINT,
    env_vars: Annotated[
        Path | None,
        typer.Option(
            help=f"The functions' variables; by default events/{ENVIRONMENT_FILE}.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="The events are those of the directory beside it. By default the "
            "template.yaml here or above.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print an event with a fresh token in it, to be piped into `sam local invoke`.

    Needs `anonauth serve --aws-port 4566` in another terminal: the token is that of a
    user who is made there for it, permanent if the function takes no other. An e-mail
    address in the event is replaced by a new one, and all that comes before the event
    is done there: an account to log in with is registered, a mail's token is made.

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


app.command("doctor")(doctor_command)
app.command("stats")(stats_command)


def _split_parameter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--parameter {text}: expected KEY=VALUE")
    return key, value


def _print_addresses(server: "LocalServer") -> None:
    from anonauth.domain.providers import USERPASS  # noqa: PLC0415 - help does without

    base_url, first_app = server.base_url, server.app_ids[0]
    providers = f"{base_url}/api/client/v2.0/app/{first_app}/auth/providers"
    # The first line is for programs too.
    print(f"anonauth is listening on {base_url}")
    if server.page_url:
        print(f"open it in a browser: {server.page_url}")
    print(f"app ids: {', '.join(server.app_ids)}")
    print(f"providers of {first_app}: {', '.join(['anon-user', *server.providers])}")
    if server.deployment.data_summary:
        print(f"data in {server.options.data}: {server.deployment.data_summary}")
    if server.fault_on_aws:
        print(f"not for AWS, which refuses the settings: {server.fault_on_aws}")
    if server.sends_mail:
        print(f"mails: {base_url}/_local/outbox")
    if server.deployment.publishes_events:
        print(f"events: {base_url}/_local/events")
    else:
        print("no events: the engine has no streams")
    if server.aws_url:
        print(f"AWS: {server.aws_url}")
    if server.needs_base_url:
        print("for clients elsewhere, name this machine: --base-url http://HOST:PORT")
    if server.asks_challenge:
        print(
            f"\nlog in: {first_app} asks for a challenge; POST its widget's answer, as "
            f"options.challenge, to\n  {providers}/anon-user/login"
        )
    else:
        print(f"\nlog in:\n  curl -X POST {providers}/anon-user/login")
    if USERPASS in server.providers:
        print(
            f"\nregister an e-mail address:\n  curl -d '{_EXAMPLE_ACCOUNT}' "
            f"{providers}/{USERPASS}/register"
        )
    print("\nCtrl-C stops it", flush=True)
