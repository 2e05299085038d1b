"""Compares the table, item by item, with the model."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from support.model.model import Model
from support.model.world import CUSTOM, USERPASS, Account, ApiKey, Identity, User

Items = Mapping[str, Mapping[str, Any]]
Facts = dict[str, Any]

_SWEPT_AFTER = timedelta(days=1)
_NOBODYS = {"RATE", "KEY", "SCAN"}
"""Prefixes of items without a user: counters, keys, and the scan's position."""


def require_as_told(items: Items, model: Model) -> None:
    """Fail unless users, identities and marks are as the model has them."""
    _learn_ids(items, model)
    stored, told = _stored(items, model.now), _told(model)
    differing = {
        kind: (stored[kind], told[kind]) for kind in told if stored[kind] != told[kind]
    }
    assert not differing, f"stored, and told: {differing}"
    _require_whole_merges(stored, model)


def _require_whole_merges(stored: Facts, model: Model) -> None:
    """Fail unless users list exactly the guests whose marks name them for good.

    The list of a user that was lost is lost with it, and its marks are not.
    """
    lost = {_key(app_id, user_id) for app_id, user_id in model.lost}
    listed = [
        (_key(key.split()[0], former_id), key)
        for key, user in stored["users"].items()
        for former_id in user["former_ids"]
        if key not in lost
    ]
    marked = {
        key: into
        for key, (ttl, into, _) in stored["gone"].items()
        if into is not None and ttl is None and into not in lost
    }
    assert len(dict(listed)) == len(listed), listed
    assert dict(listed) == marked
    assert not stored["gone"].keys() & stored["users"].keys()


def require_untouched(
    before: Items,
    after: Items,
    user_ids: Collection[str | None],
    email: str | None,
    free_of: Collection[str],
) -> None:
    """Fail if a call has changed anything that belongs to another user or address.

    Args:
        user_ids: The caller's id, and those of all guests that it lists or listed.
        free_of: Ids of users that identities may be taken from.
    """
    for pk in {*before, *after}:
        # A refused link with the right password of another user's account may still
        # record the network that it came from.
        old, new = (_without_networks(items.get(pk, {})) for items in (before, after))
        if old == new or pk.split("#")[0] in _NOBODYS:
            continue
        owners = {item["uid"]["S"] for item in (old, new) if "uid" in item}
        if old.get("uid") != new.get("uid"):
            owners -= {*free_of}
        if pk.startswith(("USER#", "GONE#")):
            owners = {pk.rpartition("#")[2]}
        if pk.startswith("ONCE#"):
            owners = {(new or old)["user_id"]["S"]}
        if owners:
            assert owners <= {*user_ids}, f"{pk} is not of {user_ids}: {old} to {new}"
        else:
            spelt = (new or old)["data"]["M"]["email"]["S"].lower()
            assert spelt == email, f"{pk} is not of {email}: {old} to {new}"


def _without_networks(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "networks"}


def _learn_ids(items: Items, model: Model) -> None:
    # The service chooses these: keys, and ids if the provider gives no subject.
    nothing = {"identities": {"L": []}, "api_keys": {"M": {}}}
    for user in model.users:
        stored = items.get(f"USER#{user.app.id}#{user.id}", nothing)
        for identity, entry in zip(user.identities, stored["identities"]["L"]):  # noqa: B905 - compared later
            identity.id = identity.id or entry["M"]["id"]["S"]
            identity.key = identity.key or _text(entry["M"], "key") or ""
        for key in user.keys:
            if key.id in stored["api_keys"]["M"]:
                key.key = stored["api_keys"]["M"][key.id]["M"]["hash"]["S"]


def _told(model: Model) -> Facts:
    records = [
        record
        for user in model.users
        for record in (
            *[_custom_record(user, i) for i in user.identities if i.provider == CUSTOM],
            *[_key_record(key) for key in user.keys],
        )
    ]
    records += [_custom_record(u, i) for u, i in model.orphans if i.provider == CUSTOM]
    records += [_key_record(key) for key in model.lost_keys]
    records += [_account_record(account) for account in model.accounts]
    return {
        "users": {_key(u.app.id, u.id): _told_user(u, model) for u in model.users},
        "records": sorted(records, key=repr),
        "gone": {
            _key(app_id, user_id): _told_mark(app_id, user_id, model)
            for app_id, user_id in model.forgotten_at
        },
        "login keys": sorted(
            (app.id, session.user.id, _seconds(until), _seconds(until))
            for (app, _), (session, until) in model.login_keys.items()
        ),
    }


def _told_user(user: User, model: Model) -> Facts:
    return {
        "anonymous": user.anonymous,
        "ends": _ends(user.ends_at),
        "made_again": user.made_again,
        "former_ids": user.former_ids,
        "identities": [(i.provider, i.id, i.key) for i in user.identities],
        "keys": {key.id: (key.name, key.disabled) for key in user.keys},
        "sessions": {
            s.id: (s.provider, s.opener.key if s.opener else "", _seconds(s.ends_at))
            for s in user.sessions
            if s.ends_at is None or s.ends_at > model.now
        },
    }


def _told_mark(app_id: str, user_id: str, model: Model) -> tuple[object, ...]:
    owner = model.merged_into.get(user_id)
    return (
        _seconds(model.forgotten_at[app_id, user_id]),
        owner and _key(app_id, owner.id),
        model.pushed_out.get(user_id),
    )


def _custom_record(user: User, identity: Identity) -> Facts:
    return _record(user.app.id, CUSTOM, user, identity.id, data=identity.data)


def _key_record(key: ApiKey) -> Facts:
    return _record(key.user.app.id, key.provider, key.user, key.id, data={})


def _account_record(account: Account) -> Facts:
    identity = account.identity
    return _record(
        account.app.id,
        USERPASS,
        account.user,
        None if identity is None else identity.id,
        data={"email": account.email},
        state=account.state,
        ends_at=account.ends_at,
        networks=len(account.networks),
    )


def _record(
    app: str,
    provider: str,
    user: User | None,
    identity_id: str | None,
    *,
    data: Mapping[str, str],
    state: str = "bound",
    ends_at: datetime | None = None,
    networks: int = 0,
) -> Facts:
    return {
        "of": (app, provider, user and user.id, identity_id),
        "data": dict(data),
        "state": state,
        "ends": _ends(ends_at),
        "networks": networks,
    }


def _stored(items: Items, now: datetime) -> Facts:
    users, records, gone, login_keys = {}, [], {}, []
    for pk, item in items.items():
        kind, *rest = pk.split("#")
        if kind == "USER":
            users[_key(*rest)] = _stored_user(item, now)
        elif kind == "IDENT":
            records.append(_stored_record(item, *rest[:2]))
        elif kind == "GONE":
            into = _text(item, "into")
            gone[_key(*rest)] = (
                _number(item, "ttl"),
                into and _key(rest[0], into),
                _text(item, "dropped"),
            )
        elif kind == "ONCE":
            login_keys.append((rest[0], _text(item, "user_id"), *_stored_ends(item)))
        else:
            assert kind in _NOBODYS, pk
    return {
        "users": users,
        "records": sorted(records, key=repr),
        "gone": gone,
        "login keys": sorted(login_keys),
    }


def _stored_user(item: Mapping[str, Any], now: datetime) -> Facts:
    sessions = {sid: entry["M"] for sid, entry in item["sessions"]["M"].items()}
    return {
        "anonymous": item["anonymous"]["BOOL"],
        "ends": _stored_ends(item),
        "made_again": _text(item, "made_again"),
        "former_ids": [each["S"] for each in item.get("former_ids", {"L": []})["L"]],
        "identities": [
            (
                entry["M"]["provider"]["S"],
                entry["M"]["id"]["S"],
                _text(entry["M"], "key") or "",
            )
            for entry in item["identities"]["L"]
        ],
        "keys": {
            key_id: (entry["M"]["name"]["S"], entry["M"]["disabled"]["BOOL"])
            for key_id, entry in item["api_keys"]["M"].items()
        },
        # Ended sessions may remain or not: nothing depends on them.
        "sessions": {
            sid: (entry["provider"]["S"], _text(entry, "identity_key") or "", ends)
            for sid, entry in sessions.items()
            if (ends := _number(entry, "expires_at")) is None or ends > now.timestamp()
        },
    }


def _stored_record(item: Mapping[str, Any], app: str, provider: str) -> Facts:
    user_id = _text(item, "uid")
    # An address without a user has an id that is never shown.
    identity_id = _text(item, "identity_id") if user_id else None
    return {
        "of": (app, provider, user_id, identity_id),
        "data": {name: value["S"] for name, value in item["data"]["M"].items()},
        "state": item["state"]["S"],
        "ends": _stored_ends(item),
        "networks": len(item["networks"]["M"]) if "networks" in item else 0,
    }


def _key(app: str, user_id: str) -> str:
    return f"{app} {user_id}"


def _ends(ends_at: datetime | None) -> tuple[int | None, int | None]:
    return _seconds(ends_at), _seconds(ends_at and ends_at + _SWEPT_AFTER)


def _stored_ends(item: Mapping[str, Any]) -> tuple[int | None, int | None]:
    return _number(item, "expires_at"), _number(item, "ttl")


def _seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())


def _number(item: Mapping[str, Any], name: str) -> int | None:
    return int(item[name]["N"]) if name in item else None


def _text(item: Mapping[str, Any], name: str) -> str | None:
    return item[name]["S"] if name in item else None
