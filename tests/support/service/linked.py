"""Permanent users for tests: the state that a link and a later login leave."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from anonauth.domain.encoding import hash_secret, hash_token_id, identity_key
from anonauth.domain.expiry import utc_day
from anonauth.domain.identities import IdentityRecord, VerifiedIdentity
from anonauth.domain.providers import API_KEY
from anonauth.domain.users import ApiKey, Session, User
from support.service.harness import APP, HOST, Deployment

_LIFETIME = timedelta(days=60)

_UNREADABLE = {
    "empty": "",
    "1": "1",
    "yes": "yes",
    "on": "on",
    "t": "t",
    "truee": "truee",
    "and a blank": "true ",
    "and a line break": "true\n",
    "in quotes": '"true"',
    "undefined": "undefined",
    "full width": "\uff54\uff52\uff55\uff45",
    "twice": "true,true",
    "both": "true,false",
    "both, false first": "false,true",
    "false twice": "false,false",
    "and nothing": "true,",
}


def unreadable_flag(name: str) -> dict[str, dict[str, str]]:
    """Return queries in which a flag of the API is neither true nor false, or twice.

    The gateway joins several values of a name by commas.
    """
    return {
        **{what: {name: value} for what, value in _UNREADABLE.items()},
        "in two spellings": {name: "true", name.capitalize(): "true"},
        "another spelling": {name.capitalize(): "1"},
    }


UNREADABLE_LINK = unreadable_flag("link")
"""Queries that may ask for a link."""


def link(
    service: Deployment,
    body: dict[str, Any],
    provider: str,
    subject: str,
    *,
    issuer: str = "",
    data: Mapping[str, str] | None = None,
    app: str = APP,
) -> None:
    """Link an identity to the user of a login's answer; its id is the subject.

    The login's answer gets the link's access token.
    """
    tokens = service.services.tokens
    claims = tokens.read_refresh_token(body["refresh_token"], service.now)
    user = stored_user(service, body["user_id"], app)
    identity = VerifiedIdentity(
        provider, identity_key(issuer + subject), subject, data or {}
    )
    assert service.services.store.link_identity(
        user,
        user.sessions[claims.session_id],
        identity,
        service.now,
        expires_at=service.now + _LIFETIME,
    )
    body["access_token"] = tokens.access_token(
        stored_user(service, body["user_id"], app),
        user.sessions[claims.session_id],
        base_url=f"https://{HOST}",
        now=service.now,
    )


def open_session(
    service: Deployment,
    user_id: str,
    provider: str,
    opener_id: str,
    *,
    key: str = "",
    app: str = APP,
) -> dict[str, str]:
    """Open a session as a login with an identity or API key; return its answer.

    Args:
        key: Key of the identity, needed if several have the id.
    """
    user = stored_user(service, user_id, app)
    if not key:
        keys = [
            i.key
            for i in user.identities
            if (i.provider, i.id) == (provider, opener_id)
        ]
        if provider == API_KEY:
            keys = [user.api_keys[opener_id].hash]
        (key,) = keys
    jti = secrets.token_urlsafe(32)
    session = Session(
        id=secrets.token_hex(12),
        token_hash=hash_token_id(jti),
        provider=provider,
        created_at=service.now,
        used_day=utc_day(service.now),
        expires_at=service.now + _LIFETIME,
        identity_key=key,
    )
    tokens, now = service.services.tokens, service.now
    ended = user.sessions_to_end(session, now)
    assert service.services.store.open_session(user, session, ended, now)
    return {
        "user_id": user_id,
        "access_token": tokens.access_token(
            user, session, base_url=f"https://{HOST}", now=now
        ),
        "refresh_token": tokens.refresh_token(user, session, jti=jti, now=now),
    }


def open_key_session(service: Deployment, body: dict[str, Any]) -> dict[str, str]:
    """Make an API key for the user of a login's answer, and open a session with it."""
    user = stored_user(service, body["user_id"])
    claims = service.services.tokens.read_refresh_token(
        body["refresh_token"], service.now
    )
    key = ApiKey(
        secrets.token_hex(12), "ci", hash_secret(secrets.token_hex()), service.now
    )
    asking = user.sessions[claims.session_id]
    assert service.services.store.create_api_key(user, asking, key, service.now)
    return open_session(service, user.id, API_KEY, key.id)


def log_in_linked(service: Deployment, subject: str = "ada") -> dict[str, Any]:
    """Log in anonymously and link a JWT's subject; return the login's answer."""
    body = service.log_in()
    link(service, body, "custom-token", subject)
    return body


def stored_user(service: Deployment, user_id: str, app: str = APP) -> User:
    user = service.services.store.get_user(app, user_id)
    assert user is not None
    return user


def stored_record(
    service: Deployment, provider: str, subject: str, app: str = APP
) -> IdentityRecord | None:
    return service.services.store.get_identity(app, provider, identity_key(subject))
