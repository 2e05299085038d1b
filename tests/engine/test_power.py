"""The races can fail: each guard of the store is taken out, and the races notice.

For every condition of the store this module names the race that decides it, or the
reason why none can. A guard that the races do not miss within `MOST_ROUNDS` fails its
test. So does a scene that fails with all guards in place, and a condition that is not
listed. `RACE_SEED` repeats the acts.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from anonauth.errors import AuthError
from anonauth.store import conditions, identities
from anonauth.store.accounts import AccountRecords
from anonauth.store.api_keys import ApiKeyRecords
from anonauth.store.expiring import Expiring
from anonauth.store.identities import Identities
from anonauth.store.login_keys import LoginKeys
from anonauth.store.merges import Merges
from anonauth.store.ring import Rings
from anonauth.store.users import Users
from support.engine import scenes
from support.engine.guards import parts_of_conditions, without
from support.engine.mix import Member, Mix, Plan, PooledKeys
from support.engine.racing import Service
from support.engine.scenes import Scene, Stage, plays

MOST_ROUNDS = 150
"""The number of rounds within which a missing guard must show."""

INTACT_ROUNDS = 5

GUEST = (Member(),)
LINKED = (Member(holds=(0,)),)


@dataclass(frozen=True)
class Guard:
    """Parts of a condition that a race decides, and the race."""

    function: Callable[..., Any]
    parts: tuple[str, ...]
    scene: Scene

    def __str__(self) -> str:
        return f"{self.function.__qualname__}: {' and '.join(self.parts)}"


def guard(function: Callable[..., Any], *parts: str, by: Scene | Plan) -> Guard:
    return Guard(function, parts, plays(by) if isinstance(by, Plan) else by)


GUARDS = (
    guard(
        Users.record_activity,
        "UserItem.anonymous == user.anonymous",
        by=Plan((*["refresh tomorrow"] * 5, *["link"] * 3), GUEST, "c"),
    ),
    guard(LoginKeys.create_user_once, "unused | over", by=scenes.log_in_by_one_key),
    guard(
        LoginKeys.create_user_once,
        "unused | over",
        by=partial(scenes.log_in_late_by_one_key, end="log out"),
    ),
    guard(Users.record_activity, "first_use_today", by=scenes.one_day_one_write),
    guard(
        Users.open_session,
        "as_read.version",
        by=Plan((*["log in by"] * 7, "reset"), LINKED, "a"),
    ),
    guard(
        Users.open_session,
        "room(ended)",
        by=partial(scenes.log_in_at_the_limit, sessions=31),
    ),
    guard(
        Users.open_session,
        "room(ended)",
        by=partial(scenes.log_in_at_the_limit, sessions=32),
    ),
    guard(
        Users.end_session,
        "is_anonymous",
        by=Plan((*["link"] * 6, *["log out"] * 2), GUEST, "c"),
    ),
    guard(
        Users.end_session,
        "is_anonymous",
        by=Plan((*["link"] * 6, *["log out everywhere"] * 2), GUEST, "c"),
    ),
    guard(Users.end_session, "is_permanent", by=scenes.log_out_by_a_clock_ahead),
    guard(
        Users.end_session,
        "mine(claims.session_id, claims.token_hash, now)",
        by=scenes.end_the_sessions_of_each_other,
    ),
    guard(
        Users.end_session,
        "mine(claims.session_id, claims.token_hash, now)",
        by=Plan(("log out",) * 8, LINKED, "c"),
    ),
    guard(
        Users.delete_user,
        "asked_by.version",
        by=Plan((*["delete"] * 2, *["link"] * 6), LINKED, "cccc"),
    ),
    guard(
        Identities.link_identity,
        "asked_by.version",
        by=Plan(("link",) * 8, GUEST, "aa"),
    ),
    guard(
        Identities.link_identity,
        "asked_by.mine",
        by=Plan((*["link"] * 6, *["log out"] * 2), LINKED, "cccc"),
    ),
    guard(Identities._bind, "unclaimed", by=Plan(("link",) * 8, (Member(),) * 4, "c")),
    guard(
        Identities._bind,
        "confirmed",
        by=Plan((*["link"] * 4, *["log in by"] * 4), GUEST * 3, "a"),
    ),
    guard(
        Identities._bind,
        "same_version(record)",
        by=Plan((*["link"] * 5, *["reset"] * 3), GUEST * 2, "a"),
    ),
    guard(
        Identities.update_identity_data,
        "IdentityItem.uid == record.user_id",
        "same_version(record)",
        by=scenes.display_data_of_a_deleted_user,
    ),
    guard(
        Identities.unlink_identity,
        "asked_by.version",
        by=Plan(("unlink",) * 8, (Member(holds=(0, 1)),), "cc"),
    ),
    guard(
        Merges.absorb_guest,
        "as_read.version",
        by=Plan(("merge",) * 8, (*GUEST * 3, *LINKED), "c"),
    ),
    guard(
        Merges.absorb_guest,
        "as_read.version",
        by=Plan(
            ("merge", *["unlink"] * 3),
            (*GUEST * 2, Member(holds=(0, 1), sessions=3)),
            "cc",
        ),
    ),
    guard(
        Merges.absorb_guest,
        "room(ended)",
        by=partial(scenes.log_in_at_the_limit, sessions=31, logins=1, guests=1),
    ),
    guard(
        Merges.absorb_guest,
        "is_anonymous",
        by=Plan((*["merge"] * 4, *["link"] * 4), (*GUEST, *LINKED), "cc"),
    ),
    guard(
        Merges.absorb_guest,
        "alive(now)",
        "its_session",
        "is_anonymous",
        by=Plan(("merge",) * 8, (*GUEST, *LINKED, Member(holds=(1,))), "cc"),
    ),
    guard(
        Identities.add_back_identity,
        "as_read.version",
        by=scenes.come_back_to_a_lost_user,
    ),
    guard(
        Users._put_again,
        "UserItem.pk.does_not_exist()",
        by=scenes.come_back_to_a_lost_user,
    ),
    guard(
        ApiKeyRecords.create_api_key,
        "asked_by.version",
        by=scenes.make_api_keys_of_one_name,
    ),
    guard(
        ApiKeyRecords.delete_api_key, "asked_by.version", by=scenes.delete_one_api_key
    ),
    guard(
        ApiKeyRecords.set_api_key_disabled,
        "asked_by.version",
        by=scenes.disable_a_key_while_it_is_deleted,
    ),
    guard(AccountRecords.spend, "below", by=scenes.spend_a_budget),
    guard(
        AccountRecords.give_back, "CounterItem.number > 0", by=scenes.give_a_budget_back
    ),
    guard(AccountRecords.register, "as_read", by=scenes.register_one_address),
    guard(
        AccountRecords.register,
        "pending | expired",
        by=scenes.register_while_it_is_confirmed,
    ),
    guard(
        AccountRecords.register, "condition", by=scenes.register_while_it_is_confirmed
    ),
    guard(
        AccountRecords.set_confirmation,
        "pending",
        by=scenes.resend_while_it_is_confirmed,
    ),
    guard(
        AccountRecords.confirm, "same_token", by=scenes.register_while_it_is_confirmed
    ),
    guard(AccountRecords.confirm, "pending", by=scenes.confirm_while_it_is_bound),
    guard(
        AccountRecords.set_reset,
        "same_version(record)",
        "record_in_time(now)",
        by=scenes.ask_for_a_reset_of_a_deleted_user,
    ),
    guard(
        AccountRecords.reset_password,
        "same_owner",
        by=Plan((*["reset"] * 3, *["log in by"] * 5), GUEST, "a"),
    ),
    guard(
        AccountRecords.reset_password,
        "same_token",
        by=scenes.ask_for_a_reset_while_one_is_done,
    ),
    guard(
        AccountRecords.reset_password,
        "same_token",
        "same_version(record)",
        "in_time",
        by=Plan(("reset",) * 8, GUEST, "a"),
    ),
    guard(
        AccountRecords._end_all,
        "as_read.version",
        by=scenes.make_api_keys_between_the_writes_of_a_reset,
    ),
    guard(
        AccountRecords.replace_password_hash,
        "unchanged",
        by=scenes.hash_anew_while_it_is_reset,
    ),
    guard(
        AccountRecords.remember_networks,
        "same_version(record)",
        by=scenes.note_a_network_while_it_is_reset,
    ),
    guard(
        Rings.save_ring,
        "none_yet | one_before",
        by=Plan(("rotate access", "rotate refresh") * 4, GUEST, "c"),
    ),
    guard(Expiring.save_expiry_scan, "none_yet | one_before", by=scenes.save_one_scan),
    guard(conditions.mine, "same_token", by=Plan(("log out",) * 8, LINKED, "c")),
    guard(
        identities.same_version,
        "IdentityItem.version == record.version",
        by=Plan((*["link"] * 5, *["reset"] * 3), GUEST * 2, "a"),
    ),
)

_GONE = "a deleted user has neither a version nor a session to match"
_TIME = "depends on time, not on a race; the store's contract has a row"
_LOGOUT = (
    "only a logout ends a session without changing the version, and it changes nothing "
    "else: the result is the same as if this write had been first"
)
_RANDOM = "96 random bits or more do not collide; the store's contract has a row"
_EITHER = "another part of the condition keeps out everything that this part does"
_LATE = "for a call that arrives after its client has given up; see test_faults"

EXCUSED = {
    ("Users.create_user", "UserItem.pk.does_not_exist()"): _RANDOM,
    ("LoginKeys.create_user_once", "UserItem.pk.does_not_exist()"): _RANDOM,
    ("Identities.create_linked_user", "UserItem.pk.does_not_exist()"): _RANDOM,
    ("ApiKeyRecords.create_api_key", "IdentityItem.pk.does_not_exist()"): _RANDOM,
    ("Users.record_activity", "alive(now)"): _GONE,
    ("Users.record_activity", "mine(session.id, session.token_hash, now)"): (
        "an ended session has no day of use before today"
    ),
    ("Users.open_session", "as_read.alive"): _GONE,
    ("Users.end_session", "alive(now)"): _TIME,
    ("Users.delete_user", "as_read.alive"): _GONE,
    ("Users.delete_user", "as_read.version"): (
        "for an operator; the user's own deletion has the same part, and is raced"
    ),
    ("Users.delete_user", "asked_by.alive"): _GONE,
    ("Users.delete_user", "asked_by.mine"): _LOGOUT,
    ("Users.end_sessions", "alive(now)"): (
        "a deleted user has no map of sessions and no version to raise"
    ),
    ("Users.end_sessions", "is_permanent"): (
        "its use cases have read that, or have deleted the guest; no user becomes a "
        "guest again"
    ),
    ("Users._delete_record", "missing | (IdentityItem.uid == user.id)"): (
        "a user as read has its records; this is for a partial restore"
    ),
    ("Users._put_again", "GoneItem.pk.does_not_exist()"): (
        "a deletion removes the record, too; this is for a partial restore"
    ),
    ("Identities._check_bound", "_bound_to(user.id)"): _EITHER,
    ("Identities._check_bound", "same_version(record)"): (
        "a reset in between has made the user again, or raised its version"
    ),
    ("Identities.add_back_identity", "as_read.alive"): _GONE,
    ("Identities.add_back_identity", "room(ended)"): (
        "the version also protects it, as every returning identity raises it; the same "
        "part in open_session is raced"
    ),
    ("Identities._bind", "_bound_to(record.user_id)"): (
        "two at once for an identity whose user is deleted for good; the store's "
        "contract has a row"
    ),
    ("Identities.link_identity", "asked_by.alive"): _GONE,
    ("Identities._bind", "record_in_time(now)"): _TIME,
    ("Identities.unlink_identity", "asked_by.alive"): _GONE,
    ("Identities.unlink_identity", "asked_by.mine"): _LOGOUT,
    ("Merges.absorb_guest", "as_read.alive"): _GONE,
    ("Merges.absorb_guest", "is_permanent"): (
        "a user who has an identity is permanent, and no user becomes a guest again"
    ),
    ("ApiKeyRecords.create_api_key", "asked_by.alive"): _GONE,
    ("ApiKeyRecords.create_api_key", "asked_by.mine"): _LOGOUT,
    ("ApiKeyRecords.delete_api_key", "asked_by.alive"): _GONE,
    ("ApiKeyRecords.delete_api_key", "asked_by.mine"): _LOGOUT,
    ("ApiKeyRecords.set_api_key_disabled", "asked_by.alive"): _GONE,
    ("ApiKeyRecords.set_api_key_disabled", "asked_by.mine"): _LOGOUT,
    ("AccountRecords.contest", "pending"): (
        "noting it too late makes a reset detach more, and shows nothing"
    ),
    ("AccountRecords.contest", "record_in_time(now)"): _EITHER,
    ("AccountRecords.clear", "CounterItem.pk.exists()"): (
        "losing the race leaves an item that counts nothing; test_store has a row"
    ),
    ("AccountRecords.set_confirmation", "same_version(record)"): (
        "a mail that is sent again confirms the latest registration, like a mail that "
        "was requested after it"
    ),
    ("AccountRecords.set_confirmation", "as_read"): _LATE,
    ("AccountRecords.set_confirmation", "record_in_time(now)"): _TIME,
    ("AccountRecords.set_reset", "as_read"): _LATE,
    ("AccountRecords.confirm", "in_time"): _TIME,
    ("AccountRecords.confirm", "record_in_time(now)"): _TIME,
    ("AccountRecords.reset_password", "record_in_time(now)"): _TIME,
    ("AccountRecords._end_all", "as_read.alive"): _GONE,
    ("AccountRecords.delete_account", "same_version(record)"): _RANDOM,
    ("AccountRecords.delete_account", "same_owner"): _RANDOM,
    ("alive", "active"): "there is no other state yet",
    ("alive", "permanent | not_expired"): _TIME,
    ("mine", "unlimited | not_expired"): _TIME,
    ("record_in_time", "IdentityItem.pk.exists()"): _EITHER,
    ("record_in_time", "bound | not_expired"): _TIME,
    ("same_version", "same"): (
        "deleting and registering a record between a read and its write takes three "
        "calls of others; the store's contract has a row"
    ),
}
"""Parts of conditions whose absence no race of clients can show, with the reason."""


def test_given_the_store_when_it_asks_for_something_then_it_is_raced_or_excused() -> (
    None
):
    raced = {(g.function.__qualname__, part) for g in GUARDS for part in g.parts}

    assert EXCUSED.keys() | raced == parts_of_conditions()
    assert not EXCUSED.keys() & raced


@pytest.fixture
def stage(service: Service, pooled_keys: PooledKeys, dice: random.Random) -> Stage:
    return Stage(service, Mix(service, pooled_keys), dice)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["dynoxide"], indirect=True)
@pytest.mark.parametrize("guard", GUARDS, ids=str)
def test_given_a_store_without_a_guard_when_its_race_is_run_then_it_is_missed(
    guard: Guard,
    stage: Stage,
    record_property: Callable[[str, object], None],
) -> None:
    for _ in range(INTACT_ROUNDS):
        guard.scene(stage)
        stage.mix.clear()

    with without(guard.function, *guard.parts):
        rounds = rounds_until_missed(guard.scene, stage)

    record_property("figures", f"{guard}: missed in round {rounds}")
    assert rounds is not None


def rounds_until_missed(scene: Scene, stage: Stage) -> int | None:
    for number in range(1, MOST_ROUNDS + 1):
        try:
            scene(stage)
        except (AssertionError, AuthError, ValueError, KeyError):
            return number
        finally:
            stage.mix.clear()
    return None
