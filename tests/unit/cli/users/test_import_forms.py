"""What a line of an import file may be: each fault is told, and nothing is guessed."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from argon2 import PasswordHasher, Type

from anonauth.cli.users.import_file import MOST_BYTES, read_arrays, read_lines
from anonauth.cli.users.import_forms import (
    BadUser,
    FileUser,
    ImportForm,
    is_usable_hash,
)
from anonauth.domain.encoding import identity_key
from anonauth.email_addresses import EmailSyntax
from anonauth.local.command_error import CommandError
from anonauth.passwords import Argon2Passwords
from support.service.harness import APP

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
ADA = "5f0c3b2a1d9e8f7a6b5c4d3e"
KEY = identity_key("https://issuer.example ada")
DELETED = object()
FORM = ImportForm(None, None, EmailSyntax(), verified_emails=False, now=NOW)
MOVING = ImportForm(
    APP, "https://issuer.example", EmailSyntax(), verified_emails=False, now=NOW
)

LINE: Mapping[str, Any] = {
    "app": APP,
    "uid": ADA,
    "anonymous": False,
    "created_at": "2025-11-24T12:00:00Z",
    "last_active_day": "2026-03-10",
    "expires_at": None,
    "identities": [{"provider": "custom-token", "id": "ada", "key": KEY}],
    "former_ids": ["0" * 24],
}
OLD: Mapping[str, Any] = {
    "_id": ADA,
    "identities": [{"id": "ada", "provider_type": "custom-token"}],
    "type": "normal",
    "creation_date": 1_650_000_000,
    "last_authentication_date": 1_760_000_000,
    "data": {"name": "Ada"},
}


def changed(entry: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**entry, **changes}.items() if v is not DELETED}


def account(**fields: Any) -> Any:
    identity = {"provider": "local-userpass", "id": "1", "data": {"email": "a@b.de"}}
    return {"identities": [changed(identity, fields)]}


def google(**fields: Any) -> Any:
    return {"identities": [{"provider": "oauth2-google", "id": "1", **fields}]}


def listed(*providers: str) -> Any:
    made = [
        {"provider": p, "id": str(n), "key": identity_key(str(n))}
        for n, p in enumerate(providers)
    ]
    return {"identities": made}


def reason_of(form: Any, entry: Any) -> str:
    with pytest.raises(BadUser) as refusal:
        form(entry)
    return str(refusal.value)


def test_given_a_line_of_an_export_then_all_of_it_is_in_the_user() -> None:
    made = FORM.of_export(LINE)

    user, (record,) = made.user, made.records
    assert user is not None
    assert (user.app, user.id, user.anonymous) == (APP, ADA, False)
    assert user.created_at == datetime(2025, 11, 24, 12, tzinfo=UTC)
    assert user.last_active_day.isoformat() == "2026-03-10"
    assert user.former_ids == ("0" * 24,)
    assert (record.key, record.id, record.user_id) == (KEY, "ada", ADA)
    assert (record.state, record.verified, record.password_hash) == ("bound", False, "")
    assert made.names() == [
        (APP, ADA),
        (APP, "0" * 24),
        (APP, f"custom-token {KEY}"),
    ]


def test_given_a_user_of_app_services_then_its_issuer_is_in_the_key() -> None:
    made = MOVING.of_app_services(OLD)

    user, (record,) = made.user, made.records
    assert user is not None
    assert (record.key, record.data) == (KEY, {"name": "Ada"})
    assert user.last_active_day.isoformat() == "2025-10-09"


@pytest.mark.parametrize(
    ("value", "created", "active"),
    [
        pytest.param({}, 1_650_000_000, "2025-10-09", id="both"),
        pytest.param(
            {"creation_date": DELETED}, 0x5F0C3B2A, "2025-10-09", id="no creation"
        ),
        pytest.param(
            {"last_authentication_date": DELETED}, 1_650_000_000, "2022-04-15", id="one"
        ),
        pytest.param(
            {"last_authentication_date": 0}, 1_650_000_000, "2022-04-15", id="never"
        ),
        pytest.param(
            {"last_authentication_date": 1_600_000_000},
            1_650_000_000,
            "2022-04-15",
            id="before the creation",
        ),
        pytest.param({"creation_date": AT}, AT, "2026-03-10", id="now"),
    ],
)
def test_given_times_of_app_services_when_read_then_a_missing_one_is_made_up_for(
    value: Any, created: int, active: str
) -> None:
    user = MOVING.of_app_services(changed(OLD, value)).user

    assert user is not None
    assert user.created_at.timestamp() == created
    assert user.last_active_day.isoformat() == active


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"app": 1}, "'app' is missing or not a string", id="app's type"),
        pytest.param({"app": "a#b"}, "'app' is not an app id", id="app"),
        pytest.param({"uid": DELETED}, "'uid' is not 24 hex", id="no id"),
        pytest.param({"uid": ADA.upper()}, "'uid' is not 24 hex", id="capitals"),
        pytest.param({"uid": ADA + "\n"}, "'uid' is not 24 hex", id="line break"),
        pytest.param({"uid": "5" * 23}, "'uid' is not 24 hex", id="23 digits"),
        pytest.param({"anonymous": 0}, "'anonymous' is missing, or", id="flag"),
        pytest.param({"expires_at": "2026"}, "'expires_at' is set", id="expiry"),
        pytest.param({"created_at": "now"}, "'created_at' is not a time", id="time"),
        pytest.param(
            {"created_at": "2026-03-10T12:00:00"}, "has no time zone", id="zone"
        ),
        pytest.param(
            {"created_at": "0001-01-01T00:00:00+14:00"}, "is not a time", id="year 0"
        ),
        pytest.param(
            {"created_at": "2026-03-10T12:00:01Z"}, "is later than now", id="future"
        ),
        pytest.param({"last_active_day": "x"}, "is not a date", id="day"),
        pytest.param({"last_active_day": "2026-03-11"}, "than today", id="tomorrow"),
        pytest.param({"identities": {}}, "'identities' is missing or", id="no list"),
        pytest.param({"identities": [1]}, "an identity is not an object", id="number"),
        pytest.param(google(provider="x\x1b"), "provider 'x\\x1b'", id="provider"),
        pytest.param(google(id=1), "'id' is missing or not a string", id="id"),
        pytest.param(google(id=""), "the id of an identity is empty", id="empty id"),
        pytest.param(google(id="1" * 257), "is empty, too long", id="long id"),
        pytest.param(google(id="\ud800"), "or not printable", id="surrogate"),
        pytest.param(google(key=KEY), "'key' does not belong to", id="foreign key"),
        pytest.param(
            google(provider="custom-token", key=KEY[1:]), "'key' is not 43", id="key"
        ),
        pytest.param(google(provider="custom-token"), "'key' is missing", id="no key"),
        pytest.param(
            google(provider="oauth2-facebook", id="a"), "is not a number", id="Facebook"
        ),
        pytest.param(google(data=[]), "'data' is not an object", id="data"),
        pytest.param(
            google(data={str(n): "" for n in range(33)}), "more than 32", id="33 fields"
        ),
        pytest.param(google(data={"": "x"}), "a name in 'data'", id="empty name"),
        pytest.param(google(data={"a" * 129: "x"}), "a name in 'data'", id="long name"),
        pytest.param(
            account(data={"email": "ada"}), "the e-mail address is not", id="address"
        ),
        pytest.param(account(verified=1), "'verified' is not true", id="verified"),
        pytest.param(account(password_hash=1), "is not a string", id="hash's type"),
        pytest.param(account(password_hash="$2y$10$x"), "or bcrypt", id="bcrypt, cut"),
        pytest.param(account(password_hash="x"), "is not of argon2id", id="hash"),
        pytest.param(
            listed("anon-user", "anon-user", "oauth2-google"),
            "more than one anonymous",
            id="two anonymous",
        ),
        pytest.param(
            listed(*["oauth2-google"] * 11), "more than 10 identities", id="11"
        ),
        pytest.param(
            {"identities": google()["identities"] * 2}, "identity twice", id="twice"
        ),
        pytest.param(
            {"identities": account()["identities"] * 2}, "one e-mail", id="2 addresses"
        ),
        pytest.param({"former_ids": None}, "'former_ids' is missing or", id="null"),
        pytest.param({"former_ids": ["x"]}, "'former_ids' is not 24", id="former"),
        pytest.param({"former_ids": [ADA]}, "it has an id or identity", id="own id"),
        pytest.param(
            {"former_ids": [f"{n:024}" for n in range(21)]}, "more than 20", id="21 ids"
        ),
    ],
)
def test_given_a_bad_line_of_an_export_when_read_then_it_says_what_is_wrong(
    changes: Any, reason: str
) -> None:
    assert reason in reason_of(FORM.of_export, changed(LINE, changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"_id": {"$oid": ADA}}, "'_id' is not 24 hex", id="id"),
        pytest.param({"creation_date": "x"}, "is not a number of seconds", id="text"),
        pytest.param({"creation_date": True}, "is not a number", id="true"),
        pytest.param({"creation_date": 1e300}, "is not a time", id="huge"),
        pytest.param({"creation_date": float("nan")}, "is not a time", id="NaN"),
        pytest.param({"creation_date": -1}, "is not a time", id="negative"),
        pytest.param({"creation_date": AT + 1}, "is later than now", id="future"),
        pytest.param({"last_authentication_date": AT + 1}, "later", id="future login"),
        pytest.param({"identities": None}, "'identities' is missing", id="no list"),
        pytest.param({"identities": [[]]}, "is not an object", id="list"),
        pytest.param({"identities": [{"id": "1"}]}, "'provider_type'", id="no type"),
        pytest.param(
            {"identities": [{"id": "1", "provider_type": "ldap"}]}, "unknown", id="LDAP"
        ),
        pytest.param({"data": "x"}, "'data' is not an object", id="data"),
    ],
)
def test_given_a_bad_user_of_app_services_when_read_then_it_says_what_is_wrong(
    changes: Any, reason: str
) -> None:
    assert reason in reason_of(MOVING.of_app_services, changed(OLD, changes))


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_given_no_object_when_read_then_it_is_no_user(value: Any) -> None:
    assert reason_of(FORM.of_export, value) == "the line is not an object"
    assert reason_of(MOVING.of_app_services, value) == "the user is not an object"


def test_given_a_guest_of_an_export_then_it_is_left_out() -> None:
    guest = changed(LINE, {"anonymous": True, "expires_at": "2026-06-01T01:00:00Z"})

    assert FORM.of_export(guest) == FileUser(left_out="guest")


@pytest.mark.parametrize(
    ("fields", "by_default", "expected"),
    [
        pytest.param({}, False, False, id="not known"),
        pytest.param({}, True, True, id="all"),
        pytest.param({"verified": False}, True, False, id="the line says no"),
        pytest.param({"verified": True}, False, True, id="the line says yes"),
    ],
)
def test_given_an_address_then_it_is_verified_only_if_somebody_says_so(
    fields: Any, by_default: bool, expected: bool
) -> None:
    form = ImportForm(None, None, EmailSyntax(), verified_emails=by_default, now=NOW)

    (record,) = form.of_export(changed(LINE, account(**fields))).records

    assert record.verified is expected
    assert (record.key, record.data) == (identity_key("a@b.de"), {"email": "a@b.de"})


def hashed(**parameters: Any) -> str:
    made = {"time_cost": 1, "memory_cost": 64, "parallelism": 1, **parameters}
    return PasswordHasher(**made).hash("a horse")


def bcrypted() -> str:
    return bcrypt.hashpw(b"a horse", bcrypt.gensalt(4)).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(hashed(), True, id="small"),
        pytest.param(hashed().replace("m=64", "m=131072"), True, id="memory"),
        pytest.param(hashed(parallelism=8), True, id="8 lanes"),
        pytest.param(hashed(salt_len=8, hash_len=64), True, id="other lengths"),
        pytest.param(hashed(type=Type.I), False, id="argon2i"),
        pytest.param(hashed().replace("m=64", "m=131073"), False, id="more memory"),
        pytest.param(hashed().replace("t=1", "t=9000"), False, id="passes"),
        pytest.param(hashed().replace("m=64", "m=7"), False, id="too little memory"),
        pytest.param(hashed().replace("p=1", "p=9"), False, id="lanes"),
        pytest.param(hashed().replace("v=19", "v=16"), False, id="version"),
        pytest.param(hashed()[:-2], False, id="cut"),
        pytest.param(hashed() + "=", False, id="padding"),
        pytest.param("", False, id="empty"),
        pytest.param(bcrypted(), True, id="bcrypt"),
        pytest.param(bcrypted().replace("2b$04", "2a$13"), True, id="bcrypt, 2^13"),
        pytest.param(bcrypted().replace("2b$04", "2y$14"), False, id="bcrypt, 2^14"),
        pytest.param(bcrypted().replace("2b$04", "2b$03"), False, id="bcrypt, 2^3"),
        pytest.param(
            bcrypted().replace("2b", "2x"), False, id="bcrypt of another kind"
        ),
        pytest.param(bcrypted()[:-1], False, id="bcrypt, cut"),
        pytest.param(f"{bcrypted()[:28]}/{bcrypted()[29:]}", False, id="bcrypt's salt"),
    ],
)
def test_given_a_hash_when_looked_at_then_only_an_affordable_one_is_usable(
    text: str, expected: bool
) -> None:
    assert is_usable_hash(text) is expected


def test_given_hashes_by_bcrypt_that_are_usable_then_each_can_be_checked() -> None:
    for _ in range(64):
        made = bcrypted()

        assert is_usable_hash(made)
        assert Argon2Passwords(memory_cost=8, time_cost=1).verify("a horse", made)


def test_given_hashes_that_are_usable_then_argon2_can_check_each() -> None:
    """A login with another one would end in an error of the function."""
    for length in range(8, 24):
        made = hashed(salt_len=length, hash_len=length + 8)

        assert is_usable_hash(made)
        assert PasswordHasher().verify(made, "a horse")


# -- Hostile files ---------------------------------------------------------------------


def test_given_a_line_without_end_when_read_then_the_next_one_is_read(
    tmp_path: Path,
) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"x" * (3 * MOST_BYTES) + b"\n1\n" + b"[" * 200_000)

    first, second, third = read_lines(file)

    assert (first.place, first.problem) == ("line 1", "longer than 1,000,000 bytes")
    assert (second.place, second.value) == ("line 2", 1)
    assert (third.place, third.problem) == ("line 3", "not JSON")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[{"_id": "' + "x" * 2_000_000, id="a text without end"),
        pytest.param("[" * 10 + '{"a":' * 200_000, id="deep"),
        pytest.param('[{"_id": 1}, {"_id"', id="cut"),
        pytest.param('[{"_id": 1} oops]', id="a word"),
        pytest.param("[" + "9" * 5_000 + "]", id="a long number"),
    ],
)
def test_given_an_array_that_is_broken_when_read_then_it_ends_with_the_line(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "users"
    file.write_text("\n" + text)

    with pytest.raises(CommandError, match="line 2: not JSON"):
        list(read_arrays(file))


def test_given_users_across_the_ends_of_chunks_when_read_then_none_is_torn(
    tmp_path: Path,
) -> None:
    file = tmp_path / "users"
    users = [{"n": n, "x": "ü€😀" * (n % 97)} for n in range(2_000)]
    file.write_text(json.dumps(users, ensure_ascii=False))

    assert [each.value for each in read_arrays(file)] == users


def test_given_days_that_are_over_or_not_then_today_is_the_last_one() -> None:
    later = ImportForm(
        None, None, EmailSyntax(), verified_emails=False, now=NOW + timedelta(days=1)
    )

    assert later.of_export(changed(LINE, {"last_active_day": "2026-03-11"})).user
