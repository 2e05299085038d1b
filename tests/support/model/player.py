"""Plays the model against the service, call by call.

The player holds everything that was ever issued. The rules of `machine` choose the next
act.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import jwt
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
)

from support.model.model import SECOND, Model, Refused
from support.model.stage import (
    NOBODYS_SECRET,
    SECOND_ISSUER,
    SECRETS,
    WITH_MAIL,
    WITHOUT_MAIL,
    Stage,
)
from support.model.table import require_as_told, require_untouched
from support.model.world import (
    API_KEY,
    CUSTOM,
    Account,
    ApiKey,
    App,
    Credential,
    Jwt,
    MailToken,
    Password,
    Session,
    Token,
    User,
)
from support.service.harness import (
    DELETE,
    LINK,
    LOGOUT,
    NO_DEVICE,
    PROFILE,
    SESSION,
    UNLINK,
    Reply,
    provider_id,
)

T = TypeVar("T", bound=Session | User | Account | ApiKey | None)


class Player(RuleBasedStateMachine):
    """A run: the service from its start, the model, and what people hold."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        stage.clear()
        self.stage = stage
        self.service = stage.service
        self.model = Model(self.service.now)
        self.items = stage.items()
        self.access: list[Token] = []
        self.refreshing: list[Token] = []
        self.keys: list[ApiKey] = []
        self.mails: list[MailToken] = []
        self.known: set[str] = set()  # ids of users, sessions, devices: must be new
        self.rotations = 0
        self.crowded: set[str] = set()  # expensive acts, done once in a run

    @invariant()
    def as_told(self) -> None:
        require_as_told(self.items, self.model)
        assert len(self.stage.sent) == len(self.mails)

    def ask(
        self,
        route: str,
        tell: Callable[[], T],
        *,
        body: Mapping[str, Any] | None = None,
        email: str | None = None,
        **options: Any,
    ) -> tuple[T | None, Reply]:
        """Send a request that takes a second; return the model's result for it.

        The result is None if the request is refused. Nothing changes then. Otherwise
        only the caller's data, or the address's data, changes.
        """
        self.service.now += SECOND
        self.model.now = self.service.now
        text = None if body is None else json.dumps(body)
        reply = self.service.send(route, body=text, **options)
        told: T | None = None
        free_of = self.model.free_of()
        ways: Sequence[tuple[int, str | None]] = [(200, None)]
        try:
            told = tell()
        except Refused as refused:
            ways, email = refused.ways, None
        code = None if reply.status == 200 else reply.json["error_code"]
        assert (reply.status, code) in ways, f"{reply.status} {code}, not {ways}"
        self.stage.answers[route, reply.status, code or "done"] += 1
        before, self.items = self.items, self.stage.items()
        user_id = _user_id(told) or reply.json.get("user_id")  # of a new user
        address = email and email.lower()
        user_ids = [user_id, *self._former_ids(told)]
        require_untouched(before, self.items, user_ids, address, free_of)
        return told, reply

    def teardown(self) -> None:
        self.stage.came_back += self.model.came_back
        self.stage.pushed_out += len(self.model.pushed_out)

    def _former_ids(self, told: Session | User | Account | ApiKey | None) -> list[str]:
        """Return the former ids of a call's user, and those that they pushed out."""
        user = told if isinstance(told, User | None) else told.user
        listed = [] if user is None else user.former_ids
        pushed_out = self.model.pushed_out
        return [*listed, *[pushed_out[each] for each in listed if each in pushed_out]]

    def lose(self, user: User) -> None:
        """Delete a permanent user's item, as by hand."""
        pk = {"S": f"USER#{user.app.id}#{user.id}"}
        self.service.db.delete_item(TableName=self.service.table, Key={"pk": pk})
        self.model.lose(user)
        self.look()

    def give_former_ids(self, user: User, count: int) -> None:
        """Give a user more ids of guests, as so many merges would."""
        new = [f"{number:024x}" for number in range(count)]
        marks = [
            {
                "pk": {"S": f"GONE#{user.app.id}#{former_id}"},
                "reason": {"S": "merged"},
                "into": {"S": user.id},
                "provider": {"S": CUSTOM},
                "hash": {"S": "nobody's"},
            }
            for former_id in new
        ]
        db, table = self.service.db, self.service.table
        puts: Any = [{"PutRequest": {"Item": mark}} for mark in marks]
        db.batch_write_item(RequestItems={table: puts})
        db.update_item(
            TableName=table,
            Key={"pk": {"S": f"USER#{user.app.id}#{user.id}"}},
            UpdateExpression="SET former_ids = list_append(former_ids, :new)",
            ExpressionAttributeValues={":new": {"L": [{"S": each} for each in new]}},
        )
        for former_id in new:
            self.model.absorb(user, former_id)
        self.look()

    def look(self) -> None:
        """Compare the table after an act of time, the operator or the table itself."""
        self.model.now = self.service.now
        self.items = self.stage.items()

    def log_in_with(self, app: App, credential: Credential) -> None:
        options: dict[str, Any] = {}
        if isinstance(credential, Password):
            options = {"network": credential.network}
        session, reply = self.ask(
            LINK,
            lambda: self.model.log_in(app, credential),
            app=app.id,
            parameters={"provider": credential.provider},
            body=self.body_of(credential),
            **options,
        )
        self.opened(session, reply, NO_DEVICE)

    def merge_with(
        self, token: Token, app: App, credential: Credential, *, forged: str = ""
    ) -> None:
        """Log in with a guest's refresh token, or with a forged one."""
        guest = token.session.user
        before = self.items
        session, reply = self.ask(
            LINK,
            lambda: self.model.merge(app, credential, None if forged else token),
            app=app.id,
            parameters={"provider": credential.provider},
            body={**self.body_of(credential), "merge": forged or token.text},
        )
        if session is None:
            return
        is_remembered = (app.id, guest.id) in self.model.forgotten_at
        into = self.model.merged_into.get(guest.id) if is_remembered else None
        assert reply.json["merged"] == (into is session.user)
        pk = f"USER#{app.id}#{guest.id}"
        if into is not None and pk in before:
            detail = self.stage.told_of_merge(before[pk])
            assert (detail["uid"], detail["into"]) == (guest.id, into.id)
            assert detail.get("dropped") == self.model.pushed_out.get(guest.id)
        if session is not token.session:
            self.opened(session, reply, NO_DEVICE)
            return
        assert reply.json["refresh_token"] == token.text
        assert reply.json["user_id"] == guest.id
        self.issued(session, reply)

    def link_to(self, token: Token, app: App, credential: Credential) -> None:
        session, reply = self.ask(
            LINK,
            lambda: self.model.link(token, app, credential),
            app=app.id,
            token=token.text,
            query=TO_LINK,
            parameters={"provider": credential.provider},
            body=self.body_of(credential),
        )
        if session is not None:
            assert reply.json["user_id"] == session.user.id
            assert reply.json["device_id"] == session.device
            assert "refresh_token" not in reply.json
            self.issued(session, reply)

    def delete_with(self, token: Token) -> None:
        self.ask(DELETE, lambda: self.model.delete_user(token), token=token.text)

    def unlink_by(
        self, token: Token, provider: str, identity_id: str, key: str | None = None
    ) -> None:
        query = {"provider": provider, "id": identity_id}
        self.ask(
            UNLINK,
            lambda: self.model.unlink(token, provider, identity_id, key),
            token=token.text,
            query=query if key is None else {**query, "key": key},
        )

    def credential_of(self, user: User, which: int) -> Password | Jwt | None:
        """Return the credential of a user's identity; None for the anonymous identity.

        For an address it is the present password, even if another person chose it.
        """
        identity = nth_of(user.identities, which // 3)
        if identity.provider == CUSTOM:
            return Jwt(user.app, identity.subject, "Again", issuer=identity.issuer)
        for account in self.model.accounts:
            if account.identity is identity:
                return Password(account.email, account.password, "203.0.113.9")
        return None

    def body_of(self, credential: Credential) -> dict[str, str]:
        if isinstance(credential, Password):
            return {"username": credential.email, "password": credential.password}
        if isinstance(credential, ApiKey):
            return {"key": credential.secret}
        claims = {
            "sub": credential.subject,
            "name": credential.name,
            "aud": credential.app.id,
            "exp": int(self.service.now.timestamp()) + 600,
        }
        if credential.issuer:
            claims["iss"] = credential.issuer
        secret = SECRETS[credential.issuer] if credential.genuine else NOBODYS_SECRET
        return {"token": jwt.encode(claims, secret, "HS256")}

    def log_out_with(self, token: Token) -> None:
        self.ask(LOGOUT, lambda: self.model.log_out(token), token=token.text)

    def read_profile_with(self, token: Token) -> None:
        session, reply = self.ask(
            PROFILE, lambda: self.model.profile(token), token=token.text
        )
        if session is not None:
            assert reply.json == _profile(session)

    def one_of(self, tokens: Sequence[Token], nth: int) -> Token:
        """Return a token; two of three belong to a live session, if there is one."""
        living = [token for token in tokens if self.model.is_alive(token.session)]
        return nth_of(living if living and nth % 3 else tokens, nth // 3)

    def a_key(self, nth: int) -> ApiKey:
        living = [key for user in self.model.users for key in user.keys]
        return nth_of(living if living and nth % 3 else self.keys, nth // 3)

    def asking_for_key(self, nth: int, which: int) -> tuple[Token, str]:
        """Return a key's id, and a token of its user or of another user."""
        key = self.a_key(which)
        own = [token for token in self.refreshing if token.session.user is key.user]
        return self.one_of(own if own and which % 4 else self.refreshing, nth), key.id

    def access_token(self, nth: int, *, fresh: bool) -> Token:
        """Return an access token, or a fresh one if its session is still alive."""
        token = self.one_of(self.access, nth)
        if not fresh:
            return token
        refresh_tokens = (t for t in self.refreshing if t.session is token.session)
        return self.refresh_with(next(refresh_tokens)) or token

    def refresh_with(self, token: Token) -> Token | None:
        session, reply = self.ask(
            SESSION, lambda: self.model.refresh(token), token=token.text
        )
        return None if session is None else self.issued(session, reply)

    def opened(self, session: Session | None, reply: Reply, device: str | None) -> None:
        """Record the answer to a login, if it succeeded.

        Args:
            device: The id of the client's device; None if the service had to make it.
        """
        if session is None:
            return
        user, body = session.user, reply.json
        if not user.id:
            user.id = self._new(body["user_id"])
        assert body["user_id"] == user.id
        session.device = device or self._new(body["device_id"])
        assert body["device_id"] == session.device
        assert _claims(body["refresh_token"])["baas_device_id"] == session.device
        assert body.get("expires_at") == _expires_at(user)
        token = self.issued(session, reply)
        self.refreshing.append(
            Token(body["refresh_token"], session, token.issued_at, "refresh")
        )

    def issued(self, session: Session, reply: Reply) -> Token:
        """Record an access token, which has to name its user."""
        user, now = session.user, self.service.now
        text = reply.json["access_token"]
        claims = _claims(text)
        if not session.id:
            session.id = self._new(claims["sid"])
        said = {name: claims[name] for name in ("sub", "aud", "sid", "anonymous")}
        assert claims.get("former_ids", []) == user.former_ids
        assert claims["baas_device_id"] == claims["stitch_devId"] == session.device
        assert said == {
            "sub": user.id,
            "aud": user.app.id,
            "sid": session.id,
            "anonymous": user.anonymous,
        }
        assert claims["exp"] - claims["iat"] == 1800
        token = Token(text, session, now, "access", user.anonymous)
        self.access.append(token)
        return token

    def _new(self, object_id: str) -> str:
        assert re.fullmatch("[0-9a-f]{24}", object_id)
        assert object_id not in self.known
        self.known.add(object_id)
        return object_id

    def mailed(self, expected: MailToken | None) -> None:
        """Record the latest mail, if there has to be one."""
        if expected is None:
            return
        mail = self.stage.sent[-1]
        (address,) = mail.destinations["ToAddresses"]
        assert address.lower() == expected.account.email.lower()
        (url,) = re.findall(r"^https://\S+$", mail.body, re.MULTILINE)
        query = parse_qs(urlsplit(url).query)
        (expected.secret,), (expected.id,) = query["token"], query["tokenId"]
        self.mails.append(expected)


TO_LINK = {"link": "true"}
_Item = TypeVar("_Item")


def nth_of(items: Sequence[_Item], nth: int) -> _Item:
    """Return an item, the latest for 0; `nth` may exceed their number."""
    return items[-1 - nth % len(items)]


def or_other(app: App, at_home: bool) -> App:
    if at_home:
        return app
    return WITHOUT_MAIL if app is WITH_MAIL else WITH_MAIL


def a_jwt(app: App, subject: str, name: str, flaw: str) -> Jwt:
    """Return a token; `subject` is `ada`, or `ada of the second` issuer."""
    meant_for = or_other(app, flaw != "other app")
    subject, _, other = subject.partition(" of ")
    issuer = SECOND_ISSUER if other else ""
    return Jwt(meant_for, subject, name, genuine=flaw != "forged", issuer=issuer)


def refuse() -> None:
    """Refuse a token that the service has not issued."""
    raise Refused((401, "InvalidSession"))


def refuse_as_unclear() -> None:
    """Refuse a request whose meaning is unclear."""
    raise Refused((400, "BadRequest"))


def refuse_for_now() -> None:
    """Refuse because the service itself has a problem."""
    raise Refused((503, "InternalServerError"))


def _user_id(told: Session | User | Account | ApiKey | None) -> str | None:
    user = told if isinstance(told, User | None) else told.user
    return None if user is None else user.id


def _claims(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))


def shown(key: ApiKey) -> dict[str, Any]:
    return {"_id": key.id, "name": key.name, "disabled": key.disabled}


def shown_sessions(
    sessions: Sequence[Session], *, asking: Session
) -> list[dict[str, Any]]:
    """Return the list of these sessions as its caller gets it."""
    return [
        {
            "id": session.id,
            "current": session is asking,
            "provider": session.provider,
            "device": {"id": session.device, "info": {}},
            "created_at": f"{session.begun_at:%Y-%m-%dT%H:%M:%SZ}",
            "used_day": f"{session.used_on:%Y-%m-%d}",
            "expires_at": _expires_at(session if session.ends_at else session.user),
        }
        for session in sorted(
            sessions, key=lambda s: (s.used_on, s.begun_at, s.id), reverse=True
        )
    ]


def _expires_at(ends: User | Session) -> str | None:
    return None if ends.ends_at is None else f"{ends.ends_at:%Y-%m-%dT%H:%M:%SZ}"


def _profile(session: Session) -> dict[str, Any]:
    user = session.user
    app = user.app.id
    identities = [
        {
            "id": i.id,
            "provider_type": i.provider,
            "provider_id": provider_id(i.provider, app),
            "data": i.data,
        }
        | ({"key": i.key} if i.key else {})
        for i in user.identities
    ]
    key = session.opener if isinstance(session.opener, ApiKey) else None
    if key is not None:
        identities.append(
            {
                "id": key.id,
                "provider_type": API_KEY,
                "provider_id": provider_id(API_KEY, app),
                "data": {"name": key.name},
            }
        )
    data: dict[str, str] = {}
    for identity in reversed(identities):  # the one linked first wins
        data |= identity["data"]  # type: ignore[arg-type]
    expires_at = _expires_at(user)
    return {
        "user_id": user.id,
        "type": "server" if key else "normal",
        "identities": identities,
        "data": data,
        **({"expires_at": expires_at} if expires_at else {}),
        **({"former_ids": user.former_ids} if user.former_ids else {}),
    }
