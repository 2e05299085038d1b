"""The example APIs of frameworks.md, called from outside."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest

from anonauth.local.server import LocalServer
from apps.running import COMMANDS, running
from support.forgery.forgeries import forgeries, of_issuer
from support.forgery.key_server import KeyServer, Signer
from support.project.pages import block
from support.service.calls import API, APP, OTHER_APP, Answer, call, log_in

JWKS = f"{API}/app/{APP}/.well-known/jwks.json"
PASSWORD = "correct horse"

Start = Callable[..., AbstractContextManager[str]]


class Service:
    """A local service whose keys are published elsewhere, so that they can be down.

    A key of the test is published beside the real ones. It signs what the service would
    sign only at another time.
    """

    def __init__(self, keys: KeyServer, server: LocalServer) -> None:
        self.keys = keys
        self.signer = Signer(kid="key-of-the-test")
        self._url = f"http://127.0.0.1:{server.port}"
        real = call(self._url, "GET", JWKS).json()
        self.kids = [key["kid"] for key in real["keys"]]
        keys.publish(JWKS, {"keys": [*real["keys"], self.signer.jwk()]})

    def guest(self, app: str = APP) -> dict[str, str]:
        return log_in(self._url, app)

    def post(self, path: str, body: dict[str, str], token: str | None = None) -> Any:
        path = f"{API}/app/{APP}/auth/providers/local-userpass/{path}"
        answer = call(
            self._url, "POST", path, token=token, body=json.dumps(body).encode()
        )
        assert answer.status == 200, answer
        return answer.json()

    def permanent_user(self) -> dict[str, str]:
        """Return the credential of a new permanent user."""
        guest = self.guest()
        email = f"{guest['user_id']}@example.com"
        self.post("register", {"email": email, "password": PASSWORD})
        credential = {"username": email, "password": PASSWORD}
        self.post("login?link=true", credential, guest["access_token"])
        return credential

    def merge(self, guest: dict[str, str], credential: dict[str, str]) -> str:
        """Merge a guest into a user, and return the user's access token."""
        merged = self.post("login", {**credential, "merge": guest["refresh_token"]})
        assert merged["merged"] is True
        return str(merged["access_token"])

    def signed(self, **claims: Any) -> str:
        """Return a guest's token with other claims; numbers are seconds from now."""
        real = jwt.decode(
            self.guest()["access_token"], options={"verify_signature": False}
        )
        now = int(time.time())  # noqa: TID251 - the app's clock
        moved = {
            name: now + value if isinstance(value, int) else value
            for name, value in claims.items()
        }
        return self.signer.sign(real | moved)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with (
        KeyServer() as keys,
        LocalServer(app_ids=(APP, OTHER_APP), base_url=keys.url) as server,
    ):
        yield Service(keys, server)


@pytest.fixture(scope="module", params=COMMANDS)
def start(
    request: pytest.FixtureRequest,
    service: Service,
    tmp_path_factory: pytest.TempPathFactory,
) -> Start:
    """A function that starts an app of this framework, which has no keys yet."""
    folder = tmp_path_factory.mktemp(request.param) / "app"
    return partial(running, request.param, service=service.keys.url, folder=folder)


@pytest.fixture(scope="module")
def app(start: Start) -> Iterator[str]:
    with start() as url:
        yield url


def get(app: str, token: str | None = None, **headers: str) -> Answer:
    return call(app, "GET", "/notes", token=token, headers=headers)


def write(app: str, token: str, text: str) -> None:
    body = json.dumps({"text": text}).encode()
    headers = {"Content-Type": "application/json"}
    answer = call(app, "POST", "/notes", token=token, headers=headers, body=body)
    assert answer.status == 200, answer


@pytest.mark.long
def test_given_a_guest_when_it_asks_then_it_gets_its_own_notes(
    app: str, service: Service
) -> None:
    guest, other = service.guest(), service.guest()
    write(app, guest["access_token"], "mine")
    write(app, other["access_token"], "theirs")

    answer = get(app, guest["access_token"])

    note = {"owner": guest["user_id"], "text": "mine"}
    assert answer.status == 200
    assert answer.json() == {"anonymous": True, "notes": [note]}


@pytest.mark.long
def test_given_a_merge_when_the_user_asks_then_the_guests_notes_are_its_own(
    app: str, service: Service
) -> None:
    guest, credential = service.guest(), service.permanent_user()
    write(app, guest["access_token"], "written as a guest")

    token = service.merge(guest, credential)
    write(app, token, "written later")
    answer = get(app, token)

    shown = answer.json()
    owners = {note["text"]: note["owner"] for note in shown["notes"]}
    assert shown["anonymous"] is False
    assert owners.keys() == {"written as a guest", "written later"}
    assert owners["written as a guest"] == guest["user_id"]
    assert owners["written later"] == credential["username"].split("@")[0]


@pytest.mark.long
@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="empty"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer null", id="null"),
        pytest.param("Bearer a.b.c", id="no JSON"),
        pytest.param("Basic dXNlcjpwYXNz", id="other scheme"),
        pytest.param("Basic {token}", id="other scheme with a good token"),
        pytest.param("{token}", id="no scheme"),
    ],
)
def test_given_no_token_when_called_then_401(
    authorization: str | None, app: str, service: Service
) -> None:
    headers = {}
    if authorization is not None:
        token = service.guest()["access_token"]
        headers["Authorization"] = authorization.format(token=token)

    answer = get(app, **headers)

    assert answer.status == 401
    assert answer.headers["www-authenticate"].lower().startswith("bearer")


@pytest.mark.long
@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": -90}, id="expired, beyond the leeway"),
        pytest.param({"aud": OTHER_APP}, id="other audience"),
        pytest.param({"iss": "https://evil.example"}, id="other issuer"),
        pytest.param({"nbf": 90}, id="not yet valid"),
    ],
)
def test_given_a_token_that_is_not_good_here_when_called_then_401(
    claims: dict[str, Any], app: str, service: Service
) -> None:
    good = get(app, service.signed())

    answer = get(app, service.signed(**claims))

    assert good.status == 200
    assert answer.status == 401


@pytest.mark.long
@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": -30}, id="the app's clock is ahead"),
        pytest.param({"iat": 30}, id="the app's clock is behind"),
    ],
)
def test_given_clocks_that_differ_within_the_leeway_when_called_then_200(
    claims: dict[str, Any], app: str, service: Service
) -> None:
    answer = get(app, service.signed(**claims))

    assert answer.status == 200


@pytest.mark.long
def test_given_a_good_token_of_another_kind_when_called_then_401(
    app: str, service: Service
) -> None:
    guest, of_other_app = service.guest(), service.guest(OTHER_APP)

    refresh = get(app, guest["refresh_token"])
    other = get(app, of_other_app["access_token"])

    assert (refresh.status, other.status) == (401, 401)


# Their bytes, and all that is signed, are those of the good token.
SPELT_DIFFERENTLY = {
    "signature: padded as base64",
    "signature: padded by two",
    "signature: unused bits",
}
# Characters that no HTTP header may have.
UNSENDABLE = re.compile(r"[^\x21-\x7e]")


@pytest.mark.long
def test_given_forged_tokens_when_called_then_each_is_refused(
    app: str, service: Service
) -> None:
    """A server may refuse a header that is too long by itself, with 400 or 431."""
    good = service.signed()
    claims = jwt.decode(good, options={"verify_signature": False})
    forged = forgeries(of_issuer(service.signer, claims, {}))
    sendable = {n: t for n, t in forged.items() if t and not UNSENDABLE.search(t)}

    statuses = {name: get(app, token).status for name, token in sendable.items()}

    odd = {n for n, status in statuses.items() if status not in {400, 401, 431}}
    refused = [status for status in statuses.values() if status == 401]
    assert len(statuses) > 500
    assert odd <= SPELT_DIFFERENTLY
    assert len(refused) > 0.95 * len(statuses)
    assert get(app, good).status == 200


@pytest.mark.long
def test_given_keys_that_cannot_be_fetched_then_only_an_app_without_keys_says_503(
    start: Start, service: Service, tmp_path: Path
) -> None:
    token = service.guest()["access_token"]
    service.keys.down = True
    before = service.keys.count(JWKS)
    with start(folder=tmp_path / "app") as app:
        cold = get(app, token)
        service.keys.down = False
        up, asked = get(app, token), service.keys.count(JWKS)
        again = get(app, service.guest()["access_token"])
        service.keys.down = True
        warm, bad = get(app, token), get(app, token[:-8] + "AAAAAAAA")
        service.keys.down = False

    assert cold.status == 503
    assert (up.status, again.status, warm.status, bad.status) == (200, 200, 200, 401)
    assert asked == before + 2
    assert service.keys.count(JWKS) == asked


@pytest.mark.long
def test_given_a_service_that_cannot_be_reached_when_an_app_has_no_keys_then_503(
    start: Start, service: Service, tmp_path: Path
) -> None:
    token = service.guest()["access_token"]
    with KeyServer() as closed:
        pass

    with start(service=closed.url, folder=tmp_path / "app") as app:
        answer = get(app, token)

    assert answer.status == 503


def as_api_gateway_does(claims: dict[str, Any]) -> dict[str, str]:
    """Return claims as the JWT authorizer of an HTTP API passes them on."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return f"[{' '.join(map(str, value))}]"
        return json.dumps(value) if isinstance(value, bool) else str(value)

    return {name: text(value) for name, value in claims.items()}


def test_given_claims_as_texts_when_the_function_reads_them_then_they_are_right(
    service: Service,
) -> None:
    function: dict[str, Any] = {}
    exec(block("the function behind API Gateway"), function)  # noqa: S102
    guest, other, user = service.guest(), service.guest(), service.permanent_user()

    def ask(token: str, text: str | None = None) -> Any:
        claims = jwt.decode(token, options={"verify_signature": False})
        context = {
            "authorizer": {
                "jwt": {"claims": as_api_gateway_does(claims), "scopes": None}
            },
            "http": {"method": "GET" if text is None else "POST"},
        }
        body = json.dumps({"text": text})
        return function["handler"]({"requestContext": context, "body": body}, None)

    ask(guest["access_token"], "one")
    ask(other["access_token"], "two")
    as_guest = ask(guest["access_token"])
    once = ask(service.merge(guest, user))
    twice = ask(service.merge(other, user))

    assert as_guest["anonymous"] is True
    assert [note["text"] for note in as_guest["notes"]] == ["one"]
    assert once == {"anonymous": False, "notes": as_guest["notes"]}
    assert [note["text"] for note in twice["notes"]] == ["one", "two"]
