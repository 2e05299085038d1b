"""Plays the model against the service: random lives, each answer told in advance.

A rule is one thing that a client, an attacker, an operator or time does. Whoever asks
may hold any token, key or mail that was ever issued, old ones included: all that an
attacker could have copied. What is drawn from a list is counted from its latest end.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import jwt
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from anonauth.domain import KeyUse
from anonauth.usecases.keys import rotate_now
from bad_tokens import edited, other_signature
from harness import (
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    GET_KEY,
    LINK,
    LIST_KEYS,
    LOGIN,
    LOGOUT,
    NO_DEVICE,
    PROFILE,
    SESSION,
    UNLINK,
    Reply,
)
from model import SECOND, Model, Refused
from model_stage import (
    BARE,
    NOBODYS_SECRET,
    SECRET,
    WITH_MAIL,
    WITHOUT_MAIL,
    Stage,
)
from model_table import require_as_told, require_untouched
from model_world import (
    API_KEY,
    CUSTOM,
    USERPASS,
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

T = TypeVar("T", bound=Session | User | Account | ApiKey | None)

DEVICE = "5f0c3b2a1d9e8f7a6b5c4d3e"
_USERPASS = "POST /api/client/v2.0/app/{appId}/auth/providers/local-userpass/"

APPS = st.sampled_from([WITH_MAIL, WITHOUT_MAIL, WITH_MAIL, WITHOUT_MAIL, BARE])
MAIL_APPS = st.sampled_from([WITH_MAIL, WITH_MAIL, WITH_MAIL, WITHOUT_MAIL, BARE])
NTH = st.integers(0, 30)
MOSTLY = st.sampled_from([True, True, True, False])
# Of a JWT: nothing, mostly; meant for another app; or signed by nobody we know.
FLAWS = st.sampled_from([""] * 6 + ["other app", "forged"])
EMAILS = st.sampled_from(["ada@example.org", "Ada@Example.org", "bob@example.org"])
PASSWORDS = st.sampled_from(["correct horse"] * 3 + ["battery staple", "short"])
NETWORKS = st.sampled_from(["203.0.113.9", "198.51.100.7"])
NAMES = st.sampled_from(["Ada", "Countess"])
SUBJECTS = st.sampled_from(["ada", "bob", "cyd"])
KEY_NAMES = st.sampled_from(["laptop", "ci", "phone", "not a name"])
TIMES = st.sampled_from(
    [
        timedelta(seconds=30),
        timedelta(minutes=14),
        timedelta(minutes=29),
        timedelta(hours=1),
        timedelta(hours=11),
        timedelta(days=1),
        timedelta(days=29),
        timedelta(days=59),
        timedelta(days=89),
        timedelta(days=100),
    ]
)


class Machine(RuleBasedStateMachine):
    """A run."""

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
        self.known: set[str] = set()  # ids of users and sessions, which must be new
        self.rotations = 0
        self.crowded: set[str] = set()  # what takes many calls is done once in a run

    @invariant()
    def as_told(self) -> None:
        require_as_told(self.items, self.model)
        assert len(self.stage.sent) == len(self.mails)

    # -- Guests and sessions ----------------------------------------------------------

    @initialize()
    def first_users(self) -> None:
        self.log_in_anonymously(WITHOUT_MAIL, None)
        self.log_in_by_jwt(WITH_MAIL, "ada", "Ada", "")
        self.make_key(1, "first")
        self.log_in_anonymously(WITH_MAIL, None)

    @rule(app=APPS, device=st.sampled_from([None, DEVICE]))
    def log_in_anonymously(self, app: App, device: str | None) -> None:
        body = {"options": {"device": {"deviceId": device}}} if device else {}
        session, reply = self._ask(
            LOGIN, lambda: self.model.log_in_anonymously(app), app=app.id, body=body
        )
        self._opened(session, reply, device or NO_DEVICE)

    @rule(nth=NTH)
    def refresh(self, nth: int) -> None:
        self._refresh(self._one(self.refreshing, nth))

    @rule(nth=NTH)
    def log_out(self, nth: int) -> None:
        self._log_out(self._one(self.refreshing, nth))

    @rule(nth=NTH, fresh=MOSTLY)
    def profile(self, nth: int, *, fresh: bool) -> None:
        self._profile(self._access(nth, fresh=fresh))

    @rule(nth=NTH, fresh=st.booleans())
    def delete_user(self, nth: int, *, fresh: bool) -> None:
        token = self._access(nth, fresh=fresh)
        self._ask(DELETE, lambda: self.model.delete_user(token), token=token.text)

    @rule(
        nth=NTH,
        route=st.sampled_from(
            [SESSION, LOGOUT, LIST_KEYS, PROFILE, DELETE, UNLINK, LINK]
        ),
        forged=st.sampled_from(["other kind", "edited", "other signature", "null"]),
    )
    def forge(self, nth: int, route: str, forged: str) -> None:
        by_refresh = route in {SESSION, LOGOUT, LIST_KEYS}
        right, wrong = self.refreshing, self.access
        if not by_refresh:
            right, wrong = wrong, right
        text = {
            "other kind": self._one(wrong, nth).text,
            "edited": edited(self._one(right, nth).text),
            "other signature": other_signature(self._one(right, nth).text),
            "null": "null",
        }[forged]
        options: dict[str, Any] = {}
        if route == UNLINK:
            options = {"query": {"provider": CUSTOM, "id": "ada"}}
        if route == LINK:
            body = self._body(Jwt(WITH_MAIL, "mallory", "Mallory"))
            parameters = {"provider": CUSTOM}
            options = {"parameters": parameters, "query": _TO_LINK, "body": body}
        self._ask(route, _refuse, token=text, **options)

    # -- Identities -------------------------------------------------------------------

    @rule(app=APPS, email=EMAILS, password=PASSWORDS, network=NETWORKS)
    def log_in_by_password(
        self, app: App, email: str, password: str, network: str
    ) -> None:
        self._log_in(app, Password(email, password, network))

    @rule(app=APPS, subject=SUBJECTS, name=NAMES, flaw=FLAWS)
    def log_in_by_jwt(self, app: App, subject: str, name: str, flaw: str) -> None:
        self._log_in(app, _jwt(app, subject, name, flaw))

    @rule(whose=NTH, which=NTH)
    def log_in_again(self, whose: int, which: int) -> None:
        user = self._one(self.access, whose).session.user
        credential = self._credential(user, which)
        if credential is not None:
            self._log_in(user.app, credential)

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, at_home=MOSTLY)
    def log_in_by_key(self, nth: int, *, at_home: bool) -> None:
        key = self._a_key(nth)
        self._log_in(_or_other(key.user.app, at_home), key)

    @precondition(lambda self: self.keys and "sessions" not in self.crowded)
    @rule(nth=NTH)
    def log_in_by_key_again_and_again(self, nth: int) -> None:
        self.crowded.add("sessions")
        for _ in range(9):
            self.log_in_by_key(nth, at_home=True)

    @rule(nth=NTH, fresh=MOSTLY, at_home=MOSTLY, email=EMAILS, password=PASSWORDS)
    def link_password(
        self, nth: int, email: str, password: str, *, fresh: bool, at_home: bool
    ) -> None:
        token = self._access(nth, fresh=fresh)
        app = _or_other(token.session.user.app, at_home)
        self._link(token, app, Password(email, password, "203.0.113.9"))

    @rule(nth=NTH, fresh=MOSTLY, subject=SUBJECTS, name=NAMES, flaw=FLAWS)
    def link_jwt(
        self, nth: int, subject: str, name: str, flaw: str, *, fresh: bool
    ) -> None:
        token = self._access(nth, fresh=fresh)
        app = token.session.user.app
        self._link(token, app, _jwt(app, subject, name, flaw))

    @rule(nth=NTH, whose=NTH, which=NTH)
    def link_what_somebody_has(self, nth: int, whose: int, which: int) -> None:
        token = self._access(nth, fresh=True)
        app = token.session.user.app
        near = [other for other in self.access if other.session.user.app is app]
        credential = self._credential(self._one(near, whose).session.user, which)
        if credential is not None:
            self._link(token, app, credential)

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, fresh=MOSTLY, key=NTH)
    def link_key(self, nth: int, key: int, *, fresh: bool) -> None:
        token = self._access(nth, fresh=fresh)
        self._link(token, token.session.user.app, self._a_key(key))

    @precondition(lambda self: "identities" not in self.crowded)
    @rule(nth=NTH)
    def link_all_there_is_room_for(self, nth: int) -> None:
        self.crowded.add("identities")
        token = self._access(nth, fresh=True)
        app = token.session.user.app
        for number in range(10):
            self._link(token, app, Jwt(app, f"{number}", "Many"))

    @rule(nth=NTH, fresh=MOSTLY, whose=NTH, which=NTH)
    def unlink(self, nth: int, whose: int, which: int, *, fresh: bool) -> None:
        token = self._access(nth, fresh=fresh)
        guessed = self._one(self.access, whose) if whose % 4 == 0 else token
        identity = _nth(guessed.session.user.identities, which // 3)
        provider, identity_id = identity.provider, identity.id
        self._ask(
            UNLINK,
            lambda: self.model.unlink(token, provider, identity_id),
            token=token.text,
            query={"provider": provider, "id": identity_id},
        )

    # -- E-mail and password ----------------------------------------------------------

    @rule(app=MAIL_APPS, email=EMAILS, password=PASSWORDS)
    def register(self, app: App, email: str, password: str) -> None:
        account, _ = self._ask(
            _USERPASS + "register",
            lambda: self.model.register(app, email, password),
            app=app.id,
            body={"email": email, "password": password},
            email=email,
        )
        if account is not None:
            self._mailed(account.confirmation)

    @rule(app=MAIL_APPS, email=EMAILS, password=PASSWORDS)
    def register_and_confirm(self, app: App, email: str, password: str) -> None:
        self.register(app, email, password)
        if self.mails:
            self.confirm(0, at_home=True)

    @rule(app=MAIL_APPS, email=EMAILS)
    def resend(self, app: App, email: str) -> None:
        account, _ = self._ask(
            _USERPASS + "confirm/send",
            lambda: self.model.resend(app, email),
            app=app.id,
            body={"email": email},
            email=email,
        )
        if account is not None:
            self._mailed(account.confirmation)

    @precondition(lambda self: self.mails)
    @rule(nth=NTH, at_home=MOSTLY)
    def confirm(self, nth: int, *, at_home: bool) -> None:
        mail = _nth(self.mails, nth)
        app = _or_other(mail.account.app, at_home)
        self._ask(
            _USERPASS + "confirm",
            lambda: self.model.confirm(app, mail),
            app=app.id,
            body={"token": mail.secret, "tokenId": mail.id},
            email=mail.account.email,
        )

    @rule(app=MAIL_APPS, email=EMAILS)
    def ask_for_reset(self, app: App, email: str) -> None:
        account, _ = self._ask(
            _USERPASS + "reset/send",
            lambda: self.model.ask_for_reset(app, email),
            app=app.id,
            body={"email": email},
            email=email,
        )
        if account is not None:
            self._mailed(account.reset)

    @precondition(lambda self: self.mails)
    @rule(nth=NTH, at_home=MOSTLY, password=PASSWORDS)
    def reset(self, nth: int, password: str, *, at_home: bool) -> None:
        mail = _nth(self.mails, nth)
        app = _or_other(mail.account.app, at_home)
        self._ask(
            _USERPASS + "reset",
            lambda: self.model.reset(app, mail, password),
            app=app.id,
            body={"token": mail.secret, "tokenId": mail.id, "password": password},
            email=mail.account.email,
        )

    @rule(email=EMAILS, password=PASSWORDS)
    def forget_password(self, email: str, password: str) -> None:
        self.ask_for_reset(WITH_MAIL, email)
        if self.mails:
            self.reset(0, password, at_home=True)

    # -- API keys ---------------------------------------------------------------------

    @rule(nth=NTH, name=KEY_NAMES)
    def make_key(self, nth: int, name: str) -> None:
        token = self._one(self.refreshing, nth)
        key, reply = self._ask(
            CREATE_KEY,
            lambda: self.model.make_key(token, name),
            token=token.text,
            body={"name": name},
        )
        if key is not None:
            key.id, key.secret = reply.json["_id"], reply.json["key"]
            assert reply.json == {**_shown(key), "key": key.secret}
            self.keys.append(key)

    @rule(nth=NTH, key=NTH)
    def look_at_keys(self, nth: int, key: int) -> None:
        token, key_id = self._one(self.refreshing, nth), "0" * 24
        if self.keys:
            token, key_id = self._asking_for_key(nth, key)
        user, reply = self._ask(
            LIST_KEYS, lambda: self.model.list_keys(token), token=token.text
        )
        if user is not None:
            assert reply.json == [_shown(key) for key in user.keys]
        got, reply = self._ask(
            GET_KEY,
            lambda: self.model.get_key(token, key_id),
            token=token.text,
            parameters={"id": key_id},
        )
        if got is not None:
            assert reply.json == _shown(got)

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, key=NTH, disabled=st.booleans())
    def switch_key(self, nth: int, key: int, *, disabled: bool) -> None:
        token, key_id = self._asking_for_key(nth, key)
        self._ask(
            DISABLE_KEY if disabled else ENABLE_KEY,
            lambda: self.model.switch_key(token, key_id, disabled=disabled),
            token=token.text,
            parameters={"id": key_id},
        )

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, key=NTH)
    def delete_key(self, nth: int, key: int) -> None:
        token, key_id = self._asking_for_key(nth, key)
        self._ask(
            DELETE_KEY,
            lambda: self.model.delete_key(token, key_id),
            token=token.text,
            parameters={"id": key_id},
        )

    # -- Time, the table and the operator ---------------------------------------------

    @rule(delta=TIMES)
    def let_time_pass(self, delta: timedelta) -> None:
        self.service.advance(delta)
        self._look()

    @rule(nth=NTH, seconds=st.integers(-2, 0))
    def let_time_pass_until_something_ends(self, nth: int, seconds: int) -> None:
        # The next call comes a second later: just before, at, or after the end.
        ends = self.model.boundaries([*self.access, *self.refreshing])
        ahead = sorted({end + seconds * SECOND for end in ends})
        ahead = [end for end in ahead if self.service.now < end]
        if ahead:
            self.service.advance(ahead[nth % len(ahead)] - self.service.now)
        self._look()

    @rule(nth=NTH, seconds=st.integers(-2, 0), log_out=st.booleans())
    def come_back_at_the_end(self, nth: int, seconds: int, *, log_out: bool) -> None:
        token = self._one(self.refreshing, nth)
        end = token.session.ends_at or token.session.user.ends_at
        if end and self.service.now < end + seconds * SECOND:
            self.service.advance(end + seconds * SECOND - self.service.now)
        if log_out:
            self._log_out(token)
        else:
            self._refresh(token)

    @rule(nth=NTH, seconds=st.integers(-2, 0))
    def use_an_access_token_to_the_end(self, nth: int, seconds: int) -> None:
        token = self._access(nth, fresh=True)
        end = token.ends_at + seconds * SECOND
        if self.service.now < end:
            self.service.advance(end - self.service.now)
        self._profile(token)

    @rule(warns=st.booleans())
    def sweep(self, *, warns: bool) -> None:
        if warns:  # of those that are yet to expire, with the dead still lying there
            told = self.model.warn()
            details = self.stage.warned()
            assert {d["uid"]: d["notice_days"] for d in details} == told
            assert len(details) == len(told)
        else:
            self.model.sweep()
            self.stage.sweep()
        self._look()

    @precondition(lambda self: self.rotations < 4)
    @rule(use=st.sampled_from(["access", "refresh", None]))
    def rotate_by_hand_or_start_cold(self, use: KeyUse | None) -> None:
        if use is None:
            self.stage.start_cold()
            return
        self.rotations += 1
        services = self.service.services
        rings, keys = services.store, services.key_maker
        rotate_now(use, rings=rings, keys=keys, now=self.service.now)
        self._look()

    # -- Inside -----------------------------------------------------------------------

    def _ask(
        self,
        route: str,
        tell: Callable[[], T],
        *,
        body: Mapping[str, Any] | None = None,
        email: str | None = None,
        **options: Any,
    ) -> tuple[T | None, Reply]:
        """Send a request that takes a second; return what the model tells of it.

        That is None if it is refused. Nothing changes then, and else nothing but what
        is of the one who asks, or of the address.
        """
        self.service.now += SECOND
        self.model.now = self.service.now
        text = None if body is None else json.dumps(body)
        reply = self.service.send(route, body=text, **options)
        told: T | None = None
        ways: Sequence[tuple[int, str | None]] = [(200, None)]
        try:
            told = tell()
        except Refused as refused:
            ways, email = refused.ways, None
        code = None if reply.status == 200 else reply.json["error_code"]
        assert (reply.status, code) in ways, f"{reply.status} {code}, not {ways}"
        self.stage.answers[route, reply.status, code or "done"] += 1
        before, self.items = self.items, self.stage.items()
        user_id = _user_id(told) or reply.json.get("user_id")  # of a new one
        require_untouched(before, self.items, user_id, email and email.lower())
        return told, reply

    def _look(self) -> None:
        self.model.now = self.service.now
        self.items = self.stage.items()

    def _log_in(self, app: App, credential: Credential) -> None:
        options: dict[str, Any] = {}
        if isinstance(credential, Password):
            options = {"network": credential.network}
        session, reply = self._ask(
            LINK,
            lambda: self.model.log_in(app, credential),
            app=app.id,
            parameters={"provider": credential.provider},
            body=self._body(credential),
            **options,
        )
        self._opened(session, reply, NO_DEVICE)

    def _link(self, token: Token, app: App, credential: Credential) -> None:
        session, reply = self._ask(
            LINK,
            lambda: self.model.link(token, app, credential),
            app=app.id,
            token=token.text,
            query=_TO_LINK,
            parameters={"provider": credential.provider},
            body=self._body(credential),
        )
        if session is not None:
            assert reply.json["user_id"] == session.user.id
            assert "refresh_token" not in reply.json
            self._issued(session, reply)

    def _credential(self, user: User, which: int) -> Password | Jwt | None:
        """Return what proves an identity of a user; None if that is its anonymous one.

        Of an address that is the password of today, whoever knows it.
        """
        identity = _nth(user.identities, which // 3)
        if identity.provider == CUSTOM:
            return Jwt(user.app, identity.subject, "Again")
        for account in self.model.accounts:
            if identity.provider == USERPASS and account.user is user:
                return Password(account.email, account.password, "203.0.113.9")
        return None

    def _body(self, credential: Credential) -> dict[str, str]:
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
        secret = SECRET if credential.genuine else NOBODYS_SECRET
        return {"token": jwt.encode(claims, secret, "HS256")}

    def _log_out(self, token: Token) -> None:
        self._ask(LOGOUT, lambda: self.model.log_out(token), token=token.text)

    def _profile(self, token: Token) -> None:
        session, reply = self._ask(
            PROFILE, lambda: self.model.profile(token), token=token.text
        )
        if session is not None:
            assert reply.json == _profile(session)

    def _one(self, tokens: Sequence[Token], nth: int) -> Token:
        """Return a token; two of three are of a session that lives, if there is one."""
        living = [token for token in tokens if self.model.is_alive(token.session)]
        return _nth(living if living and nth % 3 else tokens, nth // 3)

    def _a_key(self, nth: int) -> ApiKey:
        living = [key for user in self.model.users for key in user.keys]
        return _nth(living if living and nth % 3 else self.keys, nth // 3)

    def _asking_for_key(self, nth: int, which: int) -> tuple[Token, str]:
        """Return a key's id, and a token of its user, or of somebody who guesses it."""
        key = self._a_key(which)
        own = [token for token in self.refreshing if token.session.user is key.user]
        return self._one(own if own and which % 4 else self.refreshing, nth), key.id

    def _access(self, nth: int, *, fresh: bool) -> Token:
        """Return an access token; a fresh one of its session, if that still lives."""
        token = self._one(self.access, nth)
        if not fresh:
            return token
        refresh_tokens = (t for t in self.refreshing if t.session is token.session)
        return self._refresh(next(refresh_tokens)) or token

    def _refresh(self, token: Token) -> Token | None:
        session, reply = self._ask(
            SESSION, lambda: self.model.refresh(token), token=token.text
        )
        return None if session is None else self._issued(session, reply)

    def _opened(self, session: Session | None, reply: Reply, device: str) -> None:
        if session is None:
            return
        user, body = session.user, reply.json
        if not user.id:
            user.id = self._new(body["user_id"])
        assert body["user_id"] == user.id
        assert body["device_id"] == device
        assert body.get("expires_at") == _expires_at(user)
        token = self._issued(session, reply)
        self.refreshing.append(
            Token(body["refresh_token"], session, token.issued_at, "refresh")
        )

    def _issued(self, session: Session, reply: Reply) -> Token:
        """Note an access token, which has to say whose it is."""
        user, now = session.user, self.service.now
        text = reply.json["access_token"]
        claims = _claims(text)
        if not session.id:
            session.id = self._new(claims["sid"])
        said = {name: claims[name] for name in ("sub", "aud", "sid", "anonymous")}
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

    def _mailed(self, expected: MailToken | None) -> None:
        if expected is None:
            return
        mail = self.stage.sent[-1]
        (address,) = mail.destinations["ToAddresses"]
        assert address.lower() == expected.account.email.lower()
        (url,) = re.findall(r"^https://\S+$", mail.body, re.MULTILINE)
        query = parse_qs(urlsplit(url).query)
        (expected.secret,), (expected.id,) = query["token"], query["tokenId"]
        self.mails.append(expected)


_TO_LINK = {"link": "true"}
_Item = TypeVar("_Item")


def _nth(items: Sequence[_Item], nth: int) -> _Item:
    return items[-1 - nth % len(items)]


def _or_other(app: App, at_home: bool) -> App:
    if at_home:
        return app
    return WITHOUT_MAIL if app is WITH_MAIL else WITH_MAIL


def _jwt(app: App, subject: str, name: str, flaw: str) -> Jwt:
    meant_for = _or_other(app, flaw != "other app")
    return Jwt(meant_for, subject, name, genuine=flaw != "forged")


def _refuse() -> None:
    raise Refused((401, "InvalidSession"))


def _user_id(told: Session | User | Account | ApiKey | None) -> str | None:
    user = told if isinstance(told, User | None) else told.user
    return None if user is None else user.id


def _claims(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))


def _shown(key: ApiKey) -> dict[str, Any]:
    return {"_id": key.id, "name": key.name, "disabled": key.disabled}


def _expires_at(user: User) -> str | None:
    return None if user.ends_at is None else f"{user.ends_at:%Y-%m-%dT%H:%M:%SZ}"


def _profile(session: Session) -> dict[str, Any]:
    user = session.user
    identities = [
        {"id": i.id, "provider_type": i.provider, "data": i.data}
        for i in user.identities
    ]
    key = session.opener if isinstance(session.opener, ApiKey) else None
    if key is not None:
        identities.append(
            {"id": key.id, "provider_type": API_KEY, "data": {"name": key.name}}
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
    }
