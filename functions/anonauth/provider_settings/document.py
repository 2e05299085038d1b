"""Reading and checking the settings document, which lists each app's providers.

The document is JSON of the following shape. `*` is for every app without an entry of
its own. A provider that is absent is off.

    {"apps": {"myapp-abcde": {
        "anon-user": {"challenge": {"verify_url": …, "secret": …}},
        "local-userpass": {"mail": {"sender": …, "confirm_url": …, "reset_url": …}},
        "api-key": {},
        "custom-token": {"issuers": [{"issuer": …, "jwks_url": …}]},
        "oauth2-google": {"client_ids": […]},
        "oauth2-apple": {"client_ids": […]},
        "oauth2-facebook": {"app_id": …, "app_secret": …}}}}

The values are checked with the code that uses them later, and a value that can never
work is refused. The operator then hears of a fault with its key, before users meet it
at every login.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from anonauth.provider_settings.rules import faults
from anonauth.provider_settings.schema import (
    EVERY_APP,
    AppSettings,
    Secret,
    SecretReference,
    SettingsDocument,
    SettingsPart,
)


class DocumentError(ValueError):
    """The document cannot be used. The message names the key and quotes no value."""


_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# White space around this value is part of it: an HMAC key is bytes, and the issuer has
# the same bytes.
_EXACT = ("custom-token", "issuers", "secret")


def parse(
    text: str, *, allow_private: bool = False, only: str | None = None
) -> SettingsDocument:
    """Read and check a settings document.

    Args:
        text: JSON.
        allow_private: Let the URLs that are fetched be http, and name hosts in private
            networks. This is for the local stack and tests.
        only: Name of a provider. The settings of other providers are ignored.

    Raises:
        DocumentError: The text is not a valid settings document. The message begins
            with the path of the offending key, such as
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


def check(document: SettingsDocument, *, allow_private: bool = False) -> None:
    """Check what the types of a document's fields cannot express, as `parse` does.

    Raises:
        DocumentError: As for `parse`.
    """
    for app, settings in document.apps.items():
        for path, problem in faults(settings, allow_private=allow_private):
            raise DocumentError(f"apps.{app}.{path}: {problem}")


def references(document: SettingsDocument) -> dict[str, str]:
    """Return the document's references to secrets, by the full path of their key."""
    return {
        f"apps.{app}.{path}": secret.ssm
        for app, settings in document.apps.items()
        for path, secret in _secrets(settings)
        if isinstance(secret, SecretReference)
    }


def resolve(
    document: SettingsDocument,
    secrets: Mapping[str, str],
    *,
    allow_private: bool = False,
) -> SettingsDocument:
    """Return the document with its secrets in clear, checked like all other values.

    Args:
        secrets: The value of each reference.
        allow_private: As for `parse`.

    Raises:
        DocumentError: A secret is missing or not valid. The message begins with the
            path of its key.
    """
    referred = references(document)
    for path, name in referred.items():
        if name not in secrets:
            raise DocumentError(f"{path}: there is no such SSM parameter")
    if not referred:
        return document
    plain: dict[str, Any] = msgspec.to_builtins(document.apps)
    return _document(_filled(plain, secrets), allow_private=allow_private)


class _Outline(SettingsPart, frozen=True, kw_only=True):
    # Apps are converted one by one, because the paths in msgspec's messages leave out
    # the keys of a dict.
    apps: dict[str, Any]


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    # msgspec takes the last value of a name: an app that appears twice would lose the
    # settings of its first entry.
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise DocumentError(f"'{name}' appears twice in one object")
        seen.add(name)


def _part(plain: Any, name: str) -> Any:
    if not isinstance(plain, dict):
        return plain  # refused later, like any other wrong type
    return {key: value for key, value in plain.items() if key == name}


def _document(apps: Mapping[str, Any], *, allow_private: bool) -> SettingsDocument:
    checked = {}
    for app, plain in apps.items():
        try:
            settings = msgspec.convert(_trimmed(plain), AppSettings)
        except (msgspec.ValidationError, RecursionError) as exc:
            raise _error(f"apps.{app}", exc) from None
        checked[app] = settings
    document = SettingsDocument(apps=checked)
    check(document, allow_private=allow_private)
    return document


def _trimmed(plain: Any, place: tuple[str, ...] = ()) -> Any:
    # White space comes from copying, and from `--value "$(cat file)"`. No value works
    # with it.
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
    # msgspec writes: "Expected `str`, got `int` - at `$.custom-token.issuers[0]`".
    problem, _, path = str(exc).partition(" - at `$")
    if problem.startswith("Invalid enum value"):
        problem = "not one of the values it can have"  # msgspec quotes the value
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
