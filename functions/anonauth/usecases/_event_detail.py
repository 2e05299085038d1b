"""The form of an event: public API, described in `events.schema.json`."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from anonauth.domain.encoding import rfc3339
from anonauth.domain.events import EventType, UserEvent
from anonauth.domain.identities import Identity
from anonauth.domain.users import User


def make_event(
    source: str, kind: EventType, user: User, at: datetime, **more: Any
) -> UserEvent:
    """Return an event about a user.

    Args:
        source: What it was made of; with the type it is the event's id, so that a
            replay is recognisable.
        user: As it is afterwards, or was last.
        more: What only this type says; JSON.
    """
    event_id = f"{source}:{kind}"
    detail = {
        "id": event_id,
        "app": user.app,
        "uid": user.id,
        "anonymous": user.anonymous,
        "identities": identity_list(user.identities),
        "created_at": rfc3339(user.created_at),
        "last_active_day": user.last_active_day.isoformat(),
        "at": rfc3339(at),
        **more,
    }
    if user.expires_at is not None:
        detail["expires_at"] = rfc3339(user.expires_at)
    return UserEvent(event_id, kind, at, user.app, user.id, detail)


def identity_list(identities: Iterable[Identity]) -> list[dict[str, str]]:
    """Return identities as events show them, without an e-mail address.

    `key` tells two identities apart whose issuers gave them one id. The id that an
    issuer gives may be an e-mail address: the key, the SHA-256 of issuer and id, then
    replaces it. An identity of `local-userpass` shows no key: its id is unique, and its
    key is the plain hash of an address, which can be guessed.
    """
    return [_shown(identity) for identity in identities]


def _shown(identity: Identity) -> dict[str, str]:
    if not identity.has_issuer:
        return {"provider": identity.provider, "id": identity.id}
    shown_id = identity.key if "@" in identity.id else identity.id
    return {"provider": identity.provider, "id": shown_id, "key": identity.key}
