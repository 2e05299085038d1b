"""The settings document of the local service: a file, or the default."""

import json
from collections.abc import Iterable
from email.utils import parseaddr
from pathlib import Path

from anonauth.local.command_error import CommandError
from anonauth.provider_settings.document import DocumentError, check, parse, references
from anonauth.provider_settings.schema import SettingsDocument

MAIL_APP = "mails-abcde"
"""The app of the default document that asks for confirmation by mail."""

DEFAULT_DOCUMENT = json.dumps(
    {
        "apps": {
            "*": {"local-userpass": {}, "api-key": {}},
            MAIL_APP: {
                "local-userpass": {
                    "mail": {
                        "sender": "app@example.com",
                        "confirm_url": "https://www.example.com/confirm",
                        "reset_url": "https://www.example.com/reset",
                    }
                },
                "api-key": {},
            },
        }
    }
)
"""Every app has e-mail and password, and API keys. Addresses are confirmed at once,
except those of `MAIL_APP`, which two sample events name."""

LONGEST_PARAMETER = 8 * 1024
"""Bytes in an advanced parameter (AWS Systems Manager, "Managing parameter tiers")."""


def read_settings_file(path: Path) -> str:
    """Return the settings document in a file.

    Raises:
        CommandError: The file cannot be read, or the document cannot be used here.
            The message names the file and the key.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise CommandError(f"cannot read {path}: {exc.strerror}") from exc
    if len(content) > LONGEST_PARAMETER:
        raise CommandError(
            f"{path}: {len(content)} bytes; an SSM parameter holds at most "
            f"{LONGEST_PARAMETER}"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        raise CommandError(f"{path} is not UTF-8") from exc
    for key in references(parse_settings(text, str(path))):
        raise CommandError(
            f"{path}: {key}: the local service has no SSM parameters to refer to; "
            "write the secret itself into this file"
        )
    return text


def parse_settings(text: str, source: str) -> SettingsDocument:
    """Parse a settings document.

    Args:
        source: Where the text is from, for the error message.

    Raises:
        CommandError: The text is not a valid settings document. The message names
            the source and the key.
    """
    try:
        return parse(text, allow_private=True)
    except DocumentError as exc:
        raise CommandError(f"{source}: {exc}") from exc


def fault_on_aws(document: SettingsDocument) -> str:
    """Return why AWS would refuse a document; empty if it would not.

    A document for the local service may have URLs of keys on this machine.
    """
    try:
        check(document)
    except DocumentError as exc:
        return str(exc)
    return ""


def sends_mail(document: SettingsDocument, apps: Iterable[str]) -> bool:
    """Say whether any of the given apps sends mail."""
    accounts = [document.app(app).local_userpass for app in apps]
    return any(account is not None and account.mail for account in accounts)


def mail_senders(document: SettingsDocument) -> list[str]:
    """Return the addresses that mail is sent from, without display names."""
    accounts = [settings.local_userpass for settings in document.apps.values()]
    mails = [account.mail for account in accounts if account and account.mail]
    return sorted({parseaddr(mail.sender)[1] for mail in mails})


def apps_with_challenge(document: SettingsDocument, apps: Iterable[str]) -> list[str]:
    """Return which of the given apps ask for a challenge before an anonymous login.

    An app's own entry replaces the entry `*`, and with it the challenge of `*`.
    """
    return [app for app in apps if document.app(app).challenge]


def enabled_providers(document: SettingsDocument, app: str) -> list[str]:
    """Return the names of the providers that are enabled for an app."""
    settings = document.app(app)
    names = settings.__struct_encode_fields__
    return [name for name in names if settings.provider(name)]
