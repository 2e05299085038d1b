"""What an operator's restore decides about one user, record by record."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from anonauth.domain.identities import Identity, IdentityRecord, MailToken
from anonauth.domain.providers import ANONYMOUS, API_KEY, USERPASS
from anonauth.domain.restoring import (
    LiveState,
    Merges,
    RecordName,
    RestorePlan,
    RestoreRules,
    plan_restore,
)
from anonauth.domain.users import MOST_FORMER_IDS, MOST_IDENTITIES, ApiKey, User
from support.contracts.store_contract import APP, DAY, NOW, SECOND, a_guest, a_session

GUESTS = RestoreRules(guests=True)
GUEST = a_guest(NOW - DAY)
ANON = GUEST.identities[0]
MAIL = Identity("mail-1", USERPASS, "mail")
GOOGLE = Identity("1001", "oauth2-google", "google")
KEY = ApiKey("k" * 24, "ci", "hash-of-key", NOW - DAY)
OTHER_USER = "f" * 24

Records = Mapping[RecordName, IdentityRecord | None]


def permanent(*identities: Identity, **fields: Any) -> User:
    session = a_session(NOW - DAY)
    user = replace(
        GUEST,
        anonymous=False,
        expires_at=None,
        sessions={session.id: session},
        identities=(ANON, *identities),
    )
    return replace(user, **fields)


def record(identity: Identity, **fields: Any) -> IdentityRecord:
    bound = IdentityRecord(
        app=APP,
        provider=identity.provider,
        key=identity.key,
        id=identity.id,
        state="bound",
        user_id=GUEST.id,
        version=identity.version,
    )
    return replace(bound, **fields)


KEY_RECORD = record(Identity(KEY.id, API_KEY, KEY.hash))


def named(*records: IdentityRecord) -> dict[RecordName, IdentityRecord | None]:
    return {(each.app, each.provider, each.key): each for each in records}


def plan(
    old: User,
    backup: Records | None = None,
    live: LiveState | None = None,
    rules: RestoreRules = GUESTS,
    now: datetime = NOW,
) -> RestorePlan:
    return plan_restore(old, backup or {}, live or LiveState(), rules, now)


def reasons(planned: RestorePlan) -> list[tuple[str, str]]:
    return [(each.provider, each.reason) for each in planned.conflicts]


def test_given_a_lost_user_when_planned_then_it_comes_back_without_sessions() -> None:
    old = permanent(MAIL, GOOGLE, api_keys={KEY.id: KEY}, made_again="closed")
    records = [record(MAIL), record(GOOGLE), KEY_RECORD]

    planned = plan(old, named(*records), rules=RestoreRules())

    assert planned == RestorePlan(
        "restored", replace(old, sessions={}, restored_at=NOW), tuple(records)
    )


def test_given_a_user_that_apps_are_to_hear_of_when_planned_then_it_is_as_new() -> None:
    planned = plan(
        permanent(MAIL), named(record(MAIL)), rules=RestoreRules(tells_created=True)
    )

    assert planned.user is not None
    assert planned.user.restored_at is None


def test_given_a_lost_guest_when_planned_then_it_keeps_its_session() -> None:
    assert plan(GUEST) == RestorePlan("restored_guest", replace(GUEST, restored_at=NOW))
    assert plan(GUEST, rules=RestoreRules()) == RestorePlan("guest_left_out")


@pytest.mark.parametrize(
    ("expires_at", "outcome"),
    [
        pytest.param(NOW, "expired", id="expired"),
        pytest.param(NOW + SECOND, "restored_guest", id="a second left"),
    ],
)
@pytest.mark.parametrize("guests", [True, False])
def test_given_a_guest_when_it_has_expired_then_it_does_not_come_back(
    expires_at: datetime, outcome: str, guests: bool
) -> None:
    old = replace(GUEST, expires_at=expires_at)

    planned = plan(old, rules=RestoreRules(guests=guests))

    left_out = outcome if guests or outcome == "expired" else "guest_left_out"
    assert planned.outcome == left_out


def test_given_a_deletion_mark_when_planned_then_the_user_stays_gone() -> None:
    live = LiveState(is_gone=True)

    assert plan(permanent(MAIL), named(record(MAIL)), live) == RestorePlan("gone")


@pytest.mark.parametrize(
    ("restored_at", "deleted_at", "outcome"),
    [
        pytest.param(None, GUEST.created_at, "deleted", id="since it was made"),
        pytest.param(
            None, GUEST.created_at - SECOND, "restored_guest", id="before it was made"
        ),
        pytest.param(NOW - SECOND, NOW - SECOND, "deleted", id="since it came back"),
        pytest.param(
            NOW - SECOND, NOW - 2 * SECOND, "restored_guest", id="before it came back"
        ),
    ],
)
def test_given_an_archived_deletion_when_planned_then_it_counts_for_this_item_only(
    restored_at: datetime | None, deleted_at: datetime, outcome: str
) -> None:
    rules = RestoreRules(guests=True, deletions={(APP, GUEST.id): deleted_at})
    old = replace(GUEST, restored_at=restored_at)

    assert plan(old, rules=rules).outcome == outcome
    elsewhere = replace(old, app="other-fghij")
    assert plan(elsewhere, rules=rules).outcome == "restored_guest"


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        pytest.param(
            record(MAIL, user_id=OTHER_USER), "another user has it", id="bound"
        ),
        pytest.param(
            record(MAIL, user_id=None, state="pending", expires_at=NOW + SECOND),
            "registered again",
            id="pending",
        ),
        pytest.param(
            record(MAIL, user_id=None, state="confirmed", expires_at=NOW + SECOND),
            "registered again",
            id="confirmed",
        ),
        pytest.param(None, "another user has it", id="unreadable"),
    ],
)
def test_given_a_record_that_is_there_when_planned_then_it_wins(
    there: IdentityRecord | None, reason: str
) -> None:
    old = permanent(MAIL, GOOGLE)
    live = LiveState(records={(APP, USERPASS, "mail"): there})

    planned = plan(old, named(record(MAIL), record(GOOGLE)), live)

    assert planned.user is not None
    assert planned.user.identities == (ANON, GOOGLE)
    assert planned.records == (record(GOOGLE),)
    assert planned.kept == ()
    assert reasons(planned) == [(USERPASS, reason)]
    assert planned.conflicts[0].identity_id == MAIL.id


def test_given_an_expired_record_when_planned_then_it_is_replaced() -> None:
    expired = record(MAIL, user_id=None, state="pending", expires_at=NOW)

    planned = plan(
        permanent(MAIL), named(record(MAIL)), LiveState(records=named(expired))
    )

    assert (planned.outcome, planned.records) == ("restored", (record(MAIL),))


def test_given_a_user_with_no_identity_left_when_planned_then_it_is_not_restored() -> (
    None
):
    live = LiveState(records=named(record(MAIL, user_id=OTHER_USER)))
    old = permanent(MAIL, api_keys={KEY.id: KEY})

    planned = plan(old, named(record(MAIL), KEY_RECORD), live)

    assert (planned.outcome, planned.user, planned.records) == (
        "unreachable",
        None,
        (),
    )
    assert reasons(planned) == [(USERPASS, "another user has it")]


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({}, id="missing"),
        pytest.param({(APP, USERPASS, "mail"): None}, id="unreadable"),
        pytest.param(named(record(MAIL, user_id=OTHER_USER)), id="of another user"),
        pytest.param(named(record(MAIL, version=2)), id="of another version"),
        pytest.param(named(record(MAIL, id="mail-2")), id="made again"),
        pytest.param(named(record(MAIL, state="confirmed")), id="unclaimed"),
    ],
)
def test_given_a_backup_without_the_record_when_planned_then_it_is_left_out(
    found: Records,
) -> None:
    planned = plan(permanent(MAIL, GOOGLE), {**named(record(GOOGLE)), **found})

    assert planned.user is not None
    assert planned.user.identities == (ANON, GOOGLE)
    assert reasons(planned) == [(USERPASS, "not in the backup")]


def test_given_tokens_of_mails_when_planned_then_they_are_not_good_again() -> None:
    token = MailToken("hash", NOW + DAY)
    full = record(MAIL, confirmation=token, reset=token, password_hash="$argon2id")

    planned = plan(permanent(MAIL), named(full))

    assert planned.records == (replace(full, confirmation=None, reset=None),)


def test_given_records_that_name_the_user_when_planned_then_they_are_kept() -> None:
    there = record(MAIL), record(GOOGLE), KEY_RECORD
    old = permanent(MAIL, GOOGLE, api_keys={KEY.id: KEY})

    planned = plan(old, {}, LiveState(records=named(*there)))

    assert planned == RestorePlan(
        "restored", replace(old, sessions={}, restored_at=NOW), kept=there
    )


def test_given_a_later_reset_when_planned_then_what_it_ended_stays_ended() -> None:
    renewed = record(MAIL, version=2)
    old = permanent(MAIL, GOOGLE, api_keys={KEY.id: KEY})

    planned = plan(
        old,
        named(record(MAIL), record(GOOGLE), KEY_RECORD),
        LiveState(records=named(renewed)),
    )

    assert planned.user is not None
    assert planned.user.identities == (ANON, replace(MAIL, version=2))
    assert planned.user.api_keys == {}
    assert (planned.records, planned.kept) == ((), (renewed,))
    told = "the password was reset later"
    assert reasons(planned) == [("oauth2-google", told), (API_KEY, told)]


def test_given_a_reset_of_another_user_when_planned_then_it_ends_nothing_here() -> None:
    live = LiveState(records=named(record(MAIL, version=2, user_id=OTHER_USER)))

    planned = plan(permanent(MAIL, GOOGLE), named(record(MAIL), record(GOOGLE)), live)

    assert planned.records == (record(GOOGLE),)


def test_given_an_identity_linked_later_when_planned_then_it_is_listed() -> None:
    there = record(GOOGLE, version=3)

    planned = plan(GUEST, {}, LiveState(records=named(there)), RestoreRules())

    assert planned.outcome == "restored"
    assert planned.user == replace(
        GUEST,
        anonymous=False,
        expires_at=None,
        sessions={},
        identities=(ANON, replace(GOOGLE, version=3)),
        restored_at=NOW,
    )
    assert planned.kept == (there,)


def test_given_records_of_others_when_planned_then_they_are_not_listed() -> None:
    live = LiveState(
        records={
            **named(record(MAIL, user_id=OTHER_USER)),
            (APP, "oauth2-google", "unreadable"): None,
        }
    )

    assert plan(GUEST, {}, live).outcome == "restored_guest"


@pytest.mark.parametrize(
    ("listed", "later", "has_room"),
    [
        pytest.param([MAIL], Identity("mail-2", USERPASS, "m2"), False, id="address"),
        pytest.param([GOOGLE], MAIL, True, id="first address"),
        pytest.param(
            [Identity(str(n), "oauth2-google", str(n)) for n in range(1, 9)],
            GOOGLE,
            True,
            id="the last place",
        ),
        pytest.param(
            [Identity(str(n), "oauth2-google", str(n)) for n in range(1, 10)],
            GOOGLE,
            False,
            id="no place",
        ),
    ],
)
def test_given_no_room_when_an_identity_was_linked_later_then_it_is_added_at_its_login(
    listed: list[Identity], later: Identity, has_room: bool
) -> None:
    """The record names the user, which does not list it: the user is open for it."""
    old = permanent(*listed)
    there = [record(each) for each in (*listed, later)]

    planned = plan(old, {}, LiveState(records=named(*there)))

    assert planned.user is not None
    expected = [ANON, *listed, *([later] if has_room else [])]
    assert list(planned.user.identities) == expected
    assert len(expected) <= MOST_IDENTITIES
    assert planned.user.made_again == (None if has_room else "open")
    assert reasons(planned) == ([] if has_room else [(later.provider, "no room")])


def test_given_a_user_without_an_anonymous_identity_when_planned_then_it_has_none() -> (
    None
):
    old = permanent(GOOGLE, identities=(GOOGLE,), made_again="open")

    planned = plan(old, named(record(GOOGLE)))

    assert planned.user is not None
    assert planned.user.identities == (GOOGLE,)
    assert planned.user.made_again == "open"
    assert all(each.provider != ANONYMOUS for each in planned.user.identities)


# A user that the live table has


def alive(user: User, *records: IdentityRecord) -> LiveState:
    return LiveState(is_there=True, user=user, records=named(*records))


def test_given_a_live_user_when_planned_then_only_its_lost_records_come_back() -> None:
    user = permanent(MAIL, GOOGLE, api_keys={KEY.id: KEY}, version=7)
    token = MailToken("hash", NOW + DAY)
    backup = named(record(MAIL), record(GOOGLE, reset=token), KEY_RECORD)

    planned = plan(GUEST, backup, alive(user, record(MAIL)))

    assert planned == RestorePlan("completed", user, (record(GOOGLE), KEY_RECORD))


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(alive(GUEST), id="guest"),
        pytest.param(alive(permanent(MAIL), record(MAIL)), id="whole"),
        pytest.param(
            alive(permanent(MAIL), record(MAIL, user_id=OTHER_USER)),
            id="record of another user",
        ),
        pytest.param(LiveState(is_there=True), id="unreadable"),
        pytest.param(
            alive(permanent(MAIL, anonymous=True, expires_at=NOW)), id="expired"
        ),
    ],
)
def test_given_a_live_user_when_it_has_lost_nothing_then_it_stays_as_it_is(
    live: LiveState,
) -> None:
    planned = plan(permanent(MAIL), named(record(MAIL)), live)

    assert planned.outcome == "present"
    assert (planned.records, planned.conflicts) == ((), ())


def test_given_a_later_version_when_the_record_is_lost_then_the_old_one_stays_out() -> (
    None
):
    """Otherwise the password from before the reset would be good again."""
    user = permanent(replace(MAIL, version=2))

    planned = plan(permanent(MAIL), named(record(MAIL)), alive(user))

    assert (planned.outcome, planned.records) == ("present", ())
    assert reasons(planned) == [(USERPASS, "not in the backup")]


def test_given_an_identity_unlinked_later_when_planned_then_it_stays_unlinked() -> None:
    user = permanent(GOOGLE)

    planned = plan(
        permanent(MAIL, GOOGLE),
        named(record(MAIL), record(GOOGLE)),
        alive(user, record(GOOGLE)),
    )

    assert (planned.outcome, planned.records) == ("present", ())


def merges(*told: tuple[str, str]) -> Merges:
    merges = Merges()
    for guest_id, into in told:
        merges.add(APP, guest_id, into)
    return merges


def test_given_merges_when_restored_then_the_user_lists_the_newest_guest_last() -> None:
    old = permanent(GOOGLE, former_ids=("g1", "elsewhere"))
    told = merges(("g2", OTHER_USER), ("elsewhere", OTHER_USER), ("g2", GUEST.id))
    rules = RestoreRules(merges=told)

    planned = plan(old, named(record(GOOGLE)), rules=rules)

    assert planned.user is not None
    assert planned.user.former_ids == ("g1", "g2")


@pytest.mark.parametrize("number", [MOST_FORMER_IDS, MOST_FORMER_IDS + 1])
def test_given_many_merges_when_restored_then_the_user_lists_twenty(
    number: int,
) -> None:
    guests = [f"g{each}" for each in range(number)]
    rules = RestoreRules(merges=merges(*((each, GUEST.id) for each in guests)))

    planned = plan(permanent(GOOGLE), named(record(GOOGLE)), rules=rules)

    assert planned.user is not None
    assert list(planned.user.former_ids) == guests[-MOST_FORMER_IDS:]


def test_given_a_former_id_that_is_a_user_when_restored_then_it_is_not_listed() -> None:
    old = permanent(GOOGLE, former_ids=("g1", "g2"))

    planned = plan(old, named(record(GOOGLE)), LiveState(guests=["g1"]))

    assert planned.user is not None
    assert planned.user.former_ids == ("g2",)


def test_given_a_guest_that_a_user_lists_when_restored_then_it_stays_gone() -> None:
    rules = RestoreRules(guests=True, merges=merges((GUEST.id, OTHER_USER)))

    assert plan(GUEST, rules=rules) == RestorePlan("gone")
