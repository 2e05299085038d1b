"""The service's promises in plain Python: which users exist, and their rights.

This is a second description of the client API contract and of design.md §4. It shares
no rule and no constant with the code under test, and knows nothing of versions, hashes,
conditions or items: only people, what they hold, and until when. `Refused` is the
client's answer; if two refusals are equally right, both are in it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta

from support.model.world import (
    ANONYMOUS,
    API_KEY,
    CUSTOM,
    USERPASS,
    Account,
    ApiKey,
    App,
    Credential,
    Identity,
    Jwt,
    MailToken,
    Password,
    Session,
    Token,
    User,
)

MOST_WRONG_PASSWORDS = 3  # for an address, from one network, in a quarter of an hour
MOST_IN_A_ROW = 5  # for an address, until a right one or a reset
HOME = "203.0.113.9"  # the network of all calls unless another is named
MOST_MAILS = 3  # of a kind, to one address, in an hour

SECOND = timedelta(seconds=1)
_MINUTE, _HOUR, _DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
_LOGIN_KEY_LIFE = 24 * _HOUR
_SESSION_LIFE = 5 * 365 * _DAY
_SESSION_IDLE = 60 * _DAY + _HOUR
_SILENCE = 90 * _DAY + _HOUR
_MAIL_TOKEN_LIFE = 30 * _MINUTE
_PENDING_LIFE = 24 * _HOUR
_UNBOUND_LIFE = 30 * _DAY
_DELETED_AFTER = 24 * _HOUR
_REMEMBERED = 30 * _DAY
_MERGE_REMEMBERED = 100 * _DAY
_COUNTED = 30 * _DAY
_MOST_FORMER_IDS = 20
_NOTICES = (3, 14)


class Refused(Exception):
    """The service has to refuse in one of these ways; nothing changes."""

    def __init__(self, *ways: tuple[int, str]) -> None:
        super().__init__(*ways)
        self.ways = ways


_BAD_SESSION = 401, "InvalidSession"


class Model:
    """All apps, and the one clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.users: list[User] = []
        self.accounts: list[Account] = []
        self.forgotten_at: dict[tuple[str, str], datetime | None] = {}
        self.login_keys: dict[tuple[App, str], tuple[Session, datetime]] = {}
        self.merged_into: dict[str, User] = {}  # by the guest's id
        self.pushed_out: dict[str, str] = {}  # a former id, by the newest one's id
        self._wrong_passwords: Counter[tuple[object, ...]] = Counter()
        self._in_a_row: Counter[tuple[App, str]] = Counter()
        self._counted_until: dict[tuple[App, str], datetime] = {}
        self._strangers: set[tuple[object, ...]] = set()
        self._mails: Counter[tuple[object, ...]] = Counter()
        self._warned_up_to: date | None = None
        self.orphans: list[tuple[User, Identity]] = []  # no longer listed by their user
        self.lost_keys: list[ApiKey] = []
        self.lost: set[tuple[str, str]] = set()  # app and id, also of those back again
        self.came_back: Counter[str] = Counter()

    # -- Sessions ---------------------------------------------------------------------

    def log_in_anonymously(self, app: App) -> Session:
        user = User(app, self._end_of_silence(_SILENCE), [Identity(ANONYMOUS)])
        self.users.append(user)
        return self._open(user, ANONYMOUS, None)

    def log_in_once(self, app: App, login_key: str) -> Session:
        """Log in anonymously with a login key, which may have been used before."""
        before = self.login_keys.get((app, login_key))
        if before is None or self._is_over(before[1]):
            session = self.log_in_anonymously(app)
            until = self.now + _LOGIN_KEY_LIFE
            self.login_keys[app, login_key] = (session, until)
            return session
        if not self.is_alive(before[0]):
            raise Refused((409, "LoginKeySpent"))
        return before[0]

    def refresh(self, token: Token) -> Session:
        session = self.session_of(token)
        session.used_on = self.now.date()
        self._is_active(session)
        return session

    def profile(self, token: Token) -> Session:
        return self.session_of(token)

    def log_out(self, token: Token) -> User:
        session = self.session_of(token)
        user = session.user
        user.sessions.remove(session)
        if user.anonymous:
            self.users.remove(user)
        return user

    def log_out_everywhere(self, token: Token) -> User:
        user = self._changing_session(token).user
        user.sessions = []
        if user.anonymous:
            self.users.remove(user)
        return user

    def list_sessions(self, token: Token) -> Session:
        return self.session_of(token)

    def end_session(self, token: Token, session_id: str) -> User:
        asking = self.session_of(token)
        if asking.provider == API_KEY and session_id != asking.id:
            raise Refused((403, "AuthError"))
        user = asking.user
        found = [s for s in user.sessions if s.id == session_id and self.is_alive(s)]
        if not found:
            raise Refused((404, "SessionNotFound"))
        user.sessions.remove(found[0])
        if user.anonymous:
            self.users.remove(user)
        return user

    def delete_user(self, token: Token) -> User:
        session = self._changing_session(token)
        user = session.user
        if token.anonymous and not user.anonymous:
            raise Refused(_BAD_SESSION)
        self._require_young(token)
        self.users.remove(user)
        self._forget_accounts(user.identities)
        # The mark stays for good if other identities may still name the user.
        forgotten_at = None if user.made_again else self.now + _REMEMBERED
        self.forgotten_at[user.app.id, user.id] = forgotten_at
        for former_id in user.former_ids:
            merge_forgotten_at = self.now + _MERGE_REMEMBERED
            self.forgotten_at[user.app.id, former_id] = merge_forgotten_at
        return user

    def session_of(self, token: Token) -> Session:
        """Return the session of a token that is valid now."""
        if token.ends_at <= self.now or not self.is_alive(token.session):
            raise Refused(_BAD_SESSION)
        return token.session

    def is_alive(self, session: Session) -> bool:
        user = session.user
        return (
            user in self.users
            and session in user.sessions
            and not self._is_over(user.ends_at)
            and not self._is_over(session.ends_at)
        )

    # -- Identities -------------------------------------------------------------------

    def log_in(self, app: App, credential: Credential) -> Session:
        if credential.provider not in app.providers:
            raise Refused(_BAD_SESSION)
        self._prove(app, credential, refused=401)
        if isinstance(credential, ApiKey):
            return self._open(credential.user, API_KEY, credential)
        user, identity = self._named(app, credential)
        if user is None:
            user = User(app, None, [])
            self.users.append(user)
            identity = self._bind(user, credential)
        assert identity is not None
        if (user, identity) in self.orphans:
            # Its display data is as before, until it logs in again.
            user = self._come_back(user, identity)
        elif isinstance(credential, Jwt):
            identity.data = {"name": credential.name}
        return self._open(user, credential.provider, identity)

    def merge(self, app: App, credential: Credential, token: Token | None) -> Session:
        """Log in, and bring a guest along; no token stands for a forged one."""
        if credential.provider not in app.providers:
            raise Refused(_BAD_SESSION)
        is_bad = (
            token is None or token.kind != "refresh" or self._is_over(token.ends_at)
        )
        if isinstance(credential, ApiKey) or is_bad:
            raise Refused((400, "InvalidParameter"))
        assert token is not None
        guest = token.session.user
        if guest.app is not app:
            raise Refused((400, "InvalidParameter"))
        if not self.is_alive(token.session):
            return self.log_in(app, credential)
        self._prove(app, credential, refused=401)
        owner, identity = self._named(app, credential)
        if not guest.anonymous:
            if owner is guest:
                return self.log_in(app, credential)
            raise Refused((400, "InvalidParameter"))
        if owner is None or identity is None or self._is_free(owner, identity):
            return self._link_guest(token.session, credential, identity)
        if (owner, identity) in self.orphans:
            owner = self._come_back(owner, identity)
        session = self._open(owner, credential.provider, identity)
        self.users.remove(guest)
        self.absorb(owner, guest.id)
        return session

    def absorb(self, owner: User, guest_id: str) -> None:
        """Note that a guest is now a user's, which may be one too many to list."""
        owner.former_ids.append(guest_id)
        self.merged_into[guest_id] = owner
        self.forgotten_at[owner.app.id, guest_id] = None
        if len(owner.former_ids) > _MOST_FORMER_IDS:
            oldest = owner.former_ids.pop(0)
            self.pushed_out[guest_id] = oldest
            forgotten_at = self.now + _MERGE_REMEMBERED
            self.forgotten_at[owner.app.id, oldest] = forgotten_at

    def _is_free(self, user: User, identity: Identity) -> bool:
        if identity in user.identities:
            return False
        return user.made_again == "closed" or self._is_deleted(user)

    def _link_guest(
        self, session: Session, credential: Password | Jwt, identity: Identity | None
    ) -> Session:
        session.user.ends_at, session.begun_at = None, self.now
        self._is_active(session)
        if identity is None:
            self._bind(session.user, credential)
        else:
            self._list(session.user, identity)
        return session

    def _come_back(self, user: User, identity: Identity) -> User:
        """Return the user for an identity's session after its own user was lost.

        It is the same user, unless it deleted itself or a reset took it.
        """
        if self._is_lost(user):
            self._make_again(user, identity, "open")
            self.came_back["login"] += 1
            return user
        if user not in self.users or user.made_again == "closed":
            user = User(user.app, None, [])
            self.users.append(user)
            self.came_back["as another"] += 1
        elif refusals := self._no_room(user, identity.provider):
            raise Refused(*refusals)
        else:
            self.came_back["another login"] += 1
        self._list(user, identity)
        return user

    def link(self, token: Token, app: App, credential: Credential) -> Session:
        session = self._changing_session(token)
        user = session.user
        is_from_before = token.anonymous and not user.anonymous
        if not user.anonymous and not is_from_before:
            self._require_young(token)
        if user.app is not app:
            raise Refused((400, "UserAppDomainMismatch"))
        if credential.provider not in app.providers:
            raise Refused((404, "AuthProviderNotFound"))
        if credential.provider == API_KEY:
            raise Refused((400, "InvalidParameter"))
        if is_from_before and user.identity_of(credential.provider) is None:
            raise Refused(_BAD_SESSION)
        self._prove(app, credential, refused=403)
        assert not isinstance(credential, ApiKey)
        owner, identity = self._named(app, credential)
        if identity in user.identities:
            return session
        if is_from_before:
            raise Refused(_BAD_SESSION)
        refusals = self._no_room(user, credential.provider)
        if owner is not None and owner is not user:
            refusals.append((409, "AccountNameInUse"))
        if refusals:
            raise Refused(*refusals)
        if user.anonymous:
            user.ends_at = None
            session.begun_at = self.now
        self._is_active(session)
        user.sessions = [s for s in user.sessions if self.is_alive(s)]
        if identity is None:
            self._bind(user, credential)
        else:
            self._list(user, identity)
            self.came_back["link"] += 1
        return session

    def unlink(
        self, token: Token, provider: str, identity_id: str, key: str | None
    ) -> User:
        if provider == API_KEY:
            raise Refused((400, "BadRequest"), (401, "InvalidSession"))
        session = self._changing_session(token)
        user = session.user
        wanted = (provider, identity_id)
        found = [i for i in user.identities if (i.provider, i.id) == wanted]
        if key is not None:
            found = [i for i in found if i.key == key]
        if not found:
            raise Refused((404, "IdentityNotFound"))
        usable = [i for i in user.identities if i.provider != ANONYMOUS]
        if provider == ANONYMOUS or usable == found or len(found) > 1:
            raise Refused((400, "InvalidParameter"))
        self._detach(user, found)
        return user

    # -- E-mail and password ----------------------------------------------------------

    def register(self, app: App, email: str, password: str) -> Account | None:
        """Return the account if a mail is sent to it; the answer does not tell."""
        self._require_userpass(app)
        if len(password) < 6:
            raise Refused((400, "BadRequest"))
        old = self._account(app, email)
        if old is not None and old.state != "pending":
            raise Refused((409, "AccountNameInUse"))
        is_contested = old is not None and (old.contested or old.password != password)
        is_sent = self._can_mail("confirm", app, email)
        if old is not None:
            old.contested = is_contested
            if not is_sent:
                return None
        self.accounts = [
            a for a in self.accounts if (a.app, a.email.lower()) != (app, email.lower())
        ]
        account = Account(
            app,
            email,
            password,
            "pending" if app.mail else "confirmed",
            self.now + (_PENDING_LIFE if app.mail else _UNBOUND_LIFE),
            contested=is_contested,
        )
        if app.mail and is_sent:
            account.confirmation = self._mail_token(account)
        self.accounts.append(account)
        return account if is_sent else None

    def resend(self, app: App, email: str) -> Account:
        self._require_userpass(app)
        account = self._account(app, email)
        if account is None:
            raise Refused((404, "UserNotFound"))
        if account.state != "pending":
            raise Refused((400, "UserAlreadyConfirmed"))
        self._spend_mail("confirm", app, email)
        account.confirmation = self._mail_token(account)
        return account

    def confirm(self, app: App, token: MailToken) -> Account:
        self._require_userpass(app)
        account = self._account_of(app, token)
        if account is None or account.confirmation is not token:
            raise Refused((400, "UserpassTokenInvalid"))
        if account.state == "pending":
            if self._is_over(token.ends_at):
                raise Refused((400, "UserpassTokenInvalid"))
            account.state = "confirmed"
            account.ends_at = self.now + _UNBOUND_LIFE
        return account

    def ask_for_reset(self, app: App, email: str) -> Account | None:
        """Return the account if a mail is sent to it; the answer does not tell.

        If the account knows the network of the calls, that has its own mail limit.
        """
        self._require_userpass(app)
        if not app.mail:
            raise Refused((400, "BadRequest"))
        account = self._account(app, email)
        is_known = account is not None and HOME in account.networks
        self._spend_mail("reset at home" if is_known else "reset", app, email)
        if account is not None:
            account.reset = self._mail_token(account)
        return account

    def reset(self, app: App, token: MailToken, password: str) -> Account:
        self._require_userpass(app)
        refusals = []
        account = self._account_of(app, token)
        if (
            account is None
            or account.reset is not token
            or self._is_over(token.ends_at)
        ):
            refusals.append((400, "UserpassTokenInvalid"))
        if len(password) < 6:
            refusals.append((400, "BadRequest"))
        if refusals or account is None:
            raise Refused(*refusals)
        del self._in_a_row[app, account.email.lower()]
        if account.user is not None and self._is_deleted(account.user):
            raise Refused((400, "UserpassTokenInvalid"))
        account.password, account.reset = password, None
        if account.user is None:
            account.state = "confirmed"
            account.ends_at = self.now + _UNBOUND_LIFE
        else:
            self._take_over(account)
        account.contested = False
        account.networks = set()
        return account

    # -- API keys ---------------------------------------------------------------------

    def make_key(self, token: Token, name: str) -> ApiKey:
        self._changing_session(token)
        user = self._key_session(token).user
        if " " in name:
            raise Refused((400, "InvalidParameter"))
        if name in {key.name for key in user.keys}:
            raise Refused((409, "APIKeyAlreadyExists"))
        key = ApiKey(user, name)
        user.keys.append(key)
        return key

    def list_keys(self, token: Token) -> User:
        return self._key_session(token).user

    def get_key(self, token: Token, key_id: str) -> ApiKey:
        return self._key(self._key_session(token).user, key_id)

    def switch_key(self, token: Token, key_id: str, *, disabled: bool) -> ApiKey:
        self._changing_session(token)
        session = self._key_session(token)
        key = self._key(session.user, key_id)
        if key.disabled == disabled:
            return key
        key.disabled = disabled
        self._end_opened_by(session.user, [key])
        return key

    def delete_key(self, token: Token, key_id: str) -> ApiKey:
        self._changing_session(token)
        session = self._key_session(token)
        key = self._key(session.user, key_id)
        session.user.keys.remove(key)
        self._end_opened_by(session.user, [key])
        return key

    # -- What happens by itself -------------------------------------------------------

    def lose(self, user: User) -> None:
        """Lose a permanent user's item by accident; items that name it remain."""
        self.users.remove(user)
        self.lost.add((user.app.id, user.id))
        usable = [i for i in user.identities if i.provider != ANONYMOUS]
        self.orphans += [(user, identity) for identity in usable]
        self.lost_keys += user.keys
        user.sessions, user.keys, user.former_ids = [], [], []

    def free_of(self) -> set[str]:
        """Return the ids of users that identities may be taken from."""
        return {
            user.id
            for user, _ in self.orphans
            if self._is_deleted(user) or user.made_again == "closed"
        }

    def sweep(self) -> None:
        """Delete everything that ended a day ago, as the TTL does when it runs."""
        self.users = [u for u in self.users if not self._is_due(u.ends_at)]
        self.accounts = [a for a in self.accounts if not self._is_due(a.ends_at)]
        self.forgotten_at = {
            key: at for key, at in self.forgotten_at.items() if not self._is_over(at)
        }
        self.login_keys = {
            key: (session, until)
            for key, (session, until) in self.login_keys.items()
            if not self._is_over(until)
        }
        for address, at in self._counted_until.items():
            if self._is_over(at):
                del self._in_a_row[address]

    def warn(self) -> dict[str, int]:
        """Return the users that are warned today, with the days that they have left."""
        before, today = self._warned_up_to, self.now.date()
        self._warned_up_to = today
        warned = {}
        for user in self.users:
            if user.ends_at is None or self._is_over(user.ends_at):
                continue
            for days in _NOTICES:
                due_on = user.ends_at.date() - days * _DAY
                if due_on <= today and (before is None or due_on > before):
                    warned[user.id] = days
                    break
        return warned

    def boundaries(self, tokens: Sequence[Token]) -> Iterator[datetime]:
        """Yield the times at which something changes by itself."""
        yield self._midnight()
        ends: list[datetime | None] = [token.ends_at for token in tokens]
        ends += [token.young_until for token in tokens if token.kind == "access"]
        for user in self.users:
            ends += [user.ends_at, *(s.ends_at for s in user.sessions)]
        ends += [until for _, until in self.login_keys.values()]
        for account in self.accounts:
            mails = (account.confirmation, account.reset)
            ends += [account.ends_at, *(m.ends_at for m in mails if m)]
        for end in ends:
            if end is not None:
                yield end
                yield end + _DELETED_AFTER

    # -- Inside -----------------------------------------------------------------------

    def _is_over(self, ends_at: datetime | None) -> bool:
        return ends_at is not None and ends_at <= self.now

    def _is_due(self, ends_at: datetime | None) -> bool:
        return ends_at is not None and self._is_over(ends_at + _DELETED_AFTER)

    def _midnight(self) -> datetime:
        return datetime.combine(self.now.date() + _DAY, time(), UTC)

    def _end_of_silence(self, silence: timedelta) -> datetime:
        # Counted from the end of the day, so the days are whole.
        return self._midnight() + silence

    def _is_active(self, session: Session) -> None:
        if session.user.anonymous:
            session.user.ends_at = self._end_of_silence(_SILENCE)
        else:
            whole = session.begun_at + _SESSION_LIFE
            session.ends_at = min(self._end_of_silence(_SESSION_IDLE), whole)

    def _open(
        self, user: User, provider: str, opener: Identity | ApiKey | None
    ) -> Session:
        self._make_room(user, provider)
        session = Session(user, provider, self.now, self.now.date(), opener)
        user.sessions.append(session)
        self._is_active(session)
        return session

    def _make_room(self, user: User, provider: str) -> None:
        """Keep at most 31 sessions, 7 of API keys; the least recently used end.

        Sessions of API keys end first for a new session of an API key, last for others.
        """
        live = sorted(
            (s for s in user.sessions if self.is_alive(s)),
            key=lambda s: (s.used_on, s.begun_at),
        )
        by_keys = [s for s in live if s.provider == API_KEY]
        others = [s for s in live if s.provider != API_KEY]
        if provider == API_KEY:
            by_keys = by_keys[-7:]
            in_turn = by_keys + others
        else:
            in_turn = others + by_keys
        user.sessions = in_turn[max(len(in_turn) - 31, 0) :]

    def _prove(self, app: App, credential: Credential, *, refused: int) -> None:
        if isinstance(credential, Password):
            self._prove_password(app, credential, refused)
        elif isinstance(credential, Jwt):
            if not credential.genuine or credential.app is not app:
                raise Refused((refused, "AuthError"))
        elif (
            credential.user.app is not app
            or credential.user not in self.users
            or credential not in credential.user.keys
            or credential.disabled
        ):
            raise Refused((refused, "AuthError"))

    def _prove_password(self, app: App, typed: Password, refused: int) -> None:
        quarter = int(self.now.timestamp()) // 900
        tried = (app, typed.email.lower(), typed.network, quarter)
        if self._wrong_passwords[tried] >= MOST_WRONG_PASSWORDS:
            raise Refused((429, "RateLimitExceeded"))
        account = self._account(app, typed.email)
        address = app, typed.email.lower()
        is_known = account is not None and typed.network in account.networks
        if self._in_a_row[address] >= MOST_IN_A_ROW and not is_known:
            hour = (*address, int(self.now.timestamp()) // 3600)
            if hour in self._strangers:
                raise Refused((429, "RateLimitExceeded"))
            self._strangers.add(hour)
        if account is None or account.password != typed.password:
            self._wrong_passwords[tried] += 1
            self._in_a_row[address] += 1
            self._counted_until[address] = self.now + _COUNTED
            raise Refused((refused, "InvalidPassword"))
        if account.state == "pending":
            raise Refused((refused, "AuthError"))
        del self._in_a_row[address]
        if account.state == "bound":
            account.networks.add(typed.network)

    def _named(
        self, app: App, credential: Password | Jwt
    ) -> tuple[User, Identity] | tuple[None, None]:
        """Return the identity, and its user, which may not list it."""
        if isinstance(credential, Password):
            account = self._account(app, credential.email)
            if account is None or account.user is None or account.identity is None:
                return None, None
            return account.user, account.identity
        said = (CUSTOM, credential.issuer, credential.subject)
        listed = [(user, i) for user in self.users for i in user.identities]
        for user, i in listed + self.orphans:
            if user.app is app and (i.provider, i.issuer, i.subject) == said:
                return user, i
        return None, None

    def _is_lost(self, user: User) -> bool:
        return user not in self.users and not self._is_deleted(user)

    def _is_deleted(self, user: User) -> bool:
        return (user.app.id, user.id) in self.forgotten_at

    def _make_again(self, user: User, identity: Identity, made_again: str) -> None:
        user.identities, user.made_again = [], made_again
        self.users.append(user)
        self._list(user, identity)

    def _list(self, user: User, identity: Identity) -> None:
        """Add an orphan to a user, mostly its own."""
        self.orphans = [each for each in self.orphans if each[1] is not identity]
        user.identities.append(identity)
        for account in self.accounts:
            if account.identity is identity:
                account.user = user

    def _no_room(self, user: User, provider: str) -> list[tuple[int, str]]:
        refusals = []
        if provider == USERPASS and user.identity_of(USERPASS):
            refusals.append((400, "InternalServerError"))
        if len(user.identities) == 10:
            refusals.append((400, "InvalidParameter"))
        return refusals

    def _bind(self, user: User, credential: Password | Jwt) -> Identity:
        if isinstance(credential, Jwt):
            data = {"name": credential.name}
            subject, issuer = credential.subject, credential.issuer
            identity = Identity(CUSTOM, subject, data, subject, issuer)
            user.identities.append(identity)
            return identity
        account = self._account(user.app, credential.email)
        assert account is not None
        account.state, account.ends_at, account.user = "bound", None, user
        account.networks.add(credential.network)
        email = account.email
        account.identity = Identity(USERPASS, email.lower(), {"email": email})
        user.identities.append(account.identity)
        return account.identity

    def _detach(self, user: User, identities: Sequence[Identity]) -> None:
        user.identities = [i for i in user.identities if i not in identities]
        self._forget_accounts(identities)
        self._end_opened_by(user, identities)

    def _forget_accounts(self, identities: Sequence[Identity]) -> None:
        self.accounts = [a for a in self.accounts if a.identity not in identities]

    def _end_opened_by(self, user: User, openers: Sequence[Identity | ApiKey]) -> None:
        user.sessions = [s for s in user.sessions if s.opener not in openers]

    def _take_over(self, account: Account) -> None:
        """End everything that an old password has opened; the resetter gets the user.

        Others stay only if no other person had set a password for the address.
        """
        user, own = account.user, account.identity
        assert user is not None
        assert own is not None
        made_again = "closed" if account.contested else "open"
        if self._is_lost(user):
            self._make_again(user, own, made_again)
            self.came_back["reset"] += 1
            return
        user.sessions = []
        is_orphan = own not in user.identities
        has_room = account.contested or not self._no_room(user, USERPASS)
        if is_orphan and not (user.made_again == "open" and has_room):
            return  # the user no longer has it
        user.keys = []
        if account.contested:
            others = [i for i in user.identities if i.provider != ANONYMOUS]
            self._detach(user, [i for i in others if i is not own])
            user.made_again = user.made_again and "closed"
        if is_orphan:
            self._list(user, own)
            self.came_back["another reset"] += 1

    def _account(self, app: App, email: str) -> Account | None:
        for account in self.accounts:
            if account.app is app and account.email.lower() == email.lower():
                return None if self._is_over(account.ends_at) else account
        return None

    def _account_of(self, app: App, token: MailToken) -> Account | None:
        found = self._account(app, token.account.email)
        return found if found is token.account else None

    def _mail_token(self, account: Account) -> MailToken:
        return MailToken(account, self.now + _MAIL_TOKEN_LIFE)

    def _can_mail(self, kind: str, app: App, email: str) -> bool:
        try:
            self._spend_mail(kind, app, email)
        except Refused:
            return False
        return True

    def _spend_mail(self, kind: str, app: App, email: str) -> None:
        if not app.mail:
            return
        sent = (kind, app, email.lower(), int(self.now.timestamp()) // 3600)
        if self._mails[sent] >= MOST_MAILS:
            raise Refused((429, "RateLimitExceeded"))
        self._mails[sent] += 1

    def _require_userpass(self, app: App) -> None:
        if USERPASS not in app.providers:
            raise Refused((404, "AuthProviderNotFound"))

    def _changing_session(self, token: Token) -> Session:
        session = self.session_of(token)
        if session.provider == API_KEY:
            raise Refused((403, "AuthError"))
        return session

    def _require_young(self, token: Token) -> None:
        if token.young_until <= self.now:
            raise Refused(_BAD_SESSION)

    def _key_session(self, token: Token) -> Session:
        session = self.session_of(token)
        if API_KEY not in session.user.app.providers:
            raise Refused((404, "AuthProviderNotFound"))
        if session.user.anonymous:
            raise Refused((403, "AuthError"))
        return session

    def _key(self, user: User, key_id: str) -> ApiKey:
        found = [key for key in user.keys if key.id == key_id]
        if not found:
            raise Refused((404, "APIKeyNotFound"))
        return found[0]
