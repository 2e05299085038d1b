"""DELETE /auth/session: log out. /auth/sessions: list the sessions, and end one."""

from anonauth import wiring
from anonauth.handlers._answers import session_list
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.logout import Logout
from anonauth.usecases.sessions import SessionManagement


def logout(request: Request) -> Answer:
    """Answer `{}` once the session of the refresh token has ended.

    With `?everywhere=true`, which App Services did not have, all sessions of the user
    have ended.
    """
    services = wiring.services()
    use_case = Logout(users=services.store, tokens=services.tokens)
    if request.is_everywhere:
        use_case.log_out_everywhere(request.bearer_token(), services.clock())
    else:
        use_case.log_out(request.bearer_token(), services.clock())
    services.metrics.count("Logouts")
    return Answer()


def list_sessions(request: Request) -> Answer:
    """Answer with a bare array of the user's live sessions."""
    now = wiring.services().clock()
    return Answer(session_list(_management().list_all(request.bearer_token(), now)))


def end_session(request: Request) -> Answer:
    """Answer `{}` once the session with this id has ended."""
    services, session_id = wiring.services(), request.path_parameter("id")
    _management().end(request.bearer_token(), session_id, services.clock())
    services.metrics.count("Logouts")
    return Answer()


def _management() -> SessionManagement:
    services = wiring.services()
    return SessionManagement(users=services.store, tokens=services.tokens)


ROUTES = {
    "DELETE /api/client/v2.0/auth/session": logout,
    "GET /api/client/v2.0/auth/sessions": list_sessions,
    "DELETE /api/client/v2.0/auth/sessions/{id}": end_session,
}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
