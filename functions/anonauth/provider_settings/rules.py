"""Rules for the settings document that the types of its fields cannot express."""

import re
from collections.abc import Iterator
from email.utils import getaddresses
from urllib.parse import urlsplit

from anonauth.errors import SettingsUnavailable
from anonauth.issuers.urls import UrlRefused, is_host_name, parse_url
from anonauth.provider_settings.schema import (
    AppleSettings,
    AppSettings,
    GoogleSettings,
    IssuerSettings,
    MailSettings,
)

# RFC 7518 §3.2: as many as the hash has. App Services required 32 as well.
_SHORTEST_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_PAGE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")
# The same pattern as for the parameter `MailSender` of template.yaml, since no other
# address may send.
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}"
)

Fault = tuple[str, str]  # the path of a key below its app, and what is wrong with it


def faults(app: AppSettings, *, allow_private: bool) -> Iterator[Fault]:
    """Yield the faults of an app's settings that the types of the fields allow.

    Args:
        app: The settings. Their secrets may still be references.
        allow_private: Let URLs be http, and name hosts in private networks.

    Yields:
        The path of a key below its app, and what is wrong with its value. The text
        quotes no value.
    """
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


def _mail_faults(mail: MailSettings) -> Iterator[Fault]:
    # Not parseaddr, which takes the first of two addresses, up to Python 3.11.
    senders = getaddresses([mail.sender])
    plain = mail.sender.isascii() and mail.sender.isprintable()
    if not plain or len(senders) != 1 or not _ADDRESS.fullmatch(senders[0][1]):
        # Amazon SES API v2, "SendEmail": letters beyond ASCII have to be encoded.
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


def _issuers_faults(issuers: tuple[IssuerSettings, ...]) -> Iterator[Fault]:
    seen = set()
    for number, issuer in enumerate(issuers):
        path = f"custom-token.issuers[{number}]"
        for name, problem in _issuer_faults(issuer):
            yield f"{path}.{name}".removesuffix("."), problem
        if issuer.issuer in seen:
            yield f"{path}.issuer", "another entry has the same, or has none as well"
        seen.add(issuer.issuer)


def _issuer_faults(settings: IssuerSettings) -> Iterator[Fault]:
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
    # A public key must never be used as an HMAC secret: everyone can know it, and sign.
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
    # This imports cryptography and PyJWT, and most documents have no key in them.
    from anonauth.issuers.key_sets import load_pem, load_secret  # noqa: PLC0415

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
