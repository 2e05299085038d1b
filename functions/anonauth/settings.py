"""A function's configuration, read from its environment and checked once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from anonauth.domain.expiry import SessionLimits

APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The form of a client app id."""

_BASE_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
_USUAL_PORTS = {"https": ":443", "http": ":80"}
# SSM allows 15 levels; the last is for secrets (see `provider_settings.document`).
_PARAMETER = re.compile(r"(/[A-Za-z0-9_.-]{1,128}){1,14}")
_HEADER = re.compile(r"[a-z0-9-]{1,64}")
_LISTS = {"forwarded", "x-forwarded-for"}
_MOST_NOTICE = 89  # days; a user that is active today has 90 or 91 left
_MOST_DAYS = 1825  # 5 years, the lifetime that a refresh token states


class SettingsError(ValueError):
    """A setting is missing or malformed; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Values that `template.yaml` gives a function.

    `base_url` is empty without a custom domain; each request's own domain name is used
    then. `endpoint_url` is empty on AWS. `settings_parameter` is the SSM parameter with
    the provider settings. It is empty if there are none, and in functions that need
    none. `allow_private_issuers` is for the local service, whose key servers are on the
    same machine. `event_bus` and `expiry_notice_days` are for functions that publish
    events. `logins_per_network` (per hour; 0 for any number) and `anonymous_challenge`
    are for the anonymous login, `provider_failures_per_network` (likewise) for logins
    that ask a provider, and `mails_per_network` (likewise) for requests that send mail.
    `client_address_header`, in lower case, is the header of a CDN in front, or empty.
    `allowed_origins` are the origins whose pages may call, as `origin_of` writes them;
    None allows all. `origin_secret_hashes` are the SHA-256 hashes of the secrets that a
    CDN in front may send, in hexadecimal digits. If there are none, no secret is asked
    for. `stack_name` is for logs, metrics and events.
    """

    region: str
    table_name: str
    kms_key_id: str
    app_ids: frozenset[str]
    access_token_lifetime: timedelta
    session_limits: SessionLimits
    base_url: str
    endpoint_url: str
    settings_parameter: str
    allow_private_issuers: bool
    event_bus: str
    expiry_notice_days: frozenset[int]
    logins_per_network: int
    provider_failures_per_network: int
    mails_per_network: int
    anonymous_challenge: bool
    client_address_header: str
    allowed_origins: frozenset[str] | None
    origin_secret_hashes: tuple[str, ...]
    stack_name: str
    metrics: bool

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "Settings":
        """Read and check the settings.

        Raises:
            SettingsError: The message names the variable. The function does not start.
        """
        app_ids = [app.strip() for app in _required(env, "APP_IDS").split(",")]
        for app in app_ids:
            if not APP_ID.fullmatch(app):
                raise SettingsError(
                    f"APP_IDS: '{app}' is not 1 to 64 ASCII letters, digits, '_', '-'"
                )
        minutes = env.get("ACCESS_TOKEN_MINUTES", "30")
        if not re.fullmatch(r"[0-9]{1,2}", minutes) or not 5 <= int(minutes) <= 60:
            raise SettingsError(
                f"ACCESS_TOKEN_MINUTES: '{minutes}' is not 5 to 60 minutes"
            )
        idle = _days(env, "SESSION_IDLE_DAYS", 60)
        total = _days(env, "SESSION_MAX_DAYS", _MOST_DAYS)
        parameter = env.get("SETTINGS_PARAMETER", "")
        if parameter and not _PARAMETER.fullmatch(parameter):
            raise SettingsError(
                f"SETTINGS_PARAMETER: '{parameter}' is not a parameter's full name, "
                "such as /anonauth/settings"
            )
        header = env.get("CLIENT_ADDRESS_HEADER", "").lower()
        if header and not _HEADER.fullmatch(header):
            raise SettingsError(
                f"CLIENT_ADDRESS_HEADER: '{header}' is not the name of a header"
            )
        if header in _LISTS:
            raise SettingsError(
                f"CLIENT_ADDRESS_HEADER: '{header}' is a list that clients can fill"
            )
        base_url = env.get("BASE_URL", "")
        # A trailing slash or a path would double in the SDKs' routes (client-api.md
        # §1.10).
        if base_url and not _BASE_URL.fullmatch(base_url):
            raise SettingsError(f"BASE_URL: '{base_url}' is not scheme://host[:port]")
        return cls(
            region=_required(env, "AWS_REGION"),
            table_name=_required(env, "TABLE_NAME"),
            kms_key_id=_required(env, "KMS_KEY_ID"),
            app_ids=frozenset(app_ids),
            access_token_lifetime=timedelta(minutes=int(minutes)),
            session_limits=SessionLimits(idle=idle, total=total),
            base_url=base_url,
            endpoint_url=env.get("ENDPOINT_URL", ""),
            settings_parameter=parameter,
            allow_private_issuers=_flag(env, "ALLOW_PRIVATE_ISSUERS"),
            event_bus=env.get("EVENT_BUS") or "default",
            expiry_notice_days=_notice_days(env),
            logins_per_network=_per_network(env, "LOGINS_PER_NETWORK"),
            provider_failures_per_network=_per_network(
                env, "PROVIDER_FAILURES_PER_NETWORK"
            ),
            mails_per_network=_per_network(env, "MAILS_PER_NETWORK"),
            anonymous_challenge=_flag(env, "ANONYMOUS_CHALLENGE"),
            client_address_header=header,
            allowed_origins=_origins(env),
            origin_secret_hashes=_origin_secret_hashes(env),
            stack_name=env.get("POWERTOOLS_SERVICE_NAME") or "anonauth",
            metrics=_flag(env, "METRICS"),
        )


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "false")
    if text not in {"true", "false"}:
        raise SettingsError(f"{name}: '{text}' is neither true nor false")
    return text == "true"


def _days(env: Mapping[str, str], name: str, default: int) -> timedelta:
    days = env.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,4}", days) or not 1 <= int(days) <= _MOST_DAYS:
        raise SettingsError(f"{name}: '{days}' is not 1 to {_MOST_DAYS} days")
    return timedelta(days=int(days))


def origin_of(url: str) -> str:
    """Return the origin of an address without a path, as browsers write it.

    That is in lower case and without a scheme's usual port (RFC 6454 §6.2).
    """
    scheme, _, host = url.lower().partition("://")
    return f"{scheme}://{host.removesuffix(_USUAL_PORTS.get(scheme, ''))}"


def _origins(env: Mapping[str, str]) -> frozenset[str] | None:
    text = env.get("ALLOWED_ORIGINS", "*")
    if text == "*":
        return None
    origins = text.split(",") if text else []
    for origin in origins:
        if not _BASE_URL.fullmatch(origin):
            raise SettingsError(
                f"ALLOWED_ORIGINS: '{origin}' is not scheme://host[:port]"
            )
    return frozenset(map(origin_of, origins))


def _origin_secret_hashes(env: Mapping[str, str]) -> tuple[str, ...]:
    text = env.get("ORIGIN_SECRET_HASHES", "")
    if not text:
        return ()
    # Here and not above: most deployments have none, and compiling takes time.
    if not re.fullmatch(r"[0-9a-f]{64}(,[0-9a-f]{64})?", text):
        # The text may be the secret itself, so the message does not quote it.
        raise SettingsError(
            "ORIGIN_SECRET_HASHES: not one or two SHA-256 hashes in hexadecimal digits"
        )
    return tuple(text.split(","))


def _per_network(env: Mapping[str, str], name: str) -> int:
    number = env.get(name, "0")
    if not re.fullmatch(r"[0-9]{1,7}", number):
        raise SettingsError(f"{name}: '{number}' is not 0 to 9999999")
    return int(number)


def _notice_days(env: Mapping[str, str]) -> frozenset[int]:
    text = env.get("EXPIRY_NOTICE_DAYS", "")
    days = [day.strip() for day in text.split(",")] if text else []
    for day in days:
        if not re.fullmatch(r"[0-9]{1,2}", day) or not 1 <= int(day) <= _MOST_NOTICE:
            raise SettingsError(
                f"EXPIRY_NOTICE_DAYS: '{day}' is not 1 to {_MOST_NOTICE} days"
            )
    return frozenset(map(int, days))


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name}: not set")
    return value
