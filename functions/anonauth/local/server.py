"""`anonauth serve`: the whole service in one process, on one port."""

import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from anonauth.local import aws
from anonauth.local.api_gateway import Gateway, HttpRequest, HttpResponse
from anonauth.local.command_error import CommandError
from anonauth.local.control import LocalApi
from anonauth.local.guard import EVERY_ADDRESS, guard_application, is_loopback
from anonauth.local.http import HttpServer, wsgi_application
from anonauth.local.journal import DataDirectory, StateNotSaved
from anonauth.local.lambdas import LocalDeployment
from anonauth.local.playground import PAGE_PATH
from anonauth.local.settings_file import (
    enabled_providers,
    fault_on_aws,
    mail_senders,
    read_settings_file,
)
from anonauth.local.template import find_template, read_template

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOCAL_PARAMETERS = {
    # The functions' own logs: on AWS INFO goes to CloudWatch, here to the terminal.
    "LogLevel": "ERROR",
    # Whoever tries something out may do so again and again.
    "MailsPerNetwork": "0",
    "SettingsParameter": "/anonauth/settings",
}
"""Of the template, where the user of the command says nothing else."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve.

    Args:
        host: Address to listen on.
        port: Port of the service; 0 for any free one.
        app_ids: Instead of those of the template.
        parameters: Of the template.
        template: Path of the template; None to look for it.
        endpoint_url: Of another AWS than the built-in one.
        aws_port: Where to expose the built-in one; 0 for any free port.
        aws_host: Address to expose it on; None for this machine alone, whatever `host`
            is: who reaches it reads the secrets of the settings document.
        base_url: Public address, if it is not that of host and port.
        settings: File with the settings document; None for e-mail/password and API
            keys, or, with another AWS or `data`, for the document that is there
            already.
        data: Directory in which all survives a restart; None for memory.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    app_ids: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    template: Path | None = None
    endpoint_url: str | None = None
    aws_port: int | None = None
    aws_host: str | None = None
    base_url: str | None = None
    settings: Path | None = None
    data: Path | None = None


class LocalServer:
    """The service on a port of this machine; a context manager.

    Keyword arguments are those of `ServerOptions`, with any free port by default:

        with LocalServer(app_ids=("myapp-abcde",)) as server:
            urlopen(f"{server.base_url}/api/client/v2.0/app/myapp-abcde/location")
    """

    def __init__(self, *, port: int = 0, **options: Any) -> None:
        self.options = ServerOptions(port=port, **options)
        self.port = port
        self.base_url = ""
        self.aws_url = ""
        self.deployment: LocalDeployment
        self._local: LocalApi
        self._gateway: Gateway
        self._closing = ExitStack()

    @property
    def app_ids(self) -> tuple[str, ...]:
        """The client app ids that are served."""
        return self.deployment.template.app_ids

    @property
    def providers(self) -> list[str]:
        """The providers that are on for the first app, without the anonymous one."""
        return enabled_providers(self.deployment.settings, self.app_ids[0])

    @property
    def asks_challenge(self) -> bool:
        """Whether an anonymous login to the first app needs `options.challenge`."""
        return self.deployment.settings.app(self.app_ids[0]).challenge is not None

    @property
    def fault_on_aws(self) -> str:
        """What AWS refuses in the settings document; empty if nothing."""
        return fault_on_aws(self.deployment.settings)

    @property
    def sends_mail(self) -> bool:
        """Whether an app has mail sent, into the outbox."""
        return bool(mail_senders(self.deployment.settings))

    @property
    def page_url(self) -> str:
        """Where to open the playground; empty if it listens for other machines only.

        That is not `base_url` if clients have one of their own: the page is for this
        machine.
        """
        host = self.options.host
        if host not in EVERY_ADDRESS and not is_loopback(host):
            return ""
        return _url(host, self.port) + PAGE_PATH

    @property
    def needs_base_url(self) -> bool:
        """Whether it listens for other machines, but `base_url` is for this one."""
        return self.options.host in EVERY_ADDRESS and self.options.base_url is None

    def __enter__(self) -> Self:
        """Serve, in threads of its own.

        Raises:
            CommandError: See `HttpServer`, `LocalDeployment`, `read_template` and
                `read_settings_file`.
        """
        options = self.options
        if not options.host:  # as from a variable that is not set
            raise CommandError(
                "--host is empty; 0.0.0.0 is every address of this machine"
            )
        if options.endpoint_url and options.aws_port is not None:
            raise CommandError(
                "--aws-port exposes the built-in AWS; leave --endpoint-url"
            )
        if options.endpoint_url and options.data is not None:
            raise CommandError("--data keeps the built-in AWS; leave --endpoint-url")
        if options.aws_host is not None and options.aws_port is None:
            raise CommandError("--aws-host is for --aws-port, which is not given")
        if options.aws_host == "":
            raise CommandError("--aws-host is empty; leave it for this machine alone")
        parameters = {**LOCAL_PARAMETERS, **options.parameters}
        if options.app_ids:
            parameters["AppIds"] = ",".join(options.app_ids)
        path = options.template or find_template(Path.cwd())
        template = read_template(path, parameters)
        settings = (
            None if options.settings is None else read_settings_file(options.settings)
        )
        if settings and not template.settings_parameter:
            raise CommandError(
                "--settings needs a SettingsParameter, which is set to none"
            )
        data = None if options.data is None else DataDirectory(options.data)
        with ExitStack() as opening:
            http_server = HttpServer(options.host, options.port)
            opening.callback(http_server.close)
            self.port = http_server.port
            self.base_url = options.base_url or _url(options.host, http_server.port)
            self.deployment = opening.enter_context(
                LocalDeployment(
                    template,
                    base_url=self.base_url,
                    page_origins=tuple(
                        _url(host, http_server.port)
                        for host in ("127.0.0.1", "localhost", "::1", options.host)
                    ),
                    endpoint_url=options.endpoint_url,
                    settings=settings,
                    data=data,
                )
            )
            self._local = LocalApi(self.deployment)
            self._gateway = Gateway(
                template,
                invoke=self.deployment.invoke,
                clock=self.deployment.clock,
                domain_name=urlsplit(self.base_url).hostname or options.host,
                refused_calls=self.deployment.refused_calls,
            )
            http_server.serve(wsgi_application(self._answer))
            if options.aws_port is not None:
                host = options.aws_host or "127.0.0.1"
                exposed = HttpServer(host, options.aws_port, option="--aws-port")
                opening.callback(exposed.close)
                everything = _save_after_calls(
                    aws.moto_application(self.deployment.lock), self.deployment
                )
                exposed.serve(guard_application(everything, host))
                self.aws_url = _url(host, exposed.port)
            self._closing = opening.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()

    def advance(self, duration: timedelta) -> datetime:
        """Move the service's clock forward; see `LocalDeployment.advance`."""
        return self.deployment.advance(duration)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if LocalApi.takes(request):
            return self._local.answer(request)
        return self._gateway.answer(request)


def _save_after_calls(
    application: "WSGIApplication", deployment: LocalDeployment
) -> "WSGIApplication":
    """Keep what a call to the engine has changed before it is answered."""

    def answer(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = list(application(environ, start_response))
        try:
            deployment.save_outside_changes()
        except StateNotSaved:
            headers = [("content-type", "application/json")]
            start_response("503 Service Unavailable", headers, sys.exc_info())
            return [b'{"message":"what it changed cannot be kept"}']
        return body

    return answer


def _url(host: str, port: int) -> str:
    if host in EVERY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
