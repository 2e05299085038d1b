"""Every refusal this service can utter, named by its cause.

`code` is the `error_code` of the answer and public API: never rename one (client-api.md
§4). The HTTP status of each class stands in `handlers/_http.py`.
"""

from datetime import datetime
from math import ceil


class AuthError(Exception):
    """A refusal we chose; its text goes to the client, its cause only to the log."""

    code = "InternalServerError"
    description = "the request could not be completed"

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description or self.description)


class BadRequest(AuthError):
    """The body or a header is not what this route takes; nothing was changed."""

    code = "BadRequest"
    description = "bad request"


class InvalidSession(AuthError):
    """The token is bad, expired or revoked; a fresh one, or a new login, may do.

    The only cause of a 401 on routes that take a token: every SDK answers it with a
    refresh, and a refused refresh with the end of its user (client-api.md §5). The text
    goes to the log, too, so it quotes nothing of the token.
    """

    code = "InvalidSession"
    description = "invalid session"


class SessionNotFound(InvalidSession):
    """The refresh token names no live session.

    realm-web's logOut succeeds on exactly this text (client-api.md §2.5).
    """

    description = "invalid session: failed to find refresh token"


class AnonymousLinkRefused(AuthError):
    """An anonymous identity cannot be linked to a user; nothing was changed.

    The code is what the old service sent: Kotlin 1.x turns it, with this text, into
    CredentialsCannotBeLinkedException (client-api.md §7).
    """

    code = "InternalServerError"
    description = "linking an anonymous identity is not allowed"


class AppNotFound(AuthError):
    """No such client app id is configured.

    Not a 401, for tokens either: an operator who drops an app id by mistake must
    not throw its users away.
    """

    code = "AppNotFound"

    def __init__(self, app: str) -> None:
        super().__init__(f"cannot find app using Client App ID '{app}'")


class RouteNotFound(AuthError):
    """No function of this service has that method and path."""

    code = "NotFound"
    description = "no such endpoint"


class FunctionNotFound(AuthError):
    """A function of the app was called; the SDKs know the code (client-api.md §4)."""

    code = "FunctionNotFound"
    description = "function not found: this service runs no functions"


class ServiceNotFound(AuthError):
    """A device wants push messages; the SDKs know the code (client-api.md §4)."""

    code = "ServiceNotFound"
    description = "service not found: this service sends no push messages"


class Unavailable(AuthError):
    """Trouble on our side; nothing is wrong with the request or its token. Retry.

    `detail`, which says more to the operator and quotes no secret and no client, goes
    to the log.
    """

    description = "the service is temporarily unavailable, please try again"

    def __init__(self, *, detail: str = "") -> None:
        super().__init__()
        self.detail = detail


class StoreUnavailable(Unavailable):
    """DynamoDB did not answer; whether a write took effect is not known."""


class KeysUnavailable(Unavailable):
    """No key ring yet, none of its keys may sign now, or KMS did not answer."""


class ClockBehind(Unavailable):
    """An access token of ours was issued after this function's present time.

    So the clock of this function or of the one that signed it is wrong. A 401 would
    make clients refresh, and a few of them forget their user, for no fault of theirs.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(detail=f"issued {seconds} s after this function's time")


class BadCredential(AuthError):
    """The credential does not prove an identity.

    A plain login answers every cause alike, 401 with the word that the old service used
    (client-api.md §4). `reason`, a constant text that quotes nothing, goes to the log,
    and to clients that link (see `CredentialRefused`).
    """

    code = "AuthError"
    description = "unauthorized"

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class WrongPassword(BadCredential):
    """Wrong password, or nobody with that e-mail address: the same to the client."""

    code = "InvalidPassword"

    def __init__(self) -> None:
        super().__init__("invalid username/password")


class NotConfirmed(BadCredential):
    """The password is right, but the e-mail address was never confirmed.

    The one refused login with a text of its own, the old service's until May 2024:
    nothing else would tell its user to look for a mail.
    """

    description = "confirmation required"

    def __init__(self) -> None:
        super().__init__(self.description)


class CredentialRefused(AuthError):
    """A bad credential while linking: 403, since realm-web repeats a 401 for ever."""

    code = "AuthError"


class PasswordRefused(CredentialRefused):
    """A wrong password while linking."""

    code = "InvalidPassword"


class ProviderUnsupported(InvalidSession):
    """The provider of a login is off: the old service's answer (client-api.md §4)."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"authentication via '{provider}' is unsupported")


class ProviderNotFound(AuthError):
    """The provider of a link is off. Never `InvalidSession` here (client-api.md §7)."""

    code = "AuthProviderNotFound"

    def __init__(self, provider: str) -> None:
        super().__init__(f"authentication via '{provider}' is unsupported")


class BrowserLoginNotOffered(AuthError):
    """A GET on a login route: OAuth by redirects, which this service does not do."""

    code = "AuthProviderNotFound"
    description = (
        "a GET does not log in: login by redirects is not offered; let the provider's "
        "own library sign in, and POST its token"
    )


class IdentityTaken(AuthError):
    """The identity belongs to another user; nothing was changed (client-api.md §7)."""

    code = "AccountNameInUse"
    description = "a user already exists with the specified provider"


class SecondUserpassRefused(AuthError):
    """A user has one e-mail address and password; code as in the old service."""

    code = "InternalServerError"
    description = (
        "linking a local-userpass identity is not allowed when one is already linked"
    )


class ApiKeyLinkRefused(AuthError):
    """An API key is of its user; it cannot be linked to one (client-api.md §7)."""

    code = "InvalidParameter"
    description = "invalid user link request"


class TooManyIdentities(AuthError):
    """The user has as many identities as a user can have."""

    code = "InvalidParameter"
    description = "this user has 10 identities, the most there can be"


class IdentityNotFound(AuthError):
    """The user has no such identity."""

    code = "IdentityNotFound"
    description = "this user has no such identity"


class AmbiguousIdentity(AuthError):
    """Several identities have that id, of different issuers; none was removed."""

    code = "InvalidParameter"
    description = "several identities have that id: name the one that is meant by 'key'"


class AnonymousUnlinkRefused(AuthError):
    """The anonymous identity stays: it says where the user came from."""

    code = "InvalidParameter"
    description = "the anonymous identity cannot be removed"


class LastIdentity(AuthError):
    """Without it nobody could log in to the user any more."""

    code = "InvalidParameter"
    description = "the last identity that can log in cannot be removed"


class AccountNameInUse(AuthError):
    """That e-mail address is registered and confirmed."""

    code = "AccountNameInUse"
    description = "name already in use"


class UserpassTokenInvalid(AuthError):
    """A confirm or reset token that is unknown, used or too old."""

    code = "UserpassTokenInvalid"
    description = "userpass token is expired or invalid"


class AlreadyConfirmed(AuthError):
    """The e-mail address needs no confirmation any more."""

    code = "UserAlreadyConfirmed"
    description = "already confirmed"


class UserNotFound(AuthError):
    """Nobody has registered that e-mail address."""

    code = "UserNotFound"
    description = "user not found"


class InvalidParameter(AuthError):
    """A parameter has a form that the client API rules out; the text says which."""

    code = "InvalidParameter"


class ApiKeyNotFound(AuthError):
    """The user has no API key of that id."""

    code = "APIKeyNotFound"
    description = "API key not found"


class ApiKeyNameTaken(AuthError):
    """The user has an API key of that name already."""

    code = "APIKeyAlreadyExists"
    description = "API key with name already exists"


class PermanentUsersOnly(AuthError):
    """Anonymous users have no API keys: link an identity first (client-api.md §2.7)."""

    code = "AuthError"
    description = "API keys are for users with a linked identity"


class ApiKeySessionRefused(AuthError):
    """The session was opened with an API key, and asks to change credentials or user.

    Somebody who has only copied a key must not be able to stay, to lock the owner out,
    or to delete the user. App Services refused the removal of its own key alike, with
    403 (client-api.md §2.7).
    """

    code = "AuthError"
    description = (
        "this session was opened with an API key, which cannot change its user"
    )


class BudgetSpent(AuthError):
    """Too many attempts; repeat after `retry_after` seconds."""

    code = "RateLimitExceeded"
    description = "too many attempts, please try again later"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after

    @classmethod
    def until(cls, instant: datetime, now: datetime) -> "BudgetSpent":
        """Return the refusal whose reason is over at that instant."""
        return cls(ceil((instant - now).total_seconds()))


class ChallengeFailed(AuthError):
    """The challenge before an anonymous login was not passed; no user was made.

    400: nothing is wrong with a token, and the client has no user yet.
    """

    code = "ChallengeFailed"
    description = "the challenge was not passed"


class ProviderUnavailable(Unavailable):
    """The provider's keys or its own service cannot be reached; retry."""


class MailUnavailable(Unavailable):
    """The mail could not be sent; retry."""


class MailRefused(MailUnavailable):
    """The mail was not sent, for sure: SES has said so; retry."""


class EventsUnavailable(Unavailable):
    """Not all events were taken; those that were keep their ids when repeated."""


class SettingsUnavailable(Unavailable):
    """The settings of the providers cannot be read, or are wrong; `detail` says how."""


class WrongApp(AuthError):
    """The access token is of another app than the route.

    Not a 401: a refresh would give another token of that app, and realm-web would go
    on for ever.
    """

    code = "UserAppDomainMismatch"
    description = "the access token belongs to another app"
