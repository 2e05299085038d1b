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
from anonauth.local.names import CUSTOM_RESOURCE_PATH
from anonauth.local.playground import PAGE_PATH
from anonauth.local.settings_file import (
    enabled_providers,
    fault_on_aws,
    read_settings_file,
    sends_mail,
)
from anonauth.local.template import find_template, read_template

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOCAL_PARAMETERS = {
    # At INFO the functions' logs would fill the terminal. On AWS they go to CloudWatch.
    "LogLevel": "ERROR",
    # A developer may send as many mails as a trial takes.
    "MailsPerNetwork": "0",
    "SettingsParameter": "/anonauth/settings",
}
"""The template's parameters here, unless the user sets them."""

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of `anonauth serve`.

    Args:
        host: Address to listen on.
        port: Port of the service; 0 for any free port.
        app_ids: App ids to serve, in place of the template's.
        parameters: Parameters of the template.
        template: Path of the template; None to look for it.
        endpoint_url: Address of an AWS emulator, in place of the built-in AWS.
        aws_port: Port that exposes the built-in AWS; 0 for any free port.
        aws_host: Address that exposes the built-in AWS, beside 127.0.0.1. None for
            this machine alone, whatever `host` is: a client of that port can read the
            secrets in the settings document.
        base_url: Public address, if it is not that of host and port.
        settings: File with the settings document. None for e-mail/password and API
            keys, or, with an emulator or `data`, for the document that is stored.
        data: Directory that keeps all data across restarts; None for memory.
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

    The keyword arguments are the fields of `ServerOptions`. By default it takes any
    free port:

        with LocalServer(app_ids=("myapp-abcde",)) as server:
            urlopen(f"{server.base_url}/api/client/v2.0/app/myapp-abcde/location")
    """

    def __init__(self, *, port: int = 0, **options: Any) -> None:
        self.options = ServerOptions(port=port, **options)
        self.port = port
        self.base_url = ""
        self.aws_urls: tuple[str, ...] = ()
        self.deployment: LocalDeployment
        self._local: LocalApi
        self._gateway: Gateway
        self._closing = ExitStack()

    @property
    def aws_url(self) -> str:
        """The URL of the built-in AWS on this machine; empty without `aws_port`."""
        return self.aws_urls[0] if self.aws_urls else ""

    @property
    def app_ids(self) -> tuple[str, ...]:
        """The ids of the apps that are served."""
        return self.deployment.template.app_ids

    @property
    def providers(self) -> list[str]:
        """The providers enabled for the first app, without the anonymous one."""
        return enabled_providers(self.deployment.settings, self.app_ids[0])

    @property
    def asks_challenge(self) -> bool:
        """Whether an anonymous login to the first app needs `options.challenge`."""
        return self.deployment.settings.app(self.app_ids[0]).challenge is not None

    @property
    def fault_on_aws(self) -> str:
        """Why AWS would refuse the settings document; empty if it would not."""
        return fault_on_aws(self.deployment.settings)

    @property
    def sends_mail(self) -> bool:
        """Whether an app sends mail, which arrives in the outbox."""
        return sends_mail(self.deployment.settings, self.app_ids)

    @property
    def page_url(self) -> str:
        """The playground's URL; empty if the service listens for other machines only.

        The page is for this machine, so its URL does not use the option `base_url`.
        """
        host = self.options.host
        if host not in EVERY_ADDRESS and not is_loopback(host):
            return ""
        return _url(host, self.port) + PAGE_PATH

    @property
    def needs_base_url(self) -> bool:
        """Whether other machines can connect, but have no `base_url` to do so."""
        return self.options.host in EVERY_ADDRESS and self.options.base_url is None

    def __enter__(self) -> Self:
        """Start the service, in threads of its own.

        Raises:
            CommandError: See `HttpServer`, `LocalDeployment`, `read_template` and
                `read_settings_file`.
        """
        options = self.options
        if not options.host:  # perhaps from an unset shell variable
            raise CommandError(
                "--host is empty; 0.0.0.0 is every address of this machine"
            )
        if options.endpoint_url and options.aws_port is not None:
            raise CommandError(
                "--aws-port exposes the built-in AWS; leave out --endpoint-url"
            )
        if options.endpoint_url and options.data is not None:
            raise CommandError(
                "--data keeps the built-in AWS; leave out --endpoint-url"
            )
        if options.aws_host is not None and options.aws_port is None:
            raise CommandError("--aws-host needs --aws-port")
        if options.aws_host == "":
            raise CommandError(
                "--aws-host is empty; leave it out for this machine alone"
            )
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
                "--settings needs the parameter SettingsParameter, which is empty"
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
                self.aws_urls = self._expose_aws(options.aws_port, opening)
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

    def _expose_aws(self, port: int, opening: ExitStack) -> tuple[str, ...]:
        # On 127.0.0.1 too: `anonauth sample` and the operator's commands are there,
        # while a container reaches only the address of Docker's bridge.
        asked = self.options.aws_host or _LOOPBACK
        hosts = [asked] if asked in EVERY_ADDRESS else [_LOOPBACK, asked]
        everything = _accept_custom_resources(
            _save_after_calls(
                aws.moto_application(self.deployment.lock), self.deployment
            )
        )
        urls = []
        for host in dict.fromkeys(hosts):
            exposed = HttpServer(host, port, option="--aws-port")
            opening.callback(exposed.close)
            exposed.serve(guard_application(everything, host))
            port = exposed.port
            urls.append(_url(host, port))
        return tuple(urls)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if LocalApi.takes(request):
            return self._local.answer(request)
        return self._gateway.answer(request)


def _save_after_calls(
    application: "WSGIApplication", deployment: LocalDeployment
) -> "WSGIApplication":
    """Save the changes of each call to the built-in AWS before its answer is sent."""

    def answer(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = list(application(environ, start_response))
        try:
            deployment.save_outside_changes()
        except StateNotSaved:
            headers = [("content-type", "application/json")]
            start_response("503 Service Unavailable", headers, sys.exc_info())
            return [b'{"message":"the change cannot be saved"}']
        return body

    return answer


def _accept_custom_resources(application: "WSGIApplication") -> "WSGIApplication":
    """Accept a custom resource's answer, as the signed URL of CloudFormation does."""

    def answer(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if asked != ("PUT", CUSTOM_RESOURCE_PATH):
            return application(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("200 OK", [("content-length", "0")])
        return [b""]

    return answer


def _url(host: str, port: int) -> str:
    if host in EVERY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
