"""The bodies that the SDKs parse (client-api.md §2)."""

from typing import TYPE_CHECKING, Any

from anonauth.domain.encoding import internal_id, rfc3339
from anonauth.domain.users import ApiKey, Session, User
from anonauth.usecases.login import OpenedSession

if TYPE_CHECKING:  # Login, the hot path, does not need it
    from anonauth.usecases.link import LinkedSession
    from anonauth.usecases.profile import Profile
    from anonauth.usecases.sessions import SessionList


def opened_session(opened: OpenedSession) -> dict[str, Any]:
    """Return the answer to a login.

    App Services had no `expires_at`. Only an anonymous user has one.
    """
    return {
        "access_token": opened.access_token,
        "refresh_token": opened.refresh_token,
        "user_id": opened.user.id,
        "device_id": opened.session.device.id,
        **_expiry(opened.user),
    }


def linked_session(linked: "LinkedSession") -> dict[str, Any]:
    """Return the answer to a link (client-api.md §2.3).

    The device id is that of the session and its tokens. There is no `refresh_token`,
    because clients keep the one they have.
    """
    return {
        "access_token": linked.access_token,
        "user_id": linked.user.id,
        "device_id": linked.session.device.id,
    }


def profile_of(profile: "Profile") -> dict[str, Any]:
    """Return the answer to a profile request.

    `expires_at` is as in a login. App Services had neither `former_ids`, the ids of the
    guests that were merged into the user, nor `key`. It tells identities apart
    where an `id` is unique only within its issuer.
    """
    return {
        "user_id": profile.user.id,
        "type": "server" if profile.by_api_key else "normal",
        "identities": [
            {
                "id": identity.id,
                "provider_type": identity.provider,
                "provider_id": internal_id(profile.user.app, identity.provider),
                "data": dict(identity.data),
                **({"key": identity.key} if identity.key else {}),
            }
            for identity in profile.identities
        ],
        "data": dict(profile.data),
        **_former_ids(profile.user),
        **_expiry(profile.user),
    }


def session_list(found: "SessionList") -> list[dict[str, Any]]:
    """Return the answer to a request for a user's sessions (client-api.md §2.9).

    The names are those of `anonauth users show --json`. Each session has `expires_at`:
    that of a guest is the user's own.
    """
    return [
        {
            "id": session.id,
            "current": session.id == found.asking.id,
            "provider": session.provider,
            "device": {"id": session.device.id, "info": dict(session.device.info)},
            "created_at": rfc3339(session.created_at),
            "used_day": session.used_day.isoformat(),
            **_expiry(session if session.expires_at else found.user),
        }
        for session in found.sessions
    ]


def api_key(key: ApiKey) -> dict[str, Any]:
    """Return an API key as a list shows it (client-api.md §2.7).

    `_id` is a plain string.
    """
    return {"_id": key.id, "name": key.name, "disabled": key.disabled}


def created_api_key(key: ApiKey, secret: str) -> dict[str, Any]:
    """Return the answer to a created key, the only answer with the key itself."""
    return {**api_key(key), "key": secret}


def _former_ids(user: User) -> dict[str, list[str]]:
    return {"former_ids": list(user.former_ids)} if user.former_ids else {}


def _expiry(ends: User | Session) -> dict[str, str]:
    return {} if ends.expires_at is None else {"expires_at": rfc3339(ends.expires_at)}
