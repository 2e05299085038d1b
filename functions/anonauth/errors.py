"""Every error the service returns to a client, one class per cause.

`code` is the `error_code` of the answer and public API: never rename one (client-api.md
§4). The HTTP status of each class is in `handlers/_http.py`.
"""

from datetime import datetime
from math import ceil


class AuthError(Exception):
    """An error meant for the client: its text is sent, its cause is only logged."""

    code = "InternalServerError"
    description = "the request could not be completed"

    def __init__(self, description: str | None = None) -> None:
        super().__init__(description or self.description)


class BadRequest(AuthError):
    """The route does not accept this body or header; nothing was changed."""

    code = "BadRequest"
    description = "bad request"


class InvalidSession(AuthError):
    """The token is bad, expired or revoked; a fresh token or a new login may work.

    This is the only cause of a 401 on routes that take a token. Every SDK answers it
    with a refresh, and a refused refresh with the end of its user (client-api.md §5).
    The text goes to the log, too, so it quotes nothing of the token.
    """

    code = "InvalidSession"
    description = "invalid session"


class SessionNotFound(InvalidSession):
    """The refresh token belongs to no live session.

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

    Not a 401, for tokens either: an operator who drops an app id by mistake must not
    log its users out.
    """

    code = "AppNotFound"

    def __init__(self, app: str) -> None:
        super().__init__(f"cannot find app using Client App ID '{app}'")


class RouteNotFound(AuthError):
    """No function of this service has that method and path."""

    code = "NotFound"
    description = "no such endpoint"


class CdnBypassed(RouteNotFound):
    """The call lacks the CDN's secret (design.md §7). The answer is as for no route."""


class FunctionNotFound(AuthError):
    """A client called an app function; the SDKs know the code (client-api.md §4)."""

    code = "FunctionNotFound"
    description = "function not found: this service runs no functions"


class ServiceNotFound(AuthError):
    """A device asks for push messages; the SDKs know the code (client-api.md §4)."""

    code = "ServiceNotFound"
    description = "service not found: this service sends no push messages"


class Unavailable(AuthError):
    """The service has a problem; request and token may be fine. The client may retry.

    `detail` goes to the log. It tells the operator more, and quotes no secret and no
    client data.
    """

    description = "the service is temporarily unavailable, please try again"

    def __init__(self, *, detail: str = "") -> None:
        super().__init__()
        self.detail = detail


class StoreUnavailable(Unavailable):
    """DynamoDB did not answer; a write may or may not have taken effect."""


class KeysUnavailable(Unavailable):
    """There is no key ring yet, no key may sign now, or KMS did not answer."""


class ClockBehind(Unavailable):
    """The access token was issued after this function's present time.

    The clock of this function, or of the one that signed the token, is wrong. A 401
    would make clients refresh, and a few of them would lose their user for it.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(detail=f"issued {seconds} s after this function's time")


class BadCredential(AuthError):
    """The credential does not prove an identity.

    A plain login answers every cause alike: 401, with the old service's text
    (client-api.md §4). `reason` is a constant text that quotes nothing. It goes to the
    log, and to clients that link (see `CredentialRefused`).
    """

    code = "AuthError"
    description = "unauthorized"

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class WrongPassword(BadCredential):
    """Wrong password or unknown e-mail address; the client cannot tell which."""

    code = "InvalidPassword"

    def __init__(self) -> None:
        super().__init__("invalid username/password")


class NotConfirmed(BadCredential):
    """The password is right, but the e-mail address was never confirmed.

    The only refused login with a text of its own, which the old service used until May
    2024. Without it a user would not know to look for a mail.
    """

    description = "confirmation required"

    def __init__(self) -> None:
        super().__init__(self.description)


class CredentialRefused(AuthError):
    """A bad credential while linking: 403, because realm-web repeats a 401 for ever."""

    code = "AuthError"


class PasswordRefused(CredentialRefused):
    """A wrong password while linking."""

    code = "InvalidPassword"


class ProviderUnsupported(InvalidSession):
    """The provider of a login is off. The old service's answer (client-api.md §4)."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"authentication via '{provider}' is unsupported")


class ProviderNotFound(AuthError):
    """The provider of a link is off. Never an `InvalidSession` (client-api.md §7)."""

    code = "AuthProviderNotFound"

    def __init__(self, provider: str) -> None:
        super().__init__(f"authentication via '{provider}' is unsupported")


class BrowserLoginNotOffered(AuthError):
    """A GET on a login route. That is OAuth by redirects, which is not offered."""

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
    """The user already has an e-mail address and password. The old service's code."""

    code = "InternalServerError"
    description = (
        "linking a local-userpass identity is not allowed when one is already linked"
    )


class ApiKeyLinkRefused(AuthError):
    """An API key cannot be linked: its user has created it (client-api.md §7)."""

    code = "InvalidParameter"
    description = "invalid user link request"


class TooManyIdentities(AuthError):
    """The user has the most identities that a user can have."""

    code = "InvalidParameter"
    description = "this user has 10 identities, the most there can be"


class IdentityNotFound(AuthError):
    """The user has no such identity."""

    code = "IdentityNotFound"
    description = "this user has no such identity"


class AmbiguousIdentity(AuthError):
    """Several identities, of different issuers, have that id; none was removed."""

    code = "InvalidParameter"
    description = "several identities have that id: name the one that is meant by 'key'"


class AnonymousUnlinkRefused(AuthError):
    """The anonymous identity stays: it says where the user came from."""

    code = "InvalidParameter"
    description = "the anonymous identity cannot be removed"


class LastIdentity(AuthError):
    """Without this identity no client could log in to the user any more."""

    code = "InvalidParameter"
    description = "the last identity that can log in cannot be removed"


class AccountNameInUse(AuthError):
    """The e-mail address is already registered and confirmed."""

    code = "AccountNameInUse"
    description = "name already in use"


class UserpassTokenInvalid(AuthError):
    """The confirm or reset token is unknown, used or too old."""

    code = "UserpassTokenInvalid"
    description = "userpass token is expired or invalid"


class AlreadyConfirmed(AuthError):
    """The e-mail address is already confirmed."""

    code = "UserAlreadyConfirmed"
    description = "already confirmed"


class UserNotFound(AuthError):
    """No account is registered with that e-mail address."""

    code = "UserNotFound"
    description = "user not found"


class InvalidParameter(AuthError):
    """A parameter breaks a rule of the client API; the text says which."""

    code = "InvalidParameter"


class ApiKeyNotFound(AuthError):
    """The user has no API key with that id."""

    code = "APIKeyNotFound"
    description = "API key not found"


class NoSuchSession(AuthError):
    """The user has no live session with the id that was to be ended.

    Not a 401, because the token of the call is good.
    """

    code = "SessionNotFound"
    description = "this user has no such session"


class ApiKeyNameTaken(AuthError):
    """The user already has an API key with that name."""

    code = "APIKeyAlreadyExists"
    description = "API key with name already exists"


class PermanentUsersOnly(AuthError):
    """Anonymous users have no API keys: link an identity first (client-api.md §2.7)."""

    code = "AuthError"
    description = "API keys are for users with a linked identity"


class ApiKeySessionRefused(AuthError):
    """A session opened with an API key asks to change credentials or the user.

    Ending another session is such a change.

    An attacker who has only copied a key must not be able to stay, to lock the owner
    out, or to delete the user. App Services also answered 403 when a key was to remove
    itself (client-api.md §2.7).
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
        """Return the error for a limit that is over at that instant."""
        return cls(ceil((instant - now).total_seconds()))


class ChallengeFailed(AuthError):
    """The client did not pass the challenge before an anonymous login; no user exists.

    400, not 401: nothing is wrong with a token, and the client has no user yet.
    """

    code = "ChallengeFailed"
    description = "the challenge was not passed"


class LoginKeySpent(AuthError):
    """The session that this login key opened has ended; nothing was changed.

    A second user for the key would be wrong. The request may be a late duplicate of the
    one whose guest has logged out since (client-api.md §2.2).
    """

    code = "LoginKeySpent"
    description = "the session of this login key has ended: use a new login key"


class ProviderUnavailable(Unavailable):
    """The provider's keys or its service cannot be reached; retry."""


class MailUnavailable(Unavailable):
    """The mail could not be sent; retry."""


class MailRefused(MailUnavailable):
    """SES said that it did not send the mail, so it was certainly not sent; retry."""


class EventsUnavailable(Unavailable):
    """Not all events were accepted. Those that were keep their ids when repeated."""


class SettingsUnavailable(Unavailable):
    """The provider settings cannot be read, or are wrong; `detail` says how."""


class WrongApp(AuthError):
    """The access token belongs to another app than the route.

    Not a 401: a refresh would return another token of that other app, and realm-web
    would refresh for ever.
    """

    code = "UserAppDomainMismatch"
    description = "the access token belongs to another app"
