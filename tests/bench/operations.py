"""The clients' calls, each as an event for a function, with users made for it."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import jwt

from anonauth.domain.encoding import base64url
from anonauth.wiring import utc_now
from bench.stage import APP, CLIENT_ID, HS256_ISSUER, RS256_ISSUER, SECRET, Stage
from runtime.client import request
from runtime.runtime_api import Function
from support.project.sam_template import Json

PASSWORD = "correct horse battery staple"
AUTHORIZE = "authorize a call of another API"
_EXPIRY = 4102444800  # 2100


class People:
    """Users of the stage, made by its functions, each with a new credential."""

    def __init__(self, stage: Stage, stack: ExitStack) -> None:
        self.stage = stage
        self._stack = stack
        self._functions: dict[str, Function] = {}

    def guest(self) -> Json:
        """Return the answer to an anonymous login."""
        return self.send("LoginFunction", self.login())

    def login(self) -> Json:
        """Return an anonymous login from one of several networks."""
        event = request("login")
        number = next(self.stage.numbers)
        event["requestContext"]["http"]["sourceIp"] = f"198.51.100.{number % 250}"
        return event

    def login_with_key(self) -> Json:
        """Return an anonymous login with a login key that has not been used yet."""
        key = base64url(secrets.token_bytes(32))
        return request("login-key", body={"login_key": key})

    def permanent(self, provider: str = "custom-token") -> tuple[Json, Json]:
        """Return the answer to a new credential's first login, and the credential."""
        credential = self.credential(provider)
        return self.log_in(provider, credential), credential

    def log_in(self, provider: str, credential: Json) -> Json:
        """Return the answer to a login with a credential."""
        return self.send("LinkFunction", self.attempt(provider, credential))

    def attempt(self, provider: str, credential: Json, token: str = "") -> Json:
        """Return a login with a credential; with a user's access token it is a link."""
        return request(
            "link" if token else "link-login",
            token,
            body=credential,
            # Names with a suffix, such as the algorithm, are the same provider.
            pathParameters={"appId": APP, "provider": provider.partition(" ")[0]},
        )

    def credential(self, provider: str) -> Json:
        """Return a credential that has not been used yet."""
        number = next(self.stage.numbers)
        match provider:
            case "local-userpass":
                address = f"user-{number}@example.com"
                self.send("UserpassFunction", self.register(address))
                return {"username": address, "password": PASSWORD}
            case "custom-token HS256":
                claims = _claims(HS256_ISSUER, APP, number)
                return {"token": jwt.encode(claims, SECRET, "HS256")}
            case "custom-token":
                claims = _claims(RS256_ISSUER, APP, number)
                return {"token": self.stage.signer.sign(claims)}
            case "oauth2-facebook":
                return {"accessToken": str(number)}
            case "api-key":
                user, _ = self.permanent()
                made = self.send(
                    "ApiKeysFunction",
                    request("api_keys", user["refresh_token"], body={"name": "laptop"}),
                )
                return {"key": made["key"]}
        issuer = _ISSUERS[provider]
        return {"id_token": self.stage.signer.sign(_claims(issuer, CLIENT_ID, number))}

    def register(self, address: str = "") -> Json:
        """Return a registration with a password."""
        email = address or f"new-{next(self.stage.numbers)}@example.com"
        return request("userpass", body={"email": email, "password": PASSWORD})

    def idle_since_yesterday(self, user: Json) -> Json:
        """Move the last use of a guest's session back to yesterday."""
        db, table = self.stage.engine.db, self.stage.table
        pk = {"S": f"USER#{APP}#{user['user_id']}"}
        item = db.get_item(TableName=table, Key={"pk": pk})["Item"]
        (session,) = item["sessions"]["M"]
        db.update_item(
            TableName=table,
            Key={"pk": pk},
            UpdateExpression="SET sessions.#session.used_day = :day",
            ExpressionAttributeNames={"#session": session},
            ExpressionAttributeValues={":day": {"S": yesterday()}},
        )
        return user

    def send(self, name: str, event: Json) -> Json:
        """Send an event to a function, and return the body of its answer."""
        if name not in self._functions:
            running = self.stage.running(name)
            self._functions[name] = self._stack.enter_context(running)
        answer = self._functions[name].invoke(event)
        if answer["statusCode"] != 200:
            raise ValueError(f"{name} answered {answer}")
        body: Json = json.loads(answer["body"])
        return body


def is_success(answer: Json) -> bool:
    """Tell whether an answer is a function's success."""
    return answer.get("statusCode") == 200 or answer.get("isAuthorized") is True


def yesterday() -> str:
    """Return the day before today, UTC."""
    return (utc_now() - timedelta(days=1)).date().isoformat()


_ISSUERS = {
    "oauth2-google": "https://accounts.google.com",
    "oauth2-apple": "https://appleid.apple.com",
}


def _claims(issuer: str, audience: str, number: int) -> Json:
    return {
        "iss": issuer,
        "aud": audience,
        "sub": f"subject-{number}",
        "exp": _EXPIRY,
        "iat": int(utc_now().timestamp()),
    }


@dataclass(frozen=True)
class Operation:
    """A call of a client; `event` makes another of its kind each time.

    Args:
        batch: Number of calls that are measured together.
        is_repeatable: One event may be sent repeatedly.
    """

    name: str
    function: str
    event: Callable[[People], Json]
    batch: int = 10
    variables: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = False

    def events(self, people: People, number: int) -> list[Json]:
        """Return this many events."""
        if self.is_repeatable:
            return [self.event(people)] * number
        return [self.event(people) for _ in range(number)]


PROVIDERS = (
    "custom-token",
    "custom-token HS256",
    "oauth2-google",
    "oauth2-apple",
    "oauth2-facebook",
    "local-userpass",
)


def operations() -> Iterator[Operation]:
    """Yield all operations that are measured."""
    yield Operation("login", "LoginFunction", lambda people: people.login())
    yield Operation(
        "login, no budget",
        "LoginFunction",
        lambda people: people.login(),
        variables={"LOGINS_PER_NETWORK": "0"},
    )
    yield Operation(
        "login with a key, no budget",
        "LoginFunction",
        lambda people: people.login_with_key(),
        variables={"LOGINS_PER_NETWORK": "0"},
    )
    yield Operation(
        "refresh",
        "SessionFunction",
        lambda people: _refresh(people.guest()),
        is_repeatable=True,
    )
    yield Operation(
        "refresh, first of a day",
        "SessionFunction",
        lambda people: _refresh(people.idle_since_yesterday(people.guest())),
    )
    yield Operation(
        "profile",
        "ProfileFunction",
        lambda people: request("profile", people.guest()["access_token"]),
        is_repeatable=True,
    )
    yield Operation(
        AUTHORIZE,
        "AuthorizerFunction",
        lambda people: request("authorizer", people.guest()["access_token"]),
        is_repeatable=True,
    )
    yield Operation("logout", "LogoutFunction", lambda people: _logout(people.guest()))
    yield Operation(
        "logout, permanent user",
        "LogoutFunction",
        lambda people: _logout(people.permanent()[0]),
    )
    for provider in PROVIDERS:
        batch = 2 if provider == "local-userpass" else 5
        yield Operation(f"link {provider}", "LinkFunction", _link(provider), batch)
    for provider in ("custom-token", "api-key", "local-userpass"):
        batch = 2 if provider == "local-userpass" else 5
        yield Operation(f"log in {provider}", "LinkFunction", _again(provider), batch)
    yield Operation(
        "log in custom-token, first time",
        "LinkFunction",
        lambda people: people.attempt(
            "custom-token", people.credential("custom-token")
        ),
        batch=5,
    )
    yield Operation("merge a guest", "LinkFunction", _merge, batch=5)
    yield Operation(
        "register", "UserpassFunction", lambda people: people.register(), batch=2
    )
    yield Operation(
        "delete",
        "ProfileFunction",
        lambda people: request("profile-delete", people.guest()["access_token"]),
        batch=5,
    )


def _refresh(user: Json) -> Json:
    return request("session", user["refresh_token"])


def _logout(user: Json) -> Json:
    return request("logout", user["refresh_token"])


def _link(provider: str) -> Callable[[People], Json]:
    def event(people: People) -> Json:
        token = people.guest()["access_token"]
        return people.attempt(provider, people.credential(provider), token)

    return event


def _merge(people: People) -> Json:
    _, credential = people.permanent()
    guest = people.guest()["refresh_token"]
    return people.attempt("custom-token", credential | {"merge": guest})


def _again(provider: str) -> Callable[[People], Json]:
    def event(people: People) -> Json:
        credential = people.credential(provider)
        if provider != "api-key":
            people.log_in(provider, credential)
        return people.attempt(provider, credential)

    return event
