"""`anonauth sample`: an event of `events/` with a fresh token in it."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from anonauth import wiring
from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import VerifiedIdentity
from anonauth.domain.providers import USERPASS
from anonauth.errors import Unavailable
from anonauth.local import aws
from anonauth.local.command_error import CommandError
from anonauth.local.names import CUSTOM_RESOURCE_PATH, ENVIRONMENT_FILE
from anonauth.local.template import REGION
from anonauth.settings import Settings, SettingsError
from anonauth.usecases.account_mail import AccountMail
from anonauth.usecases.credential import CredentialRequest
from anonauth.usecases.link import IdentityLinking
from anonauth.usecases.login import (
    AnonymousLogin,
    AnonymousLoginRequest,
    OpenedSession,
    new_id,
)
from anonauth.usecases.provider_login import ProviderLogin
from anonauth.usecases.userpass import UserpassAccounts

TOKEN_PLACEHOLDER = "REPLACE_WITH_TOKEN"  # noqa: S105 - the opposite of a secret
"""Placeholder for a token, in the Authorization header or the body of an event."""

URL_PLACEHOLDER = "REPLACE_WITH_URL"
"""Placeholder for the URL that takes the answer of a custom resource."""

SESSION_ID_PLACEHOLDER = "REPLACE_WITH_SESSION_ID"
"""Placeholder for the id of the session that an event ends."""

GUEST_ID_PLACEHOLDER = "REPLACE_WITH_GUEST_ID"
"""Placeholder for the id of a guest that was merged, in the keys of a stream record."""

_API_KEYS = "/auth/api_keys"
_SESSIONS = "/auth/sessions"
_IDENTITIES = "/auth/identities"

_NETWORK = "127.0.0.1"

# Parts of the paths whose calls carry the refresh token (client-api.md §2). The first
# is also a part of `_SESSIONS`.
_TAKE_REFRESH_TOKEN = ("/auth/session", _API_KEYS, _IDENTITIES)

SampleEvent = dict[str, Any]


def fill_event(
    name: str, *, events: Path, env_vars: Path, endpoint_url: str
) -> SampleEvent:
    """Return a sample event that its function answers with success, once.

    The event's provider must be enabled. A token in the event belongs to a user who was
    made for it: a permanent user for API keys and for calls about several sessions, and
    a user with the identity in question for unlinking. An e-mail address in it is new,
    and the steps that come before the event have been done for it. A guest whose merge
    an event reports was merged.

    Args:
        name: Name of the event's file, without `.json`.
        events: The directory of the sample events.
        env_vars: File with the functions' variables, in the form that
            `sam local invoke --env-vars` takes.
        endpoint_url: Address of the service's AWS. It replaces ENDPOINT_URL, which is
            the address seen from a container.

    Raises:
        CommandError: There is no such event, or no user can log in at the address.
    """
    names = sorted(path.stem for path in events.glob("*.json"))
    if ENVIRONMENT_FILE.removesuffix(".json") in names:
        names.remove(ENVIRONMENT_FILE.removesuffix(".json"))
    if name not in names:
        raise CommandError(
            f"no event '{name}' in {events}; there are {', '.join(names)}"
        )
    event: SampleEvent = _read_json(events / f"{name}.json")
    step = event.get("rawPath", "").partition(f"/{USERPASS}/")[2]
    account = _renew_address(event) if step else None
    if event.get("ResponseURL") == URL_PLACEHOLDER:
        seen_from_container = _read_json(env_vars)["Parameters"]["ENDPOINT_URL"]
        event["ResponseURL"] = f"{seen_from_container}{CUSTOM_RESOURCE_PATH}"
    is_authorized = _is_of_authorizer(event) or bool(_authorization_header(event))
    merged_in_app = _app_of_merged_guest(event)
    if not is_authorized and not merged_in_app and step in {"", "register"}:
        return event
    named = (event.get("pathParameters") or {}).get("appId") or merged_in_app
    app = named or _first_app(env_vars)
    settings = _read_settings(env_vars, endpoint_url)
    with aws.isolate_environment():
        try:
            users = _SampleUsers(settings, app)
            if account is not None:
                _fill_body(event, users.prepare(step, account))
                if TOKEN_PLACEHOLDER in event["body"]:
                    guest = users.log_in_anonymously()
                    _fill_body(event, {"merge": guest.refresh_token})
            if is_authorized:
                if _is_of_authorizer(event):
                    return _with_access_token(event, users)
                _fill_tokens(event, users)
            if merged_in_app:
                _fill_guest_id(event, users.merge_guest())
        except (Unavailable, ValueError) as exc:  # the second: not a URL
            raise CommandError(
                f"cannot log in with DynamoDB and KMS at {endpoint_url}; "
                "start `anonauth serve --aws-port 4566`, or name another --endpoint-url"
            ) from exc
    return event


@dataclass(frozen=True, slots=True)
class _SampleAccount:
    email: str
    password: str


def _renew_address(event: SampleEvent) -> _SampleAccount:
    body = json.loads(event["body"])
    email = f"ada-{secrets.token_hex(4)}@example.com"
    _fill_body(event, {name: email for name in ("email", "username") if name in body})
    return _SampleAccount(email, body.get("password", "correct horse"))


def _fill_body(event: SampleEvent, values: Mapping[str, str]) -> None:
    body = {**json.loads(event["body"]), **values}
    event["body"] = json.dumps(body, separators=(",", ":"))
    event["headers"]["content-length"] = str(len(event["body"]))


def _fill_tokens(event: SampleEvent, users: "_SampleUsers") -> None:
    path, headers = event["rawPath"], event["headers"]
    if path.endswith(_IDENTITIES):
        query = event["queryStringParameters"]
        opened, identity_id = users.log_in_with_two_identities(query["provider"])
        query["id"] = identity_id
        event["rawQueryString"] = urlencode(query)
    elif SESSION_ID_PLACEHOLDER in path:
        opened, session_id = users.log_in_twice()
        event["pathParameters"]["id"] = session_id
        filled = path.replace(SESSION_ID_PLACEHOLDER, session_id)
        event["rawPath"] = event["requestContext"]["http"]["path"] = filled
    elif path.endswith((_API_KEYS, _SESSIONS)) or _is_everywhere(event):
        opened = users.log_in_permanently()
    else:
        opened = users.log_in_anonymously()
    is_refresh = any(part in path for part in _TAKE_REFRESH_TOKEN)
    token = opened.refresh_token if is_refresh else opened.access_token
    name = _authorization_header(event)
    headers[name] = headers[name].replace(TOKEN_PLACEHOLDER, token)


def _app_of_merged_guest(event: SampleEvent) -> str:
    """Return the app of the guest whose id the event lacks, "" if it lacks none."""
    for record in event.get("Records", ()):
        _, app, user_id = record["dynamodb"]["Keys"]["pk"]["S"].split("#")
        if user_id == GUEST_ID_PLACEHOLDER:
            return str(app)
    return ""


def _fill_guest_id(event: SampleEvent, guest_id: str) -> None:
    for record in event["Records"]:
        stream = record["dynamodb"]
        for item in (stream["Keys"], stream["OldImage"]):
            item["pk"]["S"] = item["pk"]["S"].replace(GUEST_ID_PLACEHOLDER, guest_id)


def _is_of_authorizer(event: SampleEvent) -> bool:
    return "type" in event


def _with_access_token(event: SampleEvent, users: "_SampleUsers") -> SampleEvent:
    # The gateway repeats the header in several members.
    token = users.log_in_anonymously().access_token
    filled = json.dumps(event).replace(TOKEN_PLACEHOLDER, token)
    with_token: SampleEvent = json.loads(filled)
    return with_token


def _is_everywhere(event: SampleEvent) -> bool:
    return "everywhere" in event.get("queryStringParameters", {})


def _authorization_header(event: SampleEvent) -> str | None:
    """Return the name of the header that waits for a token, in the event's own case."""
    waiting = event.get("headers", {}).items()
    return next((name for name, text in waiting if TOKEN_PLACEHOLDER in text), None)


class _SampleUsers:
    """Makes the users and sessions of sample events, through the use cases."""

    def __init__(self, settings: Settings, app: str) -> None:
        self._services = wiring.Services(settings)
        aws.confine_session(settings.endpoint_url, self._services.store.aws_session)
        self._app = app

    def prepare(self, step: str, account: _SampleAccount) -> dict[str, str]:
        """Do the steps before a step of `local-userpass`; return the mail's tokens.

        Args:
            step: The part of the route after the provider's name.
        """
        services, last_mail = self._services, _LastMail()
        now, email = services.clock(), account.email
        url = "https://example.com/"
        mail = AccountMail(
            app=self._app,
            sender="",
            confirm_url=url,
            reset_url=url,
            per_hour=9,
            per_network=None,
            budgets=services.store,
            addresses=services.addresses,
            mailer=last_mail,
        )
        by_mail = UserpassAccounts(
            app=self._app,
            store=services.store,
            users=services.store,
            passwords=services.passwords,
            addresses=services.addresses,
            min_password_length=1,
            mail=mail,
            registrations=None,
        )
        is_pending = step in {"confirm", "confirm/send"}
        accounts = by_mail if is_pending else replace(by_mail, mail=None)
        accounts.register(email=email, password=account.password, network="", now=now)
        if step == "reset":
            by_mail.send_reset(email=email, network="", now=now)
        return last_mail.tokens() if step in {"confirm", "reset"} else {}

    def log_in_anonymously(self) -> OpenedSession:
        """Open the session of a new anonymous user."""
        services = self._services
        login = AnonymousLogin(services.store, services.tokens, admission=None)
        request = AnonymousLoginRequest(
            app=self._app,
            is_link=False,
            device=None,
            base_url=services.settings.base_url,
            network=_NETWORK,
            answer=None,
            login_key=None,
        )
        return login.log_in(request, services.clock())

    def log_in_permanently(self) -> OpenedSession:
        """Open a session of a new permanent user."""
        return self._log_in(_new_identity("custom-token"))

    def log_in_twice(self) -> tuple[OpenedSession, str]:
        """Open two sessions of a new permanent user.

        Return the second, and the id of the first.
        """
        identity = _new_identity("custom-token")
        first = self._log_in(identity)
        return self._log_in(identity), first.session.id

    def merge_guest(self) -> str:
        """Merge a new guest into a new permanent user, and return the guest's id."""
        identity, guest = _new_identity("custom-token"), self.log_in_anonymously()
        self._log_in(identity)
        self._log_in(identity, merge=guest.refresh_token)
        return guest.user.id

    def _log_in(
        self, identity: VerifiedIdentity, *, merge: str | None = None
    ) -> OpenedSession:
        services = self._services
        login = ProviderLogin(
            users=services.store,
            identities=services.store,
            providers=_FixedProvider(identity),
            tokens=services.tokens,
            limits=services.settings.session_limits,
        )
        return login.log_in(self._request(identity), services.clock(), merge=merge)

    def log_in_with_two_identities(self, provider: str) -> tuple[OpenedSession, str]:
        """Open a session of a user with two identities, and return the second's id."""
        opened, identity = self.log_in_permanently(), _new_identity(provider)
        self._link(opened, identity)
        return opened, identity.id

    def _link(self, opened: OpenedSession, identity: VerifiedIdentity) -> None:
        services = self._services
        linking = IdentityLinking(
            users=services.store,
            identities=services.store,
            providers=_FixedProvider(identity),
            tokens=services.tokens,
            limits=services.settings.session_limits,
        )
        token = opened.access_token
        linking.link(token, self._request(identity), services.clock())

    def _request(self, identity: VerifiedIdentity) -> CredentialRequest:
        return CredentialRequest(
            app=self._app,
            provider=identity.provider,
            credential={},
            device=None,
            network=_NETWORK,
            base_url=self._services.settings.base_url,
        )


@dataclass(frozen=True, slots=True)
class _FixedProvider:
    """`Providers` and `Provider` that accept any credential for one fixed identity."""

    identity: VerifiedIdentity

    def find(self, app: str, provider: str) -> "_FixedProvider":
        del app, provider
        return self

    def verify(
        self, credential: Mapping[str, Any], *, network: str, now: datetime
    ) -> VerifiedIdentity:
        del credential, network, now
        return self.identity


class _LastMail:
    """A `Mailer` that keeps the last mail and sends none."""

    def __init__(self) -> None:
        self._text = ""

    def send(self, *, sender: str, recipient: str, subject: str, text: str) -> None:
        del sender, recipient, subject
        self._text = text

    def tokens(self) -> dict[str, str]:
        """Return the parameters of the link in the mail."""
        (query,) = re.findall(r"https://\S+\?(\S+)", self._text)
        return dict(parse_qsl(query))


def _new_identity(provider: str) -> VerifiedIdentity:
    subject = new_id()
    return VerifiedIdentity(provider, identity_key(subject), subject)


def _read_settings(env_vars: Path, endpoint_url: str) -> Settings:
    variables = {
        "AWS_REGION": REGION,
        **_read_json(env_vars).get("Parameters", {}),
        "ENDPOINT_URL": endpoint_url,
    }
    try:
        settings = Settings.from_environment(variables)
    except SettingsError as exc:
        raise CommandError(f"--env-vars: {exc}") from exc
    if not settings.base_url:
        raise CommandError("--env-vars: BASE_URL: not set")
    return settings


def _first_app(env_vars: Path) -> str:
    apps: str = _read_json(env_vars).get("Parameters", {}).get("APP_IDS", "")
    return apps.partition(",")[0].strip()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except OSError as exc:
        raise CommandError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise CommandError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(read, dict):
        raise CommandError(f"{path} is not a JSON object")
    return read
