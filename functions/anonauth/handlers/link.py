"""POST …/auth/providers/{provider}/login: link an identity, or log in by it."""

from anonauth import wiring
from anonauth.errors import BrowserLoginNotOffered
from anonauth.handlers._answers import linked_session, opened_session
from anonauth.handlers._body import parse_device, parse_merge
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.credential import CredentialRequest
from anonauth.usecases.link import IdentityLinking
from anonauth.usecases.provider_login import ProviderLogin


def login(request: Request) -> Answer:
    """Answer a login (client-api.md §2.2), or with `?link=true` a link (§2.3)."""
    return _link(request) if request.is_link else _log_in(request)


def refuse_browser(_: Request) -> Answer:
    """Refuse a browser that starts a login by redirects (client-api.md §8)."""
    raise BrowserLoginNotOffered


def _link(request: Request) -> Answer:
    services = wiring.services()
    use_case = IdentityLinking(
        users=services.store,
        identities=services.store,
        providers=services.providers,
        tokens=services.tokens,
        limits=services.settings.session_limits,
    )
    token, wanted = request.bearer_token(), _credential_request(request)
    linked = use_case.link(token, wanted, services.clock())
    services.metrics.count("Links", provider=wanted.provider)
    return Answer(linked_session(linked))


def _log_in(request: Request) -> Answer:
    services = wiring.services()
    use_case = ProviderLogin(
        users=services.store,
        identities=services.store,
        providers=services.providers,
        tokens=services.tokens,
        limits=services.settings.session_limits,
    )
    wanted = _credential_request(request)
    merge = parse_merge(request.body())
    opened = use_case.log_in(wanted, services.clock(), merge=merge)
    services.metrics.count("Logins", provider=wanted.provider)
    return Answer({**opened_session(opened), "merged": opened.merged})


def _credential_request(request: Request) -> CredentialRequest:
    body = request.body()
    return CredentialRequest(
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
    # Not the modules of the providers: no request needs more than one of them.
    preload=(
        "anonauth.tokens",
        "anonauth.providers.registry",
    ),
)
