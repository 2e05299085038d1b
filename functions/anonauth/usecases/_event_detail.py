"""The form of an event, which is public API: `events.schema.json` describes it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import rfc3339
from anonauth.domain.events import EventType, UserEvent
from anonauth.domain.identities import Identity
from anonauth.domain.users import User


def make_user_event(
    source: str, kind: EventType, user: User, at: datetime, *, stack: str, **more: Any
) -> UserEvent:
    """Return an event about a user.

    Args:
        source: Names the cause of the event. Source and type make the event's id, so
            that a replay has the same id.
        user: The user as it is after the event, or as it was last.
        stack: The deployment's name, which tells apart two deployments on one bus.
        more: Fields that only this type of event has, as JSON.
    """
    event_id = f"{source}:{kind}"
    detail = {
        "id": event_id,
        "stack": stack,
        "app": user.app,
        "uid": user.id,
        "anonymous": user.anonymous,
        "identities": shown_identities(user.identities),
        "created_at": rfc3339(user.created_at),
        "last_active_day": user.last_active_day.isoformat(),
        "at": rfc3339(at),
        **more,
    }
    if user.expires_at is not None:
        detail["expires_at"] = rfc3339(user.expires_at)
    return UserEvent(event_id, kind, at, user.app, user.id, detail)


def shown_identities(identities: Iterable[Identity]) -> list[dict[str, str]]:
    """Return identities as events show them, without an e-mail address.

    Two issuers may give the same id to different identities, and `key` tells them
    apart. An issuer's id may also be an e-mail address. Then the key, the SHA-256 of
    issuer and id, replaces it. An identity of `local-userpass` shows no key. Its id is
    unique, and its key is the plain hash of an address, which can be guessed.
    """
    return [_shown(identity) for identity in identities]


def _shown(identity: Identity) -> dict[str, str]:
    if not identity.has_issuer:
        return {"provider": identity.provider, "id": identity.id}
    shown_id = identity.key if "@" in identity.id else identity.id
    return {"provider": identity.provider, "id": shown_id, "key": identity.key}
