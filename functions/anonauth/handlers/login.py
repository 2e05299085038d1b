"""POST …/anon-user/login: create an anonymous user and open a session for it."""

from anonauth import wiring
from anonauth.domain.providers import ANONYMOUS
from anonauth.handlers._answers import opened_session
from anonauth.handlers._body import parse_challenge, parse_device
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.admission import Admission
from anonauth.usecases.login import log_in_anonymously


def login(request: Request) -> Answer:
    """Answer with tokens, user id and device id (client-api.md §2.2)."""
    services = wiring.services()
    body = request.body()
    opened = log_in_anonymously(
        request.app_id,
        link=request.is_link,
        device=parse_device(body),
        base_url=request.base_url,
        users=services.store,
        tokens=services.tokens,
        admission=Admission(
            limit=services.settings.logins_per_network,
            budgets=services.store,
            networks=services.ring,
            challenges=services.challenges,
        ),
        now=services.clock(),
        network=request.network,
        answer=parse_challenge(body),
    )
    services.metrics.count("Logins", provider=ANONYMOUS)
    return Answer(opened_session(opened))


ROUTES = {
    "POST /api/client/v2.0/app/{appId}/auth/providers/anon-user/login": login,
}

handler = lambda_handler(ROUTES, preload=("anonauth.tokens",))
