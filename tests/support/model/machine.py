"""Plays the model against the service: random lives, with every answer predicted.

A rule is one act of a client, an attacker, an operator, or time. The caller may hold
any token, key or mail that was ever issued, old ones included: everything that an
attacker could have copied. An index into a list counts from its latest end.
"""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
)

from anonauth.domain.signing_keys import (
    KeyUse,
)
from anonauth.usecases.key_ring import KeyRotation
from support.forgery.bad_tokens import edited, other_signature
from support.model.model import SECOND
from support.model.player import (
    TO_LINK,
    Player,
    a_jwt,
    nth_of,
    or_other,
    refuse,
    refuse_as_unclear,
    refuse_for_now,
    shown,
    shown_sessions,
)
from support.model.stage import BARE, WITH_MAIL, WITHOUT_MAIL
from support.model.world import CUSTOM, App, Jwt, Password, Token
from support.service.harness import (
    CREATE_KEY,
    DELETE,
    DELETE_KEY,
    DISABLE_KEY,
    ENABLE_KEY,
    END_SESSION,
    GET_KEY,
    LINK,
    LIST_KEYS,
    LIST_SESSIONS,
    LOGIN,
    LOGOUT,
    NO_DEVICE,
    PROFILE,
    SESSION,
    UNLINK,
)

DEVICE = "5f0c3b2a1d9e8f7a6b5c4d3e"
_USERPASS = "POST /api/client/v2.0/app/{appId}/auth/providers/local-userpass/"

APPS = st.sampled_from([WITH_MAIL, WITHOUT_MAIL, WITH_MAIL, WITHOUT_MAIL, BARE])
MAIL_APPS = st.sampled_from([WITH_MAIL, WITH_MAIL, WITH_MAIL, WITHOUT_MAIL, BARE])
NTH = st.integers(0, 30)
AROUND = st.sampled_from([-2, -1, -1, 0])  # the next call comes a second later
MOSTLY = st.sampled_from([True, True, True, False])
# Flaws of a JWT: mostly none; meant for another app; or signed with an unknown key.
FLAWS = st.sampled_from([""] * 6 + ["other app", "forged"])
EMAILS = st.sampled_from(["ada@example.org", "Ada@Example.org", "bob@example.org"])
PASSWORDS = st.sampled_from(["correct horse"] * 3 + ["battery staple", "short"])
NETWORKS = st.sampled_from(["203.0.113.9", "198.51.100.7", "192.0.2.1"])
NAMES = st.sampled_from(["Ada", "Countess"])
SUBJECTS = st.sampled_from(["ada", "bob", "cyd", "ada of the second"])
WAYS_BACK = ["login", "guest", "reset", "link", "delete"]
LOGIN_KEYS = st.sampled_from(["A" * 43, "B" * 42 + "A"])
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


class Machine(Player):
    """All rules of the model."""

    # -- Guests and sessions ----------------------------------------------------------

    @initialize(guests=st.sampled_from([0, 19, 20]))
    def first_users(self, guests: int) -> None:
        self.log_in_anonymously(WITHOUT_MAIL, None)
        self.log_in_by_jwt(WITH_MAIL, "ada", "Ada", "")
        self.make_key(1, "first")
        self.link_new_address(1, "ada@example.org", "correct horse")
        self.log_in_anonymously(WITH_MAIL, None)
        if guests:
            self.bring_along_guests(guests)

    def bring_along_guests(self, count: int) -> None:
        """Merge this many guests into Ada, and one more."""
        ada = Jwt(WITH_MAIL, "ada", "Ada")
        self.as_told()  # learns the guest's ids before it is gone
        self.merge_with(self.refreshing[-1], WITH_MAIL, ada)
        self.give_former_ids(self.access[-1].session.user, count - 1)
        self.log_in_anonymously(WITH_MAIL, None)
        self.as_told()
        self.merge_with(self.refreshing[-1], WITH_MAIL, ada)
        self.log_in_anonymously(WITH_MAIL, None)

    @rule(app=APPS, device=st.sampled_from([None, NO_DEVICE, DEVICE]))
    def log_in_anonymously(self, app: App, device: str | None) -> None:
        """With no device, a device without an id, or a device with its own id."""
        body = {"options": {"device": {"deviceId": device}}} if device else {}
        session, reply = self.ask(
            LOGIN, lambda: self.model.log_in_anonymously(app), app=app.id, body=body
        )
        is_new = device == NO_DEVICE
        self.opened(session, reply, None if is_new else device or NO_DEVICE)

    @rule(app=APPS, key=LOGIN_KEYS)
    def log_in_by_login_key(self, app: App, key: str) -> None:
        session, reply = self.ask(
            LOGIN,
            lambda: self.model.log_in_once(app, key),
            app=app.id,
            body={"login_key": key},
        )
        self.opened(session, reply, NO_DEVICE)

    @rule(
        app=APPS,
        key=LOGIN_KEYS,
        meanwhile=st.sampled_from(["nothing", "log out", "delete", "link"]),
    )
    def log_in_twice_by_login_key(self, app: App, key: str, meanwhile: str) -> None:
        self.log_in_by_login_key(app, key)
        self.as_told()  # learns the guest's ids before it may be deleted
        if meanwhile == "log out":
            self.log_out_with(self.refreshing[-1])
        elif meanwhile == "delete":
            self.delete_with(self.access[-1])
        elif meanwhile == "link":
            self.link_to(self.access[-1], app, Jwt(app, "key", "Key"))
        self.log_in_by_login_key(app, key)

    @rule(nth=NTH)
    def refresh(self, nth: int) -> None:
        self.refresh_with(self.one_of(self.refreshing, nth))

    @rule(nth=NTH)
    def log_out(self, nth: int) -> None:
        self.log_out_with(self.one_of(self.refreshing, nth))

    @rule(nth=NTH, said=st.sampled_from(["TRUE", "false", "1", "true,true"]))
    def everywhere(self, nth: int, said: str) -> None:
        self.log_out_by_saying(said, self.one_of(self.refreshing, nth))

    @precondition(lambda self: "everywhere" not in self.crowded)
    @rule(whose=NTH, which=NTH)
    def log_in_again_and_log_out_everywhere(self, whose: int, which: int) -> None:
        self.crowded.add("everywhere")
        self.log_in_again(whose, which)
        self.log_out_by_saying("true", self.refreshing[-1])

    def log_out_by_saying(self, said: str, token: Token) -> None:
        tell = {
            "true": lambda: self.model.log_out_everywhere(token),
            "false": lambda: self.model.log_out(token),
        }.get(said.lower(), refuse_as_unclear)
        self.ask(LOGOUT, tell, token=token.text, query={"everywhere": said})

    @rule(nth=NTH)
    def look_at_sessions(self, nth: int) -> None:
        token = self.one_of(self.refreshing, nth)
        session, reply = self.ask(
            LIST_SESSIONS, lambda: self.model.list_sessions(token), token=token.text
        )
        if session is not None:
            live = [s for s in session.user.sessions if self.model.is_alive(s)]
            assert reply.json == shown_sessions(live, asking=session)

    @rule(nth=NTH, which=NTH)
    def end_session(self, nth: int, which: int) -> None:
        token = self.one_of(self.refreshing, nth)
        user = token.session.user
        own = [each for each in self.refreshing if each.session.user is user]
        ended = self.one_of(own if which % 4 else self.refreshing, which).session
        self.ask(
            END_SESSION,
            lambda: self.model.end_session(token, ended.id),
            token=token.text,
            parameters={"id": ended.id},
        )

    @rule(nth=NTH, fresh=MOSTLY)
    def profile(self, nth: int, *, fresh: bool) -> None:
        self.read_profile_with(self.access_token(nth, fresh=fresh))

    @rule(nth=NTH, fresh=st.booleans())
    def delete_user(self, nth: int, *, fresh: bool) -> None:
        self.delete_with(self.access_token(nth, fresh=fresh))

    @rule(
        nth=NTH,
        route=st.sampled_from(
            [
                *(SESSION, LOGOUT, LIST_SESSIONS, END_SESSION, LIST_KEYS, UNLINK),
                *(PROFILE, DELETE, LINK),
            ]
        ),
        forged=st.sampled_from(["other kind", "edited", "other signature", "null"]),
    )
    def forge(self, nth: int, route: str, forged: str) -> None:
        by_refresh = route not in {PROFILE, DELETE, LINK}
        right, wrong = self.refreshing, self.access
        if not by_refresh:
            right, wrong = wrong, right
        text = {
            "other kind": self.one_of(wrong, nth).text,
            "edited": edited(self.one_of(right, nth).text),
            "other signature": other_signature(self.one_of(right, nth).text),
            "null": "null",
        }[forged]
        options: dict[str, Any] = {}
        if route == END_SESSION:
            session = self.one_of(self.refreshing, nth).session
            options = {"parameters": {"id": session.id}}
        if route == UNLINK:
            options = {"query": {"provider": CUSTOM, "id": "ada"}}
        if route == LINK:
            body = self.body_of(Jwt(WITH_MAIL, "mallory", "Mallory"))
            parameters = {"provider": CUSTOM}
            options = {"parameters": parameters, "query": TO_LINK, "body": body}
        self.ask(route, refuse, token=text, **options)

    # -- Merges -----------------------------------------------------------------------

    def a_guest(self, nth: int) -> Token:
        """Return a refresh token, mostly that of a guest."""
        guests = [t for t in self.refreshing if t.session.user.anonymous]
        return self.one_of(guests if guests and nth % 4 else self.refreshing, nth)

    @rule(
        how=st.sampled_from(["any", "taken", "new guest", "new guest", "forged"]),
        nth=NTH,
        whose=NTH,
        subject=SUBJECTS,
        flaw=FLAWS,
        at_home=MOSTLY,
        then=st.sampled_from(["repeat", "read", "delete"]),
    )
    def merge(
        self,
        how: str,
        nth: int,
        whose: int,
        subject: str,
        flaw: str,
        *,
        at_home: bool,
        then: str,
    ) -> None:
        """Merge in one of four ways: four rules would leave less to the others."""
        if how == "any":
            token = self.a_guest(nth)
            app = or_other(token.session.user.app, at_home)
            self.merge_with(token, app, a_jwt(app, subject, "Ada", flaw))
        elif how == "taken":
            self.merge_into_what_somebody_has(nth, whose, again=then == "repeat")
        elif how == "new guest":
            self.merge_a_new_guest(whose, nth, then)
        else:
            self.merge_a_forged_guest(nth, subject)

    def merge_into_what_somebody_has(
        self, nth: int, whose: int, *, again: bool
    ) -> None:
        token = self.a_guest(nth)
        app = token.session.user.app
        near = [other for other in self.access if other.session.user.app is app]
        credential = self.credential_of(self.one_of(near, whose).session.user, nth)
        if credential is not None:
            for _ in range(1 + again):
                self.merge_with(token, app, credential)

    def merge_a_new_guest(self, whose: int, which: int, then: str) -> None:
        user = self.one_of(self.access, whose).session.user
        credential = self.credential_of(user, which)
        if credential is None:
            return
        self.log_in_anonymously(user.app, None)
        guest = self.refreshing[-1]
        self.merge_with(guest, user.app, credential)
        self.as_told()
        if then == "repeat":
            self.merge_with(guest, user.app, credential)
        elif then == "read":
            self.read_profile_with(self.access[-1])
        else:
            self.delete_with(self.access[-1])

    def merge_a_forged_guest(self, nth: int, subject: str) -> None:
        token = self.a_guest(nth)
        forged = (
            self.one_of(self.access, nth).text,  # of the other kind
            edited(token.text),
            other_signature(token.text),
        )
        app = token.session.user.app
        text = forged[nth % len(forged)]
        self.merge_with(token, app, a_jwt(app, subject, "Ada", ""), forged=text)

    # -- Identities -------------------------------------------------------------------

    @rule(app=APPS, email=EMAILS, password=PASSWORDS, network=NETWORKS)
    def log_in_by_password(
        self, app: App, email: str, password: str, network: str
    ) -> None:
        self.log_in_with(app, Password(email, password, network))

    @rule(app=APPS, email=EMAILS, network=NETWORKS)
    def guess(self, app: App, email: str, network: str) -> None:
        for _ in range(3):
            self.log_in_with(app, Password(email, "a wild guess", network))

    @rule(app=APPS, subject=SUBJECTS, name=NAMES, flaw=FLAWS)
    def log_in_by_jwt(self, app: App, subject: str, name: str, flaw: str) -> None:
        self.log_in_with(app, a_jwt(app, subject, name, flaw))

    @rule(whose=NTH, which=NTH)
    def log_in_again(self, whose: int, which: int) -> None:
        user = self.one_of(self.access, whose).session.user
        credential = self.credential_of(user, which)
        if credential is not None:
            self.log_in_with(user.app, credential)

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, at_home=MOSTLY, goes_on=MOSTLY)
    def log_in_by_key(self, nth: int, *, at_home: bool, goes_on: bool) -> None:
        key = self.a_key(nth)
        self.log_in_with(or_other(key.user.app, at_home), key)
        if not goes_on:
            self.log_out_by_saying("true", self.refreshing[-1])

    @precondition(lambda self: self.keys and "sessions" not in self.crowded)
    @rule(nth=NTH)
    def log_in_by_key_again_and_again(self, nth: int) -> None:
        self.crowded.add("sessions")
        for _ in range(9):
            self.log_in_by_key(nth, at_home=True, goes_on=True)

    @rule(nth=NTH, fresh=MOSTLY, at_home=MOSTLY, email=EMAILS, password=PASSWORDS)
    def link_password(
        self, nth: int, email: str, password: str, *, fresh: bool, at_home: bool
    ) -> None:
        token = self.access_token(nth, fresh=fresh)
        app = or_other(token.session.user.app, at_home)
        self.link_to(token, app, Password(email, password, "203.0.113.9"))

    @rule(nth=NTH, email=EMAILS, password=PASSWORDS)
    def link_new_address(self, nth: int, email: str, password: str) -> None:
        token = self.access_token(nth, fresh=True)
        app = token.session.user.app
        self.register_and_confirm(app, email, password)
        self.link_to(token, app, Password(email, password, "203.0.113.9"))

    @rule(nth=NTH)
    def link_two_addresses(self, nth: int) -> None:
        token = self.access_token(nth, fresh=True)
        app = token.session.user.app
        for email in ("ada@example.org", "bob@example.org"):
            self.register_and_confirm(app, email, "correct horse")
            newest = self.access[-1]  # that of the link, if it succeeded
            if newest.session is token.session:
                token = newest
            self.link_to(token, app, Password(email, "correct horse", "203.0.113.9"))

    @rule(nth=NTH, subject=SUBJECTS)
    def link_to_a_user_of_another_app(self, nth: int, subject: str) -> None:
        token = self.access_token(nth, fresh=True)
        app = or_other(token.session.user.app, at_home=False)
        self.link_to(token, app, Jwt(app, subject, "Ada"))

    @rule(nth=NTH, fresh=MOSTLY, subject=SUBJECTS, name=NAMES, flaw=FLAWS)
    def link_jwt(
        self, nth: int, subject: str, name: str, flaw: str, *, fresh: bool
    ) -> None:
        token = self.access_token(nth, fresh=fresh)
        app = token.session.user.app
        self.link_to(token, app, a_jwt(app, subject, name, flaw))

    @rule(nth=NTH, subject=SUBJECTS, said=st.sampled_from(["", "1", "true,true"]))
    def link_unreadably(self, nth: int, subject: str, said: str) -> None:
        """The call must not log in, which would bind the identity to another user."""
        token = self.access_token(nth, fresh=True)
        app = token.session.user.app
        self.ask(
            LINK,
            refuse_as_unclear,
            app=app.id,
            token=token.text,
            query={"link": said},
            parameters={"provider": CUSTOM},
            body=self.body_of(Jwt(app, subject, "Ada")),
        )

    @rule(nth=NTH, subject=SUBJECTS, then=SUBJECTS, deletes=st.booleans())
    def link_and_go_on_by_the_token_before(
        self, nth: int, subject: str, then: str, *, deletes: bool
    ) -> None:
        token = self.access_token(nth, fresh=True)
        app = token.session.user.app
        self.link_to(token, app, a_jwt(app, subject, "Ada", ""))
        if deletes:
            self.delete_with(token)
        else:
            self.link_to(token, app, a_jwt(app, then, "Ada", ""))

    @rule(nth=NTH, seconds=AROUND, deletes=st.booleans())
    def change_a_user_when_a_token_grows_old(
        self, nth: int, seconds: int, *, deletes: bool
    ) -> None:
        token = self.access_token(nth, fresh=True)
        young_until = token.young_until + seconds * SECOND
        if self.service.now < young_until:
            self.service.advance(young_until - self.service.now)
        app = token.session.user.app
        if deletes:
            self.delete_with(token)
        else:
            self.link_to(token, app, Jwt(app, "late", "Late"))

    @rule(nth=NTH, whose=NTH, which=NTH)
    def link_what_somebody_has(self, nth: int, whose: int, which: int) -> None:
        token = self.access_token(nth, fresh=True)
        app = token.session.user.app
        near = [other for other in self.access if other.session.user.app is app]
        credential = self.credential_of(self.one_of(near, whose).session.user, which)
        if credential is not None:
            self.link_to(token, app, credential)

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, fresh=MOSTLY, key=NTH)
    def link_key(self, nth: int, key: int, *, fresh: bool) -> None:
        token = self.access_token(nth, fresh=fresh)
        self.link_to(token, token.session.user.app, self.a_key(key))

    @precondition(lambda self: "identities" not in self.crowded)
    @rule(nth=NTH)
    def link_all_there_is_room_for(self, nth: int) -> None:
        self.crowded.add("identities")
        token = self.access_token(nth, fresh=True)
        app = token.session.user.app
        for number in range(10):
            self.link_to(token, app, Jwt(app, f"{number}", "Many"))

    @rule(nth=NTH, whose=NTH, which=NTH)
    def unlink(self, nth: int, whose: int, which: int) -> None:
        token = self.one_of(self.refreshing, nth)
        guessed = self.one_of(self.access, whose) if whose % 4 == 0 else token
        identity = nth_of(guessed.session.user.identities, which // 3)
        # Mostly by id alone, which two issuers may have given.
        key = identity.key if identity.key and which % 3 == 0 else None
        self.unlink_by(token, identity.provider, identity.id, key)

    # -- E-mail and password ----------------------------------------------------------

    @rule(app=MAIL_APPS, email=EMAILS, password=PASSWORDS)
    def register(self, app: App, email: str, password: str) -> None:
        account, _ = self.ask(
            _USERPASS + "register",
            lambda: self.model.register(app, email, password),
            app=app.id,
            body={"email": email, "password": password},
            email=email,
        )
        if account is not None:
            self.mailed(account.confirmation)

    @rule(app=MAIL_APPS, email=EMAILS, password=PASSWORDS)
    def register_and_confirm(self, app: App, email: str, password: str) -> None:
        self.register(app, email, password)
        if self.mails:
            self.confirm(0, at_home=True)

    @rule(app=MAIL_APPS, email=EMAILS)
    def resend(self, app: App, email: str) -> None:
        account, _ = self.ask(
            _USERPASS + "confirm/send",
            lambda: self.model.resend(app, email),
            app=app.id,
            body={"email": email},
            email=email,
        )
        if account is not None:
            self.mailed(account.confirmation)

    @precondition(lambda self: self.mails)
    @rule(nth=NTH, at_home=MOSTLY)
    def confirm(self, nth: int, *, at_home: bool) -> None:
        mail = nth_of(self.mails, nth)
        app = or_other(mail.account.app, at_home)
        self.ask(
            _USERPASS + "confirm",
            lambda: self.model.confirm(app, mail),
            app=app.id,
            body={"token": mail.secret, "tokenId": mail.id},
            email=mail.account.email,
        )

    @rule(app=MAIL_APPS, email=EMAILS)
    def ask_for_reset(self, app: App, email: str) -> None:
        account, _ = self.ask(
            _USERPASS + "reset/send",
            lambda: self.model.ask_for_reset(app, email),
            app=app.id,
            body={"email": email},
            email=email,
        )
        if account is not None:
            self.mailed(account.reset)

    @precondition(lambda self: self.mails)
    @rule(nth=NTH, at_home=MOSTLY, password=PASSWORDS)
    def reset(self, nth: int, password: str, *, at_home: bool) -> None:
        mail = nth_of(self.mails, nth)
        app = or_other(mail.account.app, at_home)
        self.ask(
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
        token = self.one_of(self.refreshing, nth)
        key, reply = self.ask(
            CREATE_KEY,
            lambda: self.model.make_key(token, name),
            token=token.text,
            body={"name": name},
        )
        if key is not None:
            key.id, key.secret = reply.json["_id"], reply.json["key"]
            assert reply.json == {**shown(key), "key": key.secret}
            self.keys.append(key)

    @rule(nth=NTH, key=NTH)
    def look_at_keys(self, nth: int, key: int) -> None:
        token, key_id = self.one_of(self.refreshing, nth), "0" * 24
        if self.keys:
            token, key_id = self.asking_for_key(nth, key)
        user, reply = self.ask(
            LIST_KEYS, lambda: self.model.list_keys(token), token=token.text
        )
        if user is not None:
            assert reply.json == [shown(key) for key in user.keys]
        got, reply = self.ask(
            GET_KEY,
            lambda: self.model.get_key(token, key_id),
            token=token.text,
            parameters={"id": key_id},
        )
        if got is not None:
            assert reply.json == shown(got)

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, key=NTH, disabled=st.booleans())
    def switch_key(self, nth: int, key: int, *, disabled: bool) -> None:
        token, key_id = self.asking_for_key(nth, key)
        self.ask(
            DISABLE_KEY if disabled else ENABLE_KEY,
            lambda: self.model.switch_key(token, key_id, disabled=disabled),
            token=token.text,
            parameters={"id": key_id},
        )

    @precondition(lambda self: self.keys)
    @rule(nth=NTH, key=NTH)
    def delete_key(self, nth: int, key: int) -> None:
        token, key_id = self.asking_for_key(nth, key)
        self.ask(
            DELETE_KEY,
            lambda: self.model.delete_key(token, key_id),
            token=token.text,
            parameters={"id": key_id},
        )

    # -- Time, the table and the operator ---------------------------------------------

    @rule(delta=TIMES)
    def let_time_pass(self, delta: timedelta) -> None:
        self.service.advance(delta)
        self.look()

    @rule(nth=NTH, seconds=AROUND)
    def let_time_pass_until_something_ends(self, nth: int, seconds: int) -> None:
        ends = self.model.boundaries([*self.access, *self.refreshing])
        ahead = sorted({end + seconds * SECOND for end in ends})
        ahead = [end for end in ahead if self.service.now < end]
        if ahead:
            self.service.advance(ahead[nth % len(ahead)] - self.service.now)
        self.look()

    @rule(nth=NTH, seconds=AROUND, stays=MOSTLY)
    def come_back_at_the_end(self, nth: int, seconds: int, *, stays: bool) -> None:
        token = self.one_of(self.refreshing, nth)
        end = token.session.ends_at or token.session.user.ends_at
        if end and self.service.now < end + seconds * SECOND:
            self.service.advance(end + seconds * SECOND - self.service.now)
        if stays:
            self.refresh_with(token)
        else:
            self.log_out_with(token)

    @rule(nth=NTH, seconds=AROUND)
    def use_an_access_token_to_the_end(self, nth: int, seconds: int) -> None:
        token = self.access_token(nth, fresh=True)
        end = token.ends_at + seconds * SECOND
        if self.service.now < end:
            self.service.advance(end - self.service.now)
        self.read_profile_with(token)

    @rule(nth=NTH, route=st.sampled_from([PROFILE, DELETE]))
    def ask_a_function_whose_clock_is_behind(self, nth: int, route: str) -> None:
        """The function that signed the token was ahead by more than the tolerance."""
        token, now = self.access_token(nth, fresh=True), self.service.now
        if now < token.ends_at:
            self.service.now = token.issued_at - 62 * SECOND  # `ask` takes a second
            self.ask(route, refuse_for_now, token=token.text)
            self.service.now = self.model.now = now

    @rule(warns=st.booleans())
    def sweep(self, *, warns: bool) -> None:
        if warns:  # while the items of expired users are still there
            told = self.model.warn()
            details = self.stage.warned()
            assert {d["uid"]: d["notice_days"] for d in details} == told
            assert len(details) == len(told)
        else:
            self.model.sweep()
            self.stage.sweep()
        self.look()

    @rule(nth=NTH)
    def lose_user(self, nth: int) -> None:
        """Delete the user's item, as by hand or by accident."""
        user = self.one_of(self.access, nth).session.user
        if user in self.model.users and not user.anonymous:
            self.lose(user)

    @rule(nth=NTH, first=NTH, second=NTH, how=st.sampled_from(WAYS_BACK))
    def lose_user_and_come_back(
        self, nth: int, first: int, second: int, how: str
    ) -> None:
        """Use what is left of the user, before and after an identity logs in."""
        token = self.one_of(self.access, nth)
        user = token.session.user
        if user not in self.model.users or user.anonymous:
            return
        credentials = [self.credential_of(user, each) for each in (first, second)]
        others = credentials[1:] if how == "link" else []
        emails = [a.email for a in self.model.accounts if a.user is user]
        keys = list(user.keys)
        self.lose(user)
        self.read_profile_with(token)
        for key in keys[:1]:
            self.log_in_with(user.app, key)
        if how == "reset" and emails:
            self.ask_for_reset(user.app, emails[0])
            if self.mails:
                self.reset(0, "battery staple", at_home=True)
        for credential in credentials:
            if credential is None or credential in others:
                continue
            if how == "guest":
                self.log_in_anonymously(user.app, None)
                self.link_to(self.access[-1], user.app, credential)
            self.log_in_with(user.app, credential)
            if how == "delete" and self.model.is_alive(self.access[-1].session):
                self.delete_with(self.access[-1])
        for other in others:
            if other is not None:
                self.link_to(self.access[-1], user.app, other)

    @precondition(lambda self: self.rotations < 4)
    @rule(use=st.sampled_from(["access", "refresh", None]))
    def rotate_by_hand_or_start_cold(self, use: KeyUse | None) -> None:
        if use is None:
            self.stage.start_cold()
            return
        self.rotations += 1
        services = self.service.services
        rings, keys = services.store, services.key_maker
        KeyRotation(rings, keys).rotate_now(use, self.service.now)
        self.look()
