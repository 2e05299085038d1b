"""GET /auth/profile: who am I. DELETE /auth/delete: delete me.

DELETE /auth/identities: unlink one identity.
"""

from anonauth import wiring
from anonauth.handlers._answers import profile_of
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.profile import delete_user, read_profile, unlink_identity


def profile(request: Request) -> Answer:
    """Answer with type, identities and data (client-api.md §2.4)."""
    services = wiring.services()
    found = read_profile(
        request.bearer_token(),
        users=services.store,
        identities=services.store,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer(profile_of(found))


def unlink(request: Request) -> Answer:
    """Answer `{}`; the identity is free for others. By refresh token.

    Not in the contract: our own.
    """
    services = wiring.services()
    unlink_identity(
        request.bearer_token(),
        request.query_parameter("provider"),
        request.query_parameter("id"),
        request.optional_query_parameter("key"),
        users=services.store,
        identities=services.store,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer()


def delete(request: Request) -> Answer:
    """Answer `{}`; the user is no more (client-api.md §2.6)."""
    services = wiring.services()
    delete_user(
        request.bearer_token(),
        users=services.store,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer()


ROUTES = {
    "GET /api/client/v2.0/auth/profile": profile,
    "DELETE /api/client/v2.0/auth/identities": unlink,
    "DELETE /api/client/v2.0/auth/delete": delete,
}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
