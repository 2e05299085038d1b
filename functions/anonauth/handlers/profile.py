"""GET /auth/profile, DELETE /auth/identities (unlink one), DELETE /auth/delete."""

from anonauth import wiring
from anonauth.handlers._answers import profile_of
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.delete import UserDeletion
from anonauth.usecases.profile import ProfileReader
from anonauth.usecases.unlink import IdentityUnlinking


def profile(request: Request) -> Answer:
    """Answer with type, identities and data (client-api.md §2.4)."""
    services = wiring.services()
    use_case = ProfileReader(
        users=services.store, identities=services.store, tokens=services.tokens
    )
    return Answer(profile_of(use_case.read(request.bearer_token(), services.clock())))


def unlink(request: Request) -> Answer:
    """Answer `{}` once the identity is unlinked and free for other users.

    The call takes a refresh token. App Services had no such route.
    """
    services = wiring.services()
    use_case = IdentityUnlinking(
        users=services.store, identities=services.store, tokens=services.tokens
    )
    use_case.unlink(
        request.bearer_token(),
        provider=request.query_parameter("provider"),
        identity_id=request.query_parameter("id"),
        key=request.optional_query_parameter("key"),
        now=services.clock(),
    )
    return Answer()


def delete(request: Request) -> Answer:
    """Answer `{}` once the user is deleted (client-api.md §2.6)."""
    services = wiring.services()
    use_case = UserDeletion(users=services.store, tokens=services.tokens)
    use_case.delete(request.bearer_token(), services.clock())
    return Answer()


ROUTES = {
    "GET /api/client/v2.0/auth/profile": profile,
    "DELETE /api/client/v2.0/auth/identities": unlink,
    "DELETE /api/client/v2.0/auth/delete": delete,
}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
