"""DELETE /auth/session: end the session, and delete an anonymous user with it."""

from anonauth import wiring
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.logout import log_out


def logout(request: Request) -> Answer:
    """Answer `{}`; the session of the refresh token is no more."""
    services = wiring.services()
    log_out(
        request.bearer_token(),
        users=services.store,
        tokens=services.tokens,
        now=services.clock(),
    )
    services.metrics.count("Logouts")
    return Answer()


ROUTES = {"DELETE /api/client/v2.0/auth/session": logout}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
