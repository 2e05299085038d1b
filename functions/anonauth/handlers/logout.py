"""DELETE /auth/session: end the session, and delete an anonymous user with it."""

from anonauth import wiring
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.logout import Logout


def logout(request: Request) -> Answer:
    """Answer `{}` once the session of the refresh token has ended."""
    services = wiring.services()
    use_case = Logout(users=services.store, tokens=services.tokens)
    use_case.log_out(request.bearer_token(), services.clock())
    services.metrics.count("Logouts")
    return Answer()


ROUTES = {"DELETE /api/client/v2.0/auth/session": logout}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
