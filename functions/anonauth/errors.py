"""Every refusal this service can utter, named by its cause.

`code` is the `error_code` of the answer and public API: never rename one (client
API contract §4). The HTTP status of each class stands in `handlers/_http.py`.
"""


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

    The only cause of a 401 on the routes of this service: every SDK answers it with
    a refresh, and a refused refresh with the end of its user (contract §5).
    """

    code = "InvalidSession"
    description = "invalid session"


class SessionNotFound(InvalidSession):
    """The refresh token names no live session.

    realm-web's logOut succeeds on exactly this text (contract §2.5).
    """

    description = "invalid session: failed to find refresh token"


class AnonymousLinkRefused(AuthError):
    """An anonymous identity cannot be linked to a user; nothing was changed.

    The code is what the old service sent: Kotlin 1.x turns it, with this text, into
    CredentialsCannotBeLinkedException (contract §7).
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


class Unavailable(AuthError):
    """Trouble on our side; nothing is wrong with the request or its token. Retry."""

    description = "the service is temporarily unavailable, please try again"


class StoreUnavailable(Unavailable):
    """DynamoDB did not answer; whether a write took effect is not known."""


class KeysUnavailable(Unavailable):
    """No key ring yet, none of its keys may sign now, or KMS did not answer."""
