"""The settings document: which providers each app has, and how they are configured.

JSON of this shape; `*` stands for every app without an entry of its own, a provider
that is absent is off:

    {"apps": {"myapp-abcde": {
        "anon-user": {"challenge": {"verify_url": …, "secret": …}},
        "local-userpass": {"mail": {"sender": …, "confirm_url": …, "reset_url": …}},
        "api-key": {},
        "custom-token": {"issuers": [{"issuer": …, "jwks_url": …}]},
        "oauth2-google": {"client_ids": […]},
        "oauth2-apple": {"client_ids": […]},
        "oauth2-facebook": {"app_id": …, "app_secret": …}}}}

What is checked here is checked by the code that uses it later, and what could never fit
is refused: a fault that is found here is told to the operator, with its key, and any
other to users, at every login.
"""

import json
import re
from collections.abc import Iterator, Mapping
from email.utils import getaddresses
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, structs

from anonauth.domain import ANONYMOUS, MOST_CONSECUTIVE_FAILURES
from anonauth.errors import SettingsUnavailable
from anonauth.providers.urls import UrlRefused, is_host_name, parse_url

Text = Annotated[str, Meta(min_length=1, max_length=2048)]

Limit = Annotated[int, Meta(ge=1, le=10**9)]
"""DynamoDB compares numbers of 38 digits at most."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every part of the document is: exactly the fields that it lists."""


class SecretReference(Part, frozen=True):
    """A secret in an SSM parameter of its own, below the document's.

    With the document in `/anonauth/settings`, `{"ssm": "google"}` is the value of
    `/anonauth/settings/google`.
    """

    ssm: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]


Secret = Text | SecretReference
"""A secret, in clear or by reference. Once the document is loaded, always in clear."""


class MailSettings(Part, frozen=True):
    """Confirm and reset mails; `token` and `tokenId` are added to the URLs."""

    sender: Text
    confirm_url: Text
    reset_url: Text


class ChallengeSettings(Part, frozen=True, kw_only=True):
    """What a client has to pass before an anonymous login.

    Args:
        verify_url: Turnstile's, hCaptcha's or reCAPTCHA's "siteverify".
        hostnames: Of the pages that may show it; empty for any.
        action: That the answer has to be for.
        min_score: From 0 to 1, where 1 is a person; reCAPTCHA v3 has one.
    """

    verify_url: Text
    secret: Secret
    hostnames: tuple[Text, ...] = ()
    action: Text | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None


class AnonymousSettings(Part, frozen=True):
    """The anonymous login, which is always on."""

    challenge: ChallengeSettings | None = None


class PasswordBudgets(Part, frozen=True):
    """Wrong passwords per 15 minutes; mails per address, registrations per network
    and hour.

    The limits of networks are those of an IPv4 address or an IPv6 /64; its /56 and /48
    have a fifth and two fifths more. `consecutive` counts the wrong passwords of an
    account since the last right one or reset: from then on networks that it was never
    logged in to from have one try an hour between them.

    `registrations` counts requests to register and to have mail sent, of all apps
    together: a school that registers in one lesson has to fit in.
    """

    account_and_network: Limit = 10
    account: Limit = 100
    network: Limit = 100
    consecutive: Annotated[int, Meta(ge=1, le=MOST_CONSECUTIVE_FAILURES)] = 100
    mails: Limit = 5
    registrations: Limit = 500


class LocalUserpassSettings(Part, frozen=True):
    """E-mail and password. Without `mail` every address counts as confirmed."""

    enabled: bool = True
    min_password_length: Annotated[int, Meta(ge=6, le=128)] = 6
    mail: MailSettings | None = None
    budgets: PasswordBudgets = PasswordBudgets()


class ApiKeySettings(Part, frozen=True):
    """API keys that users make for themselves."""

    enabled: bool = True


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
]  # fmt: skip


class MetadataField(Part, frozen=True):
    """A claim that becomes a field of the profile, as App Services configured it."""

    name: Text
    field_name: Annotated[str, Meta(max_length=2048)] = ""
    required: bool = False


class IssuerSettings(Part, frozen=True):
    """Whose JWTs `custom-token` takes; exactly one of the four sources of keys.

    `audience` is the app id by default. Without `issuer` tokens are taken whatever
    their `iss`; at most one issuer of an app can be like that.
    """

    issuer: Text | None = None
    audience: tuple[Text, ...] = ()
    algorithm: Algorithm = "RS256"
    jwks_url: Text | None = None
    openid_configuration: Text | None = None
    pem: Text | None = None
    secret: Secret | None = None
    metadata_fields: tuple[MetadataField, ...] = ()


class CustomTokenSettings(Part, frozen=True, kw_only=True):
    """JWTs of the app's own issuers."""

    enabled: bool = True
    issuers: Annotated[tuple[IssuerSettings, ...], Meta(min_length=1)]


class GoogleSettings(Part, frozen=True, kw_only=True):
    """ID tokens of Google; auth codes too if there is a client secret."""

    enabled: bool = True
    client_ids: Annotated[tuple[Text, ...], Meta(min_length=1)]
    client_secret: Secret | None = None
    redirect_uri: str = ""
    jwks_url: Text = "https://www.googleapis.com/oauth2/v3/certs"
    token_url: Text = "https://oauth2.googleapis.com/token"  # noqa: S105 - a URL


class AppleSettings(Part, frozen=True, kw_only=True):
    """Identity tokens of Sign in with Apple."""

    enabled: bool = True
    client_ids: Annotated[tuple[Text, ...], Meta(min_length=1)]
    jwks_url: Text = "https://appleid.apple.com/auth/keys"


class FacebookSettings(Part, frozen=True, kw_only=True):
    """User access tokens of Facebook Login, and ID tokens of its Limited Login."""

    enabled: bool = True
    # Facebook's ids are digits; see `oauth2_facebook`.
    app_id: Annotated[str, Meta(pattern=r"^[0-9]{1,64}\Z")]
    app_secret: Secret
    graph_url: Text = "https://graph.facebook.com/v21.0"
    jwks_url: Text = "https://limited.facebook.com/.well-known/oauth/openid/jwks/"


ProviderSettings = (
    LocalUserpassSettings
    | ApiKeySettings
    | CustomTokenSettings
    | GoogleSettings
    | AppleSettings
    | FacebookSettings
)
"""The part of the document that is of one provider."""


class AppSettings(
    Part,
    frozen=True,
    rename={
        "anon_user": "anon-user",
        "local_userpass": "local-userpass",
        "api_key": "api-key",
        "custom_token": "custom-token",
        "oauth2_google": "oauth2-google",
        "oauth2_apple": "oauth2-apple",
        "oauth2_facebook": "oauth2-facebook",
    },
):
    """The providers of one app."""

    anon_user: AnonymousSettings = AnonymousSettings()
    local_userpass: LocalUserpassSettings | None = None
    api_key: ApiKeySettings | None = None
    custom_token: CustomTokenSettings | None = None
    oauth2_google: GoogleSettings | None = None
    oauth2_apple: AppleSettings | None = None
    oauth2_facebook: FacebookSettings | None = None

    def provider(self, name: str) -> ProviderSettings | None:
        """Return the settings of a provider, by the name that routes have for it."""
        if name == ANONYMOUS or name not in self.__struct_encode_fields__:
            return None
        settings: ProviderSettings | None = getattr(self, name.replace("-", "_"))
        return settings

    @property
    def challenge(self) -> ChallengeSettings | None:
        """What is asked before an anonymous login."""
        return self.anon_user.challenge


class Document(Part, frozen=True, kw_only=True):
    """The whole document, checked; its secrets may still be references."""

    apps: dict[str, AppSettings] = {}

    def app(self, app_id: str) -> AppSettings:
        """Return the settings of an app: its own, else those of `*`, else nothing.

        A provider that is switched off is left out.
        """
        app = self.apps.get(app_id) or self.apps.get(EVERY_APP) or AppSettings()
        parts = ((name, getattr(app, name)) for name in app.__struct_fields__)
        off = {n: None for n, part in parts if not getattr(part, "enabled", True)}
        return structs.replace(app, **off)


class DocumentError(ValueError):
    """The document cannot be used; the message names the key and quotes no value."""


EVERY_APP = "*"
"""Where the settings of all apps stand that have none of their own."""

# RFC 7518 §3.2: as many as the hash has. App Services asked for 32 too.
_SHORTEST_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes

_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_PAGE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")
# As for the parameter `MailSender` of template.yaml: no other address may send.
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}"
)

# Blanks around it are part of it: an HMAC key is bytes, and its issuer has the same.
_EXACT = ("custom-token", "issuers", "secret")

_Fault = tuple[str, str]  # the path of a key below its app, and what is wrong with it


def parse(
    text: str, *, allow_private: bool = False, only: str | None = None
) -> Document:
    """Read and check a settings document.

    Args:
        text: JSON.
        allow_private: Let the URLs that are fetched be http, and of hosts in private
            networks: for the local stack and tests.
        only: A provider; what the document says of others is not looked at.

    Raises:
        DocumentError: The message begins with the key's path, such as
            `apps.myapp-abcde.custom-token.issuers[0].jwks_url`.
    """
    try:
        outline = msgspec.json.decode(text, type=_Outline)
        json.loads(text, object_pairs_hook=_check_names)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise _error("", exc) from None
    for app in outline.apps:
        if app != EVERY_APP and not _APP_ID.fullmatch(app):
            raise DocumentError(
                f"apps.{app}: expected '{EVERY_APP}' or an app id of 1 to 64 ASCII "
                "letters, digits, '_', '-'"
            )
    apps = outline.apps
    if only is not None:
        apps = {app: _part(plain, only) for app, plain in apps.items()}
    return _document(apps, allow_private=allow_private)


def check(document: Document, *, allow_private: bool = False) -> None:
    """Check what the types of a document cannot say, as `parse` does.

    Raises:
        DocumentError: As for `parse`.
    """
    for app, settings in document.apps.items():
        for path, problem in _faults(settings, allow_private=allow_private):
            raise DocumentError(f"apps.{app}.{path}: {problem}")


def references(document: Document) -> dict[str, str]:
    """Return the secrets by reference: the key's full path, and the reference."""
    return {
        f"apps.{app}.{path}": secret.ssm
        for app, settings in document.apps.items()
        for path, secret in _secrets(settings)
        if isinstance(secret, SecretReference)
    }


def resolve(
    document: Document, secrets: Mapping[str, str], *, allow_private: bool = False
) -> Document:
    """Return the document with its secrets in clear, which are checked like others.

    Args:
        secrets: From reference to value; those that are missing are refused.
        allow_private: As for `parse`.

    Raises:
        DocumentError: The message begins with the key's path.
    """
    referred = references(document)
    for path, name in referred.items():
        if name not in secrets:
            raise DocumentError(f"{path}: there is no such SSM parameter")
    if not referred:
        return document
    plain: dict[str, Any] = msgspec.to_builtins(document.apps)
    return _document(_filled(plain, secrets), allow_private=allow_private)


class _Outline(Part, frozen=True, kw_only=True):
    # App by app, since paths in msgspec's messages do not tell the keys of a dict.
    apps: dict[str, Any]


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    # msgspec takes the last of them: an app that stands twice would lose the settings
    # that it has in the other place.
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise DocumentError(f"'{name}' stands twice in one object")
        seen.add(name)


def _part(plain: Any, name: str) -> Any:
    if not isinstance(plain, dict):
        return plain  # refused like any other
    return {key: value for key, value in plain.items() if key == name}


def _document(apps: Mapping[str, Any], *, allow_private: bool) -> Document:
    checked = {}
    for app, plain in apps.items():
        try:
            settings = msgspec.convert(_trimmed(plain), AppSettings)
        except (msgspec.ValidationError, RecursionError) as exc:
            raise _error(f"apps.{app}", exc) from None
        checked[app] = settings
    document = Document(apps=checked)
    check(document, allow_private=allow_private)
    return document


def _trimmed(plain: Any, place: tuple[str, ...] = ()) -> Any:
    # They come with copying, and from `--value "$(cat file)"`; nothing fits with them.
    match plain:
        case str():
            return plain if place == _EXACT else plain.strip()
        case dict():
            return {
                name: _trimmed(value, (*place, name)) for name, value in plain.items()
            }
        case list() | tuple():
            return [_trimmed(value, place) for value in plain]
    return plain


def _error(place: str, exc: Exception) -> DocumentError:
    # As msgspec words it: "Expected `str`, got `int` - at `$.custom-token.issuers[0]`".
    problem, _, path = str(exc).partition(" - at `$")
    if problem.startswith("Invalid enum value"):
        problem = "not one of the values it can have"  # it quotes what stands there
    key = (place + path.removesuffix("`")).removeprefix(".")
    return DocumentError(f"{key}: {problem}" if key else problem)


def _filled(plain: Any, secrets: Mapping[str, str]) -> Any:
    match plain:
        case {"ssm": str(name)}:
            return secrets[name]
        case dict():
            return {key: _filled(value, secrets) for key, value in plain.items()}
        case list() | tuple():
            return [_filled(value, secrets) for value in plain]
    return plain


def _secrets(app: AppSettings) -> Iterator[tuple[str, Secret | None]]:
    if app.challenge is not None:
        yield "anon-user.challenge.secret", app.challenge.secret
    if app.custom_token is not None:
        for number, issuer in enumerate(app.custom_token.issuers):
            yield f"custom-token.issuers[{number}].secret", issuer.secret
    if app.oauth2_google is not None:
        yield "oauth2-google.client_secret", app.oauth2_google.client_secret
    if app.oauth2_facebook is not None:
        yield "oauth2-facebook.app_secret", app.oauth2_facebook.app_secret


def _faults(app: AppSettings, *, allow_private: bool) -> Iterator[_Fault]:
    """Yield what the types of the document cannot say."""
    if app.challenge is not None:
        for number, host in enumerate(app.challenge.hostnames):
            if not is_host_name(host):
                path = f"anon-user.challenge.hostnames[{number}]"
                yield path, "expected a host name, without scheme and port"
    if app.local_userpass is not None and app.local_userpass.mail is not None:
        yield from _mail_faults(app.local_userpass.mail)
    if app.custom_token is not None:
        yield from _issuers_faults(app.custom_token.issuers)
    for path, text in _ids(app):
        if not _VISIBLE_ASCII.fullmatch(text):
            yield path, "must not have spaces, or characters beyond ASCII"
    for path, url in _key_urls(app):
        if problem := _url_problem(url, allow_private=allow_private):
            yield path, problem
    if app.oauth2_facebook is not None and "?" in app.oauth2_facebook.graph_url:
        yield "oauth2-facebook.graph_url", "must not have a query"


def _mail_faults(mail: MailSettings) -> Iterator[_Fault]:
    # Not parseaddr: of two addresses that takes the first, up to Python 3.11.
    senders = getaddresses([mail.sender])
    plain = mail.sender.isascii() and mail.sender.isprintable()
    if not plain or len(senders) != 1 or not _ADDRESS.fullmatch(senders[0][1]):
        # Amazon SES API v2, "SendEmail": other letters in a name have to be encoded.
        yield (
            "local-userpass.mail.sender",
            "expected an address, or 'Name <address>', in ASCII",
        )
    for name in ("confirm_url", "reset_url"):
        url: str = getattr(mail, name)
        if not _PAGE_URL.fullmatch(url) or not _has_host(url):
            yield (
                f"local-userpass.mail.{name}",
                "expected an absolute URL, with 'https://' or a scheme of the app's",
            )


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme not in {"http", "https"} or bool(parts.hostname)
    except ValueError:
        return False


def _issuers_faults(issuers: tuple[IssuerSettings, ...]) -> Iterator[_Fault]:
    seen = set()
    for number, issuer in enumerate(issuers):
        path = f"custom-token.issuers[{number}]"
        for name, problem in _issuer_faults(issuer):
            yield f"{path}.{name}".removesuffix("."), problem
        if issuer.issuer in seen:
            yield f"{path}.issuer", "another issuer has the same, or none either"
        seen.add(issuer.issuer)


def _issuer_faults(settings: IssuerSettings) -> Iterator[_Fault]:
    issuer, algorithm, secret = settings.issuer, settings.algorithm, settings.secret
    # Issuer and subject are stored as one text, with a space between them.
    if issuer is not None and (not issuer.isprintable() or " " in issuer):
        yield "issuer", "must not have spaces or control characters"
    sources = (
        settings.jwks_url,
        settings.openid_configuration,
        settings.pem,
        secret,
    )
    if sum(source is not None for source in sources) != 1:
        yield (
            "",
            "expected exactly one of jwks_url, openid_configuration, pem and secret",
        )
    # A public key must never be taken for an HMAC secret: whoever knows it could sign.
    elif algorithm.startswith("HS") != (secret is not None):
        yield "algorithm", "HS256, HS384 and HS512 go with a secret, others do not"
    elif isinstance(secret, str):
        shortest = _SHORTEST_SECRET[algorithm]
        if len(secret.encode()) < shortest:
            yield "secret", f"expected at least {shortest} bytes for {algorithm}"
        elif not _is_key(secret, algorithm):
            yield "secret", "is or begins like a public key (PEM, SSH), not a secret"
    elif settings.pem is not None and not _is_key(settings.pem, algorithm):
        yield "pem", f"expected a public key for {algorithm}, PEM-encoded"


def _is_key(text: str, algorithm: str) -> bool:
    # cryptography and PyJWT: most documents have no key in them.
    from anonauth.providers.key_sets import load_pem, load_secret  # noqa: PLC0415

    load = load_secret if algorithm.startswith("HS") else load_pem
    try:
        load(text, algorithm)
    except SettingsUnavailable:
        return False
    return True


def _ids(app: AppSettings) -> Iterator[tuple[str, str]]:
    for name in ("oauth2_google", "oauth2_apple"):
        settings: GoogleSettings | AppleSettings | None = getattr(app, name)
        for number, client_id in enumerate(settings.client_ids if settings else ()):
            yield f"{name.replace('_', '-')}.client_ids[{number}]", client_id
    if app.oauth2_google is not None and app.oauth2_google.redirect_uri:
        yield "oauth2-google.redirect_uri", app.oauth2_google.redirect_uri


def _key_urls(app: AppSettings) -> Iterator[tuple[str, str]]:
    if app.challenge is not None:
        yield "anon-user.challenge.verify_url", app.challenge.verify_url
    if app.custom_token is not None:
        for number, issuer in enumerate(app.custom_token.issuers):
            path = f"custom-token.issuers[{number}]"
            if issuer.jwks_url is not None:
                yield f"{path}.jwks_url", issuer.jwks_url
            if issuer.openid_configuration is not None:
                yield f"{path}.openid_configuration", issuer.openid_configuration
    if app.oauth2_google is not None:
        yield "oauth2-google.jwks_url", app.oauth2_google.jwks_url
        yield "oauth2-google.token_url", app.oauth2_google.token_url
    if app.oauth2_apple is not None:
        yield "oauth2-apple.jwks_url", app.oauth2_apple.jwks_url
    if app.oauth2_facebook is not None:
        yield "oauth2-facebook.graph_url", app.oauth2_facebook.graph_url
        yield "oauth2-facebook.jwks_url", app.oauth2_facebook.jwks_url


def _url_problem(url: str, *, allow_private: bool) -> str | None:
    try:
        parsed = parse_url(url, allow_http=allow_private)
    except UrlRefused as exc:
        return str(exc)
    if "#" in url:
        return "must not have a fragment"
    if parsed.is_never_public and not allow_private:
        return "its host is not on the internet"
    return None
