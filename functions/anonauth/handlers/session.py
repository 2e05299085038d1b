"""POST /auth/session: a new access token, and a later expiry for an anonymous user."""

from anonauth import wiring
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.session import SessionRefresh


def session(request: Request) -> Answer:
    """Answer with an access token only. Refresh tokens stay (client-api.md §2.5)."""
    services = wiring.services()
    use_case = SessionRefresh(
        users=services.store,
        tokens=services.tokens,
        limits=services.settings.session_limits,
    )
    access_token = use_case.refresh(
        request.bearer_token(), base_url=request.base_url, now=services.clock()
    )
    services.metrics.count("Refreshes")
    return Answer({"access_token": access_token})


ROUTES = {"POST /api/client/v2.0/auth/session": session}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
