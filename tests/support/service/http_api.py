"""The HTTP API without a socket: what `requests` sends goes through the gateway."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from anonauth.local.api_gateway import Gateway, HttpRequest
from anonauth.local.template import read_template
from support.contracts.openapi_contract import require_documented
from support.project.tools import ROOT
from support.service.harness import HOST, Deployment

URL = f"https://{HOST}"


class HttpApi(HTTPAdapter):
    """The functions behind the gateway of `anonauth serve`, as a transport of requests.

    The gateway's throttling is left out, because it counts real seconds. `undocumented`
    collects answers that `openapi.json` does not describe, unknown fields included.
    """

    def __init__(self, service: Deployment) -> None:
        super().__init__()
        self.undocumented: list[str] = []
        self._service = service
        template = read_template(ROOT / "template.yaml")
        self._gateway = Gateway(
            replace(template, throttling=None, route_throttling={}),
            invoke=self._invoke,
            clock=lambda: service.now,
            domain_name=HOST,
        )

    def send(  # type: ignore[override] # the parameters left out are about sockets
        self, request: requests.PreparedRequest, **_: object
    ) -> requests.Response:
        body = request.body or b""
        assert request.method is not None
        assert isinstance(body, str | bytes)
        answer = self._gateway.answer(
            HttpRequest(
                request.method,
                request.path_url,
                tuple((_text(k), _text(v)) for k, v in request.headers.items()),
                body.encode() if isinstance(body, str) else body,
            )
        )
        return self.build_response(
            request,
            HTTPResponse(
                io.BytesIO(b"" if request.method == "HEAD" else answer.body),
                HTTPHeaderDict(answer.headers),
                answer.status,
                preload_content=False,
            ),
        )

    @contextmanager
    def in_place_of_the_network(self) -> Iterator[None]:
        """Route all sessions of requests here, whatever adapters they have."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests.Session, "get_adapter", lambda *_, **__: self)
            yield

    def _invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        answer = self._service.invoke(function, event)
        try:
            require_documented(
                event["routeKey"],
                answer["statusCode"],
                answer["headers"],
                answer["body"],
            )
        except AssertionError as exc:
            self.undocumented.append(str(exc))
        return answer


def _text(value: str | bytes) -> str:
    # On the wire a header is bytes; API Gateway decodes them as Latin-1.
    return value.decode("latin-1") if isinstance(value, bytes) else value
