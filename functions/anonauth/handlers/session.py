"""POST /auth/session: a new access token, and with it an anonymous user lives on."""

from anonauth import wiring
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.session import refresh


def session(request: Request) -> Answer:
    """Answer with an access token only: refresh tokens stay (client-api.md §2.5)."""
    services = wiring.services()
    access_token = refresh(
        request.bearer_token(),
        base_url=request.base_url,
        users=services.store,
        tokens=services.tokens,
        limits=services.settings.session_limits,
        now=services.clock(),
    )
    services.metrics.count("Refreshes")
    return Answer({"access_token": access_token})


ROUTES = {"POST /api/client/v2.0/auth/session": session}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
