"""The fields of the settings document, with a class for each part of it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from anonauth.domain.budgets import MOST_CONSECUTIVE_FAILURES
from anonauth.domain.providers import ANONYMOUS

Text = Annotated[str, Meta(min_length=1, max_length=2048)]

Limit = Annotated[int, Meta(ge=1, le=10**9)]
"""A rate limit. DynamoDB compares numbers of up to 38 digits."""


class SettingsPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the document. It allows exactly the fields listed."""


class SecretReference(SettingsPart, frozen=True):
    """A secret in an SSM parameter of its own, below that of the document.

    With the document in `/anonauth/settings`, `{"ssm": "google"}` is the value of
    `/anonauth/settings/google`.
    """

    ssm: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]


Secret = Text | SecretReference
"""A secret, in clear or by reference. In a loaded document it is always in clear."""


class MailSettings(SettingsPart, frozen=True):
    """Settings of confirm and reset mails.

    The query parameters `token` and `tokenId` are added to the URLs.
    """

    sender: Text
    confirm_url: Text
    reset_url: Text


class ChallengeSettings(SettingsPart, frozen=True, kw_only=True):
    """A challenge that a client has to pass before an anonymous login.

    Args:
        verify_url: "siteverify" of Turnstile, hCaptcha or reCAPTCHA.
        hostnames: Hosts of the pages that may show the challenge, empty for any.
        action: The action that the answer must be for.
        min_score: The lowest score to accept, where 1 is certainly a person and 0 a
            program. Only reCAPTCHA v3 gives a score.
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
    """Rate limits of the `local-userpass` provider.

    `account_and_network`, `account` and `network` limit wrong passwords per 15 minutes.
    `mails` is per address and hour, `registrations` per network and hour.

    A network is an IPv4 address or an IPv6 /64. The limits of its /56 and /48 are a
    fifth and two fifths higher.

    `consecutive` limits the wrong passwords of an account since the last right one or
    reset. Beyond it, all networks from which nobody has logged in to the account
    share one try an hour.

    `registrations` counts requests to register and requests for mail, of all apps
    together. It must allow a school class that registers in one lesson.
    """

    account_and_network: Limit = 10
    account: Limit = 100
    network: Limit = 100
    consecutive: Annotated[int, Meta(ge=1, le=MOST_CONSECUTIVE_FAILURES)] = 100
    mails: Limit = 5
    registrations: Limit = 500


class LocalUserpassSettings(SettingsPart, frozen=True):
    """The e-mail and password provider.

    Without `mail` every address counts as confirmed.
    """

    enabled: bool = True
    min_password_length: Annotated[int, Meta(ge=6, le=128)] = 6
    mail: MailSettings | None = None
    budgets: PasswordBudgets = PasswordBudgets()


class ApiKeySettings(SettingsPart, frozen=True):
    """The provider of API keys, which users make for themselves."""

    enabled: bool = True


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
]  # fmt: skip


class MetadataField(SettingsPart, frozen=True):
    """A claim of the token that becomes a field of the profile, as in App Services."""

    name: Text
    field_name: Annotated[str, Meta(max_length=2048)] = ""
    required: bool = False


class IssuerSettings(SettingsPart, frozen=True):
    """An issuer whose JWTs `custom-token` accepts.

    Exactly one of the four sources of keys is given: `jwks_url`,
    `openid_configuration`, `pem` or `secret`. `audience` is the app id by default.
    Without `issuer`, a token may have any `iss`. At most one entry of an app may have
    no `issuer`.
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
    """The provider of JWTs that the app's own issuers sign."""

    enabled: bool = True
    issuers: Annotated[tuple[IssuerSettings, ...], Meta(min_length=1)]


class GoogleSettings(SettingsPart, frozen=True, kw_only=True):
    """The provider of Google's ID tokens, and of auth codes if it has a secret."""

    enabled: bool = True
    client_ids: Annotated[tuple[Text, ...], Meta(min_length=1)]
    client_secret: Secret | None = None
    redirect_uri: str = ""
    jwks_url: Text = "https://www.googleapis.com/oauth2/v3/certs"
    token_url: Text = "https://oauth2.googleapis.com/token"  # noqa: S105 - a URL


class AppleSettings(SettingsPart, frozen=True, kw_only=True):
    """The provider of identity tokens from Sign in with Apple."""

    enabled: bool = True
    client_ids: Annotated[tuple[Text, ...], Meta(min_length=1)]
    jwks_url: Text = "https://appleid.apple.com/auth/keys"


class FacebookSettings(SettingsPart, frozen=True, kw_only=True):
    """The provider of Facebook's user access tokens and Limited Login ID tokens."""

    enabled: bool = True
    # Facebook's ids consist of digits, see `oauth2_facebook`.
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
"""The settings of a provider."""


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
        """Return the settings of a provider, by its name in routes."""
        if name == ANONYMOUS or name not in self.__struct_encode_fields__:
            return None
        settings: ProviderSettings | None = getattr(self, name.replace("-", "_"))
        return settings

    @property
    def challenge(self) -> ChallengeSettings | None:
        """The challenge before an anonymous login, None if there is none."""
        return self.anon_user.challenge


class SettingsDocument(SettingsPart, frozen=True, kw_only=True):
    """The whole document, checked. Its secrets may still be references."""

    apps: dict[str, AppSettings] = {}

    def app(self, app_id: str) -> AppSettings:
        """Return the settings of an app: its own, or else those of `*`, if any.

        A provider that is switched off is left out.
        """
        app = self.apps.get(app_id) or self.apps.get(EVERY_APP) or AppSettings()
        parts = ((name, getattr(app, name)) for name in app.__struct_fields__)
        off = {n: None for n, part in parts if not getattr(part, "enabled", True)}
        return structs.replace(app, **off)


EVERY_APP = "*"
"""The key with the settings of all apps that have none of their own."""
