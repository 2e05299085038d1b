"""GET /auth/profile: who am I. DELETE /auth/delete: delete me."""

from anonauth import wiring
from anonauth.handlers._answers import profile_of
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.profile import delete_user, read_profile


def profile(request: Request) -> Answer:
    """Answer with type, identities and data (client API contract §2.4)."""
    services = wiring.services()
    user = read_profile(
        request.bearer_token(),
        users=services.store,
        tokens=services.tokens,
        now=services.clock(),
    )
    return Answer(profile_of(user))


def delete(request: Request) -> Answer:
    """Answer `{}`; the user is no more (client API contract §2.6)."""
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
    "DELETE /api/client/v2.0/auth/delete": delete,
}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
