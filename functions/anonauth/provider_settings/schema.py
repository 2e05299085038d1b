"""The fields of the settings document: one class for each part of it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from anonauth.domain.budgets import MOST_CONSECUTIVE_FAILURES
from anonauth.domain.providers import ANONYMOUS

Text = Annotated[str, Meta(min_length=1, max_length=2048)]

Limit = Annotated[int, Meta(ge=1, le=10**9)]
"""DynamoDB compares numbers of 38 digits at most."""


class SettingsPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every part of the document is: exactly the fields that it lists."""


class SecretReference(SettingsPart, frozen=True):
    """A secret in an SSM parameter of its own, below the document's.

    With the document in `/anonauth/settings`, `{"ssm": "google"}` is the value of
    `/anonauth/settings/google`.
    """

    ssm: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]


Secret = Text | SecretReference
"""A secret, in clear or by reference. Once the document is loaded, always in clear."""


class MailSettings(SettingsPart, frozen=True):
    """Confirm and reset mails; `token` and `tokenId` are added to the URLs."""

    sender: Text
    confirm_url: Text
    reset_url: Text


class ChallengeSettings(SettingsPart, frozen=True, kw_only=True):
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


class AnonymousSettings(SettingsPart, frozen=True):
    """The anonymous login, which is always on."""

    challenge: ChallengeSettings | None = None


class PasswordBudgets(SettingsPart, frozen=True):
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


class LocalUserpassSettings(SettingsPart, frozen=True):
    """E-mail and password. Without `mail` every address counts as confirmed."""

    enabled: bool = True
    min_password_length: Annotated[int, Meta(ge=6, le=128)] = 6
    mail: MailSettings | None = None
    budgets: PasswordBudgets = PasswordBudgets()


class ApiKeySettings(SettingsPart, frozen=True):
    """API keys that users make for themselves."""

    enabled: bool = True


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
]  # fmt: skip


class MetadataField(SettingsPart, frozen=True):
    """A claim that becomes a field of the profile, as App Services configured it."""

    name: Text
    field_name: Annotated[str, Meta(max_length=2048)] = ""
    required: bool = False


class IssuerSettings(SettingsPart, frozen=True):
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


class CustomTokenSettings(SettingsPart, frozen=True, kw_only=True):
    """JWTs of the app's own issuers."""

    enabled: bool = True
    issuers: Annotated[tuple[IssuerSettings, ...], Meta(min_length=1)]


class GoogleSettings(SettingsPart, frozen=True, kw_only=True):
    """ID tokens of Google; auth codes too if there is a client secret."""

    enabled: bool = True
    client_ids: Annotated[tuple[Text, ...], Meta(min_length=1)]
    client_secret: Secret | None = None
    redirect_uri: str = ""
    jwks_url: Text = "https://www.googleapis.com/oauth2/v3/certs"
    token_url: Text = "https://oauth2.googleapis.com/token"  # noqa: S105 - a URL


class AppleSettings(SettingsPart, frozen=True, kw_only=True):
    """Identity tokens of Sign in with Apple."""

    enabled: bool = True
    client_ids: Annotated[tuple[Text, ...], Meta(min_length=1)]
    jwks_url: Text = "https://appleid.apple.com/auth/keys"


class FacebookSettings(SettingsPart, frozen=True, kw_only=True):
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
    SettingsPart,
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


class SettingsDocument(SettingsPart, frozen=True, kw_only=True):
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


EVERY_APP = "*"
"""Where the settings of all apps stand that have none of their own."""
