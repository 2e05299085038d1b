"""POST …/auth/providers/{provider}/login: link an identity, or log in by it."""

from anonauth import wiring
from anonauth.errors import BrowserLoginNotOffered
from anonauth.handlers._answers import linked_session, opened_session
from anonauth.handlers._body import parse_device
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.link import Attempt, Parts, link_identity, log_in


def login(request: Request) -> Answer:
    """Answer as to any login (client-api.md §2.2); `?link=true` as to a link (§2.3)."""
    services = wiring.services()
    parts = Parts(
        users=services.store,
        identities=services.store,
        providers=services.providers,
        tokens=services.tokens,
        limits=services.settings.session_limits,
    )
    now = services.clock()
    if request.is_link:
        token = request.bearer_token()
        attempt = _attempt(request)
        linked = link_identity(token, attempt, parts=parts, now=now)
        services.metrics.count("Links", provider=attempt.provider)
        return Answer(linked_session(linked))
    attempt = _attempt(request)
    opened = log_in(attempt, parts=parts, now=now)
    services.metrics.count("Logins", provider=attempt.provider)
    return Answer(opened_session(opened))


def refuse_browser(_: Request) -> Answer:
    """Refuse what starts a login by redirects (client-api.md §8)."""
    raise BrowserLoginNotOffered


def _attempt(request: Request) -> Attempt:
    body = request.body()
    return Attempt(
        app=request.app_id,
        provider=request.path_parameter("provider"),
        credential=body,
        device=parse_device(body),
        network=request.network,
        base_url=request.base_url,
    )


_LOGIN = "/api/client/v2.0/app/{appId}/auth/providers/{provider}/login"

ROUTES = {f"POST {_LOGIN}": login, f"GET {_LOGIN}": refuse_browser}

handler = lambda_handler(
    ROUTES,
    preload=(
        "anonauth.tokens",
        "anonauth.providers.registry",
        "anonauth.providers.local_userpass",
        "anonauth.passwords",
    ),
)
