"""The bodies that the SDKs parse (client API contract §2)."""

from datetime import datetime
from typing import Any

from anonauth.domain import User
from anonauth.usecases.login import OpenedSession


def opened_session(opened: OpenedSession) -> dict[str, Any]:
    """Return the answer to a login; `expires_at` is ours, for a guest only."""
    return {
        "access_token": opened.access_token,
        "refresh_token": opened.refresh_token,
        "user_id": opened.user.id,
        "device_id": opened.session.device.id,
        **_expiry(opened.user),
    }


def profile_of(user: User) -> dict[str, Any]:
    """Return the answer to a profile request; `expires_at` as in a login."""
    return {
        "user_id": user.id,
        "type": "normal",
        "identities": [
            {"id": identity.id, "provider_type": identity.provider, "data": {}}
            for identity in user.identities
        ],
        "data": {},
        **_expiry(user),
    }


def _expiry(user: User) -> dict[str, str]:
    return {} if user.expires_at is None else {"expires_at": _rfc3339(user.expires_at)}


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
