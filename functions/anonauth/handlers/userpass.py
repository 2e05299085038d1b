"""POST …/local-userpass/…: register, confirm and reset e-mail accounts."""

from typing import NoReturn

from anonauth import wiring
from anonauth.domain.providers import USERPASS
from anonauth.errors import BadRequest, ProviderNotFound
from anonauth.handlers._body import text
from anonauth.handlers._http import Answer, Request, lambda_handler
from anonauth.usecases.account_mail import AccountMail
from anonauth.usecases.admission import NetworkBudget
from anonauth.usecases.userpass import UserpassAccounts, automatic_confirmation


def register(request: Request) -> Answer:
    """Answer `{}` once the address is registered.

    Without mails, its owner can log in at once. Else the address has to be confirmed.
    """
    accounts, body = _accounts(request), request.body()
    accounts.register(
        email=text(body, "email"),
        password=text(body, "password"),
        network=request.network,
        now=wiring.services().clock(),
    )
    return Answer()


def confirm(request: Request) -> Answer:
    """Answer `{}` once the address is confirmed, so that its owner can log in."""
    accounts, body = _accounts(request), request.body()
    accounts.confirm(
        token=text(body, "token"),
        token_id=text(body, "tokenId"),
        now=wiring.services().clock(),
    )
    return Answer()


def confirm_send(request: Request) -> Answer:
    """Answer `{}` once another confirm mail is sent."""
    accounts, body = _accounts(request), request.body()
    accounts.resend_confirmation(
        email=text(body, "email"),
        network=request.network,
        now=wiring.services().clock(),
    )
    return Answer()


def confirm_call(request: Request) -> NoReturn:
    """Refuse: an app's own confirm function is not offered here.

    The text is the old service's for apps without such a function (client-api.md §4;
    realm-js, `email-password-auth.test.ts`, "retry custom confirmation").
    """
    _accounts(request)
    raise BadRequest(automatic_confirmation(text(request.body(), "email")))


def reset(request: Request) -> Answer:
    """Answer `{}` once the new password is set. No session is opened."""
    accounts, body = _accounts(request), request.body()
    accounts.reset_password(
        token=text(body, "token"),
        token_id=text(body, "tokenId"),
        password=text(body, "password"),
        now=wiring.services().clock(),
    )
    return Answer()


def reset_send(request: Request) -> Answer:
    """Answer `{}`, whether the address is registered or not."""
    accounts, body = _accounts(request), request.body()
    accounts.send_reset(
        email=text(body, "email"),
        network=request.network,
        now=wiring.services().clock(),
    )
    return Answer()


def reset_call(request: Request) -> NoReturn:
    """Refuse: an app's own reset function is not offered here.

    The text is the old service's for a reset function that failed (client-api.md §4;
    realm-js, `email-password-auth.test.ts`, "can reset a password via a function").
    """
    _accounts(request)
    body = request.body()
    email = text(body, "email")
    text(body, "password")
    if not isinstance(body.get("arguments", []), list):
        raise BadRequest("arguments is not an array")
    raise BadRequest(f'failed to reset password for user "{email}"')


def _accounts(request: Request) -> UserpassAccounts:
    services = wiring.services()
    app = request.app_id
    settings = services.providers.settings(app).local_userpass
    if settings is None:
        raise ProviderNotFound(USERPASS)
    mail = None
    if settings.mail is not None:
        mail = AccountMail(
            app=app,
            sender=settings.mail.sender,
            confirm_url=settings.mail.confirm_url,
            reset_url=settings.mail.reset_url,
            per_hour=settings.budgets.mails,
            per_network=_budget("mail-network", services.settings.mails_per_network),
            budgets=services.store,
            addresses=services.addresses,
            mailer=services.mailer,
        )
    return UserpassAccounts(
        app=app,
        store=services.store,
        users=services.store,
        passwords=services.passwords,
        addresses=services.addresses,
        min_password_length=settings.min_password_length,
        mail=mail,
        registrations=_budget("register", settings.budgets.registrations),
    )


def _budget(kind: str, limit: int) -> NetworkBudget | None:
    services = wiring.services()
    if not limit:
        return None
    return NetworkBudget(kind, limit, services.store, services.ring)


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
