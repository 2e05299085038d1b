"""`anonauth doctor --drive`: log in, refresh, link, log out and delete, as a client.

The steps use the public API of a deployment. The last step looks into the table with
the operator's credentials, and deletes whatever the others have left there.
"""

import functools
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.cli.deployment import Deployment, find_aws_error
from anonauth.cli.doctor.check_result import CheckResult, failure, ok, warning
from anonauth.cli.doctor.http_checks import HttpAnswer, NoAnswer, fetch, get_member
from anonauth.cli.doctor.probe import DeploymentProbe
from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import IdentityRecord
from anonauth.domain.providers import ANONYMOUS, USERPASS
from anonauth.domain.users import UserFilter
from anonauth.errors import Unavailable
from anonauth.local.command_error import CommandError
from anonauth.usecases.operator import OperatorActions, UnknownUser, UserChanged

_API = "/api/client/v2.0"
_BY_JWT = "custom-token"

# What a server may say is printed only in these forms: it could repeat a secret.
_ERROR_CODE = re.compile(r"[A-Z][A-Za-z]{2,40}")
_USER_ID = re.compile(r"[0-9a-f]{24}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")

# The answer of an app without mail to a request for a reset mail (client-api.md §4).
_NO_MAIL = "please use reset password via function"

_PASSWORD_BYTES = 90  # 120 characters; an app may ask for up to 128

# How far the clocks of this machine and of the service may differ.
_CLOCKS = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class DriveOptions:
    """What is driven: the API's address, the app, and a JWT to link if there is one."""

    base_url: str
    app: str
    jwt: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class _Login:
    user_id: str
    access_token: str
    refresh_token: str


class _StepEnded(Exception):
    """A step failed, or cannot be done here."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__()
        self.result = result


def find_base_url(deployment: Deployment, base_url: str | None) -> str:
    """Return the address of the API: the one that was given, or else the stack's.

    Raises:
        CommandError: None is known, or it is not a URL.
    """
    url = base_url or deployment.outputs.get("BaseUrl", "")
    if not url:
        raise CommandError("--drive needs the address of the API: give --base-url")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise CommandError(f"--base-url: '{url}' is not a URL") from exc
    is_http = parts.scheme in {"http", "https"} and parts.hostname
    if not is_http or parts.path.strip("/") or parts.query or parts.username:
        raise CommandError(f"--base-url: '{url}' is not a base URL without a path")
    if parts.scheme == "http" and deployment.endpoint_url is None:
        raise CommandError(f"--base-url: {url} is not https, and tokens go there")
    return url.rstrip("/")


class Drive:
    """One drive. `run` leaves nothing behind, whatever fails."""

    def __init__(self, probe: DeploymentProbe, options: DriveOptions) -> None:
        self._probe = probe
        self._options = options
        self._app = f"{_API}/app/{options.app}/auth/providers"
        self._since = probe.clock() - _CLOCKS
        self._login: _Login | None = None
        self._device = secrets.token_hex(12)
        self._email = f"anonauth-doctor-{secrets.token_hex(12)}@example.com"
        self._password = secrets.token_urlsafe(_PASSWORD_BYTES)
        self._linked = ""  # the provider
        self._is_registered = False
        self._is_lost = False  # whether a login may have made a guest with no answer
        # The users that were made, and access tokens to delete those that still exist.
        self._made: dict[str, str] = {}

    def run(self, tell: Callable[[str], object] = str) -> list[CheckResult]:
        """Take the steps, and clean up after them, also after Ctrl-C.

        Args:
            tell: Called with the name of each step before it begins.

        Raises:
            CommandError: The command was stopped, and something may be left behind.
        """
        results: list[CheckResult] = []
        try:
            for name, result in self._take_steps(tell):
                results.append(replace(result, name=name))
            tell(CLEAN_UP)
            results.append(replace(self._clean_up(), name=CLEAN_UP))
        except BaseException as exc:  # Ctrl-C too, also one in the clean-up
            cleaned = self._clean_up()
            if cleaned.state == "ok":
                raise
            stopped = f"stopped by {type(exc).__name__}"
            raise CommandError(f"{stopped}: {cleaned.says}; {cleaned.advice}") from exc
        return results

    def _take_steps(
        self, tell: Callable[[str], object]
    ) -> Iterator[tuple[str, CheckResult]]:
        failed = ""
        for name, step in STEPS.items():
            tell(name)
            if failed:
                result = warning(f"skipped after '{failed}'", f"see '{failed}'")
            else:
                result = self._take(step)
                if result.state == "failed" or self._login is None:
                    failed = name
            yield name, result

    def _take(self, step: "Callable[[Drive], CheckResult]") -> CheckResult:
        try:
            return step(self)
        except _StepEnded as exc:
            return exc.result
        except NoAnswer as exc:
            return failure(f"no answer: {exc}", "check the API and its address")

    def log_in(self) -> CheckResult:
        """Log in as a guest."""
        self._login = self._log_in_as_guest()
        return ok(f"as guest {self._login.user_id}")

    def refresh(self) -> CheckResult:
        """Refresh, and read the profile with the new access token."""
        login = self._require_login()
        answer = self._ask("POST", f"{_API}/auth/session", login.refresh_token)
        access = _require(answer, "SessionFunction", "access_token")["access_token"]
        self._login = replace(login, access_token=access)
        profile = self._ask("GET", f"{_API}/auth/profile", access)
        found = _require(profile, "ProfileFunction", "user_id")["user_id"]
        if found != login.user_id:
            return failure("the profile is another user's", _log("ProfileFunction"))
        return ok("the new access token shows the guest's profile")

    def link(self) -> CheckResult:
        """Link an identity: by JWT, or by e-mail where no mail is sent."""
        login = self._require_login()
        if self._options.jwt is None:
            self._require_no_mail()
            self._register()
            provider = USERPASS
        else:
            provider = _BY_JWT
        path = f"{self._app}/{provider}/login?link=true"
        answer = self._ask("POST", path, login.access_token, self._credential(provider))
        if answer.status == HTTPStatus.CONFLICT and provider == _BY_JWT:
            return failure(
                f"{_told(answer)}: another user has the identity of the JWT",
                "give a JWT of a subject that has no user yet",
            )
        body = _require(answer, "LinkFunction", "access_token", "user_id")
        if body["user_id"] != login.user_id:
            return failure("the answer is about another user", _log("LinkFunction"))
        self._login = replace(login, access_token=body["access_token"])
        self._made[login.user_id] = body["access_token"]
        self._linked = provider
        return ok(f"by {provider}; the user is permanent")

    def log_out(self) -> CheckResult:
        """Log out. The refresh token must be refused from then on."""
        login = self._require_login()
        answer = self._ask("DELETE", f"{_API}/auth/session", login.refresh_token)
        _require(answer, "LogoutFunction")
        if not self._linked:
            self._made[login.user_id] = ""
        self._require_refused(login)
        return ok("the tokens are refused")

    def log_in_again(self) -> CheckResult:
        """Log in by the linked identity. A guest is deleted by its logout."""
        before = self._require_login()
        if not self._linked:
            self._login = self._log_in_as_guest()
            return ok(f"as another guest, {self._login.user_id}: a logout deletes one")
        answer = self._log_in(self._linked, self._credential(self._linked))
        login = self._read_login(answer, "LinkFunction")
        if login.user_id != before.user_id:
            if self._linked == USERPASS:  # nobody else has this address
                self._made[login.user_id] = login.access_token
            return failure(
                f"by {self._linked}, but as another user", _log("LinkFunction")
            )
        self._made[login.user_id] = login.access_token
        self._login = login
        return ok(f"by {self._linked}, as the same user")

    def delete(self) -> CheckResult:
        """Delete the user."""
        login = self._require_login()
        answer = self._ask("DELETE", f"{_API}/auth/delete", login.access_token)
        _require(answer, "ProfileFunction")
        self._made[login.user_id] = ""
        return ok("the API says so")

    def refused(self) -> CheckResult:
        """Check that the tokens of the deleted user are refused."""
        self._require_refused(self._require_login())
        return ok("both tokens of the deleted user answer 401")

    def _ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> HttpAnswer:
        url = self._options.base_url + path
        return fetch(self._probe, url, method, token=token, body=body)

    def _log_in_as_guest(self) -> _Login:
        self._is_lost = True
        answer = self._log_in(ANONYMOUS, {})
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._is_lost = answer.status == HTTPStatus.OK
        if _code(answer) == "ChallengeFailed":
            raise _StepEnded(
                warning(
                    "skipped: the app asks for a challenge before an anonymous login",
                    "drive another app with --app, or log in by hand",
                )
            )
        login = self._read_login(answer, "LoginFunction")
        self._is_lost = False
        self._made[login.user_id] = login.access_token
        return login

    def _log_in(self, provider: str, credential: Mapping[str, Any]) -> HttpAnswer:
        device = {"deviceId": self._device, "platform": "anonauth doctor"}
        body = {**credential, "options": {"device": device}}
        return self._ask("POST", f"{self._app}/{provider}/login", body=body)

    def _read_login(self, answer: HttpAnswer, function: str) -> _Login:
        names = ("user_id", "access_token", "refresh_token")
        found = _require(answer, function, *names, "device_id")
        # A proxy might answer from its cache. That user must not be deleted.
        if found.pop("device_id") != self._device:
            raise _StepEnded(
                failure(
                    "the answer belongs to the login of another device",
                    "no proxy in front of the API may cache its answers",
                )
            )
        if not _USER_ID.fullmatch(found["user_id"]):
            raise _StepEnded(failure("answers 200 without user_id", _log(function)))
        return _Login(**found)

    def _require_no_mail(self) -> None:
        """Go on if the app has e-mail accounts, and sends no mail.

        A request for a reset mail tells, and is harmless: no mail goes to an address
        that is not registered.
        """
        path = f"{self._app}/{USERPASS}/reset/send"
        answer = self._ask("POST", path, body={"email": self._email})
        told = get_member(answer.body, "error")
        if answer.status == HTTPStatus.BAD_REQUEST and told == _NO_MAIL:
            return
        advice = "give --token JWT, of a subject that has no user yet"
        if answer.status == HTTPStatus.OK:
            reason = "the app sends mail to confirm an address"
        elif answer.status == HTTPStatus.NOT_FOUND:
            reason = f"{USERPASS} is off, and there is no --token"
        else:
            _require(answer, "UserpassFunction")
            return
        raise _StepEnded(warning(f"skipped: {reason}", advice))

    def _register(self) -> None:
        account = {"email": self._email, "password": self._password}
        self._is_registered = True  # perhaps, until there is an answer
        answer = self._ask("POST", f"{self._app}/{USERPASS}/register", body=account)
        _require(answer, "UserpassFunction")

    def _credential(self, provider: str) -> Mapping[str, Any]:
        if provider == _BY_JWT:
            return {"token": self._options.jwt}
        return {"username": self._email, "password": self._password}

    def _require_login(self) -> _Login:
        assert self._login is not None  # noqa: S101 - for the type  # nosec B101
        return self._login

    def _require_refused(self, login: _Login) -> None:
        calls = {
            "access": ("GET", f"{_API}/auth/profile", login.access_token),
            "refresh": ("POST", f"{_API}/auth/session", login.refresh_token),
        }
        for kind, (method, path, token) in calls.items():
            answer = self._ask(method, path, token)
            if answer.status != HTTPStatus.UNAUTHORIZED:
                raise _StepEnded(
                    failure(
                        f"the {kind} token is not refused afterwards: {_told(answer)}",
                        "an access to the table or a proxy's cache is at fault; the "
                        "API must answer 401",
                    )
                )

    def _clean_up(self) -> CheckResult:
        """Delete what is left: over the API if it can, else in the table."""
        for token in filter(None, self._made.values()):
            with suppress(NoAnswer):
                self._ask("DELETE", f"{_API}/auth/delete", token)
        left: list[str] = []
        cause = ""
        for thing, remove in self._remains():
            try:
                remove()
            except (BotoCoreError, ClientError, Unavailable) as exc:
                cause = str(find_aws_error(exc)).partition("\n")[0]
                left.append(thing)
            except UserChanged:
                cause = "it was changed meanwhile"
                left.append(thing)
        if left:
            return failure(
                f"left in app {self._options.app}: {', '.join(left)}; {cause}",
                "delete users by `anonauth users delete`; an address without a user "
                "ends by itself",
            )
        if self._is_lost:
            return warning(
                "nothing was found, but a login had no clear answer",
                "if it made a guest all the same, that guest expires by itself",
            )
        return ok("nothing is left")

    def _remains(self) -> "Iterator[tuple[str, Callable[[], object]]]":
        """Yield what may be left in the table, and how to remove it."""
        if self._is_lost:
            yield "perhaps a guest", self._find_lost_guests
        if self._is_registered:
            yield "perhaps a user of an e-mail address", self._find_owner
        for user_id in list(self._made):  # the calls above may have found more
            yield f"user {user_id}", functools.partial(self._remove_user, user_id)
        if self._is_registered:
            yield "a registered e-mail address", self._remove_address

    def _remove_user(self, user_id: str) -> None:
        services = self._probe.services
        user = services.store.get_user(self._options.app, user_id)
        if user is not None:
            with suppress(UnknownUser):
                OperatorActions(services.store).delete_as_shown(user, services.clock())

    def _find_owner(self) -> None:
        record = self._read_address()
        if record is not None and record.user_id is not None:
            self._made.setdefault(record.user_id, "")

    def _remove_address(self) -> None:
        record, app = self._read_address(), self._options.app
        if record is None:
            return
        owner = record.user_id
        if owner is not None and self._probe.services.store.get_user(app, owner):
            return  # and the report names the user
        self._probe.services.store.delete_account(record)

    def _read_address(self) -> IdentityRecord | None:
        key = identity_key(self._email)
        store = self._probe.services.store
        return store.get_identity(self._options.app, USERPASS, key)

    def _find_lost_guests(self) -> None:
        """Find guests of this drive by the device that their logins named."""
        store, app = self._probe.services.store, self._options.app
        wanted = UserFilter(app, anonymous=True, created_from=self._since)
        position: str | None = ""
        read = 0
        while position is not None and read <= self._probe.most_items:
            page = store.scan_users(0, 1, position, wanted)
            position, read = page.position, read + page.read
            for found in page.users:
                user = store.get_user(app, found.id)
                devices = {s.device.id for s in user.sessions.values()} if user else ()
                if self._device in devices:
                    self._made.setdefault(found.id, "")
                    self._is_lost = False


STEPS: Mapping[str, Callable[[Drive], CheckResult]] = {
    "drive: log in": Drive.log_in,
    "drive: refresh": Drive.refresh,
    "drive: link": Drive.link,
    "drive: log out": Drive.log_out,
    "drive: log in again": Drive.log_in_again,
    "drive: delete": Drive.delete,
    "drive: refused": Drive.refused,
}
"""The steps, in their order. `CLEAN_UP` follows."""

CLEAN_UP = "drive: clean-up"


def _require(answer: HttpAnswer, function: str, *names: str) -> dict[str, str]:
    """Return string members of a successful answer's body."""
    if answer.status != HTTPStatus.OK:
        raise _StepEnded(failure(_told(answer), _log(function)))
    found = {name: get_member(answer.body, name) for name in names}
    for name, value in found.items():
        # A token with a line break would break the header that it is sent in.
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise _StepEnded(failure(f"answers 200 without {name}", _log(function)))
    return found


def _code(answer: HttpAnswer) -> str:
    code = get_member(answer.body, "error_code")
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""


def _told(answer: HttpAnswer) -> str:
    return f"answers {answer.status} {_code(answer)}".rstrip()


def _log(function: str) -> str:
    return f"the log of the stack's {function} says why"
