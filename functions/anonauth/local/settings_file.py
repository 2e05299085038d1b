"""The settings document of the local service: a file, or a ready default."""

from collections.abc import Iterable
from email.utils import parseaddr
from pathlib import Path

from anonauth.local.command_error import CommandError
from anonauth.provider_settings.document import DocumentError, check, parse, references
from anonauth.provider_settings.schema import SettingsDocument

DEFAULT_DOCUMENT = '{"apps": {"*": {"local-userpass": {}, "api-key": {}}}}'
"""E-mail and password, confirmed automatically, and API keys, for every app."""

LONGEST_PARAMETER = 8 * 1024
"""Bytes; AWS Systems Manager, "Managing parameter tiers": the advanced one."""


def read_settings_file(path: Path) -> str:
    """Return the settings document in a file.

    Raises:
        CommandError: It cannot be read, or not be used here; names the file and the
        key.
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
            f"{path}: {key}: there are no SSM parameters here to refer to; write the "
            "secret itself into the local file"
        )
    return text


def parse_settings(text: str, source: str) -> SettingsDocument:
    """Return a settings document.

    Args:
        source: What the message of a problem is to name.

    Raises:
        CommandError: It is none; names the key.
    """
    try:
        return parse(text, allow_private=True)
    except DocumentError as exc:
        raise CommandError(f"{source}: {exc}") from exc


def fault_on_aws(document: SettingsDocument) -> str:
    """Return what AWS refuses in a document that will do here, empty if nothing.

    Here the URLs of keys may be of this machine.
    """
    try:
        check(document)
    except DocumentError as exc:
        return str(exc)
    return ""


def mail_senders(document: SettingsDocument) -> list[str]:
    """Return the addresses, without names, that mail is sent from."""
    accounts = [settings.local_userpass for settings in document.apps.values()]
    mails = [account.mail for account in accounts if account and account.mail]
    return sorted({parseaddr(mail.sender)[1] for mail in mails})


def apps_with_challenge(document: SettingsDocument, apps: Iterable[str]) -> list[str]:
    """Return those of some apps that ask for something before an anonymous login.

    An app's own entry replaces that of `*`, so one without a challenge has none.
    """
    return [app for app in apps if document.app(app).challenge]


def enabled_providers(document: SettingsDocument, app: str) -> list[str]:
    """Return the names of the providers that are on for an app."""
    settings = document.app(app)
    names = settings.__struct_encode_fields__
    return [name for name in names if settings.provider(name)]
