"""Checks of `anonauth doctor` over HTTP, as clients and verifiers call the API."""

import functools
import json
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)

from anonauth.cli.doctor.check_result import CheckResult, failure, ok, warning
from anonauth.cli.doctor.probe import DeploymentProbe
from anonauth.domain.signing_keys import RingKey

MOST_DIFFERENCE = timedelta(seconds=60)
"""How far two clocks may differ when a token is checked (design.md §5)."""

# A function's copy of the ring is at most five minutes old (design.md §5).
_COPY_AGE = timedelta(minutes=5)

SECRET_VARIABLE = "ANONAUTH_ORIGIN_SECRET"  # noqa: S105 - a name
"""Environment variable with the CDN's secret. Other users see a command's options."""

_PROFILE = "/api/client/v2.0/auth/profile"

_MOST_BYTES = 256 * 1024

_ISSUER = "Issuer"
_ADDRESS = "check the stack's DomainName or BaseUrl, and any proxy in front of the API"
_LOG = "the log of the stack's DiscoveryFunction says why"


class NoAnswer(Exception):
    """No answer came. The text says why."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer, the time it took, and the server's date."""

    status: int
    body: Any
    took: timedelta
    date: datetime | None


def check_key_set(probe: DeploymentProbe) -> CheckResult:
    """Check that verifiers get the ring's public keys, and in time."""
    answer = fetch(probe, probe.deployment.output("Jwks"))
    if answer.status != HTTPStatus.OK:
        return failure(f"answers {answer.status}: no API can verify a token", _LOG)
    took, limit = answer.took.total_seconds(), probe.jwks_limit.total_seconds()
    if answer.took > probe.jwks_limit:
        return failure(
            f"took {took:.2f} s: API Gateway's authorizers give up after {limit:g} s",
            "run doctor again, from a network near the stack",
        )
    told = f"answers in {took:.2f} s"
    ring = probe.ring
    if ring is None:
        return ok(f"{told}; there is no ring to compare it with")
    found = {key.get("kid") for key in _only_dicts(get_member(answer.body, "keys"))}
    now = probe.clock()
    published = [key for key in ring.of("access") if not key.is_spent(now)]
    missing = [key for key in published if key.kid not in found]
    strange = found - {key.kid for key in published}
    if not found or strange or any(not _is_new(key, now) for key in missing):
        return failure(
            f"{told}, but with other keys than the ring's",
            "within 5 minutes after a change of keys this is normal, so run doctor "
            f"again; otherwise {_LOG}",
        )
    if missing:
        return warning(
            f"{told}, without the newest key", "run doctor again in 5 minutes"
        )
    return ok(f"{told}, with the {len(published)} public keys of the ring")


def check_issuer(probe: DeploymentProbe) -> CheckResult:
    """Check that verifiers find the issuer that tokens name."""
    issuer = probe.deployment.output(_ISSUER)
    answer = fetch(probe, f"{issuer}/.well-known/openid-configuration")
    if answer.status != HTTPStatus.OK:
        return failure(f"answers {answer.status}", _LOG)
    wanted = {"issuer": issuer, "jwks_uri": probe.deployment.output("Jwks")}
    for name, value in wanted.items():
        if (told := get_member(answer.body, name)) != value:
            return failure(
                f"{name} is {told!r}, but the stack's is {value!r}: "
                "verifiers refuse tokens",
                _ADDRESS,
            )
    return ok(issuer)


def check_location(probe: DeploymentProbe) -> CheckResult:
    """Check that clients are sent to the right address."""
    answer = fetch(probe, f"{probe.deployment.output(_ISSUER)}/location")
    if answer.status != HTTPStatus.OK:
        return failure(f"answers {answer.status}: no SDK can start", _LOG)
    wanted = probe.deployment.output("BaseUrl")
    if (hostname := get_member(answer.body, "hostname")) != wanted:
        return failure(
            f"sends clients to {hostname!r}, but the stack's address is {wanted!r}",
            _ADDRESS,
        )
    return ok(f"sends clients to {wanted}")


def check_cdn(probe: DeploymentProbe) -> CheckResult:
    """Check that the API answers calls by the CDN, and no calls that bypass it.

    An answered call is a 401 here, because it has no token. A refused call is a 404.
    """
    public = probe.parameter("BaseUrl")
    if not public:
        return ok("none: the stack has no BaseUrl")
    # An emulator of AWS has no TLS.
    scheme = "https" if probe.deployment.endpoint_url is None else "http"
    origin = f"{scheme}://{probe.deployment.output('OriginDomain')}"
    status = fetch(probe, f"{public}{_PROFILE}").status
    if status != HTTPStatus.UNAUTHORIZED:
        return failure(
            f"a call without a token through {public} gets {status}, not 401",
            "check the CDN, and that it sends X-Origin-Verify with the secret whose "
            "hash is in OriginSecretHashes",
        )
    if probe.origin_secret:
        sent = {"X-Origin-Verify": probe.origin_secret}
        status = fetch(probe, f"{origin}{_PROFILE}", headers=sent).status
        if status != HTTPStatus.UNAUTHORIZED:
            return failure(
                f"a call with the secret of {SECRET_VARIABLE} gets {status}, not 401",
                "deploy its hash, beside the present one, as OriginSecretHashes",
            )
    return _judge_bypass(origin, fetch(probe, f"{origin}{_PROFILE}").status)


def _judge_bypass(origin: str, status: int) -> CheckResult:
    if status == HTTPStatus.NOT_FOUND:
        return ok("calls through it are answered, and calls that bypass it are not")
    if status == HTTPStatus.UNAUTHORIZED:
        return warning(
            f"{origin} also answers calls that bypass the CDN",
            "deploy the hash of a secret as OriginSecretHashes",
        )
    return failure(
        f"a call that bypasses the CDN gets {status}, not 404",
        "the log of the stack's ProfileFunction says why",
    )


def check_clock(probe: DeploymentProbe) -> CheckResult:
    """Check that this machine's clock, which judges the keys, agrees with the API's."""
    try:
        answer = fetch(probe, f"{probe.deployment.output(_ISSUER)}/location")
    except NoAnswer:
        return CheckResult("unknown", "the API gives no answer to compare it with")
    if answer.date is None:
        return CheckResult("unknown", "the API's answer has no date")
    ahead = probe.clock() - answer.date
    seconds = round(abs(ahead).total_seconds())
    told = (
        f"this machine is {seconds} s {'behind' if ahead < timedelta(0) else 'ahead'}"
    )
    if abs(ahead) > MOST_DIFFERENCE:
        return failure(
            f"{told}: `anonauth keys` would use it, and tokens seem early or expired",
            "set this machine's clock",
        )
    return ok(f"{told}, compared with the API")


@functools.cache
def _tls_context() -> ssl.SSLContext:
    # Reading the system's certificate authorities takes 20 ms.
    return ssl.create_default_context()


class _NoRedirect(HTTPRedirectHandler):
    # This service sends no redirects, and an authorizer follows none.
    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        del req, fp, code, msg, headers, newurl


def fetch(
    probe: DeploymentProbe,
    url: str,
    method: str = "GET",
    *,
    token: str | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpAnswer:
    """Send a request to the API.

    Args:
        token: The bearer token, if the call takes one.
        body: Sent as JSON.
        headers: Further headers.

    Raises:
        NoAnswer: No answer came in time, or the URL would send secrets in clear.
    """
    if urlsplit(url).scheme != "https" and probe.deployment.endpoint_url is None:
        raise NoAnswer(f"{url} is not https")
    opener = build_opener(_NoRedirect, HTTPSHandler(context=_tls_context()))
    patience = probe.patience.total_seconds()
    fields = dict(headers or {})
    if token:
        fields["Authorization"] = f"Bearer {token}"
    sent = None
    if body is not None:
        sent = json.dumps(body).encode()
        fields["Content-Type"] = "application/json"
    request = Request(url, sent, fields, method=method)  # noqa: S310 - http or https
    began = time.monotonic()
    try:
        try:
            response = opener.open(request, timeout=patience)
        except HTTPError as exc:  # an answer too
            response = exc
        with response:
            text = _read_body(response, until=began + patience)
            took = timedelta(seconds=time.monotonic() - began)
            date = _parse_date(response.headers.get("Date"))
            return HttpAnswer(response.status, _parse_json(text), took, date)
    except (OSError, HTTPException) as exc:
        cause = exc.reason if isinstance(exc, URLError) else exc
        if isinstance(cause, TimeoutError):
            raise NoAnswer(f"nothing within {patience:g} s") from exc
        if isinstance(cause, ssl.SSLError):
            raise NoAnswer(f"TLS: {cause.reason}") from exc
        raise NoAnswer(str(cause) or type(cause).__name__) from exc


def _read_body(response: Any, *, until: float) -> bytes:
    # The timeout is for each packet. A slow trickle has to end too.
    text = b""
    while len(text) < _MOST_BYTES and (part := response.read1(_MOST_BYTES)):
        text += part
        if time.monotonic() > until:
            raise TimeoutError
    return text


def _parse_date(text: str | None) -> datetime | None:
    with suppress(ValueError):
        return parsedate_to_datetime(text or "")
    return None


def _parse_json(text: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return None


def get_member(body: Any, name: str) -> Any:
    """Return a member of a JSON object, or None if there is none."""
    return body.get(name) if isinstance(body, dict) else None


def _only_dicts(values: Any) -> list[dict[str, Any]]:
    found = values if isinstance(values, list) else []
    return [each for each in found if isinstance(each, dict)]


def _is_new(key: RingKey, now: datetime) -> bool:
    return now < key.published_at + _COPY_AGE
