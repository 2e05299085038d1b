"""POST …/anon-user/login: create an anonymous user and open its session."""

from anonauth import wiring
from anonauth.domain.providers import ANONYMOUS
from anonauth.handlers._answers import opened_session
from anonauth.handlers._body import (
    parse_challenge,
    parse_device,
    parse_login_key,
    refuse_merge,
)
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.admission import Admission
from anonauth.usecases.login import AnonymousLogin, AnonymousLoginRequest


def login(request: Request) -> Answer:
    """Answer with tokens, user id and device id (client-api.md §2.2)."""
    services = wiring.services()
    body = request.body()
    refuse_merge(body)
    wanted = AnonymousLoginRequest(
        app=request.app_id,
        is_link=request.is_link,
        device=parse_device(body),
        base_url=request.base_url,
        network=request.network,
        answer=parse_challenge(body),
        login_key=parse_login_key(body),
    )
    opened = _anonymous_login().log_in(wanted, services.clock())
    services.metrics.count("Logins", provider=ANONYMOUS)
    return Answer(opened_session(opened))


def _anonymous_login() -> AnonymousLogin:
    services = wiring.services()
    return AnonymousLogin(
        users=services.store,
        tokens=services.tokens,
        admission=Admission(
            limit=services.settings.logins_per_network,
            budgets=services.store,
            networks=services.ring,
            challenges=services.challenges,
        ),
    )


ROUTES = {
    "POST /api/client/v2.0/app/{appId}/auth/providers/anon-user/login": login,
}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
