"""POST …/local-userpass/…: register, confirm and reset e-mail accounts."""

from typing import NoReturn

from anonauth import wiring
from anonauth.domain.providers import USERPASS
from anonauth.errors import BadRequest, ProviderNotFound
from anonauth.handlers._body import text
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.admission import NetworkBudget
from anonauth.usecases.userpass import (
    Accounts,
    MailRules,
    automatic_confirmation,
    confirm_account,
    register_account,
    resend_confirmation,
    reset_password,
    send_reset,
)


def register(request: Request) -> Answer:
    """Answer `{}`; the address can be confirmed, or logged in with at once."""
    accounts, body = _accounts(request), request.body()
    register_account(
        accounts,
        email=text(body, "email"),
        password=text(body, "password"),
        now=wiring.services().clock(),
    )
    return Answer()


def confirm(request: Request) -> Answer:
    """Answer `{}`; the address can be logged in with."""
    accounts, body = _accounts(request), request.body()
    confirm_account(
        accounts,
        token=text(body, "token"),
        token_id=text(body, "tokenId"),
        now=wiring.services().clock(),
    )
    return Answer()


def confirm_send(request: Request) -> Answer:
    """Answer `{}`; another confirm mail is on its way."""
    accounts, body = _accounts(request), request.body()
    resend_confirmation(
        accounts, email=text(body, "email"), now=wiring.services().clock()
    )
    return Answer()


def confirm_call(request: Request) -> NoReturn:
    """Refuse: an app's own confirm function is not offered here.

    With the text that the old service had for apps without one (client-api.md §4;
    realm-js,
    `email-password-auth.test.ts`, "retry custom confirmation").
    """
    _accounts(request)
    raise BadRequest(automatic_confirmation(text(request.body(), "email")))


def reset(request: Request) -> Answer:
    """Answer `{}`; the new password is set, and nobody is logged in."""
    accounts, body = _accounts(request), request.body()
    services = wiring.services()
    reset_password(
        accounts,
        token=text(body, "token"),
        token_id=text(body, "tokenId"),
        password=text(body, "password"),
        users=services.store,
        now=services.clock(),
    )
    return Answer()


def reset_send(request: Request) -> Answer:
    """Answer `{}`, whether anybody has registered that address or not."""
    accounts, body = _accounts(request), request.body()
    send_reset(accounts, email=text(body, "email"), now=wiring.services().clock())
    return Answer()


def reset_call(request: Request) -> NoReturn:
    """Refuse: an app's own reset function is not offered here.

    With the text that the old service had when such a function failed (client-api.md
    §4; realm-js, `email-password-auth.test.ts`, "can reset a password via a function").
    """
    _accounts(request)
    body = request.body()
    email = text(body, "email")
    text(body, "password")
    if not isinstance(body.get("arguments", []), list):
        raise BadRequest("arguments is not an array")
    raise BadRequest(f'failed to reset password for user "{email}"')


def _accounts(request: Request) -> Accounts:
    services = wiring.services()
    app = request.app_id
    settings = services.providers.settings(app).local_userpass
    if settings is None:
        raise ProviderNotFound(USERPASS)
    mail = settings.mail
    return Accounts(
        app=app,
        store=services.store,
        passwords=services.passwords,
        addresses=services.addresses,
        mailer=services.mailer,
        min_password_length=settings.min_password_length,
        mail=MailRules(
            mail.sender, mail.confirm_url, mail.reset_url, settings.budgets.mails
        )
        if mail is not None
        else None,
        registrations=_budget(request, "register", settings.budgets.registrations),
        mails=_budget(request, "mail-network", services.settings.mails_per_network),
    )


def _budget(request: Request, kind: str, limit: int) -> NetworkBudget | None:
    services = wiring.services()
    if not limit:
        return None
    return NetworkBudget(kind, limit, request.network, services.store, services.ring)


_PREFIX = "POST /api/client/v2.0/app/{appId}/auth/providers/local-userpass/"

ROUTES = {
    _PREFIX + "register": register,
    _PREFIX + "confirm": confirm,
    _PREFIX + "confirm/send": confirm_send,
    _PREFIX + "confirm/call": confirm_call,
    _PREFIX + "reset": reset,
    _PREFIX + "reset/send": reset_send,
    _PREFIX + "reset/call": reset_call,
}

handler = lambda_handler(
    ROUTES,
    preload=(
        "anonauth.email_addresses",
        "anonauth.mailer",
        "anonauth.passwords",
        "anonauth.providers.registry",
        "email_validator",
    ),
)
