"""Logins and links with the credential of a provider, through the routes."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt

from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import MailToken
from support.service.harness import (
    APP,
    LINK,
    OTHER_APP,
    PROFILE,
    REGISTER,
    SESSION,
    START,
    Deployment,
    Reply,
)

SECRET = "0123456789abcdef0123456789abcdef"
OTHER_SECRET = "fedcba9876543210fedcba9876543210"
DAY = timedelta(days=1)
EMAIL, PASSWORD = "ada@example.org", "correct horse"
NEW_PASSWORD = "battery staple"
DEVICE_ID = "5f0c3b2a1d9e8f7a6b5c4d3e"
EXPIRED = int(START.timestamp()) - 61  # more than the leeway of a minute ago
ISSUERS = {
    "issuers": [
        {
            "algorithm": "HS256",
            "secret": SECRET,
            "metadata_fields": [{"name": "nick", "field_name": "name"}],
        }
    ]
}
PROVIDERS_ON = {
    "apps": {
        APP: {"local-userpass": {}, "api-key": {}, "custom-token": ISSUERS},
        OTHER_APP: {"local-userpass": {}},
    }
}
"""Settings with the providers that need no server."""


def a_jwt(sub: str = "ada", secret: str = SECRET, **claims: Any) -> str:
    """Return a JWT of the app's issuer; it is good for ten years."""
    exp = int(START.timestamp()) + 10 * 366 * 86400
    return jwt.encode({"sub": sub, "aud": APP, "exp": exp, **claims}, secret, "HS256")


def by_token(sub: str = "ada", **claims: Any) -> dict[str, Any]:
    return {"token": a_jwt(sub, **claims)}


def on_device(device_id: str | None) -> dict[str, Any]:
    """Return the part of a body that names the device; None means it has no id."""
    device = {} if device_id is None else {"deviceId": {"$oid": device_id}}
    return {"options": {"device": device}}


def by_password(password: str = PASSWORD, username: str = EMAIL) -> dict[str, Any]:
    return {"username": username, "password": password}


def log_in(
    service: Deployment, provider: str, body: dict[str, Any], **options: Any
) -> Reply:
    """Send a credential to the route that logs in and links."""
    return service.send(
        LINK, body=json.dumps(body), parameters={"provider": provider}, **options
    )


def link(
    service: Deployment,
    guest: dict[str, Any],
    provider: str,
    body: dict[str, Any],
    **options: Any,
) -> Reply:
    """Link, and put the new access token into the guest, as SDKs do."""
    options = {"token": guest["access_token"], "query": {"link": "true"}} | options
    reply = log_in(service, provider, body, **options)
    if reply.status == 200:
        guest["access_token"] = reply.json["access_token"]
    return reply


def register(service: Deployment, email: str = EMAIL) -> None:
    body = json.dumps({"email": email, "password": PASSWORD})
    reply = service.send(REGISTER, body=body)
    assert reply.status == 200, reply.text


def profile(service: Deployment, access_token: str) -> Any:
    reply = service.send(PROFILE, token=access_token)
    assert reply.status == 200, reply.text
    return reply.json


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def is_as_before(service: Deployment, guest: dict[str, Any]) -> bool:
    """Tell whether a guest is still anonymous and its session still works."""
    item = service.user_item(guest["user_id"])
    refreshed = service.send(SESSION, token=guest["refresh_token"])
    return (
        item is not None
        and item["anonymous"] == {"BOOL": True}
        and {"ttl", "expires_at"} <= item.keys()
        and refreshed.status == 200
    )


def reset_by_mail(service: Deployment) -> None:
    """Set a new password for the address, as the call `reset` does."""
    store, key = service.services.store, identity_key(EMAIL)
    token = MailToken("t", service.now + timedelta(minutes=30))
    record = store.get_identity(APP, "local-userpass", key)
    assert record is not None
    assert store.set_reset(record, token, service.now)
    record = replace(record, reset=token)
    user = store.get_user(APP, record.user_id) if record.user_id else None
    hashed = service.services.passwords.hash(NEW_PASSWORD)
    assert store.reset_password(
        record, user, token_hash="t", password_hash=hashed, now=service.now
    )


def forget(service: Deployment) -> None:
    """Delete the record of the address."""
    key = f"IDENT#{APP}#local-userpass#{identity_key(EMAIL)}"
    service.db.delete_item(TableName=service.table, Key={"pk": {"S": key}})


def register_anew(service: Deployment) -> None:
    forget(service)
    register(service)
